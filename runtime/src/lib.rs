//! What drivers over the system's own sockets share: the loop around an
//! [`eddy_core::Machine`], without a poller.
//!
//! A driver brings a [`Net`]: TCP and UDP sockets that never block, and word of
//! when they are worth a try. [`Engine`] does the rest, the same for every
//! driver, and knows nothing of the protocol. It hands the machine what
//! happened ([`Event`](eddy_core::Event)), carries out what the machine wants
//! ([`Action`](eddy_core::Action)), and says how long to sleep. A driver is
//! this loop:
//!
//! ```
//! use eddy_core::{Host, Machine, Time};
//! use eddy_runtime::{Engine, Net};
//! use std::ops::ControlFlow;
//!
//! fn run<M: Machine, H: Host, N: Net>(
//!     engine: &mut Engine<M, H, N>,
//!     mut sleep: impl FnMut(&mut Engine<M, H, N>, Option<Time>),
//! ) {
//!     while let ControlFlow::Continue(until) = engine.turn() {
//!         // Until then, or until a socket or a `Handle` has news: tell it with
//!         // `link_ready`, `connections_ready` and `datagrams_ready`.
//!         sleep(engine, until);
//!     }
//! }
//! ```
//!
//! `eddy-runtime-mio` is one over a poller of its own, `eddy-runtime-async-std`
//! one over wakers.
//!
//! # What a machine can rely on
//!
//! - The rest of a long block is read straight into the machine's
//!   [slot](eddy_core::Machine::slot), where it lends one.
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
//! - A fault of one peer costs that peer's link and nothing else.
#![deny(missing_docs)]

mod buffer;
mod clock;
mod engine;
mod handle;
mod link;
mod net;
mod sockets;

pub use buffer::ReadBuffer;
pub use clock::Clock;
pub use engine::Engine;
pub use handle::{Full, Handle};
pub use net::{Net, Readiness, Stream};
pub use sockets::Sockets;
