//! A channel over real sockets whose viewers come and go: bytes allocated must
//! not grow.
//!
//! `cargo run --release -p eddy-bench --example soak [mio|async-std] [SECONDS]`
//!
//! A bootstrap server, a provider at 1 Mbit/s and a viewer that stays, all in this
//! process, each on a driver of its own; and every two seconds a viewer joins, six
//! at a time. At the end of each third of the time they are all gone, and what is
//! allocated then is what those who stay keep. Windows have filled by the end of the
//! first third: from there on nothing may be added.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel as queue};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eddy_bench::node::Runtime;
use eddy_bench::stream::{channel, signer};
use eddy_core::bootstrap::Bootstrap;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::{Command, Delivery, Host, Join, Machine, Notice, Position, Ticket, Time};
use eddy_runtime_mio::{Clock, Handle, Sockets};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const VIEWERS: usize = 6;
/// Every so often another comes, and the oldest leaves.
const STAY: Duration = Duration::from_secs(2);
/// The encoder: a datagram and the time between two at 1 Mbit/s.
const PACKET: usize = 1_316;
const INTERVAL: Duration = Duration::from_micros(10_528);
/// How long a viewer may take to play, and to leave.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long before the end of a third the viewers begin to leave.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long before it they are gone, and what is allocated is looked at.
const ALONE: Duration = Duration::from_secs(4);
/// What is still no growth: a few chunks of blocks more or less.
const SLACK: usize = 256 << 10;

const JOIN: Ticket = Ticket(1);
const LEAVE: Ticket = Ticket(2);
const PACKETS: Ticket = Ticket(3);

/// Tells which commands have ended.
struct Ear(Sender<Ticket>);

impl Host for Ear {
    fn deliver(&mut self, _: Time, _: Delivery) {}

    fn notify(&mut self, _: Time, notice: Notice) {
        if let Notice::Ended { ticket, .. } = notice
            && ticket != PACKETS
        {
            // Nobody listens to one that is being stopped.
            self.0.send(ticket).ok();
        }
    }
}

struct Running<M> {
    handle: Handle,
    addr: SocketAddr,
    ended: Receiver<Ticket>,
    thread: JoinHandle<io::Result<M>>,
}

impl<M: Machine + Send + 'static> Running<M> {
    fn start(
        runtime: Runtime,
        make: impl FnOnce(Config, Time) -> Result<M, eddy_core::config::ConfigError>,
    ) -> io::Result<Self> {
        let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let (clock, addr) = (Clock::start(), sockets.local_addr());
        let config = Config { listen: addr, ..Config::default() };
        let machine = make(config, clock.now()).map_err(io::Error::other)?;
        let (sender, ended) = queue();
        let (handle, thread) = runtime.spawn(sockets, clock, machine, Ear(sender))?;
        Ok(Self { handle, addr, ended, thread })
    }

    fn command(&self, ticket: Ticket, command: Command) -> io::Result<()> {
        self.handle.command(ticket, command).map_err(io::Error::other)
    }

    fn wait_for(&self, ticket: Ticket, what: &str) -> io::Result<()> {
        match self.ended.recv_timeout(PATIENCE) {
            Ok(ended) if ended == ticket => Ok(()),
            Ok(other) => Err(io::Error::other(format!("{other:?} ended, not {what}"))),
            Err(RecvTimeoutError::Timeout) => {
                Err(io::Error::other(format!("{what} took longer than {PATIENCE:?}")))
            }
            Err(e) => Err(io::Error::other(e)),
        }
    }

    fn stop(self) -> io::Result<M> {
        self.handle.stop();
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("a node panicked")))
    }
}

