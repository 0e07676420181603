//! Eddy in virtual time: many machines, the network between them, and faults.
//!
//! A [`World`] drives any number of [`Machine`](eddy_core::Machine)s exactly
//! as the contract of the core asks: it sleeps to the microsecond, carries out
//! every action, and checks the machines' side of the contract after each
//! event. Time costs nothing, and one seed fixes a run byte for byte.
//!
//! ```
//! use std::time::Duration;
//! use eddy_core::{Event, Machine, Output, Time};
//! use eddy_sim::{Net, Rtt, World};
//!
//! /// A machine that wants nothing.
//! struct Idle;
//! impl Machine for Idle {
//!     fn handle(&mut self, _now: Time, _event: Event) {}
//!     fn poll(&mut self) -> Output {
//!         Output::Wait(None)
//!     }
//! }
//!
//! let mut world = World::new(7, Net { rtt: Rtt::planetlab(), ..Net::default() });
//! let node = world.add(([10, 0, 0, 1], 4000).into(), 0, Some(1_250_000), Box::new(Idle));
//! world.run_until(world.now() + Duration::from_secs(60), &mut ());
//! assert_eq!(world.traffic(node).sent, 0);
//! ```
//!
//! The network is the simplest that still has the effects that matter: round
//! trips from a measured matrix, one queue a node in front of its uplink,
//! receive windows, and connections that break. It has no slow start and no
//! congestion control; [`bounds`] says what no protocol could do better.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bounds;
mod check;
mod clock;
mod conn;
mod disk;
mod faults;
pub mod fuzz;
pub mod hand;
mod hash;
pub mod lab;
mod latency;
mod link;
pub mod live;
mod net;
mod node;
pub mod planx;
mod queue;
mod recent;
pub mod record;
mod uplink;
mod world;

pub use disk::Disk;
pub use latency::Rtt;
pub use net::{Net, Sharing};
pub use node::{NodeIx, Traffic};
pub use queue::{Keeping, Queue};
pub use world::{Observer, START, World};
