//! Attackers, broken peers and bad luck among real nodes: none of them may
//! cost any other viewer a block, or anybody more than bounded memory.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

#[path = "../common/mod.rs"]
mod common;

mod liars;
mod misfortunes;
mod strangers;

use std::time::Duration;

use common::swarm::Swarm;
use eddy_sim::NodeIx;

/// Where attackers live.
const FIRST_ATTACKER: u8 = 200;

/// Viewers that nothing went wrong for play within this of the provider.
const LIVE: Duration = Duration::from_secs(3);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A channel with six viewers that have played for a while.
fn six() -> (Swarm, Vec<NodeIx>) {
    let mut swarm = Swarm::new(1);
    let viewers = swarm.viewers(6);
    swarm.run(5_000);
    (swarm, viewers)
}

/// Uplinks of the provider in bytes per second. The stream takes 68,000: the
/// narrow one feeds five viewers, the narrowest three.
const WIDE: u64 = 1_250_000;
const NARROW: u64 = 330_000;
const NARROWEST: u64 = 210_000;
