//! The contract of the core, clause by clause, held against the real machines.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::hand::Hand;
use common::swarm::*;
use common::wire::*;
use common::*;
use eddy_core::bootstrap::Bootstrap;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stream::block::{Block, packets};
use eddy_core::stream::channel::Name;
use eddy_core::stream::map::{BufferMap, MapEntry, Path};
use eddy_core::stream::sign::{Signature, Signer};
use eddy_core::wire::message::{
    HeartbeatReply, JoinReply, JoinRequest, ListRequest, Member, Message, Purpose, Reason, Refuse,
    Refused, Registration, RegistrationResult, Subscribe, SubscribeReply, Token,
};
use eddy_core::{
    Action, Answer, Command, DialId, Event, Join, LinkId, Machine, NodeId, Notice, Output, Refusal,
    Seq, SubStream, Ticket, Time,
};
use eddy_sim::{Net, START};
use quickcheck::quickcheck;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn window() -> usize {
    Config::default().send_window
}

fn a_provider() -> Hand<Node> {
    Hand::new(provider_node(1, &Config::default(), None, START), START, window())
}

fn member(id: u8) -> Member {
    Member { node: NodeId([id; 16]), addr: addr(id), connectable: true, provider: false, age: 0 }
}

/// A viewer that knows the channel and three members, and dials them.
fn a_viewer(seed: u64) -> Hand<Node> {
    let node = viewer(seed, &Config::default(), FIRST_VIEWER, START);
    let mut hand = Hand::new(node, START, window());
    let known = Some((channel(), vec![member(50), member(51), member(52)]));
    hand.command(Command::Join(Box::new(Join { known, ..join() })));
    hand
}

fn a_server() -> Hand<Bootstrap> {
    let config = at_host(&Config::default(), SERVER);
    Hand::new(Bootstrap::new(config, [1; 32], START).unwrap(), START, window())
}

/// A partner's map: it holds everything up to now.
fn full_map(now: Time) -> Message {
    let newest = channel().seq_at(now).minus(1);
    let last = |j| newest.minus(7).align(SubStream(j), 8);
    Message::BufferMap(BufferMap {
        start: newest.minus(500),
        reply: false,
        entries: (0..8).map(|j| MapEntry { newest: Some(last(j)), subscribed: false }).collect(),
        paths: (0..8).map(|_| Path { hops: 1, delay: 10 }).collect(),
    })
}

/// A viewer whose three partners grant it every sub-stream, and give it tokens.
fn a_viewer_with_partners() -> Hand<Node> {
    let mut hand = a_viewer(1);
    for id in [50, 51, 52] {
        let link = hand.answer().unwrap();
        hand.say(link, &hello(id, Purpose::Control(channel().id())));
        let map = full_map(hand.now);
        hand.say(link, &map);
        for sub in (0..8).map(SubStream) {
            hand.say(link, &Message::SubscribeReply(SubscribeReply { sub, result: Ok(()) }));
        }
        hand.say(link, &Message::BlockLink(Token(u64::from(id))));
    }
    hand
}

/// Publishes a packet of this size in each of the next `n` slots.
fn publish(hand: &mut Hand<Node>, n: usize, size: usize) {
    for _ in 0..n {
        hand.command(Command::Publish(vec![7; size].into()));
        hand.pass(BLOCK);
    }
}

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
        let mut node = provider_node(1, &Config::default(), None, START);
        node.handle(Time::from_micros(u64::MAX), Event::Wake);
        let rests = (0..100_000).any(|_| matches!(node.poll(), Output::Wait(_)));
        done.send(rests).unwrap();
    });
    assert_eq!(end.recv_timeout(secs(20)), Ok(true), "it does not come to rest");
}

/// One of six viewers has its clock moved, in microseconds.
fn leap(by: i64, patience: u64) -> (Swarm, Vec<eddy_sim::NodeIx>) {
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

// C6

type Tape = Rc<RefCell<Vec<Step>>>;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    In(Time, Event),
    Out(Output),
}

/// Writes down all that goes in and comes out of a machine.
struct Recorder<M> {
    machine: M,
    tape: Tape,
}

impl<M: Machine> Machine for Recorder<M> {
    fn handle(&mut self, now: Time, event: Event) {
        self.tape.borrow_mut().push(Step::In(now, event.clone()));
        self.machine.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        let output = self.machine.poll();
        self.tape.borrow_mut().push(Step::Out(output.clone()));
        output
    }
}

