//! What a driver brings.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use bytes::Bytes;
use eddy_core::LinkId;

/// Sockets that never block. Whatever is not possible now fails with
/// [`WouldBlock`](io::ErrorKind::WouldBlock); the driver tells the
/// [`Engine`](crate::Engine) once it is worth another try.
pub trait Net {
    /// One connection.
    type Stream: Stream;

    /// Begins to connect; the driver tells when `link` is ready, or has failed.
    ///
    /// # Errors
    /// Those of the operating system: it cannot connect there, or not now.
    fn dial(&mut self, link: LinkId, to: SocketAddr) -> io::Result<Self::Stream>;

    /// Takes a connection that somebody opened; from now on it is `link`.
    ///
    /// # Errors
    /// Any but `WouldBlock` makes accepting pause.
    fn accept(&mut self, link: LinkId) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Takes a datagram.
    ///
    /// # Errors
    /// Any but `WouldBlock` is passed over.
    fn receive(&mut self) -> io::Result<(SocketAddr, Bytes)>;

    /// Sends a datagram; what cannot be sent now is lost.
    fn send(&mut self, bytes: &[u8], to: SocketAddr);
}

/// A connection of a [`Net`].
pub trait Stream: Read + Write {
    /// The peer's address once a dial has succeeded.
    ///
    /// # Errors
    /// `WouldBlock` if that is still open; any other if it has failed.
    fn connected(&mut self) -> io::Result<SocketAddr>;

    /// Says goodbye: nothing will be written any more.
    fn finish(&mut self);
}

/// What a driver knows of a connection. What is false says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readiness {
    /// Reading is worth a try.
    pub readable: bool,
    /// Writing is worth a try.
    pub writable: bool,
    /// From now on only `WouldBlock`, 0 or an error ends a reading. Otherwise a
    /// read that leaves space does too: it has emptied the socket, and the
    /// driver will tell of what comes later.
    pub drain: bool,
    /// The connection is lost, though bytes that came before may be unread.
    pub broken: bool,
}
