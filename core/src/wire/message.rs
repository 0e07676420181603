//! What nodes say to each other, one type a message.
//!
//! The layout of each on the wire stands in `docs/PROTOCOL.md`;
//! [`parse`](crate::wire::parse) and [`emit`](crate::wire::emit) carry it out.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{ChannelId, NodeId, Seq, SubStream};
use crate::stream::channel::{Channel, ChannelSummary, Name};
use crate::stream::map::BufferMap;
use crate::stream::sign::{PublicKey, Signature};

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;
/// The first bytes of every connection, in each direction.
pub const MAGIC: [u8; 4] = *b"EDDY";
/// Members in a join reply, at most (report p. 14: "a list of active nodes").
pub const MAX_MEMBERS: usize = 20;
/// Referrals in a refusal, at most.
pub const MAX_REFERRALS: usize = 4;
/// Blocks that one pull asks for, at most.
pub const MAX_PULL: usize = 64;
/// Blocks that one time-shift request asks for, at most: a second of the
/// shortest blocks.
pub const MAX_TIME_SHIFT: u8 = 50;
/// Channels in one list reply, at most.
pub const MAX_CHANNELS: usize = 100;

/// A one-time word that binds a block link to a partnership.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Token(pub u64);

/// Every message but the block, which has a type of its own
/// ([`Block`](crate::stream::block::Block)) and is relayed without being parsed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// First on every connection, both ways.
    Hello(Hello),
    /// The connection is refused; its sender closes it.
    Refuse(Refuse),

    /// Provider to bootstrap server: here is my channel (report M1).
    ChannelRegistration(Registration),
    /// The answer to a registration.
    RegistrationReply(RegistrationResult),
    /// Which channels are there (report M2)?
    ChannelList(ListRequest),
    /// The answer to a channel list.
    ChannelListReply(Vec<ChannelSummary>),
    /// Viewer to bootstrap server: let me in (report M3).
    ChannelJoin(JoinRequest),
    /// The answer to a join.
    JoinReply(Box<JoinReply>),
    /// I am still here (report M8).
    Heartbeat(ChannelId),
    /// The answer to a heartbeat, with the viewer count (report p. 12).
    HeartbeatReply(HeartbeatReply),
    /// I am going.
    Leave,

    /// What I hold (report M4).
    BufferMap(BufferMap),
    /// Measures the round trip; the number comes back in a pong.
    Ping(u64),
    /// The answer to a ping.
    Pong(u64),
    /// Members I know.
    Gossip(Vec<Member>),
    /// Push me this sub-stream from here on (report M5).
    Subscribe(Subscribe),
    /// The answer to a subscription.
    SubscribeReply(SubscribeReply),
    /// Push me this sub-stream no longer (report M6).
    Unsubscribe(SubStream),
    /// The answer to an un-subscription.
    UnsubscribeReply(SubStream),
    /// Open a block link to me and show this token.
    BlockLink(Token),
    /// I cannot reach you: open the block link yourself and show this token.
    DialBack(Token),
    /// Send me these blocks (repair).
    Pull(SmallVec<[Seq; 8]>),
    /// I do not have these blocks.
    DontHave(SmallVec<[Seq; 8]>),

    /// Send me these past blocks, in order (report M7).
    TimeShiftRequest(TimeShiftRequest),
    /// From here on I cannot serve your request.
    TimeShiftRefused(TimeShiftRefused),
    /// Forget what I asked for on this connection.
    TimeShiftCancel,
    /// Others who asked me lately for this part of the past.
    TimeShiftOthers(TimeShiftOthers),
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Talk to a bootstrap server.
    Bootstrap,
    /// A partnership in this channel.
    Control(ChannelId),
    /// Blocks, pushed by the one who gave out the token.
    Block(Token),
    /// The bootstrap server tries whether this node can be dialled.
    Probe,
    /// Past blocks of this channel, on request.
    TimeShift(ChannelId),
}

