//! Connections: how they begin and end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use eddy_core::{Action, DialId, Event, LinkId};

use crate::board::Shared;
use crate::check::Check;
use crate::scene::{Act, Failed, Scene, Who};
use crate::script::{Ear, Out, pattern, send};

fn close(link: LinkId, flush: bool) -> Action {
    Action::Close { link, flush }
}

/// A peer at a plain socket, and the node's name for the link.
fn peer(scene: &mut Scene, who: Who, ear: &Ear) -> Act<(TcpStream, LinkId)> {
    let before = ear.opened().len();
    let peer = TcpStream::connect(scene.addr(who))
        .map_err(|e| scene.fail(Check::Unmet, format!("connecting to the driver: {e}")))?;
    scene.wait(Check::Unmet, "a connection from outside", || ear.opened().len() > before)?;
    Ok((peer, ear.opened()[before]))
}

pub(crate) fn every_dial_is_answered_once(scene: &mut Scene) -> Act {
    let ((a, at_a), (b, at_b)) = (scene.listener()?, scene.listener()?);
    let gone = scene.seat()?;
    scene.stop(gone);
    let dials = [scene.dial(gone), scene.dial(b), scene.dial(gone), scene.dial(b)];
    scene.act(a, dials)?;
    scene.wait(Check::DialLost, "an answer to each of four dials", || {
        let failed = at_a.count(|e| matches!(e, Event::DialFailed { .. }));
        failed == 2 && at_a.opened().len() == 2 && at_b.opened().len() == 2
    })
}

/// A listener whose queue is full answers no more.
fn deaf(scene: &Scene) -> Act<(TcpListener, Vec<TcpStream>, SocketAddr)> {
    const MOST: usize = 5_000;
    let fill = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let connect = || TcpStream::connect_timeout(&addr, Duration::from_millis(300));
        let queued: Vec<_> = (0..MOST).map_while(|_| connect().ok()).collect();
        io::Result::Ok((listener, queued, addr))
    };
    let deaf = fill().map_err(|e| scene.fail(Check::Unmet, format!("a full queue: {e}")))?;
    scene.ensure(Check::Unmet, deaf.1.len() < MOST, "the queue of a listener has no end")?;
    Ok(deaf)
}

pub(crate) fn a_dial_that_nobody_answers_delays_nobody(scene: &mut Scene) -> Act {
    let ((a, at_a), (b, _)) = (scene.listener()?, scene.listener()?);
    let (_listener, _queued, deaf) = deaf(scene)?;
    let dials = [(DialId(1), deaf), (DialId(2), scene.addr(b))];
    scene.act(a, dials.map(|(dial, to)| Action::Dial { dial, to }))?;
    let failed = Event::DialFailed { dial: DialId(1) };
    scene.wait(Check::DialLost, "an answer to each of two dials", || {
        at_a.has(&failed) && at_a.opened().len() == 1
    })?;
    let (dial, remote) = (Some(DialId(2)), scene.addr(b));
    let opened = Event::Opened { link: at_a.opened()[0], dial, remote };
    let what = "a dial waited for another one that nobody answered";
    scene.ensure(Check::Blocked, at_a.in_order(&opened, &failed), what)
}

pub(crate) fn hundreds_of_links_at_once(scene: &mut Scene) -> Act {
    const MANY: usize = 250;
    let name = |link: &LinkId| link.0.to_be_bytes();
    let echo = scene.script(|_, event, out| {
        if let Event::Received { link, bytes } = event {
            out.send(*link, bytes.to_vec());
        }
    })?;
    let answered = Shared::new(BTreeMap::<LinkId, Vec<u8>>::new());
    let answers = answered.clone();
    let caller = scene.script(move |_, event, out| match event {
        Event::Opened { link, .. } => out.send(*link, name(link).to_vec()),
        Event::Received { link, bytes } => {
            answers.lock().entry(*link).or_default().extend_from_slice(bytes);
        }
        // Only the scenario closes them.
        _ => {}
    })?;
    let dials: Vec<_> = (0..MANY).map(|_| scene.dial(echo)).collect();
    scene.act(caller, dials)?;
    scene.wait(Check::Bytes, "an echo on each of 250 links", || {
        let answers = answered.lock();
        answers.len() == MANY && answers.values().all(|bytes| bytes.len() == 8)
    })?;
    let answers = answered.lock().clone();
    let own = answers.iter().all(|(link, bytes)| *bytes == name(link));
    scene.ensure(Check::Bytes, own, "an echo came on another link")?;
    scene.act(caller, answers.keys().map(|link| close(*link, true)))
}

