//! Networks of DHT nodes on PlanetLab's round trips.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use eddy_core::dht::krpc::{Answer as Reply, Body, Packet, Query, emit, parse};
use eddy_core::dht::node::DhtNode;
use eddy_core::dht::{Contact, DhtConfig, Key};
use eddy_core::rng::{Rng, node_seed};
use eddy_core::{Action, Answer, Command, Event, Machine, Notice, Output, Refusal, Ticket, Time};
use eddy_sim::{Net, NodeIx, Observer, Rtt, World};

use crate::{ms, secs};

const HOUR: Duration = Duration::from_secs(3_600);

/// A node that the test can look into, and that notes when it announced.
struct Glass {
    node: DhtNode,
    now: Time,
    announced: Vec<Time>,
}

struct Seen(Rc<RefCell<Glass>>);

impl Machine for Seen {
    fn handle(&mut self, now: Time, event: Event) {
        let mut glass = self.0.borrow_mut();
        glass.now = now;
        glass.node.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        let mut glass = self.0.borrow_mut();
        let output = glass.node.poll();
        if let Output::Act(Action::SendDatagram { bytes, .. }) = &output
            && let Ok(Packet { body: Body::Query { query: Query::Announce { .. }, .. }, .. }) =
                parse(bytes)
        {
            let now = glass.now;
            glass.announced.push(now);
        }
        output
    }
}

/// What commands brought, and when.
#[derive(Default)]
struct Results(BTreeMap<(NodeIx, Ticket), (Time, Result<Answer, Refusal>)>);

impl Observer for Results {
    fn notified(&mut self, now: Time, node: NodeIx, notice: &Notice) {
        if let Notice::Ended { ticket, result } = notice {
            self.0.insert((node, *ticket), (now, result.clone()));
        }
    }
}

struct Network {
    world: World,
    nodes: Vec<(NodeIx, Rc<RefCell<Glass>>)>,
    results: Results,
    config: DhtConfig,
    rng: Rng,
}

/// Each node has a subnet of its own.
fn addr(n: usize) -> SocketAddr {
    ([10, (n >> 8) as u8, n as u8, 1], 4_000).into()
}

fn key(name: &str, n: usize) -> Key {
    Key::sha1(&[name.as_bytes(), &n.to_be_bytes()])
}

impl Network {
    fn empty(seed: u64) -> Self {
        let net = Net { rtt: Rtt::planetlab(), datagram_loss: 0.01, ..Net::default() };
        Self {
            world: World::new(seed, net),
            nodes: Vec::new(),
            results: Results::default(),
            config: DhtConfig { network: Some(*b"the test"), ..DhtConfig::default() },
            rng: Rng::new([seed as u8; 32]),
        }
    }

    /// So many nodes that joined by way of the first, one after another, and
    /// had two minutes to settle.
    fn of(seed: u64, count: usize) -> Self {
        let mut network = Self::empty(seed);
        for n in 0..count {
            network.add(n, &[addr(0)]);
            network.run(ms(500));
        }
        network.run(secs(120));
        network
    }

    fn add(&mut self, n: usize, bootstrap: &[SocketAddr]) -> NodeIx {
        let seed = node_seed(self.world.seed() + n as u64, &addr(n));
        let node = DhtNode::new(self.config, addr(n), bootstrap, seed, self.world.now());
        let glass = Glass { node, now: self.world.now(), announced: Vec::new() };
        let glass = Rc::new(RefCell::new(glass));
        let site = self.rng.below(490);
        let ix = self.world.add(addr(n), site, None, Box::new(Seen(Rc::clone(&glass))));
        self.nodes.push((ix, glass));
        ix
    }

    fn run(&mut self, span: Duration) {
        let until = self.world.now() + span;
        self.world.run_until(until, &mut self.results);
    }

    fn announce(&mut self, n: usize, key: Key) -> (NodeIx, Ticket) {
        self.command(n, Command::Announce { key, port: 5_000, life: HOUR })
    }

    fn look_up(&mut self, n: usize, key: Key) -> (NodeIx, Ticket) {
        self.command(n, Command::LookUp { key })
    }

