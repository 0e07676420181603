//! Frames: a byte stream, cut anywhere, to messages and blocks.
//!
//! A frame is `length: u32 | type: u8 | body`, where the length counts what
//! follows it. A control frame that lies whole in the input is parsed where it
//! lies; a block is copied once, from the driver's read buffer to the
//! [`Arena`], and is relayed from there. Of a long block only the beginning is
//! copied if the program brings [memory](Memory) for it: the driver reads the
//! rest to its [slot](Framer::slot).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::memory::{Memory, Room};
use crate::stream::block::{BLOCK_HEADER, Block};
use crate::wire::kind;
use crate::wire::message::Message;
use crate::wire::parse::{self, ParseError};

/// Bytes of a frame before its body: length and type.
pub const FRAME_HEADER: usize = 4 + 1;
/// The longest frame that is not a block, length field included.
pub const MAX_CONTROL: usize = 32 << 10;
/// The pieces of memory that short blocks are kept in.
const CHUNK: usize = 64 << 10;
/// A block frame of this length is long: it has memory of its own, and is kept
/// where it lies if it came alone.
const LONG: usize = CHUNK / 2;

/// One thing that came in.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once; a box would allocate")]
pub enum Incoming {
    /// A message.
    Message(Message),
    /// A block, unverified.
    Block(Block),
    /// A frame of a type that is not known here, skipped.
    Unknown(u8),
}

/// Why a byte stream has lost its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A frame announces this length, which is over the maximum.
    Oversized(u32),
    /// A frame announces length 0, which has no room for its type.
    Empty,
    /// A block on a connection that carries none.
    Block,
    /// A body is not what its type promises.
    Parse(ParseError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oversized(length) => write!(f, "a frame of {length} bytes is over the maximum"),
            Self::Empty => f.write_str("a frame has no type"),
            Self::Block => f.write_str("a block came on a connection that carries none"),
            Self::Parse(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FrameError {}

impl From<ParseError> for FrameError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error)
    }
}

/// Cuts one connection's bytes into frames.
///
/// Memory: a peer that announces a frame and sends no more of it costs at most
/// [`MAX_CONTROL`] bytes, or, where blocks are allowed, the slot of one frame
/// of the maximum length, or a chunk of the arena, 64 KiB, that its slot keeps
/// alive. Whoever owns the connection ends it when
/// [`is_partial`](Self::is_partial) holds for too long.
#[derive(Debug)]
pub struct Framer {
    max: usize,
    blocks: bool,
    /// The header of the frame begun.
    header: [u8; FRAME_HEADER],
    /// How much of the header is here.
    have: usize,
    /// The body so far of a control frame that came in pieces; kept for reuse.
    gathered: Vec<u8>,
    /// The frame so far of a block.
    slot: Option<Slot>,
    failed: Option<FrameError>,
}

impl Framer {
    /// A framer that takes block frames of up to `max_frame` bytes, length
    /// field included, once blocks are [allowed](Self::allow_blocks).
    pub fn new(max_frame: usize) -> Self {
        Self {
            max: max_frame,
            blocks: false,
            header: [0; FRAME_HEADER],
            have: 0,
            gathered: Vec::new(),
            slot: None,
            failed: None,
        }
    }

    /// Sets the longest block frame, in bytes, for frames not yet begun.
    pub fn set_max(&mut self, max_frame: usize) {
        self.max = max_frame;
    }

    /// Sets whether blocks may come. At first they may not: a block is then an
    /// error before any memory is taken for it.
    pub fn allow_blocks(&mut self, allowed: bool) {
        self.blocks = allowed;
    }

