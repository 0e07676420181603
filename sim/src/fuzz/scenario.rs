//! A whole scenario from bytes: a channel of real nodes, and one thing after
//! another that happens to them. Signatures are ghosts: they cost nothing, and
//! a forged one is still found out.

use std::time::Duration;

use eddy_core::bootstrap::Bootstrap;
use eddy_core::config::{Config, PlayoutDelay, Reselection};
use eddy_core::node::Node;
use eddy_core::rng::node_seed;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::sign::{Signer, Verifier};
use eddy_core::wire::check::Choices;
use eddy_core::{Action, Command, Join, Machine, Position, Time};

use super::watch::{Watch, Who, packet};
use crate::hand::bent::{altered, bent, boast, is_block};
use crate::hand::cast::{FIRST_VIEWER, PROVIDER, SERVER, addr};
use crate::{Net, NodeIx, Rtt, Sharing, World};

/// Time between two packets of the encoder: off the slots' edges.
const GAP: Duration = Duration::from_millis(19);
/// Virtual time in which things happen.
const STORM: Duration = Duration::from_secs(6);
/// No fault lasts longer.
const LONGEST_FAULT: u64 = 2_000;
/// The most viewers there ever are, restarted ones included.
const MOST_VIEWERS: usize = 8;
/// By then everybody plays again who was not harmed in a lasting way.
const HEAL: Duration = Duration::from_secs(20);
/// By then everybody has left who was asked to.
const PART: Duration = Duration::from_secs(12);
/// Twice the stream and what comes on top, in bytes per second.
const PLENTY: u64 = 60_000;
/// Partners with which a mesh can spread what its provider cannot.
const MESH: usize = 8;
/// Byte of a block's frame whose change the ghost verifier sees.
const FLAG: usize = 4 + 1 + 8;

/// Fuzz target: the bytes choose a network, a configuration and a channel,
/// then who joins and leaves, lies, breaks down and comes back. What must hold
/// meanwhile and afterwards stands in `docs/FUZZING.md`.
///
/// # Panics
/// If something does not hold that must.
pub fn world(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut scenario = Scenario::choose(&mut choices);
    let end = scenario.world.now() + STORM;
    while !choices.is_over() && scenario.world.now() < end {
        scenario.happen(&mut choices);
    }
    scenario.calm();
    scenario.part();
}

struct Scenario {
    world: World,
    watch: Watch,
    /// Of every node, but for its address.
    config: Config,
    channel: Channel,
    server: NodeIx,
    provider: NodeIx,
    viewers: Vec<NodeIx>,
    on_air: bool,
    published: u64,
}

impl Scenario {
    fn choose(c: &mut Choices<'_>) -> Self {
        let world = World::new(c.byte().into(), network(c));
        let config = configuration(c);
        // A round of all sub-streams takes less than a second.
        let (millis, sub_streams) = c.pick(&[(100, 4), (40, 8), (500, 1), (20, 32)]);
        let channel = Channel::new(ChannelSpec {
            provider: Name::new("provider").expect("a good name"),
            name: Name::new("live").expect("a good name"),
            description: String::new(),
            block: Duration::from_millis(millis),
            sub_streams,
            file: Duration::from_secs(10),
            key: Signer::ghost().public(),
        })
        .expect("a good channel");
        let nobody = NodeIx(0);
        let mut scenario = Self {
            world,
            watch: Watch::new(&config),
            config,
            channel,
            server: nobody,
            provider: nobody,
            viewers: Vec::new(),
            on_air: true,
            published: 1,
        };
        scenario.start_server();
        scenario.start_provider(c);
        scenario.run(Duration::from_millis(1_500));
        scenario
    }

    fn start_server(&mut self) {
        if self.has_host(SERVER) {
            return;
        }
        let (config, seed) = (self.at(SERVER), self.seed(SERVER));
        let machine = Bootstrap::new(config, seed, self.world.now()).expect("a good configuration");
        self.server = self.world.add(addr(SERVER), 0, None, Box::new(machine));
        self.watch.born(self.server, self.world.now(), Who::default());
    }

