//! The nodes of a run.

use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::bootstrap::Bootstrap;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::rng::node_seed;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::sign::{Signer, Verifier};
use eddy_core::{Action, Command, Join, Machine, Position, Time};

use super::look::Probe;
use super::seen::Seen;
use super::trace::Traced;
use super::{Making, Run, What, generator};
use crate::bounds::{self, Bound};
use crate::disk::Disk;
use crate::hand::bent::{altered, bent, boast, is_block};
use crate::lab::draw::{Sessions, exponential, normal, uniform, uplinks};
use crate::lab::parameters::{keeping, publishing};
use crate::lab::reading::ScenarioError;
use crate::lab::scenario::{Attack, Scenario, Uploads};
use crate::lab::units::Rate;
use crate::net::{Net, Sharing};
use crate::node::NodeIx;
use crate::planx::PlanX;
use crate::world::{START, World};

/// Where the nodes stand before the viewers: the bootstrap server, then the
/// providers.
const BOOTSTRAP: usize = 1;
const FIRST_PROVIDER: usize = 2;
/// Sites are drawn once for so many nodes, and then again.
const SITES: usize = 490;
/// Who serves nobody still talks: 128 kbit/s.
const TALK: u64 = 16_000;
/// The nearest of more viewers takes longer to find than it is worth: for B6 all
/// are then equally far.
const MANY: usize = 10_000;
/// Bytes of a transport stream packet: a block that is altered there is altered
/// within its payload.
const ALTERED: usize = 188;

/// Each node has a network of its own, as the hardened DHT wants it.
pub(super) fn address(n: usize) -> SocketAddr {
    let [.., a, b, c] = n.to_be_bytes();
    ([10 + a, b, c, 1], 7_400).into()
}

impl<'a> Run<'a> {
    pub(super) fn new(plan: &'a Scenario, how: &Making) -> Result<Self, ScenarioError> {
        check(plan)?;
        let rate = plan.channel.rate.of(1);
        let config = plan.core.config(rate).map_err(|e| ScenarioError(format!("[core]: {e}")))?;
        let config = Config { verifier: Verifier::ghost(), ..config };
        let mut rng = generator(how.seed);
        let rtt = how.files.rtt(&plan.network.rtt)?;
        let mut sites = rtt.draw(&mut rng, SITES);
        if let Some(there) = rtt.sites() {
            sites.iter_mut().for_each(|s| *s %= there);
        }
        let network = &plan.network;
        let net = Net {
            rtt: rtt.clone(),
            access: network.access.0,
            jitter: network.jitter.0,
            datagram_loss: network.loss,
            segment_loss: network.loss,
            sharing: Sharing::Turns,
            ..Net::default()
        };
        let world = World::new(how.seed, net).keeping(how.keeping);
        let (start, end) = (START, START + plan.span.0);
        let lists = match (&config.cache, config.dht) {
            (Some(cache), None) => {
                Some(PlanX::new(how.seed, rtt.clone(), network.loss, publishing(cache)))
            }
            _ => None,
        };
        let sessions: Result<Vec<Sessions>, _> =
            plan.viewers.iter().map(|g| Sessions::new(&g.session, &how.files)).collect();
        let uplinks: Vec<Vec<Rate>> =
            plan.viewers.iter().map(|g| uplinks(g, g.count, &mut rng)).collect();
        let mut run = Self {
            plan,
            config,
            world,
            channels: Vec::new(),
            providers: Vec::new(),
            bootstrap: NodeIx(0),
            rng,
            agenda: Default::default(),
            planned: 0,
            published: 0,
            start,
            end,
            sites,
            added: FIRST_PROVIDER + plan.channel.count - 1,
            rate,
            gap: Duration::from_micros(plan.channel.packet as u64 * 1_000_000 / rate),
            uplinks,
            sessions: sessions?,
            offsets: vec![Vec::new(); plan.viewers.len()],
            lists,
            bounds: (None, None, 0.0),
            trace: how.trace.clone(),
            struck: vec![Vec::new(); plan.faults.len()],
            seen: Seen::new(start, start + plan.measure_from.0, end, Probe::Nobody),
        };
        run.bounds = run.best();
        run.open_bootstrap();
        for n in 0..plan.channel.count {
            run.add_provider(n)?;
        }
        if plan.count_replicas {
            run.seen.probe = match (&run.lists, run.config.dht) {
                (Some(lists), _) => Probe::Lists(lists.clone()),
                (None, Some(dht)) => Probe::new(
                    &mut run.world,
                    dht,
                    ([10, 255, 255, 1], 7_400).into(),
                    address(BOOTSTRAP),
                ),
                (None, None) => {
                    return Err(ScenarioError("count_replicas needs [core.cache]".to_owned()));
                }
            };
        }
        run.plan_all(&how.files)?;
        Ok(run)
    }

