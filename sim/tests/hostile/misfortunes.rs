//! Bad luck: the encoder, the server, the provider or parents go away.

use std::time::Duration;

use bytes::Bytes;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stream::block::packets;
use eddy_core::stream::sign::Signer;
use eddy_core::wire::message::Member;
use eddy_core::{BootstrapState, Command, Delivery, Join, Notice, Phase, Seq, Time, Warning};
use eddy_sim::hand::cast::{
    PROVIDER, SERVER, at_host, channel, channel_of, join, provider, server, viewer,
};
use eddy_sim::{NodeIx, Observer};

use super::common::swarm::Swarm;
use super::common::{addr, ms, net};
use super::{FIRST_ATTACKER, LIVE, NARROW, WIDE, secs, six};

// The provider's input.

#[test]
fn an_input_that_stops_and_comes_back_is_told_and_is_no_gap() {
    let (mut swarm, viewers) = six();
    swarm.on_air = false;
    swarm.run(5_000);
    let silent = |n: &Notice| matches!(n, Notice::Warning(Warning::InputSilent { silent }) if *silent >= secs(2));
    let warned = swarm.view(swarm.provider).notices.iter().filter(|(_, n)| silent(n)).count();
    assert_eq!(warned, 1, "told once");
    swarm.on_air = true;
    swarm.run(5_000);
    assert!(swarm.view(swarm.provider).has(|n| *n == Notice::Warning(Warning::InputBack)));
    swarm.assert_intact(&viewers, LIVE);
}

/// Gathers what one viewer hands over.
struct Player(NodeIx, Vec<Bytes>);

impl Observer for Player {
    fn delivered(&mut self, _now: Time, node: NodeIx, delivery: &Delivery) {
        if node == self.0 {
            self.1.extend(packets(&delivery.payload).map(|p| p.payload));
        }
    }
}

#[test]
fn packets_of_any_content_and_size_arrive_as_they_were() {
    let (mut swarm, viewers) = six();
    swarm.on_air = false;
    swarm.run(3_000);
    let mut player = Player(viewers[0], Vec::new());
    let sent: Vec<Bytes> = [0, 1, 187, 189, 1_500, 9_000, 65_507]
        .into_iter()
        .map(|size| (0..size).map(|n: usize| (n * n) as u8).collect::<Vec<_>>().into())
        .collect();
    for packet in &sent {
        swarm.world.command(swarm.provider, Command::Publish(packet.clone()));
        let next = swarm.world.now() + ms(30);
        swarm.world.run_until(next, &mut player);
    }
    let end = swarm.world.now() + secs(5);
    swarm.world.run_until(end, &mut player);
    assert_eq!(player.1, sent);
}

// The bootstrap server.

fn retries(swarm: &Swarm, node: NodeIx) -> Vec<Duration> {
    let lost = |(_, n): &(Time, Notice)| match n {
        Notice::Bootstrap(BootstrapState::Lost { retry_in }) => Some(*retry_in),
        _ => None,
    };
    swarm.view(node).notices.iter().filter_map(lost).collect()
}

fn reached(swarm: &Swarm, node: NodeIx) -> bool {
    let is = |n: &Notice| matches!(n, Notice::Bootstrap(BootstrapState::Reached { .. }));
    swarm.view(node).has(is)
}

#[test]
fn a_server_that_is_away_at_the_start_is_waited_for() {
    let mut swarm = Swarm::dark(7, net(30), Config::default());
    swarm.run(1_000);
    let viewers = swarm.viewers(3);
    swarm.run(20_000);
    for node in viewers.iter().chain([&swarm.provider]) {
        let waits = retries(&swarm, *node);
        assert!(waits.len() >= 3 && waits.len() < 20, "{waits:?}");
        assert!(waits[2] > waits[0] * 2, "it backs off: {waits:?}");
        assert!(!reached(&swarm, *node));
    }
    let machine = server(7, &swarm.config, swarm.world.now());
    swarm.server = swarm.add(SERVER, Box::new(machine));
    swarm.run(60_000);
    for &v in &viewers {
        let ended =
            swarm.view(v).notices.into_iter().filter(|(_, n)| matches!(n, Notice::Ended { .. }));
        assert_eq!(ended.count(), 0, "nobody is refused what is only not registered yet");
    }
    for node in viewers.iter().chain([&swarm.provider]) {
        assert!(reached(&swarm, *node), "{node:?}: {:?}", swarm.view(*node).notices);
    }
    swarm.assert_intact(&viewers, LIVE);
}

