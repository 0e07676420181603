//! A node on its sockets, with its driver on a thread of its own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use eddy_core::stats::Stats;
use eddy_core::{Command, Delivery, DiskRequest, Event, Host, Machine, Notice, Ticket, Time};
use eddy_runtime_mio::{Clock, Full, Handle, Sockets};

use crate::cli::Runtime;
use crate::input::{End, InputError};
use crate::run::RunError;
use crate::run::disk::Slot;
use crate::run::remote::Wish;
use crate::settings::GlobalSettings;
use crate::url::HostPort;

/// The ticket of [`Command::Leave`].
pub(super) const LEAVE: Ticket = Ticket(0);
/// The ticket of [`Command::Join`] and [`Command::List`].
pub(super) const FIRST: Ticket = Ticket(1);
/// Packets have the tickets from here on.
pub(super) const PACKETS: Ticket = Ticket(2);

/// How long a node may take to leave.
pub(super) const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// How long to wait for room in a node's queue of commands.
const ROOM: Duration = Duration::from_millis(1);

/// What the command that runs a node is told.
#[derive(Debug)]
pub(super) enum Told {
    /// By the node.
    Notice(Time, Notice),
    /// The player's end failed; nothing is played any more.
    Player(io::Error),
    /// The input ended.
    Input(Result<End, InputError>),
    /// The user wants something of a viewer.
    Wish(Wish),
    /// The user, or the system, wants the program to end.
    Interrupt,
    /// The driver ended unasked.
    Died(RunError),
}

/// What a node stands on.
#[derive(Debug)]
pub(super) struct Ground {
    runtime: Runtime,
    sockets: Sockets,
    pub(super) clock: Clock,
}

impl Ground {
    /// Binds TCP and UDP, and starts the clock.
    pub(super) fn bind(runtime: Runtime, listen: &HostPort) -> Result<Self, RunError> {
        Ok(Self { runtime, sockets: bind(listen)?, clock: Clock::start() })
    }

    /// The same on any free port of loopback.
    pub(super) fn local(runtime: Runtime) -> Result<Self, RunError> {
        Self::bind(runtime, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
    }

    /// Where it is bound.
    pub(super) fn local_addr(&self) -> SocketAddr {
        self.sockets.local_addr()
    }

    /// Where others reach it: as the user says, or at the address that they
    /// see.
    pub(super) fn reachable_at(&self, global: &GlobalSettings) -> Result<SocketAddr, RunError> {
        let port = self.local_addr().port();
        let Some(advertise) = &global.advertise else {
            return Ok((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into());
        };
        let mut addr = advertise.resolve_one()?;
        if addr.port() == 0 {
            addr.set_port(port);
        }
        Ok(addr)
    }
}

fn bind(listen: &HostPort) -> Result<Sockets, RunError> {
    let addr = listen.resolve_one()?;
    Sockets::bind(addr).map_err(|e| {
        let what = format!("cannot listen on {listen}: {e}");
        let port = addr.port();
        match e.kind() {
            io::ErrorKind::AddrInUse => RunError::new(
                format!("port {port} of {} is in use", addr.ip()),
                "stop the program that uses it, or give another port with --listen HOST:PORT; \
                 port 0 is any free one",
            ),
            io::ErrorKind::PermissionDenied => {
                RunError::new(what, "give a port from 1024 on with --listen HOST:PORT")
            }
            io::ErrorKind::AddrNotAvailable => RunError::new(
                what,
                "give an address of this machine with --listen; 0.0.0.0 is all of them",
            ),
            _ => RunError::new(what, "give another address with --listen HOST:PORT"),
        }
    })
}

/// Chance from the system.
pub(super) fn seed() -> Result<[u8; 32], RunError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| {
        RunError::new(
            format!("the system gives no random numbers: {e}"),
            "run it on a system with a random number generator",
        )
    })?;
    Ok(seed)
}

/// Lets this process have as many connections as the system allows it.
pub(super) fn allow_many_links() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(e) = raised {
        tracing::debug!(error = %e, "cannot raise the number of open files");
    }
}

/// Where nodes, inputs and signals tell what happened, and the command's ear.
pub(super) fn channel() -> (impl Fn(Told) + Clone + Send + 'static, Receiver<Told>) {
    let (sender, told) = mpsc::channel();
    // Nobody listens any more once the command is over.
    (move |news| drop(sender.send(news)), told)
}

/// A host for nodes that play nothing.
pub(super) struct Quiet<T>(pub(super) T);

impl<T: Fn(Told)> Host for Quiet<T> {
    fn deliver(&mut self, _: Time, _: Delivery) {}

    fn notify(&mut self, now: Time, notice: Notice) {
        pass_on(&self.0, now, notice);
    }
}

/// A host for machines that answer, each with a notice.
pub(super) struct Answers<T>(pub(super) T);

