//! The stream clock: where the provider's clock stands, seen from here.
//!
//! Only the provider's clock stamps blocks, and nobody's clock is synchronised.
//! The offset is the minimum, over a sliding window, of (local arrival − end of
//! slot): the fastest way a block found lately. While the first blocks come in
//! it follows that minimum at once; from then on it is slewed by at most 500
//! ppm, so that the player hears no jump.

use core::time::Duration;

use crate::live::recent::Recent;
use crate::time::{Time, micros};

/// Seconds.
const WINDOW: usize = 30;
const SLEW_PPM: i64 = 500;
/// A sample this far below the clock is not a faster path, in microseconds.
const LEAP: i64 = 5_000_000;
/// A clock that is ahead by this much follows: viewers may wait for no longer anyway.
const BEHIND: i64 = 15_000_000;
/// So many seconds of the window are enough to tell.
const ENOUGH: usize = 20;
/// After this long, or two rounds of sub-streams if that is longer, the backlog of
/// a start is in, and the minimum is a true one.
const SETTLE: Duration = Duration::from_secs(4);

/// Maps stream time to local time.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamClock {
    /// Minimum of each second of the window.
    minima: Recent<WINDOW>,
    /// The offset in use, in microseconds, and when it was last moved.
    offset: Option<(i64, Time)>,
    /// From when on it is slewed.
    steady: Option<Time>,
    /// How long it takes to be so.
    settle: Duration,
}

impl StreamClock {
    /// A clock for blocks that come in rounds this long, S·D.
    pub(crate) fn new(round: Duration) -> Self {
        Self { settle: SETTLE.max(round * 2), ..Self::default() }
    }

    /// The provider's own clock: stream time is `shift` microseconds ahead of
    /// local time, for ever.
    pub(crate) fn own(now: Time, shift: i64) -> Self {
        let mut clock = Self { steady: Some(now), ..Self::default() };
        clock.offset = Some((-shift, now));
        clock
    }

    /// A block whose slot ended at `slot_end` in stream time arrived now.
    /// Returns by how many microseconds the clock was stepped.
    pub(crate) fn arrived(&mut self, now: Time, slot_end: Time) -> i64 {
        let sample = now.diff_micros(slot_end);
        self.minima.note(now, sample, i64::min);
        let settled = now + self.settle;
        let steady = self.steady.get_or_insert(settled);
        let old = self.offset.map_or(sample, |(offset, _)| offset);
        if sample < old.saturating_sub(LEAP) {
            // No path got that much faster: the provider's clock leapt ahead.
            self.minima = Recent::default();
            *steady = settled;
        }
        let steady = *steady;
        if now < steady || self.offset.is_none() {
            self.offset = Some((old.min(sample), now));
            return sample.saturating_sub(old).min(0);
        }
        if sample > old.saturating_add(BEHIND) { self.fall_back(now, old) } else { 0 }
    }

    /// The fastest block of the whole window is that late: the provider's clock stood
    /// still, or was set back, or there is no faster way any more.
    fn fall_back(&mut self, now: Time, old: i64) -> i64 {
        let late = |min: &i64| *min > old.saturating_add(BEHIND);
        let Some(min) = self.minima.values(now).min().filter(late) else { return 0 };
        if self.minima.values(now).count() < ENOUGH {
            return 0;
        }
        self.offset = Some((min, now));
        min - old
    }

    /// Whether the clock can be relied on.
    pub(crate) fn is_steady(&self, now: Time) -> bool {
        self.steady.is_some_and(|t| now >= t)
    }

    /// Moves the offset toward the window's minimum.
    pub(crate) fn slew(&mut self, now: Time) {
        let Some(min) = self.minima.values(now).min() else { return };
        let steady = self.is_steady(now);
        if let Some((offset, at)) = &mut self.offset
            && steady
        {
            let step = micros(now.since(*at)).min(60_000_000) as i64 * SLEW_PPM / 1_000_000;
            // A step too small to count must not be lost with its time.
            if step > 0 {
                *offset += (min - *offset).clamp(-step, step);
                *at = now;
            }
        }
    }

