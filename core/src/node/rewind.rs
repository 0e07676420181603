//! Watching the past: leaping to it and back, pausing, fetching and playing it.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::config::ShiftStrategy;
use crate::event::{Action, Answer, DiskRequest, Notice, Phase, Position, Refusal};
use crate::id::{LoadId, Seq, Ticket};
use crate::live::playout::{Playout, Step};
use crate::node::keep::Tally;
use crate::node::quest::{DISK, Quest};
use crate::node::{Node, TICK, Timer};
use crate::partnership::Partner;
use crate::stream::block::Block;
use crate::stream::buffer::{BlockBuffer, Inserted};
use crate::stream::channel::Channel;
use crate::stream::file::FileId;
use crate::time::Time;
use crate::timeshift::Errand;
use crate::timeshift::fetch::{Asks, Class, Fetch, Manner, View};
use crate::timeshift::reel::Reel;
use crate::wire::message::Message;

/// Requests to our own disk that are remembered; one that fails to answer costs
/// no more.
const MAX_LOADS: usize = 64;

/// A viewer's stay in the past.
#[derive(Debug)]
pub(super) struct Rewind {
    pub(super) quest: Quest,
    reel: Reel,
    tally: Tally,
    /// What the disk reads for us.
    loads: BTreeMap<LoadId, Seq>,
    /// The command that led here, until its first block is handed over.
    ticket: Option<Ticket>,
}

impl Rewind {
    /// How much there is to play without a gap.
    pub(super) fn ahead(&self, channel: &Channel) -> Duration {
        let (next, buffer) = (self.reel.next(), &self.quest.buffer);
        let held = (0..buffer.capacity()).take_while(|n| buffer.holds(next.plus(*n)));
        channel.block().saturating_mul(held.count() as u32)
    }

    /// Whether what is played within this time is here, as far as it exists: up
    /// to `live`.
    pub(super) fn is_ahead(&self, channel: &Channel, span: Duration, live: Seq) -> bool {
        let next = self.reel.next();
        let end = next.plus(channel.blocks_in(span)).min(live);
        (next.0..end.0).all(|seq| !self.quest.buffer.is_missing(Seq(seq)))
    }

    /// Nothing was played for so long, for we were stopped.
    pub(super) fn slip(&mut self, pause: Duration) {
        self.reel.slip(pause);
    }
}

impl Node {
    pub(super) fn on_seek(&mut self, ticket: Ticket, position: Position) {
        if self.source.is_some() {
            return self.end(ticket, Err(Refusal::NotPossible));
        }
        let Some(edge) = self.live_edge() else {
            return self.end(ticket, Err(Refusal::NotPossible));
        };
        let seq = self.moment(position, edge);
        let live = seq >= self.live_from(edge);
        if live { self.go_live(ticket) } else { self.leap(Some(ticket), seq) }
    }

    /// The join asked for a moment of the past, and enough is known to go there.
    pub(super) fn start_in_past(&mut self) {
        self.timers.disarm(Timer::Start);
        // Who is there already stays out of the live mesh.
        if self.stream.as_ref().is_none_or(|s| s.rewind.is_some()) {
            return;
        }
        let Some(edge) = self.live_edge() else { return };
        let position = self.join.as_ref().map_or(Position::Live, |(_, join)| join.position);
        let seq = self.moment(position, edge);
        if seq >= self.live_from(edge) {
            self.stream.iter_mut().for_each(|s| s.wants_live = true);
            self.try_start(true);
        } else {
            self.leap(None, seq);
        }
    }

    /// What is not older than a live viewer's own delay is live.
    pub(super) fn live_from(&self, edge: Seq) -> Seq {
        self.stream
            .as_ref()
            .map_or(edge, |s| edge.minus(s.channel.blocks_in(self.join_offset(&s.channel))))
    }

    /// The block at a position.
    fn moment(&self, position: Position, edge: Seq) -> Seq {
        let Some(stream) = &self.stream else { return edge };
        let channel = &stream.channel;
        channel.seq_at(match position {
            Position::Live => Time::LAST,
            Position::Ago(ago) => channel.slot_start(edge) - ago,
            Position::At(at) => at,
            Position::By(by) => channel.slot_start(self.played().unwrap_or(edge)).offset(by),
        })
    }

    /// The block that the player gets next.
    pub(super) fn played(&self) -> Option<Seq> {
        let stream = self.stream.as_ref()?;
        stream.rewind.as_ref().map(|r| r.reel.next()).or(stream.playout.next())
    }

