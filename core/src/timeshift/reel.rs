//! Play-out of the past: at the pace of stream time, from a moment of the
//! viewer's choice.

use core::time::Duration;

use crate::config::Config;
use crate::event::{Delivery, Phase};
use crate::id::Seq;
use crate::live::playout::Step;
use crate::stats::Stats;
use crate::stream::buffer::BlockBuffer;
use crate::stream::channel::Channel;
use crate::time::{Time, signed_micros};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The viewer wants it to stand still.
    Paused,
    /// Waiting for enough to begin with.
    Buffering,
    /// A slot starts here this many microseconds after it started at the provider.
    Playing(i64),
    /// The next block is late since then.
    Stalled(Time),
}

/// Where a viewer stands in the past, and how it moves on.
#[derive(Debug)]
pub(crate) struct Reel {
    next: Seq,
    /// Whether nothing was handed over yet.
    fresh: bool,
    /// What is missing before this was never made.
    void: Seq,
    state: State,
    start_buffer: Duration,
    give_up: Duration,
}

impl Reel {
    /// Plays from `next` on, once there is enough.
    pub(crate) fn new(config: &Config, next: Seq) -> Self {
        let Config { start_buffer, give_up, .. } = *config;
        let (fresh, void, state) = (true, Seq(0), State::Buffering);
        Self { next, fresh, void, state, start_buffer, give_up }
    }

    /// The next block to play.
    pub(crate) fn next(&self) -> Seq {
        self.next
    }

    /// Whether nothing was handed over yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// What is missing before `end` was never made: it is not lost.
    pub(crate) fn void(&mut self, end: Seq) {
        self.void = self.void.max(end);
    }

    /// Stands still until [`play`](Self::play).
    pub(crate) fn pause(&mut self) {
        self.state = State::Paused;
    }

    /// Goes on after a pause; nothing is left out.
    pub(crate) fn play(&mut self) {
        if self.state == State::Paused {
            self.state = State::Buffering;
        }
    }

    /// Everything is due so much later.
    pub(crate) fn slip(&mut self, by: Duration) {
        if let State::Playing(offset) = &mut self.state {
            *offset = offset.saturating_add(signed_micros(by));
        }
    }

    /// When a block is due; `None` while there is no hurry yet.
    pub(crate) fn due(&self, channel: &Channel, seq: Seq) -> Option<Time> {
        match self.state {
            State::Playing(offset) => Some(channel.slot_start(seq).offset(offset)),
            State::Stalled(since) => {
                Some(since + channel.slot_start(seq).since(channel.slot_start(self.next)))
            }
            State::Paused | State::Buffering => None,
        }
    }

    /// What to do now; ask again after every step, and when a block came.
    pub(crate) fn poll(
        &mut self,
        now: Time,
        channel: &Channel,
        buffer: &BlockBuffer,
        stats: &mut Stats,
    ) -> Step {
        if self.state == State::Paused {
            return Step::Wait(None);
        }
        let next = self.next;
        if !buffer.is_missing(next) && !buffer.holds(next) {
            return self.skip_to(next.plus(1), channel, stats);
        }
        match self.state {
            State::Paused => Step::Wait(None),
            State::Buffering | State::Stalled(_)
                if self.is_ready(channel, buffer)
                    || self.waited_enough(now) && buffer.holds(next) =>
            {
                stats.late += u64::from(self.state != State::Buffering);
                self.state = State::Playing(now.diff_micros(channel.slot_start(next)));
                Step::Enter(Phase::Playing)
            }
            State::Buffering => Step::Wait(None),
            State::Playing(offset) => {
                let due = channel.slot_start(next).offset(offset);
                if now < due {
                    return Step::Wait(Some(due));
                }
                let Some(block) = buffer.get(next) else {
                    self.state = State::Stalled(now);
                    return Step::Enter(Phase::Stalled);
                };
                let payload = block.payload();
                stats.due += 1;
                stats.on_time += 1;
                stats.payload += payload.len() as u64;
                self.next = next.plus(1);
                self.fresh = false;
                let slot = channel.slot_start(next);
                Step::Deliver(Delivery { seq: next, due: Some(due), slot, payload })
            }
            State::Stalled(since) => {
                let over = since + self.give_up;
                let mut later = (1..buffer.capacity()).map(|n| next.plus(n));
                match later.find(|seq| buffer.holds(*seq)) {
                    Some(held) if self.waited_enough(now) => self.skip_to(held, channel, stats),
                    _ => Step::Wait((now < over).then_some(over)),
                }
            }
        }
    }

    /// A stall lasts no longer: it goes on with whatever is there.
    fn waited_enough(&self, now: Time) -> bool {
        matches!(self.state, State::Stalled(since) if now >= since + self.give_up)
    }

    fn is_ready(&self, channel: &Channel, buffer: &BlockBuffer) -> bool {
        (0..channel.blocks_in(self.start_buffer)).all(|n| {
            let seq = self.next.plus(n);
            n > 0 && !buffer.is_missing(seq) || buffer.holds(seq)
        })
    }

    /// Leaves out what will not come. Its time is left out with it: nobody
    /// wants to watch a gap.
    fn skip_to(&mut self, until: Seq, channel: &Channel, stats: &mut Stats) -> Step {
        let gone = until.0.saturating_sub(self.next.max(self.void).0);
        stats.due += gone;
        stats.lost += gone;
        stats.shift.lost += gone;
        if let State::Playing(offset) = &mut self.state {
            let gap = channel.slot_start(until).since(channel.slot_start(self.next));
            *offset = offset.saturating_sub(signed_micros(gap));
        }
        self.next = until;
        Step::Lost(until.minus(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::block::Block;
    use crate::stream::channel::tests_support::channel;
    use crate::stream::sign::{PublicKey, Signature};

    #[test]
    fn after_a_long_stall_blocks_that_come_in_order_are_all_played() {
        let config = Config::default();
        let channel = channel(PublicKey([1; 32]));
        let capacity = channel.blocks_in(Duration::from_secs(60));
        let mut buffer = BlockBuffer::new(Seq(0), channel.sub_streams(), capacity);
        let insert = |buffer: &mut BlockBuffer, seq| {
            buffer.insert(Block::new(Seq(seq), &Signature([0; 64]), b"payload"));
        };
        let mut reel = Reel::new(&config, Seq(0));
        let mut stats = Stats::default();
        let mut played = |now, buffer: &BlockBuffer| {
            let mut seqs = alloc::vec::Vec::new();
            loop {
                match reel.poll(now, &channel, buffer, &mut stats) {
                    Step::Deliver(delivery) => seqs.push(delivery.seq.0),
                    Step::Wait(_) => return (seqs, stats.lost),
                    _ => {}
                }
            }
        };
        let begin = channel.blocks_in(config.start_buffer);
        (0..begin).for_each(|seq| insert(&mut buffer, seq));
        let start = Time::from_secs(1_000);
        played(start, &buffer);
        let stalled = start + config.start_buffer * 2;
        assert_eq!(played(stalled, &buffer).1, 0);
        // One at a time, long after.
        let late = stalled + config.give_up + Duration::from_secs(1);
        for n in 0..50 {
            let now = late + channel.block().saturating_mul(n as u32);
            insert(&mut buffer, begin + n);
            assert_eq!(played(now, &buffer), (alloc::vec![begin + n], 0));
        }
    }
}
