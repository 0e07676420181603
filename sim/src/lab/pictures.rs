//! The plots of a scenario: each preset a curve, all its seeds together, with
//! what was published, what is possible and what is aimed at drawn in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::batch::Done;
use super::outcome::{Outcome, Replicas, Viewer};
use super::plot::{At, Axis, Curve, Mark, MarkKind, Plot, Style, cdf, histogram};
use super::scenario::Scenario;

/// R of the published system, and of ours unless told otherwise.
const R: usize = 10;
/// Viewers whose sources are shown one by one.
const MOST_BARS: usize = 60;
/// Of a CDF of what is always there, the left end begins here.
const NEAR_ONE: f64 = 0.8;

/// Pictures by name.
pub fn pictures(plan: &Scenario, presets: &[String], done: &[Done]) -> Vec<(String, Plot)> {
    let all = Pictures { plan, presets, done };
    let mut pictures = vec![
        ("startup", all.startup()),
        ("delay", all.delay()),
        ("continuity", all.continuity()),
        ("viewers", all.viewers()),
        ("over-time", all.over_time()),
    ];
    if done.iter().any(|d| d.outcome.viewers.iter().any(|v| v.past)) {
        pictures.push(("sources", all.sources()));
    }
    if done.iter().any(|d| !d.outcome.last.is_empty()) {
        pictures.push(("replicas-cached", all.replicas("cached", |r| r.cached)));
        pictures.push(("replicas-published", all.replicas("published", |r| r.published)));
    }
    pictures.into_iter().map(|(name, plot)| (format!("{}-{name}", plan.id), plot)).collect()
}

struct Pictures<'a> {
    plan: &'a Scenario,
    presets: &'a [String],
    done: &'a [Done],
}