    fn command(&mut self, n: usize, command: Command) -> (NodeIx, Ticket) {
        let ix = self.nodes[n].0;
        (ix, self.world.command(ix, command))
    }

    /// Lets an announce end; how many nodes took the record.
    fn stored(&mut self, asked: (NodeIx, Ticket)) -> usize {
        self.run(secs(10));
        match self.results.0.get(&asked) {
            Some((_, Ok(Answer::Stored { nodes }))) => *nodes,
            other => panic!("{asked:?} gave {other:?}"),
        }
    }

    /// Lets a lookup end; the hosts that were found.
    fn found(&mut self, asked: (NodeIx, Ticket)) -> Vec<SocketAddr> {
        self.run(secs(10));
        self.peers(asked)
    }

    fn peers(&self, asked: (NodeIx, Ticket)) -> Vec<SocketAddr> {
        match self.results.0.get(&asked) {
            Some((_, Ok(Answer::Peers(peers)))) => peers.clone(),
            other => panic!("{asked:?} gave {other:?}"),
        }
    }

    fn dht<T>(&self, n: usize, of: impl Fn(&eddy_core::dht::Dht) -> T) -> T {
        of(self.nodes[n].1.borrow().node.dht())
    }

    /// The nodes that live, closest to a key first.
    fn closest(&self, key: Key) -> Vec<usize> {
        let live = |n: &usize| self.world.is_live(self.nodes[*n].0);
        let mut all: Vec<usize> = (0..self.nodes.len()).filter(live).collect();
        all.sort_by_key(|n| self.dht(*n, |dht| dht.id().distance(key)));
        all
    }
}

/// The address under which node `n` announces itself.
fn record(n: usize) -> SocketAddr {
    SocketAddr::new(addr(n).ip(), 5_000)
}

#[test]
fn sixty_four_nodes_find_every_key_that_was_announced() {
    for seed in 1..=3 {
        let mut network = Network::of(seed, 64);
        let announces: Vec<_> = (0..64).map(|n| network.announce(n, key("file", n))).collect();
        network.run(secs(10));
        for asked in announces {
            assert!(network.stored(asked) >= 8, "seed {seed}: {asked:?}");
        }
        let lookups: Vec<_> = (0..64 * 4)
            .map(|i| (i, network.look_up(i % 64, key("file", (i * 7 + 1) % 64))))
            .collect();
        network.run(secs(10));
        for (i, asked) in lookups {
            assert_eq!(network.peers(asked), [record((i * 7 + 1) % 64)], "seed {seed}, {i}");
        }
        let asked = network.look_up(5, key("nothing", 0));
        assert_eq!(network.found(asked), []);
    }
}

#[test]
fn sixty_writers_of_one_key_within_ten_milliseconds_leave_sixty_records_on_each_storing_node() {
    for seed in 1..=3 {
        let mut network = Network::of(seed, 64);
        let key = key("race", 0);
        for n in 0..60 {
            network.announce(n, key);
            network.run(Duration::from_micros(160));
        }
        network.run(secs(10));
        for n in network.closest(key).into_iter().take(8) {
            let records = network.dht(n, |dht| dht.records());
            assert_eq!(records, 60, "seed {seed}, node {n}");
        }
        let asked = network.look_up(63, key);
        let mut found = network.found(asked);
        found.sort();
        assert_eq!(found, (0..60).map(record).collect::<Vec<_>>());
    }
}

#[test]
fn a_withdrawn_record_is_found_no_more_and_others_are() {
    let mut network = Network::of(1, 30);
    for n in [3, 4] {
        let asked = network.announce(n, key("file", 0));
        network.stored(asked);
    }
    let life = Duration::ZERO;
    let command = Command::Announce { key: key("file", 0), port: 5_000, life };
    let asked = network.command(3, command);
    assert!(network.stored(asked) >= 8);
    let asked = network.look_up(20, key("file", 0));
    assert_eq!(network.found(asked), [record(4)]);
}

