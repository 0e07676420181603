//! What came of a run, in the words of the report's tables.

use std::time::Duration;

use eddy_core::Time;
use eddy_core::stats::{Shift, Stats};

use crate::live::quantile;

/// What a viewer came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The live edge.
    Live,
    /// The same, with pauses and returns.
    Pausing,
    /// The past.
    Shifted,
    /// The same, with a leap a minute.
    Leaping,
}

impl Kind {
    /// Whether it came for the live edge.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Live | Self::Pausing)
    }
}

/// What one viewer saw.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// What it came for.
    pub kind: Kind,
    /// Its counters at the end.
    pub stats: Stats,
    /// From a leap to the first block of the new moment.
    pub leaps: Vec<Duration>,
    /// From the wish to be live again to the first block.
    pub returns: Vec<Duration>,
    /// Leaps and returns that came to nothing.
    pub refused: usize,
    /// Blocks left out between two that were handed over one after the other,
    /// other than by a leap.
    pub gaps: u64,
    /// The longest play-out delay that it had, live.
    pub longest_delay: Duration,
    /// How long it was there.
    pub stayed: Duration,
    /// Bytes of datagrams that it sent.
    pub datagrams: u64,
    pub(super) joined: Time,
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

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Each viewer, those who left included.
    pub viewers: Vec<Viewer>,
    /// The provider's counters at the end.
    pub provider: Stats,
    /// Each file, a minute after it was complete.
    pub young: Vec<Replicas>,
    /// A few files of any age, once a minute.
    pub sampled: Vec<Replicas>,
    /// Each file at the end.
    pub last: Vec<Replicas>,
    /// Stream rate in bytes per second, for comparison.
    pub rate: u64,
    /// Hash of every event: equal for equal seeds.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
}

impl Outcome {
    /// The viewers of some kind.
    pub fn of(&self, is: impl Fn(Kind) -> bool) -> impl Iterator<Item = &Viewer> {
        self.viewers.iter().filter(move |v| is(v.kind))
    }

    /// Blocks of the past by source, of those who came for it (Table 4-2).
    pub fn shift(&self) -> Shift {
        self.of(|k| !k.is_live()).fold(Shift::default(), |sum, v| {
            let s = v.stats.shift;
            Shift {
                peer: sum.peer + s.peer,
                emergency: sum.emergency + s.emergency,
                failed: sum.failed + s.failed,
                no_owner: sum.no_owner + s.no_owner,
                lost: sum.lost + s.lost,
            }
        })
    }

    /// Blocks on time over blocks due, of viewers of some kind.
    pub fn continuity(&self, is: impl Fn(Kind) -> bool) -> f64 {
        let (due, on_time) =
            self.of(is).fold((0, 0), |(d, o), v| (d + v.stats.due, o + v.stats.on_time));
        on_time as f64 / due.max(1) as f64
    }

    /// Blocks given up over blocks due, of all viewers.
    pub fn missed(&self) -> f64 {
        let (due, lost) = self
            .viewers
            .iter()
            .fold((0, 0), |(due, lost), v| (due + v.stats.due, lost + v.stats.lost));
        lost as f64 / due.max(1) as f64
    }

    /// A value below which a share of durations lies.
    pub fn quantile(of: impl Iterator<Item = Duration>, share: f64) -> Duration {
        let mut all: Vec<Duration> = of.collect();
        all.sort_unstable();
        quantile(&all, share)
    }

    /// Mean bytes of datagrams that a viewer sent, over the stream's.
    pub fn dht_share(&self) -> f64 {
        let (bytes, seconds) = self
            .viewers
            .iter()
            .fold((0, 0.0), |(b, s), v| (b + v.datagrams, s + v.stayed.as_secs_f64()));
        bytes as f64 / seconds.max(1.0) / self.rate as f64
    }
}

/// The share of files for which something holds.
pub fn share(files: &[Replicas], holds: impl Fn(&Replicas) -> bool) -> f64 {
    files.iter().filter(|f| holds(f)).count() as f64 / files.len().max(1) as f64
}
