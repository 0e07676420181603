//! KRPC, what DHT nodes say to each other: one bencoded dictionary a datagram
//! (BEP 5), with IPv6 (BEP 32), scrapes (BEP 33), read-only nodes (BEP 43) and
//! what is ours: the network's id and the life of records.

mod emit;
mod parse;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

pub use self::emit::emit;
pub use self::parse::parse;
use crate::dht::bloom::Bloom;
use crate::dht::key::{Contact, Key};

/// The most bytes of a datagram that we send.
pub const MAX_SENT: usize = 1024;
/// The most bytes of a datagram that is looked at.
pub const MAX_RECEIVED: usize = 1500;
/// The longest transaction id that is echoed, in bytes.
pub const MAX_TX: usize = 32;
/// The longest token that is taken, in bytes.
pub const MAX_TOKEN: usize = 64;
/// The most nodes of each family that are taken from an answer.
pub const MAX_NODES: usize = 16;
/// The most values that are taken from an answer.
pub const MAX_VALUES: usize = 256;
/// The longest text of an error, in bytes.
pub const MAX_TEXT: usize = 64;

/// Malformed, bad arguments, or a bad token.
pub const PROTOCOL_ERROR: i64 = 203;
/// No such method here.
pub const METHOD_UNKNOWN: i64 = 204;

/// A transaction id: whatever the asking node chose, at most [`MAX_TX`] bytes.
/// Ours are four bytes, the only length that every implementation takes.
pub type Tx = SmallVec<[u8; 4]>;

/// A datagram.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// Which query this is, or answers.
    pub t: Tx,
    /// The network that its sender belongs to; `None` in the public one.
    pub ns: Option<[u8; 8]>,
    /// What it says.
    pub body: Body,
}

/// What a datagram says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A question.
    Query {
        /// Who asks.
        id: Key,
        /// It answers no questions itself (BEP 43).
        read_only: bool,
        /// What it asks.
        query: Query,
    },
    /// A good answer.
    Answer {
        /// Who answers.
        id: Key,
        /// How it sees the one who asked (BEP 42).
        ip: Option<SocketAddr>,
        /// What it answers. Empty fields stand for what wasn't said.
        answer: Answer,
    },
    /// A refusal.
    Error {
        /// Who refuses; most don't say.
        id: Option<Key>,
        /// Why: 201 to 204 (BEP 5), and others.
        code: i64,
        /// Why, in words; at most [`MAX_TEXT`] bytes.
        text: String,
    },
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Whether it is there.
    Ping,
    /// The nodes nearest to an id.
    FindNode {
        /// The id.
        target: Key,
        /// Of which families.
        want: Want,
    },
    /// The records under a key, and the nodes nearest to it.
    GetPeers {
        /// The key.
        key: Key,
        /// Nodes of which families.
        want: Want,
        /// Whether to send the records as filters, too (BEP 33).
        scrape: bool,
        /// Whether to say how long each record lives on: ours.
        lives: bool,
    },
    /// Puts the sender's address under a key.
    Announce {
        /// The key.
        key: Key,
        /// The port of the record; 0 if only the datagram's is meant.
        port: u16,
        /// Take the port that the datagram came from.
        implied: bool,
        /// What a `get_peers` or `get` of that key gave.
        token: Bytes,
        /// Seconds that the record shall live; 0 withdraws it: ours.
        exp: Option<u16>,
    },
    /// BEP 44: answered with a token and nodes; nothing is held.
    Get {
        /// The key.
        target: Key,
        /// Nodes of which families.
        want: Want,
    },
    /// BEP 44: refused, nothing is held.
    Put,
    /// A method that is not known here.
    Unknown {
        /// Its `target` or `info_hash`: with one it is answered like
        /// [`FindNode`](Self::FindNode), without it is refused.
        target: Option<Key>,
    },
}

/// Nodes of which families are wanted (BEP 32). Neither stands for that of the
/// address that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Want {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// A good answer to any question.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Answer {
    /// What an announce under this key has to show; without it this node would
    /// not store. At most [`MAX_TOKEN`] bytes.
    pub token: Option<Bytes>,
    /// The records.
    pub values: Option<Vec<SocketAddr>>,
    /// Minutes that each record lives on, in the order of the values: ours.
    pub lives: Vec<u8>,
    /// The nearest nodes with IPv4 addresses.
    pub nodes: Vec<Contact>,
    /// The nearest nodes with IPv6 addresses.
    pub nodes6: Vec<Contact>,
    /// All records as filters: seeds, then the others (BEP 33).
    pub bloom: Option<Box<[Bloom; 2]>>,
}

/// Why a datagram is no [`Packet`].
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// Nothing is owed.
    Drop,
    /// A query, but a bad one: an error is owed. It is never longer than the
    /// query was.
    Answer {
        /// The query's transaction id.
        t: Tx,
        /// The network that it came from.
        ns: Option<[u8; 8]>,
        /// 203 or 204.
        code: i64,
        /// Why, in words.
        text: &'static str,
    },
}
