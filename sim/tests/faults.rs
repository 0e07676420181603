//! Faults hit what they should, and nothing else.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use eddy_core::{Event, LinkId, Machine};
use eddy_sim::{NodeIx, World};

/// A machine that sends 1,000 bytes on its first link every 100 ms, and logs.
fn ticker(log: &Log, to: Option<u8>) -> Box<dyn Machine> {
    let log = log.clone();
    let mut link = None;
    let start = move |out: &mut Out| {
        if let Some(to) = to {
            out.dial(addr(to))
        }
    };
    starter(start, move |now, event, out| {
        log.note(now, event);
        match event {
            Event::Opened { link: l, .. } => link = Some(*l),
            Event::Closed { .. } => link = None,
            Event::Wake => link.iter().for_each(|&l| out.send(l, vec![0; 1_000])),
            _ => {}
        }
        if out.wake.is_none() && link.is_some() {
            out.wake = Some(now + ms(100));
        }
    })
}

/// Two tickers on a connection, 100 ms apart, after a second.
fn pair(seed: u64) -> (World, [NodeIx; 2], [Log; 2]) {
    let logs = [Log::default(), Log::default()];
    let mut world = World::new(seed, net(100));
    let a = world.add(addr(1), 0, None, ticker(&logs[0], Some(2)));
    let b = world.add(addr(2), 0, None, ticker(&logs[1], None));
    run(&mut world, 1_000);
    (world, [a, b], logs)
}

fn last_received(log: &Log) -> u64 {
    log.times(received).last().copied().unwrap_or(0)
}

/// When a dial to `addr(2)` made at second 10 fails.
fn dial_fails(prepare: impl FnOnce(&mut World)) -> Vec<u64> {
    let log = Log::default();
    let mut world = World::new(1, net(100));
    world.add(addr(2), 0, None, listener(&Log::default()));
    prepare(&mut world);
    run(&mut world, 10_000);
    world.add(addr(1), 0, None, sender(&log, addr(2), vec![]));
    run(&mut world, 30_000);
    assert_eq!(log.times(opened).len() + log.times(failed).len(), 1);
    log.times(failed)
}

#[test]
fn a_dial_to_nobody_fails_as_it_should() {
    let node = NodeIx(0);
    assert!(dial_fails(|_| {}).is_empty());
    assert_eq!(dial_fails(|w| w.exit(node)), [10_100_000]);
    assert_eq!(dial_fails(|w| w.kill(node)), [15_000_000]);
    assert_eq!(dial_fails(|w| w.crash(node)), [15_000_000]);
    assert_eq!(dial_fails(|w| w.set_reachable(node, false)), [15_000_000]);
    // A frozen program's host still answers.
    assert!(dial_fails(|w| w.freeze(node, ms(60_000))).is_empty());

    let log = Log::default();
    let mut world = World::new(1, net(60));
    world.add(addr(1), 0, None, sender(&log, addr(9), vec![]));
    run(&mut world, 30_000);
    assert_eq!(log.times(failed), [100_000]);
}

#[test]
fn a_dial_into_a_partition_times_out() {
    let log = Log::default();
    let mut world = World::new(1, net(100));
    let a = world.add(addr(1), 0, None, sender(&log, addr(2), vec![]));
    let b = world.add(addr(2), 0, None, listener(&Log::default()));
    world.partition(&[a], &[b], ms(2_000));
    run(&mut world, 30_000);
    assert_eq!(log.times(failed), [5_000_000]);
}

#[test]
fn a_killed_nodes_peers_hear_of_it_after_what_it_sent() {
    let (mut world, [a, b], [_, at_b]) = pair(1);
    world.kill(a);
    assert!(!world.is_live(a) && world.is_live(b));
    run(&mut world, 60_000);
    assert_eq!(at_b.times(closed), [1_050_000]);
    assert!(last_received(&at_b) > 950_000);
    assert_eq!((world.links(b).count(), world.connections()), (0, 0));
}

#[test]
fn a_crash_is_silent_until_the_host_is_back() {
    let (mut world, [a, b], [at_a, at_b]) = pair(1);
    world.crash(a);
    run(&mut world, 60_000);
    let events_of_a = at_a.all().len();
    assert!(at_b.times(closed).is_empty());
    assert_eq!(world.links(b).count(), 1);
    // The window filled up, and then no credit came any more.
    assert!((256..300).contains(&(at_b.flushed() / 1_000)), "{}", at_b.flushed());

    let (mut world, [a, _], [_, at_b]) = pair(1);
    world.crash(a);
    run(&mut world, 5_000);
    world.add(addr(1), 0, None, listener(&Log::default()));
    run(&mut world, 60_000);
    assert!(at_b.times(closed).iter().all(|t| (5_000_000..5_250_000).contains(t)));
    assert_eq!(at_b.times(closed).len(), 1);
    assert_eq!(at_a.all().len(), events_of_a);
}

