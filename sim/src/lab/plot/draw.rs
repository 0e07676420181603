//! A plot on its sheet. The plot itself is always as high as it is; title,
//! names and legend make the sheet higher, so that nothing has to be cut.

use plotters::chart::ChartContext;
use plotters::coord::CoordTranslate;
use plotters::coord::cartesian::Cartesian2d;
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::clip::{Point, Window};
use super::flags::{fly, stack};
use super::legend::Legend;
use super::pen::{Drawn, FAINT, FINE_GRID, GRID, INK, Pen, Sheet, Type, color, size, units};
use super::ruler::Ruler;
use super::shape::{Shape, scaled, shapes};
use super::text::{clean, escape, shorten, width, wrap};
use super::ticks::{Tick, ticks};
use super::{At, Mark, Plot};

// All in pixels.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 18.0;
/// From one line of text to the next, as a share of its size.
const LINE: f64 = 1.35;
/// Under the plot, for the labels and name of the x axis.
const UNDER: f64 = 50.0;
/// Left of the labels of the y axis, for its name, and right of them, for ticks.
const NAME: f64 = 26.0;
const TICK: f64 = 4.0;
/// The names of level marks, right of the plot, are no wider, and this far away.
const BESIDE: f64 = 160.0;
const LEAD: f64 = 14.0;
/// From a mark to its name.
const NEAR: f64 = 5.0;
/// Above and under the plot.
const APART: f64 = 10.0;

const TITLE: Type = Type { size: 18.0, bold: true, color: INK };
const ABOUT: Type = Type::new(13.0, FAINT);
const AXIS: Type = Type::new(14.0, INK);
const LABEL: Type = Type::new(12.0, INK);
const NAMES: Type = Type::new(12.0, INK);

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
    upright: Vec<Upright<'a>>,
    level: Vec<Level<'a>>,
    legend: Legend,
    /// Upper left corner of the plot.
    corner: (f64, f64),
    /// Of the plot.
    width: f64,
    /// Of the sheet.
    height: f64,
}

/// A mark at an x, with its name above the plot.
struct Upright<'a> {
    mark: &'a Mark,
    name: String,
    /// Where it is, or is nearest.
    x: f64,
    within: bool,
    left: f64,
    row: usize,
}

/// A mark at a y, with its name right of the plot.
struct Level<'a> {
    mark: &'a Mark,
    name: Vec<String>,
    y: f64,
    within: bool,
    /// Of its name.
    middle: f64,
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
        let ys = points
            .iter()
            .map(|p| p.1)
            .chain(level(plot).filter_map(|(y, _)| plot.y.scale.scaled(y)));
        let y = ruler(plot, false, plot.y.extent(ys), HEIGHT);
        let level = levels(plot, &y);

        let labels = y.ticks.major.iter().map(|tick| width(&tick.label, LABEL.size));
        let left = MARGIN + NAME + labels.fold(0.0, f64::max) + 2.0 * TICK;
        let names =
            level.iter().flat_map(|l| &l.name).map(|line| width(line, NAMES.size) + LEAD + NEAR);
        let right = MARGIN + names.fold(0.0, f64::max);
        let wide = WIDTH - left - right;

        let xs = points
            .iter()
            .map(|p| p.0)
            .chain(upright(plot).filter_map(|(x, _)| plot.x.scale.scaled(x)));
        let extent = plot.x.extent(xs);
        let x = ruler(plot, true, extent, wide);
        // The last label may be wider than what is right of the plot.
        let wide = wide - overhang(&x, wide, right);
        let x = ruler(plot, true, extent, wide);
        let upright = uprights(plot, &x, left, wide);

        let rows = upright.iter().map(|mark| mark.row + 1).max().unwrap_or(0);
        let heading = title.len() as f64 * TITLE.size + about.len() as f64 * ABOUT.size;
        let top = MARGIN + heading * LINE + APART + rows as f64 * NAMES.size * LINE;
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
        for mark in &self.upright {
            let middle = top - (mark.row as f64 + 0.5) * NAMES.size * LINE - 3.0;
            if mark.within {
                let ends = [top + HEIGHT, middle - NAMES.size / 2.0];
                let line = ends.map(|y| (units(mark.x), units(y)));
                Pen::mark(mark.mark.kind).draw(sheet, line.to_vec())?;
            }
            NAMES.write(sheet, &mark.name, HPos::Left, (mark.left, middle))?;
        }
        for mark in &self.level {
            let right = left + self.width;
            if mark.within {
                let line = [left, right].map(|x| (units(x), units(top + mark.y)));
                Pen::mark(mark.mark.kind).draw(sheet, line.to_vec())?;
                let lead = [(right + 1.0, mark.y), (right + LEAD, mark.middle)];
                Pen::LEAD.draw(sheet, lead.map(|(x, y)| (units(x), units(top + y))).to_vec())?;
            }
            for (i, line) in mark.name.iter().enumerate() {
                let offset = (i as f64 - (mark.name.len() as f64 - 1.0) / 2.0) * NAMES.size * LINE;
                let at = (right + LEAD + NEAR, top + mark.middle + offset);
                NAMES.write(sheet, line, HPos::Left, at)?;
            }
        }
        Ok(())
    }
}

