//! The DHT by itself: bare nodes on datagrams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eddy_core::dht::Key;
use eddy_core::dht::node::DhtNode;
use eddy_core::{Answer, Command, Delivery, Host, Machine, Notice, Refusal, Ticket, Time};

use crate::board::Shared;
use crate::check::Check;
use crate::protocol::mesh::dht_config;
use crate::scene::{Act, Scene, Who};

const NODES: usize = 6;
/// How long a record is to live.
const LIFE: Duration = Duration::from_secs(600);

/// What became of a node's commands.
type Ledger = Shared<BTreeMap<Ticket, Result<Answer, Refusal>>>;

struct Clerk(Ledger);

impl Host for Clerk {
    fn deliver(&mut self, _now: Time, _delivery: Delivery) {}

    fn notify(&mut self, _now: Time, notice: Notice) {
        if let Notice::Ended { ticket, result } = notice {
            self.0.lock().insert(ticket, result);
        }
    }
}

/// A node of the DHT, and what became of its commands.
struct Peer {
    who: Who,
    ledger: Ledger,
}

impl Peer {
    /// Has it do something, and waits for what comes of that.
    fn ask(&self, scene: &mut Scene, command: Command, what: &str) -> Act<Answer> {
        let ticket = scene.command(self.who, command)?;
        let mut result = None;
        scene.wait(Check::Unmet, what, || {
            result = self.ledger.lock().remove(&ticket);
            result.is_some()
        })?;
        match result {
            Some(Ok(answer)) => Ok(answer),
            other => Err(scene.fail(Check::Unmet, format!("{what}: {other:?}"))),
        }
    }
}

/// So many nodes, which know the first.
fn network(scene: &mut Scene) -> Act<Vec<Peer>> {
    let mut peers = Vec::new();
    for _ in 0..NODES {
        let (who, ledger) = (scene.seat()?, Ledger::default());
        let listen = scene.addr(who);
        let first = peers.first().map(|peer: &Peer| scene.addr(peer.who));
        let known: Vec<_> = first.into_iter().collect();
        let recipe = move |start| {
            let seed = [who.0 as u8; 32];
            let node = DhtNode::new(dht_config(), listen, &known, seed, start);
            Box::new(node) as Box<dyn Machine + Send>
        };
        scene.start(who, Arc::new(recipe), Box::new(Clerk(ledger.clone())));
        peers.push(Peer { who, ledger });
    }
    // Who has looked around knows the others, and they him.
    for peer in &peers {
        peer.ask(scene, Command::LookUp { key: Key::sha1(&[b"anything"]) }, "a first lookup")?;
    }
    Ok(peers)
}

pub(crate) fn dht_nodes_find_what_was_announced(scene: &mut Scene) -> Act {
    let peers = network(scene)?;
    let key = |n: usize| Key::sha1(&[b"record", &[n as u8]]);
    for (n, peer) in peers.iter().enumerate() {
        // Port 0 stands for that of its datagrams.
        let announce = Command::Announce { key: key(n), port: 0, life: LIFE };
        let stored = peer.ask(scene, announce, "an announcement")?;
        let some = matches!(stored, Answer::Stored { nodes } if nodes > 0);
        scene.ensure(Check::Unmet, some, format!("{stored:?}"))?;
    }
    for peer in &peers {
        for (n, owner) in peers.iter().enumerate() {
            let found = peer.ask(scene, Command::LookUp { key: key(n) }, "a lookup")?;
            let right = found == Answer::Peers(vec![scene.addr(owner.who)]);
            let what = format!("{:?} found {found:?} of {:?}", peer.who, owner.who);
            scene.ensure(Check::Address, right, what)?;
        }
    }
    Ok(())
}
