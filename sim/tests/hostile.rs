//! Attackers, broken peers and bad luck among real nodes: none of them may
//! cost any other viewer a block, or anybody more than bounded memory.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::swarm::*;
use common::wire::*;
use common::*;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stream::block::packets;
use eddy_core::stream::map::Path;
use eddy_core::stream::sign::Signer;
use eddy_core::wire::message::{Member, Message, Purpose, Reason, Subscribe};
use eddy_core::{
    Action, BootstrapState, Command, Delivery, DialId, Event, Fault, Head, Join, LinkId, Notice,
    Phase, Seq, SubStream, Time, Warning,
};
use eddy_sim::{NodeIx, Observer};

/// Where attackers live.
const FIRST_ATTACKER: u8 = 200;

/// Viewers that nothing went wrong for play within this of the provider.
const LIVE: Duration = Duration::from_secs(3);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A channel with six viewers that have played for a while.
fn six() -> (Swarm, Vec<NodeIx>) {
    let mut swarm = Swarm::new(1);
    let viewers = swarm.viewers(6);
    swarm.run(5_000);
    (swarm, viewers)
}

/// Has each node of the channel called by a stranger who says this, and
/// nothing else; what each stranger heard.
fn strangers(swarm: &mut Swarm, bytes: &Bytes) -> Vec<Log> {
    let targets: Vec<NodeIx> = swarm.world.nodes().collect();
    let mut logs = Vec::new();
    for target in targets {
        let log = Log::default();
        let host = FIRST_ATTACKER + logs.len() as u8;
        let to = swarm.world.addr(target);
        swarm.add(host, sender(&log, to, vec![bytes.clone()]));
        logs.push(log);
    }
    logs
}

/// All strangers are cut off within the time for a handshake, and all nodes
/// say for which of these faults.
fn assert_cut_off(bytes: impl Into<Bytes>, faults: &[Fault]) {
    let (mut swarm, viewers) = six();
    let logs = strangers(&mut swarm, &bytes.into());
    swarm.run(8_000);
    for (n, log) in logs.iter().enumerate() {
        assert_eq!(log.times(closed).len(), 1, "stranger {n} is still connected");
    }
    for node in [swarm.server, swarm.provider].iter().chain(&viewers) {
        let told = swarm.view(*node).faults();
        assert!(!told.is_empty(), "{node:?} says nothing of it");
        assert!(told.iter().all(|f| faults.contains(f)), "{node:?}: {told:?}");
    }
    swarm.assert_intact(&viewers, LIVE);
}

fn control() -> Purpose {
    Purpose::Control(channel().id())
}

#[test]
fn garbage_is_cut_off() {
    assert_cut_off(&b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..], &[Fault::Oversized]);
    assert_cut_off(vec![0; 4_096], &[Fault::Garbage]);
    let mut hello = frame(&hello(60, control())).to_vec();
    hello[5..9].copy_from_slice(b"YDDE");
    assert_cut_off(hello, &[Fault::Garbage]);
}

#[test]
fn oversized_frames_are_cut_off() {
    let huge = |kind: u8| {
        let mut bytes = (1_u32 << 30).to_be_bytes().to_vec();
        bytes.push(kind);
        bytes
    };
    assert_cut_off(huge(0x10), &[Fault::Oversized]);
    // A block before any hello.
    assert_cut_off(huge(0x40), &[Fault::Garbage, Fault::Oversized, Fault::Unexpected]);
}

#[test]
fn truncated_frames_are_cut_off() {
    let whole = frame(&hello(60, control()));
    assert_cut_off(whole.slice(..whole.len() - 1), &[Fault::Slow]);
    assert_cut_off(whole.slice(..3), &[Fault::Slow]);
}

