//! Bytes to messages.
//!
//! The framing layer hands over whole bodies, so every parser here is a
//! `complete` one: short input is an error, never a reason to wait. Counts and
//! lengths are checked against the limits of [`message`](super::message)
//! before anything is kept.

use alloc::boxed::Box;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use nom::bytes::complete::{tag, take};
use nom::combinator::{all_consuming, cond, map, map_opt, verify};
use nom::error::ErrorKind;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser as _};
use smallvec::SmallVec;

use crate::id::{ChannelId, NodeId, Seq, SubStream};
use crate::stream::channel::{
    Channel, ChannelSpec, ChannelSummary, MAX_DESCRIPTION, MAX_NAME, MAX_SUB_STREAMS, Name,
};
use crate::stream::map::{BufferMap, MapEntry, Path};
use crate::stream::sign::{PublicKey, Signature};
use crate::wire::emit::{MAP_PATHS, MAP_REPLY, MEMBER_CONNECTABLE, MEMBER_PROVIDER, NOTHING};
use crate::wire::kind;
use crate::wire::message::{
    HeartbeatReply, Hello, JoinReply, JoinRequest, ListRequest, MAGIC, MAX_CHANNELS, MAX_MEMBERS,
    MAX_PULL, MAX_REFERRALS, MAX_TIME_SHIFT, Member, Message, Purpose, Reason, Refuse, Refused,
    Registration, RegistrationResult, Subscribe, SubscribeReply, TimeShiftOthers, TimeShiftRefused,
    TimeShiftRequest, Token, VERSION,
};

/// Why a body is not the message that its type byte promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// A hello does not start with [`MAGIC`]: not our protocol.
    Magic,
    /// A hello of this version, which is not spoken here.
    Version(u8),
    /// The body is shorter or longer than its fields.
    Length,
    /// A count or a length is over its limit.
    Limit,
    /// A field has a value that has no meaning.
    Value,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("the other end does not speak this protocol"),
            Self::Version(v) => write!(f, "protocol version {v} is not spoken here"),
            Self::Length => f.write_str("a message is shorter or longer than its fields"),
            Self::Limit => f.write_str("a count or a length is over its limit"),
            Self::Value => f.write_str("a field has a value without meaning"),
        }
    }
}

impl core::error::Error for ParseError {}

