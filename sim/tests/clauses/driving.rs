//! C1 to C5: events, polls, waits, wakes and time.

use bytes::Bytes;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stream::block::packets;
use eddy_core::wire::message::{Message, Purpose};
use eddy_core::{Command, Event, LinkId, Machine, Notice, Output, Time};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{BLOCK, a_provider, a_server, a_viewer, channel, full_map, provider};
use eddy_sim::hand::words::{frame, hello};
use eddy_sim::{Net, NodeIx, START};

use super::common::swarm::{Swarm, packet};
use super::common::{addr, ms, net};
use super::{publish, secs};

// C1

#[test]
fn c1_many_events_before_a_poll_lose_nothing() {
    let (mut each, mut all) = (a_provider(), a_provider());
    for (hand, polled) in [(&mut each, true), (&mut all, false)] {
        hand.pass(ms(10));
        let give = |hand: &mut Hand<Node>, event| {
            hand.tell(event);
            if polled {
                hand.drain();
            }
        };
        for id in 50..60 {
            let link = hand.name_link();
            give(hand, Event::Opened { link, dial: None, remote: addr(id) });
            let words = [
                hello(id, Purpose::Control(channel().id())),
                Message::Ping(u64::from(id)),
                full_map(START),
            ];
            for word in words {
                give(hand, Event::Received { link, bytes: frame(&word) });
            }
            let (ticket, command) = (hand.name_ticket(), Command::Publish(packet(u64::from(id))));
            give(hand, Event::Command { ticket, command });
        }
        hand.drain();
        assert_eq!(hand.tickets.len(), 0, "every packet was answered for");
        for link in (0..10).map(LinkId) {
            let heard = hand.messages(link);
            assert!(matches!(heard.first(), Some(Message::Hello(_))), "{heard:?}");
            assert!(heard.contains(&Message::Pong(50 + link.0)), "{heard:?}");
        }
    }
    assert_eq!(each.sent, all.sent);
    assert_eq!(each.notices, all.notices);

    // All ten packets are in the one block.
    let (_, link) = all.child(70);
    all.pass(BLOCK);
    let first = all.blocks(link).into_iter().find(|b| !b.payload().is_empty());
    let got: Vec<Bytes> = packets(&first.unwrap().payload()).map(|p| p.payload).collect();
    assert_eq!(got, (50..60).map(packet).collect::<Vec<_>>());
}

// C2 and C3. `Hand` and `World` assert C3 after every event of every test.

#[test]
fn c2_a_machine_does_nothing_between_its_wait_and_the_next_event() {
    let mut hand = a_viewer(1);
    let before = hand.wait.expect("a node has timers");
    hand.now = Time::from_micros(before.as_micros() - 1);
    let (told, dials) = (hand.notices.len(), hand.dials.len());
    hand.handle(Event::Wake);
    assert_eq!((hand.wait, hand.notices.len(), hand.dials.len()), (Some(before), told, dials));
    hand.now = before;
    hand.handle(Event::Wake);
    assert_ne!(hand.wait, Some(before));
}

#[test]
fn c3_waits_end_later_than_now_and_stay_the_same() {
    let mut hands = (a_provider(), a_viewer(1), a_server());
    for _ in 0..20 {
        hands.0.pass(secs(1));
        hands.1.pass(secs(1));
        hands.2.pass(secs(1));
    }
    for wait in [hands.0.wait, hands.1.wait, hands.2.wait] {
        assert!(wait.is_some_and(|t| t > START + secs(20)));
    }
}

// C4

#[test]
fn c4_an_early_or_second_wake_does_nothing() {
    let mut hand = a_viewer(1);
    hand.pass(secs(3));
    let (notices, wait) = (hand.notices.len(), hand.wait);
    for _ in 0..10 {
        hand.handle(Event::Wake);
    }
    assert_eq!((hand.notices.len(), hand.wait), (notices, wait));
}

#[test]
fn c4_a_late_wake_is_served_once() {
    let mut hand = a_viewer(1);
    hand.pass(secs(3));
    let stats = |h: &Hand<Node>| h.notices.iter().filter(|n| matches!(n, Notice::Stats(_))).count();
    let before = stats(&hand);
    hand.now = hand.now + secs(60);
    hand.handle(Event::Wake);
    assert_eq!(stats(&hand), before + 1, "a minute missed is told once");
    hand.pass(secs(5));
    assert!((before + 5..=before + 6).contains(&stats(&hand)));
}

