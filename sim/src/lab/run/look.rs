//! Who owns a file, as anybody could find out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use eddy_core::cache::File;
use eddy_core::dht::node::DhtNode;
use eddy_core::dht::{DhtConfig, Key};
use eddy_core::rng::node_seed;
use eddy_core::{Answer, Command, Notice, Ticket};

use crate::node::NodeIx;
use crate::planx::PlanX;
use crate::world::World;

/// Why a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// It was complete a minute ago.
    Young,
    /// At any time.
    Sample,
    /// The run is about to end.
    Last,
}

/// Somebody who looks files up and takes no other part.
#[derive(Debug)]
pub(super) enum Probe {
    /// In the DHT of the nodes.
    Node(NodeIx, BTreeMap<Ticket, (File, Why)>),
    Lists(PlanX),
    /// Nobody looks.
    Nobody,
}

impl Probe {
    pub(super) fn new(
        world: &mut World,
        dht: DhtConfig,
        addr: SocketAddr,
        via: SocketAddr,
    ) -> Self {
        let dht = DhtConfig { read_only: true, ..dht };
        let seed = node_seed(world.seed(), &addr);
        let node = DhtNode::new(dht, addr, &[via], seed, world.now());
        let ix = world.add(addr, 0, None, Box::new(node));
        Self::Node(ix, BTreeMap::new())
    }

    /// Looks a file up. Returns the owners if they are known at once.
    pub(super) fn look(
        &mut self,
        world: &mut World,
        file: File,
        why: Why,
    ) -> Option<BTreeSet<SocketAddr>> {
        match self {
            Self::Node(ix, open) => {
                let ticket = world.command(*ix, Command::LookUp { key: Key(file.key) });
                open.insert(ticket, (file, why));
                None
            }
            Self::Lists(lists) => Some(lists.newest(file).iter().map(|o| o.addr).collect()),
            Self::Nobody => None,
        }
    }

    /// The owners of a file that was looked up, if that is what a node told.
    pub(super) fn found(
        &mut self,
        node: NodeIx,
        notice: &Notice,
    ) -> Option<(File, Why, BTreeSet<SocketAddr>)> {
        let Self::Node(ix, open) = self else { return None };
        match notice {
            Notice::Ended { ticket, result: Ok(Answer::Peers(owners)) } if node == *ix => {
                let (file, why) = open.remove(ticket)?;
                Some((file, why, owners.iter().copied().collect()))
            }
            _ => None,
        }
    }
}
