//! Round trips between sites.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eddy_core::rng::Rng;

/// Sites of the PlanetLab matrix.
const PLANETLAB: usize = 490;

/// Round-trip times between sites; a site is a row of the matrix. Several
/// nodes may stand at one site.
#[derive(Clone)]
pub struct Rtt(Source);

#[derive(Clone)]
enum Source {
    Uniform(Duration),
    /// The upper triangle without the diagonal, row by row, in 0.1 ms.
    Matrix {
        sites: usize,
        upper: Arc<[u16]>,
    },
}

impl Rtt {
    /// 490 PlanetLab nodes as measured (Zhu et al., ToN 2017); see
    /// `data/README.md`.
    pub fn planetlab() -> Self {
        let raw = include_bytes!("../data/planetlab-rtt.bin");
        let upper = raw.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
        Self(Source::Matrix { sites: PLANETLAB, upper })
    }

    /// A matrix of one's own, in milliseconds; of the two ways between a pair the
    /// longer counts. `None` unless it is square, and all of it 0 to 6,553.
    pub fn matrix(rows: &[Vec<f64>]) -> Option<Self> {
        let sites = rows.len();
        let fits = |ms: &f64| (0.0..=6_553.0).contains(ms);
        if sites == 0 || rows.iter().any(|r| r.len() != sites || !r.iter().all(fits)) {
            return None;
        }
        let pairs = (0..sites).flat_map(|a| (a + 1..sites).map(move |b| (a, b)));
        let upper =
            pairs.map(|(a, b)| (rows[a][b].max(rows[b][a]) * 10.0).round() as u16).collect();
        Some(Self(Source::Matrix { sites, upper }))
    }

    /// The same round trip between any two nodes; every site number is valid.
    pub const fn uniform(rtt: Duration) -> Self {
        Self(Source::Uniform(rtt))
    }

    /// How many sites there are; `None` if there is no limit.
    pub fn sites(&self) -> Option<usize> {
        match &self.0 {
            Source::Uniform(_) => None,
            Source::Matrix { sites, .. } => Some(*sites),
        }
    }

    /// The round trip between two sites; zero from a site of a matrix to itself.
    ///
    /// # Panics
    /// If there is no such site.
    pub fn rtt(&self, a: usize, b: usize) -> Duration {
        match &self.0 {
            Source::Uniform(rtt) => *rtt,
            Source::Matrix { sites, upper } => {
                let (row, column) = (a.min(b), a.max(b));
                assert!(column < *sites, "site {column} of {sites}");
                if row == column {
                    return Duration::ZERO;
                }
                let before = row * sites - row * (row + 1) / 2;
                Duration::from_micros(u64::from(upper[before + column - row - 1]) * 100)
            }
        }
    }

    /// Sites for `count` nodes, drawn without putting one back until all are used.
    pub fn draw(&self, rng: &mut Rng, count: usize) -> Vec<usize> {
        let sites = self.sites().unwrap_or(count);
        let mut drawn = Vec::with_capacity(count + sites);
        while drawn.len() < count {
            let mut round: Vec<usize> = (0..sites).collect();
            rng.shuffle(&mut round);
            drawn.append(&mut round);
        }
        drawn.truncate(count);
        drawn
    }
}

impl fmt::Debug for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Uniform(rtt) => write!(f, "Rtt({rtt:?})"),
            Source::Matrix { sites, .. } => write!(f, "Rtt({sites} sites)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planetlab_has_the_published_quantiles() {
        let rtt = Rtt::planetlab();
        let mut ms: Vec<f64> = Vec::new();
        for a in 0..PLANETLAB {
            assert_eq!(rtt.rtt(a, a), Duration::ZERO);
            for b in a + 1..PLANETLAB {
                assert_eq!(rtt.rtt(a, b), rtt.rtt(b, a));
                ms.push(rtt.rtt(a, b).as_secs_f64() * 1e3);
            }
        }
        ms.sort_by(f64::total_cmp);
        let published =
            [(0.05, 19.3), (0.25, 59.3), (0.5, 135.0), (0.75, 201.8), (0.95, 324.9), (0.99, 412.6)];
        for (q, want) in published {
            let got = ms[(q * ms.len() as f64) as usize];
            assert!((got - want).abs() < 0.1, "quantile {q} is {got} ms, published {want} ms");
        }
        let mean = ms.iter().sum::<f64>() / ms.len() as f64;
        assert!((mean - 146.8).abs() < 0.1, "mean {mean}");
        assert!((ms[ms.len() - 1] - 2_984.0).abs() < 1.0);
    }

    #[test]
    fn entries_stand_where_they_stood() {
        // Read from the upstream file, in microseconds.
        let rtt = Rtt::planetlab();
        let micros = |a, b| rtt.rtt(a, b).as_micros();
        assert_eq!([micros(0, 1), micros(0, 2), micros(0, 3)], [200, 2_600, 121_400]);
        for (a, b, want) in [(0, 489, 16100), (123, 321, 70600), (488, 489, 40000)] {
            assert_eq!(micros(a, b), want, "from {a} to {b}");
        }
    }

    #[test]
    fn a_matrix_of_ones_own_is_read_as_it_stands() {
        let rows = [vec![0.0, 10.5, 30.0], vec![12.0, 0.0, 7.0], vec![30.0, 7.0, 0.0]];
        let rtt = Rtt::matrix(&rows).expect("square");
        assert_eq!(rtt.rtt(0, 1).as_micros(), 12_000);
        assert_eq!(rtt.rtt(2, 1).as_micros(), 7_000);
        assert!(Rtt::matrix(&rows[..2]).is_none() && Rtt::matrix(&[]).is_none());
    }

    #[test]
    fn draws_are_distinct_while_they_can_be() {
        let rtt = Rtt::planetlab();
        let mut drawn = rtt.draw(&mut Rng::new([1; 32]), 1_000);
        assert_eq!(drawn.len(), 1_000);
        drawn[..490].sort_unstable();
        assert!(drawn[..490].iter().copied().eq(0..490));
        assert!(drawn.iter().all(|&s| s < 490));
    }
}
