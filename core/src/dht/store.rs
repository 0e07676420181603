//! The records that this node holds for others: sets of addresses under keys,
//! each until its owner withdraws it or falls silent.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::dht::address::{network, source};
use crate::dht::bloom::Bloom;
use crate::dht::key::{Distance, Key};
use crate::rng::Rng;
use crate::time::{Time, micros};

/// How long a record lives whose owner doesn't say.
pub const LIFE: Duration = Duration::from_secs(30 * 60);
/// The shortest life that an owner may ask for, in seconds.
const SHORTEST: u16 = 60;
/// The longest life that an owner may ask for, in seconds.
const LONGEST: u16 = 3_600;

/// The most keys.
const KEYS: usize = 16_384;
/// The most records under all keys.
const RECORDS: usize = 131_072;
/// The most records under a key.
const PER_KEY: usize = 128;
/// The most records of one source under a key: an address, or 64 bits of IPv6.
const PER_SOURCE: usize = 4;
/// The most records of one site under a key: 24 bits of an address, 48 of IPv6.
const PER_SITE: usize = 16;
/// The most keys under which one source may have records.
const KEYS_PER_SOURCE: usize = 2_048;

/// The most IPv4 values in an answer.
const VALUES_V4: usize = 100;
/// The most IPv6 values in an answer.
const VALUES_V6: usize = 40;

/// Records under keys. A record is an address and a port; announcing one adds
/// it to a set, so announcements never undo each other, however they meet.
#[derive(Debug)]
pub struct Store {
    own: Key,
    /// Whether the limits of sources and sites hold.
    hardened: bool,
    /// The records under each key, nearest first, with the end of their lives.
    keys: BTreeMap<Distance, BTreeMap<SocketAddr, Time>>,
    /// All records in the order in which they end.
    ends: BTreeSet<(Time, Distance, SocketAddr)>,
    /// Under how many keys each source has records.
    sources: BTreeMap<IpAddr, usize>,
}

impl Store {
    /// An empty store of the node with this id. Unless it is hardened, one
    /// source may have as many records as there is room for: for networks in
    /// which all nodes share an address.
    pub fn new(own: Key, hardened: bool) -> Self {
        Self {
            own,
            hardened,
            keys: BTreeMap::new(),
            ends: BTreeSet::new(),
            sources: BTreeMap::new(),
        }
    }

    /// Puts an address under a key for this many seconds, 60 to 3600, or for
    /// [`LIFE`]; zero takes it away. Returns `false` if there is no room. In a
    /// full store a key that is nearer takes the place of the farthest one.
    pub fn announce(&mut self, now: Time, key: Key, addr: SocketAddr, exp: Option<u16>) -> bool {
        self.expire(now);
        let place = self.own.distance(key);
        if exp == Some(0) {
            self.remove(place, addr);
            return true;
        }
        let life = exp.map_or(LIFE, |exp| Duration::from_secs(exp.clamp(SHORTEST, LONGEST).into()));
        let end = now + life;
        if let Some(old) = self.keys.get_mut(&place).and_then(|records| records.get_mut(&addr)) {
            self.ends.remove(&(*old, place, addr));
            *old = end;
            self.ends.insert((end, place, addr));
            return true;
        }
        if !self.has_room(place, addr.ip()) {
            return false;
        }
        if self.is_full(place) {
            self.remove_farthest();
        }
        let records = self.keys.entry(place).or_default();
        if of_source(records, addr.ip()) == 0 {
            *self.sources.entry(source(addr.ip())).or_default() += 1;
        }
        records.insert(addr, end);
        self.ends.insert((end, place, addr));
        true
    }

    /// Whether a host may be told that it can announce under a key: it has a
    /// record there, or there is room for one.
    pub fn would_take(&mut self, now: Time, key: Key, ip: IpAddr) -> bool {
        self.expire(now);
        let place = self.own.distance(key);
        self.keys.get(&place).is_some_and(|records| records.keys().any(|addr| addr.ip() == ip))
            || self.has_room(place, ip)
    }

