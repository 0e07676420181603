//! C7 to C9: order, credit, and the end of links.

use bytes::Bytes;
use eddy_core::stream::block::Block;
use eddy_core::stream::sign::Signature;
use eddy_core::wire::message::{Message, Purpose};
use eddy_core::{Command, Event, LinkId};
use eddy_sim::START;
use eddy_sim::hand::cast::{a_provider, a_viewer, a_viewer_with_partners, channel};
use eddy_sim::hand::words::{frame, hello};

use super::common::addr;
use super::{publish, secs, window};

// C7

#[test]
fn c7_answers_on_a_link_come_in_the_order_of_the_questions() {
    let mut hand = a_provider();
    let control = hand.partner(60);
    let asked: Vec<u64> = (0..200).map(|n| n * 31 % 197).collect();
    for &n in &asked {
        let bytes = frame(&Message::Ping(n));
        hand.tell(Event::Received { link: control, bytes });
        hand.flush(control, 40);
    }
    hand.drain();
    let pong = |m: &Message| match m {
        Message::Pong(n) => Some(*n),
        _ => None,
    };
    let answered: Vec<u64> = hand.messages(control).iter().filter_map(pong).collect();
    assert_eq!(answered, asked);
}

// C8

#[test]
fn c8_a_machine_sends_within_its_window_and_goes_on_as_credit_comes_back() {
    const SIZE: usize = 60_000;
    let mut hand = a_provider();
    let (_, link) = hand.child(60);
    publish(&mut hand, 50, SIZE);
    let flying = hand.open[&link];
    assert!(flying > 0 && flying < window() + SIZE + 200, "{flying} bytes in flight");
    // A little at a time: `Hand` checks that each `Send` had credit.
    while hand.flush(link, 7_001) > 0 {}
    let blocks = hand.blocks(link);
    let full = blocks.iter().filter(|b| b.payload().len() > SIZE).count();
    assert_eq!(full, 50, "all were sent in the end");
    assert!(blocks.windows(2).all(|w| w[0].seq().plus(1) == w[1].seq()), "in order, without gaps");
}

#[test]
fn c8_credit_that_nobody_gave_breaks_nothing() {
    let mut hand = a_provider();
    let (_, link) = hand.child(60);
    hand.tell(Event::Flushed { link, bytes: usize::MAX });
    hand.tell(Event::Flushed { link: LinkId(999), bytes: 5 });
    hand.drain();
    publish(&mut hand, 10, 60_000);
    assert!(hand.open[&link] < window() + 60_200);
}

// C9. `Hand` and `World` fail a machine that names a link that is over.

#[test]
fn c9_what_comes_after_an_end_is_answered_with_silence() {
    let mut hand = a_provider();
    let (control, block) = hand.child(60);
    for link in [control, block] {
        hand.closed(link);
        hand.receive(link, frame(&Message::Ping(1)));
        hand.handle(Event::Flushed { link, bytes: 10 });
        hand.handle(Event::Closed { link });
    }
    publish(&mut hand, 100, 1_000);
    // A link that the node closed itself.
    let link = hand.accept(addr(61));
    hand.receive(link, vec![0xff; 100]);
    assert!(!hand.open.contains_key(&link), "garbage ends a link");
    hand.receive(link, vec![0xff; 100]);
    hand.handle(Event::Flushed { link, bytes: 10 });
    hand.finish_closing();
    hand.pass(secs(10));
}

#[test]
fn c9_a_leaving_node_does_not_close_a_link_twice() {
    let block = Block::new(channel().seq_at(START), &Signature([1; 64]), b"late");
    let late = [
        Bytes::from(vec![0xff; 100]),
        frame(&hello(60, Purpose::Control(channel().id()))),
        frame(&Message::Ping(1)),
        block.frame().clone(),
    ];
    for bytes in late {
        let mut hand = a_provider();
        let (control, out) = hand.child(60);
        let stranger = hand.accept(addr(61));
        hand.command(Command::Leave);
        for link in [control, out, stranger] {
            // The driver read these before it carried out the close.
            hand.receive(link, bytes.clone());
        }
        hand.finish_closing();
        assert_eq!(hand.tickets.len(), 0);
    }
}

#[test]
fn c9_dials_that_succeed_after_leave_are_closed() {
    let mut hand = a_viewer(1);
    assert!(hand.dials.len() >= 4, "three members and the server: {:?}", hand.dials);
    hand.command(Command::Leave);
    while hand.answer().is_some() {}
    hand.finish_closing();
    hand.pass(secs(60));
    assert!(hand.open.is_empty(), "{:?} stay open after Leave ended", hand.open);
    assert!(hand.tickets.is_empty());
}

#[test]
fn c9_a_dial_that_fails_after_leave_closes_nothing_twice() {
    let mut hand = a_viewer_with_partners();
    while hand.answer().is_some() {}
    // The first partner's control link breaks, and is dialled again.
    hand.closed(LinkId(0));
    assert_eq!(hand.dials.len(), 1);
    hand.command(Command::Leave);
    let (dial, _) = hand.dials.remove(0);
    hand.handle(Event::DialFailed { dial });
    hand.finish_closing();
    assert!(hand.tickets.is_empty() && hand.open.is_empty());
}
