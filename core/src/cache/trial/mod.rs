//! A small world for trials of the cache: many caches, a model of the DHT, and
//! virtual time. Latencies are those of the study's simulations (dht.md
//! section 6): a lookup takes a log-normal time of median 0.5 s, a store
//! 50 ms and an exponential of mean 120 ms more.

mod any;
mod dht;
mod hand;
mod interval;
mod rank;
mod report;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use self::dht::{Lists, Sets};
use super::{Cache, CacheConfig, Effect, File, Owner, Population};
use crate::rng::Rng;
use crate::time::Time;

/// Bytes of every file.
const BYTES: u64 = 1_000;
/// An operation that fails does so after this long.
const TIMEOUT: Duration = Duration::from_secs(4);
/// What a fetch takes.
const FETCH: Duration = Duration::from_secs(3);
/// The tokens of a lookup are good for this long.
const TOKEN: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum Event {
    Wake,
    Completed(File),
    Looked(File),
    Stored(File, Duration),
    Listed(File),
    Put(File, Vec<Owner>, Option<u64>),
    Failed(File),
    NotStored(File),
    Fetched(File),
    Departs { crash: bool },
}

#[derive(Debug)]
struct Node {
    cache: Cache,
    addr: SocketAddr,
    disk: BTreeSet<File>,
    alive: bool,
    wake: Option<Time>,
    tokens: BTreeMap<File, Time>,
    /// Microseconds that its clock is ahead.
    ahead: i64,
}

#[derive(Debug)]
struct World {
    now: Time,
    config: CacheConfig,
    nodes: Vec<Node>,
    events: BTreeMap<(Time, u64), (usize, Event)>,
    count: u64,
    rng: Rng,
    sets: Sets,
    lists: Lists,
    /// Chance that a message to one storing node is lost; a fifth of it is
    /// that of a whole operation to fail.
    loss: f64,
    /// Spread of the nodes' clocks in seconds, for the lists.
    skew: f64,
    born: BTreeMap<File, Time>,
    lookups: usize,
    /// Of these, those for files younger than a minute.
    early: usize,
    fetches: usize,
}

impl World {
    fn new(seed: u8, config: CacheConfig, loss: f64) -> Self {
        Self {
            now: Time::from_secs(1_000_000),
            config,
            nodes: Vec::new(),
            events: BTreeMap::new(),
            count: 0,
            rng: Rng::new([seed; 32]),
            sets: Sets::default(),
            lists: Lists::default(),
            loss,
            skew: 0.0,
            born: BTreeMap::new(),
            lookups: 0,
            early: 0,
            fetches: 0,
        }
    }

    /// Adds a node on a network of its own.
    fn add(&mut self, population: Population) -> usize {
        let n = self.nodes.len();
        let addr = ([10, (n >> 8) as u8, n as u8, 1], 7_000).into();
        self.add_at(addr, population)
    }

    fn add_at(&mut self, addr: SocketAddr, population: Population) -> usize {
        let n = self.nodes.len();
        let seed = crate::rng::node_seed(self.rng.next_u64(), &addr);
        let mut cache = Cache::new(self.config.clone(), Rng::new(seed)).unwrap();
        cache.set_self(self.now, addr);
        cache.set_population(population);
        let (disk, tokens) = (BTreeSet::new(), BTreeMap::new());
        let ahead = (self.normal() * self.skew * 1e6) as i64;
        self.nodes.push(Node { cache, addr, disk, alive: true, wake: None, tokens, ahead });
        n
    }

    fn add_all(&mut self, n: usize, believed: usize) {
        for _ in 0..n {
            self.add(viewers(believed));
        }
    }

    /// A file that everybody alive completes within this time.
    fn broadcast(&mut self, n: u64, within: Duration) -> File {
        let mut key = [0; 20];
        key[..8].copy_from_slice(&self.rng.next_u64().to_be_bytes());
        let file = File { start: n * 10, key };
        self.born.insert(file, self.now);
        for node in 0..self.nodes.len() {
            if self.nodes[node].alive {
                let wait = within.mul_f64(self.chance());
                self.at(wait, node, Event::Completed(file));
            }
        }
        file
    }

