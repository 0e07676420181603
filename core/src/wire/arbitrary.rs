//! Generators of valid messages: of everything that must survive the wire.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use quickcheck::{Arbitrary, Gen};

use crate::id::{ChannelId, NodeId, Seq, SubStream};
use crate::stream::channel::{
    Channel, ChannelSpec, ChannelSummary, MAX_DESCRIPTION, MAX_NAME, MAX_SUB_STREAMS, Name,
};
use crate::stream::map::{BufferMap, MapEntry, Path};
use crate::stream::sign::{PublicKey, Signature};
use crate::wire::message::{
    HeartbeatReply, Hello, JoinReply, JoinRequest, ListRequest, MAX_CHANNELS, MAX_MEMBERS,
    MAX_PULL, MAX_REFERRALS, Member, Message, Purpose, Reason, Refuse, Refused, Registration,
    RegistrationResult, Subscribe, SubscribeReply, Token,
};

impl Arbitrary for Message {
    fn arbitrary(g: &mut Gen) -> Self {
        match below(g, 23) {
            0 => Self::Hello(hello(g)),
            1 => Self::Refuse(Refuse {
                reason: reason(g),
                version: u8::arbitrary(g),
                referrals: list(g, MAX_REFERRALS),
            }),
            2 => Self::Leave,
            3 => Self::Ping(u64::arbitrary(g)),
            4 => Self::Pong(u64::arbitrary(g)),
            5 => Self::ChannelRegistration(Registration {
                channel: channel(g),
                signature: Signature(array(g)),
            }),
            6 => Self::RegistrationReply(pick(
                g,
                &[
                    RegistrationResult::Registered,
                    RegistrationResult::NameTaken,
                    RegistrationResult::BadSignature,
                    RegistrationResult::Full,
                ],
            )),
            7 => Self::ChannelList(ListRequest { filter: text(g, MAX_NAME, |_| true) }),
            8 => Self::ChannelListReply(
                // A list of the longest channels would not fit one frame.
                (0..below(g, MAX_CHANNELS / 2))
                    .map(|_| ChannelSummary { channel: channel(g), viewers: u32::arbitrary(g) })
                    .collect(),
            ),
            9 => Self::ChannelJoin(JoinRequest {
                name: name(g),
                key: bool::arbitrary(g).then(|| PublicKey(array(g))),
            }),
            10 => Self::JoinReply(Box::new(match below(g, 4) {
                0 => JoinReply::NoSuchChannel,
                1 => JoinReply::WrongKey,
                _ => JoinReply::Joined {
                    channel: channel(g),
                    viewers: u32::arbitrary(g),
                    members: list(g, MAX_MEMBERS),
                },
            })),
            11 => Self::Heartbeat(ChannelId(array(g))),
            12 => Self::HeartbeatReply(HeartbeatReply {
                known: bool::arbitrary(g),
                viewers: u32::arbitrary(g),
                connectable: Option::arbitrary(g),
                members: list(g, MAX_MEMBERS),
            }),
            13 => Self::BufferMap(map(g)),
            14 => Self::Gossip(list(g, MAX_MEMBERS)),
            15 => Self::Subscribe(Subscribe { sub: sub(g), from: seq(g), window: millis(g) }),
            16 => Self::SubscribeReply(SubscribeReply {
                sub: sub(g),
                result: if bool::arbitrary(g) {
                    Ok(())
                } else {
                    Err(Refused {
                        reason: reason(g),
                        retry_after: millis(g),
                        referrals: list(g, MAX_REFERRALS),
                    })
                },
            }),
            17 => Self::Unsubscribe(sub(g)),
            18 => Self::UnsubscribeReply(sub(g)),
            19 => Self::BlockLink(Token(u64::arbitrary(g))),
            20 => Self::DialBack(Token(u64::arbitrary(g))),
            21 => Self::Pull((0..below(g, MAX_PULL + 1)).map(|_| seq(g)).collect()),
            _ => Self::DontHave((0..below(g, MAX_PULL + 1)).map(|_| seq(g)).collect()),
        }
    }

    /// Shrinks what is long: lists.
    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        match self {
            Self::Gossip(members) => Box::new(members.shrink().map(Self::Gossip)),
            Self::ChannelListReply(channels) if !channels.is_empty() => {
                let half = channels[..channels.len() / 2].to_vec();
                Box::new(core::iter::once(Self::ChannelListReply(half)))
            }
            Self::BufferMap(map) if !map.entries.is_empty() => {
                let mut less = map.clone();
                less.entries.pop();
                less.paths.pop();
                Box::new(core::iter::once(Self::BufferMap(less)))
            }
            _ => quickcheck::empty_shrinker(),
        }
    }
}

