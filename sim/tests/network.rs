//! The network does what its closed forms say.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use eddy_core::{Action, DialId, Event, Head, LinkId, Machine};
use eddy_sim::{Net, Rtt, Sharing, World};
use quickcheck::quickcheck;

#[test]
fn a_dial_takes_one_way_there_and_a_round_trip_back() {
    let (a, b) = (Log::default(), Log::default());
    let mut world = World::new(1, Net { access: ms(5), ..net(100) });
    world.add(addr(1), 0, None, sender(&a, addr(2), vec![]));
    world.add(addr(2), 1, None, listener(&b));
    run(&mut world, 1_000);

    let dialler = SocketAddr::new(addr(1).ip(), 49_152);
    let opened = |dial, remote| Event::Opened { link: LinkId(0), dial, remote };
    assert_eq!(b.all(), [(55_000, opened(None, dialler))]);
    assert_eq!(a.all(), [(110_000, opened(Some(DialId(0)), addr(2)))]);
}

#[test]
fn latency_is_that_of_the_sites() {
    let rtt = Rtt::planetlab();
    let log = Log::default();
    let mut world = World::new(1, Net { rtt: rtt.clone(), ..Net::default() });
    world.add(addr(1), 17, None, sender(&log, addr(2), vec![]));
    world.add(addr(2), 402, None, listener(&Log::default()));
    run(&mut world, 5_000);
    assert_eq!(u128::from(log.times(opened)[0]), rtt.rtt(17, 402).as_micros());
}

#[test]
fn bytes_leave_at_the_uplinks_rate_and_are_not_copied() {
    let (a, b) = (Log::default(), Log::default());
    let body = Bytes::from(vec![7; 50_000]);
    let mut world = World::new(1, net(100));
    let from = world.add(addr(1), 0, Some(1_000_000), sender(&a, addr(2), vec![body.clone()]));
    let to = world.add(addr(2), 0, None, listener(&b));
    run(&mut world, 1_000);

    assert_eq!(a.times(flushed), [150_000]);
    let Some((200_000, Event::Received { bytes, .. })) = b.all().pop() else {
        panic!("{:?}", b.all());
    };
    assert_eq!(bytes.as_ptr(), body.as_ptr());
    assert_eq!((world.traffic(from).sent, world.traffic(to).received), (50_000, 50_000));
}

#[test]
fn a_star_is_served_child_after_child() {
    let rate = 1_234_567;
    let (children, block) = (40_u8, 62_500);
    let logs: Vec<Log> = (0..children).map(|_| Log::default()).collect();
    let mut world = World::new(1, net(80));
    // Once all are there, one block for each.
    let mut links = Vec::new();
    let hub = actor(move |_, event, out| {
        if let Event::Opened { link, .. } = event {
            links.push(*link);
            if links.len() == usize::from(children) {
                links.iter().for_each(|l| out.send(*l, vec![0; block]));
            }
        }
    });
    world.add(addr(200), 0, Some(rate), hub);
    for (i, log) in (1..).zip(&logs) {
        world.add(addr(i), 0, None, sender(log, addr(200), vec![]));
    }
    run(&mut world, 60_000);

    for (i, log) in (1..).zip(&logs) {
        let want = 0.08 + f64::from(i) * block as f64 / rate as f64;
        let got = log.times(received)[0] as f64 / 1e6;
        assert!((got / want - 1.0).abs() < 1e-3, "child {i}: {got} s, closed form {want} s");
    }
}

#[test]
fn a_chain_adds_a_service_and_a_latency_per_hop() {
    let (hops, block, rate) = (20_u8, 31_250, 700_000_u64);
    let logs: Vec<Log> = (0..hops).map(|_| Log::default()).collect();
    let mut world = World::new(1, net(60));
    // Each dials the one before it and passes on what it gets.
    for (i, log) in (1..).zip(&logs) {
        let log = log.clone();
        let mut next = None;
        let relay = starter(
            |out| out.dial(addr(i - 1)),
            move |now, event, out| {
                log.note(now, event);
                match event {
                    Event::Opened { link, dial: None, .. } => next = Some(*link),
                    Event::Received { bytes, .. } => {
                        next.iter().for_each(|&l| out.send(l, bytes.clone()));
                    }
                    _ => {}
                }
            },
        );
        world.add(addr(i), 0, Some(rate), relay);
    }
    let source = actor(move |_, event, out| match event {
        Event::Opened { .. } => out.wake = Some(at(1_000)),
        Event::Wake => out.send(LinkId(0), vec![0; block]),
        _ => {}
    });
    world.add(addr(0), 0, Some(rate), source);
    run(&mut world, 60_000);

    for (i, log) in (1..).zip(&logs) {
        let want = 1.0 + f64::from(i) * (block as f64 / rate as f64 + 0.03);
        let got = log.times(received)[0] as f64 / 1e6;
        assert!((got / want - 1.0).abs() < 1e-3, "hop {i}: {got} s, closed form {want} s");
    }
}

