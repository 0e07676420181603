//! The DHT of the published system, Plan-x, as far as it matters to what the
//! report measured: one value a key, here a file's whole owner list.
//!
//! From its source (nebulostore, "adding original planx"): a put carries the
//! writer's clock, goes to the three nodes closest to the key without waiting
//! for an acknowledgement, and counts there only if its stamp is greater than
//! the last one's. A get returns the local copy if there is one, else the first
//! that a close node gives. A query that is lost costs three seconds, ten
//! seconds end the whole operation. Once an hour a node gives up what is not
//! its own any more, and takes the newest of what is; so does a newcomer.
//!
//! Two other ways to change a list can be had, to be compared with that one
//! ([`Publishing`]). *Compare and swap*: the closest node decides. A put names
//! the version that was got from it, is refused if that is not the present one,
//! and answered; what counts it hands on to the other two. *Add to set*: a
//! writer sends its own entry, and each of the three merges.
//!
//! Who is closest is known to all here, so there is no routing to go wrong: a
//! lookup takes the round trips that one of two hops would.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use eddy_core::cache::{File, Owner, Publishing};
use eddy_core::node::Node;
use eddy_core::node::lists::ListWish;
use eddy_core::rng::{Rng, node_seed};
use eddy_core::{Event, Machine, Output, Time};

use crate::Rtt;

/// Nodes that keep a value.
const K: usize = 3;
/// A query without an answer has failed.
const QUERY: Duration = Duration::from_secs(3);
/// The whole operation has.
const OPERATION: Duration = Duration::from_secs(10);
/// Between two repairs of what a node keeps.
const REPAIR: Duration = Duration::from_secs(3_600);
/// A newcomer is at home after this long.
const ARRIVAL: Duration = Duration::from_secs(5);
/// A copy of one's own is there at once.
const LOCAL: Duration = Duration::from_millis(1);

/// A list, with the clock of who wrote it.
#[derive(Clone, Debug, Default)]
struct Value {
    stamp: Time,
    /// How often it was swapped.
    version: u64,
    owners: Vec<Owner>,
}

/// What a node that keeps a list is to do with it.
#[derive(Clone, Debug)]
enum Change {
    Put(Value),
    Add(Owner),
    TakeOut(SocketAddr),
}

impl Value {
    fn add(&mut self, owner: Owner) {
        self.owners.retain(|o| o.addr != owner.addr);
        self.owners.push(owner);
        self.stamp = self.stamp.max(owner.published_at);
    }

    /// What a node that is at home with both makes of them.
    fn union(mut self, other: &Self) -> Self {
        for owner in &other.owners {
            let is_newer = |o: &Owner| o.addr != owner.addr || o.published_at < owner.published_at;
            if self.owners.iter().all(is_newer) {
                self.add(*owner);
            }
        }
        self
    }
}

#[derive(Debug)]
struct Peer {
    site: usize,
    id: u64,
    values: BTreeMap<File, Value>,
}

#[derive(Debug)]
struct Network {
    rtt: Rtt,
    loss: f64,
    rng: Rng,
    publishing: Publishing,
    peers: BTreeMap<SocketAddr, Peer>,
}

/// One such DHT, shared by all who are in it.
#[derive(Clone, Debug)]
pub struct PlanX(Rc<RefCell<Network>>);

impl PlanX {
    /// A DHT of nobody. A query or its answer is lost with this chance, as is
    /// a put on its way to one of those who are to keep it.
    pub fn new(seed: u64, rtt: Rtt, loss: f64, publishing: Publishing) -> Self {
        let rng = Rng::new(node_seed(seed, &([0, 0, 0, 0], 2).into()));
        let peers = BTreeMap::new();
        Self(Rc::new(RefCell::new(Network { rtt, loss, rng, publishing, peers })))
    }

