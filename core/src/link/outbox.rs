//! What waits to be sent on one connection: control first, then blocks,
//! oldest useful first, within the credit window.

use alloc::collections::VecDeque;

use crate::event::Head;
use crate::id::Seq;
use crate::stream::block::Block;
use crate::time::Time;

/// Control bytes that may wait on one link. A reader this far behind is dead.
const MAX_CONTROL_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    control: VecDeque<Head>,
    control_bytes: usize,
    /// In order of sequence number.
    blocks: VecDeque<(Block, Time)>,
    /// Blocks before this one are of no use to the child any more.
    useful: Seq,
    /// Bytes handed to the driver that the transport has not taken.
    in_flight: usize,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.blocks.is_empty()
    }

    /// Returns `false` when too much waits.
    pub(super) fn push_control(&mut self, frame: Head) -> bool {
        if self.control_bytes + frame.len() > MAX_CONTROL_BYTES {
            return false;
        }
        self.control_bytes += frame.len();
        self.control.push_back(frame);
        true
    }

    pub(super) fn push_block(&mut self, now: Time, block: Block, useful: Seq) {
        self.useful = self.useful.max(useful);
        let at = self.blocks.partition_point(|(b, _)| b.seq() < block.seq());
        if self.blocks.get(at).is_none_or(|(b, _)| b.seq() != block.seq()) {
            self.blocks.insert(at, (block, now));
        }
    }

    /// A frame may overshoot the window, so that one larger than it can go at all.
    pub(super) fn has_credit(&self, window: usize) -> bool {
        self.in_flight < window
    }

    pub(super) fn pop_control(&mut self) -> Option<Head> {
        let frame = self.control.pop_front()?;
        self.control_bytes -= frame.len();
        self.in_flight += frame.len();
        Some(frame)
    }

    pub(super) fn pop_block(&mut self, dropped: &mut u64) -> Option<Block> {
        loop {
            let (block, _) = self.blocks.pop_front()?;
            if block.seq() >= self.useful {
                self.in_flight += block.frame().len();
                return Some(block);
            }
            *dropped += 1;
        }
    }

    /// When the block that has waited longest was queued.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.blocks.front().map(|(_, at)| *at)
    }

    pub(super) fn flushed(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sign::Signature;

    fn block(seq: u64) -> Block {
        Block::new(Seq(seq), &Signature([0; 64]), b"x")
    }

    #[test]
    fn blocks_leave_oldest_first_and_the_useless_are_dropped_and_counted() {
        let mut o = Outbox::default();
        for seq in [8, 24, 16, 16, 0] {
            o.push_block(Time::ZERO, block(seq), Seq(0));
        }
        o.push_block(Time::ZERO, block(32), Seq(10));
        let mut dropped = 0;
        for want in [16, 24, 32] {
            assert_eq!(o.pop_block(&mut dropped).map(|b| b.seq()), Some(Seq(want)));
        }
        assert_eq!(o.pop_block(&mut dropped), None);
        assert_eq!(dropped, 2);
    }

    #[test]
    fn credit_is_what_the_transport_has_taken() {
        let mut o = Outbox::default();
        assert!(o.push_control(Head::from_slice(&[0; 60])));
        assert!(o.has_credit(50));
        assert!(o.pop_control().is_some());
        assert!(!o.has_credit(50));
        o.flushed(20);
        assert!(o.has_credit(50));
        o.flushed(1_000);
        assert!(o.has_credit(1), "a driver that counts too much cannot break it");
    }
}
