//! One connection: its socket, what the driver said of it, what waits for it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use bytes::{Buf, Bytes};
use eddy_core::{DialId, Head};

use crate::net::{Readiness, Stream};

/// Pieces handed to the kernel in one call.
const SLICES: usize = 64;
/// Read after what went to a slot: enough for the head of the next block, and
/// little of what could go to its slot.
const SHORT: usize = 2 << 10;

#[derive(Debug)]
pub(crate) struct Link<S> {
    pub(crate) stream: S,
    pub(crate) phase: Phase,
    pub(crate) outbox: Outbox,
    /// Whether the machine wants to read.
    pub(crate) reading: bool,
    /// A driver speaks once for each change, so what it said is kept until the
    /// kernel says the opposite.
    ready: Readiness,
    /// Whether the last bytes went to a slot of the machine's.
    long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// We dialled.
    Dialling(DialId),
    /// The machine knows it.
    Open,
    /// The machine closed it: write the rest, then say goodbye.
    Closing,
    /// Goodbye is said; wait for the peer's. What it still sends is thrown
    /// away, for closing a socket with unread bytes resets the connection and
    /// may cost the peer ours.
    Closed,
}

impl<S: Stream> Link<S> {
    pub(crate) fn new(stream: S, phase: Phase) -> Self {
        Self {
            stream,
            phase,
            outbox: Outbox::default(),
            reading: true,
            ready: Readiness { writable: true, ..Readiness::default() },
            long: false,
        }
    }

    /// Remembers what the driver said.
    pub(crate) fn note(&mut self, said: Readiness) {
        self.ready.readable |= said.readable;
        self.ready.writable |= said.writable;
        self.ready.drain |= said.drain;
        self.ready.broken |= said.broken;
    }

    pub(crate) fn can_read(&self) -> bool {
        self.ready.broken || (self.ready.readable && (self.reading || self.phase != Phase::Open))
    }

    /// Reads once, to the machine's slot if there is one: `None` if nothing is
    /// there, 0 if it has come to its end, in whatever way.
    pub(crate) fn read(&mut self, slot: Option<&mut [u8]>, space: &mut [u8]) -> Option<usize> {
        if self.ready.broken && !self.reading {
            // Nobody wants what is left, and a pause must not hide the loss.
            return Some(0);
        }
        let space = if self.long { &mut space[..SHORT] } else { space };
        let long = slot.is_some();
        let to = slot.unwrap_or(space);
        let n = match self.stream.read(to) {
            Err(e) if e.kind() == ErrorKind::WouldBlock && !self.ready.broken => None,
            done => Some(done.unwrap_or(0)),
        };
        // A read that leaves space may have emptied the socket.
        self.ready.readable = n.is_some_and(|n| n == to.len() || self.ready.drain);
        self.long = if n.is_some() { long } else { self.long };
        n
    }

    /// Writes until nothing is left or the kernel takes no more; says goodbye
    /// after the last byte of a closing link. Returns the bytes written. An
    /// error shows at the next read, after what the peer had sent before.
    pub(crate) fn write(&mut self) -> usize {
        let mut total = 0;
        while self.ready.writable && !self.outbox.0.is_empty() {
            match self.outbox.write(&mut self.stream) {
                Ok(n) => total += n,
                Err(e) => {
                    self.ready.writable = false;
                    self.ready.broken |= e.kind() != ErrorKind::WouldBlock;
                }
            }
        }
        if self.phase == Phase::Closing && self.outbox.0.is_empty() {
            self.phase = Phase::Closed;
            self.stream.finish();
        }
        total
    }
}

/// Pieces in order, none of them empty, written from the front in parts of any
/// size. Bodies are shared, never copied.
#[derive(Debug, Default)]
pub(crate) struct Outbox(VecDeque<Bytes>);

impl Outbox {
    pub(crate) fn push(&mut self, head: &Head, body: Bytes) {
        let pieces = [Bytes::copy_from_slice(head), body];
        self.0.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
    }

    /// Writes once; returns the bytes that were taken.
    fn write(&mut self, to: &mut impl Write) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for (slice, piece) in slices.iter_mut().zip(&self.0) {
            *slice = IoSlice::new(piece);
        }
        let written = match &slices[..self.0.len().min(SLICES)] {
            // The plain call is the cheaper one: a block goes in a single piece.
            [only] => to.write(only)?,
            several => to.write_vectored(several)?,
        };
        let mut left = written;
        while let Some(piece) = self.0.pop_front_if(|piece| piece.len() <= left) {
            left -= piece.len();
        }
        self.0.front_mut().into_iter().for_each(|piece| piece.advance(left));
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// Takes as many bytes at a time as `cuts` say, then one by one.
    struct Narrow<C>(Vec<u8>, C);

    impl<C: Iterator<Item = u8>> Write for Narrow<C> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }
        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            assert!(!slices.is_empty() && slices.iter().all(|slice| !slice.is_empty()));
            let cut = self.1.next().unwrap_or(1).max(1).into();
            let before = self.0.len();
            self.0.extend(slices.iter().flat_map(|slice| slice.iter()).take(cut));
            Ok(self.0.len() - before)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    quickcheck! {
        fn every_byte_leaves_once_and_in_order(sends: Vec<(Vec<u8>, Vec<u8>)>, cuts: Vec<u8>) -> bool {
            let mut outbox = Outbox::default();
            let mut want = Vec::new();
            for (head, body) in sends {
                want.extend_from_slice(&head);
                want.extend_from_slice(&body);
                outbox.push(&Head::from_vec(head), Bytes::from(body));
                outbox.push(&Head::new(), Bytes::new());
            }
            let mut to = Narrow(Vec::new(), cuts.into_iter());
            let mut written = 0;
            while !outbox.0.is_empty() {
                written += outbox.write(&mut to).unwrap();
            }
            written == want.len() && to.0 == want
        }
    }
}
