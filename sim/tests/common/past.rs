//! A channel whose past is kept: a provider that keeps everything, live viewers
//! who keep their share, and viewers who come for what went by.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::bootstrap::Bootstrap;
use eddy_core::cache::{CacheConfig, Caps};
use eddy_core::config::Config;
use eddy_core::dht::DhtConfig;
use eddy_core::node::Node;
use eddy_core::rng::node_seed;
use eddy_core::stats::Stats;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::sign::{Signer, Verifier};
use eddy_core::{Command, Delivery, Fault, Join, Notice, Phase, Position, Seq, Time};
use eddy_sim::{Disk, Net, NodeIx, Observer, Rtt, START, World};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What each viewer was handed, and its latest counters.
#[derive(Default)]
pub(crate) struct Seen {
    blocks: BTreeMap<NodeIx, Vec<(Seq, Bytes)>>,
    stats: BTreeMap<NodeIx, Stats>,
    faults: BTreeMap<NodeIx, Vec<Fault>>,
    phases: BTreeMap<NodeIx, Phase>,
}

impl Observer for Seen {
    fn delivered(&mut self, _: Time, ix: NodeIx, delivery: &Delivery) {
        self.blocks.entry(ix).or_default().push((delivery.seq, delivery.payload.clone()));
    }

    fn notified(&mut self, _: Time, ix: NodeIx, notice: &Notice) {
        if let Notice::Stats(stats) = notice {
            self.stats.insert(ix, (**stats).clone());
        }
        if let Notice::Phase(phase) = notice {
            self.phases.insert(ix, *phase);
        }
        if let Notice::Fault { fault, .. } = notice {
            self.faults.entry(ix).or_default().push(*fault);
        }
    }
}

pub(crate) struct Channels {
    pub(crate) world: World,
    pub(crate) seen: Seen,
    pub(crate) channel: Channel,
    pub(crate) provider: NodeIx,
    pub(crate) nodes: u8,
    pub(crate) published: u64,
}

pub(crate) fn addr(host: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, host, 1), 4000).into()
}

pub(crate) fn config(host: u8) -> Config {
    let caps = Caps { per_address: None, per_network: None };
    Config {
        listen: addr(host),
        verifier: Verifier::ghost(),
        cache: Some(CacheConfig { caps, ..CacheConfig::default() }),
        dht: Some(DhtConfig {
            network: Some(*b"eddytest"),
            hardened: false,
            ..DhtConfig::default()
        }),
        ..Config::default()
    }
}

impl Channels {
    pub(crate) fn new() -> Self {
        let channel = Channel::new(ChannelSpec {
            provider: Name::new("NCTU").unwrap(),
            name: Name::new("Channel1").unwrap(),
            description: String::new(),
            block: Duration::from_millis(40),
            sub_streams: 8,
            file: Duration::from_secs(2),
            key: Signer::ghost().public(),
        })
        .unwrap();
        let rtt = Rtt::uniform(Duration::from_millis(40));
        let mut world = World::new(1, Net { rtt, ..Net::default() });
        let server = Bootstrap::new(config(1), node_seed(1, &addr(1)), START).unwrap();
        world.add(addr(1), 0, None, Box::new(server));
        let keep = CacheConfig::provider(Duration::from_secs(3_600));
        let provider = Node::provider(
            Config { cache: Some(keep), ..config(2) },
            channel.clone(),
            Signer::ghost(),
            vec![addr(1)],
            None,
            node_seed(1, &addr(2)),
            START,
        );
        let provider = world.add(addr(2), 0, None, Box::new(provider.unwrap()));
        world.mount(provider, Disk::default());
        let seen = Seen::default();
        let mut it = Self { world, seen, channel, provider, nodes: 2, published: 0 };
        it.run(SECOND);
        it
    }

    pub(crate) fn viewer(&mut self, position: Position) -> NodeIx {
        self.viewer_with(position, |_| {})
    }

    /// A viewer whose configuration differs.
    pub(crate) fn viewer_with(
        &mut self,
        position: Position,
        change: impl FnOnce(&mut Config),
    ) -> NodeIx {
        self.nodes += 1;
        let mut config = config(self.nodes);
        change(&mut config);
        self.start(config, Disk::default(), position)
    }

    /// Kills a live viewer and starts it again on its disk, at another address.
    pub(crate) fn restart(&mut self, ix: NodeIx) -> NodeIx {
        let disk = self.world.disk_mut(ix).unwrap().clone();
        self.world.kill(ix);
        self.nodes += 1;
        self.start(config(self.nodes), disk, Position::Live)
    }

    fn start(&mut self, config: Config, disk: Disk, position: Position) -> NodeIx {
        let at = config.listen;
        let node = Node::viewer(config, node_seed(1, &at), self.world.now()).unwrap();
        let ix = self.world.add(at, 0, None, Box::new(node));
        self.world.mount(ix, disk);
        let join = Join {
            bootstrap: vec![addr(1)],
            channel: self.channel.name().clone(),
            key: None,
            known: None,
            position,
        };
        self.world.command(ix, Command::Join(Box::new(join)));
        ix
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.world.now() + span;
        while self.world.now() < until {
            if self.world.is_live(self.provider) {
                let packet = Bytes::from(self.published.to_be_bytes().repeat(40));
                self.published += 1;
                self.world.command(self.provider, Command::Publish(packet));
            }
            let next = (self.world.now() + Duration::from_millis(10)).min(until);
            self.world.run_until(next, &mut self.seen);
        }
    }

    pub(crate) fn handed(&self, ix: NodeIx) -> &[(Seq, Bytes)] {
        self.seen.blocks.get(&ix).map_or(&[], |blocks| blocks)
    }

    /// Asserts that what a viewer was handed is what others saw live, without a
    /// gap; returns how many blocks that are.
    pub(crate) fn assert_whole(&self, ix: NodeIx, live: NodeIx) -> usize {
        let truth: BTreeMap<Seq, &Bytes> = self.handed(live).iter().map(|(s, b)| (*s, b)).collect();
        let mut last: Option<Seq> = None;
        for (seq, bytes) in self.handed(ix) {
            assert!(last.is_none_or(|last| *seq == last.plus(1)), "{seq:?} after {last:?}");
            assert!(truth.get(seq).is_none_or(|b| *b == bytes), "{seq:?} has other bytes");
            last = Some(*seq);
        }
        self.handed(ix).len()
    }

    /// What a node had to complain of.
    pub(crate) fn faults(&self, ix: NodeIx) -> &[Fault] {
        self.seen.faults.get(&ix).map_or(&[], |faults| faults)
    }

    /// Where a viewer said last that it stands.
    pub(crate) fn phase(&self, ix: NodeIx) -> Phase {
        self.seen.phases[&ix]
    }

    pub(crate) fn stats(&self, ix: NodeIx) -> &Stats {
        &self.seen.stats[&ix]
    }
}