#[test]
fn viewers_play_on_while_the_server_is_away() {
    let (mut swarm, mut viewers) = six();
    swarm.world.kill(swarm.server);
    swarm.run(40_000);
    swarm.assert_intact(&viewers, LIVE);
    for node in viewers.iter().chain([&swarm.provider]) {
        let waits = retries(&swarm, *node);
        assert!(waits.len() >= 2 && waits.len() < 20, "{node:?}: {waits:?}");
        assert!(waits.last() > waits.first(), "it backs off: {waits:?}");
        assert_eq!(swarm.phase(*node).unwrap_or(Phase::Playing), Phase::Playing);
    }
    let machine = server(1, &swarm.config, swarm.world.now());
    swarm.server = swarm.add(SERVER, Box::new(machine));
    swarm.run(90_000);
    for node in viewers.iter().chain([&swarm.provider]) {
        let last = swarm.view(*node).notices.iter().rev().find_map(|(_, n)| match n {
            Notice::Bootstrap(state) => Some(*state),
            _ => None,
        });
        assert!(matches!(last, Some(BootstrapState::Reached { .. })), "{node:?}: {last:?}");
    }
    viewers.push(swarm.viewer());
    swarm.run(10_000);
    swarm.assert_intact(&viewers, LIVE);
}

#[test]
fn a_name_stays_with_its_key() {
    let (mut swarm, mut viewers) = six();
    let thief = Signer::from_secret(&[8; 32]);
    let stolen = channel_of("live", &thief);
    let now = swarm.world.now();
    let config = at_host(&swarm.config, FIRST_ATTACKER);
    let node =
        Node::provider(config, stolen, thief, vec![addr(SERVER)], None, [3; 32], now).unwrap();
    let thief = swarm.add(FIRST_ATTACKER, Box::new(node));
    swarm.run(2_000);
    assert!(swarm.view(thief).has(|n| matches!(n, Notice::NameTaken(_))));
    // Who joins without a key still gets the first one's channel.
    let trusting = swarm.idle();
    let join = Join { key: None, ..join() };
    swarm.world.command(trusting, Command::Join(Box::new(join)));
    viewers.push(trusting);
    swarm.run(5_000);
    swarm.assert_intact(&viewers, LIVE);
}

// Nodes that go, and come back.

/// The provider goes away for 3 s; it comes back with its clock moved.
fn restart(clock: i64) -> (Swarm, Vec<NodeIx>, Seq) {
    let (mut swarm, viewers) = six();
    // What lies in an open slot dies with the provider.
    swarm.on_air = false;
    swarm.run(200);
    let above = channel().seq_at(swarm.world.now());
    swarm.world.kill(swarm.provider);
    swarm.run(3_000);
    let now = swarm.world.now().offset(clock);
    let machine = provider(77, &swarm.config, Some(above), now);
    swarm.provider = swarm.add(PROVIDER, Box::new(machine));
    swarm.world.set_clock(swarm.provider, clock, 0);
    swarm.on_air = true;
    swarm.run(40_000);
    (swarm, viewers, above)
}

#[test]
fn viewers_play_on_after_the_provider_restarts() {
    let (swarm, viewers, above) = restart(0);
    for &ix in &viewers {
        let v = swarm.view(ix);
        assert!(v.wrong.is_none(), "{v:?}");
        assert!(v.next.is_some_and(|next| next > above.plus(500)), "{v:?}");
        assert!(swarm.world.now().since(v.last) < secs(1), "{v:?}");
        // 3 s were never made: 75 blocks.
        assert!(v.gaps <= 80, "{} blocks left out", v.gaps);
    }
}

#[test]
fn numbers_go_on_above_the_last_although_the_providers_clock_went_back() {
    let (swarm, viewers, above) = restart(-3_600_000_000);
    for &ix in &viewers {
        let v = swarm.view(ix);
        assert!(v.wrong.is_none(), "{v:?}");
        let next = v.next.unwrap();
        assert!(next > above.plus(500), "{v:?}");
        assert!(next < above.plus(25 * 60), "they do not jump");
        assert!(swarm.world.now().since(v.last) < secs(1), "{v:?}");
        assert!(v.gaps <= 5, "{} blocks left out", v.gaps);
    }
}

