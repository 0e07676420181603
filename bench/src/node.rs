//! The node under test: a real one in a real driver, on a thread of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel as queue};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::config::{Config, ConfigError, PlayoutDelay};
use eddy_core::node::Node;
use eddy_core::stats::Stats;
use eddy_core::stream::channel::Channel;
use eddy_core::stream::sign::Verifier;
use eddy_core::wire::message::Member;
use eddy_core::{Command, Delivery, Host, Join, Machine, Notice, Position, Ticket, Time};
use eddy_memory::HugePages;
use eddy_runtime_mio::{Clock, Handle, Sockets};

use crate::cpu::{helpers_cpu, thread_cpu};

/// The ticket of a command that only asks how much CPU time the driver's
/// thread has used.
const ASK: Ticket = Ticket(u64::MAX);
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which driver drives a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// `eddy-runtime-mio`.
    Mio,
    /// `eddy-runtime-async-std`.
    AsyncStd,
}

impl Runtime {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Mio, Self::AsyncStd];

    /// As a table names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mio => "mio",
            Self::AsyncStd => "async-std",
        }
    }

    /// Runs a machine on a thread of its own until [`Handle::stop`], and gives
    /// it back.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn spawn<M, H>(
        self,
        sockets: Sockets,
        clock: Clock,
        machine: M,
        host: H,
    ) -> io::Result<(Handle, JoinHandle<io::Result<M>>)>
    where
        M: Machine + Send + 'static,
        H: Host + Send + 'static,
    {
        match self {
            Self::Mio => {
                let mut driver = eddy_runtime_mio::Driver::new(sockets, clock, machine, host)?;
                let handle = driver.handle();
                Ok((handle, thread::spawn(move || driver.run().map(|()| driver.into_parts().0))))
            }
            Self::AsyncStd => {
                let mut driver =
                    eddy_runtime_async_std::Driver::new(sockets, clock, machine, host)?;
                let handle = driver.handle();
                let run =
                    move || async_std::task::block_on(driver.run()).map(|()| driver.into_parts().0);
                Ok((handle, thread::spawn(run)))
            }
        }
    }
}

/// A configuration that lets a scripted swarm be: peers that say nothing are
/// kept, a queue is no overload, and there is room for thousands.
#[must_use]
pub fn config(verifier: Verifier) -> Config {
    Config {
        verifier,
        join_offset: Duration::ZERO,
        playout_delay: PlayoutDelay::None,
        partner_timeout: Duration::from_secs(600),
        queue_limit: Duration::from_secs(60),
        initial_streams: 255,
        partners: 1,
        max_partners: 5_000,
        max_links: 20_000,
        max_links_per_address: 20_000,
        ..Config::default()
    }
}

/// The command that brings a viewer to its one parent.
#[must_use]
pub fn join(channel: &Channel, parents: Vec<Member>) -> Command {
    Command::Join(Box::new(Join {
        bootstrap: Vec::new(),
        channel: channel.name().clone(),
        key: Some(channel.key()),
        known: Some((channel.clone(), parents)),
        position: Position::Live,
    }))
}

/// Drops what it is given, and answers [`ASK`].
struct Player(Sender<Duration>);

impl Host for Player {
    fn deliver(&mut self, _: Time, _: Delivery) {}

    fn notify(&mut self, _: Time, notice: Notice) {
        if let Notice::Ended { ticket: ASK, .. } = notice
            && let Ok(cpu) = thread_cpu()
        {
            // Nobody waits any more when the run has failed.
            self.0.send(cpu).ok();
        }
    }
}

/// A node that runs.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    addr: SocketAddr,
    answers: Receiver<Duration>,
    thread: JoinHandle<io::Result<Node>>,
}

impl Running {
    /// Starts a node on a free port of loopback. `make` is given the start
    /// time and the address.
    ///
    /// # Errors
    /// Those of the operating system, and of the configuration.
    pub fn start(
        runtime: Runtime,
        make: impl FnOnce(Time, SocketAddr) -> Result<Node, ConfigError>,
    ) -> io::Result<Self> {
        let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let (clock, addr) = (Clock::start(), sockets.local_addr());
        let node = make(clock.now(), addr).map_err(io::Error::other)?;
        let node = node.with_memory(Box::new(HugePages));
        let (sender, answers) = queue();
        let (handle, thread) = runtime.spawn(sockets, clock, node, Player(sender))?;
        Ok(Self { handle, addr, answers, thread })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Gives it a command.
    ///
    /// # Errors
    /// If its queue of commands is full.
    pub fn command(&self, ticket: Ticket, command: Command) -> io::Result<()> {
        self.handle.command(ticket, command).map_err(io::Error::other)
    }

    /// CPU time that its thread has used so far, counted by the thread itself
    /// between two turns, and that of its runtime's helpers. A packet that no
    /// node takes carries the question.
    ///
    /// # Errors
    /// If the node does not answer.
    pub fn cpu(&self) -> io::Result<Duration> {
        let too_long = Bytes::from_static(&[0; 1 << 16]);
        self.command(ASK, Command::Publish(too_long))?;
        let own = self.answers.recv_timeout(PATIENCE).map_err(|e| match e {
            RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            RecvTimeoutError::Disconnected => io::Error::other("the node's thread is gone"),
        })?;
        Ok(own + helpers_cpu("async-")?)
    }

    /// Stops it and returns its counters.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn stop(self) -> io::Result<Stats> {
        self.handle.stop();
        let node =
            self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the node panicked")));
        Ok(node?.stats())
    }
}
