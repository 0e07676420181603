//! The loop.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::task::Waker;
use std::time::Duration;

use eddy_core::{Action, DialId, Event, Host, LinkId, Machine, Output, Time};

use crate::buffer::ReadBuffer;
use crate::clock::Clock;
use crate::handle::{CAPACITY, Given, Handle};
use crate::link::{Link, Phase};
use crate::net::{Net, Readiness, Stream};
use crate::sockets::{canonical, native};

/// Connections accepted in a turn, and datagrams read, before the others have
/// theirs.
const BUDGET: usize = 64;
/// Reads of a link in a turn: one that brings bytes, and one that finds no more.
const READS: usize = 2;
/// A connection attempt ends after this time.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A close that first sends what is queued ends after this time.
const LINGER: Duration = Duration::from_secs(2);
/// Accepting rests for this time when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A machine and its sockets. Dropping it closes every connection.
#[derive(Debug)]
pub struct Engine<M, H, N: Net> {
    machine: M,
    host: H,
    clock: Clock,
    net: N,
    /// The address that the sockets are bound to.
    local: SocketAddr,
    handle: Handle,
    given: Given,
    /// The latest time that the machine was told.
    told: Time,
    buffer: ReadBuffer,
    links: BTreeMap<LinkId, Link<N::Stream>>,
    next_link: LinkId,
    /// Links to look at in this turn; those with more to do stay for the next.
    active: Vec<LinkId>,
    /// When to give up a dial or a close. Few at a time, so a search is cheap.
    deadlines: BTreeMap<LinkId, Time>,
    /// When to accept, if somebody waits for it.
    accept_at: Option<Time>,
    /// Whether datagrams may be waiting.
    datagrams_wait: bool,
}

impl<M: Machine, H: Host, N: Net> Engine<M, H, N> {
    /// Puts a machine on sockets that are bound to `local`. `clock` should be
    /// the one that the machine's start time was read from; `waker` ends a
    /// sleep of the driver.
    pub fn new(net: N, local: SocketAddr, clock: Clock, machine: M, host: H, waker: Waker) -> Self {
        let (handle, given) = Handle::new(clock, waker);
        Self {
            machine,
            host,
            clock,
            net,
            local,
            handle,
            given,
            told: Time::ZERO,
            buffer: ReadBuffer::default(),
            links: BTreeMap::new(),
            next_link: LinkId(0),
            active: Vec::new(),
            deadlines: BTreeMap::new(),
            accept_at: None,
            datagrams_wait: false,
        }
    }

    /// A door to this engine for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Closes every connection and gives back what [`new`](Self::new) took.
    pub fn into_parts(self) -> (M, H) {
        (self.machine, self.host)
    }

    // What the driver tells.

    /// Accepting is worth a try.
    pub fn connections_ready(&mut self) {
        self.accept_at = self.accept_at.or(Some(Time::ZERO));
    }

    /// Receiving datagrams is worth a try.
    pub fn datagrams_ready(&mut self) {
        self.datagrams_wait = true;
    }

    /// Something is worth a try on a connection. One that has ended meanwhile
    /// is passed over: ids are never reused.
    pub fn link_ready(&mut self, id: LinkId, said: Readiness) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.note(said);
        if let Phase::Dialling(dial) = link.phase {
            match link.stream.connected() {
                Ok(to) => {
                    link.phase = Phase::Open;
                    self.deadlines.remove(&id);
                    self.input(Event::Opened { link: id, dial: Some(dial), remote: canonical(to) });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.end(id),
            }
        }
        self.active.push(id);
    }

    /// One turn: takes in all that is ready and due, and carries out what the
    /// machine wants done about it. Returns until when the driver may sleep if
    /// nothing gets ready, or `Break` once [`Handle::stop`] was called.
    pub fn turn(&mut self) -> ControlFlow<(), Option<Time>> {
        // Read first, so that a command given before `stop` is taken below.
        let last = self.handle.has_ended();
        self.accept();
        self.receive_datagrams();
        for i in 0..self.active.len() {
            self.read(self.active[i]);
        }
        // As many as the queue holds, so none that woke the driver is left.
        for _ in 0..CAPACITY {
            let Ok((at, event)) = self.given.try_recv() else { break };
            // Clocks of two cores may differ by microseconds.
            self.told = self.told.max(at.min(self.clock.now()));
            self.machine.handle(self.told, event);
            self.drain();
        }
        let now = self.clock.now();
        while let Some((&id, _)) = self.deadlines.iter().find(|&(_, &at)| at <= now) {
            self.end(id);
        }
        // What is due is decided by the clock; a sleep that ended proves nothing.
        if self.drain().is_some_and(|at| at <= self.clock.now()) {
            self.input(Event::Wake);
        }
        self.write();
        let wake_at = self.drain();
        if last {
            return ControlFlow::Break(());
        }
        let busy = self.datagrams_wait || !self.active.is_empty();
        let soonest = self.deadlines.values().min().copied();
        let until = [wake_at, soonest, self.accept_at, busy.then_some(Time::ZERO)];
        ControlFlow::Continue(until.into_iter().flatten().min())
    }

