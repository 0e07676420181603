//! The parent side: who subscribes, who pulls, what is pushed to whom.

use core::time::Duration;

use smallvec::SmallVec;

use crate::config::LiveStrategy;
use crate::id::{NodeId, Seq, SubStream};
use crate::live::children::{Child, Load};
use crate::node::{Dial, Node, REVIEW, Stream, Timer};
use crate::partnership::MAX_ASKED;
use crate::stream::block::Block;
use crate::time::micros;
use crate::wire::message::{Message, Reason, Refused, Subscribe, SubscribeReply, Token};

/// A child whose blocks have queued in so many reviews in a row, two seconds,
/// gets more than fits.
const STUCK: u32 = 8;
/// And so many where no more than a whole stream is served: there is little to give away.
const STUCK_FEW: u32 = 2 * STUCK;
/// If it is the only one, it may have a slow downlink, and is given eight seconds.
const STUCK_ALONE: u32 = 4 * STUCK;
/// A reader that takes nothing for this long, or S·D if that is longer, has
/// stopped; one behind a busy uplink gets its turn sooner.
const NOT_READING: Duration = Duration::from_millis(500);
/// A queue that stands for longer is no burst, however long a round is.
const LONGEST_BURST: Duration = Duration::from_millis(500);
/// Tokens that one partner may hold.
const MAX_TOKENS: usize = 4;

impl Node {
    pub(super) fn on_subscribe(&mut self, node: NodeId, subscribe: Subscribe) {
        // What it could use longer than we keep it, it gets from others.
        let window = subscribe.window.min(self.config.buffer);
        let subscribe = Subscribe { window, ..subscribe };
        let Subscribe { sub, from, .. } = subscribe;
        let result = self.admit(node, subscribe).map_err(|reason| self.refused(node, reason));
        let accepted = result.is_ok();
        self.tell(node, &Message::SubscribeReply(SubscribeReply { sub, result }));
        if !accepted {
            return;
        }
        let Some(p) = self.partners.get_mut(node) else { return };
        p.refused = 0;
        match p.block_out {
            Some(_) => self.push_held(node, sub, from, window),
            None => self.offer_token_once(node),
        }
    }

    fn admit(&mut self, node: NodeId, subscribe: Subscribe) -> Result<(), Reason> {
        let Subscribe { sub, from, window } = subscribe;
        let is_source = self.source.is_some();
        let Some(stream) = &mut self.stream else { return Err(Reason::NoSource) };
        let way = stream.feeds.get(sub).is_some_and(|f| f.path.is_live());
        let able = stream.buffer.is_some() && (is_source || !self.config.paths || way);
        // Who is served already waits with us for a way.
        if !able && !stream.children.has(node, sub) {
            return Err(Reason::NoSource);
        }
        // Each other's parent for one sub-stream: neither would get a block.
        if stream.feeds.get(sub).is_some_and(|f| f.expects(node) && f.former != Some(node)) {
            return Err(Reason::NoSource);
        }
        let child = Child { node, from, window: stream.channel.blocks_in(window) };
        let result = stream.children.admit(sub, child);
        if result == Err(Reason::Full) {
            let map = self.partners.get(node).and_then(|p| p.map.as_ref());
            // The published map does not tell who has a parent.
            let tells = map.filter(|map| !map.paths.is_empty());
            stream.children.make_room(tells.is_some_and(|map| map.path(sub).is_live()));
        }
        // A sub-stream that nobody has of the provider is nowhere: its viewers feed
        // each other in a circle.
        if result == Err(Reason::Full)
            && is_source
            && self.config.repair
            && let Some((other, its)) = stream.children.admit_first(sub, child)
        {
            self.send_elsewhere(other, its);
            return Ok(());
        }
        result
    }

    fn refused(&mut self, node: NodeId, reason: Reason) -> Refused {
        let doublings = self.partners.get_mut(node).map_or(0, |p| {
            p.refused = p.refused.saturating_add(1);
            // Eight sub-streams are asked for at once; they are one try.
            (p.refused / 8).min(5)
        });
        let retry_after = self.rng.jitter(self.config.retry * (1 << doublings), 25);
        let referrals = match reason {
            Reason::Full => self.referrals(node),
            _ => SmallVec::new(),
        };
        Refused { reason, retry_after, referrals }
    }