    /// When a moment of stream time is here, at the earliest; `None` before
    /// the first block.
    pub(crate) fn local(&self, stream: Time) -> Option<Time> {
        self.offset.map(|(offset, _)| stream.offset(offset))
    }

    /// The moment of stream time that is now, at the latest.
    pub(crate) fn stream(&self, now: Time) -> Option<Time> {
        self.offset.map(|(offset, _)| now.offset(offset.saturating_neg()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn at(ms: u64) -> Time {
        Time::from_millis(1_000_000 + ms)
    }

    #[test]
    fn the_fastest_block_sets_the_clock() {
        let mut c = StreamClock::new(Duration::from_millis(320));
        assert_eq!(c.local(at(0)), None);
        for (arrival, slot_end) in [(900, 0), (150, 40), (170, 80)] {
            c.arrived(at(arrival), at(slot_end));
        }
        assert_eq!(c.local(at(200)), Some(at(290)));
        assert_eq!(c.stream(at(290)), Some(at(200)));
    }

    #[test]
    fn once_steady_it_moves_by_at_most_500_ppm() {
        let mut c = StreamClock::new(Duration::from_millis(320));
        for ms in (0..4_000).step_by(40) {
            c.arrived(at(100 + ms), at(ms));
        }
        assert!(!c.is_steady(at(4_099)) && c.is_steady(at(4_100)));
        for ms in (4_000..14_000).step_by(40) {
            assert_eq!(c.arrived(at(100 + ms), at(ms + 50)), 0);
            c.slew(at(100 + ms));
            let moved = at(100 + ms).diff_micros(c.local(at(ms)).unwrap());
            assert!(moved <= (ms as i64 - 3_960) * 500 / 1_000 + 1, "{moved} us after {ms} ms");
        }
        let moved = at(100).diff_micros(c.local(at(0)).unwrap());
        assert!((4_900..=5_020).contains(&moved), "{moved} us in 10 s");
    }

    #[test]
    fn a_leap_of_the_providers_clock_is_followed_at_once() {
        let mut c = StreamClock::new(Duration::from_millis(320));
        for ms in (0..8_000).step_by(40) {
            c.arrived(at(ms + 10), at(ms));
        }
        assert!(c.is_steady(at(8_000)));
        assert_eq!(c.arrived(at(8_000), at(98_000)), -90_010_000);
        assert_eq!(c.stream(at(8_000)), Some(at(98_000)));
        assert!(!c.is_steady(at(8_000)));
    }

    #[test]
    fn a_clock_that_fell_far_back_is_followed_after_a_window() {
        let mut c = StreamClock::new(Duration::from_millis(320));
        for ms in (0..8_000).step_by(40) {
            c.arrived(at(ms + 10), at(ms));
        }
        // The provider slept for a minute.
        let mut stepped = Vec::new();
        for ms in (8_000..48_000).step_by(40) {
            let by = c.arrived(at(60_000 + ms + 10), at(ms));
            stepped.extend((by != 0).then_some((ms, by)));
        }
        let [(ms, by)] = stepped[..] else { panic!("{stepped:?}") };
        assert!((26_000..=30_000).contains(&ms), "{ms}");
        assert_eq!(by, 60_000_000);
        assert_eq!(c.local(at(48_000)), Some(at(108_010)));
    }

    #[test]
    fn an_old_minimum_is_forgotten() {
        let mut c = StreamClock::new(Duration::from_millis(320));
        c.arrived(at(10), at(0));
        // The path grew by 1 ms: after the window the clock may follow.
        for ms in (0..200_000).step_by(40) {
            c.arrived(at(ms + 11), at(ms));
            c.slew(at(ms + 11));
        }
        assert_eq!(c.local(at(0)), Some(at(11)));
    }
}
