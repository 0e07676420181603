//! What publishing the past costs: every viewer of a channel completes a file
//! each 10 s, keeps it or not, counts, announces and renews by the rule of the
//! cache, over a real DHT in virtual time. No stream flows: only the DHT's
//! datagrams are counted, as payload of UDP.
//!
//! `cargo run --release -p eddy-sim --example dht_load [N] [HOURS] [--seed SEED]`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eddy_core::cache::{Cache, CacheConfig, Effect, File, Population};
use eddy_core::dht::{self, Dht, DhtConfig, Key, OpId, Pace};
use eddy_core::rng::{Rng, node_seed};
use eddy_core::stream::file::FileId;
use eddy_core::{Action, ChannelId, Event, Machine, Output, Time};
use eddy_sim::{Net, NodeIx, Rtt, START, World};

const CHANNEL: ChannelId = ChannelId([7; 32]);
/// F, and a file's bytes at 500 kbit/s.
const FILE: Duration = Duration::from_secs(10);
const BYTES: u64 = 625_000;
/// The stream, in bytes a second.
const STREAM: f64 = 62_500.0;
/// Viewers complete a file within this time of each other.
const SPREAD: u64 = 2_000_000;
/// While viewers join.
const JOINING: Duration = Duration::from_secs(120);
/// One period of renewal: what is measured at a time.
const PERIOD: Duration = Duration::from_secs(720);

/// What an operation of the DHT is for.
enum Use {
    Count(File, Vec<SocketAddr>),
    Publish(File),
}

/// The part of a viewer that publishes.
struct Viewer {
    dht: Dht,
    cache: Cache,
    own: SocketAddr,
    viewers: usize,
    ops: BTreeMap<OpId, Use>,
    looked: BTreeMap<File, OpId>,
    /// When the next file is complete, and where it begins.
    next: (Time, u64),
    now: Time,
}

impl Viewer {
    fn new(own: SocketAddr, viewers: usize, seed: [u8; 32], now: Time) -> Self {
        let mut rng = Rng::new(seed);
        let config = CacheConfig { quota: u64::MAX, ..CacheConfig::default() };
        let cache = Cache::new(config, rng.fork()).expect("the default is valid");
        let mut dht = Dht::new(DhtConfig::default(), own, rng.fork(), now);
        dht.join(now, &[addr(0)]);
        let lag = Duration::from_micros(rng.below(SPREAD as usize) as u64);
        let begin = START + JOINING;
        let next = (begin + FILE + lag, begin.as_micros() / 1_000_000);
        let (ops, looked) = (BTreeMap::new(), BTreeMap::new());
        Self { dht, cache, own, viewers, ops, looked, next, now }
    }

    fn complete(&mut self) {
        while self.next.0 <= self.now {
            let (at, start) = self.next;
            self.next = (at + FILE, start + FILE.as_secs());
            let file = File { start, key: FileId { start }.key(&CHANNEL) };
            let viewers = Some(self.viewers);
            self.cache.set_population(Population { viewers, ..Population::default() });
            self.cache.set_self(self.now, self.own);
            self.cache.completed(self.now, file, BYTES);
        }
    }

    fn on_cache(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::LookUp { file, want_token } => {
                let op = self.dht.look_up(now, Key(file.key), Pace::Calm);
                if want_token {
                    self.looked.insert(file, op);
                }
                self.ops.insert(op, Use::Count(file, Vec::new()));
            }
            Effect::Announce { file, life } => self.publish(file, life),
            Effect::Withdraw { file } => self.publish(file, Duration::ZERO),
            Effect::Drop { file } => drop(self.looked.remove(&file)),
            _ => {}
        }
    }

    fn publish(&mut self, file: File, life: Duration) {
        let (now, port) = (self.now, self.own.port());
        let op = match self.looked.get(&file) {
            Some(op) if self.dht.confirm(now, *op, port, life) => *op,
            _ => self.dht.announce(now, Key(file.key), port, life),
        };
        self.ops.insert(op, Use::Publish(file));
    }

    fn on_done(&mut self, op: OpId, outcome: dht::Outcome) {
        match self.ops.remove(&op) {
            Some(Use::Count(file, _)) if outcome.refused => self.cache.failed(self.now, file),
            Some(Use::Count(file, found)) => self.cache.records(self.now, file, &found),
            Some(Use::Publish(file)) => self.cache.stored(self.now, file, outcome.stored > 0),
            None => {}
        }
    }
}

