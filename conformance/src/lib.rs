//! What every driver of Eddy's core has to pass.
//!
//! A driver's author implements [`Drive`], a few lines, and mounts the suite
//! in a test file of the driver's crate. Every scenario becomes a test:
//!
//! ```no_run
//! # use std::{io, net::SocketAddr, sync::mpsc::SyncSender};
//! # use eddy_conformance::{Audience, Drive, Subject};
//! # use eddy_core::{Command, DiskAnswer, Ticket, Time};
//! # struct Mine;
//! # impl Drive for Mine {
//! #     type Sockets = ();
//! #     type Handle = ();
//! #     fn bind() -> io::Result<((), SocketAddr)> { unimplemented!() }
//! #     fn start(_: (), _: impl FnOnce(Time) -> Subject + Send + 'static, _: Audience) {}
//! #     fn command(_: &(), _: Ticket, _: Command) -> bool { false }
//! #     fn answer(_: &(), _: DiskAnswer) -> bool { false }
//! #     fn stop(_: ()) {}
//! # }
//! eddy_conformance::suite!(mine, Mine);
//! ```
//!
//! `docs/DRIVERS.md` says how a driver is written, and what each [`Check`]
//! looks for. The scenarios come in three layers:
//!
//! 1. A scripted machine, with a judge around it that checks every call.
//! 2. Real nodes: a channel live and its past, the DHT, and what may happen to them.
//! 3. Every run of the second layer is recorded, and replayed into fresh
//!    nodes: the same inputs have to give the same outputs.
//!
//! The same list runs in virtual time ([`mod@reference`]), which is the reference
//! driver. The suite's own tests are drivers and machines with one fault each,
//! which it has to reject by the fault's name.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod board;
mod check;
mod driver;
mod harness;
mod judge;
mod list;
mod protocol;
pub mod reference;
mod run;
mod scene;
mod script;
mod shelf;
mod tape;

use std::io;
use std::net::SocketAddr;

use eddy_core::{Command, DiskAnswer, Ticket, Time};

pub use check::{Check, Verdict, Violation};
pub use judge::{Audience, Subject};
pub use list::SCENARIOS;
pub use run::{Mount, Options, Scenario, Stage};

/// A driver, as the suite uses it.
pub trait Drive: 'static {
    /// What a driver is made of before it has a machine: a TCP listener and a
    /// UDP socket on one port.
    type Sockets: Send + 'static;
    /// Reaches a running driver from the test's thread.
    type Handle: 'static;

    /// Binds both sockets to a free port of loopback.
    ///
    /// # Errors
    /// Those of the operating system.
    fn bind() -> io::Result<(Self::Sockets, SocketAddr)>;

    /// Runs the driver on a thread or task of its own. The machine is made by
    /// `make`, which is to be given the time that the driver's clock shows.
    fn start(
        sockets: Self::Sockets,
        make: impl FnOnce(Time) -> Subject + Send + 'static,
        host: Audience,
    ) -> Self::Handle;

    /// Gives the machine a command; `false` if the driver's queue is full.
    fn command(handle: &Self::Handle, ticket: Ticket, command: Command) -> bool;

    /// Gives the machine an answer of the host's disk, as
    /// [`Event::Disk`](eddy_core::Event::Disk); `false` if the driver's queue is
    /// full.
    fn answer(handle: &Self::Handle, answer: DiskAnswer) -> bool;

    /// Ends the driver. Every socket is closed when this returns.
    fn stop(handle: Self::Handle);
}

/// Plays one scenario; what [`suite!`] makes its tests of.
///
/// # Panics
/// If the driver does not pass, with all that was wrong.
#[doc(hidden)]
pub fn expect<D: Mount>(name: &str) {
    let scenario = SCENARIOS.iter().find(|s| s.name == name).expect("suite! has it from the list");
    let verdict = scenario.run::<D>(Options::default());
    assert!(verdict.passed(), "{verdict}");
}