#[test]
fn an_unknown_version_is_refused_with_a_message_that_says_so() {
    let (mut swarm, viewers) = six();
    let mut spoken = frame(&hello(60, control())).to_vec();
    assert_eq!((&spoken[5..9], spoken[9]), (&b"EDDY"[..], 1), "the hello's layout");
    spoken[9] = 9;
    let logs = strangers(&mut swarm, &spoken.into());
    swarm.run(2_000);
    for log in logs {
        assert_eq!(log.times(closed).len(), 1);
        match message(&log.received()) {
            Some(Message::Refuse(r)) => assert_eq!((r.reason, r.version), (Reason::Version, 1)),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
    assert!(swarm.view(swarm.provider).faults().contains(&Fault::Version(9)));
    assert!(swarm.view(swarm.server).faults().contains(&Fault::Version(9)));
    swarm.assert_intact(&viewers, LIVE);
}

#[test]
fn an_unknown_message_is_skipped() {
    let (mut swarm, viewers) = six();
    let log = Log::default();
    let strange = Bytes::from_static(&[0, 0, 0, 4, 0x7f, 1, 2, 3]);
    let words = vec![frame(&hello(60, control())), strange, frame(&Message::Ping(77))];
    swarm.add(FIRST_ATTACKER, sender(&log, addr(PROVIDER), words));
    swarm.run(1_000);
    let link = LinkId(0);
    let heard = Ears::default().messages(link, &log.received());
    assert!(heard.contains(&Message::Pong(77)), "{heard:?}");
    swarm.assert_intact(&viewers, LIVE);
}

#[test]
fn a_peer_that_sends_a_byte_a_second_is_cut_off() {
    let (mut swarm, viewers) = six();
    let log = Log::default();
    for (n, to) in [PROVIDER, SERVER, FIRST_VIEWER].into_iter().enumerate() {
        let (log, words) = (log.clone(), frame(&hello(60, control())));
        let mut at = None;
        let mut next = 0;
        let machine = starter(
            |out| out.dial(addr(to)),
            move |now, event, out| {
                log.note(now, event);
                match event {
                    Event::Opened { link, .. } => at = Some(*link),
                    Event::Closed { .. } => at = None,
                    _ => {}
                }
                if let Some(link) = at.filter(|_| out.wake.is_none()) {
                    out.send(link, words.slice(next..next + 1));
                    next += 1;
                    out.wake = Some(now + secs(1));
                }
            },
        );
        swarm.add(FIRST_ATTACKER + n as u8, machine);
    }
    swarm.run(10_000);
    assert_eq!(log.times(closed).len(), 3, "all three are cut off");
    swarm.assert_intact(&viewers, LIVE);
}

/// A partner that subscribes to everything and opens a block link, which it
/// never reads; it goes on saying that it is alive.
fn deaf(to: u8, id: u8) -> Box<dyn eddy_core::Machine> {
    let mut ears = Ears::default();
    let (mut talk, mut token) = (None, None);
    starter(
        move |out| out.dial(addr(to)),
        move |now, event, out| {
            match event {
                Event::Opened { link, dial: Some(DialId(0)), .. } if talk.is_none() => {
                    talk = Some(*link);
                    out.send(*link, frame(&hello(id, control())));
                    out.wake = Some(now + secs(1));
                }
                Event::Opened { link, dial: Some(_), .. } => {
                    let token = token.expect("dialled with a token");
                    out.send(*link, frame(&hello(id, Purpose::Block(token))));
                    out.read(*link, false);
                }
                Event::Received { link, bytes } => {
                    for message in ears.messages(*link, bytes) {
                        if let Message::BlockLink(new) = message
                            && token.is_none()
                        {
                            token = Some(new);
                            out.dial(addr(to));
                        }
                    }
                }
                _ => {}
            }
            if let Some(link) = talk.filter(|_| out.wake.is_none_or(|t| t <= now)) {
                out.wake = Some(now + secs(1));
                for sub in (0..8).map(SubStream) {
                    let (from, window) = (channel().seq_at(now), secs(10));
                    out.send(link, frame(&Message::Subscribe(Subscribe { sub, from, window })));
                }
            }
        },
    )
}

#[test]
fn children_that_never_read_cost_the_others_nothing() {
    let (mut swarm, viewers) = six();
    for n in 0..4 {
        let host = FIRST_ATTACKER + n;
        swarm.add(host, deaf(PROVIDER, host));
        swarm.add(host + 10, deaf(FIRST_VIEWER + n, host + 10));
    }
    swarm.run(30_000);
    swarm.assert_intact(&viewers, LIVE);
}

/// Uplinks of the provider in bytes per second. The stream takes 68,000: the
/// narrow one feeds five viewers, the narrowest three.
const WIDE: u64 = 1_250_000;
const NARROW: u64 = 330_000;
const NARROWEST: u64 = 210_000;

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

fn altered(action: Action, at: usize) -> Vec<Action> {
    match action {
        Action::Send { link, body, .. } => {
            let mut bytes = body.to_vec();
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1;
            vec![Action::Send { link, head: Head::new(), body: bytes.into() }]
        }
        other => vec![other],
    }
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

/// Says of itself that it is the provider and holds everything up to `ahead`
/// blocks beyond what it holds.
fn boast(action: &Action, ahead: u64) -> Option<Vec<Action>> {
    let Some(Message::BufferMap(mut map)) = said(action) else { return None };
    for (j, entry) in (0..).zip(map.entries.iter_mut()) {
        let newest = entry.newest.unwrap_or(Seq(1 << 36));
        entry.newest = Some(newest.plus(ahead).minus(8).align(SubStream(j), 8));
    }
    map.paths = map.entries.iter().map(|_| Path { hops: 0, delay: 0 }).collect();
    Some(instead(action, &Message::BufferMap(map)))
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

/// Opens `n` connections at once and says nothing; again when they close.
fn flood(to: u8, n: u64) -> Box<dyn eddy_core::Machine> {
    let dial = move |id| Action::Dial { dial: DialId(id), to: addr(to) };
    let mut next = n;
    starter(
        move |out| (0..n).for_each(|id| out.act(dial(id))),
        move |_, event, out| {
            if matches!(event, Event::Closed { .. } | Event::DialFailed { .. }) && next < 4 * n {
                out.act(dial(next));
                next += 1;
            }
        },
    )
}

#[test]
fn a_flood_of_connections_from_one_address_shuts_nobody_out() {
    let (mut swarm, mut viewers) = six();
    for (n, to) in [PROVIDER, SERVER, FIRST_VIEWER].into_iter().enumerate() {
        swarm.add(FIRST_ATTACKER + n as u8, flood(to, 600));
    }
    swarm.run(2_000);
    let links = swarm.world.links(swarm.provider).count();
    assert!(links <= Config::default().max_links, "{links} links");
    viewers.push(swarm.viewer());
    swarm.run(10_000);
    swarm.assert_intact(&viewers, LIVE);
}

#[test]
fn a_flood_of_connections_from_everywhere_costs_no_viewer_a_block() {
    let (mut swarm, mut viewers) = six();
    for n in 0..4 {
        swarm.add(FIRST_ATTACKER + n, flood(PROVIDER, 300));
        swarm.add(FIRST_ATTACKER + 10 + n, flood(SERVER, 300));
    }
    swarm.run(15_000);
    let links = swarm.view(swarm.provider).stats.links as usize;
    assert!(links <= Config::default().max_links, "{links} links");
    swarm.assert_intact(&viewers, LIVE);
    // The flood has run dry: there is room again.
    swarm.run(20_000);
    viewers.push(swarm.viewer());
    swarm.run(10_000);
    swarm.assert_intact(&viewers, LIVE);
}

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
    let machine = bootstrap(7, &swarm.config, swarm.world.now());
    swarm.server = swarm.add(SERVER, machine);
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
    let machine = bootstrap(1, &swarm.config, swarm.world.now());
    swarm.server = swarm.add(SERVER, machine);
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
    swarm.provider = swarm.add(PROVIDER, machine);
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