/// Sixty connections one after another, each greeted, answered and closed.
pub(crate) fn links_come_and_go_under_fresh_names(scene: &mut Scene) -> Act {
    const ROUNDS: usize = 60;
    let mut got = BTreeMap::<LinkId, usize>::new();
    let b = scene.script(move |_, event, out| {
        if let Event::Received { link, bytes } = event {
            let got = got.entry(*link).or_default();
            *got += bytes.len();
            if *got == 10 {
                out.send(*link, vec![7; 10]);
                out.close(*link, true);
            }
        }
    })?;
    let (addr, over) = (scene.addr(b), Shared::new((0, 0)));
    let count = over.clone();
    let a = scene.script(move |_, event, out| match event {
        Event::Command { .. } => out.dial(addr),
        Event::Opened { link, .. } => out.send(*link, vec![7; 10]),
        Event::Received { bytes, .. } => count.lock().1 += bytes.len(),
        Event::Closed { .. } => {
            count.lock().0 += 1;
            if count.lock().0 < ROUNDS {
                out.dial(addr);
            }
        }
        _ => {}
    })?;
    scene.act(a, [])?;
    scene.wait(Check::EndLost, "60 connections, one after another", || over.lock().0 == ROUNDS)?;
    let bytes = over.lock().1;
    scene.ensure(Check::Bytes, bytes == 10 * ROUNDS, format!("{bytes} bytes before the ends"))
}

pub(crate) fn a_flushing_close_delivers_everything(scene: &mut Scene) -> Act {
    const TOTAL: usize = 4 << 20;
    let ((a, at_a), (b, at_b)) = (scene.listener()?, scene.listener()?);
    let (ab, ba) = scene.connect((a, &at_a), (b, &at_b))?;
    let all = pattern(5, TOTAL);
    // Bytes on their way to the closing side must not reset the connection.
    scene.act(b, [send(ba, pattern(0, 100_000))])?;
    scene.act(a, [send(ab, all.clone()), close(ab, true)])?;
    scene.wait(Check::EndLost, "both ends of a closed link", || {
        at_a.closed(ab) && at_b.closed(ba)
    })?;
    let got = at_b.bytes(ba);
    let what = format!("{} of {TOTAL} bytes came before the end, or others", got.len());
    scene.ensure(Check::Bytes, got == all, what)
}

/// Nobody may hold a driver for ever: a flush has a time limit.
pub(crate) fn a_flushing_close_to_a_peer_that_does_not_read_ends(scene: &mut Scene) -> Act {
    let (node, ear) = scene.listener()?;
    let (_peer, link) = peer(scene, node, &ear)?;
    // More than all buffers take.
    scene.act(node, [send(link, vec![0; 32 << 20]), close(link, true)])?;
    scene.wait(Check::CloseLost, "the end of a flush that nobody takes", || ear.closed(link))
}

/// Whoever drops a socket with unread bytes resets it, and what the kernel still
/// had to send is lost.
pub(crate) fn last_words_reach_a_peer_that_goes_on_talking(scene: &mut Scene) -> Act {
    const TOTAL: usize = 12 << 20;
    let (node, ear) = scene.listener()?;
    let (mut peer, link) = peer(scene, node, &ear)?;
    let talker = peer.try_clone().and_then(|talker| {
        peer.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(talker)
    });
    let mut talker =
        talker.map_err(|e| scene.fail(Check::Unmet, format!("the peer cannot speak: {e}")))?;
    let talk = thread::spawn(move || while talker.write_all(&[1; 64 << 10]).is_ok() {});
    scene.act(node, [send(link, pattern(9, TOTAL)), close(link, true)])?;
    let (mut all, mut space) = (Vec::new(), vec![0; 256 << 10]);
    while let Ok(n @ 1..) = peer.read(&mut space) {
        all.extend_from_slice(&space[..n]);
        thread::sleep(Duration::from_millis(1));
    }
    drop((peer.shutdown(Shutdown::Both), talk.join()));
    let what = format!("{} of {TOTAL} bytes reached a peer that spoke meanwhile", all.len());
    scene.ensure(Check::Bytes, all == pattern(9, TOTAL), what)?;
    scene.wait(Check::CloseLost, "the answer to a close", || ear.closed(link))
}

