//! The one space that node ids and record keys share, and how near two of
//! its points are.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use crc::{CRC_32_ISCSI, Crc};
use sha1::{Digest as _, Sha1};

use crate::dht::address::is_local;
use crate::id::hex;
use crate::rng::Rng;

/// The checksum of BEP 42.
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// The bits of an IPv4 address that go into a node's id (BEP 42).
const MASK_V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
/// The bits of an IPv6 address' upper half that go into a node's id (BEP 42).
const MASK_V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];

/// A node's id or a record's key: 160 bits (BEP 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(pub [u8; 20]);

/// How far two keys are apart: their exclusive or, a big-endian number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Distance(pub [u8; 20]);

/// A node: its id, and the endpoint where it is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Contact {
    /// Its id.
    pub id: Key,
    /// Where it receives datagrams.
    pub addr: SocketAddr,
}

impl Key {
    /// A uniform key.
    pub fn random(rng: &mut Rng) -> Self {
        let mut key = [0; 20];
        for part in key.chunks_mut(8) {
            let (drawn, length) = (rng.next_u64().to_be_bytes(), part.len());
            part.copy_from_slice(&drawn[..length]);
        }
        Self(key)
    }

    /// SHA-1 of these parts, one after another.
    pub fn sha1(parts: &[&[u8]]) -> Self {
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// A random id that a node with this address may have (BEP 42).
    pub fn for_address(ip: IpAddr, rng: &mut Rng) -> Self {
        let Self(mut id) = Self::random(rng);
        let [a, b, c] = prefix_for(ip, id[19]);
        id[0] = a;
        id[1] = b;
        id[2] = c & 0xf8 | id[2] & 0x07;
        Self(id)
    }

    /// Whether a node with this address may have this id (BEP 42): the first
    /// 21 bits follow from the address and the last byte. Addresses of private
    /// networks, of one link and of the machine itself may have any.
    pub fn fits(self, ip: IpAddr) -> bool {
        let [a, b, c] = prefix_for(ip, self.0[19]);
        is_local(ip) || self.0[0] == a && self.0[1] == b && (self.0[2] ^ c) & 0xf8 == 0
    }

    /// The distance to another key.
    pub fn distance(self, other: Self) -> Distance {
        let mut distance = self.0;
        for (byte, with) in distance.iter_mut().zip(other.0) {
            *byte ^= with;
        }
        Distance(distance)
    }

    /// How many leading bits it shares with another key: 0 to 160.
    pub fn prefix(self, other: Self) -> usize {
        self.distance(other).leading_zeros()
    }
}

impl Distance {
    /// How many leading bits are zero: 0 to 160.
    pub fn leading_zeros(self) -> usize {
        let zeros = self.0.iter().take_while(|&&byte| byte == 0).count();
        let partly = self.0.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
        zeros * 8 + partly
    }
}

/// The first 24 bits of the CRC32C from which the first 21 of an id are taken.
fn prefix_for(ip: IpAddr, last: u8) -> [u8; 3] {
    let r = (last & 7) << 5;
    let [a, b, c, _] = match ip.to_canonical() {
        IpAddr::V4(v4) => masked(v4.octets(), MASK_V4, r),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, ..] = v6.octets();
            masked([a, b, c, d, e, f, g, h], MASK_V6, r)
        }
    };
    [a, b, c]
}

fn masked<const N: usize>(mut ip: [u8; N], mask: [u8; N], r: u8) -> [u8; 4] {
    for (byte, mask) in ip.iter_mut().zip(mask) {
        *byte &= mask;
    }
    ip[0] |= r;
    CRC32C.checksum(&ip).to_be_bytes()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

/// A key was not given as 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAKey;

impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 40 hexadecimal digits")
    }
}

