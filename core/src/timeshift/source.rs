//! Those who may have a part of the past: how each has served us so far.

use core::time::Duration;

use crate::time::Time;

/// A source that was never asked is thought to answer in this time.
const GUESS: Duration = Duration::from_millis(300);
/// The longest rest after failures.
const MAX_REST: Duration = Duration::from_secs(60);

/// The way to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// No connection.
    Closed,
    /// A connection is being opened.
    Opening,
    /// It can be asked.
    Open,
}

/// One source.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) door: Door,
    /// Smoothed time from a request to its first block.
    delay: Duration,
    /// When it last sent us something.
    pub(crate) heard: Time,
    /// When it was last asked, or a connection was wanted.
    pub(crate) used: Time,
    failures: u32,
    not_before: Time,
}

impl Source {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            door: Door::Closed,
            delay: GUESS,
            heard: Time::ZERO,
            used: now,
            failures: 0,
            not_before: Time::ZERO,
        }
    }

    /// Whether it may be asked again.
    pub(crate) fn is_fit(&self, now: Time) -> bool {
        self.not_before <= now
    }

    /// Whether it was silent, or could not be reached, when it was last asked.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// How long to wait for it before it counts as silent.
    pub(crate) fn patience(&self) -> Duration {
        (self.delay * 4).clamp(Duration::from_millis(400), Duration::from_secs(2))
    }

    /// How dear it is to ask: slow, or failing, sources come last.
    pub(crate) fn cost(&self) -> Duration {
        self.delay * (1 + self.failures.min(8))
            + if self.door == Door::Open { Duration::ZERO } else { self.delay }
    }

    /// The first block of a request came this long after it.
    pub(crate) fn answered(&mut self, after: Duration) {
        self.delay = (self.delay * 3 + after) / 4;
        self.failures = 0;
    }

    /// It was silent, could not be reached, or sent what was no use.
    pub(crate) fn failed(&mut self, now: Time) {
        // Who has spoken before is slow with all that it is asked for at once; who
        // never has is most likely gone.
        if !self.is_fit(now) && self.heard > Time::ZERO {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let rest = Duration::from_millis(500) * (1 << self.failures.min(7));
        self.not_before = now + rest.min(MAX_REST);
    }

    /// It has no upload to spare: it is asked later.
    pub(crate) fn busy(&mut self, now: Time) {
        self.not_before = now + Duration::from_secs(1);
    }

    /// It cheated: it is not asked again.
    pub(crate) fn ban(&mut self) {
        self.not_before = Time::LAST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_fails_at_a_time_is_one_failure() {
        let mut source = Source::new(Time::from_secs(9));
        let now = Time::from_secs(10);
        source.heard = now;
        (0..8).for_each(|_| source.failed(now));
        let again = now + Duration::from_secs(1);
        assert!(source.is_fit(again));
        source.failed(again);
        assert!(
            !source.is_fit(again + Duration::from_millis(1_999)),
            "twice as long the next time"
        );
        assert!(source.is_fit(again + Duration::from_secs(2)));
    }

    #[test]
    fn who_cheated_and_then_falls_silent_is_not_asked_again() {
        let mut source = Source::new(Time::from_secs(9));
        source.heard = Time::from_secs(9);
        source.ban();
        source.failed(Time::from_secs(10));
        assert!(!source.is_fit(Time::from_secs(1_000)));
    }
}
