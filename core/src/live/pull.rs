//! Pull, rarest first: what to ask of whom, once a second, and nothing is
//! subscribed to (DONet, INFOCOM 2005, section IV; the heuristic as its
//! re-implementations have it, StreamAid and wmlab's).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{NodeId, Seq};
use crate::time::Time;
use crate::wire::message::MAX_PULL;

/// The time between two schedules (DONet: a scheduling period).
pub(crate) const PERIOD: Duration = Duration::from_secs(1);
/// Who brings nothing of what it was asked for is not taken for slower than
/// this, or it would never be asked again.
const SLOWEST: Duration = Duration::from_secs(10);

/// A block that is missing, and asked of nobody.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) seq: Seq,
    /// How long it is until its deadline.
    pub(crate) left: Duration,
    /// Those who have it, by their places in the list of suppliers.
    pub(crate) has: SmallVec<[usize; 8]>,
}

/// A partner that blocks can be asked of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Supplier {
    pub(crate) node: NodeId,
    /// What one block takes from it: the inverse of its bandwidth.
    pub(crate) pace: Duration,
}

/// Which block to ask of whom, in the order of deciding: blocks with one
/// supplier, then those with two, and so on; each of the supplier with the most
/// bandwidth that can bring it before its deadline, beside the earlier blocks
/// that it is asked for already.
pub(crate) fn schedule(mut wanted: Vec<Wanted>, suppliers: &[Supplier]) -> Vec<(Seq, NodeId)> {
    wanted.sort_by_key(|w| (w.has.len(), w.seq));
    let mut asked: Vec<SmallVec<[Seq; 8]>> = suppliers.iter().map(|_| SmallVec::new()).collect();
    let mut plan = Vec::new();
    for Wanted { seq, left, has } in wanted {
        let able = has.into_iter().filter_map(|at| {
            let (supplier, asked) = (suppliers.get(at)?, asked.get(at)?);
            // One link brings blocks in order.
            let before = asked.iter().filter(|other| **other < seq).count() as u32;
            let in_time = supplier.pace.saturating_mul(before + 1) <= left;
            (in_time && asked.len() < MAX_PULL).then_some((supplier.pace, asked.len(), at))
        });
        let Some((_, _, at)) = able.min() else { continue };
        if let (Some(supplier), Some(asked)) = (suppliers.get(at), asked.get_mut(at)) {
            asked.push(seq);
            plan.push((seq, supplier.node));
        }
    }
    plan
}

/// How a partner answered.
#[derive(Clone, Copy, Debug)]
struct Answers {
    /// Smoothed time for a block; `None` before the first.
    pace: Option<Duration>,
    /// When it was last asked, and whether it was since the last look.
    asked: Option<Time>,
    came: u32,
    last: Time,
}

/// When the next schedule is due, and how quickly partners bring blocks.
#[derive(Debug, Default)]
pub(crate) struct Pull {
    next: Time,
    answers: BTreeMap<NodeId, Answers>,
}

impl Pull {
    pub(crate) fn is_due(&self, now: Time) -> bool {
        now >= self.next
    }

    /// A schedule begins, the next one follows at `next`: looks back on what
    /// partners brought, and forgets those who are none any more.
    pub(crate) fn begin(&mut self, next: Time, is_partner: impl Fn(NodeId) -> bool) {
        self.next = next;
        self.answers.retain(|node, _| is_partner(*node));
        for a in self.answers.values_mut() {
            let Some(asked) = a.asked.take() else { continue };
            a.pace = match (a.pace, a.came) {
                (None, 0) => None,
                (Some(pace), 0) => Some((pace * 2).min(SLOWEST)),
                (None, came) => Some(a.last.since(asked) / came),
                (Some(pace), came) => Some((pace * 3 + a.last.since(asked) / came) / 4),
            };
            a.came = 0;
        }
    }

    /// What one block takes from a partner, as far as it is known.
    pub(crate) fn pace(&self, node: NodeId) -> Option<Duration> {
        self.answers.get(&node)?.pace
    }

    pub(crate) fn asked(&mut self, now: Time, node: NodeId) {
        let fresh = Answers { pace: None, asked: None, came: 0, last: now };
        self.answers.entry(node).or_insert(fresh).asked = Some(now);
    }

