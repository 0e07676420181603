//! The child side: who feeds each sub-stream, and how its blocks usually come.

use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{NodeId, Seq, SubStream};
use crate::stream::map::Path;
use crate::time::{Time, signed_micros};

/// A subscription that was asked for and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) node: NodeId,
    pub(crate) at: Time,
}

/// One sub-stream, as it is fed.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) parent: Option<NodeId>,
    pub(crate) asked: Option<Asked>,
    /// The parent before this one: what it still had on the way is welcome.
    pub(crate) former: Option<NodeId>,
    /// The latest block that this parent has brought, held already or not.
    pub(crate) brought: Option<Seq>,
    /// When the parent last changed.
    pub(crate) changed: Time,
    /// Blocks after this one came live; what was there before its first parent
    /// began to push came as backlog, and how late that was means nothing.
    pub(crate) backlog: Option<Seq>,
    /// No better parent is looked for before this.
    pub(crate) improve: Time,
    /// The way of this sub-stream to us, as we tell it in our maps.
    pub(crate) path: Path,
    /// How long after the earliest possible moment blocks come, smoothed, and
    /// how much that varies (RFC 6298); microseconds.
    usual: Option<(i64, i64)>,
}

/// The feeds of every sub-stream.
#[derive(Debug)]
pub(crate) struct Feeds {
    feeds: SmallVec<[Feed; 8]>,
}

impl Feed {
    /// A pushed block came this long after the earliest possible moment.
    pub(crate) fn arrived(&mut self, late: i64) {
        self.usual = Some(match self.usual {
            None => (late, late / 2),
            Some((mean, var)) => (mean + (late - mean) / 8, var + ((late - mean).abs() - var) / 4),
        });
    }

    /// How long after the earliest possible moment a block is overdue.
    pub(crate) fn overdue_after(&self, slack: Duration) -> i64 {
        let (mean, var) = self.usual.unwrap_or((0, 0));
        mean.saturating_add((4 * var).max(signed_micros(slack)))
    }

    /// This node brought a block.
    pub(crate) fn brings(&mut self, seq: Seq, node: NodeId) {
        if self.parent == Some(node) {
            self.brought = self.brought.max(Some(seq));
        }
    }

    /// Whether a block that came in now was live, the newest one in existence
    /// being `newest`.
    pub(crate) fn is_live(&mut self, seq: Seq, newest: Seq, from: NodeId) -> bool {
        if self.backlog.is_none() && self.expects(from) {
            self.backlog = Some(newest);
        }
        self.backlog.is_some_and(|backlog| seq > backlog)
    }

    /// The parent changed: what was usual is no longer.
    pub(crate) fn reset_usual(&mut self) {
        self.usual = None;
    }

    /// Whether blocks of this sub-stream are welcome from a node.
    pub(crate) fn expects(&self, node: NodeId) -> bool {
        self.parent == Some(node)
            || self.former == Some(node)
            || self.asked.is_some_and(|a| a.node == node)
    }
}

impl Feeds {
    pub(crate) fn new(now: Time, sub_streams: u8, path: Path) -> Self {
        let feed = Feed {
            parent: None,
            asked: None,
            former: None,
            backlog: None,
            brought: None,
            changed: Time::ZERO,
            improve: now,
            path,
            usual: None,
        };
        Self { feeds: (0..sub_streams).map(|_| feed.clone()).collect() }
    }

    pub(crate) fn get(&self, sub: SubStream) -> Option<&Feed> {
        self.feeds.get(usize::from(sub.0))
    }

    pub(crate) fn get_mut(&mut self, sub: SubStream) -> Option<&mut Feed> {
        self.feeds.get_mut(usize::from(sub.0))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SubStream, &Feed)> {
        self.feeds.iter().enumerate().map(|(j, f)| (SubStream(j as u8), f))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (SubStream, &mut Feed)> {
        self.feeds.iter_mut().enumerate().map(|(j, f)| (SubStream(j as u8), f))
    }

    /// How many sub-streams a node feeds, or was asked to.
    pub(crate) fn from(&self, node: NodeId) -> usize {
        let from = |f: &&Feed| f.parent == Some(node) || f.asked.is_some_and(|a| a.node == node);
        self.feeds.iter().filter(from).count()
    }

    /// Blocks after this one come live, whoever brings them.
    pub(crate) fn live_after(&mut self, newest: Seq) {
        self.feeds.iter_mut().for_each(|feed| feed.backlog = Some(newest));
    }

    /// A node is gone: its sub-streams are orphans. Whether it fed any.
    pub(crate) fn orphan(&mut self, node: NodeId) -> bool {
        let mut any = false;
        for feed in &mut self.feeds {
            if feed.asked.is_some_and(|a| a.node == node) {
                feed.asked = None;
            }
            if feed.former == Some(node) {
                feed.former = None;
            }
            if feed.parent == Some(node) {
                feed.parent = None;
                feed.path = Path::NONE;
                any = true;
            }
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 16]);
    const B: NodeId = NodeId([2; 16]);

    #[test]
    fn blocks_are_welcome_from_those_who_were_asked() {
        let mut feeds = Feeds::new(Time::ZERO, 8, Path::NONE);
        let feed = feeds.get_mut(SubStream(3)).unwrap();
        assert!(!feed.expects(A));
        feed.asked = Some(Asked { node: A, at: Time::ZERO });
        assert!(feed.expects(A), "the first block may overtake the answer");
        feed.parent = Some(A);
        feed.asked = None;
        feed.former = Some(B);
        assert!(feed.expects(A) && feed.expects(B));
        assert_eq!(feeds.from(A), 1);
        assert!(feeds.orphan(A));
        assert!(!feeds.orphan(A));
        assert!(!feeds.get(SubStream(3)).unwrap().expects(A));
        assert!(feeds.get(SubStream(9)).is_none());
    }

    #[test]
    fn overdue_follows_what_is_usual() {
        let mut feeds = Feeds::new(Time::ZERO, 1, Path::NONE);
        let feed = feeds.get_mut(SubStream(0)).unwrap();
        let slack = Duration::from_millis(100);
        assert_eq!(feed.overdue_after(slack), 100_000);
        (0..200).for_each(|_| feed.arrived(80_000));
        let steady = feed.overdue_after(slack);
        assert!((175_000..=185_000).contains(&steady), "{steady}");
        (0..200).for_each(|n| feed.arrived(if n % 2 == 0 { 0 } else { 160_000 }));
        let wild = feed.overdue_after(slack);
        assert!(wild > 300_000, "{wild}");
    }
}
