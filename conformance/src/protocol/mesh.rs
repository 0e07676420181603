//! A channel of real nodes: bootstrap server, provider, viewers. Every packet
//! that a viewer is handed is held against what the encoder sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::bootstrap::Bootstrap;
use eddy_core::cache::{CacheConfig, Caps};
use eddy_core::config::Config;
use eddy_core::dht::DhtConfig;
use eddy_core::node::Node;
use eddy_core::stats::Stats;
use eddy_core::stream::block::packets;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::sign::Signer;
use eddy_core::{
    BootstrapState, Command, Delivery, Host, Join, Machine, Notice, Position, Seq, Ticket, Time,
};

use crate::board::Shared;
use crate::check::Check;
use crate::scene::{Act, Scene, Who};

/// D.
pub(crate) const BLOCK: Duration = Duration::from_millis(40);
/// S.
const SUB_STREAMS: u8 = 8;
/// Time between two packets.
const GAP: Duration = Duration::from_millis(10);
const PACKET: usize = 1_316;
/// What nodes remember where what is older is of interest.
pub(crate) const BUFFER: Duration = Duration::from_secs(3);
/// Less than two viewers take: 131,600 bytes per second each, and overhead.
pub(crate) const SCARCE: Option<u64> = Some(250_000);
/// Half of what a viewer takes, or a little more.
const HALF: Option<u64> = Some(75_000);

/// What a viewer was handed, and said.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) blocks: usize,
    /// The first thing that was not as it should be.
    pub(crate) wrong: Option<String>,
    /// The block after the last that it was handed.
    next: Option<Seq>,
    next_packet: Option<u64>,
    pub(crate) stats: Stats,
    /// It said that it reaches the bootstrap server, or that it does not.
    was_reached: bool,
    pub(crate) was_lost: bool,
    /// Commands that are done.
    pub(crate) done: Vec<Ticket>,
    /// Gaps are to be expected: only content and order count.
    pub(crate) may_skip: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    pub(crate) who: Who,
    pub(crate) view: Shared<View>,
}

/// The channel, on the air.
pub(crate) struct Mesh {
    pub(crate) server: Who,
    pub(crate) provider: Who,
    /// What the provider said.
    at_provider: Shared<View>,
    pub(crate) viewers: Vec<Viewer>,
    /// Viewers keep files of what went by, and tell each other of them.
    keeps: bool,
    on_air: bool,
    began: Duration,
    published: u64,
}

/// A host that watches.
struct Watcher(Shared<View>);

/// What is put around a viewer's node.
pub(crate) type Disguise = fn(Node) -> Box<dyn Machine + Send>;

impl Mesh {
    /// Server and provider.
    pub(crate) fn new(scene: &mut Scene) -> Act<Self> {
        Self::with(scene, None)
    }

    /// The same; the provider uploads at most so many bytes per second.
    pub(crate) fn with(scene: &mut Scene, upload: Option<u64>) -> Act<Self> {
        let mut mesh = Self::dark(scene, upload)?;
        mesh.begin(scene)?;
        Ok(mesh)
    }

    /// Server and provider. Viewers will have disks, and keep what went by;
    /// the provider remembers no more of it than its buffer holds.
    pub(crate) fn keeping(scene: &mut Scene) -> Act<Self> {
        let mut mesh = Self::on(scene, None, true)?;
        mesh.begin(scene)?;
        Ok(mesh)
    }

    fn begin(&mut self, scene: &mut Scene) -> Act {
        self.light(scene);
        // Before, nobody knows of the channel.
        self.play(scene, Check::Unmet, "a registered provider, a second on the air", |mesh, _| {
            mesh.published > 100 && mesh.at_provider.lock().was_reached
        })
    }

    /// A provider; its bootstrap server has an address and is not there.
    pub(crate) fn dark(scene: &mut Scene, upload: Option<u64>) -> Act<Self> {
        Self::on(scene, upload, false)
    }

