//! A driver of one's own: any machine over the sockets of the standard library, one thread, one
//! loop. `docs/DRIVERS.md` goes through it; `tests/own_loop.rs` has it pass the suite.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf, Bytes};
use eddy_core::{Action, DialId, Event, Host, LinkId, Machine, Output, Time};

/// std has no poller: a quiet loop looks at its sockets this often.
const TICK: Duration = Duration::from_millis(1);
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a close may take to send what was sent before.
const LINGER: Duration = Duration::from_secs(2);

/// What other threads bring to the loop, through a bounded queue.
pub(crate) enum Door {
    /// What the program says: a command, or an answer of the disk.
    Tell(Event),
    Dialled(DialId, io::Result<TcpStream>),
    Stop,
}

/// The way to the door.
pub(crate) type Way = SyncSender<Door>;

/// A listener and a UDP socket on one port.
pub(crate) type Sockets = (TcpListener, UdpSocket);

pub(crate) fn bind(addr: SocketAddr) -> io::Result<Sockets> {
    let listener = TcpListener::bind(addr)?;
    let udp = UdpSocket::bind(listener.local_addr()?)?;
    listener.set_nonblocking(true)?;
    udp.set_nonblocking(true)?;
    Ok((listener, udp))
}

struct Link {
    stream: TcpStream,
    outbox: VecDeque<Bytes>,
    reading: bool,
    /// The machine has closed it: when to give up sending what is left.
    closing: Option<Time>,
}

pub(crate) struct Loop<M, H> {
    machine: M,
    host: H,
    start: Time,
    origin: Instant,
    sockets: Sockets,
    door: Receiver<Door>,
    back: Way,
    links: BTreeMap<LinkId, Link>,
    opened: u64,
    space: Vec<u8>,
}

impl<M: Machine, H: Host> Loop<M, H> {
    /// A loop, and other threads' way to it. `make` is told when the machine's life begins.
    pub(crate) fn new(sockets: Sockets, make: impl FnOnce(Time) -> M, host: H) -> (Self, Way) {
        // The wall clock is read once; from here on the monotonic one counts (C5).
        let start = Time::ZERO + SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let (origin, machine) = (Instant::now(), make(start));
        let (sender, door) = sync_channel(1024);
        let (back, links, space, opened) = (sender.clone(), BTreeMap::new(), vec![0; 64 << 10], 0);
        (Self { machine, host, start, origin, sockets, door, back, links, opened, space }, sender)
    }

