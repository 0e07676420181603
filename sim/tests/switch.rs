//! From one channel to another: two providers at one server, and viewers who
//! cannot make up their mind.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::bootstrap::Bootstrap;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::rng::node_seed;
use eddy_core::stream::block::packets;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::sign::{PublicKey, Signer, Verifier};
use eddy_core::{Command, Delivery, Join, Notice, Phase, Position, Refusal, Seq, Ticket, Time};
use eddy_sim::{Net, NodeIx, Observer, Rtt, START, World};

const SECOND: Duration = Duration::from_secs(1);
const BLOCK: Duration = Duration::from_millis(40);
const GAP: Duration = Duration::from_millis(10);

/// What each node was handed and told.
#[derive(Default)]
struct Seen {
    /// When, which block, and of which channel.
    blocks: BTreeMap<NodeIx, Vec<(Time, Seq, u8)>>,
    ended: BTreeMap<(NodeIx, Ticket), Result<(), Refusal>>,
    phases: BTreeMap<NodeIx, Phase>,
}

impl Observer for Seen {
    fn delivered(&mut self, now: Time, ix: NodeIx, delivery: &Delivery) {
        for packet in packets(&delivery.payload) {
            let of = self.blocks.entry(ix).or_default();
            of.push((now, delivery.seq, packet.payload[0]));
        }
    }

    fn notified(&mut self, _: Time, ix: NodeIx, notice: &Notice) {
        match notice {
            Notice::Ended { ticket, result } => {
                self.ended.insert((ix, *ticket), result.clone().map(drop));
            }
            Notice::Phase(phase) => drop(self.phases.insert(ix, *phase)),
            _ => {}
        }
    }
}

/// Channels 1 and 2 at one server, on the air.
struct Two {
    world: World,
    seen: Seen,
    server: NodeIx,
    providers: Vec<NodeIx>,
    hosts: u8,
}

fn addr(host: u8) -> SocketAddr {
    ([10, 0, host, 1], 4_000).into()
}

fn config(host: u8) -> Config {
    Config { listen: addr(host), verifier: Verifier::ghost(), ..Config::default() }
}

fn name(of: u8) -> Name {
    Name::new(&format!("Channel{of}")).unwrap()
}

impl Two {
    fn new() -> Self {
        let rtt = Rtt::uniform(Duration::from_millis(40));
        let mut world = World::new(1, Net { rtt, ..Net::default() });
        let server = Bootstrap::new(config(1), node_seed(1, &addr(1)), START).unwrap();
        let server = world.add(addr(1), 0, None, Box::new(server));
        let mut it =
            Self { world, seen: Seen::default(), server, providers: Vec::new(), hosts: 10 };
        for of in [1, 2] {
            let provider = it.provider(of, BLOCK, 8, "");
            it.providers.push(provider);
        }
        it.run(SECOND * 4);
        it
    }

    /// A provider, also one in the place of another that was killed.
    fn provider(&mut self, of: u8, block: Duration, sub_streams: u8, text: &str) -> NodeIx {
        let channel = Channel::new(ChannelSpec {
            provider: Name::new("NCTU").unwrap(),
            name: name(of),
            description: text.into(),
            block,
            sub_streams,
            file: Duration::from_secs(2),
            key: Signer::ghost().public(),
        });
        let (at, now) = (addr(of + 1), self.world.now());
        let seed = node_seed(now.since(START).as_secs(), &at);
        let (channel, signer, servers) = (channel.unwrap(), Signer::ghost(), vec![addr(1)]);
        let node = Node::provider(config(of + 1), channel, signer, servers, None, seed, now);
        self.world.add(at, 0, None, Box::new(node.unwrap()))
    }

    fn run(&mut self, span: Duration) {
        let until = self.world.now() + span;
        while self.world.now() < until {
            for (of, provider) in (1..).zip(&self.providers) {
                if self.world.is_live(*provider) {
                    let packet = Bytes::from(vec![of; 200]);
                    self.world.command(*provider, Command::Publish(packet));
                }
            }
            let next = (self.world.now() + GAP).min(until);
            self.world.run_until(next, &mut self.seen);
        }
    }

    fn viewer(&mut self, of: u8) -> NodeIx {
        let at = addr(self.hosts);
        let node = Node::viewer(config(self.hosts), node_seed(1, &at), self.world.now()).unwrap();
        self.hosts += 1;
        let ix = self.world.add(at, 0, None, Box::new(node));
        self.join(ix, of);
        ix
    }

