//! The child side: where to begin, whom to subscribe to, what came in, what is
//! missing.

use core::time::Duration;

use smallvec::SmallVec;

use crate::config::Reselection;
use crate::event::{Action, Answer, Fault, Notice, Phase, Warning};
use crate::id::{LinkId, NodeId, Seq, SubStream};
use crate::link::Role;
use crate::live::clock::StreamClock;
use crate::live::feeds::{Asked, Feeds};
use crate::live::playout::{Playout, Step};
use crate::live::repair::Repair;
use crate::live::select::{self, View, Views};
use crate::node::{Dial, Node, Stream, TICK, Timer};
use crate::partnership::{Partner, Partnership};
use crate::stream::block::Block;
use crate::stream::buffer::{BlockBuffer, Inserted};
use crate::stream::map::Path;
use crate::time::{Time, micros, signed_micros};
use crate::wire::message::{Message, Reason, Subscribe, SubscribeReply, Token};

/// Maps that are enough to begin with, if so many partners are there.
const ENOUGH_MAPS: usize = 3;
/// How long to wait for more maps once one is there.
const MAP_PATIENCE: Duration = Duration::from_millis(150);
/// A newest block this far above the middle one of all maps is not believed.
const OUTLIER: Duration = Duration::from_secs(5);
/// Blocks from further in the future than this are not looked at.
const FUTURE: Duration = Duration::from_secs(5);
/// How long a parent that lagged is not asked again.
const SHUN: Duration = Duration::from_secs(10);
/// No block for this long after the start: begin again elsewhere.
const FALSE_START: Duration = Duration::from_secs(3);
/// A sub-stream without a parent for this long is worth a warning.
const ORPHANED: Duration = Duration::from_secs(5);
/// A block this overdue that the provider no longer has, and every partner
/// denies to have, is given up.
const UNOBTAINABLE: Duration = Duration::from_secs(1);
/// A repair that takes longer than this is not waited for in advance.
const MAX_REPAIR: Duration = Duration::from_millis(750);
/// Gaps asked for in one look.
const MAX_GAPS: usize = 64;

impl Node {
    /// Begins, once enough partners told what they hold, or time is up.
    pub(super) fn try_start(&mut self, time_is_up: bool) {
        let Some(stream) = &self.stream else { return };
        if stream.buffer.is_some() || self.source.is_some() {
            return;
        }
        // Who led us astray a moment ago has no say.
        let heard = self.partners.iter().filter(|p| p.not_before <= self.now);
        let mut newest: SmallVec<[Seq; 16]> =
            heard.filter_map(|p| p.map.as_ref()?.newest()).collect();
        newest.sort_unstable();
        let Some(&middle) = newest.get(newest.len().saturating_sub(1) / 2) else {
            if time_is_up {
                self.arm(Timer::Start, self.now + self.config.request_timeout);
            }
            return;
        };
        let waiting = self.dials.values().any(|(d, _)| matches!(d, Dial::Partner(_)))
            || self.partners.iter().any(|p| p.map.is_none());
        if !time_is_up && newest.len() < ENOUGH_MAPS && waiting {
            return self.arm_by(Timer::Start, self.now + MAP_PATIENCE);
        }
        let channel = &stream.channel;
        let limit = middle.plus(channel.blocks_in(OUTLIER));
        let newest = newest.into_iter().rfind(|n| *n <= limit).unwrap_or(middle);
        let offset = self.config.join_offset;
        let back = if offset.is_zero() { 0 } else { channel.blocks_in(offset) };
        // Nobody holds what came before the earliest window.
        let maps = self.partners.iter().filter_map(|p| p.map.as_ref());
        let held = maps.filter(|m| m.newest().is_some()).map(|m| m.start).min();
        let first = newest.minus(back).max(held.unwrap_or_default()).min(newest);
        self.timers.disarm(Timer::Start);
        self.begin(first);
    }

    fn begin(&mut self, first: Seq) {
        let (now, buffer) = (self.now, self.config.buffer);
        let Some(stream) = &mut self.stream else { return };
        // What the player has had it does not get again; what it will not get
        // is lost.
        let first = stream.played.take().map_or(first, |played| {
            let gone = first.0.saturating_sub(played.0);
            self.stats.due += gone;
            self.stats.lost += gone;
            first.max(played)
        });
        let capacity = stream.channel.blocks_in(buffer);
        stream.buffer = Some(BlockBuffer::new(first, stream.channel.sub_streams(), capacity));
        stream.playout.start_at(first);
        stream.began = now;
        stream.progress = now;
        self.phase(Phase::Buffering);
        self.tick();
    }