/// The first place where a fresh machine differs from the tape.
fn replay(mut machine: impl Machine, tape: &[Step]) -> Option<usize> {
    tape.iter().position(|step| match step {
        Step::In(now, event) => {
            machine.handle(*now, event.clone());
            false
        }
        Step::Out(output) => machine.poll() != *output,
    })
}

/// A swarm with resets, and the tapes of its server, provider and a viewer
/// with the time when the viewer was made.
fn recorded() -> ([Tape; 3], Time) {
    let tapes = [Tape::default(), Tape::default(), Tape::default()];
    let config = Config::default();
    let mut world = Swarm::dark(6, net(30), config.clone());
    let server = at_host(&config, SERVER);
    let machine = Bootstrap::new(server, [1; 32], START).unwrap();
    world.add(SERVER, Box::new(Recorder { machine, tape: tapes[0].clone() }));
    world.world.exit(world.provider);
    let machine = provider_node(6, &config, None, START);
    world.provider = world.add(PROVIDER, Box::new(Recorder { machine, tape: tapes[1].clone() }));
    world.run(3_000);
    let mut all = world.viewers(3);
    let since = world.world.now();
    let tape = tapes[2].clone();
    all.push(world.disguised(|machine| Box::new(Recorder { machine, tape })));
    for &v in &all {
        world.world.reset_rate(v, Some(secs(10)));
    }
    world.run(12_000);
    (tapes, since)
}

#[test]
fn c6_the_same_seed_and_inputs_give_the_same_outputs() {
    let (tapes, since) = recorded();
    let config = Config::default();
    let [server, provider, last] = tapes.map(|t| t.borrow().clone());
    assert!(server.len() > 100 && provider.len() > 1_000 && last.len() > 1_000);
    let host = FIRST_VIEWER + 3;
    let fresh = || Bootstrap::new(at_host(&config, SERVER), [1; 32], START).unwrap();
    assert_eq!(replay(fresh(), &server), None);
    assert_eq!(replay(provider_node(6, &config, None, START), &provider), None);
    assert_eq!(replay(viewer(6, &config, host, since), &last), None);
    // Another seed is another node.
    assert!(replay(provider_node(7, &config, None, START), &provider).is_some());
    assert!(replay(viewer(7, &config, host, since), &last).is_some());
}

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

// C10

#[test]
fn c10_every_ticket_ends_once() {
    let mut swarm = Swarm::new(10);
    let viewers: Vec<_> = (0..8).map(|_| swarm.idle()).collect();
    let dead = addr(99);
    let other_key = Signer::from_secret(&[9; 32]).public();
    let named = |name: &str| Name::new(name).unwrap();
    let joins = [
        join(),
        Join { channel: named("nothing"), ..join() },
        Join { key: Some(other_key), ..join() },
        Join { bootstrap: vec![], ..join() },
        Join { key: None, bootstrap: vec![dead, addr(SERVER)], ..join() },
        Join { bootstrap: vec![dead], ..join() },
    ];
    for (&v, join) in viewers.iter().zip(joins) {
        swarm.world.command(v, Command::Join(Box::new(join)));
    }
    let list = |bootstrap: Vec<_>| Command::List { bootstrap };
    swarm.world.command(viewers[6], list(vec![addr(SERVER)]));
    swarm.world.command(viewers[6], list(vec![addr(SERVER)])); // busy
    swarm.world.command(viewers[7], list(vec![dead]));
    swarm.world.command(viewers[7], Command::Publish(packet(0)));
    swarm.join(viewers[0]); // busy
    swarm.join(swarm.provider);
    swarm.join(swarm.server);
    swarm.world.command(swarm.provider, Command::Publish(vec![0; 65_508].into()));
    for _ in 0..100 {
        swarm.world.command(swarm.provider, Command::Publish(vec![0; 65_507].into()));
    }
    swarm.run(20_000);
    // Only the join with a server that never answers may still be open.
    let open = |swarm: &Swarm, v| swarm.world.open_tickets(v).count();
    for &v in viewers.iter().filter(|v| **v != viewers[5]) {
        assert_eq!(open(&swarm, v), 0, "{v:?}: {:?}", swarm.view(v).notices);
    }
    for &v in &viewers {
        swarm.world.command(v, Command::Leave);
        swarm.world.command(v, Command::Leave);
        swarm.join(v);
    }
    swarm.run(10_000);
    for v in swarm.world.nodes() {
        assert_eq!(open(&swarm, v), 0, "{v:?}: {:?}", swarm.view(v).notices);
    }
    let refused = |v| -> Vec<Refusal> {
        let refusal = |(_, n): &(Time, Notice)| match n {
            Notice::Ended { result: Err(refusal), .. } => Some(*refusal),
            _ => None,
        };
        swarm.view(v).notices.iter().filter_map(refusal).collect()
    };
    use Refusal::*;
    assert_eq!(refused(viewers[0]), [Busy, Leaving, Leaving]);
    assert_eq!(refused(viewers[1]), [NoSuchChannel, Leaving, Leaving]);
    assert_eq!(refused(viewers[2]), [WrongKey, Leaving, Leaving]);
    assert_eq!(refused(viewers[3]), [NoBootstrap, Leaving, Leaving]);
    assert_eq!(refused(viewers[4]), [Leaving, Leaving]);
    assert_eq!(refused(viewers[5]).len(), 3, "the join, a leave and a join");
    assert_eq!(refused(viewers[6])[0], Busy);
    assert!(refused(viewers[7]).contains(&NoBootstrap));
    assert!(refused(viewers[7]).contains(&NotPossible));
    let provider = refused(swarm.provider);
    assert!(provider.contains(&PacketTooLong) && provider.contains(&InputTooFast));
    assert!(swarm.view(viewers[6]).has(|n| matches!(
        n,
        Notice::Ended { result: Ok(Answer::Channels(c)), .. } if c.len() == 1
    )));
}

