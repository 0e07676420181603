//! Time: wakes, idleness, and the `now` of every event.

use std::time::Duration;

use bytes::Bytes;
use eddy_core::{Action, Event};

use super::common::{Node, PATIENCE};

#[test]
fn wakes_are_punctual_and_never_early() {
    // Each wake asks for the next; the machine asserts that none is early.
    let (mut due, mut left) = (None, 50_u64);
    let mut lateness = Vec::new();
    let (done, result) = std::sync::mpsc::channel();
    let node = Node::new(move |now, event, wants| {
        if *event == Event::Wake {
            lateness.push(now.since(due.unwrap()));
        }
        if left == 0 {
            wants.wait = None;
            done.send(std::mem::take(&mut lateness)).unwrap();
            return true;
        }
        left -= 1;
        due = Some(now + Duration::from_micros(500 + left * 791 % 20_000));
        wants.wait = due;
        true
    });
    node.act(Action::SendDatagram { to: node.addr, bytes: Bytes::from_static(b"start") });
    let mut lateness = result.recv_timeout(PATIENCE).expect("not all wakes came");
    assert_eq!(lateness.len(), 50);
    lateness.sort_unstable();
    println!("median lateness {:?}, worst {:?}", lateness[25], lateness[49]);
    assert!(lateness[25] < Duration::from_millis(50), "median lateness {:?}", lateness[25]);
}

#[test]
fn an_idle_machine_is_left_alone() {
    let node = Node::plain();
    assert_eq!(node.next_within(Duration::from_millis(300)), None);
}

#[test]
fn now_is_the_clock_on_wakes_and_on_the_first_input_after_idleness() {
    let close = Duration::from_millis(50);
    let node = Node::new(|now, event, wants| {
        wants.wait = match event {
            Event::Datagram { .. } => Some(now + Duration::from_millis(100)),
            _ => None,
        };
        false
    });
    let mut last = node.clock.now();
    for _ in 0..5 {
        node.act(Action::SendDatagram { to: node.addr, bytes: Bytes::from_static(b"x") });
        for wake in [false, true] {
            let seen = node.next();
            assert_eq!(wake, seen.event == Event::Wake, "{seen:?}");
            assert!(seen.now >= last, "time went back to {:?}", seen.now);
            assert!(seen.clock.since(seen.now) < close, "{seen:?}");
            last = seen.now;
        }
        assert_eq!(node.next_within(Duration::from_millis(120)), None);
    }
}

#[test]
fn a_wake_may_be_put_forward_and_put_off() {
    // A datagram of n bytes asks for a wake in n ms; the machine asserts that
    // it is not early.
    let node = Node::new(|now, event, wants| {
        wants.wait = match event {
            Event::Datagram { bytes, .. } => Some(now + Duration::from_millis(bytes.len() as u64)),
            _ => None,
        };
        false
    });
    for waits in [[60_000, 50], [50, 400]] {
        for wait in waits {
            node.act(Action::SendDatagram { to: node.addr, bytes: vec![0; wait].into() });
            assert!(matches!(node.next().event, Event::Datagram { .. }));
        }
        assert_eq!(node.next().event, Event::Wake, "asked for in {waits:?} ms");
        assert_eq!(node.next_within(Duration::from_millis(50)), None);
    }
}

#[test]
fn traffic_hurries_no_wake() {
    // The loop goes round without a pause, for the machine writes to itself;
    // the machine asserts that none of its wakes is early.
    let (done, result) = std::sync::mpsc::channel();
    let mut wakes = 0;
    let node = Node::new(move |now, event, wants| {
        match event {
            Event::Datagram { from, bytes } => wants.actions.push_back(Action::SendDatagram {
                to: *from,
                bytes: Bytes::copy_from_slice(bytes),
            }),
            Event::Wake => {
                wakes += 1;
                if wakes == 50 {
                    done.send(()).unwrap();
                }
                wants.wait = None;
            }
            _ => {}
        }
        wants.wait = wants.wait.or(Some(now + Duration::from_micros(2_500)));
        true
    });
    node.act(Action::SendDatagram { to: node.addr, bytes: Bytes::from_static(b"round") });
    result.recv_timeout(PATIENCE).expect("traffic kept the wakes away");
}

#[test]
fn a_machine_in_a_hurry_starves_no_input() {
    // It always wants to be woken in a microsecond, and is still spoken to.
    let node = Node::new(|now, event, wants| {
        wants.wait = Some(now + Duration::from_micros(1));
        *event == Event::Wake
    });
    for _ in 0..50 {
        node.act(Action::SendDatagram { to: node.addr, bytes: Bytes::from_static(b"x") });
        assert!(matches!(node.next().event, Event::Datagram { .. }));
    }
}
