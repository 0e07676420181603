//! What to fetch of the past, from whom, by when: earliest deadline first over
//! a window, several sources at once, the slow ones hedged, the provider only
//! for what no peer gives in time (report section 3, p. 11). Or as published:
//! one owner at a time, drawn by chance, and after two the provider. Or as others
//! do it (`assisted`).
//!
//! The stream is fetched in parts of one second.

mod assisted;
#[cfg(test)]
mod tests;

use alloc::collections::BTreeMap;
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;

use smallvec::SmallVec;

use crate::id::Seq;
use crate::rng::Rng;
use crate::stream::buffer::BlockBuffer;
use crate::stream::channel::Channel;
use crate::stream::file::FileId;
use crate::time::Time;
use crate::timeshift::source::{Door, Source};
use crate::wire::message::{Reason, TimeShiftRefused};
use assisted::Case;

/// Parts that one source is asked for at a time.
const PER_SOURCE: usize = 3;
/// Sources that are remembered.
const MAX_SOURCES: usize = 256;
/// Sources of one file.
const MAX_OWNERS: usize = 32;
/// Of these, sources that other sources told of: who lies must not fill the
/// places of those whom the DHT knows.
const MAX_HEARSAY: usize = 8;
/// Who has not given a part after this long is slower than the stream, or only
/// pretends to give it.
const SLOW: Duration = Duration::from_secs(5);
/// A request this old is hedged when its time runs out.
const HEDGE: Duration = Duration::from_millis(500);
/// A part with less time than this left is worth a second request.
const HURRY: Duration = Duration::from_secs(3);
/// Peers have this long before the provider is asked for what is urgent.
const GRACE: Duration = Duration::from_secs(1);
/// After this long a source that failed to give a part may be asked for it again.
const AGAIN: Duration = Duration::from_secs(3);
/// Owners are looked up again after this long, if a part is still missing.
const REFRESH: Duration = Duration::from_secs(20);
/// Sooner, if none was found: it may be about to be published.
const REFRESH_NONE: Duration = Duration::from_secs(4);
/// Published: owners that are asked for a block before the provider is.
const OWNERS: u8 = 2;
/// Published: nothing is said of owners that are silent; TCP tells after so
/// long, and the block is an emergency before.
const SILENCE: Duration = Duration::from_secs(30);
/// A source that was not used for this long is forgotten.
const FORGET: Duration = Duration::from_secs(120);
/// A connection that was not used for this long is closed.
const IDLE: Duration = Duration::from_secs(15);

/// Why a block came from where it came (report Table 4-2). Each is counted
/// once, by what first made us ask the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// From a peer.
    Peer,
    /// From the provider: it was needed within seconds.
    Emergency,
    /// From the provider: those who should have it did not give it.
    Failed,
    /// From the provider: nobody is known to have it.
    NoOwner,
}

/// One source asked for one part.
#[derive(Clone, Copy, Debug)]
struct Try {
    from: SocketAddr,
    at: Time,
    failed: Option<Time>,
    /// It sent the first block of what it was asked for.
    answered: bool,
}

/// A second of the stream that is not all here.
#[derive(Debug)]
struct Part {
    wanted: Time,
    tries: SmallVec<[Try; 4]>,
    class: Class,
    /// Peers that were asked.
    peers: u8,
    /// The provider has none of it before this block.
    never: Option<Seq>,
    /// The earliest block after it that a peer who does not have it has.
    hint: Option<Seq>,
}

/// Who has a file.
#[derive(Debug, Default)]
struct Owners {
    found: SmallVec<[SocketAddr; 16]>,
    /// How many of these other sources told of.
    hearsay: usize,
    /// When they were looked up, and whether that is over.
    looked: Option<(Time, bool)>,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Find out who has the file that begins at this second of stream time.
    LookUp(u64),
    /// Open a connection to a source.
    Dial(SocketAddr),
    /// Ask a source for blocks from `first` to before `end`.
    Request { of: SocketAddr, first: Seq, end: Seq },
    /// Nobody has anything of the window; this is the first block that somebody has.
    Leap(Seq),
    /// Nobody has these blocks any more; with `void` they were never made.
    GiveUp { first: Seq, end: Seq, void: bool },
    /// The connection to a source is not used any more.
    Close(SocketAddr),
}

/// What to do, in order.
pub(crate) type Asks = SmallVec<[Ask; 8]>;

