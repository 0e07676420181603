//! EV3: what one event may allocate, once the window is full. Exact, so that
//! it can gate: allocations do not depend on the machine's mood.

use allocation_counter::measure;
use eddy_bench::rig::Rig;

/// Rounds until everything that grows has grown.
const WARM: u64 = 400;
/// Rounds that count: a minute.
const ROUNDS: u64 = 600;

/// What the rarer timers may allocate in that minute. A look at the feeds, which
/// is due 20 times a second, allocates nothing. What does: the counters for the
/// application once a second, gossip every 5 s, the members to remember every
/// 30 s, and the review of the upload budget four times a second, which lists
/// one entry a subscription and has room for 16 on the stack.
const WAKES: u64 = 340;

#[test]
fn a_map_and_a_look_at_the_feeds_allocate_nothing_and_a_block_at_most_once() {
    let mut rig = Rig::new(4, 5 << 10);
    let (mut blocks, mut wakes) = (0, 0);
    for n in 0..WARM + ROUNDS {
        let round = rig.round();
        let steady = u64::from(n >= WARM);
        for (now, event) in round.maps {
            let count = measure(|| rig.feed(now, event)).count_total;
            assert_eq!(steady * count, 0, "a map allocated in round {n}");
        }
        let (now, event) = round.block;
        blocks += steady * measure(|| rig.feed(now, event)).count_total;
        for (now, event) in round.wakes {
            wakes += steady * measure(|| rig.feed(now, event)).count_total;
        }
    }
    assert!(blocks <= ROUNDS, "{ROUNDS} blocks allocated {blocks} times");
    assert!(wakes <= WAKES, "{} wakes allocated {wakes} times", 2 * ROUNDS);
}
