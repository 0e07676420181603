//! The fingerprint of a run: FNV-1a over the events delivered.

use eddy_core::{Event, Time};

use crate::node::NodeIx;

/// FNV-1a, 64 bits (Fowler, Noll, Vo): not for adversaries, but the same on
/// every machine, which std's hashers do not promise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    /// Takes in that `event` reached `node` at `now`.
    pub(crate) fn event(&mut self, now: Time, node: NodeIx, event: &Event) {
        let (kind, size) = digest(event);
        self.write(&now.as_micros().to_be_bytes());
        self.write(&node.0.to_be_bytes());
        self.write(&[kind]);
        self.write(&(size as u64).to_be_bytes());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.0 = (self.0 ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// An event's kind and its size in bytes, zero if it has none.
fn digest(event: &Event) -> (u8, usize) {
    match event {
        Event::Wake => (0, 0),
        Event::Opened { .. } => (1, 0),
        Event::DialFailed { .. } => (2, 0),
        Event::Received { bytes, .. } => (3, bytes.len()),
        Event::Flushed { bytes, .. } => (4, *bytes),
        Event::Closed { .. } => (5, 0),
        Event::Datagram { bytes, .. } => (6, bytes.len()),
        Event::Command { .. } => (7, 0),
        Event::Disk(_) => (8, 0),
        _ => (u8::MAX, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_vectors() {
        for (text, want) in [("", 0xcbf2_9ce4_8422_2325), ("foobar", 0x8594_4171_f739_67e8_u64)] {
            let mut h = Fnv::new();
            h.write(text.as_bytes());
            assert_eq!(h.value(), want);
        }
    }

    #[test]
    fn every_field_counts() {
        let of = |t, n, e| {
            let mut h = Fnv::new();
            h.event(Time::from_micros(t), NodeIx(n), &e);
            h.value()
        };
        let flushed = |bytes| Event::Flushed { link: eddy_core::LinkId(0), bytes };
        let base = of(1, 1, flushed(1));
        assert_eq!(base, of(1, 1, flushed(1)));
        for other in [of(2, 1, flushed(1)), of(1, 2, flushed(1)), of(1, 1, flushed(2))] {
            assert_ne!(base, other);
        }
        assert_ne!(of(1, 1, Event::Wake), of(1, 1, flushed(0)));
    }
}