    /// Partners as the choice of a parent sees them.
    fn views<'a>(now: Time, partners: &'a Partnership, stream: &Stream) -> Views<'a> {
        let view = |p: &'a Partner| {
            p.control?;
            Some(View {
                node: p.member.node,
                map: p.map.as_ref()?,
                map_at: p.map_at,
                rtt: p.rtt(),
                shunned: p.not_before > now,
                feeds: stream.feeds.from(p.member.node),
            })
        };
        partners.iter().filter_map(view).collect()
    }

    /// Looks at every feed: orphans, requests without answer, parents that
    /// lag, parents that could be better; then at gaps.
    pub(super) fn tick(&mut self) {
        self.arm(Timer::Tick, self.now + TICK);
        let Some(stream) = &self.stream else { return };
        if stream.buffer.is_none() || self.source.is_some() {
            return;
        }
        let idle = self.now.since(stream.progress);
        if idle > FALSE_START && stream.progress == stream.began {
            return self.false_start();
        }
        for j in 0..stream.channel.sub_streams() {
            self.look_at(SubStream(j));
        }
        self.warn_of_orphans();
        if self.config.repair {
            self.pull_gaps();
            self.skip_unobtainable();
        }
    }

    /// What we were told of does not come: forget where we began, and who
    /// told us.
    fn false_start(&mut self) {
        let (now, start) = (self.now, self.stream.as_ref().and_then(|s| s.buffer.as_ref()));
        if let Some(start) = start.map(BlockBuffer::start) {
            let led = |p: &&mut Partner| p.map.as_ref().and_then(|m| m.newest()) >= Some(start);
            self.partners.iter_mut().filter(led).for_each(|p| p.not_before = now + SHUN);
        }
        self.begin_again();
    }

    /// Leaves all parents and begins as after a join, in the same channel.
    pub(super) fn begin_again(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.source.is_none()) else { return };
        let s = stream.channel.sub_streams();
        let parents: SmallVec<[(SubStream, NodeId); 8]> =
            stream.feeds.iter().filter_map(|(sub, f)| Some((sub, f.parent?))).collect();
        stream.played = stream.playout.next().filter(|_| self.stats.startup.is_some());
        stream.buffer = None;
        stream.clock = StreamClock::default();
        stream.playout = Playout::new(&self.config);
        stream.feeds = Feeds::new(self.now, s, Path::NONE);
        stream.repair = Repair::default();
        for (sub, node) in parents {
            self.tell(node, &Message::Unsubscribe(sub));
        }
        self.timers.disarm(Timer::Tick);
        self.timers.disarm(Timer::Playout);
        self.news();
        self.arm(Timer::Start, self.now + MAP_PATIENCE);
    }

    fn look_at(&mut self, sub: SubStream) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let Some(buffer) = &stream.buffer else { return };
        let missing = buffer.first_missing(sub);
        let Some(feed) = stream.feeds.get_mut(sub) else { return };
        if let Some(asked) = feed.asked {
            if now.since(asked.at) <= self.config.request_timeout {
                return;
            }
            feed.asked = None;
            if let Some(p) = self.partners.get_mut(asked.node) {
                p.not_before = now + SHUN;
            }
        }
        let Some(parent) = feed.parent else { return self.seek(sub, None, missing) };
        let Reselection::Lag { overdue } = self.config.reselection else { return };
        let round = stream.channel.block() * u32::from(stream.channel.sub_streams());
        if !feed.fed && now.since(feed.changed) > overdue + round {
            return self.leave_parent(sub, parent, missing);
        }
        let expected = stream.clock.local(stream.channel.slot_end(missing));
        let late = expected.map_or(0, |t| now.diff_micros(t))
            - feed.overdue_after(self.config.repair_after);
        if late > signed_micros(overdue) && now >= feed.changed + self.config.cool_down {
            // Somebody else must be ahead of it, or it is not the parent's fault.
            let block = stream.channel.block();
            let views = Self::views(now, &self.partners, stream);
            let choice = select::best(&mut self.rng, sub, &views, None, |v| {
                v.node != parent
                    && v.reaches(now, missing, sub, block)
                    && !stream.children.has(v.node, sub)
            });
            drop(views);
            if let Some(node) = choice {
                if let Some(p) = self.partners.get_mut(parent) {
                    p.not_before = now + SHUN;
                }
                self.subscribe(sub, node, missing);
            }
        } else if now >= feed.improve && late <= 0 {
            let pause = self.rng.jitter(self.config.cool_down, 20);
            if let Some(feed) = self.stream.as_mut().and_then(|s| s.feeds.get_mut(sub)) {
                feed.improve = now + pause;
            }
            self.seek(sub, Some(parent), missing);
        }
    }

    /// A parent that took the subscription and never brought a block.
    fn leave_parent(&mut self, sub: SubStream, parent: NodeId, missing: Seq) {
        if let Some(feed) = self.stream.as_mut().and_then(|s| s.feeds.get_mut(sub)) {
            feed.parent = None;
            feed.path = Path::NONE;
        }
        if let Some(p) = self.partners.get_mut(parent) {
            p.not_before = self.now + SHUN;
        }
        self.stats.reselections += 1;
        self.tell(parent, &Message::Unsubscribe(sub));
        self.seek(sub, None, missing);
    }

    /// Looks for a parent, or for one clearly better than `instead_of`.
    fn seek(&mut self, sub: SubStream, instead_of: Option<NodeId>, missing: Seq) {
        let now = self.now;
        let Some(stream) = &self.stream else { return };
        let views = Self::views(now, &self.partners, stream);
        let block = stream.channel.block();
        // Who is far behind where we are cannot bring what we miss.
        let least = match instead_of {
            Some(_) => missing,
            None => missing.minus(stream.channel.blocks_in(OUTLIER)),
        };
        let allowed = |v: &View<'_>| {
            !stream.children.has(v.node, sub)
                && (v.is_new(sub) || v.reaches(now, least, sub, block))
        };
        let choice = match self.config.reselection {
            Reselection::Lag { .. } => {
                select::best(&mut self.rng, sub, &views, instead_of, allowed)
            }
            // Published: uniformly among those who are far enough along.
            Reselection::Inequalities { .. } if instead_of.is_none() => {
                let able = |v: &&View<'_>| {
                    let newest = v.map.entry(sub).and_then(|e| e.newest);
                    !v.shunned && newest.is_some_and(|n| n >= missing) && allowed(v)
                };
                let able: SmallVec<[NodeId; 16]> =
                    views.iter().filter(able).map(|v| v.node).collect();
                self.rng.pick(&able).copied()
            }
            Reselection::Inequalities { .. } => None,
        };
        drop(views);
        if let Some(node) = choice {
            self.subscribe(sub, node, missing);
        }
    }

    /// The published rules, judged on every map (report p. 9-10).
    pub(super) fn judge_parents(&mut self) {
        let Reselection::Inequalities { own, partner } = self.config.reselection else { return };
        let now = self.now;
        let Some(stream) = &self.stream else { return };
        let Some(buffer) = &stream.buffer else { return };
        let last = stream.feeds.iter().map(|(_, f)| f.changed).max().unwrap_or(Time::ZERO);
        if now < last + self.config.cool_down || stream.feeds.iter().any(|(_, f)| f.asked.is_some())
        {
            return;
        }
        // A sub-stream without a block stands where we began.
        let head = |sub| buffer.latest(sub).unwrap_or(buffer.start());
        let heads: SmallVec<[Seq; 8]> = stream.feeds.iter().map(|(sub, _)| head(sub)).collect();
        let parents: SmallVec<[Option<NodeId>; 8]> =
            stream.feeds.iter().map(|(_, f)| f.parent).collect();
        let limit = |d: Duration| micros(d) / micros(stream.channel.block());
        let views = Self::views(now, &self.partners, stream);
        let change =
            select::inequalities(&heads, &parents, &views, limit(own), limit(partner), |v, sub| {
                !stream.children.has(v.node, sub)
            });
        drop(views);
        if let Some(change) = change {
            let missing = buffer.first_missing(change.sub);
            self.subscribe(change.sub, change.to, missing);
        }
    }

    fn subscribe(&mut self, sub: SubStream, node: NodeId, from: Seq) {
        let asked = Some(Asked { node, at: self.now });
        if let Some(feed) = self.stream.as_mut().and_then(|s| s.feeds.get_mut(sub)) {
            feed.asked = asked;
        }
        let window = self.config.buffer;
        self.tell(node, &Message::Subscribe(Subscribe { sub, from, window }));
        self.want_blocks(node);
    }

    pub(super) fn on_subscribe_reply(&mut self, node: NodeId, reply: SubscribeReply) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let Some(feed) = stream.feeds.get_mut(reply.sub) else { return };
        let answers = feed.asked.is_some_and(|a| a.node == node);
        // A parent that cannot go on refuses what it had granted.
        let ends = feed.parent == Some(node) && reply.result.is_err();
        if !answers && !ends {
            return;
        }
        if answers {
            feed.asked = None;
        }
        if ends {
            feed.parent = None;
            feed.former = Some(node);
            feed.path = Path::NONE;
            self.stats.reselections += 1;
        }
        match reply.result {
            Ok(()) => {
                feed.fed &= feed.parent == Some(node);
                let old = feed.parent.replace(node).filter(|old| *old != node);
                if let Some(old) = old {
                    feed.former = Some(old);
                    feed.reset_usual();
                    self.stats.reselections += 1;
                }
                feed.changed = now;
                feed.improve = now + self.config.cool_down;
                if let Some(old) = old {
                    self.tell(old, &Message::Unsubscribe(reply.sub));
                }
                self.refresh_paths();
            }
            Err(refused) => {
                for member in &refused.referrals {
                    self.members.add(now, &self.config, *member);
                }
                if let Some(p) = self.partners.get_mut(node) {
                    // A loop may be gone with the next map; no room takes longer.
                    let wait = match refused.reason {
                        Reason::NoSource => refused.retry_after.min(self.config.map_interval),
                        _ => refused.retry_after,
                    };
                    p.not_before = p.not_before.max(now + wait.min(Duration::from_secs(60)));
                }
                self.find_partners();
                if ends {
                    self.news();
                }
                self.tick_soon();
            }
        }
    }

    /// A partner gave us a token: for the block link that is missing, or for
    /// the next one.
    pub(super) fn on_token(&mut self, node: NodeId, token: Token) {
        if let Some(p) = self.partners.get_mut(node) {
            p.spare = Some(token);
        }
        let wanted =
            self.stream.as_ref().is_some_and(|s| s.feeds.from(node) > 0 || s.repair.awaits(node));
        if wanted {
            self.want_blocks(node);
        }
    }

    /// Blocks are to come in from a partner: opens the block link with the
    /// token that it gave, if there is none; otherwise one will come.
    fn want_blocks(&mut self, node: NodeId) {
        let Some(p) = self.partners.get_mut(node) else { return };
        if p.block_in.is_none()
            && !p.dialling
            && let Some(token) = p.spare.take()
        {
            p.dialling = true;
            let addr = p.member.addr;
            self.dial(Dial::BlockIn(node, token), addr);
        }
    }

    /// The link on which a parent pushes is gone: resume at the first missing
    /// block, with the spare token if there is one.
    pub(super) fn block_in_lost(&mut self, node: NodeId) {
        let Some(p) = self.partners.get_mut(node) else { return };
        p.block_in = None;
        p.dialling = false;
        let Some(stream) = &mut self.stream else { return };
        stream.repair.gone(self.now, node);
        if !self.config.repair {
            // Published: what was on the way is lost, the parent with it.
            stream.feeds.orphan(node);
            self.news();
            return self.tick_soon();
        }
        let Some(buffer) = &stream.buffer else { return };
        let window = self.config.buffer;
        let resume: SmallVec<[Subscribe; 8]> = stream
            .feeds
            .iter()
            .filter(|(_, f)| f.parent == Some(node))
            .map(|(sub, _)| Subscribe { sub, from: buffer.first_missing(sub), window })
            .collect();
        if resume.is_empty() {
            return;
        }
        self.want_blocks(node);
        for subscribe in resume {
            self.tell(node, &Message::Subscribe(subscribe));
        }
    }

    pub(super) fn on_block(&mut self, link: LinkId, block: Block) {
        let Some(Role::BlockIn(node)) = self.links.get(link).map(|l| l.role) else {
            return self.fault(link, Fault::Unexpected);
        };
        let (now, seq) = (self.now, block.seq());
        if let Some(p) = self.partners.get_mut(node) {
            p.heard = now;
        }
        let Some(stream) = &self.stream else { return };
        let (channel, Some(buffer)) = (&stream.channel, &stream.buffer) else { return };
        let feed = stream.feeds.get(seq.sub_stream(channel.sub_streams()));
        let asked_for = feed.is_some_and(|f| f.expects(node)) || stream.repair.expects(seq, node);
        // While nothing else comes, it may be the provider's clock that leapt.
        let future = stream.clock.is_steady(now)
            && now.since(stream.progress) < FUTURE
            && stream.clock.stream(now).is_some_and(|t| channel.slot_start(seq) > t + FUTURE);
        if !asked_for || future || seq < buffer.start() {
            self.stats.unwanted += 1;
        } else if buffer.holds(seq) {
            self.stats.duplicates += 1;
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
    }

    /// What a block's arrival tells: where the clock stands, how late blocks
    /// come, who brings them.
    fn note_arrival(&mut self, seq: Seq, slot_end: Time, node: NodeId) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let sub = seq.sub_stream(stream.channel.sub_streams());
        let pulled = stream.repair.arrived(seq);
        let stepped = stream.clock.arrived(now, slot_end);
        if stepped < -signed_micros(self.config.buffer) {
            // The provider's clock leapt: its stream goes on from here.
            stream.playout.start_at(seq);
        } else {
            stream.playout.clock_stepped(stepped);
        }
        let newest = stream.horizon(now).minus(1);
        if let Some(feed) = stream.feeds.get_mut(sub) {
            feed.fed |= feed.parent == Some(node);
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
            p.proved();
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
                    if self.stats.startup.is_none() {
                        self.stats.startup = Some(now.since(self.joined_at));
                        if let Some((ticket, _)) = self.join.take() {
                            let result = Ok(Answer::Done);
                            let ended = Notice::Ended { ticket, result };
                            self.actions.push_back(Action::Notify(ended));
                        }
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

    /// How long it takes to notice a gap, ask a partner and have the answer,
    /// or, where a link was reset, to open it again.
    fn repair_time(&self) -> Duration {
        if !self.config.repair {
            return Duration::ZERO;
        }
        let slowest = self.partners.iter().filter(|p| p.block_in.is_some()).map(|p| p.rtt()).max();
        (self.config.repair_after + slowest.unwrap_or_default() * 2 + TICK).min(MAX_REPAIR)
    }

    /// Asks partners for blocks that should be here and are not.
    fn pull_gaps(&mut self) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let Some(buffer) = &stream.buffer else { return };
        let (channel, s) = (&stream.channel, stream.channel.sub_streams());
        let next = stream.playout.next().unwrap_or(buffer.start());
        stream.repair.forget_before(next);
        let mut gaps: SmallVec<[Seq; MAX_GAPS]> = SmallVec::new();
        for (sub, feed) in stream.feeds.iter() {
            let slack = feed.overdue_after(self.config.repair_after);
            let mut seq = buffer.first_missing(sub).max(next.align(sub, s));
            while gaps.len() < MAX_GAPS {
                let expected = stream.clock.local(channel.slot_end(seq));
                // A later block of the same sub-stream came: TCP keeps order,
                // so this one was left out.
                let passed = seq < buffer.end() && buffer.holds(seq.plus(u64::from(s)));
                let patience = if passed && feed.parent.is_some() { 0 } else { slack };
                if expected.is_none_or(|t| now.diff_micros(t) < patience)
                    || seq >= stream.horizon(now)
                {
                    break;
                }
                if buffer.is_missing(seq) {
                    gaps.push(seq);
                }
                seq = seq.plus(u64::from(s));
            }
        }
        gaps.sort_unstable();
        if gaps.is_empty() {
            return;
        }
        let (partners, feeds, rng) = (&self.partners, &stream.feeds, &mut self.rng);
        let choose = |seq: Seq, tried: &[NodeId]| {
            let sub = seq.sub_stream(s);
            let parent = feeds.get(sub).and_then(|f| f.parent);
            let holds = |p: &&Partner| {
                let Some(map) = &p.map else { return false };
                let Some(newest) = map.entry(sub).and_then(|e| e.newest) else { return false };
                let live = map.path(sub).is_live();
                let reach = if live { p.reach(now, newest, channel.block()) } else { newest };
                p.control.is_some() && seq >= map.start && seq <= reach
            };
            // Peers before the provider; those at hand before those who must
            // be dialled; not the parent who did not bring it. At random among
            // equals, so that not all of a swarm ask the same one.
            let rank = |p: &Partner| {
                let node = p.member.node;
                (p.not_before > now, p.member.provider, p.block_in.is_none(), parent == Some(node))
            };
            let able = || partners.iter().filter(|p| !tried.contains(&p.member.node)).filter(holds);
            let best = able().map(rank).min()?;
            let equals: SmallVec<[&Partner; 16]> = able().filter(|p| rank(p) == best).collect();
            let p = rng.pick(&equals)?;
            let trips = if p.block_in.is_some() { 2 } else { 5 };
            let patience = p.rtt() * trips + Duration::from_millis(150);
            // The more were asked in vain, the longer the queues are.
            Some((p.member.node, patience * (1 + tried.len().min(2) as u32)))
        };
        let asks = stream.repair.plan(now, gaps.into_iter(), choose);
        for (node, seqs) in asks {
            self.tell(node, &Message::Pull(seqs));
            self.want_blocks(node);
        }
    }

    pub(super) fn on_dont_have(&mut self, link: LinkId, node: NodeId, seqs: &[Seq]) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let s = stream.channel.sub_streams();
        let Some(p) = self.partners.get_mut(node) else { return };
        let mut lied = false;
        for &seq in seqs {
            let was_asked = stream.repair.refused(now, seq, node);
            // Its window may have slid on since the map.
            let promised = p.map.as_ref().is_some_and(|m| {
                m.covers(seq, s) && seq > p.reach(now, m.start, stream.channel.block())
            });
            lied |= was_asked && promised && p.lied();
        }
        if lied {
            self.fault(link, Fault::Lied);
        } else {
            self.tick_soon();
        }
    }

    /// Gives up early on what nobody around us has: the provider was away, or
    /// we were for longer than anybody's window.
    fn skip_unobtainable(&mut self) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let (Some(buffer), Some(next)) = (&mut stream.buffer, stream.playout.next()) else {
            return;
        };
        let due = stream.clock.local(stream.channel.slot_end(next));
        if !buffer.is_missing(next) || due.is_none_or(|t| now < t + UNOBTAINABLE) {
            return;
        }
        let (mut certain, mut later) = (false, None);
        for p in self.partners.iter() {
            let map = p.map.as_ref().filter(|_| p.control.is_some());
            // A partner whose link is being mended may have it.
            let Some(map) = map else { return };
            if map.start > next && map.newest().is_some() {
                // Its window begins where the stream goes on; the provider's
                // word for that is the last one.
                later = Some(later.map_or(map.start, |l: Seq| l.min(map.start)));
                certain |= p.member.provider;
            } else if !stream.repair.was_denied(now, next, p.member.node) {
                return;
            }
        }
        // Partners may be as late as we are.
        if !certain && due.is_none_or(|t| now < t + self.config.give_up / 3) {
            return;
        }
        // Without anybody's window, the next block that is here.
        let ahead = (1..=buffer.capacity()).map(|n| next.plus(n)).take_while(|s| *s < buffer.end());
        let held = ahead.into_iter().find(|seq| buffer.holds(*seq));
        let until = held.or(later).filter(|until| *until > next);
        if let Some(until) = until {
            stream.playout.skip_to(until, buffer, &mut self.stats);
            self.play();
        }
    }

    fn warn_of_orphans(&mut self) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let orphan = stream.feeds.iter().any(|(_, f)| f.parent.is_none() && f.path == Path::NONE);
        if !orphan {
            stream.orphaned = None;
        } else if now.since(*stream.orphaned.get_or_insert(now)) > ORPHANED {
            stream.orphaned = Some(now + Duration::from_secs(60));
            self.notify(Notice::Warning(Warning::NoUpload));
        }
    }
}

impl Stream {
    /// No block from here on can exist yet.
    fn horizon(&self, now: Time) -> Seq {
        self.clock.stream(now).map_or(Seq(0), |t| self.channel.seq_at(t).plus(1))
    }
}