/// The most memory, in bytes, that `flood` has a machine take on top.
fn memory(flood: impl FnOnce()) -> u64 {
    allocation_counter::measure(flood).bytes_max
}

#[test]
fn c10_a_child_that_never_reads_costs_a_bounded_amount_of_memory() {
    const SIZE: usize = 60_000;
    let config = Config { buffer: secs(2), give_up: secs(1), ..Config::default() };
    let bound = 2 * 50 * SIZE + window() + (2 << 20);
    let node = provider_node(1, &config, None, START);
    let mut hand = Hand::new(node, START, window());
    let (control, block) = hand.child(60);
    for id in 61..65 {
        hand.child(id);
    }
    hand.keep = false;
    let took = memory(|| {
        for _ in 0..60 {
            publish(&mut hand, 25, SIZE);
            // Others read, and it says that it is alive, wants all and hears none.
            let links: Vec<_> = hand.open.keys().copied().filter(|l| *l != block).collect();
            for link in links {
                hand.flush(link, usize::MAX);
            }
            let map = full_map(hand.now);
            hand.say(control, &map);
            let from = channel().seq_at(hand.now);
            hand.subscribe(control, from);
        }
    });
    assert!(took < bound as u64, "{took} bytes in a minute, bound {bound}");
}

#[test]
fn c10_questions_without_listening_to_answers_end_the_link() {
    let mut hand = a_provider();
    hand.keep = false;
    let control = hand.partner(60);
    let took = memory(|| {
        for n in 0..100_000 {
            if hand.open.contains_key(&control) {
                hand.say(control, &Message::Ping(n));
            }
        }
    });
    assert!(!hand.open.contains_key(&control), "it was cut off");
    assert!(took < 2 << 20, "{took} bytes");
}

#[test]
fn c10_connections_are_limited_in_all_and_per_address() {
    let config = Config { max_links: 100, max_links_per_address: 10, ..Config::default() };
    let machine = provider_node(1, &config, None, START);
    let mut hand = Hand::new(machine, START, window());
    let took = memory(|| {
        for _ in 0..1_000 {
            hand.accept(addr(60));
        }
        assert_eq!(hand.open.len(), 10);
        for n in 0..1_000_u16 {
            let [a, b] = n.to_be_bytes();
            hand.accept(([10, 1, a, b], 5).into());
        }
    });
    assert_eq!((hand.open.len(), hand.machine.stats().links), (100, 100));
    assert!(took < 2 << 20, "{took} bytes");
    // Those who never say hello make room again.
    hand.pass(secs(10));
    assert_eq!(hand.machine.stats().links, 0);
}

