//! The partnership manager: nodes we exchange buffer maps with, and the
//! connections to each (CoolStreaming: partners are a subset of members;
//! parents and children are a subset of partners).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use smallvec::SmallVec;

use crate::config::Config;
use crate::id::{LinkId, NodeId, Seq, SubStream};
use crate::stream::map::{BufferMap, Path};
use crate::time::{Time, micros};
use crate::wire::message::{Member, Token};

/// Round trip assumed of a partner that was not measured yet.
const UNKNOWN_RTT: Duration = Duration::from_millis(100);
/// Blocks that a partner may have asked us for and not got.
pub(crate) const MAX_ASKED: usize = 256;

/// One partner.
#[derive(Debug)]
pub(crate) struct Partner {
    pub(crate) member: Member,
    /// The control link; `None` while it is being opened again after a reset.
    pub(crate) control: Option<LinkId>,
    /// Whether the control link was opened by us.
    pub(crate) dialled: bool,
    pub(crate) since: Time,
    /// When it last said anything.
    pub(crate) heard: Time,
    pub(crate) map: Option<BufferMap>,
    pub(crate) map_at: Time,
    /// When it last told how things stand; while we were stopped no time passed.
    pub(crate) told: Time,
    /// The ping under way: when it left.
    pub(crate) ping: Option<Time>,
    rtt: Option<Duration>,

    /// Blocks come in on this link.
    pub(crate) block_in: Option<LinkId>,
    /// The incoming block link is being dialled.
    pub(crate) dialling: bool,
    /// A token for the next block link, so that a reset one resumes at once.
    pub(crate) spare: Option<Token>,
    /// Blocks go out on this link.
    pub(crate) block_out: Option<LinkId>,
    /// Tokens that we gave it: to open a block link to us.
    pub(crate) offered: SmallVec<[Token; 2]>,
    /// When it last got one.
    pub(crate) offered_at: Time,
    /// The token with which it is to dial us back and push.
    pub(crate) dial_back: Option<Token>,
    /// Blocks that it asked for and has not got yet, and when.
    pub(crate) asked: VecDeque<(Seq, Time)>,

    /// It is not asked to be a parent before this.
    pub(crate) not_before: Time,
    /// Reviews in a row that found blocks for it waiting too long.
    pub(crate) behind: u32,
    /// Subscriptions of its that we refused in a row: the retry-after doubles.
    pub(crate) refused: u32,
    /// Blocks exchanged since the last refinement.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Partner {
    pub(crate) fn new(now: Time, member: Member, control: LinkId, dialled: bool) -> Self {
        Self {
            member,
            control: Some(control),
            dialled,
            since: now,
            heard: now,
            map: None,
            map_at: now,
            told: now,
            ping: None,
            rtt: None,
            block_in: None,
            dialling: false,
            spare: None,
            block_out: None,
            offered: SmallVec::new(),
            offered_at: Time::ZERO,
            dial_back: None,
            asked: VecDeque::new(),
            not_before: now,
            behind: 0,
            refused: 0,
            received: 0,
            sent: 0,
        }
    }

    /// The measured round trip, or a guess.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt.unwrap_or(UNKNOWN_RTT)
    }

    /// A round trip was measured: the smoothed value follows by an eighth (RFC 6298).
    pub(crate) fn measured(&mut self, sample: Duration) {
        self.rtt = Some(self.rtt.map_or(sample, |rtt| (rtt * 7 + sample) / 8));
    }

    /// It asked for a block: that is sent once a link is open, and the uplink
    /// pauses. Returns `false` if too many wait.
    pub(crate) fn ask(&mut self, now: Time, seq: Seq) -> bool {
        if let Some((_, at)) = self.asked.iter_mut().find(|(asked, _)| *asked == seq) {
            *at = now;
            return true;
        }
        let room = self.asked.len() < MAX_ASKED;
        if room {
            self.asked.push_back((seq, now));
        }
        room
    }

    /// Its map, if it told after this time how things stand: whose timers stand, so
    /// that it only answers, knows of nothing that is new.
    fn map_after(&self, time: Time) -> Option<&BufferMap> {
        self.map.as_ref().filter(|_| self.told >= time)
    }

    /// Whether it has a way to the provider, as far as it told after this time.
    pub(crate) fn leads_to_provider(&self, time: Time) -> bool {
        self.map_after(time).is_some_and(|m| m.paths.iter().any(|path| path.is_live()))
    }

    /// The way to the provider through it, as far as it told after this time.
    pub(crate) fn path(&self, time: Time, sub: SubStream) -> Path {
        let path = self.map_after(time).map(|m| m.path(sub).extend(self.rtt()));
        path.filter(|path| path.is_live()).unwrap_or(Path::NONE)
    }

    /// The newest block of a sub-stream that it should hold by now, if it goes
    /// on at the pace of the stream.
    pub(crate) fn reach(&self, now: Time, newest: Seq, block: Duration) -> Seq {
        newest.plus(micros(now.since(self.map_at)) / micros(block).max(1))
    }
}

