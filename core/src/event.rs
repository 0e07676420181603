//! The whole vocabulary between the core and the world, on one page.
//!
//! In: [`Event`], which carries the application's [`Command`]s too.
//! Out: [`Output`], which is either an [`Action`] to carry out or the time to
//! wait for. What the application should know comes as a [`Notice`].

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::dht::Key;
use crate::id::{DialId, LinkId, LoadId, NodeId, Seq, Ticket};
use crate::stats::Stats;
use crate::stream::channel::{Channel, ChannelSummary, Name};
use crate::stream::file::FileId;
use crate::stream::sign::PublicKey;
use crate::time::Time;
use crate::wire::message::Member;

/// What a driver drives. See the [crate's front page](crate) for the contract.
pub trait Machine {
    /// Tells the machine what happened and when. May be called any number of
    /// times before [`poll`](Self::poll); nothing is lost (C1).
    fn handle(&mut self, now: Time, event: Event);

    /// The next thing to do, or how long to sleep when there is nothing (C2).
    #[must_use]
    fn poll(&mut self) -> Output;

    /// Where the next bytes of a connection will be kept, if that is known: a
    /// driver may read to here, from the front, and then gives
    /// [`Event::Filled`] at once. It saves a copy of long blocks, of a node that
    /// was given [memory](crate::node::Node::with_memory) for them. A driver that
    /// never asks, and only gives [`Event::Received`], loses nothing else. There
    /// is room for one byte at least.
    fn slot(&mut self, _link: LinkId) -> Option<&mut [u8]> {
        None
    }
}

/// What of a machine's actions is neither socket nor timer: the program's part,
/// the same for every driver. Called on the driver's thread, in the order of
/// the actions: what takes long belongs elsewhere, for meanwhile nothing else
/// moves.
pub trait Host {
    /// Takes a block for the player ([`Action::Deliver`]).
    fn deliver(&mut self, now: Time, delivery: Delivery);
    /// Takes a word for the application ([`Action::Notify`]).
    fn notify(&mut self, now: Time, notice: Notice);
    /// Takes a request to the disk ([`Action::Disk`]); it is answered later, by
    /// [`Event::Disk`]. A program without a disk has nothing to do here, for its
    /// node asks for none ([`Config::cache`](crate::config::Config::cache)).
    fn disk(&mut self, _now: Time, _request: DiskRequest) {}
}

/// The answer of [`Machine::poll`].
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Carry this out, then poll again.
    Act(Action),
    /// Nothing to do until this time, or, if `None`, until an event.
    Wait(Option<Time>),
}

/// What the world tells the core.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Time has passed. Early, late, doubled or unasked for: harmless (C4).
    Wake,
    /// A connection stands: one that the core dialled (`dial` names it), or
    /// one that somebody opened to us (`dial` is `None`).
    Opened {
        /// The new connection; an id never used before.
        link: LinkId,
        /// The attempt this answers, if it was ours.
        dial: Option<DialId>,
        /// The other end's address.
        remote: SocketAddr,
    },
    /// A connection could not be opened.
    DialFailed {
        /// The attempt this answers.
        dial: DialId,
    },
    /// Bytes came in on a connection, cut anywhere.
    Received {
        /// The connection.
        link: LinkId,
        /// The bytes; the core copies what it keeps.
        bytes: Bytes,
    },
    /// Bytes came in on a connection, and lie at the front of its
    /// [slot](Machine::slot).
    Filled {
        /// The connection.
        link: LinkId,
        /// How many.
        bytes: usize,
    },
    /// The transport took bytes of earlier `Send`s: credit comes back (C8).
    Flushed {
        /// The connection.
        link: LinkId,
        /// How many bytes, heads included.
        bytes: usize,
    },
    /// A connection ended, or `Action::Close` was carried out (C9).
    Closed {
        /// The connection.
        link: LinkId,
    },
    /// A datagram came in on the node's UDP port.
    Datagram {
        /// Its sender.
        from: SocketAddr,
        /// Its payload.
        bytes: Bytes,
    },
    /// The disk answers.
    Disk(DiskAnswer),
    /// The application wants something.
    Command {
        /// The application's name for the request.
        ticket: Ticket,
        /// The request.
        command: Command,
    },
}

