//! Keeps the table fresh: finds the network, verifies who is heard of, asks
//! those who fell silent, looks around now and then. Apart from looking around
//! and from what is urgent it sends one query in five seconds.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::Dht;
use super::key::{Contact, Key};
use super::krpc::Query;
use super::lookup::K;
use super::martian::is_martian;
use super::rpc::Purpose;
use crate::rng::Rng;
use crate::time::Time;

/// Between two queries of upkeep.
const PERIOD: Duration = Duration::from_secs(5);
/// Before the second look around: who was the first to come knows his
/// neighbours only by then.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// Between two lookups of our own id: while few nodes are known, and later.
const LOOK_AROUND: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(1_800));
/// Buckets that are inhabited where many nodes are known.
const DEEP: usize = 4;
/// Whoever asks while we know fewer nodes than this is verified at once.
const FEW: usize = 64;
/// Others are verified after this long: by then a NAT has forgotten those whom
/// only we could reach.
const PATIENCE: Duration = Duration::from_secs(90);
/// Verifications under way, at most.
const VERIFYING: usize = 16;
/// Nodes that wait to be verified, at most.
const WAITING: usize = 64;
/// Places where nodes may be that are remembered, at most.
const PLACES: usize = 256;
/// Of these, how many are asked at a time.
const AT_A_TIME: usize = 8;
/// The first time to wait between tries to find the network, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Nobody is known: ask the places that are.
    Join,
    /// One query of upkeep.
    Upkeep,
    /// Look up our own id.
    LookAround,
    /// The limit of queries lets lookups go on.
    Limit,
}

/// The way into the network: where nodes may be.
#[derive(Debug, Default)]
pub(super) struct Way {
    places: Vec<SocketAddr>,
    /// Which is asked next.
    next: usize,
    /// Tries in a row.
    tries: u32,
}

/// Who was heard of and waits to be verified.
#[derive(Debug, Default)]
pub(super) struct Doorstep {
    /// Each with the time from which on it may be asked.
    waiting: Vec<(Time, Contact)>,
    /// Whose turn it is: a newcomer's, or one of the table's.
    newcomer: bool,
}

impl Doorstep {
    /// When it is full, chance decides who goes: a flood has no better odds
    /// than its share.
    fn put(&mut self, rng: &mut Rng, from: Time, contact: Contact) {
        if self.waiting.iter().any(|(_, c)| c.addr == contact.addr || c.id == contact.id) {
            return;
        }
        if self.waiting.len() >= WAITING {
            self.waiting.swap_remove(rng.below(WAITING));
        }
        self.waiting.push((from, contact));
    }

    fn take(&mut self, now: Time) -> Option<Contact> {
        let due = self.waiting.iter().position(|(from, _)| *from <= now)?;
        Some(self.waiting.remove(due).1)
    }
}

impl Dht {
    pub(super) fn begin_upkeep(&mut self) {
        for (timer, first) in [(Timer::Upkeep, PERIOD), (Timer::LookAround, FIRST_LOOK)] {
            let first = self.rng.jitter(first, 20);
            self.arm(timer, self.now + first);
        }
    }

