//! Which partner should be the parent of a sub-stream.

use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{NodeId, Seq, SubStream};
use crate::rng::Rng;
use crate::stream::map::BufferMap;
use crate::time::{Time, micros};

/// What one more hop costs in milliseconds of delay, at least: each relay can fail.
const HOP_COST: u64 = 5;
/// What it costs as a share of D, for a relay passes on whole blocks: 1/8.
const HOP_SHARE: u64 = 8;
/// What each further sub-stream from the same parent costs in milliseconds:
/// a parent that goes should take few sub-streams with it.
const SPREAD_COST: u64 = 2;
/// Candidates within this many milliseconds of the best are equals.
const EQUAL: u64 = 4;
/// A better parent must be better by this much to be worth a change, at least.
const GAIN: u64 = 15;
/// And by this share of the play-out delay, for that is what a viewer notices: where
/// uplinks are full delays come and go, and each change has blocks brought twice.
const EASE_SHARE: u64 = 4;
/// But by no more milliseconds than this: who waits for long is badly served, and
/// should find a better place.
const MOST_EASE: u64 = 500;

/// A partner, as the choice of a parent sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) node: NodeId,
    pub(crate) map: &'a BufferMap,
    pub(crate) map_at: Time,
    pub(crate) rtt: Duration,
    /// It refused us, or lagged, a short while ago.
    pub(crate) shunned: bool,
    /// Sub-streams that come from it now.
    pub(crate) feeds: usize,
}

/// All partners that sent a map.
pub(crate) type Views<'a> = SmallVec<[View<'a>; 16]>;

impl View<'_> {
    /// The cost of having this partner as parent, in milliseconds.
    fn cost(&self, sub: SubStream, block: Duration) -> u64 {
        let path = self.map.path(sub);
        let half = micros(self.rtt) / 2_000;
        let hop = HOP_COST.max(micros(block) / 1_000 / HOP_SHARE);
        u64::from(path.delay) + half + hop * u64::from(path.hops) + SPREAD_COST * self.feeds as u64
    }

    /// Whether it has a parent for a sub-stream, and no block of it yet.
    pub(crate) fn is_new(&self, sub: SubStream) -> bool {
        self.map.entry(sub).is_some_and(|e| e.newest.is_none())
    }

    /// Whether it should hold this block by now, going on at the stream's pace.
    pub(crate) fn reaches(&self, now: Time, seq: Seq, sub: SubStream, block: Duration) -> bool {
        let newest = self.map.entry(sub).and_then(|e| e.newest);
        let since = micros(now.since(self.map_at)) / micros(block).max(1);
        newest.is_some_and(|n| n.plus(since) >= seq)
    }
}

