//! The door for other threads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::Waker;

use eddy_core::{Command, Event, Ticket, Time};

use crate::Clock;

/// Commands that may wait for the driver before [`Handle::command`] refuses.
pub(crate) const CAPACITY: usize = 1024;

/// The driver's end of the queue: what was given, and when.
pub(crate) type Given = Receiver<(Time, Event)>;

/// Reaches a driver from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    queue: SyncSender<(Time, Event)>,
    clock: Clock,
    waker: Waker,
    ended: Arc<AtomicBool>,
}

/// The driver did not take this: 1024 commands and answers of the disk wait
/// already, or it is stopped or dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Full(pub Event);

impl Handle {
    /// `waker` ends the driver's sleep.
    pub(crate) fn new(clock: Clock, waker: Waker) -> (Self, Given) {
        let (queue, given) = sync_channel(CAPACITY);
        (Self { queue, clock, waker, ended: Arc::default() }, given)
    }

    /// Queues a command for the machine; see [`tell`](Self::tell).
    ///
    /// # Errors
    /// [`Full`] with the command: try again later, or drop it.
    pub fn command(&self, ticket: Ticket, command: Command) -> Result<(), Full> {
        self.tell(Event::Command { ticket, command })
    }

    /// Queues what the program has to say: a command, or an answer of the disk.
    /// The machine is told the time of this call. What one thread says arrives
    /// in order.
    ///
    /// # Errors
    /// [`Full`] with the event: try again later, or drop it.
    pub fn tell(&self, event: Event) -> Result<(), Full> {
        self.post(event).inspect(|()| self.waker.wake_by_ref())
    }

    /// Like [`tell`](Self::tell), but lets the driver sleep: the machine
    /// hears of it when something else wakes the driver, or the queue is full.
    /// For a machine that has a deadline soon, as a provider has at the end of
    /// its slot.
    ///
    /// # Errors
    /// [`Full`] with the event: try again later, or drop it.
    pub fn post(&self, event: Event) -> Result<(), Full> {
        if self.has_ended() {
            return Err(Full(event));
        }
        self.queue.try_send((self.clock.now(), event)).map_err(|e| {
            self.waker.wake_by_ref();
            let (TrySendError::Full(given) | TrySendError::Disconnected(given)) = e;
            Full(given.1)
        })
    }

    /// Ends the driver's `run`, for good. Commands given
    /// before are still handed to the machine, and what the kernel takes at
    /// once is still sent; the connections close when the driver is dropped.
    pub fn stop(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }

    /// Whether [`stop`](Self::stop) was called: nothing is taken any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver takes nothing: its queue is full or it is stopped")
    }
}

impl std::error::Error for Full {}
