//! The bootstrap (rendezvous) server: which channels there are and who is in
//! them (report p. 12-14). A [`Machine`] like the node.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use crate::config::{Config, ConfigError};
use crate::dht::{self, Dht};
use crate::event::{Action, Answer, Command, Event, Fault, Machine, Notice, Output, Refusal};
use crate::id::{ChannelId, DialId, LinkId, NodeId, Ticket};
use crate::link::{Links, Role};
use crate::rng::Rng;
use crate::stats::Stats;
use crate::stream::channel::{Channel, ChannelSummary, Name};
use crate::stream::sign::PublicKey;
use crate::time::Time;
use crate::timer::TimerQueue;
use crate::wire::frame::{FrameError, Incoming};
use crate::wire::message::{
    HeartbeatReply, Hello, JoinReply, MAX_CHANNELS, MAX_MEMBERS, Member, Message, Purpose, Reason,
    Refuse, Registration, RegistrationResult, VERSION,
};
use crate::wire::parse::ParseError;

/// Channels that a server keeps, at most.
const MAX_LISTED: usize = 10_000;
/// Nodes of one channel that it keeps; of more it knows the number only as
/// this many.
const MAX_KEPT: usize = 20_000;
/// Members that go with a heartbeat's answer.
const REFRESH: usize = 4;
/// How often it looks for those who fell silent.
const SWEEP: Duration = Duration::from_secs(1);
/// A connection without a word for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Sweep,
    Stats,
    Dht,
}

#[derive(Debug)]
struct Kept {
    addr: SocketAddr,
    heard: Time,
    /// Whether it could be dialled; `None` while that was not tried.
    connectable: Option<bool>,
}

#[derive(Debug)]
struct Listed {
    channel: Channel,
    provider: NodeId,
    nodes: BTreeMap<NodeId, Kept>,
    /// When the provider, or anybody of the channel, was last heard of.
    heard: Time,
    /// The provider is here; otherwise only the name is kept for its key.
    active: bool,
}

/// Who is at the other end of a connection.
#[derive(Debug)]
struct Client {
    node: NodeId,
    addr: SocketAddr,
    nonce: u64,
    /// The channel that it is in.
    channel: Option<ChannelId>,
}

/// A bootstrap server. A channel's name stays with the key that registered it
/// first. A channel is listed while its provider sends heartbeats, and can be
/// joined as long as anybody is in it.
#[derive(Debug)]
pub struct Bootstrap {
    config: Config,
    id: NodeId,
    now: Time,
    rng: Rng,
    links: Links,
    timers: TimerQueue<Timer>,
    actions: VecDeque<Action>,
    stats: Stats,
    clients: BTreeMap<LinkId, Client>,
    channels: BTreeMap<ChannelId, Listed>,
    names: BTreeMap<Name, ChannelId>,
    dials: BTreeMap<DialId, (NodeId, ChannelId)>,
    next_dial: u64,
    /// The first node of the DHT that newcomers ask.
    dht: Option<Dht>,
    leaving: Option<Ticket>,
}

