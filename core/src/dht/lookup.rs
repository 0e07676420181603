//! A lookup of the nodes closest to a key, as a value: whom to ask next, and
//! what the answers mean. It knows no clock and no socket (the shape of the
//! iterators of rust-libp2p's Kademlia).
//!
//! The sixteen closest candidates are pursued. A node that does not answer in
//! the usual time is stalled: another takes its place, but its answer counts
//! when it comes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::address::network;
use super::key::{Contact, Distance, Key};

/// Nodes that hold a record, and nodes in an answer (BEP 5).
pub(super) const K: usize = 8;
/// How many of the closest candidates are pursued.
pub(super) const WIDTH: usize = 16;
/// Candidates that are kept, at most.
const CANDIDATES: usize = 100;
/// New candidates that one answer may bring.
const NEW: usize = 8;
/// Nodes asked by one lookup, at most.
pub(super) const ASKED: usize = 96;
/// Candidates of one subnet, at most, where that is hardened.
const NEIGHBOURS: usize = 2;

/// What a lookup wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask this node.
    Ask(Contact),
    /// Wait for those that were asked.
    Wait,
    /// There is nobody to ask or to wait for.
    Finished,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Waiting,
    Stalled,
    /// With the token that it gave.
    Answered(Option<Bytes>),
    Failed,
}

#[derive(Clone, Debug)]
struct Candidate {
    contact: Contact,
    state: State,
}

impl Candidate {
    fn is_outstanding(&self) -> bool {
        matches!(self.state, State::Waiting | State::Stalled)
    }
}

/// A lookup.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    target: Key,
    own: Key,
    alpha: usize,
    /// How many of the closest are pursued.
    width: usize,
    hardened: bool,
    /// Closest first. Two that claim the same id are both asked.
    candidates: BTreeMap<(Distance, SocketAddr), Candidate>,
    /// Which candidate is at an endpoint: nobody is asked twice.
    endpoints: BTreeMap<SocketAddr, Distance>,
    asked: usize,
}

impl Lookup {
    /// A lookup of `target` by the node `own` that asks `alpha` nodes at a
    /// time. `hardened` allows only two candidates of one subnet.
    pub(super) fn new(target: Key, own: Key, alpha: usize, hardened: bool) -> Self {
        Self {
            target,
            own,
            alpha,
            width: WIDTH,
            hardened,
            candidates: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            asked: 0,
        }
    }

    /// Pursues so many of the closest only.
    pub(super) fn narrow(mut self, width: usize) -> Self {
        self.width = width;
        self
    }

    /// What is looked for.
    pub(super) fn target(&self) -> Key {
        self.target
    }

    /// Candidates known from elsewhere.
    pub(super) fn seed(&mut self, contacts: impl IntoIterator<Item = Contact>) {
        for contact in contacts {
            self.add(contact);
        }
    }

    /// What to do next. Who is named here counts as asked.
    pub(super) fn next(&mut self) -> Next {
        let waiting = self.candidates.values().filter(|c| c.state == State::Waiting).count();
        let fresh = self.pursued().find(|c| c.state == State::Fresh).map(|c| c.contact);
        match fresh {
            Some(contact) if waiting < self.alpha => {
                self.asked += 1;
                self.set(contact.addr, State::Waiting);
                Next::Ask(contact)
            }
            None if !self.hopeful().any(Candidate::is_outstanding) => Next::Finished,
            _ => Next::Wait,
        }
    }

    /// Who was named by [`next`](Self::next) could not be asked now.
    pub(super) fn on_not_asked(&mut self, addr: SocketAddr) {
        if self.outstanding(addr).is_some() {
            self.asked = self.asked.saturating_sub(1);
            self.set(addr, State::Fresh);
        }
    }

    /// A node that was asked gave its token and nodes that are closer.
    pub(super) fn on_answer(&mut self, addr: SocketAddr, token: Option<Bytes>, nodes: &[Contact]) {
        let Some(candidate) = self.outstanding(addr) else { return };
        let id = candidate.contact.id;
        // Somebody else proved that id already.
        if self.answered().any(|c| c.id == id) {
            return self.set(addr, State::Failed);
        }
        self.set(addr, State::Answered(token));
        let mut nodes: Vec<Contact> = nodes.to_vec();
        nodes.sort_by_key(|node| node.id.distance(self.target));
        let added = nodes.into_iter().filter(|node| self.add(*node));
        added.take(NEW).for_each(drop);
    }

