//! Strategies of the live stream side by side: each does what its paper says.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::config::Config;
use eddy_sim::live::Live;

const SECOND: Duration = Duration::from_secs(1);

/// Twenty viewers on PlanetLab's round trips.
fn twenty(seed: u64, config: Config, block: Duration) -> Live {
    let watch = Duration::from_secs(90);
    Live { viewers: 20, watch, ..Live::report_swarm(seed, config, block) }
}

#[test]
fn pull_plays_without_a_single_subscription() {
    for (seed, block) in [(1, SECOND), (2, SECOND), (3, SECOND / 5)] {
        let outcome = twenty(seed, Config::donet(), block).run();
        let what = format!("seed {seed}, {block:?}");
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
        assert!(duplicates * 100 < received, "{what}: {duplicates} of {received} came twice");
    }
}
