//! The demo's nodes.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use eddy_core::bootstrap::Bootstrap;
use eddy_core::cache::CacheConfig;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stats::Stats;
use eddy_core::stream::channel::{Channel, ChannelError, ChannelSpec, Name};
use eddy_core::stream::sign::Signer;
use eddy_core::{
    BootstrapState, Command, Delivery, DiskRequest, Host, Join, Machine, NodeId, Notice, Phase,
    Position, Time,
};
use eddy_memory::HugePages;
use tracing::{error, warn};

use super::check::{Checked, Published, Witness};
use crate::input::Source;
use crate::run::disk::{self, Keeper, Slot};
use crate::run::log::{Log, refusal_text};
use crate::run::node::{FIRST, Ground, LEAVE, LEAVE_WITHIN, PACKETS, Running, Told, pass_on, seed};
use crate::run::provider::Feed;
use crate::run::{RunError, bootstrap};
use crate::settings::{CacheFolder, GlobalSettings};
use crate::ui::summary::Outcome;
use crate::ui::table::{Parent, Row, State};
use crate::ui::{self, line::Rates};

/// Places in the list of nodes; viewers follow.
pub(super) const SERVER: usize = 0;
const PROVIDER: usize = 1;
const FIRST_VIEWER: usize = 2;

/// Short files: a demo is over soon.
const FILE: Duration = Duration::from_secs(2);
/// How long they are kept.
const KEPT: Duration = Duration::from_secs(300);

/// What a node tells, with its place in the list.
pub(super) type News = (usize, Told);

/// Tells as the node of this number.
pub(super) fn numbered(to: &Sender<News>, number: usize) -> impl Fn(Told) + Clone + Send + use<> {
    let to = to.clone();
    // Nobody listens any more once the demo is over.
    move |told| drop(to.send((number, told)))
}

/// All nodes, and what a new viewer needs to know.
pub(super) struct Swarm<'a> {
    global: &'a GlobalSettings,
    to: Sender<News>,
    server: SocketAddr,
    channel: Channel,
    published: Arc<Published>,
    nodes: Vec<Part>,
    listed: bool,
    scratch: Scratch,
}

/// Where the nodes' files are, while the demo lasts.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("eddy-demo-{}", std::process::id())))
    }

    fn of(&self, node: &str) -> CacheFolder {
        CacheFolder { dir: self.0.join(node), given: true }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.0.exists()
            && let Err(e) = fs::remove_dir_all(&self.0)
        {
            warn!("cannot remove {}: {e}", self.0.display());
        }
    }
}

/// One node of the demo.
struct Part {
    name: String,
    id: Option<NodeId>,
    running: Running<Seat>,
    keeper: Option<Keeper>,
    phase: Phase,
    stats: Stats,
    told_at: Time,
    /// In bits per second; `None` before the first statistics.
    upload: Option<u64>,
    alive: bool,
    log: Log,
}

/// The host of every node; viewers have their blocks checked.
struct Seat {
    number: usize,
    to: Sender<News>,
    disk: Slot,
    checked: Option<Checked>,
}

impl Host for Seat {
    fn deliver(&mut self, _: Time, delivery: Delivery) {
        if let Some(checked) = &mut self.checked {
            checked.block(&delivery);
        }
    }

    fn disk(&mut self, _: Time, request: DiskRequest) {
        self.disk.request(request);
    }

    fn notify(&mut self, now: Time, notice: Notice) {
        self.disk.notice(&notice);
        pass_on(&numbered(&self.to, self.number), now, notice);
    }
}

impl<'a> Swarm<'a> {
    /// Starts the server and the provider.
    pub(super) fn start(
        global: &'a GlobalSettings,
        block: Duration,
        to: Sender<News>,
    ) -> Result<Self, RunError> {
        let signer = Signer::from_secret(&seed()?);
        let channel = channel(block, &signer).map_err(|e| {
            RunError::new(e.to_string(), "see `eddy demo --help` for what --block takes")
        })?;
        let ground = Ground::local(global.runtime)?;
        let server = ground.local_addr();
        let config = Config { listen: server, ..bootstrap::config(global) };
        let machine = Bootstrap::new(config, seed()?, ground.clock.now())?;
        let published = Arc::new(Published::default());
        let mut swarm = Self {
            global,
            to,
            server,
            channel,
            published,
            nodes: Vec::new(),
            listed: false,
            scratch: Scratch::new(),
        };
        swarm.add("server".into(), None, ground, machine, None)?;
        swarm.add_provider(signer)?;
        Ok(swarm)
    }