impl Pictures<'_> {
    fn of<'a>(&'a self, preset: &'a str) -> impl Iterator<Item = &'a Outcome> + 'a {
        self.done.iter().filter(move |d| d.job.preset == preset).map(|d| &d.outcome)
    }

    fn plot(&self, title: &str, x: Axis, y: Axis, curves: Vec<Curve>, marks: Vec<Mark>) -> Plot {
        let runs = self.done.len() / self.presets.len().max(1);
        let about = format!("{}: {}; {runs} seeds", self.plan.id, self.plan.title);
        Plot { title: title.to_owned(), about, x, y, curves, marks }
    }

    /// A curve a preset: the distribution over its live viewers.
    fn distribution(&self, value: impl Fn(&Outcome, &Viewer) -> Option<f64>) -> Vec<Curve> {
        let curve = |preset: &String| {
            let live = self.of(preset).flat_map(|o| o.viewers.iter().map(move |v| (o, v)));
            let values = live.filter(|(_, v)| !v.past).filter_map(|(o, v)| value(o, v));
            Curve { name: preset.clone(), points: cdf(values), style: Style::Steps }
        };
        self.presets.iter().map(curve).collect()
    }

    /// Published figures and targets of a metric, upright or level.
    fn marks(&self, metric: &str, at: impl Fn(f64) -> At) -> Vec<Mark> {
        let published = self.plan.published.iter().filter(|p| p.metric == metric).map(|p| Mark {
            name: "published".to_owned(),
            at: at(p.value),
            kind: MarkKind::Published,
        });
        let targets = self.plan.targets.iter().filter(|t| t.metric == metric);
        let targets = targets.filter_map(|t| t.least.or(t.most)).map(|value| Mark {
            name: "target".to_owned(),
            at: at(value),
            kind: MarkKind::Target,
        });
        let mut marks: Vec<Mark> = published.chain(targets).collect();
        marks.dedup();
        marks
    }

    /// A bound that is the same for all runs of a preset, the least of all; one for
    /// all presets where it is the same for them, too.
    fn bounds(&self, name: &str, of: impl Fn(&Outcome) -> Option<Duration>) -> Vec<Mark> {
        let least = |preset: &str| self.of(preset).filter_map(&of).min();
        let all: Vec<(&String, Duration)> =
            self.presets.iter().filter_map(|preset| Some((preset, least(preset)?))).collect();
        let is_one = all.windows(2).all(|two| two[0].1 == two[1].1);
        let mark = |(preset, bound): &(&String, Duration)| Mark {
            name: if is_one { name.to_owned() } else { format!("{name}, {preset}") },
            at: At::X(bound.as_secs_f64()),
            kind: MarkKind::Bound,
        };
        all.iter().take(if is_one { 1 } else { all.len() }).map(mark).collect()
    }

    /// When faults strike, and from when on it is measured.
    fn moments(&self) -> Vec<Mark> {
        let mark = |name: &str, at: f64| Mark {
            name: name.to_owned(),
            at: At::X(at),
            kind: MarkKind::Moment,
        };
        let (from, span) = (self.plan.measure_from.0, self.plan.span.0);
        let measured = (!from.is_zero()).then(|| mark("measured from here", from.as_secs_f64()));
        let faults = self.plan.faults.iter().filter(|f| f.at.0 < span);
        let faults = faults.map(|f| {
            let again = if f.every.is_some() { ", again and again" } else { "" };
            mark(&format!("{}: {}{again}", f.who, f.what.name()), f.at.0.as_secs_f64())
        });
        let mut marks: Vec<Mark> = measured.into_iter().chain(faults).collect();
        marks.dedup();
        marks
    }

    fn startup(&self) -> Plot {
        let curves = self.distribution(|_, v| v.startup.map(|d| d.as_secs_f64()));
        let mut marks = self.marks("startup_p95", At::X);
        marks.extend(self.marks("startup_p50", At::X));
        marks.extend(self.bounds("B8, median pair", |o| o.b8));
        let y = Axis::linear("share of viewers").within(0.0, 1.0);
        self.plot("Start-up: coming to first block", Axis::log("seconds"), y, curves, marks)
    }

    fn delay(&self) -> Plot {
        let curves = self.distribution(|o, v| v.arrival(o.block).map(|d| d.as_secs_f64()));
        let mut marks = self.marks("delay_mean", At::X);
        marks.extend(self.bounds("B6, mean", |o| o.b6.map(|b| b.mean)));
        let y = Axis::linear("share of viewers").within(0.0, 1.0);
        let title = "Delay: start of a block's slot to its arrival, each viewer's mean";
        self.plot(title, Axis::log("seconds"), y, curves, marks)
    }

    fn continuity(&self) -> Plot {
        let curves = self.distribution(|_, v| v.continuity());
        let least = curves.iter().filter_map(|c| c.points.first()).map(|p| p.0);
        let left = least.fold(NEAR_ONE, f64::min);
        let x = Axis::linear("blocks on time over blocks due").within(left, 1.0);
        let y = Axis::linear("share of viewers").within(0.0, 1.0);
        let marks = self.marks("continuity", At::X);
        self.plot("Continuity, each live viewer's", x, y, curves, marks)
    }

    /// A curve of each preset over time, from the first of its seeds.
    fn in_time(&self, value: impl Fn(&Outcome) -> Vec<(f64, f64)>) -> Vec<Curve> {
        let curve = |preset: &String| {
            let points = self.of(preset).next().map(&value).unwrap_or_default();
            Curve { name: preset.clone(), points, style: Style::Line }
        };
        self.presets.iter().map(curve).collect()
    }

    fn viewers(&self) -> Plot {
        let mut curves =
            self.in_time(|o| o.moments.iter().map(|m| (m.at, m.playing as f64)).collect());
        for curve in &mut curves {
            curve.name = format!("{}, playing", curve.name);
        }
        if let Some(first) = self.done.first() {
            let moments = &first.outcome.moments;
            let there = moments.iter().map(|m| (m.at, m.viewers as f64)).collect();
            let mut sum = 0;
            let came = moments.iter().map(|m| {
                sum += m.arrivals;
                (m.at, sum as f64)
            });
            let came = came.collect();
            curves.push(Curve { name: "there".into(), points: there, style: Style::Line });
            curves.push(Curve { name: "came so far".into(), points: came, style: Style::Line });
        }
        let (x, y) = (Axis::linear("seconds"), Axis::linear("viewers"));
        self.plot("Arrivals and viewers over time, first seed", x, y, curves, self.moments())
    }

    fn over_time(&self) -> Plot {
        let curves = self.in_time(|o| {
            // While nothing is due there is no share, and the curve has a gap.
            o.moments.iter().map(|m| (m.at, m.on_time as f64 / m.due as f64)).collect()
        });
        let mut marks = self.marks("continuity", At::Y);
        marks.extend(self.moments());
        let (x, y) = (Axis::linear("seconds"), Axis::linear("blocks on time over blocks due"));
        self.plot("Continuity over time, first seed", x, y, curves, marks)
    }

    /// Who gave each viewer of the past its blocks, in the first run that has any.
    fn sources(&self) -> Plot {
        let run = self.done.iter().find(|d| d.outcome.viewers.iter().any(|v| v.past));
        let past = run.iter().flat_map(|d| &d.outcome.viewers).filter(|v| v.past).take(MOST_BARS);
        let mut curves: BTreeMap<usize, Curve> = BTreeMap::new();
        for (n, viewer) in (1_u32..).zip(past) {
            let s = viewer.shift;
            let all = (s.peer + s.emergency + s.failed + s.no_owner).max(1) as f64;
            let parts = [
                ("other viewers", s.peer),
                ("provider, in haste", s.emergency),
                ("provider, owners failed", s.failed),
                ("provider, no owner", s.no_owner),
            ];
            for (k, (name, blocks)) in parts.into_iter().enumerate() {
                let curve = curves.entry(k).or_insert_with(|| Curve {
                    name: name.to_owned(),
                    points: Vec::new(),
                    style: Style::Stacked,
                });
                curve.points.push((f64::from(n), blocks as f64 / all));
            }
        }
        let preset = run.map_or("", |d| d.job.preset.as_str());
        let title = format!("Sources of the past under {preset}, each viewer's");
        let (x, y) = (Axis::linear("viewer of the past"), Axis::linear("share of blocks"));
        let marks = self.marks("past_peer_share", At::Y);
        self.plot(&title, x, y.within(0.0, 1.0), curves.into_values().collect(), marks)
    }

    fn replicas(&self, what: &str, count: impl Fn(&Replicas) -> usize) -> Plot {
        let curve = |preset: &String| {
            let files = self.of(preset).flat_map(|o| &o.last);
            let points = histogram(files.map(&count));
            Curve { name: preset.clone(), points, style: Style::Bars }
        };
        let viewers: usize = self.plan.viewers.iter().map(|g| g.count).sum();
        let marks = vec![
            Mark {
                name: "binomial (B7)".to_owned(),
                at: At::Curve(binomial(viewers, R as f64 / viewers.max(1) as f64)),
                kind: MarkKind::Bound,
            },
            Mark { name: "R".to_owned(), at: At::X(R as f64), kind: MarkKind::Target },
        ];
        let title = format!("Replicas of each file, {what}, at the end");
        let (x, y) = (Axis::linear("replicas"), Axis::linear("share of files"));
        self.plot(&title, x, y, self.presets.iter().map(curve).collect(), marks)
    }
}

/// The binomial distribution as far as it can be seen: (k, probability).
fn binomial(n: usize, p: f64) -> Vec<(f64, f64)> {
    let p = p.min(1.0);
    let mut probability = (1.0 - p).powi(n as i32);
    let mut points = Vec::new();
    for k in 0..=n {
        if probability > 1e-4 {
            points.push((k as f64, probability));
        }
        probability *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_caching_leaves_45_percent_of_files_with_too_few() {
        // Performance study, B7.
        let all = binomial(64, 10.0 / 64.0);
        let few: f64 = all.iter().filter(|(k, _)| *k < 10.0).map(|(_, p)| p).sum();
        assert!((few - 0.45).abs() < 0.01, "{few}");
    }
}