    /// Whether a frame has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.have > 0
    }

    /// The block, if what came in is one long block frame and nothing else.
    pub fn whole(&self, input: &Bytes) -> Option<Block> {
        let allowed = self.blocks && self.failed.is_none() && !self.is_partial();
        let fits = input.len() >= LONG && input.len() <= self.max;
        (fits && allowed).then(|| Block::from_frame(input.clone())).flatten()
    }

    /// Where the rest of a long block that has begun goes, if it has memory that
    /// the program brought. [`filled`](Self::filled) is next.
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        match &mut self.slot {
            Some(Slot::Brought(frame)) => Some(frame.rest()),
            _ => None,
        }
    }

    /// So many bytes came to the [slot](Self::slot): the block, if it is whole.
    pub fn filled(&mut self, bytes: usize) -> Option<Block> {
        let whole = |slot: &mut Slot| match slot {
            Slot::Brought(frame) => {
                frame.have += bytes.min(frame.rest().len());
                frame.rest().is_empty()
            }
            Slot::Heap(_) => false,
        };
        let slot = self.slot.take_if(whole)?;
        self.have = 0;
        Block::from_frame(slot.freeze())
    }

    /// Takes bytes from the front of `input` until one thing is whole. `None`
    /// when the input is used up.
    ///
    /// # Errors
    /// A [`FrameError`], and the same one on every later call: where the next
    /// frame begins is no longer known.
    pub fn next(
        &mut self,
        input: &mut &[u8],
        arena: &mut Arena,
    ) -> Result<Option<Incoming>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.advance(input, arena);
        self.failed = result.as_ref().err().copied();
        result
    }

    fn advance(
        &mut self,
        input: &mut &[u8],
        arena: &mut Arena,
    ) -> Result<Option<Incoming>, FrameError> {
        if self.have < FRAME_HEADER {
            let piece = take(input, FRAME_HEADER - self.have);
            self.header[self.have..][..piece.len()].copy_from_slice(piece);
            self.have += piece.len();
            if self.have < FRAME_HEADER {
                return Ok(None);
            }
            self.begin(arena)?;
        }
        let incoming = if self.slot.is_some() { self.block(input)? } else { self.control(input)? };
        if incoming.is_some() {
            self.have = 0;
        }
        Ok(incoming)
    }

    /// Judges a header before any memory is taken for its frame.
    fn begin(&mut self, arena: &mut Arena) -> Result<(), FrameError> {
        let (length, kind) = self.parts();
        let frame = (length as usize).saturating_add(4);
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if kind != kind::BLOCK {
            return if frame > MAX_CONTROL { Err(FrameError::Oversized(length)) } else { Ok(()) };
        }
        if !self.blocks {
            return Err(FrameError::Block);
        }
        if frame > self.max {
            return Err(FrameError::Oversized(length));
        }
        if frame < BLOCK_HEADER {
            return Err(ParseError::Length.into());
        }
        let mut slot = arena.slot(frame);
        slot.extend(&self.header);
        self.slot = Some(slot);
        Ok(())
    }

    fn block(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, FrameError> {
        let length = 4 + self.parts().0 as usize;
        let whole = self.slot.take_if(|slot| {
            slot.extend(take(input, length.saturating_sub(slot.len())));
            slot.len() >= length
        });
        let Some(slot) = whole else { return Ok(None) };
        let block = Block::from_frame(slot.freeze()).ok_or(ParseError::Length)?;
        Ok(Some(Incoming::Block(block)))
    }

    fn control(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, FrameError> {
        let (length, kind) = self.parts();
        let missing = length as usize - 1 - self.gathered.len();
        let mut body = take(input, missing);
        if body.len() < missing || !self.gathered.is_empty() {
            self.gathered.extend_from_slice(body);
            if body.len() < missing {
                return Ok(None);
            }
            body = &self.gathered;
        }
        let message = parse::message(kind, body);
        self.gathered.clear();
        Ok(Some(message?.map_or(Incoming::Unknown(kind), Incoming::Message)))
    }

    /// The length and the type in the header.
    fn parts(&self) -> (u32, u8) {
        let [a, b, c, d, kind] = self.header;
        (u32::from_be_bytes([a, b, c, d]), kind)
    }
}

/// Takes up to `n` bytes from the front.
fn take<'a>(input: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(n.min(input.len()));
    *input = rest;
    front
}

/// Where the frame of a block is gathered, and kept.
#[derive(Debug)]
enum Slot {
    /// On the heap, which a driver cannot read to, for it is not initialised.
    Heap(BytesMut),
    /// In memory that the program brought.
    Brought(Brought),
}

impl Slot {
    fn len(&self) -> usize {
        match self {
            Self::Heap(frame) => frame.len(),
            Self::Brought(frame) => frame.have,
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        match self {
            Self::Heap(frame) => frame.extend_from_slice(bytes),
            Self::Brought(frame) => {
                frame.rest()[..bytes.len()].copy_from_slice(bytes);
                frame.have += bytes.len();
            }
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Self::Heap(frame) => frame.freeze(),
            Self::Brought(frame) => Bytes::from_owner(frame),
        }
    }
}

/// A frame in memory that the program brought, and how much of it is here.
struct Brought {
    room: Box<dyn Room>,
    length: usize,
    have: usize,
}

impl Brought {
    fn rest(&mut self) -> &mut [u8] {
        &mut (*self.room).as_mut()[self.have..self.length]
    }
}

impl AsRef<[u8]> for Brought {
    fn as_ref(&self) -> &[u8] {
        &(*self.room).as_ref()[..self.have]
    }
}

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.have, self.length)
    }
}

