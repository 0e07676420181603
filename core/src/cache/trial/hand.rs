//! One cache, driven by hand.

use alloc::vec;

use super::*;
use crate::cache::{Defects, Publishing, Strategy};

const ME: ([u8; 4], u16) = ([10, 0, 0, 1], 7_000);

pub(super) fn at(s: u64) -> Time {
    Time::from_secs(1_000_000 + s)
}

fn cache(config: CacheConfig, n: usize) -> Cache {
    let mut cache = Cache::new(config, Rng::new([1; 32])).unwrap();
    cache.set_self(at(0), ME.into());
    cache.set_population(viewers(n));
    cache
}

pub(super) fn effects(cache: &mut Cache) -> Vec<Effect> {
    core::iter::from_fn(|| cache.poll()).collect()
}

pub(super) fn file(start: u64, key: u32) -> File {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&key.to_be_bytes());
    File { start, key: bytes }
}

/// Other owners, each on a network of its own.
pub(super) fn others(n: u8) -> Vec<SocketAddr> {
    (1..=n).map(|net| ([10, 1, net, 1], 7_000).into()).collect()
}

/// A file for which this node has the first, or the last, place among those owners.
fn file_ranked(first: bool, owners: &[SocketAddr]) -> File {
    let place = |f: &File| {
        let caps = crate::cache::Caps::default();
        crate::cache::rank::Standing::new(&f.key, ME.into(), owners, caps).rank
    };
    let wanted = if first { 0 } else { owners.len() };
    (0..).map(|key| file(10, key)).find(|f| place(f) == Some(wanted)).unwrap()
}

fn look_up(file: File) -> Effect {
    Effect::LookUp { file, want_token: true }
}

fn announce(file: File) -> Effect {
    Effect::Announce { file, life: minutes(30) }
}

/// A cache that has just published a file, with what it was told of it since.
fn published(file: File) -> Cache {
    let mut c = cache(CacheConfig::default(), 5);
    c.completed(at(0), file, BYTES);
    assert_eq!(effects(&mut c), [Effect::Keep { file }, announce(file)]);
    c.stored(at(1), file, true);
    c
}

#[test]
fn a_loser_withdraws_at_once_makes_sure_and_stays_a_spare() {
    let file = file_ranked(false, &others(10));
    let mut c = published(file);
    assert_eq!(c.deadline(), Some(at(45)), "45 s after completion");
    c.wake(at(45));
    assert_eq!(effects(&mut c), [look_up(file)]);
    c.records(at(46), file, &[others(10), vec![ME.into()]].concat());
    assert_eq!(effects(&mut c), [Effect::Withdraw { file }]);
    c.stored(at(47), file, true);
    // A storing node missed it.
    c.wake(at(49));
    assert_eq!(effects(&mut c), [look_up(file)]);
    c.records(at(50), file, &[others(10), vec![ME.into()]].concat());
    assert_eq!(effects(&mut c), [Effect::Withdraw { file }]);
    c.stored(at(51), file, true);
    c.wake(at(53));
    assert_eq!(effects(&mut c), [look_up(file)]);
    c.records(at(54), file, &others(10));
    assert_eq!(effects(&mut c), [], "a spare now");
    assert!(c.holds(file));
    // One of ten is gone: the spare takes its place.
    c.wake(c.deadline().unwrap());
    assert_eq!(effects(&mut c), [look_up(file)]);
    let now = at(54 + 720);
    c.records(now, file, &others(9));
    assert_eq!(effects(&mut c), [announce(file)]);
}

