//! Owner lists in which others than owners stand: hosts that are gone, that
//! refuse, that talk nonsense, that forge, that trickle. Each is put into the
//! real DHT by real announcements, beside honest owners or instead of them.
//! What is wanted of the past comes in time all the same.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::dht::node::DhtNode;
use eddy_core::dht::{DhtConfig, Key};
use eddy_core::rng::node_seed;
use eddy_core::stream::block::Block;
use eddy_core::stream::file::FileId;
use eddy_core::stream::sign::Signature;
use eddy_core::wire::frame::Incoming;
use eddy_core::wire::message::{
    Hello, Message, Reason, Refuse, TimeShiftOthers, TimeShiftRefused, TimeShiftRequest,
};
use eddy_core::{
    Action, Command, Event, Fault, Head, LinkId, Machine, NodeId, Output, Position, Seq, Time,
};
use eddy_sim::NodeIx;
use eddy_sim::hand::words::{Ears, frame};

use common::past::{Channels, SECOND, addr};

/// How somebody behaves who says that he has what he has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Takes connections and says nothing.
    Silent,
    /// Says hello, and then nothing.
    Polite,
    /// Refuses every connection.
    Refuses,
    /// Says of everything that it is not there.
    Denies,
    /// Talks nonsense.
    Garbage,
    /// Sends what was asked for, but not as the provider signed it.
    Forges,
    /// Sends other blocks than those that were asked for.
    Strays,
    /// Sends a good block three times a second.
    Trickles,
    /// Names others by the dozen, who are not there.
    Refers,
    /// Is not there any more.
    Gone,
}

/// Time between two blocks of one who trickles: shorter than anybody's patience.
const DROP: Duration = Duration::from_millis(350);

/// A node of the DHT that announces itself as an owner, and what it is instead.
struct Impostor {
    dht: DhtNode,
    manner: Manner,
    /// The stream, for who sends a little of it.
    truth: BTreeMap<Seq, Bytes>,
    ears: Ears,
    actions: VecDeque<Action>,
    wanted: VecDeque<(LinkId, Seq)>,
    open: BTreeSet<LinkId>,
    next: Option<Time>,
}

impl Impostor {
    fn send(&mut self, link: LinkId, body: Bytes) {
        self.actions.push_back(Action::Send { link, head: Head::new(), body });
    }

    fn say(&mut self, link: LinkId, message: &Message) {
        self.send(link, frame(message));
    }

    fn block(&mut self, link: LinkId, seq: Seq, signature: u8) {
        let payload = self.truth.get(&seq).cloned().unwrap_or_default();
        let block = Block::new(seq, &Signature([signature; 64]), &payload);
        self.send(link, block.frame().clone());
    }

    fn on_hello(&mut self, link: LinkId, hello: &Hello) {
        match self.manner {
            Manner::Silent => {}
            Manner::Garbage => self.send(link, Bytes::from_static(&[0x47; 400])),
            Manner::Refuses => {
                let (reason, referrals) = (Reason::Full, Default::default());
                let refuse = Refuse { reason, version: 1, referrals };
                self.say(link, &Message::Refuse(refuse));
                self.actions.push_back(Action::Close { link, flush: true });
                self.open.remove(&link);
            }
            _ => {
                let node = NodeId([self.manner as u8; 16]);
                self.say(link, &Message::Hello(Hello { node, ..hello.clone() }));
            }
        }
    }

    fn on_request(&mut self, now: Time, link: LinkId, request: TimeShiftRequest) {
        let TimeShiftRequest { first, blocks } = request;
        let all = (0..u64::from(blocks)).map(|n| first.plus(n));
        match self.manner {
            Manner::Denies => {
                let refused = TimeShiftRefused { first, reason: Reason::NoSource, next: None };
                self.say(link, &Message::TimeShiftRefused(refused));
            }
            Manner::Forges => all.for_each(|seq| self.block(link, seq, 1)),
            Manner::Strays => all.for_each(|seq| self.block(link, seq.plus(5_000), 0)),
            Manner::Trickles => {
                self.wanted.extend(all.map(|seq| (link, seq)));
                self.next = self.next.or(Some(now + Duration::from_millis(100)));
            }
            Manner::Refers => {
                for n in 0..24 {
                    let host = |m: u8| SocketAddr::from(([10, 200 + n / 8, n * 4 + m, 9], 9));
                    let others = (0..4).map(host).collect();
                    let others = TimeShiftOthers { seq: first, others };
                    self.say(link, &Message::TimeShiftOthers(others));
                }
            }
            _ => {}
        }
    }

    fn trickle(&mut self, now: Time) {
        if self.next.is_none_or(|at| at > now) {
            return;
        }
        self.wanted.retain(|(link, _)| self.open.contains(link));
        let first = self.wanted.pop_front();
        self.next = first.is_some().then_some(now + DROP);
        if let Some((link, seq)) = first {
            self.block(link, seq, 0);
        }
    }
}

impl Machine for Impostor {
    fn handle(&mut self, now: Time, event: Event) {
        match event {
            Event::Opened { link, .. } => drop(self.open.insert(link)),
            Event::Closed { link } => drop(self.open.remove(&link)),
            Event::Flushed { .. } => {}
            Event::Received { link, bytes } => {
                for incoming in self.ears.hear(link, &bytes) {
                    match incoming {
                        Incoming::Message(Message::Hello(hello)) => self.on_hello(link, &hello),
                        Incoming::Message(Message::TimeShiftRequest(request)) => {
                            self.on_request(now, link, request);
                        }
                        _ => {}
                    }
                }
            }
            event => self.dht.handle(now, event),
        }
        self.trickle(now);
    }

