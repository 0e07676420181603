//! The report's experiment, shortened, against the aims for the past: where
//! its blocks come from, how many own a file, what leaps and pauses cost.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::stats::Shift;
use eddy_sim::lab::{Making, Outcome, Replicas, Sheet, Viewer, Watch, run};

const R: usize = 10;

/// Seven minutes of it, with as many viewers of the past as there is past.
const SHORT: &str = r#"
id = "short"
title = "N1, shortened"
span = "420s"
count_replicas = true

[channel]
block = "100ms"

[provider]
keep = "24h"

[[viewers]]
name = "live"
count = 28
arrive.over = "10s"

[[viewers]]
name = "pausing"
count = 4
arrive.over = "10s"

[[viewers]]
name = "past"
count = 8
ago = ["30s", "180s"]
arrive.over = "60s"

[[viewers]]
name = "leaping"
count = 4
ago = ["30s", "180s"]
arrive.over = "60s"

[core]
dht = true
cache = {}

[preset.default]

[preset.moving]
core.preset = "default"
viewers.pausing = { pause_every = "120s" }
viewers.leaping = { leap_every = "60s" }

[preset.churn]
core.preset = "default"
channel.block = "200ms"
span = "1200s"
viewers.live = { count = 36, crash = 0.5, arrive = { steady = true }, session = { weibull = [0.492, 1136] } }
viewers.pausing.count = 0
viewers.past = { count = 12, crash = 0.5, arrive = { steady = true }, session = { weibull = [0.492, 1136] } }
viewers.leaping.count = 0

[preset.report]
channel.block = "1s"
network.loss = 0.005
core.dht = false
core.cache.defects.owners_yield = false
# Nearer to the live edge than this, the published system has published nothing yet.
viewers.past = { ago = ["75s", "180s"], skew = "5s", stall_every = "800s", stall = "30s" }
viewers.leaping.count = 0
viewers.live = { skew = "5s", stall_every = "800s", stall = "30s" }
viewers.pausing = { skew = "5s", stall_every = "800s", stall = "30s" }

[preset.lists]
core.preset = "report"
span = "300s"
channel.block = "1s"
network.loss = 0.005
core.dht = false
# All at once, with one clock, and nothing that is left to do is left undone.
core.cache.back_off = "2s"
core.cache.defects = { owners_yield = false, no_error_path = false }
"#;

fn outcome(preset: &str, seed: u64, changes: &[&str]) -> Outcome {
    let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
    let plan = Sheet::read(SHORT).unwrap().layered(preset, &changes).unwrap();
    run(&plan, &Making { seed, ..Making::default() }, &Watch::default()).unwrap()
}

/// Files that there were viewers to keep from the first block on.
fn grown(files: &[Replicas]) -> &[Replicas] {
    let first = files.iter().position(|f| f.cached >= R).unwrap();
    &files[first.max(2)..]
}

fn share(files: &[Replicas], holds: impl Fn(&Replicas) -> bool) -> f64 {
    files.iter().filter(|f| holds(f)).count() as f64 / files.len() as f64
}

/// Blocks of the past by source, and all that were received.
fn shift(o: &Outcome) -> (Shift, f64) {
    let sum = o.viewers.iter().filter(|v| v.past).fold(Shift::default(), |sum, v| Shift {
        peer: sum.peer + v.shift.peer,
        emergency: sum.emergency + v.shift.emergency,
        failed: sum.failed + v.shift.failed,
        no_owner: sum.no_owner + v.shift.no_owner,
        lost: sum.lost + v.shift.lost,
    });
    (sum, (sum.peer + sum.emergency + sum.failed + sum.no_owner) as f64)
}

/// A count of all viewers together.
fn total(o: &Outcome, count: impl Fn(&Viewer) -> u64) -> u64 {
    o.viewers.iter().map(count).sum()
}

fn missed(o: &Outcome) -> f64 {
    total(o, |v| v.counts.lost) as f64 / total(o, |v| v.counts.due) as f64
}