#[test]
fn c10_what_a_partner_makes_us_remember_is_bounded() {
    let mut hand = a_viewer(1);
    hand.keep = false;
    let control = hand.partner(60);
    let took = memory(|| {
        for n in 0..20_000_u64 {
            let mut member = member(9);
            member.node.0[..8].copy_from_slice(&n.to_be_bytes());
            hand.say(control, &Message::Gossip(vec![member]));
            hand.say(control, &Message::BlockLink(Token(n)));
            hand.say(control, &Message::DialBack(Token(n)));
            hand.say(control, &Message::Pull((0..64).map(|i| Seq(n * 64 + i)).collect()));
            hand.flush(control, usize::MAX);
        }
    });
    assert!(hand.machine.stats().members <= Config::default().members as u32);
    assert!(took < 2 << 20, "{took} bytes");
}

#[test]
fn c10_half_frames_cost_no_more_than_a_frame() {
    let mut hand = a_provider();
    hand.keep = false;
    let took = memory(|| {
        for id in 60..80 {
            let control = hand.partner(id);
            // 32 KiB are announced and all but one byte sent.
            let mut half = ((32_u32 << 10) - 4).to_be_bytes().to_vec();
            half.push(0x7f);
            half.resize((32 << 10) - 1, 0);
            hand.receive(control, half);
        }
    });
    assert!(took < 20 * (80 << 10), "{took} bytes");
    hand.pass(secs(10));
    assert_eq!(hand.machine.stats().links, 0, "a frame must end in time");
}

#[test]
fn c10_a_server_keeps_a_bounded_number_of_channels_and_nodes() {
    let mut hand = a_server();
    hand.keep = false;
    let took = memory(|| {
        for n in 0..300_u64 {
            let link = hand.accept(addr(60));
            hand.say(link, &hello(60, Purpose::Bootstrap));
            let registration =
                Registration { channel: channel(), signature: Signature([n as u8; 64]) };
            hand.say(link, &Message::ChannelRegistration(registration));
            hand.say(link, &Message::ChannelList(ListRequest { filter: "l".into() }));
        }
    });
    assert!(hand.open.len() <= Config::default().max_links_per_address, "{}", hand.open.len());
    assert!(took < 8 << 20, "{took} bytes");
    hand.pass(secs(70));
    assert!(hand.open.is_empty(), "the idle are closed: {}", hand.open.len());
}

// C11

/// Some message, from a few random numbers; sensible or not.
fn words(now: Time, x: u64, bytes: &[u8]) -> Message {
    let c = channel();
    let byte = |n: usize| bytes.get(n).copied().unwrap_or(0);
    let near = c.seq_at(now).plus(u64::from(byte(1))).minus(128);
    let seq = if x.is_multiple_of(5) { Seq(x) } else { near };
    let members: Vec<Member> = bytes.iter().take(8).map(|b| member(*b)).collect();
    let sub = SubStream(byte(2) % 12);
    let reason = [Reason::Full, Reason::NoSource, Reason::Duplicate, Reason::Token];
    let refused = Refused {
        reason: reason[usize::from(byte(3) % 4)],
        retry_after: ms(x % 100_000),
        referrals: members.iter().copied().take(4).collect(),
    };
    let map = || {
        let entry = |j: u8| MapEntry {
            newest: (byte(4) & 1 << (j % 8) == 0).then(|| seq.align(SubStream(j), 8)),
            subscribed: byte(5) & 1 << (j % 8) > 0,
        };
        let n = if byte(6).is_multiple_of(4) { byte(6) / 8 } else { 8 };
        Message::BufferMap(BufferMap {
            start: seq.minus(x % 1_000),
            reply: byte(7) > 127,
            entries: (0..n).map(entry).collect(),
            paths: (0..n).map(|j| Path { hops: byte(8) / 4 + j, delay: x as u16 }).collect(),
        })
    };
    let purposes = [
        Purpose::Bootstrap,
        Purpose::Control(c.id()),
        Purpose::Control(c.id()),
        Purpose::Block(Token(x)),
        Purpose::Probe,
    ];
    match byte(0) % 24 {
        0 => hello(byte(1), purposes[usize::from(byte(2)) % 5]),
        1 => Message::Refuse(Refuse {
            reason: refused.reason,
            version: 1,
            referrals: refused.referrals,
        }),
        2 => Message::RegistrationReply(RegistrationResult::NameTaken),
        3 => Message::ChannelList(ListRequest {
            filter: String::from_utf8_lossy(bytes).chars().take(20).collect(),
        }),
        4 => Message::ChannelJoin(JoinRequest { name: c.name().clone(), key: None }),
        5 => Message::JoinReply(Box::new(JoinReply::Joined { channel: c, viewers: 3, members })),
        6 => Message::JoinReply(Box::new(JoinReply::NoSuchChannel)),
        7 => Message::Heartbeat(c.id()),
        8 => Message::HeartbeatReply(HeartbeatReply {
            known: !x.is_multiple_of(2),
            viewers: 1,
            connectable: Some(true),
            members,
        }),
        9 => Message::Leave,
        10..=12 => map(),
        13 => Message::Ping(x),
        14 => Message::Pong(x),
        15 => Message::Gossip(members),
        16 => Message::Subscribe(Subscribe { sub, from: seq, window: ms(x % 1_000_000) }),
        17 => Message::SubscribeReply(SubscribeReply {
            sub,
            result: if byte(9) > 64 { Ok(()) } else { Err(refused) },
        }),
        18 => Message::Unsubscribe(sub),
        19 => Message::BlockLink(Token(x)),
        20 => Message::DialBack(Token(x)),
        21 => Message::Pull((0..1 + x % 20).map(|n| seq.plus(n)).collect()),
        22 => Message::DontHave((0..1 + x % 20).map(|n| seq.plus(n)).collect()),
        _ => Message::ChannelRegistration(Registration {
            channel: c,
            signature: Signature([byte(1); 64]),
        }),
    }
}

