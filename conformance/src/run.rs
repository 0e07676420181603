//! Runs a scenario, and has an end to it in any case.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use eddy_core::Machine;

use crate::Drive;
use crate::board::Board;
use crate::check::{Check, Verdict};
use crate::harness::{Harness, Real};
use crate::scene::{Act, Scene};

/// How many times the patience of one wait a whole scenario may take.
const WAITS: u32 = 12;

/// A plain sleeper's lateness from which on the machine stood still: nodes that did not
/// hear of each other for so long are not to blame for what they lost.
const STANDSTILL: Duration = Duration::from_secs(1);
/// How often a scenario is played until the machine does not stand still.
const TRIES: usize = 3;

/// What scenarios can be played on: a [`Drive`], or one of the
/// kinds of virtual time in [`reference`](crate::reference).
pub trait Mount: 'static {
    #[doc(hidden)]
    fn stage() -> Stage;
}

/// Drivers of one kind.
#[doc(hidden)]
pub struct Stage(pub(crate) Box<dyn Harness>);

impl<D: Drive> Mount for D {
    fn stage() -> Stage {
        Stage(Box::new(Real::<D>::new()))
    }
}

/// A scenario: a name, and what happens.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, which is the sentence that it proves.
    pub name: &'static str,
    pub(crate) play: fn(&mut Scene) -> Act,
    pub(crate) kind: Kind,
}

/// What a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Scripted machines: it ends when all that they want is answered.
    Machines,
    /// The same, and peers at plain sockets.
    Sockets,
    /// Real nodes, which are never done.
    Nodes,
}

/// How a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long one wait for something that has to happen may take.
    pub patience: Duration,
    /// What is put around each real node, between it and the judge: for
    /// machines that are to fail.
    pub disguise: fn(Box<dyn Machine + Send>) -> Box<dyn Machine + Send>,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_secs(20), disguise: |machine| machine }
    }
}

impl Scenario {
    /// Whether it can be played on this kind of driver.
    #[must_use]
    pub fn fits<D: Mount>(&self) -> bool {
        self.kind != Kind::Sockets || D::stage().0.rules().real
    }

    /// Plays it. One that needs sockets passes where there are none. In real time one
    /// that loses blocks, or waits in vain, while the whole process stood still is
    /// played again.
    #[must_use]
    pub fn run<D: Mount>(&self, options: Options) -> Verdict {
        let first = self.try_once::<D>(options);
        (1..TRIES).fold(first, |verdict, _| match verdict.stood_still {
            Some(_) if verdict.is_excused() => self.try_once::<D>(options),
            _ => verdict,
        })
    }

    fn try_once<D: Mount>(&self, options: Options) -> Verdict {
        let board = Arc::new(Board::default());
        let mut late = Duration::ZERO;
        if self.fits::<D>() {
            let sleeper = D::stage().0.rules().real.then(Sleeper::new);
            self.watch::<D>(options, &board);
            late = sleeper.map_or(late, Sleeper::wake);
        }
        let stood_still = Some(late).filter(|late| *late >= STANDSTILL);
        Verdict { scenario: self.name, violations: board.violations(), stood_still }
    }

    /// Plays it on a thread of its own, and leaves that alone if it hangs.
    fn watch<D: Mount>(self, options: Options, board: &Arc<Board>) {
        let (done, end) = channel();
        let stage = board.clone();
        let player = thread::spawn(move || {
            self.perform::<D>(options, &stage);
            done.send(()).ok();
        });
        let limit = options.patience * WAITS;
        if let Err(RecvTimeoutError::Timeout) = end.recv_timeout(limit) {
            return board.blame(Check::Hung, None, format!("no end after {limit:?}"));
        }
        if let Err(panic) = player.join() {
            board.blame(Check::Panic, None, words(&*panic));
        }
    }

    fn perform<D: Mount>(self, options: Options, board: &Arc<Board>) {
        let mut scene = Scene::new(D::stage().0, board.clone(), options);
        let played = catch_unwind(AssertUnwindSafe(|| {
            let played = (self.play)(&mut scene);
            if self.kind == Kind::Nodes { played } else { played.and_then(|()| scene.settle()) }
        }));
        match played {
            // A machine's fault makes a world panic, too; the judge has said it better.
            Err(panic) if board.is_clean() => board.blame(Check::Panic, None, words(&*panic)),
            _ => {}
        }
        scene.close();
    }
}

/// A thread that sleeps beside a scenario, and does nothing else.
struct Sleeper {
    stop: Sender<()>,
    thread: JoinHandle<Duration>,
}

impl Sleeper {
    fn new() -> Self {
        const NAP: Duration = Duration::from_millis(100);
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let mut latest = Duration::ZERO;
            loop {
                let before = Instant::now();
                let nap = stopped.recv_timeout(NAP);
                latest = latest.max(before.elapsed().saturating_sub(NAP));
                if nap != Err(RecvTimeoutError::Timeout) {
                    return latest;
                }
            }
        });
        Self { stop, thread }
    }

    /// Ends it. Returns how late it ever woke.
    fn wake(self) -> Duration {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scenario").field(&self.name).finish()
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
