//! The driver's clock.

use std::time::{Instant, SystemTime};

use eddy_core::Time;

/// Wall-clock time that never jumps: the epoch is fixed once, from then on the
/// monotonic clock counts. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Time,
    origin: Instant,
}

impl Clock {
    /// Reads the wall clock, for the only time. One that stands before 1970
    /// counts as 1970.
    #[must_use]
    pub fn start() -> Self {
        let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self { start: Time::ZERO + unix, origin: Instant::now() }
    }

    /// The time now, cut to whole microseconds.
    #[must_use]
    pub fn now(&self) -> Time {
        self.start + self.origin.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_starts_at_the_wall_clock_and_copies_agree() {
        let clock = Clock::start();
        let copy = clock;
        let wall = Time::ZERO + SystemTime::UNIX_EPOCH.elapsed().unwrap();
        assert!(wall.since(clock.now()) < Duration::from_secs(1));
        assert!(clock.now().since(wall) < Duration::from_secs(1));
        let (a, b, c) = (clock.now(), copy.now(), clock.now());
        assert!(a <= b && b <= c);
    }
}
