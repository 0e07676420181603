//! What must hold for any bytes at all: bodies of the wire's properties and
//! fuzz targets.

use alloc::boxed::Box;
use alloc::vec::Vec;

pub use super::arbitrary::Choices;
use crate::event::Head;
use crate::id::Seq;
use crate::stream::block::Block;
use crate::stream::sign::Signature;
use crate::wire::frame::{Arena, FrameError, Framer, Incoming};
use crate::wire::message::Message;
use crate::wire::parse::ParseError;
use crate::wire::{emit, parse};

/// The maximum frame of [`any_stream`]: small, so that it is reached.
const MAX: usize = 4 << 10;
/// The most things that [`wire_roundtrip`] sends.
const MOST_SENT: usize = 64;

/// Fuzz target: a type and a body. Whatever they are, they are refused,
/// skipped, or a message that means the same once it was sent on.
///
/// # Panics
/// If that does not hold.
pub fn wire_message(data: &[u8]) {
    if let Some((kind, body)) = data.split_first() {
        any_body(*kind, body);
    }
}

/// Fuzz target: messages and blocks chosen by the bytes are emitted, and must
/// come out of the framer as they were.
///
/// # Panics
/// If that does not hold.
pub fn wire_roundtrip(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut sent = Vec::new();
    while !choices.is_over() && sent.len() < MOST_SENT {
        sent.push(Sent::choose(&mut choices));
    }
    let bytes: Vec<u8> = sent.iter().flat_map(Sent::bytes).collect();
    let expected: Vec<_> = sent.iter().map(|sent| Ok(sent.incoming())).collect();
    assert_eq!(receive(&bytes, usize::MAX, &[]), (expected, false));
}

/// Fuzz target: the lengths of pieces, then a byte stream. However it is cut,
/// it gives the same messages, and the same error at the end.
///
/// # Panics
/// If that does not hold.
pub fn wire_chunks(data: &[u8]) {
    let mut choices = Choices::new(data);
    let pieces = choices.below(16);
    let cuts = choices.slice(pieces);
    any_stream(choices.slice(usize::MAX), cuts);
}

/// Any body of any type is refused, skipped, or is a message that means the
/// same once it was sent on.
pub(crate) fn any_body(kind: u8, body: &[u8]) {
    if let Ok(Some(message)) = parsed(kind, body) {
        let mut frame = Head::new();
        emit::encode(&message, &mut frame);
        assert_eq!(frame[4], kind);
        assert_eq!(parse::message(kind, &frame[5..]), Ok(Some(message)));
    }
}

#[cfg(not(test))]
fn parsed(kind: u8, body: &[u8]) -> Result<Option<Message>, ParseError> {
    parse::message(kind, body)
}

/// Parses where allocations are counted.
#[cfg(test)]
fn parsed(kind: u8, body: &[u8]) -> Result<Option<Message>, ParseError> {
    let mut parsed = Ok(None);
    let allocated = allocation_counter::measure(|| parsed = parse::message(kind, body));
    // What is kept is never much more than what came: a channel of 54 bytes on
    // the wire is the one that grows most.
    let most = 1_000 + 20 * body.len() as u64;
    assert!(allocated.bytes_max <= most, "{allocated:?} for {} bytes", body.len());
    parsed
}

/// Any bytes give the same however they are cut, and memory stays bounded.
pub(crate) fn any_stream(bytes: &[u8], cuts: &[u8]) {
    let whole = receive(bytes, MAX, &[]);
    assert_eq!(receive(bytes, MAX, &[1]), whole);
    assert_eq!(receive(bytes, MAX, cuts), whole);
}

/// Receives bytes in pieces of these lengths, over and over; whole if there
/// are none. Returns what came, up to the first error, and whether a frame is
/// left unended.
pub(crate) fn receive(
    bytes: &[u8],
    max: usize,
    cuts: &[u8],
) -> (Vec<Result<Incoming, FrameError>>, bool) {
    let (mut framer, mut arena) = (Framer::new(max), Arena::new());
    framer.allow_blocks(true);
    let mut received = Vec::new();
    let mut cuts = cuts.iter().map(|&n| usize::from(n).max(1)).cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (mut piece, later) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
        rest = later;
        loop {
            match framer.next(&mut piece, &mut arena) {
                Ok(Some(incoming)) => received.push(Ok(incoming)),
                Ok(None) => break,
                Err(error) => {
                    received.push(Err(error));
                    return (received, framer.is_partial());
                }
            }
        }
        assert!(piece.is_empty());
    }
    (received, framer.is_partial())
}

/// What a peer may send.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Message(Box<Message>),
    Block(Block),
    Unknown(u8, Vec<u8>),
}

impl Sent {
    fn choose(choices: &mut Choices<'_>) -> Self {
        match choices.below(5) {
            0 => {
                let kind = 0x60 | choices.byte();
                let length = choices.below(1 << 10);
                Self::Unknown(kind, choices.slice(length).to_vec())
            }
            1 | 2 => {
                let signature = Signature([choices.byte(); 64]);
                let seq = Seq(choices.u64());
                let (times, length) = (choices.below(64), choices.below(64));
                let payload = choices.slice(length).repeat(times);
                Self::Block(Block::new(seq, &signature, &payload))
            }
            _ => Self::Message(Box::new(choices.message())),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Message(message) => {
                let mut head = Head::new();
                emit::encode(message, &mut head);
                head.to_vec()
            }
            Self::Block(block) => block.frame().to_vec(),
            Self::Unknown(kind, body) => {
                let mut frame = (body.len() as u32 + 1).to_be_bytes().to_vec();
                frame.push(*kind);
                frame.extend_from_slice(body);
                frame
            }
        }
    }

    pub(crate) fn incoming(&self) -> Incoming {
        match self {
            Self::Message(message) => Incoming::Message((**message).clone()),
            Self::Block(block) => Incoming::Block(block.clone()),
            Self::Unknown(kind, _) => Incoming::Unknown(*kind),
        }
    }
}

#[cfg(test)]
impl quickcheck::Arbitrary for Sent {
    fn arbitrary(g: &mut quickcheck::Gen) -> Self {
        let bytes: Vec<u8> = (0..8 << 10).map(|_| u8::arbitrary(g)).collect();
        Self::choose(&mut Choices::new(&bytes))
    }
}
