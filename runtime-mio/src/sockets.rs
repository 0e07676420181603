//! The listener and the datagram socket.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::{TcpListener, UdpSocket};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Wanted receive buffer of the UDP socket in bytes; bursts must fit.
const UDP_BUFFER: usize = 1 << 20;
/// Ports tried until one is free for TCP and UDP.
const TRIES: u32 = 16;

/// A TCP listener and a UDP socket on the same address and port.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) listener: TcpListener,
    pub(crate) udp: UdpSocket,
    local: SocketAddr,
}

impl Sockets {
    /// Binds both. Port 0 means any port that is free for both. The address
    /// `[::]` takes IPv4 too; such peers show with their IPv4 address.
    ///
    /// # Errors
    /// Those of the operating system: the port is taken, or forbidden.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let mut bound = Self::bind_once(addr);
        for _ in 1..TRIES {
            match &bound {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse && addr.port() == 0 => {}
                _ => break,
            }
            bound = Self::bind_once(addr);
        }
        bound
    }

    fn bind_once(addr: SocketAddr) -> io::Result<Self> {
        let tcp = socket(addr, Type::STREAM, Protocol::TCP)?;
        // On Unix: take the port although connections of an earlier run still
        // linger. On Windows it would mean to steal it from another program.
        #[cfg(unix)]
        tcp.set_reuse_address(true)?;
        tcp.bind(&addr.into())?;
        tcp.listen(BACKLOG)?;
        let listener = TcpListener::from_std(tcp.into());
        let local = listener.local_addr()?;

        let udp = socket(addr, Type::DGRAM, Protocol::UDP)?;
        // The kernel gives what it allows; less only means more loss in a burst.
        udp.set_recv_buffer_size(UDP_BUFFER).ok();
        udp.bind(&local.into())?;
        Ok(Self { listener, udp: UdpSocket::from_std(udp.into()), local })
    }

    /// The address both are bound to, with the port that was found.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends a datagram; what cannot be sent now is lost.
    pub(crate) fn send_datagram(&self, bytes: &[u8], to: SocketAddr) {
        let to = match (self.local, to.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(ip)) => (ip.to_ipv6_mapped(), to.port()).into(),
            _ => to,
        };
        self.udp.send_to(bytes, to).ok();
    }
}

/// An address as others know it: one socket for both families shows IPv4 peers
/// as `::ffff:a.b.c.d`.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, addr.port()).into(),
        IpAddr::V6(_) => addr,
    }
}

fn socket(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
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
        assert_eq!(canonical(mapped), "127.0.0.1:9".parse().unwrap());
        let plain: SocketAddr = "[2001:db8::1]:9".parse().unwrap();
        assert_eq!(canonical(plain), plain);
    }
}