#[test]
fn a_withdrawal_reaches_those_who_were_closest_when_the_record_was_stored() {
    let mut network = Network::of(1, 8);
    let files: Vec<Key> = (0..8).map(|n| key("file", n)).collect();
    let records = |network: &Network| -> usize {
        (0..network.nodes.len()).map(|n| network.dht(n, |dht| dht.records())).sum()
    };
    for file in &files {
        let asked = network.announce(3, *file);
        assert!(network.stored(asked) >= 6);
    }
    assert!(records(&network) >= 56);
    // Now there are closer ones, the announcer itself is far, and all are still asked.
    for n in 8..16 {
        network.add(n, &[addr(0)]);
    }
    network.run(secs(120));
    for file in &files {
        let command = Command::Announce { key: *file, port: 5_000, life: Duration::ZERO };
        let asked = network.command(3, command);
        network.stored(asked);
    }
    // Datagrams get lost, one of a hundred.
    assert!(records(&network) <= 2, "{} records are left", records(&network));
}

#[test]
fn a_record_is_found_for_as_long_as_it_lives() {
    let mut network = Network::of(1, 20);
    let life = secs(600);
    let command = Command::Announce { key: key("file", 0), port: 5_000, life };
    let asked = network.command(3, command);
    network.stored(asked);
    network.run(secs(570));
    let asked = network.look_up(9, key("file", 0));
    assert_eq!(network.found(asked), [record(3)]);
    network.run(secs(30));
    let asked = network.look_up(9, key("file", 0));
    assert_eq!(network.found(asked), []);
}

#[test]
fn one_node_to_eight_are_a_network() {
    for count in 1..=8 {
        let mut network = Network::of(1, count);
        let asked = network.announce(count - 1, key("file", 0));
        assert_eq!(network.stored(asked), count, "we store, too");
        for n in 0..count {
            let asked = network.look_up(n, key("file", 0));
            assert_eq!(network.found(asked), [record(count - 1)], "node {n} of {count}");
            assert_eq!(network.dht(n, |dht| dht.size_estimate()), count);
        }
    }
}

/// The time from the command to the first announce that is sent.
fn ready_times(network: &mut Network, writers: &[usize]) -> Vec<Duration> {
    let mut times = Vec::new();
    for (i, &n) in writers.iter().enumerate() {
        let before = network.world.now();
        network.nodes[n].1.borrow_mut().announced.clear();
        network.announce(n, key("ready", i));
        network.run(secs(10));
        let announced = network.nodes[n].1.borrow().announced.first().copied();
        times.push(announced.expect("somebody is told").since(before));
    }
    times.sort();
    times
}

#[test]
fn silent_nodes_do_not_delay_a_publication() {
    for seed in 1..=3 {
        let mut network = Network::of(seed, 64);
        let dead: Vec<usize> = (0..64).filter(|n| n % 4 == 1).collect();
        for n in &dead {
            network.world.crash(network.nodes[*n].0);
        }
        let writers: Vec<usize> = (0..64).filter(|n| n % 4 == 3).collect();
        let times = ready_times(&mut network, &writers);
        let p95 = times[times.len() * 95 / 100];
        assert!(p95 <= ms(1_200), "seed {seed}: {times:?}");
    }
}

#[test]
fn a_quarter_of_dead_nodes_hides_no_record() {
    for seed in 1..=3 {
        let mut network = Network::of(seed, 64);
        for n in 0..32 {
            network.announce(2 * n, key("file", n));
        }
        network.run(secs(10));
        for n in (0..64).filter(|n| n % 4 == 1) {
            network.world.crash(network.nodes[n].0);
        }
        let lookups: Vec<_> =
            (0..32).map(|n| network.look_up(2 * n, key("file", 31 - n))).collect();
        network.run(secs(10));
        for (n, asked) in lookups.into_iter().enumerate() {
            assert_eq!(network.peers(asked), [record(2 * (31 - n))], "seed {seed}, {n}");
        }
    }
}

/// A node that answers everything with made-up nodes next to what is looked
/// for, takes every record and keeps none.
struct Liar {
    id: Key,
    rng: Rng,
    out: Vec<Action>,
    target: Key,
}

