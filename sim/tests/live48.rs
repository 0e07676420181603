//! The aims for the published swarm, in virtual time: 48 viewers on
//! PlanetLab's round trips, one provider, 500 kbit/s.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::config::Config;
use eddy_sim::live::{Live, Outcome, quantile};

const BLOCK: Duration = Duration::from_millis(40);

fn swarm(seed: u64, seconds: u64) -> Live {
    let watch = Duration::from_secs(seconds);
    Live { watch, ..Live::report_swarm(seed, Config::default(), BLOCK) }
}

fn assert_right(outcome: &Outcome, what: &str) {
    for (n, v) in outcome.viewers.iter().enumerate() {
        assert_eq!(v.wrong, None, "{what}: viewer {n} handed over what the provider did not send");
        assert!(v.stats.due > 0, "{what}: viewer {n} never played");
    }
}

fn assert_aims(outcome: &Outcome, what: &str) {
    assert_right(outcome, what);
    assert_eq!(outcome.lost(), 0, "{what}: blocks lost");
    let continuity = outcome.continuity();
    assert!(continuity >= 0.9999, "{what}: continuity {continuity}, {} late", outcome.late());
    let startup = quantile(&outcome.startups(), 0.95);
    assert!(startup < Duration::from_secs(2), "{what}: start-up p95 {startup:?}");
    let longest = outcome.viewers.iter().map(|v| v.longest_delay).max().unwrap();
    assert!(longest < Duration::from_secs(2), "{what}: play-out delay {longest:?}");
}

#[test]
fn without_faults_nothing_is_lost_or_late_and_blocks_come_within_twice_the_bound() {
    for seed in 1..=3 {
        let outcome = swarm(seed, 60).run();
        let what = format!("seed {seed}");
        assert_aims(&outcome, &what);
        let viewers = &outcome.viewers;
        let sum: Duration = viewers.iter().map(|v| v.arrival_delay(BLOCK)).sum();
        let mean = sum / viewers.len() as u32;
        let bound = outcome.arrival_bound.expect("the uploads suffice").mean;
        assert!(mean <= bound * 2, "{what}: blocks come after {mean:?}, bound {bound:?}");
        // What comes before its bound was measured wrong.
        assert!(mean >= bound.mul_f64(0.9), "{what}: {mean:?} beats the bound {bound:?}");
    }
}

#[test]
fn a_full_uplink_of_the_provider_leaves_nobody_behind_for_long() {
    // By turns the many who want little get theirs, and the few who feed all others fall behind.
    for (seed, provider_upload) in [(4, 400_000), (1, 900_000)] {
        let outcome = Live { provider_upload, ..swarm(seed, 150) }.run();
        let what = format!("seed {seed}, {provider_upload} bytes a second");
        assert_right(&outcome, &what);
        assert!(outcome.continuity() >= 0.999, "{what}: {}", outcome.continuity());
        let longest = outcome.viewers.iter().map(|v| v.longest_delay).max().unwrap();
        assert!(longest < Duration::from_secs(5), "{what}: play-out delay {longest:?}");
    }
}

#[test]
fn a_reset_per_connection_and_minute_costs_nothing() {
    for seed in 1..=3 {
        let resets = Some(Duration::from_secs(60));
        let outcome = Live { resets, ..swarm(seed, 90) }.run();
        assert_aims(&outcome, &format!("seed {seed}"));
    }
}

#[test]
fn the_published_system_runs_too() {
    let block = Duration::from_secs(1);
    let watch = Duration::from_secs(90);
    let plan = Live { watch, ..Live::report_swarm(1, Config::report(), block) };
    let outcome = plan.run();
    assert_right(&outcome, "report");
    let continuity = outcome.continuity();
    assert!(continuity > 0.97, "report: continuity {continuity}, {} lost", outcome.lost());
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let outcome = Live { viewers: 16, ..swarm(seed, 5) }.run();
        (outcome.hash, outcome.events)
    };
    let first = run(1);
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}
