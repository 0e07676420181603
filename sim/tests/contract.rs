//! The world keeps the driver's side of the contract, holds machines to
//! theirs, and does the same again when asked again.

mod common;

use common::*;
use eddy_core::{
    Action, Answer, Command, Delivery, Event, LinkId, Machine, Notice, Output, Seq, Ticket, Time,
};
use eddy_sim::{Net, NodeIx, Observer, Rtt, START, World};

/// A machine that wakes every 30 ms.
fn metronome(log: &Log) -> Box<dyn Machine> {
    let log = log.clone();
    starter(
        |out| out.wake = Some(at(30)),
        move |now, event, out| {
            log.note(now, event);
            if out.wake.is_none() {
                out.wake = Some(now + ms(30));
            }
        },
    )
}

fn wakes(network: Net) -> Vec<u64> {
    let log = Log::default();
    let mut world = World::new(1, network);
    world.add(addr(1), 0, None, metronome(&log));
    run(&mut world, 30_000);
    log.times(|e| *e == Event::Wake)
}

#[test]
fn wakes_are_exact_unless_told_otherwise() {
    let exact = wakes(net(0));
    assert!(exact.iter().copied().eq((1..=1_000).map(|i| i * 30_000)));

    let late = wakes(Net { late: ms(10), ..net(0) });
    let gaps: Vec<u64> = late.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.iter().all(|g| (30_000..40_000).contains(g)));
    assert!(gaps.iter().any(|&g| g > 35_000));
}

#[test]
fn spurious_wakes_come_on_top() {
    let count = |spurious| {
        let log = Log::default();
        let mut world = World::new(1, Net { spurious, ..net(0) });
        let note = log.clone();
        world.add(addr(1), 0, None, actor(move |now, event, _| note.note(now, event)));
        let bytes = bytes::Bytes::from_static(b"x");
        let spray = starter(
            |out| {
                (0..800).for_each(|_| {
                    out.act(Action::SendDatagram { to: addr(1), bytes: bytes.clone() })
                })
            },
            |_, _, _| {},
        );
        world.add(addr(2), 0, None, spray);
        run(&mut world, 1_000);
        log.times(|e| *e == Event::Wake).len()
    };
    assert_eq!(count(false), 0);
    assert!((60..140).contains(&count(true)), "{}", count(true));
}

#[test]
fn a_deadline_moved_is_kept_and_the_old_one_is_not_served() {
    let log = Log::default();
    let note = log.clone();
    let mut world = World::new(1, net(0));
    let fickle = starter(
        |out| out.wake = Some(at(5_000)),
        move |now, event, out| {
            note.note(now, event);
            match event {
                Event::Command { ticket: Ticket(0), .. } => out.wake = Some(at(2_000)),
                Event::Command { ticket: Ticket(1), .. } => out.wake = Some(at(9_000)),
                _ => {}
            }
        },
    );
    let node = world.add(addr(1), 0, None, fickle);
    run(&mut world, 1_000);
    world.command(node, Command::Leave);
    run(&mut world, 1_500);
    world.command(node, Command::Leave);
    run(&mut world, 60_000);
    assert_eq!(log.times(|e| *e == Event::Wake), [9_000_000]);
}

/// Random chatter on a real network with everything switched on.
fn chatter(seed: u64) -> (u64, u64) {
    let network = Net {
        rtt: Rtt::planetlab(),
        jitter: ms(20),
        segment_loss: 0.05,
        late: ms(3),
        spurious: true,
        chunked: true,
        ..Net::default()
    };
    let mut world = World::new(seed, network);
    for host in 1..=12_u8 {
        let start = move |out: &mut Out| (1..host).for_each(|to| out.dial(addr(to)));
        let mut budget = 200;
        let react = move |_: Time, event: &Event, out: &mut Out| match event {
            Event::Opened { link, .. } => out.send(*link, vec![0; 700]),
            Event::Received { link, .. } if budget > 0 => {
                budget -= 1;
                out.send(*link, vec![0; 500]);
            }
            Event::Closed { .. } => out.dial(addr(host % 12 + 1)),
            _ => {}
        };
        let node =
            world.add(addr(host), usize::from(host) * 7, Some(50_000), starter(start, react));
        world.reset_rate(node, Some(ms(20_000)));
    }
    run(&mut world, 10_000);
    world.freeze(NodeIx(3), ms(2_000));
    world.kill(NodeIx(4));
    run(&mut world, 60_000);
    (world.hash(), world.events())
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (hash, events) = chatter(11);
    assert!(events > 2_000, "{events}");
    assert_eq!(chatter(11), (hash, events));
    assert_ne!(chatter(12).0, hash);
}

