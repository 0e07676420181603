//! What chance decides: sessions, arrivals, uplinks, clocks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use eddy_core::rng::Rng;

use super::reading::ScenarioError;
use super::scenario::{Group, Session, Uploads};
use super::units::Rate;
use crate::Rtt;

/// A uniform draw, 0 included and 1 not.
pub(super) fn uniform(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// An exponential draw.
pub(super) fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - uniform(rng)).ln())
}

/// A normal draw (Box and Muller).
pub(super) fn normal(rng: &mut Rng) -> f64 {
    let (a, b) = (1.0 - uniform(rng), uniform(rng));
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Lengths of sessions.
#[derive(Clone, Debug)]
pub(super) enum Sessions {
    Forever,
    Weibull(f64, f64),
    LogNormal(f64, f64),
    Exponential(f64),
    /// Values at evenly spaced quantiles.
    Quantiles(Vec<f64>),
}

/// No session is longer: beyond any scenario.
const LONGEST: f64 = 1e7;
/// Draws of which one that is met at random is taken.
const MET: usize = 200;

impl Sessions {
    pub(super) fn new(of: &Session, files: &Files) -> Result<Self, ScenarioError> {
        Ok(match of {
            Session::Forever => Self::Forever,
            Session::Weibull(shape, scale) => Self::Weibull(*shape, *scale),
            Session::LogNormal(mu, sigma) => Self::LogNormal(*mu, *sigma),
            Session::Exponential(mean) => Self::Exponential(mean.0.as_secs_f64()),
            Session::Quantiles(file) => Self::Quantiles(files.column(file, "session_span_s")?),
        })
    }

    /// One session; `None` does not end.
    pub(super) fn draw(&self, rng: &mut Rng) -> Option<Duration> {
        let u = uniform(rng);
        let seconds = match self {
            Self::Forever => return None,
            Self::Weibull(shape, scale) => scale * (-(1.0 - u).ln()).powf(1.0 / shape),
            Self::LogNormal(mu, sigma) => (mu + sigma * normal(rng)).exp(),
            Self::Exponential(mean) => -mean * (1.0 - u).ln(),
            Self::Quantiles(values) => {
                let at = u * (values.len() - 1) as f64;
                let (low, part) = (at as usize, at.fract());
                let high = values[(low + 1).min(values.len() - 1)];
                values[low] + (high - values[low]) * part
            }
        };
        Some(Duration::from_secs_f64(seconds.clamp(0.0, LONGEST)))
    }

    /// What is left of the session of somebody met at a random moment: long
    /// ones are met more often.
    pub(super) fn rest(&self, rng: &mut Rng) -> Option<Duration> {
        let sessions: Vec<Duration> = (0..MET).map_while(|_| self.draw(rng)).collect();
        let mut at = sessions.iter().sum::<Duration>().mul_f64(uniform(rng));
        for session in sessions {
            if at < session {
                return Some(at);
            }
            at -= session;
        }
        None
    }

    /// The mean, in seconds; infinite if they do not end.
    pub(super) fn mean(&self) -> f64 {
        match self {
            Self::Forever => f64::INFINITY,
            Self::Weibull(shape, scale) => scale * gamma(1.0 + 1.0 / shape),
            Self::LogNormal(mu, sigma) => (mu + sigma * sigma / 2.0).exp(),
            Self::Exponential(mean) => *mean,
            Self::Quantiles(values) => {
                let pairs = values.windows(2).map(|w| (w[0] + w[1]) / 2.0);
                pairs.sum::<f64>() / (values.len() - 1).max(1) as f64
            }
        }
    }
}

/// The gamma function for x ≥ 1 (Lanczos, g = 5, six terms).
fn gamma(x: f64) -> f64 {
    const TERMS: [f64; 6] = [
        76.180_091_729_471_46,
        -86.505_320_329_416_77,
        24.014_098_240_830_91,
        -1.231_739_572_450_155,
        0.120_865_097_386_617_9e-2,
        -0.539_523_938_495_3e-5,
    ];
    let t = x + 5.5 - (x + 0.5) * (x + 5.5).ln();
    let mut sum = 1.000_000_000_190_015;
    for (n, term) in (1..).zip(TERMS) {
        sum += term / (x + f64::from(n));
    }
    (-t + (std::f64::consts::TAU.sqrt() * sum / x).ln()).exp()
}

/// Each one's uplink, of a group with so many: the classes in their shares, in
/// random order.
pub(super) fn uplinks(group: &Group, count: usize, rng: &mut Rng) -> Vec<Rate> {
    let classes = match &group.upload {
        Uploads::All(rate) => return vec![*rate; count],
        Uploads::Classes(classes) => classes,
    };
    let all: f64 = classes.iter().map(|c| c.share).sum();
    let (mut drawn, mut share) = (Vec::with_capacity(count), 0.0);
    for class in classes {
        share += class.share / all;
        drawn.resize((share * count as f64).round() as usize, class.rate);
    }
    rng.shuffle(&mut drawn);
    drawn
}

/// One uplink at random.
pub(super) fn uplink(group: &Group, rng: &mut Rng) -> Rate {
    match &group.upload {
        Uploads::All(rate) => *rate,
        Uploads::Classes(classes) => {
            let mut at = uniform(rng) * classes.iter().map(|c| c.share).sum::<f64>();
            let last = classes[classes.len() - 1].rate;
            for class in classes {
                if at < class.share {
                    return class.rate;
                }
                at -= class.share;
            }
            last
        }
    }
}

/// Where the files are that a scenario names: beside it, or built in.
#[derive(Clone, Debug, Default)]
pub struct Files(pub Option<PathBuf>);

/// What is there without a file.
const BUILT_IN: [(&str, &str); 2] = [
    ("session_quantiles.csv", include_str!("../../data/session_quantiles.csv")),
    (
        "arrivals_per_minute_2020-03-17.csv",
        include_str!("../../data/arrivals_per_minute_2020-03-17.csv"),
    ),
];

impl Files {
    fn text(&self, name: &str) -> Result<String, ScenarioError> {
        let path = self.0.as_deref().unwrap_or(Path::new("")).join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(e) => BUILT_IN
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, text)| (*text).to_owned())
                .ok_or_else(|| {
                    ScenarioError(format!(
                        "cannot read {}: {e}; give a path from the scenario's folder",
                        path.display()
                    ))
                }),
        }
    }

    /// The numbers of one column of a file with a heading and commas.
    pub(super) fn column(&self, name: &str, column: &str) -> Result<Vec<f64>, ScenarioError> {
        let text = self.text(name)?;
        let wrong = |what: String| ScenarioError(format!("{name}: {what}"));
        let mut lines = text.lines().filter(|l| !l.trim().is_empty());
        let heading = lines.next().unwrap_or_default();
        let at = heading.split(',').position(|h| h.trim() == column);
        let at = at.ok_or_else(|| {
            wrong(format!("there is no column {column} in the heading {heading:?}"))
        })?;
        let numbers: Result<Vec<f64>, _> = (2..)
            .zip(lines)
            .map(|(n, line)| {
                let cell = line.split(',').nth(at).unwrap_or_default().trim();
                cell.parse().map_err(|_| wrong(format!("line {n}: {cell:?} is no number")))
            })
            .collect();
        match numbers?.as_slice() {
            [] | [_] => Err(wrong("at least two lines of numbers are needed".to_owned())),
            numbers => Ok(numbers.to_vec()),
        }
    }

    /// The round trips that a scenario names.
    pub(super) fn rtt(&self, name: &str) -> Result<Rtt, ScenarioError> {
        if name == "planetlab" {
            return Ok(Rtt::planetlab());
        }
        if let Ok(span) = name.parse::<super::units::Span>() {
            return Ok(Rtt::uniform(span.0));
        }
        let text = self.text(name)?;
        let rows: Result<Vec<Vec<f64>>, _> = text
            .lines()
            .filter(|l| !l.trim().is_empty())
            .map(|l| l.split([',', '\t', ' ']).filter(|c| !c.is_empty()).map(str::parse).collect())
            .collect();
        let rows = rows
            .map_err(|e| ScenarioError(format!("{name}: {e}; give milliseconds, a row a line")))?;
        Rtt::matrix(&rows).ok_or_else(|| {
            ScenarioError(format!(
                "{name}: give as many columns as rows, each 0 to 6553 milliseconds"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_have_the_mean_that_they_say() {
        let mut rng = Rng::new([3; 32]);
        let quantiles = Files::default().column("session_quantiles.csv", "session_span_s").unwrap();
        for of in [
            Sessions::Weibull(0.492, 1_136.0),
            Sessions::LogNormal(4.29, 1.28),
            Sessions::Exponential(100.0),
            Sessions::Quantiles(quantiles),
        ] {
            let draws: Vec<f64> =
                (0..200_000).map(|_| of.draw(&mut rng).unwrap().as_secs_f64()).collect();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64;
            let said = of.mean();
            assert!((mean / said - 1.0).abs() < 0.03, "{of:?}: drawn {mean}, said {said}");
        }
        assert_eq!(Sessions::Forever.rest(&mut rng), None);
    }

    #[test]
    fn a_file_that_is_wrong_says_where() {
        let error = Files::default().column("nowhere.csv", "p").unwrap_err().0;
        assert!(error.contains("nowhere.csv") && error.contains("scenario's folder"), "{error}");
        let error = Files::default().column("session_quantiles.csv", "length").unwrap_err().0;
        assert!(error.contains("no column length"), "{error}");
    }
}