    fn poll(&mut self) -> Output {
        if let Some(action) = self.actions.pop_front() {
            return Output::Act(action);
        }
        match self.dht.poll() {
            Output::Wait(at) => Output::Wait(at.into_iter().chain(self.next).min()),
            action => action,
        }
    }
}

/// Adds an impostor to a channel.
fn impostor(it: &mut Channels, manner: Manner, truth: &BTreeMap<Seq, Bytes>) -> NodeIx {
    it.nodes += 1;
    let (at, now) = (addr(it.nodes), it.world.now());
    let network = Some(*b"eddytest");
    let config = DhtConfig { network, hardened: false, ..DhtConfig::default() };
    let dht = DhtNode::new(config, at, &[addr(1)], node_seed(1, &at), now);
    let machine = Impostor {
        dht,
        manner,
        truth: truth.clone(),
        ears: Ears::default(),
        actions: VecDeque::new(),
        wanted: VecDeque::new(),
        open: BTreeSet::new(),
        next: None,
    };
    it.world.add(at, 0, None, Box::new(machine))
}

/// Puts so many impostors into the owner list of every file of the last minute.
fn poison(it: &mut Channels, manner: Manner, count: usize, live: NodeIx) -> Vec<NodeIx> {
    let truth: BTreeMap<Seq, Bytes> = it.handed(live).iter().cloned().collect();
    let all: Vec<NodeIx> = (0..count).map(|_| impostor(it, manner, &truth)).collect();
    it.run(SECOND * 5);
    let edge = it.channel.seq_at(it.world.now());
    let (first, last) = (edge.minus(60 * 25), edge.plus(30 * 25));
    let ids: BTreeSet<FileId> =
        (first.0..last.0).map(|seq| FileId::of(&it.channel, Seq(seq))).collect();
    for id in ids {
        let key = Key(id.key(&it.channel.id()));
        for ix in &all {
            let life = SECOND * 1_800;
            it.world.command(*ix, Command::Announce { key, port: addr(1).port(), life });
        }
        it.run(SECOND / 2);
    }
    if manner == Manner::Gone {
        all.iter().for_each(|ix| it.world.crash(*ix));
    }
    all
}

const MANNERS: [Manner; 10] = [
    Manner::Silent,
    Manner::Polite,
    Manner::Refuses,
    Manner::Denies,
    Manner::Garbage,
    Manner::Forges,
    Manner::Strays,
    Manner::Trickles,
    Manner::Refers,
    Manner::Gone,
];

/// Somebody comes for the last minute; asserts that he misses nothing.
fn assert_in_time(it: &mut Channels, manner: Manner, live: NodeIx, start: Duration) -> NodeIx {
    let late = it.viewer(Position::Ago(SECOND * 50));
    it.run(SECOND * 40);
    let (blocks, stats) = (it.assert_whole(late, live), it.stats(late).clone());
    let startup = stats.startup.unwrap_or(Duration::MAX);
    assert!(startup <= start, "{manner:?}: it began after {startup:?}");
    assert_eq!((stats.late, stats.lost), (0, 0), "{manner:?}: {:?}", stats.shift);
    let expected = (SECOND * 39 - startup).as_millis() / 40;
    assert!(blocks as u128 >= expected, "{manner:?}: {blocks} of {expected} blocks");
    late
}

#[test]
fn impostors_among_the_owners_make_nothing_late() {
    for manner in MANNERS {
        let mut it = Channels::new();
        let live: Vec<NodeIx> = (0..6).map(|_| it.viewer(Position::Live)).collect();
        it.run(SECOND * 45);
        poison(&mut it, manner, 5, live[0]);
        let late = assert_in_time(&mut it, manner, live[0], SECOND * 2);
        let stats = it.stats(late);
        println!("{manner:?}: {:?} {:?}", stats.startup, stats.shift);
        // Who forges is found out at his first block, and left for good.
        let forged = it.faults(late).iter().filter(|f| **f == Fault::Forged).count();
        assert!(if manner == Manner::Forges { (1..=5).contains(&forged) } else { forged == 0 });
        let garbage = it.faults(late).iter().filter(|f| **f == Fault::Garbage).count();
        assert!(manner != Manner::Garbage || garbage > 0 || !it.faults(late).is_empty());
    }
}

#[test]
fn where_all_owners_are_impostors_the_provider_gives_what_they_do_not() {
    for manner in MANNERS {
        let mut it = Channels::new();
        let live = it.viewer_with(Position::Live, |config| config.cache = None);
        it.run(SECOND * 45);
        poison(&mut it, manner, 8, live);
        let late = assert_in_time(&mut it, manner, live, SECOND * 2);
        let shift = it.stats(late).shift;
        println!("{manner:?}: {:?} {shift:?}", it.stats(late).startup);
        assert!(shift.failed + shift.emergency + shift.no_owner > 100, "{manner:?}: {shift:?}");
    }
}

#[test]
fn who_is_left_is_asked_when_all_who_are_known_are_gone() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..10).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 60);
    it.world.crash(it.provider);
    let again = it.restart(live[0]);
    it.run(SECOND * 20);
    // With them go most of the records, whoever they speak of.
    live[1..].iter().for_each(|ix| it.world.crash(*ix));
    it.run(SECOND);
    let late = it.viewer(Position::Ago(SECOND * 78));
    it.run(SECOND * 15);
    let blocks = it.assert_whole(late, live[1]);
    let (stats, sent) = (it.stats(late), it.stats(again).past_sent);
    assert_eq!((stats.late, stats.lost), (0, 0));
    // Those who are gone are waited for first.
    assert!(blocks >= 5 * 25, "{blocks} blocks, {sent} were sent: {:?}", stats.shift);
}
