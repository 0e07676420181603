//! The live scenario: a bootstrap server, a provider and viewers on measured
//! round trips, with what came of it beside what is possible at best.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::bootstrap::Bootstrap;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::rng::{Rng, node_seed};
use eddy_core::stats::Stats;
use eddy_core::stream::block::packets;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::sign::{Signer, Verifier};
use eddy_core::time::{Time, micros};
use eddy_core::{Command, Delivery, Join, Notice, Position, Seq};

use crate::Rtt;
use crate::bounds::{self, Bound};
use crate::net::{Net, Sharing};
use crate::node::NodeIx;
use crate::world::{Observer, World};

/// A datagram of seven transport stream packets, as encoders send them.
const DATAGRAM: usize = 1_316;
/// Of more viewers the bound takes the mean latency for that of each pair.
const MANY: usize = 2_000;
/// The longest datagram of a coarse encoder.
const LONGEST: u64 = 65_000;

/// What to run.
#[derive(Clone, Debug)]
pub struct Live {
    /// Fixes the run.
    pub seed: u64,
    /// Of all nodes; a provider's adds to it.
    pub config: Config,
    /// Block duration D.
    pub block: Duration,
    /// How many viewers.
    pub viewers: usize,
    /// Over which time they join, evenly.
    pub joins: Duration,
    /// How long they watch after the last has joined.
    pub watch: Duration,
    /// The stream, in bytes per second.
    pub rate: u64,
    /// Whether the encoder sends one long datagram a block, at even times. A
    /// block then costs the same whatever its size.
    pub coarse: bool,
    /// Every viewer's upload in bytes per second.
    pub upload: u64,
    /// The provider's upload in bytes per second.
    pub provider_upload: u64,
    /// Mean time between resets of each connection of every viewer.
    pub resets: Option<Duration>,
    /// Round trips between the nodes' sites.
    pub rtt: Rtt,
}

impl Live {
    /// The published swarm: 48 viewers on PlanetLab's round trips, 500 kbit/s,
    /// 10 Mbit/s up (report chapter 4; the rate is assumed, its page is lost).
    pub fn report_swarm(seed: u64, config: Config, block: Duration) -> Self {
        Self {
            seed,
            config,
            block,
            viewers: 48,
            joins: Duration::from_secs(10),
            watch: Duration::from_secs(120),
            rate: 62_500,
            coarse: false,
            upload: 1_250_000,
            provider_upload: 1_250_000,
            resets: None,
            rtt: Rtt::planetlab(),
        }
    }

    /// Runs it.
    ///
    /// # Panics
    /// If a machine breaks the contract, or a configuration is invalid.
    pub fn run(&self) -> Outcome {
        Run::new(self).finish()
    }
}

/// What one viewer saw.
#[derive(Clone, Debug, Default)]
pub struct Viewer {
    /// Its counters at the end.
    pub stats: Stats,
    /// Its longest play-out delay after the first ten seconds.
    pub longest_delay: Duration,
    /// The first block that came out of order, or with other content than the
    /// provider's, if there was one.
    pub wrong: Option<Seq>,
    /// Start of the slot to handing it over, summed, and how often.
    end_to_end: (u64, u64),
    next: Option<Seq>,
    joined: Time,
}

impl Viewer {
    /// Mean time from the start of a block's slot to its arrival.
    pub fn arrival_delay(&self, block: Duration) -> Duration {
        let n = self.stats.arrivals.max(1);
        Duration::from_micros(self.stats.arrival_delay_sum / n) + block
    }

    /// Mean time from the start of a block's slot to its handing over.
    pub fn end_to_end(&self) -> Duration {
        Duration::from_micros(self.end_to_end.0 / self.end_to_end.1.max(1))
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Each viewer.
    pub viewers: Vec<Viewer>,
    /// The provider's counters at the end.
    pub provider: Stats,
    /// The least delay of block arrival that the uploads and round trips allow (B6).
    pub arrival_bound: Option<Bound>,
    /// The least start-up at the median round trip to the provider (B8).
    pub startup_bound: Option<Duration>,
    /// Hash of every event: equal for equal seeds.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
}

impl Outcome {
    /// Blocks on time over blocks due, of all viewers together.
    pub fn continuity(&self) -> f64 {
        let due: u64 = self.viewers.iter().map(|v| v.stats.due).sum();
        let on_time: u64 = self.viewers.iter().map(|v| v.stats.on_time).sum();
        on_time as f64 / due.max(1) as f64
    }

    /// Blocks that any viewer lost.
    pub fn lost(&self) -> u64 {
        self.viewers.iter().map(|v| v.stats.lost).sum()
    }

