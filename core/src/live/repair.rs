//! Repair: blocks asked for one by one because their parent did not bring them.

use alloc::collections::BTreeMap;
use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{NodeId, Seq};
use crate::time::Time;
use crate::wire::message::MAX_PULL;

/// Blocks asked for and not here, at most.
const MAX_OUTSTANDING: usize = 512;

#[derive(Clone, Debug)]
struct Pull {
    from: NodeId,
    /// When to ask somebody else.
    until: Time,
    /// Those who said that they do not have it, or did not answer.
    tried: SmallVec<[NodeId; 4]>,
    /// Those who said so, and when.
    denied: SmallVec<[(NodeId, Time); 4]>,
}

/// How long a partner's word that it does not have a block counts.
const WORD: Duration = Duration::from_secs(5);
/// Who said so is not asked for it again for this long: what nobody has would be asked
/// for each round trip. Shorter than its word counts, so that all can be heard at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Pulls under way, by block.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    pulls: BTreeMap<Seq, Pull>,
}

/// What to ask of one partner.
pub(crate) type Asks = SmallVec<[(NodeId, SmallVec<[Seq; 8]>); 4]>;

impl Repair {
    /// Which of the missing blocks to ask for now, and of whom. `choose` picks
    /// a partner for a block, given those tried in vain, and says how long its
    /// answer may take.
    pub(crate) fn plan(
        &mut self,
        now: Time,
        missing: impl Iterator<Item = Seq>,
        mut choose: impl FnMut(Seq, &[NodeId]) -> Option<(NodeId, Duration)>,
    ) -> Asks {
        let mut asks = Asks::new();
        for seq in missing {
            let (mut tried, mut denied) = (SmallVec::new(), SmallVec::new());
            if let Some(pull) = self.pulls.get(&seq) {
                if pull.until > now {
                    continue;
                }
                tried.clone_from(&pull.tried);
                denied.clone_from(&pull.denied);
                tried.push(pull.from);
            } else if self.pulls.len() >= MAX_OUTSTANDING {
                break;
            }
            let lately = denied.iter().filter(|(_, at)| now.since(*at) <= PAUSE);
            let no: SmallVec<[NodeId; 4]> = lately.map(|(node, _)| *node).collect();
            let passed: SmallVec<[NodeId; 8]> = tried.iter().chain(&no).copied().collect();
            // Once all were tried, begin again, with those who have not just said no.
            let choice = choose(seq, &passed).or_else(|| {
                let again = choose(seq, &no).filter(|_| !tried.is_empty());
                tried.clear();
                again
            });
            let Some((from, patience)) = choice else { continue };
            let batch = match asks.iter_mut().find(|(node, _)| *node == from) {
                Some((_, batch)) => batch,
                None => {
                    asks.push((from, SmallVec::new()));
                    let Some((_, batch)) = asks.last_mut() else { break };
                    batch
                }
            };
            if batch.len() < MAX_PULL {
                batch.push(seq);
                self.pulls.insert(seq, Pull { from, until: now + patience, tried, denied });
            }
        }
        asks
    }

    /// Whom a missing block was asked of in vain; `None` while an answer is
    /// awaited.
    pub(crate) fn asked_in_vain(&self, now: Time, seq: Seq) -> Option<SmallVec<[NodeId; 4]>> {
        let Some(pull) = self.pulls.get(&seq) else { return Some(SmallVec::new()) };
        let all = pull.tried.iter().copied().chain([pull.from]);
        (pull.until <= now).then(|| all.collect())
    }

    /// Whether a block was asked of this partner.
    pub(crate) fn expects(&self, seq: Seq, from: NodeId) -> bool {
        self.pulls.get(&seq).is_some_and(|p| p.from == from || p.tried.contains(&from))
    }

    /// Whether anything is awaited from a partner.
    pub(crate) fn awaits(&self, from: NodeId) -> bool {
        self.pulls.values().any(|p| p.from == from)
    }

    /// A block came in; whether it had been asked for.
    pub(crate) fn arrived(&mut self, seq: Seq) -> bool {
        self.pulls.remove(&seq).is_some()
    }

    /// A partner does not have a block that it was asked for: somebody else may be asked
    /// at once.
    pub(crate) fn refused(&mut self, now: Time, seq: Seq, from: NodeId) {
        let Some(pull) = self.pulls.get_mut(&seq).filter(|p| p.from == from) else { return };
        pull.until = now;
        pull.denied.retain(|(node, at)| *node != from && now.since(*at) <= WORD);
        pull.denied.push((from, now));
    }

