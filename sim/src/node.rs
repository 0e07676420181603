//! A node: a machine, where it stands, and what the world knows of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::rng::Rng;
use eddy_core::{Event, LinkId, Machine, Ticket, Time};

use crate::clock::Clock;
use crate::conn::EndKey;
use crate::disk::Disk;
use crate::uplink::Uplink;

/// A node of a world, by order of adding. A restarted node is a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeIx(pub u32);

impl NodeIx {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What went through a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that left through its links' uplink.
    pub sent: u64,
    /// Bytes that arrived on its links.
    pub received: u64,
    /// Payload bytes of datagrams sent, lost ones included.
    pub datagrams_sent: u64,
    /// Payload bytes of datagrams that arrived.
    pub datagrams_received: u64,
    /// Events handed to the machine.
    pub events: u64,
}

/// Whether a node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    /// Stopped until then; its events wait.
    Frozen(Time),
    /// The program ended and its host answers for it.
    Exited,
    /// The program ended and its host drops what comes for it.
    Killed,
    /// The host is off: nobody was told.
    Crashed,
}

impl Life {
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Frozen(_))
    }
}

/// A link as its machine sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) end: EndKey,
    /// The machine asked to close it.
    pub(crate) closing: bool,
    /// Bytes sent and not yet given back.
    pub(crate) unflushed: usize,
}

pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    pub(crate) site: usize,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) life: Life,
    /// Whether others can dial it.
    pub(crate) reachable: bool,
    pub(crate) clock: Clock,
    /// The latest that the machine was told.
    pub(crate) told: Time,
    pub(crate) uplink: Uplink,
    pub(crate) rng: Rng,
    /// Links the machine was told of and not yet told that they are closed.
    pub(crate) links: BTreeMap<LinkId, Link>,
    /// Ends that the machine dialled, while it does not know that they were taken.
    pub(crate) opening: Vec<EndKey>,
    pub(crate) opened: u64,
    pub(crate) dialled: u16,
    /// Events that came while it was frozen.
    pub(crate) held: Vec<Event>,
    /// When the machine wants to be woken, in world time.
    pub(crate) deadline: Option<Time>,
    /// When the queue holds a wake for it. One entry serves all deadlines:
    /// one that comes too early is pushed again.
    pub(crate) armed: Option<Time>,
    /// Commands not yet ended.
    pub(crate) tickets: BTreeSet<Ticket>,
    pub(crate) commands: u64,
    /// Mean time to the reset of a connection.
    pub(crate) resets: Option<Duration>,
    pub(crate) traffic: Traffic,
    pub(crate) disk: Option<Disk>,
    /// Polls of the machine since time last moved.
    pub(crate) polls: (Time, u32),
}

impl Node {
    pub(crate) fn new(
        addr: SocketAddr,
        site: usize,
        uplink: Option<u64>,
        machine: Box<dyn Machine>,
        rng: Rng,
    ) -> Self {
        Self {
            addr,
            site,
            machine,
            life: Life::Running,
            reachable: true,
            clock: Clock::exact(),
            told: Time::ZERO,
            uplink: Uplink::new(uplink),
            rng,
            links: BTreeMap::new(),
            opening: Vec::new(),
            opened: 0,
            dialled: 0,
            held: Vec::new(),
            deadline: None,
            armed: None,
            tickets: BTreeSet::new(),
            commands: 0,
            resets: None,
            traffic: Traffic::default(),
            disk: None,
            polls: (Time::ZERO, 0),
        }
    }

    /// A connection that the machine dialled stands: names its link.
    pub(crate) fn connected(&mut self, end: EndKey) -> LinkId {
        self.opening.retain(|e| *e != end);
        self.open(end)
    }

    /// Names a new link.
    pub(crate) fn open(&mut self, end: EndKey) -> LinkId {
        let link = LinkId(self.opened);
        self.opened += 1;
        self.links.insert(link, Link { end, closing: false, unflushed: 0 });
        link
    }

    /// Its machine asked to close a link.
    pub(crate) fn closing(&mut self, link: LinkId) {
        self.links.entry(link).and_modify(|l| l.closing = true);
    }

    /// The address that an outgoing connection seems to come from.
    pub(crate) fn ephemeral(&mut self) -> SocketAddr {
        const FIRST: u16 = 49_152;
        let port = FIRST + self.dialled % (u16::MAX - FIRST);
        self.dialled = self.dialled.wrapping_add(1);
        SocketAddr::new(self.addr.ip(), port)
    }

    /// Whether a uniform draw falls into `share` of all cases.
    pub(crate) fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && (self.rng.next_u64() >> 11) as f64 / ((1_u64 << 53) as f64) < share
    }

    /// A uniform duration from zero up to, but not including, `limit`.
    pub(crate) fn uniform(&mut self, limit: Duration) -> Duration {
        let micros = eddy_core::time::micros(limit);
        if micros == 0 {
            return Duration::ZERO;
        }
        Duration::from_micros(self.rng.below(usize::try_from(micros).unwrap_or(usize::MAX)) as u64)
    }
}
