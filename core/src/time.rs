//! The core's own time: it is told the time and never asks for it.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A moment, in microseconds since the Unix epoch.
///
/// A driver fixes the epoch once, when it starts, and follows a monotonic
/// clock from there, so a `Time` never goes back even if the machine's wall
/// clock does. All arithmetic saturates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The epoch itself: midnight UTC, 1 January 1970.
    pub const ZERO: Self = Self(0);

    /// The latest moment that a machine lives through: beyond it there is no
    /// room for its timers.
    pub const LAST: Self = Self(u64::MAX / 2);

    /// A moment from microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A moment from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// A moment from seconds since the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Microseconds from `other` to this moment, negative if `other` is later.
    pub const fn diff_micros(self, other: Self) -> i64 {
        if self.0 >= other.0 {
            let d = self.0 - other.0;
            if d > i64::MAX as u64 { i64::MAX } else { d as i64 }
        } else {
            let d = other.0 - self.0;
            if d > i64::MAX as u64 { i64::MIN } else { -(d as i64) }
        }
    }

    /// This moment moved by a signed number of microseconds.
    pub const fn offset(self, micros: i64) -> Self {
        Self(self.0.saturating_add_signed(micros))
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(micros(d)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(micros(d)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Whole microseconds of a duration, saturating.
pub const fn micros(d: Duration) -> u64 {
    let m = d.as_micros();
    if m > u64::MAX as u128 { u64::MAX } else { m as u64 }
}

/// Whole microseconds of a duration as a signed number, saturating.
pub const fn signed_micros(d: Duration) -> i64 {
    let m = micros(d);
    if m > i64::MAX as u64 { i64::MAX } else { m as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let end = Time::from_micros(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Time::ZERO - Duration::from_secs(1), Time::ZERO);
        assert_eq!(Time::ZERO.since(end), Duration::ZERO);
        assert_eq!(end.diff_micros(Time::ZERO), i64::MAX);
        assert_eq!(Time::ZERO.diff_micros(end), i64::MIN);
    }

    #[test]
    fn differences_are_signed() {
        let (a, b) = (Time::from_millis(5), Time::from_millis(8));
        assert_eq!(a.diff_micros(b), -3_000);
        assert_eq!(b.diff_micros(a), 3_000);
        assert_eq!(a.offset(b.diff_micros(a)), b);
    }
}
