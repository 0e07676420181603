//! The user's cap on upload.

use core::time::Duration;

use crate::time::{Time, micros};

/// A token bucket of a tenth of a second, which may go into debt by one block so
/// that a block larger than that still goes out.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    rate: Option<u64>,
    level: i64,
    at: Time,
}

impl Bucket {
    pub(super) fn new(rate: Option<u64>, now: Time) -> Self {
        Self { rate, level: 0, at: now }
    }

    fn level_at(&self, now: Time, rate: u64) -> i64 {
        let refill = u128::from(rate) * u128::from(micros(now.since(self.at))) / 1_000_000;
        let full = i64::try_from(rate / 10).unwrap_or(i64::MAX).max(1);
        self.level.saturating_add(i64::try_from(refill).unwrap_or(i64::MAX)).min(full)
    }

    pub(super) fn would_open(&self, now: Time) -> bool {
        self.rate.is_none_or(|rate| self.level_at(now, rate) > 0)
    }

    pub(super) fn is_open(&mut self, now: Time) -> bool {
        if let Some(rate) = self.rate {
            let level = self.level_at(now, rate);
            // A refill below one byte must not be rounded away.
            if level != self.level {
                self.level = level;
                self.at = now;
            }
        }
        self.would_open(now)
    }

    pub(super) fn take(&mut self, bytes: usize) {
        if self.rate.is_some() {
            self.level = self.level.saturating_sub_unsigned(bytes as u64);
        }
    }

    pub(super) fn opens_at(&self, now: Time) -> Time {
        let Some(rate) = self.rate else { return now };
        let missing = (1 - self.level_at(now, rate)).max(0).unsigned_abs();
        now + Duration::from_micros(missing * 1_000_000 / rate.max(1) + 1)
    }
}