#[test]
fn in_turns_a_short_message_waits_for_one_send_of_each_other_link() {
    let arrival = |sharing| {
        let (bulk, short) = (Log::default(), Log::default());
        let mut world = World::new(1, Net { sharing, ..net(0) });
        let hub = actor(|_, event, out| match event {
            Event::Opened { link: LinkId(0), .. } => out.wake = Some(at(1_000)),
            Event::Wake => {
                (0..10).for_each(|_| out.send(LinkId(0), vec![0; 10_000]));
                out.send(LinkId(1), vec![1; 100]);
            }
            _ => {}
        });
        world.add(addr(1), 0, Some(1_000_000), hub);
        world.add(addr(2), 0, None, sender(&bulk, addr(1), vec![]));
        world.add(addr(3), 0, None, sender(&short, addr(1), vec![]));
        run(&mut world, 5_000);
        assert_eq!(bulk.received().len(), 100_000);
        short.times(received)
    };
    assert_eq!(arrival(Sharing::Fifo), [1_100_100]);
    assert_eq!(arrival(Sharing::Turns), [1_010_100]);
}

#[test]
fn a_reader_that_stops_stalls_its_sender() {
    let (a, b) = (Log::default(), Log::default());
    let mut world = World::new(1, Net { window: 100_000, ..net(50) });
    let bodies = (0..10).map(|i| Bytes::from(vec![i; 30_000])).collect();
    world.add(addr(1), 0, None, sender(&a, addr(2), bodies));
    let log = b.clone();
    let reader = actor(move |now, event, out| {
        log.note(now, event);
        match event {
            Event::Opened { link, .. } => {
                out.read(*link, false);
                out.wake = Some(at(10_000));
            }
            Event::Wake => out.read(LinkId(0), true),
            _ => {}
        }
    });
    world.add(addr(2), 0, None, reader);
    run(&mut world, 9_999);
    // The fourth Send began within the window.
    assert_eq!((a.flushed(), b.received().len()), (120_000, 0));
    run(&mut world, 20_000);
    assert_eq!((a.flushed(), b.received().len()), (300_000, 300_000));
    assert!(b.received().is_sorted());
    // One window a round trip: three more refills, the first a half trip after reading.
    assert!(a.times(flushed).last().is_some_and(|&t| (10_025_000..10_200_000).contains(&t)));
}

#[test]
fn close_with_flush_lets_everything_out_and_without_it_drops_what_waits() {
    let outcome = |flush| {
        let (a, b) = (Log::default(), Log::default());
        let log = a.clone();
        let mut world = World::new(1, net(40));
        let closer = starter(
            |out| out.dial(addr(2)),
            move |now, event, out| {
                log.note(now, event);
                if let Event::Opened { link, .. } = event {
                    out.send(*link, vec![1; 100_000]);
                    out.close(*link, flush);
                }
            },
        );
        world.add(addr(1), 0, Some(1_000_000), closer);
        world.add(addr(2), 0, None, listener(&b));
        run(&mut world, 10_000);
        (a.times(closed), b.received().len(), b.times(closed))
    };
    assert_eq!(outcome(true), (vec![140_000], 100_000, vec![160_000]));
    assert_eq!(outcome(false), (vec![40_000], 0, vec![60_000]));
}

#[test]
fn a_flush_to_one_who_never_reads_ends_all_the_same() {
    let a = Log::default();
    let log = a.clone();
    let mut world = World::new(1, Net { window: 1_000, ..net(0) });
    let closer = starter(
        |out| out.dial(addr(2)),
        move |now, event, out| {
            log.note(now, event);
            if let Event::Opened { link, .. } = event {
                (0..3).for_each(|_| out.send(*link, vec![1; 1_000]));
                out.close(*link, true);
            }
        },
    );
    world.add(addr(1), 0, None, closer);
    let deaf = actor(|_, event, out| {
        if let Event::Opened { link, .. } = event {
            out.read(*link, false);
        }
    });
    world.add(addr(2), 0, None, deaf);
    run(&mut world, 60_000);
    assert_eq!(a.times(closed), [5_000_000]);
}

#[test]
fn both_may_close_at_once() {
    let logs = [Log::default(), Log::default()];
    let mut world = World::new(1, net(40));
    for (i, log) in (1..).zip(&logs) {
        let log = log.clone();
        let start = move |out: &mut Out| {
            if i == 1 {
                out.dial(addr(2))
            }
        };
        let react = move |now, event: &Event, out: &mut Out| {
            log.note(now, event);
            match event {
                Event::Opened { .. } => out.wake = Some(at(1_000)),
                Event::Wake => out.close(LinkId(0), true),
                _ => {}
            }
        };
        world.add(addr(i), 0, Some(1_000), starter(start, react));
    }
    run(&mut world, 10_000);
    assert_eq!(logs.map(|l| l.times(closed)), [[1_000_000], [1_000_000]]);
}

