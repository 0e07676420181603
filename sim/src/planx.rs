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
//! Who is closest is known to all here, so there is no routing to go wrong: a
//! lookup takes the round trips that one of two hops would.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use eddy_core::cache::{File, Owner};
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

/// A stamped list.
type Value = (Time, Vec<Owner>);

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
    peers: BTreeMap<SocketAddr, Peer>,
}

/// One such DHT, shared by all who are in it.
#[derive(Clone, Debug)]
pub struct PlanX(Rc<RefCell<Network>>);

impl PlanX {
    /// A DHT of nobody. A query or its answer is lost with this chance, as is
    /// a put on its way to one of those who are to keep it.
    pub fn new(seed: u64, rtt: Rtt, loss: f64) -> Self {
        let rng = Rng::new(node_seed(seed, &([0, 0, 0, 0], 2).into()));
        Self(Rc::new(RefCell::new(Network { rtt, loss, rng, peers: BTreeMap::new() })))
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
        let network = self.0.borrow();
        let all = network.peers.values().filter_map(|peer| peer.values.get(&file));
        all.max_by_key(|(stamp, _)| *stamp).map(|(_, owners)| owners.clone()).unwrap_or_default()
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

    fn own(&self, who: SocketAddr, file: File) -> Option<Vec<Owner>> {
        self.peers.get(&who)?.values.get(&file).map(|(_, owners)| owners.clone())
    }

    /// How long the second hop of a get takes after a first, and what it brings.
    fn get(
        &mut self,
        who: SocketAddr,
        file: File,
        spent: Duration,
    ) -> (Duration, Option<Vec<Owner>>) {
        let mut keepers = self.keepers(file);
        keepers.sort_by_key(|keeper| self.round_trip(who, *keeper));
        let mut took = Duration::ZERO;
        for keeper in keepers {
            let (more, answered) = self.query(who, keeper);
            took += more;
            if spent + took >= OPERATION {
                return (OPERATION.saturating_sub(spent), None);
            }
            if let Some(owners) = self.own(keeper, file).filter(|_| answered) {
                return (took, Some(owners));
            }
        }
        (took, Some(Vec::new()))
    }

    fn store(&mut self, keeper: SocketAddr, file: File, value: Value, own: bool) {
        let Some(peer) = self.peers.get_mut(&keeper) else { return };
        if own || peer.values.get(&file).is_none_or(|(stamp, _)| *stamp < value.0) {
            peer.values.insert(file, value);
        }
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
            let values = self.peers.values().filter_map(|peer| peer.values.get(&file));
            if let Some(newest) = values.max_by_key(|(stamp, _)| *stamp).cloned() {
                self.store(who, file, newest, true);
            }
        }
    }
}

/// What is to happen later.
#[derive(Clone, Debug)]
enum Plan {
    Ask { file: File, to_play: bool, began: Time },
    Got { file: File, to_play: bool, owners: Option<Vec<Owner>> },
    Store { keeper: SocketAddr, file: File, value: Value },
    Put(File),
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
                    let (took, owners) = dht.borrow_mut().get(self.addr, file, spent);
                    self.plan(now + took.max(LOCAL), Plan::Got { file, to_play, owners });
                }
                Plan::Got { file, to_play, owners } => {
                    self.node.list_got(now, file, to_play, owners.as_deref());
                }
                Plan::Store { keeper, file, value } => {
                    let own = keeper == self.addr;
                    dht.borrow_mut().store(keeper, file, value, own);
                }
                Plan::Put(file) => self.node.list_put(now, file),
                Plan::Repair => {
                    dht.borrow_mut().repair(self.addr);
                    self.plan(now + REPAIR, Plan::Repair);
                }
            }
        }
        while let Some(wish) = self.node.list_wish() {
            match wish {
                ListWish::Get { file, to_play } => {
                    let own = dht.borrow().own(self.addr, file);
                    if own.is_some() {
                        self.plan(now + LOCAL, Plan::Got { file, to_play, owners: own });
                    } else {
                        let first = dht.borrow_mut().hop(self.addr).max(LOCAL);
                        self.plan(now + first, Plan::Ask { file, to_play, began: now });
                    }
                }
                ListWish::Put { file, owners } => {
                    let took = dht.borrow_mut().hop(self.addr).max(LOCAL);
                    let value = (now, owners);
                    let mut network = dht.borrow_mut();
                    for keeper in network.keepers(file) {
                        let way = network.round_trip(self.addr, keeper) / 2;
                        let lost = keeper != self.addr && network.chance() < network.loss;
                        if !lost {
                            let value = value.clone();
                            self.plan(now + took + way, Plan::Store { keeper, file, value });
                        }
                    }
                    self.plan(now + took, Plan::Put(file));
                }
            }
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