impl Bootstrap {
    /// A server without channels.
    ///
    /// # Errors
    /// [`ConfigError`] names the first parameter that is out of range.
    pub fn new(config: Config, seed: [u8; 32], now: Time) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut rng = Rng::new(seed);
        let dht = config.dht.map(|dht| Dht::new(dht, config.listen, rng.fork(), now));
        let mut timers = TimerQueue::default();
        timers.arm(Timer::Sweep, now + SWEEP);
        timers.arm(Timer::Stats, now + SWEEP);
        Ok(Self {
            id: rng.node_id(),
            now,
            rng,
            links: Links::new(None, now),
            timers,
            actions: VecDeque::new(),
            stats: Stats::default(),
            clients: BTreeMap::new(),
            channels: BTreeMap::new(),
            names: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_dial: 0,
            dht,
            leaving: None,
            config,
        })
    }

    /// The channels that are listed now.
    pub fn channels(&self) -> impl Iterator<Item = ChannelSummary> + '_ {
        self.channels.values().filter(|l| l.active).map(summary)
    }

    fn on_opened(&mut self, link: LinkId, dial: Option<DialId>, remote: SocketAddr) {
        if let Some(dial) = dial {
            // The node could be dialled; that is all we wanted to know.
            self.actions.push_back(Action::Close { link, flush: false });
            return self.dialled(dial, true);
        }
        if self.leaving.is_some() || !self.links.has_room(&self.config, remote.ip()) {
            self.stats.faults += 1;
            self.actions.push_back(Action::Close { link, flush: false });
        } else {
            self.links.open(self.now, link, remote, Role::Accepted);
        }
    }

    fn dialled(&mut self, dial: DialId, reached: bool) {
        let Some((node, channel)) = self.dials.remove(&dial) else { return };
        let kept = self.channels.get_mut(&channel).and_then(|l| l.nodes.get_mut(&node));
        if let Some(kept) = kept {
            kept.connectable = Some(reached);
        }
    }

    fn on_received(&mut self, link: LinkId, bytes: &[u8]) {
        self.stats.bytes_received += bytes.len() as u64;
        let mut input = bytes;
        while let Some(incoming) = self.links.receive(self.now, link, &mut input) {
            match incoming {
                Ok(Incoming::Message(message)) => self.on_message(link, message),
                Ok(Incoming::Block(_)) => self.fault(link, Fault::Unexpected),
                Ok(Incoming::Unknown(_)) => {}
                Err(FrameError::Parse(ParseError::Version(version))) => {
                    self.tell_fault(link, Fault::Version(version));
                    return self.refuse(link, Reason::Version);
                }
                Err(FrameError::Oversized(_)) => return self.fault(link, Fault::Oversized),
                Err(_) => return self.fault(link, Fault::Garbage),
            }
        }
    }

    fn on_message(&mut self, link: LinkId, message: Message) {
        let Some(role) = self.links.get(link).map(|l| l.role) else { return };
        match (role, message) {
            (Role::Accepted, Message::Hello(hello)) => self.on_hello(link, hello),
            (Role::Bootstrap, Message::ChannelRegistration(r)) => self.on_registration(link, r),
            (Role::Bootstrap, Message::ChannelList(request)) => self.on_list(link, &request.filter),
            (Role::Bootstrap, Message::ChannelJoin(request)) => {
                self.on_join(link, &request.name, request.key);
            }
            (Role::Bootstrap, Message::Heartbeat(channel)) => self.on_heartbeat(link, channel),
            (Role::Bootstrap, Message::Leave) => self.on_leave(link),
            (Role::Bootstrap, Message::Ping(n)) => self.say(link, &Message::Pong(n)),
            _ => self.fault(link, Fault::Unexpected),
        }
    }

    fn on_hello(&mut self, link: LinkId, hello: Hello) {
        if hello.purpose != Purpose::Bootstrap {
            return self.refuse(link, Reason::Channel);
        }
        let Some(l) = self.links.get_mut(link) else { return };
        l.role = Role::Bootstrap;
        let remote = l.remote;
        let mut addr = hello.listen;
        if addr.ip().is_unspecified() {
            addr.set_ip(remote.ip());
        }
        let nonce = self.rng.next_u64();
        self.clients.insert(link, Client { node: hello.node, addr, nonce, channel: None });
        let hello = Hello {
            max_frame: 0,
            node: self.id,
            purpose: Purpose::Bootstrap,
            listen: self.config.listen,
            observed: remote,
            nonce,
        };
        self.say(link, &Message::Hello(hello));
    }

    fn on_registration(&mut self, link: LinkId, registration: Registration) {
        let result = self.register(link, &registration);
        self.say(link, &Message::RegistrationReply(result));
    }

    fn register(&mut self, link: LinkId, registration: &Registration) -> RegistrationResult {
        let Registration { channel, signature } = registration;
        let Some(client) = self.clients.get(&link) else { return RegistrationResult::BadSignature };
        if !self.config.verifier.registration(channel, client.nonce, signature) {
            return RegistrationResult::BadSignature;
        }
        let id = channel.id();
        let node = client.node;
        match self.names.get(channel.name()).copied() {
            Some(owner) if owner != id => return RegistrationResult::NameTaken,
            Some(_) => {}
            None if !self.has_room_for_a_name() => return RegistrationResult::Full,
            None => {
                self.names.insert(channel.name().clone(), id);
            }
        }
        let listed = self.channels.entry(id).or_insert_with(|| Listed {
            channel: channel.clone(),
            provider: node,
            nodes: BTreeMap::new(),
            heard: self.now,
            active: true,
        });
        // A provider that began anew has another id; its old one is gone.
        if listed.provider != node {
            listed.nodes.remove(&listed.provider);
        }
        // What those in it know of it no longer holds: each joins anew when its next
        // heartbeat finds it unknown.
        if !listed.channel.has_blocks_of(channel) {
            listed.nodes.clear();
        }
        listed.channel = channel.clone();
        listed.provider = node;
        listed.heard = self.now;
        listed.active = true;
        self.keep(link, id);
        RegistrationResult::Registered
    }

    /// Whether one more channel can be kept. The name that was given up longest
    /// ago makes room for it.
    fn has_room_for_a_name(&mut self) -> bool {
        if self.names.len() < MAX_LISTED {
            return true;
        }
        let given_up = self.channels.iter().filter(|(_, l)| !l.active);
        let Some(id) = given_up.min_by_key(|(_, l)| l.heard).map(|(id, _)| *id) else {
            return false;
        };
        if let Some(listed) = self.channels.remove(&id) {
            self.names.remove(listed.channel.name());
        }
        true
    }

    /// Notes that a client is in a channel, and tries whether it can be dialled.
    fn keep(&mut self, link: LinkId, channel: ChannelId) {
        let Some(client) = self.clients.get_mut(&link) else { return };
        let (node, addr, now) = (client.node, client.addr, self.now);
        // A node is in one channel at a time.
        let before = client.channel.replace(channel).filter(|before| *before != channel);
        if let Some(listed) = before.and_then(|before| self.channels.get_mut(&before)) {
            listed.nodes.remove(&node);
        }
        let Some(listed) = self.channels.get_mut(&channel) else { return };
        if let Some(kept) = listed.nodes.get_mut(&node) {
            kept.heard = now;
            if kept.addr == addr {
                return;
            }
            kept.addr = addr;
            kept.connectable = None;
        } else if listed.nodes.len() < MAX_KEPT {
            listed.nodes.insert(node, Kept { addr, heard: now, connectable: None });
        } else {
            return;
        }
        let dial = DialId(self.next_dial);
        self.next_dial += 1;
        self.dials.insert(dial, (node, channel));
        self.actions.push_back(Action::Dial { dial, to: addr });
    }

    fn on_list(&mut self, link: LinkId, filter: &str) {
        let listed = self.channels.values().filter(|l| l.active);
        let found: Vec<ChannelSummary> = listed
            .filter(|l| l.channel.name().as_str().contains(filter))
            .take(MAX_CHANNELS)
            .map(summary)
            .collect();
        self.say(link, &Message::ChannelListReply(found));
    }

    fn on_join(&mut self, link: LinkId, name: &Name, key: Option<PublicKey>) {
        let id = self.names.get(name).copied();
        // Off the air, a channel still has its past, as long as anybody is there.
        let is_there = |l: &&Listed| l.active || !l.nodes.is_empty();
        let listed = id.and_then(|id| self.channels.get(&id)).filter(is_there);
        let reply = match listed {
            None => JoinReply::NoSuchChannel,
            Some(l) if key.is_some_and(|key| key != l.channel.key()) => JoinReply::WrongKey,
            Some(l) => {
                let id = l.channel.id();
                let (channel, viewers) = (l.channel.clone(), viewers(l));
                let members = self.sample(link, id, MAX_MEMBERS);
                self.keep(link, id);
                JoinReply::Joined { channel, viewers, members }
            }
        };
        self.say(link, &Message::JoinReply(Box::new(reply)));
    }

    /// Random live members of a channel, the provider always among them
    /// (Zattoo: the first viewer's list is the encoding server alone).
    fn sample(&mut self, link: LinkId, channel: ChannelId, n: usize) -> Vec<Member> {
        let Some(listed) = self.channels.get(&channel) else { return Vec::new() };
        let own = self.clients.get(&link).map(|c| c.node);
        let now = self.now;
        let member = |(node, kept): (&NodeId, &Kept)| Member {
            node: *node,
            addr: kept.addr,
            connectable: kept.connectable.unwrap_or(true),
            provider: *node == listed.provider,
            age: u16::try_from(now.since(kept.heard).as_secs()).unwrap_or(u16::MAX),
        };
        // A window of a channel's nodes from a random place on costs the same
        // however many there are.
        let from = self.rng.node_id();
        let window = if listed.nodes.len() <= 4 * MAX_MEMBERS { usize::MAX } else { 4 * n };
        let mut found: Vec<Member> = listed
            .nodes
            .range(from..)
            .chain(listed.nodes.range(..from))
            .filter(|(node, _)| Some(**node) != own)
            .take(window)
            .map(member)
            .collect();
        self.rng.shuffle(&mut found);
        if let Some((node, kept)) = listed.nodes.get_key_value(&listed.provider)
            && !found.iter().any(|m| m.provider)
            && Some(*node) != own
        {
            found.push(member((node, kept)));
        }
        found.sort_by_key(|m| !m.provider);
        found.truncate(n);
        found
    }

    fn on_heartbeat(&mut self, link: LinkId, channel: ChannelId) {
        let Some(client) = self.clients.get(&link) else { return };
        let (node, now) = (client.node, self.now);
        let mut reply =
            HeartbeatReply { known: false, viewers: 0, connectable: None, members: Vec::new() };
        if let Some(listed) = self.channels.get_mut(&channel) {
            reply.viewers = viewers(listed);
            if listed.provider == node {
                listed.heard = now;
            }
            if let Some(kept) = listed.nodes.get_mut(&node) {
                kept.heard = now;
                reply.known = true;
                reply.connectable = kept.connectable;
            }
            reply.members = self.sample(link, channel, REFRESH);
        }
        self.say(link, &Message::HeartbeatReply(reply));
    }

    fn on_leave(&mut self, link: LinkId) {
        if let Some(client) = self.clients.get(&link)
            && let Some(listed) = client.channel.and_then(|id| self.channels.get_mut(&id))
        {
            listed.nodes.remove(&client.node);
            listed.active &= listed.provider != client.node;
        }
        self.close(link, true);
    }

    /// Forgets who fell silent. A channel without its provider is listed no
    /// more, but its name stays with its key while there is room.
    fn sweep(&mut self) {
        let (now, life) = (self.now, self.config.member_life);
        for listed in self.channels.values_mut() {
            listed.nodes.retain(|_, kept| now.since(kept.heard) <= life);
            listed.active &= now.since(listed.heard) <= life;
        }
        let limit = self.config.handshake;
        let slow: SmallVec<[(LinkId, bool); 8]> = self
            .links
            .iter()
            .filter_map(|(id, l)| match (l.role, l.partial) {
                (Role::Accepted, _) => (now.since(l.since) > limit).then_some((id, true)),
                (_, Some(began)) => (now.since(began) > limit).then_some((id, true)),
                _ => (now.since(l.heard) > IDLE).then_some((id, false)),
            })
            .collect();
        for (link, is_fault) in slow {
            if is_fault {
                self.fault(link, Fault::Slow);
            } else {
                self.close(link, false);
            }
        }
    }

    fn say(&mut self, link: LinkId, message: &Message) {
        if !self.links.send(link, message) {
            self.fault(link, Fault::Slow);
        }
    }

    fn refuse(&mut self, link: LinkId, reason: Reason) {
        let refuse = Refuse { reason, version: VERSION, referrals: SmallVec::new() };
        self.say(link, &Message::Refuse(refuse));
        self.close(link, true);
    }

    fn tell_fault(&mut self, link: LinkId, fault: Fault) {
        self.stats.faults += 1;
        let node = self.clients.get(&link).map(|c| c.node);
        if let Some(remote) = self.links.get(link).map(|l| l.remote) {
            self.actions.push_back(Action::Notify(Notice::Fault { node, remote, fault }));
        }
    }

    fn fault(&mut self, link: LinkId, fault: Fault) {
        self.tell_fault(link, fault);
        self.close(link, false);
    }

    fn close(&mut self, link: LinkId, flush: bool) {
        self.clients.remove(&link);
        self.links.close(self.now, link, flush, &mut self.stats, &mut self.actions);
    }

    fn on_command(&mut self, ticket: Ticket, command: Command) {
        let result = match command {
            Command::Leave if self.leaving.is_none() => {
                self.leaving = Some(ticket);
                let all: Vec<LinkId> = self.links.iter().map(|(id, _)| id).collect();
                all.into_iter().for_each(|link| self.close(link, true));
                Ok(Answer::Done)
            }
            Command::Leave => Err(Refusal::Leaving),
            _ => Err(Refusal::NotPossible),
        };
        self.actions.push_back(Action::Notify(Notice::Ended { ticket, result }));
    }
}