    /// Whether a partner said lately that it does not have a block.
    pub(crate) fn was_denied(&self, now: Time, seq: Seq, by: NodeId) -> bool {
        let denied = self.pulls.get(&seq).map_or(&[][..], |p| &p.denied);
        denied.iter().any(|(node, at)| *node == by && now.since(*at) <= WORD)
    }

    /// A partner is gone: what it was asked for may be asked of others.
    pub(crate) fn gone(&mut self, now: Time, from: NodeId) {
        for pull in self.pulls.values_mut().filter(|p| p.from == from) {
            pull.until = now;
        }
    }

    /// Blocks before this one are wanted no more.
    pub(crate) fn forget_before(&mut self, seq: Seq) {
        if self.pulls.first_key_value().is_some_and(|(first, _)| *first < seq) {
            self.pulls = self.pulls.split_off(&seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const P: [NodeId; 3] = [NodeId([0; 16]), NodeId([1; 16]), NodeId([2; 16])];
    const PATIENCE: Duration = Duration::from_millis(100);

    fn plan(r: &mut Repair, ms: u64, missing: &[u64]) -> Vec<(NodeId, Vec<u64>)> {
        let choose = |_: Seq, tried: &[NodeId]| {
            P.iter().find(|p| !tried.contains(p)).map(|p| (*p, PATIENCE))
        };
        let seqs = missing.iter().map(|s| Seq(*s));
        r.plan(Time::from_millis(ms), seqs, choose)
            .into_iter()
            .map(|(p, batch)| (p, batch.iter().map(|s| s.0).collect()))
            .collect()
    }

    #[test]
    fn each_partner_is_tried_in_turn_then_from_the_first_again() {
        let mut r = Repair::default();
        assert_eq!(plan(&mut r, 0, &[7, 9]), [(P[0], [7, 9].to_vec())]);
        assert_eq!(plan(&mut r, 50, &[7, 9]), []);
        r.refused(Time::from_millis(50), Seq(7), P[0]);
        r.refused(Time::from_millis(50), Seq(7), P[1]);
        assert!(r.was_denied(Time::from_millis(60), Seq(7), P[0]));
        assert!(!r.was_denied(Time::from_millis(60), Seq(7), P[1]), "it was not asked");
        assert!(!r.was_denied(Time::from_millis(5_060), Seq(7), P[0]), "it may have it by now");
        assert_eq!(plan(&mut r, 50, &[7, 9]), [(P[1], [7].to_vec())]);
        assert_eq!(plan(&mut r, 100, &[7, 9]), [(P[1], [9].to_vec())]);
        assert_eq!(plan(&mut r, 150, &[7]), [(P[2], [7].to_vec())]);
        assert!(r.expects(Seq(7), P[0]), "an answer that comes late is still an answer");
        assert_eq!(plan(&mut r, 250, &[7]), [(P[1], [7].to_vec())], "the first has just said no");
        assert!(r.arrived(Seq(7)));
        assert!(!r.arrived(Seq(7)));
        assert!(!r.expects(Seq(7), P[0]));
    }

    #[test]
    fn who_has_just_said_no_is_not_asked_again() {
        let mut r = Repair::default();
        for (n, p) in (0..).zip(P) {
            assert_eq!(plan(&mut r, n, &[7]), [(p, [7].to_vec())]);
            r.refused(Time::from_millis(n), Seq(7), p);
        }
        assert_eq!(plan(&mut r, 3, &[7]), []);
        assert_eq!(plan(&mut r, 1_000, &[7]), []);
        assert_eq!(plan(&mut r, 1_001, &[7]), [(P[0], [7].to_vec())]);
        r.refused(Time::from_millis(1_001), Seq(7), P[0]);
        assert_eq!(plan(&mut r, 1_001, &[7]), [], "nor is the next one");
        assert_eq!(plan(&mut r, 1_002, &[7]), [(P[1], [7].to_vec())]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut r = Repair::default();
        let all: Vec<u64> = (0..100_000).collect();
        let mut asked = 0;
        for round in 0..100 {
            asked += plan(&mut r, round, &all).iter().map(|(_, b)| b.len()).sum::<usize>();
        }
        assert_eq!(asked, MAX_OUTSTANDING);
        r.forget_before(Seq(10));
        assert_eq!(r.pulls.len(), MAX_OUTSTANDING - 10);
    }
}