    fn on(scene: &mut Scene, upload: Option<u64>, keeps: bool) -> Act<Self> {
        let (server, provider) = (scene.seat()?, scene.seat()?);
        let (at, own) = (scene.addr(server), config(scene, provider, keeps));
        let config = Config { max_upload: upload, ..own };
        let recipe = move |start| {
            let (channel, config, servers) = (channel(), config.clone(), vec![at]);
            let seed = [provider.0 as u8; 32];
            let node = Node::provider(config, channel, signer(), servers, None, seed, start);
            Box::new(node.expect("the default is valid")) as Box<dyn Machine + Send>
        };
        let at_provider = Shared::<View>::default();
        scene.start(provider, Arc::new(recipe), Box::new(Watcher(at_provider.clone())));
        let (viewers, began) = (Vec::new(), scene.elapsed());
        Ok(Self {
            server,
            provider,
            at_provider,
            viewers,
            keeps,
            on_air: true,
            began,
            published: 0,
        })
    }

    /// Starts the bootstrap server.
    pub(crate) fn light(&mut self, scene: &mut Scene) {
        let config = config(scene, self.server, self.keeps);
        let seed = [self.server.0 as u8; 32];
        let recipe = move |start| {
            let server = Bootstrap::new(config.clone(), seed, start);
            Box::new(server.expect("the default is valid")) as Box<dyn Machine + Send>
        };
        scene.start(self.server, Arc::new(recipe), Box::new(Watcher(Shared::default())));
    }

    /// A viewer that joins now.
    pub(crate) fn join(&mut self, scene: &mut Scene) -> Act<Viewer> {
        self.join_at(scene, Position::Live)
    }

    /// One that begins at a moment of its choice.
    pub(crate) fn join_at(&mut self, scene: &mut Scene, position: Position) -> Act<Viewer> {
        self.come(scene, position, None, |node| Box::new(node))
    }

    /// One with something around its node.
    pub(crate) fn join_as(&mut self, scene: &mut Scene, disguise: Disguise) -> Act<Viewer> {
        self.come(scene, Position::Live, None, disguise)
    }

    /// One that gives no more than half of the stream, and knows so when this returns.
    pub(crate) fn join_giving_half(&mut self, scene: &mut Scene) -> Act {
        let viewer = self.come(scene, Position::Live, HALF, |node| Box::new(node))?;
        self.play(scene, Check::Unmet, "a viewer that knows what it can give", |_, _| {
            (1..u32::from(SUB_STREAMS)).contains(&viewer.view.lock().stats.upload_slots)
        })
    }

    fn come(
        &mut self,
        scene: &mut Scene,
        position: Position,
        max_upload: Option<u64>,
        disguise: Disguise,
    ) -> Act<Viewer> {
        let who = scene.seat()?;
        let mut config = Config { max_upload, ..config(scene, who, self.keeps) };
        if self.keeps {
            scene.furnish(who);
            let caps = Caps { per_address: None, per_network: None };
            config.cache = Some(CacheConfig { caps, ..CacheConfig::default() });
        }
        let seed = [who.0 as u8; 32];
        let recipe = move |start| {
            let node = Node::viewer(config.clone(), seed, start);
            disguise(node.expect("the default is valid"))
        };
        let viewer = Viewer { who, view: Shared::default() };
        scene.start(who, Arc::new(recipe), Box::new(Watcher(viewer.view.clone())));
        let join = Join {
            bootstrap: vec![scene.addr(self.server)],
            channel: channel().name().clone(),
            key: Some(signer().public()),
            known: None,
            position,
        };
        scene.command(who, Command::Join(Box::new(join)))?;
        self.viewers.push(viewer.clone());
        Ok(viewer)
    }

    /// What the encoder has sent since the last packet that a viewer was handed.
    pub(crate) fn behind(&self, viewer: &Viewer) -> Option<Duration> {
        let next = viewer.view.lock().next_packet?;
        Some(GAP.saturating_mul(self.published.saturating_sub(next) as u32))
    }

    /// A viewer is ended as by a power cut, but that its host says so.
    pub(crate) fn kill(&mut self, scene: &mut Scene, who: Who) {
        self.viewers.retain(|v| v.who != who);
        scene.stop(who);
    }

    /// The provider is ended as by a power cut.
    pub(crate) fn fall_silent(&mut self, scene: &mut Scene) {
        self.on_air = false;
        scene.stop(self.provider);
    }

    /// Lets the encoder send until something holds.
    pub(crate) fn play(
        &mut self,
        scene: &mut Scene,
        check: Check,
        what: &str,
        mut holds: impl FnMut(&Self, &Scene) -> bool,
    ) -> Act {
        scene.until(check, what, |scene| {
            let due = (scene.elapsed() - self.began).as_millis() / GAP.as_millis();
            while self.on_air && u128::from(self.published) < due {
                // It fails only where the scene ends.
                if scene.command(self.provider, Command::Publish(packet(self.published))).is_err() {
                    break;
                }
                self.published += 1;
            }
            for viewer in &self.viewers {
                if let Some(wrong) = viewer.view.lock().wrong.take() {
                    scene.blame(Check::Stream, viewer.who, wrong);
                }
            }
            holds(self, scene)
        })
    }

