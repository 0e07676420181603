//! Who should hold a file: rendezvous hashing of the file's key and the
//! owner's address. Everybody computes the same order from the same records.

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use sha1::{Digest, Sha1};

use super::config::Caps;

/// Records of one lookup that are looked at, at most. The nodes that store
/// them keep 128 a key, so honest answers never come near.
const MAX_RECORDS: usize = 1_024;

/// An owner's score for a file, a fraction of 2^64: the lowest scores hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Score(u64);

/// An expected place in the order of all viewers, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64);

impl Score {
    /// The first 8 bytes of SHA-1 over the key and the owner's compact
    /// address (BEP 5: 4 or 16 bytes and the port).
    pub(super) fn new(key: &[u8; 20], owner: SocketAddr) -> Self {
        let mut hash = Sha1::new().chain_update(key);
        match owner.ip().to_canonical() {
            IpAddr::V4(ip) => hash.update(ip.octets()),
            IpAddr::V6(ip) => hash.update(ip.octets()),
        }
        hash.update(owner.port().to_be_bytes());
        let digest: [u8; 20] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The expected rank among so many viewers.
    pub(super) fn among(self, viewers: usize) -> Rank {
        let thousandths = (viewers as u128).saturating_mul(1_000).min(u128::from(u64::MAX));
        Rank(((u128::from(self.0) * thousandths) >> 64) as u64)
    }
}

impl Rank {
    /// Whether it is below a whole rank.
    pub(super) fn is_below(self, rank: usize) -> bool {
        self.0 < (rank as u64).saturating_mul(1_000)
    }

    /// How far it is beyond a whole rank, in thousandths.
    pub(super) fn beyond(self, rank: usize) -> u64 {
        self.0.saturating_sub((rank as u64).saturating_mul(1_000))
    }
}

/// Where a node stands among the records of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The owners that count, without the node itself.
    pub(super) owners: usize,
    /// Whether the node's own record is among those seen.
    pub(super) listed: bool,
    /// The node's place in the order of the owners and itself; `None` if
    /// better owners on its address or network leave it no place.
    pub(super) rank: Option<usize>,
    /// Whether one more record, the node's, would count.
    pub(super) room: bool,
}

impl Standing {
    /// Ranks a node among the records that a lookup found. Of one address, and
    /// of one network, only the best few count (dht.md section 6, abuse): a
    /// low score costs no more than a port.
    pub(super) fn new(key: &[u8; 20], me: SocketAddr, records: &[SocketAddr], caps: Caps) -> Self {
        let me = canonical(me);
        let seen: BTreeSet<SocketAddr> =
            records.iter().take(MAX_RECORDS).map(|r| canonical(*r)).collect();
        let listed = seen.contains(&me);
        let mut all: Vec<(Score, SocketAddr)> =
            seen.into_iter().filter(|r| *r != me).map(|r| (Score::new(key, r), r)).collect();
        all.sort_unstable();
        let owners = counted(&all, caps).count();
        let own = (Score::new(key, me), me);
        let place = all.partition_point(|r| *r < own);
        all.insert(place, own);
        let rank = counted(&all, caps).position(|r| r == me);
        let room = rank.is_some() && counted(&all, caps).count() > owners;
        Self { owners, listed, rank, room }
    }
}

/// The owners that count, in the order given.
fn counted(ordered: &[(Score, SocketAddr)], caps: Caps) -> impl Iterator<Item = SocketAddr> + '_ {
    let mut addresses: BTreeMap<u128, usize> = BTreeMap::new();
    let mut networks: BTreeMap<u128, usize> = BTreeMap::new();
    ordered.iter().map(|(_, owner)| *owner).filter(move |owner| {
        // On one machine all share an address.
        if owner.ip().is_loopback() {
            return true;
        }
        let (address, network) = prefixes(owner.ip());
        let on_address = addresses.entry(address).or_default();
        let on_network = networks.entry(network).or_default();
        let fits = caps.per_address.is_none_or(|cap| *on_address < cap)
            && caps.per_network.is_none_or(|cap| *on_network < cap);
        if fits {
            *on_address += 1;
            *on_network += 1;
        }
        fits
    })
}

