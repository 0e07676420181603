//! Our node among nodes of the crate `mainline`, over real sockets on loopback.
#![allow(deprecated, reason = "the other face of `mainline` wants an async runtime")]

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use eddy_core::dht::node::DhtNode;
use eddy_core::dht::{DhtConfig, Key};
use eddy_core::{Answer, Command, Delivery, Host, Notice, Ticket, Time};
use eddy_runtime_mio::{Clock, Driver, Handle, Sockets};
use mainline::{Dht, Id, Testnet};

/// How long anything may take here.
const SOON: Duration = Duration::from_secs(20);
const LIFE: Duration = Duration::from_secs(600);

/// A node of ours on a thread of its own.
struct Ours {
    addr: SocketAddr,
    handle: Handle,
    ended: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

struct Answers(Sender<Answer>);

impl Host for Answers {
    fn deliver(&mut self, _: Time, _: Delivery) {}

    fn notify(&mut self, _: Time, notice: Notice) {
        if let Notice::Ended { result, .. } = notice {
            // Nobody listens any more once the test is over.
            drop(self.0.send(result.expect("nothing here is refused")));
        }
    }
}

impl Ours {
    fn start(bootstrap: &[SocketAddr]) -> Self {
        let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("loopback is free");
        let (addr, clock) = (sockets.local_addr(), Clock::start());
        let config = DhtConfig { hardened: false, ..DhtConfig::default() };
        let seed = [addr.port().to_be_bytes(); 16].concat().try_into().expect("32 bytes");
        let node = DhtNode::new(config, addr, bootstrap, seed, clock.now());
        let (answers, ended) = channel();
        let mut driver = Driver::new(sockets, clock, node, Answers(answers)).expect("it starts");
        let handle = driver.handle();
        let thread = thread::spawn(move || driver.run().expect("the poller works"));
        Self { addr, handle, ended, thread: Some(thread) }
    }

    fn ask(&self, command: Command) -> Answer {
        self.handle.command(Ticket(1), command).expect("there is room for one command");
        self.ended.recv_timeout(SOON).expect("every command ends")
    }

    /// How many nodes stored it.
    fn announce(&self, key: Key, port: u16) -> usize {
        match self.ask(Command::Announce { key, port, life: LIFE }) {
            Answer::Stored { nodes } => nodes,
            other => panic!("{other:?}"),
        }
    }

    fn peers(&self, key: Key) -> Vec<SocketAddr> {
        match self.ask(Command::LookUp { key }) {
            Answer::Peers(peers) => peers,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn key(n: u8) -> (Key, Id) {
    let bytes = [n; 20];
    (Key(bytes), Id::from(bytes))
}

fn record(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn addresses(nodes: &[String]) -> Vec<SocketAddr> {
    nodes.iter().map(|node| node.parse().expect("a node is at an address")).collect()
}

/// Asks until the answer is yes.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < until, "{what} took too long");
        thread::sleep(Duration::from_millis(50));
    }
}

fn mainline_finds(dht: &Dht, key: Id, expected: SocketAddr) {
    wait_for("to find it with mainline", || {
        dht.get_peers(key).flatten().any(|addr: SocketAddrV4| expected == addr.into())
    });
}

fn ours_finds(ours: &Ours, key: Key, expected: SocketAddr) {
    wait_for("to find it with ours", || ours.peers(key).contains(&expected));
}

#[test]
fn what_ours_announces_is_found_by_mainline() {
    let net = Testnet::builder(8).build().expect("a network on loopback");
    let ours = Ours::start(&addresses(&net.bootstrap));
    let (ours_key, id) = key(1);
    assert!(ours.announce(ours_key, 4001) > 0);
    for node in &net.nodes {
        mainline_finds(node, id, record(4001));
    }
}

#[test]
fn what_mainline_announces_is_found_by_ours() {
    let net = Testnet::builder(8).build().expect("a network on loopback");
    let (ours_key, id) = key(2);
    net.nodes[0].announce_peer(id, Some(4002)).expect("it is stored");
    let ours = Ours::start(&addresses(&net.bootstrap));
    ours_finds(&ours, ours_key, record(4002));
}

/// All that is stored is stored by ours here: `mainline` only asks.
#[test]
fn nodes_of_ours_store_for_mainline() {
    let first = Ours::start(&[]);
    let others: Vec<Ours> = (0..3).map(|_| Ours::start(&[first.addr])).collect();
    let client = || {
        let mut builder = Dht::builder();
        builder.bind_address(Ipv4Addr::LOCALHOST).bootstrap(&[first.addr]);
        builder.build().expect("a client on loopback")
    };
    let (writer, reader) = (client(), client());
    wait_for("to get into the network", || writer.bootstrapped() && reader.bootstrapped());
    let (ours_key, id) = key(3);
    writer.announce_peer(id, Some(4003)).expect("it is stored");
    mainline_finds(&reader, id, record(4003));
    for node in &others {
        ours_finds(node, ours_key, record(4003));
    }
}
