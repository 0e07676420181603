//! The run: who comes when, and what is written down of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::bootstrap::Bootstrap;
use eddy_core::cache::{CacheConfig, File, Publishing, Strategy};
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::rng::{Rng, node_seed};
use eddy_core::stats::Stats;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::file::FileId;
use eddy_core::stream::sign::{Signer, Verifier};
use eddy_core::{Command, Delivery, Join, Machine, Notice, Position, Seq, Ticket, Time};

use super::outcome::{Kind, Outcome, Replicas, Viewer};
use super::probe::{Probe, Why};
use super::{MEAN, Rewind, SCALE, SHAPE};
use crate::disk::Disk;
use crate::net::{Net, Sharing};
use crate::node::NodeIx;
use crate::planx::PlanX;
use crate::world::{Observer, World};

/// A datagram of seven transport stream packets, as encoders send them.
const DATAGRAM: usize = 1_316;
/// When a file is looked at after it is complete.
const YOUNG: Duration = Duration::from_secs(60);
/// Between two samples, and how many files each looks at.
const SAMPLE: Duration = Duration::from_secs(60);
const SAMPLED: usize = 10;
/// Between two leaps.
const LEAP: Duration = Duration::from_secs(60);
/// A pause, what is watched after it, and what is watched live then.
const PAUSE: Duration = Duration::from_secs(20);
const AFTER: Duration = Duration::from_secs(40);
const LIVE: Duration = Duration::from_secs(120);
/// Live viewers come within this time at the start.
const JOINING: Duration = Duration::from_secs(10);
/// What went by before they had all begun was seen by few, and nobody goes
/// back to it.
const UNSEEN: Duration = Duration::from_secs(60);

/// What happens from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Come(usize),
    Arrival,
    Leave(NodeIx),
    Gone(NodeIx),
    Leap(NodeIx),
    Pause(NodeIx),
    Play(NodeIx),
    Return(NodeIx),
    Stall(NodeIx),
    /// A file that began at this second is a minute old.
    Young(u64),
    Sample,
}

pub(super) struct Run<'a> {
    plan: &'a Rewind,
    world: World,
    channel: Channel,
    rng: Rng,
    agenda: BTreeSet<(Time, u64, What)>,
    planned: u64,
    published: u64,
    start: Time,
    sites: Vec<usize>,
    added: usize,
    /// How far behind live those begin who come for the past.
    offsets: Vec<Duration>,
    lists: Option<PlanX>,
    seen: Seen,
}

/// What the world showed.
struct Seen {
    viewers: BTreeMap<NodeIx, Watched>,
    provider: NodeIx,
    provider_stats: Stats,
    probe: Probe,
    /// Lookups that ended.
    found: Vec<(File, Why, BTreeSet<SocketAddr>)>,
    young: Vec<Replicas>,
    sampled: Vec<Replicas>,
    last: Vec<Replicas>,
}

struct Watched {
    viewer: Viewer,
    next: Option<Seq>,
    open: BTreeMap<Ticket, (Time, bool)>,
}

fn address(n: usize) -> SocketAddr {
    let [.., a, b] = n.to_be_bytes();
    ([10, a, b, 1], 7_400).into()
}

