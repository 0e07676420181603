//! The listener and the datagram socket.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use socket2::SockRef;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Wanted receive buffer of the UDP socket in bytes; bursts must fit.
const UDP_BUFFER: usize = 1 << 20;
/// Ports tried until one is free for TCP and UDP.
const TRIES: usize = 16;

/// A TCP listener and a UDP socket on the same address and port.
#[derive(Debug)]
pub struct Sockets {
    listener: TcpListener,
    udp: UdpSocket,
    local: SocketAddr,
}

impl Sockets {
    /// Binds both. Port 0 means any port that is free for both. The address
    /// `[::]` takes IPv4 too where that is the system's default, as on Linux;
    /// such peers show with their IPv4 address.
    ///
    /// # Errors
    /// Those of the operating system: the port is taken, or forbidden.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        // A port that is free for TCP may be taken for UDP.
        let mut tries = (1..TRIES).map(|_| Self::bind_once(addr));
        tries.find(Result::is_ok).unwrap_or_else(|| Self::bind_once(addr))
    }

    fn bind_once(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr)?;
        SockRef::from(&listener).listen(BACKLOG)?;
        let local = listener.local_addr()?;
        let udp = UdpSocket::bind(local)?;
        listener.set_nonblocking(true)?;
        udp.set_nonblocking(true)?;
        // The kernel gives what it allows; less only means more loss in a burst.
        SockRef::from(&udp).set_recv_buffer_size(UDP_BUFFER).ok();
        Ok(Self { listener, udp, local })
    }

    /// The address both are bound to, with the port that was found.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Both, for a driver to put on its poller. They do not block.
    #[must_use]
    pub fn into_parts(self) -> (TcpListener, UdpSocket) {
        (self.listener, self.udp)
    }
}

/// An address as others know it: one socket for both families shows IPv4 peers
/// as `::ffff:a.b.c.d`.
pub(crate) fn canonical(mut addr: SocketAddr) -> SocketAddr {
    addr.set_ip(addr.ip().to_canonical());
    addr
}

/// An address as a socket bound to `local` takes it: the way back from
/// [`canonical`].
pub(crate) fn native(mut addr: SocketAddr, local: SocketAddr) -> SocketAddr {
    if let (SocketAddr::V6(_), IpAddr::V4(ip)) = (local, addr.ip()) {
        addr.set_ip(ip.to_ipv6_mapped().into());
    }
    addr
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn both_sockets_share_one_port() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let sockets = Sockets::bind((ip, 0).into()).unwrap();
            let local = sockets.local_addr();
            assert_ne!(local.port(), 0);
            assert_eq!(local.ip(), ip);
            assert_eq!(sockets.listener.local_addr().unwrap(), local);
            assert_eq!(sockets.udp.local_addr().unwrap(), local);
        }
    }

    #[test]
    fn a_taken_port_is_an_error() {
        let first = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let second = Sockets::bind(first.local_addr());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:9".parse().unwrap();
        let v4: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert_eq!(canonical(mapped), v4);
        assert_eq!(native(v4, "[::]:0".parse().unwrap()), mapped);
        assert_eq!(native(v4, "0.0.0.0:0".parse().unwrap()), v4);
        let plain: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        assert_eq!(canonical(plain), plain);
        assert_eq!(native(plain, "[::]:0".parse().unwrap()), plain);
    }
}