#[test]
fn a_reset_loses_what_is_in_flight_and_tells_both() {
    let (mut world, [a, _], [at_a, at_b]) = pair(1);
    let before = (last_received(&at_a), last_received(&at_b));
    // What was sent at second 1 would arrive at 1.05 s, before b is told.
    run(&mut world, 1_030);
    world.reset(a, LinkId(0));
    run(&mut world, 60_000);
    assert_eq!((at_a.times(closed), at_b.times(closed)), (vec![1_055_000], vec![1_055_000]));
    assert_eq!((last_received(&at_a), last_received(&at_b)), before);
    world.reset(a, LinkId(0));
    assert_eq!(world.connections(), 0);
}

#[test]
fn a_machine_may_use_a_broken_link_until_it_is_told() {
    let log = Log::default();
    let note = log.clone();
    let mut world = World::new(1, net(100));
    let a = world.add(
        addr(1),
        0,
        None,
        starter(
            |out| out.dial(addr(2)),
            move |now, event, out| {
                note.note(now, event);
                match event {
                    Event::Opened { .. } => out.wake = Some(at(510)),
                    Event::Wake => {
                        out.send(LinkId(0), vec![0; 9]);
                        out.read(LinkId(0), false);
                        out.close(LinkId(0), true);
                    }
                    _ => {}
                }
            },
        ),
    );
    world.add(addr(2), 0, None, listener(&Log::default()));
    run(&mut world, 500);
    world.reset(a, LinkId(0));
    run(&mut world, 60_000);
    assert_eq!((log.times(closed), log.flushed()), (vec![525_000], 0));
}

#[test]
fn resets_come_at_their_rate() {
    // Dials again whenever its connection is gone.
    let log = Log::default();
    let note = log.clone();
    let mut world = World::new(3, net(10));
    let stubborn = starter(
        |out| out.dial(addr(2)),
        move |now, event, out| {
            note.note(now, event);
            if closed(event) {
                out.dial(addr(2));
            }
        },
    );
    let a = world.add(addr(1), 0, None, stubborn);
    let b = world.add(addr(2), 0, None, listener(&Log::default()));
    run(&mut world, 100_000);
    assert!(log.times(closed).is_empty());
    world.reset_rate(b, Some(Duration::from_secs(60)));
    run(&mut world, 60_100_000);
    let resets = log.times(closed).len();
    assert!((900..1_100).contains(&resets), "{resets} in 1,000 means");
    world.reset_rate(b, None);
    run(&mut world, 61_000_000);
    let resets = log.times(closed).len();
    run(&mut world, 70_000_000);
    assert_eq!(log.times(closed).len(), resets);
    assert_eq!(world.links(a).count(), 1);
}

#[test]
fn a_reset_meant_for_one_connection_never_hits_the_next() {
    // Closes every connection after a second and dials again: of 600, one in
    // 60 is reset first. What was drawn for the others must come to nothing.
    let resets = Rc::new(Cell::new(0));
    let seen = resets.clone();
    let mut world = World::new(3, net(10));
    let (mut open, mut asked) = (None, false);
    let restless = starter(
        |out| out.dial(addr(2)),
        move |now, event, out| match event {
            Event::Opened { link, .. } => {
                (open, asked) = (Some(*link), false);
                out.wake = Some(now + ms(1_000));
            }
            Event::Wake => {
                asked = true;
                open.take().iter().for_each(|l| out.close(*l, false));
            }
            Event::Closed { .. } => {
                seen.set(seen.get() + u32::from(!asked));
                (open, out.wake) = (None, None);
                out.dial(addr(2));
            }
            _ => {}
        },
    );
    let node = world.add(addr(1), 0, None, restless);
    world.add(addr(2), 0, None, listener(&Log::default()));
    world.reset_rate(node, Some(ms(60_000)));
    run(&mut world, 600_000);
    assert!((2..30).contains(&resets.get()), "{} of 600", resets.get());
}

#[test]
fn a_frozen_nodes_window_fills_up() {
    let a = Log::default();
    let mut world = World::new(1, net(10));
    let bodies = (0..100).map(|_| Bytes::from(vec![0; 10_000])).collect();
    world.add(addr(1), 0, None, sender(&a, addr(2), bodies));
    let b = world.add(addr(2), 0, None, listener(&Log::default()));
    world.freeze(b, ms(10_000));
    run(&mut world, 9_999);
    assert_eq!(a.flushed(), 270_000);
    run(&mut world, 20_000);
    assert_eq!(a.flushed(), 1_000_000);
}

