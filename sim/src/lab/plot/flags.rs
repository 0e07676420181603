//! Where the names of marks go: outside the data, none upon another.

/// A name beside an upright mark, above the plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Flag {
    /// Where its text begins.
    pub(super) left: f64,
    /// Rows above the plot, from zero.
    pub(super) row: usize,
}

/// Rows for names of these `(x, width)`: each begins at its x, or ends there if
/// it would leave the picture, which is as wide as `room`. No name lies upon
/// another, nor across the line that leads up to another unless there is no way.
pub(super) fn fly(names: &[(f64, f64)], room: f64) -> Vec<Flag> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    // From the right, names leave the way up free for those to the left.
    order.sort_by(|&a, &b| names[b].0.total_cmp(&names[a].0));
    let mut flags = vec![Flag { left: 0.0, row: 0 }; names.len()];
    let mut placed: Vec<usize> = Vec::new();
    for i in order {
        let (x, width) = names[i];
        let left = if x + width <= room { x } else { (x - width).max(0.0) };
        let free = |row: usize| {
            placed.iter().all(|&other| {
                let (at, its) = (names[other], flags[other]);
                let meets = left < its.left + at.1 && its.left < left + width;
                let crosses = its.row < row && its.left < x && x < its.left + at.1;
                let crossed = its.row > row && left < at.0 && at.0 < left + width;
                !(its.row == row && meets || crosses || crossed)
            })
        };
        let top = placed.iter().map(|&other| flags[other].row + 1).max().unwrap_or(0);
        let row = (0..=top).find(|&row| free(row)).unwrap_or(top);
        flags[i] = Flag { left, row };
        placed.push(i);
    }
    flags
}

/// Middles for names of these `(y, height)` beside level marks: as near to
/// their marks as they can be without lying upon each other, between `top` and
/// `bottom` if there is room.
pub(super) fn stack(names: &[(f64, f64)], (top, bottom): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| names[a].0.total_cmp(&names[b].0));
    let mut middles: Vec<f64> = names.iter().map(|name| name.0).collect();
    let mut free = top;
    for &i in &order {
        let half = names[i].1 / 2.0;
        middles[i] = middles[i].max(free + half);
        free = middles[i] + half;
    }
    let mut free = bottom;
    for &i in order.iter().rev() {
        let half = names[i].1 / 2.0;
        middles[i] = middles[i].min(free - half);
        free = middles[i] - half;
    }
    middles
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    fn sizes(raw: &[(u16, u8)]) -> Vec<(f64, f64)> {
        raw.iter().map(|&(at, size)| (f64::from(at % 800), f64::from(size) + 1.0)).collect()
    }

    quickcheck! {
        fn flags_do_not_meet(raw: Vec<(u16, u8)>) -> bool {
            let names = sizes(&raw);
            let flags = fly(&names, 800.0);
            let spans = |i: usize| (flags[i].left, flags[i].left + names[i].1);
            (0..names.len()).all(|i| spans(i).0 >= 0.0 && spans(i).1 <= 800.0)
                && (0..names.len()).all(|i| (0..i).all(|j| {
                    flags[i].row != flags[j].row || spans(i).1 <= spans(j).0 || spans(j).1 <= spans(i).0
                }))
        }

        fn stacked_names_do_not_meet(raw: Vec<(u16, u8)>) -> bool {
            let names = sizes(&raw);
            let middles = stack(&names, (0.0, 800.0));
            (0..names.len()).all(|i| (0..i).all(|j| {
                (middles[i] - middles[j]).abs() >= (names[i].1 + names[j].1) / 2.0 - 1e-6
            }))
        }
    }

    #[test]
    fn names_far_apart_stay_at_their_marks() {
        let flags = fly(&[(10.0, 50.0), (40.0, 50.0), (790.0, 50.0)], 800.0);
        let want = [(10.0, 1), (40.0, 0), (740.0, 0)].map(|(left, row)| Flag { left, row });
        assert_eq!(flags, want);
        assert_eq!(
            stack(&[(100.0, 10.0), (200.0, 10.0), (399.0, 10.0)], (0.0, 400.0)),
            [100.0, 200.0, 395.0]
        );
    }
}
