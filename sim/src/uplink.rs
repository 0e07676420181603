//! A node's uplink: one server for all that the node sends.

use std::collections::VecDeque;

use eddy_core::Time;

use crate::conn::EndKey;

/// Whose turn it is, and when the uplink is free again.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// Bytes per second; `None` sends everything at once.
    rate: Option<u64>,
    /// Ends with something to send, in the order of service.
    line: VecDeque<EndKey>,
    /// Whose bytes are being sent.
    serving: Option<EndKey>,
    /// When the last service ends, in nanoseconds since the epoch: whole
    /// microseconds would add up to a wrong rate.
    free: u64,
}

impl Uplink {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let mut uplink = Self { rate: None, line: VecDeque::new(), serving: None, free: 0 };
        uplink.set_rate(rate);
        uplink
    }

    /// Changes the rate from the next service on.
    pub(crate) fn set_rate(&mut self, rate: Option<u64>) {
        assert_ne!(rate, Some(0), "an uplink of 0 bytes/s never sends: give it at least 1");
        self.rate = rate;
    }

    /// Whether bytes pass without waiting.
    pub(crate) fn is_instant(&self) -> bool {
        self.rate.is_none() && self.is_idle() && self.line.is_empty()
    }

    /// Whether nothing is being sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.serving.is_none()
    }

    /// Puts an end at the back of the line.
    pub(crate) fn join(&mut self, end: EndKey) {
        self.line.push_back(end);
    }

    /// Takes the end at the front of the line.
    pub(crate) fn next(&mut self) -> Option<EndKey> {
        self.line.pop_front()
    }

    /// Begins to send `bytes` of `end` and returns when they will have left.
    pub(crate) fn serve(&mut self, now: Time, end: EndKey, bytes: usize) -> Time {
        const NANOS: u128 = 1_000_000_000;
        // Asked in the very microsecond in which the last service ended, it
        // was never idle: go on from the exact end.
        if self.free.div_ceil(1_000) != now.as_micros() {
            self.free = now.as_micros().saturating_mul(1_000);
        }
        let took = self.rate.map_or(0, |rate| bytes as u128 * NANOS / u128::from(rate));
        self.free = self.free.saturating_add(u64::try_from(took).unwrap_or(u64::MAX));
        self.serving = Some(end);
        Time::from_micros(self.free.div_ceil(1_000))
    }

    /// The service is over: whose was it?
    pub(crate) fn finish(&mut self) -> Option<EndKey> {
        self.serving.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::{ConnKey, Side};

    #[test]
    fn fractions_of_a_microsecond_do_not_add_up() {
        let end = EndKey { conn: ConnKey { ix: 0, serial: 0 }, side: Side::Dialler };
        let start = Time::from_secs(1_767_225_600);
        let mut uplink = Uplink::new(Some(3_000_000));
        let mut now = start;
        for _ in 0..30_000 {
            now = uplink.serve(now, end, 100);
            uplink.finish();
        }
        // Rounding each of the 30,000 services up would make it 1.02 s.
        assert!((999_980..=1_000_000).contains(&now.since(start).as_micros()));
        // After a pause it starts from then, not from where it left off.
        let late = now + std::time::Duration::from_secs(1);
        assert_eq!(uplink.serve(late, end, 3_000_000).since(late).as_micros(), 1_000_000);
    }
}