#[test]
fn the_past_comes_from_viewers_and_every_file_has_exactly_r_owners() {
    for seed in 1..=2 {
        let o = outcome("moving", seed, &[]);
        let (shift, all) = shift(&o);
        assert!(all > 10_000.0, "seed {seed}: {shift:?}");
        assert!(shift.peer as f64 >= 0.997 * all, "seed {seed}: {shift:?}");
        assert!(shift.emergency as f64 <= 0.001 * all, "seed {seed}: {shift:?}");
        assert_eq!(shift.no_owner, 0, "seed {seed}: {shift:?}");
        let young = grown(&o.young);
        assert!(young.len() >= 30, "seed {seed}: {} files", young.len());
        let exact = share(young, |f| f.published == R && f.live == R);
        assert!(exact >= 0.99, "seed {seed}: {exact}, {young:?}");
        assert!(missed(&o) < 0.0001, "seed {seed}: missed {}", missed(&o));
        let gaps = total(&o, |v| v.gaps);
        assert_eq!(gaps, 0, "seed {seed}: a pause or a play-out left something out");
        let mut leaps: Vec<Duration> = o.viewers.iter().flat_map(|v| v.leaps.clone()).collect();
        assert!(leaps.len() >= 8, "seed {seed}: {} leaps", leaps.len());
        leaps.sort_unstable();
        let p95 = leaps[(leaps.len() * 95).div_ceil(100) - 1];
        assert!(p95 <= Duration::from_millis(1_500), "seed {seed}: {leaps:?}");
        let returns: Vec<Duration> = o.viewers.iter().flat_map(|v| v.returns.clone()).collect();
        assert!(returns.len() >= 4, "seed {seed}: {} returns", returns.len());
        assert!(returns.iter().all(|r| *r <= Duration::from_secs(1)), "seed {seed}: {returns:?}");
        let late = total(&o, |v| if v.past { 0 } else { v.counts.late });
        assert!(late <= 10, "seed {seed}: {late} late, live");
    }
}

#[test]
fn under_churn_files_keep_their_owners_and_viewers_their_past() {
    // Newcomers fetch what the leaving leave behind: a quarter of an hour of it.
    let o = outcome("churn", 3, &[]);
    let sampled: Vec<Replicas> =
        o.sampled.iter().filter(|f| f.file >= o.young[2].file).copied().collect();
    let near = share(&sampled, |f| f.published.abs_diff(R) <= 1);
    assert!(near >= 0.95, "{near}: {sampled:?}");
    assert!(sampled.iter().all(|f| f.live > 0), "a file is lost: {sampled:?}");
    let (shift, all) = shift(&o);
    assert!(shift.peer as f64 >= 0.997 * all, "{shift:?}");
    assert!(missed(&o) < 0.0001, "missed {}", missed(&o));
    let recruited = total(&o, |v| v.counts.recruited);
    assert!(recruited > 0, "nobody was recruited");
    let from_provider = o.provider_past as f64;
    assert!(from_provider < 0.25 * recruited as f64 * 50.0, "{from_provider}, {recruited}");
}

#[test]
fn the_published_system_caches_most_files_more_than_r_times_and_publishes_few() {
    let o = outcome("report", 1, &[]);
    let young = grown(&o.young);
    let cached = young.iter().map(|f| f.cached).sum::<usize>() as f64 / young.len() as f64;
    let full = share(young, |f| f.published >= R);
    assert!(cached > 7.0, "{young:?}");
    assert!(full < 0.25, "{young:?}");
    assert!(share(young, |f| f.published < f.cached) > 0.5, "{young:?}");
    // Fig. 4-5 counts the copies of all nodes.
    let last = grown(&o.last);
    assert!(share(last, |f| f.cached > R) > 0.5, "{last:?}");
    assert!(share(last, |f| f.published == R) < 0.25, "{last:?}");
    let (shift, all) = shift(&o);
    assert!(shift.peer as f64 / all >= 0.9, "{shift:?}");
}

#[test]
fn who_compares_or_adds_is_listed_and_by_get_edit_put_many_are_not() {
    let listed = |way: &str| {
        // Viewers of the past keep what they fetch, unlisted.
        let live = ["viewers.past.count=0", "viewers.leaping.count=0"];
        let way = format!("core.cache.defects.publishing={way}");
        let o = outcome("lists", 1, &[live[0], live[1], &way]);
        let young = grown(&o.young);
        let copies: usize = young.iter().map(|f| f.cached).sum();
        let published: usize = young.iter().map(|f| f.published).sum();
        published as f64 / copies as f64
    };
    let shares = ["get-edit-put", "compare-and-swap", "add-to-set"].map(listed);
    assert!(shares[0] < 0.6, "{shares:?}");
    assert!(shares[1] > 0.95 && shares[2] > 0.95, "{shares:?}");
}

#[test]
fn one_seed_is_one_run() {
    let changes = ["span=90s", "viewers.past.ago=['20s', '40s']"];
    let hash = |seed| outcome("default", seed, &changes).hash;
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(6));
}
