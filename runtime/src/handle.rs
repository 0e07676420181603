//! The door for other threads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::Waker;

use eddy_core::{Command, Ticket, Time};

use crate::Clock;

/// Commands that may wait for the driver before [`Handle::command`] refuses.
pub(crate) const CAPACITY: usize = 1024;

/// A command, and when it was given.
type Given = (Time, Ticket, Command);
/// The driver's end of the queue.
pub(crate) type Commands = Receiver<Given>;

/// Reaches a driver from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    queue: SyncSender<Given>,
    clock: Clock,
    waker: Waker,
    ended: Arc<AtomicBool>,
}

/// The driver did not take this command: 1024 wait already, or it is stopped
/// or dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Full(pub Command);

impl Handle {
    /// `waker` ends the driver's sleep.
    pub(crate) fn new(clock: Clock, waker: Waker) -> (Self, Commands) {
        let (queue, commands) = sync_channel(CAPACITY);
        (Self { queue, clock, waker, ended: Arc::default() }, commands)
    }

    /// Queues a command for the machine, which is told the time of this call.
    /// Commands of one thread arrive in order.
    ///
    /// # Errors
    /// [`Full`] with the command: try again later, or drop it.
    pub fn command(&self, ticket: Ticket, command: Command) -> Result<(), Full> {
        let queued = self.post(ticket, command);
        self.waker.wake_by_ref();
        queued
    }

    /// Like [`command`](Self::command), but lets the driver sleep: the machine
    /// hears of it when something else wakes the driver, or the queue is full.
    /// For a machine that has a deadline soon, as a provider has at the end of
    /// its slot.
    ///
    /// # Errors
    /// [`Full`] with the command: try again later, or drop it.
    pub fn post(&self, ticket: Ticket, command: Command) -> Result<(), Full> {
        if self.has_ended() {
            return Err(Full(command));
        }
        self.queue.try_send((self.clock.now(), ticket, command)).map_err(|e| {
            self.waker.wake_by_ref();
            let (TrySendError::Full(given) | TrySendError::Disconnected(given)) = e;
            Full(given.2)
        })
    }

    /// Ends the driver's `run`, for good. Commands given
    /// before are still handed to the machine, and what the kernel takes at
    /// once is still sent; the connections close when the driver is dropped.
    pub fn stop(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver takes no command: its queue is full or it is stopped")
    }
}

impl std::error::Error for Full {}
