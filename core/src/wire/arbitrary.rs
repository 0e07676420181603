//! Generators of valid messages: of everything that must survive the wire.
//! Bytes choose, so that a fuzzer can steer and a test can be repeated.

use alloc::boxed::Box;
use alloc::string::String;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use crate::id::{ChannelId, NodeId, Seq, SubStream};
use crate::stream::channel::{
    Channel, ChannelSpec, ChannelSummary, MAX_DESCRIPTION, MAX_NAME, MAX_SUB_STREAMS, Name,
};
use crate::stream::map::{BufferMap, MapEntry, Path};
use crate::stream::sign::{PublicKey, Signature};
use crate::wire::message::{
    HeartbeatReply, Hello, JoinReply, JoinRequest, ListRequest, MAX_CHANNELS, MAX_MEMBERS,
    MAX_PULL, MAX_REFERRALS, MAX_TIME_SHIFT, Member, Message, Purpose, Reason, Refuse, Refused,
    Registration, RegistrationResult, Subscribe, SubscribeReply, TimeShiftOthers, TimeShiftRefused,
    TimeShiftRequest, Token,
};

/// Choices made by bytes, first to last. When these are used up, every further
/// choice is the first one, so whatever is made of any bytes comes to an end.
#[derive(Clone, Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Lets these bytes choose.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all bytes are used up.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Any bytes, this many.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.slice(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// The next bytes as they are: this many, or all that are left.
    pub fn slice(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// True or false.
    pub fn coin(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// Any 16-bit number.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Any 32-bit number.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Any 64-bit number.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// A number below `n`, and below 2^16; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let any: usize = if n <= 256 { self.byte().into() } else { self.u16().into() };
        any % n.max(1)
    }

    /// One of the items.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Up to `most` items.
    fn list<T, C: FromIterator<T>>(
        &mut self,
        most: usize,
        mut item: impl FnMut(&mut Self) -> T,
    ) -> C {
        let length = self.below(most + 1);
        (0..length).map(|_| item(self)).collect()
    }

    /// Text of at most `most` bytes.
    fn text(&mut self, most: usize, allowed: impl Fn(char) -> bool) -> String {
        let mut text: String = self.list(most, Self::char);
        text.retain(allowed);
        text.truncate(text.floor_char_boundary(most));
        text
    }

    /// ASCII as often as not.
    fn char(&mut self) -> char {
        match self.byte() {
            ascii @ 0..0x80 => ascii.into(),
            _ => char::from_u32(u32::from(self.u16()) * 17).unwrap_or('é'),
        }
    }

    /// Any message that keeps the limits of the wire.
    pub(super) fn message(&mut self) -> Message {
        match self.below(27) {
            0 => Message::Hello(self.hello()),
            1 => Message::Refuse(Refuse {
                reason: self.reason(),
                version: self.byte(),
                referrals: self.list(MAX_REFERRALS, Self::member),
            }),
            2 => Message::Leave,
            3 => Message::Ping(self.u64()),
            4 => Message::Pong(self.u64()),
            5 => Message::ChannelRegistration(Registration {
                channel: self.channel(),
                signature: Signature(self.array()),
            }),
            6 => Message::RegistrationReply(self.pick(&[
                RegistrationResult::Registered,
                RegistrationResult::NameTaken,
                RegistrationResult::BadSignature,
                RegistrationResult::Full,
            ])),
            7 => Message::ChannelList(ListRequest { filter: self.text(MAX_NAME, |_| true) }),
            // A list of the longest channels would not fit one frame.
            8 => Message::ChannelListReply(self.list(MAX_CHANNELS / 2, |c| ChannelSummary {
                channel: c.channel(),
                viewers: c.u32(),
            })),
            9 => Message::ChannelJoin(JoinRequest {
                name: self.name(),
                key: self.coin().then(|| PublicKey(self.array())),
            }),
            10 => Message::JoinReply(Box::new(match self.below(4) {
                0 => JoinReply::NoSuchChannel,
                1 => JoinReply::WrongKey,
                _ => JoinReply::Joined {
                    channel: self.channel(),
                    viewers: self.u32(),
                    members: self.list(MAX_MEMBERS, Self::member),
                },
            })),
            11 => Message::Heartbeat(ChannelId(self.array())),
            12 => Message::HeartbeatReply(HeartbeatReply {
                known: self.coin(),
                viewers: self.u32(),
                connectable: self.pick(&[None, Some(false), Some(true)]),
                members: self.list(MAX_MEMBERS, Self::member),
            }),
            13 => Message::BufferMap(self.map()),
            14 => Message::Gossip(self.list(MAX_MEMBERS, Self::member)),
            15 => Message::Subscribe(Subscribe {
                sub: self.sub(),
                from: self.seq(),
                window: self.millis(),
            }),
            16 => Message::SubscribeReply(SubscribeReply {
                sub: self.sub(),
                result: if self.coin() { Ok(()) } else { Err(self.refused()) },
            }),
            17 => Message::Unsubscribe(self.sub()),
            18 => Message::UnsubscribeReply(self.sub()),
            19 => Message::BlockLink(Token(self.u64())),
            20 => Message::DialBack(Token(self.u64())),
            21 => Message::Pull(self.list(MAX_PULL, Self::seq)),
            22 => Message::DontHave(self.list(MAX_PULL, Self::seq)),
            23 => Message::TimeShiftRequest(TimeShiftRequest {
                first: self.seq(),
                blocks: 1 + self.below(MAX_TIME_SHIFT.into()) as u8,
            }),
            24 => Message::TimeShiftRefused(TimeShiftRefused {
                first: self.seq(),
                reason: self.reason(),
                next: self.coin().then(|| self.seq()),
            }),
            25 => Message::TimeShiftCancel,
            _ => Message::TimeShiftOthers(TimeShiftOthers {
                seq: self.seq(),
                others: self.list(MAX_REFERRALS, Self::addr),
            }),
        }
    }

    fn hello(&mut self) -> Hello {
        Hello {
            max_frame: self.u32(),
            node: NodeId(self.array()),
            purpose: match self.below(5) {
                0 => Purpose::Bootstrap,
                1 => Purpose::Control(ChannelId(self.array())),
                2 => Purpose::Block(Token(self.u64())),
                3 => Purpose::Probe,
                _ => Purpose::TimeShift(ChannelId(self.array())),
            },
            listen: self.addr(),
            observed: self.addr(),
            nonce: self.u64(),
        }
    }

    fn channel(&mut self) -> Channel {
        let block = self.pick(&[20, 25, 40, 50, 100, 125, 200, 250, 500, 1_000]);
        Channel::new(ChannelSpec {
            provider: self.name(),
            name: self.name(),
            description: self.text(MAX_DESCRIPTION, |c| !c.is_control()),
            block: Duration::from_millis(block),
            sub_streams: 1 + self.below(MAX_SUB_STREAMS.into()) as u8,
            file: Duration::from_secs(1 + self.below(600) as u64),
            key: PublicKey(self.array()),
        })
        .expect("each field is drawn from its range")
    }

    fn name(&mut self) -> Name {
        let text = self.text(MAX_NAME, |c| c != '_' && c != '/' && !c.is_control());
        Name::new(if text.is_empty() { "x" } else { &text })
            .expect("what is not allowed is left out")
    }

    fn map(&mut self) -> BufferMap {
        let start = self.seq();
        let count = self.below(usize::from(MAX_SUB_STREAMS) + 1);
        let entry = |c: &mut Self| {
            let newest = start.0.checked_add(c.below(0xffff) as u64).map(Seq);
            MapEntry { newest: newest.filter(|_| c.below(4) > 0), subscribed: c.coin() }
        };
        let entries = (0..count).map(|_| entry(self)).collect();
        let paths = if self.coin() { count } else { 0 };
        let paths = (0..paths).map(|_| Path { hops: self.byte(), delay: self.u16() }).collect();
        BufferMap { start, reply: self.coin(), entries, paths }
    }

    fn member(&mut self) -> Member {
        Member {
            node: NodeId(self.array()),
            addr: self.addr(),
            connectable: self.coin(),
            provider: self.coin(),
            age: self.u16(),
        }
    }

    fn refused(&mut self) -> Refused {
        Refused {
            reason: self.reason(),
            retry_after: self.millis(),
            referrals: self.list(MAX_REFERRALS, Self::member),
        }
    }

    fn reason(&mut self) -> Reason {
        self.pick(&[
            Reason::Version,
            Reason::Full,
            Reason::Channel,
            Reason::NoSource,
            Reason::Token,
            Reason::Duplicate,
        ])
    }

    fn addr(&mut self) -> SocketAddr {
        let ip = if self.coin() {
            Ipv6Addr::from(self.array::<16>()).to_canonical()
        } else {
            Ipv4Addr::from(self.array::<4>()).into()
        };
        SocketAddr::new(ip, self.u16())
    }

    fn seq(&mut self) -> Seq {
        Seq(self.u64())
    }

    fn sub(&mut self) -> SubStream {
        SubStream(self.below(MAX_SUB_STREAMS.into()) as u8)
    }

    fn millis(&mut self) -> Duration {
        Duration::from_millis(self.u32().into())
    }
}

#[cfg(test)]
mod quick {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::{Arbitrary, Gen, empty_shrinker};

    /// Enough to choose the longest message that is at all likely.
    const CHOICES: usize = 8 << 10;

    impl Arbitrary for Message {
        fn arbitrary(g: &mut Gen) -> Self {
            let bytes: Vec<u8> = (0..CHOICES).map(|_| u8::arbitrary(g)).collect();
            Choices::new(&bytes).message()
        }

        /// Shrinks what is long: lists.
        fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
            let less = match self.clone() {
                Self::Gossip(mut members) => members.pop().map(|_| Self::Gossip(members)),
                Self::ChannelListReply(mut channels) => {
                    channels.pop().map(|_| Self::ChannelListReply(channels))
                }
                Self::BufferMap(mut map) => map.entries.pop().map(|_| {
                    map.paths.truncate(map.entries.len());
                    Self::BufferMap(map)
                }),
                _ => None,
            };
            less.map_or_else(empty_shrinker, |less| Box::new(core::iter::once(less)))
        }
    }
}
