//! What will happen, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use eddy_core::Time;

use crate::conn::{ConnKey, EndKey};
use crate::node::NodeIx;

/// Something that happens in the world. Small and `Copy`: payloads wait in
/// slabs and pipes, not in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A new node is asked for its first actions.
    Start(NodeIx),
    /// The event kept in this slot reaches a node.
    Post { node: NodeIx, slot: u32 },
    /// A node's deadline may have come.
    Wake(NodeIx),
    /// A wake that nobody asked for.
    Nudge(NodeIx),
    /// A frozen node may go on.
    Thaw(NodeIx),
    /// A node's uplink has sent what it was sending.
    Served(NodeIx),
    /// The connection attempt kept in this slot reaches its target.
    Syn { slot: u32 },
    /// The oldest parcel in flight reaches this end.
    Arrive(EndKey),
    /// This end goes on reading.
    Read(EndKey),
    /// This end learns that its receiver has room again.
    Resume(EndKey),
    /// This end learns that its connection is over.
    Hangup(EndKey),
    /// This end has tried long enough to flush before closing.
    Linger(EndKey),
    /// A connection breaks.
    Reset(ConnKey),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Time,
    /// Number of the push: what is pushed first happens first.
    number: u64,
    kind: Kind,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A queue ordered by time, and by order of pushing within one time.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    pushed: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Time, kind: Kind) {
        self.heap.push(Reverse(Entry { at, number: self.pushed, kind }));
        self.pushed += 1;
    }

    /// Takes out the first entry if it is due by `until`.
    pub(crate) fn pop(&mut self, until: Time) -> Option<(Time, Kind)> {
        if self.heap.peek()?.0.at > until {
            return None;
        }
        self.heap.pop().map(|Reverse(e)| (e.at, e.kind))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn comes_out_by_time_then_by_push(times: Vec<u8>, until: u8) -> bool {
            let mut queue = Queue::default();
            for (i, &t) in times.iter().enumerate() {
                queue.push(Time::from_micros(t.into()), Kind::Wake(NodeIx(i as u32)));
            }
            let mut want: Vec<(u8, u32)> = times.iter().copied().zip(0..).collect();
            want.retain(|&(t, _)| t <= until);
            want.sort_unstable();
            let got: Vec<(u8, u32)> =
                std::iter::from_fn(|| queue.pop(Time::from_micros(until.into())))
                    .map(|(t, kind)| {
                        let Kind::Wake(n) = kind else { unreachable!() };
                        (t.as_micros() as u8, n.0)
                    })
                    .collect();
            got == want && queue.len() == times.len() - got.len()
        }
    }

    #[test]
    fn an_entry_is_half_a_cache_line() {
        assert!(size_of::<Entry>() <= 32);
    }
}
