//! What a scenario is played on: real drivers, or virtual time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use eddy_core::{Command, DiskAnswer, Ticket, Time};

use crate::Drive;
use crate::board::Board;
use crate::judge::{Audience, Rules, Subject};

/// How long a look at the board waits for news.
const TICK: Duration = Duration::from_millis(10);

/// Makes the machine once it is known when its life begins.
pub(crate) type Make = Box<dyn FnOnce(Time) -> Subject + Send>;

/// Drivers of one kind, by number.
pub(crate) trait Harness {
    fn rules(&self) -> Rules;

    /// An address for the next node, which is not there yet.
    fn seat(&mut self, n: usize) -> io::Result<SocketAddr>;

    /// Has the node take its seat. Where there are disks, it gets one if it is to
    /// have one.
    fn start(&mut self, n: usize, make: Make, audience: Audience, disk: bool);

    /// Whether the node took the command.
    fn command(&mut self, n: usize, ticket: Ticket, command: Command) -> bool;

    /// Whether the node took the disk's answer.
    fn answer(&mut self, n: usize, answer: DiskAnswer) -> bool;

    /// Ends a node; its sockets are closed when this returns.
    fn stop(&mut self, n: usize);

    /// Since it was made.
    fn elapsed(&self) -> Duration;

    /// Lets time pass.
    fn pass(&mut self, span: Duration);

    /// Waits for news, but not long. Returns how much of the patience that took.
    fn tick(&mut self, board: &Board) -> Duration;
}

/// A driver as its author describes it.
pub(crate) struct Real<D: Drive> {
    origin: Instant,
    seats: BTreeMap<usize, D::Sockets>,
    running: BTreeMap<usize, D::Handle>,
}

impl<D: Drive> Real<D> {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), seats: BTreeMap::new(), running: BTreeMap::new() }
    }
}

impl<D: Drive> Harness for Real<D> {
    fn rules(&self) -> Rules {
        Rules { real: true, exact: false, early: false }
    }

    fn seat(&mut self, n: usize) -> io::Result<SocketAddr> {
        let (sockets, addr) = D::bind()?;
        self.seats.insert(n, sockets);
        Ok(addr)
    }

    fn start(&mut self, n: usize, make: Make, audience: Audience, _: bool) {
        if let Some(sockets) = self.seats.remove(&n) {
            self.running.insert(n, D::start(sockets, make, audience));
        }
    }

    fn command(&mut self, n: usize, ticket: Ticket, command: Command) -> bool {
        self.running.get(&n).is_some_and(|handle| D::command(handle, ticket, command))
    }

    fn answer(&mut self, n: usize, answer: DiskAnswer) -> bool {
        self.running.get(&n).is_some_and(|handle| D::answer(handle, answer))
    }

    fn stop(&mut self, n: usize) {
        self.seats.remove(&n);
        if let Some(handle) = self.running.remove(&n) {
            D::stop(handle);
        }
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    fn pass(&mut self, span: Duration) {
        std::thread::sleep(span);
    }

    fn tick(&mut self, board: &Board) -> Duration {
        let before = Instant::now();
        board.wait(TICK);
        // If we were not scheduled, neither were the drivers: that is nobody's fault.
        before.elapsed().min(TICK * 2)
    }
}