    pub(super) fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Join => self.try_to_join(),
            Timer::LookAround => self.explore_own(),
            Timer::Limit => self.advance_all(),
            Timer::Upkeep => {
                self.keep_up();
                let next = self.rng.jitter(PERIOD, 20);
                self.arm(Timer::Upkeep, self.now + next);
            }
        }
    }

    /// Learns of places where nodes may be, and asks them.
    pub(super) fn learn_way(&mut self, places: &[SocketAddr]) {
        let known = self.way.places.len();
        for place in places {
            let is_new = !self.way.places.contains(place) && !is_martian(*place, self.listen);
            if is_new && self.way.places.len() < PLACES {
                self.way.places.push(*place);
            }
        }
        let new = self.way.places.len() - known;
        // Who is in touch needs no way, but whom he hears of may be new to him.
        if new == 0 && !self.is_lost() {
            return;
        }
        if new > 0 {
            self.way.next = known;
        }
        self.way.tries = 0;
        self.ask_the_way(if new > 0 { new } else { AT_A_TIME });
        self.look_for_the_way();
    }

    /// Whether nobody is known, but somebody may be.
    pub(super) fn is_lost(&self) -> bool {
        self.table.len() == 0 && !self.way.places.is_empty()
    }

    /// If we are lost, sees to it that the places that we know are asked.
    pub(super) fn look_for_the_way(&mut self) {
        if self.is_lost() && self.timers.at(Timer::Join).is_none() {
            let wait = RETRY.0.saturating_mul(1 << self.way.tries.min(6)).min(RETRY.1);
            let wait = self.rng.jitter(wait, 20);
            self.arm(Timer::Join, self.now + wait);
        }
    }

    fn try_to_join(&mut self) {
        if self.is_lost() {
            self.way.tries += 1;
            self.ask_the_way(AT_A_TIME);
            self.look_for_the_way();
        }
    }

    /// Asks the next places, at most so many.
    fn ask_the_way(&mut self, most: usize) {
        let count = self.way.places.len();
        for _ in 0..count.min(most).min(AT_A_TIME) {
            let place = self.way.places.get(self.way.next % count).copied();
            self.way.next = (self.way.next + 1) % count;
            let Some(place) = place.filter(|place| !self.rpc.is_asking(*place)) else { continue };
            let query = Query::FindNode { target: self.id, want: self.want() };
            // What is not sent for the limit's sake is sent with the next try.
            self.query(place, None, Purpose::Join, query).ok();
        }
    }

    /// A place answered: we look for our neighbours from there.
    pub(super) fn joined(&mut self, node: Contact, nodes: &[Contact]) {
        self.way.tries = 0;
        let own = self.own_lookup.and_then(|op| self.searches.get_mut(&op));
        if let Some(search) = own {
            search.lookup.seed(nodes.iter().copied().chain([node]));
            return self.own_lookup.into_iter().for_each(|op| self.advance(op));
        }
        let lately = self.explored.is_some_and(|at| self.now.since(at) < FIRST_LOOK);
        if self.table.len() < K || !lately {
            self.explore_own();
        }
    }

    /// Looks up our own id, so that our neighbours and we know each other.
    pub(super) fn explore_own(&mut self) {
        let shallow = self.table.depth() < DEEP;
        let wait = if shallow { LOOK_AROUND.0 } else { LOOK_AROUND.1 };
        let wait = self.rng.jitter(wait, 20);
        self.arm(Timer::LookAround, self.now + wait);
        if self.own_lookup.is_none() && self.table.len() > 0 {
            self.explored = Some(self.now);
            self.explore();
        }
        // Islands that lost sight of each other meet again where they began.
        if shallow {
            self.ask_the_way(AT_A_TIME);
        }
    }

    /// Somebody asked us something: perhaps he belongs into the table.
    pub(super) fn on_asker(&mut self, node: Contact) {
        self.table.on_query(self.now, node);
        if !self.table.wants(node) || self.rpc.is_asking(node.addr) {
            return;
        }
        let urgent = self.table.len() < FEW || self.table.is_neighbour(node.id);
        if urgent && self.rpc.count(Purpose::Verify) < VERIFYING {
            self.verify(node);
        } else {
            self.doorstep.put(&mut self.rng, self.now + PATIENCE, node);
        }
    }

    /// Somebody told of these.
    pub(super) fn hear_of(&mut self, nodes: &[Contact]) {
        for node in nodes {
            if self.table.wants(*node) {
                self.doorstep.put(&mut self.rng, self.now, *node);
            }
        }
    }

    fn verify(&mut self, node: Contact) {
        // Beyond the limit it is forgotten: it will be heard of again.
        self.query(node.addr, Some(node.id), Purpose::Verify, Query::Ping).ok();
    }

    fn keep_up(&mut self) {
        self.doorstep.newcomer ^= true;
        if !(self.doorstep.newcomer && self.greet() || self.ask_silent()) {
            self.greet();
        }
    }

    /// Verifies one who waits for it.
    fn greet(&mut self) -> bool {
        while let Some(node) = self.doorstep.take(self.now) {
            if self.table.wants(node) {
                self.verify(node);
                return true;
            }
        }
        false
    }

    /// Asks one who was not heard of for long, or in whose bucket there may be
    /// more, for others like him.
    fn ask_silent(&mut self) -> bool {
        let (node, target): (Contact, Key) = if let Some(node) = self.table.questionable(self.now) {
            (node, self.table.id_beside(node.id, &mut self.rng))
        } else if let Some(id) = self.table.unexplored(self.now, &mut self.rng)
            && let Some(node) = self.table.closest(id, 1).first()
        {
            (*node, id)
        } else {
            return false;
        };
        let query = Query::FindNode { target, want: self.want() };
        self.query(node.addr, Some(node.id), Purpose::Upkeep, query).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::krpc::{Answer, Body, Packet, emit, parse};
    use crate::dht::{DhtConfig, Effect};

    const START: Time = Time::from_secs(1_000);

    fn addr(n: u8) -> SocketAddr {
        ([10, 0, n, 1], 4_000).into()
    }

    /// Answers every query as so many nodes would, each of which tells of all
    /// others. Returns how many there were.
    fn answer(dht: &mut Dht, now: Time, count: u8) -> usize {
        let id = |n: u8| Key([n; 20]);
        let nodes: Vec<Contact> =
            (1..=count).map(|n| Contact { id: id(n), addr: addr(n) }).collect();
        let mut queries = 0;
        while let Some(effect) = dht.poll() {
            let Effect::Send { to, bytes } = effect else { continue };
            let Ok(Packet { t, ns, body: Body::Query { .. } }) = parse(&bytes) else { continue };
            let n = nodes.iter().find(|n| n.addr == to).unwrap();
            let answer = Answer { nodes: nodes.clone(), ..Answer::default() };
            let body = Body::Answer { id: n.id, ip: None, answer };
            dht.receive(now, to, &emit(&Packet { t, ns, body }));
            queries += 1;
        }
        queries
    }

    #[test]
    fn hearing_of_the_same_places_again_and_again_costs_nothing() {
        let mut dht = Dht::new(DhtConfig::default(), addr(0), Rng::new([1; 32]), START);
        let places: Vec<SocketAddr> = (1..=20).map(addr).collect();
        let mut queries = 0;
        for beat in 0..180 {
            let now = START + Duration::from_secs(10) * beat;
            dht.join(now, &places);
            dht.wake(now);
            queries += answer(&mut dht, now, 20);
        }
        // Half an hour of upkeep, a query in five seconds, and some looks around.
        assert!(queries < 360 + 200, "{queries}");
    }

    #[test]
    fn who_knows_nobody_asks_the_same_places_again() {
        let mut dht = Dht::new(DhtConfig::default(), addr(0), Rng::new([1; 32]), START);
        for beat in 0..3 {
            let now = START + Duration::from_secs(10) * beat;
            dht.join(now, &[addr(1)]);
            dht.wake(now);
            let sent = core::iter::from_fn(|| dht.poll()).count();
            assert!(sent >= 1, "beat {beat}");
        }
    }
}
