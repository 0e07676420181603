//! What will happen, in order: by time, and by order of pushing within one time.
//! Two ways to keep it give the same order, which a test of each world can ask
//! for: a timing wheel, whose cost does not grow with what waits, and a heap.

mod heap;
mod wheel;

use eddy_core::Time;

use heap::Heap;
use wheel::Wheel;

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

/// Something that waits, of whatever kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<K> {
    at: Time,
    /// Number of the push: what is pushed first happens first.
    number: u64,
    kind: K,
}

impl<K> Entry<K> {
    fn key(&self) -> (Time, u64) {
        (self.at, self.number)
    }
}

/// How a world keeps what will happen. The order is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// A timing wheel.
    #[default]
    Wheel,
    /// A binary heap.
    Heap,
}

/// A queue ordered by time, and by order of pushing within one time.
#[derive(Debug)]
pub struct Queue<K> {
    way: Way<K>,
    pushed: u64,
}

#[derive(Debug)]
enum Way<K> {
    Wheel(Box<Wheel<K>>),
    Heap(Heap<K>),
}

impl<K: Copy> Queue<K> {
    /// An empty queue; `now` is when the first entry may be due.
    pub fn new(keeping: Keeping, now: Time) -> Self {
        let way = match keeping {
            Keeping::Wheel => Way::Wheel(Box::new(Wheel::new(now))),
            Keeping::Heap => Way::Heap(Heap::default()),
        };
        Self { way, pushed: 0 }
    }

    /// Puts something in that happens at `at`.
    pub fn push(&mut self, at: Time, kind: K) {
        let entry = Entry { at, number: self.pushed, kind };
        self.pushed += 1;
        match &mut self.way {
            Way::Wheel(wheel) => wheel.push(entry),
            Way::Heap(heap) => heap.push(entry),
        }
    }

    /// Takes out the first entry if it is due by `until`.
    pub fn pop(&mut self, until: Time) -> Option<(Time, K)> {
        let entry = match &mut self.way {
            Way::Wheel(wheel) => wheel.pop(until),
            Way::Heap(heap) => heap.pop(until),
        };
        entry.map(|e| (e.at, e.kind))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match &self.way {
            Way::Wheel(wheel) => wheel.len(),
            Way::Heap(heap) => heap.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// Pushes and pops as they are told, on both kinds.
    fn same(steps: &[(bool, u32)]) -> bool {
        let start = Time::from_secs(1_000);
        let mut queues = [Keeping::Wheel, Keeping::Heap].map(|k| Queue::<u32>::new(k, start));
        let (mut now, mut out) = (start, [Vec::new(), Vec::new()]);
        for (n, &(push, far)) in (0..).zip(steps) {
            // Most are near, some are hours away.
            let micros = u64::from(far) >> (far % 31);
            let at = now.offset(micros as i64);
            for (queue, out) in queues.iter_mut().zip(&mut out) {
                if push {
                    queue.push(at, n);
                } else {
                    out.extend(std::iter::from_fn(|| queue.pop(at)));
                }
            }
            if !push {
                now = at;
            }
        }
        for (queue, out) in queues.iter_mut().zip(&mut out) {
            out.extend(std::iter::from_fn(|| queue.pop(Time::LAST)));
        }
        let in_order = out[0].windows(2).all(|w| w[0].0 <= w[1].0);
        out[0] == out[1] && in_order && queues.iter().all(Queue::is_empty)
    }

    quickcheck! {
        fn both_kinds_give_the_same_order(steps: Vec<(bool, u32)>) -> bool {
            same(&steps)
        }

        fn comes_out_by_time_then_by_push(times: Vec<u8>, until: u8) -> bool {
            let mut queue = Queue::new(Keeping::Wheel, Time::ZERO);
            for (i, &t) in times.iter().enumerate() {
                queue.push(Time::from_micros(t.into()), i as u32);
            }
            let mut want: Vec<(u8, u32)> = times.iter().copied().zip(0..).collect();
            want.retain(|&(t, _)| t <= until);
            want.sort_unstable();
            let until = Time::from_micros(until.into());
            let got: Vec<(u8, u32)> = std::iter::from_fn(|| queue.pop(until))
                .map(|(t, n)| (t.as_micros() as u8, n))
                .collect();
            got == want && queue.len() == times.len() - got.len()
        }
    }

    #[test]
    fn an_entry_is_half_a_cache_line() {
        assert!(size_of::<Entry<Kind>>() <= 32);
    }
}
