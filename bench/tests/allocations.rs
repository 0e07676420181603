//! EV3: what one event may allocate, once the window is full. Exact, so that
//! it can gate: allocations do not depend on the machine's mood.

use allocation_counter::measure;
use eddy_bench::rig::Rig;
use eddy_core::wire::kind;
use eddy_core::{Action, Notice};

/// Rounds until everything that grows has grown.
const WARM: u64 = 400;
/// Rounds that count: a minute.
const ROUNDS: u64 = 600;

/// What reports may allocate in that minute: the counters for the application
/// once a second, gossip every 5 s, the members to remember every 30 s. Each is a
/// box or a list of members.
const REPORTS: u64 = 100;

/// What was done at a wake, as far as it shows.
#[derive(Debug, Default)]
struct Shows {
    report: bool,
    maps: bool,
}

fn shows(actions: &[Action]) -> Shows {
    let mut shows = Shows::default();
    for action in actions {
        match action {
            Action::Notify(Notice::Stats(_) | Notice::Members(_)) => shows.report = true,
            Action::Send { head, .. } => {
                shows.report |= head.get(4) == Some(&kind::GOSSIP);
                shows.maps |= head.get(4) == Some(&kind::BUFFER_MAP);
            }
            _ => {}
        }
    }
    shows
}

#[test]
fn maps_and_timers_allocate_nothing_and_a_block_at_most_once() {
    let mut rig = Rig::new(4, 5 << 10);
    // Does the same and tells what; to watch would itself allocate.
    let mut twin = Rig::new(4, 5 << 10);
    let (mut blocks, mut reports, mut plain, mut with_maps) = (0, 0, 0, 0);
    for n in 0..WARM + ROUNDS {
        let (round, again) = (rig.round(), twin.round());
        let steady = u64::from(n >= WARM);
        for (now, event) in round.maps {
            let count = measure(|| rig.feed(now, event)).count_total;
            assert_eq!(steady * count, 0, "a map allocated in round {n}");
        }
        let (now, event) = round.block;
        blocks += steady * measure(|| rig.feed(now, event)).count_total;
        again.maps.into_iter().chain([again.block]).for_each(|(now, event)| twin.feed(now, event));
        for ((now, event), (_, same)) in round.wakes.into_iter().zip(again.wakes) {
            let count = steady * measure(|| rig.feed(now, event)).count_total;
            let shows = shows(&twin.actions(now, same));
            if shows.report {
                reports += count;
            } else {
                assert_eq!(count, 0, "a timer allocated in round {n}: {shows:?}");
                plain += steady;
                with_maps += steady * u64::from(shows.maps);
            }
        }
    }
    assert!(blocks <= ROUNDS, "{ROUNDS} blocks allocated {blocks} times");
    assert!(reports <= REPORTS, "reports allocated {reports} times");
    // Four reviews and twenty looks at the feeds a second cannot hide in the
    // wakes that report, which are one in ten; maps might.
    assert!(plain > ROUNDS, "only {plain} wakes without a report");
    assert!(with_maps > 0, "no maps in a wake without a report");
}