/// By which rules a part is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Several sources at once; the provider when it is urgent.
    Hedged,
    /// The same in no hurry at all; the provider when there is nobody else.
    Calm,
    /// As published.
    Published,
    /// BASS: one owner after another, and the server when it is urgent.
    Bass,
    /// PONDER: the same, with sub-clips of so many parts from one owner.
    Ponder { clip: u64 },
}

/// What a plan is made from.
pub(crate) struct View<'a> {
    pub(crate) channel: &'a Channel,
    pub(crate) buffer: &'a BlockBuffer,
    /// The next block for the player.
    pub(crate) next: Seq,
    /// The player was given nothing yet: it may as well begin elsewhere.
    pub(crate) fresh: bool,
    /// The first block that is not wanted yet.
    pub(crate) end: Seq,
    /// How long before it is due a block is fetched from the provider.
    pub(crate) emergency: Duration,
    pub(crate) provider: Option<SocketAddr>,
    pub(crate) manner: Manner,
    /// When a block is due, if it is known.
    pub(crate) due: &'a dyn Fn(Seq) -> Option<Time>,
    /// Partners who hold these blocks in memory.
    pub(crate) partners: &'a dyn Fn(Seq, Seq) -> SmallVec<[SocketAddr; 8]>,
    /// Partners who may have anything on their disks.
    pub(crate) others: &'a dyn Fn() -> SmallVec<[SocketAddr; 8]>,
}

/// The fetching side of a viewer in the past.
#[derive(Debug, Default)]
pub(crate) struct Fetch {
    /// By the second of stream time.
    parts: BTreeMap<u64, Part>,
    /// By the second at which the file begins.
    files: BTreeMap<u64, Owners>,
    sources: BTreeMap<SocketAddr, Source>,
    /// Who gives each sub-clip.
    clips: BTreeMap<u64, SocketAddr>,
}

impl Fetch {
    /// The viewer leapt: what was asked for is not wanted any more. Returns who
    /// should be told.
    pub(crate) fn leap(&mut self) -> SmallVec<[SocketAddr; 8]> {
        self.parts.clear();
        self.clips.clear();
        let open = self.sources.iter().filter(|(_, s)| s.door == Door::Open);
        open.map(|(addr, _)| *addr).collect()
    }

    /// Looks at every part of the window, the earliest first.
    pub(crate) fn plan(&mut self, now: Time, view: &View<'_>, rng: &mut Rng) -> Asks {
        let mut asks = Asks::new();
        let per_second = view.channel.blocks_in(Duration::from_secs(1));
        let (first, last) = (view.next.0 / per_second, view.end.0.div_ceil(per_second));
        self.parts.retain(|second, _| (first..last).contains(second));
        if let Manner::Ponder { clip } = view.manner {
            self.clips = self.clips.split_off(&(first / clip.max(1)));
        }
        for second in first..last {
            let begin = Seq(second * per_second).max(view.next);
            let end = Seq((second + 1) * per_second).min(view.end);
            let missing = (begin.0..end.0).map(Seq).find(|seq| view.buffer.is_missing(*seq));
            let part = self.parts.remove(&second);
            if let Some(missing) = missing {
                let mut part = part.unwrap_or_else(|| Part::new(now));
                self.look_at(now, view, &mut part, missing..end, rng, &mut asks);
                self.parts.insert(second, part);
            }
        }
        self.tidy(now, first.saturating_sub(view.channel.file().as_secs()), &mut asks);
        asks
    }