#[test]
fn of_two_control_links_that_cross_one_survives() {
    let mut swarm = Swarm::with(8, net(200), Config::default());
    let now = swarm.world.now();
    let hosts = [100, 101];
    let nodes = hosts.map(|host| viewer(8, &swarm.config, host, now));
    let member = |node: &Node, host| Member {
        node: node.id(),
        addr: addr(host),
        connectable: true,
        provider: false,
        age: 0,
    };
    let known: Vec<Member> = nodes.iter().zip(hosts).map(|(n, h)| member(n, h)).collect();
    let viewers: Vec<NodeIx> =
        nodes.into_iter().zip(hosts).map(|(n, h)| swarm.add(h, Box::new(n))).collect();
    for &v in &viewers {
        let join = Join { known: Some((channel(), known.clone())), ..join() };
        swarm.world.command(v, Command::Join(Box::new(join)));
    }
    swarm.run(5_000);
    for _ in 0..5 {
        for (&a, &b) in viewers.iter().zip(viewers.iter().rev()) {
            assert_eq!(swarm.view(a).stats.partners, 2, "the provider and the other viewer");
            let between = swarm.world.links(a).filter(|(_, n)| *n == b).count();
            assert!((1..=3).contains(&between), "{between} links: one control, two for blocks");
        }
        // Both lose all links at once and dial anew.
        let links: Vec<_> = swarm.world.links(viewers[0]).collect();
        for (link, _) in links {
            swarm.world.reset(viewers[0], link);
        }
        swarm.run(5_000);
    }
    swarm.assert_intact(&viewers, LIVE);
}

/// Ten viewers that feed each other; the first three were there first.
fn mesh(seed: u64, uplink: u64) -> (Swarm, Vec<NodeIx>) {
    let mut swarm = Swarm::new(seed);
    swarm.world.set_uplink(swarm.provider, Some(uplink));
    let mut viewers = swarm.viewers(3);
    swarm.run(3_000);
    viewers.extend(swarm.viewers(7));
    swarm.run(10_000);
    let children: u32 = viewers[..3].iter().map(|v| swarm.view(*v).stats.children).sum();
    assert!(children > 0, "nobody depends on the first three");
    (swarm, viewers)
}

/// Something happens to the three oldest of ten viewers: the others lose
/// nothing and are near the live edge again after half a minute.
fn assert_survives(uplink: u64, blow: impl Fn(&mut Swarm, NodeIx)) -> (Swarm, Vec<NodeIx>) {
    let (mut swarm, viewers) = mesh(11, uplink);
    for &v in &viewers[..3] {
        blow(&mut swarm, v);
    }
    swarm.run(30_000);
    swarm.assert_intact(&viewers[3..], secs(8));
    (swarm, viewers)
}

#[test]
fn parents_that_are_killed_cost_their_children_nothing() {
    assert_survives(WIDE, |swarm, v| swarm.world.kill(v));
}

#[test]
fn parents_that_crash_silently_cost_their_children_nothing() {
    assert_survives(WIDE, |swarm, v| swarm.world.crash(v));
}

#[test]
fn parents_that_freeze_for_ten_seconds_cost_nobody_anything() {
    let (swarm, viewers) = assert_survives(WIDE, |swarm, v| swarm.world.freeze(v, secs(10)));
    // The frozen had to wait, but `give_up` is longer than they slept.
    swarm.assert_intact(&viewers[..3], secs(15));
}

#[test]
fn killed_parents_behind_a_narrow_provider_starve_nobody() {
    assert_survives(NARROW, |swarm, v| swarm.world.kill(v));
}

#[test]
fn crashed_parents_behind_a_narrow_provider_starve_nobody() {
    assert_survives(NARROW, |swarm, v| swarm.world.crash(v));
}

#[test]
fn frozen_parents_behind_a_narrow_provider_starve_nobody() {
    assert_survives(NARROW, |swarm, v| swarm.world.freeze(v, secs(10)));
}
