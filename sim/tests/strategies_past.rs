//! Strategies of the past side by side: each does what its paper says.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use eddy_core::Position;
use eddy_core::cache::{CacheConfig, Strategy};
use eddy_core::config::{Config, ShiftStrategy};
use eddy_sim::NodeIx;

use common::past::{Channels, SECOND};

/// C: ten files of two seconds.
const SPAN: u64 = 20;

fn keeping(strategy: Strategy) -> impl Fn(&mut Config) {
    move |config: &mut Config| {
        let cache = config.cache.take().unwrap();
        config.cache = Some(CacheConfig { strategy, ..cache });
    }
}

/// The seconds at which the files on a viewer's disk begin.
fn files(it: &mut Channels, ix: NodeIx) -> Vec<u64> {
    it.world.disk_mut(ix).unwrap().files().map(|(file, _)| file.start).collect()
}

/// The whole files of C from a second on, the first one that is whole.
fn interval(from: u64) -> Vec<u64> {
    let first = from.next_multiple_of(2);
    (first..first + SPAN).step_by(2).collect()
}

fn second(it: &Channels) -> u64 {
    it.world.now().as_micros() / 1_000_000
}

#[test]
fn ipp_keeps_what_each_played_first() {
    let mut it = Channels::new();
    let ipp = keeping(Strategy::InitialPosition { span: SECOND * SPAN as u32 });
    let live = it.viewer_with(Position::Live, &ipp);
    it.run(SECOND * 11);
    let (later, joined) = (it.viewer_with(Position::Live, &ipp), second(&it));
    it.run(SECOND * 49);
    let edge = second(&it);
    let past = it.viewer_with(Position::Ago(SECOND * 35), &ipp);
    it.run(SECOND * 40);
    assert_eq!(files(&mut it, live).len(), 10);
    // It begins a second before the live edge.
    let kept = files(&mut it, later);
    assert!([interval(joined - 1), interval(joined)].contains(&kept), "{joined}: {kept:?}");
    let kept = files(&mut it, past);
    let begins = [36, 35, 34].map(|ago| interval(edge - ago));
    assert!(begins.contains(&kept), "{edge}: {kept:?}");
    it.assert_whole(past, live);
}

#[test]
fn lsp_keeps_what_was_live_when_each_came_and_serves_it() {
    for renew in [false, true] {
        let mut it = Channels::new();
        let lsp = keeping(Strategy::LivePosition { span: SECOND * SPAN as u32, renew });
        let mut live = Vec::new();
        for _ in 0..6 {
            live.push((it.viewer_with(Position::Live, &lsp), second(&it)));
            it.run(SECOND * 10);
        }
        it.run(SECOND * 40);
        // Of what is in nobody's memory any more, those have it who came then, or nobody.
        let past = it.viewer_with(Position::Ago(SECOND * 70), &lsp);
        it.run(SECOND * 5);
        let shift = it.stats(past).shift;
        assert_eq!(shift.peer > 0, !renew, "renew {renew}: {shift:?}");
        assert!(shift.received() >= 5 * 25, "renew {renew}: {shift:?}");
        it.run(SECOND * 10);
        it.assert_whole(past, live[0].0);
        assert_eq!(files(&mut it, past), [], "it sees nothing live");
        let edge = second(&it);
        for (ix, joined) in live {
            let kept = files(&mut it, ix);
            if renew {
                assert!(kept.len() == 10 && kept[9] >= edge - 4, "{edge}: {kept:?}");
            } else {
                let begins = [interval(joined - 1), interval(joined), interval(joined + 1)];
                assert!(begins.contains(&kept), "{joined}: {kept:?}");
            }
        }
    }
}

/// A viewer that goes 70 s back, and plays for half a minute, of what 8 live
/// viewers keep, if they do.
fn back(shift: ShiftStrategy, keep: bool) -> (Channels, NodeIx, NodeIx) {
    let mut it = Channels::new();
    let keeping = |config: &mut Config| {
        let cache = config.cache.take().filter(|_| keep);
        config.cache = cache.map(|c| CacheConfig { replicas: 3, spares: 0, ..c });
    };
    let live: Vec<NodeIx> = (0..8).map(|_| it.viewer_with(Position::Live, keeping)).collect();
    it.run(SECOND * 80);
    let change = |config: &mut Config| (config.shift, config.cache) = (shift, None);
    let past = it.viewer_with(Position::Ago(SECOND * 70), change);
    it.run(SECOND * 32);
    (it, past, live[0])
}

#[test]
fn bass_and_ponder_play_from_peers_and_the_server_fills_in() {
    let ponder = ShiftStrategy::Ponder { clip: SECOND * 5 };
    for shift in [ShiftStrategy::Bass, ponder, ShiftStrategy::Hedged, ShiftStrategy::Published] {
        let (it, past, live) = back(shift, true);
        let blocks = it.assert_whole(past, live);
        let counts = it.stats(past).shift;
        assert!(blocks >= 28 * 25, "{shift:?}: {blocks} blocks in 32 s");
        assert_eq!((counts.lost, it.stats(past).late), (0, 0), "{shift:?}");
        // The server gives what play-out begins with, and what few had.
        let share = counts.peer as f64 / counts.received() as f64;
        assert!(share > 0.8, "{shift:?}: {counts:?}");
    }
}

#[test]
fn bass_and_ponder_play_from_the_server_alone_and_ask_it_late() {
    for shift in [ShiftStrategy::Bass, ShiftStrategy::Ponder { clip: SECOND * 5 }] {
        let (it, past, live) = back(shift, false);
        let blocks = it.assert_whole(past, live);
        let counts = it.stats(past).shift;
        assert!(blocks >= 28 * 25, "{shift:?}: {blocks} blocks in 32 s");
        assert_eq!((counts.lost, counts.failed, it.stats(past).late), (0, 0, 0), "{shift:?}");
        let ahead = counts.received().saturating_sub(blocks as u64);
        assert!(ahead <= 6 * 25, "{shift:?}: {ahead} blocks were fetched early");
        assert!(counts.no_owner > 20 * 25, "{shift:?}: {counts:?}");
    }
}
