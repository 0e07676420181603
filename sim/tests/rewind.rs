//! The report's experiment, shortened, against the aims for the past: where
//! its blocks come from, how many own a file, what leaps and pauses cost.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::cache::{Defects, Publishing, Strategy};
use eddy_sim::rewind::{Kind, Outcome, Replicas, Rewind, share};

const R: usize = 10;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Seven minutes of it, with as many viewers of the past as there is past.
fn short(plan: Rewind) -> Rewind {
    Rewind {
        live: 32,
        shifted: 12,
        offsets: (seconds(30), seconds(180)),
        arrivals: seconds(60),
        span: seconds(420),
        ..plan
    }
}

fn default(seed: u64) -> Rewind {
    Rewind { block: Duration::from_millis(100), ..short(Rewind::published(seed)) }
}

/// Files that there were viewers to keep from the first block on.
fn grown(files: &[Replicas]) -> &[Replicas] {
    let first = files.iter().position(|f| f.cached >= R).unwrap();
    &files[first.max(2)..]
}

fn received(o: &Outcome) -> u64 {
    let s = o.shift();
    s.peer + s.emergency + s.failed + s.no_owner
}

#[test]
fn the_past_comes_from_viewers_and_every_file_has_exactly_r_owners() {
    for seed in 1..=2 {
        let o = Rewind { leaping: 4, pausing: 4, ..default(seed) }.run();
        let shift = o.shift();
        let all = received(&o);
        assert!(all > 10_000, "seed {seed}: {shift:?}");
        assert!(shift.peer as f64 >= 0.997 * all as f64, "seed {seed}: {shift:?}");
        assert!(shift.emergency as f64 <= 0.001 * all as f64, "seed {seed}: {shift:?}");
        assert_eq!(shift.no_owner, 0, "seed {seed}: {shift:?}");
        let young = grown(&o.young);
        assert!(young.len() >= 30, "seed {seed}: {} files", young.len());
        let exact = share(young, |f| f.published == R && f.live == R);
        assert!(exact >= 0.99, "seed {seed}: {exact}, {young:?}");
        assert!(o.missed() < 0.0001, "seed {seed}: missed {}", o.missed());
        let gaps: u64 = o.viewers.iter().map(|v| v.gaps).sum();
        assert_eq!(gaps, 0, "seed {seed}: a pause or a play-out left something out");
        let leaps: Vec<Duration> = o.viewers.iter().flat_map(|v| v.leaps.clone()).collect();
        assert!(leaps.len() >= 8, "seed {seed}: {} leaps", leaps.len());
        let p95 = Outcome::quantile(leaps.iter().copied(), 0.95);
        assert!(p95 <= Duration::from_millis(1_500), "seed {seed}: {leaps:?}");
        let returns: Vec<Duration> = o.viewers.iter().flat_map(|v| v.returns.clone()).collect();
        assert!(returns.len() >= 4, "seed {seed}: {} returns", returns.len());
        assert!(returns.iter().all(|r| *r <= seconds(1)), "seed {seed}: {returns:?}");
        let late: u64 = o.of(Kind::is_live).map(|v| v.stats.late).sum();
        assert!(late <= 10, "seed {seed}: {late} late, live");
    }
}

#[test]
fn under_churn_files_keep_their_owners_and_viewers_their_past() {
    // Newcomers fetch what the leaving leave behind: a quarter of an hour of it.
    let o = Rewind {
        churn: true,
        block: Duration::from_millis(200),
        span: seconds(1_200),
        live: 36,
        ..default(3)
    }
    .run();
    let sampled: Vec<Replicas> =
        o.sampled.iter().filter(|f| f.file >= o.young[2].file).copied().collect();
    let near = share(&sampled, |f| f.published.abs_diff(R) <= 1);
    assert!(near >= 0.95, "{near}: {sampled:?}");
    assert!(sampled.iter().all(|f| f.live > 0), "a file is lost: {sampled:?}");
    let (shift, all) = (o.shift(), received(&o));
    assert!(shift.peer as f64 >= 0.997 * all as f64, "{shift:?}");
    assert!(o.missed() < 0.0001, "missed {}", o.missed());
    let recruited: u64 = o.viewers.iter().map(|v| v.stats.recruited).sum();
    assert!(recruited > 0, "nobody was recruited");
    let from_provider = o.provider.past_sent as f64;
    assert!(from_provider < 0.25 * recruited as f64 * 50.0, "{from_provider}, {recruited}");
}

#[test]
fn the_published_system_caches_most_files_more_than_r_times_and_publishes_few() {
    // Nearer to the live edge than this, the published system has published nothing yet.
    let offsets = (seconds(75), seconds(180));
    let o = Rewind { offsets, ..short(Rewind::report(1)) }.run();
    let young = grown(&o.young);
    let cached = young.iter().map(|f| f.cached).sum::<usize>() as f64 / young.len() as f64;
    let full = share(young, |f| f.published >= R);
    assert!(cached > 7.0, "{young:?}");
    assert!(full < 0.25, "{young:?}");
    assert!(share(young, |f| f.published < f.cached) > 0.5, "{young:?}");
    let (shift, all) = (o.shift(), received(&o));
    let share = shift.peer as f64 / all as f64;
    assert!(share >= 0.9, "{shift:?}");
}

#[test]
fn who_compares_or_adds_is_listed_and_by_get_edit_put_many_are_not() {
    use Publishing::{AddToSet, CompareAndSwap, GetEditPut};
    let listed = |publishing| {
        let mut plan = Rewind { span: seconds(300), ..short(Rewind::report(1)) };
        // One clock, and nothing that is left to do is left undone.
        plan.skew = Duration::ZERO;
        let cache = plan.config.cache.as_mut().unwrap();
        let defects = Defects {
            publishing,
            no_error_path: false,
            owners_yield: false,
            ..Defects::published()
        };
        cache.strategy = Strategy::Report(defects);
        // All at once.
        cache.back_off = seconds(2);
        let o = plan.run();
        let young = grown(&o.young);
        let copies: usize = young.iter().map(|f| f.cached).sum();
        let published: usize = young.iter().map(|f| f.published).sum();
        published as f64 / copies as f64
    };
    let shares = [GetEditPut, CompareAndSwap, AddToSet].map(listed);
    assert!(shares[0] < 0.6, "{shares:?}");
    assert!(shares[1] > 0.95 && shares[2] > 0.95, "{shares:?}");
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let plan =
            Rewind { span: seconds(90), offsets: (seconds(20), seconds(40)), ..default(seed) };
        plan.run().hash
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