    /// A viewer that publishes here, in a channel that so many watch live.
    pub fn viewer(
        &self,
        addr: SocketAddr,
        site: usize,
        now: Time,
        mut node: Node,
        live: usize,
    ) -> PlanXViewer {
        node.use_lists(live);
        let mut network = self.0.borrow_mut();
        let id = network.rng.next_u64();
        network.peers.insert(addr, Peer { site, id, values: BTreeMap::new() });
        let mut viewer =
            PlanXViewer { node, dht: self.clone(), addr, plans: BTreeMap::new(), planned: 0 };
        viewer.plan(now + ARRIVAL, Plan::Repair);
        viewer
    }

    /// Somebody is gone, with all that it kept.
    pub fn remove(&self, addr: SocketAddr) {
        self.0.borrow_mut().peers.remove(&addr);
    }

    /// The newest list of a file that anybody keeps.
    pub fn newest(&self, file: File) -> Vec<Owner> {
        self.0.borrow().newest(file).map(|value| value.owners).unwrap_or_default()
    }
}

impl Network {
    fn chance(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn keepers(&self, file: File) -> Vec<SocketAddr> {
        let [a, b, c, d, e, f, g, h, ..] = file.key;
        let key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let mut all: Vec<(u64, SocketAddr)> =
            self.peers.iter().map(|(addr, peer)| (peer.id ^ key, *addr)).collect();
        all.sort_unstable();
        all.into_iter().take(K).map(|(_, addr)| addr).collect()
    }

    fn round_trip(&self, a: SocketAddr, b: SocketAddr) -> Duration {
        match (self.peers.get(&a), self.peers.get(&b)) {
            (Some(a), Some(b)) => self.rtt.rtt(a.site, b.site),
            _ => Duration::ZERO,
        }
    }

    /// What asking somebody takes; and whether he answered.
    fn query(&mut self, from: SocketAddr, to: SocketAddr) -> (Duration, bool) {
        if self.chance() < 2.0 * self.loss {
            (QUERY, false)
        } else {
            (self.round_trip(from, to), true)
        }
    }

    /// The first hop of a lookup: to anybody.
    fn hop(&mut self, from: SocketAddr) -> Duration {
        let all: Vec<SocketAddr> = self.peers.keys().copied().collect();
        match self.rng.pick(&all).copied() {
            Some(to) => self.query(from, to).0,
            None => Duration::ZERO,
        }
    }

    fn own(&self, who: SocketAddr, file: File) -> Option<Value> {
        self.peers.get(&who)?.values.get(&file).cloned()
    }

    /// The newest list that anybody keeps; of sets, all that is in any.
    fn newest(&self, file: File) -> Option<Value> {
        let all = self.peers.values().filter_map(|peer| peer.values.get(&file));
        match self.publishing {
            Publishing::AddToSet => all.fold(None, |sum: Option<Value>, value| {
                Some(sum.map_or_else(|| value.clone(), |sum| sum.union(value)))
            }),
            _ => all.max_by_key(|value| (value.version, value.stamp)).cloned(),
        }
    }

    /// How long the second hop of a get takes after a first, and what it brings.
    fn get(
        &mut self,
        who: SocketAddr,
        file: File,
        spent: Duration,
        to_play: bool,
    ) -> (Duration, Option<Value>) {
        let mut keepers = self.keepers(file);
        let compared = self.publishing == Publishing::CompareAndSwap && !to_play;
        if compared {
            // Of the one that decides, or it would be another version.
            keepers.truncate(1);
        }
        keepers.sort_by_key(|keeper| self.round_trip(who, *keeper));
        let mut took = Duration::ZERO;
        for keeper in keepers {
            let (more, answered) = self.query(who, keeper);
            took += more;
            if spent + took >= OPERATION {
                return (OPERATION.saturating_sub(spent), None);
            }
            if let Some(value) = self.own(keeper, file).filter(|_| answered) {
                return (took, Some(value));
            }
            if compared && !answered {
                return (took, None);
            }
        }
        (took, Some(Value::default()))
    }

    fn change(&mut self, keeper: SocketAddr, file: File, change: Change, own: bool) {
        let Some(peer) = self.peers.get_mut(&keeper) else { return };
        let held = peer.values.get(&file);
        let order = |value: &Value| (value.version, value.stamp);
        match change {
            Change::Put(value) => {
                if own || held.is_none_or(|held| order(held) < order(&value)) {
                    peer.values.insert(file, value);
                }
            }
            Change::Add(owner) => peer.values.entry(file).or_default().add(owner),
            Change::TakeOut(addr) => {
                peer.values.entry(file).or_default().owners.retain(|o| o.addr != addr);
            }
        }
    }

    /// The list of this version gives way to another, if the closest node, to
    /// whom it came now, still has it. Returns what the others are sent.
    fn swap(&mut self, file: File, expected: u64, mut value: Value) -> Option<Value> {
        let first = *self.keepers(file).first()?;
        let version = self.own(first, file).map_or(0, |held| held.version);
        if version != expected {
            return None;
        }
        value.version = version + 1;
        self.change(first, file, Change::Put(value.clone()), false);
        Some(value)
    }

    /// Gives up what others keep, and takes the newest of what is its own.
    fn repair(&mut self, who: SocketAddr) {
        let files: BTreeSet<File> =
            self.peers.values().flat_map(|peer| peer.values.keys().copied()).collect();
        for file in files {
            if !self.keepers(file).contains(&who) {
                self.peers.get_mut(&who).into_iter().for_each(|peer| {
                    peer.values.remove(&file);
                });
                continue;
            }
            if let Some(newest) = self.newest(file) {
                self.change(who, file, Change::Put(newest), true);
            }
        }
    }
}

/// What is to happen later.
#[derive(Clone, Debug)]
enum Plan {
    Ask {
        file: File,
        to_play: bool,
        began: Time,
    },
    Got {
        file: File,
        to_play: bool,
        value: Option<Value>,
    },
    Change {
        keeper: SocketAddr,
        file: File,
        change: Change,
    },
    /// A swap reaches the closest node; and whether its answer comes back.
    Swap {
        file: File,
        expected: u64,
        value: Value,
        answered: bool,
    },
    Put(File, bool),
    Repair,
}

/// A viewer that looks for owners, and publishes itself, in Plan-x.
#[derive(Debug)]
pub struct PlanXViewer {
    node: Node,
    dht: PlanX,
    addr: SocketAddr,
    plans: BTreeMap<(Time, u64), Plan>,
    planned: u64,
}

impl PlanXViewer {
    fn plan(&mut self, at: Time, plan: Plan) {
        self.planned += 1;
        self.plans.insert((at, self.planned), plan);
    }

