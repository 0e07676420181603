//! Datagrams that carry their number and the time they were sent, and what
//! arrives of them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::run::RunError;
use crate::units::Rate;

/// Seven transport stream packets, as encoders send them.
const DATAGRAM: usize = 1_316;
const MARK: [u8; 8] = *b"eddymark";
/// How often a thread without work looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

fn socket() -> Result<UdpSocket, RunError> {
    let open = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok::<_, std::io::Error>(socket)
    };
    open().map_err(|e| {
        RunError::new(format!("cannot open a UDP socket on loopback: {e}"), "close other programs")
    })
}

/// Sends numbered, stamped datagrams at a constant rate.
pub(super) struct Generator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Generator {
    pub(super) fn start(epoch: Instant, to: SocketAddr, rate: Rate) -> Result<Self, RunError> {
        let socket = socket()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let gap = Duration::from_secs_f64(DATAGRAM as f64 / rate.bytes() as f64);
        let thread = thread::spawn(move || {
            let mut packet = [0x47; DATAGRAM];
            packet[..8].copy_from_slice(&MARK);
            let began = Instant::now();
            for number in 0_u64.. {
                let due = began + gap.mul_f64(number as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let at = epoch.elapsed().as_nanos() as u64;
                packet[8..16].copy_from_slice(&number.to_be_bytes());
                packet[16..24].copy_from_slice(&at.to_be_bytes());
                // Nobody there yet: that datagram is lost to everybody alike.
                drop(socket.send_to(&packet, to));
            }
        });
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.join());
    }
}

/// What a sink has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) unique: u64,
    pub(super) bytes: u64,
    /// Numbers between the first and the last that never came.
    pub(super) missing: u64,
    /// Datagrams whose number was not above the one before.
    pub(super) disordered: u64,
    /// From sending to here, of each datagram of the window.
    pub(super) delays: Vec<Duration>,
}

#[derive(Default)]
struct State {
    first: Option<Duration>,
    last: Option<u64>,
    whole: Seen,
    window: Option<Seen>,
}

/// A player's socket that checks every datagram.
pub(super) struct Sink {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sink {
    pub(super) fn start(epoch: Instant) -> Result<Self, RunError> {
        let socket = socket()?;
        let addr = socket
            .local_addr()
            .map_err(|e| RunError::new(format!("a socket without address: {e}"), "try again"))?;
        let state = Arc::new(Mutex::new(State::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut packet = [0; 2_048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = socket.recv(&mut packet) else { continue };
                let now = epoch.elapsed();
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.take(now, &packet[..length]);
            }
        });
        Ok(Self { addr, state, stop, thread })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the first datagram came, after the epoch.
    pub(super) fn first(&self) -> Option<Duration> {
        self.state().first
    }

    pub(super) fn begin_window(&self) {
        self.state().window = Some(Seen::default());
    }

    pub(super) fn end_window(&self) -> Seen {
        self.state().window.take().unwrap_or_default()
    }

    /// Stops, and tells all it saw.
    pub(super) fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.join());
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.whole.clone()
    }
}

impl State {
    fn take(&mut self, now: Duration, packet: &[u8]) {
        let field = |at: usize| {
            packet.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes)
        };
        let (Some(number), Some(sent)) = (field(8), field(16)) else { return };
        if !packet.starts_with(&MARK) || packet.len() != DATAGRAM {
            self.whole.disordered += 1;
            return;
        }
        self.first.get_or_insert(now);
        match self.last {
            Some(last) if number <= last => return self.whole.disordered += 1,
            Some(last) => self.whole.missing += number - last - 1,
            None => {}
        }
        self.last = Some(number);
        self.whole.unique += 1;
        if let Some(window) = &mut self.window {
            window.bytes += packet.len() as u64;
            window.delays.push(now.saturating_sub(Duration::from_nanos(sent)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u64, sent_ms: u64) -> Vec<u8> {
        let mut p = vec![0x47; DATAGRAM];
        p[..8].copy_from_slice(&MARK);
        p[8..16].copy_from_slice(&number.to_be_bytes());
        p[16..24].copy_from_slice(&(sent_ms * 1_000_000).to_be_bytes());
        p
    }

    #[test]
    fn what_is_missing_doubled_or_spoilt_is_counted() {
        let mut state = State::default();
        let at = Duration::from_millis;
        state.take(at(5), &packet(7, 2));
        state.window = Some(Seen::default());
        state.take(at(9), &packet(8, 4));
        state.take(at(9), &packet(8, 4));
        state.take(at(9), &packet(12, 8));
        state.take(at(9), &packet(13, 8)[..1_000]);
        assert_eq!(state.first, Some(at(5)));
        let whole = &state.whole;
        assert_eq!((whole.unique, whole.missing, whole.disordered), (3, 3, 2));
        let window = state.window.unwrap();
        assert_eq!(window.delays, [at(5), at(1)]);
        assert_eq!(window.bytes, 2 * DATAGRAM as u64);
    }
}