/// One random thing that a world can do to a machine.
type Deed = (u8, u64, Vec<u8>);

fn befall<M: Machine>(hand: &mut Hand<M>, (kind, x, bytes): &Deed) {
    let x = *x;
    let links: Vec<LinkId> = hand.open.keys().copied().collect();
    let link = links.get(x as usize % links.len().max(1)).copied();
    let on = |hand: &mut Hand<M>, bytes: Bytes| {
        if let Some(link) = link.filter(|l| hand.open.contains_key(l)) {
            hand.receive(link, bytes);
        }
    };
    match kind % 18 {
        0 => hand.pass(ms(x % 700)),
        1 => drop(hand.accept(addr(x as u8))),
        2 => drop(hand.answer()),
        3 => {
            if !hand.dials.is_empty() {
                let (dial, _) = hand.dials.remove(0);
                hand.handle(Event::DialFailed { dial });
            }
        }
        4 => link.into_iter().for_each(|link| hand.closed(link)),
        5 => on(hand, bytes.clone().into()),
        6 => {
            if let Some(link) = link {
                hand.flush(link, x as usize);
            }
        }
        7 => {
            let command = match x % 4 {
                0 => Command::Join(Box::new(join())),
                1 => Command::Publish(bytes.clone().into()),
                2 => Command::List { bootstrap: vec![addr(SERVER)] },
                _ if bytes.len() > 12 => Command::Leave,
                _ => Command::Publish(vec![0; 60_000].into()),
            };
            hand.command(command);
        }
        8 => {
            let link = LinkId(u64::MAX - x % 3);
            hand.handle(Event::Received { link, bytes: bytes.clone().into() });
            hand.handle(Event::Flushed { link, bytes: x as usize });
            hand.handle(Event::Closed { link });
            hand.handle(Event::DialFailed { dial: DialId(x) });
            let from = addr(1);
            hand.handle(Event::Datagram { from, bytes: bytes.clone().into() });
        }
        9 => {
            let seq = channel().seq_at(hand.now).plus(x % 50).minus(40);
            let block = if x.is_multiple_of(3) {
                Block::new(seq, &Signature([1; 64]), bytes)
            } else {
                let us = BLOCK.as_micros() as u64;
                let signature = signer().sign_block(&channel().id(), us, seq, bytes);
                Block::new(seq, &signature, bytes)
            };
            on(hand, block.frame().clone());
        }
        10 => {
            let mut spoilt = frame(&words(hand.now, x, bytes)).to_vec();
            let at = x as usize % spoilt.len();
            spoilt[at] ^= 1 << (x % 8);
            on(hand, spoilt.into());
        }
        11 => {
            let id = 50 + x as u8 % 8;
            let control = hand.partner(id);
            let map = full_map(hand.now);
            if hand.open.contains_key(&control) {
                hand.say(control, &map);
            }
            let token = hand.token(control);
            if let Some(token) = token.filter(|_| hand.open.contains_key(&control)) {
                let link = hand.accept(addr(id));
                hand.say(link, &hello(id, Purpose::Block(token)));
            }
        }
        12 if x.is_multiple_of(7) => {
            hand.now = hand.now + secs(x % 1_000_000_000);
            hand.handle(Event::Wake);
        }
        _ => on(hand, frame(&words(hand.now, x, bytes))),
    }
    hand.delivered.clear();
    if bytes.len() % 2 == 0 {
        hand.finish_closing();
    }
}

