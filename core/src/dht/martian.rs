//! Endpoints where no node can be.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether nobody else can be reached there from `own`: another family, what
/// routers do not carry, our own endpoint.
pub(super) fn is_martian(addr: SocketAddr, own: SocketAddr) -> bool {
    addr == own || is_unreachable(addr, own)
}

/// The same, but our own endpoint is fine: a record may be ours. Loopback is
/// for those who are there themselves, or who are everywhere on their machine.
pub(super) fn is_unreachable(addr: SocketAddr, own: SocketAddr) -> bool {
    let nowhere = match addr.ip() {
        IpAddr::V4(ip) => is_nowhere(ip),
        IpAddr::V6(ip) => is_nowhere6(ip),
    };
    nowhere
        || addr.port() == 0
        || addr.is_ipv4() != own.is_ipv4()
        || addr.ip().is_loopback() && !own.ip().is_loopback() && !own.ip().is_unspecified()
}

/// Whether somebody elsewhere sends us to our own machine. What listens there
/// trusts its neighbours.
pub(super) fn is_sent_home(addr: SocketAddr, by: SocketAddr) -> bool {
    addr.ip().is_loopback() && !by.ip().is_loopback()
}

fn is_nowhere(ip: Ipv4Addr) -> bool {
    let [first, ..] = ip.octets();
    first == 0 || first >= 224 || ip.is_link_local()
}

fn is_nowhere6(ip: Ipv6Addr) -> bool {
    ip.is_unspecified()
        || ip.is_multicast()
        || ip.is_unicast_link_local()
        || ip.to_ipv4_mapped().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_lives_at_a_martian_address() {
        let own = at("10.0.0.1:4000");
        for martian in [
            "10.0.0.2:0",
            "10.0.0.1:4000",
            "0.0.0.0:1",
            "0.1.2.3:1",
            "127.0.0.1:1",
            "127.9.9.9:4000",
            "169.254.0.1:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[2001:db8::1]:1",
        ] {
            assert!(is_martian(at(martian), own), "{martian}");
        }
        for good in ["10.0.0.1:4001", "10.0.0.2:4000", "192.168.1.1:1", "8.8.8.8:65535"] {
            assert!(!is_martian(at(good), own), "{good}");
        }
        assert!(!is_unreachable(own, own));
        let own = at("[2001:db8::1]:4000");
        for martian in [
            "[::]:1",
            "[::1]:1",
            "[fe80::1]:1",
            "[ff02::1]:1",
            "[::ffff:8.8.8.8]:1",
            "[2001:db8::1]:4000",
            "8.8.8.8:1",
        ] {
            assert!(is_martian(at(martian), own), "{martian}");
        }
        assert!(!is_martian(at("[2001:db8::2]:4000"), own));
    }

    #[test]
    fn those_on_loopback_meet_there() {
        assert!(!is_martian(at("127.0.0.1:2"), at("127.0.0.1:1")));
        assert!(!is_martian(at("127.1.2.3:2"), at("127.0.0.1:1")));
        assert!(!is_martian(at("[::1]:2"), at("[::1]:1")));
    }

    #[test]
    fn who_is_everywhere_on_a_machine_is_on_its_loopback_too() {
        let own = at("0.0.0.0:4000");
        assert!(!is_martian(at("127.0.0.1:1"), own) && !is_martian(at("10.0.0.1:1"), own));
        assert!(is_sent_home(at("127.0.0.1:1"), at("10.0.0.1:1")));
        assert!(!is_sent_home(at("127.0.0.1:1"), at("127.0.0.2:1")));
        assert!(!is_sent_home(at("10.0.0.2:1"), at("10.0.0.1:1")));
    }
}
