//! The driver: an engine and the task that turns it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use eddy_core::{Host, LinkId, Machine, Time};
use eddy_runtime::{Clock, Engine, Handle, Readiness, Sockets};
use futures_lite::future;

use crate::net::AsyncNet;
use crate::rt;
use crate::wakes::{ALARM, COMMANDS, DATAGRAMS, LISTENER, Token, Wakes};

/// Runs one machine. Dropping it closes every connection.
pub struct Driver<M, H> {
    engine: Engine<M, H, AsyncNet>,
    wakes: Arc<Wakes>,
    clock: Clock,
    /// The timer that was set, and when it ends.
    alarm: Option<(Time, future::Boxed<()>)>,
}

impl<M: Machine, H: Host> Driver<M, H> {
    /// Puts the machine on its sockets. `clock` should be the one that the
    /// machine's start time was read from.
    ///
    /// # Errors
    /// Those of the operating system when it takes the sockets.
    pub fn new(sockets: Sockets, clock: Clock, machine: M, host: H) -> io::Result<Self> {
        let wakes = Arc::<Wakes>::default();
        let (local, waker) = (sockets.local_addr(), wakes.waker(COMMANDS));
        let net = AsyncNet::new(Arc::clone(&wakes), sockets)?;
        Ok(Self {
            engine: Engine::new(net, local, clock, machine, host, waker),
            wakes,
            clock,
            alarm: None,
        })
    }

    /// A door to this driver for other threads and tasks.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.engine.handle()
    }

    /// Closes every connection and gives back what [`new`](Self::new) took.
    pub fn into_parts(self) -> (M, H) {
        self.engine.into_parts()
    }

    /// Drives the machine until [`Handle::stop`]; after that it returns at once.
    /// A run that is dropped loses nothing, and can be taken up again. It is
    /// `Send` if the machine and the host are.
    ///
    /// # Errors
    /// None: the runtime answers for its poller, and a peer's error ends that
    /// peer's link.
    pub async fn run(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.turn(cx.waker())).await;
        Ok(())
    }

    /// One turn for each time that the task is polled: in between the runtime
    /// sees to its sockets and its other tasks.
    fn turn(&mut self, task: &Waker) -> Poll<()> {
        for token in self.wakes.take(task) {
            self.note(token);
        }
        let ControlFlow::Continue(until) = self.engine.turn() else { return Poll::Ready(()) };
        self.sleep(until, task);
        Poll::Pending
    }

    fn note(&mut self, token: Token) {
        match token {
            LISTENER => self.engine.connections_ready(),
            DATAGRAMS => self.engine.datagrams_ready(),
            COMMANDS => {}
            ALARM => self.alarm = None,
            link => {
                // A waker does not say what for. Nor would it be woken again by
                // what follows a short read: only `Pending` sets it.
                let any = Readiness { readable: true, writable: true, drain: true, broken: false };
                self.engine.link_ready(LinkId(link), any);
            }
        }
    }

    /// Sees to it that the task is woken at that time.
    fn sleep(&mut self, until: Option<Time>, task: &Waker) {
        // An alarm that is too early wakes for nothing once, which costs less
        // than to set it anew whenever the machine changes its mind.
        let set = self.alarm.as_ref().map(|&(at, _)| at);
        let Some(until) = until.filter(|&until| set.is_none_or(|at| until < at)) else { return };
        let wait = until.since(self.clock.now());
        if wait.is_zero() {
            return task.wake_by_ref();
        }
        let mut sleep: future::Boxed<()> = Box::pin(rt::sleep(wait));
        let waker = self.wakes.waker(ALARM);
        match sleep.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.alarm = Some((until, sleep)),
            Poll::Ready(()) => task.wake_by_ref(),
        }
    }
}

impl<M: fmt::Debug, H> fmt::Debug for Driver<M, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
