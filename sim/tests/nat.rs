//! Viewers whom nobody can dial are partners and parents like any other.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::wire::message::{Member, Message, Purpose, SubscribeReply, Token};
use eddy_core::{Event, LinkId, Machine, SubStream};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{MEMBERS, SUB_STREAMS, a_viewer, addr, channel, full_map, member};
use eddy_sim::hand::words::hello;

/// Longer than anything here should take, shorter than a dial takes to fail.
const SOON: Duration = Duration::from_millis(500);

/// A partner says whether it can be dialled, that it holds the stream, and that it
/// has room.
fn offers<M: Machine>(hand: &mut Hand<M>, control: LinkId, who: Member) {
    hand.say(control, &Message::Gossip(vec![who]));
    let map = full_map(hand.now);
    hand.say(control, &map);
    hand.say(control, &Message::BlockLink(Token(7)));
}

fn asks_back<M: Machine>(hand: &mut Hand<M>, control: LinkId, token: Token) -> bool {
    hand.messages(control).iter().any(|m| *m == Message::DialBack(token))
}

/// A viewer to whom somebody has come who is a partner now; all whom it dialled are away.
fn visited(by: u8) -> (Hand<impl Machine>, LinkId) {
    let mut hand = a_viewer(1);
    (0..MEMBERS.len()).for_each(|_| hand.refuse());
    let control = hand.partner(by);
    (hand, control)
}

fn is_dialled<M: Machine>(hand: &Hand<M>, who: u8) -> bool {
    hand.dials.iter().any(|(_, to)| *to == addr(who))
}

#[test]
fn who_cannot_be_dialled_is_asked_to_dial() {
    let (mut hand, control) = visited(60);
    offers(&mut hand, control, Member { connectable: false, ..member(60) });
    hand.pass(SOON);
    assert!(asks_back(&mut hand, control, Token(7)));
    assert!(!is_dialled(&hand, 60));

    // Asked once, it has the time of a handshake.
    hand.say(control, &Message::BlockLink(Token(8)));
    hand.pass(SOON);
    assert!(!asks_back(&mut hand, control, Token(8)));
    let blocks = hand.accept(addr(60));
    hand.say(blocks, &hello(60, Purpose::Block(Token(7))));
    let greets =
        |m: &Message| matches!(m, Message::Hello(h) if h.purpose == Purpose::Block(Token(7)));
    assert!(hand.messages(blocks).iter().any(greets));
}

#[test]
fn who_was_asked_in_vain_is_asked_again() {
    let (mut hand, control) = visited(60);
    offers(&mut hand, control, Member { connectable: false, ..member(60) });
    hand.pass(SOON);
    assert!(asks_back(&mut hand, control, Token(7)));
    hand.say(control, &Message::BlockLink(Token(8)));
    let again = (0..60).any(|_| {
        hand.pass(SOON);
        let map = full_map(hand.now);
        hand.say(control, &map);
        asks_back(&mut hand, control, Token(8))
    });
    assert!(again, "not for half a minute");
}

#[test]
fn a_dial_that_failed_is_not_tried_again() {
    let (mut hand, control) = visited(60);
    offers(&mut hand, control, member(60));
    hand.pass(SOON);
    assert!(is_dialled(&hand, 60), "as far as it knows it can be");
    for sub in (0..SUB_STREAMS).map(SubStream) {
        hand.say(control, &Message::SubscribeReply(SubscribeReply { sub, result: Ok(()) }));
    }
    let at = hand.dials.iter().position(|(_, to)| *to == addr(60)).unwrap();
    let (dial, _) = hand.dials.remove(at);
    hand.handle(Event::DialFailed { dial });
    assert!(asks_back(&mut hand, control, Token(7)));
    let blocks = hand.accept(addr(60));
    hand.say(blocks, &hello(60, Purpose::Block(Token(7))));
    hand.say(control, &Message::BlockLink(Token(8)));

    // The link is lost: this time it does not take a dial to find out.
    hand.closed(blocks);
    hand.pass(SOON);
    assert!(asks_back(&mut hand, control, Token(8)));
    assert!(!is_dialled(&hand, 60));
}

#[test]
fn who_cannot_be_dialled_is_the_parent_of_choice() {
    let mut hand = a_viewer(1);
    let public = MEMBERS.into_iter().find(|id| addr(*id) == hand.dials[0].1).unwrap();
    let dialled = hand.answer().unwrap();
    (1..MEMBERS.len()).for_each(|_| hand.refuse());
    hand.say(dialled, &hello(public, Purpose::Control(channel().id())));
    let shut = hand.partner(60);
    offers(&mut hand, shut, Member { connectable: false, ..member(60) });
    offers(&mut hand, dialled, member(public));
    hand.pass(SOON);
    let asked = |hand: &mut Hand<_>, link| {
        hand.messages(link).iter().filter(|m| matches!(m, Message::Subscribe(_))).count()
    };
    let (of_shut, of_public) = (asked(&mut hand, shut), asked(&mut hand, dialled));
    assert!(of_public == 0 && of_shut >= 8, "{of_shut} and {of_public}");
}
