//! Emits packets at their times, on a thread of its own.
//!
//! The thread sleeps to each packet's time; it never spins, and what comes
//! late leaves at once. `cargo run --release -p eddy --example pacing` measures
//! how late packets are: about 0.1 ms at the median on a Linux machine of two
//! cores that compilers kept busy, and a few ms for the last in a hundred.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::Time;

use crate::output::{Counters, Outlet};

/// Tells the time; never goes back.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// A packet and when it is to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// When to emit it; `None` means at once.
    pub due: Option<Time>,
    /// One datagram as the encoder sent it.
    pub payload: Bytes,
}

/// The shortest block there is: how many of them wait is bounded.
const SHORTEST_BLOCK: Duration = Duration::from_millis(20);

/// Emits packets in order, each at its time.
///
/// A sink that blocks delays what follows and loses nothing, until the packet
/// at its head is late by `give_up`: from then on new blocks are counted as
/// lost instead of taken, until the sink catches up.
///
/// Dropping the pacer abandons what waits; [`close`](Self::close) plays it.
pub struct Pacer {
    sender: Option<SyncSender<Block>>,
    ended: Receiver<io::Result<()>>,
    thread: thread::Thread,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    clock: Clock,
    give_up: Duration,
    stuck: bool,
}

struct Block {
    queued: Time,
    packets: Vec<Timed>,
}

struct Shared {
    stop: AtomicBool,
    /// When the packet at the head should have left, in microseconds; [`IDLE`] if there is none.
    head: AtomicU64,
}

const IDLE: u64 = u64::MAX;

