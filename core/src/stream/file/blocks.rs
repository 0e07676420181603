//! What stands in a file: `block length | block`, over and over (report
//! Fig. 3-4). Both together are the frame that the block travels in, so a file
//! is frames one after another, signatures included: each block of the file
//! once, in order.

use core::fmt;

use bytes::Bytes;

use super::FileId;
use crate::id::Seq;
use crate::stream::block::{BLOCK_HEADER, BLOCK_KIND, Block};
use crate::stream::channel::Channel;

/// Bytes at the start of a frame that place its block: length, type, sequence
/// number.
pub const FRAME_HEAD: usize = 4 + 1 + 8;

/// Why bytes are not the blocks that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileError {
    /// They end within a block, or before the last one.
    Truncated,
    /// A block's length is more than is allowed, or less than a block has.
    Length(u32),
    /// This is not the type of a block.
    Kind(u8),
    /// A block comes twice, or too early.
    Order {
        /// Whose turn it was.
        expected: Seq,
        /// What came.
        found: Seq,
    },
    /// A block does not belong here at all.
    Outside(Seq),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends too early"),
            Self::Length(length) => write!(f, "no block has a length of {length} bytes"),
            Self::Kind(kind) => write!(f, "type {kind:#04x} is not that of a block"),
            Self::Order { expected, found } => {
                write!(f, "block {} stands where {} should", found.0, expected.0)
            }
            Self::Outside(found) => write!(f, "block {} does not belong there", found.0),
        }
    }
}

impl core::error::Error for FileError {}

/// Goes from block to block by their first bytes alone, for who doesn't want
/// to read the rest: judges structure, not signatures.
#[derive(Clone, Debug)]
pub struct Walk {
    first: Seq,
    blocks: u64,
    passed: u64,
    max_block: usize,
}

impl Walk {
    /// Over so many blocks from `first` on, whose payloads may have `max_block`
    /// bytes.
    pub fn new(first: Seq, blocks: u64, max_block: usize) -> Self {
        Self { first, blocks, passed: 0, max_block }
    }

    /// Over a whole file.
    pub fn of(channel: &Channel, file: FileId, max_block: usize) -> Self {
        Self::new(file.first(channel), FileId::blocks(channel), max_block)
    }

    /// Whether all blocks were passed.
    pub fn is_over(&self) -> bool {
        self.passed >= self.blocks
    }

    /// Passes the block whose frame begins like this. Returns the length of
    /// the whole frame in bytes.
    ///
    /// # Errors
    /// What is wrong with it; then it is not passed.
    pub fn pass(&mut self, head: &[u8; FRAME_HEAD]) -> Result<usize, FileError> {
        let [a, b, c, d, kind, seq @ ..] = *head;
        let length = u32::from_be_bytes([a, b, c, d]);
        let frame = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(4);
        if !(BLOCK_HEADER..=BLOCK_HEADER.saturating_add(self.max_block)).contains(&frame) {
            return Err(FileError::Length(length));
        }
        if kind != BLOCK_KIND {
            return Err(FileError::Kind(kind));
        }
        let found = Seq(u64::from_be_bytes(seq));
        match found.0.checked_sub(self.first.0) {
            Some(place) if place >= self.blocks => Err(FileError::Outside(found)),
            None => Err(FileError::Outside(found)),
            Some(place) if place != self.passed => {
                Err(FileError::Order { expected: self.first.plus(self.passed), found })
            }
            Some(_) => {
                self.passed += 1;
                Ok(frame)
            }
        }
    }
}

/// Blocks out of bytes, in order, sharing their allocation. Ends after the
/// last one, or with the first error.
#[derive(Clone, Debug)]
pub struct Blocks {
    rest: Bytes,
    walk: Walk,
    failed: bool,
}

impl Blocks {
    /// The blocks that a walk should find in these bytes, and nothing else.
    pub fn new(bytes: Bytes, walk: Walk) -> Self {
        Self { rest: bytes, walk, failed: false }
    }

    /// The blocks of a whole file, whose payloads may have `max_block` bytes.
    pub fn of(bytes: Bytes, channel: &Channel, file: FileId, max_block: usize) -> Self {
        Self::new(bytes, Walk::of(channel, file, max_block))
    }

    fn block(&mut self) -> Result<Block, FileError> {
        let head = self.rest.first_chunk().ok_or(FileError::Truncated)?;
        let length = self.walk.pass(head)?;
        if self.rest.len() < length {
            return Err(FileError::Truncated);
        }
        Block::from_frame(self.rest.split_to(length)).ok_or(FileError::Truncated)
    }
}

impl Iterator for Blocks {
    type Item = Result<Block, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || (self.rest.is_empty() && self.walk.is_over()) {
            return None;
        }
        let block = self.block();
        self.failed = block.is_err();
        Some(block)
    }
}

impl core::iter::FusedIterator for Blocks {}

#[cfg(test)]
mod tests {
    use super::super::check::{any_file, file_of, spoilt_file};
    use super::super::tests_support::channel;
    use super::*;
    use crate::stream::sign::Signature;
    use crate::wire::check::Choices;
    use alloc::vec;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    const MAX: usize = 100;
    const FILE: FileId = FileId { start: 20 };

    fn block(seq: u64, length: usize) -> Block {
        Block::new(Seq(seq), &Signature([seq as u8; 64]), &vec![seq as u8; length])
    }

