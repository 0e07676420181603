//! Watching the past in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use bytes::Bytes;
use eddy_core::wire::frame::Incoming;
use eddy_core::wire::message::{Message, Purpose, Reason, TimeShiftRequest};
use eddy_core::{Command, LinkId, Phase, Position, Seq, Time};
use eddy_sim::NodeIx;
use eddy_sim::hand::words::{Ears, frame, hello};

use common::past::{Channels, SECOND, addr};
use common::{Log, closed, sender};

#[test]
fn what_went_by_is_played_from_other_viewers() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..8).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 70);
    let late = it.viewer(Position::Ago(SECOND * 60));
    it.run(SECOND * 50);
    let blocks = it.assert_whole(late, live[0]);
    assert!(blocks >= 48 * 25, "{blocks} blocks in 50 s");
    let stats = it.stats(late);
    assert!(stats.startup.unwrap() < SECOND * 3 / 2, "{:?}", stats.startup);
    assert_eq!((stats.shift.emergency, stats.shift.failed, stats.shift.lost), (0, 0, 0));
    assert!(stats.shift.peer >= blocks as u64, "{:?}", stats.shift);
    assert_eq!(it.stats(it.provider).past_sent, 0);
    assert_eq!(
        (stats.from_peers, stats.from_provider),
        (0, 0),
        "it takes no part in the live mesh"
    );
}

#[test]
fn the_past_plays_on_when_the_provider_is_gone() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..8).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 60);
    let late = it.viewer(Position::Ago(SECOND * 50));
    it.run(SECOND * 5);
    it.world.kill(it.provider);
    it.run(SECOND * 40);
    let blocks = it.assert_whole(late, live[0]);
    assert!(blocks >= 43 * 25, "{blocks} blocks in 45 s");
}

#[test]
fn a_moment_before_the_beginning_is_the_beginning() {
    let mut it = Channels::new();
    let live = it.viewer(Position::Live);
    it.run(SECOND * 30);
    let late = it.viewer(Position::Ago(SECOND * 3_600));
    it.run(SECOND * 15);
    let blocks = it.assert_whole(late, live);
    assert!(blocks >= 8 * 25, "{blocks} blocks in 15 s, {:?}", it.stats(late));
    assert_eq!(it.stats(late).lost, 0, "what was never made is not lost");
    // However long before: that costs no more.
    it.world.command(live, Command::Seek(Position::At(Time::from_secs(1))));
    it.run(SECOND * 10);
    let behind = it.stats(live).behind.unwrap();
    assert!(behind > SECOND * 40, "it is {behind:?} behind");
}

#[test]
fn a_pause_costs_nothing_however_long() {
    for pause in [5, 60] {
        let mut it = Channels::new();
        let live: Vec<NodeIx> = (0..6).map(|_| it.viewer(Position::Live)).collect();
        it.run(SECOND * 20);
        let before = it.handed(live[1]).len();
        it.world.command(live[1], Command::Pause);
        it.run(SECOND);
        let paused = it.handed(live[1]).len();
        assert!(paused <= before + 13, "it went on for {} blocks", paused - before);
        it.run(SECOND * pause);
        assert_eq!(it.handed(live[1]).len(), paused);
        it.world.command(live[1], Command::Play);
        it.run(SECOND * 20);
        let blocks = it.assert_whole(live[1], live[0]);
        assert!(blocks >= paused + 18 * 25, "{} blocks in 20 s", blocks - paused);
    }
}

#[test]
fn live_is_the_live_edge_within_a_second() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..6).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 40);
    let late = it.viewer(Position::Ago(SECOND * 30));
    it.run(SECOND * 5);
    for viewer in [late, live[1]] {
        let back = it.world.command(viewer, Command::Seek(Position::By(-20_000_000)));
        it.run(SECOND * 2);
        let old = it.handed(viewer).last().unwrap().0;
        let edge = it.handed(live[0]).last().unwrap().0;
        assert!(old.plus(15 * 25) < edge, "{old:?} is not long before {edge:?}");
        let forth = it.world.command(viewer, Command::Seek(Position::Live));
        it.run(SECOND);
        let (now, edge) =
            (it.handed(viewer).last().unwrap().0, it.handed(live[0]).last().unwrap().0);
        assert!(now.plus(25) >= edge, "{now:?} is not near {edge:?}");
        let open: Vec<_> = it.world.open_tickets(viewer).collect();
        assert!(!open.contains(&back) && !open.contains(&forth), "{open:?} never ended (C10)");
    }
}

