//! What no protocol can do better, to be printed beside every result.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// When viewers hold a unit of video at the earliest, counted from the moment
/// in which the unit began to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Mean over the viewers.
    pub mean: Duration,
    /// Half of the viewers have it by then.
    pub p50: Duration,
    /// 95 % of the viewers have it by then.
    pub p95: Duration,
    /// All viewers have it by then.
    pub max: Duration,
}

impl Bound {
    /// Mean, quantiles (nearest rank) and maximum; `None` of nothing.
    fn of(mut delays: Vec<Duration>) -> Option<Self> {
        delays.sort_unstable();
        let max = *delays.last()?;
        let rank = |percent: usize| delays[(delays.len() * percent).div_ceil(100) - 1];
        let count = u32::try_from(delays.len()).ok()?;
        let mean = delays.iter().sum::<Duration>() / count;
        Some(Self { mean, p50: rank(50), p95: rank(95), max })
    }
}

/// The delay of live streaming by the greedy snowball: whoever has the unit
/// whole and is free first sends it, at full uplink, to the viewer that
/// uploads most of those without it; among equals, to the nearest. The source
/// sends as many copies as it can in the time of one unit, viewers as many as
/// there is need for.
///
/// `delta` is the unit of video that is forwarded whole, `rate` the stream's
/// bytes per second, uploads are in bytes per second, and
/// `latency(from, to)` is one way between viewers, from the source if `None`.
///
/// A yardstick more than a theorem: with latencies, or a heterogeneous swarm,
/// greedy is near the optimum and not always at it. Without latencies and
/// with equal uploads it is the optimum, 1 + ⌈log2 N⌉ slots from a source of
/// the same upload (Liu 2007; Abeni et al. 2009).
///
/// `None` if there are no viewers, or the uploads cannot feed them all.
pub fn b6(
    delta: Duration,
    rate: u64,
    source_upload: u64,
    uploads: &[u64],
    latency: impl Fn(Option<usize>, usize) -> Duration,
) -> Option<Bound> {
    let nearest = |from: Option<usize>, equals: &[usize]| {
        (0..equals.len()).rev().min_by_key(|&i| latency(from, equals[i]))
    };
    greedy(delta, rate, source_upload, uploads, nearest, &latency)
}

/// The same where all are equally far: any is the nearest, so that a million
/// viewers are reckoned in no time.
pub fn b6_even(
    delta: Duration,
    rate: u64,
    source_upload: u64,
    uploads: &[u64],
    latency: Duration,
) -> Option<Bound> {
    let last = |_: Option<usize>, equals: &[usize]| equals.len().checked_sub(1);
    greedy(delta, rate, source_upload, uploads, last, |_, _| latency)
}

fn greedy(
    delta: Duration,
    rate: u64,
    source_upload: u64,
    uploads: &[u64],
    nearest: impl Fn(Option<usize>, &[usize]) -> Option<usize>,
    latency: impl Fn(Option<usize>, usize) -> Duration,
) -> Option<Bound> {
    let mut without: Vec<usize> = (0..uploads.len()).collect();
    without.sort_by_key(|&v| (uploads[v], Reverse(v)));
    let mut copies = source_upload.checked_div(rate)?;
    let mut delays = Vec::with_capacity(uploads.len());
    // When each holder is free, and who it is; the source is `None`.
    let mut free = BinaryHeap::from([Reverse((delta, None))]);

    while let Some(&last) = without.last() {
        let Reverse((since, from)) = free.pop()?;
        let upload = match from {
            None if copies == 0 => continue,
            None => source_upload,
            Some(viewer) => uploads[viewer],
        };
        if upload == 0 {
            continue;
        }
        let equals = without.partition_point(|&v| uploads[v] < uploads[last]);
        let chosen = equals + nearest(from, &without[equals..])?;
        // The order among equals does not matter but for ties.
        let to = without.remove(chosen);

        let sent = since + scale(delta, rate, upload);
        let arrival = sent + latency(from, to);
        delays.push(arrival);
        free.push(Reverse((arrival, Some(to))));
        free.push(Reverse((sent, from)));
        if from.is_none() {
            copies -= 1;
        }
    }
    Bound::of(delays)
}

/// The start-up of a viewer that fills a buffer of `buffered` before it plays,
/// at `download` bytes per second: five round trips (connect to the bootstrap
/// server 1.5, list 1, connect to a partner 1.5, subscribe 1) and the buffer.
/// `None` if nothing can be downloaded.
pub fn b8(rtt: Duration, buffered: Duration, rate: u64, download: u64) -> Option<Duration> {
    (download > 0).then(|| rtt * 5 + scale(buffered, rate, download))
}

