//! Connections: what each is for, how far its handshake got, what waits to be
//! sent on it. The core owns the queues; the driver gives credit back.

mod bucket;
mod outbox;
mod uplink;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::collections::btree_map::{BTreeMap, Entry};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::event::{Action, Head};
use crate::id::{LinkId, NodeId, Seq, SubStream};
use crate::memory::Memory;
use crate::stats::Stats;
use crate::stream::block::Block;
use crate::time::Time;
use crate::timeshift::Errand;
use crate::wire::emit;
use crate::wire::frame::{Arena, FrameError, Framer, Incoming};
use crate::wire::message::{Message, Purpose};

use bucket::Bucket;
use outbox::{Outbox, Waiting};

/// What a connection is, as far as its handshake has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Accepted; its hello has not come.
    Accepted,
    /// Dialled; the other end's hello has not come.
    Dialled(Purpose),
    /// To or from a bootstrap server.
    Bootstrap,
    /// A partnership.
    Control(NodeId),
    /// Blocks come in from this partner.
    BlockIn(NodeId),
    /// Blocks go out to this partner.
    BlockOut(NodeId),
    /// Past blocks come in, on request.
    PastIn(Errand),
    /// Past blocks go out, on request.
    PastOut,
    /// A dial-back of the bootstrap server; nothing more to say.
    Probe,
    /// We are done with it: what still comes in is not read.
    Closing,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) remote: SocketAddr,
    pub(crate) role: Role,
    pub(crate) dialled: bool,
    /// Who it was dialled for, until the other end has said who it is.
    pub(crate) peer: Option<NodeId>,
    /// Where it can be dialled, by its own word; known of those who ask for the
    /// past, who are few.
    pub(crate) peer_addr: Option<Box<SocketAddr>>,
    /// The other end has said hello.
    pub(crate) greeted: bool,
    pub(crate) since: Time,
    /// When the frame that is being received began.
    pub(crate) partial: Option<Time>,
    /// When something whole last came in.
    pub(crate) heard: Time,
    pub(crate) framer: Framer,
    outbox: Outbox,
    ready: bool,
    reading: bool,
    /// The longest frame that the other end takes.
    pub(crate) max_frame: usize,
}

impl Link {
    /// Whether a block is no longer than the other end takes.
    fn takes(&self, block: &Block) -> bool {
        block.frame().len() <= self.max_frame
    }
}

/// Every connection of a node.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Boxed, for a map has room for more than it holds.
    links: BTreeMap<LinkId, Box<Link>>,
    /// How many of them were accepted from each address: a server has as many as
    /// there are nodes, too many to count them when one more comes.
    accepted: BTreeMap<IpAddr, usize>,
    waiting: Waiting,
    /// Links with something to send, served one after another.
    ready: VecDeque<LinkId>,
    /// The same for the past, which goes out when nothing live can.
    ready_past: VecDeque<LinkId>,
    /// Links to be read no longer, or again.
    reading: VecDeque<(LinkId, bool)>,
    arena: Arena,
    bucket: Bucket,
}

impl Links {
    pub(crate) fn new(max_upload: Option<u64>, now: Time) -> Self {
        Self { bucket: Bucket::new(max_upload, now), ..Self::default() }
    }

