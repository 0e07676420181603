//! The loop.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::{Action, Delivery, DialId, Event, LinkId, Machine, Notice, Output, Time};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::buffer::ReadBuffer;
use crate::clock::Clock;
use crate::handle::{CAPACITY, Commands, Handle};
use crate::link::{Link, Phase};
use crate::sockets::{Sockets, canonical};

/// Bytes read from one link in a turn, at least; then the others have theirs.
const READ_BUDGET: usize = 256 << 10;
/// Connections accepted in a turn.
const ACCEPT_BUDGET: usize = 64;
/// Datagrams read in a turn.
const DATAGRAM_BUDGET: usize = 64;
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

/// What of a machine's actions is neither socket nor timer. Called on the
/// driver's thread, in the order of the actions: what takes long belongs
/// elsewhere, for meanwhile nothing else moves.
pub trait Host {
    /// Takes a block for the player.
    fn deliver(&mut self, now: Time, delivery: Delivery);
    /// Takes a word for the application.
    fn notify(&mut self, now: Time, notice: Notice);
}

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
    buffer: ReadBuffer,
    links: BTreeMap<LinkId, Link>,
    next_link: usize,
    /// What the machine said last: when it wants to be woken.
    wait: Option<Time>,
    /// When to look whether a link is to be given up.
    deadlines: BTreeSet<(Time, LinkId)>,
    /// Links to read and to write in this turn, each at most once.
    to_read: VecDeque<LinkId>,
    to_write: VecDeque<LinkId>,
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
        let (handle, commands) = Handle::new(registry, COMMANDS)?;
        Ok(Self {
            machine,
            host,
            clock,
            poll,
            sockets,
            handle,
            commands,
            buffer: ReadBuffer::default(),
            links: BTreeMap::new(),
            next_link: 0,
            wait: None,
            deadlines: BTreeSet::new(),
            to_read: VecDeque::new(),
            to_write: VecDeque::new(),
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
            self.take_commands();
            self.end_overdue();
            self.drain();
            // What is due is decided by the clock; a sleep that ended proves nothing.
            if self.wait.is_some_and(|at| at <= self.clock.now()) {
                self.input(Event::Wake);
            }
            self.flush();
            if last {
                self.flush();
                return Ok(());
            }
            self.sleep(&mut events)?;
            for event in &events {
                self.note(event);
            }
            self.accept();
            self.receive_datagrams();
            self.read();
        }
    }

    // What the machine is told and asked.

    fn tell(&mut self, event: Event) {
        self.machine.handle(self.clock.now(), event);
    }

    /// Tells the machine, and carries out all that it wants done about it.
    fn input(&mut self, event: Event) {
        self.tell(event);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.machine.poll() {
                Output::Act(action) => self.perform(action),
                Output::Wait(until) => {
                    self.wait = until;
                    return;
                }
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Dial { dial, to } => self.dial(dial, to),
            Action::Send { link, head, body } => self.change(link, |l| l.outbox.push(head, body)),
            Action::SendDatagram { to, bytes } => self.sockets.send_datagram(&bytes, to),
            Action::SetRead { link, on } => self.change(link, |l| l.reading = on),
            Action::Close { link, flush: true } => {
                let deadline = self.deadline(link, LINGER);
                self.change(link, |l| {
                    l.phase = Phase::Closing { said: false };
                    l.deadline = deadline;
                });
            }
            Action::Close { link, .. } if self.open_link(link).is_some() => self.end(link),
            Action::Deliver(delivery) => self.host.deliver(self.clock.now(), delivery),
            Action::Notify(notice) => self.host.notify(self.clock.now(), notice),
            // Nothing of this version, except to close what has ended by itself.
            _ => {}
        }
    }

    // Links: made, changed, ended.

    fn dial(&mut self, dial: DialId, to: SocketAddr) {
        let dialled = TcpStream::connect(to).and_then(|s| self.adopt(s, Phase::Connecting(dial)));
        if dialled.is_err() {
            self.tell(Event::DialFailed { dial });
        }
    }

    fn adopt(&mut self, mut stream: TcpStream, phase: Phase) -> io::Result<LinkId> {
        // What is ready to be written is written together; Nagle would only delay it.
        stream.set_nodelay(true)?;
        let (token, interest) = (Token(self.next_link), Interest::READABLE | Interest::WRITABLE);
        self.poll.registry().register(&mut stream, token, interest)?;
        self.next_link += 1;
        let id = LinkId(token.0 as u64);
        let mut link = Link::new(stream, phase);
        if phase != Phase::Open {
            link.deadline = self.deadline(id, DIAL_TIMEOUT);
        }
        self.links.insert(id, link);
        Ok(id)
    }

    /// A link that the machine may name: not one that it has closed, or does not know yet.
    fn open_link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id).filter(|link| link.phase == Phase::Open)
    }

    fn change(&mut self, id: LinkId, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.open_link(id) {
            change(link);
            self.enlist(id);
        }
    }

    /// Puts a link where its turn to read or to write will come.
    fn enlist(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.can_read() && !link.to_read {
            link.to_read = true;
            self.to_read.push_back(id);
        }
        if link.can_write() && !link.to_write {
            link.to_write = true;
            self.to_write.push_back(id);
        }
    }

    /// A deadline to put on the link; nothing happens to a link without it.
    fn deadline(&mut self, id: LinkId, after: Duration) -> Option<Time> {
        let at = self.clock.now() + after;
        self.deadlines.insert((at, id));
        Some(at)
    }

    fn end_overdue(&mut self) {
        let now = self.clock.now();
        while let Some(&(at, id)) = self.deadlines.first().filter(|&&(at, _)| at <= now) {
            self.deadlines.pop_first();
            // It may have got a later deadline since, or none.
            if self.links.get(&id).is_some_and(|link| link.deadline == Some(at)) {
                self.end(id);
            }
        }
    }

    /// Ends a link, however it came to its end: the one place that says so.
    fn end(&mut self, id: LinkId) {
        let Some(mut link) = self.links.remove(&id) else { return };
        // Closing the socket does the same; an error would change nothing.
        self.poll.registry().deregister(&mut link.stream).ok();
        self.tell(match link.phase {
            Phase::Connecting(dial) => Event::DialFailed { dial },
            Phase::Open | Phase::Closing { .. } => Event::Closed { link: id },
        });
    }

    // The parts of a turn.

    /// Takes as many as the queue holds, so none that woke the poller is left.
    fn take_commands(&mut self) {
        for _ in 0..CAPACITY {
            let Ok((ticket, command)) = self.commands.try_recv() else { return };
            self.input(Event::Command { ticket, command });
        }
    }

    /// Writes what waits, then gives the credit back.
    fn flush(&mut self) {
        for _ in 0..self.to_write.len() {
            let Some(id) = self.to_write.pop_front() else { break };
            let Some(link) = self.links.get_mut(&id) else { continue };
            link.to_write = false;
            let bytes = link.write();
            let open = link.phase == Phase::Open;
            self.enlist(id);
            if open && bytes > 0 {
                self.tell(Event::Flushed { link: id, bytes });
            }
        }
        self.drain();
    }

    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let busy = self.datagrams_wait || !self.to_read.is_empty() || !self.to_write.is_empty();
        let soonest = self.deadlines.first().map(|&(at, _)| at);
        let until = [self.wait, soonest, self.accept_at, busy.then_some(Time::ZERO)];
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
            COMMANDS => {}
            Token(id) => self.note_link(LinkId(id as u64), event),
        }
    }

    fn note_link(&mut self, id: LinkId, event: &mio::event::Event) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.note(event);
        if let Phase::Connecting(dial) = link.phase {
            match link.connected() {
                Ok(remote) => {
                    link.phase = Phase::Open;
                    link.deadline = None;
                    self.input(Event::Opened { link: id, dial: Some(dial), remote });
                }
                Err(e) if e.kind() == ErrorKind::NotConnected => {}
                Err(_) => self.end(id),
            }
        }
        self.enlist(id);
    }

    fn accept(&mut self) {
        if self.accept_at.is_none_or(|at| at > self.clock.now()) {
            return;
        }
        for _ in 0..ACCEPT_BUDGET {
            match self.sockets.listener.accept() {
                Ok((stream, remote)) => {
                    // One that died meanwhile was never there.
                    if let Ok(link) = self.adopt(stream, Phase::Open) {
                        self.input(Event::Opened { link, dial: None, remote: canonical(remote) });
                    }
                }
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) => {
                    // Out of descriptors or memory: the connection keeps waiting,
                    // and asking again at once would only burn time.
                    let scarce = e.kind() != ErrorKind::WouldBlock;
                    self.accept_at = scarce.then(|| self.clock.now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn receive_datagrams(&mut self) {
        if !self.datagrams_wait {
            return;
        }
        for _ in 0..DATAGRAM_BUDGET {
            match self.sockets.udp.recv_from(self.buffer.space()) {
                Ok((n, from)) => {
                    let bytes = self.buffer.take(n);
                    self.input(Event::Datagram { from: canonical(from), bytes });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.datagrams_wait = false;
                    return;
                }
                // Some systems report here that an earlier datagram was refused.
                Err(_) => {}
            }
        }
    }

    fn read(&mut self) {
        for _ in 0..self.to_read.len() {
            let Some(id) = self.to_read.pop_front() else { break };
            if let Some(link) = self.links.get_mut(&id) {
                link.to_read = false;
                self.read_link(id);
                self.enlist(id);
            }
        }
    }

    fn read_link(&mut self, id: LinkId) {
        let mut taken = 0;
        while taken < READ_BUDGET {
            // The machine may have closed or paused it on what it has just read.
            let Some(link) = self.links.get_mut(&id).filter(|link| link.can_read()) else { return };
            match link.read(self.buffer.space()) {
                Ok(Some(n)) => {
                    taken += n;
                    if link.phase == Phase::Open {
                        let bytes = self.buffer.take(n);
                        self.input(Event::Received { link: id, bytes });
                    }
                }
                Ok(None) => return,
                Err(_) => return self.end(id),
            }
        }
    }
}
