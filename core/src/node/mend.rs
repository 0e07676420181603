//! Mending: gaps are pulled from partners, and what nobody has is given up.

use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{NodeId, Seq};
use crate::live::pace::Pace;
use crate::node::{Node, TICK};
use crate::partnership::Partner;
use crate::time::signed_micros;
use crate::wire::message::Message;

/// A block this overdue that the provider no longer has, and every partner
/// denies to have, is given up.
const UNOBTAINABLE: Duration = Duration::from_secs(1);
/// What a parent brings late is not pulled sooner than this before it is to be
/// played, or than a repair takes: time for three tries where blocks are short, and
/// for one where they are long. Who pulls at once where uplinks are full has it
/// brought twice, and that is what fills them.
const DEADLINE: Duration = Duration::from_secs(2);
/// Gaps asked for in one look.
const MAX_GAPS: usize = 64;

impl Node {
    /// How long it takes to notice a gap, ask a partner and have the answer,
    /// or, where a link was reset, to open it again.
    pub(super) fn repair_time(&self) -> Duration {
        if !self.config.repair {
            return Duration::ZERO;
        }
        let slowest = self.partners.iter().filter(|p| p.block_in.is_some()).map(|p| p.rtt()).max();
        let Some(Pace { repair_after, max_repair, .. }) = self.stream.as_ref().map(|s| s.pace)
        else {
            return Duration::ZERO;
        };
        (repair_after + slowest.unwrap_or_default() * 2 + TICK).min(max_repair)
    }

    /// Asks partners for blocks that should be here and are not.
    pub(super) fn pull_gaps(&mut self) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let Some(buffer) = &stream.buffer else { return };
        let (channel, s) = (&stream.channel, stream.channel.sub_streams());
        let next = stream.playout.next().unwrap_or(buffer.start());
        stream.repair.forget_before(next);
        let Pace { repair_after, answer, max_repair, .. } = stream.pace;
        let delay = stream.playout.delay().unwrap_or_default();
        let at_ease = signed_micros(delay.saturating_sub(DEADLINE.max(max_repair)));
        let mut gaps: SmallVec<[Seq; MAX_GAPS]> = SmallVec::new();
        for (sub, feed) in stream.feeds.iter() {
            let slack = feed.overdue_after(repair_after);
            let mut seq = buffer.first_missing(sub).max(next.align(sub, s));
            let others = gaps.len();
            while gaps.len() < others + MAX_GAPS {
                let expected = stream.clock.local(channel.slot_end(seq));
                // Its parent brought a later block: TCP keeps order, so this one was
                // left out.
                let passed = feed.brought > Some(seq);
                let patience = match feed.parent {
                    Some(_) if passed => 0,
                    Some(_) => slack.max(at_ease),
                    None => slack,
                };
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
        if gaps.is_empty() {
            return;
        }
        // What is played first, of whatever sub-stream.
        gaps.sort_unstable();
        gaps.truncate(MAX_GAPS);
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
            let patience = p.rtt() * trips + answer;
            // The more were asked in vain, the longer the queues are.
            Some((p.member.node, patience * (1 + tried.len().min(2) as u32)))
        };
        let asks = stream.repair.plan(now, gaps.into_iter(), choose);
        for (node, seqs) in asks {
            self.tell(node, &Message::Pull(seqs));
            self.want_blocks(node);
        }
    }

    /// A partner does not have what it was asked for. That its map promised it is no lie:
    /// what it has given up lies within what a map tells, and its window slides on.
    pub(super) fn on_dont_have(&mut self, node: NodeId, seqs: &[Seq]) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        for &seq in seqs {
            stream.repair.refused(now, seq, node);
        }
        self.tick_soon();
    }

    /// Gives up early on what nobody around us has: the provider was away, or
    /// we were for longer than anybody's window.
    pub(super) fn skip_unobtainable(&mut self) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let (Some(buffer), Some(next)) = (&mut stream.buffer, stream.playout.next()) else {
            return;
        };
        let due = stream.clock.local(stream.channel.slot_end(next));
        let round = stream.pace.round;
        if !buffer.is_missing(next) || due.is_none_or(|t| now < t + UNOBTAINABLE.max(round)) {
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
        if !certain && due.is_none_or(|t| now < t + (self.config.give_up / 3).max(round)) {
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
}
