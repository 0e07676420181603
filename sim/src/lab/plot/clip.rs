//! What of a curve lies in the picture. SVG from plotters has no clip path, and
//! a point moved to the edge would bend its line.

/// A point on scaled axes.
pub(super) type Point = (f64, f64);

/// The part of the plane that is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

impl Window {
    /// Whether the point is in it.
    pub(super) fn holds(&self, (x, y): Point) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    /// The parts of a line that are in it; a gap in the line is `None`.
    pub(super) fn line(&self, points: impl IntoIterator<Item = Option<Point>>) -> Vec<Vec<Point>> {
        let mut parts: Vec<Vec<Point>> = Vec::new();
        let mut before = None;
        for point in points {
            if let (Some(from), Some(to)) = (before, point)
                && let Some((a, b)) = self.segment(from, to)
            {
                match parts.last_mut() {
                    // It goes on only if it did not leave in between.
                    Some(part) if part.last() == Some(&from) && a == from => part.push(b),
                    _ => parts.push(vec![a, b]),
                }
            }
            before = point;
        }
        parts
    }

    /// A rectangle between two corners, if any of it is in the window.
    pub(super) fn rect(&self, a: Point, b: Point) -> Option<(Point, Point)> {
        let cut = |(lo, hi): (f64, f64), a: f64, b: f64| {
            let (from, to) = (a.min(b).max(lo), a.max(b).min(hi));
            (from <= to).then_some((from, to))
        };
        let (x, y) = (cut(self.x, a.0, b.0)?, cut(self.y, a.1, b.1)?);
        Some(((x.0, y.0), (x.1, y.1)))
    }

    /// The part of a segment that is in it (Liang and Barsky 1984).
    fn segment(&self, a: Point, b: Point) -> Option<(Point, Point)> {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
        for (from, d, (lo, hi)) in [(a.0, dx, self.x), (a.1, dy, self.y)] {
            if d == 0.0 {
                if from < lo || from > hi {
                    return None;
                }
                continue;
            }
            let (s, t) = ((lo - from) / d, (hi - from) / d);
            enter = enter.max(s.min(t));
            leave = leave.min(s.max(t));
        }
        if enter > leave {
            return None;
        }
        // Its ends are to the bit what they were. All are clamped: from very far
        // away, what is not quite at an end is rounded to it.
        let at = |t: f64| {
            let (x, y) = match t {
                0.0 => a,
                1.0 => b,
                t => (a.0 + t * dx, a.1 + t * dy),
            };
            (x.clamp(self.x.0, self.x.1), y.clamp(self.y.0, self.y.1))
        };
        Some((at(enter), at(leave)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    const UNIT: Window = Window { x: (0.0, 1.0), y: (0.0, 1.0) };

    quickcheck! {
        fn nothing_is_drawn_outside(points: Vec<Option<(i8, i8)>>) -> bool {
            let scaled = |(x, y): (i8, i8)| (f64::from(x) / 50.0, f64::from(y) / 50.0);
            let parts = UNIT.line(points.into_iter().map(|p| p.map(scaled)));
            parts.iter().all(|part| part.len() > 1) && parts.iter().flatten().all(|&p| UNIT.holds(p))
        }

        fn inside_nothing_is_lost(points: Vec<(u8, u8)>) -> bool {
            let line: Vec<Point> = points
                .iter()
                .map(|&(x, y)| (f64::from(x) / 255.0, f64::from(y) / 255.0))
                .collect();
            let parts = UNIT.line(line.iter().copied().map(Some));
            if line.len() < 2 { parts.is_empty() } else { parts == [line] }
        }
    }

    #[test]
    fn a_line_that_leaves_comes_back_as_another() {
        let line = [(0.5, 0.5), (1.5, 0.5), (0.5, 0.5)].map(Some);
        assert_eq!(UNIT.line(line), [[(0.5, 0.5), (1.0, 0.5)], [(1.0, 0.5), (0.5, 0.5)]]);
        assert_eq!(UNIT.line([(0.0, 2.0), (2.0, 2.0)].map(Some)), Vec::<Vec<Point>>::new());
        assert_eq!(UNIT.line([Some((0.0, 0.0)), None, Some((1.0, 1.0))]), Vec::<Vec<Point>>::new());
    }

    #[test]
    fn from_very_far_away_nothing_is_drawn_outside() {
        let parts = UNIT.line([(-1e300, 0.5), (9.0, 0.5), (0.5, 1e300)].map(Some));
        assert!(parts.iter().flatten().all(|&p| UNIT.holds(p)), "{parts:?}");
    }

    #[test]
    fn bars_are_cut_at_the_edge() {
        assert_eq!(UNIT.rect((-1.0, 0.5), (0.5, 9.0)), Some(((0.0, 0.5), (0.5, 1.0))));
        assert_eq!(UNIT.rect((-1.0, 0.5), (-0.5, 9.0)), None);
    }
}
