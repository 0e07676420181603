//! The routing table: nodes that answered, many of those near to us and a few
//! of those far away (Kademlia, IPTPS 2002, section 2.4).
//!
//! A bucket holds the nodes whose ids share that many leading bits with ours.
//! The first three are larger, as in libtorrent: in a network of a hundred
//! nodes everybody knows everybody.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::key::{Contact, Distance, Key};
use super::lookup::{K, subnet};
use crate::rng::Rng;
use crate::time::Time;

/// Verified nodes that wait for a place in a full bucket.
const SPARES: usize = 8;
/// A node that was not heard of for this long is questionable, and a bucket
/// nobody looked into for this long is refreshed (BEP 5).
pub(super) const QUIET: Duration = Duration::from_secs(15 * 60);
/// Failures in a row after which a spare takes a node's place.
const BAD: u8 = 2;
/// Failures in a row after which a node is dropped.
const DEAD: u8 = 3;

#[derive(Clone, Copy, Debug)]
struct Entry {
    contact: Contact,
    /// When it last answered, or asked.
    heard: Time,
    /// Queries in a row that it did not answer.
    failures: u8,
}

#[derive(Debug, Default)]
struct Bucket {
    entries: Vec<Entry>,
    /// Newest last.
    spares: VecDeque<Entry>,
    /// When somebody of it was last asked to tell of others.
    refreshed: Option<Time>,
}

/// The routing table.
#[derive(Debug)]
pub(super) struct Table {
    own: Key,
    hardened: bool,
    /// By the number of leading bits shared with our id.
    buckets: BTreeMap<usize, Bucket>,
}

/// How many nodes share this many leading bits with us, at most.
fn capacity(shared: usize) -> usize {
    match shared {
        0 => 64,
        1 => 32,
        2 => 16,
        _ => K,
    }
}

impl Table {
    /// An empty table of the node `own`. `hardened`: one node of an address,
    /// and one of a subnet and bucket.
    pub(super) fn new(own: Key, hardened: bool) -> Self {
        Self { own, hardened, buckets: BTreeMap::new() }
    }

    /// Sorts everybody in anew, for a node that changed its id.
    pub(super) fn rehome(&mut self, own: Key) {
        let all: Vec<Entry> = self.entries().copied().collect();
        *self = Self::new(own, self.hardened);
        for entry in all {
            self.on_answer(entry.heard, entry.contact);
        }
    }

    /// A node answered a query of ours, with the id that it was asked for.
    pub(super) fn on_answer(&mut self, now: Time, contact: Contact) {
        if contact.id == self.own {
            return self.remove(contact.addr);
        }
        if let Some(entry) = self.find(contact.addr) {
            if entry.contact.id == contact.id {
                entry.heard = entry.heard.max(now);
                entry.failures = 0;
                return;
            }
            self.remove(contact.addr);
        }
        let shared = self.own.prefix(contact.id);
        let entry = Entry { contact, heard: now, failures: 0 };
        if self.has_place(shared) && self.is_allowed(contact) {
            let bucket = self.buckets.entry(shared).or_default();
            bucket.entries.push(entry);
            bucket.spares.retain(|s| s.contact.addr != contact.addr);
            return;
        }
        let bucket = self.buckets.entry(shared).or_default();
        bucket.spares.retain(|s| s.contact.id != contact.id && s.contact.addr != contact.addr);
        if bucket.spares.len() >= SPARES {
            bucket.spares.pop_front();
        }
        bucket.spares.push_back(entry);
        self.promote(shared);
    }

    /// A node asked us something. That keeps a known one good, no more.
    pub(super) fn on_query(&mut self, now: Time, contact: Contact) {
        if let Some(entry) = self.find(contact.addr).filter(|e| e.contact.id == contact.id) {
            entry.heard = entry.heard.max(now);
        }
    }