    fn look_at(
        &mut self,
        now: Time,
        view: &View<'_>,
        part: &mut Part,
        wanted: Range<Seq>,
        rng: &mut Rng,
        asks: &mut Asks,
    ) {
        let file = FileId::of(view.channel, wanted.start).start;
        let owners = self.files.entry(file).or_default();
        let refresh = match owners.found.is_empty() {
            _ if view.manner == Manner::Published => Duration::MAX,
            true => REFRESH_NONE,
            false => REFRESH,
        };
        if owners.looked.is_none_or(|(at, _)| now.since(at) > refresh) {
            owners.looked = Some((now, false));
            asks.push(Ask::LookUp(file));
        }
        let looked = owners.looked.is_some_and(|(_, over)| over);
        let found = owners.found.clone();
        self.time_out(now, part, view.manner);
        let left = (view.due)(wanted.start).map(|due| due.since(now));
        if view.manner == Manner::Published {
            let owners = looked.then_some(&found[..]);
            return self.look_as_published(now, view, part, wanted, rng, asks, owners, left);
        }
        if matches!(view.manner, Manner::Bass | Manner::Ponder { .. }) {
            let second = second_of(view.channel, wanted.start);
            let case = Case { second, wanted, found: &found, looked, left };
            return self.look_assisted(now, view, part, case, rng, asks);
        }
        let pending = || part.tries.iter().filter(|t| t.failed.is_none());
        // What comes first decides when play-out can begin.
        let second = view.channel.blocks_in(Duration::from_secs(1));
        let hurry = left.map_or(wanted.start < view.next.plus(second), |left| left < HURRY);
        let hedge = hurry && pending().all(|t| now.since(t.at) > HEDGE);
        if pending().next().is_some() && !hedge {
            return;
        }
        let is_peer = |addr: &&SocketAddr| Some(**addr) != view.provider;
        let untried = |addr: &&SocketAddr| part.tries.iter().all(|t| t.from != **addr);
        let fit = |addr: &SocketAddr| self.sources.get(addr).is_none_or(|s| s.is_fit(now));
        let mut partners = (view.partners)(wanted.start, wanted.end);
        let known = !partners.is_empty() || !found.is_empty();
        let hopeful = |addr: &SocketAddr| is_peer(&addr) && untried(&addr) && fit(addr);
        let urgent = left.is_none_or(|left| left < view.emergency);
        let late =
            urgent && now.since(part.wanted) >= GRACE && view.provider.is_some_and(|p| fit(&p));
        if looked && !(known && late) && !partners.iter().chain(&found).any(hopeful) {
            // Nobody who is known to have it gives it: somebody may have it
            // without having said so, or the record of it is lost with its holders.
            partners.extend((view.others)());
        }
        let peers = || partners.iter().chain(&found).filter(is_peer);
        let able = peers().filter(untried).filter_map(|addr| {
            let busy = self.asked(*addr);
            let cost = match self.sources.get(addr) {
                Some(source) if source.is_fit(now) && busy < PER_SOURCE => source.cost(),
                None if self.sources.len() < MAX_SOURCES => Source::new(now).cost(),
                _ => return None,
            };
            Some((cost * (1 + busy as u32), rng.next_u64(), *addr))
        });
        // Two peers that are at it are enough.
        if pending().count() < 2
            && let Some((_, _, addr)) = able.min()
        {
            return self.ask(now, part, addr, wanted, asks);
        }
        // Only the provider is left.
        let idle = pending().next().is_none();
        let nobody = looked && idle && !peers().any(|p| untried(&p));
        // Who is known to have it is waited for, though not those who rest out of step
        // for ever; of others only who could be asked now.
        let awaited = |p: &SocketAddr| untried(&p) && (fit(p) || found.contains(p));
        let tried_long = now.since(part.wanted) >= REFRESH;
        let given_up = idle && (tried_long || looked && !peers().any(awaited));
        let failing = |p: SocketAddr| {
            self.sources.get(&p).is_some_and(Source::has_failed) && now.since(part.wanted) >= SLOW
        };
        if nobody && view.provider.is_none_or(failing) {
            // It is away: then the peers' word counts.
            let vain = part.hint.map(|next| Self::in_vain(view, wanted, next, false));
            return asks.extend(vain);
        }
        let Some(provider) = view.provider else { return };
        // Somebody may yet publish it, or have time again.
        let at_last = looked && (urgent || view.manner == Manner::Calm);
        let class = if !known && at_last && nobody {
            Class::NoOwner
        } else if at_last && nobody {
            Class::Failed
        } else if urgent && now.since(part.wanted) >= GRACE {
            Class::Emergency
        } else {
            return;
        };
        let fit = self.sources.get(&provider).is_none_or(|s| s.is_fit(now));
        if fit && untried(&&provider) {
            if part.class == Class::Peer {
                part.class = class;
            }
            self.ask(now, part, provider, wanted, asks);
        } else if let Some(next) = part.never.filter(|_| given_up) {
            asks.push(Self::in_vain(view, wanted, next, true));
        }
    }

    /// What to do about blocks before `next` that nobody has; with `void` the
    /// provider says so, who keeps all that was made.
    fn in_vain(view: &View<'_>, wanted: Range<Seq>, next: Seq, void: bool) -> Ask {
        let is_gap = next >= view.end || view.fresh;
        if wanted.start == view.next && is_gap && next < Seq(u64::MAX) {
            return Ask::Leap(next);
        }
        Ask::GiveUp { first: wanted.start, end: next.min(wanted.end), void }
    }

