//! Blocks that come without parents: each period the window is held against
//! partners' maps, and what is missing is asked for.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{NodeId, Seq};
use crate::live::pull::{PERIOD, Supplier, Wanted, schedule};
use crate::node::Node;
use crate::partnership::Partner;
use crate::wire::message::Message;

impl Node {
    /// Asks for what is missing between the next block to play and the newest
    /// one that anybody tells of, once a period.
    pub(super) fn pull_window(&mut self) {
        let now = self.now;
        if self.stream.as_ref().is_none_or(|s| !s.pull.is_due(now)) {
            return;
        }
        let Some(stream) = &mut self.stream else { return };
        // Not all of a swarm in step.
        let next_period = now + self.rng.jitter(PERIOD, 10);
        stream.pull.begin(next_period, |node| self.partners.contains(node));
        let Some(buffer) = &stream.buffer else { return };
        let (channel, s) = (&stream.channel, stream.channel.sub_streams());
        let next = stream.playout.next().unwrap_or(buffer.start()).max(buffer.start());
        stream.repair.forget_before(next);
        let able = |p: &&Partner| p.control.is_some() && p.map.is_some() && p.not_before <= now;
        let partners: SmallVec<[&Partner; 16]> = self.partners.iter().filter(able).collect();
        // Whoever is far ahead of the others is believed: it may be the provider, and
        // they the ones that stand still. What does not exist is asked of none but
        // the one who tells of it.
        let told = partners.iter().filter_map(|p| p.map.as_ref()?.newest());
        let Some(newest) = told.max() else { return };

        // Bandwidth that was not measured: one's own by the number of partners
        // (StreamAid), or the stream's, where one's own is not known.
        let held = buffer.end().0.saturating_sub(buffer.start().0).max(1);
        let mean = buffer.bytes() as u64 / held;
        let guess = self.config.max_upload.filter(|_| mean > 0).map(|upload| {
            let share = (upload / partners.len().max(1) as u64).max(1);
            Duration::from_micros(mean.saturating_mul(1_000_000) / share)
        });
        let guess = guess.unwrap_or(channel.block());
        let suppliers: SmallVec<[Supplier; 16]> = partners
            .iter()
            .map(|p| (p.member.node, stream.pull.pace(p.member.node)))
            .map(|(node, pace)| Supplier { node, pace: pace.unwrap_or(guess) })
            .collect();

        // Play-out that has not begun does so no sooner than this.
        let start = now + self.config.start_buffer.max(PERIOD);
        let delay = stream.playout.delay();
        let deadline = |seq: Seq| {
            let begun = delay.and_then(|d| Some(stream.clock.local(channel.slot_end(seq))? + d));
            let not_begun = || start + channel.slot_start(seq).since(channel.slot_start(next));
            begun.unwrap_or_else(not_begun) + self.config.give_up
        };
        let mut wanted: Vec<Wanted> = Vec::new();
        let end = newest.plus(1).min(next.plus(buffer.capacity()));
        for seq in (next.0..end.0).map(Seq).filter(|seq| buffer.is_missing(*seq)) {
            let Some(in_vain) = stream.repair.asked_in_vain(now, seq) else { continue };
            let holds =
                |(_, p): &(usize, &&Partner)| p.map.as_ref().is_some_and(|map| map.covers(seq, s));
            let holders = || partners.iter().enumerate().filter(holds);
            let untried = |(_, p): &(usize, &&Partner)| !in_vain.contains(&p.member.node);
            let mut has: SmallVec<[usize; 8]> = holders().filter(untried).map(|(n, _)| n).collect();
            if has.is_empty() {
                has = holders().map(|(n, _)| n).collect();
            }
            wanted.push(Wanted { seq, left: deadline(seq).since(now), has });
        }
        let plan: BTreeMap<Seq, NodeId> = schedule(wanted, &suppliers).into_iter().collect();
        let patience = self.config.request_timeout;
        let of = |seq: Seq, _: &[NodeId]| Some((*plan.get(&seq)?, patience));
        let asks = stream.repair.plan(now, plan.keys().copied(), of);
        asks.iter().for_each(|(node, _)| stream.pull.asked(now, *node));
        drop(partners);
        for (node, seqs) in asks {
            self.tell(node, &Message::Pull(seqs));
            self.want_blocks(node);
        }
    }
}
