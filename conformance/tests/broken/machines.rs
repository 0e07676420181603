//! Machines with one fault each: between the node and the judge.

use std::time::{Duration, SystemTime};

use eddy_conformance::{Check, Mount, Options, Verdict, reference};
use eddy_core::{Action, Event, Machine, Notice, Output, Time};

use crate::run;

type Node = Box<dyn Machine + Send>;

fn verdict<D: Mount>(scenario: &str, disguise: fn(Node) -> Node) -> Verdict {
    run::<D>(scenario, Options { disguise, ..Options::default() })
}

fn rejected<D: Mount>(scenario: &str, disguise: fn(Node) -> Node, check: Check) {
    let verdict = verdict::<D>(scenario, disguise);
    assert!(verdict.names(check), "{check:?} is not among what was found: {verdict}");
}

/// Changes each answer of the machine inside.
struct Bent<F>(Node, F);

impl<F: FnMut(Output) -> Output> Machine for Bent<F> {
    fn handle(&mut self, now: Time, event: Event) {
        self.0.handle(now, event);
    }
    fn poll(&mut self) -> Output {
        let output = self.0.poll();
        (self.1)(output)
    }
}

#[test]
fn it_reads_a_clock() {
    let late: fn(Node) -> Node = |node| {
        Box::new(Bent(node, |mut output| {
            if let Output::Act(Action::Deliver(delivery)) = &mut output {
                let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap();
                delivery.due = Some(Time::ZERO + unix);
            }
            output
        }))
    };
    rejected::<reference::Plain>("viewers_join_and_play", late, Check::Replay);
}

/// Has room for one answer; the next takes its place.
struct OneSlot(Node, Option<Action>, Option<Time>);

impl Machine for OneSlot {
    fn handle(&mut self, now: Time, event: Event) {
        self.0.handle(now, event);
        self.2 = loop {
            match self.0.poll() {
                Output::Act(action) => self.1 = Some(action),
                Output::Wait(until) => break until,
            }
        };
    }
    fn poll(&mut self) -> Output {
        self.1.take().map_or(Output::Wait(self.2), Output::Act)
    }
}

#[test]
fn it_has_one_slot_for_its_answers() {
    let one_slot: fn(Node) -> Node = |node| Box::new(OneSlot(node, None, None));
    rejected::<reference::Plain>("viewers_join_and_play", one_slot, Check::TicketLost);
}

/// Forgets what it wanted to be woken for when a dial fails.
struct Forgetful(Node, bool);

impl Machine for Forgetful {
    fn handle(&mut self, now: Time, event: Event) {
        self.1 = matches!(event, Event::DialFailed { .. });
        self.0.handle(now, event);
    }
    fn poll(&mut self) -> Output {
        match self.0.poll() {
            Output::Wait(_) if self.1 => Output::Wait(None),
            other => other,
        }
    }
}

#[test]
fn it_loses_its_deadline() {
    // Others' words would wake it: only where it is alone does that show.
    let forgetful: fn(Node) -> Node = |node| Box::new(Forgetful(node, false));
    rejected::<reference::Plain>("the_bootstrap_server_comes_late", forgetful, Check::Stream);
}

/// Wants to be woken every 10 ms: `next` says when, from the last time and now.
struct Periodic {
    node: Node,
    due: Option<Time>,
    next: fn(Time, Time) -> Time,
}

impl Machine for Periodic {
    fn handle(&mut self, now: Time, event: Event) {
        let due = *self.due.get_or_insert(now);
        if due <= now {
            self.due = Some((self.next)(due, now));
        }
        self.node.handle(now, event);
    }
    fn poll(&mut self) -> Output {
        match self.node.poll() {
            Output::Wait(until) => Output::Wait(until.into_iter().chain(self.due).min()),
            action => action,
        }
    }
}

#[test]
fn it_never_disarms_its_timer() {
    let stuck: fn(Node) -> Node = |node| Box::new(Periodic { node, due: None, next: |due, _| due });
    rejected::<reference::Plain>("viewers_join_and_play", stuck, Check::Wait);
}

#[test]
fn it_counts_its_period_from_the_old_deadline() {
    const PERIOD: Duration = Duration::from_millis(10);
    let burst: fn(Node) -> Node =
        |node| Box::new(Periodic { node, due: None, next: |due, _| due + PERIOD });
    let steady: fn(Node) -> Node =
        |node| Box::new(Periodic { node, due: None, next: |_, now| now + PERIOD });
    // Only a driver that is late shows it.
    assert!(verdict::<reference::Plain>("viewers_join_and_play", burst).passed());
    rejected::<reference::Late>("viewers_join_and_play", burst, Check::Wait);
    let verdict = verdict::<reference::Late>("viewers_join_and_play", steady);
    assert!(verdict.passed(), "{verdict}");
}

/// Says everything of one kind twice.
struct Twice(Node, fn(&Action) -> bool, Option<Action>);

impl Machine for Twice {
    fn handle(&mut self, now: Time, event: Event) {
        self.0.handle(now, event);
    }
    fn poll(&mut self) -> Output {
        if let Some(action) = self.2.take() {
            return Output::Act(action);
        }
        let output = self.0.poll();
        if let Output::Act(action) = &output
            && (self.1)(action)
        {
            self.2 = Some(action.clone());
        }
        output
    }
}

#[test]
fn it_ends_a_ticket_twice() {
    const ENDED: fn(&Action) -> bool = |a| matches!(a, Action::Notify(Notice::Ended { .. }));
    let twice: fn(Node) -> Node = |node| Box::new(Twice(node, ENDED, None));
    rejected::<reference::Plain>("viewers_join_and_play", twice, Check::Ticket);
}

#[test]
fn it_plays_a_block_twice() {
    const BLOCK: fn(&Action) -> bool = |a| matches!(a, Action::Deliver(_));
    let twice: fn(Node) -> Node = |node| Box::new(Twice(node, BLOCK, None));
    rejected::<reference::Plain>("viewers_join_and_play", twice, Check::Stream);
}

#[test]
fn it_plays_other_bytes() {
    let empty: fn(Node) -> Node = |node| {
        let mut blocks = 0;
        Box::new(Bent(node, move |mut output| {
            if let Output::Act(Action::Deliver(delivery)) = &mut output {
                blocks += 1;
                if blocks == 20 {
                    delivery.payload.clear();
                }
            }
            output
        }))
    };
    rejected::<reference::Plain>("viewers_join_and_play", empty, Check::Stream);
}