impl core::error::Error for NotAKey {}

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let mut key = [0; 20];
        let digits = text.as_bytes();
        if digits.len() != 2 * key.len() {
            return Err(NotAKey);
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            for &digit in pair {
                let digit = char::from(digit).to_digit(16).ok_or(NotAKey)?;
                *byte = *byte << 4 | digit as u8;
            }
        }
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString as _;
    use alloc::vec::Vec;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    impl Arbitrary for Key {
        fn arbitrary(g: &mut Gen) -> Self {
            Self::random(&mut Rng::new(core::array::from_fn(|_| u8::arbitrary(g))))
        }
    }

    fn rng(seed: u8) -> Rng {
        Rng::new([seed; 32])
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    quickcheck! {
        fn a_key_is_at_distance_zero_from_itself_only(a: Key, b: Key) -> bool {
            a.distance(a) == Distance::default()
                && (a.distance(b) == Distance::default()) == (a == b)
        }

        fn distance_is_symmetric(a: Key, b: Key) -> bool {
            a.distance(b) == b.distance(a)
        }

        fn a_way_round_is_never_shorter(a: Key, b: Key, c: Key) -> bool {
            let sum = |x: Distance, y: Distance| {
                let mut sum = [0_u16; 21];
                for i in (0..20).rev() {
                    let here = sum[i + 1] + u16::from(x.0[i]) + u16::from(y.0[i]);
                    sum[i + 1] = here & 0xff;
                    sum[i] += here >> 8;
                }
                sum
            };
            sum(a.distance(c), Distance::default()) <= sum(a.distance(b), b.distance(c))
        }

        fn one_key_only_is_at_a_distance(a: Key, b: Key) -> bool {
            Key(Key(a.distance(b).0).distance(a).0) == b
        }

        fn a_longer_common_prefix_is_nearer(a: Key, b: Key, c: Key) -> bool {
            a.prefix(b) <= a.prefix(c) || a.distance(b) < a.distance(c)
        }

        fn a_key_is_read_as_it_is_written(a: Key) -> bool {
            a.to_string().parse() == Ok(a) && format!("{a:?}").to_uppercase().parse() == Ok(a)
        }

        fn an_id_made_for_an_address_fits_it(address: IpAddr, seed: u8) -> bool {
            Key::for_address(address, &mut rng(seed)).fits(address)
        }
    }

    #[test]
    fn the_common_prefix_is_counted_in_bits() {
        let mut key = Key([0xff; 20]);
        assert_eq!(key.prefix(key), 160);
        key.0[19] = 0xfe;
        assert_eq!(key.prefix(Key([0xff; 20])), 159);
        key.0[2] = 0xef;
        assert_eq!(key.prefix(Key([0xff; 20])), 19);
        assert_eq!(key.prefix(Key([0; 20])), 0);
    }

    #[test]
    fn sha1_of_parts_is_that_of_the_whole() {
        let abc = "a9993e364706816aba3e25717850c26c9cd0d89d".parse().unwrap();
        assert_eq!(Key::sha1(&[b"abc"]), abc);
        assert_eq!(Key::sha1(&[b"a", b"", b"bc"]), abc);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let good = "a9993e364706816aba3e25717850c26c9cd0d89d";
        assert!(good.parse::<Key>().is_ok());
        for bad in
            ["", &good[1..], &format!("{good}0"), &good.replace('a', "g"), &good.replace("a9", "é")]
        {
            assert_eq!(bad.parse::<Key>(), Err(NotAKey), "{bad}");
        }
    }

    /// The rows that BEP 42 publishes, and what it says of IPv6.
    #[test]
    fn ids_follow_from_addresses_as_bep_42_says() {
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
        for (address, last, prefix) in [
            ("124.31.75.21", 1, [0x5f, 0xbf, 0xbf]),
            ("21.75.31.124", 86, [0x5a, 0x3c, 0xe9]),
            ("65.23.51.170", 22, [0xa5, 0xd4, 0x32]),
            ("84.124.73.14", 65, [0x1b, 0x03, 0x21]),
            ("43.213.53.83", 90, [0xe5, 0x6f, 0x6c]),
            ("::ffff:43.213.53.83", 90, [0xe5, 0x6f, 0x6c]),
        ] {
            let [a, b, c] = prefix_for(ip(address), last);
            assert_eq!([a, b, c & 0xf8], [prefix[0], prefix[1], prefix[2] & 0xf8], "{address}");
        }
        let id = |last: &str| -> Key {
            format!("5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee4{last}").parse().unwrap()
        };
        assert!(id("01").fits(ip("124.31.75.21")));
        assert!(!id("02").fits(ip("124.31.75.21")));
    }

    /// BEP 42 names the bits: few of those that are cheap to have many of.
    #[test]
    fn the_bits_of_an_address_that_count_are_those_of_the_masks() {
        let v4 = 0x0808_0808_u32;
        for bit in 0..32 {
            let counts = prefix_for((v4 ^ 1 << bit).to_be_bytes().into(), 5)
                != prefix_for(v4.to_be_bytes().into(), 5);
            assert_eq!(counts, 0x030f_3fff >> bit & 1 == 1, "{bit}");
        }
        let v6 = 0x2001_0db8_u128 << 96;
        for bit in 0..128 {
            let counts = prefix_for((v6 ^ 1 << bit).to_be_bytes().into(), 5)
                != prefix_for(v6.to_be_bytes().into(), 5);
            assert_eq!(counts, 0x0103_070f_1f3f_7fff_u128 << 64 >> bit & 1 == 1, "{bit}");
        }
    }

    #[test]
    fn each_of_the_21_bits_counts_and_no_other() {
        let address = ip("2001:db8::1");
        let good = Key::for_address(address, &mut rng(1));
        let misfits: Vec<usize> = (0..152)
            .filter(|bit| {
                let mut id = good;
                id.0[bit / 8] ^= 0x80 >> (bit % 8);
                !id.fits(address)
            })
            .collect();
        assert_eq!(misfits, (0..21).collect::<Vec<_>>());
    }

    #[test]
    fn local_addresses_may_have_any_id() {
        let ids: Vec<Key> = (0..20).map(|seed| Key::random(&mut rng(seed))).collect();
        for local in [
            "10.1.2.3",
            "172.16.9.9",
            "192.168.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(ids.iter().all(|id| id.fits(ip(local))), "{local}");
        }
        for global in ["8.8.8.8", "172.32.0.1", "2001:db8::1"] {
            assert!(ids.iter().all(|id| !id.fits(ip(global))), "{global}");
        }
    }
}