    /// Starts to watch the past at a block.
    fn leap(&mut self, ticket: Option<Ticket>, seq: Seq) {
        self.end_leap(Refusal::Replaced);
        let told = match self.stream.as_mut().and_then(|s| s.rewind.as_mut()) {
            Some(rewind) => rewind.quest.fetch.leap(),
            None => SmallVec::new(),
        };
        for addr in told {
            self.tell_source(Errand::Play, addr, &Message::TimeShiftCancel);
        }
        let Some(stream) = &mut self.stream else { return };
        let channel = &stream.channel;
        let room = self.config.shift_window + channel.file() * 2;
        let buffer = BlockBuffer::new(seq, channel.sub_streams(), channel.blocks_in(room));
        let reel = Reel::new(&self.config, seq);
        let before = stream.rewind.take();
        let (fetch, doors) =
            before.map_or_else(Default::default, |r| (r.quest.fetch, r.quest.doors));
        let quest = Quest { buffer, fetch, doors };
        let (tally, loads) = (Tally::default(), BTreeMap::new());
        stream.rewind = Some(Box::new(Rewind { quest, reel, tally, loads, ticket }));
        // What the live side remembers need not be fetched.
        let held: SmallVec<[Block; 16]> = match &stream.buffer {
            Some(live) => {
                let from = seq.max(live.start());
                (from.0..live.end().0).filter_map(|s| live.get(Seq(s)).cloned()).collect()
            }
            None => SmallVec::new(),
        };
        stream.playout = Playout::new(&self.config);
        self.timers.disarm(Timer::Playout);
        self.phase(Phase::Buffering);
        self.plays_from(seq);
        for block in held {
            self.take_past(block);
        }
        self.rewind_tick();
    }

    /// Goes to the live edge.
    fn go_live(&mut self, ticket: Ticket) {
        self.end_leap(Refusal::Replaced);
        let Some(stream) = &self.stream else { return };
        // The live side went on beside the past.
        let first = stream.buffer.as_ref().map(|buffer| {
            let back = stream.channel.blocks_in(self.join_offset(&stream.channel));
            buffer.end().minus(back).max(buffer.start())
        });
        // Nobody who is there is thrown back.
        if stream.rewind.is_none() && first.is_some() && stream.playout.next() >= first {
            return self.end(ticket, Ok(Answer::Done));
        }
        self.leave_past();
        self.live_ticket = Some(ticket);
        let Some(stream) = &mut self.stream else { return };
        stream.wants_live = true;
        match first {
            Some(first) => {
                stream.playout = Playout::new(&self.config);
                stream.playout.start_at(first);
                self.phase(Phase::Buffering);
                self.play();
            }
            None => self.try_start(true),
        }
    }

    /// The command that led to where we were is not answered yet: it never will be.
    pub(super) fn end_leap(&mut self, why: Refusal) {
        let rewind = self.stream.as_mut().and_then(|s| s.rewind.as_mut());
        let tickets = [rewind.and_then(|r| r.ticket.take()), self.live_ticket.take()];
        for ticket in tickets.into_iter().flatten() {
            self.end(ticket, Err(why));
        }
    }

    /// Ends the stay in the past.
    pub(super) fn leave_past(&mut self) {
        let Some(rewind) = self.stream.as_mut().and_then(|s| s.rewind.take()) else { return };
        self.timers.disarm(Timer::Rewind);
        self.timers.disarm(Timer::Reel);
        for link in rewind.quest.doors.into_values() {
            self.close(link, false);
        }
    }

    pub(super) fn on_pause(&mut self, ticket: Ticket) {
        let Some(next) = self.played() else {
            return self.end(ticket, Err(Refusal::NotPossible));
        };
        if self.source.is_some() {
            return self.end(ticket, Err(Refusal::NotPossible));
        }
        if self.stream.as_ref().is_some_and(|s| s.rewind.is_none()) {
            self.leap(None, next);
        }
        let rewind = self.stream.as_mut().and_then(|s| s.rewind.as_mut());
        rewind.into_iter().for_each(|r| r.reel.pause());
        self.timers.disarm(Timer::Reel);
        self.phase(Phase::Paused);
        self.end(ticket, Ok(Answer::Done));
    }

