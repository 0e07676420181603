//! A plot on its sheet. The plot itself is always as high as it is; title,
//! names and legend make the sheet higher, so that nothing has to be cut.

use plotters::chart::ChartContext;
use plotters::coord::CoordTranslate;
use plotters::coord::cartesian::Cartesian2d;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::clip::{Point, Window};
use super::legend::Legend;
use super::marks::{Level, Upright, at_x, at_y, on_curves};
use super::pen::{Drawn, FAINT, FINE_GRID, GRID, INK, Pen, Sheet, Type, color, size, units};
use super::ruler::Ruler;
use super::shape::{Shape, scaled, shapes};
use super::text::{clean, escape, shorten, width, wrap};
use super::ticks::{Tick, ticks};
use super::{At, Curve, Plot, Scale, Style};

// All in pixels.
pub(super) const WIDTH: f64 = 900.0;
pub(super) const HEIGHT: f64 = 400.0;
pub(super) const MARGIN: f64 = 18.0;
/// From one line of text to the next, as a share of its size.
pub(super) const LINE: f64 = 1.35;
/// Under the plot, for the labels and name of the x axis.
const UNDER: f64 = 50.0;
/// Left of the labels of the y axis, for its name, and right of them, for ticks.
const NAME: f64 = 26.0;
const TICK: f64 = 4.0;
/// Above and under the plot.
const APART: f64 = 10.0;

const TITLE: Type = Type { size: 18.0, bold: true, color: INK };
const ABOUT: Type = Type::new(13.0, FAINT);
const AXIS: Type = Type::new(14.0, INK);
const LABEL: Type = Type::new(12.0, INK);

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Ruler, Ruler>>;

/// The whole picture.
pub(super) fn svg(plot: &Plot) -> String {
    let scene = Scene::new(plot);
    let mut body = String::new();
    {
        let sheet = SVGBackend::with_string(&mut body, (size(WIDTH), size(scene.height)))
            .into_drawing_area();
        scene.draw(&sheet).expect("a string takes everything");
        sheet.present().expect("a string takes everything");
    }
    // For the size in pixels, and a title for whoever can't see the picture.
    let rest = body.split_once(">\n").map_or("", |(_, rest)| rest);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" \
         viewBox=\"0 0 {} {}\">\n<title>{}</title>\n<desc>{}</desc>\n{rest}",
        scene.height,
        size(WIDTH),
        size(scene.height),
        escape(&clean(&plot.title)),
        escape(&clean(&plot.about)),
    )
}

/// A plot with everything in its place, in pixels.
struct Scene<'a> {
    plot: &'a Plot,
    shapes: Vec<Shape>,
    x: Ruler,
    y: Ruler,
    title: Vec<String>,
    about: Vec<String>,
    upright: Vec<Upright>,
    level: Vec<Level>,
    legend: Legend,
    /// Upper left corner of the plot.
    corner: (f64, f64),
    /// Of the plot.
    width: f64,
    /// Of the sheet.
    height: f64,
}

impl<'a> Scene<'a> {
    fn new(plot: &'a Plot) -> Self {
        let room = WIDTH - 2.0 * MARGIN;
        let shapes = shapes(plot);
        let legend = Legend::new(plot, &shapes, room);
        let title = wrap(&clean(&plot.title), TITLE.size * 1.1, room);
        let about = wrap(&clean(&plot.about), ABOUT.size, room);

        let points: Vec<Point> =
            shapes.iter().flat_map(Shape::points).chain(on_curves(plot)).collect();
        let ys = points.iter().map(|p| p.1).chain(at_y(plot).map(|(y, _)| y));
        let y = ruler(plot, false, plot.y.extent(ys), HEIGHT);
        let level = Level::all(plot, &y);

        let labels = y.ticks.major.iter().map(|tick| width(&tick.label, LABEL.size));
        let left = MARGIN + NAME + labels.fold(0.0, f64::max) + 2.0 * TICK;
        let right = MARGIN + Level::width(&level);
        let wide = WIDTH - left - right;

        let xs = points.iter().map(|p| p.0).chain(at_x(plot).map(|(x, _)| x));
        let extent = plot.x.extent(xs);
        let x = ruler(plot, true, extent, wide);
        // The last label may be wider than what is right of the plot.
        let wide = wide - overhang(&x, wide, right);
        let x = ruler(plot, true, extent, wide);
        let upright = Upright::all(plot, &x, left, wide);

        let heading = title.len() as f64 * TITLE.size + about.len() as f64 * ABOUT.size;
        let top = MARGIN + heading * LINE + APART + Upright::height(&upright);
        let height = (top + HEIGHT + UNDER + APART + legend.height() + MARGIN).ceil();
        let corner = (left, top);
        Self {
            plot,
            shapes,
            x,
            y,
            title,
            about,
            upright,
            level,
            legend,
            corner,
            width: wide,
            height,
        }
    }

