//! The legend, under the plot: there it covers nothing.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::pen::{Drawn, INK, Pen, Sheet, Type, color, units};
use super::shape::Shape;
use super::text::{clean, shorten, width};
use super::{At, MarkKind, Plot};

const TYPE: Type = Type::new(13.0, INK);
/// Pixels from one row to the next.
const ROW: f64 = 21.0;
/// Pixels of a sample of line and of another, from it to its name, and between
/// two entries.
const LINE: f64 = 30.0;
const SPOT: f64 = 12.0;
const GAP: f64 = 7.0;
const BETWEEN: f64 = 24.0;

enum Sample {
    Line(Pen),
    Bar(RGBColor),
    Dot(RGBColor),
}

impl Sample {
    fn width(&self) -> f64 {
        match self {
            Self::Line(_) => LINE,
            Self::Bar(_) | Self::Dot(_) => SPOT,
        }
    }
}

struct Entry {
    sample: Sample,
    name: String,
    /// Pixels from the left and row.
    at: (f64, usize),
}

/// The entries in their places.
pub(super) struct Legend {
    entries: Vec<Entry>,
    rows: usize,
}

impl Legend {
    /// The curves, the marks that are curves, and what the lines of other marks
    /// mean, in rows as wide as `room`.
    pub(super) fn new(plot: &Plot, shapes: &[Shape], room: f64) -> Self {
        let mut named: Vec<(Sample, String)> = Vec::new();
        for (i, (curve, shape)) in plot.curves.iter().zip(shapes).enumerate() {
            let sample = match shape {
                Shape::Line(_) => Sample::Line(Pen::curve(i)),
                Shape::Bars(_) => Sample::Bar(color(i)),
                Shape::Dots(_) => Sample::Dot(color(i)),
            };
            let note = if shape.is_empty() { " (no data)" } else { "" };
            named.push((sample, format!("{}{note}", curve.name)));
        }
        for mark in &plot.marks {
            if let At::Curve(_) = mark.at {
                named.push((Sample::Line(Pen::mark(mark.kind)), mark.name.clone()));
            }
        }
        let kinds = [
            (MarkKind::Published, "published"),
            (MarkKind::Bound, "bound"),
            (MarkKind::Target, "target"),
            (MarkKind::Moment, "something happens"),
        ];
        for (kind, name) in kinds {
            let straight = |at: &At| !matches!(at, At::Curve(_));
            if plot.marks.iter().any(|mark| mark.kind == kind && straight(&mark.at)) {
                named.push((Sample::Line(Pen::mark(kind)), name.to_owned()));
            }
        }
        Self::set(named, room)
    }

    fn set(named: Vec<(Sample, String)>, room: f64) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let (mut left, mut row) = (0.0, 0);
        for (sample, name) in named {
            let name = shorten(&clean(&name), TYPE.size, room - LINE - GAP);
            let wide = sample.width() + GAP + width(&name, TYPE.size);
            if left > 0.0 && left + wide > room {
                (left, row) = (0.0, row + 1);
            }
            entries.push(Entry { sample, name, at: (left, row) });
            left += wide + BETWEEN;
        }
        let rows = if entries.is_empty() { 0 } else { row + 1 };
        Self { entries, rows }
    }

    /// In pixels.
    pub(super) fn height(&self) -> f64 {
        self.rows as f64 * ROW
    }

    /// Draws it with its upper left corner here, in pixels.
    pub(super) fn draw(&self, sheet: &Sheet<'_>, (x, y): (f64, f64)) -> Drawn {
        for entry in &self.entries {
            let (left, middle) = (x + entry.at.0, y + (entry.at.1 as f64 + 0.5) * ROW);
            let right = left + entry.sample.width();
            let at = |x: f64, y: f64| (units(x), units(y));
            match &entry.sample {
                Sample::Line(pen) => pen.draw(sheet, vec![at(left, middle), at(right, middle)])?,
                Sample::Bar(color) => {
                    let corners = [at(left, middle - 6.0), at(right, middle + 6.0)];
                    sheet.draw(&Rectangle::new(corners, color.filled()))?;
                }
                Sample::Dot(color) => {
                    let middle = at((left + right) / 2.0, middle);
                    sheet.draw(&Circle::new(middle, units(4.0), color.filled()))?;
                }
            }
            TYPE.write(sheet, &entry.name, HPos::Left, (right + GAP, middle))?;
        }
        Ok(())
    }
}