    pub(super) fn on_play(&mut self, ticket: Ticket) {
        if let Some(rewind) = self.stream.as_mut().and_then(|s| s.rewind.as_mut()) {
            rewind.reel.play();
            self.reel();
        }
        self.end(ticket, Ok(Answer::Done));
    }

    /// Asks for what is missing of the past.
    pub(super) fn rewind_tick(&mut self) {
        let Some((provider, edge)) = self.live_edge().map(|edge| (self.provider_addr(), edge))
        else {
            return self.arm(Timer::Rewind, self.now + TICK * 4);
        };
        self.arm(Timer::Rewind, self.now + TICK);
        let now = self.now;
        let mut rng = self.rng.clone();
        let asks = self.with_reel(provider, edge, |fetch, view| fetch.plan(now, view, &mut rng));
        self.rng = rng;
        self.carry_out(Errand::Play, asks);
    }

    /// Shows the fetching side what the player needs.
    pub(super) fn with_reel(
        &mut self,
        provider: Option<SocketAddr>,
        edge: Seq,
        act: impl FnOnce(&mut Fetch, &View<'_>) -> Asks,
    ) -> Asks {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return Asks::new() };
        let Some(rewind) = &mut stream.rewind else { return Asks::new() };
        let Rewind { quest: Quest { buffer, fetch, .. }, reel, .. } = &mut **rewind;
        let (channel, partners, keeper) = (&stream.channel, &self.partners, &self.keeper);
        let end = reel.next().plus(channel.blocks_in(self.config.shift_window)).min(edge);
        let in_memory = |first: Seq, end: Seq| {
            let holds = |p: &&Partner| {
                let Some(map) = &p.map else { return false };
                let Some(newest) = map.newest() else { return false };
                // Its window goes on with the stream.
                let start = p.reach(now, map.start, channel.block());
                !p.member.provider && first >= start && end.minus(1) <= newest
            };
            let held = partners.iter().filter(holds).map(|p| p.member.addr);
            let disk = keeper.as_ref().and_then(|k| k.bytes(FileId::of(channel, first)));
            held.chain(disk.map(|_| DISK)).collect()
        };
        let view = View {
            channel,
            buffer,
            next: reel.next(),
            fresh: reel.is_fresh(),
            end,
            emergency: self.config.emergency,
            provider,
            manner: match self.config.shift {
                ShiftStrategy::Hedged => Manner::Hedged,
                ShiftStrategy::Published => Manner::Published,
                ShiftStrategy::Bass => Manner::Bass,
                ShiftStrategy::Ponder { clip } => Manner::Ponder { clip: clip.as_secs() },
            },
            due: &|seq| reel.due(channel, seq),
            partners: &in_memory,
            others: &|| {
                partners.iter().filter(|p| !p.member.provider).map(|p| p.member.addr).collect()
            },
        };
        act(fetch, &view)
    }

    /// Nothing is held of where the player stands: it goes on where something is.
    pub(super) fn leap_over(&mut self, to: Seq) {
        let rewind = self.stream.as_mut().and_then(|s| s.rewind.as_mut());
        let ticket = rewind.and_then(|r| r.ticket.take());
        self.leap(ticket, to);
    }

    /// These blocks can't be had; with `void` they were never made.
    pub(super) fn give_up_past(&mut self, first: Seq, end: Seq, void: bool) {
        if let Some(rewind) = self.stream.as_mut().and_then(|s| s.rewind.as_mut()) {
            if void {
                rewind.reel.void(end);
            }
            (first.0..end.0).for_each(|seq| rewind.quest.buffer.give_up(Seq(seq)));
        }
        self.reel();
    }

    /// A good block of the past that was missing.
    pub(super) fn past_arrived(&mut self, block: Block, from: SocketAddr) {
        let (now, provider) = (self.now, self.provider_addr());
        let Some(stream) = &mut self.stream else { return };
        let Some(rewind) = &mut stream.rewind else { return };
        let fetch = &mut rewind.quest.fetch;
        let class = fetch.arrived(now, &stream.channel, block.seq(), from, provider);
        *match class {
            Class::Peer => &mut self.stats.shift.peer,
            Class::Emergency => &mut self.stats.shift.emergency,
            Class::Failed => &mut self.stats.shift.failed,
            Class::NoOwner => &mut self.stats.shift.no_owner,
        } += 1;
        self.take_past(block);
    }