impl nom::error::ParseError<&[u8]> for ParseError {
    fn from_error_kind(_: &[u8], kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Tag => Self::Magic,
            ErrorKind::Verify => Self::Limit,
            ErrorKind::MapOpt => Self::Value,
            _ => Self::Length,
        }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a, T> = IResult<&'a [u8], T, ParseError>;

/// Reads the body of a frame; `None` if the type is unknown and the frame is
/// to be skipped.
///
/// # Errors
/// A [`ParseError`] if the body is not exactly one message of that type. The
/// connection has then lost its meaning and should be closed.
pub fn message(kind: u8, body: &[u8]) -> Result<Option<Message>, ParseError> {
    let message = match kind {
        kind::HELLO => Message::Hello(whole(hello, body)?),
        kind::REFUSE => Message::Refuse(whole(refuse, body)?),
        kind::LEAVE => whole(|i| Ok((i, Message::Leave)), body)?,
        kind::PING => Message::Ping(whole(be_u64, body)?),
        kind::PONG => Message::Pong(whole(be_u64, body)?),
        kind::CHANNEL_REGISTRATION => Message::ChannelRegistration(whole(registration, body)?),
        kind::REGISTRATION_REPLY => Message::RegistrationReply(whole(registration_result, body)?),
        kind::CHANNEL_LIST => Message::ChannelList(whole(list_request, body)?),
        kind::CHANNEL_LIST_REPLY => {
            Message::ChannelListReply(whole(|i| list(i, MAX_CHANNELS, summary), body)?)
        }
        kind::CHANNEL_JOIN => Message::ChannelJoin(whole(join_request, body)?),
        kind::JOIN_REPLY => Message::JoinReply(Box::new(whole(join_reply, body)?)),
        kind::HEARTBEAT => Message::Heartbeat(whole(channel_id, body)?),
        kind::HEARTBEAT_REPLY => Message::HeartbeatReply(whole(heartbeat_reply, body)?),
        kind::BUFFER_MAP => {
            // Large and frequent: not by way of `message`, which would move it once more.
            return Ok(Some(Message::BufferMap(whole(buffer_map, body)?.map())));
        }
        kind::GOSSIP => Message::Gossip(whole(|i| list(i, MAX_MEMBERS, member), body)?),
        kind::SUBSCRIBE => Message::Subscribe(whole(subscribe, body)?),
        kind::SUBSCRIBE_REPLY => Message::SubscribeReply(whole(subscribe_reply, body)?),
        kind::UNSUBSCRIBE => Message::Unsubscribe(whole(sub_stream, body)?),
        kind::UNSUBSCRIBE_REPLY => Message::UnsubscribeReply(whole(sub_stream, body)?),
        kind::BLOCK_LINK => Message::BlockLink(whole(token, body)?),
        kind::DIAL_BACK => Message::DialBack(whole(token, body)?),
        kind::PULL => Message::Pull(whole(|i| list(i, MAX_PULL, seq), body)?),
        kind::DONT_HAVE => Message::DontHave(whole(|i| list(i, MAX_PULL, seq), body)?),
        kind::TIME_SHIFT_REQUEST => Message::TimeShiftRequest(whole(time_shift_request, body)?),
        kind::TIME_SHIFT_REFUSED => Message::TimeShiftRefused(whole(time_shift_refused, body)?),
        kind::TIME_SHIFT_CANCEL => whole(|i| Ok((i, Message::TimeShiftCancel)), body)?,
        kind::TIME_SHIFT_OTHERS => Message::TimeShiftOthers(whole(time_shift_others, body)?),
        _ => return Ok(None),
    };
    Ok(Some(message))
}

fn whole<'a, T>(
    parser: impl Fn(&'a [u8]) -> Parsed<'a, T>,
    body: &'a [u8],
) -> Result<T, ParseError> {
    match all_consuming(parser).parse(body) {
        Ok((_, value)) => Ok(value),
        Err(nom::Err::Error(e) | nom::Err::Failure(e)) => Err(e),
        Err(nom::Err::Incomplete(_)) => Err(ParseError::Length),
    }
}

fn hello(i: &[u8]) -> Parsed<'_, Hello> {
    let (i, _) = tag(&MAGIC[..])(i)?;
    let (i, version) = be_u8(i)?;
    // What follows may look different in another version.
    if version != VERSION {
        return Err(nom::Err::Failure(ParseError::Version(version)));
    }
    let (i, (max_frame, node, purpose)) = (be_u32, node, purpose).parse(i)?;
    let (i, (listen, observed, nonce)) = (addr, addr, be_u64).parse(i)?;
    Ok((i, Hello { max_frame, node, purpose, listen, observed, nonce }))
}

fn purpose(i: &[u8]) -> Parsed<'_, Purpose> {
    let (i, code) = be_u8(i)?;
    match code {
        1 => Ok((i, Purpose::Bootstrap)),
        2 => map(channel_id, Purpose::Control).parse(i),
        3 => map(token, Purpose::Block).parse(i),
        4 => Ok((i, Purpose::Probe)),
        5 => map(channel_id, Purpose::TimeShift).parse(i),
        _ => meaningless(),
    }
}

fn refuse(i: &[u8]) -> Parsed<'_, Refuse> {
    let (i, (reason, version)) = (map_opt(be_u8, reason_of), be_u8).parse(i)?;
    let (i, referrals) = list(i, MAX_REFERRALS, member)?;
    Ok((i, Refuse { reason, version, referrals }))
}

fn registration(i: &[u8]) -> Parsed<'_, Registration> {
    let (i, (channel, signature)) = (channel, map(array, Signature)).parse(i)?;
    Ok((i, Registration { channel, signature }))
}

fn registration_result(i: &[u8]) -> Parsed<'_, RegistrationResult> {
    map_opt(be_u8, |code| match code {
        0 => Some(RegistrationResult::Registered),
        1 => Some(RegistrationResult::NameTaken),
        2 => Some(RegistrationResult::BadSignature),
        3 => Some(RegistrationResult::Full),
        _ => None,
    })
    .parse(i)
}