    /// Starts the provider, above all numbers that it may have used before.
    fn start_provider(&mut self, c: &mut Choices<'_>) {
        if self.has_host(PROVIDER) {
            return;
        }
        let now = self.world.now();
        let above = self.watch.highest().map(|seq| seq.max(self.channel.seq_at(now)));
        // Room for every viewer, or for a few.
        let limits = [(None, None), (None, Some(200_000)), (Some(40_000), None)];
        let (max_upload, uplink) = c.pick(&limits);
        let config = Config { max_upload, ..self.at(PROVIDER) };
        let (channel, servers, seed) =
            (self.channel.clone(), vec![addr(SERVER)], self.seed(PROVIDER));
        let node = Node::provider(config, channel, Signer::ghost(), servers, above, seed, now)
            .expect("a good configuration");
        let who = Who { id: Some(node.id()), max_upload, uplink, ..Who::default() };
        let record = self.watch.record();
        let machine = bent(node, now, move |_, action| {
            if is_block(&action) {
                record.take(&action);
            }
            vec![action]
        });
        self.provider = self.world.add(addr(PROVIDER), 0, uplink, machine);
        self.watch.born(self.provider, now, who);
    }

    /// A viewer at a new host, or at the host of one that is gone.
    fn start_viewer(&mut self, c: &mut Choices<'_>) {
        let free = (FIRST_VIEWER..).find(|host| !self.has_host(*host));
        let Some(host) = free.filter(|_| self.viewers.len() < MOST_VIEWERS) else { return };
        let now = self.world.now();
        let max_upload = c.pick(&[None, None, Some(10_000), Some(100_000)]);
        let uplink = c.pick(&[None, None, Some(60_000)]);
        let config = Config { max_upload, ..self.at(host) };
        let node = Node::viewer(config, self.seed(host), now).expect("a good configuration");
        let lie = c.byte();
        let (id, lies) = (Some(node.id()), lie >= HONEST);
        let hidden = c.below(4) == 0;
        let who = Who { id, max_upload, uplink, hidden, lies };
        let ix = self.world.add(addr(host), 0, uplink, liar(node, now, lie));
        self.watch.born(ix, now, who);
        self.world.set_reachable(ix, !hidden);
        self.viewers.push(ix);
        self.join(ix, c);
    }

    fn join(&mut self, ix: NodeIx, c: &mut Choices<'_>) {
        let key = c.coin().then(|| self.channel.key());
        let channel = self.channel.name().clone();
        let join = Join {
            bootstrap: vec![addr(SERVER)],
            channel,
            key,
            known: None,
            position: Position::Live,
        };
        self.world.command(ix, Command::Join(Box::new(join)));
    }

    /// Whether somebody lives there.
    fn has_host(&self, host: u8) -> bool {
        let there = |ix| self.world.addr(ix) == addr(host) && self.world.is_live(ix);
        self.world.nodes().any(there)
    }

    fn at(&self, host: u8) -> Config {
        Config { listen: addr(host), ..self.config.clone() }
    }

    /// A restarted node is another node.
    fn seed(&self, host: u8) -> [u8; 32] {
        let lives = self.world.nodes().filter(|ix| self.world.addr(*ix) == addr(host)).count();
        node_seed(self.world.seed() + (lives as u64) * 1_000, &addr(host))
    }

    /// One thing that happens.
    fn happen(&mut self, c: &mut Choices<'_>) {
        match c.below(20) {
            0..=3 => self.run(Duration::from_millis(u64::from(c.u16()) % 1_000)),
            4..=6 => self.start_viewer(c),
            7 => {
                let ix = self.any(c);
                self.leave(ix);
            }
            8 => {
                let ix = self.any(c);
                match c.below(3) {
                    0 => self.world.exit(ix),
                    1 => self.world.kill(ix),
                    _ => self.world.crash(ix),
                }
            }
            9 => self.start_server(),
            10 => self.start_provider(c),
            11 => self.reset(c),
            12 => self.world.freeze(self.any(c), fault(c)),
            13 => self.world.isolate(self.any(c), fault(c)),
            14 => {
                let mask = c.u16();
                let (a, b): (Vec<_>, Vec<_>) =
                    self.world.nodes().partition(|ix| mask >> (ix.0 % 16) & 1 == 1);
                self.world.partition(&a, &b, fault(c));
            }
            15 => {
                let ix = self.any(c);
                let micros = i64::from(c.u32() as i32) << c.below(16);
                let ppm = i32::from(c.u16() as i16);
                self.world.set_clock(ix, micros, ppm);
                self.watch.leapt(ix);
            }
            16 => {
                let ix = self.any(c);
                self.join(ix, c);
            }
            17 => {
                let ix = self.any(c);
                let size = usize::from(c.u16());
                self.world.command(ix, Command::Publish(vec![0; size].into()));
            }
            18 => {
                let bootstrap = c.pick(&[&[SERVER][..], &[99, SERVER], &[99], &[]]);
                let bootstrap = bootstrap.iter().map(|host| addr(*host)).collect();
                self.world.command(self.any(c), Command::List { bootstrap });
            }
            _ => self.on_air = !self.on_air,
        }
    }