    fn site(&self, n: usize) -> usize {
        self.sites[n % self.sites.len()]
    }

    fn own(&self, n: usize) -> (Config, [u8; 32], Time) {
        let config = Config { listen: address(n), ..self.config.clone() };
        (config, node_seed(self.world.seed(), &address(n)), self.world.now())
    }

    /// Adds a node, whose events are told if that was asked for.
    fn add(
        &mut self,
        addr: SocketAddr,
        site: usize,
        uplink: Option<u64>,
        machine: Box<dyn Machine>,
    ) -> NodeIx {
        let next = NodeIx(self.world.nodes().count() as u32);
        let machine = match self.trace.clone().filter(|trace| trace.node == next) {
            Some(trace) => Box::new(Traced::new(machine, trace, self.start)),
            None => machine,
        };
        self.world.add(addr, site, uplink, machine)
    }

    /// Starts the bootstrap server, or another in its place.
    pub(super) fn open_bootstrap(&mut self) {
        let (config, seed, now) = self.own(BOOTSTRAP);
        // A server has room for a connection of each viewer.
        let most = 1_000_000;
        let config = Config { max_links: most, max_links_per_address: most, ..config };
        let machine = Bootstrap::new(config, seed, now).expect("the configuration was checked");
        let site = self.site(BOOTSTRAP - 1);
        self.bootstrap = self.add(address(BOOTSTRAP), site, None, Box::new(machine));
    }

    fn add_provider(&mut self, n: usize) -> Result<(), ScenarioError> {
        let place = FIRST_PROVIDER + n;
        let (config, seed, now) = self.own(place);
        let signer = Signer::ghost();
        let good = |name: &str| Name::new(name).expect("a good name");
        let channel = Channel::new(ChannelSpec {
            provider: good("provider"),
            name: good(&format!("Channel{}", n + 1)),
            description: String::new(),
            block: self.plan.channel.block.0,
            sub_streams: self.plan.channel.sub_streams,
            file: self.plan.channel.file.0,
            key: signer.public(),
        })
        .map_err(|e| ScenarioError(format!("[channel]: {e}")))?;
        let keep = self.plan.provider.keep.0;
        let config = Config { cache: keeping(keep), ..config };
        let servers = vec![address(BOOTSTRAP)];
        let node = Node::provider(config, channel.clone(), signer, servers, None, seed, now)
            .map_err(|e| ScenarioError(format!("[core], for the provider: {e}")))?;
        let upload = self.plan.provider.upload.of(self.rate).max(1);
        let ix = self.add(address(place), self.site(place - 1), Some(upload), Box::new(node));
        if !keep.is_zero() {
            self.world.mount(ix, Disk::default());
        }
        self.seen.providers.insert(ix, Default::default());
        self.providers.push(ix);
        self.channels.push(channel);
        Ok(())
    }

