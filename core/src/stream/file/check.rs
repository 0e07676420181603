//! What must hold of files for any bytes at all: bodies of their properties
//! and of a fuzz target.

use alloc::string::ToString as _;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Blocks, FileError, FileId, FileName, MAX_FILE_NAME};
use crate::id::Seq;
use crate::stream::block::{BLOCK_HEADER, Block};
use crate::stream::channel::{Channel, ChannelSpec, Name};
use crate::stream::sign::{PublicKey, Signature};
use crate::wire::check::Choices;

/// The longest payload here: short, so that it is reached.
const MAX: usize = 255;

/// Fuzz target: a text as a file's name, two names and a start, a whole file
/// and what spoils it, or any bytes as a file.
///
/// # Panics
/// If a name leads out of its folder or says something else than was meant, a
/// block comes out that is not in the bytes, or a spoilt file passes.
pub fn file_format(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(4) {
        0 => {
            if let Ok(text) = core::str::from_utf8(choices.slice(usize::MAX)) {
                any_name(text);
            }
        }
        1 => {
            let start = choices.u64();
            let names = core::str::from_utf8(choices.slice(usize::MAX)).unwrap_or_default();
            if let Some((provider, channel)) = names.split_once('_') {
                any_names(provider, channel, start);
            }
        }
        2 => spoilt_file(&mut choices),
        _ => {
            let channel = channel(&mut choices);
            let file = file(&mut choices, &channel);
            let bytes = Bytes::copy_from_slice(choices.slice(usize::MAX));
            any_file(&channel, file, bytes, MAX);
        }
    }
}

/// Any text is refused, or is a name that prints as that text and stays in its
/// folder.
pub(super) fn any_name(text: &str) {
    let Ok(name) = text.parse::<FileName>() else { return };
    assert_eq!(name.to_string(), text);
    stays(text);
}

/// Any names that a channel may have make a file name that reads as itself.
pub(super) fn any_names(provider: &str, channel: &str, start: u64) {
    let (Ok(provider), Ok(name)) = (Name::new(provider), Name::new(channel)) else { return };
    let channel = Channel::new(ChannelSpec { provider, name, ..spec(1_000, 1) })
        .expect("each field is drawn from its range");
    // Half of the starts have a name, and half of them are beyond all dates.
    let file = FileId { start: if start.is_multiple_of(2) { start } else { start % (1 << 38) } };
    let Some(name) = FileName::new(&channel, file) else {
        assert!(file.start > 253_402_300_799);
        return;
    };
    let text = name.to_string();
    stays(&text);
    assert_eq!(text.parse(), Ok(name.clone()));
    assert_eq!(name.file(&channel), Some(file));
}

fn stays(name: &str) {
    let out = |c: char| c == '/' || c == '\\' || c.is_control();
    assert!(!name.contains(out) && !name.contains("..") && name.len() <= MAX_FILE_NAME, "{name:?}");
}

/// Any bytes give blocks that stand in them one after another, from the file's
/// first on, until the last or one error.
pub(super) fn any_file(channel: &Channel, file: FileId, bytes: Bytes, max_block: usize) {
    let mut at = 0;
    let mut expected = file.first(channel);
    let mut blocks = Blocks::of(bytes.clone(), channel, file, max_block);
    let ended = blocks.by_ref().try_for_each(|block| {
        let block = block?;
        let frame = block.frame();
        assert_eq!(block.seq(), expected);
        assert!(expected <= file.last(channel));
        assert_eq!(bytes.get(at..at + frame.len()), Some(&frame[..]));
        assert!(block.payload().len() <= max_block);
        at += frame.len();
        expected = expected.plus(1);
        Ok::<_, FileError>(())
    });
    match ended {
        Ok(()) => assert!(expected > file.last(channel) && at == bytes.len()),
        Err(_) => assert_eq!(blocks.next(), None),
    }
}

/// A whole file reads as it was written, and not at all once it is spoilt.
pub(super) fn spoilt_file(choices: &mut Choices<'_>) {
    let channel = channel(choices);
    let file = file(choices, &channel);
    let lengths = choices.slice(4);
    let good = file_of(&channel, file, lengths);
    let read = |bytes: Bytes| {
        any_file(&channel, file, bytes.clone(), MAX);
        Blocks::of(bytes, &channel, file, MAX).collect::<Result<Vec<_>, _>>()
    };
    let blocks = read(good.clone()).expect("it is whole");
    assert_eq!(blocks.len() as u64, FileId::blocks(&channel));

    let at = choices.below(blocks.len());
    let (before, later) = blocks.split_at(at);
    let Some((block, after)) = later.split_first() else { return };
    let place: usize = before.iter().map(|block| block.frame().len()).sum();
    let with = |instead: &[Block]| read(joined(&[before, instead, after].concat()));
    let renamed = |seq| Block::new(seq, &block.signature(), &block.payload());
    match choices.below(7) {
        0 => {
            let cut = choices.below(good.len());
            assert_eq!(read(good.slice(..cut)), Err(FileError::Truncated));
        }
        1 => assert!(with(&[]).is_err()),
        2 => assert!(with(&[block.clone(), block.clone()]).is_err()),
        3 => {
            let seq = Seq(choices.u64());
            assert_eq!(with(&[renamed(seq)]).is_ok(), seq == block.seq());
        }
        4 => {
            let seq = file.last(&channel).plus(1 + choices.byte() as u64);
            assert_eq!(with(&[renamed(seq)]), Err(FileError::Outside(seq)));
        }
        5 => {
            let long = Block::new(block.seq(), &block.signature(), &[0; MAX + 1]);
            let length = (BLOCK_HEADER - 4 + MAX + 1) as u32;
            assert_eq!(with(&[long]), Err(FileError::Length(length)));
        }
        // A byte of the length or the type.
        _ => {
            let mut bytes = BytesMut::from(&good[..]);
            bytes[place + choices.below(5)] ^= choices.byte().max(1);
            assert!(read(bytes.freeze()).is_err());
        }
    }
}

/// A whole file; its payloads have these lengths, over and over.
pub(super) fn file_of(channel: &Channel, file: FileId, lengths: &[u8]) -> Bytes {
    let mut lengths = lengths.iter().map(|&length| usize::from(length)).cycle();
    let blocks: Vec<Block> = (file.first(channel).0..=file.last(channel).0)
        .map(|seq| {
            let payload = [seq as u8; MAX];
            let length = lengths.next().unwrap_or_default();
            Block::new(Seq(seq), &Signature([!(seq as u8); 64]), &payload[..length])
        })
        .collect();
    joined(&blocks)
}

fn joined(blocks: &[Block]) -> Bytes {
    let frames: Vec<&[u8]> = blocks.iter().map(|block| &block.frame()[..]).collect();
    frames.concat().into()
}

/// A channel with 1 to 40 blocks a file.
fn channel(choices: &mut Choices<'_>) -> Channel {
    let block = choices.pick(&[1_000, 500, 250, 100]);
    Channel::new(spec(block, 1 + choices.below(4) as u64)).expect("D divides one second")
}

fn file(choices: &mut Choices<'_>, channel: &Channel) -> FileId {
    FileId::at(channel, crate::Time::from_secs(choices.u32().into()))
}

fn spec(block: u64, file: u64) -> ChannelSpec {
    ChannelSpec {
        provider: Name::new("NCTU").expect("it has four letters"),
        name: Name::new("Channel1").expect("it has letters and a digit"),
        description: "".into(),
        block: Duration::from_millis(block),
        sub_streams: 8,
        file: Duration::from_secs(file),
        key: PublicKey([7; 32]),
    }
}
