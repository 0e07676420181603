//! Addresses as the DHT sees them: on the wire, and by the network that they
//! belong to.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Appends an endpoint in compact form: address and port, big endian, 6 bytes
/// (BEP 5) or 18 (BEP 32).
pub(crate) fn put_compact(out: &mut Vec<u8>, addr: &SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// Reads an endpoint in compact form; `None` if it has neither length.
pub(crate) fn compact(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk()?;
    let ip = match ip.len() {
        4 => IpAddr::from(Ipv4Addr::from(*ip.first_chunk()?)),
        16 => IpAddr::from(Ipv6Addr::from(*ip.first_chunk()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// The network of an address: its first bits, as many as its family's number
/// says; the others are zero.
pub(crate) fn network(ip: IpAddr, bits_v4: u32, bits_v6: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shr(bits_v4).map_or(u32::MAX, |rest| !rest);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shr(bits_v6).map_or(u128::MAX, |rest| !rest);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}

/// What one host has to itself: an IPv4 address, or 64 bits of IPv6.
pub(crate) fn source(ip: IpAddr) -> IpAddr {
    network(ip, 32, 64)
}

/// Whether an address is one of a private network, of one link or of the
/// machine itself.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn an_endpoint_survives_its_compact_form(ip: IpAddr, port: u16) -> bool {
            let (addr, mut out) = (SocketAddr::new(ip, port), Vec::new());
            put_compact(&mut out, &addr);
            out.len() == if ip.is_ipv4() { 6 } else { 18 } && compact(&out) == Some(addr)
        }

        fn other_lengths_are_no_endpoint(bytes: Vec<u8>) -> bool {
            compact(&bytes).is_some() == matches!(bytes.len(), 6 | 18)
        }

        fn a_network_keeps_the_first_bits_and_no_other(ip: u32, bits: u8) -> bool {
            let bits = u32::from(bits % 40);
            let kept: u32 = (0..bits.min(32)).map(|bit| 1 << (31 - bit)).sum();
            network(Ipv4Addr::from(ip).into(), bits, 0) == IpAddr::from(Ipv4Addr::from(ip & kept))
        }
    }

    #[test]
    fn endpoints_are_written_as_bep_5_shows() {
        assert_eq!(compact(b"axje.u"), Some("97.120.106.101:11893".parse().unwrap()));
        assert_eq!(compact(b"idhtnm"), Some("105.100.104.116:28269".parse().unwrap()));
    }

    #[test]
    fn a_mapped_address_is_in_the_network_of_what_it_maps() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(source(ip("::ffff:192.0.2.7")), ip("192.0.2.7"));
        assert_eq!(source(ip("2001:db8:1:3:f:4:5:6")), ip("2001:db8:1:3::"));
        assert_eq!(network(ip("2001:db8:1:2:3::"), 24, 48), ip("2001:db8:1::"));
        assert!(is_local(ip("::ffff:127.0.0.1")));
    }
}