    /// The records of a family under a key, and the minutes that each lives on.
    /// Of many it is a random choice.
    pub fn values(
        &mut self,
        now: Time,
        key: Key,
        v6: bool,
        rng: &mut Rng,
    ) -> (Vec<SocketAddr>, Vec<u8>) {
        self.expire(now);
        let records = self.keys.get(&self.own.distance(key)).into_iter().flatten();
        let mut chosen: Vec<_> = records.filter(|(addr, _)| addr.is_ipv6() == v6).collect();
        let most = if v6 { VALUES_V6 } else { VALUES_V4 };
        if chosen.len() > most {
            rng.shuffle(&mut chosen);
            chosen.truncate(most);
        }
        let minutes = |end: Time| micros(end.since(now)).div_ceil(60_000_000);
        chosen
            .into_iter()
            .map(|(addr, end)| (*addr, u8::try_from(minutes(*end)).unwrap_or(u8::MAX)))
            .unzip()
    }

    /// The hosts under a key as filters (BEP 33). Who holds all of a file and
    /// who doesn't isn't told apart: none counts as a seed.
    pub fn scrape(&mut self, now: Time, key: Key) -> Box<[Bloom; 2]> {
        self.expire(now);
        let mut peers = Bloom::default();
        for addr in self.keys.get(&self.own.distance(key)).into_iter().flat_map(BTreeMap::keys) {
            peers.insert(addr.ip());
        }
        Box::new([Bloom::default(), peers])
    }

    /// The node has another id now: what is near has changed, and nothing else.
    pub fn rehome(&mut self, own: Key) {
        let moved = self.own.distance(own);
        self.own = own;
        let elsewhere = |place: Distance| Key(place.0).distance(Key(moved.0));
        let keys = core::mem::take(&mut self.keys);
        self.keys = keys.into_iter().map(|(place, records)| (elsewhere(place), records)).collect();
        let ends = core::mem::take(&mut self.ends);
        self.ends =
            ends.into_iter().map(|(end, place, addr)| (end, elsewhere(place), addr)).collect();
    }

    /// Forgets the records whose lives are over.
    pub fn expire(&mut self, now: Time) {
        while let Some(&(end, place, addr)) = self.ends.first()
            && end <= now
        {
            self.remove(place, addr);
        }
    }

    /// When the next record's life is over.
    pub fn deadline(&self) -> Option<Time> {
        self.ends.first().map(|&(end, ..)| end)
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn has_room(&self, place: Distance, ip: IpAddr) -> bool {
        if self.is_full(place) && self.keys.last_key_value().is_none_or(|(last, _)| *last <= place)
        {
            return false;
        }
        let records = self.keys.get(&place);
        if records.is_some_and(|records| records.len() >= PER_KEY) {
            return false;
        }
        // Whoever is on this machine may have as many ports as he likes.
        if !self.hardened || ip.is_loopback() {
            return true;
        }
        let here = records.map_or(0, |records| of_source(records, ip));
        let site = network(ip, 24, 48);
        let near = records.map_or(0, |records| {
            records.keys().filter(|addr| network(addr.ip(), 24, 48) == site).count()
        });
        let keys = self.sources.get(&source(ip)).map_or(0, |keys| *keys);
        here < PER_SOURCE && near < PER_SITE && (here > 0 || keys < KEYS_PER_SOURCE)
    }

    /// Whether another record at this distance needs the room of others.
    fn is_full(&self, place: Distance) -> bool {
        self.ends.len() >= RECORDS || self.keys.len() >= KEYS && !self.keys.contains_key(&place)
    }

    fn remove_farthest(&mut self) {
        let Some((&place, records)) = self.keys.last_key_value() else { return };
        for addr in records.keys().copied().collect::<Vec<_>>() {
            self.remove(place, addr);
        }
    }

    fn remove(&mut self, place: Distance, addr: SocketAddr) {
        let Some(records) = self.keys.get_mut(&place) else { return };
        let Some(end) = records.remove(&addr) else { return };
        self.ends.remove(&(end, place, addr));
        if of_source(records, addr.ip()) == 0 {
            let source = source(addr.ip());
            if let Some(keys) = self.sources.get_mut(&source) {
                *keys = keys.saturating_sub(1);
                if *keys == 0 {
                    self.sources.remove(&source);
                }
            }
        }
        if records.is_empty() {
            self.keys.remove(&place);
        }
    }
}

fn of_source(records: &BTreeMap<SocketAddr, Time>, ip: IpAddr) -> usize {
    records.keys().filter(|addr| source(addr.ip()) == source(ip)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use quickcheck::{Arbitrary, Gen, quickcheck};

    const NOW: Time = Time::from_secs(1_700_000_000);

    fn store() -> Store {
        Store::new(Key::default(), true)
    }

    fn addr(n: u32, port: u16) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::from(n).into(), port)
    }