    /// A node that was asked takes longer than is usual. Says whether it is one
    /// of the eight closest, which are worth a second try.
    pub(super) fn on_stall(&mut self, addr: SocketAddr) -> bool {
        if self.outstanding(addr).is_none() {
            return false;
        }
        self.set(addr, State::Stalled);
        self.hopeful().take(K).any(|c| c.contact.addr == addr)
    }

    /// A node that was asked will not answer, or answered nonsense.
    pub(super) fn on_failure(&mut self, addr: SocketAddr) {
        if self.outstanding(addr).is_some() {
            self.set(addr, State::Failed);
        }
    }

    /// The eight closest that are not stalled have answered: they may be given
    /// the record.
    pub(super) fn is_ready(&self) -> bool {
        let mut brisk = self.pursued().take(K).peekable();
        brisk.peek().is_some() && brisk.all(|c| matches!(c.state, State::Answered(_)))
    }

    /// All there is to learn in the usual time is learnt: eight nodes have
    /// answered, and who has not is stalled or farther than sixteen others.
    pub(super) fn is_settled(&self) -> bool {
        let mut answered = 0;
        for candidate in self.pursued() {
            if !matches!(candidate.state, State::Answered(_)) {
                return false;
            }
            answered += 1;
        }
        answered >= K || !self.hopeful().any(Candidate::is_outstanding)
    }

    /// Who answered, closest first.
    pub(super) fn answered(&self) -> impl Iterator<Item = Contact> + '_ {
        let answered = |c: &&Candidate| matches!(c.state, State::Answered(_));
        self.candidates.values().filter(answered).map(|c| c.contact)
    }

    /// So many of the closest that gave a token, closest first.
    pub(super) fn givers(&self, most: usize) -> impl Iterator<Item = (Contact, Bytes)> + '_ {
        let giver = |c: &Candidate| match &c.state {
            State::Answered(Some(token)) => Some((c.contact, token.clone())),
            _ => None,
        };
        self.candidates.values().filter_map(giver).take(most)
    }

    /// Whether we are one of the eight closest ourselves, as far as is known.
    pub(super) fn is_home(&self) -> bool {
        let own = self.own.distance(self.target);
        self.answered().take_while(|c| c.id.distance(self.target) < own).count() < K
    }

    /// How many nodes were asked.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// All that may still be of use, closest first.
    fn hopeful(&self) -> impl Iterator<Item = &Candidate> {
        let spent = self.asked >= ASKED;
        self.candidates.values().filter(move |c| match c.state {
            State::Failed => false,
            State::Fresh => !spent,
            _ => true,
        })
    }

    /// The closest that are brisk: who is stalled holds no place, lest made-up
    /// nodes hold them all.
    fn pursued(&self) -> impl Iterator<Item = &Candidate> {
        self.hopeful().filter(|c| c.state != State::Stalled).take(self.width)
    }

    fn outstanding(&self, addr: SocketAddr) -> Option<&Candidate> {
        let distance = *self.endpoints.get(&addr)?;
        let candidate = self.candidates.get(&(distance, addr))?;
        candidate.is_outstanding().then_some(candidate)
    }

    fn set(&mut self, addr: SocketAddr, state: State) {
        let Some(distance) = self.endpoints.get(&addr) else { return };
        if let Some(candidate) = self.candidates.get_mut(&(*distance, addr)) {
            candidate.state = state;
        }
    }

    /// Says whether the contact is a new candidate.
    fn add(&mut self, contact: Contact) -> bool {
        let Contact { id, addr } = contact;
        if id == self.own || self.endpoints.contains_key(&addr) || self.is_crowded(addr) {
            return false;
        }
        let distance = id.distance(self.target);
        if self.candidates.len() >= CANDIDATES {
            // The farthest that was not asked makes room, unless that is the new one.
            let fresh = |(_, c): &(&_, &Candidate)| c.state == State::Fresh;
            let Some(farthest) = self.candidates.iter().rev().find(fresh).map(|(at, _)| *at) else {
                return false;
            };
            if farthest < (distance, addr) {
                return false;
            }
            self.candidates.remove(&farthest);
            self.endpoints.remove(&farthest.1);
        }
        self.endpoints.insert(addr, distance);
        self.candidates.insert((distance, addr), Candidate { contact, state: State::Fresh });
        true
    }

    fn is_crowded(&self, addr: SocketAddr) -> bool {
        let net = subnet(addr);
        let neighbours = self.hopeful().filter(|c| subnet(c.contact.addr) == net);
        let hardened = self.hardened && !addr.ip().is_loopback();
        hardened && neighbours.take(NEIGHBOURS).count() == NEIGHBOURS
    }
}

