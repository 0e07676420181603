//! The provider's input: packets are gathered in slots, and each slot becomes
//! a signed block, an empty one if nothing came, so that silence is not a gap.

use core::time::Duration;

use bytes::Bytes;

use crate::event::{Notice, Refusal, Warning};
use crate::id::Seq;
use crate::node::{Node, Timer};
use crate::stream::block::{Block, BlockBuilder, MAX_PACKET};
use crate::stream::channel::Channel;
use crate::stream::sign::{Signature, Signer};
use crate::time::{Time, micros};

/// A silence of the encoder that its user should know of.
const SILENCE: Duration = Duration::from_secs(2);
/// Blocks after which the mean block size is judged.
const JUDGE_AFTER: u64 = 250;
/// Mean payload below which a longer block duration would cost less.
const SMALL_BLOCK: u64 = 2 << 10;

#[derive(Debug)]
pub(super) struct Source {
    signer: Signer,
    builder: BlockBuilder,
    /// The slot that is being filled.
    open: Seq,
    /// Stream time is this far ahead of the clock, in microseconds: not zero
    /// if the clock went back since an earlier run.
    shift: i64,
    last_packet: Time,
    silent: bool,
    blocks: u64,
    bytes: u64,
}

impl Source {
    pub(super) fn new(channel: &Channel, signer: Signer, above: Option<Seq>, now: Time) -> Self {
        let floor = above.map_or(Seq(0), |seq| seq.plus(1));
        let shift = channel.slot_start(floor).since(now);
        let stream = now + shift;
        Self {
            signer,
            builder: BlockBuilder::default(),
            open: channel.seq_at(stream).max(floor),
            shift: micros(shift) as i64,
            last_packet: now,
            silent: false,
            blocks: 0,
            bytes: 0,
        }
    }

    /// The slot that is being filled.
    pub(super) fn open(&self) -> Seq {
        self.open
    }

    /// Signs a registration over the server's nonce.
    pub(super) fn sign_registration(&self, channel: &Channel, nonce: u64) -> Signature {
        self.signer.sign_registration(channel, nonce)
    }

    /// How far stream time is ahead of the clock, in microseconds.
    pub(super) fn shift(&self) -> i64 {
        self.shift
    }
}

impl Node {
    pub(super) fn arm_slot(&mut self) {
        let (Some(source), Some(stream)) = (&self.source, &self.stream) else { return };
        let end = stream.channel.slot_end(source.open).offset(-source.shift);
        self.arm(Timer::Slot, end);
    }

    /// A packet from the encoder, stamped with the time it is handled at.
    pub(super) fn publish(&mut self, packet: &Bytes) -> Result<(), Refusal> {
        if packet.len() > MAX_PACKET {
            return Err(Refusal::PacketTooLong);
        }
        self.seal_due();
        let (Some(source), Some(stream)) = (&mut self.source, &self.stream) else {
            return Err(Refusal::NotPossible);
        };
        let start = stream.channel.slot_start(source.open);
        let offset = self.now.offset(source.shift).since(start);
        if !source.builder.push(offset, packet, self.config.max_block) {
            return Err(Refusal::InputTooFast);
        }
        source.last_packet = self.now;
        let back = core::mem::take(&mut source.silent);
        self.stats.packets += 1;
        self.stats.payload += packet.len() as u64;
        if back {
            self.notify(Notice::Warning(Warning::InputBack));
        }
        Ok(())
    }

    /// Makes a block of every slot that has ended.
    pub(super) fn seal_due(&mut self) {
        let (Some(source), Some(stream)) = (&mut self.source, &self.stream) else { return };
        let current = stream.channel.seq_at(self.now.offset(source.shift));
        // After a pause longer than the buffer nobody wants the empty slots of
        // its beginning: the stream goes on after a gap.
        let span = stream.channel.blocks_in(self.config.buffer);
        if current.0.saturating_sub(source.open.0) > span {
            source.open = current.minus(span);
        }
        while self.source.as_ref().is_some_and(|s| s.open < current) {
            self.seal();
        }
        self.arm_slot();
    }

    fn seal(&mut self) {
        let (Some(source), Some(stream)) = (&mut self.source, &self.stream) else { return };
        let (channel, seq) = (&stream.channel, source.open);
        let payload = source.builder.payload();
        let block_us = micros(channel.block());
        let signature = source.signer.sign_block(&stream.id, block_us, seq, payload);
        let block = Block::new(seq, &signature, payload);
        source.blocks += 1;
        source.bytes += payload.len() as u64;
        source.builder.clear();
        source.open = seq.plus(1);
        let mut warning = None;
        let silent = self.now.since(source.last_packet);
        if silent >= SILENCE && !source.silent {
            source.silent = true;
            warning = Some(Warning::InputSilent { silent });
        }
        let mean = source.bytes / source.blocks.max(1);
        if source.blocks == JUDGE_AFTER && mean < SMALL_BLOCK && source.bytes > 0 {
            warning = Some(Warning::SmallBlocks { mean: mean as u32 });
        }
        if let Some(warning) = warning {
            self.notify(Notice::Warning(warning));
        }
        self.take_block(block, None);
    }
}