/// The points of marks that are curves, scaled.
fn on_curves(plot: &Plot) -> impl Iterator<Item = Point> {
    let curves = plot.marks.iter().filter_map(|mark| match &mark.at {
        At::Curve(points) => Some(points),
        At::X(_) | At::Y(_) => None,
    });
    curves.flatten().filter_map(|&point| scaled(plot, point))
}

fn upright(plot: &Plot) -> impl Iterator<Item = (f64, &Mark)> {
    plot.marks.iter().filter_map(|mark| match mark.at {
        At::X(x) => Some((x, mark)),
        _ => None,
    })
}

fn level(plot: &Plot) -> impl Iterator<Item = (f64, &Mark)> {
    plot.marks.iter().filter_map(|mark| match mark.at {
        At::Y(y) => Some((y, mark)),
        _ => None,
    })
}

/// An axis of this length in pixels, with ticks whose labels do not meet.
fn ruler(plot: &Plot, across: bool, (lo, hi): (f64, f64), length: f64) -> Ruler {
    let scale = if across { plot.x.scale } else { plot.y.scale };
    let extent = |tick: &Tick| {
        if across { width(&tick.label, LABEL.size) + 14.0 } else { LABEL.size * 1.8 }
    };
    let fits = |ticks: &[Tick]| {
        ticks.windows(2).all(|w| {
            let apart = (w[1].at - w[0].at) / (hi - lo) * length;
            apart >= (extent(&w[0]) + extent(&w[1])) / 2.0
        })
    };
    Ruler { lo, hi, ticks: ticks(scale, lo, hi, fits) }
}

/// How far the last label of an x axis would leave the sheet.
fn overhang(ruler: &Ruler, wide: f64, right: f64) -> f64 {
    let over = |tick: &Tick| {
        let beyond = (tick.at - ruler.lo) / (ruler.hi - ruler.lo) * wide - wide;
        beyond + width(&tick.label, LABEL.size) / 2.0 - right
    };
    ruler.ticks.major.last().map_or(0.0, |tick| over(tick).max(0.0))
}

/// The marks at an x of a plot that begins at `left` and is so wide.
fn uprights<'a>(plot: &'a Plot, ruler: &Ruler, left: f64, wide: f64) -> Vec<Upright<'a>> {
    let place = |(x, mark): (f64, &'a Mark)| {
        let part = (plot.x.scale.scaled(x)? - ruler.lo) / (ruler.hi - ruler.lo);
        let within = (0.0..=1.0).contains(&part);
        let name = clean(&mark.name);
        let name = match part {
            p if p < 0.0 => format!("← {name}"),
            p if p > 1.0 => format!("{name} →"),
            _ => name,
        };
        let name = shorten(&name, NAMES.size, wide - 2.0 * NEAR);
        Some(Upright {
            mark,
            name,
            x: left + part.clamp(0.0, 1.0) * wide,
            within,
            left: 0.0,
            row: 0,
        })
    };
    let mut marks: Vec<Upright<'a>> = upright(plot).filter_map(place).collect();
    let sizes: Vec<(f64, f64)> =
        marks.iter().map(|mark| (mark.x, width(&mark.name, NAMES.size) + 2.0 * NEAR)).collect();
    for (mark, flag) in marks.iter_mut().zip(fly(&sizes, WIDTH - MARGIN)) {
        mark.left = flag.left + NEAR;
        mark.row = flag.row;
    }
    marks
}

/// The marks at a y, measured from the top of the plot.
fn levels<'a>(plot: &'a Plot, ruler: &Ruler) -> Vec<Level<'a>> {
    let place = |(y, mark): (f64, &'a Mark)| {
        let part = (plot.y.scale.scaled(y)? - ruler.lo) / (ruler.hi - ruler.lo);
        let within = (0.0..=1.0).contains(&part);
        let name = clean(&mark.name);
        let name = match part {
            p if p < 0.0 => format!("↓ {name}"),
            p if p > 1.0 => format!("↑ {name}"),
            _ => name,
        };
        let y = (1.0 - part.clamp(0.0, 1.0)) * HEIGHT;
        let name = wrap(&shorten(&name, NAMES.size, BESIDE * 3.0), NAMES.size, BESIDE);
        Some(Level { mark, name, y, within, middle: y })
    };
    let mut marks: Vec<Level<'a>> = level(plot).filter_map(place).collect();
    let sizes: Vec<(f64, f64)> =
        marks.iter().map(|mark| (mark.y, mark.name.len() as f64 * NAMES.size * LINE)).collect();
    for (mark, middle) in marks.iter_mut().zip(stack(&sizes, HEIGHT)) {
        mark.middle = middle;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plot::{Axis, Curve, MarkKind, Scale, Style};
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
            ranges: (Option<(f64, f64)>, Option<(f64, f64)>),
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
                x: axis(ranges.0, logs.0),
                y: axis(ranges.1, logs.1),
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
    fn marks_outside_are_named_at_the_edge() {
        let mut plot = plot("edge", vec![(1.0, 1.0)]);
        plot.x = plot.x.within(0.98, 1.0);
        plot.y = Axis::linear("").within(0.0, 1.0);
        plot.marks = vec![mark("worst", At::X(0.82)), mark("more", At::Y(2.0))];
        let drawn = svg(&plot);
        assert!(drawn.contains("← worst") && drawn.contains("↑ more"));
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
