//! A machine on strings: the test pulls them from outside, and the machine
//! judges the driver with every event it is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eddy_core::{
    Action, Command, Delivery, DialId, Event, Head, Host, LinkId, Machine, Notice, Output, Ticket,
    Time,
};

use crate::driver::{Clock, Driver, Handle, Sockets, run};

/// Longest wait for something that has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// What a reflex can ask for.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub(crate) actions: VecDeque<Action>,
    pub(crate) wait: Option<Time>,
}

impl Wants {
    pub(crate) fn send(&mut self, link: LinkId, bytes: Bytes) {
        self.actions.push_back(send(link, bytes));
    }
}

/// A behaviour of the machine itself. Events for which it returns true are
/// not passed on to the test.
pub(crate) type Reflex = Box<dyn FnMut(Time, &Event, &mut Wants) -> bool + Send>;

/// An event with the driver's `now` and the clock as the machine read it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) now: Time,
    pub(crate) clock: Time,
    pub(crate) event: Event,
}

/// What one link may still show.
#[derive(Default)]
struct Account {
    sent: usize,
    flushed: usize,
    paused: bool,
    closing: bool,
}

pub(crate) struct Puppet {
    clock: Clock,
    strings: Receiver<Action>,
    seen: Sender<Seen>,
    reflex: Reflex,
    wants: Wants,
    last: Time,
    next_link: u64,
    links: BTreeMap<LinkId, Account>,
    dials: BTreeSet<DialId>,
}

impl Puppet {
    /// The rules that every driver has to keep, whatever the test is about.
    fn judge(&mut self, now: Time, event: &Event) {
        assert!(now >= self.last, "time went back from {:?} to {now:?}", self.last);
        assert!(now <= self.clock.now(), "{now:?} is still to come");
        self.last = now;
        match event {
            Event::Opened { link, dial, .. } => {
                assert!(link.0 >= self.next_link, "{link:?} is not a new id");
                self.next_link = link.0 + 1;
                self.links.insert(*link, Account::default());
                if let Some(dial) = dial {
                    assert!(self.dials.remove(dial), "{dial:?} was not asked for, or is answered");
                }
            }
            Event::DialFailed { dial } => {
                assert!(self.dials.remove(dial), "{dial:?} was not asked for, or is answered");
            }
            Event::Received { link, bytes } => {
                let account = self.links.get(link).expect("bytes of a link that is not open");
                assert!(!account.paused && !account.closing, "bytes of a link not to be read");
                assert!(!bytes.is_empty(), "a read of nothing");
            }
            Event::Flushed { link, bytes } => {
                let account = self.links.get_mut(link).expect("credit for a link not open");
                account.flushed += bytes;
                assert!(*bytes > 0 && !account.closing);
                assert!(account.flushed <= account.sent, "more credit than was sent");
            }
            Event::Closed { link } => {
                self.links.remove(link).expect("end of a link that is not open");
            }
            Event::Wake => {
                let wait = self.wants.wait.expect("a wake nobody asked for");
                assert!(now >= wait, "woken at {now:?}, before {wait:?}");
                assert!(self.wants.actions.is_empty(), "woken before it was polled");
            }
            _ => {}
        }
    }

    fn note(&mut self, action: &Action) {
        match action {
            Action::Dial { dial, .. } => assert!(self.dials.insert(*dial)),
            Action::Send { link, head, body } => {
                if let Some(account) = self.links.get_mut(link) {
                    account.sent += head.len() + body.len();
                }
            }
            Action::SetRead { link, on } => {
                if let Some(account) = self.links.get_mut(link) {
                    account.paused = !on;
                }
            }
            Action::Close { link, .. } => {
                if let Some(account) = self.links.get_mut(link) {
                    account.closing = true;
                }
            }
            _ => {}
        }
    }
}

impl Machine for Puppet {
    fn handle(&mut self, now: Time, event: Event) {
        self.judge(now, &event);
        let clock = self.clock.now();
        if matches!(event, Event::Command { ticket: BELL, .. }) {
            self.wants.actions.extend(self.strings.try_iter());
        } else if !(self.reflex)(now, &event, &mut self.wants) {
            self.seen.send(Seen { now, clock, event }).ok();
        }
    }

    fn poll(&mut self) -> Output {
        match self.wants.actions.pop_front() {
            Some(action) => {
                self.note(&action);
                Output::Act(action)
            }
            None => Output::Wait(self.wants.wait),
        }
    }
}