#[test]
fn datagrams_take_a_latency_and_some_are_lost() {
    let log = Log::default();
    let mut world = World::new(1, Net { datagram_loss: 0.1, jitter: ms(10), ..net(100) });
    let spray = starter(
        |out| {
            for i in 0..10_000_u32 {
                let bytes = Bytes::copy_from_slice(&i.to_be_bytes());
                out.act(Action::SendDatagram { to: addr(2), bytes });
            }
        },
        |_, _, _| {},
    );
    world.add(addr(1), 0, None, spray);
    let to = world.add(addr(2), 0, None, listener(&log));
    run(&mut world, 1_000);

    let times = log.times(|e| matches!(e, Event::Datagram { from, .. } if *from == addr(1)));
    assert!((8_900..9_100).contains(&times.len()), "{} arrived", times.len());
    assert!(times.iter().all(|t| (50_000..60_000).contains(t)));
    assert_eq!(world.traffic(to).datagrams_received, 4 * times.len() as u64);
}

#[test]
fn a_lost_segment_comes_late_and_holds_up_what_follows() {
    let b = Log::default();
    let mut world = World::new(5, Net { segment_loss: 0.1, ..net(100) });
    let bodies = (0..200).map(|i| Bytes::from(vec![i; 1_000])).collect();
    world.add(addr(1), 0, Some(100_000), sender(&Log::default(), addr(2), bodies));
    world.add(addr(2), 0, None, listener(&b));
    run(&mut world, 60_000);
    assert!(b.received().is_sorted() && b.received().len() == 200_000);
    // A late one is late by 300 ms, and so for a while is all behind it.
    let times = b.times(received);
    let late = times.iter().zip(0..).filter(|&(t, i)| *t > 260_000 + i * 10_000_u64).count();
    assert!((60..200).contains(&late), "{late} of 200 late by more than 100 ms");
}

#[test]
fn credit_under_way_when_a_link_is_closed_stands_in_its_closed() {
    let log = Log::default();
    let note = log.clone();
    let mut world = World::new(1, net(10));
    let closer = starter(
        |out| out.dial(addr(2)),
        move |now, event, out| {
            note.note(now, event);
            if let Event::Opened { link, .. } = event {
                out.send(*link, vec![1; 100]);
                out.close(*link, true);
            }
        },
    );
    world.add(addr(1), 0, None, closer);
    world.add(addr(2), 0, None, listener(&Log::default()));
    run(&mut world, 1_000);
    assert_eq!((log.flushed(), log.times(closed)), (0, vec![10_000]));
    assert_eq!(world.connections(), 0);
}

/// Sends a third of `parts` at once and one more for each that is flushed.
fn paced(log: &Log, parts: Vec<(Head, Vec<u8>)>) -> Box<dyn Machine> {
    let log = log.clone();
    let burst = parts.len().div_ceil(3);
    let mut parts = parts.into_iter();
    starter(
        |out| out.dial(addr(2)),
        move |now, event, out| {
            log.note(now, event);
            let (link, count) = match event {
                Event::Opened { link, .. } => (*link, burst),
                Event::Flushed { link, .. } => (*link, 1),
                _ => return,
            };
            for (head, body) in parts.by_ref().take(count) {
                out.act(Action::Send { link, head, body: body.into() });
            }
        },
    )
}

/// Reads on 5 ms after each piece, if it is `pausing`.
fn reader(log: &Log, pausing: bool) -> Box<dyn Machine> {
    let log = log.clone();
    actor(move |now, event, out| {
        log.note(now, event);
        match event {
            Event::Received { link, .. } if pausing => {
                out.read(*link, false);
                out.wake = Some(now + ms(5));
            }
            Event::Wake => out.read(LinkId(0), true),
            _ => {}
        }
    })
}

/// Whether bytes come whole, in order and once, and so does their credit.
fn is_a_byte_pipe(seed: u64, bodies: &[(u8, u16)], knobs: u8, window: u16) -> bool {
    let on = |bit: u8| knobs & 1 << bit != 0;
    let network = Net {
        chunked: on(0),
        jitter: if on(1) { ms(70) } else { Duration::ZERO },
        segment_loss: if on(2) { 0.2 } else { 0.0 },
        sharing: if on(3) { Sharing::Turns } else { Sharing::Fifo },
        window: usize::from(window % 10_000) + 1,
        ..net(30)
    };
    let parts: Vec<(Head, Vec<u8>)> = bodies
        .iter()
        .map(|&(x, len)| {
            (Head::from_elem(x, (x % 70).into()), vec![!x; 1 + usize::from(len % 4_000)])
        })
        .collect();
    let want: Vec<u8> =
        parts.iter().flat_map(|(head, body)| head.iter().chain(body)).copied().collect();

    let (a, b) = (Log::default(), Log::default());
    let mut world = World::new(seed, network);
    world.add(addr(1), 0, on(4).then_some(50_000), paced(&a, parts));
    world.add(addr(2), 0, None, reader(&b, on(5)));
    run(&mut world, 3_600_000);
    let empty = |e: &Event| matches!(e, Event::Received { bytes, .. } if bytes.is_empty());
    b.received() == want && a.flushed() == want.len() && b.times(empty).is_empty()
}

quickcheck! {
    fn a_connection_is_a_byte_pipe(seed: u64, bodies: Vec<(u8, u16)>, knobs: u8, window: u16) -> bool {
        is_a_byte_pipe(seed, &bodies, knobs, window)
    }
}
