//! Curves on scaled axes.

use std::collections::BTreeMap;

use super::clip::Point;
use super::{Axis, Curve, Plot, Style};

/// Share of the room between two places that their bars take.
const FILLED: f64 = 0.8;

/// What is drawn of a curve.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Joined points; a gap is `None`.
    Line(Vec<Option<Point>>),
    /// Rectangles between two corners.
    Bars(Vec<(Point, Point)>),
    Dots(Vec<Point>),
}

impl Shape {
    /// Points that the axes should hold.
    pub(super) fn points(&self) -> Vec<Point> {
        match self {
            Self::Line(points) => points.iter().flatten().copied().collect(),
            Self::Bars(bars) => bars.iter().flat_map(|&(a, b)| [a, b]).collect(),
            Self::Dots(points) => points.clone(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Line(points) => points.iter().flatten().next().is_none(),
            Self::Bars(bars) => bars.is_empty(),
            Self::Dots(points) => points.is_empty(),
        }
    }
}

/// A point on scaled axes; `None` if it is not finite.
pub(super) fn scaled(plot: &Plot, (x, y): (f64, f64)) -> Option<Point> {
    Some((plot.x.scale.scaled(x)?, plot.y.scale.scaled(y)?))
}

/// The shape of each curve.
pub(super) fn shapes(plot: &Plot) -> Vec<Shape> {
    let mut bars = Bars::of(plot);
    let shape = |curve: &Curve| {
        let points = curve.points.iter().map(|&p| scaled(plot, p));
        match curve.style {
            Style::Line => Shape::Line(points.collect()),
            Style::Steps => Shape::Line(steps(points)),
            Style::Dots => Shape::Dots(points.flatten().collect()),
            Style::Bars | Style::Stacked => Shape::Bars(bars.next(plot, curve)),
        }
    };
    plot.curves.iter().map(shape).collect()
}

/// Each value holds until the next point.
fn steps(points: impl Iterator<Item = Option<Point>>) -> Vec<Option<Point>> {
    let mut corners = Vec::new();
    let mut before = None;
    for point in points {
        if let (Some((_, held)), Some((x, _))) = (before, point) {
            corners.push(Some((x, held)));
        }
        corners.push(point);
        before = point;
    }
    corners
}

/// How the bars of all curves share the places along x.
struct Bars {
    /// Of one bar, on the scaled axis.
    width: f64,
    /// Bars side by side at each place.
    slots: usize,
    /// Slot of the next curve that is not stacked.
    next: usize,
    /// Slot of those that are stacked, once it is known.
    stack: Option<usize>,
    /// How high they are by now, at the x of these bits.
    heights: BTreeMap<u64, f64>,
}

impl Bars {
    fn of(plot: &Plot) -> Self {
        let of_style = |style| plot.curves.iter().filter(move |c: &&Curve| c.style == style);
        let slots =
            of_style(Style::Bars).count() + usize::from(of_style(Style::Stacked).count() > 0);
        let mut places: Vec<f64> = of_style(Style::Bars)
            .chain(of_style(Style::Stacked))
            .flat_map(|curve| &curve.points)
            .filter_map(|&point| Some(scaled(plot, point)?.0))
            .collect();
        places.sort_unstable_by(f64::total_cmp);
        let between = places.windows(2).map(|w| w[1] - w[0]).filter(|&gap| gap > 0.0);
        let gap = between.fold(f64::MAX, f64::min);
        let gap = if gap == f64::MAX { alone(&plot.x) } else { gap };
        let width = gap * FILLED / slots.max(1) as f64;
        Self { width, slots, next: 0, stack: None, heights: BTreeMap::new() }
    }

    /// The bars of the next curve.
    fn next(&mut self, plot: &Plot, curve: &Curve) -> Vec<(Point, Point)> {
        let stacked = curve.style == Style::Stacked;
        let slot = match self.stack {
            Some(slot) if stacked => slot,
            _ => {
                self.next += 1;
                self.next - 1
            }
        };
        if stacked {
            self.stack = Some(slot);
        }
        let left = self.width * (slot as f64 - self.slots as f64 / 2.0);
        let mut bars = Vec::with_capacity(curve.points.len());
        for &(x, y) in &curve.points {
            let Some((middle, top)) = scaled(plot, (x, y)) else { continue };
            let (bottom, top) = if stacked {
                let height = self.heights.entry(x.to_bits()).or_insert(0.0);
                let below = *height;
                *height += y;
                let at = |height: f64| plot.y.scale.scaled(height).unwrap_or(top);
                (if below == 0.0 { plot.y.scale.ground() } else { at(below) }, at(*height))
            } else {
                (plot.y.scale.ground(), top)
            };
            bars.push(((middle + left, bottom), (middle + left + self.width, top)));
        }
        bars
    }
}

/// The room of a bar that is alone.
fn alone(x: &Axis) -> f64 {
    match x.scale {
        super::Scale::Linear => 1.0,
        super::Scale::Log => 0.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(style: [Style; 2]) -> Vec<Shape> {
        let curve = |style, height| Curve {
            name: String::new(),
            points: vec![(1.0, height), (6.0, height), (f64::NAN, height)],
            style,
        };
        shapes(&Plot {
            title: String::new(),
            about: String::new(),
            x: Axis::linear(""),
            y: Axis::linear(""),
            curves: vec![curve(style[0], 1.0), curve(style[1], 2.0)],
            marks: Vec::new(),
        })
    }

    #[test]
    fn bars_stand_side_by_side() {
        let want = [
            Shape::Bars(vec![((-1.0, 0.0), (1.0, 1.0)), ((4.0, 0.0), (6.0, 1.0))]),
            Shape::Bars(vec![((1.0, 0.0), (3.0, 2.0)), ((6.0, 0.0), (8.0, 2.0))]),
        ];
        assert_eq!(bars([Style::Bars, Style::Bars]), want);
        assert_eq!(bars([Style::Stacked, Style::Bars]), want);
    }

    #[test]
    fn stacked_bars_stand_on_each_other() {
        let want = [
            Shape::Bars(vec![((-1.0, 0.0), (3.0, 1.0)), ((4.0, 0.0), (8.0, 1.0))]),
            Shape::Bars(vec![((-1.0, 1.0), (3.0, 3.0)), ((4.0, 1.0), (8.0, 3.0))]),
        ];
        assert_eq!(bars([Style::Stacked, Style::Stacked]), want);
    }

    #[test]
    fn a_value_holds_until_the_next() {
        let points = [Some((0.0, 1.0)), Some((1.0, 2.0)), None, Some((3.0, 3.0))];
        let corners =
            [Some((0.0, 1.0)), Some((1.0, 1.0)), Some((1.0, 2.0)), None, Some((3.0, 3.0))];
        assert_eq!(steps(points.into_iter()), corners);
    }
}