fn list_request(i: &[u8]) -> Parsed<'_, ListRequest> {
    map(|i| text(i, MAX_NAME), |filter| ListRequest { filter: filter.into() }).parse(i)
}

fn summary(i: &[u8]) -> Parsed<'_, ChannelSummary> {
    let (i, (channel, viewers)) = (channel, be_u32).parse(i)?;
    Ok((i, ChannelSummary { channel, viewers }))
}

fn join_request(i: &[u8]) -> Parsed<'_, JoinRequest> {
    let (i, (name, has_key)) = (name, boolean).parse(i)?;
    let (i, key) = cond(has_key, key).parse(i)?;
    Ok((i, JoinRequest { name, key }))
}

fn join_reply(i: &[u8]) -> Parsed<'_, JoinReply> {
    let (i, code) = be_u8(i)?;
    match code {
        0 => {
            let (i, (channel, viewers)) = (channel, be_u32).parse(i)?;
            let (i, members) = list(i, MAX_MEMBERS, member)?;
            Ok((i, JoinReply::Joined { channel, viewers, members }))
        }
        1 => Ok((i, JoinReply::NoSuchChannel)),
        2 => Ok((i, JoinReply::WrongKey)),
        _ => meaningless(),
    }
}

fn heartbeat_reply(i: &[u8]) -> Parsed<'_, HeartbeatReply> {
    let (i, (known, viewers, tried)) = (boolean, be_u32, boolean).parse(i)?;
    let (i, connectable) = cond(tried, boolean).parse(i)?;
    let (i, members) = list(i, MAX_MEMBERS, member)?;
    Ok((i, HeartbeatReply { known, viewers, connectable, members }))
}

/// A buffer map's fields, where they lie. The arrays are cut out whole, and
/// the map is then made in its place: the commonest message by far.
struct MapFields<'a> {
    start: Seq,
    flags: u8,
    offsets: &'a [[u8; 2]],
    subscribed: u32,
    paths: &'a [[u8; 3]],
}

impl MapFields<'_> {
    fn map(self) -> BufferMap {
        let Self { start, flags, offsets, subscribed, paths } = self;
        let entry = |(j, offset): (usize, &[u8; 2])| MapEntry {
            newest: match u16::from_be_bytes(*offset) {
                NOTHING => None,
                offset => Some(start.plus(offset.into())),
            },
            subscribed: subscribed >> j & 1 == 1,
        };
        let path =
            |&[hops, high, low]: &[u8; 3]| Path { hops, delay: u16::from_be_bytes([high, low]) };
        let reply = flags & MAP_REPLY != 0;
        let mut map = BufferMap { start, reply, entries: SmallVec::new(), paths: SmallVec::new() };
        map.entries.extend(offsets.iter().enumerate().map(entry));
        map.paths.extend(paths.iter().map(path));
        map
    }
}

fn buffer_map(i: &[u8]) -> Parsed<'_, MapFields<'_>> {
    let (i, (start, flags)) = (seq, flags(MAP_REPLY | MAP_PATHS)).parse(i)?;
    let (i, count) = verify(be_u8, |n| *n <= MAX_SUB_STREAMS).parse(i)?;
    let (i, (offsets, subscribed)) = (take(2 * count), be_u32).parse(i)?;
    let (i, paths) = take(if flags & MAP_PATHS == 0 { 0 } else { 3 * count }).parse(i)?;
    let (offsets, paths) = (offsets.as_chunks().0, paths.as_chunks().0);
    let past = |offset: &[u8; 2]| {
        let offset = u16::from_be_bytes(*offset);
        offset != NOTHING && start.0.checked_add(offset.into()).is_none()
    };
    if u64::from(subscribed) >> count != 0 || offsets.iter().any(past) {
        return meaningless();
    }
    Ok((i, MapFields { start, flags, offsets, subscribed, paths }))
}

fn subscribe(i: &[u8]) -> Parsed<'_, Subscribe> {
    let (i, (sub, from, window)) = (sub_stream, seq, millis).parse(i)?;
    Ok((i, Subscribe { sub, from, window }))
}

