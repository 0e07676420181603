//! Control links that are opened again: one at a time, and what was said on the one
//! before it may be lost.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stream::map::BufferMap;
use eddy_core::wire::message::{Member, Message, Purpose, Subscribe, SubscribeReply, Token};
use eddy_core::{Command, LinkId, Machine, Notice, Seq, SubStream};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{
    BLOCK, MEMBERS, Other, SERVER, SUB_STREAMS, a_block, a_provider, a_viewer,
    a_viewer_with_block_links, addr, channel, full_map, member,
};
use eddy_sim::hand::words::{frame, hello};

/// The oldest dial to a host is answered.
fn answer<M: Machine>(hand: &mut Hand<M>, host: u8) -> LinkId {
    let at = hand.dials.iter().position(|(_, to)| *to == addr(host)).unwrap();
    hand.dials.swap(0, at);
    hand.answer().unwrap()
}

fn dials<M: Machine>(hand: &Hand<M>, host: u8) -> usize {
    hand.dials.iter().filter(|(_, to)| *to == addr(host)).count()
}

/// What a partner was asked for on a control link.
fn said(hand: &Hand<Node>, control: LinkId) -> Vec<Subscribe> {
    let subscribe = |m| match m {
        Message::Subscribe(subscribe) => Some(subscribe),
        _ => None,
    };
    hand.messages(control).into_iter().filter_map(subscribe).collect()
}

fn asked(hand: &Hand<Node>, control: LinkId) -> Vec<SubStream> {
    said(hand, control).iter().map(|subscribe| subscribe.sub).collect()
}

/// A member was restarted and is another node now; the viewer dials both, and the node
/// keeps the newer link. To dial a third time for the older one would make it give up the
/// newer one, and so on without end.
#[test]
fn a_link_given_up_for_another_is_not_dialled_again() {
    let [old, other, _] = MEMBERS;
    let new = 60;
    let purpose = Purpose::Control(channel().id());
    let mut hand = a_viewer(1);
    let gossip = answer(&mut hand, other);
    hand.say(gossip, &hello(other, purpose));
    hand.say(gossip, &Message::Gossip(vec![Member { addr: addr(old), ..member(new) }]));
    hand.pass(Duration::from_secs(2));
    assert_eq!(dials(&hand, old), 2, "as the one, and as the other");
    let (first, second) = (answer(&mut hand, old), answer(&mut hand, old));
    for link in [first, second] {
        let opening = hand.messages(link);
        assert!(matches!(&opening[1], Message::BufferMap(map) if map.reply), "{opening:?}");
    }

    hand.say(first, &hello(new, purpose));
    hand.closed(first);
    assert_eq!(dials(&hand, new), 0, "one is under way");
    hand.say(second, &hello(new, purpose));
    hand.pass(Duration::from_secs(2));
    let maps = |m: &Message| matches!(m, Message::BufferMap(_));
    assert!(hand.messages(second).iter().any(maps), "they are partners");

    // A link that is lost for no other is dialled again, at the address that it told.
    hand.closed(second);
    assert_eq!(dials(&hand, new), 1);
}

/// The child left a sub-stream, and its word was lost with the link: its next map says so.
#[test]
fn a_child_gets_no_more_of_what_its_map_does_not_subscribe_to() {
    let left = SubStream(3);
    let mut hand = a_provider();
    let (control, blocks) = hand.child(60);
    let got = |hand: &mut Hand<_>| {
        let before = hand.blocks(blocks).len();
        for _ in 0..2 * SUB_STREAMS {
            hand.command(Command::Publish(vec![7; 100].into()));
            hand.pass(BLOCK);
            while hand.flush(blocks, usize::MAX) > 0 {}
        }
        let new = hand.blocks(blocks).split_off(before);
        let mut subs: Vec<_> = new.iter().map(|b| b.seq().sub_stream(SUB_STREAMS)).collect();
        subs.sort_unstable();
        subs.dedup();
        subs
    };
    let all: Vec<_> = (0..SUB_STREAMS).map(SubStream).collect();
    assert_eq!(got(&mut hand), all);

    hand.closed(control);
    let control = hand.partner(60);
    let Message::BufferMap(mut map) = full_map(hand.now) else { panic!("it is a map") };
    map.entries[usize::from(left.0)].subscribed = false;
    // The first on a link is written before it is known who answers.
    hand.say(control, &Message::BufferMap(BufferMap { reply: true, ..map.clone() }));
    assert_eq!(got(&mut hand), all);
    hand.say(control, &Message::BufferMap(map));
    let others: Vec<_> = all.into_iter().filter(|sub| *sub != left).collect();
    assert_eq!(got(&mut hand), others);
}

