//! One connection: its socket, what the poller said of it, what waits for it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};

use eddy_core::{DialId, Time};
use mio::event::Event;
use mio::net::TcpStream;

use crate::outbox::Outbox;

/// Pieces handed to the kernel in one call.
const SLICES: usize = 64;

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    pub(crate) phase: Phase,
    /// When the driver gives it up: a dial, or a close that takes too long.
    pub(crate) deadline: Option<Time>,
    pub(crate) outbox: Outbox,
    /// Whether the machine wants to read.
    pub(crate) reading: bool,
    /// Whether it stands in the driver's list of links to read, to write.
    pub(crate) to_read: bool,
    pub(crate) to_write: bool,
    // The poller speaks once for each change, so what it said is kept until
    // the kernel says the opposite.
    readable: bool,
    writable: bool,
    /// The peer's end is near: only 0 or an error ends the reading.
    ending: bool,
    /// The connection is lost, though bytes that came before may be unread.
    broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We dialled.
    Connecting(DialId),
    /// The machine knows it.
    Open,
    /// The machine closed it: write the rest, then say goodbye and wait for
    /// the peer's. What it still sends is thrown away, for closing a socket
    /// with unread bytes resets the connection and may cost the peer ours.
    Closing {
        /// Whether goodbye is said.
        said: bool,
    },
}

impl Link {
    pub(crate) fn new(stream: TcpStream, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            deadline: None,
            outbox: Outbox::default(),
            reading: true,
            to_read: false,
            to_write: false,
            readable: false,
            // A fresh connection takes bytes; a dial says when it stands.
            writable: phase == Phase::Open,
            ending: false,
            broken: false,
        }
    }

    /// Remembers what the poller said.
    pub(crate) fn note(&mut self, event: &Event) {
        self.ending |= event.is_read_closed() || event.is_error();
        self.broken |= event.is_error();
        self.readable |= event.is_readable() || self.ending;
        self.writable |= event.is_writable() || event.is_write_closed();
    }

    /// Where a dial has led.
    ///
    /// # Errors
    /// `NotConnected` while nobody knows; any other when it has failed.
    pub(crate) fn connected(&self) -> io::Result<SocketAddr> {
        if let Some(e) = self.stream.take_error()? {
            return Err(e);
        }
        let remote = self.stream.peer_addr()?;
        // A dial to a free local port can hit itself: TCP's simultaneous open.
        if remote == self.stream.local_addr()? {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        Ok(remote)
    }

    pub(crate) fn can_read(&self) -> bool {
        match self.phase {
            Phase::Connecting(_) => false,
            Phase::Open => self.readable && (self.reading || self.broken),
            Phase::Closing { .. } => self.readable,
        }
    }

    pub(crate) fn can_write(&self) -> bool {
        match self.phase {
            Phase::Connecting(_) => false,
            Phase::Closing { said: false } if self.outbox.is_empty() => true,
            _ => self.writable && !self.outbox.is_empty(),
        }
    }

    /// Reads once: `None` if nothing is there.
    ///
    /// # Errors
    /// The link has come to its end, in whatever way.
    pub(crate) fn read(&mut self, space: &mut [u8]) -> io::Result<Option<usize>> {
        if self.broken && !self.reading {
            return Err(ErrorKind::BrokenPipe.into());
        }
        match self.stream.read(space) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                // A read that leaves space has emptied a stream socket, and
                // what comes later makes a new event: no need to ask again.
                self.readable = n == space.len() || self.ending;
                Ok(Some(n))
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock && !self.broken => {
                self.readable = false;
                Ok(None)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes until nothing is left or the kernel takes no more; says goodbye
    /// after the last byte of a closing link. Returns the bytes written. An
    /// error shows at the next read, after what the peer had sent before.
    pub(crate) fn write(&mut self) -> usize {
        let mut total = 0;
        while self.writable && !self.outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = self.outbox.gather(&mut slices);
            match self.stream.write_vectored(&slices[..used]) {
                Ok(n) if n > 0 => {
                    self.outbox.advance(n);
                    total += n;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
                Ok(_) | Err(_) => {
                    self.outbox = Outbox::default();
                    self.broken = true;
                    self.ending = true;
                    self.readable = true;
                }
            }
        }
        if self.phase == (Phase::Closing { said: false }) && self.outbox.is_empty() {
            self.phase = Phase::Closing { said: true };
            // It fails on a connection that is gone, which the next read tells.
            self.stream.shutdown(Shutdown::Write).ok();
        }
        total
    }
}
