//! Strangers: they say nonsense, nothing, too much, or do not listen.

use allocation_counter::measure;
use bytes::Bytes;
use eddy_core::config::{Config, LiveStrategy};
use eddy_core::wire::message::{Message, Purpose, Reason, Subscribe};
use eddy_core::{Action, DialId, Event, Fault, LinkId, Machine, SubStream, Time};
use eddy_sim::NodeIx;
use eddy_sim::hand::cast::{FIRST_VIEWER, PROVIDER, SERVER, channel};
use eddy_sim::hand::words::{Ears, frame, hello, message};

use super::common::swarm::Swarm;
use super::common::{Log, addr, closed, net, sender, starter};
use super::{FIRST_ATTACKER, LIVE, secs, six};

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

/// A partner that wants these each second and opens a block link, which it never
/// reads; it goes on saying that it is alive.
fn deaf(to: u8, id: u8, wants: fn(Time) -> Vec<Message>) -> Box<dyn Machine> {
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
                for message in wants(now) {
                    out.send(link, frame(&message));
                }
            }
        },
    )
}

/// All sub-streams.
fn everything(now: Time) -> Vec<Message> {
    let (from, window) = (channel().seq_at(now), secs(10));
    let subscribe = |sub| Message::Subscribe(Subscribe { sub, from, window });
    (0..8).map(SubStream).map(subscribe).collect()
}

/// The blocks of the last second.
fn last_second(now: Time) -> Vec<Message> {
    let newest = channel().seq_at(now);
    vec![Message::Pull((2..27).map(|n| newest.minus(n)).collect())]
}

#[test]
fn children_that_never_read_cost_the_others_nothing() {
    let (mut swarm, viewers) = six();
    for n in 0..4 {
        let host = FIRST_ATTACKER + n;
        swarm.add(host, deaf(PROVIDER, host, everything));
        swarm.add(host + 10, deaf(FIRST_VIEWER + n, host + 10, everything));
    }
    swarm.run(30_000);
    swarm.assert_intact(&viewers, LIVE);
}

#[test]
fn who_pulls_and_never_reads_costs_a_bounded_memory() {
    for live in [LiveStrategy::Push, LiveStrategy::Pull] {
        let mut swarm = Swarm::with(1, net(30), Config { live, ..Config::default() });
        swarm.add(FIRST_ATTACKER, deaf(PROVIDER, FIRST_ATTACKER, last_second));
        // The provider's window is full by then.
        swarm.run(150_000);
        let grown = measure(|| swarm.run(120_000)).bytes_current;
        assert!(grown < 64 << 10, "{live:?}: {grown} bytes more after two more minutes");
    }
}

/// Opens `n` connections at once and says nothing; again when they close.
fn flood(to: u8, n: u64) -> Box<dyn Machine> {
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