pub(crate) fn a_close_without_a_flush_is_answered(scene: &mut Scene) -> Act {
    let ((a, at_a), (b, at_b)) = (scene.listener()?, scene.listener()?);
    let links = [(); 3].map(|()| scene.connect((a, &at_a), (b, &at_b)));
    let [Ok(flushed), Ok((ab, ba)), Ok(too)] = links else { return Err(Failed) };
    let reading = |on| [flushed.1, ba, too.1].map(|link| Action::SetRead { link, on });
    scene.act(b, reading(false))?;
    scene.settle()?;
    // More than all buffers take: a flush waits for long.
    let fill = |link| send(link, vec![0; 16 << 20]);
    let closes = [close(flushed.0, true), close(ab, false), close(too.0, true)];
    scene.act(a, [fill(flushed.0), fill(ab), fill(too.0)].into_iter().chain(closes))?;
    for link in [ab, flushed.0, too.0] {
        scene.wait(Check::CloseLost, "the answer to a close", || at_a.closed(link))?;
    }
    // In virtual time buffers take all, and nobody has to wait.
    let first = |link| at_a.in_order(&Event::Closed { link: ab }, &Event::Closed { link });
    let at_once = !scene.is_real() || [flushed.0, too.0].into_iter().all(first);
    scene.ensure(Check::LateClose, at_once, "a close without a flush waited like one with it")?;
    scene.act(b, reading(true))?;
    scene.wait(Check::EndLost, "the other end", || at_b.closed(ba))
}

/// Closes all its links at the first command.
fn leaver() -> impl FnMut(Option<&Ear>, &Event, &mut Out) {
    let mut open = BTreeSet::new();
    move |ear, event, out| {
        ear.into_iter().for_each(|ear| ear.hear(event));
        match event {
            Event::Opened { link, .. } => drop(open.insert(*link)),
            Event::Closed { link } => drop(open.remove(link)),
            Event::Command { .. } => {
                let all = std::mem::take(&mut open);
                all.into_iter().for_each(|link| out.close(link, link.0 % 2 == 0));
            }
            _ => {}
        }
    }
}

/// The judge sees to "once", and the end of the scene to "answered".
pub(crate) fn closes_that_cross_are_answered_once(scene: &mut Scene) -> Act {
    const MANY: usize = 30;
    let ear = Ear::default();
    let (notes, mut a_leaves, mut b_leaves) = (ear.clone(), leaver(), leaver());
    let b = scene.script(move |_, event, out| b_leaves(Some(&notes), event, out))?;
    let addr = scene.addr(b);
    let mut dialled = false;
    let a = scene.script(move |_, event, out| {
        if !std::mem::replace(&mut dialled, true) {
            (0..MANY).for_each(|_| out.dial(addr));
        } else {
            a_leaves(None, event, out);
        }
    })?;
    scene.act(a, [])?;
    scene.settle()?;
    scene.wait(Check::DialLost, "30 connections", || ear.opened().len() == MANY)?;
    scene.act(a, [])?;
    scene.act(b, [])?;
    scene.wait(Check::CloseLost, "30 ends", || {
        ear.count(|e| matches!(e, Event::Closed { .. })) == MANY
    })
}

/// The peer says that it will say no more, and still listens: that is an end.
pub(crate) fn the_end_of_a_peer_is_told_after_its_last_words(scene: &mut Scene) -> Act {
    let (node, ear) = scene.listener()?;
    let (mut peer, link) = peer(scene, node, &ear)?;
    let words = pattern(0, 100_000);
    let said = peer.write_all(&words).and_then(|()| peer.shutdown(Shutdown::Write));
    scene.ensure(Check::Unmet, said.is_ok(), format!("the peer cannot speak: {said:?}"))?;
    scene.wait(Check::EndLost, "the end of a peer that only listens", || ear.closed(link))?;
    scene.ensure(Check::Bytes, ear.bytes(link) == words, "its last words were not heard")
}

/// A peer that goes with bytes of ours unread resets the connection.
pub(crate) fn the_reset_of_a_peer_is_told(scene: &mut Scene) -> Act {
    let (node, ear) = scene.listener()?;
    let (peer, link) = peer(scene, node, &ear)?;
    scene.act(node, [send(link, vec![1; 1_000])])?;
    let arrived = peer.set_read_timeout(Some(Duration::from_secs(20)));
    let arrived = arrived.and_then(|()| peer.peek(&mut [0]));
    scene.ensure(
        Check::Bytes,
        arrived.is_ok(),
        format!("nothing came to the peer: {arrived:?}"),
    )?;
    drop(peer);
    scene.wait(Check::EndLost, "the reset of a connection", || ear.closed(link))
}

pub(crate) fn an_end_in_a_pause_is_told_after_it(scene: &mut Scene) -> Act {
    let (node, ear) = scene.listener()?;
    let (mut peer, link) = peer(scene, node, &ear)?;
    scene.act(node, [Action::SetRead { link, on: false }])?;
    scene.settle()?;
    let words = pattern(0, 50_000);
    let said = peer.write_all(&words);
    scene.ensure(Check::Unmet, said.is_ok(), format!("the peer cannot speak: {said:?}"))?;
    drop(peer);
    scene.pass(Duration::from_millis(100));
    scene.act(node, [Action::SetRead { link, on: true }])?;
    scene.wait(Check::EndLost, "an end that came in a pause", || ear.closed(link))?;
    scene.ensure(Check::Bytes, ear.bytes(link) == words, "the bytes before it were not heard")
}