fn subscribe_reply(i: &[u8]) -> Parsed<'_, SubscribeReply> {
    let (i, (sub, code)) = (sub_stream, be_u8).parse(i)?;
    if code == 0 {
        return Ok((i, SubscribeReply { sub, result: Ok(()) }));
    }
    let Some(reason) = reason_of(code) else { return meaningless() };
    let (i, retry_after) = millis(i)?;
    let (i, referrals) = list(i, MAX_REFERRALS, member)?;
    Ok((i, SubscribeReply { sub, result: Err(Refused { reason, retry_after, referrals }) }))
}

fn time_shift_request(i: &[u8]) -> Parsed<'_, TimeShiftRequest> {
    let (i, first) = seq(i)?;
    let (i, blocks) = verify(be_u8, |n| *n <= MAX_TIME_SHIFT).parse(i)?;
    if blocks == 0 {
        return meaningless();
    }
    Ok((i, TimeShiftRequest { first, blocks }))
}

fn time_shift_refused(i: &[u8]) -> Parsed<'_, TimeShiftRefused> {
    let (i, (first, reason, more)) = (seq, map_opt(be_u8, reason_of), boolean).parse(i)?;
    let (i, next) = cond(more, seq).parse(i)?;
    Ok((i, TimeShiftRefused { first, reason, next }))
}

fn time_shift_others(i: &[u8]) -> Parsed<'_, TimeShiftOthers> {
    let (i, seq) = seq(i)?;
    let (i, others) = list(i, MAX_REFERRALS, addr)?;
    Ok((i, TimeShiftOthers { seq, others }))
}

fn reason_of(code: u8) -> Option<Reason> {
    Some(match code {
        1 => Reason::Version,
        2 => Reason::Full,
        3 => Reason::Channel,
        4 => Reason::NoSource,
        5 => Reason::Token,
        6 => Reason::Duplicate,
        _ => return None,
    })
}

fn member(i: &[u8]) -> Parsed<'_, Member> {
    let bits = flags(MEMBER_CONNECTABLE | MEMBER_PROVIDER);
    let (i, (node, addr, bits, age)) = (node, addr, bits, be_u16).parse(i)?;
    let connectable = bits & MEMBER_CONNECTABLE != 0;
    let provider = bits & MEMBER_PROVIDER != 0;
    Ok((i, Member { node, addr, connectable, provider, age }))
}

fn channel(i: &[u8]) -> Parsed<'_, Channel> {
    let spec = |i| {
        let (i, (provider, name)) = (name, name).parse(i)?;
        let (i, description) = text(i, MAX_DESCRIPTION)?;
        let (i, (block, sub_streams, file, key)) = (be_u16, be_u8, be_u16, key).parse(i)?;
        let block = Duration::from_millis(block.into());
        let file = Duration::from_secs(file.into());
        let description = description.into();
        Ok((i, ChannelSpec { provider, name, description, block, sub_streams, file, key }))
    };
    map_opt(spec, |spec| Channel::new(spec).ok()).parse(i)
}

fn addr(i: &[u8]) -> Parsed<'_, SocketAddr> {
    let (i, family) = be_u8(i)?;
    let (i, ip) = match family {
        4 => map(array, |octets: [u8; 4]| IpAddr::V4(Ipv4Addr::from(octets))).parse(i)?,
        6 => map(array, |octets: [u8; 16]| Ipv6Addr::from(octets).to_canonical()).parse(i)?,
        _ => return meaningless(),
    };
    map(be_u16, |port| SocketAddr::new(ip, port)).parse(i)
}

fn name(i: &[u8]) -> Parsed<'_, Name> {
    map_opt(|i| text(i, MAX_NAME), |text| Name::new(text).ok()).parse(i)
}

fn text(i: &[u8], max: usize) -> Parsed<'_, &str> {
    let (i, length) = verify(be_u16, |n| usize::from(*n) <= max).parse(i)?;
    map_opt(take(length), |bytes| core::str::from_utf8(bytes).ok()).parse(i)
}

fn node(i: &[u8]) -> Parsed<'_, NodeId> {
    map(array, NodeId).parse(i)
}

fn channel_id(i: &[u8]) -> Parsed<'_, ChannelId> {
    map(array, ChannelId).parse(i)
}