    fn any(&self, c: &mut Choices<'_>) -> NodeIx {
        let nodes: Vec<NodeIx> = self.world.nodes().collect();
        c.pick(&nodes)
    }

    fn leave(&mut self, ix: NodeIx) {
        self.watch.leaves(ix);
        self.world.command(ix, Command::Leave);
    }

    /// Some connections of a node break.
    fn reset(&mut self, c: &mut Choices<'_>) {
        let (ix, mask) = (self.any(c), c.byte());
        let links: Vec<_> = self.world.links(ix).map(|(link, _)| link).collect();
        for link in links.into_iter().filter(|link| mask >> (link.0 % 8) & 1 == 0) {
            self.world.reset(ix, link);
        }
    }

    /// Lets time pass while the encoder sends.
    fn run(&mut self, span: Duration) {
        let until = self.world.now() + span;
        while self.world.now() < until {
            if self.on_air && self.world.is_live(self.provider) {
                let packet = packet(self.published);
                self.published += 1;
                self.world.command(self.provider, Command::Publish(packet));
            }
            let next = (self.world.now() + GAP).min(until);
            self.world.run_until(next, &mut self.watch);
            self.watch.check(&self.world);
        }
    }

    /// Nothing happens any more, and the network is kind: all heals.
    fn calm(&mut self) {
        self.on_air = true;
        let rtt = self.world.net.rtt.clone();
        self.world.net = Net { rtt, sharing: Sharing::Turns, ..Net::default() };
        let sound = |ix| self.world.is_live(ix) && self.watch.is_sound(ix);
        let heals = sound(self.server)
            && sound(self.provider)
            && self.watch.is_honest()
            // By the published rules viewers may feed each other in a circle.
            && self.config.paths
            && self.config.repair
            && self.has_links()
            && self.has_upload();
        if !heals {
            return self.run(Duration::from_secs(1));
        }
        // A budget that an overload cut grows again only as children ask.
        let heal = if self.has_mesh() { HEAL } else { HEAL * 2 };
        for _ in 0..heal.as_secs() {
            self.run(Duration::from_secs(1));
            self.watch.look_for_cycles(&self.world);
        }
        for &ix in self.viewers.iter().filter(|ix| self.world.is_live(**ix)) {
            self.watch.assert_plays(&self.world, ix);
        }
    }

    /// Whether everybody can have two links to everybody, and one to the server.
    fn has_links(&self) -> bool {
        self.config.max_links > 2 * (self.viewers.len() + 1)
    }

    /// Whether the provider can feed all viewers, or a mesh of them can.
    fn has_upload(&self) -> bool {
        self.has_mesh() || self.watch.upload(self.provider) >= PLENTY * self.viewers.len() as u64
    }

    /// Whether viewers can feed each other: all know enough of them, and nobody
    /// is weak or cut off.
    fn has_mesh(&self) -> bool {
        let strong = |ix: &NodeIx| self.watch.upload(*ix) >= PLENTY;
        self.watch.upload(self.provider) >= 2 * PLENTY
            && self.config.partners.min(self.config.members) >= MESH
            && self.watch.is_open()
            && self.viewers.iter().all(strong)
    }

