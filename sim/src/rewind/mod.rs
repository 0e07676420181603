//! The report's own experiment: live viewers who keep what goes by, and
//! viewers who come for what went by, in one channel on measured round trips
//! (report chapter 4; Table 4-2, Fig. 4-5).

mod outcome;
mod probe;
mod run;

use std::time::Duration;

use eddy_core::cache::{CacheConfig, Defects, Strategy};
use eddy_core::config::Config;
use eddy_core::dht::DhtConfig;

use crate::Rtt;

pub use outcome::{Kind, Outcome, Replicas, Viewer, share};

/// Sessions as measured: Weibull, in seconds, with the mean that comes of it
/// (data of a real P2P live stream, 2020).
const SHAPE: f64 = 0.492;
const SCALE: f64 = 1_136.0;
const MEAN: f64 = 2_429.0;

/// What to run.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// Fixes the run.
    pub seed: u64,
    /// Of all nodes. Whoever has no DHT of its own uses Plan-x.
    pub config: Config,
    /// Block duration D.
    pub block: Duration,
    /// File length F.
    pub file: Duration,
    /// Viewers who watch live.
    pub live: usize,
    /// Viewers who watch the past.
    pub shifted: usize,
    /// How far behind live these begin, uniformly.
    pub offsets: (Duration, Duration),
    /// Within this time after their moment of the past exists they come.
    pub arrivals: Duration,
    /// How long the channel is on.
    pub span: Duration,
    /// Of the viewers of the past, so many leap to another moment once a minute.
    pub leaping: usize,
    /// Of the live viewers, so many pause, go on, and return to the live edge.
    pub pausing: usize,
    /// Viewers come and go: as many are there at any time, half of them end in
    /// a crash.
    pub churn: bool,
    /// Share of datagrams, and of `Send`s at the first try, that are lost.
    pub loss: f64,
    /// Viewers' hosts stop now and then: mean time between, and for how long.
    pub stalls: Option<(Duration, Duration)>,
    /// Spread of the viewers' clocks, a standard deviation.
    pub skew: Duration,
    /// The stream, in bytes per second.
    pub rate: u64,
    /// Everybody's upload in bytes per second.
    pub upload: u64,
    /// Round trips between the nodes' sites.
    pub rtt: Rtt,
}

impl Rewind {
    /// The published experiment, as `default` does it: 48 live viewers, 16 in
    /// the past, 105 minutes.
    pub fn published(seed: u64) -> Self {
        let dht = DhtConfig { network: Some(*b"eddytest"), ..DhtConfig::default() };
        let cache = Some(CacheConfig::default());
        Self {
            seed,
            config: Config { cache, dht: Some(dht), ..Config::default() },
            block: Duration::from_millis(40),
            file: Duration::from_secs(10),
            live: 48,
            shifted: 16,
            offsets: (Duration::from_secs(60), Duration::from_secs(3_600)),
            arrivals: Duration::from_secs(1_000),
            span: Duration::from_secs(6_300),
            leaping: 0,
            pausing: 0,
            churn: false,
            loss: 0.0,
            stalls: None,
            skew: Duration::ZERO,
            rate: 62_500,
            upload: 1_250_000,
            rtt: Rtt::planetlab(),
        }
    }

    /// The published experiment with the published system: D = 1 s, and whole
    /// owner lists in Plan-x. One defect that the parameter study suspects is
    /// left out: if an owner that finds R entries deleted its file, its own
    /// entry among them, every list that is ever full would lose all its
    /// owners, and a third of the blocks would have none (0.21 % had).
    pub fn report(seed: u64) -> Self {
        let defects = Defects { owners_yield: false, ..Defects::published() };
        let cache = CacheConfig { strategy: Strategy::Report(defects), ..CacheConfig::report() };
        Self {
            config: Config { cache: Some(cache), ..Config::report() },
            block: Duration::from_secs(1),
            // PlanetLab's clocks, ways and hosts, about: the report tells none of it.
            skew: Duration::from_secs(5),
            loss: 0.005,
            stalls: Some((Duration::from_secs(800), Duration::from_secs(30))),
            ..Self::published(seed)
        }
    }

    /// Runs it.
    ///
    /// # Panics
    /// If a machine breaks the contract, or a configuration is invalid.
    pub fn run(&self) -> Outcome {
        run::Run::new(self).finish()
    }
}
