//! The world: virtual time and everything that lives in it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::rng::{Rng, node_seed};
use eddy_core::{Action, Command, Delivery, Event, LinkId, Machine, Notice, Output, Ticket, Time};
use slab::Slab;

use crate::conn::{Conn, Parcel, Parcels, Syn};
use crate::disk::Shelf;
use crate::faults::Cut;
use crate::hash::Fnv;
use crate::net::Net;
use crate::node::{Life, Node, NodeIx, Traffic};
use crate::queue::{Keeping, Kind, Queue};
use crate::recent::Recent;

/// When a world begins unless told otherwise: midnight UTC, 1 January 2026.
pub const START: Time = Time::from_secs(1_767_225_600);

/// How long after an event a spurious wake comes, at most.
const NUDGE: Duration = Duration::from_millis(20);

/// Who watches what the machines hand to their applications.
pub trait Observer {
    /// A block was handed to `node`'s player. `now` is the world's time; the
    /// block's own times are on the clocks that [`Delivery`] names.
    fn delivered(&mut self, now: Time, node: NodeIx, delivery: &Delivery) {
        let _ = (now, node, delivery);
    }

    /// `node` told its application something.
    fn notified(&mut self, now: Time, node: NodeIx, notice: &Notice) {
        let _ = (now, node, notice);
    }
}

/// Nobody watches.
impl Observer for () {}

/// Machines, the network between them, and time.
///
/// # Panics
/// A machine that breaks the contract of the core makes
/// [`run_until`](Self::run_until) panic with the clause, the node, the time
/// and the seed. Whatever else panics while a world lives, be it a machine or
/// a test's assertion, the world prints the same on standard error.
pub struct World {
    pub(crate) seed: u64,
    pub(crate) start: Time,
    pub(crate) now: Time,
    pub(crate) net: Net,
    pub(crate) queue: Queue<Kind>,
    pub(crate) nodes: Vec<Node>,
    /// The latest node at each address.
    pub(crate) at: BTreeMap<SocketAddr, NodeIx>,
    pub(crate) conns: Slab<Conn>,
    pub(crate) parcels: Parcels,
    /// Connections made so far: tells a reused slot from its last tenant.
    pub(crate) connected: u32,
    pub(crate) syns: Slab<Syn>,
    /// Events on their way to a node.
    pub(crate) post: Slab<Event>,
    pub(crate) cuts: Vec<Cut>,
    pub(crate) shelf: Shelf,
    hash: Fnv,
    recent: Recent,
    events: u64,
    /// Who was given an event last: the one to look at after a panic.
    stepped: Option<NodeIx>,
}

impl World {
    /// An empty world at [`START`]. The seed fixes all chance in it.
    pub fn new(seed: u64, net: Net) -> Self {
        Self::starting(START, seed, net)
    }

    /// An empty world at another time.
    pub fn starting(start: Time, seed: u64, net: Net) -> Self {
        Self {
            seed,
            start,
            now: start,
            net,
            queue: Queue::new(Keeping::default(), start),
            nodes: Vec::new(),
            at: BTreeMap::new(),
            conns: Slab::new(),
            parcels: Parcels::default(),
            connected: 0,
            syns: Slab::new(),
            post: Slab::new(),
            cuts: Vec::new(),
            shelf: Shelf::default(),
            hash: Fnv::new(),
            recent: Recent::default(),
            events: 0,
            stepped: None,
        }
    }

    /// The same with another way to keep what will happen: all is as before.
    #[must_use]
    pub fn keeping(mut self, keeping: Keeping) -> Self {
        assert_eq!(self.queue.len(), 0, "nothing waits yet");
        self.queue = Queue::new(keeping, self.now);
        self
    }

    /// Adds a node: `machine` listens on `addr`, stands at `site` (a row of
    /// the latency matrix) and sends at most `uplink` bytes per second. It is
    /// polled as soon as the world runs on. An address whose node is gone may
    /// be used again: that is a restart.
    ///
    /// # Panics
    /// If a live node has that address, there is no such site, or the uplink
    /// is zero.
    pub fn add(
        &mut self,
        addr: SocketAddr,
        site: usize,
        uplink: Option<u64>,
        machine: Box<dyn Machine>,
    ) -> NodeIx {
        let ix = NodeIx(self.nodes.len() as u32);
        let sites = self.net.rtt.sites();
        assert!(sites.is_none_or(|n| site < n), "site {site} of {sites:?}");
        if let Some(&old) = self.at.get(&addr) {
            assert!(!self.is_live(old), "{addr} is taken by node {}", old.0);
        }
        self.at.insert(addr, ix);
        // Inverted, so that a machine seeded with `node_seed(seed, addr)`
        // does not draw the same numbers as its network.
        let rng = Rng::new(node_seed(!self.seed, &addr));
        self.nodes.push(Node::new(addr, site, uplink, machine, rng));
        self.queue.push(self.now, Kind::Start(ix));
        ix
    }