impl Liar {
    fn answer(&mut self, from: SocketAddr, packet: Packet) {
        let Body::Query { query, .. } = packet.body else { return };
        let target = match query {
            Query::FindNode { target, .. } => target,
            Query::GetPeers { key, .. } => key,
            _ => self.target,
        };
        let invent = |rng: &mut Rng| {
            let mut id = target;
            id.0[19] ^= rng.below(256) as u8;
            let [.., a, b, c] = rng.next_u64().to_be_bytes();
            Contact { id, addr: ([11, a, b, c], 4_000).into() }
        };
        let nodes = (0..8).map(|_| invent(&mut self.rng)).collect();
        let token = Some(bytes::Bytes::from_static(b"anything"));
        let answer = Reply { token, nodes, ..Reply::default() };
        let body = Body::Answer { id: self.id, ip: Some(from), answer };
        let bytes = emit(&Packet { body, ..packet });
        self.out.push(Action::SendDatagram { to: from, bytes });
    }
}

impl Machine for Liar {
    fn handle(&mut self, _now: Time, event: Event) {
        if let Event::Datagram { from, bytes } = event
            && let Ok(packet) = parse(&bytes)
        {
            self.answer(from, packet);
        }
    }

    fn poll(&mut self) -> Output {
        self.out.pop().map_or(Output::Wait(None), Output::Act)
    }
}

/// Liars that everybody asks first.
fn liars(network: &mut Network, count: usize) -> Vec<SocketAddr> {
    let mut at = Vec::new();
    for n in 0..count {
        let addr = addr(1_000 + n);
        let mut rng = Rng::new(node_seed(7, &addr));
        let id = Key::random(&mut rng);
        let liar = Liar { id, rng, out: Vec::new(), target: id };
        network.world.add(addr, n, None, Box::new(liar));
        at.push(addr);
    }
    at
}

#[test]
fn liars_do_not_hide_a_record() {
    let mut network = Network::empty(1);
    let mut bootstrap = liars(&mut network, 8);
    bootstrap.truncate(4);
    bootstrap.push(addr(0));
    for n in 0..56 {
        network.add(n, &bootstrap);
        network.run(ms(500));
    }
    network.run(secs(120));
    for n in 0..56 {
        network.announce(n, key("file", n));
    }
    network.run(secs(10));
    let lookups: Vec<_> = (0..56).map(|n| network.look_up(n, key("file", 55 - n))).collect();
    network.run(secs(10));
    for (n, asked) in lookups.into_iter().enumerate() {
        assert_eq!(network.peers(asked), [record(55 - n)], "node {n}");
    }
}

#[test]
fn a_node_whose_bootstrap_comes_late_joins_when_it_comes() {
    let mut network = Network::empty(1);
    network.add(1, &[addr(0)]);
    network.run(secs(300));
    let early = network.look_up(0, key("file", 0));
    assert_eq!(network.found(early), [], "it ends although nobody is there");
    assert_eq!(network.dht(0, |dht| dht.nodes()), 0);
    network.add(0, &[]);
    // It asks at least every 72 s.
    network.run(secs(75));
    assert_eq!(network.dht(0, |dht| dht.nodes()), 1);
}

#[test]
fn a_lookup_begun_before_the_bootstrap_answers_goes_on_when_it_does() {
    let mut network = Network::of(1, 20);
    let asked = network.announce(3, key("file", 0));
    network.stored(asked);
    network.add(20, &[addr(0)]);
    let asked = network.look_up(20, key("file", 0));
    assert_eq!(network.found(asked), [record(3)]);
}

#[test]
fn a_restarted_node_finds_the_network_by_its_contacts_alone() {
    let mut network = Network::of(1, 30);
    let asked = network.announce(3, key("file", 0));
    network.stored(asked);
    let saved = network.dht(9, |dht| dht.contacts());
    assert!(saved.len() > 20);
    network.world.kill(network.nodes[9].0);
    network.world.crash(network.nodes[0].0);
    let contacts: Vec<SocketAddr> =
        saved.iter().map(|c| c.addr).filter(|a| *a != addr(0)).collect();
    network.run(secs(60));
    network.add(9, &contacts);
    let asked = network.look_up(30, key("file", 0));
    assert_eq!(network.found(asked), [record(3)]);
    // Under its new id it is one of the network again.
    network.run(secs(120));
    let asked = network.announce(30, key("file", 1));
    assert!(network.stored(asked) >= 8);
    let asked = network.look_up(12, key("file", 1));
    assert_eq!(network.found(asked), [record(9)]);
}

