//! A channel of real nodes in a world: bootstrap server, provider and viewers.
//! Every block is signed and verified, and every packet that a viewer hands to
//! its player is held against what the provider's encoder sent.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stats::Stats;
use eddy_core::stream::block::packets;
use eddy_core::{Command, Delivery, Fault, Machine, Notice, Phase, Seq, Time};
#[allow(unused_imports, reason = "each test file uses a part of it")]
pub(crate) use eddy_sim::hand::cast::{FIRST_VIEWER, join, signer, viewer};
use eddy_sim::hand::cast::{PROVIDER, SERVER, provider, server};
use eddy_sim::{Net, NodeIx, Observer, START, Sharing, World};

use super::{addr, ms, net};

/// Time between two packets: off the slots' edges, and 66 kB/s.
const GAP: Duration = Duration::from_millis(20);
const PACKET: usize = 1_316;

/// The n-th packet of the encoder: its number and bytes that follow from it.
pub(crate) fn packet(n: u64) -> Bytes {
    let mut bytes = n.to_be_bytes().to_vec();
    let mut x = n;
    while bytes.len() < PACKET {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&x.to_be_bytes());
    }
    bytes.truncate(PACKET);
    bytes.into()
}

/// What one node showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) stats: Stats,
    pub(crate) blocks: u64,
    /// Blocks left out between two that were handed over.
    pub(crate) gaps: u64,
    /// The first block that was out of order, or not the encoder's.
    pub(crate) wrong: Option<Seq>,
    pub(crate) next: Option<Seq>,
    next_packet: Option<u64>,
    pub(crate) last: Time,
    /// Slot to handing over, of the last block.
    pub(crate) behind: Duration,
    /// All but `Stats`, and when they came.
    pub(crate) notices: Vec<(Time, Notice)>,
}

impl View {
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let fault = |(_, n): &(Time, Notice)| match n {
            Notice::Fault { fault, .. } => Some(*fault),
            _ => None,
        };
        self.notices.iter().filter_map(fault).collect()
    }

    pub(crate) fn has(&self, what: impl Fn(&Notice) -> bool) -> bool {
        self.notices.iter().any(|(_, n)| what(n))
    }
}

/// All that the nodes showed.
#[derive(Debug, Default)]
pub(crate) struct Seen(BTreeMap<NodeIx, View>);

impl Observer for Seen {
    fn delivered(&mut self, now: Time, node: NodeIx, delivery: &Delivery) {
        let v = self.0.entry(node).or_default();
        let skipped = v.next.map_or(0, |next| delivery.seq.0.saturating_sub(next.0));
        let backwards = v.next.is_some_and(|next| delivery.seq < next);
        if skipped > 0 {
            v.gaps += skipped;
            v.next_packet = None;
        }
        let mut is_good = !backwards;
        for p in packets(&delivery.payload) {
            let n = p.payload.get(..8).map(|b| u64::from_be_bytes(b.try_into().unwrap()));
            is_good &= n.is_some_and(|n| {
                v.next_packet.is_none_or(|next| n == next) && p.payload == packet(n)
            });
            v.next_packet = n.map(|n| n + 1);
        }
        if !is_good {
            v.wrong.get_or_insert(delivery.seq);
        }
        v.next = Some(delivery.seq.plus(1));
        v.blocks += 1;
        v.last = now;
        v.behind = now.since(delivery.slot);
    }

    fn notified(&mut self, now: Time, node: NodeIx, notice: &Notice) {
        let v = self.0.entry(node).or_default();
        match notice {
            Notice::Stats(stats) => v.stats = (**stats).clone(),
            // The encoder's packets are thousands of tickets.
            Notice::Ended { result: Ok(eddy_core::Answer::Done), .. } => {}
            other => v.notices.push((now, other.clone())),
        }
    }
}

/// The channel, on the air.
pub(crate) struct Swarm {
    pub(crate) world: World,
    pub(crate) seen: Seen,
    pub(crate) server: NodeIx,
    pub(crate) provider: NodeIx,
    pub(crate) config: Config,
    /// Whether the encoder sends.
    pub(crate) on_air: bool,
    pub(crate) published: u64,
    hosts: u8,
}

