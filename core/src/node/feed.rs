//! The child side: where to begin, whom to subscribe to, when to look for
//! another parent.

use core::time::Duration;

use smallvec::SmallVec;

use crate::config::{LiveStrategy, Reselection};
use crate::event::{Notice, Phase, Warning};
use crate::id::{LinkId, NodeId, Seq, SubStream};
use crate::live::clock::StreamClock;
use crate::live::feeds::{Asked, Feeds};
use crate::live::pace::Pace;
use crate::live::playout::Playout;
use crate::live::pull::Pull;
use crate::live::repair::Repair;
use crate::live::select::{self, View, Views};
use crate::live::tree::Tree;
use crate::node::{Dial, Node, Stream, Timer};
use crate::partnership::{Partner, Partnership};
use crate::stream::buffer::BlockBuffer;
use crate::stream::channel::Channel;
use crate::stream::map::Path;
use crate::time::{Time, micros, signed_micros};
use crate::wire::message::{Message, Reason, Subscribe, SubscribeReply, Token};

/// Maps that are enough to begin with, if so many partners are there.
const ENOUGH_MAPS: usize = 3;
/// How long to wait for more maps once one is there.
const MAP_PATIENCE: Duration = Duration::from_millis(150);
/// A newest block this far above the middle one of all maps is not believed.
pub(super) const OUTLIER: Duration = Duration::from_secs(5);
/// How long a parent that lagged is not asked again.
pub(super) const SHUN: Duration = Duration::from_secs(10);
/// No block for this long after the start: begin again elsewhere.
const FALSE_START: Duration = Duration::from_secs(3);
/// A sub-stream without a parent for this long is worth a warning.
const ORPHANED: Duration = Duration::from_secs(5);

impl Node {
    /// Begins, once enough partners told what they hold, or time is up.
    pub(super) fn try_start(&mut self, time_is_up: bool) {
        let Some(stream) = &self.stream else { return };
        if stream.buffer.is_some() || self.source.is_some() {
            return;
        }
        let Some(newest) = self.newest_of_maps() else {
            if time_is_up && !stream.wants_live {
                return self.start_in_past();
            }
            if time_is_up {
                self.warn_of_orphans();
                self.arm(Timer::Start, self.now + self.config.request_timeout);
            }
            return;
        };
        let waiting = self.dials.values().any(|(d, _)| matches!(d, Dial::Partner(_)))
            || self.partners.iter().any(|p| p.map.is_none());
        let tells = |p: &&Partner| p.map.as_ref().is_some_and(|m| m.newest().is_some());
        let heard = self.partners.iter().filter(|p| p.not_before <= self.now);
        let told = heard.filter(tells).count();
        if !time_is_up && told < ENOUGH_MAPS && waiting {
            return self.arm_by(Timer::Start, self.now + MAP_PATIENCE);
        }
        if !stream.wants_live {
            return self.start_in_past();
        }
        let channel = &stream.channel;
        let offset = self.join_offset(channel);
        let back = if offset.is_zero() { 0 } else { channel.blocks_in(offset) };
        // Nobody holds what came before the earliest window.
        let maps = self.partners.iter().filter_map(|p| p.map.as_ref());
        let held = maps.filter(|m| m.newest().is_some()).map(|m| m.start).min();
        let first = newest.minus(back).max(held.unwrap_or_default()).min(newest);
        self.timers.disarm(Timer::Start);
        self.begin(first, newest);
    }

    /// How far behind the newest block a viewer starts: a block of each sub-stream
    /// is there, or it could not tell how late each comes.
    pub(super) fn join_offset(&self, channel: &Channel) -> Duration {
        let offset = self.config.join_offset;
        if offset.is_zero() { offset } else { offset.max(channel.round()) }
    }

    /// The newest block that partners tell of; one far above the others' is not
    /// believed.
    pub(super) fn newest_of_maps(&self) -> Option<Seq> {
        let channel = &self.stream.as_ref()?.channel;
        // Who led us astray a moment ago has no say.
        let heard = self.partners.iter().filter(|p| p.not_before <= self.now);
        let mut newest: SmallVec<[Seq; 16]> =
            heard.filter_map(|p| p.map.as_ref()?.newest()).collect();
        newest.sort_unstable();
        let middle = *newest.get(newest.len().saturating_sub(1) / 2)?;
        let limit = middle.plus(channel.blocks_in(OUTLIER));
        newest.into_iter().rfind(|n| *n <= limit)
    }

    fn begin(&mut self, first: Seq, newest: Seq) {
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
        stream.began = now;
        stream.progress = now;
        if self.config.live == LiveStrategy::Pull {
            stream.feeds.live_after(newest);
        }
        if stream.rewind.is_none() {
            stream.playout.start_at(first);
            self.phase(Phase::Buffering);
            self.plays_from(first);
        }
        self.tick();
    }