    /// Carries out what is due, and then what that leads to.
    fn go_on(&mut self, now: Time) {
        let dht = Rc::clone(&self.dht.0);
        while let Some(entry) = self.plans.first_entry().filter(|e| e.key().0 <= now) {
            match entry.remove() {
                Plan::Ask { file, to_play, began } => {
                    let spent = now.since(began);
                    let (took, value) = dht.borrow_mut().get(self.addr, file, spent, to_play);
                    self.plan(now + took.max(LOCAL), Plan::Got { file, to_play, value });
                }
                Plan::Got { file, to_play, value } => {
                    let list = value.as_ref().map(|v| (&v.owners[..], v.version));
                    self.node.list_got(now, file, to_play, list);
                }
                Plan::Change { keeper, file, change } => {
                    let own = keeper == self.addr;
                    dht.borrow_mut().change(keeper, file, change, own);
                }
                Plan::Swap { file, expected, value, answered } => {
                    let swapped = dht.borrow_mut().swap(file, expected, value);
                    let ok = swapped.is_some() && answered;
                    let keepers = dht.borrow().keepers(file);
                    let first = keepers.first().copied().unwrap_or(self.addr);
                    let back = dht.borrow().round_trip(self.addr, first) / 2;
                    let back = if answered { back } else { QUERY };
                    self.plan(now + back.max(LOCAL), Plan::Put(file, ok));
                    if let Some(value) = swapped {
                        let change = Change::Put(value);
                        let others = keepers.into_iter().skip(1);
                        others.for_each(|k| self.send(now, first, k, file, &change));
                    }
                }
                Plan::Put(file, ok) => self.node.list_put(now, file, ok),
                Plan::Repair => {
                    dht.borrow_mut().repair(self.addr);
                    self.plan(now + REPAIR, Plan::Repair);
                }
            }
        }
        while let Some(wish) = self.node.list_wish() {
            match wish {
                ListWish::Get { file, to_play } => {
                    let network = dht.borrow();
                    let compared = network.publishing == Publishing::CompareAndSwap && !to_play;
                    let value = network.own(self.addr, file).filter(|_| !compared);
                    drop(network);
                    if value.is_some() {
                        self.plan(now + LOCAL, Plan::Got { file, to_play, value });
                    } else {
                        let first = dht.borrow_mut().hop(self.addr).max(LOCAL);
                        self.plan(now + first, Plan::Ask { file, to_play, began: now });
                    }
                }
                ListWish::Put { file, owners, version } => {
                    let value = Value { stamp: now, version: 0, owners };
                    match version {
                        Some(expected) => self.swap(now, file, expected, value),
                        None => self.change(now, file, &Change::Put(value)),
                    }
                }
                ListWish::Add { file } => {
                    let owner = Owner { addr: self.addr, published_at: now };
                    self.change(now, file, &Change::Add(owner));
                }
                ListWish::TakeOut { file } => {
                    self.change(now, file, &Change::TakeOut(self.addr));
                }
            }
        }
    }