impl Swarm {
    /// Server and provider, 30 ms from everybody, on the air for 3 s.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, Net { sharing: Sharing::Turns, ..net(30) }, Config::default())
    }

    pub(crate) fn with(seed: u64, net: Net, config: Config) -> Self {
        let mut swarm = Self::dark(seed, net, config);
        swarm.server = swarm.add(SERVER, Box::new(server(seed, &swarm.config, START)));
        swarm.run(3_000);
        swarm
    }

    /// A provider on its own: the bootstrap server is away.
    pub(crate) fn dark(seed: u64, net: Net, config: Config) -> Self {
        let mut world = World::new(seed, net);
        let machine = Box::new(provider(seed, &config, None, world.now()));
        let provider = world.add(addr(PROVIDER), 0, None, machine);
        Self {
            world,
            seen: Seen::default(),
            server: provider,
            provider,
            config,
            on_air: true,
            published: 0,
            hosts: FIRST_VIEWER,
        }
    }

    pub(crate) fn add(&mut self, host: u8, machine: Box<dyn Machine>) -> NodeIx {
        self.world.add(addr(host), 0, None, machine)
    }

    /// A node in the place of the next viewer; it has not joined.
    pub(crate) fn idle(&mut self) -> NodeIx {
        let config = self.config.clone();
        self.next_viewer(&config, |node| Box::new(node))
    }

    /// A viewer that joins now.
    pub(crate) fn viewer(&mut self) -> NodeIx {
        let ix = self.idle();
        self.join(ix);
        ix
    }

    pub(crate) fn viewers(&mut self, n: usize) -> Vec<NodeIx> {
        (0..n).map(|_| self.viewer()).collect()
    }

    /// A viewer that joins now, with something around its node.
    pub(crate) fn disguised(&mut self, disguise: impl FnOnce(Node) -> Box<dyn Machine>) -> NodeIx {
        let config = self.config.clone();
        let ix = self.next_viewer(&config, disguise);
        self.join(ix);
        ix
    }

    fn next_viewer(
        &mut self,
        config: &Config,
        disguise: impl FnOnce(Node) -> Box<dyn Machine>,
    ) -> NodeIx {
        let host = self.hosts;
        self.hosts += 1;
        let node = viewer(self.world.seed(), config, host, self.world.now());
        self.add(host, disguise(node))
    }

    pub(crate) fn join(&mut self, ix: NodeIx) {
        self.world.command(ix, Command::Join(Box::new(join())));
    }

    /// Lets time pass while the encoder sends.
    pub(crate) fn run(&mut self, millis: u64) {
        let until = self.world.now() + ms(millis);
        while self.world.now() < until {
            if self.on_air && self.world.is_live(self.provider) {
                let command = Command::Publish(packet(self.published));
                self.published += 1;
                self.world.command(self.provider, command);
            }
            let next = (self.world.now() + GAP).min(until);
            self.world.run_until(next, &mut self.seen);
        }
    }

    pub(crate) fn view(&self, ix: NodeIx) -> View {
        self.seen.0.get(&ix).cloned().unwrap_or_default()
    }

    /// Asserts that these viewers play, at most `behind` after the provider,
    /// and never lost or altered anything.
    pub(crate) fn assert_intact(&self, viewers: &[NodeIx], behind: Duration) {
        for &ix in viewers {
            let v = self.view(ix);
            let n = &v.stats;
            let what = format!(
                "{ix:?}: {} blocks, {} gaps, wrong {:?}, lost {}, late {}, last {:?} ago, \
                 behind {:?}, duplicates {}, repaired {}, unwanted {}, reselections {}, \
                 parents {:?}; provider sent {}, children {} of {}; {:?}",
                v.blocks,
                v.gaps,
                v.wrong,
                n.lost,
                n.late,
                self.world.now().since(v.last),
                v.behind,
                n.duplicates,
                n.repaired,
                n.unwanted,
                n.reselections,
                n.parents,
                self.view(self.provider).stats.blocks_sent,
                self.view(self.provider).stats.children,
                self.view(self.provider).stats.upload_slots,
                v.notices.iter().rev().take(6).collect::<Vec<_>>(),
            );
            assert!(v.wrong.is_none() && v.gaps == 0 && v.stats.lost == 0, "{what}");
            assert!(v.blocks > 0 && self.world.now().since(v.last) < ms(500), "{what}");
            assert!(v.behind <= behind, "{what}");
        }
    }

    /// Whether a node last said that it plays.
    pub(crate) fn phase(&self, ix: NodeIx) -> Option<Phase> {
        let phase = |(_, n): &(Time, Notice)| match n {
            Notice::Phase(phase) => Some(*phase),
            _ => None,
        };
        self.view(ix).notices.iter().rev().find_map(phase)
    }
}
