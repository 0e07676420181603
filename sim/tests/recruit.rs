//! Copies for others: files of which replicas are missing are fetched in the
//! background.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

mod common;

use std::collections::BTreeMap;

use eddy_core::cache::CacheConfig;
use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::rng::node_seed;
use eddy_core::stream::file::FileId;
use eddy_core::{Command, Join, Position};
use eddy_sim::{NodeIx, START};

use common::past::{Channels, SECOND, addr, config};

/// Records that live for a minute, so that what becomes of them is soon seen.
fn hasty(config: &mut Config) {
    let cache = config.cache.clone().unwrap();
    config.cache = Some(CacheConfig {
        record_life: SECOND * 60,
        republish: SECOND * 20,
        recheck: SECOND * 5,
        back_off: SECOND * 20,
        ..cache
    });
}

fn files(it: &mut Channels, ix: NodeIx) -> Vec<FileId> {
    it.world.disk_mut(ix).unwrap().files().map(|(file, _)| file).collect()
}

#[test]
fn newcomers_fetch_what_the_leaving_held_from_those_who_stay() {
    let mut it = Channels::new();
    let live: Vec<NodeIx> = (0..14).map(|_| it.viewer_with(Position::Live, hasty)).collect();
    it.run(SECOND * 80);
    let before: Vec<FileId> = files(&mut it, live[0]);
    assert!(before.len() >= 30, "{} files", before.len());
    let from_provider = it.stats(it.provider).past_sent;
    for ix in &live[..7] {
        it.world.command(*ix, Command::Leave);
    }
    let new: Vec<NodeIx> = (0..6).map(|_| it.viewer_with(Position::Live, hasty)).collect();
    it.run(SECOND * 200);
    let mut copies: BTreeMap<FileId, usize> = before.iter().map(|file| (*file, 0)).collect();
    for ix in live[7..].iter().chain(&new) {
        for file in files(&mut it, *ix) {
            copies.entry(file).and_modify(|n| *n += 1);
        }
        assert_eq!(it.stats(*ix).lost, 0);
    }
    // Seven hold each file still, and ten are wanted.
    let full = copies.values().filter(|n| **n >= 10).count();
    assert!(full * 10 >= before.len() * 9, "{copies:?}");
    let recruited: u64 = new.iter().map(|ix| it.stats(*ix).recruited).sum();
    assert!(recruited >= 3 * full as u64, "{recruited} files fetched");
    // Others had it all, but for the first file, which none of them saw whole.
    assert!(it.stats(it.provider).past_sent <= from_provider + 50);
}

#[test]
fn what_nobody_else_has_is_fetched_from_the_provider_as_a_last_resort() {
    let mut it = Channels::new();
    it.run(SECOND * 40);
    let new: Vec<NodeIx> = (0..3).map(|_| it.viewer_with(Position::Live, hasty)).collect();
    it.run(SECOND * 150);
    let old = |file: &FileId| file.start * 1_000_000 < (START + SECOND * 38).as_micros();
    for ix in &new {
        let held = files(&mut it, *ix).iter().filter(|file| old(file)).count();
        assert!(held >= 17, "{held} of 19 files of the time before");
    }
    assert!(it.stats(it.provider).past_sent >= 17 * 50);
}

#[test]
fn who_is_a_few_seconds_behind_fetches_copies_like_the_others() {
    let mut it = Channels::new();
    it.run(SECOND * 40);
    let behind: Vec<NodeIx> =
        [2, 4].map(|ago| it.viewer_with(Position::Ago(SECOND * ago), hasty)).into();
    it.run(SECOND * 150);
    let old = |file: &FileId| file.start * 1_000_000 < (START + SECOND * 36).as_micros();
    for ix in behind {
        let held = files(&mut it, ix).iter().filter(|file| old(file)).count();
        assert!(held >= 17, "{held} of 18 files of the time before");
        assert_eq!(it.stats(ix).lost, 0);
    }
}

#[test]
fn who_has_no_folder_to_keep_copies_in_fetches_none() {
    let mut it = Channels::new();
    it.run(SECOND * 40);
    it.nodes += 1;
    let mut config = config(it.nodes);
    hasty(&mut config);
    let at = config.listen;
    let node = Node::viewer(config, node_seed(1, &at), it.world.now()).unwrap();
    let ix = it.world.add(at, 0, None, Box::new(node));
    let join = Join {
        bootstrap: vec![addr(1)],
        channel: it.channel.name().clone(),
        key: None,
        known: None,
        position: Position::Live,
    };
    it.world.command(ix, Command::Join(Box::new(join)));
    it.run(SECOND * 100);
    assert!(it.handed(ix).len() > 90 * 25);
    assert_eq!((it.stats(ix).recruited, it.stats(it.provider).past_sent), (0, 0));
}