impl<'a> Run<'a> {
    pub(super) fn new(plan: &'a Rewind) -> Self {
        let mut rng = Rng::new(node_seed(plan.seed, &address(0)));
        let sites = plan.rtt.draw(&mut rng, 490.max(plan.live + plan.shifted + 2));
        let net = Net {
            rtt: plan.rtt.clone(),
            sharing: Sharing::Turns,
            datagram_loss: plan.loss,
            segment_loss: plan.loss,
            ..Net::default()
        };
        let mut world = World::new(plan.seed, net);
        let start = world.now();
        let seed = |n| node_seed(plan.seed, &address(n));
        let config = |n| Config { listen: address(n), ..plan.config.clone() };
        let bootstrap =
            Bootstrap::new(Config { verifier: Verifier::ghost(), ..config(1) }, seed(1), start);
        world.add(address(1), sites[0], None, Box::new(bootstrap.expect("the preset is valid")));
        let signer = Signer::ghost();
        let channel = Channel::new(ChannelSpec {
            provider: Name::new("NCTU").expect("a good name"),
            name: Name::new("Channel1").expect("a good name"),
            description: String::new(),
            block: plan.block,
            sub_streams: 8,
            file: plan.file,
            key: signer.public(),
        })
        .expect("a block duration that divides a second");
        let keep = CacheConfig::provider(Duration::from_secs(86_400));
        let node = Node::provider(
            Config { cache: Some(keep), verifier: Verifier::ghost(), ..config(2) },
            channel.clone(),
            signer,
            vec![address(1)],
            None,
            seed(2),
            start,
        );
        let node = Box::new(node.expect("the preset is valid"));
        let provider = world.add(address(2), sites[1], Some(plan.upload), node);
        world.mount(provider, Disk::default());
        let lists = match plan.config.dht {
            Some(_) => None,
            None => {
                let publishing = match plan.config.cache.as_ref().map(|c| c.strategy) {
                    Some(Strategy::Report(defects)) => defects.publishing,
                    _ => Publishing::AddToSet,
                };
                Some(PlanX::new(plan.seed, plan.rtt.clone(), plan.loss, publishing))
            }
        };
        let probe = match (&lists, plan.config.dht) {
            (None, Some(dht)) => {
                Probe::new(&mut world, dht, ([10, 255, 255, 1], 7_400).into(), address(1))
            }
            (lists, _) => Probe::Lists(lists.clone().expect("there is one or the other")),
        };
        let provider_stats = Stats::default();
        let seen = Seen {
            viewers: BTreeMap::new(),
            provider,
            provider_stats,
            probe,
            found: Vec::new(),
            young: Vec::new(),
            sampled: Vec::new(),
            last: Vec::new(),
        };
        let (agenda, planned) = (BTreeSet::new(), 0);
        let mut run = Self {
            plan,
            world,
            channel,
            rng,
            agenda,
            planned,
            published: 0,
            start,
            sites,
            added: 2,
            offsets: Vec::new(),
            lists,
            seen,
        };
        run.plan_all();
        run
    }

    /// Who comes, and what is looked at.
    fn plan_all(&mut self) {
        let warm = Duration::from_secs(2) + self.plan.config.join_offset;
        for n in 0..self.plan.live {
            self.after(warm + JOINING.mul_f64(n as f64 / self.plan.live as f64), What::Come(n));
        }
        for n in 0..self.plan.shifted {
            let (least, most) = self.plan.offsets;
            let offset = least + (most - least).mul_f64(self.uniform());
            let late = self.plan.arrivals.mul_f64(self.uniform());
            self.offsets.push(offset);
            self.after(UNSEEN + offset + late, What::Come(self.plan.live + n));
        }
        if self.plan.churn {
            self.next_arrival();
        }
        let (length, end) = (self.channel.file().as_secs(), self.start + self.plan.span);
        let first = FileId::at(&self.channel, self.start).start + length;
        let complete = |file: u64| Time::from_secs(file + length);
        for file in (first..).step_by(length as usize).take_while(|f| complete(*f) + YOUNG < end) {
            self.planned += 1;
            self.agenda.insert((complete(file) + YOUNG, self.planned, What::Young(file)));
        }
        self.after(SAMPLE, What::Sample);
    }

    fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn session(&mut self) -> Duration {
        let draw = 1.0 - self.uniform();
        Duration::from_secs_f64(SCALE * (-draw.ln()).powf(1.0 / SHAPE))
    }