/// What the application asks of a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Viewer: join a channel and play it. Who is in another channel leaves it
    /// as soon as the new one is known to be there, and stays if it is not.
    /// Ends when the first block is handed over, or with a refusal.
    Join(Box<Join>),
    /// Provider: one datagram as the encoder sent it, stamped on arrival.
    /// At most 65,507 bytes.
    Publish(Bytes),
    /// Ask the bootstrap servers which channels there are.
    List {
        /// Bootstrap servers, tried in turn.
        bootstrap: Vec<SocketAddr>,
    },
    /// Viewer: go to another moment of the channel. Ends when its first block is
    /// handed over, or another command takes its place.
    Seek(Position),
    /// Viewer: stand still.
    Pause,
    /// Viewer: go on where it stands; nothing is left out.
    Play,
    /// DHT node: who announced himself under this key?
    LookUp {
        /// The key.
        key: Key,
    },
    /// DHT node: put the node's address under this key, on the nodes that are
    /// closest to it.
    Announce {
        /// The key.
        key: Key,
        /// The record's port; 0 for that of the node's datagrams.
        port: u16,
        /// How long the record shall live, 60 s to an hour; zero takes it away.
        life: Duration,
    },
    /// Leave the mesh: tell children, parents, partners and the bootstrap
    /// server, then close every connection. Ends when all are closed.
    Leave,
}

/// A moment of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Position {
    /// The live edge.
    Live,
    /// So long before the live edge.
    Ago(Duration),
    /// A moment of stream time.
    At(Time),
    /// This many microseconds after, or before, the moment that is played.
    By(i64),
}

/// What a viewer needs to join a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// Bootstrap servers, tried in turn. May be empty if `known` is given.
    pub bootstrap: Vec<SocketAddr>,
    /// The channel's name.
    pub channel: Name,
    /// The provider's public key. `None` pins the first one seen and says so.
    pub key: Option<PublicKey>,
    /// What was remembered of this channel: enough to join without a
    /// bootstrap server.
    pub known: Option<(Channel, Vec<Member>)>,
    /// Where to begin. Who begins in the past takes no part in the live mesh
    /// until it goes there.
    pub position: Position,
}

/// What a node wants of the disk: the program's part. It keeps files of one
/// channel, the one that the node is in.
#[derive(Clone, Debug, PartialEq)]
pub enum DiskRequest {
    /// Keep a file. Answered by [`DiskAnswer::Stored`].
    Store {
        /// The file.
        file: FileId,
        /// Its blocks' frames, in order.
        frames: Vec<Bytes>,
    },
    /// Read blocks of a file that was kept. Answered by [`DiskAnswer::Loaded`].
    Load {
        /// The request's name, to be given back.
        load: LoadId,
        /// The file.
        file: FileId,
        /// The first block.
        first: Seq,
        /// How many, at least one.
        blocks: u32,
    },
    /// Forget a file. Not answered.
    Delete {
        /// The file.
        file: FileId,
    },
}

/// What the disk answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DiskAnswer {
    /// What the disk has kept of the channel since earlier runs. Told once, after
    /// [`Notice::Channel`]; until then nothing is stored.
    Found {
        /// Each file, and its length in bytes.
        files: Vec<(FileId, u64)>,
    },
    /// A file was kept, or was not.
    Stored {
        /// The file.
        file: FileId,
        /// What came of it.
        kept: Kept,
    },
    /// Blocks were read.
    Loaded {
        /// The request.
        load: LoadId,
        /// Their frames one after another; `None` if they can't be had.
        frames: Option<Bytes>,
    },
}

/// What came of a file that the disk was to keep. Unless it is safe, nothing is
/// left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kept {
    /// All of it is safe.
    Safe,
    /// There is no room on the disk, whatever the quota says.
    Full,
    /// The disk is too slow, or failed.
    Failed,
}

/// The first bytes of a `Send`: a frame's header, or a small message whole.
pub type Head = SmallVec<[u8; 64]>;

/// What the core wants done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Open a connection; answer with `Opened` or `DialFailed`.
    Dial {
        /// The attempt's name, to be given back.
        dial: DialId,
        /// Where to.
        to: SocketAddr,
    },
    /// Send `head`, then `body`, on a connection. In order per link (C7).
    Send {
        /// The connection.
        link: LinkId,
        /// Header, or a small message whole; may be empty.
        head: Head,
        /// Payload, shared and never copied; may be empty.
        body: Bytes,
    },
    /// Send a datagram; a failure is a loss and needs no report.
    SendDatagram {
        /// Where to.
        to: SocketAddr,
        /// Its payload.
        bytes: Bytes,
    },
    /// Stop or go on reading a connection. Connections start reading.
    SetRead {
        /// The connection.
        link: LinkId,
        /// Whether to read.
        on: bool,
    },
    /// Close a connection; answer with `Closed`.
    Close {
        /// The connection.
        link: LinkId,
        /// Whether to let the transport take what was sent before.
        flush: bool,
    },
    /// Ask the disk for something.
    Disk(DiskRequest),
    /// Hand a block to the player.
    Deliver(Delivery),
    /// Tell the application.
    Notify(Notice),
}

