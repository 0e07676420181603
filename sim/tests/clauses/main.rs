//! The contract of the core, clause by clause, held against the real machines.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

#[path = "../common/mod.rs"]
mod common;

mod driving;
mod inputs;
mod limits;
mod links;
mod replay;

use std::time::Duration;

use eddy_core::Command;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::BLOCK;
use quickcheck::{Gen, QuickCheck};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The credit window of every machine here, in bytes.
fn window() -> usize {
    Config::default().send_window
}

/// Holds a property against random bytes, up to so many.
fn for_any_bytes(most: usize, property: fn(Vec<u8>)) {
    QuickCheck::new().rng(Gen::new(most)).quickcheck(property);
}

/// Publishes a packet of this size in each of the next `n` slots.
fn publish(hand: &mut Hand<Node>, n: usize, size: usize) {
    for _ in 0..n {
        hand.command(Command::Publish(vec![7; size].into()));
        hand.pass(BLOCK);
    }
}
