//! Play-out: blocks leave in order. Late means stall, not skip: the play-out
//! clock slips, then recovers by at most 5 %. A block is lost only after
//! `give_up`.

use core::time::Duration;

use crate::config::{Config, PlayoutDelay};
use crate::event::{Delivery, Phase};
use crate::id::Seq;
use crate::live::clock::StreamClock;
use crate::live::recent::Recent;
use crate::stats::Stats;
use crate::stream::buffer::BlockBuffer;
use crate::stream::channel::Channel;
use crate::time::{Time, micros, signed_micros};

/// How much faster than real time play-out may run to catch up: 1/20.
const CATCH_UP: i64 = 20;
/// The delay to begin with is at most this, until experience asks for more.
const MAX_MARGIN: Duration = Duration::from_secs(1);
/// Seconds of arrivals that the automatic delay looks back on.
const MEMORY: usize = 60;
/// The automatic delay is at least this much longer than the latest block needed:
/// the stream clock is slewed by 15 ms in its window, and with it all that is due.
const LEAST_MARGIN: Duration = Duration::from_millis(20);

/// What play-out wants next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Hand this over, then ask again.
    Deliver(Delivery),
    /// This block was given up; ask again.
    Lost(Seq),
    /// Play-out entered another phase; ask again.
    Enter(Phase),
    /// Nothing to do until then, or until a block comes.
    Wait(Option<Time>),
}

/// The play-out clock of one viewer.
#[derive(Debug)]
pub(crate) struct Playout {
    mode: PlayoutDelay,
    give_up: Duration,
    start_buffer: Duration,
    next: Option<Seq>,
    phase: Phase,
    /// How far play-out is behind the stream clock, in microseconds.
    lag: i64,
    /// The longest delay that a stall may leave behind: half the window, or the
    /// window slides on over what is to be played.
    most: i64,
    /// Longest (arrival − earliest possible arrival) of each second, in microseconds.
    needed: Recent<MEMORY>,
    /// Since when blocks come in while the first one to play is missing.
    blocked: Option<Time>,
    /// The next block ended a stall, so it is late.
    late: bool,
}