    /// A node did not answer.
    pub(super) fn on_failure(&mut self, addr: SocketAddr) {
        let Some(entry) = self.find(addr) else { return };
        entry.failures += 1;
        let (id, dead) = (entry.contact.id, entry.failures >= DEAD);
        if dead {
            self.remove(addr);
        }
        self.promote(self.own.prefix(id));
    }

    /// A node proved to be another than we took it for.
    pub(super) fn remove(&mut self, addr: SocketAddr) {
        for bucket in self.buckets.values_mut() {
            bucket.entries.retain(|e| e.contact.addr != addr);
            bucket.spares.retain(|e| e.contact.addr != addr);
        }
    }

    /// Whether a node with this id and endpoint would find a place.
    pub(super) fn wants(&self, contact: Contact) -> bool {
        contact.id != self.own
            && self.has_place(self.own.prefix(contact.id))
            && self.is_allowed(contact)
    }

    /// Whether the node would be one of the eight closest to us that we know.
    pub(super) fn is_neighbour(&self, id: Key) -> bool {
        let closer = self.entries().filter(|e| self.to_us(e.contact.id) < self.to_us(id));
        closer.take(K).count() < K
    }

    /// The `n` nodes closest to a key, closest first: of those that answered
    /// when last asked, and only if they are too few, of the others.
    pub(super) fn closest(&self, key: Key, n: usize) -> Vec<Contact> {
        let rank = |e: &Entry| (e.failures > 0, e.contact.id.distance(key), e.contact);
        let mut all: Vec<(bool, Distance, Contact)> = self.entries().map(rank).collect();
        if n > 0 && all.len() > n {
            all.select_nth_unstable(n - 1);
            all.truncate(n);
        }
        all.sort_unstable();
        all.into_iter().take(n).map(|(_, _, contact)| contact).collect()
    }

    /// The node that most needs to be asked whether it is still there: one that
    /// did not answer, or else the one not heard of for longest.
    pub(super) fn questionable(&self, now: Time) -> Option<Contact> {
        let doubtful = |e: &&Entry| e.failures > 0 || now.since(e.heard) >= QUIET;
        let all = self.entries().filter(doubtful);
        all.min_by_key(|e| (e.failures == 0, e.heard)).map(|e| e.contact)
    }

    /// An id that belongs into a bucket with places to fill, which nobody looked
    /// into for a while. No bucket is looked for beyond the deepest.
    pub(super) fn unexplored(&mut self, now: Time, rng: &mut Rng) -> Option<Key> {
        for shared in 0..self.depth() {
            let bucket = self.buckets.entry(shared).or_default();
            let quiet = bucket.refreshed.is_none_or(|at| now.since(at) >= QUIET);
            if quiet && bucket.entries.len() < capacity(shared) {
                bucket.refreshed = Some(now);
                return Some(self.id_sharing(shared, rng));
            }
        }
        None
    }

    /// A random id in the bucket of another.
    pub(super) fn id_beside(&self, id: Key, rng: &mut Rng) -> Key {
        self.id_sharing(self.own.prefix(id), rng)
    }

    /// Everybody that is worth to be remembered on disk, the farthest first.
    pub(super) fn contacts(&self) -> Vec<Contact> {
        self.entries().filter(|e| e.failures == 0).map(|e| e.contact).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.values().map(|b| b.entries.len()).sum()
    }

    /// One more than the most leading bits that a node shares with us.
    pub(super) fn depth(&self) -> usize {
        let inhabited = self.buckets.iter().filter(|(_, b)| !b.entries.is_empty());
        inhabited.map(|(shared, _)| shared + 1).max().unwrap_or(0)
    }

    /// Whether a bucket is full: then there may be nodes that we do not know.
    pub(super) fn is_crowded(&self) -> bool {
        self.buckets.iter().any(|(shared, b)| b.entries.len() >= capacity(*shared))
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.values().flat_map(|b| b.entries.iter())
    }