impl Arbitrary for Member {
    fn arbitrary(g: &mut Gen) -> Self {
        Self {
            node: NodeId(array(g)),
            addr: addr(g),
            connectable: bool::arbitrary(g),
            provider: bool::arbitrary(g),
            age: u16::arbitrary(g),
        }
    }
}

fn hello(g: &mut Gen) -> Hello {
    Hello {
        max_frame: u32::arbitrary(g),
        node: NodeId(array(g)),
        purpose: match below(g, 4) {
            0 => Purpose::Bootstrap,
            1 => Purpose::Control(ChannelId(array(g))),
            2 => Purpose::Block(Token(u64::arbitrary(g))),
            _ => Purpose::Probe,
        },
        listen: addr(g),
        observed: addr(g),
        nonce: u64::arbitrary(g),
    }
}

fn channel(g: &mut Gen) -> Channel {
    let block = pick(g, &[20, 25, 40, 50, 100, 125, 200, 250, 500, 1_000]);
    Channel::new(ChannelSpec {
        provider: name(g),
        name: name(g),
        description: text(g, MAX_DESCRIPTION, |c| !c.is_control()),
        block: Duration::from_millis(block),
        sub_streams: 1 + below(g, usize::from(MAX_SUB_STREAMS)) as u8,
        file: Duration::from_secs(1 + below(g, 600) as u64),
        key: PublicKey(array(g)),
    })
    .unwrap()
}

fn name(g: &mut Gen) -> Name {
    let text = text(g, MAX_NAME, |c| c != '_' && c != '/' && !c.is_control());
    Name::new(if text.is_empty() { "x" } else { &text }).unwrap()
}

/// Text of at most `max` bytes.
fn text(g: &mut Gen, max: usize, allowed: impl Fn(char) -> bool) -> String {
    let mut text: String = String::arbitrary(g).repeat(below(g, 4));
    text.retain(allowed);
    text[..text.floor_char_boundary(max)].to_string()
}

fn map(g: &mut Gen) -> BufferMap {
    let start = Seq(u64::arbitrary(g));
    let count = below(g, usize::from(MAX_SUB_STREAMS) + 1);
    let entry = |g: &mut Gen| MapEntry {
        newest: start.0.checked_add(below(g, 0xffff) as u64).map(Seq).filter(|_| below(g, 4) > 0),
        subscribed: bool::arbitrary(g),
    };
    let entries = (0..count).map(|_| entry(g)).collect();
    let path = |g: &mut Gen| Path { hops: u8::arbitrary(g), delay: u16::arbitrary(g) };
    let paths = if bool::arbitrary(g) { count } else { 0 };
    let paths = (0..paths).map(|_| path(g)).collect();
    BufferMap { start, reply: bool::arbitrary(g), entries, paths }
}

fn addr(g: &mut Gen) -> SocketAddr {
    SocketAddr::new(IpAddr::arbitrary(g).to_canonical(), u16::arbitrary(g))
}

fn reason(g: &mut Gen) -> Reason {
    let all = [
        Reason::Version,
        Reason::Full,
        Reason::Channel,
        Reason::NoSource,
        Reason::Token,
        Reason::Duplicate,
    ];
    pick(g, &all)
}

fn seq(g: &mut Gen) -> Seq {
    Seq(u64::arbitrary(g))
}

fn sub(g: &mut Gen) -> SubStream {
    SubStream(below(g, usize::from(MAX_SUB_STREAMS)) as u8)
}

fn millis(g: &mut Gen) -> Duration {
    Duration::from_millis(u32::arbitrary(g).into())
}

fn array<const N: usize>(g: &mut Gen) -> [u8; N] {
    core::array::from_fn(|_| u8::arbitrary(g))
}

/// Up to `max` items, the full number now and then.
fn list<T: Arbitrary, C: FromIterator<T>>(g: &mut Gen, max: usize) -> C {
    (0..below(g, max + 1)).map(|_| T::arbitrary(g)).collect()
}

fn pick<T: Copy>(g: &mut Gen, items: &[T]) -> T {
    *g.choose(items).unwrap()
}

fn below(g: &mut Gen, n: usize) -> usize {
    usize::arbitrary(g) % n
}