/// A block handed to the player, in order; gaps only after a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its sequence number.
    pub seq: Seq,
    /// When its slot starts on this node's clock: the packet at offset x of
    /// the block is to leave at `due + x`. With play-out delay 0 there is
    /// nothing to wait for and `due` is `None`.
    pub due: Option<Time>,
    /// The start of its slot on the provider's clock (stream time).
    pub slot: Time,
    /// Timed packets; read them with [`packets`](crate::stream::block::packets).
    pub payload: Bytes,
}

/// What the application is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// A command is done, or was refused. Exactly one for each ticket (C10).
    Ended {
        /// The command's ticket.
        ticket: Ticket,
        /// What came of it.
        result: Result<Answer, Refusal>,
    },
    /// The channel's description is known, and its key pinned.
    Channel(Box<Channel>),
    /// Where the viewer stands.
    Phase(Phase),
    /// The bootstrap server answered, or does not.
    Bootstrap(BootstrapState),
    /// The channel's name is registered with another provider's key: viewers
    /// will not find this channel.
    NameTaken(Name),
    /// Members worth remembering on disk, newest first.
    Members(Vec<Member>),
    /// Once a second: counters and gauges.
    Stats(Box<Stats>),
    /// A peer broke the protocol and lost its connection.
    Fault {
        /// Which peer, if it had said.
        node: Option<NodeId>,
        /// Its address.
        remote: SocketAddr,
        /// What it did.
        fault: Fault,
    },
    /// Something the user may want to change.
    Warning(Warning),
}

/// What a finished command brought.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// It is done.
    Done,
    /// The channels there are.
    Channels(Vec<ChannelSummary>),
    /// Who announced himself under a key, as far as the DHT knows.
    Peers(Vec<SocketAddr>),
    /// A record was given away.
    Stored {
        /// Nodes that took it.
        nodes: usize,
    },
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The bootstrap server knows no channel of that name.
    NoSuchChannel,
    /// The channel of that name has another provider key.
    WrongKey,
    /// No bootstrap server answered.
    NoBootstrap,
    /// This kind of node cannot do that.
    NotPossible,
    /// The node is leaving.
    Leaving,
    /// The node asks its bootstrap servers for something else, or has too many
    /// commands to carry out.
    Busy,
    /// The packet is longer than 65,507 bytes.
    PacketTooLong,
    /// Another command took its place.
    Replaced,
    /// The slot is full: the input is faster than `Config::max_block` allows.
    InputTooFast,
}

/// Where a viewer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Looking for the channel and its members.
    Joining,
    /// Blocks come in, play-out has not begun.
    Buffering,
    /// Playing.
    Playing,
    /// A block is late; play-out waits for it.
    Stalled,
    /// The viewer wants it to stand still.
    Paused,
}

/// How the bootstrap server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootstrapState {
    /// It answered.
    Reached {
        /// Our address as it sees us.
        observed: SocketAddr,
        /// Whether it could dial us back; `None` while it has not tried.
        connectable: Option<bool>,
    },
    /// It does not answer; the next try comes after `retry_in`.
    Lost {
        /// Time until the next try.
        retry_in: Duration,
    },
}

/// What a misbehaving peer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Bytes that are not our protocol.
    Garbage,
    /// A frame over the agreed maximum.
    Oversized,
    /// A protocol version we do not speak.
    Version(u8),
    /// A block whose signature does not hold.
    Forged,
    /// It did not finish its handshake, or a frame, in time.
    Slow,
    /// A message that makes no sense in this state.
    Unexpected,
    /// More connections than allowed.
    TooMany,
}

/// Something the user may want to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// The mean block is under 2 KiB: a longer block duration would cost less.
    SmallBlocks {
        /// Mean bytes a block.
        mean: u32,
    },
    /// No packet came from the encoder for this long.
    InputSilent {
        /// Time since the last packet.
        silent: Duration,
    },
    /// Packets come again after a silence.
    InputBack,
    /// No partner with room for us: the mesh lacks upload.
    NoUpload,
    /// No partner has a way to the provider: it went away, or we are cut off.
    NoProvider,
    /// A file is larger than the cache's quota, and was not kept.
    SmallQuota {
        /// The file's bytes.
        file: u64,
        /// The quota, in bytes.
        quota: u64,
    },
}