    /// Plays until every viewer has had this many blocks more.
    pub(crate) fn play_blocks(&mut self, scene: &mut Scene, blocks: usize) -> Act {
        let before: Vec<_> = self.viewers.iter().map(|v| v.view.lock().blocks).collect();
        let what = format!("{blocks} blocks more at each viewer");
        self.play(scene, Check::Stream, &what, |mesh, _| {
            let now = mesh.viewers.iter().map(|v| v.view.lock().blocks);
            now.zip(&before).all(|(now, before)| now >= before + blocks)
        })
    }
}

fn config(scene: &Scene, who: Who, keeps: bool) -> Config {
    let config = Config {
        listen: scene.addr(who),
        // What a peer may take its time for; the suite has less.
        handshake: Duration::from_secs(1),
        retry: Duration::from_millis(100),
        ..Config::default()
    };
    if !keeps {
        return config;
    }
    // What is older than the buffer is on disks only, and soon.
    Config {
        buffer: BUFFER,
        give_up: BUFFER,
        shift_window: BUFFER,
        emergency: BUFFER / 3,
        dht: Some(dht_config()),
        ..config
    }
}

/// A network of our own, all on one address.
pub(crate) fn dht_config() -> DhtConfig {
    DhtConfig { network: Some(*b"conforms"), hardened: false, ..DhtConfig::default() }
}

fn signer() -> Signer {
    Signer::from_secret(&[7; 32])
}

fn channel() -> Channel {
    let name = |text| Name::new(text).expect("letters only");
    let spec = ChannelSpec {
        provider: name("provider"),
        name: name("live"),
        description: String::new(),
        block: BLOCK,
        sub_streams: SUB_STREAMS,
        file: Duration::from_secs(1),
        key: signer().public(),
    };
    Channel::new(spec).expect("40 ms divide a second")
}

/// The n-th packet of the encoder: its number, and bytes that follow from it.
fn packet(n: u64) -> Bytes {
    let mut bytes = n.to_be_bytes().to_vec();
    let mut x = n;
    while bytes.len() < PACKET {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&x.to_be_bytes());
    }
    bytes.truncate(PACKET);
    bytes.into()
}

impl View {
    /// The nodes that its sub-streams come from, as it last said.
    pub(crate) fn parents(&self) -> usize {
        self.stats.parents.iter().flatten().collect::<BTreeSet<_>>().len()
    }

    fn take(&mut self, delivery: &Delivery) {
        let seq = delivery.seq;
        match self.next {
            Some(next) if seq < next => self.complain(format!("block {seq:?} after {next:?}")),
            Some(next) if seq > next => {
                self.next_packet = None;
                if !self.may_skip {
                    self.complain(format!("{} blocks before {seq:?} are missing", seq.0 - next.0));
                }
            }
            _ => {}
        }
        for p in packets(&delivery.payload) {
            let number = p.payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            let is_next = self.next_packet.is_none() || self.next_packet == number;
            if !is_next || number.is_none_or(|n| packet(n) != p.payload) {
                let next = self.next_packet;
                self.complain(format!("packet {number:?} in {seq:?}, expected {next:?}"));
            }
            self.next_packet = number.map(|n| n + 1);
        }
        self.next = Some(seq.plus(1));
        self.blocks += 1;
    }

    fn complain(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }
}

impl Host for Watcher {
    fn deliver(&mut self, _now: Time, delivery: Delivery) {
        self.0.lock().take(&delivery);
    }

    fn notify(&mut self, _now: Time, notice: Notice) {
        let mut view = self.0.lock();
        match notice {
            Notice::Stats(stats) => view.stats = *stats,
            Notice::Bootstrap(BootstrapState::Reached { .. }) => view.was_reached = true,
            Notice::Bootstrap(BootstrapState::Lost { .. }) => view.was_lost = true,
            Notice::Ended { ticket, result: Ok(_) } => view.done.push(ticket),
            Notice::Ended { result, .. } => view.complain(format!("{result:?}")),
            _ => {}
        }
    }
}