#[test]
fn a_winner_stays_and_publishes_again_after_the_period() {
    let file = file_ranked(true, &others(12));
    let mut c = published(file);
    c.wake(at(45));
    assert_eq!(effects(&mut c), [look_up(file)]);
    c.records(at(46), file, &[others(12), vec![ME.into()]].concat());
    assert_eq!(effects(&mut c), [], "its record is fresh, and there");
    let next = c.deadline().unwrap();
    assert!(next >= at(1 + 648) && next <= at(1 + 792), "12 min ± 10 %: {next:?}");
    c.wake(next);
    assert_eq!(effects(&mut c), [look_up(file)]);
    c.records(next, file, &[others(12), vec![ME.into()]].concat());
    assert_eq!(effects(&mut c), [announce(file)]);
}

#[test]
fn a_record_that_got_lost_is_published_again_at_the_first_look() {
    let file = file_ranked(true, &others(12));
    let mut c = published(file);
    c.wake(at(45));
    c.records(at(46), file, &others(12));
    assert_eq!(effects(&mut c), [look_up(file), announce(file)]);
}

#[test]
fn who_ranks_beyond_the_candidates_does_not_keep_the_file() {
    // 2.5 R of 1,000, or 4 R where their number is not known for sure.
    for (known, most) in [(true, 25..=60), (false, 45..=80)] {
        let mut c = cache(CacheConfig::default(), 1_000);
        if !known {
            c.set_population(Population { estimate: Some(1_000), ..Population::default() });
        }
        for n in 0..1_500 {
            c.completed(at(0), file(10, n), BYTES);
        }
        let kept = c.files().count();
        assert!(most.contains(&kept), "{kept} of 1,500");
        let dropped = effects(&mut c).iter().filter(|e| matches!(e, Effect::Drop { .. })).count();
        assert_eq!(kept + dropped, 1_500);
    }
}

#[test]
fn a_watcher_is_recruited_when_replicas_are_missing_still() {
    let mut c = cache(CacheConfig::default(), 5);
    let file = file(10, 1);
    c.past(at(0), file);
    let due = c.deadline().unwrap();
    assert!(due <= at(720));
    let look = Effect::LookUp { file, want_token: false };
    c.wake(due);
    assert_eq!(effects(&mut c), core::slice::from_ref(&look));
    c.records(due, file, &others(9));
    assert_eq!(effects(&mut c), [], "somebody who holds it may come first");
    let due = c.deadline().unwrap();
    c.wake(due);
    c.records(due, file, &others(9));
    assert_eq!(effects(&mut c), [look, Effect::Fetch { file }]);
    c.completed(due + seconds(3), file, BYTES);
    assert_eq!(effects(&mut c), [Effect::Keep { file }, look_up(file)], "counted again");
    c.records(due + seconds(4), file, &others(9));
    assert_eq!(effects(&mut c), [announce(file)]);
}

