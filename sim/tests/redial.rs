//! Control links that are opened again: one at a time.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::wire::message::{Member, Message, Purpose};
use eddy_core::{LinkId, Machine};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{MEMBERS, a_viewer, addr, channel, member};
use eddy_sim::hand::words::hello;

/// The oldest dial to a host is answered.
fn answer<M: Machine>(hand: &mut Hand<M>, host: u8) -> LinkId {
    let at = hand.dials.iter().position(|(_, to)| *to == addr(host)).unwrap();
    hand.dials.swap(0, at);
    hand.answer().unwrap()
}

fn dials<M: Machine>(hand: &Hand<M>, host: u8) -> usize {
    hand.dials.iter().filter(|(_, to)| *to == addr(host)).count()
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

    hand.say(first, &hello(new, purpose));
    hand.closed(first);
    assert_eq!(dials(&hand, new), 0, "one is under way");
    hand.say(second, &hello(new, purpose));
    hand.messages(second);
    hand.pass(Duration::from_secs(2));
    let maps = |m: &Message| matches!(m, Message::BufferMap(_));
    assert!(hand.messages(second).iter().any(maps), "they are partners");

    // A link that is lost for no other is dialled again, at the address that it told.
    hand.closed(second);
    assert_eq!(dials(&hand, new), 1);
}
