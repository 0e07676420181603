//! What must hold for any bytes at all: bodies of properties and fuzz targets.

use alloc::boxed::Box;
use alloc::vec::Vec;

use quickcheck::{Arbitrary, Gen};

use crate::event::Head;
use crate::id::Seq;
use crate::stream::block::Block;
use crate::stream::sign::Signature;
use crate::wire::frame::{Arena, FrameError, Framer, Incoming};
use crate::wire::message::Message;
use crate::wire::{emit, parse};

/// The maximum frame of [`any_stream`]: small, so that it is reached.
const MAX: usize = 4 << 10;

/// Any body of any type is refused, skipped, or is a message that means the
/// same once it was sent on.
pub(crate) fn any_body(kind: u8, body: &[u8]) {
    let mut parsed = None;
    let allocated = allocation_counter::measure(|| parsed = parse::message(kind, body).ok());
    // What is kept is never much more than what came: a channel of 54 bytes on
    // the wire is the one that grows most.
    let most = 1_000 + 20 * body.len() as u64;
    assert!(allocated.bytes_max <= most, "{allocated:?} for {} bytes", body.len());
    if let Some(Some(message)) = parsed {
        let mut frame = Head::new();
        emit::encode(&message, &mut frame);
        assert_eq!(frame[4], kind);
        assert_eq!(parse::message(kind, &frame[5..]), Ok(Some(message)));
    }
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

impl Arbitrary for Sent {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 5 {
            0 => Self::Unknown(0x60 | u8::arbitrary(g), Arbitrary::arbitrary(g)),
            1 | 2 => {
                let signature = Signature([u8::arbitrary(g); 64]);
                let times = usize::from(u8::arbitrary(g) % 64);
                let payload = Vec::<u8>::arbitrary(g).repeat(times);
                Self::Block(Block::new(Seq(Arbitrary::arbitrary(g)), &signature, &payload))
            }
            _ => Self::Message(Arbitrary::arbitrary(g)),
        }
    }
}