    fn draw(&self, sheet: &Sheet<'_>) -> Drawn {
        sheet.fill(&WHITE)?;
        self.heading(sheet)?;
        let chart = self.axes(sheet)?;
        self.curves(sheet, &chart)?;
        self.marks(sheet, &chart)?;
        if self.shapes.iter().all(Shape::is_empty) {
            let middle = (self.corner.0 + self.width / 2.0, self.corner.1 + HEIGHT / 2.0);
            let half = (55.0, 18.0);
            let corners = [-1.0, 1.0]
                .map(|side| (units(middle.0 + side * half.0), units(middle.1 + side * half.1)));
            sheet.draw(&Rectangle::new(corners, WHITE.filled()))?;
            Type::new(22.0, FAINT).write(sheet, "no data", HPos::Center, middle)?;
        }
        self.legend.draw(sheet, (MARGIN, self.corner.1 + HEIGHT + UNDER + APART))
    }

    fn heading(&self, sheet: &Sheet<'_>) -> Drawn {
        let mut y = MARGIN;
        for (lines, style) in [(&self.title, TITLE), (&self.about, ABOUT)] {
            for line in lines {
                style.write(sheet, line, HPos::Left, (MARGIN, y + style.size * LINE / 2.0))?;
                y += style.size * LINE;
            }
        }
        Ok(())
    }

    fn axes<'s, 'b>(&self, sheet: &'s Sheet<'b>) -> Drawn<Chart<'s, 'b>> {
        let (left, top) = self.corner;
        let area = sheet.margin(
            units(top),
            units(self.height - top - HEIGHT - UNDER),
            units(MARGIN),
            units(WIDTH - left - self.width),
        );
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(units(UNDER))
            .y_label_area_size(units(left - MARGIN))
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let name = |label: &str, room| shorten(&clean(label), AXIS.size, room);
        chart
            .configure_mesh()
            .bold_line_style(GRID.stroke_width(size(0.8)))
            .light_line_style(FINE_GRID.stroke_width(size(0.8)))
            .axis_style(INK.stroke_width(size(1.0)))
            .set_all_tick_mark_size(units(TICK))
            .label_style(LABEL.style(HPos::Center))
            .axis_desc_style(AXIS.style(HPos::Center))
            .x_desc(name(&self.plot.x.label, self.width))
            .y_desc(name(&self.plot.y.label, HEIGHT))
            .draw()?;
        Ok(chart)
    }

    fn window(&self) -> Window {
        Window { x: (self.x.lo, self.x.hi), y: (self.y.lo, self.y.hi) }
    }