/// `default`: the parent with the least delay, few hops, and not yet too many
/// sub-streams of ours; at random among equals. With `instead_of` given, only
/// one that is clearly better than that for a viewer with such a play-out delay.
pub(crate) fn best(
    rng: &mut Rng,
    sub: SubStream,
    views: &[View<'_>],
    block: Duration,
    instead_of: Option<(NodeId, Duration)>,
    mut allowed: impl FnMut(&View<'_>) -> bool,
) -> Option<NodeId> {
    let mut found: SmallVec<[(u64, NodeId); 16]> = views
        .iter()
        .filter(|v| v.map.path(sub).is_live() && !v.shunned)
        .filter(|v| instead_of.is_none_or(|(current, _)| v.node != current))
        .filter(|v| allowed(v))
        .map(|v| (v.cost(sub, block), v.node))
        .collect();
    let least = found.iter().map(|(cost, _)| *cost).min()?;
    if let Some((node, delay)) = instead_of
        && let Some(current) = views.iter().find(|v| v.node == node)
    {
        // The current parent counts itself among the feeds already.
        let now = current.cost(sub, block).saturating_sub(SPREAD_COST);
        let ease = (micros(delay) / 1_000 / EASE_SHARE).min(MOST_EASE);
        if least + GAIN.max(now / 8).max(ease) > now {
            return None;
        }
    }
    found.retain(|(cost, _)| *cost <= least + EQUAL);
    rng.pick(&found).map(|(_, node)| *node)
}

/// What the published rules ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) sub: SubStream,
    pub(crate) to: NodeId,
}

/// `report`: the two inequalities (report p. 9-10; New Coolstreaming, TMM
/// 2007). Differences are counted in whole sub-stream blocks, so that the
/// phase between sub-streams triggers nothing.
pub(crate) fn inequalities(
    own: &[Seq],
    parents: &[Option<NodeId>],
    views: &[View<'_>],
    own_limit: u64,
    partner_limit: u64,
    mut allowed: impl FnMut(&View<'_>, SubStream) -> bool,
) -> Option<Change> {
    let s = own.len().max(1) as u64;
    let level = |seq: Seq| seq.0 / s;
    let at =
        |v: &View<'_>, sub: SubStream| v.map.entry(sub).and_then(|e| e.newest).map_or(0, level);
    let subs = || (0..own.len()).map(|j| SubStream(j as u8));

    // Rule 1: own sub-streams against their average.
    let average = own.iter().map(|h| level(*h)).sum::<u64>() / s;
    let off = |sub: &SubStream| level(own[usize::from(sub.0)]).abs_diff(average);
    if let Some(worst) = subs().max_by_key(off).filter(|sub| off(sub) * s > own_limit) {
        let parent = parents.get(usize::from(worst.0)).copied().flatten();
        let nearest = views
            .iter()
            .filter(|v| Some(v.node) != parent && !v.shunned && allowed(v, worst))
            .min_by_key(|v| at(v, worst).abs_diff(average));
        if let Some(v) = nearest {
            return Some(Change { sub: worst, to: v.node });
        }
    }

    // Rule 2: each sub-stream against the best partner; partners that are no
    // parents go before parents with a better buffer.
    for sub in subs() {
        let mine = level(own[usize::from(sub.0)]);
        let parent = parents.get(usize::from(sub.0)).copied().flatten();
        let ahead = |v: &&View<'_>| Some(v.node) != parent && at(v, sub) > mine;
        let best = views.iter().map(|v| at(v, sub)).max().unwrap_or(0);
        if best.saturating_sub(mine) * s <= partner_limit {
            continue;
        }
        let choice = views
            .iter()
            .filter(ahead)
            .filter(|v| !v.shunned && allowed(v, sub))
            .min_by_key(|v| (parents.contains(&Some(v.node)), u64::MAX - at(v, sub)));
        if let Some(v) = choice {
            return Some(Change { sub, to: v.node });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::map::{HOP_NONE, MapEntry, Path};
    use alloc::vec::Vec;

    const J: SubStream = SubStream(0);
    const D: Duration = Duration::from_millis(40);

    fn map(newest: &[u64], paths: &[(u8, u16)]) -> BufferMap {
        let entry = |n: &u64| MapEntry { newest: Some(Seq(*n)), subscribed: false };
        BufferMap {
            start: Seq(0),
            reply: false,
            entries: newest.iter().map(entry).collect(),
            paths: paths.iter().map(|(hops, delay)| Path { hops: *hops, delay: *delay }).collect(),
        }
    }

    fn view(n: u8, map: &BufferMap, rtt_ms: u64) -> View<'_> {
        View {
            node: NodeId([n; 16]),
            map,
            map_at: Time::ZERO,
            rtt: Duration::from_millis(rtt_ms),
            shunned: false,
            feeds: 0,
        }
    }

    #[test]
    fn the_shortest_way_wins_and_a_dead_end_never() {
        let mut rng = Rng::new([0; 32]);
        let near = map(&[8], &[(2, 20)]);
        let far = map(&[8], &[(1, 90)]);
        let dead = map(&[8], &[(HOP_NONE, u16::MAX)]);
        let long = map(&[8], &[(64, 0)]);
        let views = [view(1, &near, 20), view(2, &far, 20), view(3, &dead, 0), view(4, &long, 0)];
        let mut choose = |instead| best(&mut rng, J, &views, D, instead, |_| true);
        assert_eq!(choose(None), Some(NodeId([1; 16])));
        let instead = |n, seconds| Some((NodeId([n; 16]), Duration::from_secs(seconds)));
        assert_eq!(choose(instead(2, 0)), Some(NodeId([1; 16])));
        assert_eq!(choose(instead(2, 1)), None, "a quarter of a second would be");
        assert_eq!(choose(instead(1, 0)), None, "nothing is clearly better");
        assert_eq!(best(&mut rng, J, &views[2..], D, None, |_| true), None);
    }

    #[test]
    fn equals_are_drawn_at_random() {
        let mut rng = Rng::new([0; 32]);
        let m = map(&[8], &[(1, 10)]);
        let views = [view(1, &m, 2), view(2, &m, 2), view(3, &m, 2)];
        let mut seen: Vec<NodeId> =
            (0..100).filter_map(|_| best(&mut rng, J, &views, D, None, |_| true)).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn rule_one_takes_the_partner_nearest_the_average() {
        // Sub-stream 1 is 3 blocks behind the other three (S = 4).
        let own = [Seq(40), Seq(29), Seq(42), Seq(43)];
        let parents = [Some(NodeId([1; 16])); 4];
        let (a, b) = (map(&[60, 61, 62, 63], &[]), map(&[40, 41, 42, 43], &[]));
        let views = [view(2, &a, 0), view(3, &b, 0)];
        let change = inequalities(&own, &parents, &views, 7, 1_000, |_, _| true);
        assert_eq!(change, Some(Change { sub: SubStream(1), to: NodeId([3; 16]) }));
        assert_eq!(inequalities(&own, &parents, &views, 8, 1_000, |_, _| true), None);
    }

    #[test]
    fn rule_two_takes_partners_before_parents() {
        let own = [Seq(40), Seq(41), Seq(42), Seq(43)];
        let parents = [Some(NodeId([1; 16])), None, Some(NodeId([2; 16])), None];
        let (old, ahead) = (map(&[40, 41, 42, 43], &[]), map(&[60, 61, 62, 63], &[]));
        let views = [view(1, &old, 0), view(2, &ahead, 0), view(3, &ahead, 0)];
        let change = |limit, views: &[View<'_>]| {
            inequalities(&own, &parents, views, 1_000, limit, |_, _| true)
        };
        assert_eq!(change(19, &views), Some(Change { sub: J, to: NodeId([3; 16]) }));
        assert_eq!(change(19, &views[..2]), Some(Change { sub: J, to: NodeId([2; 16]) }));
        assert_eq!(change(20, &views), None, "five sub-stream blocks are not more than 20");
        assert_eq!(change(19, &views[..1]), None);
    }
}