/// First on every connection, both ways. The one who accepts repeats the
/// purpose that it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The longest frame, in bytes, that the sender will take.
    pub max_frame: u32,
    /// Who speaks.
    pub node: NodeId,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Where the sender can be dialled: its port, and its address if it was
    /// told to advertise one (else the other end puts in what it sees).
    pub listen: SocketAddr,
    /// The receiver's address as the sender sees it.
    pub observed: SocketAddr,
    /// A number that registration is signed over; fresh for each connection.
    pub nonce: u64,
}

/// Why a connection or a subscription is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The protocol version is not spoken here.
    Version,
    /// No room: too many partners, or no upload left.
    Full,
    /// That channel is not here.
    Channel,
    /// The sub-stream cannot be served: no parent of our own, or a loop.
    NoSource,
    /// The token is unknown or was used.
    Token,
    /// The two are partners already, or the node dialled itself.
    Duplicate,
}

/// The connection is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refuse {
    /// Why.
    pub reason: Reason,
    /// The version the sender speaks.
    pub version: u8,
    /// Others to try.
    pub referrals: SmallVec<[Member; MAX_REFERRALS]>,
}

/// A node of a channel, as others speak of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// Where it can be dialled.
    pub addr: SocketAddr,
    /// Whether the bootstrap server could dial it.
    pub connectable: bool,
    /// Whether it is the channel's provider.
    pub provider: bool,
    /// Seconds since it was last heard of, by anyone on the way here.
    pub age: u16,
}

/// A channel is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The channel.
    pub channel: Channel,
    /// By the channel's key, over the server's nonce and the description.
    pub signature: Signature,
}

/// What came of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistrationResult {
    /// The channel is listed.
    Registered,
    /// The name belongs to another key.
    NameTaken,
    /// The signature does not hold.
    BadSignature,
    /// The server has no room.
    Full,
}

/// Which channels to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Only names that contain this; empty for all.
    pub filter: String,
}

/// A viewer wants in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The channel's name.
    pub name: Name,
    /// The key it must have, if the viewer knows.
    pub key: Option<PublicKey>,
}

/// The answer to a join.
#[expect(clippy::large_enum_variant, reason = "boxed as a whole in `Message`")]
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum JoinReply {
    /// The channel, and some of its members.
    Joined {
        /// The channel.
        channel: Channel,
        /// Viewers in it.
        viewers: u32,
        /// Up to [`MAX_MEMBERS`] of its nodes, the provider among them.
        members: Vec<Member>,
    },
    /// There is no channel of that name.
    NoSuchChannel,
    /// The channel of that name has another key.
    WrongKey,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Whether the server knows the channel and this node in it; if not, join
    /// or register again.
    pub known: bool,
    /// Viewers in the channel.
    pub viewers: u32,
    /// Whether the server could dial this node; `None` while it has not tried.
    pub connectable: Option<bool>,
    /// A few of the channel's nodes, to refresh the member cache.
    pub members: Vec<Member>,
}

/// Push me this sub-stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Which.
    pub sub: SubStream,
    /// The first block wanted.
    pub from: Seq,
    /// Blocks older than this are of no use to the child: the parent may drop
    /// them instead of sending them. Whole milliseconds on the wire.
    pub window: Duration,
}

/// The answer to a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscribeReply {
    /// Which sub-stream.
    pub sub: SubStream,
    /// What came of it.
    pub result: Result<(), Refused>,
}

/// A subscription is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// Do not ask again before this has passed. Whole milliseconds on the wire.
    pub retry_after: Duration,
    /// Others to try.
    pub referrals: SmallVec<[Member; MAX_REFERRALS]>,
}

/// Send me these past blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeShiftRequest {
    /// The first one.
    pub first: Seq,
    /// How many: 1 to [`MAX_TIME_SHIFT`].
    pub blocks: u8,
}

/// A time-shift request is refused, or the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeShiftRefused {
    /// The first block that does not come.
    pub first: Seq,
    /// Why: [`Reason::NoSource`] if it is not here, [`Reason::Full`] if there is
    /// no upload to spare.
    pub reason: Reason,
    /// The first block after it that is here.
    pub next: Option<Seq>,
}

/// Others who asked for a part of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeShiftOthers {
    /// A block of that part.
    pub seq: Seq,
    /// Where they can be dialled.
    pub others: SmallVec<[SocketAddr; MAX_REFERRALS]>,
}