    /// Sets where long blocks are kept that begin from now on.
    pub(crate) fn set_memory(&mut self, memory: Box<dyn Memory>) {
        self.arena.set_memory(memory);
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link).map(|l| &**l)
    }

    pub(crate) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link).map(|l| &mut **l)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, &**link))
    }

    /// Whether one more connection from this address may be accepted.
    pub(crate) fn has_room(&self, config: &Config, from: IpAddr) -> bool {
        let same = self.accepted.get(&from.to_canonical()).copied().unwrap_or(0);
        self.links.len() < config.max_links && same < config.max_links_per_address
    }

    pub(crate) fn open(&mut self, now: Time, id: LinkId, remote: SocketAddr, role: Role) {
        let link = Link {
            remote,
            role,
            dialled: matches!(role, Role::Dialled(_)),
            peer: None,
            peer_addr: None,
            greeted: false,
            since: now,
            partial: None,
            heard: now,
            framer: Framer::new(0),
            outbox: Outbox::default(),
            ready: false,
            reading: true,
            max_frame: usize::MAX,
        };
        if !link.dialled {
            *self.accepted.entry(remote.ip().to_canonical()).or_default() += 1;
        }
        self.links.insert(id, Box::new(link));
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Box<Link>> {
        let mut link = self.links.remove(&id)?;
        link.outbox.clear(&mut self.waiting);
        if !link.dialled
            && let Entry::Occupied(mut same) = self.accepted.entry(link.remote.ip().to_canonical())
        {
            *same.get_mut() -= 1;
            if *same.get() == 0 {
                same.remove();
            }
        }
        Some(link)
    }

    /// Queues a message. Returns `false` if the link has so much waiting that
    /// its reader must be taken for dead.
    pub(crate) fn send(&mut self, id: LinkId, message: &Message) -> bool {
        let Some(link) = self.links.get_mut(&id).filter(|l| l.role != Role::Closing) else {
            return true;
        };
        let mut frame = Head::new();
        emit::encode(message, &mut frame);
        let fits = link.outbox.push_control(&mut self.waiting, frame);
        self.judge_reading(id);
        self.make_ready(id);
        fits
    }

    /// Who does not take its answers is not asked for more questions.
    fn judge_reading(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id)
            && let Some(on) = link.outbox.wants_reading().filter(|on| *on != link.reading)
        {
            link.reading = on;
            self.reading.push_back((id, on));
        }
    }

    /// Whether a block may be sent on a link.
    pub(crate) fn takes(&self, id: LinkId, block: &Block) -> bool {
        self.links.get(&id).is_some_and(|link| link.takes(block))
    }

    /// Queues a block; `useful` is the oldest block that the child can still use.
    /// Returns how many blocks are dropped that it can use no more, this one
    /// among them if it is longer than the child takes.
    pub(crate) fn push(&mut self, now: Time, id: LinkId, block: &Block, useful: Seq) -> u64 {
        let Some(link) = self.links.get_mut(&id) else { return 0 };
        if !link.takes(block) {
            return 1;
        }
        let dropped = link.outbox.push_block(now, block.clone(), useful);
        if matches!(link.role, Role::BlockOut(_)) {
            link.outbox.begin(&mut self.waiting, now);
        }
        self.make_ready(id);
        dropped
    }

    /// Takes back the queued blocks of a sub-stream that its child no longer
    /// wants from us.
    pub(crate) fn take_back(&mut self, id: LinkId, sub: SubStream, sub_streams: u8) {
        if let Some(link) = self.links.get_mut(&id) {
            link.outbox.take_back(&mut self.waiting, |seq| seq.sub_stream(sub_streams) == sub);
        }
    }

    /// The longest that anything waited on this link, or in its transport,
    /// since this was last asked, and how long it has had no pause; `None` while
    /// its reader has taken nothing for `stuck`.
    pub(crate) fn take_delay(
        &mut self,
        now: Time,
        id: LinkId,
        stuck: Duration,
    ) -> Option<(Duration, Duration)> {
        let outbox = &mut self.links.get_mut(&id)?.outbox;
        let (waiting, standing) = (&self.waiting, outbox.standing(now));
        (!outbox.is_stuck(waiting, now, stuck))
            .then(|| (outbox.take_slowest(waiting, now), standing))
    }

    /// Readers that let things wait for longer than `limit` keep no uplink busy.
    pub(crate) fn pass_over(&mut self, now: Time, limit: Duration) {
        for link in self.links.values_mut() {
            link.outbox.pass_over(&mut self.waiting, now, limit);
        }
    }

    /// Whether a pulled block may be sent now: a few whenever the uplink pauses, and
    /// one each `limit` while it does not.
    pub(crate) fn may_answer(&self, now: Time, limit: Duration) -> bool {
        self.waiting.uplink.may_answer(now, limit)
    }

    /// A pulled block was sent.
    pub(crate) fn answered(&mut self, now: Time) {
        self.waiting.uplink.answered(now);
    }

    /// Since when something waits on this link, or in its transport.
    pub(crate) fn waiting_since(&self, id: LinkId) -> Option<Time> {
        self.links.get(&id)?.outbox.waiting_since(&self.waiting)
    }

    /// Bytes of blocks that wait on a link.
    pub(crate) fn queued(&self, id: LinkId) -> usize {
        self.links.get(&id).map_or(usize::MAX, |l| l.outbox.block_bytes())
    }

    /// Blocks that wait on a link.
    pub(crate) fn waiting(&self, id: LinkId) -> usize {
        self.links.get(&id).map_or(0, |l| l.outbox.blocks_waiting())
    }

    /// Credit comes back.
    pub(crate) fn flushed(&mut self, now: Time, id: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(&id) {
            link.outbox.flushed(&mut self.waiting, now, bytes);
            self.judge_reading(id);
            self.make_ready(id);
        }
    }

    /// A long block that came in on a link, alone and whole.
    pub(crate) fn receive_whole(&mut self, now: Time, id: LinkId, input: &Bytes) -> Option<Block> {
        let link = self.links.get_mut(&id)?;
        let block = link.framer.whole(input)?;
        link.heard = now;
        Some(block)
    }

    /// The next thing that came in on a link. `None` when `input` is used up, or
    /// the link is gone.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        id: LinkId,
        input: &mut &[u8],
    ) -> Option<Result<Incoming, FrameError>> {
        let link = self.links.get_mut(&id)?;
        let next = link.framer.next(input, &mut self.arena).transpose();
        match next {
            Some(Ok(_)) => {
                link.partial = None;
                link.heard = now;
            }
            None if link.framer.is_partial() => {
                link.partial.get_or_insert(now);
            }
            _ => {}
        }
        next
    }

    /// Where the rest of a long block that has begun on a link goes.
    pub(crate) fn slot(&mut self, id: LinkId) -> Option<&mut [u8]> {
        self.links.get_mut(&id)?.framer.slot()
    }

    /// So many bytes came to the slot of a link: the block, if it is whole.
    pub(crate) fn filled(&mut self, now: Time, id: LinkId, bytes: usize) -> Option<Block> {
        let link = self.links.get_mut(&id)?;
        let block = link.framer.filled(bytes)?;
        link.partial = None;
        link.heard = now;
        Some(block)
    }

    /// Hands over what a link must still say before it is closed; control only.
    pub(crate) fn drain_control(
        &mut self,
        now: Time,
        id: LinkId,
        stats: &mut Stats,
        actions: &mut VecDeque<Action>,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return };
        while let Some(head) = link.outbox.pop_control(&mut self.waiting, now) {
            actions.push_back(control(id, head, stats));
        }
    }

    /// Closes a link and forgets it; with `flush` what must still be said goes
    /// first.
    pub(crate) fn close(
        &mut self,
        now: Time,
        id: LinkId,
        flush: bool,
        stats: &mut Stats,
        actions: &mut VecDeque<Action>,
    ) {
        if flush {
            self.drain_control(now, id, stats, actions);
        }
        if self.remove(id).is_some() {
            actions.push_back(Action::Close { link: id, flush });
        }
    }

    /// The next thing to send, within every link's credit and the upload cap.
    pub(crate) fn poll_send(
        &mut self,
        now: Time,
        config: &Config,
        stats: &mut Stats,
    ) -> Option<Action> {
        while let Some((link, on)) = self.reading.pop_front() {
            if self.links.get(&link).is_some_and(|l| l.role != Role::Closing) {
                return Some(Action::SetRead { link, on });
            }
        }
        loop {
            let Some(&id) = self.ready.front() else {
                // One at a time, so that what is live waits for one at most.
                self.ready.push_back(self.ready_past.pop_front()?);
                continue;
            };
            if let Some(link) = self.links.get_mut(&id) {
                if link.outbox.has_credit(config.send_window) {
                    if let Some(head) = link.outbox.pop_control(&mut self.waiting, now) {
                        if link.role != Role::PastOut {
                            link.outbox.begin(&mut self.waiting, now);
                        }
                        return Some(control(id, head, stats));
                    }
                    let open = matches!(link.role, Role::BlockOut(_) | Role::PastOut)
                        && link.outbox.is_fluent(&self.waiting, now, config.queue_limit)
                        && self.bucket.is_open(now);
                    if let Some(block) = open
                        .then(|| {
                            link.outbox.pop_block(&mut self.waiting, now, &mut stats.blocks_dropped)
                        })
                        .flatten()
                    {
                        let body = block.frame().clone();
                        self.bucket.take(body.len());
                        stats.blocks_sent += 1;
                        stats.bytes_sent += body.len() as u64;
                        return Some(Action::Send { link: id, head: Head::new(), body });
                    }
                }
                link.ready = false;
            }
            self.ready.pop_front();
        }
    }

    /// When blocks held back by the upload cap may go on; `None` if none are.
    pub(crate) fn capped_until(&self, now: Time) -> Option<Time> {
        let waits =
            !self.bucket.would_open(now) && self.links.values().any(|l| l.outbox.has_blocks());
        waits.then(|| self.bucket.opens_at(now))
    }

    /// Lets blocks that waited for the upload cap go on.
    pub(crate) fn uncap(&mut self) {
        let waiting = |(id, l): (LinkId, &Link)| l.outbox.has_blocks().then_some(id);
        let ids: VecDeque<LinkId> = self.iter().filter_map(waiting).collect();
        ids.into_iter().for_each(|id| self.make_ready(id));
    }

    /// Gives back the room that a burst of messages took.
    pub(crate) fn trim(&mut self) {
        self.waiting.trim();
    }

    fn make_ready(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id)
            && !link.ready
            && !link.outbox.is_empty()
            && link.role != Role::Closing
        {
            link.ready = true;
            let ready = match link.role {
                Role::PastOut => &mut self.ready_past,
                _ => &mut self.ready,
            };
            ready.push_back(id);
        }
    }
}