    /// A block of the past, from wherever, if it is wanted.
    pub(super) fn take_past(&mut self, block: Block) {
        let Some(stream) = &mut self.stream else { return };
        let Some(rewind) = &mut stream.rewind else { return };
        let seq = block.seq();
        let end = rewind.reel.next().plus(stream.channel.blocks_in(self.config.shift_window));
        if seq >= end || rewind.quest.buffer.insert(block) != Inserted::New {
            return;
        }
        if let Some(file) = rewind.tally.arrived(&stream.channel, seq) {
            self.file_complete(file, false);
        }
        self.reel();
    }

    pub(super) fn load_own(&mut self, first: Seq, end: Seq) {
        let load = self.next_load();
        let Some(stream) = &mut self.stream else { return };
        let Some(rewind) = &mut stream.rewind else { return };
        let file = FileId::of(&stream.channel, first);
        let blocks = end.0.saturating_sub(first.0) as u32;
        if rewind.loads.len() >= MAX_LOADS {
            rewind.loads.pop_first();
        }
        rewind.loads.insert(load, first);
        self.actions.push_back(Action::Disk(DiskRequest::Load { load, file, first, blocks }));
    }

    /// Our own disk has read for us.
    pub(super) fn on_own_loaded(&mut self, load: LoadId, frames: Option<Bytes>) {
        let rewind = self.stream.as_mut().and_then(|s| s.rewind.as_mut());
        let Some(first) = rewind.and_then(|r| r.loads.remove(&load)) else { return };
        let Ok(blocks) = self.read(first, frames) else {
            return self.past_lost(Errand::Play, DISK);
        };
        for block in blocks {
            self.past_arrived(block, DISK);
        }
    }

    /// Owners of a file were found.
    pub(super) fn owners_found(&mut self, file: FileId, owners: &[SocketAddr], over: bool) {
        let own = self.dht.as_deref().and_then(crate::dht::Dht::external);
        let own = own.map(|own| SocketAddr::new(own.ip(), self.config.listen.port()));
        let others: SmallVec<[SocketAddr; 16]> =
            owners.iter().copied().filter(|addr| Some(*addr) != own).collect();
        for errand in [Errand::Play, Errand::Keep] {
            if let Some((_, quest)) = self.quest(errand) {
                quest.fetch.found(file.start, &others, over);
                self.arm_by(errand.timer(), self.now);
            }
        }
    }

    /// Hands over what is due of the past.
    pub(super) fn reel(&mut self) {
        let now = self.now;
        loop {
            let Some(stream) = &mut self.stream else { return };
            let Some(rewind) = &mut stream.rewind else { return };
            match rewind.reel.poll(now, &stream.channel, &rewind.quest.buffer, &mut self.stats) {
                Step::Deliver(delivery) => {
                    let ticket = rewind.ticket.take();
                    self.actions.push_back(Action::Deliver(delivery));
                    self.begun(ticket);
                }
                Step::Lost(_) => {}
                Step::Enter(phase) => self.notify(Notice::Phase(phase)),
                Step::Wait(Some(at)) => return self.arm(Timer::Reel, at),
                Step::Wait(None) => return self.timers.disarm(Timer::Reel),
            }
        }
    }

    /// The first block is handed over after a join, or a leap.
    pub(super) fn begun(&mut self, ticket: Option<Ticket>) {
        if self.stats.startup.is_none() {
            self.stats.startup = Some(self.now.since(self.joined_at));
        }
        let join = self.join.take().map(|(ticket, _)| ticket);
        for ticket in join.into_iter().chain(ticket) {
            self.end(ticket, Ok(Answer::Done));
        }
    }

    /// The newest block that anybody can have, as far as we know.
    pub(super) fn live_edge(&self) -> Option<Seq> {
        let stream = self.stream.as_ref()?;
        if stream.clock.stream(self.now).is_some() {
            return Some(stream.horizon(self.now).minus(1));
        }
        // Off the air, nobody tells of one: our own clock must do.
        let off_air = !stream.wants_live || stream.rewind.is_some();
        let own = off_air.then(|| stream.channel.seq_at(self.now));
        self.newest_of_maps().or(own)
    }

    /// Where the provider can be dialled.
    pub(super) fn provider_addr(&self) -> Option<SocketAddr> {
        let partner = self.partners.iter().find(|p| p.member.provider).map(|p| p.member.addr);
        partner.or_else(|| self.members.provider().map(|m| m.addr))
    }
}