fn summary(listed: &Listed) -> ChannelSummary {
    ChannelSummary { channel: listed.channel.clone(), viewers: viewers(listed) }
}

fn viewers(listed: &Listed) -> u32 {
    let provider = usize::from(listed.nodes.contains_key(&listed.provider));
    u32::try_from(listed.nodes.len() - provider).unwrap_or(u32::MAX)
}

impl Bootstrap {
    fn tend_dht(&mut self) {
        let Some(dht) = &mut self.dht else { return };
        while let Some(effect) = dht.poll() {
            if let dht::Effect::Send { to, bytes } = effect {
                self.actions.push_back(Action::SendDatagram { to, bytes });
            }
        }
        if let Some(at) = dht.deadline() {
            self.timers.arm(Timer::Dht, at.max(self.now + Duration::from_micros(1)));
        }
    }
}

impl Machine for Bootstrap {
    fn handle(&mut self, now: Time, event: Event) {
        self.now = self.now.max(now.min(Time::LAST));
        match event {
            Event::Opened { link, dial, remote } => self.on_opened(link, dial, remote),
            Event::DialFailed { dial } => self.dialled(dial, false),
            Event::Received { link, bytes } => self.on_received(link, &bytes),
            Event::Flushed { link, bytes } => self.links.flushed(self.now, link, bytes),
            Event::Closed { link } => {
                self.links.remove(link);
                self.clients.remove(&link);
            }
            Event::Command { ticket, command } => self.on_command(ticket, command),
            Event::Datagram { from, bytes } => {
                self.dht.iter_mut().for_each(|dht| dht.receive(self.now, from, &bytes));
            }
            Event::Filled { .. } | Event::Disk(_) | Event::Wake => {}
        }
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Dht => self.dht.iter_mut().for_each(|dht| dht.wake(self.now)),
                Timer::Sweep => self.sweep(),
                Timer::Stats => {
                    self.stats.links = self.links.len() as u32;
                    let stats = Box::new(self.stats.clone());
                    self.actions.push_back(Action::Notify(Notice::Stats(stats)));
                }
            }
            self.timers.arm(timer, self.now + SWEEP);
        }
        self.tend_dht();
    }

    fn poll(&mut self) -> Output {
        if let Some(action) = self.actions.pop_front() {
            return Output::Act(action);
        }
        if let Some(action) = self.links.poll_send(self.now, &self.config, &mut self.stats) {
            return Output::Act(action);
        }
        Output::Wait(self.timers.first())
    }
}
