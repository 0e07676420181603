//! Marks at an x or a y, with their names beside the plot.

use plotters::style::text_anchor::HPos;

use super::clip::Point;
use super::draw::{HEIGHT, LINE, MARGIN, WIDTH};
use super::flags::{fly, stack};
use super::pen::{Drawn, INK, Pen, Sheet, Type, units};
use super::ruler::Ruler;
use super::shape::scaled;
use super::text::{clean, shorten, width, wrap};
use super::{At, Mark, MarkKind, Plot};

const NAMES: Type = Type::new(12.0, INK);
/// Pixels from one line of names to the next.
const ROW: f64 = NAMES.size * LINE;
/// The names of level marks, right of the plot, are no wider, and this far away.
const BESIDE: f64 = 160.0;
const LEAD: f64 = 14.0;
/// From a mark, or what leads to it, to its name.
const NEAR: f64 = 5.0;

/// A mark at an x, with its name above the plot.
pub(super) struct Upright {
    kind: MarkKind,
    name: String,
    /// Where it is, or is nearest.
    x: f64,
    within: bool,
    /// Of its name.
    left: f64,
    row: usize,
}

/// A mark at a y, with its name right of the plot.
pub(super) struct Level {
    kind: MarkKind,
    name: Vec<String>,
    /// Where it is, or is nearest, from the top of the plot.
    y: f64,
    within: bool,
    /// Of its name.
    middle: f64,
}

/// The points of marks that are curves, scaled.
pub(super) fn on_curves(plot: &Plot) -> impl Iterator<Item = Point> {
    let curves = plot.marks.iter().filter_map(|mark| match &mark.at {
        At::Curve(points) => Some(points),
        At::X(_) | At::Y(_) => None,
    });
    curves.flatten().filter_map(|&point| scaled(plot, point))
}

/// Marks at an x, scaled.
pub(super) fn at_x(plot: &Plot) -> impl Iterator<Item = (f64, &Mark)> {
    plot.marks.iter().filter_map(|mark| match mark.at {
        At::X(x) => Some((plot.x.scale.scaled(x)?, mark)),
        At::Y(_) | At::Curve(_) => None,
    })
}

/// Marks at a y, scaled.
pub(super) fn at_y(plot: &Plot) -> impl Iterator<Item = (f64, &Mark)> {
    plot.marks.iter().filter_map(|mark| match mark.at {
        At::Y(y) => Some((plot.y.scale.scaled(y)?, mark)),
        At::X(_) | At::Curve(_) => None,
    })
}

impl Upright {
    /// Those of a plot that begins at `left` and is so wide.
    pub(super) fn all(plot: &Plot, ruler: &Ruler, left: f64, wide: f64) -> Vec<Self> {
        let place = |(x, mark): (f64, &Mark)| {
            let part = ruler.part(x);
            let name = clean(&mark.name);
            let name = match part {
                p if p < 0.0 => format!("← {name}"),
                p if p > 1.0 => format!("{name} →"),
                _ => name,
            };
            let name = shorten(&name, NAMES.size, wide - 2.0 * NEAR);
            let x = left + part.clamp(0.0, 1.0) * wide;
            let within = (0.0..=1.0).contains(&part);
            Self { kind: mark.kind, name, x, within, left: x, row: 0 }
        };
        let mut marks: Vec<Self> = at_x(plot).map(place).collect();
        let sizes: Vec<(f64, f64)> =
            marks.iter().map(|mark| (mark.x, width(&mark.name, NAMES.size) + 2.0 * NEAR)).collect();
        for (mark, flag) in marks.iter_mut().zip(fly(&sizes, WIDTH - MARGIN)) {
            mark.left = flag.left + NEAR;
            mark.row = flag.row;
        }
        marks
    }

    /// How much room they take above the plot.
    pub(super) fn height(marks: &[Self]) -> f64 {
        marks.iter().map(|mark| mark.row + 1).max().unwrap_or(0) as f64 * ROW
    }

    /// Draws it on a plot with this top.
    pub(super) fn draw(&self, sheet: &Sheet<'_>, top: f64) -> Drawn {
        let middle = top - (self.row as f64 + 0.5) * ROW - 3.0;
        if self.within {
            let line = [top + HEIGHT, middle - NAMES.size / 2.0];
            Pen::mark(self.kind).draw(sheet, line.map(|y| (units(self.x), units(y))).to_vec())?;
        }
        NAMES.write(sheet, &self.name, HPos::Left, (self.left, middle))
    }
}