    /// What is left of the session of somebody met at a random moment: long
    /// ones are met more often.
    fn rest_of_session(&mut self) -> Duration {
        let sessions: Vec<f64> = (0..200).map(|_| self.session().as_secs_f64()).collect();
        let mut at = self.uniform() * sessions.iter().sum::<f64>();
        for session in sessions {
            if at < session {
                return Duration::from_secs_f64(at);
            }
            at -= session;
        }
        Duration::from_secs_f64(at)
    }

    fn next_arrival(&mut self) {
        let mean = MEAN / (self.plan.live + self.plan.shifted) as f64;
        let wait = -(1.0 - self.uniform()).ln() * mean;
        self.after(Duration::from_secs_f64(wait), What::Arrival);
    }

    fn after(&mut self, wait: Duration, what: What) {
        self.planned += 1;
        self.agenda.insert((self.world.now() + wait, self.planned, what));
    }

    /// Lets time pass while the encoder sends.
    fn run_until(&mut self, until: Time) {
        let gap = Duration::from_micros(DATAGRAM as u64 * 1_000_000 / self.plan.rate);
        while self.world.now() < until {
            let mut packet = vec![0; DATAGRAM];
            packet[..8].copy_from_slice(&self.published.to_be_bytes());
            self.published += 1;
            self.world.command(self.seen.provider, Command::Publish(Bytes::from(packet)));
            // Encoders are not metronomes.
            let next = self.world.now() + self.rng.jitter(gap, 10);
            while let Some((at, ..)) = self.agenda.first().filter(|(at, ..)| *at <= next.min(until))
            {
                self.world.run_until(*at, &mut self.seen);
                if let Some((_, _, what)) = self.agenda.pop_first() {
                    self.happen(what);
                }
            }
            self.world.run_until(next.min(until), &mut self.seen);
            self.note_found();
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Come(n) => {
                let kind = match n.checked_sub(self.plan.live) {
                    None if n < self.plan.pausing => Kind::Pausing,
                    None => Kind::Live,
                    Some(past) if past < self.plan.leaping => Kind::Leaping,
                    Some(_) => Kind::Shifted,
                };
                let ago = n.checked_sub(self.plan.live).map(|past| self.offsets[past]);
                let ix = self.come(kind, ago);
                if self.plan.churn {
                    let stay = self.rest_of_session();
                    self.after(stay, What::Leave(ix));
                }
            }
            What::Arrival => {
                self.next_arrival();
                let all = (self.plan.live + self.plan.shifted) as f64;
                let shifted = self.uniform() * all < self.plan.shifted as f64;
                let kind = if shifted { Kind::Shifted } else { Kind::Live };
                let ago = shifted.then(|| self.moment());
                let ix = self.come(kind, ago);
                let stay = self.session();
                self.after(stay, What::Leave(ix));
            }
            What::Leave(ix) => self.leave(ix),
            What::Gone(ix) => self.world.exit(ix),
            What::Leap(ix) => {
                let to = self.moment();
                self.leap(ix, Position::Ago(to));
                self.after(LEAP, What::Leap(ix));
            }
            What::Pause(ix) => {
                self.world.command(ix, Command::Pause);
                self.after(PAUSE, What::Play(ix));
            }
            What::Play(ix) => {
                self.world.command(ix, Command::Play);
                self.after(AFTER, What::Return(ix));
            }
            What::Return(ix) => {
                self.leap(ix, Position::Live);
                self.after(LIVE, What::Pause(ix));
            }
            What::Stall(ix) => {
                let Some((mean, length)) = self.plan.stalls else { return };
                self.world.freeze(ix, length);
                let wait = mean.mul_f64(-(1.0 - self.uniform()).ln());
                self.after(wait.max(length * 2), What::Stall(ix));
            }
            What::Young(start) => self.look(start, Why::Young),
            What::Sample => {
                self.after(SAMPLE, What::Sample);
                let files = self.files();
                for _ in 0..SAMPLED.min(files.len()) {
                    let file = files[self.rng.below(files.len())];
                    self.look(file, Why::Sample);
                }
            }
        }
    }

