//! Watching the past in virtual time: a provider that keeps everything, live
//! viewers who keep their share, and viewers who come for what went by.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::bootstrap::Bootstrap;
use eddy_core::cache::{CacheConfig, Caps};
use eddy_core::config::Config;
use eddy_core::dht::DhtConfig;
use eddy_core::node::Node;
use eddy_core::rng::node_seed;
use eddy_core::stats::Stats;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::file::FileId;
use eddy_core::stream::sign::{Signer, Verifier};
use eddy_core::{Command, Delivery, Join, Notice, Position, Seq, Time};
use eddy_sim::{Disk, Net, NodeIx, Observer, Rtt, START, World};

const SECOND: Duration = Duration::from_secs(1);

/// What each viewer was handed, and its latest counters.
#[derive(Default)]
struct Seen {
    blocks: BTreeMap<NodeIx, Vec<(Seq, Bytes)>>,
    stats: BTreeMap<NodeIx, Stats>,
}

impl Observer for Seen {
    fn delivered(&mut self, _: Time, ix: NodeIx, delivery: &Delivery) {
        self.blocks.entry(ix).or_default().push((delivery.seq, delivery.payload.clone()));
    }

    fn notified(&mut self, _: Time, ix: NodeIx, notice: &Notice) {
        if let Notice::Stats(stats) = notice {
            self.stats.insert(ix, (**stats).clone());
        }
    }
}

struct Channels {
    world: World,
    seen: Seen,
    channel: Channel,
    provider: NodeIx,
    nodes: u8,
    published: u64,
    /// Of the viewers to come.
    cache: CacheConfig,
}

fn addr(host: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, host, 1), 4000).into()
}

fn cache() -> CacheConfig {
    let caps = Caps { per_address: None, per_network: None };
    CacheConfig { caps, ..CacheConfig::default() }
}

fn config(host: u8) -> Config {
    Config {
        listen: addr(host),
        verifier: Verifier::ghost(),
        cache: Some(cache()),
        dht: Some(DhtConfig {
            network: Some(*b"eddytest"),
            hardened: false,
            ..DhtConfig::default()
        }),
        ..Config::default()
    }
}

impl Channels {
    fn new() -> Self {
        let channel = Channel::new(ChannelSpec {
            provider: Name::new("NCTU").unwrap(),
            name: Name::new("Channel1").unwrap(),
            description: String::new(),
            block: Duration::from_millis(40),
            sub_streams: 8,
            file: Duration::from_secs(2),
            key: Signer::ghost().public(),
        })
        .unwrap();
        let rtt = Rtt::uniform(Duration::from_millis(40));
        let mut world = World::new(1, Net { rtt, ..Net::default() });
        let server = Bootstrap::new(config(1), node_seed(1, &addr(1)), START).unwrap();
        world.add(addr(1), 0, None, Box::new(server));
        let keep = CacheConfig::provider(Duration::from_secs(3_600));
        let provider = Node::provider(
            Config { cache: Some(keep), ..config(2) },
            channel.clone(),
            Signer::ghost(),
            vec![addr(1)],
            None,
            node_seed(1, &addr(2)),
            START,
        );
        let provider = world.add(addr(2), 0, None, Box::new(provider.unwrap()));
        world.mount(provider, Disk::default());
        let seen = Seen::default();
        let cache = cache();
        let mut it = Self { world, seen, channel, provider, nodes: 2, published: 0, cache };
        it.run(SECOND);
        it
    }

    fn viewer(&mut self, position: Position) -> NodeIx {
        self.nodes += 1;
        let at = addr(self.nodes);
        let config = Config { cache: Some(self.cache.clone()), ..config(self.nodes) };
        let node = Node::viewer(config, node_seed(1, &at), self.world.now()).unwrap();
        let ix = self.world.add(at, 0, None, Box::new(node));
        self.world.mount(ix, Disk::default());
        let join = Join {
            bootstrap: vec![addr(1)],
            channel: self.channel.name().clone(),
            key: None,
            known: None,
            position,
        };
        self.world.command(ix, Command::Join(Box::new(join)));
        ix
    }

    fn run(&mut self, span: Duration) {
        let until = self.world.now() + span;
        while self.world.now() < until {
            if self.world.is_live(self.provider) {
                let packet = Bytes::from(self.published.to_be_bytes().repeat(40));
                self.published += 1;
                self.world.command(self.provider, Command::Publish(packet));
            }
            let next = (self.world.now() + Duration::from_millis(10)).min(until);
            self.world.run_until(next, &mut self.seen);
        }
    }