fn key(i: &[u8]) -> Parsed<'_, PublicKey> {
    map(array, PublicKey).parse(i)
}

fn token(i: &[u8]) -> Parsed<'_, Token> {
    map(be_u64, Token).parse(i)
}

fn seq(i: &[u8]) -> Parsed<'_, Seq> {
    map(be_u64, Seq).parse(i)
}

fn sub_stream(i: &[u8]) -> Parsed<'_, SubStream> {
    map(verify(be_u8, |n| *n < MAX_SUB_STREAMS), SubStream).parse(i)
}

fn millis(i: &[u8]) -> Parsed<'_, Duration> {
    map(be_u32, |ms| Duration::from_millis(ms.into())).parse(i)
}

fn boolean(i: &[u8]) -> Parsed<'_, bool> {
    map(flags(1), |bit| bit == 1).parse(i)
}

/// A byte that has no bits but the known ones.
fn flags(known: u8) -> impl Fn(&[u8]) -> Parsed<'_, u8> {
    move |i| map_opt(be_u8, |bits| (bits & !known == 0).then_some(bits)).parse(i)
}

fn array<const N: usize>(i: &[u8]) -> Parsed<'_, [u8; N]> {
    match i.split_first_chunk() {
        Some((array, i)) => Ok((i, *array)),
        None => Err(nom::Err::Error(ParseError::Length)),
    }
}

/// A number of items, at most `max`, and the items.
fn list<'a, T, C: Default + Extend<T>>(
    i: &'a [u8],
    max: usize,
    item: impl Fn(&'a [u8]) -> Parsed<'a, T>,
) -> Parsed<'a, C> {
    let (i, count) = verify(be_u8, |n| usize::from(*n) <= max).parse(i)?;
    repeat(i, count, item)
}

fn repeat<'a, T, C: Default + Extend<T>>(
    mut i: &'a [u8],
    count: u8,
    item: impl Fn(&'a [u8]) -> Parsed<'a, T>,
) -> Parsed<'a, C> {
    let mut items = C::default();
    for _ in 0..count {
        let (rest, value) = item(i)?;
        items.extend(Some(value));
        i = rest;
    }
    Ok((i, items))
}

