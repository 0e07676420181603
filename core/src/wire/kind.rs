//! Type bytes of frames, in groups: 0x0_ connection, 0x1_ bootstrap,
//! 0x2_ partnership, 0x3_ time-shift, 0x4_ blocks, 0x5_ tickets (reserved). A type that is not listed here
//! is skipped.

pub use crate::stream::block::BLOCK_KIND as BLOCK;

/// [`Hello`](super::message::Message::Hello).
pub const HELLO: u8 = 0x01;
/// [`Refuse`](super::message::Message::Refuse).
pub const REFUSE: u8 = 0x02;
/// [`Leave`](super::message::Message::Leave).
pub const LEAVE: u8 = 0x03;
/// [`Ping`](super::message::Message::Ping).
pub const PING: u8 = 0x04;
/// [`Pong`](super::message::Message::Pong).
pub const PONG: u8 = 0x05;

/// [`ChannelRegistration`](super::message::Message::ChannelRegistration).
pub const CHANNEL_REGISTRATION: u8 = 0x10;
/// [`RegistrationReply`](super::message::Message::RegistrationReply).
pub const REGISTRATION_REPLY: u8 = 0x11;
/// [`ChannelList`](super::message::Message::ChannelList).
pub const CHANNEL_LIST: u8 = 0x12;
/// [`ChannelListReply`](super::message::Message::ChannelListReply).
pub const CHANNEL_LIST_REPLY: u8 = 0x13;
/// [`ChannelJoin`](super::message::Message::ChannelJoin).
pub const CHANNEL_JOIN: u8 = 0x14;
/// [`JoinReply`](super::message::Message::JoinReply).
pub const JOIN_REPLY: u8 = 0x15;
/// [`Heartbeat`](super::message::Message::Heartbeat).
pub const HEARTBEAT: u8 = 0x16;
/// [`HeartbeatReply`](super::message::Message::HeartbeatReply).
pub const HEARTBEAT_REPLY: u8 = 0x17;

/// [`BufferMap`](super::message::Message::BufferMap).
pub const BUFFER_MAP: u8 = 0x20;
/// [`Gossip`](super::message::Message::Gossip).
pub const GOSSIP: u8 = 0x21;
/// [`Subscribe`](super::message::Message::Subscribe).
pub const SUBSCRIBE: u8 = 0x22;
/// [`SubscribeReply`](super::message::Message::SubscribeReply).
pub const SUBSCRIBE_REPLY: u8 = 0x23;
/// [`Unsubscribe`](super::message::Message::Unsubscribe).
pub const UNSUBSCRIBE: u8 = 0x24;
/// [`UnsubscribeReply`](super::message::Message::UnsubscribeReply).
pub const UNSUBSCRIBE_REPLY: u8 = 0x25;
/// [`BlockLink`](super::message::Message::BlockLink).
pub const BLOCK_LINK: u8 = 0x26;
/// [`DialBack`](super::message::Message::DialBack).
pub const DIAL_BACK: u8 = 0x27;
/// [`Pull`](super::message::Message::Pull).
pub const PULL: u8 = 0x28;
/// [`DontHave`](super::message::Message::DontHave).
pub const DONT_HAVE: u8 = 0x29;

/// [`TimeShiftRequest`](super::message::Message::TimeShiftRequest).
pub const TIME_SHIFT_REQUEST: u8 = 0x30;
/// [`TimeShiftRefused`](super::message::Message::TimeShiftRefused).
pub const TIME_SHIFT_REFUSED: u8 = 0x31;
/// [`TimeShiftCancel`](super::message::Message::TimeShiftCancel).
pub const TIME_SHIFT_CANCEL: u8 = 0x32;
/// [`TimeShiftOthers`](super::message::Message::TimeShiftOthers).
pub const TIME_SHIFT_OTHERS: u8 = 0x33;
