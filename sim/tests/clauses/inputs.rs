//! C11: nothing from the network makes a machine panic or work without end.

use std::collections::BTreeSet;

use eddy_core::config::Config;
use eddy_core::wire::check::Choices;
use eddy_core::{Action, Command, Event, LinkId, Machine, Output, Ticket};
use eddy_sim::START;
use eddy_sim::fuzz::befall;
use eddy_sim::hand::cast::{
    FIRST_VIEWER, a_provider, a_server_with_clients, a_viewer, a_viewer_with_partners, provider,
    server, viewer,
};

use super::for_any_bytes;
use super::replay::{Step, recorded};

#[test]
fn c11_nothing_that_befalls_a_provider_makes_it_panic() {
    for_any_bytes(2_048, |data| befall(&mut a_provider(), &mut Choices::new(&data)));
}

#[test]
fn c11_nothing_that_befalls_a_viewer_makes_it_panic() {
    for_any_bytes(2_048, |data| befall(&mut a_viewer(1), &mut Choices::new(&data)));
}

#[test]
fn c11_nothing_that_befalls_a_viewer_with_partners_makes_it_panic() {
    for_any_bytes(2_048, |data| befall(&mut a_viewer_with_partners(), &mut Choices::new(&data)));
}

#[test]
fn c11_nothing_that_befalls_a_server_makes_it_panic() {
    for_any_bytes(2_048, |data| befall(&mut a_server_with_clients(), &mut Choices::new(&data)));
}

#[test]
fn c11_spoilt_copies_of_real_traffic_never_make_a_node_panic() {
    let (tapes, since) = recorded();
    let config = Config::default();
    let [served, provided, last] = tapes.map(|t| t.borrow().clone());
    let host = FIRST_VIEWER + 3;
    for seed in 0..24_u64 {
        spoil(server(6, &config, START), &served, seed);
        spoil(provider(6, &config, None, START), &provided, seed);
        spoil(viewer(6, &config, host, since), &last, seed);
    }
}

/// Replays a tape with one byte in some of the pieces received changed.
fn spoil(mut machine: impl Machine, tape: &[Step], seed: u64) {
    let mut rng = eddy_core::rng::Rng::new([seed as u8; 32]);
    let mut over: BTreeSet<LinkId> = BTreeSet::new();
    for step in tape {
        let Step::In(now, event) = step else { continue };
        let mut event = event.clone();
        if let Event::Received { link, bytes } = &mut event {
            if over.contains(link) {
                continue;
            }
            if rng.below(40) == 0 && !bytes.is_empty() {
                let mut spoilt = bytes.to_vec();
                let at = rng.below(spoilt.len().min(40));
                spoilt[at] = rng.next_u64() as u8;
                *bytes = spoilt.into();
            }
        }
        machine.handle(*now, event);
        for polls in 0.. {
            assert!(polls < 100_000, "it does not come to rest");
            match machine.poll() {
                Output::Act(Action::Close { link, .. }) => drop(over.insert(link)),
                Output::Act(_) => {}
                Output::Wait(_) => break,
            }
        }
    }
    let ticket = Ticket(u64::MAX);
    machine.handle(START, Event::Command { ticket, command: Command::Leave });
}