    // What the machine is told and asked.

    fn tell(&mut self, event: Event) {
        self.told = self.told.max(self.clock.now());
        self.machine.handle(self.told, event);
    }

    /// Tells the machine, and carries out all that it wants done about it.
    fn input(&mut self, event: Event) {
        self.tell(event);
        self.drain();
    }

    /// Carries out all that the machine wants; returns when it wants to be woken.
    fn drain(&mut self) -> Option<Time> {
        loop {
            match self.machine.poll() {
                Output::Act(action) => self.perform(action),
                Output::Wait(until) => return until,
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial { dial, to } => self.dial(dial, to),
            Action::Send { link, head, body } => self.change(link, |l| l.outbox.push(&head, body)),
            Action::SendDatagram { to, bytes } => self.net.send(&bytes, native(to, self.local)),
            Action::SetRead { link, on } => self.change(link, |l| l.reading = on),
            Action::Close { link, flush } => {
                self.change(link, |l| l.phase = Phase::Closing);
                // Without a flush the time for it is over at once.
                let linger = if flush { LINGER } else { Duration::ZERO };
                self.deadlines.insert(link, self.clock.now() + linger);
            }
            Action::Deliver(delivery) => self.host.deliver(self.clock.now(), delivery),
            Action::Notify(notice) => self.host.notify(self.clock.now(), notice),
            Action::Disk(request) => self.host.disk(self.clock.now(), request),
            _ => {}
        }
    }

    // Links: made, changed, ended.

    fn dial(&mut self, dial: DialId, to: SocketAddr) {
        match self.net.dial(self.next_link, to) {
            Ok(stream) => {
                let link = self.adopt(stream, Phase::Dialling(dial));
                self.deadlines.insert(link, self.clock.now() + DIAL_TIMEOUT);
            }
            Err(_) => self.tell(Event::DialFailed { dial }),
        }
    }

    fn adopt(&mut self, stream: N::Stream, phase: Phase) -> LinkId {
        let id = self.next_link;
        self.next_link.0 += 1;
        self.links.insert(id, Link::new(stream, phase));
        id
    }

    /// Changes a link that the machine may name: not one that it has closed, or
    /// does not know yet.
    fn change(&mut self, id: LinkId, change: impl FnOnce(&mut Link<N::Stream>)) {
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.phase == Phase::Open) {
            change(link);
            self.active.push(id);
        }
    }

    /// Ends a link, however it came to its end: the one place that says so.
    fn end(&mut self, id: LinkId) {
        self.deadlines.remove(&id);
        let Some(link) = self.links.remove(&id) else { return };
        self.tell(match link.phase {
            Phase::Dialling(dial) => Event::DialFailed { dial },
            _ => Event::Closed { link: id },
        });
    }

    // The parts of a turn.

    fn accept(&mut self) {
        let mut budget = 0..BUDGET;
        while self.accept_at.is_some_and(|at| at <= self.clock.now()) && budget.next().is_some() {
            match self.net.accept(self.next_link) {
                Ok((stream, remote)) => {
                    let link = self.adopt(stream, Phase::Open);
                    self.input(Event::Opened { link, dial: None, remote: canonical(remote) });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.accept_at = None,
                // Out of descriptors or memory: the connection keeps waiting,
                // and asking again at once would only burn time.
                Err(_) => self.accept_at = Some(self.clock.now() + ACCEPT_PAUSE),
            }
        }
    }

    fn receive_datagrams(&mut self) {
        let mut budget = 0..BUDGET;
        while self.datagrams_wait && budget.next().is_some() {
            match self.net.receive() {
                Ok((from, bytes)) => self.input(Event::Datagram { from: canonical(from), bytes }),
                // Some systems report here that an earlier datagram was refused.
                Err(e) => self.datagrams_wait = e.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    fn read(&mut self, id: LinkId) {
        for _ in 0..READS {
            // It may be closed or paused by what the machine wanted meanwhile.
            let Some(link) = self.links.get_mut(&id).filter(|link| link.can_read()) else { return };
            let slot = self.machine.slot(id).filter(|s| link.phase == Phase::Open && !s.is_empty());
            match (slot.is_some(), link.read(slot, self.buffer.space())) {
                (_, Some(0)) => self.end(id),
                (true, Some(bytes)) => self.input(Event::Filled { link: id, bytes }),
                (false, Some(n)) if link.phase == Phase::Open => {
                    let bytes = self.buffer.take(n);
                    self.input(Event::Received { link: id, bytes });
                }
                _ => {}
            }
        }
    }

    /// Writes what waits, and gives the credit back.
    fn write(&mut self) {
        self.active.sort_unstable();
        self.active.dedup();
        self.active.retain(|&id| {
            let Some(link) = self.links.get_mut(&id) else { return false };
            let bytes = link.write();
            if bytes > 0 && link.phase == Phase::Open {
                self.told = self.told.max(self.clock.now());
                self.machine.handle(self.told, Event::Flushed { link: id, bytes });
            }
            link.can_read()
        });
    }
}