impl Playout {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            mode: config.playout_delay,
            give_up: config.give_up,
            start_buffer: config.start_buffer,
            next: None,
            phase: Phase::Joining,
            lag: 0,
            most: signed_micros(config.buffer / 2),
            needed: Recent::default(),
            blocked: None,
            late: false,
        }
    }

    /// Play from `first` on.
    pub(crate) fn start_at(&mut self, first: Seq) {
        self.next = Some(first);
        self.phase = Phase::Buffering;
    }

    /// Whether it goes on and waits for nothing.
    pub(crate) fn is_playing(&self) -> bool {
        self.phase == Phase::Playing
    }

    /// The next block to play.
    pub(crate) fn next(&self) -> Option<Seq> {
        self.next
    }

    /// How far play-out is behind the stream clock, once it runs.
    pub(crate) fn delay(&self) -> Option<Duration> {
        matches!(self.phase, Phase::Playing | Phase::Stalled)
            .then(|| Duration::from_micros(self.lag.max(0).unsigned_abs()))
    }

    /// A live block came in for the first time; `earliest` is when it could
    /// have been here at best.
    pub(crate) fn arrived(&mut self, now: Time, earliest: Time) {
        self.needed.note(now, now.diff_micros(earliest), i64::max);
    }

    /// The stream clock was stepped: what is due stays where it was, and
    /// catches up from there.
    pub(crate) fn clock_stepped(&mut self, by: i64) {
        if matches!(self.phase, Phase::Playing | Phase::Stalled) {
            self.lag = self.lag.saturating_sub(by);
        }
        if by > 0 {
            // What was late by the old clock is not late by the new one.
            self.needed = Recent::default();
        }
    }

    /// The delay that the mode asks for now.
    fn target(&self, now: Time, repair: Duration) -> i64 {
        match self.mode {
            PlayoutDelay::Auto => {
                let longest = self.needed.values(now).max();
                let margin = signed_micros(repair.max(LEAST_MARGIN));
                (longest.unwrap_or(0).max(0) + margin).min(self.most)
            }
            PlayoutDelay::Fixed(delay) => signed_micros(delay),
            PlayoutDelay::AsStarted => self.lag,
            PlayoutDelay::None => 0,
        }
    }

    /// What to do now. `repair` is how long a repair round trip takes.
    pub(crate) fn poll(
        &mut self,
        now: Time,
        channel: &Channel,
        buffer: &mut BlockBuffer,
        clock: &mut StreamClock,
        repair: Duration,
        stats: &mut Stats,
    ) -> Step {
        let Some(next) = self.next else { return Step::Wait(None) };
        if next < buffer.start() {
            // The window slid on without us: what it left behind is lost.
            self.lag = self.lag.min(self.most);
            return self.lose_until(buffer.start(), buffer, stats);
        }
        let Some(earliest) = clock.local(channel.slot_end(next)) else { return Step::Wait(None) };
        if self.phase == Phase::Buffering {
            return self.try_start(now, channel, buffer, clock, repair);
        }
        let due = earliest.offset(self.lag);
        if buffer.holds(next) {
            if self.phase == Phase::Stalled {
                self.phase = Phase::Playing;
                self.lag = self.lag.saturating_add(now.diff_micros(due).max(0));
                self.late = self.mode != PlayoutDelay::None;
                return Step::Enter(Phase::Playing);
            }
            // Nothing is lost for having been there too long.
            let early = self.mode != PlayoutDelay::None && now < due;
            if early && !buffer.is_leaving(next) {
                return Step::Wait(Some(due));
            }
            return self.deliver(now, next, channel, buffer, clock, earliest, repair, stats);
        }
        let deadline = due + self.give_up;
        let reach = buffer.end().0.saturating_sub(next.0);
        let mut later = (1..=reach).map(|n| next.plus(n));
        let held = if now >= deadline { later.find(|seq| buffer.holds(*seq)) } else { None };
        // A delay that follows what comes has nothing to follow while nothing does:
        // nothing is late then, and the next block says how late all are.
        let follows = matches!(self.mode, PlayoutDelay::Auto | PlayoutDelay::None);
        if now >= deadline && (held.is_some() || !follows) {
            // All whose time is over at once, up to the first that is here.
            let over = micros(now.since(deadline)) / micros(channel.block()).max(1);
            let until = next.plus(over.saturating_add(1));
            let until = held.map_or(until, |held| held.min(until));
            return self.lose_until(until, buffer, stats);
        }
        if self.phase == Phase::Playing && now >= due + self.patience() {
            self.phase = Phase::Stalled;
            return Step::Enter(Phase::Stalled);
        }
        let stall = (self.phase == Phase::Playing).then(|| due + self.patience());
        Step::Wait(stall.into_iter().chain([deadline]).filter(|at| *at > now).min())
    }

    /// Gives up every block before `until` although its time is not over:
    /// nobody has it.
    pub(crate) fn skip_to(&mut self, until: Seq, buffer: &mut BlockBuffer, stats: &mut Stats) {
        if self.next.is_some_and(|next| next < until) {
            self.lose_until(until, buffer, stats);
        }
    }

    /// Without a play-out clock a block that is not there is not late; a
    /// second later the player can be said to stall.
    fn patience(&self) -> Duration {
        match self.mode {
            PlayoutDelay::None => Duration::from_secs(1),
            _ => Duration::ZERO,
        }
    }

    fn try_start(
        &mut self,
        now: Time,
        channel: &Channel,
        buffer: &BlockBuffer,
        clock: &StreamClock,
        repair: Duration,
    ) -> Step {
        let Some(next) = self.next else { return Step::Wait(None) };
        let Some(highest) = buffer.highest() else { return Step::Wait(None) };
        let want = match self.mode {
            PlayoutDelay::None => 1,
            _ => channel.blocks_in(self.start_buffer),
        };
        let ready = (0..want).all(|n| buffer.holds(next.plus(n)));
        if ready {
            self.phase = Phase::Playing;
            let earliest = self.nearer(now, channel, buffer, clock, want, repair);
            self.lag = match self.mode {
                PlayoutDelay::None => 0,
                PlayoutDelay::AsStarted => now.diff_micros(earliest),
                _ => now.diff_micros(earliest).max(self.target(now, repair)),
            };
            return Step::Enter(Phase::Playing);
        }
        // What nobody gave us in twice the time that a start should take is
        // not worth waiting for: begin later.
        let blocked = *self.blocked.get_or_insert(now);
        let patience = (self.start_buffer * 2).max(Duration::from_secs(2));
        if now >= blocked + patience && highest > next {
            let later = (1..=highest.0 - next.0).map(|n| next.plus(n));
            self.next = later
                .skip_while(|s| buffer.holds(*s))
                .find(|s| buffer.holds(*s))
                .or(Some(highest))
                .filter(|s| *s != next)
                .or(Some(next));
            self.blocked = Some(now);
        }
        Step::Wait(Some(now + Duration::from_millis(100)))
    }

    /// Play-out has not begun: it may as well begin nearer to the live edge,
    /// where the delay is no longer than was meant; without any experience
    /// that is the time of two repairs. Returns when the block it
    /// begins with could have been here at best.
    fn nearer(
        &mut self,
        now: Time,
        channel: &Channel,
        buffer: &BlockBuffer,
        clock: &StreamClock,
        want: u64,
        repair: Duration,
    ) -> Time {
        let mut next = self.next.unwrap_or_default();
        let earliest = |seq| clock.local(channel.slot_end(seq)).unwrap_or(now);
        if matches!(self.mode, PlayoutDelay::Auto | PlayoutDelay::Fixed(_)) {
            let margin = match self.mode {
                // Each sub-stream has brought a block by then, and told how late it is.
                PlayoutDelay::Auto => {
                    (repair * 2).min(MAX_MARGIN).max(channel.round() - channel.block())
                }
                _ => Duration::ZERO,
            };
            let meant = self.target(now, repair).max(signed_micros(margin));
            while now.diff_micros(earliest(next.plus(1))) >= meant
                && (1..=want).all(|n| buffer.holds(next.plus(n)))
            {
                next = next.plus(1);
            }
            self.next = Some(next);
        }
        earliest(next)
    }

    #[expect(clippy::too_many_arguments, reason = "one call, split off for its length")]
    fn deliver(
        &mut self,
        now: Time,
        next: Seq,
        channel: &Channel,
        buffer: &BlockBuffer,
        clock: &mut StreamClock,
        earliest: Time,
        repair: Duration,
        stats: &mut Stats,
    ) -> Step {
        let Some(block) = buffer.get(next) else { return Step::Wait(None) };
        let payload = block.payload();
        stats.due += 1;
        if core::mem::take(&mut self.late) {
            stats.late += 1;
        } else {
            stats.on_time += 1;
        }
        stats.payload += payload.len() as u64;
        self.next = Some(next.plus(1));
        let due = (self.mode != PlayoutDelay::None).then(|| earliest.offset(self.lag));
        if due.is_some() {
            clock.slew(now);
            let target = self.target(now, repair);
            let step = micros(channel.block()) as i64 / CATCH_UP;
            self.lag = target.max(self.lag.saturating_sub(step.max(1)));
        } else {
            self.lag = now.diff_micros(earliest).max(0);
        }
        Step::Deliver(Delivery { seq: next, due, slot: channel.slot_start(next), payload })
    }

    fn lose_until(&mut self, until: Seq, buffer: &mut BlockBuffer, stats: &mut Stats) -> Step {
        let Some(next) = self.next else { return Step::Wait(None) };
        // Those still here came after their turn was given up.
        let gone = until.0.saturating_sub(next.0);
        stats.due += gone;
        stats.lost += gone;
        let known = gone.min(buffer.capacity());
        (1..=known).for_each(|n| buffer.give_up(until.minus(n)));
        self.next = Some(until);
        Step::Lost(until.minus(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::block::Block;
    use crate::stream::channel::tests_support::channel;
    use crate::stream::sign::{PublicKey, Signature};
    use alloc::vec::Vec;

    const D: u64 = 40;

    struct Player {
        playout: Playout,
        channel: Channel,
        buffer: BlockBuffer,
        clock: StreamClock,
        stats: Stats,
        first: Seq,
        at: Time,
        handed: Vec<(u64, Time)>,
    }

    impl Player {
        fn new(mode: PlayoutDelay) -> Self {
            Self::with(mode, Duration::from_secs(30))
        }

        /// One with a window of this length, half of which it waits at most.
        fn with(mode: PlayoutDelay, window: Duration) -> Self {
            let channel = channel(PublicKey([7; 32]));
            let first = channel.seq_at(Time::from_secs(1_000_000));
            let mut playout = Playout::new(&Config {
                playout_delay: mode,
                buffer: window,
                give_up: window / 2,
                start_buffer: Duration::from_millis(200),
                ..Config::default()
            });
            playout.start_at(first);
            let buffer = BlockBuffer::new(first, 8, channel.blocks_in(window));
            let (clock, stats) = (StreamClock::default(), Stats::default());
            let at = channel.slot_start(first);
            Self { playout, channel, buffer, clock, stats, first, at, handed: Vec::new() }
        }

        /// When block `n` is here if it takes `delay_ms` from the end of its slot.
        fn arrival(&self, n: u64, delay_ms: u64) -> Time {
            self.channel.slot_end(self.first.plus(n)) + Duration::from_millis(delay_ms)
        }

        /// Lets time run until `now`, exactly as the timers ask.
        fn run(&mut self, now: Time) {
            loop {
                let repair = Duration::from_millis(50);
                let Self { playout, channel, buffer, clock, stats, at, .. } = self;
                match playout.poll(*at, channel, buffer, clock, repair, stats) {
                    Step::Deliver(d) => self.handed.push((d.seq.0 - self.first.0, self.at)),
                    Step::Wait(wake) if *at < now => {
                        *at = wake.map_or(now, |t| t.clamp(*at + Duration::from_micros(1), now));
                    }
                    Step::Wait(_) => return,
                    Step::Lost(_) | Step::Enter(_) => {}
                }
            }
        }

        fn arrive(&mut self, n: u64, now: Time) {
            self.run(now);
            let seq = self.first.plus(n);
            let slot_end = self.channel.slot_end(seq);
            let step = self.clock.arrived(now, slot_end);
            self.playout.clock_stepped(step);
            self.buffer.insert(Block::new(seq, &Signature([0; 64]), b""));
            self.playout.arrived(now, self.clock.local(slot_end).unwrap());
            self.run(now);
        }
    }

    #[test]
    fn a_steady_stream_plays_at_its_own_pace() {
        let mut p = Player::new(PlayoutDelay::Fixed(Duration::from_millis(300)));
        for n in 0..100 {
            p.arrive(n, p.arrival(n, 100));
        }
        assert_eq!((p.stats.late, p.stats.lost), (0, 0));
        for pair in p.handed.windows(2) {
            assert_eq!(pair[1].0, pair[0].0 + 1);
            assert_eq!(pair[1].1.since(pair[0].1), Duration::from_millis(D));
        }
        assert_eq!(p.handed[0].1, p.arrival(0, 400));
    }

    #[test]
    fn late_means_stall_then_at_most_five_percent_faster() {
        let mut p = Player::new(PlayoutDelay::Fixed(Duration::from_millis(300)));
        for n in (0..400).filter(|n| *n != 50) {
            if n == 70 {
                p.arrive(50, p.arrival(69, 100));
            }
            p.arrive(n, p.arrival(n, 100));
        }
        assert_eq!((p.stats.late, p.stats.lost), (1, 0));
        assert_eq!(p.handed[50], (50, p.arrival(69, 100)));
        for pair in p.handed[50..].windows(2) {
            let gap = pair[1].1.since(pair[0].1);
            assert!(gap >= Duration::from_millis(38) && gap <= Duration::from_millis(D), "{gap:?}");
        }
        assert_eq!(p.handed[380].1, p.arrival(380, 400), "it caught up");
    }

    #[test]
    fn after_a_stall_the_window_does_not_slide_over_what_is_to_be_played() {
        let window = Duration::from_secs(3);
        let mut p = Player::with(PlayoutDelay::Fixed(Duration::from_millis(1_400)), window);
        for n in (0..400).filter(|n| *n != 50) {
            if n == 120 {
                p.arrive(50, p.arrival(119, 100));
            }
            // Then the way gets faster, and the window slides sooner.
            p.arrive(n, p.arrival(n, if n < 120 { 300 } else { 20 }));
        }
        assert_eq!((p.stats.late, p.stats.lost), (1, 0));
    }

    #[test]
    fn a_way_that_gets_faster_by_most_of_the_window_costs_no_block() {
        let mut p = Player::with(PlayoutDelay::Auto, Duration::from_secs(3));
        // One of eight takes a second longer at first.
        for n in (0..1_000).filter(|n| n % 8 > 0) {
            p.arrive(n, p.arrival(n, if n < 200 { 2_500 } else { 20 }));
            if n % 8 == 7 {
                p.arrive(n - 7, p.arrival(n, if n < 200 { 3_200 } else { 20 }));
            }
        }
        assert_eq!(p.stats.lost, 0);
        assert!(p.handed.len() > 900, "{}", p.handed.len());
    }

    #[test]
    fn a_block_is_lost_only_after_give_up() {
        let mut p = Player::new(PlayoutDelay::Fixed(Duration::from_millis(300)));
        for n in (0..500).filter(|n| *n != 50) {
            p.arrive(n, p.arrival(n, 100));
        }
        assert_eq!((p.stats.late, p.stats.lost), (1, 1));
        let after = p.handed.iter().find(|(n, _)| *n == 51).unwrap();
        assert_eq!(after.1, p.arrival(50, 400) + Duration::from_secs(15));
    }

    #[test]
    fn the_automatic_delay_covers_what_the_last_minute_needed() {
        let mut p = Player::new(PlayoutDelay::Auto);
        let jitter = |n: u64| 100 + (n * 7919) % 200;
        for n in 0..1_000 {
            p.arrive(n, p.arrival(n, jitter(n)));
        }
        let stalls = p.stats.late;
        for n in 1_000..3_000 {
            p.arrive(n, p.arrival(n, jitter(n)));
        }
        assert_eq!(p.stats.late, stalls, "nothing is late once it has settled");
        let delay = p.playout.delay().unwrap();
        assert!(
            delay >= Duration::from_millis(200) && delay <= Duration::from_millis(260),
            "{delay:?}"
        );
        // After a minute of calm it has shrunk again.
        for n in 3_000..5_000 {
            p.arrive(n, p.arrival(n, 100));
        }
        let delay = p.playout.delay().unwrap();
        assert!(delay <= Duration::from_millis(60), "{delay:?}");
    }

    #[test]
    fn without_a_clock_each_contiguous_block_leaves_at_once() {
        let mut p = Player::new(PlayoutDelay::None);
        p.arrive(1, p.arrival(1, 5));
        assert!(p.handed.is_empty());
        p.arrive(0, p.arrival(1, 9));
        let at = p.arrival(1, 9);
        assert_eq!(p.handed, [(0, at), (1, at)]);
    }

    #[test]
    fn a_jump_of_years_is_one_step_of_work() {
        let mut p = Player::new(PlayoutDelay::Auto);
        for n in 0..50 {
            p.arrive(n, p.arrival(n, 100));
        }
        let far = 1_000_000_000;
        p.arrive(far, p.arrival(50, 100));
        assert!(p.stats.lost > 900_000_000);
        assert!(p.playout.next().unwrap() > p.first.plus(far - 1_000));
    }
}