/// What one user may have many addresses of: an IPv4 /24, an IPv6 /64.
pub(super) fn subnet(addr: SocketAddr) -> IpAddr {
    network(addr.ip(), 24, 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::collections::{BTreeSet, VecDeque};
    use quickcheck::{Arbitrary, Gen, quickcheck};

    /// How a node behaves.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Manner {
        /// Tells the eight closest that it knows of.
        Honest,
        /// Answers late.
        Slow,
        Dead,
        /// Makes up nodes, each closer than the last.
        Luring,
        /// Tells of nodes that are not there.
        Bogus,
        /// Tells everything twice, and of us, and of itself.
        Babbling,
        Silent,
    }

    /// A network of random nodes, and what they do.
    #[derive(Clone, Debug)]
    struct Network {
        own: Contact,
        target: Key,
        nodes: Vec<(Contact, Manner)>,
        /// Who of the others a node knows: of `n` nodes, one in this many.
        knows: u64,
        alpha: usize,
        seed: u8,
    }

    fn addr(n: usize) -> SocketAddr {
        let [.., a, b, c] = n.to_be_bytes();
        ([10, a, b, c], 4_000).into()
    }

    impl Network {
        fn new(g: &mut Gen, manners: &[Manner]) -> Self {
            let mut rng = Rng::new(core::array::from_fn(|_| u8::arbitrary(g)));
            let mut contact = |n| Contact { id: Key::random(&mut rng), addr: addr(n << 8) };
            let size = 1 + usize::arbitrary(g) % 150;
            Self {
                own: contact(0),
                target: contact(0).id,
                nodes: (1..=size).map(|n| (contact(n), *g.choose(manners).unwrap())).collect(),
                knows: 1,
                alpha: 1 + usize::arbitrary(g) % 8,
                seed: u8::arbitrary(g),
            }
        }

        /// The closest of those that node `n` knows.
        fn known(&self, n: usize) -> Vec<Contact> {
            // A hash, for want of a better chance: whom a node knows stays the same.
            let mixed = |m: usize| (n << 16 ^ m) as u64 * 0x9e37_79b9 % 1_000_003;
            let knows = |m: usize| mixed(m).is_multiple_of(self.knows);
            let others = self.nodes.iter().enumerate().filter(|(m, _)| *m != n && knows(*m));
            let mut known: Vec<Contact> = others.map(|(_, (contact, _))| *contact).collect();
            known.sort_by_key(|c| c.id.distance(self.target));
            known.truncate(K);
            known
        }

        fn closest(&self, good: impl Fn(Manner) -> bool) -> Vec<Contact> {
            let good = self.nodes.iter().filter(|(_, manner)| good(*manner));
            let mut all: Vec<Contact> = good.map(|(contact, _)| *contact).collect();
            all.sort_by_key(|c| c.id.distance(self.target));
            all.truncate(K);
            all
        }

        fn answer(&self, n: usize, rng: &mut Rng, made_up: &mut usize) -> Vec<Contact> {
            let Some(&(contact, manner)) = self.nodes.get(n) else { return Vec::new() };
            let mut invent = |id| {
                *made_up += 1;
                Contact { id, addr: addr(1 << 20 | *made_up << 8) }
            };
            match manner {
                Manner::Luring => {
                    let closer = |i: usize| {
                        let Key(mut id) = self.target;
                        id[19 - i % 8] ^= 1 + rng.below(255) as u8;
                        Key(id)
                    };
                    (0..16).map(closer).map(invent).collect()
                }
                Manner::Bogus => (0..16).map(|_| invent(Key::random(rng))).collect(),
                Manner::Babbling => {
                    let known = self.known(n);
                    [&known[..], &known[..], &[self.own, contact]].concat()
                }
                _ => self.known(n),
            }
        }
    }

    /// Runs a lookup to its end; asserts what holds whatever others do. Returns
    /// it, with the number of steps.
    fn run(network: &Network, seeds: &[Contact]) -> (Lookup, usize) {
        let mut lookup = Lookup::new(network.target, network.own.id, network.alpha, false);
        lookup.seed(seeds.iter().copied());
        let mut rng = Rng::new([network.seed; 32]);
        let (mut asked, mut under_way) = (BTreeSet::new(), VecDeque::new());
        let (mut stalled, mut made_up, mut steps) = (0, 0, 0);
        loop {
            steps += 1;
            assert!(steps < 10 * ASKED, "it goes on and on");
            assert!(lookup.candidates.len() <= CANDIDATES);
            match lookup.next() {
                Next::Finished => break,
                Next::Ask(contact) => {
                    assert!(asked.insert(contact.addr), "{contact:?} was asked twice");
                    assert_ne!(contact.id, network.own.id, "it asked itself");
                    assert!(asked.len() <= ASKED);
                    under_way.push_back((contact.addr, false));
                    assert!(under_way.len() <= network.alpha + stalled);
                }
                Next::Wait => {
                    let one = rng.below(under_way.len());
                    let (addr, late) = under_way.remove(one).expect("it waits for somebody");
                    stalled -= usize::from(late);
                    let n = network.nodes.iter().position(|(c, _)| c.addr == addr);
                    let manner = n.map_or(Manner::Dead, |n| network.nodes[n].1);
                    if !late && matches!(manner, Manner::Slow | Manner::Dead) {
                        lookup.on_stall(addr);
                        stalled += 1;
                        under_way.push_back((addr, true));
                    } else if manner == Manner::Dead {
                        lookup.on_failure(addr);
                    } else if manner == Manner::Silent {
                        lookup.on_answer(addr, None, &[]);
                    } else {
                        let nodes = network.answer(n.unwrap(), &mut rng, &mut made_up);
                        let token = Some(Bytes::copy_from_slice(b"token"));
                        lookup.on_answer(addr, token, &nodes);
                    }
                }
            }
        }
        (lookup, steps)
    }

    /// Everybody may be anything, and a few are known at the start.
    #[derive(Clone, Debug)]
    struct Wild(Network);

    impl Arbitrary for Wild {
        fn arbitrary(g: &mut Gen) -> Self {
            use Manner::{Babbling, Bogus, Dead, Honest, Luring, Silent, Slow};
            let knows = 1 + u64::arbitrary(g) % 6;
            let all = [Honest, Slow, Dead, Luring, Bogus, Babbling, Silent];
            Self(Network { knows, ..Network::new(g, &all) })
        }
    }

    /// Everybody is honest, some are slow.
    #[derive(Clone, Debug)]
    struct Fair(Network);

    impl Arbitrary for Fair {
        fn arbitrary(g: &mut Gen) -> Self {
            Self(Network::new(g, &[Manner::Honest, Manner::Honest, Manner::Slow]))
        }
    }

    fn first(network: &Network, n: usize) -> Vec<Contact> {
        network.nodes.iter().take(n).map(|(contact, _)| *contact).collect()
    }

    quickcheck! {
        fn whatever_others_answer_it_ends_and_keeps_to_its_bounds(wild: Wild) -> bool {
            let seeds = first(&wild.0, 16);
            let (lookup, _) = run(&wild.0, &seeds);
            lookup.is_settled() && lookup.asked() >= seeds.len().min(1)
        }

        fn among_honest_nodes_it_finds_the_closest(fair: Fair) -> bool {
            let (lookup, _) = run(&fair.0, &first(&fair.0, 1));
            lookup.answered().take(K).eq(fair.0.closest(|_| true)) && lookup.is_ready()
        }

        fn a_record_is_given_to_the_closest_that_gave_a_token(wild: Wild) -> bool {
            let (lookup, _) = run(&wild.0, &first(&wild.0, 16));
            let gave = |c: &Contact| {
                let manner = wild.0.nodes.iter().find(|(n, _)| n == c).map(|(_, m)| *m);
                manner.is_some_and(|m| !matches!(m, Manner::Dead | Manner::Silent))
            };
            let closest: Vec<Contact> = lookup.answered().filter(gave).take(K).collect();
            lookup.givers(K).map(|(c, _)| c).eq(closest)
        }

        fn we_are_at_home_among_the_closest_eight(fair: Fair) -> bool {
            let (lookup, _) = run(&fair.0, &first(&fair.0, 1));
            let own = fair.0.own.id.distance(fair.0.target);
            let closer = fair.0.closest(|_| true).into_iter();
            lookup.is_home() == (closer.filter(|c| c.id.distance(fair.0.target) < own).count() < K)
        }

        fn a_liar_costs_no_more_than_eight_questions(fair: Fair, bogus: bool) -> bool {
            let (_, honest) = run(&fair.0, &first(&fair.0, 1));
            let mut network = fair.0.clone();
            let manner = if bogus { Manner::Bogus } else { Manner::Luring };
            let id = Key::random(&mut Rng::new([network.seed; 32]));
            network.nodes.push((Contact { id, addr: addr(9_999 << 8) }, manner));
            let liar = network.nodes.len() - 1;
            let seeds = [network.nodes[0].0, network.nodes[liar].0];
            let (lookup, _) = run(&network, &seeds);
            let found = lookup.answered().filter(|c| fair.0.closest(|_| true).contains(c));
            // Each question is a step to ask, one to stall, one to fail.
            found.count() == fair.0.closest(|_| true).len() && lookup.asked() <= honest + 1 + NEW
        }
    }

    /// Nine of ten of the closest are found although a quarter is dead, and
    /// although no two nodes know the same others.
    #[test]
    fn dead_nodes_hide_hardly_anybody() {
        let (mut g, mut found, mut all) = (Gen::new(100), 0, 0);
        for _ in 0..200 {
            use Manner::{Dead, Honest};
            let mut network = Network::new(&mut g, &[Honest, Honest, Honest, Dead]);
            network.knows = 3;
            let (lookup, _) = run(&network, &first(&network, 16));
            let closest = network.closest(|m| m == Honest);
            found += lookup.answered().filter(|c| closest.contains(c)).count();
            all += closest.len();
        }
        assert!(10 * found > 9 * all, "{found} of {all}");
    }

    fn close(n: u8) -> Contact {
        Contact { id: Key([n; 20]), addr: addr(usize::from(n) << 8) }
    }

    fn lookup(alpha: usize, hardened: bool) -> Lookup {
        Lookup::new(Key([0; 20]), Key([0xff; 20]), alpha, hardened)
    }

    #[test]
    fn it_is_ready_without_those_that_stall_and_still_hears_them() {
        let mut lookup = lookup(16, false);
        lookup.seed((1..=12).map(close));
        while let Next::Ask(_) = lookup.next() {}
        let token = || Some(Bytes::copy_from_slice(b"t"));
        assert!(!lookup.is_ready());
        (3..=10).for_each(|n| lookup.on_answer(close(n).addr, token(), &[]));
        assert!(!lookup.is_ready(), "1 and 2 may still answer in time");
        assert!(lookup.on_stall(close(1).addr) && lookup.on_stall(close(2).addr));
        assert!(lookup.is_ready() && !lookup.is_settled(), "11 and 12 are awaited");
        assert!(!lookup.on_stall(close(12).addr), "it is not worth a second try");
        lookup.on_stall(close(11).addr);
        assert!(lookup.is_settled());
        lookup.on_answer(close(1).addr, token(), &[]);
        let givers: Vec<Contact> = lookup.givers(K).map(|(c, _)| c).collect();
        let expected: Vec<Contact> = [1].into_iter().chain(3..=9).map(close).collect();
        assert_eq!(givers, expected);
    }

    #[test]
    fn nothing_is_ready_before_somebody_answered() {
        let mut empty = lookup(4, false);
        assert_eq!((empty.next(), empty.is_ready()), (Next::Finished, false));
        let mut lookup = lookup(4, false);
        lookup.seed((1..=3).map(close));
        while let Next::Ask(contact) = lookup.next() {
            lookup.on_stall(contact.addr);
        }
        assert!(!lookup.is_ready() && !lookup.is_settled());
        (1..=3).for_each(|n| lookup.on_failure(close(n).addr));
        assert_eq!((lookup.next(), lookup.is_ready()), (Next::Finished, false));
        assert!(lookup.is_settled());
    }

    #[test]
    fn who_could_not_be_asked_is_asked_later() {
        let mut lookup = lookup(1, false);
        lookup.seed([close(1)]);
        assert_eq!(lookup.next(), Next::Ask(close(1)));
        lookup.on_not_asked(close(1).addr);
        assert_eq!((lookup.asked(), lookup.next()), (0, Next::Ask(close(1))));
    }

    #[test]
    fn two_of_a_subnet_are_asked_where_that_is_hardened() {
        for (hardened, expected) in [(true, 3), (false, 10)] {
            let mut lookup = lookup(16, hardened);
            let neighbour = |n: u8| Contact { id: Key([n; 20]), addr: addr(usize::from(n)) };
            lookup.seed((1..=9).map(neighbour).chain([close(20)]));
            while let Next::Ask(_) = lookup.next() {}
            assert_eq!(lookup.asked(), expected);
        }
    }

    #[test]
    fn an_id_counts_once_however_many_claim_it() {
        let mut lookup = lookup(4, false);
        let (one, other) = (close(1), Contact { addr: addr(77 << 8), ..close(1) });
        lookup.seed([one, other]);
        while let Next::Ask(_) = lookup.next() {}
        lookup.on_answer(other.addr, None, &[]);
        lookup.on_answer(one.addr, None, &[]);
        assert_eq!(lookup.answered().collect::<Vec<_>>(), [other]);
    }
}