    /// How far back a viewer of the past goes: as far as there is a past.
    fn moment(&mut self) -> Duration {
        let (least, most) = self.plan.offsets;
        let most = most.min(self.world.now().since(self.start).saturating_sub(UNSEEN));
        least + most.saturating_sub(least).mul_f64(self.uniform())
    }

    fn come(&mut self, kind: Kind, ago: Option<Duration>) -> NodeIx {
        self.added += 1;
        let (addr, now) = (address(self.added), self.world.now());
        let config =
            Config { listen: addr, verifier: Verifier::ghost(), ..self.plan.config.clone() };
        let node = Node::viewer(config, node_seed(self.plan.seed, &addr), now);
        let node = node.expect("the preset is valid");
        let site = self.sites[self.added % self.sites.len()];
        let machine: Box<dyn Machine> = match &self.lists {
            Some(lists) => Box::new(lists.viewer(addr, site, now, node, self.plan.live)),
            None => Box::new(node),
        };
        let ix = self.world.add(addr, site, Some(self.plan.upload), machine);
        self.world.mount(ix, Disk::default());
        if !self.plan.skew.is_zero() {
            let (a, b) = (1.0 - self.uniform(), self.uniform());
            let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
            self.world.set_clock(ix, (normal * self.plan.skew.as_micros() as f64) as i64, 0);
        }
        let position = ago.map_or(Position::Live, Position::Ago);
        let join = Join {
            bootstrap: vec![address(1)],
            channel: self.channel.name().clone(),
            key: None,
            known: None,
            position,
        };
        self.world.command(ix, Command::Join(Box::new(join)));
        let viewer = Viewer {
            kind,
            stats: Stats::default(),
            leaps: Vec::new(),
            returns: Vec::new(),
            refused: 0,
            gaps: 0,
            longest_delay: Duration::ZERO,
            stayed: Duration::ZERO,
            datagrams: 0,
            joined: now,
        };
        self.seen.viewers.insert(ix, Watched { viewer, next: None, open: BTreeMap::new() });
        if let Some((mean, _)) = self.plan.stalls {
            let wait = mean.mul_f64(-(1.0 - self.uniform()).ln());
            self.after(wait, What::Stall(ix));
        }
        match kind {
            Kind::Leaping => self.after(LEAP, What::Leap(ix)),
            Kind::Pausing => self.after(LIVE, What::Pause(ix)),
            Kind::Live | Kind::Shifted => {}
        }
        ix
    }

    fn leave(&mut self, ix: NodeIx) {
        self.sum_up(ix);
        if let Some(lists) = &self.lists {
            lists.remove(self.world.addr(ix));
        }
        if self.uniform() < 0.5 {
            self.world.crash(ix);
        } else {
            self.world.command(ix, Command::Leave);
            self.after(Duration::from_secs(5), What::Gone(ix));
        }
        self.agenda.retain(|(_, _, what)| match what {
            What::Leap(n) | What::Pause(n) | What::Play(n) | What::Return(n) | What::Stall(n) => {
                *n != ix
            }
            _ => true,
        });
    }

    fn leap(&mut self, ix: NodeIx, to: Position) {
        let ticket = self.world.command(ix, Command::Seek(to));
        if let Some(watched) = self.seen.viewers.get_mut(&ix) {
            watched.open.insert(ticket, (self.world.now(), to == Position::Live));
            watched.next = None;
        }
    }

    /// Files that are old enough to be looked at.
    fn files(&self) -> Vec<u64> {
        let length = self.channel.file().as_secs();
        let first = FileId::at(&self.channel, self.start).start + length;
        let complete = |file: u64| Time::from_secs(file + length);
        let now = self.world.now();
        (first..).step_by(length as usize).take_while(|f| complete(*f) + YOUNG <= now).collect()
    }