    pub(super) fn on_unsubscribe(&mut self, node: NodeId, sub: SubStream) {
        self.end_subscription(node, sub);
        self.tell(node, &Message::UnsubscribeReply(sub));
    }

    /// A child takes a sub-stream from us no more. Its maps say so, too (New
    /// Coolstreaming, the second half of the tuple): an un-subscription can be lost
    /// with its link, and we would push for good what nobody expects.
    pub(super) fn end_subscription(&mut self, node: NodeId, sub: SubStream) {
        let removed = self.stream.as_mut().is_some_and(|s| s.children.remove(node, sub));
        if removed {
            self.take_back(node, sub);
        }
    }

    /// What waits for a child that looks elsewhere is dead weight.
    fn take_back(&mut self, node: NodeId, sub: SubStream) {
        let Some(s) = self.stream.as_ref().map(|s| s.channel.sub_streams()) else { return };
        if let Some(link) = self.partners.get(node).and_then(|p| p.block_out) {
            self.links.take_back(link, sub, s);
        }
    }

    /// Many requests at once are worth one token.
    fn offer_token_once(&mut self, node: NodeId) {
        let limit = self.config.request_timeout / 4;
        if self.partners.get(node).is_some_and(|p| self.now.since(p.offered_at) > limit) {
            self.offer_token(node);
        }
    }

    /// Gives a partner a word with which to open a block link to us.
    pub(super) fn offer_token(&mut self, node: NodeId) {
        let token = Token(self.rng.next_u64());
        let Some(p) = self.partners.get_mut(node) else { return };
        if p.offered.len() >= MAX_TOKENS {
            p.offered.remove(0);
        }
        p.offered.push(token);
        p.offered_at = self.now;
        self.tell(node, &Message::BlockLink(token));
    }

    /// The child could not reach us: we open the block link.
    pub(super) fn on_dial_back(&mut self, node: NodeId, token: Token) {
        let Some(p) = self.partners.get_mut(node) else { return };
        if let Some(at) = p.offered.iter().position(|t| *t == token) {
            p.offered.remove(at);
            let addr = p.member.addr;
            self.dial(Dial::BlockOut(node, token), addr);
        }
    }

    /// The block link to a child is gone; it will want another.
    pub(super) fn block_out_lost(&mut self, node: NodeId) {
        if let Some(p) = self.partners.get_mut(node) {
            p.block_out = None;
        }
        if !self.config.repair
            && let Some(stream) = &mut self.stream
        {
            stream.children.remove_all(node);
        }
    }

    /// A block link to a child stands: push what it subscribed to, and send what it
    /// asked for.
    pub(super) fn serve_all(&mut self, node: NodeId) {
        let Some(stream) = &self.stream else { return };
        let wanted: SmallVec<[(SubStream, Child); 8]> =
            stream.children.subscriptions(node).map(|(sub, c)| (sub, *c)).collect();
        let block = stream.channel.block();
        for (sub, child) in wanted {
            let window = u32::try_from(child.window).unwrap_or(u32::MAX);
            self.push_held(node, sub, child.from, block * window);
        }
        self.wait_in_turn(node);
    }

    /// Pushes what is held of a sub-stream from a block on.
    fn push_held(&mut self, node: NodeId, sub: SubStream, from: Seq, window: Duration) {
        let useful = self.useful(window);
        let Some(buffer) = self.stream.as_ref().and_then(|s| s.buffer.as_ref()) else { return };
        let Some(p) = self.partners.get_mut(node) else { return };
        let Some(link) = p.block_out else { return };
        for block in buffer.held_from(sub, from.max(useful)) {
            self.stats.blocks_dropped += self.links.push(self.now, link, block, useful);
            p.sent += 1;
        }
    }

    /// The oldest block that a child with this window can still use.
    fn useful(&self, window: Duration) -> Seq {
        let Some(stream) = &self.stream else { return Seq(0) };
        self.newest(stream).map_or(Seq(0), |n| n.minus(stream.channel.blocks_in(window)))
    }

