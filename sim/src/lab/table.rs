//! Results side by side: a row a figure, a column a preset, and beside them what
//! was published and what is to be reached. The same text is a table on a
//! terminal and in Markdown.

use super::batch::Done;
use super::metrics::{NAMES, Unit, about};
use super::scenario::{Scenario, Target};

/// Figures that are shown of every scenario, beside those with a target or a
/// published value.
const ALWAYS: [&str; 9] = [
    "continuity",
    "continuity_worst",
    "startup_p50",
    "startup_p95",
    "delay_mean",
    "delay_ratio",
    "lag_p95",
    "peer_share",
    "provider_copies",
];

/// A figure over the seeds of one preset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub most: f64,
}

impl Spread {
    /// `None` if no run has the figure.
    pub fn of<'a>(done: impl Iterator<Item = &'a Done>, metric: &str) -> Option<Self> {
        let mut all: Vec<f64> = done.filter_map(|d| d.metrics.get(metric).copied()).collect();
        all.sort_unstable_by(f64::total_cmp);
        let (&least, &most) = (all.first()?, all.last()?);
        // Of an even number the middle two count.
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        Some(Self { median: (low + high) / 2.0, least, most })
    }
}

/// Whether a target is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By the median and by the worst seed.
    Met,
    /// By the median, not by every seed.
    MetByMedian,
    /// No.
    Missed,
    /// The figure is missing.
    Unknown,
}

impl Target {
    /// Compares a target with what came out.
    pub fn verdict(&self, spread: Option<Spread>) -> Verdict {
        let Some(s) = spread else { return Verdict::Unknown };
        let holds = |value: f64| {
            self.least.is_none_or(|least| value >= least)
                && self.most.is_none_or(|most| value <= most)
        };
        match (holds(s.median), holds(s.least) && holds(s.most)) {
            (true, true) => Verdict::Met,
            (true, false) => Verdict::MetByMedian,
            _ => Verdict::Missed,
        }
    }

    /// The target in words.
    pub fn text(&self) -> String {
        let unit = about(&self.metric).map_or(Unit::Ratio, |(unit, _)| unit);
        let mut text = String::new();
        for (sign, bound) in [("≥", self.least), ("≤", self.most)] {
            if let Some(bound) = bound {
                let comma = if text.is_empty() { "" } else { ", " };
                text += &format!("{comma}{sign} {}", unit.show(bound));
            }
        }
        text
    }
}

/// Rows of the figures of a scenario's runs: all of them, or the main ones.
pub fn table(plan: &Scenario, presets: &[String], done: &[Done], all: bool) -> String {
    let of = |preset: &str| done.iter().filter(move |d| d.job.preset == preset).collect::<Vec<_>>();
    let heading: Vec<String> = ["figure"]
        .into_iter()
        .chain(presets.iter().map(String::as_str))
        .chain(["published", "target", ""])
        .map(str::to_owned)
        .collect();
    let mut rows = vec![heading];
    for (name, unit, _) in NAMES {
        let targets: Vec<&Target> = plan.targets.iter().filter(|t| t.metric == name).collect();
        let published = plan.published.iter().find(|p| p.metric == name);
        if !(all || ALWAYS.contains(&name) || published.is_some() || !targets.is_empty()) {
            continue;
        }
        let spreads: Vec<Option<Spread>> =
            presets.iter().map(|p| Spread::of(of(p).into_iter(), name)).collect();
        if spreads.iter().all(Option::is_none) && targets.is_empty() {
            continue;
        }
        let mut row = vec![name.to_owned()];
        row.extend(spreads.iter().map(|s| s.map_or("-".to_owned(), |s| shown(unit, s))));
        row.push(published.map_or(String::new(), |p| unit.show(p.value)));
        row.push(targets.iter().map(|t| t.text()).collect::<Vec<_>>().join("; "));
        let verdicts = targets.iter().map(|t| {
            let spread = presets.iter().position(|p| *p == t.preset).and_then(|n| spreads[n]);
            match t.verdict(spread) {
                Verdict::Met => "met",
                Verdict::MetByMedian => "met, not by every seed",
                Verdict::Missed => "MISSED",
                Verdict::Unknown => "not measured",
            }
        });
        row.push(verdicts.collect::<Vec<_>>().join("; "));
        rows.push(row);
    }
    lay_out(&rows)
}

/// The median, and the extremes where they differ.
fn shown(unit: Unit, s: Spread) -> String {
    let (median, least, most) = (unit.show(s.median), unit.show(s.least), unit.show(s.most));
    if least == most { median } else { format!("{median} ({least} … {most})") }
}

/// Columns as wide as they need to be, between bars.
pub fn lay_out(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            text += &format!("| {cell:<width$} ");
        }
        text.push_str("|\n");
        if n == 0 {
            for width in &widths {
                text += &format!("|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_by_the_median_or_by_all() {
        let target = Target {
            metric: "continuity".to_owned(),
            least: Some(0.99),
            most: None,
            preset: "default".to_owned(),
        };
        let spread = |least, median, most| Some(Spread { median, least, most });
        assert_eq!(target.verdict(spread(0.995, 0.999, 1.0)), Verdict::Met);
        assert_eq!(target.verdict(spread(0.9, 0.999, 1.0)), Verdict::MetByMedian);
        assert_eq!(target.verdict(spread(0.9, 0.98, 1.0)), Verdict::Missed);
        assert_eq!(target.verdict(None), Verdict::Unknown);
        assert_eq!(target.text(), "≥ 99.0 %");
    }
}