fn control(link: LinkId, head: Head, stats: &mut Stats) -> Action {
    stats.bytes_sent += head.len() as u64;
    stats.control_sent += head.len() as u64;
    Action::Send { link, head, body: Bytes::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sign::Signature;
    use alloc::vec;
    use alloc::vec::Vec;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn links(max_upload: Option<u64>) -> Links {
        let mut links = Links::new(max_upload, Time::ZERO);
        for id in [A, B] {
            links.open(Time::ZERO, id, ([127, 0, 0, 1], 1).into(), Role::Accepted);
            links.get_mut(id).unwrap().role = Role::BlockOut(NodeId([id.0 as u8; 16]));
        }
        links
    }

    fn block(seq: u64, len: usize) -> Block {
        Block::new(Seq(seq), &Signature([0; 64]), &vec![0; len])
    }

    fn drain(links: &mut Links, now: Time) -> Vec<(LinkId, usize)> {
        let config = Config { send_window: 4096, ..Config::default() };
        let mut stats = Stats::default();
        core::iter::from_fn(|| links.poll_send(now, &config, &mut stats))
            .filter_map(|a| match a {
                Action::Send { link, head, body } => Some((link, head.len() + body.len())),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_pause_is_seen_however_it_comes() {
        let limit = Duration::from_millis(100);
        let busy = || {
            let mut l = links(None);
            for id in [A, B] {
                l.push(Time::ZERO, id, &block(0, 100), Seq(0));
            }
            drain(&mut l, Time::ZERO);
            while l.may_answer(Time::ZERO, limit) {
                l.answered(Time::ZERO);
            }
            l.flushed(Time::ZERO, A, usize::MAX);
            assert!(!l.may_answer(Time::ZERO, limit), "B is not done");
            l
        };
        let late = Time::ZERO + limit;
        for end in [
            (|l| l.flushed(Time::ZERO, B, usize::MAX)) as fn(&mut Links),
            |l| drop(l.remove(B)),
            // A slow reader, also once it has caught up.
            |l| l.pass_over(Time::ZERO + Duration::from_millis(2), Duration::from_millis(1)),
            |l| {
                l.pass_over(Time::ZERO + Duration::from_millis(2), Duration::from_millis(1));
                l.answered(Time::ZERO);
                l.answered(Time::ZERO);
                l.flushed(Time::ZERO, B, usize::MAX);
            },
        ] {
            let mut l = busy();
            end(&mut l);
            assert!(l.may_answer(late, limit));
            assert_eq!(l.waiting.uplink, uplink::Uplink::default());
        }
        let mut l = busy();
        l.pass_over(Time::ZERO + Duration::from_millis(2), Duration::from_millis(1));
        l.pass_over(Time::ZERO, limit);
        l.answered(late);
        l.answered(late);
        assert!(!l.may_answer(late, limit), "a reader that keeps up counts again");
    }

    #[test]
    fn one_child_after_another_within_credit() {
        let mut l = links(None);
        for seq in 0..4 {
            for id in [A, B] {
                assert_eq!(l.push(Time::ZERO, id, &block(seq, 2_000), Seq(0)), 0);
            }
        }
        let n = block(0, 2_000).frame().len();
        assert_eq!(drain(&mut l, Time::ZERO), [(A, n), (A, n), (B, n), (B, n)]);
        assert_eq!(drain(&mut l, Time::ZERO), []);
        l.flushed(Time::ZERO, B, n);
        assert_eq!(drain(&mut l, Time::ZERO), [(B, n)]);
    }

    #[test]
    fn control_goes_first_and_a_full_queue_is_told() {
        let mut l = links(None);
        assert_eq!(l.push(Time::ZERO, A, &block(1, 10), Seq(0)), 0);
        assert!(l.send(A, &Message::Ping(1)));
        let sent = drain(&mut l, Time::ZERO);
        assert!(sent[0].1 < 20 && sent[1].1 > 80, "{sent:?}");
        let mut taken = 0;
        while l.send(A, &Message::Ping(1)) {
            taken += 1;
            assert!(taken < 10_000, "the queue of a link that is not read has no bound");
        }
    }

    #[test]
    fn who_takes_no_answers_is_not_read_until_it_does() {
        let mut l = links(None);
        let config = Config { send_window: 1_000, ..Config::default() };
        let mut stats = Stats::default();
        let (mut reads, mut sent) = (Vec::new(), 0);
        for round in 0..3_000 {
            if round < 1_000 {
                assert!(l.send(A, &Message::Pong(1)));
            } else {
                l.flushed(Time::ZERO, A, core::mem::take(&mut sent));
            }
            while let Some(action) = l.poll_send(Time::ZERO, &config, &mut stats) {
                match action {
                    Action::SetRead { link: A, on } => reads.push((on, round < 1_000)),
                    Action::Send { head, .. } => sent += head.len(),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(reads, [(false, true), (true, false)]);
    }

    #[test]
    fn the_cap_holds_over_time() {
        let mut l = links(Some(10_000));
        for seq in 0..100 {
            assert_eq!(l.push(Time::ZERO, A, &block(seq, 1_000), Seq(0)), 0);
        }
        let mut now = Time::ZERO;
        let mut sent = 0;
        while now < Time::from_secs(5) {
            for (id, bytes) in drain(&mut l, now) {
                sent += bytes;
                l.flushed(now, id, bytes);
            }
            now = l.capped_until(now).expect("blocks wait");
            l.uncap();
        }
        assert!((48_000..=53_000).contains(&sent), "{sent} bytes in 5 s at 10,000 a second");
    }

    #[test]
    fn an_address_gets_only_its_share() {
        let mut l = Links::new(None, Time::ZERO);
        let config = Config { max_links: 4, max_links_per_address: 2, ..Config::default() };
        let a: SocketAddr = ([10, 0, 0, 1], 5).into();
        let b: SocketAddr = ([10, 0, 0, 2], 5).into();
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:7".parse().unwrap();
        for id in 0..2 {
            assert!(l.has_room(&config, a.ip()));
            l.open(Time::ZERO, LinkId(id), a, Role::Accepted);
        }
        assert!(!l.has_room(&config, a.ip()));
        assert!(!l.has_room(&config, mapped.ip()));
        for id in 2..4 {
            assert!(l.has_room(&config, b.ip()));
            l.open(Time::ZERO, LinkId(id), b, Role::Dialled(Purpose::Bootstrap));
        }
        assert!(!l.has_room(&config, b.ip()), "four in all");
        l.remove(LinkId(0));
        assert!(l.has_room(&config, a.ip()));
    }
}
