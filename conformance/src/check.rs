//! What the suite looks for, each with a name.

use std::fmt;
use std::time::Duration;

/// A rule that was broken.
///
/// The clauses C1 to C11 stand on the front page of `eddy-core`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// The machine was not started with the wall clock's time, or `now` runs ahead of the clock.
    Clock,
    /// `now` went back (C5).
    TimeWentBack,
    /// Most late wakes were told a time that had passed long before: the deadline, say.
    StaleWake,
    /// Most inputs after an idle time were told a time before it.
    StaleInput,
    /// A wake came before the time that `Wait` gave, or though it gave none.
    EarlyWake,
    /// Wakes came far later than a plain sleeper's in the same process; in virtual time, late at all.
    LateWake,
    /// A wake that is due does not come.
    LostWake,

    /// The driver woke the machine, or sleeps, although `poll` has not answered `Wait` (C2).
    Undrained,
    /// The driver does not sleep though there is nothing to do.
    Busy,
    /// Inputs keep a machine's wakes away, or wakes its inputs.
    Starved,
    /// A peer that does not read, or does not answer a dial, holds up the others.
    Blocked,

    /// Bytes of a link were lost, changed or came in another order (C7).
    Bytes,
    /// More was told than there is room for in a machine's slot, or it was written to and nothing told.
    Slot,
    /// More credit came back than was sent (C8).
    Credit,
    /// Credit did not come back (C8).
    CreditLost,
    /// Bytes came on a link that is paused, or the driver goes on reading it for itself.
    Pause,

    /// A link's id was used before (C9).
    LinkId,
    /// An answer to a dial that nobody waits for.
    Dial,
    /// A dial without an answer.
    DialLost,
    /// A link or a datagram came from another address than it was said to.
    Address,
    /// An event other than `Closed` for a link that the machine has closed, or that is not open (C9).
    AfterClose,
    /// A second `Closed`, or one for a link that never was (C9).
    ClosedTwice,
    /// A close without an answer (C9).
    CloseLost,
    /// A close that is to flush nothing waited all the same.
    LateClose,
    /// The machine was not told that a peer has ended the connection.
    EndLost,

    /// Datagrams that the kernel took are missing.
    Datagram,
    /// Commands were lost, or came in another order.
    Command,
    /// The host was told something else than the machine said, or in another order.
    Host,
    /// Answers of the disk were lost, changed, or came in another order.
    Disk,
    /// After the stop sockets are still open.
    Stop,

    /// The machine, not the driver: `Wait` ends now or in the past (C3).
    Wait,
    /// The machine, not the driver: a ticket ended twice, or was never given (C10).
    Ticket,
    /// The machine, not the driver: a command has no end (C10).
    TicketLost,
    /// A viewer was not handed exactly the provider's blocks.
    Stream,
    /// The recorded inputs give other outputs when they are replayed (C6).
    Replay,

    /// Something that has to happen did not.
    Unmet,
    /// The scenario did not end: the driver hangs.
    Hung,
    /// The driver, or a machine in it, panicked.
    Panic,
}

/// A broken rule, by whom, and how it showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub check: Check,
    /// Which of the scenario's nodes, counted from 0; `None` if it cannot be said.
    pub node: Option<usize>,
    /// What was seen.
    pub what: String,
}

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The scenario's name.
    pub scenario: &'static str,
    /// All that was wrong, in the order in which it showed; empty if it passed.
    pub violations: Vec<Violation>,
    /// How late a thread woke that merely slept meanwhile in the same process, if that
    /// is so late that the whole machine stood still.
    pub stood_still: Option<Duration>,
}

impl Verdict {
    /// Whether nothing was wrong.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    /// Whether all that was wrong is what follows when nodes do not hear of each other in
    /// time. What a driver does wrong in its calls nothing excuses.
    pub(crate) fn is_excused(&self) -> bool {
        let timely = |v: &Violation| matches!(v.check, Check::Stream | Check::Unmet);
        !self.passed() && self.violations.iter().all(timely)
    }

    /// Whether this rule was broken.
    #[must_use]
    pub fn names(&self, check: Check) -> bool {
        self.violations.iter().any(|v| v.check == check)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.check)?;
        if let Some(node) = self.node {
            write!(f, ", node {node}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.scenario)?;
        match self.violations.len() {
            0 => f.write_str("passed"),
            n => {
                write!(f, "{n} {}", if n == 1 { "violation" } else { "violations" })?;
                self.violations.iter().try_for_each(|v| write!(f, "\n  {v}"))?;
                // What follows from a fault is often told with it.
                f.write_str("\n  (begin with the first; docs/DRIVERS.md explains each name)")?;
                let Some(late) = self.stood_still else { return Ok(()) };
                write!(
                    f,
                    "\n  (a thread that only slept woke {late:.1?} late: the machine stood still, which may be why; try a calmer one)"
                )
            }
        }
    }
}

/// The beginning of what it prints: a block's bytes help nobody.
pub(crate) fn brief(what: &impl fmt::Debug) -> String {
    format!("{what:?}").chars().take(200).collect()
}
