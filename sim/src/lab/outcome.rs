//! What came of a run.

use std::time::Duration;

use eddy_core::Time;
use eddy_core::stats::{Shift, Stats};

use crate::bounds::Bound;

/// What one viewer saw. Counters leave out what came before the scenario's
/// `measure_from`.
#[derive(Clone, Debug, Default)]
pub struct Viewer {
    /// Its group, by order in the scenario.
    pub group: usize,
    /// Whether it came for the past.
    pub past: bool,
    /// When it came.
    pub joined: Time,
    /// How long it was there.
    pub stayed: Duration,
    /// From coming to its first block.
    pub startup: Option<Duration>,
    /// Its counters.
    pub counts: Counts,
    /// Blocks left out between two, other than by a leap.
    pub gaps: u64,
    /// Mean from the start of a block's slot to its play-out.
    pub lag: Option<Duration>,
    /// The longest play-out delay after the first ten seconds.
    pub longest_delay: Duration,
    /// Bytes of datagrams sent.
    pub datagrams: u64,
    /// Its uplink, in bytes per second.
    pub upload: u64,
    /// Blocks of the past by source (report Table 4-2).
    pub shift: Shift,
    /// From a leap to the first block of the new moment.
    pub leaps: Vec<Duration>,
    /// From the wish to be live again to the first block.
    pub returns: Vec<Duration>,
    /// From the wish for another channel to its first block.
    pub zaps: Vec<Duration>,
    /// Leaps, returns and changes of channel that came to nothing.
    pub refused: u64,
}

/// What a node counts, as far as results need it; see [`Stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the counter of that name")]
pub struct Counts {
    pub due: u64,
    pub on_time: u64,
    pub late: u64,
    pub lost: u64,
    pub from_peers: u64,
    pub from_provider: u64,
    pub duplicates: u64,
    pub repaired: u64,
    pub recruited: u64,
    pub reselections: u64,
    pub bytes_sent: u64,
    pub control_sent: u64,
    pub arrivals: u64,
    pub arrival_delay_sum: u64,
}

impl Counts {
    pub(super) fn of(stats: &Stats) -> Self {
        Self {
            due: stats.due,
            on_time: stats.on_time,
            late: stats.late,
            lost: stats.lost,
            from_peers: stats.from_peers,
            from_provider: stats.from_provider,
            duplicates: stats.duplicates,
            repaired: stats.repaired,
            recruited: stats.recruited,
            reselections: stats.reselections,
            bytes_sent: stats.bytes_sent,
            control_sent: stats.control_sent,
            arrivals: stats.arrivals,
            arrival_delay_sum: stats.arrival_delay_sum,
        }
    }

    /// What was counted since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            due: self.due.saturating_sub(before.due),
            on_time: self.on_time.saturating_sub(before.on_time),
            late: self.late.saturating_sub(before.late),
            lost: self.lost.saturating_sub(before.lost),
            from_peers: self.from_peers.saturating_sub(before.from_peers),
            from_provider: self.from_provider.saturating_sub(before.from_provider),
            duplicates: self.duplicates.saturating_sub(before.duplicates),
            repaired: self.repaired.saturating_sub(before.repaired),
            recruited: self.recruited.saturating_sub(before.recruited),
            reselections: self.reselections.saturating_sub(before.reselections),
            bytes_sent: self.bytes_sent.saturating_sub(before.bytes_sent),
            control_sent: self.control_sent.saturating_sub(before.control_sent),
            arrivals: self.arrivals.saturating_sub(before.arrivals),
            arrival_delay_sum: self.arrival_delay_sum.saturating_sub(before.arrival_delay_sum),
        }
    }
}

impl Viewer {
    /// Blocks on time over blocks due; `None` if none was due.
    pub fn continuity(&self) -> Option<f64> {
        (self.counts.due > 0).then(|| self.counts.on_time as f64 / self.counts.due as f64)
    }

    /// Mean from the start of a block's slot to its arrival; `None` without
    /// arrivals.
    pub fn arrival(&self, block: Duration) -> Option<Duration> {
        let counts = &self.counts;
        (counts.arrivals > 0)
            .then(|| Duration::from_micros(counts.arrival_delay_sum / counts.arrivals) + block)
    }
}

/// How a file stood at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// Its start in stream time, in seconds.
    pub file: u64,
    /// Viewers who have it on disk.
    pub cached: usize,
    /// Owners that a lookup finds.
    pub published: usize,
    /// Of these, how many are there and have it.
    pub live: usize,
}

/// What happened within a while.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Since the start of the run, in seconds.
    pub at: f64,
    /// Who came.
    pub arrivals: u64,
    /// Who was there at its end.
    pub viewers: u64,
    /// Of these, who had begun to play.
    pub playing: u64,
    /// Blocks due.
    pub due: u64,
    /// Blocks on time.
    pub on_time: u64,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Each viewer, those who left included.
    pub viewers: Vec<Viewer>,
    /// Bytes that the providers sent after `measure_from`.
    pub provider_sent: u64,
    /// Blocks of the past that the providers sent.
    pub provider_past: u64,
    /// Each file, a minute after it was complete.
    pub young: Vec<Replicas>,
    /// A few files of any age, once a minute.
    pub sampled: Vec<Replicas>,
    /// Each file, at the end.
    pub last: Vec<Replicas>,
    /// The run in about 300 moments.
    pub moments: Vec<Moment>,
    /// B6 for those who are there from the start.
    pub b6: Option<Bound>,
    /// B8 at the median round trip.
    pub b8: Option<Duration>,
    /// B1: all upload over all that the viewers need.
    pub resources: f64,
    /// D: block duration.
    pub block: Duration,
    /// Stream rate in bytes per second.
    pub rate: u64,
    /// How long it was measured.
    pub measured: Duration,
    /// Hash of every event: equal for equal seeds.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How many viewers were there at most.
    pub most: u64,
    /// How many nodes there were, those who left included.
    pub nodes: u32,
    /// It was ended before its time.
    pub cut_short: bool,
}