    fn add_provider(&mut self, signer: Signer) -> Result<(), RunError> {
        let ground = Ground::local(self.global.runtime)?;
        let cache = Some(CacheConfig::provider(KEPT));
        let listen = ground.local_addr();
        let config = Config { listen, cache, ..self.global.config.clone().for_provider() };
        let channel = self.channel.clone();
        let (servers, now) = (vec![self.server], ground.clock.now());
        let provider =
            Node::provider(config, channel.clone(), signer, servers, None, seed()?, now)?;
        let id = provider.id();
        let machine = Witness { provider, channel, published: self.published.clone() };
        self.add("provider".into(), Some(id), ground, machine, None)
    }

    /// Starts the input.
    pub(super) fn feed(&self, source: Source) -> Result<Feed, RunError> {
        let provider = self.nodes[PROVIDER].running.handle();
        Ok(Feed::start(source, provider, numbered(&self.to, PROVIDER))?)
    }

    /// One more viewer joins.
    pub(super) fn add_viewer(&mut self, position: Position) -> Result<(), RunError> {
        let ground = Ground::local(self.global.runtime)?;
        let cache = Some(CacheConfig { max_age: Some(KEPT), ..CacheConfig::default() });
        let config = Config { listen: ground.local_addr(), cache, ..self.global.config.clone() };
        let viewer = Node::viewer(config, seed()?, ground.clock.now())?;
        let viewer = viewer.with_memory(Box::new(HugePages));
        let kind = if position == Position::Live { "viewer" } else { "past" };
        let name = format!("{kind}-{}", self.viewers().len() + 1);
        let checked = Checked::new(self.published.clone());
        let join = Join {
            bootstrap: vec![self.server],
            channel: self.channel.name().clone(),
            key: Some(self.channel.key()),
            known: None,
            position,
        };
        self.add(name, Some(viewer.id()), ground, viewer, Some(checked))?;
        if let Some(part) = self.nodes.last() {
            part.running.command(FIRST, Command::Join(Box::new(join)));
        }
        Ok(())
    }

