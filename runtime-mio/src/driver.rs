//! The loop.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::{Action, DialId, Event, Host, LinkId, Machine, Output, Time};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::buffer::ReadBuffer;
use crate::clock::Clock;
use crate::handle::{CAPACITY, Commands, Handle};
use crate::link::{Link, Phase};
use crate::sockets::{Sockets, canonical};

/// Connections accepted in a turn, and datagrams read, before the others have
/// theirs. A link is read once.
const BUDGET: usize = 64;
/// A connection attempt ends after this time.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A close that first sends what is queued ends after this time.
const LINGER: Duration = Duration::from_secs(2);
/// Accepting rests for this time when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Every other token is the id of a link. Ids are never reused, so an event
/// that comes late finds no link at all.
const LISTENER: Token = Token(usize::MAX);
const DATAGRAMS: Token = Token(usize::MAX - 1);
const COMMANDS: Token = Token(usize::MAX - 2);

/// Runs one machine. Dropping it closes every connection.
#[derive(Debug)]
pub struct Driver<M, H> {
    machine: M,
    host: H,
    clock: Clock,
    poll: Poll,
    sockets: Sockets,
    handle: Handle,
    commands: Commands,
    /// The latest time that the machine was told.
    told: Time,
    buffer: ReadBuffer,
    links: BTreeMap<LinkId, Link>,
    next_link: usize,
    /// Links to look at in this turn; those with more to do stay for the next.
    active: Vec<LinkId>,
    /// When to give up a dial or a close. Few at a time, so a search is cheap.
    deadlines: BTreeMap<LinkId, Time>,
    /// When to accept, if somebody waits for it.
    accept_at: Option<Time>,
    /// Whether datagrams may be waiting.
    datagrams_wait: bool,
}

