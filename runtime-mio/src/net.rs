//! The sockets, registered with the poller.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};

use bytes::Bytes;
use eddy_core::LinkId;
use eddy_runtime::{Net, ReadBuffer, Sockets, Stream};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

/// Every other token is the id of a link. Ids are never reused, so an event
/// that comes late finds no link at all.
pub(crate) const LISTENER: Token = Token(usize::MAX);
pub(crate) const DATAGRAMS: Token = Token(usize::MAX - 1);

#[derive(Debug)]
pub(crate) struct MioNet {
    registry: Registry,
    listener: TcpListener,
    udp: UdpSocket,
    buffer: ReadBuffer,
}

impl MioNet {
    pub(crate) fn new(registry: Registry, sockets: Sockets) -> io::Result<Self> {
        let (listener, udp) = sockets.into_parts();
        let mut listener = TcpListener::from_std(listener);
        let mut udp = UdpSocket::from_std(udp);
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        registry.register(&mut udp, DATAGRAMS, Interest::READABLE)?;
        Ok(Self { registry, listener, udp, buffer: ReadBuffer::default() })
    }

    fn adopt(&self, mut stream: TcpStream, link: LinkId) -> io::Result<Tcp> {
        // What is ready to be written is written together; Nagle would only delay
        // it. It fails on a connection that is gone, which the first read tells.
        stream.set_nodelay(true).ok();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut stream, Token(link.0 as usize), interest)?;
        Ok(Tcp(stream))
    }
}

impl Net for MioNet {
    type Stream = Tcp;

    fn dial(&mut self, link: LinkId, to: SocketAddr) -> io::Result<Tcp> {
        self.adopt(TcpStream::connect(to)?, link)
    }

    fn accept(&mut self, link: LinkId) -> io::Result<(Tcp, SocketAddr)> {
        let (stream, remote) = self.listener.accept()?;
        Ok((self.adopt(stream, link)?, remote))
    }

    fn receive(&mut self) -> io::Result<(SocketAddr, Bytes)> {
        let (n, from) = self.udp.recv_from(self.buffer.space())?;
        Ok((from, self.buffer.take(n)))
    }

    fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        self.udp.send_to(bytes, to).ok();
    }
}

#[derive(Debug)]
pub(crate) struct Tcp(TcpStream);

impl Stream for Tcp {
    fn connected(&mut self) -> io::Result<SocketAddr> {
        if let Some(e) = self.0.take_error()? {
            return Err(e);
        }
        self.0.peer_addr().map_err(|e| match e.kind() {
            ErrorKind::NotConnected => ErrorKind::WouldBlock.into(),
            _ => e,
        })
    }

    fn finish(&mut self) {
        // It fails on a connection that is gone, which the next read tells.
        self.0.shutdown(Shutdown::Write).ok();
    }
}

impl Read for Tcp {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.0.read(space)
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