    /// Gives a node a command, now. Its ticket counts up from 0 on each node.
    pub fn command(&mut self, node: NodeIx, command: Command) -> Ticket {
        let n = &mut self.nodes[node.index()];
        let ticket = Ticket(n.commands);
        n.commands += 1;
        n.tickets.insert(ticket);
        self.post(self.now, node, Event::Command { ticket, command });
        ticket
    }

    /// Runs up to and including `until`; what the machines hand out goes to
    /// `observer`. Does nothing if `until` is past.
    ///
    /// # Panics
    /// If a machine breaks the contract; see [`World`].
    pub fn run_until(&mut self, until: Time, observer: &mut impl Observer) {
        while let Some((at, kind)) = self.queue.pop(until) {
            self.now = at;
            self.step(kind, observer);
        }
        self.now = self.now.max(until);
    }

    /// The world's time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The seed it was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A fingerprint of the run: equal for equal seeds and equal calls.
    /// FNV-1a over time, node, kind and size of each event delivered.
    pub fn hash(&self) -> u64 {
        self.hash.value()
    }

    /// Events delivered so far, to all nodes.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What went through a node so far.
    pub fn traffic(&self, node: NodeIx) -> Traffic {
        self.nodes[node.index()].traffic
    }

    /// The address a node was added with.
    pub fn addr(&self, node: NodeIx) -> SocketAddr {
        self.nodes[node.index()].addr
    }

    /// Whether a node runs or is frozen, and was not ended.
    pub fn is_live(&self, node: NodeIx) -> bool {
        self.nodes[node.index()].life.is_live()
    }

    /// All nodes ever added.
    pub fn nodes(&self) -> impl Iterator<Item = NodeIx> + use<> {
        (0..self.nodes.len() as u32).map(NodeIx)
    }

