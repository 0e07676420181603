//! Scripted machines.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

pub(crate) mod past;
pub(crate) mod swarm;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::{Action, DialId, Event, Head, LinkId, Machine, Output, Time};
use eddy_sim::lab::{self, Making, Sheet, Watch, metrics::metrics};
use eddy_sim::{Net, Rtt, START, World};

/// The share of a scenario's blocks that are on time.
pub(crate) fn continuity(scenario: &str, preset: &str, changes: &[String], seed: u64) -> f64 {
    let plan = Sheet::read(scenario).unwrap().layered(preset, changes).unwrap();
    let how = Making { seed, ..Making::default() };
    metrics(&plan, &lab::run(&plan, &how, &Watch::default()).unwrap())["continuity"]
}

/// A machine whose whole behaviour is one closure.
pub(crate) struct Actor<F> {
    react: F,
    out: Out,
}

/// What an actor wants done.
#[derive(Default)]
pub(crate) struct Out {
    actions: VecDeque<Action>,
    /// When to be woken; forgotten once it has come.
    pub(crate) wake: Option<Time>,
}

impl Out {
    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn dial(&mut self, to: SocketAddr) {
        self.act(Action::Dial { dial: DialId(0), to });
    }

    pub(crate) fn send(&mut self, link: LinkId, body: impl Into<Bytes>) {
        self.act(Action::Send { link, head: Head::new(), body: body.into() });
    }

    pub(crate) fn close(&mut self, link: LinkId, flush: bool) {
        self.act(Action::Close { link, flush });
    }

    pub(crate) fn read(&mut self, link: LinkId, on: bool) {
        self.act(Action::SetRead { link, on });
    }
}

impl<F: FnMut(Time, &Event, &mut Out)> Machine for Actor<F> {
    fn handle(&mut self, now: Time, event: Event) {
        if self.out.wake.is_some_and(|t| t <= now) {
            self.out.wake = None;
        }
        (self.react)(now, &event, &mut self.out);
    }

    fn poll(&mut self) -> Output {
        self.out.actions.pop_front().map_or(Output::Wait(self.out.wake), Output::Act)
    }
}

/// A machine that does what `react` says after each event.
pub(crate) fn actor(react: impl FnMut(Time, &Event, &mut Out) + 'static) -> Box<dyn Machine> {
    Box::new(Actor { react, out: Out::default() })
}

/// The same, with things to do before the first event.
pub(crate) fn starter(
    start: impl FnOnce(&mut Out),
    react: impl FnMut(Time, &Event, &mut Out) + 'static,
) -> Box<dyn Machine> {
    let mut out = Out::default();
    start(&mut out);
    Box::new(Actor { react, out })
}

/// What happened to a machine, and how many microseconds after the start.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<(u64, Event)>>>);

impl Log {
    pub(crate) fn note(&self, now: Time, event: &Event) {
        self.0.borrow_mut().push((micros(now), event.clone()));
    }

    pub(crate) fn all(&self) -> Vec<(u64, Event)> {
        self.0.borrow().clone()
    }

    /// When events of one kind came.
    pub(crate) fn times(&self, kind: impl Fn(&Event) -> bool) -> Vec<u64> {
        self.0.borrow().iter().filter(|(_, e)| kind(e)).map(|(t, _)| *t).collect()
    }

    pub(crate) fn received(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (_, event) in self.0.borrow().iter() {
            if let Event::Received { bytes, .. } = event {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    pub(crate) fn flushed(&self) -> usize {
        let of = |e: &Event| {
            if let Event::Flushed { bytes, .. } = e { *bytes } else { 0 }
        };
        self.0.borrow().iter().map(|(_, e)| of(e)).sum()
    }
}

/// Microseconds after the start.
pub(crate) fn micros(t: Time) -> u64 {
    t.since(START).as_micros() as u64
}

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn at(n: u64) -> Time {
    START + ms(n)
}

pub(crate) fn addr(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 4_000).into()
}

/// A network with the same round trip everywhere.
pub(crate) fn net(rtt: u64) -> Net {
    Net { rtt: Rtt::uniform(ms(rtt)), ..Net::default() }
}

/// A listener that only logs, at `addr(host)`.
pub(crate) fn listener(log: &Log) -> Box<dyn Machine> {
    let log = log.clone();
    actor(move |now, event, _| log.note(now, event))
}

/// A machine that dials `to` at once, logs, and sends `bodies` when open.
pub(crate) fn sender(log: &Log, to: SocketAddr, bodies: Vec<Bytes>) -> Box<dyn Machine> {
    let log = log.clone();
    starter(
        |out| out.dial(to),
        move |now, event, out| {
            log.note(now, event);
            if let Event::Opened { link, .. } = event {
                bodies.iter().for_each(|b| out.send(*link, b.clone()));
            }
        },
    )
}

pub(crate) fn run(world: &mut World, until: u64) {
    world.run_until(at(until), &mut ());
}

pub(crate) fn opened(e: &Event) -> bool {
    matches!(e, Event::Opened { .. })
}
pub(crate) fn received(e: &Event) -> bool {
    matches!(e, Event::Received { .. })
}
pub(crate) fn flushed(e: &Event) -> bool {
    matches!(e, Event::Flushed { .. })
}
pub(crate) fn closed(e: &Event) -> bool {
    matches!(e, Event::Closed { .. })
}
pub(crate) fn failed(e: &Event) -> bool {
    matches!(e, Event::DialFailed { .. })
}