impl Level {
    pub(super) fn all(plot: &Plot, ruler: &Ruler) -> Vec<Self> {
        let place = |(y, mark): (f64, &Mark)| {
            let part = ruler.part(y);
            let name = clean(&mark.name);
            let name = match part {
                p if p < 0.0 => format!("↓ {name}"),
                p if p > 1.0 => format!("↑ {name}"),
                _ => name,
            };
            let name = wrap(&shorten(&name, NAMES.size, BESIDE * 3.0), NAMES.size, BESIDE);
            let y = (1.0 - part.clamp(0.0, 1.0)) * HEIGHT;
            let within = (0.0..=1.0).contains(&part);
            Self { kind: mark.kind, name, y, within, middle: y }
        };
        let mut marks: Vec<Self> = at_y(plot).map(place).collect();
        let sizes: Vec<(f64, f64)> =
            marks.iter().map(|mark| (mark.y, mark.name.len() as f64 * ROW)).collect();
        // At the ends, a line of text may stand half beyond its mark.
        let ends = (-ROW / 2.0, HEIGHT + ROW / 2.0);
        for (mark, middle) in marks.iter_mut().zip(stack(&sizes, ends)) {
            mark.middle = middle;
        }
        marks
    }

    /// How much room they take right of the plot.
    pub(super) fn width(marks: &[Self]) -> f64 {
        let lines = marks.iter().flat_map(|mark| &mark.name);
        lines.map(|line| LEAD + NEAR + width(line, NAMES.size)).fold(0.0, f64::max)
    }

    /// Draws it on a plot with this left and right end and this top.
    pub(super) fn draw(&self, sheet: &Sheet<'_>, (left, right): (f64, f64), top: f64) -> Drawn {
        if self.within {
            let line = [(left, self.y), (right, self.y)];
            let lead = [(right + 1.0, self.y), (right + LEAD, self.middle)];
            let at = |(x, y)| (units(x), units(top + y));
            Pen::mark(self.kind).draw(sheet, line.map(at).to_vec())?;
            Pen::LEAD.draw(sheet, lead.map(at).to_vec())?;
        }
        for (i, line) in self.name.iter().enumerate() {
            let offset = (i as f64 - (self.name.len() as f64 - 1.0) / 2.0) * ROW;
            let at = (right + LEAD + NEAR, top + self.middle + offset);
            NAMES.write(sheet, line, HPos::Left, at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plot::Axis;
    use crate::lab::plot::ticks::Ticks;

    fn plot(marks: &[(&str, At)]) -> Plot {
        let mark = |(name, at): &(&str, At)| Mark {
            name: (*name).to_owned(),
            at: at.clone(),
            kind: MarkKind::Bound,
        };
        Plot {
            title: String::new(),
            about: String::new(),
            x: Axis::linear(""),
            y: Axis::log(""),
            curves: Vec::new(),
            marks: marks.iter().map(mark).collect(),
        }
    }

    #[test]
    fn marks_outside_are_named_at_the_edge() {
        let unit = Ruler { lo: 0.0, hi: 1.0, ticks: Ticks::default() };
        let plot = plot(&[
            ("less", At::X(-1.0)),
            ("more", At::X(2.0)),
            ("in", At::X(0.25)),
            ("none", At::X(f64::NAN)),
            ("high", At::Y(1e9)),
            ("low", At::Y(0.0)),
        ]);
        let upright = Upright::all(&plot, &unit, 100.0, 400.0);
        let seen: Vec<_> = upright.iter().map(|m| (m.name.as_str(), m.x, m.within)).collect();
        assert_eq!(seen, [("← less", 100.0, false), ("more →", 500.0, false), ("in", 200.0, true)]);

        let level = Level::all(&plot, &unit);
        let seen: Vec<_> = level.iter().map(|m| (m.name.concat(), m.y, m.within)).collect();
        assert_eq!(seen, [("↑ high".to_owned(), 0.0, false), ("↓ low".to_owned(), HEIGHT, false)]);
    }
}
