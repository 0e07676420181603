//! What is read off a run: named figures, each in seconds, as a share, or as a
//! count.

use std::collections::BTreeMap;
use std::time::Duration;

use eddy_core::stats::Shift;

use super::outcome::{Outcome, Replicas, Viewer};
use super::scenario::Scenario;
use crate::hash::Fnv;

/// Figures by name.
pub type Metrics = BTreeMap<&'static str, f64>;

/// Sessions that are shorter say little of continuity.
const SHORT: Duration = Duration::from_secs(30);
/// R, where nothing else is said.
const R: usize = 10;

/// What there is, in the order of tables: name, unit, and what it means.
pub const NAMES: [(&str, Unit, &str); 54] = [
    ("continuity", Unit::Share, "blocks on time over blocks due, live viewers together"),
    ("continuity_worst", Unit::Share, "of the live viewer with the least"),
    ("continuity_worst_1", Unit::Share, "that 1 % of the live viewers stay below"),
    ("perfect", Unit::Share, "live viewers that missed nothing"),
    (
        "past_continuity",
        Unit::Share,
        "blocks on time over blocks due, viewers of the past together",
    ),
    ("least_moment", Unit::Share, "continuity in the worst of the run's 300 moments"),
    (
        "heal",
        Unit::Seconds,
        "from when the last fault strikes to the last moment that missed a block",
    ),
    ("startup_p50", Unit::Seconds, "from coming to the first block, live"),
    ("startup_p95", Unit::Seconds, "the same, 95 %"),
    ("startup_p99", Unit::Seconds, "the same, 99 %"),
    ("startup_bound", Unit::Seconds, "B8: five round trips and the buffer"),
    ("never_started", Unit::Count, "viewers who stayed 30 s and saw nothing"),
    ("past_startup_p50", Unit::Seconds, "from coming to the first block, in the past"),
    ("past_startup_p95", Unit::Seconds, "the same, 95 %"),
    (
        "delay_mean",
        Unit::Seconds,
        "from the start of a block's slot to its arrival, mean of the live viewers' means",
    ),
    ("delay_p95", Unit::Seconds, "the same, 95 % of the viewers"),
    ("delay_max", Unit::Seconds, "the same, the last viewer"),
    ("b6_mean", Unit::Seconds, "B6: the same of the greedy snowball"),
    ("b6_p95", Unit::Seconds, "the same, 95 %"),
    ("delay_ratio", Unit::Ratio, "delay_mean over b6_mean"),
    ("lag_p50", Unit::Seconds, "from the start of a block's slot to its play-out"),
    ("lag_p95", Unit::Seconds, "the same, 95 % of the viewers"),
    ("resources", Unit::Ratio, "B1: all upload over what the live viewers need"),
    ("peer_share", Unit::Share, "live blocks from other viewers"),
    ("provider_copies", Unit::Ratio, "the provider's upload, in streams"),
    ("late_share", Unit::Share, "blocks late over blocks due"),
    ("lost_share", Unit::Share, "blocks given up over blocks due"),
    ("duplicate_share", Unit::Share, "blocks received twice over blocks received"),
    ("repaired_share", Unit::Share, "blocks pulled over blocks received"),
    ("control", Unit::Share, "control bytes sent over stream bytes received"),
    ("changes_per_hour", Unit::Ratio, "changes of parent, a viewer and hour"),
    ("unfairness", Unit::Ratio, "Gini coefficient of upload used over uplink"),
    ("past_peer_share", Unit::Share, "blocks of the past from other viewers (Table 4-2)"),
    ("past_peer_share_worst", Unit::Share, "of the viewer with the least"),
    ("emergency_share", Unit::Share, "blocks of the past from the provider for want of time"),
    ("failed_share", Unit::Share, "the same, for owners did not give them"),
    ("no_owner_share", Unit::Share, "the same, for nobody had them"),
    ("past_lost", Unit::Count, "blocks of the past that nobody gave"),
    ("seek_p50", Unit::Seconds, "from a leap to the first block"),
    ("seek_p95", Unit::Seconds, "the same, 95 %"),
    ("return_p95", Unit::Seconds, "from the wish to be live to the first block, 95 %"),
    ("zap_p50", Unit::Seconds, "from a change of channel to the first block"),
    ("zap_p95", Unit::Seconds, "the same, 95 %"),
    ("refused", Unit::Count, "leaps and changes that came to nothing"),
    ("cached_mean", Unit::Ratio, "viewers who have a file, a minute after it is complete"),
    ("published_mean", Unit::Ratio, "owners that a lookup finds then"),
    ("cached_over_r", Unit::Share, "files that more than R viewers have then"),
    ("published_r", Unit::Share, "files with exactly R owners then"),
    ("cached_over_r_end", Unit::Share, "files that more than R viewers have at the end"),
    ("published_r_end", Unit::Share, "files with exactly R owners at the end"),
    ("published_near_r", Unit::Share, "files with R - 1 to R + 1 owners at any time"),
    ("no_live_owner", Unit::Share, "files without an owner that is there, at any time"),
    ("dht_share", Unit::Share, "a viewer's datagrams over the stream's rate"),
    ("viewers_most", Unit::Count, "viewers at a time"),
];

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0 to 1.
    Share,
    /// Seconds.
    Seconds,
    /// A number of anything.
    Ratio,
    /// How many.
    Count,
}