quickcheck! {
    fn c11_nothing_that_befalls_a_provider_makes_it_panic(deeds: Vec<Deed>) -> () {
        let mut hand = a_provider();
        deeds.iter().for_each(|deed| befall(&mut hand, deed));
    }

    fn c11_nothing_that_befalls_a_viewer_makes_it_panic(deeds: Vec<Deed>) -> () {
        let mut hand = a_viewer(1);
        deeds.iter().for_each(|deed| befall(&mut hand, deed));
    }

    fn c11_nothing_that_befalls_a_viewer_with_partners_makes_it_panic(deeds: Vec<Deed>) -> () {
        let mut hand = a_viewer_with_partners();
        deeds.iter().for_each(|deed| befall(&mut hand, deed));
    }

    fn c11_nothing_that_befalls_a_server_makes_it_panic(deeds: Vec<Deed>) -> () {
        let mut hand = a_server();
        for id in [50, 51, 52] {
            let link = hand.accept(addr(id));
            hand.say(link, &hello(id, Purpose::Bootstrap));
        }
        deeds.iter().for_each(|deed| befall(&mut hand, deed));
    }

    fn c6_outputs_depend_on_nothing_but_seed_and_inputs(deeds: Vec<Deed>) -> () {
        let run = || {
            let tape = Tape::default();
            let machine = viewer(1, &Config::default(), FIRST_VIEWER, START);
            let recorder = Recorder { machine, tape: tape.clone() };
            let mut hand = Hand::new(recorder, START, window());
            hand.command(Command::Join(Box::new(join())));
            deeds.iter().for_each(|deed| befall(&mut hand, deed));
            tape.take()
        };
        let first = run();
        assert_eq!(first, run());
        let fresh = viewer(1, &Config::default(), FIRST_VIEWER, START);
        assert_eq!(replay(fresh, &first), None);
    }
}

#[test]
fn c11_spoilt_copies_of_real_traffic_never_make_a_node_panic() {
    let (tapes, since) = recorded();
    let config = Config::default();
    let [server, provider, last] = tapes.map(|t| t.borrow().clone());
    let host = FIRST_VIEWER + 3;
    for seed in 0..24_u64 {
        let fresh = Bootstrap::new(at_host(&config, SERVER), [1; 32], START).unwrap();
        spoil(fresh, &server, seed);
        spoil(provider_node(6, &config, None, START), &provider, seed);
        spoil(viewer(6, &config, host, since), &last, seed);
    }
}

/// Replays a tape with one byte in some of the pieces received changed.
fn spoil(mut machine: impl Machine, tape: &[Step], seed: u64) {
    let mut rng = eddy_core::rng::Rng::new([seed as u8; 32]);
    let mut over: BTreeSet<LinkId> = BTreeSet::new();
    for step in tape {
        let Step::In(now, event) = step else { continue };
        let mut event = event.clone();
        if let Event::Received { link, bytes } = &mut event {
            if over.contains(link) {
                continue;
            }
            if rng.below(40) == 0 && !bytes.is_empty() {
                let mut spoilt = bytes.to_vec();
                let at = rng.below(spoilt.len().min(40));
                spoilt[at] = rng.next_u64() as u8;
                *bytes = spoilt.into();
            }
        }
        machine.handle(*now, event);
        for polls in 0.. {
            assert!(polls < 100_000, "it does not come to rest");
            match machine.poll() {
                Output::Act(Action::Close { link, .. }) => drop(over.insert(link)),
                Output::Act(_) => {}
                Output::Wait(_) => break,
            }
        }
    }
    let ticket = Ticket(u64::MAX);
    machine.handle(START, Event::Command { ticket, command: Command::Leave });
}
