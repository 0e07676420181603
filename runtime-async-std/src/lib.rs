//! Drives an [`eddy_core::Machine`] over real sockets from one task of
//! async-std, TCP and UDP on one port.
//!
//! The driver knows nothing of the protocol. It is [`eddy_runtime::Engine`] on
//! the runtime's sockets; [what a machine can rely
//! on](eddy_runtime#what-a-machine-can-rely-on) stands there. One task owns the
//! machine and awaits no single peer: each socket has a waker that says which
//! one it was, so a turn costs only the sockets that have news.
//!
//! ```no_run
//! use eddy_core::{Delivery, Host, Machine, Notice, Time};
//! use eddy_runtime_async_std::{Clock, Driver, Handle, Sockets};
//! use std::{io, net::SocketAddr};
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
//! /// Returns a handle for commands, and what to spawn or block on.
//! fn start<M: Machine + Send>(
//!     make: impl FnOnce(Time, SocketAddr) -> M,
//! ) -> io::Result<(Handle, impl Future<Output = io::Result<()>> + Send)> {
//!     let sockets = Sockets::bind(([0, 0, 0, 0], 0).into())?;
//!     let clock = Clock::start();
//!     let machine = make(clock.now(), sockets.local_addr());
//!     let mut driver = Driver::new(sockets, clock, machine, Screen)?;
//!     let handle = driver.handle();
//!     Ok((handle, async move { driver.run().await }))
//! }
//! ```
//!
//! # Which driver to take
//!
//! async-std is discontinued: its authors name smol as the successor, and the
//! advisory RUSTSEC-2025-0052 says that it is unmaintained. It has no known
//! vulnerability, and what carries it, `async-io` and `polling`, belongs to
//! smol and is maintained. So take this driver for a program that is built on
//! async-std; elsewhere `eddy-runtime-mio` does the same for less.
//!
//! With the feature `smol` this driver runs on smol. Then
//! `default-features = false` leaves async-std out of the tree.
#![deny(missing_docs)]

#[cfg(not(any(feature = "async-std", feature = "smol")))]
compile_error!("turn on the feature `async-std` or the feature `smol`");

mod driver;
mod net;
#[cfg_attr(feature = "smol", path = "rt_smol.rs")]
mod rt;
mod wakes;

pub use driver::Driver;
pub use eddy_runtime::{Clock, Full, Handle, Sockets};
