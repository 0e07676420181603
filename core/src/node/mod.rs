//! The node: provider or viewer. It routes events to the parts and turns what
//! they want into actions and timers; what to want is decided in the parts.
//!
//! One file a conversation: `connect` (links and their handshake), `channel`
//! (the bootstrap server), `mesh` (partners), `feed` (the child side; `tree` and
//! `pull` with one parent, and none), `arrive` (blocks coming in), `mend` (gaps),
//! `serve` (the parent side), `source` (the provider's input), `rewind` (watching
//! the past), `quest` (those who have it), `past` (serving it), `recruit` (copies
//! for others), `keep` (the cache and the DHT).

mod arrive;
mod channel;
mod connect;
mod feed;
mod keep;
#[cfg(feature = "ghost")]
pub mod lists;
mod mend;
mod mesh;
mod past;
mod pull;
mod quest;
mod recruit;
mod rewind;
mod serve;
mod source;
mod tree;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::config::{Config, ConfigError, LiveStrategy};
use crate::dht::{Dht, OpId};
use crate::event::{
    Action, Answer, Command, Event, Fault, Join, Machine, Notice, Output, Phase, Refusal,
};
use crate::id::{ChannelId, DialId, LinkId, LoadId, NodeId, Seq, Ticket};
use crate::link::{Links, Role};
use crate::live::children::Children;
use crate::live::clock::StreamClock;
use crate::live::feeds::Feeds;
use crate::live::pace::Pace;
use crate::live::playout::Playout;
use crate::live::pull::Pull;
use crate::live::repair::Repair;
use crate::live::tree::Tree;
use crate::membership::Membership;
use crate::membership::rendezvous::Rendezvous;
use crate::memory::Memory;
use crate::partnership::Partnership;
use crate::rng::Rng;
use crate::stats::Stats;
use crate::stream::buffer::BlockBuffer;
use crate::stream::channel::Channel;
use crate::stream::map::Path;
use crate::stream::sign::{ChannelVerifier, Signer};
use crate::time::Time;
use crate::timer::TimerQueue;
use crate::timeshift::Errand;
use crate::timeshift::serve::Serving;
use crate::wire::message::{Message, Token};

use keep::{Keeper, Tally, Use};
use recruit::Recruit;
use rewind::Rewind;
use source::Source;

/// How often feeds and gaps are looked at.
const TICK: Duration = Duration::from_millis(50);
/// A pause in our own time that cannot be the driver's lateness: we were stopped.
const STOPPED: Duration = Duration::from_secs(1);

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The provider's slot ends.
    Slot,
    /// A block is due, or is given up.
    Playout,
    /// Look at feeds and gaps.
    Tick,
    /// The first maps are in; begin.
    Start,
    /// Send buffer maps.
    Maps,
    /// Look for partners, time out the silent.
    Partners,
    /// Replace the worst partner.
    Refine,
    /// Tell a partner of members.
    Gossip,
    /// Tell the bootstrap server that we are here.
    Heartbeat,
    /// Try the bootstrap server again.
    Bootstrap,
    /// Look back on how our children are served.
    Review,
    /// The upload cap lets blocks go on.
    Upload,
    /// Tell the application how things stand.
    Stats,
    /// Tell the application which members to remember.
    Members,
    /// Leave although links are still open.
    Leave,
    /// Look at what is missing of the past.
    Rewind,
    /// A block of the past is due.
    Reel,
    /// Go on with copies for others.
    Recruit,
    /// The DHT wants to be woken.
    Dht,
    /// The cache wants to be woken.
    Cache,
}

/// Why a connection is being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    Bootstrap,
    /// A partnership, new or to be resumed.
    Partner(NodeId),
    /// Blocks are to come in from this partner.
    BlockIn(NodeId, Token),
    /// Blocks are to go out to this partner, who could not reach us.
    BlockOut(NodeId, Token),
    /// Past blocks are to come from here.
    Past(Errand, SocketAddr),
}