    /// A viewer comes.
    pub(super) fn come(
        &mut self,
        g: usize,
        upload: Rate,
        ago: Option<Duration>,
        stay: Option<Duration>,
    ) {
        let group = &self.plan.viewers[g];
        self.added += 1;
        let (mut config, seed, now) = self.own(self.added);
        let upload = upload.of(self.rate);
        if upload == 0 {
            config.max_upload = Some(1);
        }
        let (addr, site) = (address(self.added), self.site(self.added - 1));
        let has_disk = config.cache.is_some();
        let node = Node::viewer(config, seed, now).expect("the configuration was checked");
        let machine: Box<dyn Machine> = match (&self.lists, group.attack) {
            (_, Some(attack)) => attacker(node, now, attack),
            (Some(lists), None) => {
                let live =
                    self.plan.viewers.iter().filter(|g| g.ago.is_none()).map(|g| g.count).sum();
                Box::new(lists.viewer(addr, site, now, node, live))
            }
            (None, None) => Box::new(node),
        };
        let uplink = if upload == 0 { TALK } else { upload };
        let ix = self.add(addr, site, Some(uplink), machine);
        if has_disk {
            self.world.mount(ix, Disk::default());
        }
        if group.reachable < 1.0 {
            let reachable = uniform(&mut self.rng) < group.reachable;
            self.world.set_reachable(ix, reachable);
        }
        if !(group.skew.0 + group.ahead.0).is_zero() {
            let spread = normal(&mut self.rng) * group.skew.0.as_micros() as f64;
            let offset = spread + group.ahead.0.as_micros() as f64;
            self.world.set_clock(ix, offset as i64, 0);
        }
        let join =
            self.join(self.added % self.channels.len(), ago.map_or(Position::Live, Position::Ago));
        self.world.command(ix, join);
        if let Some(mean) = group.reset_every {
            self.world.reset_rate(ix, Some(mean.0));
        }
        let viewer = crate::lab::outcome::Viewer {
            group: g,
            past: ago.is_some(),
            joined: now,
            upload,
            ..Default::default()
        };
        self.seen.came(ix, viewer);
        if let Some(mean) = group.stall_every {
            let wait = exponential(&mut self.rng, mean.0);
            self.after(wait, What::Stall(ix));
        }
        for (every, what) in [
            (group.leap_every, What::Leap(ix)),
            (group.pause_every, What::Pause(ix)),
            (group.zap_every, What::Zap(ix)),
        ] {
            if let Some(every) = every {
                self.after(every.0, what);
            }
        }
        if let Some(stay) = stay {
            self.after(stay, What::Leave(ix));
        }
    }

    pub(super) fn join(&self, channel: usize, position: Position) -> Command {
        Command::Join(Box::new(Join {
            bootstrap: vec![address(BOOTSTRAP)],
            channel: self.channels[channel].name().clone(),
            key: None,
            known: None,
            position,
        }))
    }

    /// What is possible at best for those who come from the start: B6, B8 and
    /// the resources of B1.
    fn best(&self) -> (Option<Bound>, Option<Duration>, f64) {
        let plan = self.plan;
        let live: Vec<u64> = self
            .uplinks
            .iter()
            .zip(&plan.viewers)
            .filter(|(_, g)| g.ago.is_none() && g.attack.is_none())
            .flat_map(|(u, _)| u.iter().map(|u| u.of(self.rate)))
            .collect();
        let source = plan.provider.upload.of(self.rate);
        let need = (live.len() as u64 * self.rate).max(1) as f64;
        let resources = (source + live.iter().sum::<u64>()) as f64 / need;
        let first = FIRST_PROVIDER + plan.channel.count;
        let rtt = &self.world.net.rtt;
        let way = |a: Option<usize>, b: usize| {
            let from = self.site(a.map_or(FIRST_PROVIDER - 1, |a| first + a - 1));
            rtt.rtt(from, self.site(first + b - 1)) / 2 + self.world.net.access
        };
        let block = plan.channel.block.0;
        let b6 = match live.len() {
            _ if plan.channel.count != 1 => None,
            n if n <= MANY => bounds::b6(block, self.rate, source, &live, way),
            _ => {
                let ways: Duration = (1..MANY).map(|v| way(Some(v - 1), v)).sum();
                bounds::b6_even(block, self.rate, source, &live, ways / (MANY as u32 - 1))
            }
        };
        // Who is near is found early: the middle one of all pairs is what to expect.
        let mut trips: Vec<Duration> =
            (0..live.len().min(SITES)).map(|v| way(Some(v), (v + 1) % live.len()) * 2).collect();
        trips.sort_unstable();
        let slowest = live.iter().copied().filter(|u| *u > 0).min().unwrap_or(0);
        let b8 = trips.get(trips.len() / 2).and_then(|median| {
            bounds::b8(*median, self.config.start_buffer, self.rate, slowest.max(source))
        });
        (b6, b8, resources)
    }
}

