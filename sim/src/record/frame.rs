//! Frames: pieces of a recording that are whole or known not to be.

use std::io::{self, Read};

use blake3::Hasher;
use bytes::Bytes;

use super::output::first_8;

/// First in every recording; the last byte is the format's version.
pub(super) const MAGIC: [u8; 8] = *b"EDDYREC\x02";
/// Length, its complement and the check.
const HEAD: usize = 16;
/// The longest body that is read, in bytes. A recorder's frames are as long as
/// [`FULL`] and one event more.
const LONGEST: usize = 64 << 20;
/// A body of this many bytes is long enough to be passed on.
pub(super) const FULL: usize = 64 << 10;

/// A body under way, behind room for its head.
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

/// What stands where a frame should begin.
#[derive(Debug)]
pub(super) enum Next {
    /// The body of a whole frame.
    Body(Bytes),
    /// The end of the file, be it within a frame.
    Cut,
    /// Something else.
    Damaged(&'static str),
}

impl Frame {
    pub(super) fn new() -> Self {
        Self(vec![0; HEAD])
    }

    /// Where the body's bytes go.
    pub(super) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The body's length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len() - HEAD
    }

    /// The whole frame.
    pub(super) fn seal(mut self) -> Vec<u8> {
        let (head, body) = self.0.split_at_mut(HEAD);
        head.copy_from_slice(&head_of(body.len() as u32, body));
        self.0
    }
}

/// The next frame of a file.
pub(super) fn read(source: &mut impl Read) -> io::Result<Next> {
    let Ok(head) = <[u8; HEAD]>::try_from(up_to(source, HEAD)?) else { return Ok(Next::Cut) };
    let [a, b, c, d, complement @ ..] = head;
    let length = u32::from_be_bytes([a, b, c, d]);
    if !complement.starts_with(&(!length).to_be_bytes()) || length as usize > LONGEST {
        return Ok(Next::Damaged("no frame begins here"));
    }
    let body = up_to(source, length as usize)?;
    Ok(if body.len() < length as usize {
        Next::Cut
    } else if head != head_of(length, &body) {
        Next::Damaged("the frame's check does not hold")
    } else {
        Next::Body(body.into())
    })
}

/// The length in bytes of the frame with this body.
pub(super) fn whole(body: &Bytes) -> u64 {
    (HEAD + body.len()) as u64
}

fn head_of(length: u32, body: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4..8].copy_from_slice(&(!length).to_be_bytes());
    head[8..].copy_from_slice(&first_8(Hasher::new().update(body)).to_be_bytes());
    head
}

/// Reads this many bytes, or as many as there are. Memory grows with what
/// comes, not with what was announced.
fn up_to(source: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.by_ref().take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
