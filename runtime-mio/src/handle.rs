//! The door for other threads.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use eddy_core::{Command, Ticket};
use mio::{Registry, Token, Waker};

/// Commands that may wait for the driver before [`Handle::command`] refuses.
pub(crate) const CAPACITY: usize = 1024;

/// The driver's end of the queue.
pub(crate) type Commands = Receiver<(Ticket, Command)>;

/// Reaches a [`Driver`](crate::Driver) from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    queue: SyncSender<(Ticket, Command)>,
    waker: Arc<Waker>,
    ended: Arc<AtomicBool>,
}

/// The driver did not take a command: 1024 wait already, or it is stopped
/// or dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Full(
    /// The command, given back.
    pub Command,
);

impl Handle {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<(Self, Commands)> {
        let waker = Arc::new(Waker::new(registry, token)?);
        let (queue, commands) = sync_channel(CAPACITY);
        Ok((Self { queue, waker, ended: Arc::default() }, commands))
    }

    /// Queues a command for the machine. Commands of one thread arrive in order.
    ///
    /// # Errors
    /// [`Full`] with the command: try again later, or drop it.
    pub fn command(&self, ticket: Ticket, command: Command) -> Result<(), Full> {
        if self.has_ended() {
            return Err(Full(command));
        }
        self.queue.try_send((ticket, command)).map_err(|e| match e {
            TrySendError::Full((_, command)) | TrySendError::Disconnected((_, command)) => {
                Full(command)
            }
        })?;
        self.wake();
        Ok(())
    }

    /// Ends [`Driver::run`](crate::Driver::run), for good. Commands given
    /// before are still handed to the machine, and what the kernel takes at
    /// once is still sent; the connections close when the driver is dropped.
    pub fn stop(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn wake(&self) {
        // It fails only with the driver's poller gone, and then nobody is left to wake.
        self.waker.wake().ok();
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver takes no command: its queue is full or it is stopped")
    }
}

impl std::error::Error for Full {}
