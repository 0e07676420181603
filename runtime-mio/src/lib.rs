//! Drives an [`eddy_core::Machine`] over real sockets: one thread, one loop,
//! TCP and UDP on one port.
//!
//! The driver knows nothing of the protocol. It is [`eddy_runtime::Engine`] on
//! a poller of its own; [what a machine can rely
//! on](eddy_runtime#what-a-machine-can-rely-on) stands there.
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
#![deny(missing_docs)]

mod driver;
mod net;

pub use driver::Driver;
pub use eddy_runtime::{Clock, Full, Handle, Sockets};