    /// A key: the smaller the number, the nearer to the store's own.
    fn key(n: u32) -> Key {
        let mut key = Key::default();
        key.0[..4].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn held(store: &mut Store, now: Time, key: Key) -> BTreeMap<SocketAddr, u8> {
        let rng = &mut Rng::new([0; 32]);
        let mut held = BTreeMap::new();
        for v6 in [false, true] {
            let (values, lives) = store.values(now, key, v6, rng);
            assert_eq!(values.len(), lives.len());
            held.extend(values.into_iter().zip(lives));
        }
        held
    }

    /// Something that befalls a store.
    #[derive(Clone, Debug)]
    struct Deed {
        after: Duration,
        key: Key,
        addr: SocketAddr,
        exp: Option<u16>,
    }

    impl Arbitrary for Deed {
        fn arbitrary(g: &mut Gen) -> Self {
            // Few of each, so that they meet.
            let host = u32::from(u8::arbitrary(g) % 8) << (*g.choose(&[0, 4, 8, 16]).unwrap());
            let ip: IpAddr = match u8::arbitrary(g) % 4 {
                0 => Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(host) << 62).into(),
                _ => Ipv4Addr::from(0x0a00_0000 | host).into(),
            };
            Self {
                after: Duration::from_secs((u64::from(u8::arbitrary(g)) % 120).pow(2) / 8),
                key: key(u32::from(u8::arbitrary(g) % 3)),
                addr: SocketAddr::new(ip, 1 + u16::from(u8::arbitrary(g) % 8)),
                exp: *g.choose(&[None, None, Some(0), Some(1), Some(90), Some(u16::MAX)]).unwrap(),
            }
        }
    }

    quickcheck! {
        fn whatever_befalls_it_a_store_keeps_its_limits_and_lives(deeds: Vec<Deed>) -> bool {
            let (mut store, mut now) = (store(), NOW);
            let mut model: BTreeMap<(Key, SocketAddr), Time> = BTreeMap::new();
            for Deed { after, key, addr, exp } in deeds {
                now = now + after;
                model.retain(|_, end| *end > now);
                let known = model.contains_key(&(key, addr));
                let has = model.keys().any(|(k, a)| *k == key && a.ip() == addr.ip());
                let would = store.would_take(now, key, addr.ip());
                let took = store.announce(now, key, addr, exp);
                match exp {
                    Some(0) => {
                        assert!(took);
                        model.remove(&(key, addr));
                    }
                    _ if took => {
                        let life = exp.map_or(1_800, |exp| u64::from(exp).clamp(60, 3_600));
                        model.insert((key, addr), now + Duration::from_secs(life));
                    }
                    _ => assert!(!known),
                }
                // A token is withheld exactly where a first record would be refused.
                assert!(exp == Some(0) || has || would == took);
                assert!(would || !has);

                assert_eq!(store.len(), model.len());
                assert_eq!(store.is_empty(), model.is_empty());
                assert_eq!(store.deadline(), model.values().min().copied());
                for n in 0..3 {
                    let records: Vec<SocketAddr> =
                        model.keys().filter(|(k, _)| *k == self::key(n)).map(|(_, a)| *a).collect();
                    assert!(held(&mut store, now, self::key(n)).into_keys().eq(records.iter().copied()));
                    for one in &records {
                        let same = |v4, v6| {
                            let of = |addr: &SocketAddr| network(addr.ip(), v4, v6);
                            records.iter().filter(|other| of(other) == of(one)).count()
                        };
                        assert!(same(32, 64) <= PER_SOURCE && same(24, 48) <= PER_SITE);
                    }
                }
            }
            store.expire(now + Duration::from_secs(3_600));
            store.is_empty() && store.sources.is_empty() && store.keys.is_empty()
        }

        fn announcements_leave_the_same_in_any_order_and_number(hosts: Vec<u16>, seed: u8) -> bool {
            let mut hosts: BTreeSet<u16> = hosts.into_iter().collect();
            while hosts.len() > PER_KEY {
                hosts.pop_last();
            }
            // One host a site.
            let mut announced: Vec<_> =
                hosts.iter().map(|host| addr(u32::from(*host) << 8, 1)).collect();
            let (mut once, mut again) = (store(), store());
            for addr in &announced {
                assert!(once.announce(NOW, key(1), *addr, None));
            }
            Rng::new([seed; 32]).shuffle(&mut announced);
            for addr in announced.iter().chain(&announced) {
                assert!(again.announce(NOW, key(1), *addr, None));
            }
            once.keys == again.keys && once.len() == hosts.len()
        }
    }

