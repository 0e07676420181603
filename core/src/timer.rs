//! One ordered queue of timers, keyed by purpose.

use alloc::vec::Vec;

use crate::time::Time;

/// Timers: at most one a key; arming a key again replaces its time. There are few
/// keys, so a sorted list is faster than anything cleverer, and lies in one place.
#[derive(Clone, Debug)]
pub struct TimerQueue<K: Ord + Copy> {
    /// The latest first.
    armed: Vec<(Time, K)>,
}

impl<K: Ord + Copy> Default for TimerQueue<K> {
    fn default() -> Self {
        Self { armed: Vec::new() }
    }
}

impl<K: Ord + Copy> TimerQueue<K> {
    /// Arms a key, replacing its earlier time.
    pub fn arm(&mut self, key: K, at: Time) {
        self.disarm(key);
        let place = self.armed.partition_point(|armed| *armed > (at, key));
        self.armed.insert(place, (at, key));
    }

    /// Arms a key unless it is armed for an earlier time.
    pub fn arm_by(&mut self, key: K, at: Time) {
        if self.at(key).is_none_or(|t| t > at) {
            self.arm(key, at);
        }
    }

    /// Disarms a key.
    pub fn disarm(&mut self, key: K) {
        if let Some(place) = self.armed.iter().position(|(_, armed)| *armed == key) {
            self.armed.remove(place);
        }
    }

    /// The time a key is armed for.
    pub fn at(&self, key: K) -> Option<Time> {
        self.armed.iter().find(|(_, armed)| *armed == key).map(|(at, _)| *at)
    }

    /// The earliest time any key is armed for.
    pub fn first(&self) -> Option<Time> {
        self.armed.last().map(|(at, _)| *at)
    }

    /// Takes the earliest key that is due. It is disarmed before its caller
    /// acts, so a handler that forgets to arm it again cannot loop.
    pub fn pop_due(&mut self, now: Time) -> Option<K> {
        self.armed.pop_if(|(at, _)| *at <= now).map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    #[derive(Clone, Debug)]
    enum Op {
        Arm(u8, u16),
        ArmBy(u8, u16),
        Disarm(u8),
        Advance(u16),
    }

    impl Arbitrary for Op {
        fn arbitrary(g: &mut Gen) -> Self {
            let key = u8::arbitrary(g) % 8;
            let n = u16::arbitrary(g) % 500;
            match u8::arbitrary(g) % 4 {
                0 => Self::Arm(key, n),
                1 => Self::ArmBy(key, n),
                2 => Self::Disarm(key),
                _ => Self::Advance(n),
            }
        }
    }

    quickcheck! {
        fn behaves_like_a_plain_map(ops: Vec<Op>) -> bool {
            let mut queue = TimerQueue::default();
            let mut model: BTreeMap<u8, Time> = BTreeMap::new();
            let mut now = Time::ZERO;
            for op in ops {
                let at = |n: u16| Time::from_micros(u64::from(n));
                match op {
                    Op::Arm(k, n) => {
                        queue.arm(k, at(n));
                        model.insert(k, at(n));
                    }
                    Op::ArmBy(k, n) => {
                        queue.arm_by(k, at(n));
                        let t = model.entry(k).or_insert(at(n));
                        *t = (*t).min(at(n));
                    }
                    Op::Disarm(k) => {
                        queue.disarm(k);
                        model.remove(&k);
                    }
                    Op::Advance(n) => {
                        now = now.max(at(n));
                        while let Some(key) = queue.pop_due(now) {
                            let earliest = model.values().min().copied();
                            let due = model.remove(&key);
                            if due.is_none_or(|t| t > now) || due != earliest {
                                return false;
                            }
                        }
                    }
                }
                if queue.first() != model.values().min().copied() {
                    return false;
                }
            }
            true
        }
    }
}
