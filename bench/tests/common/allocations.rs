//! EV3: what one event allocates, once the window is full.

use allocation_counter::measure;
use eddy_bench::rig::Rig;
use eddy_core::wire::kind;
use eddy_core::{Action, Notice};

/// Rounds until everything that grows has grown.
const WARM: u64 = 400;

/// Allocations by kind of event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allocations {
    /// Rounds that were counted, each of 8 maps, 1 block and 2 wakes.
    pub(crate) rounds: u64,
    /// Allocations while buffer maps came in.
    pub(crate) maps: u64,
    /// Allocations while blocks came in and went to the children.
    pub(crate) blocks: u64,
    /// Wakes that reported nothing to the application or to members.
    pub(crate) timers: u64,
    /// Of these, wakes that sent buffer maps.
    pub(crate) timers_with_maps: u64,
    /// Allocations at wakes that reported nothing.
    pub(crate) at_timers: u64,
    /// Allocations at wakes that reported: counters each second, gossip every
    /// 5 s, members to remember every 30 s. Each is a box or a list.
    pub(crate) at_reports: u64,
}

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

impl Allocations {
    /// Counts over so many rounds of a node with four children, blocks of `length` bytes.
    pub(crate) fn count(rounds: u64, length: usize) -> Self {
        let mut sum = Self { rounds, ..Self::default() };
        let mut rig = Rig::new(4, length);
        // Does the same and tells what; to watch would itself allocate.
        let mut twin = Rig::new(4, length);
        for n in 0..WARM + rounds {
            let (round, again) = (rig.round(), twin.round());
            let steady = u64::from(n >= WARM);
            let mut count = |(now, event)| steady * measure(|| rig.feed(now, event)).count_total;
            sum.maps += round.maps.into_iter().map(&mut count).sum::<u64>();
            sum.blocks += count(round.block);
            again.maps.into_iter().chain([again.block]).for_each(|(now, e)| twin.feed(now, e));
            for (wake, (now, same)) in round.wakes.into_iter().zip(again.wakes) {
                let allocated = count(wake);
                let shows = shows(&twin.actions(now, same));
                if shows.report {
                    sum.at_reports += allocated;
                } else {
                    sum.timers += steady;
                    sum.timers_with_maps += steady * u64::from(shows.maps);
                    sum.at_timers += allocated;
                }
            }
        }
        sum
    }
}
