//! The plots of simulated experiments: SVG, and PNG where `rsvg-convert` is.
//!
//! Published figures and bounds belong into every plot, as [`Mark`]s: dotted
//! what was published, dashed what no protocol can do better, thin what is
//! aimed at. The same plot gives the same bytes.
//!
//! ```
//! use eddy_sim::lab::plot::{At, Axis, Curve, Mark, MarkKind, Plot, Style, cdf};
//!
//! let delays = [0.7, 0.9, 0.8, 1.4];
//! let plot = Plot {
//!     title: "End-to-end delay".into(),
//!     about: "4 viewers, seed 1, preset default".into(),
//!     x: Axis::log("delay (s)"),
//!     y: Axis::linear("share of viewers").within(0.0, 1.0),
//!     curves: vec![Curve {
//!         name: "measured".into(),
//!         points: cdf(delays.into_iter()),
//!         style: Style::Steps,
//!     }],
//!     marks: vec![Mark { name: "B6: 0.6 s".into(), at: At::X(0.6), kind: MarkKind::Bound }],
//! };
//! assert!(plot.svg().contains("End-to-end delay"));
//! ```

mod clip;
mod data;
mod draw;
mod file;
mod flags;
mod legend;
mod marks;
mod pen;
mod ruler;
mod shape;
mod text;
mod ticks;

use std::path::Path;

pub use data::{CDF_POINTS, cdf, histogram, over_time};
pub use file::WriteError;

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What is shown.
    pub title: String,
    /// Under the title: scenario, seeds, preset.
    pub about: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What was measured. Without a finite point, the plot says "no data".
    pub curves: Vec<Curve>,
    /// What it is compared with.
    pub marks: Vec<Mark>,
}

/// A horizontal or vertical axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The quantity, with its unit.
    pub label: String,
    /// How values are spread along it.
    pub scale: Scale,
    /// From where to where; from the data and marks if `None`. An end that
    /// can't be shown is taken from them, too. Of marks outside, the name is
    /// written at the edge.
    pub range: Option<(f64, f64)>,
}

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal distances for equal differences.
    Linear,
    /// Equal distances for equal ratios. What is not above zero is at the far
    /// lower end.
    Log,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// For the legend.
    pub name: String,
    /// In the order in which they are joined; one that is not finite is a gap.
    pub points: Vec<(f64, f64)>,
    /// How they are drawn.
    pub style: Style,
}

/// How the points of a curve are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Joined by straight lines.
    Line,
    /// Each value holds until the next point.
    Steps,
    /// Bars from zero; those of several curves stand side by side.
    Bars,
    /// Bars that stand on those of the stacked curves before.
    Stacked,
    /// A dot each.
    Dots,
}

/// What a measurement is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Written beside the mark, or in the legend for a curve.
    pub name: String,
    /// Where it is.
    pub at: At,
    /// What it means.
    pub kind: MarkKind,
}

/// Where a mark is.
#[derive(Clone, Debug, PartialEq)]
pub enum At {
    /// Upright at this x.
    X(f64),
    /// Level at this y.
    Y(f64),
    /// Along these points.
    Curve(Vec<(f64, f64)>),
}

/// What a mark means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// A published figure: dotted.
    Published,
    /// What no protocol can do better: dashed.
    Bound,
    /// What is aimed at: thin and solid.
    Target,
    /// When something happens: sparse dots.
    Moment,
}

impl Axis {
    /// A linear axis, its range from the data.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear, range: None }
    }

    /// A logarithmic axis, its range from the data.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Log, range: None }
    }

    /// The same axis from `lo` to `hi`.
    #[must_use]
    pub fn within(self, lo: f64, hi: f64) -> Self {
        Self { range: Some((lo, hi)), ..self }
    }
}

impl Plot {
    /// The picture as SVG.
    pub fn svg(&self) -> String {
        draw::svg(self)
    }

    /// Writes `name.svg` and, by `rsvg-convert`, `name.png` into the folder.
    ///
    /// # Errors
    /// If a file can't be written; the SVG is there unless it is
    /// [`WriteError::Svg`].
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), WriteError> {
        file::write(&self.svg(), folder, name)
    }
}