fn join(runtime: Runtime, server: SocketAddr, number: u64) -> io::Result<Running<Node>> {
    let mut seed = [0xff; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let viewer = Running::start(runtime, |config, now| Node::viewer(config, seed, now))?;
    let channel = channel(Duration::from_millis(40));
    let (channel, key) = (channel.name().clone(), Some(channel.key()));
    let join =
        Join { bootstrap: vec![server], channel, key, known: None, position: Position::Live };
    viewer.command(JOIN, Command::Join(Box::new(join)))?;
    Ok(viewer)
}

fn leave(viewer: Running<Node>) -> io::Result<()> {
    viewer.wait_for(JOIN, "joining")?;
    viewer.command(LEAVE, Command::Leave)?;
    viewer.wait_for(LEAVE, "leaving")?;
    let stats = viewer.stop()?.stats();
    if stats.lost > 0 || stats.due == 0 {
        return Err(io::Error::other(format!("a viewer did not play well: {stats:?}")));
    }
    Ok(())
}

/// Those who come and go.
struct Crowd {
    runtime: Runtime,
    server: SocketAddr,
    here: VecDeque<Running<Node>>,
    leaving: Vec<JoinHandle<io::Result<()>>>,
    came: u64,
}

impl Crowd {
    fn one_more(&mut self) -> io::Result<()> {
        self.came += 1;
        self.here.push_back(join(self.runtime, self.server, self.came)?);
        if self.here.len() > VIEWERS {
            self.one_less();
        }
        Ok(())
    }

    /// Elsewhere: the encoder must not wait for it.
    fn one_less(&mut self) {
        if let Some(oldest) = self.here.pop_front() {
            self.leaving.push(thread::spawn(move || leave(oldest)));
        }
    }

    /// Takes the results of those who are gone.
    fn gone(&mut self) -> io::Result<()> {
        let (done, still): (Vec<_>, _) =
            self.leaving.drain(..).partition(|thread| thread.is_finished());
        self.leaving = still;
        let panicked = |_| Err(io::Error::other("a viewer panicked"));
        done.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
    }
}

/// How many viewers came, and the least that was allocated at the end of each third.
fn soak(runtime: Runtime, third: Duration) -> io::Result<(u64, [usize; 3])> {
    let server = Running::start(runtime, |c, now| Bootstrap::new(c, [1; 32], now))?;
    let provider = Running::start(runtime, |config, now| {
        let channel = channel(Duration::from_millis(40));
        Node::provider(config, channel, signer(), vec![server.addr], None, [2; 32], now)
    })?;
    let mut crowd =
        Crowd { runtime, server: server.addr, here: VecDeque::new(), leaving: Vec::new(), came: 0 };
    let (start, mut change, mut least) = (Instant::now(), STAY, [usize::MAX; 3]);
    let mut stays = None;
    for n in 0.. {
        let due = INTERVAL * n;
        let Some(least) = least.get_mut((due.as_micros() / third.as_micros()) as usize) else {
            break;
        };
        thread::sleep(due.saturating_sub(start.elapsed()));
        provider.command(PACKETS, Command::Publish(Bytes::from_static(&[0x47; PACKET])))?;
        crowd.gone()?;
        if n % 475 == 0 {
            eprintln!(
                "{:?} {} here {} leaving {}",
                due,
                ALLOCATED.current_usage(),
                crowd.here.len(),
                crowd.leaving.len()
            );
        }
        let left = third - Duration::from_micros((due.as_micros() % third.as_micros()) as u64);
        if left < FAREWELL {
            crowd.one_less();
        } else if due >= change {
            change = due + STAY;
            match stays {
                None => stays = Some(join(runtime, server.addr, 0)?),
                Some(_) => crowd.one_more()?,
            }
        }
        if left < ALONE {
            if !crowd.here.is_empty() || !crowd.leaving.is_empty() {
                return Err(io::Error::other("viewers take too long to leave"));
            }
            *least = (*least).min(ALLOCATED.current_usage());
        }
    }
    stays.map_or(Ok(()), leave)?;
    Ok((crowd.came, least))
}

fn main() -> io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "mio".into());
    let seconds: u32 = arguments.next().map_or(Ok(180), |s| s.parse()).map_err(io::Error::other)?;
    let Some(runtime) = Runtime::ALL.into_iter().find(|r| r.name() == name) else {
        return Err(io::Error::other(format!("no runtime {name}: give mio or async-std")));
    };
    let third = Duration::from_secs(seconds.into()) / 3;
    if third < Duration::from_secs(40) {
        return Err(io::Error::other("give at least 120 seconds: windows of 30 s have to fill"));
    }
    let (came, least) = soak(runtime, third)?;
    println!(
        "{name}: {came} viewers came and went in {seconds} s; allocated without them after each \
         third: {least:?} bytes",
    );
    let grown = least[2] > least[0].max(least[1]) + SLACK || least[1] > least[0] + SLACK;
    if grown {
        eprintln!("it grows by more than {SLACK} bytes");
    }
    Ok(if grown { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
