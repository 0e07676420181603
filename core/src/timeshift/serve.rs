//! Serving the past: what was asked for on each connection, and who else asked
//! for it.

use alloc::collections::{BTreeMap, VecDeque};
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{LinkId, LoadId, Seq};
use crate::time::Time;
use crate::wire::message::MAX_REFERRALS;

/// A disk that takes longer has failed.
const SLOW: Duration = Duration::from_secs(2);
/// Requests that may wait on one connection.
const MAX_WAITING: usize = 16;
/// Files of which it is remembered who asked for them.
const MAX_FILES: usize = 256;
/// For how long who asked is worth asking.
const FRESH: Duration = Duration::from_secs(30);

/// What one connection asked for and has not got.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Range<Seq>>,
    loading: Option<Loading>,
}

/// What the disk reads for a connection.
#[derive(Clone, Copy, Debug)]
struct Loading {
    load: LoadId,
    since: Time,
    first: Seq,
}

/// The serving side of the past.
#[derive(Debug, Default)]
pub(crate) struct Serving {
    queues: BTreeMap<LinkId, Queue>,
    /// Who asked for a file lately, by the second at which it begins.
    asked: BTreeMap<u64, SmallVec<[(SocketAddr, Time); MAX_REFERRALS]>>,
}

impl Serving {
    /// A connection wants to ask.
    pub(crate) fn open(&mut self, link: LinkId) {
        self.queues.insert(link, Queue::default());
    }

    /// Whether it may ask.
    pub(crate) fn is_open(&self, link: LinkId) -> bool {
        self.queues.contains_key(&link)
    }

    /// It is gone.
    pub(crate) fn close(&mut self, link: LinkId) {
        self.queues.remove(&link);
    }

    /// It asks for these. Returns `false` if too much waits already.
    pub(crate) fn ask(&mut self, link: LinkId, wanted: Range<Seq>) -> bool {
        let Some(queue) = self.queues.get_mut(&link) else { return false };
        let room = queue.waiting.len() < MAX_WAITING;
        if room {
            queue.waiting.push_back(wanted);
        }
        room
    }

    /// It wants nothing more of what it asked for.
    pub(crate) fn cancel(&mut self, link: LinkId) {
        self.queues.get_mut(&link).into_iter().for_each(|queue| queue.waiting.clear());
    }

    /// What is to be sent next on a connection; `None` while the disk reads for it.
    pub(crate) fn front(&self, link: LinkId) -> Option<Range<Seq>> {
        let queue = self.queues.get(&link).filter(|q| q.loading.is_none())?;
        queue.waiting.front().cloned()
    }

    /// Everything before this block was sent, or refused.
    pub(crate) fn advance(&mut self, link: LinkId, to: Seq) {
        let Some(queue) = self.queues.get_mut(&link) else { return };
        if let Some(front) = queue.waiting.front_mut() {
            front.start = front.start.max(to);
            if front.is_empty() {
                queue.waiting.pop_front();
            }
        }
    }

    /// The disk is to read for a connection, from this block on.
    pub(crate) fn load(&mut self, now: Time, link: LinkId, load: LoadId, first: Seq) {
        if let Some(queue) = self.queues.get_mut(&link) {
            queue.loading = Some(Loading { load, since: now, first });
        }
    }

    /// The disk has read. Returns for whom, unless it is gone, and from which
    /// block on: that need not be what is wanted any more.
    pub(crate) fn loaded(&mut self, load: LoadId) -> Option<(LinkId, Seq)> {
        let reads = |q: &Queue| q.loading.is_some_and(|l| l.load == load);
        let (link, queue) = self.queues.iter_mut().find(|(_, q)| reads(q))?;
        queue.loading.take().map(|loading| (*link, loading.first))
    }

    /// A read that the disk does not answer.
    pub(crate) fn overdue(&self, now: Time) -> Option<LoadId> {
        let mut loading = self.queues.values().filter_map(|q| q.loading);
        loading.find(|l| now.since(l.since) > SLOW).map(|l| l.load)
    }

    /// Somebody asks for a part of a file. Returns others who did lately.
    pub(crate) fn others(
        &mut self,
        now: Time,
        file: u64,
        who: SocketAddr,
    ) -> SmallVec<[SocketAddr; MAX_REFERRALS]> {
        if self.asked.len() >= MAX_FILES && !self.asked.contains_key(&file) {
            self.asked.pop_first();
        }
        let asked = self.asked.entry(file).or_default();
        asked.retain(|(_, at)| now.since(*at) < FRESH);
        let others = asked.iter().map(|(addr, _)| *addr).filter(|addr| *addr != who).collect();
        asked.retain(|(addr, _)| *addr != who);
        if asked.len() == MAX_REFERRALS {
            asked.remove(0);
        }
        asked.push((who, now));
        others
    }
}
