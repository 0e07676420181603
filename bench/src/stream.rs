//! The stream that every benchmark carries: one channel, blocks of one length.

use std::io::{self, IoSlice, Write};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::Seq;
use eddy_core::stream::block::{BLOCK_HEADER, BLOCK_KIND};
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::sign::{SIGNATURE_LEN, Signer};
use eddy_core::time::micros;

/// Sub-streams of the channel.
pub const SUB_STREAMS: u8 = 8;
/// The first block of the stream; a multiple of [`SUB_STREAMS`].
pub const FIRST: Seq = Seq(8_000_000);

/// The signer whose blocks Ed25519 verification takes.
#[must_use]
pub fn signer() -> Signer {
    Signer::from_secret(&[7; 32])
}

/// A channel of this block duration, with [`signer`]'s key.
///
/// # Panics
/// If no channel can have this block duration.
#[must_use]
pub fn channel(block: Duration) -> Channel {
    let name = |name| Name::new(name).expect("letters only");
    let spec = ChannelSpec {
        provider: name("bench"),
        name: name("bench"),
        description: String::new(),
        block,
        sub_streams: SUB_STREAMS,
        file: Duration::from_secs(10),
        key: signer().public(),
    };
    Channel::new(spec).expect("the caller gave a block duration that divides a second")
}

/// Block frames with the same payload and consecutive numbers.
#[derive(Debug)]
pub struct Blocks {
    payload: Bytes,
    /// One a block, or none: then every signature is zero, as the ghost wants.
    signatures: Vec<[u8; SIGNATURE_LEN]>,
}

impl Blocks {
    /// Blocks with a payload of this many bytes, all zero in their signature.
    #[must_use]
    pub fn ghost(length: usize) -> Self {
        let payload: Vec<u8> = (0..length).map(|n| ((n * 31) >> 3) as u8).collect();
        Self { payload: payload.into(), signatures: Vec::new() }
    }

    /// `count` signed blocks, the first of them numbered `first`.
    #[must_use]
    pub fn signed(length: usize, channel: &Channel, first: Seq, count: u64) -> Self {
        let (id, block, signer) = (channel.id(), micros(channel.block()), signer());
        let mut blocks = Self::ghost(length);
        let sign = |n| signer.sign_block(&id, block, first.plus(n), &blocks.payload).0;
        blocks.signatures = (0..count).map(sign).collect();
        blocks
    }

    /// What every block carries.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Bytes of a frame.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        BLOCK_HEADER + self.payload.len()
    }

    /// Header of the `n`th block, the first being numbered `first`.
    #[must_use]
    pub fn header(&self, first: Seq, n: u64) -> [u8; BLOCK_HEADER] {
        let mut header = [0; BLOCK_HEADER];
        let length = (self.frame_len() - 4) as u32;
        header[..4].copy_from_slice(&length.to_be_bytes());
        header[4] = BLOCK_KIND;
        header[5..13].copy_from_slice(&first.plus(n).0.to_be_bytes());
        if let Some(signature) = self.signatures.get(n as usize) {
            header[13..].copy_from_slice(signature);
        }
        header
    }

    /// The `n`th frame in one piece.
    #[must_use]
    pub fn frame(&self, first: Seq, n: u64) -> Bytes {
        [&self.header(first, n)[..], &self.payload].concat().into()
    }

    /// Writes the `n`th frame.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, first: Seq, n: u64, mut to: impl Write) -> io::Result<()> {
        let header = self.header(first, n);
        let mut parts = [IoSlice::new(&header), IoSlice::new(&self.payload)];
        let mut parts = &mut parts[..];
        while !parts.is_empty() {
            let written = to.write_vectored(parts)?;
            IoSlice::advance_slices(&mut parts, written);
        }
        Ok(())
    }
}
