//! The driver: an engine and its poller.

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use eddy_core::{Host, LinkId, Machine};
use eddy_runtime::{Clock, Engine, Handle, Readiness, Sockets};
use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use crate::net::{DATAGRAMS, LISTENER, MioNet};

/// The token of [`Alarm`]. It finds no link: commands are looked at in any case.
const ALARM: Token = Token(usize::MAX - 2);
/// For this long after a poll an engine that has more to do goes on without
/// another. What gets ready meanwhile waits until then, and for the turn under
/// way; commands do not. A long block is a turn, and to poll for each cost a relay
/// with one child a twentieth of its time.
const BUSY: Duration = Duration::from_millis(1);

/// Runs one machine. Dropping it closes every connection.
#[derive(Debug)]
pub struct Driver<M, H> {
    engine: Engine<M, H, MioNet>,
    poll: Poll,
    clock: Clock,
}

impl<M: Machine, H: Host> Driver<M, H> {
    /// Puts the machine on its sockets. `clock` should be the one that the
    /// machine's start time was read from.
    ///
    /// # Errors
    /// Those of the operating system when it makes or fills the poller.
    pub fn new(sockets: Sockets, clock: Clock, machine: M, host: H) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Alarm(Waker::new(poll.registry(), ALARM)?)).into();
        let local = sockets.local_addr();
        let net = MioNet::new(poll.registry().try_clone()?, sockets)?;
        let engine = Engine::new(net, local, clock, machine, host, waker);
        Ok(Self { engine, poll, clock })
    }

    /// A door to this driver for other threads.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.engine.handle()
    }

    /// Closes every connection and gives back what [`new`](Self::new) took.
    pub fn into_parts(self) -> (M, H) {
        self.engine.into_parts()
    }

    /// Drives the machine until [`Handle::stop`]; after that it returns at once.
    ///
    /// # Errors
    /// Only those of the poller itself. A peer's error ends that peer's link.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut polled = self.clock.now();
        while let ControlFlow::Continue(until) = self.engine.turn() {
            let now = self.clock.now();
            // The poller rounds up to whole milliseconds: never early.
            let timeout = until.map(|at| at.since(now));
            if timeout == Some(Duration::ZERO) && now.since(polled) < BUSY {
                continue;
            }
            match self.poll.poll(&mut events, timeout) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                done => done?,
            }
            polled = self.clock.now();
            for event in &events {
                self.note(event);
            }
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        match event.token() {
            LISTENER => self.engine.connections_ready(),
            DATAGRAMS => self.engine.datagrams_ready(),
            Token(id) => {
                let ending = event.is_read_closed();
                let said = Readiness {
                    readable: event.is_readable() || ending,
                    writable: event.is_writable(),
                    // No event tells of the end a second time.
                    drain: ending,
                    broken: event.is_error(),
                };
                self.engine.link_ready(LinkId(id as u64), said);
            }
        }
    }
}

/// Ends the poller's sleep.
struct Alarm(Waker);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It fails only with the poller gone, and then nobody is left to wake.
        self.0.wake().ok();
    }
}
