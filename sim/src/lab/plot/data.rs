//! What curves are made of.

use std::collections::BTreeMap;

/// A [`cdf`] has so many points at most.
pub const CDF_POINTS: usize = 1_000;

/// The cumulative distribution, for [`Style::Steps`](super::Style::Steps):
/// each value with the share of values up to it, the least one first with a
/// share of zero. Values that are not finite are left out.
///
/// Of many values, [`CDF_POINTS`] remain, all of them true points of the
/// distribution: half spread evenly, half ever denser towards the two ends,
/// where the worst viewers are.
pub fn cdf(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    let mut values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    let (Some(&least), n) = (values.first(), values.len()) else { return Vec::new() };

    let mut points = vec![(least, 0.0)];
    for rank in ranks(n) {
        let value = values[rank - 1];
        let up_to = values.partition_point(|&v| v <= value);
        let point = (value, up_to as f64 / n as f64);
        if points.last() != Some(&point) {
            points.push(point);
        }
    }
    points
}

/// Ranks to show of `n` values, from 1 to `n`, in order.
fn ranks(n: usize) -> Vec<usize> {
    let room = CDF_POINTS - 1;
    if n <= room {
        return (1..=n).collect();
    }
    let tail = room / 4;
    let even = room - 2 * tail;
    let mut ranks: Vec<usize> = (1..=even).map(|k| (k * n).div_ceil(even)).collect();
    for k in 0..tail {
        let depth = ((n as f64).powf(k as f64 / tail as f64) as usize).clamp(1, n);
        ranks.extend([depth, n + 1 - depth]);
    }
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}

/// How often each count occurs, as a share of all: (n, share), by n.
pub fn histogram(counts: impl Iterator<Item = usize>) -> Vec<(f64, f64)> {
    let mut often = BTreeMap::new();
    let mut all = 0_u64;
    for n in counts {
        *often.entry(n).or_insert(0_u64) += 1;
        all += 1;
    }
    often.into_iter().map(|(n, times)| (n as f64, times as f64 / all as f64)).collect()
}

/// Means of `(time, value)` over bins of this width, each at the middle of its
/// bin. Bins without a value are left out, as is what is not finite.
///
/// # Panics
/// If the bin has no width.
pub fn over_time(samples: impl Iterator<Item = (f64, f64)>, bin: f64) -> Vec<(f64, f64)> {
    assert!(bin > 0.0, "a bin of width {bin}");
    let mut bins: BTreeMap<i64, (f64, u64)> = BTreeMap::new();
    for (time, value) in samples.filter(|(t, v)| t.is_finite() && v.is_finite()) {
        let (mean, count) = bins.entry((time / bin).floor() as i64).or_default();
        *count += 1;
        // A running mean: a sum could leave the range of numbers.
        *mean += value / *count as f64 - *mean / *count as f64;
    }
    bins.into_iter().map(|(k, (mean, _))| ((k as f64 + 0.5) * bin, mean)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// What every distribution must be, and true of these values.
    fn is_cdf(points: &[(f64, f64)], values: &[f64]) -> bool {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let share =
            |x: f64| finite.iter().filter(|v| **v <= x).count() as f64 / finite.len() as f64;
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return finite.is_empty();
        };
        first.1 == 0.0
            && last.1 == 1.0
            && points.len() <= CDF_POINTS
            && points.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 < w[1].1)
            && points.iter().skip(1).step_by(points.len() / 10 + 1).all(|p| p.1 == share(p.0))
    }

    quickcheck! {
        fn a_cdf_rises_to_one(values: Vec<f64>) -> bool {
            is_cdf(&cdf(values.iter().copied()), &values)
        }

        fn a_cdf_of_many_is_a_true_one_of_few_points(seed: u16, more: u16) -> bool {
            let n = 1_000 + u64::from(more % 3_000);
            let values: Vec<f64> =
                (0..n).map(|k| ((k * 7_919 + u64::from(seed)) % 2_503) as f64).collect();
            is_cdf(&cdf(values.iter().copied()), &values)
        }

        fn shares_of_a_histogram_sum_to_one(counts: Vec<usize>) -> bool {
            let bars = histogram(counts.iter().copied());
            let sum: f64 = bars.iter().map(|b| b.1).sum();
            bars.windows(2).all(|w| w[0].0 <= w[1].0) && (sum - 1.0).abs() < 1e-9 || counts.is_empty()
        }

        fn means_lie_between_their_values(samples: Vec<(f64, f64)>) -> bool {
            let finite = samples.iter().filter(|(t, v)| t.is_finite() && v.is_finite());
            let (lo, hi) = finite.fold((f64::MAX, f64::MIN), |(lo, hi), s| (lo.min(s.1), hi.max(s.1)));
            let slack = (lo.abs().max(hi.abs()) * 1e-9).min(f64::MAX);
            over_time(samples.iter().copied(), 2.0)
                .iter()
                .all(|&(_, v)| lo - slack <= v && v <= hi + slack)
        }
    }

    #[test]
    fn the_worst_of_a_million_stays() {
        let points = cdf((1..=1_000_000).rev().map(f64::from));
        assert!(points.len() > CDF_POINTS / 2 && points.len() <= CDF_POINTS);
        for worst in [999_990.0, 999_999.0, 1_000_000.0] {
            assert!(points.contains(&(worst, worst / 1e6)), "{worst}");
        }
    }

    #[test]
    fn small_examples() {
        let nothing = [f64::NAN, f64::INFINITY];
        assert_eq!(cdf(nothing.into_iter()), []);
        assert_eq!(cdf([2.0, 1.0, 2.0, 2.0].into_iter()), [(1.0, 0.0), (1.0, 0.25), (2.0, 1.0)]);
        assert_eq!(histogram([3, 1, 3, 3].into_iter()), [(1.0, 0.25), (3.0, 0.75)]);
        let samples = [(0.0, 1.0), (9.0, 3.0), (-1.0, 5.0), (25.0, f64::NAN)];
        assert_eq!(over_time(samples.into_iter(), 10.0), [(-5.0, 5.0), (5.0, 2.0)]);
    }
}