/// `d · num / den`, for a `den` above zero.
fn scale(d: Duration, num: u64, den: u64) -> Duration {
    let nanos = d.as_nanos() * u128::from(num) / u128::from(den);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rtt;
    use eddy_core::rng::Rng;
    use quickcheck::quickcheck;

    const R: u64 = 62_500;
    const S: Duration = Duration::from_secs(1);

    fn near(_: Option<usize>, _: usize) -> Duration {
        Duration::ZERO
    }

    quickcheck! {
        fn equal_uploads_take_one_plus_log2_n_slots(n: u16, m: u8) -> bool {
            let (n, m) = (usize::from(n % 2_000) + 1, 1_u32 << (m % 3));
            // The source fills one slot of its own, viewers are m times as fast.
            let bound = b6(S, R, R, &vec![R * u64::from(m); n], near).expect("feasible");
            let slots = n.next_power_of_two().ilog2();
            bound.max == S + S + S * slots / m
        }
    }

    #[test]
    fn published_slots() {
        for (n, slots) in [(48, 7), (64, 7), (100, 8), (1_000, 11), (10_000, 15)] {
            let bound = b6(S, R, R, &vec![R; n], near).expect("feasible");
            assert_eq!(bound.max, S * (slots + 1), "{n} viewers");
        }
    }

    #[test]
    fn uniform_latency_gives_the_postal_model() {
        // The study's B5: slots in percent, for latencies in percent of a slot.
        let percent = |p: u32| S * p / 100;
        let n48 = [(0, 700), (5, 720), (10, 740), (25, 800), (50, 900), (100, 1_100)];
        let n10k = [(0, 1_500), (5, 1_535), (10, 1_570), (25, 1_675), (50, 1_850), (100, 2_200)];
        for (n, table) in [(48, n48), (10_000, n10k)] {
            for (latency, slots) in table {
                let bound = b6(S, R, R, &vec![R; n], |_, _| percent(latency)).expect("feasible");
                assert_eq!(bound.max, S + percent(slots), "{n} viewers, latency {latency} %");
                let even = b6_even(S, R, R, &vec![R; n], percent(latency));
                assert_eq!(even, Some(bound), "{n} viewers, latency {latency} %");
            }
        }
    }

    /// The table of the study: 48 live viewers drawn from PlanetLab.
    fn nctu(delta: Duration, source: u64, upload: u64) -> [f64; 3] {
        let rtt = Rtt::planetlab();
        let draws = 20;
        let mut sums = [0.0; 3];
        for draw in 0..draws {
            let sites = rtt.draw(&mut Rng::new([draw; 32]), 49);
            let one_way =
                |from: Option<usize>, to: usize| rtt.rtt(sites[from.unwrap_or(48)], sites[to]) / 2;
            let b = b6(delta, R, source * R, &[upload * R; 48], one_way).expect("feasible");
            for (sum, d) in sums.iter_mut().zip([b.mean, b.p95, b.max]) {
                *sum += d.as_secs_f64() / f64::from(draws);
            }
        }
        sums
    }

    #[test]
    fn the_studys_table_comes_out() {
        let ms = Duration::from_millis;
        let table = [
            (ms(1_000), 1, 1, [6.8, 8.2, 8.2]),
            (ms(1_000), 4, 2, [3.0, 3.7, 3.8]),
            (ms(200), 4, 1, [0.94, 1.28, 1.32]),
            (ms(50), 1, 1, [0.43, 0.59, 0.63]),
            (ms(50), 4, 2, [0.22, 0.36, 0.38]),
            (ms(50), 8, 4, [0.18, 0.29, 0.30]),
        ];
        for (delta, source, upload, want) in table {
            let got = nctu(delta, source, upload);
            for (g, w) in got.into_iter().zip(want) {
                assert!(
                    (g / w - 1.0).abs() < 0.15,
                    "{delta:?} {source} {upload}: {got:?}, study {want:?}"
                );
            }
        }
    }

    #[test]
    fn free_riders_are_served_last_and_need_somebody() {
        let bound = b6(S, R, R, &[0, R, 0, R], near).expect("feasible");
        // Source to one, one to the other, both to the free riders.
        assert_eq!((bound.p50, bound.max), (S * 3, S * 4));
        assert_eq!(b6(S, R, R, &[0, 0], near), None);
        assert_eq!(b6(S, R, R - 1, &[R], near), None);
        assert_eq!(b6(S, R, R, &[], near), None);
    }

    #[test]
    fn start_up_is_five_round_trips_and_the_buffer() {
        let rtt = Duration::from_millis(140);
        assert_eq!(b8(rtt, S * 2, R, R * 4), Some(Duration::from_millis(1_200)));
        assert_eq!(b8(rtt, S, R, 0), None);
    }
}
