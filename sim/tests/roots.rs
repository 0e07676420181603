//! The provider sees to it that somebody has each sub-stream of it, however full
//! its uplink is: a sub-stream that nobody has is nowhere.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::node::Node;
use eddy_core::wire::message::{Message, Reason, Subscribe, SubscribeReply};
use eddy_core::{LinkId, SubStream};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{SUB_STREAMS, a_provider, channel};

const WINDOW: Duration = Duration::from_secs(10);

/// The answer to a subscription.
fn subscribe(hand: &mut Hand<Node>, control: LinkId, sub: SubStream) -> Option<Reason> {
    let from = channel().seq_at(hand.now);
    hand.say(control, &Message::Subscribe(Subscribe { sub, from, window: WINDOW }));
    let said = hand.messages(control);
    let reply = said.iter().rev().find_map(|message| match message {
        Message::SubscribeReply(SubscribeReply { sub: of, result }) if *of == sub => Some(result),
        _ => None,
    });
    reply.unwrap().as_ref().err().map(|refused| refused.reason)
}

fn refusals(hand: &Hand<Node>, control: LinkId) -> Vec<SubStream> {
    let said = hand.messages(control);
    let of = |message: &Message| match message {
        Message::SubscribeReply(SubscribeReply { sub, result: Err(_) }) => Some(*sub),
        _ => None,
    };
    said.iter().filter_map(of).collect()
}

#[test]
fn the_first_child_of_a_sub_stream_takes_the_place_of_another() {
    let mut hand = a_provider();
    hand.pass(Duration::from_secs(1));
    let children: Vec<LinkId> = (20..24).map(|id| hand.partner(id)).collect();
    // Three whole streams fit: those of the sub-streams but the last, and of the first.
    let (last, first) = (SubStream(SUB_STREAMS - 1), SubStream(0));
    for control in &children[..3] {
        for sub in (0..SUB_STREAMS - 1).map(SubStream) {
            assert_eq!(subscribe(&mut hand, *control, sub), None);
        }
    }
    let more: Vec<LinkId> = (30..33).map(|id| hand.partner(id)).collect();
    for control in &more {
        assert_eq!(subscribe(&mut hand, *control, first), None);
    }
    assert_eq!(subscribe(&mut hand, children[3], SubStream(1)), Some(Reason::Full));
    assert_eq!(subscribe(&mut hand, children[3], last), None, "nobody has it");
    assert_eq!(refusals(&hand, more[2]), [first], "the last to come of the most wanted");
    assert_eq!(subscribe(&mut hand, children[0], last), Some(Reason::Full), "now somebody has");
    assert!(more[..2].iter().chain(&children[1..3]).all(|c| refusals(&hand, *c).is_empty()));
}
