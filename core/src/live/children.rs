//! Serving children: who subscribes to what, and how much we can take on.
//!
//! Admission is by an upload budget in sub-stream subscriptions. It starts at
//! a whole stream (three at the provider), grows while somebody was refused
//! and nothing queues, by half at first and, once it was too much, by one and
//! only for those without a parent. When blocks queue too long, the last to come
//! are sent elsewhere, an eighth at a time, and the budget is what remains. What
//! was changed must be given time to show, a cut more than growth: whoever is cut
//! off seeks another parent, and who seeks costs all of them. A cap of the
//! user's bounds it. Overload refers, it never storms.

use smallvec::SmallVec;

use crate::id::{NodeId, Seq, SubStream};
use crate::wire::message::Reason;

/// A subscription that we serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) node: NodeId,
    /// The first block it wants.
    pub(crate) from: Seq,
    /// Blocks older than this many are of no use to it.
    pub(crate) window: u64,
}

/// How the children are served just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Children that take what they are sent.
    pub(crate) active: usize,
    /// Of these, those for whom something has waited too long, and always does.
    pub(crate) queued: usize,
    /// For some of these something has waited for a good part of too long.
    pub(crate) busy: bool,
}

/// The children of every sub-stream, and the budget for them.
#[derive(Debug)]
pub(crate) struct Children {
    subs: SmallVec<[SmallVec<[Child; 2]>; 8]>,
    budget: usize,
    /// Subscriptions that a node comes with at once.
    unit: usize,
    /// Somebody was refused for whom it is worth it to grow.
    wanted: bool,
    /// Blocks have queued before: the limit is near, grow with care.
    seasoned: bool,
    /// Reviews in a row that found our uplink behind.
    behind: u32,
    /// Reviews since the budget was last changed.
    settled: u32,
}

/// So many reviews in a row are no hiccup.
const PERSISTENT: u32 = 2;
/// So many reviews after a change of the budget it does not grow again.
const GROWS_AFTER: u32 = 4;
/// And so many it is not cut: a queue that was too long takes as long to leave.
const CUT_AFTER: u32 = 8;

impl Children {
    /// With `whole` nobody is given a part of the stream.
    pub(crate) fn new(sub_streams: u8, initial_streams: u8, whole: bool) -> Self {
        Self {
            subs: (0..sub_streams).map(|_| SmallVec::new()).collect(),
            budget: usize::from(sub_streams) * usize::from(initial_streams),
            unit: if whole { usize::from(sub_streams) } else { 1 },
            wanted: false,
            seasoned: false,
            behind: 0,
            settled: 0,
        }
    }

    /// Subscriptions served now.
    pub(crate) fn len(&self) -> usize {
        self.subs.iter().map(SmallVec::len).sum()
    }

    /// Subscriptions that could be served.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// The children of a sub-stream.
    pub(crate) fn of(&self, sub: SubStream) -> &[Child] {
        self.subs.get(usize::from(sub.0)).map_or(&[], SmallVec::as_slice)
    }

    /// Whether a node subscribes to a sub-stream.
    pub(crate) fn has(&self, node: NodeId, sub: SubStream) -> bool {
        self.of(sub).iter().any(|c| c.node == node)
    }

