//! The run: who comes when, what goes wrong, and what is written down of it.

mod cast;
mod look;
mod past;
mod seen;
mod trace;
mod trouble;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::config::Config;
use eddy_core::rng::{Rng, node_seed};
use eddy_core::stream::channel::Channel;
use eddy_core::{Command, Position, Time};

use self::seen::{Seen, Wish};
pub use self::trace::Trace;
use super::draw::{Files, Sessions, exponential, uniform};
use super::outcome::Outcome;
use super::reading::ScenarioError;
use super::scenario::Scenario;
use super::units::{Rate, Span};
use crate::bounds::Bound;
use crate::node::NodeIx;
use crate::planx::PlanX;
use crate::queue::Keeping;
use crate::world::World;

/// What went by before the viewers had all begun was seen by few, and nobody
/// goes back to it.
const UNSEEN: Duration = Duration::from_secs(60);
/// How often somebody from outside may look at a run.
const LOOK: Duration = Duration::from_secs(1);

/// What happens from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The encoder of a channel sends a datagram.
    Packet(usize),
    /// One of those who were expected from the start: group and number in it.
    Come(usize, usize),
    /// One of those who come at random.
    Arrival(usize),
    Leave(NodeIx),
    Gone(NodeIx),
    Leap(NodeIx),
    Pause(NodeIx),
    Play(NodeIx),
    Return(NodeIx),
    Zap(NodeIx),
    Stall(NodeIx),
    Trouble(usize),
    Mended(usize),
    /// A look at the file that began at this second.
    Look(u64, look::Why),
    Sample,
    /// The end of a moment.
    Count,
}

/// How a run is watched, and ended before its time, from another thread.
#[derive(Debug, Default)]
pub struct Watch {
    /// Set: the run ends within a virtual second.
    pub stop: AtomicBool,
    /// Virtual seconds that are over.
    pub seconds: AtomicU64,
}

/// How a run is made.
#[derive(Clone, Debug, Default)]
pub struct Making {
    /// Fixes the run.
    pub seed: u64,
    /// What keeps the queue of events. All give the same run.
    pub keeping: Keeping,
    /// Where the scenario's files are.
    pub files: Files,
    /// Whose events are to be shown.
    pub trace: Option<Trace>,
}

/// Runs a scenario once.
///
/// # Errors
/// [`ScenarioError`] if something in it cannot be used.
///
/// # Panics
/// If a machine breaks the contract; the text names seed, time and node.
pub fn run(plan: &Scenario, how: &Making, watch: &Watch) -> Result<Outcome, ScenarioError> {
    let mut run = Run::new(plan, how)?;
    run.watch(watch);
    Ok(run.finish(watch.stop.load(Ordering::Relaxed)))
}

struct Run<'a> {
    plan: &'a Scenario,
    config: Config,
    world: World,
    channels: Vec<Channel>,
    providers: Vec<NodeIx>,
    bootstrap: NodeIx,
    rng: Rng,
    agenda: BTreeSet<(Time, u64, What)>,
    planned: u64,
    published: u64,
    start: Time,
    end: Time,
    sites: Vec<usize>,
    added: usize,
    /// r, in bytes per second.
    rate: u64,
    gap: Duration,
    /// Of each group: uplinks of those expected, and their sessions.
    uplinks: Vec<Vec<Rate>>,
    sessions: Vec<Sessions>,
    /// How far behind live those begin who come for the past, by group.
    offsets: Vec<Vec<Duration>>,
    /// Where owners are published if the nodes have no DHT.
    lists: Option<PlanX>,
    bounds: (Option<Bound>, Option<Duration>, f64),
    trace: Option<Trace>,
    /// Whom each fault has struck.
    struck: Vec<Vec<NodeIx>>,
    seen: Seen,
}