#[test]
fn two_networks_that_share_an_address_do_not_merge() {
    let mut network = Network::of(1, 10);
    network.config.network = Some(*b"another ");
    for n in 10..20 {
        network.add(n, &[addr(10), addr(0)]);
    }
    network.run(secs(300));
    for n in 0..20 {
        let known = network.dht(n, |dht| dht.contacts());
        assert!(!known.is_empty());
        let side = |addr: SocketAddr| (0..10).any(|m| self::addr(m) == addr);
        assert!(known.iter().all(|c| side(c.addr) == (n < 10)), "node {n} knows {known:?}");
    }
}

#[test]
fn two_hundred_commands_at_once_all_end_well() {
    let mut network = Network::of(1, 64);
    let announces: Vec<_> = (0..200).map(|n| network.announce(5, key("file", n))).collect();
    network.run(secs(60));
    let stored: Vec<usize> = announces.into_iter().map(|asked| network.stored(asked)).collect();
    // At the limit there is no second try for what is lost.
    let sum: usize = stored.iter().sum();
    assert!(sum >= 8 * 200 && stored.iter().all(|nodes| *nodes >= 5), "{stored:?}");
    let lookups: Vec<_> = (0..200).map(|n| network.look_up(6, key("file", n))).collect();
    network.run(secs(60));
    for asked in lookups {
        assert_eq!(network.peers(asked), [record(5)]);
    }
}

#[test]
fn the_size_of_the_network_is_known_about() {
    let mut network = Network::of(1, 400);
    for n in 0..16 {
        network.look_up(7, key("any", n));
    }
    network.run(secs(30));
    let estimate = network.dht(7, |dht| dht.size_estimate());
    assert!((280..=560).contains(&estimate), "{estimate} of 400");
}

#[test]
fn nodes_at_rest_send_little() {
    let mut network = Network::of(1, 64);
    network.run(secs(600));
    let before: u64 = (0..64).map(|n| network.dht(n, |dht| dht.stats().bytes_out)).sum();
    network.run(secs(1_800));
    let after: u64 = (0..64).map(|n| network.dht(n, |dht| dht.stats().bytes_out)).sum();
    let rate = (after - before) / 64 / 1_800;
    assert!(rate < 150, "{rate} bytes a second and node");
}

#[test]
fn who_left_does_nothing_more_and_what_it_was_asked_ends() {
    let mut network = Network::of(1, 10);
    let open = network.look_up(4, key("file", 0));
    let leave = network.command(4, Command::Leave);
    let late = network.look_up(4, key("file", 0));
    network.run(ms(1));
    let result = |asked| network.results.0.get(&asked).map(|(_, r)| r.clone());
    assert_eq!(result(open), Some(Err(Refusal::Leaving)));
    assert_eq!(result(leave), Some(Ok(Answer::Done)));
    assert_eq!(result(late), Some(Err(Refusal::Leaving)));
    let sent = network.world.traffic(network.nodes[4].0).datagrams_sent;
    network.run(secs(600));
    assert_eq!(network.world.traffic(network.nodes[4].0).datagrams_sent, sent);
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let mut network = Network::of(seed, 20);
        network.announce(3, key("file", 0));
        network.run(secs(30));
        network.world.hash()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn time_that_comes_late_or_unasked_harms_no_network() {
    let mut network = Network::empty(1);
    network.world = World::new(
        1,
        Net { rtt: Rtt::planetlab(), late: ms(30), spurious: true, ..Net::default() },
    );
    for n in 0..20 {
        network.add(n, &[addr(0)]);
    }
    network.run(secs(60));
    let asked = network.announce(3, key("file", 0));
    assert!(network.stored(asked) >= 8);
    let asked = network.look_up(19, key("file", 0));
    assert_eq!(network.found(asked), [record(3)]);
}