    /// Partners as the choice of a parent sees them.
    pub(super) fn views<'a>(now: Time, partners: &'a Partnership, stream: &Stream) -> Views<'a> {
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
        let Some(stream) = &self.stream else { return };
        let (pace, idle) = (stream.pace, self.now.since(stream.progress));
        self.arm(Timer::Tick, self.now + pace.tick);
        let Some(stream) = &self.stream else { return };
        if stream.buffer.is_none() || self.source.is_some() {
            return;
        }
        if idle > FALSE_START.max(pace.round) && stream.progress == stream.began {
            return self.false_start();
        }
        match self.config.live {
            LiveStrategy::Push => {
                for j in 0..stream.channel.sub_streams() {
                    self.look_at(SubStream(j));
                }
                self.warn_of_orphans();
            }
            LiveStrategy::Tree => {
                self.keep_one_parent();
                self.warn_of_orphans();
            }
            LiveStrategy::Pull => self.pull_window(),
        }
        if self.config.repair {
            if self.config.live == LiveStrategy::Push {
                self.pull_gaps();
            }
            self.skip_unobtainable();
        }
    }

    /// What we were told of does not come: forget where we began, and who
    /// told us.
    fn false_start(&mut self) {
        let (now, start) = (self.now, self.stream.as_ref().and_then(|s| s.buffer.as_ref()));
        if let Some(start) = start.map(BlockBuffer::start) {
            let led = |p: &Partner| p.map.as_ref().and_then(|m| m.newest()) >= Some(start);
            // Where there is nobody else, it may as well have had no room for us.
            if self.partners.iter().any(|p| p.map.is_some() && !led(p)) {
                let astray = self.partners.iter_mut().filter(|p| led(p));
                astray.for_each(|p| p.not_before = now + SHUN);
            }
        }
        self.begin_again();
    }

    /// Leaves all parents and begins as after a join, in the same channel.
    pub(super) fn begin_again(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.source.is_none()) else { return };
        let s = stream.channel.sub_streams();
        let parents: SmallVec<[(SubStream, NodeId); 8]> =
            stream.feeds.iter().filter_map(|(sub, f)| Some((sub, f.parent?))).collect();
        // Nothing was begun yet if this comes twice in a row.
        let played = stream.playout.next().filter(|_| self.stats.startup.is_some());
        stream.played = played.or(stream.played);
        stream.buffer = None;
        stream.clock = StreamClock::new(stream.pace.round);
        stream.playout = Playout::new(&self.config);
        stream.feeds = Feeds::new(self.now, s, Path::NONE);
        stream.repair = Repair::default();
        stream.pull = Pull::default();
        stream.tree = Tree::default();
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
        let Reselection::Lag { .. } = self.config.reselection else {
            if self.config.paths && now >= feed.improve && !feed.path.is_live() {
                self.seek_better(sub, None, missing);
            }
            return;
        };
        let Pace { round, overdue, repair_after, .. } = stream.pace;
        if feed.brought.is_none() && now.since(feed.changed) > overdue + round {
            return self.leave_parent(sub, parent, missing);
        }
        // What others brought instead does not make it any better.
        let s = u64::from(stream.channel.sub_streams());
        let owed = feed.brought.map_or(missing, |brought| missing.min(brought.plus(s)));
        let expected = stream.clock.local(stream.channel.slot_end(owed));
        let late = expected.map_or(0, |t| now.diff_micros(t)) - feed.overdue_after(repair_after);
        if late > signed_micros(overdue)
            // A change of parents has its price: no need while it costs but time that there is.
            && late > signed_micros(stream.playout.delay().unwrap_or_default() / 2)
            && now >= feed.changed + self.config.cool_down
        {
            // Somebody else must be ahead of it, or it is not the parent's fault.
            let block = stream.channel.block();
            let views = Self::views(now, &self.partners, stream);
            let choice = select::best(&mut self.rng, sub, &views, block, None, |v| {
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
        } else if now >= feed.improve && (late <= 0 || !feed.path.is_live()) {
            let instead_of = feed.path.is_live().then_some(parent);
            self.seek_better(sub, instead_of, missing);
        }
    }

    /// Looks for a better parent than one that brings what it owes, now and then. If it
    /// has no way to the provider it may be one of a circle that lives on repairs: then
    /// anybody who has a way will do, `instead_of` nobody.
    fn seek_better(&mut self, sub: SubStream, instead_of: Option<NodeId>, missing: Seq) {
        let pause = self.rng.jitter(self.config.cool_down, 20);
        if let Some(feed) = self.stream.as_mut().and_then(|s| s.feeds.get_mut(sub)) {
            feed.improve = self.now + pause;
        }
        self.seek(sub, instead_of, missing);
    }

    /// A parent that took the subscription and never brought a block.
    fn leave_parent(&mut self, sub: SubStream, parent: NodeId, missing: Seq) {
        let Some(feed) = self.stream.as_mut().and_then(|s| s.feeds.get_mut(sub)) else { return };
        feed.parent = None;
        feed.path = Path::NONE;
        let granted = feed.changed;
        self.renew_block_link(parent, granted);
        if let Some(p) = self.partners.get_mut(parent) {
            p.not_before = self.now + SHUN;
        }
        self.stats.reselections += 1;
        self.tell(parent, &Message::Unsubscribe(sub));
        self.seek(sub, None, missing);
    }

    /// A block link on which nothing came since then may be gone for the other end
    /// alone, which would grant and never bring: the next blocks come on a new one.
    fn renew_block_link(&mut self, node: NodeId, since: Time) {
        let link = self.partners.get(node).and_then(|p| p.block_in);
        let is_mute = |link: &LinkId| {
            let of = self.links.get(*link);
            of.is_some_and(|l| l.heard <= since && l.partial <= Some(since))
        };
        if let Some(link) = link.filter(is_mute) {
            self.close(link, false);
            self.block_in_lost(node);
        }
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
            // One round behind is not behind: its next block is the one we miss.
            None => {
                let round = u64::from(stream.channel.sub_streams());
                missing.minus(stream.channel.blocks_in(OUTLIER).max(round))
            }
        };
        let allowed = |v: &View<'_>| {
            !stream.children.has(v.node, sub)
                && (v.is_new(sub) || v.reaches(now, least, sub, block))
        };
        let choice = match self.config.reselection {
            Reselection::Lag { .. } => {
                let delay = stream.playout.delay().unwrap_or_default();
                let instead_of = instead_of.map(|parent| (parent, delay));
                select::best(&mut self.rng, sub, &views, block, instead_of, allowed)
            }
            // Published: uniformly among those who are far enough along; where maps tell
            // of ways, among those who have one.
            Reselection::Inequalities { .. } if instead_of.is_none() => {
                let able = |v: &&View<'_>| {
                    let newest = v.map.entry(sub).and_then(|e| e.newest);
                    let good = match self.config.paths {
                        true => v.map.path(sub).is_live(),
                        false => newest.is_some_and(|n| n >= missing),
                    };
                    good && !v.shunned && allowed(v)
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
        if self.config.live != LiveStrategy::Push {
            return;
        }
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
                let way = !self.config.paths || v.map.path(sub).is_live();
                way && !stream.children.has(v.node, sub)
            });
        drop(views);
        if let Some(change) = change {
            let missing = buffer.first_missing(change.sub);
            self.subscribe(change.sub, change.to, missing);
        }
    }

    pub(super) fn subscribe(&mut self, sub: SubStream, node: NodeId, from: Seq) {
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
            // It comes too late: without a word it would push for ever what
            // nobody here expects.
            if reply.result.is_ok() && feed.parent != Some(node) {
                self.tell(node, &Message::Unsubscribe(reply.sub));
            }
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
                let old = feed.parent.replace(node);
                if old != Some(node) {
                    feed.brought = None;
                }
                let old = old.filter(|old| *old != node);
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
    pub(super) fn want_blocks(&mut self, node: NodeId) {
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
        self.resume(node);
    }

    /// Says again what is taken from a parent, or was asked of it: what was said before,
    /// or answered, can be lost with its link.
    pub(super) fn resume(&mut self, node: NodeId) {
        let (now, window) = (self.now, self.config.buffer);
        let Some(stream) = &mut self.stream else { return };
        let Some(buffer) = &stream.buffer else { return };
        // What came on a block link that stands came in order.
        let stands = self.partners.get(node).is_some_and(|p| p.block_in.is_some());
        let s = u64::from(stream.channel.sub_streams());
        let mut all: SmallVec<[Subscribe; 8]> = SmallVec::new();
        for (sub, feed) in stream.feeds.iter_mut() {
            let asked = feed.asked.as_mut().filter(|asked| asked.node == node);
            if asked.is_none() && feed.parent != Some(node) {
                continue;
            }
            asked.into_iter().for_each(|asked| asked.at = now);
            let missing = buffer.first_missing(sub);
            let brought = feed.brought.filter(|_| stands && feed.parent == Some(node));
            let from = brought.map_or(missing, |brought| missing.max(brought.plus(s)));
            all.push(Subscribe { sub, from, window });
        }
        if all.is_empty() {
            return;
        }
        self.want_blocks(node);
        for subscribe in all {
            self.tell(node, &Message::Subscribe(subscribe));
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
            let leads = self.partners.iter().any(|p| p.leads_to_provider(self.lately()));
            let warning = match self.config.paths && !leads {
                true => Warning::NoProvider,
                false => Warning::NoUpload,
            };
            self.notify(Notice::Warning(warning));
        }
    }
}