    /// The sub-streams of a node, with what it wants of each.
    pub(crate) fn subscriptions(
        &self,
        node: NodeId,
    ) -> impl Iterator<Item = (SubStream, &Child)> + '_ {
        self.subs.iter().enumerate().flat_map(move |(j, children)| {
            children.iter().filter(move |c| c.node == node).map(move |c| (SubStream(j as u8), c))
        })
    }

    /// Takes a subscription, or says why not. One that is served already is
    /// renewed from its new first block.
    pub(crate) fn admit(&mut self, sub: SubStream, child: Child) -> Result<(), Reason> {
        // Whoever was given the first of a unit was given all of it.
        let begun = self.unit > 1 && self.has_any(child.node);
        let full = !begun && self.len() + self.unit > self.budget;
        let Some(children) = self.subs.get_mut(usize::from(sub.0)) else {
            return Err(Reason::NoSource);
        };
        if let Some(old) = children.iter_mut().find(|c| c.node == child.node) {
            *old = child;
            return Ok(());
        }
        if full {
            return Err(Reason::Full);
        }
        children.push(child);
        Ok(())
    }

    /// Somebody was refused. Those who have a parent look for a better one without end:
    /// to grow for them, too, is to grow until blocks queue again.
    pub(crate) fn make_room(&mut self, has_parent: bool) {
        self.wanted |= !self.seasoned || !has_parent;
    }

    /// Takes the first subscription of a sub-stream in the place of another, which
    /// is returned: the last to come of the sub-stream with the most children.
    pub(crate) fn admit_first(
        &mut self,
        sub: SubStream,
        child: Child,
    ) -> Option<(NodeId, SubStream)> {
        let several = self.subs.iter().any(|children| children.len() > 1);
        if self.unit > 1 || !several || !self.subs.get(usize::from(sub.0))?.is_empty() {
            return None;
        }
        let shed = self.shed();
        self.subs.get_mut(usize::from(sub.0))?.push(child);
        shed
    }

    /// Ends a subscription; whether there was one.
    pub(crate) fn remove(&mut self, node: NodeId, sub: SubStream) -> bool {
        let Some(children) = self.subs.get_mut(usize::from(sub.0)) else { return false };
        let before = children.len();
        children.retain(|c| c.node != node);
        children.len() < before
    }

    /// Ends all subscriptions of a node.
    pub(crate) fn remove_all(&mut self, node: NodeId) {
        for children in &mut self.subs {
            children.retain(|c| c.node != node);
        }
    }

    /// Whether a node subscribes to anything.
    pub(crate) fn has_any(&self, node: NodeId) -> bool {
        self.subs.iter().flatten().any(|c| c.node == node)
    }

    /// Whether our uplink was behind at the last look.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind > 0
    }

    /// Looks back on the last interval; `cap` is the user's, in subscriptions.
    ///
    /// One slow child has a slow downlink of its own; when half of several are
    /// behind, again and again, it is our uplink. Returns how many
    /// subscriptions to shed.
    #[must_use]
    pub(crate) fn review(&mut self, load: Load, cap: Option<usize>) -> usize {
        let Load { active, queued, busy } = load;
        self.behind = if queued >= 2 && queued * 2 > active { self.behind + 1 } else { 0 };
        self.settled = self.settled.saturating_add(1);
        let mut shed = 0;
        if self.behind >= PERSISTENT && self.settled >= CUT_AFTER {
            let (len, floor) = (self.len(), self.subs.len());
            shed = (len / 8).max(1).min(len.saturating_sub(floor));
            self.lower_to((len - shed).max(floor));
            self.settled = 0;
        } else if self.wanted && !busy {
            self.grow();
        }
        self.wanted = false;
        if let Some(cap) = cap {
            self.budget = self.budget.min(cap);
        }
        shed
    }

    fn grow(&mut self) {
        if !self.seasoned {
            self.budget += (self.budget / 2).max(1);
        } else if self.settled >= GROWS_AFTER {
            self.budget += self.unit;
            self.settled = 0;
        }
    }

    fn lower_to(&mut self, served: usize) {
        self.budget = self.budget.min(served);
        self.seasoned = true;
    }

    /// Ends the subscription that came last of the sub-stream with the most
    /// children.
    pub(crate) fn shed(&mut self) -> Option<(NodeId, SubStream)> {
        let (j, children) = self.subs.iter_mut().enumerate().max_by_key(|(_, c)| c.len())?;
        Some((children.pop()?.node, SubStream(j as u8)))
    }

    /// Ends a subscription of this node, which has long been behind: of its sub-streams
    /// that have at least so many children, the one with the most.
    pub(crate) fn shed_from(&mut self, node: NodeId, least: usize) -> Option<SubStream> {
        let its = self.subs.iter().enumerate().filter(|(_, c)| c.iter().any(|c| c.node == node));
        let (j, _) = its.filter(|(_, c)| c.len() >= least).max_by_key(|(_, c)| c.len())?;
        let sub = SubStream(j as u8);
        self.remove(node, sub).then_some(sub)
    }

    /// Takes on no more than is served now, or one: a budget of none is never tried.
    pub(crate) fn hold(&mut self) {
        self.lower_to(self.len().max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(n: u8) -> Child {
        Child { node: NodeId([n; 16]), from: Seq(0), window: 100 }
    }

    fn full() -> Children {
        let mut c = Children::new(8, 1, false);
        for n in 0..8 {
            assert_eq!(c.admit(SubStream(n), child(n)), Ok(()));
        }
        c
    }

    #[test]
    fn the_budget_is_kept_and_renewals_are_free() {
        let mut c = full();
        assert_eq!(c.admit(SubStream(0), child(9)), Err(Reason::Full));
        assert_eq!(c.admit(SubStream(3), Child { from: Seq(70), ..child(3) }), Ok(()));
        assert_eq!(c.of(SubStream(3))[0].from, Seq(70));
        assert_eq!(c.len(), 8);
        assert!(c.remove(NodeId([3; 16]), SubStream(3)));
        assert!(!c.remove(NodeId([3; 16]), SubStream(3)));
        assert_eq!(c.admit(SubStream(0), child(9)), Ok(()));
        assert_eq!(c.admit(SubStream(99), child(1)), Err(Reason::NoSource));
        assert!(c.has_any(NodeId([9; 16])));
        c.remove_all(NodeId([9; 16]));
        assert!(!c.has_any(NodeId([9; 16])));
        assert_eq!(c.len(), 7);
    }

    fn load(active: usize, queued: usize) -> Load {
        Load { active, queued, busy: queued > 0 }
    }

    /// Reviews until the budget may be cut again; nothing is amiss.
    fn settle(c: &mut Children) {
        for _ in 0..CUT_AFTER {
            assert_eq!(c.review(load(8, 0), None), 0);
        }
    }

    #[test]
    fn it_grows_on_demand_and_is_cut_to_what_is_served_when_blocks_queue() {
        let mut c = full();
        assert_eq!(c.review(load(8, 0), None), 0);
        assert_eq!(c.budget(), 8, "nobody was refused");
        assert!(c.admit(SubStream(0), child(9)).is_err());
        c.make_room(true);
        assert_eq!(c.review(load(8, 1), None), 0);
        assert_eq!(c.budget(), 8, "one slow child is no reason to grow");
        c.make_room(true);
        assert_eq!(c.review(load(8, 0), None), 0);
        assert_eq!(c.budget(), 12);
        let mut big = Children::new(8, 8, false);
        for n in 0..40 {
            assert_eq!(big.admit(SubStream(n % 8), child(n)), Ok(()));
        }
        settle(&mut big);
        assert_eq!(big.review(load(40, 30), None), 0, "once is a hiccup");
        assert!(big.is_behind());
        assert_eq!(big.review(load(40, 30), None), 5, "an eighth is shed");
        assert_eq!(big.budget(), 35, "and what remains is what fits");
        assert!(big.admit(SubStream(0), child(99)).is_err());
        settle(&mut big);
        big.make_room(true);
        assert_eq!(big.review(load(40, 0), None), 0);
        assert_eq!(big.budget(), 35, "once burnt, it does not grow for who has a parent");
        big.make_room(false);
        assert_eq!(big.review(load(40, 0), None), 0);
        assert!(!big.is_behind());
        assert_eq!(big.budget(), 36, "and for the others by one");
        assert_eq!(big.review(load(40, 0), Some(12)), 0);
        assert_eq!(big.budget(), 12, "the user's cap");
    }

    #[test]
    fn what_was_changed_is_given_time_to_show() {
        let mut c = Children::new(8, 8, false);
        for n in 0..40 {
            assert_eq!(c.admit(SubStream(n % 8), child(n)), Ok(()));
        }
        settle(&mut c);
        let mut shed = 0;
        for _ in 0..=CUT_AFTER {
            let more = c.review(load(40, 40), None);
            (0..more).for_each(|_| assert!(c.shed().is_some()));
            shed += more;
        }
        assert_eq!(shed, 5, "one cut in {CUT_AFTER} reviews");
        assert_eq!(c.review(load(35, 35), None), 4, "and then another");
        (0..4).for_each(|_| assert!(c.shed().is_some()));
        c.make_room(false);
        assert_eq!(c.review(load(31, 0), None), 0);
        let cut = c.budget();
        assert_eq!(cut, 31, "no growth at once");
        for grown in 1..=3 {
            for _ in 0..GROWS_AFTER {
                c.make_room(false);
                assert_eq!(c.review(load(40, 0), None), 0);
            }
            assert_eq!(c.budget(), cut + grown, "by one in {GROWS_AFTER} reviews");
        }
        let mut few = full();
        settle(&mut few);
        for _ in 0..10 * CUT_AFTER {
            assert_eq!(few.review(load(8, 8), None), 0, "a whole stream is not cut for that");
        }
        assert_eq!(few.budget(), 8);
    }

    #[test]
    fn what_stuck_children_lose_is_off_the_budget() {
        let mut c = full();
        assert_eq!(c.shed_from(NodeId([3; 16]), 2), None, "nobody else has that sub-stream");
        assert_eq!(c.shed_from(NodeId([9; 16]), 1), None, "it has nothing");
        assert_eq!(c.shed_from(NodeId([3; 16]), 1), Some(SubStream(3)));
        assert_eq!((c.len(), c.budget()), (7, 8), "it may read slowly");
        assert_eq!(c.shed_from(NodeId([4; 16]), 1), Some(SubStream(4)));
        c.hold();
        assert_eq!((c.len(), c.budget()), (6, 6));
        assert_eq!(c.admit(SubStream(3), child(9)), Err(Reason::Full));
        (0..8).for_each(|n| c.remove_all(NodeId([n; 16])));
        c.hold();
        assert_eq!((c.len(), c.budget()), (0, 1), "it can be tried again");
    }

    #[test]
    fn a_sub_stream_without_a_child_takes_the_place_of_another() {
        let mut c = full();
        assert_eq!(c.admit_first(SubStream(0), child(9)), None, "it has a child");
        assert!(c.remove(NodeId([5; 16]), SubStream(5)));
        assert_eq!(c.admit_first(SubStream(5), child(9)), None, "nobody has two");
        assert_eq!(c.admit(SubStream(2), child(8)), Ok(()));
        assert_eq!(c.admit(SubStream(5), child(9)), Err(Reason::Full));
        let shed = Some((NodeId([8; 16]), SubStream(2)));
        assert_eq!(c.admit_first(SubStream(5), child(9)), shed);
        assert!(c.has(NodeId([9; 16]), SubStream(5)));
        assert_eq!(c.len(), 8);
        assert_eq!(c.admit_first(SubStream(99), child(9)), None);
    }

    #[test]
    fn the_last_to_come_is_the_first_to_go() {
        let mut c = Children::new(8, 2, false);
        for (sub, node) in [(0, 1), (3, 1), (3, 2), (3, 3), (5, 4)] {
            assert_eq!(c.admit(SubStream(sub), child(node)), Ok(()));
        }
        assert_eq!(c.shed(), Some((NodeId([3; 16]), SubStream(3))));
        assert_eq!(c.len(), 4);
    }
}
