//! The DHT: whole networks in virtual time, and one node in the hands of
//! somebody hostile.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod answers;
mod bench;
mod hostile;
mod network;

use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