    fn join(&mut self, ix: NodeIx, of: u8) -> Ticket {
        self.join_with(ix, of, None)
    }

    fn join_with(&mut self, ix: NodeIx, of: u8, key: Option<PublicKey>) -> Ticket {
        let join = Join {
            bootstrap: vec![addr(1)],
            channel: name(of),
            key,
            known: None,
            position: Position::Live,
        };
        self.world.command(ix, Command::Join(Box::new(join)))
    }

    /// The channel that was played last, and when.
    fn plays(&self, ix: NodeIx) -> (Time, u8) {
        let (at, _, of) = *self.seen.blocks[&ix].last().unwrap();
        (at, of)
    }

    fn ended(&self, ix: NodeIx, ticket: Ticket) -> Option<&Result<(), Refusal>> {
        self.seen.ended.get(&(ix, ticket))
    }

    fn neighbours(&self, ix: NodeIx) -> Vec<NodeIx> {
        self.world.links(ix).map(|(_, other)| other).collect()
    }
}

#[test]
fn another_channel_plays_within_half_a_second_and_the_old_one_is_left() {
    let mut it = Two::new();
    let stays: Vec<NodeIx> = (0..3).map(|_| it.viewer(1)).collect();
    let there: Vec<NodeIx> = (0..3).map(|_| it.viewer(2)).collect();
    let zapper = it.viewer(1);
    it.run(SECOND * 10);
    assert_eq!(it.plays(zapper).1, 1);
    let (asked, ticket) = (it.world.now(), it.join(zapper, 2));
    it.run(SECOND * 5);
    assert_eq!(it.ended(zapper, ticket), Some(&Ok(())));
    let first = it.seen.blocks[&zapper].iter().find(|(_, _, of)| *of == 2).unwrap().0;
    assert!(first.since(asked) < SECOND / 2, "after {:?}", first.since(asked));
    let last = it.seen.blocks[&zapper].iter().rev().find(|(_, _, of)| *of == 1).unwrap().0;
    assert!(last < first, "the old channel went on");
    let near = it.neighbours(zapper);
    assert!(!stays.iter().any(|old| near.contains(old)), "it still talks to {near:?}");
    assert!(there.iter().any(|new| near.contains(new)));
    for ix in stays.iter().chain(&there).chain([&zapper]) {
        assert!(it.world.now().since(it.plays(*ix).0) < SECOND / 2, "{ix:?} plays no more");
    }
}

#[test]
fn a_channel_that_is_not_there_costs_nothing() {
    let mut it = Two::new();
    let viewers: Vec<NodeIx> = (0..3).map(|_| it.viewer(1)).collect();
    it.run(SECOND * 10);
    let nowhere = it.join(viewers[0], 9);
    let foreign = it.join_with(viewers[1], 2, Some(PublicKey([7; 32])));
    it.run(SECOND * 3);
    assert_eq!(it.ended(viewers[0], nowhere), Some(&Err(Refusal::NoSuchChannel)));
    assert_eq!(it.ended(viewers[1], foreign), Some(&Err(Refusal::WrongKey)));
    for ix in viewers {
        assert_eq!(it.seen.phases[&ix], Phase::Playing);
        let (at, of) = it.plays(ix);
        assert!(of == 1 && it.world.now().since(at) < SECOND / 2);
        let mut seqs: Vec<Seq> = it.seen.blocks[&ix].iter().map(|(_, seq, _)| *seq).collect();
        seqs.dedup();
        assert!(seqs.windows(2).all(|w| w[1] == w[0].plus(1)), "there is a gap");
    }
}

#[test]
fn of_many_changes_of_mind_the_last_counts() {
    let mut it = Two::new();
    let other = it.viewer(2);
    let zapper = it.viewer(1);
    it.run(SECOND * 5);
    let mut tickets: Vec<Ticket> = Vec::new();
    for of in [2, 1, 2, 1, 2] {
        tickets.push(it.join(zapper, of));
        it.run(Duration::from_millis(70));
    }
    it.run(SECOND * 5);
    assert_eq!((it.plays(zapper).1, it.plays(other).1), (2, 2));
    let last = tickets.pop().unwrap();
    assert_eq!(it.ended(zapper, last), Some(&Ok(())));
    for ticket in tickets {
        assert!(it.ended(zapper, ticket).is_some(), "{ticket:?} never ended (C10)");
    }
    assert_eq!(it.world.open_tickets(zapper).count(), 0);
    assert_eq!(it.seen.phases[&zapper], Phase::Playing);
}

