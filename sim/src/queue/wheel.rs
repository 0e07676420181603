//! What waits in a timing wheel: buckets of about a millisecond, sorted when they
//! are reached (performance study 2.4, rule 3).

use std::mem;

use eddy_core::Time;

use super::Entry;
use super::heap::Heap;

/// A bucket is 2^10 µs long.
const WIDTH: u32 = 10;
/// Buckets: a turn of the wheel is 8.4 s. What comes later waits in a heap.
const BUCKETS: u64 = 8_192;
/// Bits of a word of the map of buckets.
const WORD: u64 = u64::BITS as u64;

#[derive(Debug)]
pub(super) struct Wheel<K> {
    /// What bucket `current` held when it was reached, the earliest last.
    active: Vec<Entry<K>>,
    /// What was put into it since. In a large world a bucket holds thousands, and
    /// each would be moved to make room for one among them.
    soon: Heap<K>,
    current: u64,
    buckets: Vec<Vec<Entry<K>>>,
    /// A bit for each bucket that is not empty.
    filled: Vec<u64>,
    /// Entries in buckets.
    waiting: usize,
    /// What is more than a turn away.
    later: Heap<K>,
}

impl<K: Copy> Wheel<K> {
    pub(super) fn new(now: Time) -> Self {
        Self {
            active: Vec::new(),
            soon: Heap::default(),
            current: bucket(now),
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            filled: vec![0; (BUCKETS / WORD) as usize],
            waiting: 0,
            later: Heap::default(),
        }
    }

    pub(super) fn push(&mut self, entry: Entry<K>) {
        let at = bucket(entry.at);
        if at <= self.current {
            self.soon.push(entry);
        } else if at - self.current < BUCKETS {
            self.place(at, entry);
        } else {
            self.later.push(entry);
        }
    }

    fn place(&mut self, at: u64, entry: Entry<K>) {
        let slot = at % BUCKETS;
        self.buckets[slot as usize].push(entry);
        self.filled[(slot / WORD) as usize] |= 1 << (slot % WORD);
        self.waiting += 1;
    }

    pub(super) fn pop(&mut self, until: Time) -> Option<Entry<K>> {
        while self.active.is_empty() && self.soon.len() == 0 {
            if !self.turn(until) {
                return None;
            }
        }
        match (self.active.last(), self.soon.first()) {
            (Some(old), Some(new)) if new.key() < old.key() => self.soon.pop(until),
            (Some(_), _) => self.active.pop_if(|entry| entry.at <= until),
            (None, _) => self.soon.pop(until),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.active.len() + self.soon.len() + self.waiting + self.later.len()
    }

    /// Goes on to the next bucket that holds something, if that is not later than
    /// `until`.
    fn turn(&mut self, until: Time) -> bool {
        let last = bucket(until);
        let next = if self.waiting > 0 { self.next_filled() } else { u64::MAX };
        let first_later = self.later.first().map_or(u64::MAX, |e| bucket(e.at));
        let next = next.min(first_later);
        if next > last {
            return false;
        }
        self.current = next;
        // The turn begins here now, and reaches further.
        let end = Time::from_micros((next + BUCKETS).saturating_mul(1 << WIDTH) - 1);
        while let Some(entry) = self.later.pop(end) {
            let at = bucket(entry.at);
            self.place(at, entry);
        }
        let slot = next % BUCKETS;
        self.filled[(slot / WORD) as usize] &= !(1 << (slot % WORD));
        // The room goes with the bucket: were it kept, each of the thousands would
        // in time have the room of the largest.
        self.active.append(&mut mem::take(&mut self.buckets[slot as usize]));
        self.waiting -= self.active.len();
        self.active.sort_unstable_by_key(|e| std::cmp::Reverse(e.key()));
        true
    }

    /// The next bucket after the current one that is not empty; there is one.
    fn next_filled(&self) -> u64 {
        let from = self.current + 1;
        let (mut word, bit) = ((from % BUCKETS) / WORD, from % WORD);
        let mut bits = self.filled[word as usize] & (u64::MAX << bit);
        let mut base = from - bit;
        while bits == 0 {
            word = (word + 1) % (BUCKETS / WORD);
            base += WORD;
            bits = self.filled[word as usize];
        }
        base + u64::from(bits.trailing_zeros())
    }
}

fn bucket(at: Time) -> u64 {
    at.as_micros() >> WIDTH
}