/// The partners of a node.
#[derive(Debug, Default)]
pub(crate) struct Partnership {
    /// Boxed, for a map has room for more than it holds.
    partners: BTreeMap<NodeId, Box<Partner>>,
}

impl Partnership {
    pub(crate) fn len(&self) -> usize {
        self.partners.len()
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Partner> {
        self.partners.get(&node).map(|p| &**p)
    }

    pub(crate) fn get_mut(&mut self, node: NodeId) -> Option<&mut Partner> {
        self.partners.get_mut(&node).map(|p| &mut **p)
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.partners.contains_key(&node)
    }

    pub(crate) fn add(&mut self, partner: Partner) {
        self.partners.insert(partner.member.node, Box::new(partner));
    }

    pub(crate) fn remove(&mut self, node: NodeId) -> Option<Box<Partner>> {
        self.partners.remove(&node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Partner> {
        self.partners.values().map(|p| &**p)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partner> {
        self.partners.values_mut().map(|p| &mut **p)
    }

    /// The partner after `node` in order of id: to walk all while changing some.
    pub(crate) fn after(&self, node: Option<NodeId>) -> Option<NodeId> {
        use core::ops::Bound::{Excluded, Unbounded};
        let from = node.map_or(Unbounded, Excluded);
        self.partners.range((from, Unbounded)).next().map(|(id, _)| *id)
    }

    /// A partner that was silent for too long.
    pub(crate) fn silent(&self, now: Time, config: &Config) -> Option<NodeId> {
        let silent = |p: &&Partner| now.since(p.heard) > config.partner_timeout;
        self.iter().find(silent).map(|p| p.member.node)
    }

    /// The partner that is of least use, for refinement (DONet section III-D:
    /// score = what was sent or received, whichever is more), among those that
    /// are neither in `keep` nor newer than a refinement period.
    pub(crate) fn worst(
        &self,
        now: Time,
        config: &Config,
        mut keep: impl FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        let old = |p: &&Partner| now.since(p.since) >= config.refinement;
        self.iter()
            .filter(old)
            .filter(|p| !keep(p.member.node))
            .min_by_key(|p| p.received.max(p.sent))
            .map(|p| p.member.node)
    }

    /// Of two control links to one partner the one opened by the smaller node
    /// id survives; a second one by the same opener replaces the first, which
    /// its opener must have lost.
    pub(crate) fn replaces(own: NodeId, partner: &Partner, dialled: bool) -> bool {
        if partner.control.is_none() || partner.dialled == dialled {
            return true;
        }
        let opener = if dialled { own } else { partner.member.node };
        opener == own.min(partner.member.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partner(n: u8, at: Time) -> Partner {
        let member = Member {
            node: NodeId([n; 16]),
            addr: ([10, 0, 0, n], 7_000).into(),
            connectable: true,
            provider: false,
            age: 0,
        };
        Partner::new(at, member, LinkId(u64::from(n)), true)
    }

    #[test]
    fn both_ends_keep_the_link_of_the_smaller_id() {
        let (small, large) = (NodeId([1; 16]), NodeId([2; 16]));
        // Each has its own dialled link and accepts the other's.
        let at_small = partner(2, Time::ZERO);
        let at_large = partner(1, Time::ZERO);
        assert!(!Partnership::replaces(small, &at_small, false), "small keeps its own");
        assert!(Partnership::replaces(large, &at_large, false), "large takes the other's");
        assert!(Partnership::replaces(small, &at_small, true), "dialled again after a reset");
    }

    #[test]
    fn refinement_spares_the_useful_the_kept_and_the_new() {
        let config = Config::default();
        let late = Time::ZERO + config.refinement;
        let mut p = Partnership::default();
        for (n, received, sent) in [(1, 50, 0), (2, 0, 90), (3, 5, 5), (4, 0, 0)] {
            p.add(Partner { received, sent, ..partner(n, Time::ZERO) });
        }
        p.add(partner(5, late));
        let keep = |n: NodeId| n == NodeId([4; 16]);
        assert_eq!(p.worst(late, &config, keep), Some(NodeId([3; 16])));
        assert_eq!(p.worst(late - Duration::from_secs(1), &config, keep), None);
    }

    #[test]
    fn what_a_partner_makes_us_remember_is_bounded() {
        let mut p = partner(1, Time::ZERO);
        let taken = (0..10_000).filter(|n| p.ask(Time::ZERO, Seq(*n))).count();
        assert_eq!(taken, MAX_ASKED);
        assert_eq!(p.asked.len(), MAX_ASKED);
    }
}