    fn curves(&self, sheet: &Sheet<'_>, chart: &Chart<'_, '_>) -> Drawn {
        let at = |point: &Point| chart.as_coord_spec().translate(point);
        let window = self.window();
        let drawn = || self.shapes.iter().enumerate();
        // Lines lie on bars, whatever their order.
        for (i, shape) in drawn() {
            if let Shape::Bars(bars) = shape {
                for (a, b) in bars.iter().filter_map(|&(a, b)| window.rect(a, b)) {
                    sheet.draw(&Rectangle::new([at(&a), at(&b)], color(i).filled()))?;
                }
            }
        }
        for (i, shape) in drawn() {
            match shape {
                Shape::Bars(_) => {}
                Shape::Line(points) => {
                    for part in window.line(points.iter().copied()) {
                        Pen::curve(i).draw(sheet, part.iter().map(at).collect())?;
                    }
                    self.lone(sheet, chart, i, points)?;
                }
                Shape::Dots(points) => {
                    for point in points.iter().filter(|&&p| window.holds(p)) {
                        sheet.draw(&Circle::new(at(point), size(2.2), color(i).filled()))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Points of a line without a neighbour, which would not be seen.
    fn lone(
        &self,
        sheet: &Sheet<'_>,
        chart: &Chart<'_, '_>,
        index: usize,
        points: &[Option<Point>],
    ) -> Drawn {
        for run in points.split(Option::is_none) {
            if let [Some(point)] = run
                && self.window().holds(*point)
            {
                let at = chart.as_coord_spec().translate(point);
                sheet.draw(&Circle::new(at, size(2.5), color(index).filled()))?;
            }
        }
        Ok(())
    }

    fn marks(&self, sheet: &Sheet<'_>, chart: &Chart<'_, '_>) -> Drawn {
        let (left, top) = self.corner;
        for mark in &self.plot.marks {
            if let At::Curve(points) = &mark.at {
                let points = points.iter().map(|&p| scaled(self.plot, p));
                for part in self.window().line(points) {
                    let part = part.iter().map(|p| chart.as_coord_spec().translate(p)).collect();
                    Pen::mark(mark.kind).draw(sheet, part)?;
                }
            }
        }
        self.upright.iter().try_for_each(|mark| mark.draw(sheet, top))?;
        self.level.iter().try_for_each(|mark| mark.draw(sheet, (left, left + self.width), top))
    }
}

/// An axis of this length in pixels, with ticks whose labels do not meet.
fn ruler(plot: &Plot, across: bool, (lo, hi): (f64, f64), length: f64) -> Ruler {
    let scale = if across { plot.x.scale } else { plot.y.scale };
    let extent = |tick: &Tick| {
        if across { width(&tick.label, LABEL.size) + 14.0 } else { LABEL.size * 1.8 }
    };
    // Between two counts there is none.
    let counts = across && of_counts(plot);
    let fits = |ticks: &[Tick]| {
        !(counts && ticks.iter().any(|tick| tick.label.contains('.')))
            && ticks.windows(2).all(|w| {
                let apart = (w[1].at - w[0].at) / (hi - lo) * length;
                apart >= (extent(&w[0]) + extent(&w[1])) / 2.0
            })
    };
    Ruler { lo, hi, ticks: ticks(scale, lo, hi, fits) }
}

/// Whether bars stand at whole numbers only, on a linear axis.
fn of_counts(plot: &Plot) -> bool {
    let barred = |curve: &&Curve| matches!(curve.style, Style::Bars | Style::Stacked);
    let mut places = plot.curves.iter().filter(barred).flat_map(|curve| &curve.points).peekable();
    plot.x.scale == Scale::Linear && places.peek().is_some() && places.all(|p| p.0.fract() == 0.0)
}

/// How far the last label of an x axis would leave the sheet.
fn overhang(ruler: &Ruler, wide: f64, right: f64) -> f64 {
    let over = |tick: &Tick| {
        let beyond = (ruler.part(tick.at) - 1.0) * wide;
        beyond + width(&tick.label, LABEL.size) / 2.0 - right
    };
    ruler.ticks.major.last().map_or(0.0, |tick| over(tick).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plot::{Axis, Mark, MarkKind};
    use quickcheck::quickcheck;

    fn plot(title: &str, points: Vec<(f64, f64)>) -> Plot {
        Plot {
            title: title.to_owned(),
            about: "seed 1".to_owned(),
            x: Axis::linear("x (s)"),
            y: Axis::log("y"),
            curves: vec![Curve { name: "measured".to_owned(), points, style: Style::Line }],
            marks: Vec::new(),
        }
    }

    fn mark(name: &str, at: At) -> Mark {
        Mark { name: name.to_owned(), at, kind: MarkKind::Published }
    }

    quickcheck! {
        fn anything_can_be_drawn(
            names: (String, String),
            points: Vec<(f64, f64)>,
            marks: Vec<f64>,
            across: Option<(f64, f64)>,
            up: Option<(f64, f64)>,
            logs: (bool, bool)
        ) -> bool {
            let (title, name) = names;
            let scale = |log| if log { Scale::Log } else { Scale::Linear };
            let axis = |range, log| Axis { label: name.clone(), scale: scale(log), range };
            let styles = [Style::Line, Style::Steps, Style::Bars, Style::Stacked, Style::Dots];
            let curve = |style| Curve { name: name.clone(), points: points.clone(), style };
            let at = |(i, v)| match i % 3 {
                0 => At::X(v),
                1 => At::Y(v),
                _ => At::Curve(vec![(v, 0.0), (0.0, v)]),
            };
            let plot = Plot {
                title: title.clone(),
                about: name.clone(),
                x: axis(across, logs.0),
                y: axis(up, logs.1),
                curves: styles.map(curve).to_vec(),
                marks: marks.into_iter().enumerate().map(|(i, v)| mark(&name, at((i, v)))).collect(),
            };
            let drawn = svg(&plot);
            drawn == svg(&plot)
                && drawn.contains(&format!("<title>{}</title>", escape(&clean(&title))))
                && drawn.starts_with("<svg ")
                && drawn.ends_with("</svg>\n")
                // A coordinate that was none.
                && !drawn.contains("2147483647")
                && !drawn.contains("2147483648")
        }
    }

    #[test]
    fn names_are_escaped() {
        let name = "a<b & \"c\"";
        let mut plot = plot(name, vec![(1.0, 1.0), (2.0, 2.0)]);
        plot.curves[0].name = name.to_owned();
        plot.x.label = name.to_owned();
        plot.marks = vec![mark(name, At::X(1.5)), mark(name, At::Y(1.5))];
        let drawn = svg(&plot);
        assert!(!drawn.contains("a<b") && !drawn.contains("& "));
        // In the title twice, the legend, at the axis and at the marks.
        assert_eq!(drawn.matches("a&lt;b &amp; &quot;c&quot;").count(), 6);
    }

    #[test]
    fn without_a_finite_point_it_says_so() {
        for points in [vec![], vec![(f64::NAN, 1.0), (1.0, f64::INFINITY)]] {
            assert!(svg(&plot("none", points)).contains("no data"));
        }
        for points in [vec![(1.0, 1.0)], vec![(0.0, 0.0)], vec![(2.0, 3.0); 9]] {
            assert!(!svg(&plot("some", points)).contains("no data"));
        }
    }

    #[test]
    fn counts_have_no_fractions() {
        let mut plot = plot("replicas", vec![(9.0, 0.1), (10.0, 0.8), (11.0, 0.1)]);
        plot.curves[0].style = Style::Bars;
        let labels =
            |plot: &Plot| Scene::new(plot).x.ticks.major.into_iter().map(|tick| tick.label);
        assert!(labels(&plot).eq(["9", "10", "11"]));
        plot.curves[0].points.truncate(1);
        assert!(labels(&plot).eq(["9"]));
    }

    #[test]
    fn the_last_label_stays_on_the_sheet() {
        let mut plot = plot("wide", vec![(0.0, 1.0)]);
        plot.x = plot.x.within(0.0, 900_000_000.0);
        let scene = Scene::new(&plot);
        assert_eq!(overhang(&scene.x, scene.width, WIDTH - scene.corner.0 - scene.width), 0.0);
    }

    #[test]
    fn a_large_cdf_is_a_small_file() {
        let points = crate::lab::plot::cdf((1..=100_000).map(f64::from));
        let mut plot = plot("large", points);
        plot.curves[0].style = Style::Steps;
        assert!(svg(&plot).len() < 40_000);
    }
}
