//! What viewers make of what their bootstrap servers say of a channel.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::node::Node;
use eddy_core::wire::message::{
    HeartbeatReply, JoinReply, JoinRequest, Message, Purpose, Subscribe, SubscribeReply, Token,
};
use eddy_core::{Command, Join, LinkId, Notice, Phase, Refusal, Seq, Ticket};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{
    BLOCK, MEMBERS, SERVER, a_block, addr, an_idle_viewer, channel, channel_of, full_map, join,
    member, signer,
};
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

fn unknown() -> Message {
    let reply = HeartbeatReply { viewers: 0, known: false, connectable: None, members: vec![] };
    Message::HeartbeatReply(reply)
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

/// One of a name's addresses leads nowhere, as often on a host without IPv6.
#[test]
fn a_server_that_cannot_be_reached_delays_nobodys_word() {
    let (mut hand, ticket) = looking();
    let link = asked(&mut hand, SERVER);
    hand.say(link, &denies());
    hand.refuse();
    hand.pass(Duration::from_secs(2));
    let link = asked(&mut hand, SERVER);
    hand.say(link, &denies());
    assert_eq!(ended(&hand, ticket), Some(Refusal::NoSuchChannel));
}

/// Its server lost the channel, and so did the next one: it registers anew somewhere.
#[test]
fn a_viewer_whose_servers_all_forgot_its_channel_goes_on_asking_round() {
    let (mut hand, _) = looking();
    let link = asked(&mut hand, SERVER);
    let members = vec![member(MEMBERS[0])];
    let joined = JoinReply::Joined { channel: channel(), viewers: 0, members };
    hand.say(link, &Message::JoinReply(Box::new(joined)));
    play(&mut hand);
    hand.say(link, &unknown());
    hand.say(link, &denies());
    let link = asked(&mut hand, OTHER_SERVER);
    hand.say(link, &denies());
    hand.say(link, &unknown());
    hand.say(link, &denies());
    asked(&mut hand, SERVER);
}

/// A member takes the viewer as its child, and brings a second of the stream.
fn play(hand: &mut Hand<Node>) {
    let [id, ..] = MEMBERS;
    let control = hand.answer().unwrap();
    hand.say(control, &hello(id, Purpose::Control(channel().id())));
    hand.say(control, &full_map(hand.now));
    hand.say(control, &Message::BlockLink(Token(1)));
    hand.pass(Duration::from_millis(200));
    let blocks = hand.answer().unwrap();
    hand.say(blocks, &hello(id, Purpose::Block(Token(1))));
    let asked = hand.messages(control).into_iter().filter_map(|m| match m {
        Message::Subscribe(subscribe) => Some(subscribe),
        _ => None,
    });
    let mut first = Seq(u64::MAX);
    for Subscribe { sub, from, .. } in asked.collect::<Vec<_>>() {
        first = first.min(from);
        let reply = SubscribeReply { sub, result: Ok(()) };
        hand.say(control, &Message::SubscribeReply(reply));
    }
    for n in 0..50 {
        hand.receive(blocks, a_block(first.plus(n), b"").frame().clone());
        hand.pass(BLOCK);
    }
    assert!(hand.notices.contains(&Notice::Phase(Phase::Playing)));
    hand.dials.clear();
}