/// The node is leaving.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    ticket: Ticket,
    done: bool,
}

/// A dial under way: what for, and since when.
type Dials = BTreeMap<DialId, (Dial, Time)>;

/// The stream of the channel that the node is in.
#[derive(Debug)]
struct Stream {
    channel: Channel,
    id: ChannelId,
    verifier: ChannelVerifier,
    /// `None` until the viewer knows where to begin.
    buffer: Option<BlockBuffer>,
    pace: Pace,
    clock: StreamClock,
    playout: Playout,
    feeds: Feeds,
    children: Children,
    /// Partners who wait for blocks that they pulled, by turns.
    pulling: VecDeque<NodeId>,
    repair: Repair,
    pull: Pull,
    tree: Tree,
    /// When the buffer was begun.
    began: Time,
    /// When a block last came in that was missing.
    progress: Time,
    orphaned: Option<Time>,
    /// The first block that the player had not, when we had to begin again.
    played: Option<Seq>,
    /// We take part in the live mesh.
    wants_live: bool,
    /// Blocks of each file that the live side holds.
    tally: Tally,
    /// We watch the past.
    rewind: Option<Box<Rewind>>,
    recruit: Recruit,
}

/// A provider or a viewer: a [`Machine`].
#[derive(Debug)]
pub struct Node {
    config: Config,
    id: NodeId,
    now: Time,
    rng: Rng,
    links: Links,
    timers: TimerQueue<Timer>,
    actions: VecDeque<Action>,
    stats: Stats,
    next_dial: u64,
    next_load: u64,
    dials: Dials,
    members: Membership,
    rendezvous: Rendezvous,
    partners: Partnership,
    stream: Option<Stream>,
    /// What only some have is boxed, for a world holds very many nodes.
    source: Option<Box<Source>>,
    join: Option<(Ticket, Box<Join>)>,
    /// Another channel is to take the place of this one, if there is one.
    switch: Option<(Ticket, Box<Join>)>,
    joined_at: Time,
    /// The server was away while we wanted in: until when a channel that is
    /// not there may just not be registered again.
    waits_until: Option<Time>,
    list: Option<Ticket>,
    leaving: Option<Leaving>,
    connectable: Option<bool>,
    /// When a connection was last turned away, and told of.
    crowded: Option<Time>,
    maps_sent: Time,
    map_round: u32,
    dht: Option<Box<Dht>>,
    /// What the operations of the DHT are for.
    ops: BTreeMap<OpId, Use>,
    keeper: Option<Box<Keeper>>,
    serving: Serving,
    #[cfg(feature = "ghost")]
    lists: Option<lists::Lists>,
    /// The command that leads back to the live edge.
    live_ticket: Option<Ticket>,
}

