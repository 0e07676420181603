//! Colours, lines and text on the sheet. Its unit is a tenth of a pixel:
//! plotters draws at whole units, and at whole pixels curves would be ragged.

use std::io;

use plotters::drawing::DrawingAreaErrorKind;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::MarkKind;

/// Units of the sheet in a pixel.
const UNIT: f64 = 10.0;

/// Plotters writes a font 1.24 times smaller than it was asked for.
const FONT: f64 = 1.24;

/// Distinguished with any colour vision (Okabe and Ito 2008), without the
/// yellow, which is too faint on white, and the black, which is for marks.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];

/// Text, axes and marks.
pub(super) const INK: RGBColor = RGBColor(30, 30, 30);
/// What matters less.
pub(super) const FAINT: RGBColor = RGBColor(95, 95, 95);
/// The grid.
pub(super) const GRID: RGBColor = RGBColor(226, 226, 226);
/// The grid between labels.
pub(super) const FINE_GRID: RGBColor = RGBColor(241, 241, 241);

/// Where everything is drawn.
pub(super) type Sheet<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
pub(super) type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<io::Error>>;

/// Units of the sheet for pixels.
pub(super) fn units(pixels: f64) -> i32 {
    (pixels * UNIT).round() as i32
}

/// The same, of what is not negative.
pub(super) fn size(pixels: f64) -> u32 {
    units(pixels).unsigned_abs()
}

/// A style of line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pen {
    pub(super) color: RGBColor,
    /// In pixels.
    width: f64,
    /// Pixels of a dash and of what is between two.
    dash: Option<(f64, f64)>,
}

impl Pen {
    /// Leads from a mark to its name.
    pub(super) const LEAD: Self = Self { color: FAINT, width: 0.7, dash: None };

    pub(super) fn curve(index: usize) -> Self {
        Self { color: color(index), width: 2.0, dash: None }
    }

    pub(super) fn mark(kind: MarkKind) -> Self {
        let (width, dash) = match kind {
            MarkKind::Published => (2.2, Some((2.2, 3.4))),
            MarkKind::Bound => (1.6, Some((8.0, 5.0))),
            MarkKind::Target => (0.9, None),
            MarkKind::Moment => (1.2, Some((1.2, 6.0))),
        };
        Self { color: INK, width, dash }
    }

    /// Joins the points, which are in units of the sheet.
    pub(super) fn draw(&self, sheet: &Sheet<'_>, points: Vec<(i32, i32)>) -> Drawn {
        let style = self.color.stroke_width(size(self.width));
        match self.dash {
            None => sheet.draw(&PathElement::new(points, style)),
            Some((dash, gap)) => {
                sheet.draw(&DashedPathElement::new(points, size(dash), size(gap), style))
            }
        }
    }
}

/// Of the curve with this index; lighter when all were used once.
pub(super) fn color(index: usize) -> RGBColor {
    let RGBColor(r, g, b) = PALETTE[index % PALETTE.len()];
    if (index / PALETTE.len()).is_multiple_of(2) {
        return RGBColor(r, g, b);
    }
    let light = |c: u8| c + (u8::MAX - c) / 2;
    RGBColor(light(r), light(g), light(b))
}

/// A style of text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    /// In pixels.
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) color: RGBColor,
}

impl Type {
    pub(super) const fn new(size: f64, color: RGBColor) -> Self {
        Self { size, bold: false, color }
    }

    /// Anchored at its left or right end or its middle, at half its height.
    pub(super) fn style(&self, anchor: HPos) -> TextStyle<'_> {
        let style = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = FontDesc::new(FontFamily::SansSerif, self.size * FONT * UNIT, style);
        TextStyle::from(font).color(&self.color).pos(Pos::new(anchor, VPos::Center))
    }

    /// Writes at a place in pixels.
    pub(super) fn write(
        &self,
        sheet: &Sheet<'_>,
        text: &str,
        anchor: HPos,
        (x, y): (f64, f64),
    ) -> Drawn {
        sheet.draw_text(text, &self.style(anchor), (units(x), units(y)))
    }
}
