//! A node's own clock, which may be off and may run fast or slow.

use std::time::Duration;

use eddy_core::Time;
use eddy_core::time::micros;

const MILLION: i128 = 1_000_000;

/// A linear clock: `shown` at world time `since`, then running at
/// 1 + `ppm` / 10^6 of the world's pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    since: Time,
    shown: Time,
    ppm: i32,
}

impl Clock {
    /// A clock that shows the world's time.
    pub(crate) const fn exact() -> Self {
        Self { since: Time::ZERO, shown: Time::ZERO, ppm: 0 }
    }

    /// A clock that is `offset` microseconds ahead of the world at `now` and
    /// gains `ppm` microseconds a second from there.
    pub(crate) const fn off(now: Time, offset: i64, ppm: i32) -> Self {
        assert!(ppm > -1_000_000, "a clock that stands still never wakes its node");
        Self { since: now, shown: now.offset(offset), ppm }
    }

    /// What the clock shows at world time `now`.
    pub(crate) fn local(&self, now: Time) -> Time {
        let passed = i128::from(micros(now.since(self.since)));
        self.shown + whole(passed * (MILLION + i128::from(self.ppm)) / MILLION)
    }

    /// The first world time at which the clock shows `local` or more.
    pub(crate) fn world(&self, local: Time) -> Time {
        let shown = i128::from(micros(local.since(self.shown)));
        let pace = MILLION + i128::from(self.ppm);
        self.since + whole((shown * MILLION + pace - 1) / pace)
    }
}

fn whole(micros: i128) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn an_alarm_rings_at_the_first_instant_that_shows_it(passed: u32, offset: i32, ppm: i16) -> bool {
            let start = Time::from_secs(1_767_225_600);
            let clock = Clock::off(start, i64::from(offset), i32::from(ppm) * 10);
            let alarm = clock.local(start) + Duration::from_micros(u64::from(passed));
            let at = clock.world(alarm);
            let before = at - Duration::from_micros(1);
            clock.local(at) >= alarm && (passed == 0 || clock.local(before) < alarm)
        }
    }

    #[test]
    fn drift_adds_up() {
        let start = Time::from_secs(100);
        let clock = Clock::off(start, -4_000_000, 500);
        assert_eq!(clock.local(start), Time::from_secs(96));
        let later = start + Duration::from_secs(1_000);
        assert_eq!(clock.local(later).diff_micros(later), -3_500_000);
    }
}
