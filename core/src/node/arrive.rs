//! What comes in: blocks, from their link to the buffer, the children and the
//! player; and what becomes of who breaks the protocol.

use core::time::Duration;

use bytes::Bytes;

use crate::event::{Action, Fault, Notice};
use crate::id::{LinkId, NodeId, Seq};
use crate::link::Role;
use crate::live::playout::Step;
use crate::node::{Node, Stream, Timer};
use crate::stream::block::Block;
use crate::stream::buffer::Inserted;
use crate::time::{Time, micros, signed_micros};
use crate::wire::frame::Incoming;

/// Blocks from further in the future than this are not looked at, if nobody asked for
/// them.
const FUTURE: Duration = Duration::from_secs(5);

impl Node {
    pub(super) fn on_received(&mut self, link: LinkId, bytes: &Bytes) {
        if self.leaving.is_some() {
            return;
        }
        self.stats.bytes_received += bytes.len() as u64;
        if let Some(block) = self.links.receive_whole(self.now, link, bytes) {
            return self.on_block(link, block);
        }
        let mut input = &bytes[..];
        // Whatever a message does to its link, the loop looks it up again.
        while let Some(incoming) = self.links.receive(self.now, link, &mut input) {
            match incoming {
                Ok(Incoming::Message(message)) => self.on_message(link, message),
                Ok(Incoming::Block(block)) => self.on_block(link, block),
                Ok(Incoming::Unknown(_)) => {}
                Err(error) => return self.on_frame_error(link, error),
            }
        }
    }

    pub(super) fn on_filled(&mut self, link: LinkId, bytes: usize) {
        // Even now, for a slot that is full must not be lent again.
        let filled = self.links.filled(self.now, link, bytes);
        if self.leaving.is_some() {
            return;
        }
        self.stats.bytes_received = self.stats.bytes_received.saturating_add(bytes as u64);
        if let Some(block) = filled {
            self.on_block(link, block);
        }
    }

    /// A peer broke the protocol: it loses the link, and us with it.
    pub(super) fn fault(&mut self, link: LinkId, fault: Fault) {
        let Some(l) = self.links.get(link) else { return };
        let (role, remote, peer) = (l.role, l.remote, l.peer);
        let node = match role {
            Role::Control(node) | Role::BlockIn(node) | Role::BlockOut(node) => Some(node),
            _ => None,
        };
        self.stats.faults += 1;
        self.notify(Notice::Fault { node, remote, fault });
        // Slowness and refusals are no crime; forgery is.
        if let Some(node) = node {
            let crime = matches!(fault, Fault::Forged | Fault::Garbage | Fault::Oversized);
            if crime && self.was_dialled(node) {
                self.members.ban(self.now, node);
            } else {
                self.members.failed(self.now, &self.config, &mut self.rng, node);
            }
            self.drop_partner(node);
        }
        self.close(link, false);
        self.dialled_in_vain(role, peer);
        self.on_link_gone(link, role);
    }

    pub(super) fn on_block(&mut self, link: LinkId, block: Block) {
        let node = match self.links.get(link).map(|l| l.role) {
            Some(Role::BlockIn(node)) => node,
            Some(Role::PastIn(errand)) => return self.on_past_block(errand, link, block),
            _ => return self.fault(link, Fault::Unexpected),
        };
        let (now, seq) = (self.now, block.seq());
        if let Some(p) = self.partners.get_mut(node) {
            p.heard = now;
        }
        let Some(stream) = &mut self.stream else { return };
        let (channel, Some(buffer)) = (&stream.channel, &stream.buffer) else { return };
        let feed = stream.feeds.get_mut(seq.sub_stream(channel.sub_streams()));
        let asked_for =
            feed.as_ref().is_some_and(|f| f.expects(node)) || stream.repair.expects(seq, node);
        // What somebody who was left still had on the way is as good as any other.
        let welcome = asked_for || (self.config.repair && buffer.is_missing(seq));
        // What was asked for bears the provider's name: if it is early, its clock leapt.
        let future = !asked_for
            && stream.clock.is_steady(now)
            && stream.clock.stream(now).is_some_and(|t| channel.slot_start(seq) > t + FUTURE);
        if !welcome || future || seq < buffer.start() {
            self.stats.unwanted += 1;
        } else if buffer.holds(seq) {
            self.stats.duplicates += 1;
            // Somebody else was faster, which is not the parent's fault.
            feed.into_iter().for_each(|f| f.brings(seq, node));
        } else if !stream.verifier.block(seq, &block.payload(), &block.signature()) {
            self.stats.forged += 1;
            self.fault(link, Fault::Forged);
        } else {
            // What is late must be known for late before the block is there.
            self.play();
            self.take_block(block, Some(node));
            self.play();
        }
    }