impl<M: Machine, H: Host> Driver<M, H> {
    /// Puts the machine on its sockets. `clock` should be the one that the
    /// machine's start time was read from.
    ///
    /// # Errors
    /// Those of the operating system when it makes or fills the poller.
    pub fn new(mut sockets: Sockets, clock: Clock, machine: M, host: H) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut sockets.listener, LISTENER, Interest::READABLE)?;
        registry.register(&mut sockets.udp, DATAGRAMS, Interest::READABLE)?;
        let (handle, commands) = Handle::new(registry, COMMANDS, clock)?;
        Ok(Self {
            machine,
            host,
            clock,
            poll,
            sockets,
            handle,
            commands,
            told: Time::ZERO,
            buffer: ReadBuffer::default(),
            links: BTreeMap::new(),
            next_link: 0,
            active: Vec::new(),
            deadlines: BTreeMap::new(),
            accept_at: None,
            datagrams_wait: false,
        })
    }

    /// A door to this driver for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Closes every connection and gives back what [`new`](Self::new) took.
    pub fn into_parts(self) -> (M, H) {
        (self.machine, self.host)
    }

    /// Drives the machine until [`Handle::stop`]; after that it returns at once.
    ///
    /// # Errors
    /// Only those of the poller itself. A peer's error ends that peer's link.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            // Read first, so that a command given before `stop` is taken below.
            let last = self.handle.has_ended();
            // As many as the queue holds, so none that woke the poller is left.
            for _ in 0..CAPACITY {
                let Ok((at, ticket, command)) = self.commands.try_recv() else { break };
                // Clocks of two cores may differ by microseconds.
                self.told = self.told.max(at.min(self.clock.now()));
                self.machine.handle(self.told, Event::Command { ticket, command });
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
                return Ok(());
            }
            self.sleep(wake_at, &mut events)?;
            for event in &events {
                self.note(event);
            }
            self.accept();
            self.receive_datagrams();
            for i in 0..self.active.len() {
                self.read(self.active[i]);
            }
        }
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
            Action::SendDatagram { to, bytes } => self.sockets.send_datagram(&bytes, to),
            Action::SetRead { link, on } => self.change(link, |l| l.reading = on),
            Action::Close { link, flush } => {
                self.change(link, |l| l.phase = Phase::Closing);
                // Without a flush the time for it is over at once.
                let linger = if flush { LINGER } else { Duration::ZERO };
                self.deadlines.insert(link, self.clock.now() + linger);
            }
            Action::Deliver(delivery) => self.host.deliver(self.clock.now(), delivery),
            Action::Notify(notice) => self.host.notify(self.clock.now(), notice),
            _ => {}
        }
    }

    // Links: made, changed, ended.

    fn dial(&mut self, dial: DialId, to: SocketAddr) {
        let dialled = TcpStream::connect(to).and_then(|s| self.adopt(s, Phase::Dialling(dial)));
        let Ok(link) = dialled else { return self.tell(Event::DialFailed { dial }) };
        self.deadlines.insert(link, self.clock.now() + DIAL_TIMEOUT);
    }

    fn adopt(&mut self, mut stream: TcpStream, phase: Phase) -> io::Result<LinkId> {
        // What is ready to be written is written together; Nagle would only delay it.
        stream.set_nodelay(true)?;
        let (token, interest) = (Token(self.next_link), Interest::READABLE | Interest::WRITABLE);
        self.poll.registry().register(&mut stream, token, interest)?;
        self.next_link += 1;
        let id = LinkId(token.0 as u64);
        self.links.insert(id, Link::new(stream, phase));
        Ok(id)
    }

    /// Changes a link that the machine may name: not one that it has closed, or
    /// does not know yet.
    fn change(&mut self, id: LinkId, change: impl FnOnce(&mut Link)) {
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

    fn sleep(&mut self, wake_at: Option<Time>, events: &mut Events) -> io::Result<()> {
        let busy = self.datagrams_wait || !self.active.is_empty();
        let soonest = self.deadlines.values().min().copied();
        let until = [wake_at, soonest, self.accept_at, busy.then_some(Time::ZERO)];
        // The poller rounds up to whole milliseconds: never early.
        let timeout = until.into_iter().flatten().min().map(|at| at.since(self.clock.now()));
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            done => done,
        }
    }

    fn note(&mut self, event: &mio::event::Event) {
        match event.token() {
            LISTENER => self.accept_at = self.accept_at.or(Some(Time::ZERO)),
            DATAGRAMS => self.datagrams_wait = true,
            // The waker's finds no link: the commands are looked at in any case.
            Token(id) => self.note_link(LinkId(id as u64), event),
        }
    }

    fn note_link(&mut self, id: LinkId, event: &mio::event::Event) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.note(event);
        if let Phase::Dialling(dial) = link.phase {
            match (link.stream.take_error(), link.stream.peer_addr()) {
                (Ok(None), Ok(remote)) => {
                    link.phase = Phase::Open;
                    self.deadlines.remove(&id);
                    self.input(Event::Opened { link: id, dial: Some(dial), remote });
                }
                (Ok(None), Err(e)) if e.kind() == ErrorKind::NotConnected => return,
                _ => return self.end(id),
            }
        }
        self.active.push(id);
    }

    fn accept(&mut self) {
        let mut budget = 0..BUDGET;
        while self.accept_at.is_some_and(|at| at <= self.clock.now()) && budget.next().is_some() {
            match self.sockets.listener.accept() {
                Ok((stream, remote)) => {
                    // One that died meanwhile was never there.
                    if let Ok(link) = self.adopt(stream, Phase::Open) {
                        self.input(Event::Opened { link, dial: None, remote: canonical(remote) });
                    }
                }
                Err(e) => {
                    // Out of descriptors or memory: the connection keeps waiting,
                    // and asking again at once would only burn time.
                    let scarce = e.kind() != ErrorKind::WouldBlock;
                    self.accept_at = scarce.then(|| self.clock.now() + ACCEPT_PAUSE);
                }
            }
        }
    }

    fn receive_datagrams(&mut self) {
        let mut budget = 0..BUDGET;
        while self.datagrams_wait && budget.next().is_some() {
            match self.sockets.udp.recv_from(self.buffer.space()) {
                Ok((n, from)) => {
                    let bytes = self.buffer.take(n);
                    self.input(Event::Datagram { from: canonical(from), bytes });
                }
                // Some systems report here that an earlier datagram was refused.
                Err(e) => self.datagrams_wait = e.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    fn read(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.can_read()) else { return };
        match link.read(self.buffer.space()) {
            Some(0) => self.end(id),
            Some(n) if link.phase == Phase::Open => {
                let bytes = self.buffer.take(n);
                self.input(Event::Received { link: id, bytes });
            }
            _ => {}
        }
    }
}