    fn find(&mut self, addr: SocketAddr) -> Option<&mut Entry> {
        let mut all = self.buckets.values_mut().flat_map(|b| b.entries.iter_mut());
        all.find(|e| e.contact.addr == addr)
    }

    fn to_us(&self, id: Key) -> Distance {
        id.distance(self.own)
    }

    fn has_place(&self, shared: usize) -> bool {
        self.buckets.get(&shared).is_none_or(|b| b.entries.len() < capacity(shared))
    }

    /// Whether there is no other entry of that id, endpoint, address or subnet,
    /// as far as that is forbidden.
    fn is_allowed(&self, contact: Contact) -> bool {
        let Contact { id, addr } = contact;
        let hardened = self.hardened && !addr.ip().is_loopback();
        let same = |e: &Entry| {
            let Contact { id: other, addr: at } = e.contact;
            at == addr || hardened && at.ip() == addr.ip() || other == id
        };
        let bucket = self.buckets.get(&self.own.prefix(id)).filter(|_| hardened);
        let neighbours = bucket.into_iter().flat_map(|b| &b.entries);
        let net = subnet(addr);
        !self.entries().any(same) && !neighbours.into_iter().any(|e| subnet(e.contact.addr) == net)
    }

    /// Gives a spare the place of a bad node, or a free one. One whose id fits
    /// its address comes first (BEP 42), then the newest.
    fn promote(&mut self, shared: usize) {
        let Some(bucket) = self.buckets.get_mut(&shared) else { return };
        if bucket.spares.is_empty() {
            return;
        }
        let bad = bucket.entries.iter().position(|e| e.failures >= BAD);
        let bad = bad.map(|at| bucket.entries.remove(at));
        let promoted = self.best_spare(shared).filter(|_| self.has_place(shared)).or(bad);
        let Some(bucket) = self.buckets.get_mut(&shared) else { return };
        if let Some(entry) = promoted {
            bucket.spares.retain(|s| s.contact != entry.contact);
            bucket.entries.push(entry);
        }
    }

    fn best_spare(&self, shared: usize) -> Option<Entry> {
        let spares = self.buckets.get(&shared)?.spares.iter();
        let allowed = spares.filter(|s| self.is_allowed(s.contact));
        allowed.max_by_key(|s| (s.contact.id.fits(s.contact.addr.ip()), s.heard)).copied()
    }