#[test]
fn a_leap_takes_the_place_of_the_one_before() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..4).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 40);
    for ago in [30, 20, 10, 25, 15] {
        it.world.command(live[1], Command::Seek(Position::Ago(SECOND * ago)));
    }
    it.world.command(live[1], Command::Pause);
    it.world.command(live[1], Command::Play);
    it.world.command(it.provider, Command::Seek(Position::Live));
    it.run(SECOND * 5);
    assert_eq!(it.world.open_tickets(live[1]).count(), 0);
    let (first, last) =
        (it.handed(live[0]).last().unwrap().0, it.handed(live[1]).last().unwrap().0);
    assert!(
        last.plus(14 * 25) <= first && last.plus(17 * 25) >= first,
        "{last:?} beside {first:?}"
    );
    // What is in memory plays at once, and the viewer says so.
    assert_eq!(it.phase(live[1]), Phase::Playing);
}

#[test]
fn a_spoilt_disk_serves_nobody_and_costs_nobody() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..8).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 60);
    for ix in &live[..4] {
        it.world.disk_mut(*ix).unwrap().spoil();
    }
    let late = it.viewer(Position::Ago(SECOND * 50));
    it.run(SECOND * 30);
    let blocks = it.assert_whole(late, live[0]);
    assert!(blocks >= 28 * 25, "{blocks} blocks in 30 s");
    assert_eq!(it.stats(late).forged, 0);
}

#[test]
fn a_full_disk_keeps_nothing_and_harms_nothing() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..4).map(|_| it.viewer(Position::Live)).collect();
    it.world.disk_mut(live[0]).unwrap().room = 0;
    it.run(SECOND * 30);
    assert_eq!(it.stats(live[0]).files, 0);
    assert_eq!(it.stats(live[0]).lost, 0);
    assert!(it.stats(live[1]).files > 0);
}

#[test]
fn a_disk_that_fills_up_keeps_the_newest_files() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..4).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 20);
    // As much as the disk holds now, and no more.
    let held: Vec<_> = it.world.disk_mut(live[0]).unwrap().files().collect();
    it.world.disk_mut(live[0]).unwrap().room = held.iter().map(|(_, bytes)| bytes).sum();
    it.run(SECOND * 60);
    let kept: Vec<_> = it.world.disk_mut(live[0]).unwrap().files().collect();
    assert!(kept.len() >= 2, "{kept:?}");
    assert!(kept[0].0 > held.last().unwrap().0, "{kept:?} after {held:?}");
    assert_eq!(it.stats(live[0]).files as usize, kept.len());
    assert_eq!(it.stats(live[0]).lost, 0);
}

#[test]
fn slow_disks_and_disks_that_hang_make_nothing_late() {
    for hung in [false, true] {
        let mut it = Channels::new();
        let live: Vec<NodeIx> = (0..8).map(|_| it.viewer(Position::Live)).collect();
        for ix in &live[..4] {
            let disk = it.world.disk_mut(*ix).unwrap();
            (disk.hung, disk.access) = (hung, SECOND * 3);
        }
        it.run(SECOND * 70);
        let late = it.viewer(Position::Ago(SECOND * 60));
        it.run(SECOND * 40);
        let blocks = it.assert_whole(late, live[0]);
        let stats = it.stats(late);
        assert!(blocks >= 36 * 25, "{blocks} blocks in 40 s, {stats:?}");
        assert_eq!((stats.late, stats.lost), (0, 0), "hung: {hung}");
        for ix in live {
            assert_eq!(it.stats(ix).lost, 0);
        }
    }
}

/// The blocks of a file that only the provider's disk has by now.
fn old_file(it: &Channels) -> TimeShiftRequest {
    let edge = it.channel.seq_at(it.world.now());
    let first = edge.minus(50 * 25);
    TimeShiftRequest { first: first.minus(first.0 % 50), blocks: 10 }
}

/// Says this on a connection for the past of the channel, all at once; what it
/// heard.
fn asker(it: &mut Channels, to: NodeIx, words: &[Message]) -> Log {
    let log = Log::default();
    let first = hello(60, Purpose::TimeShift(it.channel.id()));
    let words: Vec<u8> =
        [&first].into_iter().chain(words).flat_map(|m| frame(m).to_vec()).collect();
    it.nodes += 1;
    let to = it.world.addr(to);
    it.world.add(addr(it.nodes), 0, None, sender(&log, to, vec![Bytes::from(words)]));
    log
}