impl Machine for Viewer {
    fn handle(&mut self, now: Time, event: Event) {
        self.now = now;
        if let Event::Datagram { from, bytes } = event {
            self.dht.receive(now, from, &bytes);
        }
        self.dht.wake(now);
        self.cache.wake(now);
        self.complete();
    }

    fn poll(&mut self) -> Output {
        loop {
            if let Some(effect) = self.dht.poll() {
                match effect {
                    dht::Effect::Send { to, bytes } => {
                        return Output::Act(Action::SendDatagram { to, bytes });
                    }
                    dht::Effect::Found { op, values } => {
                        if let Some(Use::Count(_, found)) = self.ops.get_mut(&op) {
                            found.extend(values);
                        }
                    }
                    dht::Effect::Done { op, outcome } => self.on_done(op, outcome),
                }
            } else if let Some(effect) = self.cache.poll() {
                self.on_cache(effect);
            } else {
                let after = self.now + Duration::from_micros(1);
                let due = [self.dht.deadline(), self.cache.deadline(), Some(self.next.0)];
                return Output::Wait(due.into_iter().flatten().min().map(|at| at.max(after)));
            }
        }
    }
}

fn addr(n: usize) -> SocketAddr {
    let [.., a, b, c] = n.to_be_bytes();
    ([10 + a, b, c, 1], 4_000).into()
}

/// Bytes that all nodes sent so far: what one sends another receives.
fn sent(world: &World, nodes: &[NodeIx]) -> u64 {
    nodes.iter().map(|n| world.traffic(*n).datagrams_sent).sum()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut numbers, mut seed) = (Vec::new(), 1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seed" => seed = args.next().and_then(|s| s.parse().ok()).unwrap_or(seed),
            n => numbers.extend(n.parse::<usize>()),
        }
    }
    let count = numbers.first().copied().unwrap_or(48);
    let hours = numbers.get(1).copied().unwrap_or(2);
    let wall = Instant::now();
    let mut world = World::new(seed, Net { rtt: Rtt::planetlab(), ..Net::default() });
    let mut rng = Rng::new(node_seed(seed, &addr(0)));
    let mut nodes = Vec::new();
    for n in 0..count {
        let at = addr(n);
        let viewer = Viewer::new(at, count, node_seed(seed, &at), world.now());
        nodes.push(world.add(at, rng.below(490), None, Box::new(viewer)));
        world.run_until(world.now() + JOINING / count as u32, &mut ());
    }
    println!("N = {count}, seed {seed}: each direction, per node, of a stream of 500 kbit/s");
    println!("| past kept | files | bytes/s | of the stream |");
    println!("|---|---|---|---|");
    let (mut first, mut last) = (None, (0.0, 0.0));
    for period in 1..=hours * 5 {
        let before = sent(&world, &nodes);
        world.run_until(world.now() + PERIOD, &mut ());
        let rate = (sent(&world, &nodes) - before) as f64 / PERIOD.as_secs_f64() / count as f64;
        // In the middle of the period so much was kept.
        let kept = PERIOD.as_secs_f64() * (period as f64 - 0.5) / 3_600.0;
        let (files, share) = ((kept * 360.0) as u64, 100.0 * rate / STREAM);
        println!("| {kept:.1} h | {files} | {rate:.0} | {share:.2} % |");
        first = first.or((period > 1).then_some((kept, rate)));
        last = (kept, rate);
    }
    if let Some((kept, rate)) = first.filter(|(kept, _)| *kept < last.0) {
        let slope = (last.1 - rate) / (last.0 - kept);
        let day = last.1 + slope * (24.0 - last.0);
        println!("| 24 h, on that line | 8640 | {day:.0} | {:.2} % |", 100.0 * day / STREAM);
    }
    let seconds = wall.elapsed().as_secs_f64();
    println!("{} events, hash {:016x}, {seconds:.0} s of wall clock", world.events(), world.hash());
}
