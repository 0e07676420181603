//! Who is on stage: one channel, its server, its provider and its viewers,
//! each at an address of its own, and each in a position to play from.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use eddy_core::bootstrap::Bootstrap;
use eddy_core::cache::CacheConfig;
use eddy_core::config::Config;
use eddy_core::dht::DhtConfig;
use eddy_core::memory::{Memory, Room};
use eddy_core::node::Node;
use eddy_core::rng::node_seed;
use eddy_core::stream::block::Block;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::map::{BufferMap, MapEntry, Path};
use eddy_core::stream::sign::Signer;
use eddy_core::time::micros;
use eddy_core::wire::message::{Member, Message, Purpose, SubscribeReply, Token};
use eddy_core::{Command, Join, LinkId, NodeId, Position, Seq, SubStream, Time};

use super::Hand;
use super::words::hello;
use crate::START;

/// Block duration of [`channel`].
pub const BLOCK: Duration = Duration::from_millis(40);
/// Sub-streams of [`channel`].
pub const SUB_STREAMS: u8 = 8;
/// The bootstrap server's host.
pub const SERVER: u8 = 1;
/// The provider's host.
pub const PROVIDER: u8 = 2;
/// Viewers' hosts count up from here.
pub const FIRST_VIEWER: u8 = 10;
/// Three members that [`a_viewer`] knows of.
pub const MEMBERS: [u8; 3] = [50, 51, 52];

static CHANNEL: LazyLock<Channel> = LazyLock::new(|| channel_of("live", &signer()));

/// The address of a host.
pub fn addr(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 4_000).into()
}

/// The provider's key.
pub fn signer() -> Signer {
    Signer::from_secret(&[7; 32])
}

/// The channel: blocks of 40 ms, eight sub-streams.
pub fn channel() -> Channel {
    CHANNEL.clone()
}

/// The same channel under another name or with another key.
///
/// # Panics
/// If it is no name.
pub fn channel_of(name: &str, signer: &Signer) -> Channel {
    let named = |name| Name::new(name).expect("a good name");
    Channel::new(ChannelSpec {
        provider: named("provider"),
        name: named(name),
        description: String::new(),
        block: BLOCK,
        sub_streams: SUB_STREAMS,
        file: Duration::from_secs(10),
        key: signer.public(),
    })
    .expect("a good channel")
}

/// A node's configuration: the given one, at its address.
pub fn at_host(config: &Config, host: u8) -> Config {
    Config { listen: addr(host), ..config.clone() }
}

/// How to join the channel by way of the server.
pub fn join() -> Join {
    Join {
        bootstrap: vec![addr(SERVER)],
        channel: channel().name().clone(),
        key: Some(channel().key()),
        known: None,
        position: Position::Live,
    }
}

/// A member at [`addr`]`(id)`.
pub fn member(id: u8) -> Member {
    Member { node: NodeId([id; 16]), addr: addr(id), connectable: true, provider: false, age: 0 }
}

/// The bootstrap server.
///
/// # Panics
/// If the configuration is invalid.
pub fn server(seed: u64, config: &Config, now: Time) -> Bootstrap {
    let seed = node_seed(seed, &addr(SERVER));
    Bootstrap::new(at_host(config, SERVER), seed, now).expect("a valid configuration")
}

/// The provider; `above` is the last number that it used in an earlier life.
///
/// # Panics
/// If the configuration is invalid.
pub fn provider(seed: u64, config: &Config, above: Option<Seq>, now: Time) -> Node {
    let (servers, seed) = (vec![addr(SERVER)], node_seed(seed, &addr(PROVIDER)));
    let config = at_host(config, PROVIDER);
    Node::provider(config, channel(), signer(), servers, above, seed, now)
        .expect("a valid configuration")
}

/// A viewer that has not joined. It lends memory to a driver that asks.
///
/// # Panics
/// If the configuration is invalid.
pub fn viewer(seed: u64, config: &Config, host: u8, now: Time) -> Node {
    Node::viewer(at_host(config, host), node_seed(seed, &addr(host)), now)
        .expect("a valid configuration")
        .with_memory(Box::new(Heap))
}

/// Memory like any other.
#[derive(Debug)]
struct Heap;

impl Memory for Heap {
    fn take(&mut self, length: usize) -> Option<Box<dyn Room>> {
        Some(Box::new(vec![0; length]))
    }
}

/// A provider in somebody's hand.
pub fn a_provider() -> Hand<Node> {
    let config = Config::default();
    Hand::new(provider(1, &config, None, START), START, config.send_window)
}