#[test]
fn who_leaves_in_the_middle_of_a_change_leaves_nothing_open() {
    for wait in [0, 30, 60, 90, 120, 200] {
        let mut it = Two::new();
        let zapper = it.viewer(1);
        it.run(SECOND * 3);
        it.join(zapper, 2);
        it.run(Duration::from_millis(wait));
        it.world.command(zapper, Command::Seek(Position::Ago(SECOND * 2)));
        it.world.command(zapper, Command::Leave);
        it.run(SECOND * 6);
        assert_eq!(it.world.open_tickets(zapper).count(), 0, "after {wait} ms");
        assert_eq!(it.world.links(zapper).count(), 0, "after {wait} ms");
    }
}

#[test]
fn without_the_server_there_is_no_way_to_a_channel_that_nobody_remembers() {
    let mut it = Two::new();
    let viewers: Vec<NodeIx> = (0..2).map(|_| it.viewer(1)).collect();
    it.run(SECOND * 5);
    it.world.kill(it.server);
    it.run(SECOND * 2);
    let ticket = it.join(viewers[0], 2);
    it.run(SECOND * 10);
    assert_eq!(it.ended(viewers[0], ticket), Some(&Err(Refusal::NoBootstrap)));
    for ix in viewers {
        let (at, of) = it.plays(ix);
        assert!(of == 1 && it.world.now().since(at) < SECOND / 2);
    }
}

#[test]
fn viewers_follow_a_provider_that_comes_back_with_other_blocks() {
    for (block, sub_streams) in [(BLOCK * 5, 8), (BLOCK, 16)] {
        let mut it = Two::new();
        let viewers: Vec<NodeIx> = (0..4).map(|_| it.viewer(1)).collect();
        it.run(SECOND * 10);
        it.world.kill(it.providers[0]);
        it.run(SECOND * 2);
        it.providers[0] = it.provider(1, block, sub_streams, "");
        it.run(SECOND * 30);
        for ix in viewers {
            let late = it.world.now().since(it.plays(ix).0);
            assert!(late < SECOND, "{ix:?} has played nothing for {late:?}");
            assert_eq!(it.seen.phases[&ix], Phase::Playing);
        }
    }
}

#[test]
fn the_refusal_of_a_change_that_was_replaced_is_not_that_of_the_last() {
    for wait in [0, 10, 30] {
        let mut it = Two::new();
        let zapper = it.viewer(1);
        it.run(SECOND * 5);
        let typo = it.join(zapper, 9);
        it.run(Duration::from_millis(wait));
        let meant = it.join(zapper, 2);
        it.run(SECOND * 5);
        assert_eq!(it.ended(zapper, typo), Some(&Err(Refusal::Replaced)), "after {wait} ms");
        assert_eq!(it.ended(zapper, meant), Some(&Ok(())), "after {wait} ms");
        assert_eq!(it.plays(zapper).1, 2);
    }
}

#[test]
fn who_mends_a_name_while_the_server_is_being_reached_joins_what_was_meant() {
    for wait in (0..120).step_by(10) {
        let mut it = Two::new();
        let viewer = it.viewer(9);
        it.run(Duration::from_millis(wait));
        let meant = it.join(viewer, 2);
        it.run(SECOND * 5);
        assert_eq!(it.ended(viewer, meant), Some(&Ok(())), "after {wait} ms");
    }
}

#[test]
fn a_new_text_about_a_channel_disturbs_nobody() {
    let mut it = Two::new();
    let viewers: Vec<NodeIx> = (0..4).map(|_| it.viewer(1)).collect();
    it.run(SECOND * 10);
    it.world.command(viewers[0], Command::Pause);
    it.world.kill(it.providers[0]);
    it.run(SECOND * 2);
    it.providers[0] = it.provider(1, BLOCK, 8, "news at nine");
    it.run(SECOND * 15);
    assert_eq!(it.seen.phases[&viewers[0]], Phase::Paused);
    assert!(viewers[1..].iter().all(|ix| it.seen.phases[ix] == Phase::Playing));
}
