//! Runs a scenario, and has an end to it in any case.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use eddy_core::Machine;

use crate::Drive;
use crate::board::Board;
use crate::check::{Check, Verdict};
use crate::harness::{Harness, Real};
use crate::scene::{Act, Scene};

/// How many times the patience of one wait a whole scenario may take.
const WAITS: u32 = 12;

/// What scenarios can be played on: a [`Drive`], or one of the
/// kinds of virtual time in [`reference`](crate::reference).
pub trait Mount: 'static {
    #[doc(hidden)]
    fn stage() -> Stage;
}

/// Drivers of one kind.
#[doc(hidden)]
pub struct Stage(pub(crate) Box<dyn Harness>);

impl<D: Drive> Mount for D {
    fn stage() -> Stage {
        Stage(Box::new(Real::<D>::new()))
    }
}

/// A scenario: a name, and what happens.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, which is the sentence that it proves.
    pub name: &'static str,
    pub(crate) play: fn(&mut Scene) -> Act,
    pub(crate) kind: Kind,
}

/// What a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Scripted machines: it ends when all that they want is answered.
    Machines,
    /// The same, and peers at plain sockets.
    Sockets,
    /// Real nodes, which are never done.
    Nodes,
}

/// How a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long one wait for something that has to happen may take.
    pub patience: Duration,
    /// What is put around each real node, between it and the judge: for
    /// machines that are to fail.
    pub disguise: fn(Box<dyn Machine + Send>) -> Box<dyn Machine + Send>,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Duration::from_secs(20), disguise: |machine| machine }
    }
}

impl Scenario {
    /// Whether it can be played on this kind of driver.
    #[must_use]
    pub fn fits<D: Mount>(&self) -> bool {
        self.kind != Kind::Sockets || D::stage().0.rules().real
    }

    /// Plays it. One that needs sockets passes where there are none.
    #[must_use]
    pub fn run<D: Mount>(&self, options: Options) -> Verdict {
        let board = Arc::new(Board::default());
        if self.fits::<D>() {
            self.watch::<D>(options, &board);
        }
        Verdict { scenario: self.name, violations: board.violations() }
    }

    /// Plays it on a thread of its own, and leaves that alone if it hangs.
    fn watch<D: Mount>(self, options: Options, board: &Arc<Board>) {
        let (done, end) = channel();
        let stage = board.clone();
        let player = thread::spawn(move || {
            self.perform::<D>(options, &stage);
            done.send(()).ok();
        });
        let limit = options.patience * WAITS;
        if let Err(RecvTimeoutError::Timeout) = end.recv_timeout(limit) {
            return board.blame(Check::Hung, None, format!("no end after {limit:?}"));
        }
        if let Err(panic) = player.join() {
            board.blame(Check::Panic, None, words(&*panic));
        }
    }

    fn perform<D: Mount>(self, options: Options, board: &Arc<Board>) {
        let mut scene = Scene::new(D::stage().0, board.clone(), options);
        let played = catch_unwind(AssertUnwindSafe(|| {
            let played = (self.play)(&mut scene);
            if self.kind == Kind::Nodes { played } else { played.and_then(|()| scene.settle()) }
        }));
        match played {
            // A machine's fault makes a world panic, too; the judge has said it better.
            Err(panic) if board.is_clean() => board.blame(Check::Panic, None, words(&*panic)),
            _ => {}
        }
        scene.close();
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scenario").field(&self.name).finish()
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