    /// The published rules: owners by chance, one after another, and two at
    /// most; then the provider, and in any case when the block is due soon.
    #[expect(clippy::too_many_arguments, reason = "the other half of look_at")]
    fn look_as_published(
        &mut self,
        now: Time,
        view: &View<'_>,
        part: &mut Part,
        wanted: Range<Seq>,
        rng: &mut Rng,
        asks: &mut Asks,
        owners: Option<&[SocketAddr]>,
        left: Option<Duration>,
    ) {
        let Some(provider) = view.provider else { return };
        let urgent = left.is_some_and(|left| left < view.emergency);
        let from_provider = part.tries.iter().any(|t| t.from == provider);
        let pending = part.tries.iter().any(|t| t.failed.is_none());
        if let Some(next) = part.never.filter(|_| !pending) {
            return asks.push(Self::in_vain(view, wanted, next, true));
        }
        if from_provider || pending && !urgent {
            return;
        }
        let tried = |addr: &SocketAddr| part.tries.iter().any(|t| t.from == *addr);
        let class = match owners {
            _ if urgent => Class::Emergency,
            None => return,
            Some([]) => Class::NoOwner,
            Some(owners) => {
                let is_able = |addr: &&SocketAddr| **addr != provider && !tried(addr);
                let able: SmallVec<[SocketAddr; 16]> =
                    owners.iter().filter(is_able).copied().collect();
                match rng.pick(&able).filter(|_| part.peers < OWNERS) {
                    Some(addr) => {
                        part.peers += 1;
                        return self.ask(now, part, *addr, wanted, asks);
                    }
                    None => Class::Failed,
                }
            }
        };
        if part.class == Class::Peer {
            part.class = class;
        }
        self.ask(now, part, provider, wanted, asks);
    }

    /// Silence is a failure, and a failure is not for ever.
    fn time_out(&mut self, now: Time, part: &mut Part, manner: Manner) {
        for t in part.tries.iter_mut().filter(|t| t.failed.is_none()) {
            let Some(source) = self.sources.get_mut(&t.from) else { continue };
            let patience = match manner {
                Manner::Published => SILENCE,
                _ => source.patience(),
            };
            let silent = now.since(t.at.max(source.heard)) > patience;
            if silent || manner != Manner::Published && now.since(t.at) > SLOW {
                t.failed = Some(now);
                source.failed(now);
            }
        }
        part.tries.retain(|t| t.failed.is_none_or(|at| now.since(at) < AGAIN));
    }

    /// Parts that a source is asked for.
    fn asked(&self, addr: SocketAddr) -> usize {
        let tries = self.parts.values().flat_map(|part| &part.tries);
        tries.filter(|t| t.from == addr && t.failed.is_none()).count()
    }

    fn ask(
        &mut self,
        now: Time,
        part: &mut Part,
        from: SocketAddr,
        wanted: Range<Seq>,
        asks: &mut Asks,
    ) {
        let source = self.sources.entry(from).or_insert_with(|| Source::new(now));
        source.used = now;
        part.tries.push(Try { from, at: now, failed: None, answered: false });
        match source.door {
            Door::Open => {
                asks.push(Ask::Request { of: from, first: wanted.start, end: wanted.end });
            }
            Door::Closed => {
                source.door = Door::Opening;
                asks.push(Ask::Dial(from));
            }
            Door::Opening => {}
        }
    }

    /// A connection to a source stands. Returns what it was opened for.
    pub(crate) fn opened(&mut self, now: Time, addr: SocketAddr, view: &View<'_>) -> Asks {
        let Some(source) = self.sources.get_mut(&addr) else { return Asks::new() };
        source.door = Door::Open;
        source.heard = now;
        let per_second = view.channel.blocks_in(Duration::from_secs(1));
        let waiting = self.parts.iter().filter(|(_, part)| part.awaits(addr));
        let request = |(second, _): (&u64, &Part)| {
            let begin = Seq(second * per_second).max(view.next);
            let end = Seq((second + 1) * per_second).min(view.end);
            let first = (begin.0..end.0).map(Seq).find(|seq| view.buffer.is_missing(*seq))?;
            Some(Ask::Request { of: addr, first, end })
        };
        waiting.filter_map(request).collect()
    }

    /// The connection to a source is gone, or could not be opened.
    pub(crate) fn closed(&mut self, now: Time, addr: SocketAddr) {
        let Some(source) = self.sources.get_mut(&addr) else { return };
        source.door = Door::Closed;
        let mut expected = false;
        for t in self.parts.values_mut().flat_map(|p| &mut p.tries) {
            if t.from == addr && t.failed.is_none() {
                t.failed = Some(now);
                expected = true;
            }
        }
        if expected {
            source.failed(now);
        }
    }