/// A subscription, or its answer, can be lost with the link as well. What came on the
/// block link, which stands, need not come again.
#[test]
fn a_child_says_on_the_new_link_what_it_takes() {
    let (mut hand, others) = a_viewer_with_block_links(&Config::default());
    // The first of the partners granted before it was asked.
    let parent = others[0];
    let before = said(&hand, parent.control);
    let [open, granted, ..] = before[..] else { panic!("two sub-streams or more: {before:?}") };
    let Message::BufferMap(map) = full_map(hand.now) else { panic!("it is a map") };
    hand.say(parent.control, &Message::BufferMap(BufferMap { reply: true, ..map }));
    let Message::BufferMap(map) = hand.messages(parent.control).pop().unwrap() else {
        panic!("a map is the answer")
    };
    let tells = |s: &Subscribe| map.entries[usize::from(s.sub.0)].subscribed;
    assert!(before.iter().all(tells), "its maps tell of it from when it asks on: {map:?}");

    for subscribe in &before[1..] {
        let reply = SubscribeReply { sub: subscribe.sub, result: Ok(()) };
        hand.say(parent.control, &Message::SubscribeReply(reply));
    }
    // One block is missing, and the two after it have come.
    let last = granted.from.plus(2 * u64::from(SUB_STREAMS));
    for seq in [last.minus(u64::from(SUB_STREAMS)), last] {
        hand.receive(parent.blocks, a_block(seq, b"").frame().clone());
    }
    hand.pass(Duration::from_secs(1));
    let stats = hand.notices.iter().rev().find_map(|notice| match notice {
        Notice::Stats(stats) => Some(stats),
        _ => None,
    });
    let parents = &stats.unwrap().parents;
    assert_eq!(parents[usize::from(open.sub.0)], None, "it was not granted");
    assert_eq!(parents[usize::from(granted.sub.0)], Some(parent.node));

    hand.closed(parent.control);
    let id = MEMBERS.into_iter().find(|id| member(*id).node == parent.node).unwrap();
    let control = answer(&mut hand, id);
    hand.say(control, &hello(id, Purpose::Control(channel().id())));
    let again = said(&hand, control);
    assert_eq!(asked(&hand, control), before.iter().map(|s| s.sub).collect::<Vec<_>>());
    assert_eq!(again[0].from, open.from);
    assert_eq!(again[1].from, last.plus(u64::from(SUB_STREAMS)));
}

/// It waits for the way to the provider together with its parent.
#[test]
fn a_parent_without_a_way_refuses_no_child_that_it_has() {
    let (mut hand, others) = a_viewer_with_block_links(&Config::default());
    for sub in (0..SUB_STREAMS).map(SubStream) {
        let reply = SubscribeReply { sub, result: Ok(()) };
        others.iter().for_each(|o| hand.say(o.control, &Message::SubscribeReply(reply.clone())));
    }
    let answers = |hand: &mut Hand<Node>, control| -> Vec<bool> {
        let before = hand.messages(control).len();
        hand.subscribe(control, Seq(0));
        let result = |m| match m {
            Message::SubscribeReply(reply) => Some(reply.result.is_ok()),
            _ => None,
        };
        hand.messages(control).split_off(before).into_iter().filter_map(result).collect()
    };
    let all = usize::from(SUB_STREAMS);
    let child = hand.partner(60);
    assert_eq!(answers(&mut hand, child), vec![true; all]);
    others.iter().for_each(|other| hand.say(other.control, &Message::Leave));
    assert_eq!(answers(&mut hand, child), vec![true; all]);
    let other = hand.partner(61);
    assert_eq!(answers(&mut hand, other), vec![false; all]);
}