    fn add<M: Machine + Send + 'static>(
        &mut self,
        name: String,
        id: Option<NodeId>,
        ground: Ground,
        machine: M,
        checked: Option<Checked>,
    ) -> Result<(), RunError> {
        let number = self.nodes.len();
        let (disk, shelf) = disk::way(Some(self.scratch.of(&name)));
        let seat = Seat { number, to: self.to.clone(), disk, checked };
        let tell = numbered(&self.to, number);
        let told_at = ground.clock.now();
        let running = Running::start(ground, machine, seat, tell.clone())?;
        self.nodes.push(Part {
            log: Log::of(&name),
            name,
            id,
            keeper: shelf.start(running.handle(), tell)?,
            running,
            phase: Phase::Joining,
            stats: Stats::default(),
            told_at,
            upload: None,
            alive: true,
        });
        Ok(())
    }

    /// The viewers' places in the list.
    pub(super) fn viewers(&self) -> Range<usize> {
        FIRST_VIEWER..self.nodes.len()
    }

    /// Whether viewers find the channel at the server.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Takes note of what a node told.
    ///
    /// # Errors
    /// If it is the end of one that the demo cannot do without.
    pub(super) fn hear(&mut self, number: usize, news: Told) -> Result<(), RunError> {
        let part = &mut self.nodes[number];
        match news {
            Told::Notice(now, Notice::Stats(stats)) => part.count(now, *stats),
            Told::Notice(_, Notice::Phase(phase)) => part.phase = phase,
            Told::Notice(_, Notice::Bootstrap(BootstrapState::Reached { .. }))
                if number == PROVIDER =>
            {
                self.listed = true;
            }
            Told::Notice(_, Notice::Ended { ticket, result: Err(refusal) }) => {
                let refusal = refusal_text(refusal);
                match ticket {
                    FIRST => {
                        part.alive = false;
                        error!(node = part.name, "cannot join: {refusal}");
                    }
                    packet if packet >= PACKETS => error!("a packet was not sent: {refusal}"),
                    _ => {}
                }
            }
            Told::Notice(now, notice) => part.log.trouble(now, &notice),
            Told::Died(e) if number < FIRST_VIEWER => return Err(e),
            Told::Died(_) => part.alive = false,
            Told::Player(_) | Told::Input(_) | Told::Wish(_) | Told::Interrupt => {}
        }
        Ok(())
    }

    /// The provider's row, then the viewers'.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.nodes[PROVIDER..].iter().enumerate().map(|(n, part)| self.row(n, part)).collect()
    }

    fn row(&self, number: usize, part: &Part) -> Row {
        let Part { name, stats, alive, upload, .. } = part;
        // The provider's number is 0.
        let state = match number {
            _ if !alive => State::Gone,
            0 => State::Live,
            _ => part.phase.into(),
        };
        Row {
            name: name.clone(),
            state,
            startup: stats.startup,
            delay: stats.playout_delay.filter(|_| number > 0),
            continuity: ui::continuity(stats),
            peer_share: ui::peer_share(stats),
            parents: match number {
                0 => Vec::new(),
                _ => stats.parents.iter().map(|parent| self.parent(*parent)).collect(),
            },
            upload: *upload,
        }
    }

    fn parent(&self, parent: Option<NodeId>) -> Parent {
        let Some(id) = parent else { return Parent::None };
        match self.nodes[PROVIDER..].iter().position(|part| part.id == Some(id)) {
            None => Parent::Other,
            Some(0) => Parent::Provider,
            Some(viewer) => Parent::Viewer(viewer),
        }
    }

    /// All viewers leave; says how they did.
    pub(super) fn leave_viewers(&mut self, told: &Receiver<News>) -> Vec<Outcome> {
        self.leave(FIRST_VIEWER, told).into_iter().map(Part::outcome).collect()
    }

    /// Provider and server leave, in this order.
    pub(super) fn leave_rest(&mut self, told: &Receiver<News>) {
        for number in [PROVIDER, SERVER] {
            for part in self.leave(number, told) {
                part.stop();
            }
        }
    }

    /// The nodes from this place on leave the mesh, all at once.
    fn leave(&mut self, from: usize, told: &Receiver<News>) -> Vec<Part> {
        let mut waiting: BTreeSet<usize> =
            (from..self.nodes.len()).filter(|number| self.nodes[*number].alive).collect();
        for number in &waiting {
            self.nodes[*number].running.command(LEAVE, Command::Leave);
        }
        let until = Instant::now() + LEAVE_WITHIN;
        while !waiting.is_empty() {
            match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((number, Told::Died(_)))
                | Ok((number, Told::Notice(_, Notice::Ended { ticket: LEAVE, .. }))) => {
                    waiting.remove(&number);
                }
                Ok(_) => {}
                Err(_) => {
                    warn!("{} nodes could not tell everybody that they leave", waiting.len());
                    break;
                }
            }
        }
        self.nodes.split_off(from)
    }
}

impl Part {
    fn count(&mut self, now: Time, stats: Stats) {
        self.upload = Some(Rates::between(&self.stats, &stats, now.since(self.told_at)).up);
        self.log.faults(now);
        (self.told_at, self.stats) = (now, stats);
    }

    /// Ends the node and its disk.
    fn stop(self) -> Option<Checked> {
        let checked = self.running.stop().and_then(|seat| seat.checked);
        self.keeper.into_iter().for_each(Keeper::finish);
        checked
    }

    /// How a viewer did. Blocks that were left out or altered on the way are
    /// lost, whatever the node says.
    fn outcome(self) -> Outcome {
        let (name, alive, mut stats) = (self.name.clone(), self.alive, self.stats.clone());
        if let Some(checked) = self.stop() {
            if checked.wrong > 0 {
                error!(node = name, "{} blocks are not what was published", checked.wrong);
            }
            stats.lost = stats.lost.max(checked.missing + checked.wrong);
        }
        Outcome { name, stats, alive }
    }
}

fn channel(block: Duration, signer: &Signer) -> Result<Channel, ChannelError> {
    Channel::new(ChannelSpec {
        provider: Name::new("provider")?,
        name: Name::new("demo")?,
        description: String::new(),
        block,
        sub_streams: 8,
        file: FILE,
        key: signer.public(),
    })
}