    /// A block came from a node.
    pub(crate) fn arrived(&mut self, now: Time, node: NodeId) {
        if let Some(a) = self.answers.get_mut(&node) {
            a.came += 1;
            a.last = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec;
    use quickcheck::quickcheck;

    fn node(n: usize) -> NodeId {
        NodeId([n as u8; 16])
    }

    fn suppliers(paces: &[u64]) -> Vec<Supplier> {
        let supplier =
            |(n, ms): (usize, &u64)| Supplier { node: node(n), pace: Duration::from_millis(*ms) };
        paces.iter().enumerate().map(supplier).collect()
    }

    fn wanted(seq: u64, left_ms: u64, has: &[usize]) -> Wanted {
        Wanted {
            seq: Seq(seq),
            left: Duration::from_millis(left_ms),
            has: SmallVec::from_slice(has),
        }
    }

    #[test]
    fn the_rarest_is_asked_for_first_and_of_the_fastest_that_is_in_time() {
        let all = suppliers(&[100, 200, 900]);
        // Block 3 has but the fastest, which has no time for block 4 then.
        let blocks = vec![
            wanted(1, 1_000, &[0, 1, 2]),
            wanted(3, 100, &[0]),
            wanted(4, 199, &[0, 1]),
            wanted(5, 200, &[1, 2]),
            wanted(6, 50, &[0, 1, 2]),
        ];
        let plan = schedule(blocks, &all);
        assert_eq!(plan, [(Seq(3), node(0)), (Seq(5), node(1)), (Seq(1), node(0))]);
    }

    #[test]
    fn equals_share_the_work() {
        let blocks = (0..8).map(|seq| wanted(seq, 10_000, &[0, 1])).collect();
        let plan = schedule(blocks, &suppliers(&[1_000, 1_000]));
        assert_eq!(plan.iter().filter(|(_, n)| *n == node(0)).count(), 4);
    }

    #[test]
    fn pace_is_what_was_measured() {
        let (mut pull, a) = (Pull::default(), node(1));
        let at = Time::from_millis;
        assert!(pull.is_due(at(0)));
        pull.begin(at(1_000), |_| true);
        assert!(!pull.is_due(at(999)));
        pull.asked(at(0), a);
        assert_eq!(pull.pace(a), None);
        (1..=4).for_each(|n| pull.arrived(at(n * 50), a));
        pull.begin(at(2_000), |_| true);
        assert_eq!(pull.pace(a), Some(Duration::from_millis(50)));
        pull.begin(at(3_000), |_| true);
        assert_eq!(pull.pace(a), Some(Duration::from_millis(50)), "it was not asked");
        pull.asked(at(2_000), a);
        pull.begin(at(4_000), |_| true);
        assert_eq!(pull.pace(a), Some(Duration::from_millis(100)), "it brought nothing");
        pull.begin(at(5_000), |_| false);
        assert_eq!(pull.pace(a), None);
    }

    quickcheck! {
        fn a_schedule_keeps_its_rules(blocks: Vec<(u16, u8)>, paces: Vec<u8>) -> bool {
            let paces: Vec<u64> = paces.iter().take(8).map(|p| u64::from(*p)).collect();
            let all = suppliers(&paces);
            let blocks: BTreeMap<u64, Wanted> = blocks
                .iter()
                .enumerate()
                .map(|(n, (left, has))| {
                    let has: Vec<usize> = (0..all.len()).filter(|i| has >> i & 1 == 1).collect();
                    (n as u64, wanted(n as u64, u64::from(*left), &has))
                })
                .collect();
            let plan = schedule(blocks.values().cloned().collect(), &all);
            let once: BTreeSet<Seq> = plan.iter().map(|(seq, _)| *seq).collect();
            let rarest = plan.windows(2).all(|w| {
                blocks[&w[0].0.0].has.len() <= blocks[&w[1].0.0].has.len()
            });
            let held = plan.iter().enumerate().all(|(n, (seq, from))| {
                let block = &blocks[&seq.0];
                let at = all.iter().position(|s| s.node == *from).unwrap();
                let earlier = plan[..n].iter().filter(|(s, f)| f == from && s < seq).count();
                let asked = plan[..n].iter().filter(|(_, f)| f == from).count();
                block.has.contains(&at)
                    && all[at].pace * (earlier as u32 + 1) <= block.left
                    && asked < MAX_PULL
            });
            once.len() == plan.len() && rarest && held
        }
    }
}