/// What counts as one address and one network: an IPv4 address and its /24, an
/// IPv6 /64 and its /48.
fn prefixes(ip: IpAddr) -> (u128, u128) {
    match ip {
        // Above all IPv6 prefixes, which lost their lower half.
        IpAddr::V4(ip) => {
            let bits = u128::from(ip.to_bits());
            (u128::MAX ^ bits, u128::MAX ^ (bits >> 8))
        }
        IpAddr::V6(ip) => (ip.to_bits() >> 64, ip.to_bits() >> 80),
    }
}

/// The address as records show it: IPv4 where it is one, no scope.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    const KEY: [u8; 20] = [7; 20];
    const VECTOR: u64 = 0x8722_8b93_0aba_1313;
    const OPEN: Caps = Caps { per_address: None, per_network: None };

    fn addr(ip: [u8; 4], port: u16) -> SocketAddr {
        (ip, port).into()
    }

    #[test]
    fn a_score_is_sha1_over_the_key_and_the_compact_address() {
        // printf 'abcdefghij0123456789axje.u' | sha1sum: 97.120.106.101:11893
        let key = *b"abcdefghij0123456789";
        assert_eq!(Score::new(&key, addr([97, 120, 106, 101], 11_893)), Score(VECTOR));
        let mapped: SocketAddr = "[::ffff:97.120.106.101]:11893".parse().unwrap();
        assert_eq!(Score::new(&key, mapped), Score(VECTOR), "one owner, however it is written");
    }

    #[test]
    fn an_expected_rank_is_the_score_times_the_viewers() {
        assert_eq!(Score(1 << 63).among(48), Rank(24_000));
        assert_eq!(Score(u64::MAX).among(48), Rank(47_999));
        assert_eq!(Score(u64::MAX).among(usize::MAX), Rank(u64::MAX - 1));
        assert!(Rank(9_999).is_below(10) && !Rank(10_000).is_below(10));
        assert_eq!((Rank(12_500).beyond(10), Rank(3).beyond(10)), (2_500, 0));
    }

    #[test]
    fn of_one_address_and_of_one_network_only_the_best_few_count() {
        let caps = Caps::default();
        let one: Vec<_> = (1..=9).map(|port| addr([10, 0, 0, 1], port)).collect();
        let s = Standing::new(&KEY, addr([10, 9, 9, 9], 1), &one, caps);
        assert_eq!((s.owners, s.listed, s.room), (4, false, true));
        let network: Vec<_> = (1..=40).map(|host| addr([10, 0, 0, host], 1)).collect();
        assert_eq!(Standing::new(&KEY, addr([10, 9, 9, 9], 1), &network, caps).owners, 16);
        // A tenth on the crowded address: no place, or somebody else's, but never one more.
        let s = Standing::new(&KEY, addr([10, 0, 0, 1], 10), &one, caps);
        assert_eq!((s.owners, s.room), (4, false));
        let v6: Vec<SocketAddr> =
            (1..=9u16).map(|n| ([1, 2, 3, 4, 5, 6, 7, n], 1).into()).collect();
        assert_eq!(Standing::new(&KEY, addr([10, 9, 9, 9], 1), &v6, caps).owners, 4, "one /64");
        assert_eq!(Standing::new(&KEY, addr([10, 9, 9, 9], 1), &v6, OPEN).owners, 9);
    }

    quickcheck! {
        fn everybody_agrees_on_the_order(hosts: Vec<(u8, u8)>) -> bool {
            let all: BTreeSet<SocketAddr> =
                hosts.iter().map(|(a, b)| addr([10, 0, *a, *b], 7)).collect();
            let records: Vec<SocketAddr> = all.into_iter().collect();
            let backwards: Vec<SocketAddr> = records.iter().rev().copied().collect();
            for caps in [OPEN, Caps::default()] {
                let standing = |me, records| Standing::new(&KEY, me, records, caps);
                let mut ranks: Vec<usize> =
                    records.iter().filter_map(|r| standing(*r, &records).rank).collect();
                ranks.sort_unstable();
                // Owners that count hold the ranks from 0, each once, whatever order records come in.
                if !ranks.iter().copied().eq(0..ranks.len())
                    || records.iter().any(|r| standing(*r, &records) != standing(*r, &backwards))
                    || records.iter().any(|r| !standing(*r, &records).listed)
                {
                    return false;
                }
            }
            true
        }
    }
}