    /// What a file of ten blocks, 200 to 209, gives if it is made of these.
    fn read(blocks: &[Block]) -> Vec<Result<u64, FileError>> {
        let bytes: Vec<u8> = blocks.iter().flat_map(|block| block.frame().to_vec()).collect();
        Blocks::of(bytes.into(), &channel(100, 1), FILE, MAX)
            .map(|block| block.map(|block| block.seq().0))
            .collect()
    }

    /// The first `n` blocks, and then this error.
    fn until(n: u64, error: FileError) -> Vec<Result<u64, FileError>> {
        (200..200 + n).map(Ok).chain([Err(error)]).collect()
    }

    quickcheck! {
        fn blocks_come_out_of_a_file_as_they_went_in(payloads: Vec<Vec<u8>>) -> bool {
            let c = channel(100, 1);
            let blocks: Vec<Block> = (FILE.first(&c).0..=FILE.last(&c).0)
                .map(|seq| {
                    let payload = payloads.get((seq % 10) as usize).map_or(&[][..], Vec::as_slice);
                    Block::new(Seq(seq), &Signature([seq as u8; 64]), payload)
                })
                .collect();
            let bytes: Vec<u8> = blocks.iter().flat_map(|b| b.frame().to_vec()).collect();
            Blocks::of(bytes.into(), &c, FILE, usize::MAX).eq(blocks.into_iter().map(Ok))
        }

        fn any_bytes_are_blocks_or_refused(bytes: Vec<u8>) -> () {
            any_file(&channel(100, 1), FILE, bytes.into(), MAX);
        }

        fn a_spoilt_file_is_refused_where_it_is_spoilt(choices: Vec<u8>) -> () {
            spoilt_file(&mut Choices::new(&choices));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good: Vec<Block> = (200..210).map(|seq| block(seq, seq as usize % 3)).collect();
        assert_eq!(read(&good), (200..210).map(Ok).collect::<Vec<_>>());
        assert_eq!(read(&[]), until(0, FileError::Truncated));
        assert_eq!(read(&good[..9]), until(9, FileError::Truncated));

        let spoilt = |at: usize, by: Block| {
            let mut blocks = good.clone();
            blocks[at] = by;
            read(&blocks)
        };
        let order =
            |expected, found| FileError::Order { expected: Seq(expected), found: Seq(found) };
        assert_eq!(spoilt(4, block(203, 0)), until(4, order(204, 203)));
        assert_eq!(spoilt(4, block(205, 0)), until(4, order(204, 205)));
        assert_eq!(spoilt(0, block(199, 0)), until(0, FileError::Outside(Seq(199))));
        assert_eq!(spoilt(9, block(210, 0)), until(9, FileError::Outside(Seq(210))));
        assert_eq!(spoilt(5, block(u64::MAX, 0)), until(5, FileError::Outside(Seq(u64::MAX))));
        let longest = (200..210).map(Ok).collect::<Vec<_>>();
        assert_eq!(spoilt(5, block(205, MAX)), longest);
        let length = (BLOCK_HEADER - 4 + MAX + 1) as u32;
        assert_eq!(spoilt(5, block(205, MAX + 1)), until(5, FileError::Length(length)));

        let mut more = good.clone();
        more.push(block(210, 0));
        let end = |error| (200..210).map(Ok).chain([Err(error)]).collect::<Vec<_>>();
        assert_eq!(read(&more), end(FileError::Outside(Seq(210))));
        more[10] = block(209, 0);
        assert_eq!(read(&more), end(order(210, 209)));
    }

    #[test]
    fn a_file_is_cut_nowhere() {
        let c = channel(250, 1);
        let file = FileId { start: 8 };
        let bytes = file_of(&c, file, &[0, 5, 1]);
        for end in 0..bytes.len() {
            let last = Blocks::of(bytes.slice(..end), &c, file, MAX).last();
            assert_eq!(last, Some(Err(FileError::Truncated)), "cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            Blocks::of(longer.into(), &c, file, MAX).last(),
            Some(Err(FileError::Truncated))
        );
    }

    #[test]
    fn every_byte_of_a_head_counts() {
        let head = |at: usize, byte: u8| {
            let mut frame = *block(200, 0).frame().first_chunk::<FRAME_HEAD>().unwrap();
            frame[at] = byte;
            Walk::new(Seq(200), 10, MAX).pass(&frame)
        };
        assert_eq!(head(3, (BLOCK_HEADER - 4) as u8), Ok(BLOCK_HEADER));
        assert_eq!(head(3, (BLOCK_HEADER - 5) as u8), Err(FileError::Length(72)));
        assert_eq!(head(0, 0xff), Err(FileError::Length(0xff00_0049)));
        assert_eq!(head(4, 0x41), Err(FileError::Kind(0x41)));
        assert_eq!(head(5, 1), Err(FileError::Outside(Seq((1 << 56) + 200))));
    }

    #[test]
    fn part_of_a_file_is_read_alone() {
        let frames = [block(203, 9).frame().clone(), block(204, 0).frame().clone()].concat();
        let blocks = |first, count| {
            let walk = Walk::new(Seq(first), count, MAX);
            Blocks::new(frames.clone().into(), walk).collect::<Result<Vec<_>, _>>()
        };
        assert_eq!(blocks(203, 2), Ok(vec![block(203, 9), block(204, 0)]));
        assert_eq!(blocks(203, 1), Err(FileError::Outside(Seq(204))));
        assert_eq!(blocks(203, 3), Err(FileError::Truncated));
    }
}
