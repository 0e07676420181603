//! What a connection is made of.

use std::net::SocketAddr;
use std::ops::{Index, IndexMut};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::chain::{Chain, Chains};
use eddy_core::{DialId, LinkId, Time};

use crate::node::NodeIx;

/// A connection: a slot, and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnKey {
    pub(crate) ix: u32,
    pub(crate) serial: u32,
}

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

impl Side {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Acceptor,
            Self::Acceptor => Self::Dialler,
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndKey {
    pub(crate) conn: ConnKey,
    pub(crate) side: Side,
}

impl EndKey {
    pub(crate) const fn other(self) -> Self {
        Self { conn: self.conn, side: self.side.other() }
    }
}

/// What travels on a connection, in order.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// The acceptor took the connection.
    Accepted,
    /// One `Send`, of head or body.
    Data(Bytes),
    /// One `Send`, of both.
    Both(Box<[Bytes; 2]>),
    /// The sender closed, or died.
    Fin,
}

/// The parcels of all connections, wherever they wait.
pub(crate) type Parcels = Chains<Parcel>;

impl Parcel {
    /// What one `Send` puts on its way.
    pub(crate) fn sent(head: &[u8], body: Bytes) -> Self {
        match (head.is_empty(), body.is_empty()) {
            (true, _) => Self::Data(body),
            (_, true) => Self::Data(Bytes::copy_from_slice(head)),
            _ => Self::Both(Box::new([Bytes::copy_from_slice(head), body])),
        }
    }

    /// Its bytes as they lie, the second piece often empty.
    pub(crate) fn pieces(self) -> [Bytes; 2] {
        match self {
            Self::Data(bytes) => [bytes, Bytes::new()],
            Self::Both(both) => *both,
            Self::Accepted | Self::Fin => [Bytes::new(), Bytes::new()],
        }
    }

    /// Its bytes in one piece, copied only if there are two.
    pub(crate) fn joined(self) -> Bytes {
        match self.pieces() {
            [only, nothing] if nothing.is_empty() => only,
            both => Bytes::from(both.concat()),
        }
    }

    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Data(bytes) => bytes.len(),
            Self::Both(both) => both.iter().map(Bytes::len).sum(),
            Self::Accepted | Self::Fin => 0,
        }
    }
}

/// How an end stands with its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Dialled, and no answer yet.
    Opening(DialId),
    Open(LinkId),
    /// Closed by its machine, which waits to hear so.
    Closing(LinkId),
    /// Its machine was told, or is gone.
    Closed,
}

/// One end, with what it sends and what it has yet to read.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: NodeIx,
    pub(crate) state: State,
    pub(crate) stalled: Chain,
    pub(crate) queued: Chain,
    pub(crate) flight: Chain,
    /// Bytes admitted to the uplink that the other machine has not read.
    pub(crate) outstanding: usize,
    /// A `Resume` is on its way.
    pub(crate) resuming: bool,
    /// When the last parcel launched arrives: the next is no earlier.
    pub(crate) arrival: Time,
    pub(crate) reading: bool,
    pub(crate) inbox: Chain,
}

impl End {
    pub(crate) fn new(node: NodeIx, state: State) -> Self {
        Self {
            node,
            state,
            stalled: Chain::default(),
            queued: Chain::default(),
            flight: Chain::default(),
            outstanding: 0,
            resuming: false,
            arrival: Time::ZERO,
            reading: true,
            inbox: Chain::default(),
        }
    }

    pub(crate) fn forget_unsent(&mut self, parcels: &mut Parcels) {
        parcels.clear(&mut self.stalled);
        parcels.clear(&mut self.queued);
    }

    /// Nothing of it is wanted any more.
    pub(crate) fn forget_all(&mut self, parcels: &mut Parcels) {
        self.forget_unsent(parcels);
        parcels.clear(&mut self.flight);
        parcels.clear(&mut self.inbox);
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) serial: u32,
    /// One way, without jitter.
    pub(crate) latency: Duration,
    /// Nothing passes any more; both ends are about to learn it.
    pub(crate) broken: bool,
    pub(crate) ends: Ends,
}

/// The two ends of a connection.
#[derive(Debug)]
pub(crate) struct Ends(pub(crate) [End; 2]);

impl Index<Side> for Ends {
    type Output = End;
    fn index(&self, side: Side) -> &End {
        &self.0[side as usize]
    }
}

impl IndexMut<Side> for Ends {
    fn index_mut(&mut self, side: Side) -> &mut End {
        &mut self.0[side as usize]
    }
}

/// A connection attempt on its way.
#[derive(Debug)]
pub(crate) struct Syn {
    pub(crate) from: NodeIx,
    pub(crate) dial: DialId,
    pub(crate) to: SocketAddr,
    /// One way.
    pub(crate) latency: Duration,
    pub(crate) gives_up: Time,
}
