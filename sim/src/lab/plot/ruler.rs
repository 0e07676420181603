//! An axis as plotters wants it.

use std::ops::Range;

use plotters::coord::ranged1d::{
    KeyPointHint, KeyPointWeight, NoDefaultFormatting, Ranged, ValueFormatter,
};

use super::ticks::Ticks;
use super::{Axis, Scale};

/// Larger numbers are taken for this one, that differences stay finite.
const LARGEST: f64 = 1e300;

/// An axis in scaled values, with its ticks.
#[derive(Clone, Debug)]
pub(super) struct Ruler {
    pub(super) lo: f64,
    pub(super) hi: f64,
    pub(super) ticks: Ticks,
}

impl Scale {
    /// The value on a scaled axis, where equal distances are equal; `None` if
    /// it is not finite.
    pub(super) fn scaled(self, value: f64) -> Option<f64> {
        value.is_finite().then(|| match self {
            Self::Linear => value.clamp(-LARGEST, LARGEST),
            Self::Log => value.max(f64::MIN_POSITIVE).log10(),
        })
    }

    /// Where on a scaled axis bars begin.
    pub(super) fn ground(self) -> f64 {
        match self {
            Self::Linear => 0.0,
            Self::Log => f64::MIN_POSITIVE.log10(),
        }
    }
}

impl Axis {
    /// From where to where it goes, scaled, if these scaled values are on it.
    pub(super) fn extent(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        let unseen = |v: f64| self.scale == Scale::Log && v <= self.scale.ground();
        let (lo, hi) = values
            .filter(|&v| !unseen(v))
            .fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(v), hi.max(v)));
        let (lo, hi) = if lo <= hi { self.padded(lo, hi) } else { (0.0, 1.0) };

        let (from, to) = self.range.unwrap_or((f64::NAN, f64::NAN));
        let end = |given: f64| self.scale.scaled(given).filter(|&v| !unseen(v));
        let (from, to) = (end(from).unwrap_or(lo), end(to).unwrap_or(hi));
        let (lo, hi) = (from.min(to), from.max(to));
        if self.wide(lo, hi) { (lo, hi) } else { self.widened(lo) }
    }

    /// Whether there is anything between the two that a number can tell.
    fn wide(&self, lo: f64, hi: f64) -> bool {
        let least = match self.scale {
            Scale::Linear => (lo.abs().max(hi.abs()) * 1e-9).max(1e-290),
            Scale::Log => 1e-3,
        };
        hi - lo >= least
    }

    /// Room around the one value that there is.
    fn widened(&self, at: f64) -> (f64, f64) {
        match self.scale {
            Scale::Linear if at.abs() < 1e-280 => (-1.0, 1.0),
            Scale::Linear => (at - at.abs(), at + at.abs()),
            Scale::Log => (at - 0.5, at + 0.5),
        }
    }

    /// Some room at the ends. An axis that begins near zero begins at zero.
    fn padded(&self, lo: f64, hi: f64) -> (f64, f64) {
        if !self.wide(lo, hi) {
            return self.widened(lo);
        }
        let room = (hi - lo) * 0.04;
        let near = |end: f64, other: f64| {
            self.scale == Scale::Linear && end * other >= 0.0 && end.abs() <= other.abs() * 0.3
        };
        let from = if near(lo, hi) { 0.0 } else { lo - room };
        let to = if near(hi, lo) { 0.0 } else { hi + room };
        (from, to)
    }
}

impl Ruler {
    /// Where the scaled value is: zero at the begin of the axis, one at its end.
    pub(super) fn part(&self, value: f64) -> f64 {
        (value - self.lo) / (self.hi - self.lo)
    }
}

impl Ranged for Ruler {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (f64::from(limit.1 - limit.0) * self.part(*value)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        match hint.weight() {
            KeyPointWeight::Bold => self.ticks.major.iter().map(|tick| tick.at).collect(),
            KeyPointWeight::Any => self.ticks.minor.clone(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.lo..self.hi
    }
}

impl ValueFormatter<f64> for Ruler {
    fn format_ext(&self, value: &f64) -> String {
        let tick = self.ticks.major.iter().find(|tick| tick.at == *value);
        tick.map(|tick| tick.label.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn extent(axis: &Axis, values: &[f64]) -> (f64, f64) {
        axis.extent(values.iter().filter_map(|&v| axis.scale.scaled(v)))
    }

    quickcheck! {
        fn any_values_give_an_axis_that_holds_them(
            values: Vec<f64>, range: Option<(f64, f64)>, log: bool
        ) -> bool {
            let scale = if log { Scale::Log } else { Scale::Linear };
            let axis = Axis { label: String::new(), scale, range };
            let (lo, hi) = extent(&axis, &values);
            let holds = |v: f64| scale.scaled(v).is_none_or(|v| (lo..=hi).contains(&v));
            lo.is_finite() && hi.is_finite() && lo < hi && (hi - lo).is_finite()
                && (range.is_some() || values.iter().all(|&v| log && v <= 0.0 || holds(v)))
        }
    }

    #[test]
    fn ranges() {
        let linear = Axis::linear("");
        assert_eq!(extent(&linear, &[10.0, 100.0]), (0.0, 103.6));
        assert_eq!(extent(&linear, &[-50.0, 50.0]), (-54.0, 54.0));
        assert_eq!(extent(&linear, &[3.0, 3.0]), (0.0, 6.0));
        assert_eq!(extent(&linear, &[]), (0.0, 1.0));
        assert_eq!(extent(&linear.clone().within(0.9, 1.0), &[7.0]), (0.9, 1.0));
        assert_eq!(extent(&linear.clone().within(1.0, 0.9), &[7.0]), (0.9, 1.0));
        assert_eq!(extent(&linear.within(f64::NAN, 1.0), &[-50.0, 50.0]), (-54.0, 1.0));
        assert_eq!(extent(&Axis::log("").within(0.0, 100.0), &[10.0]), (0.5, 2.0));
        assert_eq!(extent(&Axis::log(""), &[0.0, -1.0]), (0.0, 1.0));
    }
}
