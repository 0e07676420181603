//! Nodes of the channel that lie: in what they relay, and in what they promise.

use std::cell::RefCell;
use std::rc::Rc;

use eddy_core::node::Node;
use eddy_core::stream::map::Path;
use eddy_core::wire::message::{Member, Message};
use eddy_core::{Action, Command, Fault, Join, Seq, SubStream, Time};
use eddy_sim::NodeIx;
use eddy_sim::hand::bent::{altered, bent, boast, instead, is_block, said};
use eddy_sim::hand::cast::{channel, join, viewer};

use super::common::addr;
use super::common::swarm::Swarm;
use super::{FIRST_ATTACKER, NARROW, NARROWEST, WIDE, secs};

/// Two nodes that lie, and then eight honest viewers.
fn liars(bend: impl Fn(Time, Action) -> Vec<Action> + Clone + 'static) -> (Swarm, Vec<NodeIx>) {
    liars_behind(WIDE, bend)
}

fn liars_behind(
    uplink: u64,
    bend: impl Fn(Time, Action) -> Vec<Action> + Clone + 'static,
) -> (Swarm, Vec<NodeIx>) {
    let mut swarm = Swarm::new(2);
    swarm.world.set_uplink(swarm.provider, Some(uplink));
    let start = swarm.world.now();
    let disguise = |node: Node| bent(node, start, bend.clone());
    swarm.disguised(disguise);
    swarm.disguised(disguise);
    swarm.run(2_000);
    let viewers = swarm.viewers(8);
    swarm.run(40_000);
    swarm.assert_intact(&viewers, secs(8));
    (swarm, viewers)
}

#[test]
fn without_liars_two_early_nodes_and_a_narrow_provider_are_enough() {
    let (swarm, viewers) = liars_behind(NARROWEST, |_, action| vec![action]);
    let relayed: u64 = viewers.iter().map(|v| swarm.view(*v).stats.from_peers).sum();
    assert!(relayed > 0, "viewers feed each other");
}

/// How often the viewers found one of these.
fn found(swarm: &Swarm, viewers: &[NodeIx], fault: Fault) -> usize {
    viewers.iter().flat_map(|v| swarm.view(*v).faults()).filter(|f| *f == fault).count()
}

#[test]
fn a_relay_that_alters_payloads_is_found_out_and_left() {
    let (swarm, viewers) =
        liars(|_, action| if is_block(&action) { altered(action, 200) } else { vec![action] });
    assert!(found(&swarm, &viewers, Fault::Forged) > 0, "nobody ever got an altered block");
}

#[test]
fn a_relay_that_alters_signatures_is_found_out_and_left() {
    let (swarm, viewers) =
        liars(|_, action| if is_block(&action) { altered(action, 20) } else { vec![action] });
    assert!(found(&swarm, &viewers, Fault::Forged) > 0, "nobody ever got a forged block");
}

#[test]
fn a_relay_that_alters_a_few_blocks_costs_only_these() {
    let count = Rc::new(RefCell::new(0_u32));
    let (swarm, viewers) = liars(move |_, action| {
        *count.borrow_mut() += u32::from(is_block(&action));
        let bad = is_block(&action) && count.borrow().is_multiple_of(50);
        if bad { altered(action, 200) } else { vec![action] }
    });
    assert!(found(&swarm, &viewers, Fault::Forged) > 0, "nobody ever got an altered block");
}

#[test]
fn altered_blocks_behind_a_narrow_provider_starve_nobody() {
    let (swarm, viewers) =
        liars_behind(
            NARROW,
            |_, action| {
                if is_block(&action) { altered(action, 200) } else { vec![action] }
            },
        );
    assert!(found(&swarm, &viewers, Fault::Forged) > 0, "nobody ever got an altered block");
}

#[test]
fn a_map_that_promises_everything_by_a_node_that_sends_nothing() {
    for ahead in [25, 500, u64::MAX] {
        liars(move |_, action| match boast(&action, ahead) {
            Some(lie) => lie,
            None if is_block(&action) => vec![],
            None => vec![action],
        });
    }
}

#[test]
fn a_map_that_promises_everything_by_a_node_that_says_dont_have() {
    for ahead in [25, 500, u64::MAX] {
        liars(move |_, action| boast(&action, ahead).unwrap_or_else(|| vec![action]));
    }
}

#[test]
fn a_node_that_takes_subscriptions_and_sends_nothing() {
    liars(|_, action| if is_block(&action) { vec![] } else { vec![action] });
}

#[test]
fn a_node_that_says_its_window_begins_at_the_end_of_time() {
    liars(|_, action| match said(&action) {
        Some(Message::BufferMap(mut map)) => {
            map.start = Seq(u64::MAX - 9);
            for (j, entry) in (0..).zip(map.entries.iter_mut()) {
                entry.newest = Some(Seq(u64::MAX - 20).align(SubStream(j), 8));
            }
            map.paths = map.entries.iter().map(|_| Path { hops: 0, delay: 0 }).collect();
            instead(&action, &Message::BufferMap(map))
        }
        _ => vec![action],
    });
}

#[test]
fn a_liar_as_first_acquaintance_does_not_keep_a_viewer_out() {
    // It is the only member that the newcomer knows at first.
    let mut swarm = Swarm::new(3);
    let start = swarm.world.now();
    let host = FIRST_ATTACKER;
    let node = viewer(3, &swarm.config, host, start);
    let member =
        Member { node: node.id(), addr: addr(host), connectable: true, provider: true, age: 0 };
    let machine =
        bent(node, start, |_, action| boast(&action, u64::MAX).unwrap_or_else(|| vec![action]));
    let liar = swarm.add(host, machine);
    swarm.join(liar);
    swarm.run(3_000);
    let newcomer = swarm.idle();
    let join = Join { known: Some((channel(), vec![member])), ..join() };
    swarm.world.command(newcomer, Command::Join(Box::new(join)));
    swarm.run(20_000);
    let v = swarm.view(newcomer);
    let started = v.stats.startup;
    assert!(started.is_some_and(|t| t < secs(10)), "the liar kept it out for {started:?}");
    assert!(swarm.world.now().since(v.last) < secs(1), "{v:?}");
    let before = v.stats.lost;
    swarm.run(10_000);
    assert_eq!(swarm.view(newcomer).stats.lost, before, "it loses no more");
}
