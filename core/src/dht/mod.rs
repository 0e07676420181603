//! The distributed hash table: who holds what, found in a few questions
//! (Kademlia, IPTPS 2002), in the words of BitTorrent's Mainline DHT (BEP 5).
//!
//! [`Dht`] is a part like the others: it is told the time and handed datagrams,
//! and wants datagrams sent ([`Effect`]). [`node::DhtNode`] is a machine around
//! it. A record is the address of somebody who announced himself under a key;
//! announcing adds to a set that the nodes closest to the key keep, so nobody
//! can overwrite another's record.
//!
//! One `Dht` knows one family of addresses, that of its own.

mod address;
mod bencode;
pub mod bloom;
#[cfg(any(test, feature = "check"))]
pub mod check;
pub mod config;
pub mod key;
pub mod krpc;
pub mod limiter;
mod lookup;
mod martian;
pub mod node;
mod operate;
mod respond;
mod rpc;
mod search;
mod serve;
pub mod store;
mod table;
pub mod token;
mod upkeep;
mod votes;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

pub use self::config::DhtConfig;
pub use self::key::{Contact, Key};
use self::krpc::{Body, Packet, Refused};
use self::limiter::Limiter;
use self::rpc::Rpc;
pub use self::search::{First, Outcome, Pace};
use self::search::{Search, Wish};
use self::store::Store;
use self::table::Table;
use self::token::Tokens;
use self::upkeep::{Doorstep, Timer, Way};
use self::votes::Votes;
use crate::rng::Rng;
use crate::time::Time;
use crate::timer::TimerQueue;

/// Contacts worth to be saved, at most.
const SAVED: usize = 200;

/// An operation of [`Dht::look_up`] or [`Dht::announce`]; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u64);

/// What a [`Dht`] wants, or tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a datagram.
    Send {
        /// Where to.
        to: SocketAddr,
        /// Its payload.
        bytes: Bytes,
    },
    /// Records that this operation did not find before.
    Found {
        /// The operation.
        op: OpId,
        /// The records.
        values: Vec<SocketAddr>,
    },
    /// An operation ended. Exactly one for each, and one for each time that it
    /// is confirmed after its end; none if it is cancelled.
    Done {
        /// The operation.
        op: OpId,
        /// How it went.
        outcome: Outcome,
    },
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DhtStats {
    /// Queries sent, second tries not counted.
    pub queries: u64,
    /// Queries sent a second time.
    pub retries: u64,
    /// Answers to our queries.
    pub answers: u64,
    /// Queries that nobody answered.
    pub failures: u64,
    /// Queries of others that were answered.
    pub served: u64,
    /// Datagrams that came in.
    pub received: u64,
    /// Of these, those that were not looked into further: malformed, of another
    /// network, unasked for, or beyond a limit.
    pub dropped: u64,
    /// Payload bytes that came in.
    pub bytes_in: u64,
    /// Payload bytes that went out.
    pub bytes_out: u64,
}

/// A node of the DHT.
#[derive(Debug)]
pub struct Dht {
    config: DhtConfig,
    listen: SocketAddr,
    id: Key,
    now: Time,
    rng: Rng,
    table: Table,
    rpc: Rpc,
    store: Store,
    tokens: Tokens,
    limiter: Limiter,
    votes: Votes,
    way: Way,
    doorstep: Doorstep,
    timers: TimerQueue<Timer>,
    searches: BTreeMap<OpId, Search>,
    waiting: VecDeque<(OpId, Key, Pace, Option<Wish>)>,
    next_op: u64,
    /// The lookup of our own id, while it is under way.
    own_lookup: Option<OpId>,
    /// When the last one began.
    explored: Option<Time>,
    /// How far apart nodes are, as the latest lookups saw it.
    gaps: VecDeque<f64>,
    effects: VecDeque<Effect>,
    stats: DhtStats,
}