/// A ban follows a node's id, and whoever dials may claim any.
#[test]
fn who_claims_an_id_cannot_have_its_node_banned() {
    let garbage = vec![0; 64];
    let [dialled, claimed, _] = MEMBERS;
    let mut hand = a_viewer(1);
    let stranger = hand.partner(claimed);
    hand.receive(stranger, garbage.clone());
    assert!(!hand.open.contains_key(&stranger));
    let itself = hand.partner(claimed);
    assert!(!hand.messages(itself).is_empty(), "it is answered");

    // Who answers to the name by which it was dialled is who it says.
    let link = answer(&mut hand, dialled);
    hand.say(link, &hello(dialled, Purpose::Control(channel().id())));
    hand.receive(link, garbage);
    let again = hand.partner(dialled);
    assert!(hand.messages(again).is_empty(), "it is banned");
    hand.pass(Config::default().member_life * 4 + Duration::from_secs(2));
    let later = hand.partner(dialled);
    assert!(!hand.messages(later).is_empty(), "but not for ever");
}

/// Something else answers at a member's address: it is called less and less often.
#[test]
fn who_answers_with_nonsense_is_dialled_less_and_less_often() {
    let garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let later_version = {
        let mut bytes = frame(&hello(MEMBERS[0], Purpose::Control(channel().id()))).to_vec();
        bytes[9] = 9;
        bytes
    };
    for nonsense in [&garbage[..], &later_version] {
        let mut hand = a_viewer(1);
        let mut calls = 0;
        for _ in 0..30 {
            while let Some((_, to)) = hand.dials.first().copied() {
                let link = hand.answer().unwrap();
                calls += usize::from(to != addr(SERVER));
                hand.receive(link, nonsense.to_vec());
            }
            hand.pass(Duration::from_secs(1));
        }
        let members = MEMBERS.len();
        assert!((2 * members..=6 * members).contains(&calls), "{calls} calls in 30 s");
    }
}

/// A router forgot the connection: the parent grants, knows of no link to push on, and
/// the child has one on which nothing comes.
#[test]
fn a_block_link_on_which_nothing_comes_is_opened_anew() {
    let (mut hand, mut others) = a_viewer_with_block_links(&Config::default());
    others.sort_by_key(|other| asked(&hand, other.control).len());
    let (alive, mute) = (others[1], others[2]);
    let brings = asked(&hand, alive.control)[0];
    assert!(asked(&hand, alive.control).len() >= 2 && asked(&hand, mute.control).len() >= 2);
    for other in [alive, mute] {
        for sub in asked(&hand, other.control) {
            let reply = SubscribeReply { sub, result: Ok(()) };
            hand.say(other.control, &Message::SubscribeReply(reply));
        }
        hand.say(other.control, &Message::BlockLink(Token(1_000)));
    }
    hand.pass(BLOCK);
    let newest = channel().seq_at(hand.now).minus(u64::from(SUB_STREAMS));
    let block = a_block(newest.align(brings, SUB_STREAMS), b"alive");
    hand.receive(alive.blocks, block.frame().clone());
    hand.pass(Duration::from_millis(2_500));

    let of = |other: Other| MEMBERS.into_iter().find(|id| member(*id).node == other.node).unwrap();
    assert!(hand.open.contains_key(&alive.blocks), "one sub-stream comes on it");
    assert_eq!(dials(&hand, of(alive)), 0);
    assert!(!hand.open.contains_key(&mute.blocks));
    assert_eq!(dials(&hand, of(mute)), 1);
}