impl Node {
    /// A viewer, or a client that only lists channels. `seed` and `now` are
    /// all the chance and time it will ever ask for.
    ///
    /// # Errors
    /// [`ConfigError`] names the first parameter that is out of range.
    pub fn viewer(config: Config, seed: [u8; 32], now: Time) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rng = Rng::new(seed);
        let mut node = Self {
            id: rng.node_id(),
            now,
            rng,
            links: Links::new(config.max_upload, now),
            timers: TimerQueue::default(),
            actions: VecDeque::new(),
            stats: Stats::default(),
            next_dial: 0,
            next_load: 0,
            dials: BTreeMap::new(),
            members: Membership::default(),
            rendezvous: Rendezvous::new(Vec::new()),
            partners: Partnership::default(),
            stream: None,
            source: None,
            join: None,
            switch: None,
            joined_at: now,
            waits_until: None,
            list: None,
            leaving: None,
            connectable: None,
            crowded: None,
            maps_sent: now,
            map_round: 0,
            dht: None,
            ops: BTreeMap::new(),
            keeper: None,
            serving: Serving::default(),
            #[cfg(feature = "ghost")]
            lists: None,
            live_ticket: None,
            config,
        };
        if let Some(config) = node.config.dht {
            let rng = node.rng.fork();
            node.dht = Some(Box::new(Dht::new(config, node.config.listen, rng, now)));
        }
        let config = &node.config;
        let periodic = [
            (Timer::Partners, config.map_interval),
            (Timer::Maps, config.map_interval),
            (Timer::Gossip, config.gossip),
            (Timer::Refine, config.refinement),
            (Timer::Review, REVIEW),
            (Timer::Stats, STATS),
        ];
        for (timer, after) in periodic {
            node.arm(timer, now + after);
        }
        Ok(node)
    }

    /// A provider of a channel. It registers at once with the bootstrap
    /// servers, and makes a block of every slot from now on. Blocks are
    /// numbered above `above`, the last number of an earlier run, even if the
    /// clock went back since.
    ///
    /// # Errors
    /// [`ConfigError`] names the first parameter that is out of range.
    ///
    /// # Panics
    /// Never; a signer that is not the channel's makes blocks that nobody takes.
    pub fn provider(
        config: Config,
        channel: Channel,
        signer: Signer,
        bootstrap: Vec<SocketAddr>,
        above: Option<Seq>,
        seed: [u8; 32],
        now: Time,
    ) -> Result<Self, ConfigError> {
        let mut node = Self::viewer(config.for_provider(), seed, now)?;
        let source = Source::new(&channel, signer, above, now);
        let clock = StreamClock::own(now, source.shift());
        let first = source.open();
        node.source = Some(Box::new(source));
        node.enter(channel);
        if let Some(stream) = &mut node.stream {
            let (s, capacity) = (stream.channel.sub_streams(), node.config.buffer);
            let capacity = stream.channel.blocks_in(capacity);
            stream.buffer = Some(BlockBuffer::new(first, s, capacity));
            stream.clock = clock;
            stream.feeds = Feeds::new(now, s, Path { hops: 0, delay: 0 });
        }
        node.join_dht(&bootstrap);
        node.rendezvous = Rendezvous::new(bootstrap);
        node.arm(Timer::Bootstrap, now);
        node.arm_slot();
        Ok(node)
    }

    /// The same node, which keeps long blocks that come in piece by piece from
    /// now on in this memory, and lends it to a driver that reads to
    /// [slots](Machine::slot). A block that came in one piece stays there.
    #[must_use]
    pub fn with_memory(mut self, memory: Box<dyn Memory>) -> Self {
        self.links.set_memory(memory);
        self
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Counters and gauges, as of the last event.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.partners = self.partners.len() as u32;
        stats.members = self.members.len() as u32;
        stats.links = self.links.len() as u32;
        if let Some(stream) = &self.stream {
            stats.children = stream.children.len() as u32;
            stats.upload_slots = stream.children.budget() as u32;
            stats.parents = stream.feeds.iter().map(|(_, f)| f.parent).collect();
            // A packet waits for the end of its slot, too.
            stats.playout_delay = stream.playout.delay().map(|d| d + stream.channel.block());
            if let (Some(next), Some(buffer)) = (stream.playout.next(), &stream.buffer) {
                let ahead = buffer.highest().map_or(0, |h| h.plus(1).0.saturating_sub(next.0));
                let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
                stats.buffered = stream.channel.block().saturating_mul(ahead);
            }
            if let Some(rewind) = &stream.rewind {
                stats.buffered = rewind.ahead(&stream.channel);
            }
            if let Some(next) = self.played() {
                let position = stream.channel.slot_start(next);
                stats.position = Some(position);
                stats.behind = self.live_edge().map(|e| stream.channel.slot_end(e).since(position));
            }
        }
        stats
    }

    /// Begins a channel.
    fn enter(&mut self, channel: Channel) {
        let c = &self.config;
        let whole = c.live == LiveStrategy::Tree;
        self.stream = Some(Stream {
            id: channel.id(),
            verifier: c.verifier.for_channel(&channel),
            buffer: None,
            pace: Pace::new(c, &channel),
            clock: StreamClock::new(channel.round()),
            playout: Playout::new(c),
            feeds: Feeds::new(self.now, channel.sub_streams(), Path::NONE),
            children: Children::new(channel.sub_streams(), c.initial_streams, whole),
            pulling: VecDeque::new(),
            repair: Repair::default(),
            pull: Pull::default(),
            tree: Tree::default(),
            began: self.now,
            progress: self.now,
            orphaned: None,
            played: None,
            wants_live: true,
            tally: Tally::default(),
            rewind: None,
            recruit: Recruit::default(),
            channel: channel.clone(),
        });
        self.begin_keeping();
        self.notify(Notice::Channel(Box::new(channel)));
        self.arm(Timer::Members, self.now + Duration::from_secs(5));
        self.arm(Timer::Heartbeat, self.now + self.config.heartbeat);
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Slot => self.seal_due(),
            Timer::Playout => self.play(),
            Timer::Tick => self.tick(),
            Timer::Start => self.try_start(true),
            Timer::Maps => self.send_maps(),
            Timer::Partners => self.check_partners(),
            Timer::Refine => self.refine(),
            Timer::Gossip => self.gossip(),
            Timer::Heartbeat => self.heartbeat(),
            Timer::Bootstrap => self.call_bootstrap(),
            Timer::Review => self.review(),
            Timer::Upload => self.links.uncap(),
            Timer::Leave => self.left(),
            Timer::Rewind => self.rewind_tick(),
            Timer::Reel => self.reel(),
            Timer::Recruit => self.recruit_tick(),
            Timer::Dht => self.dht.iter_mut().for_each(|dht| dht.wake(self.now)),
            Timer::Cache => self.wake_cache(),
            Timer::Stats => {
                let stats = Box::new(self.stats());
                self.trim();
                self.notify(Notice::Stats(stats));
                self.arm(Timer::Stats, self.now + STATS);
            }
            Timer::Members => {
                let members = self.members.newest(self.now);
                self.notify(Notice::Members(members));
                self.arm(Timer::Members, self.now + Duration::from_secs(30));
            }
        }
    }

    fn on_command(&mut self, ticket: Ticket, command: Command) {
        if self.leaving.is_some() {
            return self.end(ticket, Err(Refusal::Leaving));
        }
        match command {
            Command::Join(join) => self.on_join(ticket, join),
            Command::Publish(packet) => {
                let result = self.publish(&packet);
                self.end(ticket, result.map(|()| Answer::Done));
            }
            Command::List { bootstrap } => self.on_list(ticket, bootstrap),
            Command::Seek(position) => self.on_seek(ticket, position),
            Command::Pause => self.on_pause(ticket),
            Command::Play => self.on_play(ticket),
            Command::LookUp { .. } | Command::Announce { .. } => {
                self.end(ticket, Err(Refusal::NotPossible));
            }
            Command::Leave => self.on_leave(ticket),
        }
    }

    /// We were stopped for a while: others did not fall silent, we did not listen.
    fn resume_after(&mut self, pause: Duration) {
        if pause >= self.config.buffer {
            // Nobody holds what we missed any more, and what we were told is old.
            self.partners.iter_mut().for_each(|p| p.map = None);
            self.begin_again();
        }
        for partner in self.partners.iter_mut() {
            partner.heard = partner.heard + pause;
            partner.told = partner.told + pause;
        }
        if let Some(stream) = &mut self.stream {
            stream.rewind.iter_mut().for_each(|rewind| rewind.slip(pause));
            for (_, feed) in stream.feeds.iter_mut() {
                if let Some(asked) = &mut feed.asked {
                    asked.at = asked.at + pause;
                }
            }
        }
    }

    // Helpers that every file of the node uses.

    fn notify(&mut self, notice: Notice) {
        self.actions.push_back(Action::Notify(notice));
    }

    fn phase(&mut self, phase: Phase) {
        self.notify(Notice::Phase(phase));
    }

    fn end(&mut self, ticket: Ticket, result: Result<Answer, Refusal>) {
        self.notify(Notice::Ended { ticket, result });
    }

    /// A name for what the disk is to read; never used again, not even in
    /// another channel.
    fn next_load(&mut self) -> LoadId {
        self.next_load += 1;
        LoadId(self.next_load)
    }

    /// Arms a timer; always later than now, so that no handler can wake itself
    /// without time passing.
    fn arm(&mut self, timer: Timer, at: Time) {
        self.timers.arm(timer, at.max(self.now + Duration::from_micros(1)));
    }

    fn arm_by(&mut self, timer: Timer, at: Time) {
        self.timers.arm_by(timer, at.max(self.now + Duration::from_micros(1)));
    }

    /// Says something on a link.
    fn say(&mut self, link: LinkId, message: &Message) {
        self.stats.rhythm.count(message);
        if !self.links.send(link, message) {
            self.fault(link, Fault::Slow);
        }
    }

    /// Says something to a partner, if its control link stands.
    fn tell(&mut self, node: NodeId, message: &Message) {
        if let Some(link) = self.partners.get(node).and_then(|p| p.control) {
            self.say(link, message);
        }
    }

    /// Closes a link that is no longer anybody's.
    fn close(&mut self, link: LinkId, flush: bool) {
        if self.links.get(link).is_none_or(|l| l.role == Role::Closing) {
            return;
        }
        self.links.close(self.now, link, flush, &mut self.stats, &mut self.actions);
    }
}