#[test]
fn observers_and_tickets() {
    #[derive(Default)]
    struct Seen(Vec<(Time, NodeIx, Seq)>, Vec<Ticket>);
    impl Observer for Seen {
        fn delivered(&mut self, now: Time, node: NodeIx, delivery: &Delivery) {
            self.0.push((now, node, delivery.seq));
        }
        fn notified(&mut self, _now: Time, _node: NodeIx, notice: &Notice) {
            if let Notice::Ended { ticket, .. } = notice {
                self.1.push(*ticket);
            }
        }
    }
    let mut world = World::new(1, net(0));
    let player = actor(|_, event, out| {
        if let Event::Command { ticket, .. } = event {
            let payload = bytes::Bytes::new();
            out.act(Action::Deliver(Delivery {
                seq: Seq(ticket.0),
                due: None,
                slot: START,
                payload,
            }));
            if ticket.0 == 0 {
                out.act(ended(*ticket));
            }
        }
    });
    let node = world.add(addr(1), 0, None, player);
    let mut seen = Seen::default();
    run(&mut world, 250);
    assert_eq!([0, 1].map(|_| world.command(node, Command::Leave)), [Ticket(0), Ticket(1)]);
    world.run_until(at(1_000), &mut seen);
    assert_eq!(seen.0, [(at(250), node, Seq(0)), (at(250), node, Seq(1))]);
    assert_eq!(seen.1, [Ticket(0)]);
    assert_eq!(world.open_tickets(node).collect::<Vec<_>>(), [Ticket(1)]);
}

fn ended(ticket: Ticket) -> Action {
    Action::Notify(Notice::Ended { ticket, result: Ok(Answer::Done) })
}

/// Runs two machines of which the first breaks the contract.
fn run_bad(bad: Box<dyn Machine>) {
    let mut world = World::new(4_711, net(10));
    let node = world.add(addr(1), 0, None, bad);
    world.add(addr(2), 0, None, listener(&Log::default()));
    world.command(node, Command::Leave);
    run(&mut world, 10_000);
}

/// A machine that dials and misbehaves once connected.
fn bad_on_link(mut react: impl FnMut(LinkId, &mut Out) + 'static) -> Box<dyn Machine> {
    starter(
        |out| out.dial(addr(2)),
        move |_, event, out| {
            if let Event::Opened { link, .. } = event {
                react(*link, out);
            }
        },
    )
}

#[test]
#[should_panic(expected = "(C3); node 0 (10.0.0.1:4000), 0ns after the start, seed 4711")]
fn a_deadline_in_the_past_is_refused() {
    run_bad(actor(|now, _, out| out.wake = Some(now)));
}

#[test]
#[should_panic(expected = "(C3)")]
fn a_wait_that_changes_is_refused() {
    struct Unsteady(u64);
    impl Machine for Unsteady {
        fn handle(&mut self, _now: Time, _event: Event) {}
        fn poll(&mut self) -> Output {
            self.0 += 1;
            Output::Wait(Some(at(1_000 + self.0)))
        }
    }
    run_bad(Box::new(Unsteady(0)));
}

#[test]
#[should_panic(expected = "Send on LinkId(0), which is being closed (C9); node 0")]
fn a_send_after_close_is_refused() {
    run_bad(bad_on_link(|link, out| {
        out.close(link, true);
        out.send(link, vec![1]);
    }));
}

#[test]
#[should_panic(expected = "Close on LinkId(0), which is being closed (C9)")]
fn a_second_close_is_refused() {
    run_bad(bad_on_link(|link, out| {
        out.close(link, true);
        out.close(link, false);
    }));
}

#[test]
#[should_panic(expected = "SetRead on LinkId(0), which is never opened, or closed (C9)")]
fn an_action_after_closed_is_refused() {
    run_bad(starter(
        |out| out.dial(addr(2)),
        |_, event, out| match event {
            Event::Opened { link, .. } => out.close(*link, false),
            Event::Closed { link } => out.read(*link, true),
            _ => {}
        },
    ));
}

#[test]
#[should_panic(expected = "ended twice, or was never given (C10)")]
fn a_ticket_that_ends_twice_is_refused() {
    run_bad(actor(|_, event, out| {
        if let Event::Command { ticket, .. } = event {
            out.act(ended(*ticket));
            out.act(ended(*ticket));
        }
    }));
}

#[test]
#[should_panic(expected = "time stands still (C11); node 0")]
fn a_machine_that_spins_is_refused() {
    struct Spinning;
    impl Machine for Spinning {
        fn handle(&mut self, _now: Time, _event: Event) {}
        fn poll(&mut self) -> Output {
            Output::Act(Action::SendDatagram { to: addr(9), bytes: bytes::Bytes::new() })
        }
    }
    run_bad(Box::new(Spinning));
}