    /// A random id that shares exactly this many leading bits with ours.
    fn id_sharing(&self, shared: usize, rng: &mut Rng) -> Key {
        let Key(mut id) = Key::random(rng);
        for bit in 0..=shared {
            let mask = 0x80 >> (bit % 8);
            let (Some(byte), Some(own)) = (id.get_mut(bit / 8), self.own.0.get(bit / 8)) else {
                break;
            };
            let flip = if bit == shared { mask } else { 0 };
            *byte = *byte & !mask | (own ^ flip) & mask;
        }
        Key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    const START: Time = Time::from_secs(10_000);
    const OWN: Key = Key([0x5a; 20]);

    fn secs(n: u64) -> Time {
        START + Duration::from_secs(n)
    }

    fn addr(n: u64) -> SocketAddr {
        let [.., a, b, c] = n.to_be_bytes();
        ([10, a, b, c], 4_000).into()
    }

    /// A node that shares `shared` bits with us.
    fn node(shared: usize, n: u64) -> Contact {
        let seed = core::array::from_fn(|i| n.to_be_bytes()[i % 8]);
        let id = Table::new(OWN, false).id_sharing(shared, &mut Rng::new(seed));
        Contact { id, addr: addr(n << 8) }
    }

    fn has(table: &Table, contact: Contact) -> bool {
        table.contacts().contains(&contact)
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Answer(Contact),
        Query(Contact),
        Fail(SocketAddr),
        Remove(SocketAddr),
    }

    impl Arbitrary for Op {
        fn arbitrary(g: &mut Gen) -> Self {
            let contact = |g: &mut Gen| {
                // Few ids and endpoints, so that they clash.
                let id = node(usize::arbitrary(g) % 5, u64::arbitrary(g) % 40).id;
                let host = 256 * (u64::arbitrary(g) % 4) + u64::arbitrary(g) % 40;
                let mut addr = addr(host);
                addr.set_port(1 + u16::arbitrary(g) % 2);
                Contact { id, addr }
            };
            match u8::arbitrary(g) % 8 {
                0 => Self::Query(contact(g)),
                1 => Self::Fail(contact(g).addr),
                2 => Self::Remove(contact(g).addr),
                _ => Self::Answer(contact(g)),
            }
        }
    }

    fn run(ops: &[Op], hardened: bool) -> Table {
        let mut table = Table::new(OWN, hardened);
        for (now, op) in (0..).map(secs).zip(ops) {
            match *op {
                Op::Answer(contact) => table.on_answer(now, contact),
                Op::Query(contact) => table.on_query(now, contact),
                Op::Fail(addr) => table.on_failure(addr),
                Op::Remove(addr) => table.remove(addr),
            }
        }
        table
    }

    fn is_sound(table: &Table) -> bool {
        let all: Vec<Contact> = table.entries().map(|e| e.contact).collect();
        let unique = |what: &dyn Fn(&Contact) -> Vec<u8>| {
            let mut keys: Vec<_> = all.iter().map(what).collect();
            keys.sort();
            keys.windows(2).all(|pair| pair[0] != pair[1])
        };
        let text = |s: &dyn core::fmt::Debug| alloc::format!("{s:?}").into_bytes();
        table.buckets.iter().all(|(&shared, b)| {
            let fits = |e: &Entry| OWN.prefix(e.contact.id) == shared && e.contact.id != OWN;
            b.entries.len() <= capacity(shared)
                && b.spares.len() <= SPARES
                && b.entries.iter().chain(&b.spares).all(fits)
        }) && unique(&|c| c.id.0.to_vec())
            && unique(&|c| text(&c.addr))
            && (!table.hardened
                || unique(&|c| text(&c.addr.ip()))
                    && unique(&|c| text(&(OWN.prefix(c.id), subnet(c.addr)))))
    }

    quickcheck! {
        fn buckets_part_the_ids_and_nobody_is_there_twice(ops: Vec<Op>, hardened: bool) -> bool {
            let table = run(&ops, hardened);
            is_sound(&table) && table.len() == table.entries().count()
        }

        fn only_who_answered_is_in_the_table(ops: Vec<Op>, hardened: bool) -> bool {
            let answered = |c: &Contact| ops.iter().any(|op| matches!(op, Op::Answer(a) if a == c));
            run(&ops, hardened).entries().all(|e| answered(&e.contact))
        }

        fn the_closest_are_those_of_a_sort(ops: Vec<Op>, key: Key, n: u8) -> bool {
            let (table, n) = (run(&ops, false), usize::from(n % 40));
            let mut all: Vec<Entry> = table.entries().copied().collect();
            all.sort_by_key(|e| (e.failures > 0, e.contact.id.distance(key)));
            let sorted: Vec<Contact> = all.iter().take(n).map(|e| e.contact).collect();
            table.closest(key, n) == sorted
        }

        fn what_was_saved_gives_the_same_table(ops: Vec<Op>, hardened: bool) -> bool {
            let saved = run(&ops, hardened).contacts();
            let mut table = Table::new(OWN, hardened);
            saved.iter().for_each(|c| table.on_answer(START, *c));
            table.contacts() == saved
        }

        fn ids_for_a_bucket_belong_there(shared: u8, seed: u8) -> bool {
            let shared = usize::from(shared) % 160;
            let id = Table::new(OWN, false).id_sharing(shared, &mut Rng::new([seed; 32]));
            OWN.prefix(id) == shared
        }
    }

    #[test]
    fn a_good_node_keeps_its_place_from_newer_ones() {
        let mut table = Table::new(OWN, true);
        (0..100).for_each(|n| table.on_answer(secs(n), node(5, n)));
        assert_eq!(table.contacts(), (0..8).map(|n| node(5, n)).collect::<Vec<_>>());
        assert!(!table.wants(node(5, 200)) && table.wants(node(6, 200)));
    }

    #[test]
    fn a_bad_node_makes_room_for_one_that_answered_and_a_dead_one_goes() {
        let mut table = Table::new(OWN, true);
        (0..9).for_each(|n| table.on_answer(secs(n), node(5, n)));
        table.on_failure(node(5, 3).addr);
        assert_eq!(table.len(), 8);
        assert!(!has(&table, node(5, 8)), "one failure is a loss");
        table.on_failure(node(5, 3).addr);
        assert!(has(&table, node(5, 8)) && table.len() == 8);
        table.on_failure(node(5, 4).addr);
        table.on_failure(node(5, 4).addr);
        assert_eq!(table.len(), 8, "nobody waits for its place");
        table.on_failure(node(5, 4).addr);
        assert_eq!(table.len(), 7);
    }

    #[test]
    fn an_answer_forgives_failures_and_a_query_does_not() {
        let mut table = Table::new(OWN, true);
        table.on_answer(START, node(0, 1));
        for _ in 0..3 {
            table.on_failure(node(0, 1).addr);
            table.on_answer(START, node(0, 1));
        }
        for n in 0..3 {
            assert_eq!(table.len(), 1, "after {n}");
            table.on_query(secs(n), node(0, 1));
            table.on_failure(node(0, 1).addr);
        }
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn who_was_not_heard_of_for_longest_is_asked_first_and_who_failed_before_all() {
        let mut table = Table::new(OWN, true);
        (0..3).for_each(|n| table.on_answer(secs(n), node(0, n)));
        assert_eq!(table.questionable(secs(10)), None);
        table.on_query(secs(10), node(0, 0));
        let later = secs(20) + QUIET;
        assert_eq!(table.questionable(later), Some(node(0, 1)));
        table.on_failure(node(0, 0).addr);
        assert_eq!(table.questionable(later), Some(node(0, 0)));
    }

    #[test]
    fn an_endpoint_with_a_new_id_leaves_its_old_place() {
        let mut table = Table::new(OWN, true);
        let (old, other) = (node(0, 1), node(3, 2));
        table.on_answer(START, old);
        let new = Contact { id: other.id, addr: old.addr };
        table.on_answer(START, new);
        assert_eq!(table.contacts(), [new]);
        table.on_answer(START, Contact { id: OWN, addr: old.addr });
        assert_eq!(table.len(), 0, "our own id is nobody's");
    }

    #[test]
    fn empty_buckets_are_looked_into_once_in_a_while() {
        let (mut table, mut rng) = (Table::new(OWN, true), Rng::new([1; 32]));
        assert_eq!(table.unexplored(START, &mut rng), None);
        table.on_answer(START, node(2, 1));
        let mut shared = |at| table.unexplored(at, &mut rng).map(|id| OWN.prefix(id));
        assert_eq!([shared(START), shared(START), shared(START)], [Some(0), Some(1), Some(2)]);
        assert_eq!((shared(START), shared(START + QUIET)), (None, Some(0)));
    }

    #[test]
    fn another_id_of_ours_loses_nobody_who_still_finds_a_place() {
        let mut table = Table::new(OWN, true);
        (0..40).for_each(|n| table.on_answer(START, node(0, n)));
        let own = node(0, 7).id;
        table.rehome(own);
        assert!(table.buckets.keys().all(|shared| *shared > 0));
        let misplaced = |e: &&Entry| own.prefix(e.contact.id) == 0;
        assert_eq!(table.entries().filter(misplaced).count(), 0);
        assert!(!has(&table, node(0, 7)));
    }
}
