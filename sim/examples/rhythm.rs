//! How many messages of each rhythm a viewer sends a second on a loopback that
//! costs nothing, as one JSON object: what the same swarm over real sockets
//! should show.
//!
//! `cargo run --release -p eddy-sim --example rhythm [VIEWERS] [SECONDS] [BLOCK_MS] [KBIT]`

use std::time::Duration;

use eddy_core::config::Config;
use eddy_core::stats::Rhythm;
use eddy_sim::Rtt;
use eddy_sim::live::{Live, Outcome};

/// The first seconds are not counted: partners are still being found.
const SETTLED: Duration = Duration::from_secs(10);
/// More than loopback can be asked for.
const UPLOAD: u64 = 1 << 30;

fn sum(outcome: &Outcome, of: impl Fn(&Rhythm) -> u64) -> u64 {
    outcome.viewers.iter().map(|v| of(&v.stats.rhythm)).sum()
}

fn main() {
    let argument = |n: usize, default: u64| {
        std::env::args().nth(n).map_or(default, |a| a.parse().expect("a whole number"))
    };
    let (viewers, seconds) = (argument(1, 8), argument(2, 30));
    let block = Duration::from_millis(argument(3, 40));
    let rate = argument(4, 1_000) * 1_000 / 8;
    let plan = |watch| Live {
        seed: 1,
        config: Config::default(),
        block,
        viewers: viewers as usize,
        joins: Duration::ZERO,
        watch,
        rate,
        coarse: false,
        upload: UPLOAD,
        provider_upload: UPLOAD,
        resets: None,
        rtt: Rtt::uniform(Duration::from_micros(100)),
    };
    // The longer run begins as the shorter one: the same seed, the same events.
    let (before, after) = (plan(SETTLED).run(), plan(SETTLED + Duration::from_secs(seconds)).run());
    let a_second = |of: fn(&Rhythm) -> u64| {
        (sum(&after, of) - sum(&before, of)) as f64 / (viewers * seconds) as f64
    };
    println!(
        "{{\"continuity\": {}, \"lost\": {}, \"in_order\": {}, \"maps\": {:.4}, \"gossip\": {:.4}, \
         \"heartbeats\": {:.4}, \"pings\": {:.4}, \"repaired\": {}, \"reselections\": {}}}",
        after.continuity(),
        after.lost(),
        after.viewers.iter().all(|v| v.wrong.is_none()),
        a_second(|r| r.maps),
        a_second(|r| r.gossip),
        a_second(|r| r.heartbeats),
        a_second(|r| r.pings),
        after.viewers.iter().map(|v| v.stats.repaired).sum::<u64>(),
        after.viewers.iter().map(|v| v.stats.reselections).sum::<u64>(),
    );
}
