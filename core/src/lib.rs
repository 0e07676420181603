//! Eddy's protocol core.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bootstrap;
pub mod config;
pub mod event;
pub mod id;
mod link;
mod live;
mod membership;
pub mod node;
mod partnership;
pub mod rng;
pub mod stats;
pub mod stream;
pub mod time;
pub mod timer;
pub mod wire;

pub use event::*;
pub use id::{ChannelId, DialId, LinkId, NodeId, Seq, SubStream, Ticket};
pub use time::Time;