fn meaningless<'a, T>() -> Parsed<'a, T> {
    Err(nom::Err::Error(ParseError::Value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Head;
    use crate::stream::channel::tests_support::spec;
    use crate::wire::{check, emit};
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn encoded(message: &Message) -> (u8, Vec<u8>) {
        let mut out = Head::new();
        emit::encode(message, &mut out);
        (out[4], out[5..].to_vec())
    }

    quickcheck! {
        fn every_message_comes_back(sent: Message) -> bool {
            let (kind, body) = encoded(&sent);
            message(kind, &body) == Ok(Some(sent))
        }

        fn a_body_cut_short_or_grown_is_refused(sent: Message, cut: usize, more: u8) -> bool {
            let (kind, mut body) = encoded(&sent);
            let short = &body[..cut % body.len().max(1)];
            // No message is a beginning of another of its type.
            let short = short.len() == body.len() || message(kind, short).is_err();
            body.push(more);
            short && message(kind, &body) == Err(ParseError::Length)
        }

        fn a_changed_body_is_refused_or_means_something(
            sent: Message,
            at: usize,
            value: u8
        ) -> () {
            let (kind, mut body) = encoded(&sent);
            let end = body.len().max(1);
            if let Some(byte) = body.get_mut(at % end) {
                *byte = value;
            }
            check::any_body(kind, &body);
        }

        fn garbage_is_refused_or_means_something(kind: u8, body: Vec<u8>) -> () {
            check::any_body(kind % 0x40, &body);
        }
    }

    #[test]
    fn types_not_listed_are_skipped() {
        for kind in [0x00, 0x06, 0x18, 0x2a, 0x34, 0x50, 0xff] {
            assert_eq!(message(kind, &[1, 2, 3]), Ok(None));
        }
    }

    #[test]
    fn another_version_is_named_before_the_rest_is_looked_at() {
        assert_eq!(message(kind::HELLO, b"EDDY\x02"), Err(ParseError::Version(2)));
        assert_eq!(message(kind::HELLO, b"EDDY\x00 something else"), Err(ParseError::Version(0)));
        assert_eq!(message(kind::HELLO, b"EDDY\x01"), Err(ParseError::Length));
        assert_eq!(message(kind::HELLO, b"EDDY"), Err(ParseError::Length));
        for other in [&b""[..], b"EDD", b"HTTP/1.1 200 OK"] {
            assert_eq!(message(kind::HELLO, other), Err(ParseError::Magic));
        }
    }

    #[test]
    fn counts_and_lengths_are_checked_before_what_they_count() {
        let limits = [
            (kind::GOSSIP, MAX_MEMBERS),
            (kind::PULL, MAX_PULL),
            (kind::DONT_HAVE, MAX_PULL),
            (kind::CHANNEL_LIST_REPLY, MAX_CHANNELS),
        ];
        for (kind, max) in limits {
            assert_eq!(message(kind, &[max as u8]), Err(ParseError::Length));
            assert_eq!(message(kind, &[max as u8 + 1]), Err(ParseError::Limit));
        }
        assert_eq!(message(kind::CHANNEL_LIST, &[0, 65]), Err(ParseError::Limit));
        assert_eq!(message(kind::REFUSE, &[2, 1, 5]), Err(ParseError::Limit));
        assert_eq!(message(kind::UNSUBSCRIBE, &[32]), Err(ParseError::Limit));
        let request = [0, 0, 0, 0, 0, 0, 0, 0, MAX_TIME_SHIFT + 1];
        assert_eq!(message(kind::TIME_SHIFT_REQUEST, &request), Err(ParseError::Limit));
        let map = [0, 0, 0, 0, 0, 0, 0, 0, 0, 33];
        assert_eq!(message(kind::BUFFER_MAP, &map), Err(ParseError::Limit));
    }

    #[test]
    fn values_without_meaning_are_refused() {
        let bad: &[(u8, &[u8])] = &[
            (kind::REGISTRATION_REPLY, &[4]),
            (kind::TIME_SHIFT_REQUEST, &[0; 9]),
            (kind::JOIN_REPLY, &[3]),
            (kind::REFUSE, &[0, 1, 0]),
            (kind::SUBSCRIBE_REPLY, &[0, 8, 0, 0, 0, 0, 0]),
            // Text that is not UTF-8, and a name that must not be.
            (kind::CHANNEL_LIST, &[0, 1, 0xff]),
            (kind::CHANNEL_JOIN, &[0, 1, b'/', 0]),
            (kind::CHANNEL_JOIN, &[0, 0, 0]),
            // A truth value of 2.
            (kind::HEARTBEAT_REPLY, &[2, 0, 0, 0, 0, 0, 0]),
            // Unknown flags; a bit for a sub-stream that is not there; a block
            // past the last number.
            (kind::BUFFER_MAP, &[0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0]),
            (kind::BUFFER_MAP, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (kind::BUFFER_MAP, &[255, 255, 255, 255, 255, 255, 255, 255, 0, 1, 0, 1, 0, 0, 0, 0]),
        ];
        for (kind, body) in bad {
            assert_eq!(message(*kind, body), Err(ParseError::Value), "{kind:#x} {body:?}");
        }
    }

    #[test]
    fn a_channel_that_could_not_be_made_is_not_taken() {
        let channel = Channel::new(ChannelSpec { description: "".into(), ..spec() }).unwrap();
        let viewers = 1;
        let (kind, body) =
            encoded(&Message::ChannelListReply([ChannelSummary { channel, viewers }].into()));
        assert!(message(kind, &body).is_ok());
        // Behind the count, two names and an empty description stand D, S and F.
        let at = 1 + (2 + "NCTU".len()) + (2 + "Channel1".len()) + 2;
        assert_eq!(body[at..at + 5], [0, 40, 8, 0, 10]);
        for (at, value) in [(at + 1, 41), (at + 2, 0), (at + 2, 33), (at + 4, 0)] {
            let mut body = body.clone();
            body[at] = value;
            assert_eq!(message(kind, &body), Err(ParseError::Value), "{at} {value}");
        }
    }
}