    /// Blocks that came late to any viewer.
    pub fn late(&self) -> u64 {
        self.viewers.iter().map(|v| v.stats.late).sum()
    }

    /// Start-up times in order; those who never played count as an hour.
    pub fn startups(&self) -> Vec<Duration> {
        self.sorted(|v| v.stats.startup.unwrap_or(Duration::from_secs(3_600)))
    }

    /// A value of each viewer, in order.
    pub fn sorted(&self, value: impl Fn(&Viewer) -> Duration) -> Vec<Duration> {
        let mut all: Vec<Duration> = self.viewers.iter().map(value).collect();
        all.sort_unstable();
        all
    }
}

/// The value below which a share of the sorted values lies.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

struct Run<'a> {
    plan: &'a Live,
    world: World,
    provider: NodeIx,
    bound: Option<Bound>,
    startup_bound: Option<Duration>,
    seen: Seen,
    rng: Rng,
    published: u64,
    server: SocketAddr,
    sites: Vec<usize>,
    channel: Channel,
}

/// What the world showed of each node.
struct Seen {
    viewers: BTreeMap<NodeIx, Viewer>,
    provider: NodeIx,
    provider_stats: Stats,
}

fn address(n: usize) -> SocketAddr {
    let host = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + n as u32;
    (Ipv4Addr::from(host), 7_400).into()
}

impl<'a> Run<'a> {
    fn new(plan: &'a Live) -> Self {
        let mut rng = Rng::new(node_seed(plan.seed, &address(0)));
        let rtt = plan.rtt.clone();
        let sites = rtt.draw(&mut rng, plan.viewers + 2);
        let (bound, startup_bound) = bounds_of(plan, &rtt, &sites);
        let net = Net { rtt, sharing: Sharing::Turns, ..Net::default() };
        let mut world = World::new(plan.seed, net);
        let config =
            |n| Config { listen: address(n), verifier: Verifier::ghost(), ..plan.config.clone() };
        let seed = |n| node_seed(plan.seed, &address(n));
        let start = world.now();
        // Every viewer keeps its connection to the server.
        let server = config(1);
        let max_links = server.max_links.max(plan.viewers + 16);
        let server = Config { max_links, ..server };
        let bootstrap = Bootstrap::new(server, seed(1), start).expect("the preset is valid");
        world.add(address(1), sites[0], None, Box::new(bootstrap));
        let signer = Signer::ghost();
        let channel = Channel::new(ChannelSpec {
            provider: Name::new("provider").expect("a good name"),
            name: Name::new("live").expect("a good name"),
            description: String::new(),
            block: plan.block,
            sub_streams: 8,
            file: Duration::from_secs(10),
            key: signer.public(),
        })
        .expect("a block duration that divides a second");
        let servers = vec![address(1)];
        let node =
            Node::provider(config(2), channel.clone(), signer, servers, None, seed(2), start)
                .expect("the preset is valid");
        let provider = world.add(address(2), sites[1], Some(plan.provider_upload), Box::new(node));
        let seen = Seen { viewers: BTreeMap::new(), provider, provider_stats: Stats::default() };
        Self {
            plan,
            world,
            provider,
            bound,
            startup_bound,
            seen,
            rng,
            published: 0,
            server: address(1),
            sites,
            channel,
        }
    }

    /// Lets time pass while the encoder sends.
    fn run_for(&mut self, span: Duration) {
        let until = self.world.now() + span;
        if self.plan.coarse {
            return self.run_coarsely(until);
        }
        let gap = DATAGRAM as u64 * 1_000_000 / self.plan.rate;
        while self.world.now() < until {
            let mut packet = vec![0; DATAGRAM];
            packet[..8].copy_from_slice(&self.published.to_be_bytes());
            self.published += 1;
            self.world.command(self.provider, Command::Publish(Bytes::from(packet)));
            // Encoders are not metronomes.
            let gap = self.rng.jitter(Duration::from_micros(gap), 10);
            let next = (self.world.now() + gap).min(until);
            self.world.run_until(next, &mut self.seen);
        }
    }

    /// The same with a datagram in the middle of every slot.
    fn run_coarsely(&mut self, until: Time) {
        let block = micros(self.plan.block);
        let length = (self.plan.rate * block / 1_000_000).clamp(8, LONGEST) as usize;
        loop {
            let slot = self.world.now().offset(block as i64 / 2).as_micros() / block;
            let middle = Time::from_micros(slot * block + block / 2);
            if middle > until {
                return self.world.run_until(until, &mut self.seen);
            }
            self.world.run_until(middle, &mut self.seen);
            let mut packet = vec![0; length];
            packet[..8].copy_from_slice(&self.published.to_be_bytes());
            self.published += 1;
            self.world.command(self.provider, Command::Publish(Bytes::from(packet)));
            // Not again in this very slot.
            self.world.run_until(middle + Duration::from_micros(1), &mut self.seen);
        }
    }