/// The ticket that says: the test pulled a string.
pub(crate) const BELL: Ticket = Ticket(u64::MAX);

/// Passes on what the host was told, in order.
pub(crate) struct Ear(Sender<Heard>);

#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Delivery(Delivery),
    Notice(Notice),
}

impl Host for Ear {
    fn deliver(&mut self, _: Time, delivery: Delivery) {
        self.0.send(Heard::Delivery(delivery)).ok();
    }
    fn notify(&mut self, _: Time, notice: Notice) {
        self.0.send(Heard::Notice(notice)).ok();
    }
}

/// A driver on its own thread.
pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    pub(crate) clock: Clock,
    pub(crate) handle: Handle,
    strings: Sender<Action>,
    seen: Receiver<Seen>,
    pub(crate) heard: Receiver<Heard>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Passes every event to the test.
    pub(crate) fn plain() -> Self {
        Self::new(|_, _, _| false)
    }

    pub(crate) fn new(
        reflex: impl FnMut(Time, &Event, &mut Wants) -> bool + Send + 'static,
    ) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, 0).into(), reflex)
    }

    pub(crate) fn at(
        addr: SocketAddr,
        reflex: impl FnMut(Time, &Event, &mut Wants) -> bool + Send + 'static,
    ) -> Self {
        let sockets = Sockets::bind(addr).unwrap();
        let addr = sockets.local_addr();
        let clock = Clock::start();
        let (strings, pulled) = channel();
        let (told, seen) = channel();
        let (ear, heard) = channel();
        let machine = Puppet {
            clock,
            strings: pulled,
            seen: told,
            reflex: Box::new(reflex),
            wants: Wants::default(),
            last: Time::ZERO,
            next_link: 0,
            links: BTreeMap::new(),
            dials: BTreeSet::new(),
        };
        let mut driver = Driver::new(sockets, clock, machine, Ear(ear)).unwrap();
        let handle = driver.handle();
        let thread = std::thread::spawn(move || run(&mut driver).unwrap());
        Self { addr, clock, handle, strings, seen, heard, thread: Some(thread) }
    }

    /// Makes the machine want this.
    pub(crate) fn act(&self, action: Action) {
        self.act_all([action]);
    }

    /// Makes the machine want all this at once.
    pub(crate) fn act_all(&self, actions: impl IntoIterator<Item = Action>) {
        for action in actions {
            self.strings.send(action).unwrap();
        }
        self.handle.command(BELL, Command::Leave).unwrap();
    }

    /// The next event.
    pub(crate) fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("no event came, or the driver failed")
    }

    /// The next event if one comes within this time.
    pub(crate) fn next_within(&self, time: Duration) -> Option<Event> {
        self.seen.recv_timeout(time).ok().map(|seen| seen.event)
    }

    /// The first event that fits; the others before it are dropped.
    pub(crate) fn until<T>(&self, what: &str, mut fits: impl FnMut(Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.seen.recv_timeout(left) {
                Ok(seen) => {
                    if let Some(found) = fits(seen.event) {
                        return found;
                    }
                }
                Err(e) => panic!("waited for {what}: {e}"),
            }
        }
    }

    pub(crate) fn opened(&self) -> LinkId {
        self.until("a connection", |event| match event {
            Event::Opened { link, .. } => Some(link),
            _ => None,
        })
    }

    pub(crate) fn closed(&self, id: LinkId) {
        self.until("the end of the link", |e| (e == Event::Closed { link: id }).then_some(()));
    }

    /// Dials `other`; returns the ids of the link at both ends.
    pub(crate) fn connect(&self, other: &Self) -> (LinkId, LinkId) {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1 << 32);
        let dial = DialId(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        self.act(Action::Dial { dial, to: other.addr });
        (self.opened(), other.opened())
    }

    /// Reads this link until `n` bytes came.
    pub(crate) fn receive(&self, id: LinkId, n: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < n {
            self.until("bytes", |event| match event {
                Event::Received { link, bytes } if link == id => {
                    got.extend_from_slice(&bytes);
                    Some(())
                }
                _ => None,
            });
        }
        got
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

pub(crate) fn send(link: LinkId, body: Bytes) -> Action {
    Action::Send { link, head: Head::new(), body }
}

/// Bytes that differ from each other at every distance a mistake could make.
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