#[test]
fn what_nobody_can_give_is_not_fetched_for_ever() {
    let file = file_ranked(true, &others(9));
    let mut c = cache(CacheConfig::default(), 20);
    c.past(at(0), file);
    let mut fetches = 0;
    while let Some(now) = c.deadline() {
        c.wake(now);
        while let Some(effect) = c.poll() {
            match effect {
                Effect::LookUp { .. } => c.records(now, file, &[]),
                Effect::Fetch { .. } => {
                    assert!(c.is_fetching(file));
                    c.failed(now, file);
                    fetches += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(now < at(86_400), "it is still at it a day later");
    }
    assert_eq!(fetches, 3);
}

#[test]
fn a_lookup_made_for_the_player_recruits_too() {
    let mut c = cache(CacheConfig::default(), 5);
    c.records(at(0), file(10, 1), &others(10));
    assert_eq!(c.deadline(), None, "none is missing");
    c.records(at(0), file(10, 1), &others(9));
    assert_eq!(c.deadline(), Some(at(3)));
}

#[test]
fn a_full_disk_is_not_filled_by_recruiting() {
    let config = CacheConfig { quota: 2 * BYTES, largest_file: BYTES, ..CacheConfig::default() };
    let mut c = cache(config, 5);
    c.completed(at(0), file(20, 1), BYTES);
    effects(&mut c);
    c.records(at(1), file(10, 2), &[]);
    assert!(!c.holds(file(10, 2)));
    c.past(at(1), file(10, 3));
    let mut now = at(1);
    while now < at(3_000) {
        now = c.deadline().unwrap();
        c.wake(now);
        for effect in effects(&mut c) {
            match effect {
                Effect::LookUp { file, .. } => c.records(now, file, &[]),
                Effect::Announce { file, .. } => c.stored(now, file, true),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn lookups_at_once_are_bounded_and_all_get_their_turn() {
    let mut c = cache(CacheConfig { lookups: 3, ..CacheConfig::default() }, 5);
    let files: Vec<(File, u64)> = (0..50).map(|n| (file(n * 10, n as u32), BYTES)).collect();
    c.restored(at(0), files);
    c.wake(at(100));
    let mut turns = 0;
    let mut waiting = effects(&mut c);
    while let Some(effect) = waiting.pop() {
        let Effect::LookUp { file, .. } = effect else { continue };
        turns += 1;
        assert!(waiting.len() < 3);
        c.records(at(100), file, &others(20));
        waiting.extend(effects(&mut c).into_iter().filter(|e| matches!(e, Effect::LookUp { .. })));
    }
    assert_eq!(turns, 50);
}

#[test]
fn what_was_on_disk_is_withdrawn_only_if_its_record_is_still_there() {
    for listed in [false, true] {
        let file = file_ranked(false, &others(10));
        let mut c = cache(CacheConfig::default(), 5);
        c.restored(at(0), vec![(file, BYTES)]);
        c.wake(at(0));
        assert_eq!(effects(&mut c), [look_up(file)]);
        let mut records = others(10);
        records.extend(listed.then_some(SocketAddr::from(ME)));
        c.records(at(1), file, &records);
        let withdrawn = effects(&mut c) == [Effect::Withdraw { file }];
        assert_eq!(withdrawn, listed);
        assert!(c.holds(file), "a spare");
    }
}

#[test]
fn answers_that_never_come_do_not_stop_it() {
    let file = file(10, 1);
    let mut c = cache(CacheConfig { lookups: 1, ..CacheConfig::default() }, 5);
    c.completed(at(0), file, BYTES);
    effects(&mut c);
    let mut lookups = 0;
    while lookups < 5 {
        let due = c.deadline().unwrap();
        assert!(due < at(3_600));
        c.wake(due);
        lookups += effects(&mut c).iter().filter(|e| **e == look_up(file)).count();
    }
}

#[test]
fn what_was_completed_before_the_own_address_is_known_is_judged_then() {
    let mut c = Cache::new(CacheConfig::default(), Rng::new([1; 32])).unwrap();
    c.set_population(viewers(5));
    let file = file(10, 1);
    c.completed(at(0), file, BYTES);
    assert_eq!((effects(&mut c), c.deadline()), (vec![Effect::Keep { file }], None));
    c.set_self(at(5), ME.into());
    assert_eq!(effects(&mut c), [announce(file)]);
    c.stored(at(6), file, true);
    c.set_self(at(7), ([10, 0, 0, 2], 7_000).into());
    c.wake(at(7));
    assert_eq!(effects(&mut c), [look_up(file)], "all are judged anew at another address");
}

#[test]
fn leaving_withdraws_what_is_published_and_keeps_the_files() {
    let file = file_ranked(true, &others(12));
    let mut c = published(file);
    c.past(at(1), File { start: 0, ..file });
    c.leave(at(2));
    assert_eq!(effects(&mut c), [Effect::Withdraw { file }]);
    c.stored(at(3), file, true);
    c.completed(at(4), self::file(20, 1), BYTES);
    c.wake(at(3_000));
    assert_eq!((effects(&mut c), c.deadline(), c.holds(file)), (vec![], None, true));
}

#[test]
fn an_evicted_file_is_withdrawn_before_it_is_deleted() {
    let config = CacheConfig { quota: 8 * BYTES, largest_file: BYTES, ..CacheConfig::default() };
    let mut c = cache(config, 5);
    for n in 1..=8 {
        c.completed(at(100 * n), file(10 * n, 1), BYTES);
        c.stored(at(100 * n + 1), file(10 * n, 1), true);
    }
    let oldest = file(10, 1);
    let all = effects(&mut c);
    assert_eq!(all.last(), Some(&Effect::Withdraw { file: oldest }), "room is made in advance");
    assert!(c.holds(oldest));
    c.stored(at(802), oldest, true);
    assert_eq!(effects(&mut c), [Effect::Drop { file: oldest }]);
    assert!(!c.holds(oldest));
}

#[test]
fn an_announcement_under_way_is_withdrawn_only_when_it_has_arrived() {
    let config = CacheConfig { max_age: Some(minutes(1)), lookups: 1, ..CacheConfig::default() };
    let mut c = cache(config, 5);
    let file = file(10, 1);
    c.completed(at(0), file, BYTES);
    c.past(at(1), self::file(100, 1));
    effects(&mut c);
    c.wake(at(2));
    assert_eq!(effects(&mut c), [], "too old now, but what if the withdrawal overtook it");
    c.stored(at(3), file, true);
    assert_eq!(effects(&mut c), [Effect::Withdraw { file }]);
    c.stored(at(4), file, true);
    assert_eq!(effects(&mut c), [Effect::Drop { file }]);
}

#[test]
fn a_file_larger_than_the_quota_is_refused_aloud() {
    let config = CacheConfig { quota: 2_000, largest_file: 1_000, ..CacheConfig::default() };
    let mut c = cache(config, 5);
    let file = file(10, 1);
    c.completed(at(0), file, 2_001);
    let refused = Effect::TooLarge { file, bytes: 2_001, quota: 2_000 };
    assert_eq!(effects(&mut c), [refused, Effect::Drop { file }]);
    let config = CacheConfig { quota: 999, largest_file: 1_000, ..CacheConfig::default() };
    assert!(Cache::new(config, Rng::new([1; 32])).is_err());
}

#[test]
fn a_copy_that_could_not_be_written_is_withdrawn() {
    let file = file_ranked(true, &others(12));
    let mut c = published(file);
    c.gone(at(2), file);
    assert_eq!(effects(&mut c), [Effect::Withdraw { file }]);
    assert_eq!((c.holds(file), c.used(), c.deadline()), (false, 0, None));
}

/// The published algorithm with these defects, which keeps every file.
fn report(defects: Defects) -> Cache {
    let config = CacheConfig { strategy: Strategy::Report(defects), ..CacheConfig::report() };
    cache(config, 1)
}

pub(super) fn owners(n: u8, published_at: Time) -> Vec<Owner> {
    others(n).into_iter().map(|addr| Owner { addr, published_at }).collect()
}

/// Completes a file and waits until its list is got.
fn got(c: &mut Cache, file: File) -> Time {
    c.completed(at(0), file, BYTES);
    assert_eq!(effects(c), [Effect::Keep { file }]);
    let due = c.deadline().unwrap();
    c.wake(due);
    due
}

#[test]
fn d1_with_the_off_by_one_nothing_is_kept_when_one_replica_is_wanted() {
    for (off_by_one, kept) in [(true, 0), (false, 100)] {
        let defects = Defects { off_by_one, ..Defects::published() };
        let strategy = Strategy::Report(defects);
        let config = CacheConfig { strategy, replicas: 1, ..CacheConfig::report() };
        let mut c = cache(config, 1);
        (0..100).for_each(|n| c.completed(at(0), file(10, n), BYTES));
        assert_eq!(c.files().count(), kept);
    }
}

#[test]
fn d2_counting_parents_twice_lowers_the_chance_to_keep_a_file() {
    let kept = |double_count| {
        let mut c = report(Defects { double_count, ..Defects::published() });
        let mesh = Population { partners: 15, parents: 8, ..Population::default() };
        c.set_population(mesh);
        (0..4_000).for_each(|n| c.completed(at(0), file(10, n), BYTES));
        c.files().count() as f64 / 4_000.0
    };
    // Nine of 23, and nine of 16.
    let (as_published, mended) = (kept(true), kept(false));
    assert!((as_published - 9.0 / 23.0).abs() < 0.03, "{as_published}");
    assert!((mended - 9.0 / 16.0).abs() < 0.03, "{mended}");
}

#[test]
fn what_a_time_shift_viewer_fetched_is_kept_and_not_published() {
    for defects in [Defects::published(), Defects::none()] {
        // Seen live, most files of so many viewers would not be kept.
        let strategy = Strategy::Report(defects);
        let mut c = cache(CacheConfig { strategy, ..CacheConfig::report() }, 1_000);
        for n in 0..10 {
            let file = file(10, n);
            c.fetched(at(0), file, BYTES);
            assert_eq!(effects(&mut c), [Effect::Keep { file }]);
        }
        assert_eq!((c.files().count(), c.deadline()), (10, None));
        c.leave(at(1));
        assert_eq!(effects(&mut c), []);
    }
}

#[test]
fn d3_the_whole_list_is_replaced_or_the_own_record_added() {
    let file = file(10, 1);
    let only =
        Defects { publishing: Publishing::GetEditPut, random_caching: true, ..Defects::none() };
    let mut c = report(only);
    let due = got(&mut c, file);
    assert_eq!(effects(&mut c), [Effect::GetList { file }]);
    c.listed(due, file, &owners(3, due), 0);
    let mut list = owners(3, due);
    list.push(Owner { addr: ME.into(), published_at: due });
    assert_eq!(effects(&mut c), [Effect::PutList { file, owners: list, version: None }]);
    let mut c = report(Defects { publishing: Publishing::AddToSet, ..only });
    let due = got(&mut c, file);
    assert_eq!(effects(&mut c), [look_up(file)]);
    c.records(due, file, &others(3));
    assert_eq!(effects(&mut c), [Effect::Announce { file, life: minutes(10) }]);
}

#[test]
fn a_put_that_finds_another_version_is_done_again_with_the_new_list() {
    let file = file(10, 1);
    let publishing = Publishing::CompareAndSwap;
    let mut c = report(Defects { publishing, random_caching: true, ..Defects::none() });
    let mut due = got(&mut c, file);
    for version in 1..=17_u8 {
        assert_eq!(effects(&mut c), [Effect::GetList { file }]);
        c.listed(due, file, &owners(version % 8, due), version.into());
        let mut list = owners(version % 8, due);
        list.push(Owner { addr: ME.into(), published_at: due });
        let version = Some(version.into());
        assert_eq!(effects(&mut c), [Effect::PutList { file, owners: list, version }]);
        c.stored(due, file, false);
        assert!(c.deadline().unwrap() <= due + seconds(30) + Duration::from_millis(1));
        due = c.deadline().unwrap();
        c.wake(due);
    }
    c.listed(due, file, &owners(3, due), 18);
    effects(&mut c);
    c.stored(due, file, true);
    // It leaves: its entry goes, whoever else comes meanwhile.
    c.leave(due);
    for version in 30..32 {
        assert_eq!(effects(&mut c), [Effect::GetList { file }]);
        c.listed(due, file, &owners(3, due), version);
        let version = Some(version);
        assert_eq!(effects(&mut c), [Effect::PutList { file, owners: owners(3, due), version }]);
        c.stored(due, file, false);
    }
}

#[test]
fn d4_a_time_out_ends_the_work_for_a_file_for_ever_or_is_tried_again() {
    for (no_error_path, again) in [(true, 0), (false, 1)] {
        let mut c = report(Defects { no_error_path, ..Defects::published() });
        let file = file(10, 1);
        let due = got(&mut c, file);
        c.failed(due, file);
        effects(&mut c);
        assert_eq!(c.deadline().is_some(), again == 1);
        c.wake(due + seconds(31));
        assert_eq!(effects(&mut c).len(), again);
        assert!(c.holds(file));
    }
}

#[test]
fn d5_an_owner_of_exactly_r_deletes_its_own_file_at_republication() {
    let kept = |raw_size| {
        let mut c = report(Defects { raw_size, ..Defects::published() });
        let file = file(10, 1);
        let due = got(&mut c, file);
        c.listed(due, file, &owners(9, due), 0);
        c.listed(due, file, &owners(9, due), 0);
        c.stored(due, file, true);
        let due = c.deadline().unwrap();
        c.wake(due);
        let mut list = owners(9, due);
        list.push(Owner { addr: ME.into(), published_at: due });
        c.listed(due, file, &list, 0);
        c.listed(due, file, &list, 0);
        c.holds(file)
    };
    assert!(!kept(true) && kept(false));
}

#[test]
fn d5_out_dated_entries_count_only_as_published() {
    let size = |raw_size| {
        let mut c = report(Defects { raw_size, ..Defects::published() });
        let file = file(10, 1);
        let due = got(&mut c, file);
        let old = owners(12, due - minutes(11));
        c.listed(due, file, &old, 0);
        c.listed(due, file, &old, 0);
        let list = effects(&mut c).into_iter().find_map(|e| match e {
            Effect::PutList { owners, .. } => Some(owners.len()),
            _ => None,
        });
        (c.holds(file), list)
    };
    assert_eq!((size(true), size(false)), ((false, None), (true, Some(1))));
}

#[test]
fn d6_entries_stay_or_go_with_their_owner() {
    let file = file(10, 1);
    for stale_owners in [true, false] {
        let mut c = report(Defects { stale_owners, raw_size: false, ..Defects::published() });
        let due = got(&mut c, file);
        c.listed(due, file, &owners(2, due), 0);
        c.stored(due, file, true);
        effects(&mut c);
        c.leave(due);
        if stale_owners {
            assert_eq!(effects(&mut c), []);
            continue;
        }
        assert_eq!(effects(&mut c), [Effect::GetList { file }]);
        let mut list = owners(2, due);
        list.push(Owner { addr: ME.into(), published_at: due });
        c.listed(due, file, &list, 0);
        assert_eq!(
            effects(&mut c),
            [Effect::PutList { file, owners: owners(2, due), version: None }]
        );
        c.stored(due, file, true);
        assert_eq!((effects(&mut c), c.deadline(), c.holds(file)), (vec![], None, true));
    }
}

/// Each strategy finds the disk full while the quota would hold much more.
#[test]
fn on_a_full_disk_the_oldest_make_room_for_the_newest() {
    for strategy in [Strategy::Rank, Strategy::Report(Defects::none()), Strategy::Everything] {
        let mut c = cache(CacheConfig { strategy, ..CacheConfig::default() }, 5);
        let files: Vec<File> = (1..=3).map(|n| file(n * 10, n as u32)).collect();
        files.iter().for_each(|file| c.completed(at(file.start), *file, BYTES));
        effects(&mut c);
        c.full(at(31), files[2]);
        // At the latest when its record is withdrawn.
        for file in &files {
            c.stored(at(32), *file, true);
            c.listed(at(32), *file, &[], 0);
            c.stored(at(33), *file, true);
        }
        assert!(c.files().eq([files[1]]), "{strategy:?}");
        let dropped = effects(&mut c).into_iter().filter(|e| matches!(e, Effect::Drop { .. }));
        assert!(dropped.eq([Effect::Drop { file: files[0] }]), "{strategy:?}");
    }
}