impl Pacer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn new(outlet: Outlet, clock: Clock, give_up: Duration) -> io::Result<Self> {
        let waiting = give_up.as_micros() / SHORTEST_BLOCK.as_micros();
        let (sender, blocks) = mpsc::sync_channel(waiting as usize + 16);
        let (end, ended) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), head: AtomicU64::new(IDLE) });
        let counters = outlet.counters();
        let mut player = Player { outlet, clock: clock.clone(), shared: shared.clone() };
        let handle = thread::Builder::new().name("pacer".into()).spawn(move || {
            let result = player.play(&blocks);
            // Nobody listens after a drop.
            end.send(result).unwrap_or_default();
        })?;
        let thread = handle.thread().clone();
        Ok(Self {
            sender: Some(sender),
            ended,
            thread,
            shared,
            counters,
            clock,
            give_up,
            stuck: false,
        })
    }

    /// Queues a block's packets. Never blocks.
    ///
    /// # Errors
    /// What the sink failed with; `BrokenPipe` means that the player has gone.
    pub fn push(&mut self, packets: Vec<Timed>) -> io::Result<()> {
        let now = (self.clock)();
        let head = self.shared.head.load(Ordering::Relaxed);
        let late = head != IDLE && now.since(Time::from_micros(head)) > self.give_up;
        let block = Block { queued: now, packets };
        let Some(sender) = &self.sender else { return Ok(()) };
        let taken = match late {
            true => Err(TrySendError::Full(block)),
            false => sender.try_send(block),
        };
        match taken {
            Ok(()) => self.stuck = false,
            Err(TrySendError::Full(block)) => {
                // A player that stops reading may go away without reading on.
                if let Ok(result) = self.ended.try_recv() {
                    return result.and(Err(io::ErrorKind::BrokenPipe.into()));
                }
                self.counters.count_lost(block.packets.len());
                if !self.stuck {
                    tracing::warn!(
                        "the player does not take its packets; dropping them until it does"
                    );
                }
                self.stuck = true;
            }
            Err(TrySendError::Disconnected(_)) => {
                return self.ended.try_recv().unwrap_or(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        Ok(())
    }

    /// Plays what waits, for `patience` at most.
    ///
    /// # Errors
    /// What the sink failed with, or `TimedOut`.
    pub fn close(mut self, patience: Duration) -> io::Result<()> {
        self.sender = None;
        match self.ended.recv_timeout(patience) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Ok(()),
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

impl std::fmt::Debug for Pacer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pacer").field("give_up", &self.give_up).finish_non_exhaustive()
    }
}

/// The thread's side.
struct Player {
    outlet: Outlet,
    clock: Clock,
    shared: Arc<Shared>,
}

impl Player {
    fn play(&mut self, blocks: &Receiver<Block>) -> io::Result<()> {
        for block in blocks {
            for packet in &block.packets {
                let due = packet.due.unwrap_or(block.queued);
                self.shared.head.store(due.as_micros(), Ordering::Relaxed);
                if !self.wait_until(due) {
                    return Ok(());
                }
                self.outlet.packet(&packet.payload)?;
            }
            self.outlet.flush()?;
            self.shared.head.store(IDLE, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns `false` if the pacer was dropped meanwhile.
    fn wait_until(&self, due: Time) -> bool {
        loop {
            if self.shared.stop.load(Ordering::Relaxed) {
                return false;
            }
            let rest = due.since((self.clock)());
            if rest.is_zero() {
                return true;
            }
            thread::park_timeout(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;
    use std::io::Read as _;
    use std::net::UdpSocket;
    use std::sync::Mutex;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn real_clock() -> Clock {
        let start = Instant::now();
        Arc::new(move || Time::from_secs(1_000) + start.elapsed())
    }

    /// A clock that the test moves.
    fn hand_clock() -> (Arc<Mutex<Time>>, Clock) {
        let hand = Arc::new(Mutex::new(Time::from_secs(1_000)));
        let clock = hand.clone();
        (hand, Arc::new(move || *clock.lock().unwrap()))
    }

    fn packet(due: Option<Time>, byte: u8) -> Timed {
        Timed { due, payload: Bytes::copy_from_slice(&[byte; 1316]) }
    }

    fn player() -> (UdpSocket, Outlet) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("udp://{}", socket.local_addr().unwrap());
        (socket, Output::parse(&url).unwrap().open().unwrap())
    }

    fn hear(socket: &UdpSocket) -> u8 {
        let mut buffer = [0; 2_000];
        assert_eq!(socket.recv(&mut buffer).expect("a packet within 5 s"), 1316);
        buffer[0]
    }

    #[test]
    fn packets_leave_in_order_and_never_early() {
        let (socket, outlet) = player();
        let clock = real_clock();
        let begin = clock();
        let due = |n: u8| begin + Duration::from_millis(20 + 5 * u64::from(n));
        let mut pacer = Pacer::new(outlet, clock.clone(), PATIENCE).unwrap();
        for block in 0..5u8 {
            let packets = (0..4).map(|n| packet(Some(due(block * 4 + n)), block * 4 + n));
            pacer.push(packets.collect()).unwrap();
        }
        for n in 0..20 {
            assert_eq!(hear(&socket), n);
            assert!(clock() >= due(n), "packet {n} came early");
        }
    }

    #[test]
    fn late_and_timeless_packets_leave_at_once() {
        let (socket, outlet) = player();
        let (_, clock) = hand_clock();
        let now = clock();
        let mut pacer = Pacer::new(outlet, clock, PATIENCE).unwrap();
        let past = now - Duration::from_secs(9);
        pacer.push(vec![packet(Some(past), 1), packet(None, 2), packet(Some(now), 3)]).unwrap();
        assert_eq!([hear(&socket), hear(&socket), hear(&socket)], [1, 2, 3]);
    }

    #[test]
    fn dropping_it_does_not_wait_for_what_is_due_later() {
        let (socket, outlet) = player();
        let counters = outlet.counters();
        let clock = real_clock();
        let mut pacer = Pacer::new(outlet, clock.clone(), PATIENCE).unwrap();
        let much_later = clock() + Duration::from_secs(3_600);
        pacer.push(vec![packet(None, 1), packet(Some(much_later), 2)]).unwrap();
        assert_eq!(hear(&socket), 1);
        let shared = Arc::downgrade(&pacer.shared);
        drop(pacer);
        let asked = Instant::now();
        while shared.strong_count() > 0 {
            assert!(asked.elapsed() < PATIENCE, "the thread did not end within 5 s");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(counters.packets(), 1);
    }

    #[test]
    fn closing_it_plays_what_waits() {
        let (socket, outlet) = player();
        let clock = real_clock();
        let mut pacer = Pacer::new(outlet, clock.clone(), PATIENCE).unwrap();
        let soon = clock() + Duration::from_millis(50);
        pacer.push(vec![packet(Some(soon), 1), packet(Some(soon), 2)]).unwrap();
        pacer.close(PATIENCE).unwrap();
        assert!(clock() >= soon);
        assert_eq!([hear(&socket), hear(&socket)], [1, 2]);
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_blocks_only_after_give_up() {
        let (mut reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::for_test(writer);
        let counters = outlet.counters();
        let (hand, clock) = hand_clock();
        let mut pacer = Pacer::new(outlet, clock.clone(), Duration::from_secs(15)).unwrap();
        // More than a pipe and the write buffer hold.
        let block = || (0..100).map(|n| packet(Some(Time::from_secs(1_000)), n)).collect();
        (0..4).for_each(|_| pacer.push(block()).unwrap());
        let asked = Instant::now();
        while pacer.shared.head.load(Ordering::Relaxed) == IDLE {
            assert!(asked.elapsed() < PATIENCE, "the pacer took nothing within 5 s");
            thread::sleep(Duration::from_millis(1));
        }
        *hand.lock().unwrap() = Time::from_secs(1_015);
        pacer.push(block()).unwrap();
        assert_eq!(counters.lost(), 0, "late by no more than give_up");
        *hand.lock().unwrap() = Time::from_secs(1_016);
        pacer.push(block()).unwrap();
        assert_eq!(counters.lost(), 100);

        // The player goes on: everything taken comes out, and new blocks are taken again.
        let mut taken = vec![0; 500 * 1316];
        reader.read_exact(&mut taken).unwrap();
        let asked = Instant::now();
        while pacer.shared.head.load(Ordering::Relaxed) != IDLE {
            assert!(asked.elapsed() < PATIENCE, "the pacer did not catch up within 5 s");
            thread::sleep(Duration::from_millis(1));
        }
        pacer.push(vec![packet(None, 9)]).unwrap();
        reader.read_exact(&mut taken[..1316]).unwrap();
        assert_eq!((taken[0], counters.lost(), counters.packets()), (9, 100, 501));
    }

    #[test]
    fn a_player_that_stops_and_then_goes_is_a_broken_pipe_too() {
        let (reader, writer) = io::pipe().unwrap();
        let (hand, clock) = hand_clock();
        let mut pacer =
            Pacer::new(Outlet::for_test(writer), clock, Duration::from_secs(1)).unwrap();
        let block = || (0..100).map(|n| packet(Some(Time::from_secs(1_000)), n)).collect();
        (0..4).for_each(|_| pacer.push(block()).unwrap());
        let asked = Instant::now();
        while pacer.shared.head.load(Ordering::Relaxed) == IDLE {
            assert!(asked.elapsed() < PATIENCE, "the pacer took nothing within 5 s");
            thread::sleep(Duration::from_millis(1));
        }
        *hand.lock().unwrap() = Time::from_secs(1_060);
        pacer.push(block()).unwrap();
        drop(reader);
        let error = loop {
            if let Err(e) = pacer.push(block()) {
                break e;
            }
            assert!(asked.elapsed() < PATIENCE, "no error within 5 s");
            thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_player_that_has_gone_is_a_broken_pipe() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut pacer = Pacer::new(Outlet::for_test(writer), real_clock(), PATIENCE).unwrap();
        let asked = Instant::now();
        let error = loop {
            if let Err(e) = pacer.push(vec![packet(None, 1)]) {
                break e;
            }
            assert!(asked.elapsed() < PATIENCE, "no error within 5 s");
            thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
