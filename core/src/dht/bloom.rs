//! How many hosts stand behind a key, told by filters instead of lists
//! (BEP 33).

use core::fmt;
use core::net::IpAddr;

use crate::dht::key::Key;

/// Bits of a filter.
const BITS: u32 = 2048;

/// A set of addresses that can be counted and joined with others, but not
/// listed (BEP 33: m = 2048 bits, k = 2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bloom(pub [u8; 256]);

impl Default for Bloom {
    /// The empty set.
    fn default() -> Self {
        Self([0; 256])
    }
}

impl Bloom {
    /// Adds an address.
    pub fn insert(&mut self, ip: IpAddr) {
        let hash = match ip.to_canonical() {
            IpAddr::V4(ip) => Key::sha1(&[&ip.octets()]),
            IpAddr::V6(ip) => Key::sha1(&[&ip.octets()]),
        };
        let [a, b, c, d, ..] = hash.0;
        for bit in [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])] {
            // 11 bits of it: the filter has 2048.
            self.0[usize::from(bit / 8 % 256)] |= 1 << (bit % 8);
        }
    }

    /// Adds what is in another filter.
    pub fn join(&mut self, other: &Self) {
        for (byte, more) in self.0.iter_mut().zip(other.0) {
            *byte |= more;
        }
    }

    /// How many addresses were added, about: ln(z / m) / (2 ln(1 - 1 / m)) for
    /// z bits that are still zero.
    pub fn estimate(&self) -> f64 {
        let zeros: u32 = self.0.iter().map(|byte| byte.count_zeros()).sum();
        // Both logarithms as sums of steps ln((k + 1) / k), for lack of `ln` without std. A full
        // filter counts as if one bit were left, and none is set in an empty one.
        let steps = (zeros.max(1)..BITS).rev().map(ln_step).fold(0.0, |sum, step| sum + step);
        steps / (2.0 * ln_step(BITS - 1))
    }
}

/// ln((k + 1) / k) for k of at least 1: 2 artanh(1 / (2 k + 1)) as a series.
fn ln_step(k: u32) -> f64 {
    let x = 1.0 / (2.0 * f64::from(k) + 1.0);
    let square = x * x;
    // x is at most 1/3: what is left out is below 3^-21.
    let series = (0..10).rev().fold(0.0, |sum, n| sum * square + 1.0 / (2.0 * f64::from(n) + 1.0));
    2.0 * x * series
}

impl fmt::Debug for Bloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "about {:.1} hosts", self.estimate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::net::{Ipv4Addr, Ipv6Addr};
    use quickcheck::quickcheck;

    fn filter(ips: impl IntoIterator<Item = IpAddr>) -> Bloom {
        let mut filter = Bloom::default();
        ips.into_iter().for_each(|ip| filter.insert(ip));
        filter
    }

    quickcheck! {
        fn a_joined_filter_is_that_of_all_in_any_order(some: Vec<IpAddr>, others: Vec<IpAddr>) -> bool {
            let mut joined = filter(some.clone());
            joined.join(&filter(others.clone()));
            joined == filter(others.into_iter().chain(some))
        }
    }

    /// The filter that BEP 33 prints.
    #[test]
    fn bep_33s_filter_and_estimate() {
        let v4 = (0..=255).map(|last| IpAddr::from(Ipv4Addr::new(192, 0, 2, last)));
        let v6 =
            (0..=0x3e7).map(|last| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)));
        let filter = filter(v4.chain(v6));
        let first = [0xf6, 0xc3, 0xf5, 0xea, 0xa0, 0x7f, 0xfd, 0x91, 0xbd, 0xe8, 0x9f, 0x77];
        assert_eq!(filter.0[..12], first);
        assert_eq!(filter.0[248..], [0xfe, 0xee, 0x76, 0xb6, 0xfd, 0x8f, 0x72, 0xef]);
        assert!((filter.estimate() - 1_224.930_8).abs() < 1e-4, "{}", filter.estimate());
    }

    #[test]
    fn an_empty_filter_counts_nobody_and_a_full_one_is_finite() {
        assert_eq!(Bloom::default().estimate(), 0.0);
        let most = Bloom([0xff; 256]).estimate();
        assert!(most > 7_000.0 && most < 9_000.0, "{most}");
    }

    #[test]
    fn twenty_hosts_count_about_twenty() {
        let ips = |n: u8| (0..n).map(|last| IpAddr::from(Ipv4Addr::new(127, 20, last, 1)));
        assert!((filter(ips(20)).estimate() - 20.0).abs() < 1.0);
        assert!((filter(ips(60)).estimate() - 60.0).abs() < 3.0);
        assert_eq!(filter(ips(20).chain(ips(20))), filter(ips(20)));
    }
}