    fn join(&mut self, n: usize) {
        let addr = address(n + 3);
        let config =
            Config { listen: addr, verifier: Verifier::ghost(), ..self.plan.config.clone() };
        let now = self.world.now();
        let node = Node::viewer(config, node_seed(self.plan.seed, &addr), now)
            .expect("the preset is valid");
        let upload = Some(self.plan.upload);
        let ix = self.world.add(addr, self.sites[n + 2], upload, Box::new(node));
        let join = Join {
            bootstrap: vec![self.server],
            channel: self.channel.name().clone(),
            key: None,
            known: None,
            position: Position::Live,
        };
        self.world.command(ix, Command::Join(Box::new(join)));
        self.world.reset_rate(ix, self.plan.resets);
        self.seen.viewers.insert(ix, Viewer { joined: now, ..Viewer::default() });
    }

    fn finish(mut self) -> Outcome {
        // The channel has been on for long enough that a viewer can begin
        // where its preset wants to.
        self.run_for(Duration::from_secs(2) + self.plan.config.join_offset);
        let pause = self.plan.joins / self.plan.viewers.max(1) as u32;
        for n in 0..self.plan.viewers {
            self.join(n);
            if !pause.is_zero() {
                self.run_for(pause);
            }
        }
        self.run_for(self.plan.watch);
        Outcome {
            viewers: self.seen.viewers.into_values().collect(),
            provider: self.seen.provider_stats,
            arrival_bound: self.bound,
            startup_bound: self.startup_bound,
            hash: self.world.hash(),
            events: self.world.events(),
        }
    }
}

/// B6 for the viewers' sites, and B8 at the median round trip.
fn bounds_of(plan: &Live, rtt: &Rtt, sites: &[usize]) -> (Option<Bound>, Option<Duration>) {
    let site = |v: Option<usize>| v.map_or(sites[1], |v| sites[v + 2]);
    let uploads = vec![plan.upload; plan.viewers];
    let way = |a, b| rtt.rtt(site(a), site(Some(b))) / 2;
    let (block, rate, source) = (plan.block, plan.rate, plan.provider_upload);
    // The nearest of very many is as near as in a few, but takes long to find.
    let b6 = if plan.viewers <= MANY {
        bounds::b6(block, rate, source, &uploads, way)
    } else {
        let ways = (1..MANY).map(|v| way(Some(v - 1), v)).sum::<Duration>();
        bounds::b6_even(block, rate, source, &uploads, ways / (MANY as u32 - 1))
    };
    let mut to_provider: Vec<Duration> = sites[2..].iter().map(|s| rtt.rtt(sites[1], *s)).collect();
    to_provider.sort_unstable();
    let median = quantile(&to_provider, 0.5);
    let buffered = plan.config.start_buffer;
    (b6, bounds::b8(median, buffered, plan.rate, plan.upload.min(plan.provider_upload)))
}

impl Observer for Seen {
    fn delivered(&mut self, now: Time, node: NodeIx, delivery: &Delivery) {
        let Some(v) = self.viewers.get_mut(&node) else { return };
        if v.next.is_some_and(|next| delivery.seq < next) {
            v.wrong.get_or_insert(delivery.seq);
        }
        // Datagrams carry their number: within a block they are consecutive.
        let number = |p: &[u8]| p.get(..8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
        let numbers: Vec<Option<u64>> =
            packets(&delivery.payload).map(|p| number(&p.payload)).collect();
        if numbers.windows(2).any(|w| w[1] != w[0].map(|n| n + 1)) {
            v.wrong.get_or_insert(delivery.seq);
        }
        v.next = Some(delivery.seq.plus(1));
        v.end_to_end.0 += micros(now.since(delivery.slot));
        v.end_to_end.1 += 1;
    }

    fn notified(&mut self, now: Time, node: NodeIx, notice: &Notice) {
        let Notice::Stats(stats) = notice else { return };
        if node == self.provider {
            self.provider_stats = (**stats).clone();
        }
        let Some(v) = self.viewers.get_mut(&node) else { return };
        v.stats = (**stats).clone();
        if now.since(v.joined) > Duration::from_secs(10) {
            v.longest_delay = v.longest_delay.max(stats.playout_delay.unwrap_or_default());
        }
    }
}