    /// Drives the machine until [`Door::Stop`].
    pub(crate) fn run(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            let wake_at = self.drain();
            let timeout = wake_at.map_or(pause, |at| at.since(self.now()).min(pause));
            match self.door.recv_timeout(timeout) {
                Ok(Door::Tell(event)) => self.tell(event),
                Ok(Door::Dialled(dial, stream)) => {
                    let opened = stream.and_then(|stream| self.open(stream, Some(dial)));
                    self.tell(opened.unwrap_or(Event::DialFailed { dial }));
                }
                Ok(Door::Stop) => return,
                Err(_) => {} // It has slept long enough.
            }
            // The clock decides what is due, not the sleep that ended.
            if self.drain().is_some_and(|at| at <= self.now()) {
                self.tell(Event::Wake);
            }
            let mut moved = self.accept() | self.receive_datagram();
            for id in self.links.keys().copied().collect::<Vec<_>>() {
                moved |= self.read(id) | self.write(id);
            }
            pause = if moved { Duration::ZERO } else { TICK };
        }
    }

    fn now(&self) -> Time {
        self.start + self.origin.elapsed()
    }

    /// Tells the machine, with the time of this very moment, and does all it wants about it.
    fn tell(&mut self, event: Event) {
        self.machine.handle(self.now(), event);
        self.drain();
    }

    /// Does all that the machine wants. Returns when to wake it: only now may the loop sleep (C2).
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
            Action::Dial { dial, to } => {
                let door = self.back.clone(); // Connecting takes time that the loop has not.
                std::thread::spawn(move || {
                    door.send(Door::Dialled(dial, TcpStream::connect_timeout(&to, DIAL_TIMEOUT)))
                });
            }
            Action::Send { link, head, body } => self.change(link, |link| {
                let pieces = [Bytes::copy_from_slice(&head), body];
                link.outbox.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
            }),
            Action::SendDatagram { to, bytes } => drop(self.sockets.1.send_to(&bytes, to)),
            Action::SetRead { link, on } => self.change(link, |link| link.reading = on),
            Action::Close { link, flush: false } => self.end(link),
            Action::Close { link, flush: true } => {
                let until = self.now() + LINGER;
                self.change(link, |link| link.closing = Some(until));
            }
            Action::Deliver(delivery) => self.host.deliver(self.now(), delivery),
            Action::Notify(notice) => self.host.notify(self.now(), notice),
            Action::Disk(request) => self.host.disk(self.now(), request),
            _ => {}
        }
    }

    fn change(&mut self, id: LinkId, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&id) {
            change(link);
        }
    }

    fn open(&mut self, stream: TcpStream, dial: Option<DialId>) -> io::Result<Event> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (link, remote) = (LinkId(self.opened), stream.peer_addr()?);
        self.opened += 1; // An id is never used again (C9).
        self.links.insert(link, Link { stream, outbox: [].into(), reading: true, closing: None });
        Ok(Event::Opened { link, dial, remote })
    }

    fn accept(&mut self) -> bool {
        let Ok((stream, _)) = self.sockets.0.accept() else { return false };
        // One that died meanwhile was never there.
        self.open(stream, None).into_iter().for_each(|opened| self.tell(opened));
        true
    }

    fn receive_datagram(&mut self) -> bool {
        let Ok((n, from)) = self.sockets.1.recv_from(&mut self.space) else { return false };
        let bytes = Bytes::copy_from_slice(&self.space[..n]);
        self.tell(Event::Datagram { from, bytes });
        true
    }

    /// Reads once. What comes on a link that the machine has closed is thrown away.
    fn read(&mut self, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        if !link.reading && link.closing.is_none() {
            return false;
        }
        match link.stream.read(&mut self.space) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
            Ok(0) | Err(_) => self.end(id),
            Ok(n) if link.closing.is_none() => {
                let bytes = Bytes::copy_from_slice(&self.space[..n]);
                self.tell(Event::Received { link: id, bytes });
            }
            Ok(_) => {}
        }
        true
    }

    /// Writes what the kernel takes, and gives the credit back (C8).
    fn write(&mut self, id: LinkId) -> bool {
        let now = self.now();
        let Some(link) = self.links.get_mut(&id) else { return false };
        let mut bytes = 0;
        while let Some(piece) = link.outbox.front_mut() {
            // An error that is no full buffer shows at the next read.
            let Ok(n) = link.stream.write(piece) else { break };
            bytes += n;
            piece.advance(n);
            link.outbox.pop_front_if(|piece| piece.is_empty());
        }
        match link.closing {
            Some(until) if until <= now => self.end(id),
            Some(_) if link.outbox.is_empty() => drop(link.stream.shutdown(Shutdown::Write)),
            None if bytes > 0 => self.tell(Event::Flushed { link: id, bytes }),
            _ => {}
        }
        bytes > 0
    }

    /// Ends a link, whoever wished it: the one place that says so, once (C9).
    fn end(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            self.machine.handle(self.now(), Event::Closed { link });
        }
    }
}

struct Screen;

impl Host for Screen {
    fn deliver(&mut self, _now: Time, _block: eddy_core::Delivery) {}

    fn notify(&mut self, now: Time, notice: eddy_core::Notice) {
        println!("{now:?} {notice:?}");
    }
}

/// A bootstrap server, until somebody presses Enter.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use eddy_core::{Command, Ticket, bootstrap::Bootstrap, config::Config};

    let sockets = bind(([127, 0, 0, 1], 7400).into()).map_err(|e| format!("port 7400: {e}"))?;
    let config = Config { listen: sockets.0.local_addr()?, ..Config::default() };
    // A server in earnest has its seed from the operating system.
    let make = |now| Bootstrap::new(config, [1; 32], now).expect("the default is valid");
    let (server, door) = Loop::new(sockets, make, Screen);
    let thread = std::thread::spawn(move || server.run());
    io::stdin().read_line(&mut String::new())?;
    door.send(Door::Tell(Event::Command { ticket: Ticket(1), command: Command::Leave }))?;
    door.send(Door::Stop)?;
    thread.join().map_err(|_| "the server panicked".into())
}