#[test]
fn c4_late_and_unasked_wakes_cost_no_viewer_a_block() {
    let nets = [
        Net { late: ms(30), ..net(30) },
        Net { spurious: true, ..net(30) },
        Net { late: ms(10), spurious: true, chunked: true, ..net(30) },
    ];
    for net in nets {
        let mut swarm = Swarm::with(4, net, Config::default());
        let viewers = swarm.viewers(6);
        swarm.run(15_000);
        swarm.assert_intact(&viewers, secs(3));
        for &v in &viewers {
            assert_eq!(swarm.view(v).stats.late, 0, "{:?}", swarm.view(v).stats);
        }
    }
}

// C5

#[test]
fn c5_time_that_goes_back_stands_still_for_the_core() {
    let mut hand = a_provider();
    hand.pass(secs(10));
    let (latest, wait) = (hand.now, hand.wait);
    for back in [Time::ZERO, START, START + secs(9)] {
        hand.machine.handle(back, Event::Wake);
        assert_eq!(hand.machine.poll(), Output::Wait(wait), "nothing is due at {latest:?}");
    }
    let (_, link) = hand.child(60);
    publish(&mut hand, 25, 100);
    let blocks = hand.blocks(link);
    assert!(blocks.windows(2).all(|w| w[0].seq() < w[1].seq()), "the stream goes on");
    assert!(blocks.iter().any(|b| b.seq() > channel().seq_at(latest)));
}

#[test]
fn c5_a_leap_of_years_is_bounded_work() {
    for years in [1, 10, 100_000] {
        let leap = secs(years * 365 * 86_400);
        let mut hands = (a_provider(), a_viewer(1), a_server());
        // `Hand` fails if a machine does not come to rest.
        hands.0.now = hands.0.now + leap;
        hands.1.now = hands.1.now + leap;
        hands.2.now = hands.2.now + leap;
        hands.0.handle(Event::Wake);
        hands.1.handle(Event::Wake);
        hands.2.handle(Event::Wake);
        publish(&mut hands.0, 10, 100);
        hands.1.pass(secs(2));
        hands.2.pass(secs(2));
    }
}

#[test]
fn c5_the_end_of_time_is_bounded_work() {
    let (done, end) = std::sync::mpsc::channel();
    // A thread of its own: what does not come to rest could not be judged.
    std::thread::spawn(move || {
        let mut node = provider(1, &Config::default(), None, START);
        node.handle(Time::from_micros(u64::MAX), Event::Wake);
        let rests = (0..100_000).any(|_| matches!(node.poll(), Output::Wait(_)));
        done.send(rests).unwrap();
    });
    assert_eq!(end.recv_timeout(secs(20)), Ok(true), "it does not come to rest");
}

/// One of six viewers has its clock moved, in microseconds.
fn leap(by: i64, patience: u64) -> (Swarm, Vec<NodeIx>) {
    let mut swarm = Swarm::new(5);
    let viewers = swarm.viewers(6);
    swarm.run(10_000);
    swarm.world.set_clock(viewers[0], by, 0);
    swarm.run(patience * 1_000);
    swarm.assert_intact(&viewers[1..], secs(3));
    (swarm, viewers)
}

fn assert_back(by: i64, patience: u64) {
    let (swarm, viewers) = leap(by, patience);
    let v = swarm.view(viewers[0]);
    let ago = swarm.world.now().since(v.last);
    assert!(v.wrong.is_none(), "{v:?}");
    assert!(ago < secs(1), "the clock moved by {by} us, no block since {ago:?}: {:?}", v.stats);
    let lost = v.stats.lost;
    let mut swarm = swarm;
    swarm.run(5_000);
    assert_eq!(swarm.view(viewers[0]).stats.lost, lost, "it loses no more");
}

#[test]
fn c5_a_clock_put_back_costs_nobody_else_a_block_and_its_node_comes_back() {
    assert_back(-3_000_000, 30);
}

#[test]
fn c5_a_clock_put_ahead_by_seconds_costs_nobody_else_a_block_and_its_node_comes_back() {
    assert_back(3_000_000, 30);
}

#[test]
fn c5_a_clock_put_ahead_by_a_year_costs_nobody_else_a_block_and_its_node_comes_back() {
    assert_back(365 * 86_400 * 1_000_000, 40);
}
