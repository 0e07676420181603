//! The reference: the same scenarios in virtual time, where every driver-side
//! rule holds by construction, and where it is allowed to be unkind.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::{Command, Delivery, DiskAnswer, Host, Notice, Ticket, Time};
use eddy_sim::{Disk, Net, NodeIx, Observer, Rtt, START, Sharing, World};

use crate::board::Board;
use crate::harness::{Harness, Make};
use crate::judge::{Audience, Rules};
use crate::run::{Mount, Stage};

/// Virtual time between two looks at the board.
const TICK: Duration = Duration::from_millis(1);
/// Events after which a scenario is taken for one that never ends.
const MAX_EVENTS: u64 = 20_000_000;

/// Wakes to the microsecond, streams in the pieces in which they were sent.
#[derive(Debug)]
pub struct Plain;

/// Wakes come up to 30 ms late.
#[derive(Debug)]
pub struct Late;

/// Every eighth event is followed by a wake that nobody asked for.
#[derive(Debug)]
pub struct Spurious;

/// Streams are cut anywhere.
#[derive(Debug)]
pub struct Chunked;

const NO: Duration = Duration::ZERO;

impl Mount for Plain {
    fn stage() -> Stage {
        Virtual::stage(NO, false, false)
    }
}

impl Mount for Late {
    fn stage() -> Stage {
        Virtual::stage(Duration::from_millis(30), false, false)
    }
}

impl Mount for Spurious {
    fn stage() -> Stage {
        Virtual::stage(NO, true, false)
    }
}

impl Mount for Chunked {
    fn stage() -> Stage {
        Virtual::stage(NO, false, true)
    }
}

/// Virtual time as a driver.
struct Virtual {
    world: World,
    rules: Rules,
    seats: BTreeMap<usize, SocketAddr>,
    nodes: BTreeMap<usize, NodeIx>,
    hosts: Hosts,
}

#[derive(Default)]
struct Hosts(BTreeMap<NodeIx, Audience>);

impl Virtual {
    fn stage(late: Duration, spurious: bool, chunked: bool) -> Stage {
        let net = Net {
            rtt: Rtt::uniform(Duration::from_millis(2)),
            sharing: Sharing::Turns,
            late,
            spurious,
            chunked,
            ..Net::default()
        };
        Stage(Box::new(Self {
            world: World::new(1, net),
            rules: Rules { real: false, exact: late.is_zero(), early: spurious },
            seats: BTreeMap::new(),
            nodes: BTreeMap::new(),
            hosts: Hosts::default(),
        }))
    }

    fn run_for(&mut self, span: Duration) {
        assert!(self.world.events() < MAX_EVENTS, "{MAX_EVENTS} events and no end");
        self.world.run_until(self.world.now() + span, &mut self.hosts);
    }
}

impl Harness for Virtual {
    fn rules(&self) -> Rules {
        self.rules
    }

    fn seat(&mut self, n: usize) -> io::Result<SocketAddr> {
        let host = u8::try_from(n + 1).map_err(io::Error::other)?;
        let addr = ([10, 0, 0, host], 7_400).into();
        self.seats.insert(n, addr);
        Ok(addr)
    }

    fn start(&mut self, n: usize, make: Make, audience: Audience, disk: bool) {
        if let Some(addr) = self.seats.remove(&n) {
            let subject = make(self.world.now());
            let node = self.world.add(addr, 0, None, Box::new(subject));
            if disk {
                self.world.mount(node, Disk::default());
            }
            self.nodes.insert(n, node);
            self.hosts.0.insert(node, audience);
        }
    }

    fn command(&mut self, n: usize, ticket: Ticket, command: Command) -> bool {
        let Some(&node) = self.nodes.get(&n) else { return false };
        let given = self.world.command(node, command);
        assert_eq!(given, ticket, "both count up from 0");
        true
    }

    fn answer(&mut self, _: usize, _: DiskAnswer) -> bool {
        true // The world's own disks answer.
    }

    fn stop(&mut self, n: usize) {
        self.seats.remove(&n);
        if let Some(node) = self.nodes.remove(&n) {
            self.world.exit(node);
        }
    }

    fn elapsed(&self) -> Duration {
        self.world.now().since(START)
    }

    fn pass(&mut self, span: Duration) {
        self.run_for(span);
    }

    fn tick(&mut self, _board: &Board) -> Duration {
        self.run_for(TICK);
        TICK
    }
}

impl Observer for Hosts {
    fn delivered(&mut self, now: Time, node: NodeIx, delivery: &Delivery) {
        if let Some(host) = self.0.get_mut(&node) {
            host.deliver(now, delivery.clone());
        }
    }

    fn notified(&mut self, now: Time, node: NodeIx, notice: &Notice) {
        if let Some(host) = self.0.get_mut(&node) {
            host.notify(now, notice.clone());
        }
    }
}
