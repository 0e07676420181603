//! Two ways of a swarm with a server behind it, for comparison: BASS (MMSP
//! 2005) and PONDER (GLOBECOM 2007). Both ask one peer at a time for a part,
//! and the server for whatever is not here when it becomes urgent.

use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;

use smallvec::SmallVec;

use super::{Asks, Class, Fetch, MAX_SOURCES, Manner, PER_SOURCE, Part, View};
use crate::id::Seq;
use crate::rng::Rng;
use crate::time::Time;
use crate::timeshift::source::Source;

/// What is known of a part, and when it is due.
pub(super) struct Case<'a> {
    /// The second of stream time that it is.
    pub(super) second: u64,
    pub(super) wanted: Range<Seq>,
    /// Owners of its file.
    pub(super) found: &'a [SocketAddr],
    /// The lookup for these is over.
    pub(super) looked: bool,
    pub(super) left: Option<Duration>,
}

impl Fetch {
    pub(super) fn look_assisted(
        &mut self,
        now: Time,
        view: &View<'_>,
        part: &mut Part,
        case: Case<'_>,
        rng: &mut Rng,
        asks: &mut Asks,
    ) {
        let Case { second, wanted, found, looked, left } = case;
        let pending = part.tries.iter().any(|t| t.failed.is_none());
        if let Some(next) = part.never.filter(|_| !pending) {
            return asks.push(Self::in_vain(view, wanted, next, true));
        }
        let partners = (view.partners)(wanted.start, wanted.end);
        let tried = |addr: &SocketAddr| part.tries.iter().any(|t| t.from == *addr);
        let is_peer = |addr: &&SocketAddr| Some(**addr) != view.provider;
        let peers = || partners.iter().chain(found).filter(is_peer);
        let fit = |addr: &SocketAddr| match self.sources.get(addr) {
            Some(source) => source.is_fit(now),
            None => self.sources.len() < MAX_SOURCES,
        };
        // Before play-out begins, what it begins with is urgent.
        let soon = view.next.plus(view.channel.blocks_in(view.emergency));
        let urgent = left.map_or(wanted.start < soon, |left| left < view.emergency);
        if urgent && let Some(provider) = view.provider.filter(|p| !tried(p) && fit(p)) {
            if part.class == Class::Peer {
                part.class = match peers().next() {
                    None if looked => Class::NoOwner,
                    Some(_) if !pending && peers().all(tried) => Class::Failed,
                    _ => Class::Emergency,
                };
            }
            return self.ask(now, part, provider, wanted, asks);
        }
        if pending {
            return;
        }
        let able: SmallVec<[SocketAddr; 16]> =
            peers().filter(|addr| !tried(addr) && fit(addr)).copied().collect();
        let choice = match view.manner {
            Manner::Ponder { clip } => self.owner_of_clip(second / clip.max(1), &able, now, rng),
            _ => {
                let free = able.into_iter().filter(|addr| self.asked(*addr) < PER_SOURCE);
                rng.pick(&free.collect::<SmallVec<[SocketAddr; 16]>>()).copied()
            }
        };
        if let Some(addr) = choice {
            self.ask(now, part, addr, wanted, asks);
        }
    }

    /// Who gives a sub-clip: who gave the part before; else who is asked for
    /// least, at random among equals.
    fn owner_of_clip(
        &mut self,
        clip: u64,
        able: &[SocketAddr],
        now: Time,
        rng: &mut Rng,
    ) -> Option<SocketAddr> {
        if let Some(owner) = self.clips.get(&clip).filter(|owner| able.contains(owner)) {
            return Some(*owner);
        }
        let cost = |addr: &SocketAddr| {
            self.sources.get(addr).map_or_else(|| Source::new(now).cost(), Source::cost)
        };
        let costs = able.iter().map(|addr| (self.asked(*addr), cost(addr), rng.next_u64(), *addr));
        let (_, _, _, owner) = costs.min()?;
        self.clips.insert(clip, owner);
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Ask, Owners, Try};
    use super::*;
    use crate::stream::buffer::BlockBuffer;
    use crate::stream::channel::tests_support::channel;
    use crate::stream::sign::PublicKey;
    use alloc::collections::{BTreeMap, BTreeSet};

