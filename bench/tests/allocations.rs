//! EV3 as a gate: exact, since allocations do not depend on the machine's mood.

#[path = "common/allocations.rs"]
mod allocations;

use allocations::Allocations;

/// Rounds that count: a minute.
const ROUNDS: u64 = 600;
/// What reports may allocate in that minute.
const REPORTS: u64 = 100;

#[test]
fn maps_and_timers_allocate_nothing_and_a_block_at_most_once() {
    let sum = Allocations::count(ROUNDS, 5 << 10);
    assert_eq!((sum.maps, sum.at_timers), (0, 0), "{sum:?}");
    assert!(sum.blocks <= sum.rounds && sum.at_reports <= REPORTS, "{sum:?}");
    // Four reviews and twenty looks at the feeds a second cannot hide in the
    // wakes that report, which are one in ten; maps might.
    assert!(sum.timers > sum.rounds && sum.timers_with_maps > 0, "{sum:?}");
}
