//! EV1 and EV3 of the performance study: what the core costs without sockets.
//! EV2, instruction counts, is `.ci/instructions`.

use std::io;
use std::time::Duration;

use allocation_counter::measure;
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
    let mut rig = Rig::new(4, LENGTH);
    let (mut maps, mut blocks, mut wakes, mut rounds) = (0, 0, 0, 0);
    for n in 0..1_000 {
        let round = rig.round();
        let mut count = |(now, event)| measure(|| rig.feed(now, event)).count_total;
        let map: u64 = round.maps.into_iter().map(&mut count).sum();
        let block = count(round.block);
        let wake: u64 = round.wakes.into_iter().map(&mut count).sum();
        // The window has to fill before anything is in steady state.
        if n >= 400 {
            rounds += 1;
            maps += map;
            blocks += block;
            wakes += wake;
        }
    }
    let each = |sum: u64, events: u64| sum as f64 / events as f64;
    for (what, sum, events, limit) in [
        ("allocations for a buffer map", maps, 8 * rounds, 0.0),
        ("allocations for a block and 4 sends", blocks, rounds, 1.0),
        ("allocations for a wake, whatever is due", wakes, 2 * rounds, 0.0),
    ] {
        let ratio = each(sum, events);
        row("EV3", what, &format!("{ratio:.3}"), "—", ratio, Target::AtMost(limit));
    }
}