impl<T: Fn(Told)> Host for Answers<T> {
    fn deliver(&mut self, _: Time, _: Delivery) {}

    fn notify(&mut self, now: Time, notice: Notice) {
        (self.0)(Told::Notice(now, notice));
    }
}

/// A host for nodes that play nothing, but keep files.
pub(super) struct Keeping<T> {
    pub(super) tell: T,
    pub(super) disk: Slot,
}

impl<T: Fn(Told)> Host for Keeping<T> {
    fn deliver(&mut self, _: Time, _: Delivery) {}

    fn notify(&mut self, now: Time, notice: Notice) {
        self.disk.notice(&notice);
        pass_on(&self.tell, now, notice);
    }

    fn disk(&mut self, _: Time, request: DiskRequest) {
        self.disk.request(request);
    }
}

/// Passes a notice on, except the receipt for a packet that was taken: there
/// are thousands.
pub(super) fn pass_on(tell: &impl Fn(Told), now: Time, notice: Notice) {
    if !matches!(&notice, Notice::Ended { ticket, result: Ok(_) } if *ticket >= PACKETS) {
        tell(Told::Notice(now, notice));
    }
}

/// Runs a driver to its end, and gives its host back.
type Run<H> = Box<dyn FnOnce() -> (io::Result<()>, H) + Send>;

/// A machine that runs.
#[derive(Debug)]
pub(super) struct Running<H> {
    clock: Clock,
    handle: Handle,
    thread: JoinHandle<H>,
}

impl<H: Host + Send + 'static> Running<H> {
    /// Starts the driver on its thread. `tell` hears of an end that nobody
    /// asked for.
    pub(super) fn start<M: Machine + Send + 'static>(
        ground: Ground,
        machine: M,
        host: H,
        tell: impl Fn(Told) + Send + 'static,
    ) -> Result<Self, RunError> {
        let failed = |e: io::Error| {
            RunError::new(format!("cannot start a node: {e}"), "close other programs")
        };
        let Ground { runtime, sockets, clock } = ground;
        let (handle, run): (_, Run<H>) = match runtime {
            Runtime::Mio => {
                let mut driver =
                    eddy_runtime_mio::Driver::new(sockets, clock, machine, host).map_err(failed)?;
                let handle = driver.handle();
                (handle, Box::new(move || (driver.run(), driver.into_parts().1)))
            }
            Runtime::AsyncStd => {
                let mut driver = eddy_runtime_async_std::Driver::new(sockets, clock, machine, host)
                    .map_err(failed)?;
                let handle = driver.handle();
                let run = move || {
                    let ended = async_std::task::block_on(driver.run());
                    (ended, driver.into_parts().1)
                };
                (handle, Box::new(run))
            }
        };
        let run = move || {
            let mut obituary = Obituary(Some(tell));
            let (ended, host) = run();
            match ended {
                Ok(()) => obituary.0 = None,
                Err(e) => tracing::error!(error = %e, "the node's poller failed"),
            }
            host
        };
        let thread = thread::Builder::new().name("node".into()).spawn(run).map_err(failed)?;
        Ok(Self { clock, handle, thread })
    }

    /// The node's time.
    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// A door to the node for another thread.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Gives a command, waiting for room in the queue if there is none.
    pub(super) fn command(&self, ticket: Ticket, command: Command) {
        let until = Instant::now() + LEAVE_WITHIN;
        let mut event = Event::Command { ticket, command };
        while let Err(Full(back)) = self.handle.tell(event) {
            if self.thread.is_finished() || Instant::now() >= until {
                return;
            }
            event = back;
            thread::sleep(ROOM);
        }
    }

    /// Leaves the mesh. Returns what the node did in all, as it told last.
    pub(super) fn leave(&self, told: &Receiver<Told>) -> Option<Box<Stats>> {
        self.command(LEAVE, Command::Leave);
        let until = Instant::now() + LEAVE_WITHIN;
        let mut last = None;
        loop {
            match told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Told::Notice(_, Notice::Ended { ticket: LEAVE, .. })) => return last,
                Ok(Told::Notice(_, Notice::Stats(stats))) => last = Some(stats),
                Ok(Told::Died(_)) | Err(RecvTimeoutError::Disconnected) => return last,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!("not everybody could be told that this node leaves");
                    return last;
                }
            }
        }
    }

    /// Ends the driver, and gives its host back if it did not panic.
    pub(super) fn stop(self) -> Option<H> {
        self.handle.stop();
        self.thread.join().ok()
    }
}

/// Tells of the end of a thread, even of one that panics.
struct Obituary<T: Fn(Told)>(Option<T>);

impl<T: Fn(Told)> Drop for Obituary<T> {
    fn drop(&mut self) {
        if let Some(tell) = &self.0 {
            let what = "the node ended by a fault of its own";
            let hint = "start it again, and report what stands above";
            tell(Told::Died(RunError::new(what, hint)));
        }
    }
}