    /// A new and good block: into the buffer, and on to the children.
    pub(super) fn take_block(&mut self, block: Block, from: Option<NodeId>) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let (channel, Some(buffer)) = (&stream.channel, &mut stream.buffer) else { return };
        let (seq, slot_end) = (block.seq(), channel.slot_end(block.seq()));
        let sub = seq.sub_stream(channel.sub_streams());
        let first = buffer.newest(sub).is_none();
        if buffer.insert(block.clone()) != Inserted::New {
            return;
        }
        stream.progress = now;
        if let Some(node) = from {
            self.note_arrival(seq, slot_end, node);
        }
        if first {
            self.news();
        }
        self.push_to_children(&block, sub, from);
        let Some(stream) = &mut self.stream else { return };
        let counts = self.keeper.is_some();
        if let Some(file) = counts.then(|| stream.tally.arrived(&stream.channel, seq)).flatten() {
            self.file_complete(file, true);
        }
        if self.stream.as_ref().is_some_and(|s| s.rewind.is_some()) {
            self.take_past(block);
        }
    }

    /// What a block's arrival tells: where the clock stands, how late blocks
    /// come, who brings them.
    fn note_arrival(&mut self, seq: Seq, slot_end: Time, node: NodeId) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let sub = seq.sub_stream(stream.channel.sub_streams());
        let pulled = stream.repair.arrived(seq);
        stream.pull.arrived(now, node);
        let stepped = stream.clock.arrived(now, slot_end);
        if stepped < -signed_micros(self.config.buffer) {
            // The provider's clock leapt: its stream goes on from here. Who is in the
            // past, or has paused, goes on where that is.
            if stream.rewind.is_none() {
                stream.playout.start_at(seq);
            }
        } else {
            stream.playout.clock_stepped(stepped);
        }
        let newest = stream.horizon(now).minus(1);
        if let Some(feed) = stream.feeds.get_mut(sub) {
            feed.brings(seq, node);
        }
        if let (Some(feed), Some(earliest)) =
            (stream.feeds.get_mut(sub), stream.clock.local(slot_end))
            && feed.is_live(seq, newest, node)
        {
            stream.playout.arrived(now, earliest);
            self.stats.arrivals += 1;
            self.stats.arrival_delay_sum += micros(now.since(slot_end));
            if !pulled && feed.parent == Some(node) {
                feed.arrived(now.diff_micros(earliest));
            }
        }
        self.stats.repaired += u64::from(pulled);
        if let Some(p) = self.partners.get_mut(node) {
            p.received += 1;
            if p.member.provider {
                self.stats.from_provider += 1;
            } else {
                self.stats.from_peers += 1;
            }
        }
    }

    /// Hands over what is due, and arms the timer for what is not.
    pub(super) fn play(&mut self) {
        let now = self.now;
        let repair = self.repair_time();
        loop {
            let Some(stream) = &mut self.stream else { return };
            let Some(buffer) = &mut stream.buffer else { return };
            let (channel, clock) = (&stream.channel, &mut stream.clock);
            let step = stream.playout.poll(now, channel, buffer, clock, repair, &mut self.stats);
            match step {
                Step::Deliver(delivery) => {
                    if self.stats.startup.is_none() || self.live_ticket.is_some() {
                        let ticket = self.live_ticket.take();
                        self.begun(ticket);
                    }
                    self.actions.push_back(Action::Deliver(delivery));
                }
                Step::Lost(_) => {}
                Step::Enter(phase) => {
                    self.actions.push_back(Action::Notify(Notice::Phase(phase)));
                }
                Step::Wait(Some(at)) => {
                    let at = at.max(now + Duration::from_micros(1));
                    return self.timers.arm(Timer::Playout, at);
                }
                Step::Wait(None) => return self.timers.disarm(Timer::Playout),
            }
        }
    }
}

impl Stream {
    /// No block from here on can exist yet.
    pub(super) fn horizon(&self, now: Time) -> Seq {
        self.clock.stream(now).map_or(Seq(0), |t| self.channel.seq_at(t).plus(1))
    }
}
