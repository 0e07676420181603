//! What a connection is made of.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::{Index, IndexMut};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
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
    /// One `Send`.
    Data { head: Bytes, body: Bytes },
    /// The sender closed, or died.
    Fin,
}

impl Parcel {
    /// In bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Data { head, body } => head.len() + body.len(),
            Self::Accepted | Self::Fin => 0,
        }
    }
}

/// What waits to be read.
#[derive(Debug)]
pub(crate) enum Arrived {
    Bytes(Bytes),
    Fin,
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
    pub(crate) stalled: VecDeque<Parcel>,
    pub(crate) queued: VecDeque<Parcel>,
    pub(crate) flight: VecDeque<Parcel>,
    /// Bytes admitted to the uplink that the other machine has not read.
    pub(crate) outstanding: usize,
    /// A `Resume` is on its way.
    pub(crate) resuming: bool,
    /// When the last parcel launched arrives: the next is no earlier.
    pub(crate) arrival: Time,
    pub(crate) reading: bool,
    pub(crate) inbox: VecDeque<Arrived>,
}

impl End {
    pub(crate) const fn new(node: NodeIx, state: State) -> Self {
        Self {
            node,
            state,
            stalled: VecDeque::new(),
            queued: VecDeque::new(),
            flight: VecDeque::new(),
            outstanding: 0,
            resuming: false,
            arrival: Time::ZERO,
            reading: true,
            inbox: VecDeque::new(),
        }
    }

    pub(crate) fn forget_unsent(&mut self) {
        self.stalled.clear();
        self.queued.clear();
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

/// Head and body in one piece, copied only if there are two.
pub(crate) fn join(head: Bytes, body: Bytes) -> Bytes {
    match (head.is_empty(), body.is_empty()) {
        (true, _) => body,
        (_, true) => head,
        _ => {
            let mut both = BytesMut::with_capacity(head.len() + body.len());
            both.extend_from_slice(&head);
            both.extend_from_slice(&body);
            both.freeze()
        }
    }
}
