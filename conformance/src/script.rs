//! Machines whose whole behaviour is one closure.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::{Action, DialId, Event, Head, LinkId, Machine, Output, Time};

use crate::board::Shared;

/// What a scenario wants of a scripted machine: it is done at the next command.
pub(crate) type Strings = Shared<VecDeque<Action>>;

/// What a machine heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ear(Shared<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// All but bytes and credit.
    events: Vec<Event>,
    bytes: BTreeMap<LinkId, Vec<u8>>,
}

impl Ear {
    pub(crate) fn hear(&self, event: &Event) {
        let mut heard = self.0.lock();
        match event {
            Event::Received { link, bytes } => {
                heard.bytes.entry(*link).or_default().extend_from_slice(bytes);
            }
            Event::Flushed { .. } => {}
            other => heard.events.push(other.clone()),
        }
    }

    /// Links that were opened, in order.
    pub(crate) fn opened(&self) -> Vec<LinkId> {
        let link = |event: &Event| match event {
            Event::Opened { link, .. } => Some(*link),
            _ => None,
        };
        self.0.lock().events.iter().filter_map(link).collect()
    }

    /// How many events were of a kind.
    pub(crate) fn count(&self, kind: impl Fn(&Event) -> bool) -> usize {
        self.0.lock().events.iter().filter(|event| kind(event)).count()
    }

    pub(crate) fn has(&self, event: &Event) -> bool {
        self.0.lock().events.contains(event)
    }

    pub(crate) fn closed(&self, link: LinkId) -> bool {
        self.has(&Event::Closed { link })
    }

    /// Whether both were told, and the first one first.
    pub(crate) fn in_order(&self, first: &Event, second: &Event) -> bool {
        let heard = self.0.lock();
        let at = |wanted| heard.events.iter().position(|event| event == wanted);
        at(first).zip(at(second)).is_some_and(|(first, second)| first < second)
    }

    /// How many bytes came on a link.
    pub(crate) fn len(&self, link: LinkId) -> usize {
        self.0.lock().bytes.get(&link).map_or(0, Vec::len)
    }

    /// The bytes that came on a link.
    pub(crate) fn bytes(&self, link: LinkId) -> Vec<u8> {
        self.0.lock().bytes.get(&link).cloned().unwrap_or_default()
    }
}

/// What a script wants done.
#[derive(Debug)]
pub(crate) struct Out {
    actions: VecDeque<Action>,
    /// When to be woken; forgotten once that has come.
    pub(crate) wake: Option<Time>,
    /// Whether time passes by itself.
    real: bool,
    dials: u64,
    /// Memory for what comes on a link, lent to the driver until it is full.
    lent: BTreeMap<LinkId, Vec<u8>>,
}

impl Out {
    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn dial(&mut self, to: SocketAddr) {
        self.dials += 1;
        self.act(Action::Dial { dial: DialId(self.dials), to });
    }

    pub(crate) fn send(&mut self, link: LinkId, body: impl Into<Bytes>) {
        self.act(send(link, body));
    }

    pub(crate) fn close(&mut self, link: LinkId, flush: bool) {
        self.act(Action::Close { link, flush });
    }

    pub(crate) fn read(&mut self, link: LinkId, on: bool) {
        self.act(Action::SetRead { link, on });
    }

    pub(crate) fn lends(&self, link: LinkId) -> bool {
        self.lent.contains_key(&link)
    }

    /// Lends memory for so many bytes.
    pub(crate) fn lend(&mut self, link: LinkId, bytes: usize) {
        // So that zeros show, too, when they are written.
        self.lent.insert(link, vec![0xa5; bytes]);
    }

    /// What was read to the memory lent, as if it had been received.
    fn filled(&mut self, link: LinkId, bytes: usize) -> Event {
        let mut slot = self.lent.remove(&link).unwrap_or_default();
        let rest = slot.split_off(bytes.min(slot.len()));
        if !rest.is_empty() {
            self.lent.insert(link, rest);
        }
        Event::Received { link, bytes: slot.into() }
    }

    /// Keeps the driver's thread busy, as a long computation would. In virtual
    /// time nothing takes time.
    pub(crate) fn dawdle(&self, span: Duration) {
        if self.real {
            std::thread::sleep(span);
        }
    }
}

/// A machine that does what `react` says after each event.
pub(crate) struct Script<F> {
    react: F,
    out: Out,
    strings: Strings,
}

impl<F: FnMut(Time, &Event, &mut Out)> Script<F> {
    pub(crate) fn new(react: F, strings: Strings, real: bool) -> Self {
        let out =
            Out { actions: VecDeque::new(), wake: None, real, dials: 0, lent: BTreeMap::new() };
        Self { react, out, strings }
    }
}

impl<F: FnMut(Time, &Event, &mut Out)> Machine for Script<F> {
    fn handle(&mut self, now: Time, event: Event) {
        self.out.wake = self.out.wake.filter(|at| *at > now);
        if let Event::Command { .. } = event {
            self.out.actions.append(&mut self.strings.lock());
        }
        let event = match event {
            Event::Filled { link, bytes } => self.out.filled(link, bytes),
            other => other,
        };
        (self.react)(now, &event, &mut self.out);
    }

    fn poll(&mut self) -> Output {
        self.out.actions.pop_front().map_or(Output::Wait(self.out.wake), Output::Act)
    }

    fn slot(&mut self, link: LinkId) -> Option<&mut [u8]> {
        self.out.lent.get_mut(&link).map(Vec::as_mut_slice)
    }
}

pub(crate) fn send(link: LinkId, body: impl Into<Bytes>) -> Action {
    Action::Send { link, head: Head::new(), body: body.into() }
}

/// Bytes that differ from each other at every distance a mistake could make.
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