    #[test]
    fn a_record_is_seen_until_its_life_is_over_and_never_after() {
        let mut store = store();
        assert!(store.announce(NOW, key(1), addr(1, 1), None));
        assert!(store.announce(NOW, key(1), addr(2, 1), Some(90)));
        let at = |seconds| NOW + Duration::from_secs(seconds);
        assert_eq!(held(&mut store, NOW, key(1)), [(addr(1, 1), 30), (addr(2, 1), 2)].into());
        assert_eq!(store.deadline(), Some(at(90)));
        assert_eq!(held(&mut store, at(89), key(1)), [(addr(1, 1), 29), (addr(2, 1), 1)].into());
        assert_eq!(held(&mut store, at(90), key(1)), [(addr(1, 1), 29)].into());
        assert_eq!(held(&mut store, at(1_799), key(1)), [(addr(1, 1), 1)].into());
        assert_eq!(held(&mut store, at(1_800), key(1)), [].into());
        assert_eq!(store.deadline(), None);
    }

    #[test]
    fn an_owner_withdraws_its_own_record_only() {
        let mut store = store();
        for port in 1..4 {
            assert!(store.announce(NOW, key(1), addr(1, port), None));
        }
        assert!(store.announce(NOW, key(1), addr(1, 2), Some(0)));
        assert!(store.announce(NOW, key(1), addr(1, 9), Some(0)));
        assert!(store.announce(NOW, key(2), addr(1, 1), Some(0)));
        assert_eq!(held(&mut store, NOW, key(1)), [(addr(1, 1), 30), (addr(1, 3), 30)].into());
    }

    #[test]
    fn a_host_and_a_site_have_few_records_under_a_key() {
        let mut hardened = store();
        for port in 1..=4 {
            assert!(hardened.announce(NOW, key(1), addr(1, port), None));
        }
        assert!(!hardened.announce(NOW, key(1), addr(1, 5), None));
        // It may refresh what it has, and stand under another key.
        assert!(hardened.would_take(NOW, key(1), addr(1, 1).ip()));
        assert!(hardened.announce(NOW, key(1), addr(1, 4), None));
        assert!(hardened.announce(NOW, key(2), addr(1, 5), None));
        for host in 2..=13 {
            assert!(hardened.announce(NOW, key(1), addr(host, 1), None));
        }
        assert!(!hardened.would_take(NOW, key(1), addr(14, 1).ip()));
        assert!(hardened.would_take(NOW, key(1), addr(256, 1).ip()));

        let mut open = Store::new(Key::default(), false);
        for port in 1..=128 {
            assert!(open.announce(NOW, key(1), addr(1, port), None));
        }
        assert!(!open.announce(NOW, key(1), addr(1, 129), None));
    }

    #[test]
    fn one_source_fills_no_store() {
        let mut store = store();
        for n in 0..KEYS_PER_SOURCE as u32 {
            assert!(store.announce(NOW, key(n), addr(1, 1), None));
        }
        assert!(!store.would_take(NOW, key(9_999), addr(1, 1).ip()));
        assert!(!store.announce(NOW, key(9_999), addr(1, 1), None));
        assert!(store.announce(NOW, key(5), addr(1, 2), None));
        assert!(store.announce(NOW, key(9_999), addr(2, 1), None));
        // What it withdraws makes room.
        assert!(store.announce(NOW, key(5), addr(1, 1), Some(0)));
        assert!(!store.would_take(NOW, key(8_888), addr(1, 1).ip()));
        assert!(store.announce(NOW, key(5), addr(1, 2), Some(0)));
        assert!(store.announce(NOW, key(8_888), addr(1, 1), None));
    }

    #[test]
    fn a_full_store_takes_nearer_keys_only_and_gives_up_the_farthest() {
        let mut store = store();
        for n in 1..=KEYS as u32 {
            assert!(store.announce(NOW, key(2 * n), addr(n << 8, 1), None));
        }
        let far = key(2 * KEYS as u32 + 1);
        assert!(!store.would_take(NOW, far, addr(1, 1).ip()));
        assert!(!store.announce(NOW, far, addr(1, 1), None));
        assert!(store.announce(NOW, key(2 * KEYS as u32), addr(1, 1), None));
        assert!(store.would_take(NOW, key(1), addr(1, 1).ip()));
        assert!(store.announce(NOW, key(1), addr(1, 1), None));
        assert_eq!(store.keys.len(), KEYS);
        assert_eq!(held(&mut store, NOW, key(1)).len(), 1);
        assert_eq!(held(&mut store, NOW, key(2 * KEYS as u32)).len(), 0);
        assert_eq!(held(&mut store, NOW, key(2 * KEYS as u32 - 2)).len(), 1);
    }