/// Where the frames of blocks of all connections of a node are kept: short ones
/// in chunks of 64 KiB, cut into slots of one frame each, and long ones in
/// memory that the program brings, if it does, or of their own.
///
/// A chunk costs two allocations (the bytes, and what `bytes` counts owners
/// with) and has room for two frames or more, so a block costs one at most. A
/// chunk lives as long as any block in it; blocks that came together also
/// expire together.
#[derive(Debug, Default)]
pub struct Arena {
    /// What is left of the newest chunk.
    chunk: BytesMut,
    memory: Option<Box<dyn Memory>>,
}

impl Arena {
    /// An arena that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where long blocks are kept that begin from now on.
    pub fn set_memory(&mut self, memory: Box<dyn Memory>) {
        self.memory = Some(memory);
    }

    /// An empty slot with room for exactly `length` bytes.
    fn slot(&mut self, length: usize) -> Slot {
        if length >= LONG {
            let room = self.memory.as_mut().and_then(|memory| memory.take(length));
            return match room.filter(|room| (**room).as_ref().len() >= length) {
                Some(room) => Slot::Brought(Brought { room, length, have: 0 }),
                None => Slot::Heap(BytesMut::with_capacity(length)),
            };
        }
        if self.chunk.capacity() < length && !self.chunk.try_reclaim(length) {
            self.chunk = BytesMut::with_capacity(CHUNK);
        }
        let rest = self.chunk.split_off(length);
        Slot::Heap(core::mem::replace(&mut self.chunk, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Head;
    use crate::id::Seq;
    use crate::stream::sign::{SIGNATURE_LEN, Signature};
    use crate::wire::check;
    use crate::wire::emit;
    use alloc::vec;
    use quickcheck::quickcheck;

    const MAX: usize = 1 << 20;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = (body.len() as u32 + 1).to_be_bytes().to_vec();
        frame.push(kind);
        frame.extend_from_slice(body);
        frame
    }

    fn framer() -> Framer {
        let mut framer = Framer::new(MAX);
        framer.allow_blocks(true);
        framer
    }

    fn first(framer: &mut Framer, mut bytes: &[u8]) -> Result<Option<Incoming>, FrameError> {
        framer.next(&mut bytes, &mut Arena::new())
    }

    /// Memory for some blocks, too little for others, and by turns none at all.
    #[derive(Debug)]
    struct ByTurns(bool);

    impl Memory for ByTurns {
        fn take(&mut self, length: usize) -> Option<Box<dyn Room>> {
            self.0 ^= true;
            self.0.then(|| Box::new(vec![9u8; length + 1 - length % 3]) as _)
        }
    }

    /// Receives bytes as a driver does that reads to slots.
    fn read(mut bytes: &[u8], cuts: &[u16]) -> Vec<Result<Incoming, FrameError>> {
        let (mut framer, mut arena) = (framer(), Arena::new());
        arena.set_memory(Box::new(ByTurns(false)));
        let mut cuts = cuts.iter().map(|&n| usize::from(n).max(1)).cycle();
        let mut received = Vec::new();
        while !bytes.is_empty() {
            let cut = cuts.next().unwrap_or(bytes.len());
            // A driver may have its reasons not to.
            let Some(slot) = framer.slot().filter(|_| cut % 4 > 0) else {
                let mut piece = take(&mut bytes, cut.min(1_000));
                while let Some(next) = framer.next(&mut piece, &mut arena).transpose() {
                    received.push(next);
                }
                continue;
            };
            let piece = take(&mut bytes, cut.min(slot.len()));
            slot[..piece.len()].copy_from_slice(piece);
            let filled = framer.filled(piece.len());
            received.extend(filled.map(|block| Ok(Incoming::Block(block))));
        }
        received
    }

    quickcheck! {
        fn traffic_arrives_as_it_was_sent(traffic: Vec<check::Sent>, cuts: Vec<u8>) -> bool {
            let bytes: Vec<u8> = traffic.iter().flat_map(check::Sent::bytes).collect();
            let expected: Vec<_> = traffic.iter().map(|sent| Ok(sent.incoming())).collect();
            check::receive(&bytes, MAX, &[]) == (expected.clone(), false)
                && check::receive(&bytes, MAX, &[1]) == (expected.clone(), false)
                && check::receive(&bytes, MAX, &cuts) == (expected, false)
        }

        fn cuts_do_not_matter_to_spoilt_traffic(
            traffic: Vec<check::Sent>,
            spoils: Vec<(usize, u8)>,
            cuts: Vec<u8>
        ) -> () {
            let mut bytes: Vec<u8> = traffic.iter().flat_map(check::Sent::bytes).collect();
            for (at, value) in spoils {
                let end = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at % end) {
                    *byte = value;
                }
            }
            check::any_stream(&bytes, &cuts);
        }

        fn a_slot_gives_what_copying_gives(
            traffic: Vec<(bool, u16)>,
            cuts: Vec<u16>
        ) -> bool {
            let some = |&(block, n): &(bool, u16)| match block {
                true => check::Sent::Block(Block::new(
                    Seq(n.into()), &Signature([1; 64]), &vec![n as u8; 2 * usize::from(n)]
                )),
                false => check::Sent::Unknown(0x7f, vec![n as u8; usize::from(n) / 3]),
            };
            let bytes: Vec<u8> = traffic.iter().flat_map(|t| some(t).bytes()).collect();
            read(&bytes, &cuts) == check::receive(&bytes, MAX, &[]).0
        }

        fn a_header_takes_no_more_memory_than_its_frame_may(
            length: u32,
            block: bool,
            few: Vec<u8>
        ) -> bool {
            let length = length % (2 * MAX as u32);
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.push(if block { kind::BLOCK } else { kind::GOSSIP });
            bytes.extend_from_slice(&few);
            let mut framer = framer();
            let mut arena = Arena::new();
            let allocated = allocation_counter::measure(|| {
                let begun = framer.next(&mut &bytes[..], &mut arena);
                assert!(begun.is_err() || length as usize <= MAX);
            });
            let most = if block && length as usize <= MAX { length as usize + 4 } else { 0 };
            allocated.bytes_max <= (most.max(CHUNK) + 2 * few.len() + 1_000) as u64
        }

        fn cuts_do_not_matter_to_garbage(bytes: Vec<u8>, cuts: Vec<u8>) -> () {
            check::any_stream(&bytes, &cuts);
        }
    }

    #[test]
    fn the_rest_of_a_long_block_has_a_slot() {
        let (mut framer, mut arena) = (framer(), Arena::new());
        let block = Block::new(Seq(3), &Signature([1; 64]), &[7; 100_000]);
        let bytes = block.frame();
        assert_eq!(framer.next(&mut &bytes[..10], &mut arena), Ok(None));
        assert_eq!(framer.slot(), None, "there is no memory to lend");
        assert!(framer.next(&mut &bytes[10..], &mut arena).is_ok());
        // The first try of two has memory.
        arena.set_memory(Box::new(ByTurns(false)));
        assert_eq!(framer.next(&mut &bytes[..10], &mut arena), Ok(None));
        let slot = framer.slot().expect("there is memory");
        assert_eq!(slot.len(), bytes.len() - 10);
        slot.copy_from_slice(&bytes[10..]);
        assert_eq!(framer.filled(usize::MAX), Some(block.clone()));
        assert!(framer.slot().is_none() && !framer.is_partial());
    }

    #[test]
    fn what_comes_after_an_unknown_type_is_read() {
        let bytes = [frame(0x7f, &[1, 2, 3]), frame(kind::LEAVE, &[])].concat();
        let expected = vec![Ok(Incoming::Unknown(0x7f)), Ok(Incoming::Message(Message::Leave))];
        assert_eq!(check::receive(&bytes, MAX, &[1]), (expected, false));
    }

    #[test]
    fn a_frame_without_a_type_is_an_error_for_good() {
        let mut framer = framer();
        assert_eq!(first(&mut framer, &[0; 5]), Err(FrameError::Empty));
        assert_eq!(first(&mut framer, &frame(kind::LEAVE, &[])), Err(FrameError::Empty));
    }

    #[test]
    fn a_control_frame_may_be_32_kib_and_no_more() {
        let longest = vec![0; MAX_CONTROL - FRAME_HEADER];
        let got = first(&mut framer(), &frame(0x7f, &longest));
        assert_eq!(got, Ok(Some(Incoming::Unknown(0x7f))));
        let longer = vec![0; MAX_CONTROL - FRAME_HEADER + 1];
        let oversized = Err(FrameError::Oversized(MAX_CONTROL as u32 - 3));
        // The header is enough to tell.
        assert_eq!(first(&mut framer(), &frame(0x7f, &longer)[..5]), oversized);
        let endless = [0xff, 0xff, 0xff, 0xff, kind::GOSSIP];
        assert_eq!(first(&mut framer(), &endless), Err(FrameError::Oversized(u32::MAX)));
    }

    #[test]
    fn a_block_may_be_as_long_as_was_agreed_and_no_longer() {
        let payload = vec![5; 1_000];
        let block = Block::new(Seq(3), &Signature([1; 64]), &payload);
        let bytes = block.frame();
        let mut framer = framer();
        framer.set_max(bytes.len());
        assert_eq!(first(&mut framer, bytes), Ok(Some(Incoming::Block(block.clone()))));
        framer.set_max(bytes.len() - 1);
        let mut arena = Arena::new();
        let got = framer.next(&mut &bytes[..], &mut arena);
        assert_eq!(got, Err(FrameError::Oversized(bytes.len() as u32 - 4)));
        assert_eq!(arena.chunk.capacity(), 0);
    }

    #[test]
    fn a_block_where_none_may_come_takes_no_memory() {
        let block = Block::new(Seq(3), &Signature([1; 64]), &[]);
        let mut arena = Arena::new();
        let got = Framer::new(MAX).next(&mut &block.frame()[..], &mut arena);
        assert_eq!(got, Err(FrameError::Block));
        assert_eq!(arena.chunk.capacity(), 0);
    }

    #[test]
    fn a_block_needs_a_number_and_a_signature() {
        let short = frame(kind::BLOCK, &[0; 8 + SIGNATURE_LEN - 1]);
        let error = Err(FrameError::Parse(ParseError::Length));
        assert_eq!(first(&mut framer(), &short), error);
        let empty = frame(kind::BLOCK, &[0; 8 + SIGNATURE_LEN]);
        let got = first(&mut framer(), &empty);
        assert!(matches!(got, Ok(Some(Incoming::Block(b))) if b.payload().is_empty()));
    }

    #[test]
    fn a_frame_begun_is_partial_until_it_ends() {
        for bytes in [frame(kind::PING, &[0; 8]), frame(kind::BLOCK, &[0; 100])] {
            let (mut framer, mut arena) = (framer(), Arena::new());
            assert!(!framer.is_partial());
            let (last, begun) = bytes.split_last().unwrap();
            for byte in begun {
                assert_eq!(framer.next(&mut &[*byte][..], &mut arena), Ok(None));
                assert!(framer.is_partial());
            }
            assert!(matches!(framer.next(&mut &[*last][..], &mut arena), Ok(Some(_))));
            assert!(!framer.is_partial());
        }
    }

    #[test]
    fn a_control_frame_in_one_piece_allocates_nothing() {
        let mut bytes = Head::new();
        emit::encode(&Message::Pull((0..8).map(Seq).collect()), &mut bytes);
        let (mut framer, mut arena) = (framer(), Arena::new());
        let allocated = allocation_counter::measure(|| {
            assert!(matches!(framer.next(&mut &bytes[..], &mut arena), Ok(Some(_))));
        });
        assert_eq!(allocated.count_total, 0);
    }

    #[test]
    fn a_block_costs_at_most_one_allocation() {
        for length in [0, 100, 5_000, 30_000, 200_000] {
            let bytes = Block::new(Seq(3), &Signature([1; 64]), &vec![1; length]).frame().clone();
            let (mut framer, mut arena) = (framer(), Arena::new());
            let mut kept = Vec::with_capacity(100);
            let allocated = allocation_counter::measure(|| {
                for _ in 0..100 {
                    for mut piece in bytes.chunks(1_400) {
                        kept.extend(framer.next(&mut piece, &mut arena).unwrap());
                    }
                }
            });
            assert_eq!(kept.len(), 100);
            assert!(allocated.count_total <= 100, "{length}: {allocated:?}");
            let most = (100 * 2 * bytes.len()).max(CHUNK) as u64;
            assert!(allocated.bytes_total <= most + 10_000, "{length}: {allocated:?}");
        }
    }

    #[test]
    fn memory_of_blocks_let_go_is_used_again() {
        let bytes = Block::new(Seq(3), &Signature([1; 64]), &[1; 20_000]).frame().clone();
        let (mut framer, mut arena) = (framer(), Arena::new());
        assert!(framer.next(&mut &bytes[..], &mut arena).is_ok());
        let allocated = allocation_counter::measure(|| {
            for _ in 0..100 {
                assert!(framer.next(&mut &bytes[..], &mut arena).is_ok());
            }
        });
        assert_eq!(allocated.count_total, 0);
    }
}