impl Unit {
    /// A figure as people read it.
    pub fn show(self, value: f64) -> String {
        match self {
            _ if !value.is_finite() => "-".to_owned(),
            Self::Share if value > 0.99 && value < 1.0 => {
                format!("{:.3} %", (value * 1e5).floor() / 1e3)
            }
            Self::Share if value < 0.01 && value > 0.0 => format!("{:.3} %", value * 100.0),
            Self::Share => format!("{:.1} %", value * 100.0),
            Self::Seconds if value < 1.0 => format!("{:.0} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Ratio => format!("{value:.2}"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// A metric's unit and meaning.
pub fn about(name: &str) -> Option<(Unit, &'static str)> {
    NAMES.iter().find(|(n, ..)| *n == name).map(|(_, unit, meaning)| (*unit, *meaning))
}

/// The value below which a share of the values lies (nearest rank).
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_unstable_by(f64::total_cmp);
    all
}

fn seconds(d: Duration) -> f64 {
    d.as_secs_f64()
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { f64::NAN } else { a as f64 / b as f64 }
}

/// All figures of a run. What it did not touch is left out.
pub fn metrics(plan: &Scenario, o: &Outcome) -> Metrics {
    let mut m = Metrics::new();
    let harmless = |v: &&Viewer| plan.viewers[v.group].attack.is_none();
    let live: Vec<&Viewer> = o.viewers.iter().filter(|v| !v.past).filter(harmless).collect();
    let past: Vec<&Viewer> = o.viewers.iter().filter(|v| v.past).filter(harmless).collect();
    play_out(&mut m, plan, o, &live, &past);
    delays(&mut m, o, &live);
    traffic(&mut m, o, &live);
    the_past(&mut m, o, &past);
    replicas(&mut m, plan, o);
    m.insert("viewers_most", o.most as f64);
    m.retain(|_, value| value.is_finite());
    m
}

/// A fingerprint of figures: equal for equal runs.
pub fn fingerprint(m: &Metrics) -> u64 {
    let mut hash = Fnv::new();
    for (name, value) in m {
        hash.write(name.as_bytes());
        hash.write(&value.to_bits().to_be_bytes());
    }
    hash.value()
}

fn play_out(m: &mut Metrics, plan: &Scenario, o: &Outcome, live: &[&Viewer], past: &[&Viewer]) {
    let together = |of: &[&Viewer]| {
        let (due, on_time) =
            of.iter().fold((0, 0), |(d, t), v| (d + v.counts.due, t + v.counts.on_time));
        ratio(on_time, due)
    };
    m.insert("continuity", together(live));
    m.insert("past_continuity", together(past));
    let long = live.iter().filter(|v| v.stayed > SHORT);
    let each = sorted(long.filter_map(|v| v.continuity()));
    m.insert("continuity_worst", each.first().copied().unwrap_or(f64::NAN));
    m.insert("continuity_worst_1", quantile(&each, 0.01));
    m.insert(
        "perfect",
        ratio(each.iter().filter(|c| **c == 1.0).count() as u64, each.len() as u64),
    );
    let moments = || {
        let from = seconds(plan.measure_from.0);
        o.moments.iter().filter(move |moment| moment.due > 0 && moment.at >= from)
    };
    let least = moments().map(|moment| ratio(moment.on_time, moment.due)).fold(f64::NAN, f64::min);
    m.insert("least_moment", least);
    if let Some(last) = plan.faults.iter().filter(|f| f.every.is_none()).map(|f| f.at).max() {
        let missed = moments().filter(|moment| moment.on_time < moment.due);
        let end = missed.map(|moment| moment.at).fold(0.0, f64::max);
        m.insert("heal", (end - seconds(last.0)).max(0.0));
    }
    for (viewers, names) in [
        (live, ["startup_p50", "startup_p95", "startup_p99"]),
        (past, ["past_startup_p50", "past_startup_p95", ""]),
    ] {
        // Who went before it began tells that it took longer than that.
        let starts = viewers.iter().filter(|v| v.startup.is_some() || v.stayed > SHORT);
        let all = sorted(starts.map(|v| seconds(v.startup.unwrap_or(v.stayed))));
        for (name, share) in names.into_iter().zip([0.5, 0.95, 0.99]).filter(|(n, _)| !n.is_empty())
        {
            m.insert(name, quantile(&all, share));
        }
    }
    m.insert("startup_bound", o.b8.map_or(f64::NAN, seconds));
    let never = live.iter().chain(past).filter(|v| v.startup.is_none() && v.stayed > SHORT);
    m.insert("never_started", never.count() as f64);
}

fn delays(m: &mut Metrics, o: &Outcome, live: &[&Viewer]) {
    let all = sorted(live.iter().filter_map(|v| v.arrival(o.block)).map(seconds));
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    m.insert("delay_mean", mean);
    m.insert("delay_p95", quantile(&all, 0.95));
    m.insert("delay_max", all.last().copied().unwrap_or(f64::NAN));
    if let Some(b6) = o.b6 {
        m.insert("b6_mean", seconds(b6.mean));
        m.insert("b6_p95", seconds(b6.p95));
        m.insert("delay_ratio", mean / seconds(b6.mean));
    }
    let lags = sorted(live.iter().filter_map(|v| v.lag).map(seconds));
    m.insert("lag_p50", quantile(&lags, 0.5));
    m.insert("lag_p95", quantile(&lags, 0.95));
}

fn traffic(m: &mut Metrics, o: &Outcome, live: &[&Viewer]) {
    let sum = |of: fn(&Viewer) -> u64| live.iter().map(|v| of(v)).sum::<u64>();
    let due = sum(|v| v.counts.due);
    let received = sum(|v| v.counts.from_peers + v.counts.from_provider);
    m.insert("resources", o.resources);
    m.insert("peer_share", ratio(sum(|v| v.counts.from_peers), received));
    m.insert("provider_copies", o.provider_sent as f64 / o.rate as f64 / seconds(o.measured));
    m.insert("late_share", ratio(sum(|v| v.counts.late), due));
    m.insert("lost_share", ratio(sum(|v| v.counts.lost), due));
    m.insert("duplicate_share", ratio(sum(|v| v.counts.duplicates), received));
    m.insert("repaired_share", ratio(sum(|v| v.counts.repaired), received));
    let bytes = received as f64 * o.rate as f64 * seconds(o.block);
    m.insert("control", sum(|v| v.counts.control_sent) as f64 / bytes);
    let hours = live.iter().map(|v| seconds(v.stayed.min(o.measured))).sum::<f64>() / 3_600.0;
    m.insert("changes_per_hour", sum(|v| v.counts.reselections) as f64 / hours);
    let used = live.iter().filter(|v| v.upload > 0 && v.stayed > SHORT);
    let used =
        sorted(used.map(|v| {
            v.counts.bytes_sent as f64 / v.upload as f64 / seconds(v.stayed.min(o.measured))
        }));
    m.insert("unfairness", gini(&used));
    let all = o.viewers.iter();
    let (bytes, time) = all.fold((0, 0.0), |(b, s), v| (b + v.datagrams, s + seconds(v.stayed)));
    if bytes > 0 {
        m.insert("dht_share", bytes as f64 / time / o.rate as f64);
    }
}

/// 0 if all are equal, near 1 if one has all.
fn gini(sorted: &[f64]) -> f64 {
    let (n, sum) = (sorted.len() as f64, sorted.iter().sum::<f64>());
    let weighted: f64 = (1..).zip(sorted).map(|(i, x)| f64::from(i) * x).sum();
    2.0 * weighted / (n * sum) - (n + 1.0) / n
}

fn the_past(m: &mut Metrics, o: &Outcome, past: &[&Viewer]) {
    let all = |s: &Shift| s.peer + s.emergency + s.failed + s.no_owner;
    let sum = |of: fn(&Shift) -> u64| past.iter().map(|v| of(&v.shift)).sum::<u64>();
    let total = past.iter().map(|v| all(&v.shift)).sum();
    m.insert("past_peer_share", ratio(sum(|s| s.peer), total));
    m.insert("emergency_share", ratio(sum(|s| s.emergency), total));
    m.insert("failed_share", ratio(sum(|s| s.failed), total));
    m.insert("no_owner_share", ratio(sum(|s| s.no_owner), total));
    let each = past.iter().map(|v| ratio(v.shift.peer, all(&v.shift)));
    m.insert("past_peer_share_worst", each.fold(f64::NAN, f64::min));
    if !past.is_empty() {
        m.insert("past_lost", sum(|s| s.lost) as f64);
    }
    let times = |of: fn(&Viewer) -> &[Duration]| {
        sorted(o.viewers.iter().flat_map(of).copied().map(seconds))
    };
    let (leaps, returns, zaps) = (times(|v| &v.leaps), times(|v| &v.returns), times(|v| &v.zaps));
    m.insert("seek_p50", quantile(&leaps, 0.5));
    m.insert("seek_p95", quantile(&leaps, 0.95));
    m.insert("return_p95", quantile(&returns, 0.95));
    m.insert("zap_p50", quantile(&zaps, 0.5));
    m.insert("zap_p95", quantile(&zaps, 0.95));
    if !(leaps.is_empty() && returns.is_empty() && zaps.is_empty()) {
        m.insert("refused", o.viewers.iter().map(|v| v.refused).sum::<u64>() as f64);
    }
}

fn replicas(m: &mut Metrics, plan: &Scenario, o: &Outcome) {
    let r = plan.core.cache.as_ref().and_then(|c| c.replicas).unwrap_or(R);
    let share = |of: &[Replicas], holds: &dyn Fn(&Replicas) -> bool| {
        ratio(of.iter().filter(|f| holds(f)).count() as u64, of.len() as u64)
    };
    let mean = |of: fn(&Replicas) -> usize| {
        ratio(o.young.iter().map(of).sum::<usize>() as u64, o.young.len() as u64)
    };
    m.insert("cached_mean", mean(|f| f.cached));
    m.insert("published_mean", mean(|f| f.published));
    m.insert("cached_over_r", share(&o.young, &|f| f.cached > r));
    m.insert("published_r", share(&o.young, &|f| f.published == r));
    m.insert("cached_over_r_end", share(&o.last, &|f| f.cached > r));
    m.insert("published_r_end", share(&o.last, &|f| f.published == r));
    m.insert("published_near_r", share(&o.sampled, &|f| f.published.abs_diff(r) <= 1));
    m.insert("no_live_owner", share(&o.sampled, &|f| f.live == 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_are_fair_and_one_for_all_is_not() {
        assert!(gini(&[2.0; 10]).abs() < 1e-9);
        assert!((gini(&[0.0, 0.0, 0.0, 4.0]) - 0.75).abs() < 1e-9);
    }

    #[test]
    fn the_manual_tells_of_every_figure() {
        let manual = include_str!("../../../docs/EXPERIMENTS.md");
        for (name, _, meaning) in NAMES {
            assert!(manual.contains(&format!("| `{name}` |")), "{name}");
            assert!(manual.contains(meaning), "{name}: {meaning}");
        }
    }

    #[test]
    fn a_share_just_below_one_is_never_shown_as_one() {
        assert_eq!(Unit::Share.show(0.999_999), "99.999 %");
        assert_eq!(Unit::Share.show(1.0), "100.0 %");
        assert_eq!(Unit::Share.show(0.000_01), "0.001 %");
        assert_eq!(Unit::Seconds.show(0.25), "250 ms");
    }
}
