//! One parent for all sub-streams: how a viewer that lost it keeps out of a
//! circle. Who is below us in the tree is further from the provider than we
//! are, so hop counts tell; for a moment they may be those of before.

use core::time::Duration;

use crate::stream::map::{HOP_NONE, Path};
use crate::time::Time;

/// After a loss nobody is followed who is further from the provider than we
/// were, until all below us must have heard of it.
const RUMOUR: Duration = Duration::from_secs(3);
/// A parent that is there and has no way to the provider for so long may be one
/// of a circle after all.
const ASTRAY: Duration = Duration::from_secs(10);

/// Where we are in the tree.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Hops from the provider, now or when we last had a way to it.
    hops: u8,
    /// Since when we have none.
    lost: Option<Time>,
    /// When the present parent was asked.
    asked: Time,
}

impl Default for Tree {
    fn default() -> Self {
        Self { hops: HOP_NONE, lost: None, asked: Time::ZERO }
    }
}

impl Tree {
    /// How far the provider is now.
    pub(crate) fn note(&mut self, now: Time, path: Path) {
        if path.is_live() {
            (self.hops, self.lost) = (path.hops, None);
        } else {
            self.lost.get_or_insert(now);
        }
    }

    /// Whether somebody with this path may be our parent.
    pub(crate) fn may_follow(&self, now: Time, path: Path) -> bool {
        let all_know = self.lost.is_some_and(|at| now.since(at) >= RUMOUR);
        path.is_live() && (path.hops <= self.hops || all_know)
    }

    /// Whether a parent that is there leads nowhere.
    pub(crate) fn is_astray(&self, now: Time) -> bool {
        self.lost.is_some_and(|at| now.since(at.max(self.asked)) >= ASTRAY)
    }

    /// Another parent was asked: it has its own time to find a way.
    pub(crate) fn asked(&mut self, now: Time) {
        self.asked = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_below_are_not_followed_until_they_must_know() {
        let at = Time::from_secs;
        let path = |hops| Path { hops, delay: 0 };
        let mut tree = Tree::default();
        tree.note(at(0), Path::NONE);
        assert!(tree.may_follow(at(0), path(9)), "a newcomer has nobody below");
        assert!(!tree.may_follow(at(0), path(64)) && !tree.may_follow(at(0), Path::NONE));
        tree.note(at(1), path(2));
        tree.note(at(5), Path::NONE);
        assert!(tree.may_follow(at(5), path(2)));
        assert!(!tree.may_follow(at(5), path(3)));
        assert!(tree.may_follow(at(8), path(3)));
        assert!(!tree.is_astray(at(14)) && tree.is_astray(at(15)));
        tree.asked(at(15));
        assert!(!tree.is_astray(at(16)));
        tree.note(at(17), path(4));
        assert!(!tree.may_follow(at(30), path(5)));
    }
}
