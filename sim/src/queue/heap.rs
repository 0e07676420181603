//! What waits in a binary heap.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use eddy_core::Time;

use super::Entry;

/// The earliest is at the top.
#[derive(Debug)]
pub(super) struct Heap<K>(BinaryHeap<Earliest<K>>);

#[derive(Debug)]
struct Earliest<K>(Entry<K>);

impl<K> PartialEq for Earliest<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl<K> Eq for Earliest<K> {}

impl<K> Ord for Earliest<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.key().cmp(&self.0.key())
    }
}

impl<K> PartialOrd for Earliest<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Default for Heap<K> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<K> Heap<K> {
    pub(super) fn push(&mut self, entry: Entry<K>) {
        self.0.push(Earliest(entry));
    }

    pub(super) fn pop(&mut self, until: Time) -> Option<Entry<K>> {
        if self.0.peek()?.0.at > until {
            return None;
        }
        self.0.pop().map(|Earliest(entry)| entry)
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<&Entry<K>> {
        self.0.peek().map(|Earliest(entry)| entry)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