    fn look(&mut self, start: u64, why: Why) {
        let file = File { start, key: FileId { start }.key(&self.channel.id()) };
        if let Some(owners) = self.seen.probe.look(&mut self.world, file, why) {
            self.seen.found.push((file, why, owners));
            self.note_found();
        }
    }

    fn note_found(&mut self) {
        for (file, why, owners) in std::mem::take(&mut self.seen.found) {
            let replicas = self.replicas(file, &owners);
            match why {
                Why::Young => self.seen.young.push(replicas),
                Why::Sample => self.seen.sampled.push(replicas),
                Why::Last => self.seen.last.push(replicas),
            }
        }
    }

    fn replicas(&mut self, file: File, owners: &BTreeSet<SocketAddr>) -> Replicas {
        let mut cached = BTreeSet::new();
        let viewers: Vec<NodeIx> = self.seen.viewers.keys().copied().collect();
        for ix in viewers {
            let id = FileId { start: file.start };
            if self.world.is_live(ix) && self.world.disk_mut(ix).is_some_and(|d| d.holds(id)) {
                cached.insert(self.world.addr(ix));
            }
        }
        let (published, live) = (owners.len(), owners.intersection(&cached).count());
        Replicas { file: file.start, cached: cached.len(), published, live }
    }

    /// Completes what is known of a viewer that is about to go.
    fn sum_up(&mut self, ix: NodeIx) {
        let (now, traffic) = (self.world.now(), self.world.traffic(ix));
        if let Some(Watched { viewer, .. }) = self.seen.viewers.get_mut(&ix) {
            viewer.stayed = now.since(viewer.joined);
            viewer.datagrams = traffic.datagrams_sent;
        }
    }

    pub(super) fn finish(mut self) -> Outcome {
        self.run_until(self.start + self.plan.span);
        let viewers: Vec<NodeIx> = self.seen.viewers.keys().copied().collect();
        for ix in viewers {
            if self.world.is_live(ix) {
                self.sum_up(ix);
            }
        }
        let (hash, events) = (self.world.hash(), self.world.events());
        for file in self.files() {
            self.look(file, Why::Last);
            self.run_until(self.world.now() + Duration::from_millis(200));
        }
        self.run_until(self.world.now() + Duration::from_secs(10));
        let Seen { viewers, provider_stats, young, sampled, last, .. } = self.seen;
        Outcome {
            viewers: viewers.into_values().map(|w| w.viewer).collect(),
            provider: provider_stats,
            young,
            sampled,
            last,
            rate: self.plan.rate,
            hash,
            events,
        }
    }
}

impl Observer for Seen {
    fn delivered(&mut self, _: Time, node: NodeIx, delivery: &Delivery) {
        let Some(w) = self.viewers.get_mut(&node) else { return };
        if let Some(next) = w.next {
            w.viewer.gaps += delivery.seq.0.abs_diff(next.0);
        }
        w.next = Some(delivery.seq.plus(1));
    }

    fn notified(&mut self, now: Time, node: NodeIx, notice: &Notice) {
        if let Some(found) = self.probe.found(node, notice) {
            return self.found.push(found);
        }
        match notice {
            Notice::Stats(stats) if node == self.provider => {
                self.provider_stats = (**stats).clone()
            }
            Notice::Stats(stats) => {
                if let Some(w) = self.viewers.get_mut(&node) {
                    let delay = stats.playout_delay.unwrap_or_default();
                    w.viewer.longest_delay = w.viewer.longest_delay.max(delay);
                    w.viewer.stats = (**stats).clone();
                }
            }
            Notice::Ended { ticket, result } => {
                let Some(w) = self.viewers.get_mut(&node) else { return };
                let Some((since, live)) = w.open.remove(ticket) else { return };
                match result {
                    Ok(_) if live => w.viewer.returns.push(now.since(since)),
                    Ok(_) => w.viewer.leaps.push(now.since(since)),
                    Err(_) => w.viewer.refused += 1,
                }
            }
            _ => {}
        }
    }
}
