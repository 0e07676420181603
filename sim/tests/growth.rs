//! Memory over ten minutes of a channel whose viewers come and go: what a node
//! keeps depends on its configuration, never on how long it has run or on how
//! many it has met.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use std::collections::VecDeque;

use allocation_counter::measure;
use common::swarm::*;
use common::*;
use eddy_core::config::Config;
use eddy_sim::{NodeIx, Sharing};

/// Viewers at a time.
const VIEWERS: usize = 6;
/// Every so often one leaves and another comes.
const STAY: u64 = 3_000;
/// What a hundred dead leave behind in the world itself: counters and an
/// address each, and its tables' room to spare.
const WORLD: i64 = 256 << 10;

/// Half of them leave in good order, half are killed.
fn churn(swarm: &mut Swarm, here: &mut VecDeque<NodeIx>, minutes: u64) {
    for n in 0..minutes * 60_000 / STAY {
        let leaver = here.pop_front().unwrap();
        if n % 2 == 0 {
            swarm.world.exit(leaver);
        } else {
            swarm.world.kill(leaver);
        }
        here.push_back(swarm.viewer());
        swarm.run(STAY);
        // What the test itself has seen is not what a node keeps.
        swarm.seen = Seen::default();
    }
}

#[test]
fn viewers_that_come_and_go_leave_no_memory_behind() {
    let net = eddy_sim::Net { sharing: Sharing::Turns, ..net(30) };
    let mut swarm = Swarm::with(1, net, Config::default());
    let mut here: VecDeque<NodeIx> = swarm.viewers(VIEWERS).into();
    // Windows fill, tables reach their size, members grow old and are forgotten.
    churn(&mut swarm, &mut here, 4);
    let later = measure(|| churn(&mut swarm, &mut here, 6));
    let grown = later.bytes_current;
    assert!(grown < WORLD, "{grown} bytes more after 120 more viewers");
    println!("{grown} bytes more, {} allocated meanwhile", later.bytes_total);
}