    fn handed(&self, ix: NodeIx) -> &[(Seq, Bytes)] {
        self.seen.blocks.get(&ix).map_or(&[], |blocks| blocks)
    }

    /// Asserts that what a viewer was handed is what others saw live, without a
    /// gap; returns how many blocks that are.
    fn assert_whole(&self, ix: NodeIx, live: NodeIx) -> usize {
        let truth: BTreeMap<Seq, &Bytes> = self.handed(live).iter().map(|(s, b)| (*s, b)).collect();
        let mut last: Option<Seq> = None;
        for (seq, bytes) in self.handed(ix) {
            assert!(last.is_none_or(|last| *seq == last.plus(1)), "{seq:?} after {last:?}");
            assert!(truth.get(seq).is_none_or(|b| *b == bytes), "{seq:?} has other bytes");
            last = Some(*seq);
        }
        self.handed(ix).len()
    }

    fn files(&mut self, ix: NodeIx) -> Vec<FileId> {
        self.world.disk_mut(ix).unwrap().files().map(|(file, _)| file).collect()
    }

    fn stats(&self, ix: NodeIx) -> &Stats {
        &self.seen.stats[&ix]
    }
}

#[test]
fn what_went_by_is_played_from_other_viewers() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..8).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 70);
    let late = it.viewer(Position::Ago(SECOND * 60));
    it.run(SECOND * 50);
    let blocks = it.assert_whole(late, live[0]);
    assert!(blocks >= 48 * 25, "{blocks} blocks in 50 s");
    let stats = it.stats(late);
    assert!(stats.startup.unwrap() < SECOND * 3 / 2, "{:?}", stats.startup);
    assert_eq!((stats.shift.emergency, stats.shift.failed, stats.shift.lost), (0, 0, 0));
    assert!(stats.shift.peer >= blocks as u64, "{:?}", stats.shift);
    assert_eq!(it.stats(it.provider).past_sent, 0);
}

#[test]
fn the_past_plays_on_when_the_provider_is_gone() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..8).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 60);
    let late = it.viewer(Position::Ago(SECOND * 50));
    it.run(SECOND * 5);
    it.world.kill(it.provider);
    it.run(SECOND * 40);
    let blocks = it.assert_whole(late, live[0]);
    assert!(blocks >= 43 * 25, "{blocks} blocks in 45 s");
}

#[test]
fn a_moment_before_the_beginning_is_the_beginning() {
    let mut it = Channels::new();
    let live = it.viewer(Position::Live);
    it.run(SECOND * 30);
    let late = it.viewer(Position::Ago(SECOND * 3_600));
    it.run(SECOND * 15);
    let blocks = it.assert_whole(late, live);
    assert!(blocks >= 8 * 25, "{blocks} blocks in 15 s, {:?}", it.stats(late));
}

#[test]
fn a_pause_costs_nothing_however_long() {
    for pause in [5, 60] {
        let mut it = Channels::new();
        let live: Vec<NodeIx> = (0..6).map(|_| it.viewer(Position::Live)).collect();
        it.run(SECOND * 20);
        let before = it.handed(live[1]).len();
        it.world.command(live[1], Command::Pause);
        it.run(SECOND);
        let paused = it.handed(live[1]).len();
        assert!(paused <= before + 13, "it went on for {} blocks", paused - before);
        it.run(SECOND * pause);
        assert_eq!(it.handed(live[1]).len(), paused);
        it.world.command(live[1], Command::Play);
        it.run(SECOND * 20);
        let blocks = it.assert_whole(live[1], live[0]);
        assert!(blocks >= paused + 18 * 25, "{} blocks in 20 s", blocks - paused);
    }
}

#[test]
fn live_is_the_live_edge_within_a_second() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..6).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 40);
    let late = it.viewer(Position::Ago(SECOND * 30));
    it.run(SECOND * 5);
    for viewer in [late, live[1]] {
        let back = it.world.command(viewer, Command::Seek(Position::By(-20_000_000)));
        it.run(SECOND * 2);
        let old = it.handed(viewer).last().unwrap().0;
        let edge = it.handed(live[0]).last().unwrap().0;
        assert!(old.plus(15 * 25) < edge, "{old:?} is not long before {edge:?}");
        let forth = it.world.command(viewer, Command::Seek(Position::Live));
        it.run(SECOND);
        let (now, edge) =
            (it.handed(viewer).last().unwrap().0, it.handed(live[0]).last().unwrap().0);
        assert!(now.plus(25) >= edge, "{now:?} is not near {edge:?}");
        let open: Vec<_> = it.world.open_tickets(viewer).collect();
        assert!(!open.contains(&back) && !open.contains(&forth), "{open:?} never ended (C10)");
    }
}