    /// Whether this source was asked for this block.
    pub(crate) fn expects(&self, channel: &Channel, seq: Seq, from: SocketAddr) -> bool {
        self.parts
            .get(&second_of(channel, seq))
            .is_some_and(|p| p.tries.iter().any(|t| t.from == from))
    }

    /// A block came that was missing. Returns how it is to be counted.
    pub(crate) fn arrived(
        &mut self,
        now: Time,
        channel: &Channel,
        seq: Seq,
        from: SocketAddr,
        provider: Option<SocketAddr>,
    ) -> Class {
        let Some(source) = self.sources.get_mut(&from) else { return Class::Peer };
        source.heard = now;
        let Some(part) = self.parts.get_mut(&second_of(channel, seq)) else { return Class::Peer };
        if let Some(t) = part.tries.iter_mut().find(|t| t.from == from && !t.answered) {
            t.answered = true;
            source.answered(now.since(t.at));
        }
        if provider == Some(from) { part.class } else { Class::Peer }
    }

    /// A source does not give a part, or the rest of it.
    pub(crate) fn refused(
        &mut self,
        now: Time,
        channel: &Channel,
        from: SocketAddr,
        refused: &TimeShiftRefused,
        provider: Option<SocketAddr>,
    ) {
        let Some(source) = self.sources.get_mut(&from) else { return };
        source.heard = now;
        let busy = refused.reason == Reason::Full;
        if busy {
            source.busy(now);
        }
        let Some(part) = self.parts.get_mut(&second_of(channel, refused.first)) else { return };
        for t in part.tries.iter_mut().filter(|t| t.from == from) {
            t.failed.get_or_insert(now);
        }
        match refused.next {
            _ if busy => {}
            next if provider == Some(from) => part.never = Some(next.unwrap_or(Seq(u64::MAX))),
            Some(next) => part.hint = Some(part.hint.map_or(next, |hint| hint.min(next))),
            None => {}
        }
    }

    /// A source sent what no honest one sends.
    pub(crate) fn cheated(&mut self, addr: SocketAddr) {
        self.sources.get_mut(&addr).into_iter().for_each(Source::ban);
    }

    /// Some owners of a file were found; with `over` there are no more.
    pub(crate) fn found(&mut self, file: u64, addrs: &[SocketAddr], over: bool) {
        let Some(owners) = self.files.get_mut(&file) else { return };
        for addr in addrs {
            if owners.found.len() < MAX_OWNERS && !owners.found.contains(addr) {
                owners.found.push(*addr);
            }
        }
        owners.looked.iter_mut().for_each(|(_, done)| *done |= over);
    }

    /// Another source told of some who may have a file.
    pub(crate) fn heard_of(&mut self, file: u64, addrs: &[SocketAddr]) {
        let room = self.files.get(&file).map_or(0, |o| MAX_HEARSAY.saturating_sub(o.hearsay));
        let addrs = addrs.get(..room).unwrap_or(addrs);
        if let Some(owners) = self.files.get_mut(&file) {
            owners.hearsay += addrs.len();
        }
        self.found(file, addrs, false);
    }

    /// Forgets files that were played, and closes what is not used.
    fn tidy(&mut self, now: Time, before: u64, asks: &mut Asks) {
        self.files.retain(|file, _| *file >= before);
        for (addr, source) in &mut self.sources {
            if source.door == Door::Open && now.since(source.used.max(source.heard)) > IDLE {
                source.door = Door::Closed;
                asks.push(Ask::Close(*addr));
            }
        }
        let parts = &self.parts;
        self.sources.retain(|addr, s| {
            s.door != Door::Closed
                || now.since(s.used) < FORGET
                || parts.values().any(|part| part.awaits(*addr))
        });
    }
}

impl Part {
    fn new(now: Time) -> Self {
        let (tries, class) = (SmallVec::new(), Class::Peer);
        Self { wanted: now, tries, class, peers: 0, never: None, hint: None }
    }

    fn awaits(&self, addr: SocketAddr) -> bool {
        self.tries.iter().any(|t| t.from == addr && t.failed.is_none())
    }
}

/// The second of stream time that a block belongs to.
fn second_of(channel: &Channel, seq: Seq) -> u64 {
    seq.0 / channel.blocks_in(Duration::from_secs(1))
}