    /// Everybody leaves: every ticket ends, and every connection.
    fn part(&mut self) {
        self.on_air = false;
        let all: Vec<NodeIx> = self.world.nodes().filter(|ix| self.world.is_live(*ix)).collect();
        for ix in &all {
            self.leave(*ix);
        }
        self.run(PART);
        for ix in all {
            let open: Vec<_> = self.world.open_tickets(ix).collect();
            assert!(open.is_empty(), "{open:?} of {ix:?} never ended (C10)");
            let links: Vec<_> = self.world.links(ix).collect();
            assert!(links.is_empty(), "{ix:?} has left, but not {links:?}");
        }
    }
}

fn network(c: &mut Choices<'_>) -> Net {
    let millis = Duration::from_millis;
    let unkind = c.byte();
    Net {
        rtt: Rtt::uniform(millis(c.pick(&[30, 1, 100, 300]))),
        jitter: millis(c.pick(&[0, 0, 20])),
        segment_loss: c.pick(&[0.0, 0.0, 0.05]),
        dial_timeout: Duration::from_secs(1),
        sharing: if unkind & 1 == 0 { Sharing::Turns } else { Sharing::Fifo },
        late: millis(c.pick(&[0, 0, 30])),
        spurious: unkind & 2 != 0,
        chunked: unkind & 4 != 0,
        ..Net::default()
    }
}

/// Impatient, so that a few seconds see much.
fn configuration(c: &mut Choices<'_>) -> Config {
    let millis = Duration::from_millis;
    let published = Reselection::Inequalities { own: millis(1_000), partner: millis(1_500) };
    let lag = Reselection::Lag { overdue: millis(500) };
    let flags = c.byte();
    let default = Config::default();
    let config = Config {
        verifier: Verifier::ghost(),
        buffer: millis(6_000),
        join_offset: millis(c.pick(&[500, 0, 2_000])),
        start_buffer: millis(c.pick(&[200, 0, 1_000])),
        playout_delay: c.pick(&[
            PlayoutDelay::Auto,
            PlayoutDelay::None,
            PlayoutDelay::AsStarted,
            PlayoutDelay::Fixed(millis(800)),
        ]),
        give_up: millis(c.pick(&[3_000, 0, 500])),
        max_block: 64 << 10,
        members: c.pick(&[50, 1, 4]),
        gossip: millis(700),
        heartbeat: millis(1_000),
        member_life: millis(3_000),
        partners: c.pick(&[8, 1, 3]),
        map_interval: millis(500),
        map_min_interval: millis(if flags & 1 == 0 { 100 } else { 0 }),
        partner_timeout: millis(1_500),
        refinement: millis(c.pick(&[5_000, 1_000])),
        paths: flags & 2 == 0,
        reselection: if flags & 4 == 0 { lag } else { published },
        cool_down: millis(1_000),
        repair: flags & 8 == 0,
        request_timeout: millis(1_000),
        max_links: c.pick(&[64, 16]),
        max_links_per_address: 16,
        send_window: c.pick(&[256 << 10, 4 << 10]),
        handshake: millis(1_500),
        retry: millis(100),
        ..default
    };
    assert_eq!(config.validate(), Ok(()));
    config
}

fn fault(c: &mut Choices<'_>) -> Duration {
    Duration::from_millis(u64::from(c.u16()) % LONGEST_FAULT)
}

/// From this byte on a viewer lies.
const HONEST: u8 = 192;

/// A viewer, and what it makes of the truth.
fn liar(node: Node, now: Time, lie: u8) -> Box<dyn Machine> {
    let ahead = [25, 500, u64::MAX][usize::from(lie) % 3];
    let same = |action| vec![action];
    let swallow = |action| if is_block(&action) { vec![] } else { vec![action] };
    match lie {
        0..HONEST => Box::new(node),
        192..208 => bent(node, now, move |_, a| if is_block(&a) { forged(a) } else { same(a) }),
        208..224 => bent(node, now, move |_, a| swallow(a)),
        224..240 => bent(node, now, move |_, a| boast(&a, ahead).unwrap_or_else(|| swallow(a))),
        _ => bent(node, now, move |_, a| boast(&a, ahead).unwrap_or_else(|| same(a))),
    }
}

/// The same block with another payload, as its signature tells.
fn forged(action: Action) -> Vec<Action> {
    altered(action, FLAG).into_iter().flat_map(|action| altered(action, usize::MAX)).collect()
}
