//! The block: every packet that arrived in one slot, the one unit of
//! transfer, of signing, of repair and of play-out.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::id::Seq;
use crate::stream::sign::{SIGNATURE_LEN, Signature};
use crate::time::micros;

/// Type byte of a block's frame.
pub const BLOCK_KIND: u8 = 0x40;
/// Bytes of a frame before the block's payload: length, type, sequence number, signature.
pub const BLOCK_HEADER: usize = 4 + 1 + 8 + SIGNATURE_LEN;
/// Bytes of a timed packet before its payload: duration and length (report Fig. 3-4).
pub const PACKET_HEADER: usize = 4 + 2;
/// The longest packet: what one UDP datagram can carry.
pub const MAX_PACKET: usize = 65_507;

/// A block as it travels: the whole frame in one shared allocation, so that a
/// relay sends on the very bytes that it received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    seq: Seq,
    frame: Bytes,
}

impl Block {
    /// A block from a whole frame; `None` if it is not one.
    pub fn from_frame(frame: Bytes) -> Option<Self> {
        let length = frame.get(..4)?.try_into().ok().map(u32::from_be_bytes)?;
        let seq = frame.get(5..13)?.try_into().ok().map(u64::from_be_bytes)?;
        let whole = frame.len() >= BLOCK_HEADER
            && frame.len() - 4 == length as usize
            && frame.get(4) == Some(&BLOCK_KIND);
        whole.then_some(Self { seq: Seq(seq), frame })
    }

    /// Frames a signed payload.
    pub fn new(seq: Seq, signature: &Signature, payload: &[u8]) -> Self {
        let mut frame = BytesMut::with_capacity(BLOCK_HEADER + payload.len());
        frame.put_u32((BLOCK_HEADER - 4 + payload.len()) as u32);
        frame.put_u8(BLOCK_KIND);
        frame.put_u64(seq.0);
        frame.put_slice(&signature.0);
        frame.put_slice(payload);
        Self { seq, frame: frame.freeze() }
    }

    /// Its sequence number.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Its signature.
    pub fn signature(&self) -> Signature {
        let mut s = [0; SIGNATURE_LEN];
        if let Some(bytes) = self.frame.get(13..BLOCK_HEADER) {
            s.copy_from_slice(bytes);
        }
        Signature(s)
    }

    /// Its timed packets, sharing the block's allocation.
    pub fn payload(&self) -> Bytes {
        self.frame.slice(BLOCK_HEADER.min(self.frame.len())..)
    }

    /// The whole frame, as it is sent.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }
}

/// A packet of a block: what the encoder sent as one datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Time since the start of the block's slot.
    pub offset: Duration,
    /// The datagram's payload, sharing the block's allocation.
    pub payload: Bytes,
}

/// The packets of a block's payload. Stops at the first byte that does not
/// parse; a provider's signature vouches for what stands before.
pub fn packets(payload: &Bytes) -> Packets {
    Packets { rest: payload.clone(), offset: 0 }
}

/// Iterator over the packets of a block; see [`packets`].
#[derive(Clone, Debug)]
pub struct Packets {
    rest: Bytes,
    offset: u64,
}

impl Iterator for Packets {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        let header = self.rest.get(..PACKET_HEADER)?;
        let gap = u32::from_be_bytes(header.get(..4)?.try_into().ok()?);
        let length = usize::from(u16::from_be_bytes(header.get(4..)?.try_into().ok()?));
        if self.rest.len() < PACKET_HEADER + length {
            return None;
        }
        let mut payload = self.rest.split_to(PACKET_HEADER + length);
        let payload = payload.split_off(PACKET_HEADER);
        self.offset += u64::from(gap);
        Some(Packet { offset: Duration::from_micros(self.offset), payload })
    }
}

/// Gathers the packets of one slot.
#[derive(Clone, Debug, Default)]
pub struct BlockBuilder {
    payload: Vec<u8>,
    offset: u64,
}

impl BlockBuilder {
    /// Adds a packet that came `offset` after the start of the slot. Returns
    /// `false`, and adds nothing, if the payload would grow over `max` bytes.
    pub fn push(&mut self, offset: Duration, packet: &[u8], max: usize) -> bool {
        let Ok(length) = u16::try_from(packet.len()) else { return false };
        if self.payload.len() + PACKET_HEADER + packet.len() > max {
            return false;
        }
        let offset = micros(offset).max(self.offset);
        let gap = u32::try_from(offset - self.offset).unwrap_or(u32::MAX);
        self.offset = offset;
        self.payload.put_u32(gap);
        self.payload.put_u16(length);
        self.payload.put_slice(packet);
        true
    }

    /// The payload so far.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Makes room for the next slot, keeping the allocation.
    pub fn clear(&mut self) {
        self.payload.clear();
        self.offset = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn packets_come_out_as_they_went_in(input: Vec<(u32, Vec<u8>)>) -> bool {
            let mut builder = BlockBuilder::default();
            let mut at = 0;
            let mut expected = Vec::new();
            for (gap, bytes) in input {
                at += u64::from(gap % 100_000);
                assert!(builder.push(Duration::from_micros(at), &bytes, 1 << 20));
                expected.push(Packet {
                    offset: Duration::from_micros(at),
                    payload: Bytes::from(bytes),
                });
            }
            let block = Block::new(Seq(7), &Signature([1; 64]), builder.payload());
            let again = Block::from_frame(block.frame().clone());
            again == Some(block.clone())
                && block.signature() == Signature([1; 64])
                && packets(&block.payload()).collect::<Vec<_>>() == expected
        }

        fn garbage_yields_no_more_than_its_own_bytes(garbage: Vec<u8>) -> bool {
            let sum: usize = packets(&Bytes::from(garbage.clone())).map(|p| p.payload.len()).sum();
            sum <= garbage.len() && Block::from_frame(Bytes::from(garbage)).is_none()
        }
    }

    #[test]
    fn a_full_slot_takes_no_more() {
        let mut builder = BlockBuilder::default();
        assert!(builder.push(Duration::ZERO, &[0; 94], 100));
        assert!(!builder.push(Duration::ZERO, &[0; 1], 100));
        builder.clear();
        assert!(builder.payload().is_empty());
        assert!(!builder.push(Duration::ZERO, &[0; 65_536], 1 << 20));
    }
}