    /// Where the live edge is. After the provider's clock stood still ours may be far
    /// ahead: then it is where blocks come in.
    fn newest(&self, stream: &Stream) -> Option<Seq> {
        let edge = stream.channel.seq_at(stream.clock.stream(self.now)?);
        Some(stream.buffer.as_ref().map_or(edge, |buffer| edge.min(buffer.end())))
    }

    /// A new block goes to every child of its sub-stream.
    pub(super) fn push_to_children(&mut self, block: &Block, sub: SubStream, from: Option<NodeId>) {
        let Some(stream) = &self.stream else { return };
        let newest = self.newest(stream);
        for child in stream.children.of(sub) {
            if child.from > block.seq() || Some(child.node) == from {
                continue;
            }
            if let Some(p) = self.partners.get_mut(child.node)
                && let Some(link) = p.block_out
            {
                let useful = newest.map_or(Seq(0), |n| n.minus(child.window));
                self.stats.blocks_dropped += self.links.push(self.now, link, block, useful);
                p.sent += 1;
            }
        }
    }

    /// Notes which blocks a partner wants, and denies those that are not here. What
    /// is too much to remember it asks others for, when no answer comes.
    pub(super) fn on_pull(&mut self, node: NodeId, seqs: &[Seq]) {
        let now = self.now;
        let patience = self.pull_patience();
        let Some(p) = self.partners.get_mut(node) else { return };
        p.asked.retain(|(_, at)| now.since(*at) <= patience);
        let buffer = self.stream.as_ref().and_then(|s| s.buffer.as_ref());
        let mut denied = SmallVec::new();
        for &seq in seqs {
            if buffer.is_none_or(|b| !b.holds(seq)) {
                denied.push(seq);
            } else {
                p.ask(now, seq);
            }
        }
        let (any, open) = (denied.len() < seqs.len(), p.block_out.is_some());
        if !denied.is_empty() {
            self.tell(node, &Message::DontHave(denied));
        }
        if any && open {
            self.wait_in_turn(node);
        } else if any {
            self.offer_token_once(node);
        }
    }

    /// How long who pulled a block may wait for it: somebody else was asked then.
    /// Where nothing is pushed all wait, and nobody asks again so soon.
    fn pull_patience(&self) -> Duration {
        match self.config.live {
            LiveStrategy::Pull => self.config.request_timeout,
            _ => self.queue_limit() * 4,
        }
    }

    /// What may wait for this long is no overload: a block takes its time.
    fn queue_limit(&self) -> Duration {
        let block = self.stream.as_ref().map_or(Duration::ZERO, |s| s.channel.block());
        self.config.queue_limit.max(block)
    }

    fn wait_in_turn(&mut self, node: NodeId) {
        let asked = self.partners.get(node).is_some_and(|p| !p.asked.is_empty());
        if let Some(stream) = self.stream.as_mut().filter(|_| asked)
            && !stream.pulling.contains(&node)
        {
            stream.pulling.push_back(node);
        }
    }

    /// Sends blocks that were pulled, a few whenever the uplink pauses: what is
    /// pushed comes first. Where all is pulled there is nothing else to wait for.
    pub(super) fn answer_pulls(&mut self) {
        let all_pulled = self.config.live == LiveStrategy::Pull;
        let (limit, patience) = (self.queue_limit(), self.pull_patience());
        let Some(stream) = &mut self.stream else { return };
        while let Some(&node) = stream.pulling.front() {
            let may = || !stream.children.is_behind() && self.links.may_answer(self.now, patience);
            if !all_pulled && !may() {
                return;
            }
            stream.pulling.pop_front();
            let Some(p) = self.partners.get_mut(node) else { continue };
            let Some(link) = p.block_out else { continue };
            // Behind a queue an answer comes too late; where all is pulled the queue
            // is made of answers, and a reader that has stopped costs no more of them.
            let late = if all_pulled {
                self.links.waiting(link) >= MAX_ASKED
            } else {
                self.links.waiting_since(link).is_some_and(|t| self.now.since(t) > limit)
            };
            while let Some((seq, at)) = p.asked.pop_front() {
                let block = stream.buffer.as_ref().and_then(|b| b.get(seq));
                let fits = |b: &&Block| self.links.takes(link, b);
                let wanted = !late && self.now.since(at) <= patience;
                let Some(block) = block.filter(|_| wanted).filter(fits) else { continue };
                self.stats.blocks_dropped += self.links.push(self.now, link, block, Seq(0));
                self.links.answered(self.now);
                p.sent += 1;
                break;
            }
            if !p.asked.is_empty() {
                stream.pulling.push_back(node);
            }
        }
    }

