//! Messages to bytes.
//!
//! What is over a limit of [`message`](super::message) is left out or
//! saturates, so that every frame that leaves here is one that a peer takes.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::event::Head;
use crate::id::Seq;
use crate::stream::channel::{Channel, ChannelSummary, MAX_NAME, MAX_SUB_STREAMS};
use crate::stream::map::BufferMap;
use crate::stream::sign::PublicKey;
use crate::wire::frame::MAX_CONTROL;
use crate::wire::kind;
use crate::wire::message::{
    Hello, JoinReply, MAGIC, MAX_CHANNELS, MAX_MEMBERS, MAX_PULL, MAX_REFERRALS, MAX_TIME_SHIFT,
    Member, Message, Purpose, Reason, RegistrationResult, VERSION,
};

/// A buffer map's offset for a sub-stream of which the sender holds nothing.
pub(crate) const NOTHING: u16 = 0xffff;
/// A buffer map's flag: the receiver is asked for its own map.
pub(crate) const MAP_REPLY: u8 = 1;
/// A buffer map's flag: paths follow.
pub(crate) const MAP_PATHS: u8 = 2;
/// A buffer map's bytes without its sub-streams: start, flags, count, bits.
const MAP_FIXED: usize = 8 + 1 + 1 + 4;
/// The longest body of a buffer map, in bytes.
const MAX_MAP: usize = MAP_FIXED + (2 + 3) * MAX_SUB_STREAMS as usize;
/// A member's flag: the bootstrap server could dial it.
pub(crate) const MEMBER_CONNECTABLE: u8 = 1;
/// A member's flag: it is the provider.
pub(crate) const MEMBER_PROVIDER: u8 = 2;

/// Appends a message to `out` as one whole frame. Allocates only if `out`
/// grows over its 64 inline bytes; a buffer map of 8 sub-streams does not.
pub fn encode(message: &Message, out: &mut Head) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind_of(message)]);
    Body { start, out }.message(message);
    // A control frame is far shorter than 4 GiB.
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// The type byte of a message's frame.
fn kind_of(message: &Message) -> u8 {
    match message {
        Message::Hello(_) => kind::HELLO,
        Message::Refuse(_) => kind::REFUSE,
        Message::Leave => kind::LEAVE,
        Message::Ping(_) => kind::PING,
        Message::Pong(_) => kind::PONG,
        Message::ChannelRegistration(_) => kind::CHANNEL_REGISTRATION,
        Message::RegistrationReply(_) => kind::REGISTRATION_REPLY,
        Message::ChannelList(_) => kind::CHANNEL_LIST,
        Message::ChannelListReply(_) => kind::CHANNEL_LIST_REPLY,
        Message::ChannelJoin(_) => kind::CHANNEL_JOIN,
        Message::JoinReply(_) => kind::JOIN_REPLY,
        Message::Heartbeat(_) => kind::HEARTBEAT,
        Message::HeartbeatReply(_) => kind::HEARTBEAT_REPLY,
        Message::BufferMap(_) => kind::BUFFER_MAP,
        Message::Gossip(_) => kind::GOSSIP,
        Message::Subscribe(_) => kind::SUBSCRIBE,
        Message::SubscribeReply(_) => kind::SUBSCRIBE_REPLY,
        Message::Unsubscribe(_) => kind::UNSUBSCRIBE,
        Message::UnsubscribeReply(_) => kind::UNSUBSCRIBE_REPLY,
        Message::BlockLink(_) => kind::BLOCK_LINK,
        Message::DialBack(_) => kind::DIAL_BACK,
        Message::Pull(_) => kind::PULL,
        Message::DontHave(_) => kind::DONT_HAVE,
        Message::TimeShiftRequest(_) => kind::TIME_SHIFT_REQUEST,
        Message::TimeShiftRefused(_) => kind::TIME_SHIFT_REFUSED,
        Message::TimeShiftCancel => kind::TIME_SHIFT_CANCEL,
        Message::TimeShiftOthers(_) => kind::TIME_SHIFT_OTHERS,
    }
}

/// Writes the body of one frame.
struct Body<'a> {
    /// Where the frame starts in `out`.
    start: usize,
    out: &'a mut Head,
}