#[test]
fn a_leap_takes_the_place_of_the_one_before() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..4).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 40);
    for ago in [30, 20, 10, 25, 15] {
        it.world.command(live[1], Command::Seek(Position::Ago(SECOND * ago)));
    }
    it.world.command(live[1], Command::Pause);
    it.world.command(live[1], Command::Play);
    it.world.command(it.provider, Command::Seek(Position::Live));
    it.run(SECOND * 5);
    assert_eq!(it.world.open_tickets(live[1]).count(), 0);
    let (first, last) =
        (it.handed(live[0]).last().unwrap().0, it.handed(live[1]).last().unwrap().0);
    assert!(
        last.plus(14 * 25) <= first && last.plus(17 * 25) >= first,
        "{last:?} beside {first:?}"
    );
}

#[test]
fn a_spoilt_disk_serves_nobody_and_costs_nobody() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..8).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 60);
    for ix in &live[..4] {
        it.world.disk_mut(*ix).unwrap().spoil();
    }
    let late = it.viewer(Position::Ago(SECOND * 50));
    it.run(SECOND * 30);
    let blocks = it.assert_whole(late, live[0]);
    assert!(blocks >= 28 * 25, "{blocks} blocks in 30 s");
    assert_eq!(it.stats(late).forged, 0);
}

#[test]
fn a_full_disk_keeps_nothing_and_harms_nothing() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..4).map(|_| it.viewer(Position::Live)).collect();
    it.world.disk_mut(live[0]).unwrap().full = true;
    it.run(SECOND * 30);
    assert_eq!(it.stats(live[0]).files, 0);
    assert_eq!(it.stats(live[0]).lost, 0);
    assert!(it.stats(live[1]).files > 0);
}

/// Records that live for a minute, so that what becomes of them is soon seen.
fn hasty() -> CacheConfig {
    CacheConfig {
        record_life: SECOND * 60,
        republish: SECOND * 20,
        recheck: SECOND * 5,
        back_off: SECOND * 20,
        ..cache()
    }
}

#[test]
fn newcomers_fetch_what_the_leaving_held_from_those_who_stay() {
    let mut it = Channels::new();
    it.cache = hasty();
    let live: Vec<NodeIx> = (0..14).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 80);
    let before: Vec<FileId> = it.files(live[0]);
    assert!(before.len() >= 30, "{} files", before.len());
    let from_provider = it.stats(it.provider).past_sent;
    for ix in &live[..7] {
        it.world.command(*ix, Command::Leave);
    }
    let new: Vec<NodeIx> = (0..6).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 200);
    let mut copies: BTreeMap<FileId, usize> = before.iter().map(|file| (*file, 0)).collect();
    for ix in live[7..].iter().chain(&new) {
        for file in it.files(*ix) {
            copies.entry(file).and_modify(|n| *n += 1);
        }
        assert_eq!(it.stats(*ix).lost, 0);
    }
    // Seven hold each file still, and ten are wanted.
    let full = copies.values().filter(|n| **n >= 10).count();
    assert!(full * 10 >= before.len() * 9, "{copies:?}");
    let recruited: u64 = new.iter().map(|ix| it.stats(*ix).recruited).sum();
    assert!(recruited >= 3 * full as u64, "{recruited} files fetched");
    // Others had it all, but for the first file, which none of them saw whole.
    assert!(it.stats(it.provider).past_sent <= from_provider + 50);
}

#[test]
fn what_nobody_else_has_is_fetched_from_the_provider_as_a_last_resort() {
    let mut it = Channels::new();
    it.cache = hasty();
    it.run(SECOND * 40);
    let new: Vec<NodeIx> = (0..3).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 150);
    let old = |file: &FileId| file.start * 1_000_000 < (START + SECOND * 38).as_micros();
    for ix in &new {
        let held = it.files(*ix).iter().filter(|file| old(file)).count();
        assert!(held >= 17, "{held} of 19 files of the time before");
    }
    assert!(it.stats(it.provider).past_sent >= 17 * 50);
}