    const NOW: Time = Time::from_secs(1_000);
    const EMERGENCY: Duration = Duration::from_secs(5);

    fn addr(n: u8) -> SocketAddr {
        ([10, 0, 0, n], 1).into()
    }

    /// Twenty seconds of two files of which owners 1 to 6 have all; the player
    /// is 2 s before the first. Whom each second is asked of.
    fn asked(fetch: &mut Fetch, manner: Manner, now: Time) -> (BTreeMap<u64, Try>, Asks) {
        let channel = channel(PublicKey([1; 32]));
        let per_second = channel.blocks_in(Duration::from_secs(1));
        let buffer = BlockBuffer::new(Seq(0), channel.sub_streams(), 20 * per_second);
        let found: SmallVec<[SocketAddr; 16]> = (1..=6).map(addr).collect();
        for file in [0, 10] {
            let (found, looked) = (found.clone(), Some((now, true)));
            fetch.files.insert(file, Owners { found, hearsay: 0, looked });
        }
        let view = View {
            channel: &channel,
            buffer: &buffer,
            next: Seq(0),
            fresh: false,
            end: Seq(20 * per_second),
            emergency: EMERGENCY,
            provider: Some(addr(9)),
            manner,
            due: &|seq| Some(NOW + Duration::from_secs(2 + seq.0 / per_second)),
            partners: &|_, _| SmallVec::new(),
            others: &SmallVec::new,
        };
        let asks = fetch.plan(now, &view, &mut Rng::new([1; 32]));
        let last = |(second, part): (&u64, &Part)| Some((*second, *part.tries.last()?));
        (fetch.parts.iter().filter_map(last).collect(), asks)
    }

    #[test]
    fn what_is_urgent_comes_from_the_server_and_a_sub_clip_from_one_peer() {
        let mut fetch = Fetch::default();
        let (tries, asks) = asked(&mut fetch, Manner::Ponder { clip: 4 }, NOW);
        let owners = |range: Range<u64>| -> BTreeSet<SocketAddr> {
            range.map(|second| tries[&second].from).collect()
        };
        assert_eq!(owners(0..3), [addr(9)].into(), "due within five seconds");
        let clips = [3..4, 4..8, 8..12, 12..16, 16..20].map(owners);
        assert!(clips.iter().all(|clip| clip.len() == 1), "{clips:?}");
        let all: BTreeSet<_> = clips.into_iter().flatten().collect();
        assert_eq!(all.len(), 5, "each from another");
        assert!(!all.contains(&addr(9)));
        assert!(asks.iter().all(|ask| matches!(ask, Ask::Dial(_))));
    }

    #[test]
    fn bass_asks_one_peer_a_part_and_the_server_once_that_is_urgent() {
        let mut fetch = Fetch::default();
        let (tries, _) = asked(&mut fetch, Manner::Bass, NOW);
        assert!((0..3).all(|second| tries[&second].from == addr(9)));
        let busy = |n| tries.values().filter(|t| t.from == addr(n)).count();
        // Six owners with three parts each are more than there are.
        assert_eq!((1..=6).map(busy).sum::<usize>(), 17);
        assert!((1..=6).all(|n| busy(n) <= PER_SOURCE));
        // A moment later another second is urgent, and is asked of nobody else.
        let (again, asks) = asked(&mut fetch, Manner::Bass, NOW + Duration::from_millis(300));
        assert_eq!(again[&3].from, addr(9));
        assert_eq!(fetch.parts[&3].tries.len(), 2);
        assert!((4..20).all(|second| fetch.parts[&second].tries.len() == 1));
        assert!(asks.is_empty(), "the way there is being opened: {asks:?}");
    }
}