#[test]
fn a_frozen_node_hears_nothing_and_then_everything() {
    let (mut world, [a, _], [at_a, at_b]) = pair(1);
    let before = at_a.all().len();
    world.freeze(a, ms(3_000));
    run(&mut world, 3_999);
    assert_eq!(at_a.all().len(), before);
    run(&mut world, 4_000);
    let burst = at_a.times(received).iter().filter(|&&t| t == 4_000_000).count();
    assert!((29..=31).contains(&burst), "{burst} at once");
    assert_eq!(at_a.times(|e| *e == Event::Wake).iter().filter(|&&t| t == 4_000_000).count(), 1);
    run(&mut world, 10_000);
    assert!(last_received(&at_b) > 9_900_000, "it goes on");
    assert!(at_a.times(closed).is_empty());
}

#[test]
fn what_ended_during_a_freeze_is_told_once_after_it() {
    let (mut world, [a, b], [at_a, _]) = pair(1);
    world.freeze(a, ms(3_000));
    run(&mut world, 2_000);
    let unread = at_a.received().len();
    world.kill(b);
    run(&mut world, 60_000);
    assert_eq!(at_a.times(closed), [4_000_000]);
    assert!(at_a.received().len() > unread, "bytes sent before the end come before it");
    assert!(received(
        &at_a.all()[at_a.all().iter().position(|(_, e)| closed(e)).expect("told") - 1].1
    ));
}

#[test]
fn a_partition_delays_bytes_until_it_heals() {
    let (mut world, [a, b], [at_a, at_b]) = pair(1);
    world.isolate(a, ms(2_000));
    run(&mut world, 60_000);
    for log in [at_a, at_b] {
        let quiet = |t: &u64| (1_050_001..3_050_000).contains(t);
        assert!(!log.times(received).iter().any(quiet));
        assert!(log.times(closed).is_empty());
        let whole = log.times(flushed).len() - log.times(received).len();
        assert!(whole <= 1, "{whole} missing, of which one may be in flight");
    }
    assert_eq!(world.links(b).map(|(_, peer)| peer).collect::<Vec<_>>(), [a]);
}

#[test]
fn a_restarted_node_is_dialled_in_place_of_the_old_one() {
    let (first, second) = (Log::default(), Log::default());
    let mut world = World::new(1, net(10));
    let old = world.add(addr(2), 0, None, listener(&first));
    world.exit(old);
    let new = world.add(addr(2), 0, None, listener(&second));
    world.add(addr(1), 0, None, sender(&Log::default(), addr(2), vec![Bytes::from_static(b"hi")]));
    run(&mut world, 1_000);
    assert_ne!(old, new);
    assert!(first.all().is_empty());
    assert_eq!(second.received(), b"hi");
}

#[test]
#[should_panic(expected = "is taken by node 0")]
fn an_address_has_one_live_node() {
    let mut world = World::new(1, net(10));
    world.add(addr(1), 0, None, listener(&Log::default()));
    world.add(addr(1), 0, None, listener(&Log::default()));
}

#[test]
fn a_clock_that_runs_fast_wakes_its_node_early() {
    let log = Log::default();
    let note = log.clone();
    let mut world = World::new(1, net(10));
    let woken = Rc::new(Cell::new(0));
    let seen = woken.clone();
    let fast = starter(
        |out| out.wake = Some(at(1)),
        move |now, event, out| {
            note.note(now, event);
            seen.set(seen.get() + 1);
            out.wake = Some(now + ms(1_000));
        },
    );
    let node = world.add(addr(1), 0, None, fast);
    world.set_clock(node, 4_000_000, 100_000);
    run(&mut world, 100_000);
    // 110 s on its own clock, which started 4 s ahead.
    assert!((109..=111).contains(&woken.get()), "{}", woken.get());
    assert!(log.all().iter().all(|(t, _)| *t >= 4_000_000));
}

#[test]
fn a_clock_put_forward_brings_deadlines_nearer() {
    let log = Log::default();
    let note = log.clone();
    let mut world = World::new(1, net(10));
    let sleeper =
        starter(|out| out.wake = Some(at(10_000)), move |now, event, _| note.note(now, event));
    let node = world.add(addr(1), 0, None, sleeper);
    run(&mut world, 1_000);
    world.set_clock(node, 4_000_000, 0);
    run(&mut world, 5_999);
    assert!(log.all().is_empty());
    run(&mut world, 6_000);
    assert_eq!(log.all(), [(10_000_000, Event::Wake)]);
}

#[test]
fn an_uplink_can_become_slow() {
    let b = Log::default();
    let mut world = World::new(1, net(0));
    let bodies = (0..20).map(|_| Bytes::from(vec![0; 10_000])).collect();
    let a = world.add(addr(1), 0, Some(100_000), sender(&Log::default(), addr(2), bodies));
    world.add(addr(2), 0, None, listener(&b));
    run(&mut world, 950);
    world.set_uplink(a, Some(10_000));
    run(&mut world, 60_000);
    let times = b.times(received);
    assert_eq!(
        (times[0], times[9], times[10], times[19]),
        (100_000, 1_000_000, 2_000_000, 11_000_000)
    );
}