    /// Looks back on how the children were served, and sets the budget.
    pub(super) fn review(&mut self) {
        self.arm(Timer::Review, self.now + REVIEW);
        let limit = self.queue_limit();
        let Some(stream) = &mut self.stream else { return };
        let stuck_after = NOT_READING.max(stream.pace.round);
        // A round brings a block of each sub-stream: children of the same one wait
        // for each other, and that queue is gone before the next.
        let burst = limit.max(stream.pace.round.min(LONGEST_BURST));
        let mut load = Load::default();
        let mut stuck: SmallVec<[NodeId; 8]> = SmallVec::new();
        let mut lasting = false;
        let few = stream.children.len() <= usize::from(stream.channel.sub_streams());
        let stuck_for = if few { STUCK_FEW } else { STUCK };
        for p in self.partners.iter_mut().filter(|p| stream.children.has_any(p.member.node)) {
            let Some(link) = p.block_out else { continue };
            let Some((delay, standing)) = self.links.take_delay(self.now, link, stuck_after) else {
                continue;
            };
            let delay = if standing > burst { delay } else { Duration::ZERO };
            load.active += 1;
            load.queued += usize::from(delay > limit);
            load.busy |= delay > limit / 3;
            p.behind = if delay > limit { p.behind.saturating_add(1) } else { 0 };
            if p.behind >= stuck_for {
                lasting |= self.config.repair && p.behind.is_multiple_of(STUCK_ALONE);
                stuck.push(p.member.node);
            }
        }
        let cap = self.config.max_upload.and_then(|cap| {
            let buffer = stream.buffer.as_ref()?;
            let span = buffer.end().0.saturating_sub(buffer.start().0).max(1);
            // Bytes a second of one sub-stream.
            let bytes = (buffer.bytes() as u64).checked_mul(1_000_000)?
                / span
                / micros(stream.channel.block()).max(1)
                / u64::from(stream.channel.sub_streams());
            (bytes > 0).then(|| usize::try_from(cap / bytes).unwrap_or(usize::MAX))
        });
        let shed = stream.children.review(load, cap);
        // Where most are late it is the uplink, which then never pauses.
        if load.queued * 2 <= load.active {
            self.links.pass_over(self.now, burst);
        }
        for _ in 0..shed {
            let Some((node, sub)) = self.stream.as_mut().and_then(|s| s.children.shed()) else {
                return;
            };
            self.send_elsewhere(node, sub);
        }
        // Links share an uplink by turns: when it is full, those who want the
        // most of it fall behind, for ever and all that they feed with them,
        // while the many who want little notice nothing.
        let several = stuck.len() >= 2;
        if shed == 0 && (several || lasting && !few) {
            // What nobody has of the provider is nowhere.
            let least = if self.source.is_some() { 2 } else { 1 };
            for node in stuck {
                let sub = self.stream.as_mut().and_then(|s| s.children.shed_from(node, least));
                sub.into_iter().for_each(|sub| self.send_elsewhere(node, sub));
            }
            // One alone may read slowly, and is no reason to take less.
            if several && let Some(stream) = &mut self.stream {
                stream.children.hold();
            }
        }
    }

    /// A refusal that comes late: the child looks for another parent.
    fn send_elsewhere(&mut self, node: NodeId, sub: SubStream) {
        self.take_back(node, sub);
        let result = Err(self.refused(node, Reason::Full));
        self.tell(node, &Message::SubscribeReply(SubscribeReply { sub, result }));
    }
}