/// A real node that harms the others.
fn attacker(node: Node, now: Time, attack: Attack) -> Box<dyn Machine> {
    bent(node, now, move |_, action: Action| match attack {
        Attack::Mute if is_block(&action) => Vec::new(),
        Attack::Garble if is_block(&action) => altered(action, ALTERED),
        Attack::Boast if is_block(&action) => Vec::new(),
        Attack::Boast => boast(&action, 0).unwrap_or_else(|| vec![action]),
        _ => vec![action],
    })
}

/// What would make no sense to run.
fn check(plan: &Scenario) -> Result<(), ScenarioError> {
    let wrong = |what: String| Err(ScenarioError(what));
    if plan.measure_from >= plan.span {
        return wrong("measure_from must come before the end of the span".to_owned());
    }
    if !matches!(plan.channel.rate, Rate::Bytes(1_000..)) {
        return wrong(
            "channel.rate must be at least 8kbit/s, and no multiple of itself".to_owned(),
        );
    }
    if plan.channel.count == 0 || plan.channel.packet == 0 || plan.channel.packet > 65_000 {
        return wrong(
            "channel.count must be at least 1, channel.packet 1 to 65000 bytes".to_owned(),
        );
    }
    if !(0.0..1.0).contains(&plan.network.loss) {
        return wrong(format!("network.loss is a share, 0 to 1, not {}", plan.network.loss));
    }
    for (n, group) in plan.viewers.iter().enumerate() {
        let name = &group.name;
        if ["provider", "bootstrap", "viewers"].contains(&name.as_str())
            || plan.viewers[..n].iter().any(|g| g.name == *name)
        {
            return wrong(format!("viewers named {name:?}: give each group a name of its own"));
        }
        if let Uploads::Classes(classes) = &group.upload
            && (classes.is_empty() || classes.iter().any(|c| c.share.is_nan() || c.share <= 0.0))
        {
            return wrong(format!("viewers {name}: each class of upload needs a share above 0"));
        }
        for (what, share) in [("reachable", group.reachable), ("crash", group.crash)] {
            if !(0.0..=1.0).contains(&share) {
                return wrong(format!("viewers {name}: {what} is a share, 0 to 1, not {share}"));
            }
        }
        if group.zap_every.is_some() && plan.channel.count < 2 {
            return wrong(format!("viewers {name}: zap_every needs channel.count = 2 or more"));
        }
    }
    for fault in &plan.faults {
        let who = fault.who.as_str();
        if !["provider", "bootstrap", "viewers"].contains(&who)
            && !plan.viewers.iter().any(|g| g.name == who)
        {
            let groups: Vec<&str> = plan.viewers.iter().map(|g| g.name.as_str()).collect();
            return wrong(format!(
                "a fault strikes {who:?}, but there are provider, bootstrap, viewers and the groups {}",
                groups.join(", ")
            ));
        }
    }
    Ok(())
}