impl Dht {
    /// A node that knows nobody. `listen` is the endpoint that it sends from. A
    /// node has one family (BEP 32): that of `listen`, but IPv4 for one that is
    /// everywhere on its machine.
    pub fn new(config: DhtConfig, listen: SocketAddr, mut rng: Rng, now: Time) -> Self {
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, listen.port()));
        let listen = if listen.ip().is_unspecified() { everywhere } else { listen };
        let id = config.id.unwrap_or_else(|| Key::for_address(listen.ip(), &mut rng));
        let mut dht = Self {
            id,
            now,
            table: Table::new(id, config.hardened),
            rpc: Rpc::default(),
            store: Store::new(id, config.hardened),
            tokens: Tokens::new(&mut rng, now),
            limiter: Limiter::default(),
            votes: Votes::default(),
            way: Way::default(),
            doorstep: Doorstep::default(),
            timers: TimerQueue::default(),
            searches: BTreeMap::new(),
            waiting: VecDeque::new(),
            next_op: 0,
            own_lookup: None,
            explored: None,
            gaps: VecDeque::new(),
            effects: VecDeque::new(),
            stats: DhtStats::default(),
            config,
            listen,
            rng,
        };
        dht.begin_upkeep();
        dht
    }

    /// Learns where other nodes may be: bootstrap nodes, contacts of an earlier
    /// run. They are asked at once, and again whenever nobody else is known.
    /// At most 256 are remembered.
    pub fn join(&mut self, now: Time, addresses: &[SocketAddr]) {
        self.pass(now);
        self.learn_way(addresses);
    }

    /// A datagram came in.
    pub fn receive(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        self.pass(now);
        self.stats.received += 1;
        self.stats.bytes_in += bytes.len() as u64;
        let ours = |ns: Option<[u8; 8]>| self.config.network.is_none_or(|own| ns == Some(own));
        let handled = match krpc::parse(bytes) {
            _ if martian::is_martian(from, self.listen) => false,
            Ok(Packet { ns, .. }) | Err(Refused::Answer { ns, .. }) if !ours(ns) => false,
            Err(Refused::Drop) => false,
            Err(Refused::Answer { t, code, text, .. }) => self.refuse(from, t, code, text),
            Ok(Packet { t, body, .. }) => match body {
                Body::Query { id, read_only, query } => {
                    self.on_query(from, t, id, read_only, query, bytes.len())
                }
                Body::Answer { id, ip, answer } => self.on_answer(from, &t, id, ip, answer),
                Body::Error { id, .. } => self.on_error(from, &t, id),
            },
        };
        self.stats.dropped += u64::from(!handled);
        self.begin_waiting();
    }

    /// Time has passed. May be called early, late, or twice.
    pub fn wake(&mut self, now: Time) {
        self.pass(now);
        self.store.expire(self.now);
        while let Some(overdue) = self.rpc.overdue(self.now) {
            self.on_overdue(overdue);
        }
        while let Some(timer) = self.timers.pop_due(self.now) {
            self.on_timer(timer);
        }
        self.end_late();
        self.begin_waiting();
    }

    /// When it wants to be woken.
    pub fn deadline(&mut self) -> Option<Time> {
        let searches = self.searches.values().map(Search::deadline).min();
        let at = [self.timers.first(), self.rpc.next(), searches, self.store.deadline()];
        at.into_iter().flatten().min().map(|at| at.max(self.now + Duration::from_micros(1)))
    }

    /// The next thing that it wants or tells.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Looks up the records under a key: ours, then those of the nodes closest
    /// to it, each batch as it comes.
    pub fn look_up(&mut self, now: Time, key: Key, pace: Pace) -> OpId {
        self.pass(now);
        self.begin(key, pace, None)
    }

    /// Looks a key up and puts a record under it: our address as each storing
    /// node sees it, with this port, or with the datagrams' if it is 0. It
    /// lives for 60 s to an hour; a life of zero withdraws it.
    pub fn announce(&mut self, now: Time, key: Key, port: u16, life: Duration) -> OpId {
        self.pass(now);
        // A record is to be found wherever it may be.
        let pace = if life.is_zero() { Pace::Hurry } else { Pace::Calm };
        self.begin(key, pace, Some(Wish { port, life }))
    }

    /// Announces under the key that this operation looked up, without asking
    /// anew: while it runs, or within four minutes of its end. Its end is told
    /// once more. Returns `false` if the operation is not known any more; then
    /// [`announce`](Self::announce) does the same.
    #[must_use]
    pub fn confirm(&mut self, now: Time, op: OpId, port: u16, life: Duration) -> bool {
        self.pass(now);
        self.add_wish(op, Wish { port, life })
    }

    /// Ends an operation; no more is told of it. What it has announced stays.
    pub fn cancel(&mut self, now: Time, op: OpId) {
        self.pass(now);
        self.waiting.retain(|(waiting, ..)| *waiting != op);
        self.searches.remove(&op);
        self.begin_waiting();
    }

    /// Nodes worth remembering on disk, to [`join`](Self::join) by; at most 200.
    pub fn contacts(&self) -> Vec<Contact> {
        let mut contacts = self.table.contacts();
        contacts.truncate(SAVED);
        contacts
    }

    /// About how many nodes the network has, ourselves included: those we know,
    /// or, where there may be more, as many as fit their distances.
    pub fn size_estimate(&self) -> usize {
        let known = self.table.len() + 1;
        if !self.table.is_crowded() || self.gaps.is_empty() {
            return known;
        }
        let mean = self.gaps.iter().sum::<f64>() / self.gaps.len() as f64;
        known.max((1.0 / mean) as usize)
    }

    /// Our own endpoint as others see it: what most say, else the one that we
    /// were made with, if that is one.
    pub fn external(&self) -> Option<SocketAddr> {
        let own = Some(self.listen).filter(|listen| !listen.ip().is_unspecified());
        self.votes.endpoint().or(own)
    }

    /// Our id. It changes when others agree on an address that it does not fit
    /// (BEP 42).
    pub fn id(&self) -> Key {
        self.id
    }

    /// How many nodes the table holds.
    pub fn nodes(&self) -> usize {
        self.table.len()
    }

    /// How many records are stored here.
    pub fn records(&self) -> usize {
        self.store.len()
    }

    /// Counters since the start.
    pub fn stats(&self) -> DhtStats {
        self.stats
    }

    fn pass(&mut self, now: Time) {
        self.now = self.now.max(now.min(Time::LAST));
    }

    fn send(&mut self, to: SocketAddr, bytes: Bytes) {
        self.stats.bytes_out += bytes.len() as u64;
        self.effects.push_back(Effect::Send { to, bytes });
    }

    /// Arms a timer; always later than now, so that no handler can wake itself
    /// without time passing.
    fn arm(&mut self, timer: Timer, at: Time) {
        self.timers.arm(timer, at.max(self.now + Duration::from_micros(1)));
    }
}
