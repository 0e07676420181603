//! EV1 and EV3 of the performance study: what the core costs without sockets.
//! EV2, instruction counts, is `.ci/instructions`.

#[path = "../tests/common/allocations.rs"]
mod allocations;

use std::io;
use std::time::Duration;

use allocations::Allocations;
use eddy_bench::cpu::{cost, rate};
use eddy_bench::rig::Rig;
use eddy_bench::table::{self, Target, row};

/// Rounds of 8 maps, 1 block and 2 wakes in one measurement.
const ROUNDS: usize = 2_000;
/// Measurements, of which the cheapest counts.
const RUNS: usize = 9;
/// Payload of a block.
const LENGTH: usize = 5 << 10;

fn main() -> io::Result<()> {
    table::head();
    for children in [0, 1, 4] {
        ev1(children)?;
    }
    ev3();
    Ok(())
}

fn ev1(children: u32) -> io::Result<()> {
    let mut rig = Rig::new(children, LENGTH);
    let (mut least, mut events) = (Duration::MAX, 0);
    for _ in 0..RUNS {
        let mut all = Vec::new();
        for _ in 0..ROUNDS {
            let round = rig.round();
            all.extend(round.maps);
            all.push(round.block);
            all.extend(round.wakes);
        }
        events = all.len();
        let run = cost(|| all.into_iter().for_each(|(now, event)| rig.feed(now, event)))?;
        least = least.min(run);
    }
    let millions = rate(events as f64, least) / 1e6;
    let what = format!("8 maps : 1 block : 2 wakes, 8 partners, K = {children}, {LENGTH} B");
    row(
        "EV1",
        &what,
        &format!("{millions:.2} M events/CPU-s"),
        "—",
        millions,
        Target::AtLeast(1.0),
    );
    Ok(())
}

fn ev3() {
    let sum = Allocations::count(600, LENGTH);
    let reports = 2 * sum.rounds - sum.timers;
    for (what, allocated, events, target) in [
        ("allocations for a buffer map", sum.maps, 8 * sum.rounds, Target::AtMost(0.0)),
        ("allocations for a block and 4 sends", sum.blocks, sum.rounds, Target::AtMost(1.0)),
        ("allocations for a timer", sum.at_timers, sum.timers, Target::AtMost(0.0)),
        ("allocations for a report, once a second or less", sum.at_reports, reports, Target::None),
    ] {
        let each = allocated as f64 / events as f64;
        row("EV3", what, &format!("{each:.3}"), "—", each, target);
    }
}