    /// A node's connections as its machine knows them, and who is at the
    /// other end.
    pub fn links(&self, node: NodeIx) -> impl Iterator<Item = (LinkId, NodeIx)> + '_ {
        self.nodes[node.index()].links.iter().filter_map(|(&link, l)| {
            let conn = self.conn(l.end.conn)?;
            Some((link, conn.ends[l.end.side.other()].node))
        })
    }

    /// Connections that are not over on both sides.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Commands of a node that have not ended yet.
    pub fn open_tickets(&self, node: NodeIx) -> impl Iterator<Item = Ticket> + '_ {
        self.nodes[node.index()].tickets.iter().copied()
    }

    fn step(&mut self, kind: Kind, obs: &mut dyn Observer) {
        match kind {
            Kind::Start(node) => {
                if self.life(node) == Life::Running {
                    self.drain(node, obs);
                }
            }
            Kind::Post { node, slot } => {
                let event = self.post.remove(slot as usize);
                self.dispatch(node, event, obs);
            }
            Kind::Wake(node) => self.wake(node, obs),
            Kind::Nudge(node) => self.dispatch(node, Event::Wake, obs),
            Kind::Thaw(node) => self.thaw(node, obs),
            Kind::Served(node) => self.served(node, obs),
            Kind::Syn { slot } => self.syn(slot, obs),
            Kind::Arrive(end) => self.arrive(end, obs),
            Kind::Read(end) => self.read(end, obs),
            Kind::Resume(end) => self.resume(end),
            Kind::Hangup(end) => self.hang_up(end, obs),
            Kind::Linger(end) => self.linger(end),
            Kind::Reset(conn) => self.break_conn(conn),
        }
    }

    pub(crate) fn life(&self, node: NodeIx) -> Life {
        self.nodes[node.index()].life
    }

    /// Has `event` reach `node` at `at`.
    pub(crate) fn post(&mut self, at: Time, node: NodeIx, event: Event) {
        let slot = self.post.insert(event) as u32;
        self.queue.push(at, Kind::Post { node, slot });
    }

    /// Hands an event to a node, or keeps it while the node is frozen.
    pub(crate) fn dispatch(&mut self, ix: NodeIx, event: Event, obs: &mut dyn Observer) {
        match self.life(ix) {
            Life::Running => self.deliver(ix, event, obs),
            Life::Frozen(_) => self.nodes[ix.index()].held.push(event),
            Life::Exited | Life::Killed | Life::Crashed => {}
        }
    }

    fn deliver(&mut self, ix: NodeIx, event: Event, obs: &mut dyn Observer) {
        if !self.nodes[ix.index()].accepts(&event) {
            return;
        }
        self.hash.event(self.now, ix, &event);
        self.recent.note(self.now, ix, &event);
        self.events += 1;
        self.stepped = Some(ix);
        let spurious = self.net.spurious && event != Event::Wake;
        let node = &mut self.nodes[ix.index()];
        if spurious && node.rng.below(8) == 0 {
            let delay = node.uniform(NUDGE);
            self.queue.push(self.now + delay, Kind::Nudge(ix));
        }
        node.traffic.events += 1;
        if let Event::Datagram { bytes, .. } = &event {
            node.traffic.datagrams_received += bytes.len() as u64;
        }
        let local = node.clock.local(self.now);
        node.told = node.told.max(local);
        node.machine.handle(local, event);
        self.drain(ix, obs);
    }

    /// Polls a machine until it waits, carrying out what it wants done.
    fn drain(&mut self, ix: NodeIx, obs: &mut dyn Observer) {
        loop {
            self.check_progress(ix);
            match self.nodes[ix.index()].machine.poll() {
                Output::Act(action) => self.perform(ix, action, obs),
                Output::Wait(wait) => {
                    self.check_wait(ix, wait);
                    let node = &mut self.nodes[ix.index()];
                    node.deadline = wait.map(|t| node.clock.world(t));
                    self.arm(ix);
                    return;
                }
            }
        }
    }

    fn perform(&mut self, ix: NodeIx, action: Action, obs: &mut dyn Observer) {
        match action {
            Action::Dial { dial, to } => self.dial(ix, dial, to),
            Action::Send { link, head, body } => {
                let end = self.check_link(ix, link, "Send");
                self.send(end, link, Parcel::sent(&head, body));
            }
            Action::SendDatagram { to, bytes } => self.datagram(ix, to, bytes),
            Action::SetRead { link, on } => {
                let end = self.check_link(ix, link, "SetRead");
                self.set_read(end, on);
            }
            Action::Close { link, flush } => {
                let end = self.check_link(ix, link, "Close");
                self.nodes[ix.index()].closing(link);
                self.close(end, flush);
            }
            Action::Disk(request) => self.ask_disk(ix, request),
            Action::Deliver(delivery) => obs.delivered(self.now, ix, &delivery),
            Action::Notify(notice) => {
                if let Notice::Ended { ticket, .. } = notice {
                    self.check_ended(ix, ticket);
                }
                self.channel_known(ix, &notice);
                obs.notified(self.now, ix, &notice);
            }
            other => self.blame(ix, format_args!("an action this world does not know: {other:?}")),
        }
    }

    /// Makes sure that the queue holds a wake no later than the deadline.
    pub(crate) fn arm(&mut self, ix: NodeIx) {
        let node = &mut self.nodes[ix.index()];
        let Some(deadline) = node.deadline else {
            return;
        };
        let at = deadline.max(self.now) + node.uniform(self.net.late);
        if node.armed.is_none_or(|armed| at < armed) {
            node.armed = Some(at);
            self.queue.push(at, Kind::Wake(ix));
        }
    }

    fn wake(&mut self, ix: NodeIx, obs: &mut dyn Observer) {
        let node = &mut self.nodes[ix.index()];
        if node.armed != Some(self.now) {
            return; // An earlier one took its place.
        }
        node.armed = None;
        if node.deadline.is_some_and(|d| d <= self.now) {
            self.dispatch(ix, Event::Wake, obs);
        } else {
            self.arm(ix);
        }
    }

    fn thaw(&mut self, ix: NodeIx, obs: &mut dyn Observer) {
        let node = &mut self.nodes[ix.index()];
        if !matches!(node.life, Life::Frozen(until) if until <= self.now) {
            return;
        }
        node.life = Life::Running;
        let links: Vec<_> = node.links.values().map(|l| l.end).collect();
        for event in std::mem::take(&mut node.held) {
            self.deliver(ix, event, obs);
        }
        for end in links {
            self.read(end, obs);
        }
        self.drain(ix, obs);
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("nodes", &self.nodes.len())
            .field("connections", &self.conns.len())
            .field("queued", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.stepped.map(|node| self.recent.of(node, self.start).to_string());
            let (whereabouts, last) = (self.whereabouts(self.stepped), last.unwrap_or_default());
            eprintln!("the world's last words: {whereabouts}; its last events:{last}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wants to be woken ever earlier, and in the end much later.
    struct Fickle(u64);

    impl Machine for Fickle {
        fn handle(&mut self, _now: Time, event: Event) {
            if matches!(event, Event::Command { .. }) {
                self.0 += 1;
            }
        }
        fn poll(&mut self) -> Output {
            let millis = if self.0 < 1_000 { 10_000 - self.0 } else { 60_000 };
            Output::Wait(Some(START + Duration::from_millis(millis)))
        }
    }

    #[test]
    fn deadlines_given_up_leave_nothing_in_the_queue() {
        let mut world = World::new(1, Net::default());
        let node = world.add(([10, 0, 0, 1], 1).into(), 0, None, Box::new(Fickle(0)));
        for _ in 0..1_000 {
            world.command(node, Command::Leave);
        }
        world.run_until(START + Duration::from_secs(20), &mut ());
        assert_eq!((world.queue.len(), world.events()), (1, 1_000));
    }
}
