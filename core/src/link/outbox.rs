//! What waits to be sent on one connection: control first, then blocks,
//! oldest useful first, within the credit window.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::chain::{Chain, Chains};
use crate::event::Head;
use crate::id::Seq;
use crate::link::uplink::Uplink;
use crate::stream::block::Block;
use crate::time::Time;

/// Memory that control frames may take while they wait on one link. A reader
/// this far behind is dead.
const MAX_CONTROL_BYTES: usize = 256 << 10;
/// From here on what a link asks for is not read until it takes its answers.
const PAUSE: usize = 64 << 10;
/// From here on it is read again.
const RESUME: usize = 16 << 10;

/// What waits on all links of a node.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    control: Chains<Head>,
    /// Bytes left of what was handed over, and when that was.
    flying: Chains<(usize, Time)>,
    pub(super) uplink: Uplink,
}

/// Room for so many waiting messages, and for so many that fly, is kept.
const KEPT: [usize; 2] = [8, 32];

impl Waiting {
    pub(super) fn trim(&mut self) {
        self.control.trim(KEPT[0]);
        self.flying.trim(KEPT[1]);
    }
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    control: Chain,
    control_bytes: usize,
    /// In order of sequence number.
    blocks: VecDeque<(Block, Time)>,
    /// Blocks before this one are of no use to the child any more.
    useful: Seq,
    /// What was handed to the driver and the transport has not taken, in order.
    flying: Chain,
    in_flight: usize,
    /// When the transport last took something.
    taken: Time,
    /// The longest that a `Send` took to be taken, since this was last asked.
    slowest: Duration,
    /// Since when there has been no moment without something here or in the
    /// transport; not of the past.
    busy: Option<Time>,
    /// The reader has fallen behind since then, which says nothing about our uplink.
    slow: bool,
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.blocks.is_empty()
    }

    /// Returns `false` when too much waits.
    pub(super) fn push_control(&mut self, waiting: &mut Waiting, frame: Head) -> bool {
        if self.control_bytes + cost(&frame) > MAX_CONTROL_BYTES {
            return false;
        }
        self.control_bytes += cost(&frame);
        waiting.control.push(&mut self.control, frame);
        true
    }

    /// Whether the link should be read: `None` as before.
    pub(super) fn wants_reading(&self) -> Option<bool> {
        match self.control_bytes {
            n if n >= PAUSE => Some(false),
            n if n < RESUME => Some(true),
            _ => None,
        }
    }

    /// Queues a block, and drops those that are of no use any more: a child
    /// that does not read costs no more than its window. Returns how many.
    pub(super) fn push_block(&mut self, now: Time, block: Block, useful: Seq) -> u64 {
        self.useful = self.useful.max(useful);
        let useless = self.blocks.partition_point(|(b, _)| b.seq() < self.useful);
        self.blocks.drain(..useless);
        let at = self.blocks.partition_point(|(b, _)| b.seq() < block.seq());
        if self.blocks.get(at).is_none_or(|(b, _)| b.seq() != block.seq()) {
            self.blocks.insert(at, (block, now));
        }
        useless as u64
    }

    /// What waits here, or was handed over, keeps the uplink busy.
    pub(super) fn begin(&mut self, waiting: &mut Waiting, now: Time) {
        if self.busy.is_none() && (self.in_flight > 0 || !self.blocks.is_empty()) {
            self.busy = Some(now);
            waiting.uplink.began();
        }
    }

    fn rest(&mut self, waiting: &mut Waiting) {
        if self.in_flight == 0 && self.blocks.is_empty() && self.busy.take().is_some() {
            if core::mem::take(&mut self.slow) {
                waiting.uplink.look();
            } else {
                waiting.uplink.ended();
            }
        }
    }

    /// A reader that lets things wait for longer than `limit` keeps no uplink busy,
    /// until it has caught up.
    pub(super) fn pass_over(&mut self, waiting: &mut Waiting, now: Time, limit: Duration) {
        let late = self.waiting_since(waiting).is_some_and(|since| now.since(since) > limit);
        if self.busy.is_some() && late != core::mem::replace(&mut self.slow, late) {
            if late {
                waiting.uplink.ended();
            } else {
                waiting.uplink.began();
            }
        }
    }

    /// How long there has always been something to send: a burst queues and is gone
    /// again, what stands is more than fits.
    pub(super) fn standing(&self, now: Time) -> Duration {
        self.busy.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// A frame may overshoot the window, so that one larger than it can go at all.
    pub(super) fn has_credit(&self, window: usize) -> bool {
        self.in_flight < window
    }

    /// Whether the transport keeps up. What it has not taken for `limit` stays
    /// here, where it can still be dropped, or overtaken by older blocks.
    pub(super) fn is_fluent(&self, waiting: &Waiting, now: Time, limit: Duration) -> bool {
        waiting.flying.first(&self.flying).is_none_or(|(_, at)| now.since(*at) <= limit)
    }

    /// Takes back the blocks that are no longer wanted.
    pub(super) fn take_back(&mut self, waiting: &mut Waiting, unwanted: impl Fn(Seq) -> bool) {
        self.blocks.retain(|(block, _)| !unwanted(block.seq()));
        self.rest(waiting);
    }

    pub(super) fn pop_control(&mut self, waiting: &mut Waiting, now: Time) -> Option<Head> {
        let frame = waiting.control.pop(&mut self.control)?;
        self.control_bytes -= cost(&frame);
        self.fly(waiting, now, frame.len());
        Some(frame)
    }

    pub(super) fn pop_block(
        &mut self,
        waiting: &mut Waiting,
        now: Time,
        dropped: &mut u64,
    ) -> Option<Block> {
        loop {
            let Some((block, _)) = self.blocks.pop_front() else {
                self.rest(waiting);
                return None;
            };
            if block.seq() >= self.useful {
                self.fly(waiting, now, block.frame().len());
                return Some(block);
            }
            *dropped += 1;
        }
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.blocks.iter().map(|(block, _)| block.frame().len()).sum()
    }

    pub(super) fn blocks_waiting(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn has_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Since when something waits here or in the transport.
    pub(super) fn waiting_since(&self, waiting: &Waiting) -> Option<Time> {
        let here = self.blocks.front().map(|(_, at)| *at);
        let there = waiting.flying.first(&self.flying).map(|(_, at)| *at);
        here.into_iter().chain(there).min()
    }

    /// Whether the transport has taken nothing for `limit`: its reader stopped,
    /// which says nothing about our uplink.
    pub(super) fn is_stuck(&self, waiting: &Waiting, now: Time, limit: Duration) -> bool {
        let since = waiting.flying.first(&self.flying).map(|(_, at)| self.taken.max(*at));
        since.is_some_and(|since| now.since(since) > limit)
    }

    /// The longest that anything has waited since this was last asked.
    pub(super) fn take_slowest(&mut self, waiting: &Waiting, now: Time) -> Duration {
        let waits = self.waiting_since(waiting).map_or(Duration::ZERO, |since| now.since(since));
        core::mem::take(&mut self.slowest).max(waits)
    }

    pub(super) fn flushed(&mut self, waiting: &mut Waiting, now: Time, bytes: usize) {
        self.taken = now;
        let mut left = bytes.min(self.in_flight);
        self.in_flight -= left;
        while let Some((size, _)) = waiting.flying.first_mut(&self.flying).filter(|_| left > 0) {
            let part = left.min(*size);
            *size -= part;
            left -= part;
            if *size == 0
                && let Some((_, at)) = waiting.flying.pop(&mut self.flying)
            {
                self.slowest = self.slowest.max(now.since(at));
            }
        }
        self.rest(waiting);
    }

    fn fly(&mut self, waiting: &mut Waiting, now: Time, bytes: usize) {
        waiting.flying.push(&mut self.flying, (bytes, now));
        self.in_flight += bytes;
    }

    /// Gives up what waits: the link is gone.
    pub(super) fn clear(&mut self, waiting: &mut Waiting) {
        waiting.control.clear(&mut self.control);
        waiting.flying.clear(&mut self.flying);
        self.blocks.clear();
        self.in_flight = 0;
        self.rest(waiting);
    }
}

/// What a waiting frame takes: short ones lie in the queue's own slots.
fn cost(frame: &Head) -> usize {
    size_of::<Head>() + if frame.spilled() { frame.capacity() } else { 0 }
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
        let (mut o, mut w) = (Outbox::default(), Waiting::default());
        for seq in [8, 24, 16, 16, 0] {
            o.push_block(Time::ZERO, block(seq), Seq(0));
        }
        let mut dropped = o.push_block(Time::ZERO, block(32), Seq(10));
        assert_eq!(o.blocks.len(), 3, "a child that never reads costs its window");
        for want in [16, 24, 32] {
            assert_eq!(
                o.pop_block(&mut w, Time::ZERO, &mut dropped).map(|b| b.seq()),
                Some(Seq(want))
            );
        }
        assert_eq!(o.pop_block(&mut w, Time::ZERO, &mut dropped), None);
        assert_eq!(dropped, 2);
    }

    #[test]
    fn credit_is_what_the_transport_has_taken() {
        let (mut o, mut w) = (Outbox::default(), Waiting::default());
        assert!(o.push_control(&mut w, Head::from_slice(&[0; 60])));
        assert!(o.has_credit(50));
        assert!(o.pop_control(&mut w, Time::ZERO).is_some());
        assert!(!o.has_credit(50));
        o.flushed(&mut w, Time::ZERO, 20);
        assert!(o.has_credit(50));
        assert_eq!(o.waiting_since(&w), Some(Time::ZERO));
        o.flushed(&mut w, Time::ZERO, 1_000);
        assert_eq!(o.waiting_since(&w), None);
        assert!(o.has_credit(1), "a driver that counts too much cannot break it");
    }
}