    #[test]
    fn a_node_with_another_id_keeps_its_records() {
        let mut store = store();
        for n in 1..=KEYS as u32 {
            assert!(store.announce(NOW, key(n), addr(n, 1), None));
        }
        store.rehome(key(u32::MAX));
        assert_eq!(store.len(), KEYS);
        assert_eq!(held(&mut store, NOW, key(7)), [(addr(7, 1), 30)].into());
        assert!(store.announce(NOW, key(7), addr(7, 1), Some(0)));
        assert!(store.announce(NOW, key(0x8000_0000), addr(9, 1), None));
        // What was nearest has become farthest.
        assert!(store.announce(NOW, key(0x8000_0001), addr(9, 1), None));
        assert_eq!(held(&mut store, NOW, key(1)), [].into());
        assert_eq!(held(&mut store, NOW, key(KEYS as u32)).len(), 1);
        store.expire(NOW + LIFE);
        assert!(store.is_empty() && store.keys.is_empty());
    }

    #[test]
    fn all_records_together_are_bounded() {
        let mut store = Store::new(Key::default(), false);
        let keys = (RECORDS / PER_KEY) as u32;
        for n in 1..=keys {
            for port in 1..=PER_KEY as u16 {
                assert!(store.announce(NOW, key(n), addr(n, port), None));
            }
        }
        assert_eq!(store.len(), RECORDS);
        assert!(!store.announce(NOW, key(keys + 1), addr(1, 1), None));
        assert!(store.announce(NOW, key(0), addr(1, 1), None));
        assert_eq!(store.len(), RECORDS - PER_KEY + 1);
    }

    #[test]
    fn no_key_makes_room_for_itself() {
        let mut store = Store::new(Key::default(), false);
        for n in 1..=(RECORDS / PER_KEY) as u32 {
            for port in 1..=PER_KEY as u16 {
                assert!(n == 1 && port == 1 || store.announce(NOW, key(n), addr(n, port), None));
            }
        }
        let farthest = key(u32::MAX);
        assert!(store.announce(NOW, farthest, addr(1, 1), None));
        assert!(!store.would_take(NOW, farthest, addr(2, 1).ip()));
        assert!(!store.announce(NOW, farthest, addr(2, 1), None));
        assert_eq!(held(&mut store, NOW, farthest), [(addr(1, 1), 30)].into());
    }

    #[test]
    fn of_many_records_a_random_choice_is_told() {
        let mut store = Store::new(Key::default(), false);
        for n in 0..64 {
            assert!(store.announce(NOW, key(1), addr(n, 1), None));
            let ip = Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(n) << 64);
            assert!(store.announce(NOW, key(1), SocketAddr::new(ip.into(), 1), None));
            assert!(store.announce(NOW, key(2), addr(n, 1), None));
            assert!(store.announce(NOW, key(2), addr(n, 2), None));
        }
        let rng = &mut Rng::new([1; 32]);
        assert_eq!(store.values(NOW, key(1), false, rng).0.len(), 64);
        assert_eq!(store.values(NOW, key(1), true, rng).0.len(), VALUES_V6);
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            let (values, lives) = store.values(NOW, key(2), false, rng);
            assert_eq!((values.len(), lives.len()), (VALUES_V4, VALUES_V4));
            seen.extend(values);
        }
        assert_eq!(seen.len(), 128);
    }

    #[test]
    fn a_scrape_counts_hosts() {
        let mut store = store();
        for n in 0..20 {
            for port in 1..3 {
                assert!(store.announce(NOW, key(1), addr(n << 8, port), Some(60)));
            }
        }
        let [seeds, peers] = *store.scrape(NOW, key(1));
        assert_eq!(seeds, Bloom::default());
        assert!((peers.estimate() - 20.0).abs() < 1.0);
        assert_eq!(store.scrape(NOW + Duration::from_secs(60), key(1))[1], Bloom::default());
    }
}
