//! Serving the past: requests of others for blocks that went by, from memory
//! and from disk.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::event::{Action, DiskRequest, Fault};
use crate::id::{LinkId, LoadId, Seq};
use crate::node::Node;
use crate::stream::block::Block;
use crate::stream::file::{Blocks, FileId, Walk};
use crate::wire::message::{Message, Reason, TimeShiftOthers, TimeShiftRefused, TimeShiftRequest};

/// Bytes of past blocks that wait on one connection; more are read once these
/// are taken.
const QUEUED: usize = 128 << 10;
/// Bytes read from disk at a time, about.
const PIECE: u64 = 256 << 10;

impl Node {
    pub(super) fn on_time_shift_message(&mut self, link: LinkId, message: Message) {
        match message {
            Message::TimeShiftRequest(request) => self.on_time_shift_request(link, request),
            Message::TimeShiftCancel => self.serving.cancel(link),
            _ => self.fault(link, Fault::Unexpected),
        }
    }

    fn on_time_shift_request(&mut self, link: LinkId, request: TimeShiftRequest) {
        let TimeShiftRequest { first, blocks } = request;
        let end = first.plus(blocks.into());
        let (Some(stream), Some(l)) = (&self.stream, self.links.get(link)) else { return };
        // Live viewers come first: what is left is for the past.
        if stream.children.is_behind() || !self.serving.ask(link, first..end) {
            let reason = Reason::Full;
            return self.refuse_past(link, TimeShiftRefused { first, reason, next: None });
        }
        if let Some(who) = l.peer_addr.as_deref().copied() {
            let file = FileId::of(&stream.channel, first);
            let others = self.serving.others(self.now, file.start, who);
            if !others.is_empty() {
                self.say(link, &Message::TimeShiftOthers(TimeShiftOthers { seq: first, others }));
            }
        }
        self.pump_past(link);
    }

    fn refuse_past(&mut self, link: LinkId, refused: TimeShiftRefused) {
        self.say(link, &Message::TimeShiftRefused(refused));
    }

    /// Sends what was asked for, as long as the connection takes it.
    pub(super) fn pump_past(&mut self, link: LinkId) {
        while self.links.queued(link) < QUEUED {
            let Some(wanted) = self.serving.front(link) else { return };
            let Some(stream) = &self.stream else { return };
            let first = wanted.start;
            if let Some(block) = stream.remembers(first) {
                let block = block.clone();
                self.serving.advance(link, first.plus(1));
                self.send_past(link, &block);
                continue;
            }
            let file = FileId::of(&stream.channel, first);
            let held = self.keeper.as_ref().and_then(|k| k.bytes(file));
            if let Some(bytes) = held {
                let whole = FileId::blocks(&stream.channel);
                let piece = (PIECE * whole / bytes.max(1)).clamp(1, whole);
                let last = file.last(&stream.channel).plus(1).min(wanted.end);
                let blocks = (last.0 - first.0).min(piece) as u32;
                let load = self.next_load();
                self.serving.load(self.now, link, load, first);
                let request = DiskRequest::Load { load, file, first, blocks };
                return self.actions.push_back(Action::Disk(request));
            }
            self.serving.advance(link, wanted.end);
            let next = self.next_held(first);
            let reason = Reason::NoSource;
            self.refuse_past(link, TimeShiftRefused { first, reason, next });
        }
    }

    /// The first block after this one that is here, in memory or on disk.
    fn next_held(&self, after: Seq) -> Option<Seq> {
        let stream = self.stream.as_ref()?;
        let memory = stream.buffer.as_ref().and_then(|b| b.first_held(after));
        let disk = self.keeper.as_ref().and_then(|k| k.next_after(&stream.channel, after));
        memory.into_iter().chain(disk).min()
    }

    fn send_past(&mut self, link: LinkId, block: &Block) {
        self.stats.past_sent += 1;
        self.stats.blocks_dropped += self.links.push(self.now, link, block, Seq(0));
    }

    /// The disk has read blocks for somebody, or could not.
    pub(super) fn on_loaded(&mut self, load: LoadId, frames: Option<Bytes>) {
        let Some((link, first)) = self.serving.loaded(load) else {
            return self.on_own_loaded(load, frames);
        };
        let blocks = self.read(first, frames);
        // Who has changed his mind meanwhile is not sent what he wanted before.
        let Some(wanted) = self.serving.front(link).filter(|w| w.start == first) else {
            return self.pump_past(link);
        };
        if let Err(reason) = blocks {
            self.serving.advance(link, wanted.end);
            self.refuse_past(link, TimeShiftRefused { first, reason, next: None });
        }
        for block in blocks.iter().flatten().filter(|b| wanted.contains(&b.seq())) {
            self.serving.advance(link, block.seq().plus(1));
            self.send_past(link, block);
        }
        self.pump_past(link);
    }

    /// What the disk gave from a block on. A file that is not what was stored is
    /// forgotten; one that cannot be had now may only be waiting for its turn.
    ///
    /// # Errors
    /// Why there is nothing: it is not here, or not now.
    pub(super) fn read(&mut self, first: Seq, frames: Option<Bytes>) -> Result<Vec<Block>, Reason> {
        let given = frames.is_some();
        let blocks = frames.map_or(Vec::new(), |frames| self.checked(first, frames));
        let held = !blocks.is_empty();
        if (given && !held) || !self.may_be_read(first, held) {
            self.spoilt(first);
            return Err(Reason::NoSource);
        }
        if held { Ok(blocks) } else { Err(Reason::Full) }
    }

    /// Does not wait for a disk that is too slow.
    pub(super) fn check_loads(&mut self) {
        while let Some(load) = self.serving.overdue(self.now) {
            let Some((link, first)) = self.serving.loaded(load) else { return };
            if let Some(wanted) = self.serving.front(link).filter(|w| w.start == first) {
                self.serving.advance(link, wanted.end);
                let reason = Reason::Full;
                self.refuse_past(link, TimeShiftRefused { first, reason, next: None });
            }
            self.pump_past(link);
        }
    }

    /// What the disk gave, as far as it is what was stored: signatures are
    /// checked here, for a disk may lie like a peer.
    fn checked(&self, first: Seq, frames: Bytes) -> Vec<Block> {
        let Some(stream) = &self.stream else { return Vec::new() };
        let most = FileId::blocks(&stream.channel);
        Blocks::new(frames, Walk::new(first, most, self.config.max_block))
            .map_while(Result::ok)
            .take_while(|b| stream.verifier.block(b.seq(), &b.payload(), &b.signature()))
            .collect()
    }

    /// A connection on which the past is served can take more.
    pub(super) fn past_flushed(&mut self, link: LinkId) {
        if self.serving.is_open(link) {
            self.pump_past(link);
        }
    }
}