impl Run<'_> {
    /// Who comes, what goes wrong, and what is looked at.
    fn plan_all(&mut self, files: &Files) -> Result<(), ScenarioError> {
        for channel in 0..self.channels.len() {
            self.after(
                self.gap.mul_f64(channel as f64 / self.channels.len() as f64),
                What::Packet(channel),
            );
        }
        let warm = Duration::from_secs(2) + self.config.join_offset;
        for (g, group) in self.plan.viewers.iter().enumerate() {
            for n in 0..group.count {
                let share = n as f64 / group.count as f64;
                let wait = group.arrive.from.0 + group.arrive.over.0.mul_f64(share);
                let wait = match group.ago {
                    None => warm + wait,
                    Some((Span(least), Span(most))) => {
                        let offset =
                            least + most.saturating_sub(least).mul_f64(uniform(&mut self.rng));
                        let late = group.arrive.over.0.mul_f64(uniform(&mut self.rng));
                        self.offsets[g].push(offset);
                        UNSEEN + offset + group.arrive.from.0 + late
                    }
                };
                self.after(wait, What::Come(g, n));
            }
            if let Some(trace) = &group.arrive.trace {
                let minute = group.arrive.minute.map_or(Duration::from_secs(60), |m| m.0);
                let scale = group.arrive.scale.unwrap_or(1.0);
                for (n, count) in (0_u32..).zip(files.column(trace, "arrivals")?) {
                    // A fraction of a viewer is a chance.
                    let whole = (count * scale + uniform(&mut self.rng)) as u64;
                    for _ in 0..whole {
                        let wait = warm + minute * n + minute.mul_f64(uniform(&mut self.rng));
                        self.after(wait, What::Arrival(g));
                    }
                }
            }
            self.next_arrival(g);
        }
        for (n, fault) in self.plan.faults.iter().enumerate() {
            self.after(fault.at.0, What::Trouble(n));
        }
        if self.plan.count_replicas {
            self.plan_looks();
        }
        self.after(self.seen.step() - Duration::from_micros(1), What::Count);
        Ok(())
    }

    /// Arrivals at random are drawn one after another.
    fn next_arrival(&mut self, g: usize) {
        let group = &self.plan.viewers[g];
        let steady =
            if group.arrive.steady { group.count as f64 / self.sessions[g].mean() } else { 0.0 };
        let rate = group.arrive.rate + steady;
        if rate > 0.0 && group.arrive.trace.is_none() {
            let wait = exponential(&mut self.rng, Duration::from_secs_f64(1.0 / rate));
            // Those who replace others come when the others are there.
            let first =
                if self.world.now() == self.start { group.arrive.from.0 } else { Duration::ZERO };
            self.after(first + wait, What::Arrival(g));
        }
    }

    fn after(&mut self, wait: Duration, what: What) {
        self.planned += 1;
        let at = self.world.now() + wait;
        if at <= self.end {
            self.agenda.insert((at, self.planned, what));
        }
    }

    /// Lets time pass until it is `until`.
    fn run_until(&mut self, until: Time) {
        while let Some((at, _, what)) = self.agenda.first().copied().filter(|(at, ..)| *at <= until)
        {
            self.agenda.pop_first();
            self.world.run_until(at, &mut self.seen);
            self.happen(what);
        }
        self.world.run_until(until, &mut self.seen);
        self.note_found();
    }

    /// Lets time pass to the end, or until somebody has seen enough.
    fn watch(&mut self, watch: &Watch) {
        while self.world.now() < self.end && !watch.stop.load(Ordering::Relaxed) {
            let next = (self.world.now() + LOOK).min(self.end);
            self.run_until(next);
            watch.seconds.store(next.since(self.start).as_secs(), Ordering::Relaxed);
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Packet(channel) => self.packet(channel),
            What::Come(g, n) => {
                let upload = self.uplinks[g][n];
                let ago = self.offsets[g].get(n).copied();
                let stay = self.sessions[g].rest(&mut self.rng);
                self.come(g, upload, ago, stay);
            }
            What::Arrival(g) => {
                self.next_arrival(g);
                let group = &self.plan.viewers[g];
                let upload = super::draw::uplink(group, &mut self.rng);
                let ago = group.ago.map(|_| self.moment(g));
                let stay = self.sessions[g].draw(&mut self.rng);
                self.come(g, upload, ago, stay);
            }
            What::Leave(ix) => self.leave(ix),
            What::Gone(ix) => self.world.exit(ix),
            What::Trouble(n) => self.strike(n),
            What::Mended(n) => self.mend(n),
            What::Look(start, why) => self.look(start, why),
            What::Sample => self.sample(),
            What::Count => self.count(),
            What::Leap(ix)
            | What::Pause(ix)
            | What::Play(ix)
            | What::Return(ix)
            | What::Zap(ix)
            | What::Stall(ix) => {
                if self.world.is_live(ix) {
                    self.behave(ix, what);
                }
            }
        }
    }

    fn packet(&mut self, channel: usize) {
        let mut packet = vec![0; self.plan.channel.packet.max(8)];
        packet[..8].copy_from_slice(&self.published.to_be_bytes());
        self.published += 1;
        if self.world.is_live(self.providers[channel]) {
            self.world.command(self.providers[channel], Command::Publish(Bytes::from(packet)));
        }
        // Encoders are not metronomes.
        let gap = self.rng.jitter(self.gap, 10);
        self.after(gap, What::Packet(channel));
    }

    /// What a viewer does of its own will, or its host to it.
    fn behave(&mut self, ix: NodeIx, what: What) {
        let Some(g) = self.seen.viewers.get(&ix).map(|w| w.viewer.group) else { return };
        let group = &self.plan.viewers[g];
        match what {
            What::Leap(_) => {
                let to = self.moment(g);
                self.wish(ix, Wish::Leap, Command::Seek(Position::Ago(to)));
                self.after(group.leap_every.unwrap_or_default().0, what);
            }
            What::Pause(_) => {
                self.world.command(ix, Command::Pause);
                self.after(group.pause.0, What::Play(ix));
            }
            What::Play(_) => {
                self.world.command(ix, Command::Play);
                self.after(group.pause.0 * 2, What::Return(ix));
            }
            What::Return(_) => {
                self.wish(ix, Wish::Live, Command::Seek(Position::Live));
                self.after(group.pause_every.unwrap_or_default().0, What::Pause(ix));
            }
            What::Zap(_) => {
                let to = self.rng.below(self.channels.len());
                let join = self.join(to, Position::Live);
                self.wish(ix, Wish::Channel, join);
                let every = group.zap_every.unwrap_or_default().0;
                let wait = exponential(&mut self.rng, every);
                self.after(wait, what);
            }
            What::Stall(_) => {
                let (mean, length) = (group.stall_every.unwrap_or_default().0, group.stall.0);
                self.world.freeze(ix, length);
                let wait = exponential(&mut self.rng, mean).max(length * 2);
                self.after(wait, what);
            }
            _ => {}
        }
    }

    fn wish(&mut self, ix: NodeIx, wish: Wish, command: Command) {
        let ticket = self.world.command(ix, command);
        if let Some(watched) = self.seen.viewers.get_mut(&ix) {
            watched.open.insert(ticket, (self.world.now(), wish));
            watched.next = None;
        }
    }

    /// How far back a viewer of the past goes: as far as there is a past.
    fn moment(&mut self, g: usize) -> Duration {
        let (Span(least), Span(most)) = self.plan.viewers[g].ago.unwrap_or_default();
        let most = most.min(self.world.now().since(self.start).saturating_sub(UNSEEN));
        least + most.saturating_sub(least).mul_f64(uniform(&mut self.rng))
    }

    fn leave(&mut self, ix: NodeIx) {
        if !self.world.is_live(ix) {
            return;
        }
        self.sum_up(ix);
        if let Some(lists) = &self.lists {
            lists.remove(self.world.addr(ix));
        }
        let group = self.seen.viewers.get(&ix).map_or(0, |w| w.viewer.group);
        if uniform(&mut self.rng) < self.plan.viewers[group].crash {
            self.world.crash(ix);
        } else {
            self.world.command(ix, Command::Leave);
            self.after(Duration::from_secs(5), What::Gone(ix));
        }
    }

    /// Completes what is known of a viewer that is about to go.
    fn sum_up(&mut self, ix: NodeIx) {
        let (now, traffic) = (self.world.now(), self.world.traffic(ix));
        if let Some(watched) = self.seen.viewers.get_mut(&ix) {
            watched.viewer.stayed = now.since(watched.viewer.joined);
            watched.viewer.datagrams = traffic.datagrams_sent;
            watched.open.clear();
        }
    }

    /// The end of a moment: who is there?
    fn count(&mut self) {
        let now = self.world.now();
        let (mut there, mut playing) = (0, 0);
        for (&ix, watched) in &self.seen.viewers {
            if self.world.is_live(ix) {
                there += 1;
                playing += u64::from(watched.viewer.startup.is_some());
            }
        }
        let moment = self.seen.moment(now);
        (moment.viewers, moment.playing) = (there, playing);
        self.after(self.seen.step(), What::Count);
    }

    fn finish(mut self, cut_short: bool) -> Outcome {
        let viewers: Vec<NodeIx> = self.seen.viewers.keys().copied().collect();
        for &ix in &viewers {
            if self.world.is_live(ix) {
                self.sum_up(ix);
            }
        }
        let (hash, events, now) = (self.world.hash(), self.world.events(), self.world.now());
        let nodes = self.world.nodes().count() as u32;
        let from = self.start + self.plan.measure_from.0;
        let (b6, b8, resources) = self.bounds;
        let sent = self.seen.providers.values().fold((0, 0), |sum, [before, now]| {
            (sum.0 + now.0 - before.0, sum.1 + now.1 - before.1)
        });
        // The last moment is over before it was counted.
        if self.seen.moments.last().is_some_and(|m| m.viewers == 0) {
            self.seen.moments.pop();
        }
        let most = self.seen.moments.iter().map(|m| m.viewers).max().unwrap_or(0);
        Outcome {
            viewers: self.seen.viewers.into_values().map(|w| w.viewer).collect(),
            provider_sent: sent.0,
            provider_past: sent.1,
            young: self.seen.young,
            sampled: self.seen.sampled,
            last: self.seen.last,
            moments: self.seen.moments,
            b6,
            b8,
            resources,
            block: self.plan.channel.block.0,
            rate: self.rate,
            measured: now.since(from),
            hash,
            events,
            most,
            nodes,
            cut_short,
        }
    }
}

/// A generator of a run's own draws.
fn generator(seed: u64) -> Rng {
    Rng::new(node_seed(seed, &cast::address(0)))
}