/// A viewer that has not joined.
pub fn an_idle_viewer(seed: u64) -> Hand<Node> {
    let config = Config::default();
    Hand::new(viewer(seed, &config, FIRST_VIEWER, START), START, config.send_window)
}

/// A viewer that knows the channel and three [`MEMBERS`], and dials them.
pub fn a_viewer(seed: u64) -> Hand<Node> {
    knowing_members(an_idle_viewer(seed))
}

fn knowing_members(mut hand: Hand<Node>) -> Hand<Node> {
    let known = Some((channel(), MEMBERS.map(member).to_vec()));
    hand.command(Command::Join(Box::new(Join { known, ..join() })));
    hand
}

/// The same, with a disk and a DHT.
pub fn a_keeping_viewer() -> Hand<Node> {
    let (cache, dht) = (Some(CacheConfig::default()), Some(DhtConfig::default()));
    let config = Config { cache, dht, ..Config::default() };
    let hand = Hand::new(viewer(1, &config, FIRST_VIEWER, START), START, config.send_window);
    with_partners(knowing_members(hand))
}

/// A viewer whose three partners grant it every sub-stream, and give it tokens.
pub fn a_viewer_with_partners() -> Hand<Node> {
    with_partners(a_viewer(1))
}

/// A partner in somebody's hand.
#[derive(Clone, Copy, Debug)]
pub struct Other {
    /// Who it is.
    pub node: NodeId,
    /// Its control link.
    pub control: LinkId,
    /// The link on which it may bring blocks.
    pub blocks: LinkId,
}

/// The same with this configuration, and block links to its partners. The server
/// does not answer.
///
/// # Panics
/// If the configuration is invalid.
pub fn a_viewer_with_block_links(config: &Config) -> (Hand<Node>, Vec<Other>) {
    let node = viewer(1, config, FIRST_VIEWER, START);
    let mut hand = with_partners(knowing_members(Hand::new(node, START, config.send_window)));
    let controls: Vec<LinkId> = hand.open.keys().copied().collect();
    let mut others = Vec::new();
    while let Some((_, to)) = hand.dials.first().copied() {
        let Some(n) = MEMBERS.into_iter().position(|id| addr(id) == to) else {
            hand.refuse();
            continue;
        };
        let (node, control) = (member(MEMBERS[n]).node, controls[n]);
        let blocks = hand.answer().expect("it was dialled");
        hand.say(blocks, &hello(MEMBERS[n], Purpose::Block(Token(u64::from(MEMBERS[n])))));
        others.push(Other { node, control, blocks });
    }
    (hand, others)
}

/// A signed block of the channel.
pub fn a_block(seq: Seq, payload: &[u8]) -> Block {
    let signature = signer().sign_block(&channel().id(), micros(BLOCK), seq, payload);
    Block::new(seq, &signature, payload)
}

fn with_partners(mut hand: Hand<Node>) -> Hand<Node> {
    for id in MEMBERS {
        let link = hand.answer().expect("it dials each member");
        hand.say(link, &hello(id, Purpose::Control(channel().id())));
        let map = full_map(hand.now);
        hand.say(link, &map);
        for sub in (0..SUB_STREAMS).map(SubStream) {
            hand.say(link, &Message::SubscribeReply(SubscribeReply { sub, result: Ok(()) }));
        }
        hand.say(link, &Message::BlockLink(Token(u64::from(id))));
    }
    hand
}

/// A bootstrap server in somebody's hand.
pub fn a_server() -> Hand<Bootstrap> {
    let config = Config::default();
    Hand::new(server(1, &config, START), START, config.send_window)
}

/// A bootstrap server that three nodes have said hello to.
pub fn a_server_with_clients() -> Hand<Bootstrap> {
    let mut hand = a_server();
    for id in MEMBERS {
        let link = hand.accept(addr(id));
        hand.say(link, &hello(id, Purpose::Bootstrap));
    }
    hand
}

/// A partner's map: it holds everything up to now, and takes what it subscribed to.
pub fn full_map(now: Time) -> Message {
    let newest = channel().seq_at(now).minus(1);
    let last = |j| newest.minus(u64::from(SUB_STREAMS) - 1).align(SubStream(j), SUB_STREAMS);
    let entry = |j| MapEntry { newest: Some(last(j)), subscribed: true };
    Message::BufferMap(BufferMap {
        start: newest.minus(500),
        reply: false,
        entries: (0..SUB_STREAMS).map(entry).collect(),
        paths: (0..SUB_STREAMS).map(|_| Path { hops: 1, delay: 10 }).collect(),
    })
}
