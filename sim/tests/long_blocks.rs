//! Blocks of a second: eight seconds between two of a sub-stream, and a third of
//! one to send it on. Thresholds made for short blocks must not take that for
//! lateness.

use std::time::Duration;

use eddy_core::config::Config;
use eddy_sim::live::Live;

#[test]
fn a_block_of_a_second_is_not_late_for_being_long() {
    let rate = 62_500;
    let plan = Live {
        viewers: 150,
        joins: Duration::from_secs(20),
        watch: Duration::from_secs(60),
        rate,
        coarse: true,
        upload: 3 * rate,
        provider_upload: 40 * rate,
        ..Live::report_swarm(1, Config::default(), Duration::from_secs(1))
    };
    let outcome = plan.run();
    assert_eq!(outcome.viewers.iter().find_map(|v| v.wrong), None);
    assert!(outcome.continuity() >= 0.995, "continuity {}", outcome.continuity());
    let sum = |of: fn(&eddy_core::stats::Stats) -> u64| -> u64 {
        outcome.viewers.iter().map(|v| of(&v.stats)).sum()
    };
    // What comes twice was pulled too soon.
    let (twice, due) = (sum(|s| s.duplicates), sum(|s| s.due));
    assert!(twice * 5 < due, "{twice} of {due} came twice");
    let arrivals: Duration = outcome.viewers.iter().map(|v| v.arrival_delay(plan.block)).sum();
    let mean = arrivals / plan.viewers as u32;
    let bound = outcome.arrival_bound.expect("the uploads suffice").mean;
    assert!(mean <= bound * 2, "blocks come {mean:?} after their slot began, B6 {bound:?}");
}
