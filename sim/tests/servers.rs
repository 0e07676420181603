//! What viewers make of what their bootstrap servers say of a channel.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use eddy_core::node::Node;
use eddy_core::wire::message::{JoinReply, JoinRequest, Message, Purpose};
use eddy_core::{Command, Join, LinkId, Notice, Refusal, Ticket};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{SERVER, addr, an_idle_viewer, channel, channel_of, join, signer};
use eddy_sim::hand::words::hello;

const OTHER_SERVER: u8 = 3;

/// A viewer that looks for the channel at two servers.
fn looking() -> (Hand<Node>, Ticket) {
    let mut hand = an_idle_viewer(1);
    let bootstrap = vec![addr(SERVER), addr(OTHER_SERVER)];
    let ticket = hand.command(Command::Join(Box::new(Join { bootstrap, ..join() })));
    (hand, ticket)
}

/// A server is dialled, and asked for the channel.
fn asked(hand: &mut Hand<Node>, server: u8) -> LinkId {
    assert_eq!(hand.dials.first().map(|(_, to)| *to), Some(addr(server)));
    let link = hand.answer().unwrap();
    hand.say(link, &hello(server, Purpose::Bootstrap));
    let request = JoinRequest { name: channel().name().clone(), key: Some(channel().key()) };
    assert!(hand.messages(link).contains(&Message::ChannelJoin(request)));
    link
}

fn denies() -> Message {
    Message::JoinReply(Box::new(JoinReply::NoSuchChannel))
}

fn ended(hand: &Hand<Node>, ticket: Ticket) -> Option<Refusal> {
    hand.notices.iter().find_map(|notice| match notice {
        Notice::Ended { ticket: of, result: Err(refusal) } if *of == ticket => Some(*refusal),
        _ => None,
    })
}

#[test]
fn a_channel_that_one_server_does_not_know_is_asked_of_the_next() {
    let (mut hand, ticket) = looking();
    let link = asked(&mut hand, SERVER);
    hand.say(link, &denies());
    assert_eq!(ended(&hand, ticket), None);
    assert!(!hand.open.contains_key(&link));
    let link = asked(&mut hand, OTHER_SERVER);
    let joined = JoinReply::Joined { channel: channel(), viewers: 0, members: Vec::new() };
    hand.say(link, &Message::JoinReply(Box::new(joined)));
    assert!(hand.notices.iter().any(|n| matches!(n, Notice::Channel(_))));

    // Somewhere else, every server is asked anew, each once.
    let other = channel_of("other", &signer());
    let bootstrap = vec![addr(SERVER), addr(OTHER_SERVER)];
    let switch = Join { bootstrap, channel: other.name().clone(), key: None, ..join() };
    let ticket = hand.command(Command::Join(Box::new(switch)));
    hand.say(link, &denies());
    assert_eq!(ended(&hand, ticket), None);
    let at = hand.dials.iter().position(|(_, to)| *to == addr(SERVER)).unwrap();
    hand.dials.swap(0, at);
    let link = hand.answer().unwrap();
    hand.say(link, &hello(SERVER, Purpose::Bootstrap));
    hand.say(link, &denies());
    assert_eq!(ended(&hand, ticket), Some(Refusal::NoSuchChannel));
}

#[test]
fn a_channel_that_no_server_knows_is_given_up() {
    let (mut hand, ticket) = looking();
    for server in [SERVER, OTHER_SERVER] {
        assert_eq!(ended(&hand, ticket), None);
        let link = asked(&mut hand, server);
        hand.say(link, &denies());
    }
    assert_eq!(ended(&hand, ticket), Some(Refusal::NoSuchChannel));
    assert!(hand.dials.is_empty());
}