/// The blocks and the refusals among what was heard.
fn answers(log: &Log) -> (Vec<Seq>, Vec<Reason>) {
    let (mut blocks, mut refusals) = (Vec::new(), Vec::new());
    for incoming in Ears::default().hear(LinkId(0), &log.received()) {
        match incoming {
            Incoming::Block(block) => blocks.push(block.seq()),
            Incoming::Message(Message::TimeShiftRefused(r)) => {
                refusals.push(r.reason);
            }
            _ => {}
        }
    }
    (blocks, refusals)
}

#[test]
fn who_changes_his_mind_while_the_disk_reads_gets_what_he_wants_then() {
    let mut it = Channels::new();
    it.run(SECOND * 70);
    let before = it.world.disk_mut(it.provider).unwrap().files().count();
    let wanted = old_file(&it);
    let other = TimeShiftRequest { first: wanted.first.plus(100), ..wanted };
    let words = [
        Message::TimeShiftRequest(wanted),
        Message::TimeShiftCancel,
        Message::TimeShiftRequest(other),
    ];
    let provider = it.provider;
    let log = asker(&mut it, provider, &words);
    it.run(SECOND * 2);
    let all: Vec<Seq> = (0..10).map(|n| other.first.plus(n)).collect();
    assert_eq!(answers(&log), (all, vec![]));
    let after = it.world.disk_mut(it.provider).unwrap().files().count();
    assert!(after >= before, "{} files are gone", before - after);
}

#[test]
fn a_disk_that_has_no_time_is_asked_again_and_one_that_never_has_is_believed() {
    let mut it = Channels::new();
    it.run(SECOND * 70);
    let wanted = old_file(&it);
    let words = [Message::TimeShiftRequest(wanted)];
    let provider = it.provider;
    let ask = |it: &mut Channels| {
        let log = asker(it, provider, &words);
        it.run(SECOND);
        answers(&log)
    };
    it.world.disk_mut(provider).unwrap().busy = 2;
    for _ in 0..2 {
        assert_eq!(ask(&mut it), (vec![], vec![Reason::Full]));
    }
    assert_eq!(ask(&mut it).0.len(), 10);
    it.world.disk_mut(provider).unwrap().busy = 3;
    let reasons: Vec<Reason> = (0..4).flat_map(|_| ask(&mut it).1).collect();
    assert_eq!(reasons, [Reason::Full, Reason::Full, Reason::NoSource, Reason::NoSource]);
    let disk = it.world.disk_mut(provider).unwrap();
    assert!(disk.files().all(|(file, _)| file.first(&it.channel) != wanted.first), "it is deleted");
}

#[test]
fn who_asks_for_nothing_any_more_holds_no_connection() {
    let mut it = Channels::new();
    it.run(SECOND * 5);
    let provider = it.provider;
    let log = asker(&mut it, provider, &[]);
    it.run(SECOND * 59);
    assert!(log.times(closed).is_empty());
    it.run(SECOND * 5);
    assert_eq!(log.times(closed).len(), 1);
    assert!(it.faults(provider).is_empty(), "that is no crime");
}

#[test]
fn a_channel_off_the_air_has_its_past_as_long_as_somebody_is_there() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..6).map(|_| it.viewer(Position::Live)).collect();
    it.run(SECOND * 50);
    it.world.kill(it.provider);
    it.run(SECOND * 40);
    let late = it.viewer(Position::Ago(SECOND * 40));
    it.run(SECOND * 20);
    let blocks = it.assert_whole(late, live[0]);
    assert!(blocks >= 18 * 25, "{blocks} blocks in 20 s");
    // Before the beginning is the beginning, though no provider says so.
    let early = it.viewer(Position::Ago(SECOND * 3_600));
    it.run(SECOND * 20);
    let blocks = it.assert_whole(early, live[0]);
    assert!(blocks >= 8 * 25, "{blocks} blocks in 20 s");
    it.world.command(early, Command::Leave);
    // Of the live viewers one has begun anew: it has files, and no stream.
    let keeper = it.restart(live[0]);
    it.run(SECOND * 5);
    for ix in live[1..].iter().chain([&late]) {
        it.world.command(*ix, Command::Leave);
    }
    it.run(SECOND * 5);
    let last = it.viewer(Position::Ago(SECOND * 120));
    it.run(SECOND * 20);
    let blocks = it.assert_whole(last, live[0]);
    assert!(blocks >= 16 * 25, "{blocks} blocks in 20 s");
    // Once all have gone there is nothing to join.
    for ix in [keeper, last] {
        it.world.command(ix, Command::Leave);
    }
    it.run(SECOND * 5);
    let nobody = it.viewer(Position::Ago(SECOND * 40));
    it.run(SECOND * 20);
    assert_eq!((it.handed(nobody).len(), it.world.open_tickets(nobody).count()), (0, 0));
}