impl Body<'_> {
    fn message(&mut self, message: &Message) {
        match message {
            Message::Hello(hello) => self.hello(hello),
            Message::Refuse(refuse) => {
                self.u8(reason_code(refuse.reason));
                self.u8(refuse.version);
                self.members(&refuse.referrals, MAX_REFERRALS);
            }
            Message::Leave => {}
            Message::Ping(n) | Message::Pong(n) => self.u64(*n),
            Message::ChannelRegistration(registration) => {
                self.channel(&registration.channel);
                self.bytes(&registration.signature.0);
            }
            Message::RegistrationReply(result) => self.u8(match result {
                RegistrationResult::Registered => 0,
                RegistrationResult::NameTaken => 1,
                RegistrationResult::BadSignature => 2,
                RegistrationResult::Full => 3,
            }),
            Message::ChannelList(request) => {
                let filter = &request.filter;
                self.text(&filter[..filter.floor_char_boundary(MAX_NAME)]);
            }
            Message::ChannelListReply(channels) => self.channels(channels),
            Message::ChannelJoin(request) => {
                self.text(request.name.as_str());
                self.option(request.key, Self::key);
            }
            Message::JoinReply(reply) => self.join_reply(reply),
            Message::Heartbeat(channel) => self.bytes(&channel.0),
            Message::HeartbeatReply(reply) => {
                self.bool(reply.known);
                self.u32(reply.viewers);
                self.option(reply.connectable, Self::bool);
                self.members(&reply.members, MAX_MEMBERS);
            }
            Message::BufferMap(map) => self.map(map),
            Message::Gossip(members) => self.members(members, MAX_MEMBERS),
            Message::Subscribe(subscribe) => {
                self.u8(subscribe.sub.0);
                self.u64(subscribe.from.0);
                self.millis(subscribe.window);
            }
            Message::SubscribeReply(reply) => {
                self.u8(reply.sub.0);
                match &reply.result {
                    Ok(()) => self.u8(0),
                    Err(refused) => {
                        self.u8(reason_code(refused.reason));
                        self.millis(refused.retry_after);
                        self.members(&refused.referrals, MAX_REFERRALS);
                    }
                }
            }
            Message::Unsubscribe(sub) | Message::UnsubscribeReply(sub) => self.u8(sub.0),
            Message::BlockLink(token) | Message::DialBack(token) => self.u64(token.0),
            Message::Pull(seqs) | Message::DontHave(seqs) => {
                self.list(seqs, MAX_PULL, |body, seq| body.u64(seq.0));
            }
            Message::TimeShiftRequest(request) => {
                self.u64(request.first.0);
                self.u8(request.blocks.clamp(1, MAX_TIME_SHIFT));
            }
            Message::TimeShiftRefused(refused) => {
                self.u64(refused.first.0);
                self.u8(reason_code(refused.reason));
                self.option(refused.next, |body, seq| body.u64(seq.0));
            }
            Message::TimeShiftCancel => {}
            Message::TimeShiftOthers(others) => {
                self.u64(others.seq.0);
                self.list(&others.others, MAX_REFERRALS, |body, addr| body.addr(*addr));
            }
        }
    }

    fn hello(&mut self, hello: &Hello) {
        self.bytes(&MAGIC);
        self.u8(VERSION);
        self.u32(hello.max_frame);
        self.bytes(&hello.node.0);
        match hello.purpose {
            Purpose::Bootstrap => self.u8(1),
            Purpose::Control(channel) => {
                self.u8(2);
                self.bytes(&channel.0);
            }
            Purpose::Block(token) => {
                self.u8(3);
                self.u64(token.0);
            }
            Purpose::Probe => self.u8(4),
            Purpose::TimeShift(channel) => {
                self.u8(5);
                self.bytes(&channel.0);
            }
        }
        self.addr(hello.listen);
        self.addr(hello.observed);
        self.u64(hello.nonce);
    }

    fn join_reply(&mut self, reply: &JoinReply) {
        match reply {
            JoinReply::Joined { channel, viewers, members } => {
                self.u8(0);
                self.channel(channel);
                self.u32(*viewers);
                self.members(members, MAX_MEMBERS);
            }
            JoinReply::NoSuchChannel => self.u8(1),
            JoinReply::WrongKey => self.u8(2),
        }
    }

    /// As many channels as one control frame can hold.
    fn channels(&mut self, channels: &[ChannelSummary]) {
        let count = self.out.len();
        self.u8(0);
        for summary in channels.iter().take(MAX_CHANNELS) {
            let end = self.out.len();
            self.channel(&summary.channel);
            self.u32(summary.viewers);
            if self.out.len() - self.start > MAX_CONTROL {
                self.out.truncate(end);
                break;
            }
            self.out[count] += 1;
        }
    }

    /// The commonest message by far: written on the stack and appended at once.
    fn map(&mut self, map: &BufferMap) {
        let count = map.entries.len().min(usize::from(MAX_SUB_STREAMS));
        let entries = &map.entries[..count];
        let paths = map.paths.get(..count).unwrap_or_default();
        let mut body = [0; MAX_MAP];
        let (fixed, rest) = body.split_at_mut(MAP_FIXED - 4);
        let (offsets, rest) = rest.split_at_mut(2 * count);
        let (bits, rest) = rest.split_at_mut(4);
        fixed[..8].copy_from_slice(&map.start.0.to_be_bytes());
        fixed[8] =
            if map.reply { MAP_REPLY } else { 0 } | if paths.is_empty() { 0 } else { MAP_PATHS };
        fixed[9] = count as u8;
        let mut subscribed = 0;
        for (j, (entry, bytes)) in entries.iter().zip(offsets.as_chunks_mut().0).enumerate() {
            *bytes = offset(map.start, entry.newest).to_be_bytes();
            subscribed |= u32::from(entry.subscribed) << j;
        }
        bits.copy_from_slice(&subscribed.to_be_bytes());
        for (path, bytes) in paths.iter().zip(rest.as_chunks_mut().0) {
            let [high, low] = path.delay.to_be_bytes();
            *bytes = [path.hops, high, low];
        }
        self.bytes(&body[..MAP_FIXED + 2 * count + 3 * paths.len()]);
    }

    fn channel(&mut self, channel: &Channel) {
        self.text(channel.provider().as_str());
        self.text(channel.name().as_str());
        self.text(channel.description());
        // `Channel` vouches for D of at most 1 s and F of at most 600 s.
        self.u16(channel.block().as_millis() as u16);
        self.u8(channel.sub_streams());
        self.u16(channel.file().as_secs() as u16);
        self.key(channel.key());
    }

    fn members(&mut self, members: &[Member], max: usize) {
        self.list(members, max, |body, member| {
            body.bytes(&member.node.0);
            body.addr(member.addr);
            body.u8(if member.connectable { MEMBER_CONNECTABLE } else { 0 }
                | if member.provider { MEMBER_PROVIDER } else { 0 });
            body.u16(member.age);
        });
    }

    /// The first `max` items, at most 255, after their number.
    fn list<T>(&mut self, items: &[T], max: usize, item: impl Fn(&mut Self, &T)) {
        let items = &items[..items.len().min(max)];
        self.u8(items.len() as u8);
        items.iter().for_each(|i| item(self, i));
    }

    fn option<T>(&mut self, value: Option<T>, some: impl Fn(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            some(self, value);
        }
    }

    /// Mapped IPv4 addresses, which sockets of both families report, go as IPv4.
    fn addr(&mut self, addr: SocketAddr) {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => {
                self.u8(4);
                self.bytes(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.u8(6);
                self.bytes(&ip.octets());
            }
        }
        self.u16(addr.port());
    }

    fn key(&mut self, key: PublicKey) {
        self.bytes(&key.0);
    }

    /// Text of at most 256 bytes.
    fn text(&mut self, text: &str) {
        self.u16(text.len() as u16);
        self.bytes(text.as_bytes());
    }

    fn millis(&mut self, d: Duration) {
        self.u32(u32::try_from(d.as_millis()).unwrap_or(u32::MAX));
    }

    fn bool(&mut self, b: bool) {
        self.u8(u8::from(b));
    }

    fn u8(&mut self, n: u8) {
        self.out.push(n);
    }

    fn u16(&mut self, n: u16) {
        self.bytes(&n.to_be_bytes());
    }

    fn u32(&mut self, n: u32) {
        self.bytes(&n.to_be_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.bytes(&n.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

/// A sub-stream's newest block as an offset from the map's start. One that is
/// too far off to be said is understated, never overstated.
fn offset(start: Seq, newest: Option<Seq>) -> u16 {
    match newest.and_then(|n| n.0.checked_sub(start.0)) {
        Some(offset) => u16::try_from(offset).unwrap_or(NOTHING).min(NOTHING - 1),
        None => NOTHING,
    }
}

/// A reason's number; 0 is left free for "accepted".
fn reason_code(reason: Reason) -> u8 {
    match reason {
        Reason::Version => 1,
        Reason::Full => 2,
        Reason::Channel => 3,
        Reason::NoSource => 4,
        Reason::Token => 5,
        Reason::Duplicate => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use crate::stream::channel::tests_support::channel;
    use crate::stream::map::{MapEntry, Path};
    use crate::wire::message::{ListRequest, TimeShiftRefused, TimeShiftRequest, Token};
    use crate::wire::parse;
    use alloc::vec;
    use core::net::Ipv4Addr;
    use smallvec::smallvec;

    fn encoded(message: &Message) -> Head {
        let mut out = Head::new();
        encode(message, &mut out);
        out
    }

    fn round_trip(message: &Message) -> Message {
        let frame = encoded(message);
        parse::message(frame[4], &frame[5..]).unwrap().unwrap()
    }

    /// Pins the layout: a change that moves a byte must change the version.
    #[test]
    fn frames_look_as_the_protocol_says() {
        assert_eq!(encoded(&Message::Leave)[..], [0, 0, 0, 1, 0x03]);
        assert_eq!(
            encoded(&Message::DialBack(Token(0x0102)))[..],
            [0, 0, 0, 9, 0x27, 0, 0, 0, 0, 0, 0, 1, 2]
        );
        let hello = Message::Hello(Hello {
            max_frame: 0x0040_004d,
            node: NodeId([9; 16]),
            purpose: Purpose::Block(Token(1)),
            listen: SocketAddr::from(([10, 0, 0, 1], 0x1234)),
            observed: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0x5678)),
            nonce: 2,
        });
        let mut expected = vec![0, 0, 0, 69, 0x01, b'E', b'D', b'D', b'Y', 1, 0, 0x40, 0, 0x4d];
        expected.extend([9; 16]);
        expected.extend([3, 0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([4, 10, 0, 0, 1, 0x12, 0x34]);
        expected.extend([6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x56, 0x78]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(encoded(&hello)[..], expected[..]);
        let map = Message::BufferMap(BufferMap {
            start: Seq(0x0100),
            reply: true,
            entries: smallvec![
                MapEntry { newest: Some(Seq(0x0103)), subscribed: false },
                MapEntry { newest: None, subscribed: true },
            ],
            paths: smallvec![Path { hops: 2, delay: 0x0304 }, Path::NONE],
        });
        let request = TimeShiftRequest { first: Seq(0x0100), blocks: 25 };
        assert_eq!(
            encoded(&Message::TimeShiftRequest(request))[..],
            [0, 0, 0, 10, 0x30, 0, 0, 0, 0, 0, 0, 1, 0, 25]
        );
        let (first, next) = (Seq(0x0103), Some(Seq(0x012c)));
        let refused = TimeShiftRefused { first, reason: Reason::NoSource, next };
        assert_eq!(
            encoded(&Message::TimeShiftRefused(refused))[..],
            [0, 0, 0, 19, 0x31, 0, 0, 0, 0, 0, 0, 1, 3, 4, 1, 0, 0, 0, 0, 0, 0, 1, 44]
        );
        assert_eq!(
            encoded(&map)[..],
            [
                0, 0, 0, 25, 0x20, 0, 0, 0, 0, 0, 0, 1, 0, 3, 2, 0, 3, 255, 255, 0, 0, 0, 2, 2, 3,
                4, 255, 255, 255
            ]
        );
    }

    #[test]
    fn a_map_of_eight_sub_streams_stays_on_the_stack() {
        let map = Message::BufferMap(BufferMap {
            start: Seq(u64::MAX),
            reply: true,
            entries: smallvec![MapEntry { newest: Some(Seq(u64::MAX)), subscribed: true }; 8],
            paths: smallvec![Path::NONE; 8],
        });
        let mut out = Head::new();
        let allocated = allocation_counter::measure(|| encode(&map, &mut out));
        assert_eq!(allocated.count_total, 0);
        assert!(!out.spilled());
        assert_eq!(round_trip(&map), map);
    }

    #[test]
    fn a_newest_block_out_of_range_is_understated() {
        let start = Seq(1_000);
        assert_eq!(offset(start, None), 0xffff);
        assert_eq!(offset(start, Some(Seq(999))), 0xffff);
        assert_eq!(offset(start, Some(start)), 0);
        for far in [0xfffe, 0xffff, 0x1_0000, u64::MAX - 1_000] {
            assert_eq!(offset(start, Some(start.plus(far))), 0xfffe);
        }
    }

    #[test]
    fn what_is_over_a_limit_is_left_out_and_the_rest_arrives() {
        let member = Member {
            node: NodeId([1; 16]),
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            connectable: true,
            provider: false,
            age: 3,
        };
        assert_eq!(
            round_trip(&Message::Gossip(vec![member; 1_000])),
            Message::Gossip(vec![member; MAX_MEMBERS])
        );
        assert_eq!(
            round_trip(&Message::Pull((0..1_000).map(Seq).collect())),
            Message::Pull((0..MAX_PULL as u64).map(Seq).collect())
        );
        // 63 bytes, and a letter that straddles the limit.
        let filter = "x".repeat(63);
        let long = filter.clone() + "éy";
        assert_eq!(
            round_trip(&Message::ChannelList(ListRequest { filter: long })),
            Message::ChannelList(ListRequest { filter })
        );
        let entry = MapEntry { newest: None, subscribed: true };
        let map = BufferMap {
            start: Seq(0),
            reply: false,
            entries: smallvec![entry; 40],
            paths: smallvec![Path::NONE; 7],
        };
        let Message::BufferMap(got) = round_trip(&Message::BufferMap(map)) else { panic!() };
        assert_eq!(got.entries[..], [entry; 32]);
        assert!(got.paths.is_empty());
    }

    #[test]
    fn a_list_of_long_channels_still_fits_a_control_frame() {
        use crate::stream::channel::{ChannelSpec, MAX_DESCRIPTION, Name, tests_support::spec};
        let long = Name::new(&"n".repeat(MAX_NAME)).unwrap();
        let long = Channel::new(ChannelSpec {
            provider: long.clone(),
            name: long,
            description: "d".repeat(MAX_DESCRIPTION),
            ..spec()
        });
        let long = ChannelSummary { channel: long.unwrap(), viewers: 7 };
        let list = Message::ChannelListReply(vec![long.clone(); 200]);
        assert!(encoded(&list).len() <= MAX_CONTROL);
        let Message::ChannelListReply(got) = round_trip(&list) else { panic!() };
        assert!(got.len() > 70 && got.iter().all(|c| *c == long));

        let short = ChannelSummary { channel: channel(PublicKey([7; 32])), viewers: 7 };
        let list = Message::ChannelListReply(vec![short.clone(); 200]);
        assert_eq!(round_trip(&list), Message::ChannelListReply(vec![short; MAX_CHANNELS]));
    }

    #[test]
    fn durations_saturate() {
        let reply = |retry_after| {
            Message::SubscribeReply(crate::wire::message::SubscribeReply {
                sub: crate::id::SubStream(0),
                result: Err(crate::wire::message::Refused {
                    reason: Reason::Full,
                    retry_after,
                    referrals: smallvec![],
                }),
            })
        };
        let most = Duration::from_millis(u64::from(u32::MAX));
        assert_eq!(round_trip(&reply(Duration::MAX)), reply(most));
    }

    #[test]
    fn mapped_addresses_travel_as_ipv4() {
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        let member = |ip: IpAddr| {
            Message::Gossip(vec![Member {
                node: NodeId([1; 16]),
                addr: SocketAddr::new(ip, 5),
                connectable: false,
                provider: true,
                age: 0,
            }])
        };
        assert_eq!(round_trip(&member(mapped.into())), member(Ipv4Addr::new(192, 0, 2, 1).into()));
    }
}