    /// Sends a change to all who are to keep a list, and waits for nobody.
    fn change(&mut self, now: Time, file: File, change: &Change) {
        let dht = Rc::clone(&self.dht.0);
        let took = dht.borrow_mut().hop(self.addr).max(LOCAL);
        let keepers = dht.borrow().keepers(file);
        for keeper in keepers {
            self.send(now + took, self.addr, keeper, file, change);
        }
        self.plan(now + took, Plan::Put(file, true));
    }

    fn send(
        &mut self,
        at: Time,
        from: SocketAddr,
        keeper: SocketAddr,
        file: File,
        change: &Change,
    ) {
        let dht = Rc::clone(&self.dht.0);
        let mut network = dht.borrow_mut();
        let way = network.round_trip(from, keeper) / 2;
        let lost = keeper != from && network.chance() < network.loss;
        drop(network);
        if !lost {
            self.plan(at + way, Plan::Change { keeper, file, change: change.clone() });
        }
    }

    /// Asks the closest node to swap a list.
    fn swap(&mut self, now: Time, file: File, expected: u64, value: Value) {
        let dht = Rc::clone(&self.dht.0);
        let mut network = dht.borrow_mut();
        let took = network.hop(self.addr).max(LOCAL);
        let first = network.keepers(file).first().copied().unwrap_or(self.addr);
        let way = network.round_trip(self.addr, first) / 2;
        let (arrives, answered) = (network.chance(), network.chance());
        let loss = if first == self.addr { 0.0 } else { network.loss };
        drop(network);
        if arrives < loss {
            self.plan(now + took + QUERY, Plan::Put(file, false));
        } else {
            let answered = answered >= loss;
            self.plan(now + took + way, Plan::Swap { file, expected, value, answered });
        }
    }
}

impl Machine for PlanXViewer {
    fn handle(&mut self, now: Time, event: Event) {
        self.node.handle(now, event);
        self.go_on(now);
    }

    fn poll(&mut self) -> Output {
        match self.node.poll() {
            Output::Wait(wait) => {
                let plan = self.plans.keys().next().map(|(at, _)| *at);
                Output::Wait(wait.into_iter().chain(plan).min())
            }
            act => act,
        }
    }
}
