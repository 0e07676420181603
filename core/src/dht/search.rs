//! One operation: a lookup, what it found, and what it is to store.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use super::key::Contact;
use super::lookup::{K, Lookup};
use crate::time::Time;

/// After this long an operation ends with what it has.
const DEADLINE: Duration = Duration::from_secs(8);
/// For this long after its end an operation can be
/// [confirmed](super::Dht::confirm): tokens live for five minutes at least.
const KEPT: Duration = Duration::from_secs(240);
/// Records that one operation hands out, at most.
const RECORDS: usize = 512;
/// Nodes that one record is given to, at most: the eight closest that were
/// brisk, and those of the closest eight that turned up later.
const TOLD: usize = 16;
/// Nodes that forget one, at most. Others were closest, or brisk, when it was
/// stored, and would tell of it for as long as it was to live.
const UNTOLD: usize = 32;

/// How much a lookup is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Somebody waits for it: eight nodes are asked at a time.
    Hurry,
    /// Four nodes at a time, and for records alone no more than eight are
    /// pursued: they are those who keep them.
    Calm,
}

impl Pace {
    pub(super) const fn alpha(self) -> usize {
        match self {
            Self::Hurry => 8,
            Self::Calm => 4,
        }
    }
}

/// How an operation went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Nodes asked.
    pub asked: usize,
    /// Nodes that answered.
    pub answered: usize,
    /// Nodes that said they stored the record, or forgot it; we may be one.
    pub stored: usize,
    /// When the first record was found; `None` if none was.
    pub first: Option<First>,
    /// It was not begun: there are too many operations already.
    pub refused: bool,
}

/// What the first record of a lookup cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Time since the lookup began.
    pub after: Duration,
    /// Nodes asked until then.
    pub asked: usize,
}

/// A record that is to be stored under the key that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The record's port; 0 for that of our datagrams.
    pub(super) port: u16,
    /// How long it shall live; zero withdraws it.
    pub(super) life: Duration,
}

/// What an operation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The records of a key.
    Records,
    /// The nodes around an id.
    Nodes,
}

/// An operation under way, or kept for a while after its end.
#[derive(Debug)]
pub(super) struct Search {
    /// Whom to ask.
    pub(super) lookup: Lookup,
    pub(super) kind: Kind,
    began: Time,
    first: Option<First>,
    seen: BTreeSet<SocketAddr>,
    wish: Option<Wish>,
    /// The record may be given away.
    telling: bool,
    told: BTreeSet<SocketAddr>,
    /// Announces that were not answered yet.
    open: usize,
    stored: usize,
    /// When it ended.
    over: Option<Time>,
}

impl Search {
    pub(super) fn new(now: Time, kind: Kind, lookup: Lookup, wish: Option<Wish>) -> Self {
        Self {
            lookup,
            kind,
            began: now,
            first: None,
            seen: BTreeSet::new(),
            wish,
            telling: false,
            told: BTreeSet::new(),
            open: 0,
            stored: 0,
            over: None,
        }
    }

    /// Records came in; those that are new.
    pub(super) fn find(&mut self, now: Time, values: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let mut new = values;
        new.retain(|value| self.seen.len() < RECORDS && self.seen.insert(*value));
        if !new.is_empty() && self.first.is_none() {
            let after = now.since(self.began);
            self.first = Some(First { after, asked: self.lookup.asked() });
        }
        new
    }

    /// The record is to be stored as well, with the tokens at hand.
    pub(super) fn confirm(&mut self, now: Time, wish: Wish) {
        if self.over.take().is_some() {
            self.began = now;
        }
        self.wish = Some(wish);
        self.telling = false;
        self.told.clear();
        self.stored = 0;
    }

    /// Whom to give the record now: as soon as the eight closest that are not
    /// stalled have answered, they, and from then on whoever answers late and
    /// is closer. True comes with it once: when our own store is to be asked.
    pub(super) fn take_givers(&mut self, now: Time) -> (Vec<(Contact, Bytes)>, bool) {
        if self.wish.is_none() {
            return (Vec::new(), false);
        }
        let at_last = self.lookup.is_settled() || self.is_late(now);
        let begins = !self.telling && (self.lookup.is_ready() || at_last);
        self.telling |= begins;
        let mut givers = Vec::new();
        if self.telling {
            givers.extend(self.untold());
        }
        self.told.extend(givers.iter().map(|(contact, _)| contact.addr));
        self.open += givers.len();
        // Closer nodes may have come since our own store took the record.
        let own = self.lookup.is_home() || self.withdraws();
        (givers, begins && own)
    }

    pub(super) fn wish(&self) -> Option<Wish> {
        self.wish
    }

    /// An announce could not be sent now.
    pub(super) fn on_not_told(&mut self, addr: SocketAddr) {
        self.told.remove(&addr);
        self.open = self.open.saturating_sub(1);
    }

    /// An announce was answered, or failed.
    pub(super) fn on_told(&mut self, stored: bool) {
        self.open = self.open.saturating_sub(1);
        self.on_stored(stored);
    }

    pub(super) fn on_stored(&mut self, stored: bool) {
        self.stored += usize::from(stored);
    }

    /// Whether there is nothing more to come that is worth waiting for.
    pub(super) fn is_done(&self, now: Time) -> bool {
        let told = self.open == 0 && (self.wish.is_none() || self.untold().next().is_none());
        self.is_late(now) || self.lookup.is_settled() && told
    }

    fn untold(&self) -> impl Iterator<Item = (Contact, Bytes)> + '_ {
        let (closest, most) = if self.withdraws() { (UNTOLD, UNTOLD) } else { (K, TOLD) };
        let room = most.saturating_sub(self.told.len());
        let givers = self.lookup.givers(closest);
        givers.filter(|(contact, _)| !self.told.contains(&contact.addr)).take(room)
    }

    fn withdraws(&self) -> bool {
        self.wish.is_some_and(|wish| wish.life.is_zero())
    }

    /// Ends it.
    pub(super) fn end(&mut self, now: Time) -> Outcome {
        self.over = Some(now);
        Outcome {
            asked: self.lookup.asked(),
            answered: self.lookup.answered().count(),
            stored: self.stored,
            first: self.first,
            refused: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// When it is to be looked at again: to be ended, or to be forgotten.
    pub(super) fn deadline(&self) -> Time {
        self.over.map_or(self.began + DEADLINE, |over| over + KEPT)
    }

    fn is_late(&self, now: Time) -> bool {
        !self.is_over() && now >= self.began + DEADLINE
    }
}
