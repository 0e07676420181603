//! Viewers whom nobody can dial are partners and parents like any other.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::wire::message::{Message, Purpose, Token};
use eddy_core::{LinkId, Machine};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{MEMBERS, a_viewer, addr, channel, full_map};
use eddy_sim::hand::words::hello;
use eddy_sim::lab::{Making, Sheet, Watch, metrics::metrics, run};

/// What a partner says that holds the stream and has room for a child.
fn offer<M: Machine>(hand: &mut Hand<M>, control: LinkId, token: Token) {
    let map = full_map(hand.now);
    hand.say(control, &map);
    hand.say(control, &Message::BlockLink(token));
}

fn asks_back(messages: &[Message], token: Token) -> bool {
    messages.iter().any(|m| *m == Message::DialBack(token))
}

#[test]
fn who_opened_the_control_link_opens_the_block_link() {
    let mut hand = a_viewer(1);
    // Nobody whom it dialled is there.
    (0..MEMBERS.len()).for_each(|_| hand.refuse());
    let control = hand.partner(60);
    offer(&mut hand, control, Token(7));
    hand.pass(Duration::from_millis(500));
    assert!(asks_back(&hand.messages(control), Token(7)), "{:?}", hand.messages(control));
    assert!(!hand.dials.iter().any(|(_, to)| *to == addr(60)), "{hand:?}");

    // Asked once, it has the time of a handshake.
    hand.say(control, &Message::BlockLink(Token(8)));
    hand.pass(Duration::from_secs(1));
    assert!(!asks_back(&hand.messages(control), Token(8)), "{:?}", hand.messages(control));
    let blocks = hand.accept(addr(60));
    hand.say(blocks, &hello(60, Purpose::Block(Token(7))));
    let greets =
        |m: &Message| matches!(m, Message::Hello(h) if h.purpose == Purpose::Block(Token(7)));
    assert!(hand.messages(blocks).iter().any(greets), "{:?}", hand.messages(blocks));
}

#[test]
fn whom_we_could_dial_is_dialled_again_for_blocks() {
    let mut hand = a_viewer(1);
    let to = hand.dials[0].1;
    let control = hand.answer().unwrap();
    (1..MEMBERS.len()).for_each(|_| hand.refuse());
    let id = MEMBERS.into_iter().find(|id| addr(*id) == to).unwrap();
    hand.say(control, &hello(id, Purpose::Control(channel().id())));
    offer(&mut hand, control, Token(7));
    hand.pass(Duration::from_millis(500));
    assert!(hand.dials.iter().any(|(_, at)| *at == to), "{hand:?}");
    assert!(!asks_back(&hand.messages(control), Token(7)));
}

#[test]
fn a_swarm_behind_nats_forms_without_repairs() {
    const PLAN: &str = r#"
id = "nat"
title = "30 viewers, three in four of whom cannot be dialled"
span = "60s"

[provider]
upload = "8r"

[[viewers]]
name = "live"
count = 30
arrive.over = "20s"
upload = "20r"
reachable = 0.25
"#;
    let plan = Sheet::read(PLAN).unwrap().layered("default", &[]).unwrap();
    for seed in 1..=4 {
        let how = Making { seed, ..Making::default() };
        let figures = metrics(&plan, &run(&plan, &how, &Watch::default()).unwrap());
        let of = |name: &str| figures[name];
        assert!(of("continuity") >= 0.999, "seed {seed}: {}", of("continuity"));
        // A parent whom nobody can dial must not cost its child the time in which a
        // dial fails: what is not here meanwhile is pulled, mostly of the provider.
        assert!(of("repaired_share") <= 0.1, "seed {seed}: {}", of("repaired_share"));
        assert!(of("startup_p95") <= 4.0, "seed {seed}: {} s", of("startup_p95"));
    }
}
