//! One thread that reads many sockets as fast as they give, and counts.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

/// A read takes up to this many bytes (performance study, appendix A).
const READ: usize = 256 << 10;
/// How long all that is awaited may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Shared {
    /// Bytes that the slowest socket has brought.
    least: AtomicU64,
    /// Bytes that all have brought.
    total: AtomicU64,
    stop: AtomicBool,
    /// Who waits for them.
    waiter: Thread,
}

/// Sockets being drained on a thread of their own.
#[derive(Debug)]
pub struct Sink {
    shared: Arc<Shared>,
    thread: JoinHandle<io::Result<()>>,
}

impl Sink {
    /// Begins to drain; the calling thread is the one that may wait.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn start(streams: Vec<TcpStream>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            least: AtomicU64::new(0),
            total: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            waiter: thread::current(),
        });
        let mut poll = Poll::new()?;
        let mut sockets = Vec::new();
        for (n, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            let mut stream = mio::net::TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(n), Interest::READABLE)?;
            sockets.push((stream, 0));
        }
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || drain(&mut poll, &mut sockets, &theirs));
        Ok(Self { shared, thread })
    }

    /// Bytes that the slowest socket has brought.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.shared.least.load(Ordering::Acquire)
    }

    /// Bytes that all sockets have brought.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.shared.total.load(Ordering::Acquire)
    }

    /// Waits until every socket has brought this many bytes.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] if that takes more than a minute.
    pub fn wait(&self, bytes: u64) -> io::Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.least() < bytes {
            if Instant::now() > end {
                let what = format!("{} of {bytes} bytes came in {PATIENCE:?}", self.least());
                return Err(io::Error::new(ErrorKind::TimedOut, what));
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends the thread.
    ///
    /// # Errors
    /// The error of a socket that failed while it was drained.
    pub fn stop(self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the sink panicked")))
    }
}

fn drain(
    poll: &mut Poll,
    sockets: &mut [(mio::net::TcpStream, u64)],
    shared: &Shared,
) -> io::Result<()> {
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; READ];
    let mut total = 0;
    while !shared.stop.load(Ordering::Acquire) {
        poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        for event in &events {
            let Some((stream, count)) = sockets.get_mut(event.token().0) else { continue };
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => {
                        *count += n as u64;
                        total += n as u64;
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
        }
        let least = sockets.iter().map(|(_, count)| *count).min().unwrap_or_default();
        shared.total.store(total, Ordering::Release);
        if shared.least.swap(least, Ordering::AcqRel) < least {
            shared.waiter.unpark();
        }
    }
    Ok(())
}
