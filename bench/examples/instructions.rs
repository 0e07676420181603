//! EV2 of the performance study: runs rounds of the mix, and hands the events
//! of one class to the core through [`measured`], so that callgrind can count
//! these alone. `.ci/instructions` does, for two counts, and takes the
//! difference: what an event costs once everything is warm.
//!
//! Usage: `instructions map|block|timer|subscribe ROUNDS`

use std::process::ExitCode;

use eddy_bench::rig::{PARTNERS, Rig};
use eddy_core::{Event, Time};

/// Children: a block costs as many sends.
const CHILDREN: u32 = 4;
/// Payload of a block in bytes.
const LENGTH: usize = 5 << 10;
/// Rounds before the first that counts: the window fills in 300.
const WARM: u64 = 400;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Map,
    Block,
    Timer,
    Subscribe,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let class = match args.next().as_deref() {
        Some("map") => Class::Map,
        Some("block") => Class::Block,
        Some("timer") => Class::Timer,
        Some("subscribe") => Class::Subscribe,
        _ => return usage(),
    };
    let Some(rounds) = args.next().and_then(|n| n.parse::<u64>().ok()) else { return usage() };
    let mut rig = Rig::new(CHILDREN, LENGTH);
    for n in 0..WARM + rounds {
        let round = rig.round();
        let classes = [
            (Class::Map, round.maps),
            (Class::Subscribe, round.subscribe.into_iter().collect()),
            (Class::Block, vec![round.block]),
            (Class::Timer, round.wakes.into()),
        ];
        for (of, events) in classes {
            for (now, event) in events {
                if of == class && n >= WARM {
                    measured(&mut rig, now, event);
                } else {
                    rig.feed(now, event);
                }
            }
        }
    }
    // Events a round, for whoever divides.
    println!(
        "{}",
        match class {
            Class::Map => PARTNERS,
            Class::Timer => 2,
            Class::Block | Class::Subscribe => 1,
        }
    );
    ExitCode::SUCCESS
}

/// What callgrind counts.
#[inline(never)]
fn measured(rig: &mut Rig, now: Time, event: Event) {
    rig.feed(now, event);
}

fn usage() -> ExitCode {
    eprintln!("usage: instructions map|block|timer|subscribe ROUNDS");
    ExitCode::FAILURE
}
