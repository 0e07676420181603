//! Drives an [`eddy_core::Machine`] over real sockets: one thread, one loop,
//! TCP and UDP on one port.
//!
//! The driver knows nothing of the protocol. It hands the machine what
//! happened ([`Event`](eddy_core::Event)), carries out what the machine wants
//! ([`Action`](eddy_core::Action)), and sleeps only when the machine says that
//! there is nothing to do. A fault of one peer costs that peer's link and
//! nothing else.
//!
//! ```no_run
//! use eddy_core::{Delivery, Host, Machine, Notice, Time};
//! use eddy_runtime_mio::{Clock, Driver, Sockets};
//! use std::{io, net::SocketAddr, thread};
//!
//! struct Screen;
//! impl Host for Screen {
//!     fn deliver(&mut self, _now: Time, block: Delivery) {
//!         println!("block {}: {} bytes", block.seq.0, block.payload.len());
//!     }
//!     fn notify(&mut self, _now: Time, notice: Notice) {
//!         println!("{notice:?}");
//!     }
//! }
//!
//! fn run<M: Machine>(make: impl FnOnce(Time, SocketAddr) -> M) -> io::Result<()> {
//!     let sockets = Sockets::bind(([0, 0, 0, 0], 0).into())?;
//!     let clock = Clock::start();
//!     let machine = make(clock.now(), sockets.local_addr());
//!     let mut driver = Driver::new(sockets, clock, machine, Screen)?;
//!     let handle = driver.handle(); // for commands from other threads
//!     thread::spawn(move || {
//!         io::stdin().read_line(&mut String::new()).ok();
//!         handle.stop();
//!     });
//!     driver.run()
//! }
//! ```
//!
//! # What a machine can rely on
//!
//! - Every input is followed by polls until `Wait`, so a wake never overtakes
//!   what an earlier input asked for, and `SetRead` and `Close` hold from the
//!   very next event on.
//! - `now` is the clock's reading at that very input, and never goes back.
//! - A link's bytes leave in the order of its `Send`s. Every byte comes back
//!   once: as `Flushed` when the kernel took it, at most one event per link and
//!   turn, or with `Closed`.
//! - After `Action::Close` the only event that names the link is its `Closed`;
//!   after `Closed` there is none. Link ids count up and are never reused.
//! - A dial is given up after five seconds, a flushing close after two.
//! - Datagrams that the kernel does not take at once are lost.
#![deny(missing_docs)]

mod buffer;
mod clock;
mod driver;
mod handle;
mod link;
mod sockets;

pub use clock::Clock;
pub use driver::Driver;
pub use handle::{Full, Handle};
pub use sockets::Sockets;
