//! Strategies of the live stream side by side: each does what its paper says.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use std::time::Duration;

use common::swarm::Swarm;
use common::{continuity, ms, net};
use eddy_core::config::Config;
use eddy_sim::live::Live;
use eddy_sim::{Net, NodeIx, Sharing};

const SECOND: Duration = Duration::from_secs(1);

/// Twenty viewers on PlanetLab's round trips.
fn twenty(seed: u64, config: Config, block: Duration) -> Live {
    let watch = Duration::from_secs(90);
    Live { viewers: 20, watch, ..Live::report_swarm(seed, config, block) }
}

#[test]
fn pull_plays_without_a_single_subscription() {
    let minute = Some(SECOND * 60);
    let cases = [(1, SECOND, None), (2, SECOND, minute), (3, SECOND / 5, None)];
    for (seed, block, resets) in cases {
        let outcome = Live { resets, ..twenty(seed, Config::donet(), block) }.run();
        let what = format!("seed {seed}, {block:?}, resets {resets:?}");
        let continuity = outcome.continuity();
        let received: u64 =
            outcome.viewers.iter().map(|v| v.stats.from_peers + v.stats.from_provider).sum();
        let duplicates: u64 = outcome.viewers.iter().map(|v| v.stats.duplicates).sum();
        assert!(continuity >= 0.95, "{what}: {continuity}");
        for (n, v) in outcome.viewers.iter().enumerate() {
            let (s, what) = (&v.stats, format!("{what}, viewer {n}"));
            assert!(v.wrong.is_none() && s.due > 0, "{what}");
            assert!(s.parents.iter().all(Option::is_none) && s.children == 0, "{what}");
            assert_eq!(s.repaired, s.from_peers + s.from_provider, "{what}: all was pulled");
        }
        assert_eq!(outcome.provider.children, 0);
        let unwanted: u64 = outcome.viewers.iter().map(|v| v.stats.unwanted).sum();
        assert!(unwanted * 100 < received, "{what}: {unwanted} came for nothing");
        assert!(duplicates * 100 < received, "{what}: {duplicates} of {received} came twice");
    }
}

/// The share of blocks on time of 30 viewers who come at once, with uplinks of
/// 10 Mbit/s, from 20 s to two minutes.
fn continuity_of_thirty(preset: &str, block: &str, seed: u64) -> f64 {
    const PLAN: &str = "id = 'thirty'\ntitle = ''\nspan = '120s'\nmeasure_from = '20s'\n\
        [[viewers]]\nname = 'live'\ncount = 30\n";
    let changes = [format!("channel.block={block}")];
    continuity(PLAN, preset, &changes, seed)
}

#[test]
fn pull_goes_on_though_most_partners_stand_still() {
    // Whole seconds come seconds late to most, and the provider is ahead of all.
    for seed in 1..=3 {
        let continuity = continuity_of_thirty("donet", "1s", seed);
        assert!(continuity >= 0.99, "seed {seed}: {continuity}");
    }
}

#[test]
fn a_tree_is_on_time_without_repairs_to_wait_for() {
    for (block, seed) in [("40ms", 1), ("200ms", 1), ("200ms", 2), ("1s", 1)] {
        let continuity = continuity_of_thirty("tree", block, seed);
        assert!(continuity >= 0.999, "{block}, seed {seed}: {continuity}");
    }
}

/// A tree of twenty viewers with three children each at most, on the air.
fn tree(seed: u64) -> (Swarm, Vec<NodeIx>) {
    let net = Net { sharing: Sharing::Turns, ..net(30) };
    let config = Config { max_upload: Some(250_000), ..Config::tree() };
    let mut swarm = Swarm::with(seed, net, config);
    let mut viewers = Vec::new();
    for _ in 0..20 {
        viewers.push(swarm.viewer());
        swarm.run(500);
    }
    swarm.run(10_000);
    (swarm, viewers)
}

/// Asserts that each plays, and has all its sub-streams from one parent.
fn assert_tree(swarm: &Swarm, viewers: &[NodeIx], what: &str) {
    for ix in viewers {
        let v = swarm.view(*ix);
        let parents = &v.stats.parents;
        assert!(
            parents[0].is_some() && parents.iter().all(|p| *p == parents[0]),
            "{what}: {ix:?} {parents:?}"
        );
        let silent = swarm.world.now().since(v.last);
        assert!(v.wrong.is_none() && silent < ms(500), "{what}: {ix:?} silent for {silent:?}");
        assert_eq!(v.stats.repaired, 0, "{what}: {ix:?} pulled");
    }
}

#[test]
fn in_a_tree_everybody_has_one_parent_and_keeps_it() {
    for seed in 1..=2 {
        let (mut swarm, viewers) = tree(seed);
        let what = format!("seed {seed}");
        let parents = |swarm: &Swarm| -> Vec<_> {
            viewers.iter().map(|ix| swarm.view(*ix).stats.parents[0]).collect()
        };
        assert_tree(&swarm, &viewers, &what);
        let before = parents(&swarm);
        swarm.run(30_000);
        assert_tree(&swarm, &viewers, &what);
        assert_eq!(parents(&swarm), before, "{what}");
        swarm.assert_intact(&viewers, SECOND * 5);
    }
}

#[test]
fn who_loses_its_parent_in_a_tree_finds_another_and_nobody_goes_in_circles() {
    for seed in 1..=2 {
        let (mut swarm, mut viewers) = tree(seed);
        for round in 0..4 {
            let what = format!("seed {seed}, round {round}");
            let children = |ix: &NodeIx| swarm.view(*ix).stats.children;
            let at = (0..viewers.len()).max_by_key(|n| children(&viewers[*n])).unwrap();
            let parent = viewers.remove(at);
            assert!(children(&parent) >= 8, "{what}: nobody has a child");
            match round % 2 {
                0 => swarm.world.kill(parent),
                _ => swarm.world.crash(parent),
            }
            swarm.run(12_000);
            assert_tree(&swarm, &viewers, &what);
        }
    }
}
