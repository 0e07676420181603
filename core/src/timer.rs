//! One ordered queue of timers, keyed by purpose.

use alloc::collections::{BTreeMap, BinaryHeap};
use core::cmp::Reverse;

use crate::time::Time;

/// Timers: at most one a key; arming a key again replaces its time. A key's
/// place is kept when it is disarmed, so that steady work allocates nothing.
#[derive(Clone, Debug)]
pub struct TimerQueue<K: Ord + Copy> {
    armed: BTreeMap<K, Option<Time>>,
    /// May hold entries that `armed` no longer agrees with; they are skipped.
    heap: BinaryHeap<Reverse<(Time, K)>>,
}

impl<K: Ord + Copy> Default for TimerQueue<K> {
    fn default() -> Self {
        Self { armed: BTreeMap::new(), heap: BinaryHeap::new() }
    }
}

impl<K: Ord + Copy> TimerQueue<K> {
    /// Arms a key, replacing its earlier time.
    pub fn arm(&mut self, key: K, at: Time) {
        if self.armed.insert(key, Some(at)) == Some(Some(at)) {
            return;
        }
        self.heap.push(Reverse((at, key)));
        if self.heap.len() > 16 + 4 * self.armed.len() {
            self.compact();
        }
    }

    /// Arms a key unless it is armed for an earlier time.
    pub fn arm_by(&mut self, key: K, at: Time) {
        if self.at(key).is_none_or(|t| t > at) {
            self.arm(key, at);
        }
    }

    /// Disarms a key.
    pub fn disarm(&mut self, key: K) {
        if let Some(at) = self.armed.get_mut(&key) {
            *at = None;
        }
    }

    /// The time a key is armed for.
    pub fn at(&self, key: K) -> Option<Time> {
        self.armed.get(&key).copied().flatten()
    }

    /// The earliest time any key is armed for.
    pub fn first(&mut self) -> Option<Time> {
        while let Some(Reverse((at, key))) = self.heap.peek().copied() {
            if self.at(key) == Some(at) {
                return Some(at);
            }
            self.heap.pop();
        }
        None
    }

    /// Takes the earliest key that is due. It is disarmed before its caller
    /// acts, so a handler that forgets to arm it again cannot loop.
    pub fn pop_due(&mut self, now: Time) -> Option<K> {
        if self.first()? > now {
            return None;
        }
        let Reverse((_, key)) = self.heap.pop()?;
        self.disarm(key);
        Some(key)
    }

    fn compact(&mut self) {
        self.heap.clear();
        let live = self.armed.iter().filter_map(|(key, at)| at.map(|at| Reverse((at, *key))));
        self.heap.extend(live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
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

    #[test]
    fn arming_again_and_again_keeps_the_queue_small() {
        let mut queue = TimerQueue::default();
        for n in 0..100_000 {
            queue.arm(n % 3, Time::from_micros(n));
        }
        assert!(queue.heap.len() <= 16 + 4 * 3 + 1);
        assert_eq!(queue.first(), Some(Time::from_micros(99_997)));
    }
}
