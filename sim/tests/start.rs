//! How a viewer begins, seen from its first partner.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::hand::Hand;
use common::swarm::{FIRST_VIEWER, join, signer, viewer};
use common::wire::hello;
use common::*;
use eddy_core::config::Config;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::map::{BufferMap, MapEntry, Path};
use eddy_core::wire::message::{Member, Message, Purpose};
use eddy_core::{Command, Join, NodeId, SubStream};
use eddy_sim::START;

const PARTNER: u8 = 50;

/// The sub-streams that a new viewer subscribes to as soon as its only
/// partner's map is there. The partner holds a minute up to now.
fn asked_at_once(block: Duration) -> BTreeSet<SubStream> {
    let channel = Channel::new(ChannelSpec {
        provider: Name::new("provider").unwrap(),
        name: Name::new("live").unwrap(),
        description: String::new(),
        block,
        sub_streams: 8,
        file: Duration::from_secs(10),
        key: signer().public(),
    })
    .unwrap();
    let config = Config { join_offset: Duration::ZERO, ..Config::default() };
    let mut hand = Hand::new(viewer(1, &config, FIRST_VIEWER, START), START, config.send_window);
    let node = NodeId([PARTNER; 16]);
    let partner = Member { node, addr: addr(PARTNER), connectable: true, provider: true, age: 0 };
    let known = Some((channel.clone(), vec![partner]));
    hand.command(Command::Join(Box::new(Join { known, ..join() })));

    let link = hand.answer().unwrap();
    hand.say(link, &hello(PARTNER, Purpose::Control(channel.id())));
    let newest = channel.seq_at(START).minus(1);
    let last = |j| newest.minus(7).align(SubStream(j), 8);
    let entry = |j| MapEntry { newest: Some(last(j)), subscribed: false };
    let map = BufferMap {
        start: newest.minus(channel.blocks_in(Duration::from_secs(60))),
        reply: false,
        entries: (0..8).map(entry).collect(),
        paths: (0..8).map(|_| Path { hops: 0, delay: 0 }).collect(),
    };
    hand.say(link, &Message::BufferMap(map));
    let asked = |m: Message| match m {
        Message::Subscribe(subscribe) => Some(subscribe.sub),
        _ => None,
    };
    hand.messages(link).into_iter().filter_map(asked).collect()
}

#[test]
fn a_viewer_subscribes_to_every_sub_stream_at_once_however_long_a_block() {
    for millis in [20, 40, 200, 500, 1_000] {
        let asked = asked_at_once(ms(millis));
        assert_eq!(asked.len(), 8, "only {asked:?} of 8 with blocks of {millis} ms");
    }
}