/// How often the upload budget is looked back on.
const REVIEW: Duration = Duration::from_millis(250);
/// How often the application is told how things stand.
const STATS: Duration = Duration::from_secs(1);

impl Machine for Node {
    fn handle(&mut self, now: Time, event: Event) {
        let pause = now.since(self.now);
        self.now = self.now.max(now.min(Time::LAST));
        if pause >= STOPPED && self.timers.first().is_some_and(|t| t + STOPPED < self.now) {
            self.resume_after(pause);
        }
        match event {
            Event::Opened { link, dial, remote } => self.on_opened(link, dial, remote),
            Event::DialFailed { dial } => self.on_dial_failed(dial),
            Event::Received { link, bytes } => self.on_received(link, &bytes),
            Event::Filled { link, bytes } => self.on_filled(link, bytes),
            Event::Flushed { link, bytes } => {
                self.links.flushed(self.now, link, bytes);
                self.past_flushed(link);
            }
            Event::Closed { link } => self.on_closed(link),
            Event::Command { ticket, command } => self.on_command(ticket, command),
            Event::Disk(answer) => self.on_disk(answer),
            // The UDP port belongs to the DHT.
            Event::Datagram { from, bytes } => {
                self.dht.iter_mut().for_each(|dht| dht.receive(self.now, from, &bytes));
            }
            Event::Wake => {}
        }
        while let Some(timer) = self.timers.pop_due(self.now) {
            self.on_timer(timer);
        }
        self.answer_pulls();
        self.keep();
    }

    fn poll(&mut self) -> Output {
        if let Some(action) = self.actions.pop_front() {
            return Output::Act(action);
        }
        if let Some(action) = self.links.poll_send(self.now, &self.config, &mut self.stats) {
            return Output::Act(action);
        }
        if let Some(at) = self.links.capped_until(self.now) {
            self.arm_by(Timer::Upload, at);
        }
        Output::Wait(self.timers.first())
    }

    fn slot(&mut self, link: LinkId) -> Option<&mut [u8]> {
        self.links.slot(link)
    }
}