    fn at(&mut self, wait: Duration, node: usize, event: Event) {
        self.count += 1;
        self.events.insert((self.now + wait, self.count), (node, event));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(entry) = self.events.first_entry() {
            let at = entry.key().0;
            if at > end {
                break;
            }
            let (node, event) = entry.remove();
            self.now = at;
            if self.nodes[node].alive {
                self.happen(node, event);
                self.serve(node);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, n: usize, event: Event) {
        let now = self.now;
        let node = &mut self.nodes[n];
        match event {
            Event::Wake => {
                if node.wake != Some(now) {
                    return;
                }
                node.wake = None;
                node.cache.wake(now);
                assert!(node.cache.deadline().is_none_or(|t| t > now), "it would spin");
            }
            Event::Completed(file) => node.cache.completed(now, file, BYTES),
            Event::Looked(file) => {
                node.tokens.insert(file, now + TOKEN);
                let seen = self.sets.look(&mut self.rng, self.loss, now, file, n);
                self.nodes[n].cache.records(now, file, &seen);
            }
            Event::Stored(file, life) => {
                let addr = node.addr;
                self.sets.store(&mut self.rng, self.loss, now + life, file, n, addr);
                self.nodes[n].cache.stored(now, file, true);
            }
            Event::Listed(file) => {
                let (list, version) = self.lists.get(file);
                node.cache.listed(now, file, &list, version);
            }
            Event::Put(file, owners, version) => {
                let stamp = now.offset(node.ahead);
                let ok = self.lists.put(stamp, file, owners, version);
                self.nodes[n].cache.stored(now, file, ok);
            }
            Event::Failed(file) => node.cache.failed(now, file),
            Event::NotStored(file) => node.cache.stored(now, file, false),
            Event::Fetched(file) => {
                if self.nodes.iter().any(|o| o.alive && o.disk.contains(&file)) {
                    self.nodes[n].cache.completed(now, file, BYTES);
                } else {
                    self.nodes[n].cache.failed(now, file);
                }
            }
            Event::Departs { crash } => {
                if !crash {
                    node.cache.leave(now);
                    self.serve(n);
                    // The withdrawals reach the storing nodes.
                    let addr = self.nodes[n].addr;
                    let files: Vec<File> = self.nodes[n].disk.iter().copied().collect();
                    for file in files {
                        self.sets.store(&mut self.rng, self.loss, now, file, n, addr);
                    }
                }
                self.nodes[n].alive = false;
            }
        }
    }

    /// Carries out what a cache wants, and minds when it wants to be woken.
    fn serve(&mut self, n: usize) {
        while let Some(effect) = self.nodes[n].cache.poll() {
            let fails = self.chance() < self.loss / 5.0;
            let node = &mut self.nodes[n];
            match effect {
                Effect::Keep { file } => assert!(node.disk.insert(file), "kept twice"),
                Effect::Drop { file } => {
                    node.disk.remove(&file);
                }
                Effect::LookUp { file, .. } => {
                    self.looks(file);
                    let wait = if fails { TIMEOUT } else { self.look_up_time() };
                    let event = if fails { Event::Failed(file) } else { Event::Looked(file) };
                    self.at(wait, n, event);
                }
                Effect::Announce { file, life } => {
                    assert!(node.disk.contains(&file), "announced without a copy");
                    self.store(n, file, life, fails);
                }
                Effect::Withdraw { file } => self.store(n, file, Duration::ZERO, fails),
                Effect::GetList { file } => {
                    self.looks(file);
                    let wait = if fails { TIMEOUT } else { self.look_up_time() };
                    let event = if fails { Event::Failed(file) } else { Event::Listed(file) };
                    self.at(wait, n, event);
                }
                Effect::PutList { file, owners, version } => {
                    self.looks(file);
                    let wait = self.look_up_time() + self.store_time();
                    self.at(wait, n, Event::Put(file, owners, version));
                }
                Effect::Fetch { file } => {
                    self.fetches += 1;
                    self.at(FETCH, n, Event::Fetched(file));
                }
                Effect::TooLarge { .. } => panic!("no file is larger than the quota"),
            }
        }
        let node = &mut self.nodes[n];
        assert!(node.cache.files().eq(node.disk.iter().copied()), "what it holds is on disk");
        assert!(node.cache.used() <= self.config.quota, "the quota holds");
        if let Some(at) = node.cache.deadline().filter(|at| node.wake.is_none_or(|w| *at < w)) {
            node.wake = Some(at);
            self.at(at.since(self.now), n, Event::Wake);
        }
    }

    fn store(&mut self, n: usize, file: File, life: Duration, fails: bool) {
        let token = self.nodes[n].tokens.get(&file).is_some_and(|until| *until > self.now);
        let mut wait = self.store_time();
        if !token {
            self.looks(file);
            wait += self.look_up_time();
        }
        let (wait, event) = if fails {
            (TIMEOUT, Event::NotStored(file))
        } else {
            (wait, Event::Stored(file, life))
        };
        self.at(wait, n, event);
    }

    fn looks(&mut self, file: File) {
        self.lookups += 1;
        self.early += usize::from(self.now.since(self.born[&file]) < minutes(1));
    }

    /// A number in 0..1.
    fn chance(&mut self) -> f64 {
        self.rng.next_u64() as f64 / 2f64.powi(64)
    }

    /// A number of the standard normal distribution.
    fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.chance(), self.chance());
        (-2.0 * a.ln()).sqrt() * (core::f64::consts::TAU * b).cos()
    }

    fn look_up_time(&mut self) -> Duration {
        Duration::from_secs_f64((0.5 * self.normal() - 0.7).exp().min(5.0))
    }

    fn store_time(&mut self) -> Duration {
        Duration::from_secs_f64(0.05 - 0.12 * (1.0 - self.chance()).ln())
    }

    /// Records of a file that have not expired.
    fn published(&self, file: File) -> usize {
        self.sets.all(self.now, file).len()
    }

    /// Of these, those of nodes that are there and hold it.
    fn live(&self, file: File) -> usize {
        let records = self.sets.all(self.now, file);
        let owns = |n: &&Node| n.alive && n.disk.contains(&file) && records.contains(&n.addr);
        self.nodes.iter().filter(owns).count()
    }

    /// Copies of a file on the disks of those who are there.
    fn copies(&self, file: File) -> usize {
        self.nodes.iter().filter(|n| n.alive && n.disk.contains(&file)).count()
    }
}

fn viewers(n: usize) -> Population {
    Population { viewers: Some(n), ..Population::default() }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn mean(values: &[usize]) -> f64 {
    values.iter().sum::<usize>() as f64 / values.len().max(1) as f64
}

/// The share of values for which something holds.
fn share(values: &[usize], holds: impl Fn(usize) -> bool) -> f64 {
    values.iter().filter(|v| holds(**v)).count() as f64 / values.len().max(1) as f64
}
