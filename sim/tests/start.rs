//! How a viewer begins, seen from its first partner.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::*;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::map::{BufferMap, MapEntry, Path};
use eddy_core::wire::message::{Member, Message, Purpose, SubscribeReply};
use eddy_core::{Command, Join, LinkId, NodeId, Notice, SubStream, Warning};
use eddy_sim::START;
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{FIRST_VIEWER, SERVER, a_viewer, addr, join, signer, viewer};
use eddy_sim::hand::words::hello;

const PARTNER: u8 = 50;

/// A new viewer whose only partner's map has just come, and the link to that
/// partner, which holds a minute up to now.
fn beginning(block: Duration) -> (Hand<Node>, LinkId, BufferMap) {
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
    hand.say(link, &Message::BufferMap(map.clone()));
    (hand, link, map)
}

fn subscribed(hand: &Hand<Node>, link: LinkId) -> BTreeSet<SubStream> {
    let asked = |m: Message| match m {
        Message::Subscribe(subscribe) => Some(subscribe.sub),
        _ => None,
    };
    hand.messages(link).into_iter().filter_map(asked).collect()
}

#[test]
fn a_viewer_subscribes_to_every_sub_stream_at_once_however_long_a_block() {
    for millis in [20, 40, 200, 500, 1_000] {
        let (hand, link, _) = beginning(ms(millis));
        let asked = subscribed(&hand, link);
        assert_eq!(asked.len(), 8, "only {asked:?} of 8 with blocks of {millis} ms");
    }
}

#[test]
fn a_grant_that_comes_too_late_is_given_back() {
    let (mut hand, link, map) = beginning(ms(40));
    for _ in 0..5 {
        hand.pass(ms(500));
        hand.say(link, &Message::BufferMap(map.clone()));
    }
    let given_back = |hand: &Hand<Node>| {
        let back = |m: &Message| matches!(m, Message::Unsubscribe(_));
        hand.messages(link).iter().filter(|m| back(m)).count()
    };
    assert_eq!(given_back(&hand), 0);
    for sub in (0..8).map(SubStream) {
        hand.say(link, &Message::SubscribeReply(SubscribeReply { sub, result: Ok(()) }));
    }
    // Else it would push for ever what nobody here expects.
    assert_eq!(given_back(&hand), 8);
}

#[test]
fn a_server_that_says_hello_and_nothing_else_is_passed_over() {
    let config = Config::default();
    let mut hand = Hand::new(viewer(1, &config, FIRST_VIEWER, START), START, config.send_window);
    let other = addr(SERVER + 1);
    hand.command(Command::Join(Box::new(Join { bootstrap: vec![addr(SERVER), other], ..join() })));
    let link = hand.answer().unwrap();
    hand.say(link, &hello(SERVER, Purpose::Bootstrap));
    hand.pass(config.heartbeat * 2);
    assert!(hand.dials.is_empty(), "it has its time");
    hand.pass(config.heartbeat * 2);
    assert_eq!(hand.dials.last().map(|(_, to)| *to), Some(other));
}

#[test]
fn who_finds_nobody_says_so() {
    let mut hand = a_viewer(1);
    let warned = |hand: &Hand<Node>| {
        let warnings = hand.notices.iter().filter(|n| matches!(n, Notice::Warning(_)));
        warnings.cloned().collect::<Vec<_>>()
    };
    hand.pass(Duration::from_secs(4));
    assert_eq!(warned(&hand), [], "it has only begun");
    hand.pass(Duration::from_secs(10));
    assert_eq!(warned(&hand), [Notice::Warning(Warning::NoProvider)]);
}
