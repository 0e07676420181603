//! The parameters of the cache, with unit, range and source.

use core::time::Duration;

use crate::config::ConfigError;

/// How a node decides what to keep and when to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// Exactly R replicas by rank: rule S4 of the study (`rules.rs`).
    Rank,
    /// Algorithm 3-1 of the report (`report.rs`), with these defects.
    Report(Defects),
    /// IPP of P2TSS (ICME 2008; `interval.rs`): a viewer keeps, and publishes,
    /// what it plays first, C seconds from its initial play-out position on.
    InitialPosition {
        /// C, in whole seconds of stream time: a second to ten years.
        span: Duration,
    },
    /// LSP of P2TSS: what is live from when the viewer comes, C seconds of it.
    LivePosition {
        /// C, in whole seconds of stream time: a second to ten years.
        span: Duration,
        /// Whether it goes on with what is live then, and lets the oldest go:
        /// the last C seconds are with everybody, and what was before with
        /// nobody. P2TSS fills once.
        renew: bool,
    },
    /// A provider: everything is kept as long as the quota allows, nothing is
    /// published (report section 3.4).
    Everything,
}

/// How a file's owner list is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Publishing {
    /// The whole list is got, edited and put back, so that of two at once one
    /// is lost: as published (D-3).
    GetEditPut,
    /// The same, but a put counts only if the list is still of the version that
    /// was got (BEP 44, `cas`). If not, it is got again after a back-off, 16
    /// times at most.
    CompareAndSwap,
    /// The node adds its own entry, and those who store the list merge; what
    /// was got for it only tells how many there are.
    AddToSet,
}

/// The defects of the published algorithm, one switch each: `true` is as
/// published, and so is [`Publishing::GetEditPut`]. The numbers are those of the parameter study, the lines those
/// of Algorithm 3-1. What it names beside these is the DHT's (D-4 a to e, g;
/// D-13), or is about other parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defects {
    /// D-1, lines 06-07: a number of 1..=N is compared with `<`, so a file is
    /// kept with probability (R-1)/N. Else with R/N.
    pub off_by_one: bool,
    /// D-2, line 05: parents are added to partners, though they are some of
    /// them. Else partners and the node itself are counted.
    pub double_count: bool,
    /// D-3, lines 10-14: how the node comes into the list. Mended: it adds
    /// itself to a set.
    pub publishing: Publishing,
    /// D-4 (f): there is no error path. A time-out of the DHT ends all work
    /// for that file; its copy stays. Else it is tried again after another
    /// back-off.
    pub no_error_path: bool,
    /// D-5, line 12: the list is got a second time and counted raw, with
    /// out-dated entries and the node's own, so that an owner of R deletes its
    /// file. Else the cleaned list of line 11 counts.
    pub raw_size: bool,
    /// D-5, lines 12-17 at republication: an owner that finds R others deletes
    /// its file. Else who is listed refreshes its entry in any case.
    pub owners_yield: bool,
    /// D-6: entries stay when their owner leaves or evicts the file. Else the
    /// node takes its entry out.
    pub stale_owners: bool,
    /// D-7, lines 06-07 and 09: who keeps a file, and after what back-off, is
    /// left to chance. Else the rank decides both, as in rule 3 of S4.
    pub random_caching: bool,
}

impl Defects {
    /// As published: all of them.
    pub const fn published() -> Self {
        Self::all(true)
    }

    /// All of them mended.
    pub const fn none() -> Self {
        Self::all(false)
    }

    const fn all(on: bool) -> Self {
        Self {
            off_by_one: on,
            double_count: on,
            publishing: if on { Publishing::GetEditPut } else { Publishing::AddToSet },
            no_error_path: on,
            raw_size: on,
            owners_yield: on,
            stale_owners: on,
            random_caching: on,
        }
    }
}

/// How many records of one address and one network count when owners are
/// ranked; `None` for all, where a whole network sits on one address. Loopback
/// is exempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Of one IPv4 address or IPv6 /64: 4.
    pub per_address: Option<usize>,
    /// Of one IPv4 /24 or IPv6 /48: 16.
    pub per_network: Option<usize>,
}

impl Default for Caps {
    fn default() -> Self {
        Self { per_address: Some(4), per_network: Some(16) }
    }
}

/// Configuration of the cache.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheConfig {
    /// What decides.
    pub strategy: Strategy,
    /// R: replicas wanted of each file, 1 to 64 (report p. 18: 10).
    pub replicas: usize,
    /// Viewers ranked after the first R that keep a file without publishing
    /// it, 0 to 64 (dht.md section 6: 10).
    pub spares: usize,
    /// Bytes on disk at most.
    pub quota: u64,
    /// The largest file expected, in bytes; the quota must hold it.
    pub largest_file: u64,
    /// Files older than this, in stream time, are deleted; `None` keeps them
    /// as long as the quota allows.
    pub max_age: Option<Duration>,
    /// Life of a published record: 30 min (report: 10 min).
    pub record_life: Duration,
    /// Time between two publications of a record, ±10 %: 12 min. `report`:
    /// 5 min, of which the last fifth is chance. Less than half the life.
    pub republish: Duration,
    /// From a file's completion to the first look at who else published it;
    /// who is one too many withdraws then. 45 s.
    pub recheck: Duration,
    /// The back-off before a viewer that does not rank among the first R
    /// counts the records: 3 s, and so much more for each further rank.
    pub count_after: Duration,
    /// Back-off for each rank beyond R: 600 ms.
    pub rank_step: Duration,
    /// `report`: the largest random back-off before publishing, line 09: 30 s
    /// (its page is missing).
    pub back_off: Duration,
    /// Whose records count.
    pub caps: Caps,
    /// Lookups under way at once, at most.
    pub lookups: usize,
    /// Files fetched from other owners at once, at most.
    pub fetches: usize,
    /// Files without a copy here that are watched for missing replicas, at most.
    pub watched: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::Rank,
            replicas: 10,
            spares: 10,
            quota: 2 << 30,
            largest_file: 32 << 20,
            max_age: None,
            record_life: Duration::from_secs(30 * 60),
            republish: Duration::from_secs(12 * 60),
            recheck: Duration::from_secs(45),
            count_after: Duration::from_secs(3),
            rank_step: Duration::from_millis(600),
            back_off: Duration::from_secs(30),
            caps: Caps::default(),
            lookups: 16,
            fetches: 2,
            watched: 4_096,
        }
    }
}

impl CacheConfig {
    /// The published system.
    pub fn report() -> Self {
        Self {
            strategy: Strategy::Report(Defects::published()),
            record_life: Duration::from_secs(600),
            republish: Duration::from_secs(300),
            ..Self::default()
        }
    }

    /// A provider that keeps the past for so long, whatever that takes, and never
    /// publishes.
    pub fn provider(keep: Duration) -> Self {
        let (strategy, max_age) = (Strategy::Everything, Some(keep));
        Self { strategy, max_age, quota: u64::MAX, ..Self::default() }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`ConfigError`], whose text names the parameter and its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.quota < self.largest_file {
            return Err(ConfigError::Quota { quota: self.quota, file: self.largest_file });
        }
        let s = Duration::from_secs;
        let spans: &[(&'static str, Duration, Duration, Duration)] = &[
            ("record_life", self.record_life, s(60), s(3_600)),
            ("republish", self.republish, s(10), self.record_life / 2),
            ("recheck", self.recheck, s(1), self.republish),
            ("count_after", self.count_after, Duration::ZERO, self.recheck),
            ("rank_step", self.rank_step, Duration::ZERO, s(10)),
            ("back_off", self.back_off, Duration::ZERO, self.republish),
            ("max_age", self.max_age.unwrap_or(s(60)), s(60), s(10 * 366 * 86_400)),
        ];
        let own = match self.strategy {
            Strategy::InitialPosition { span } | Strategy::LivePosition { span, .. } => Some(span),
            _ => None,
        };
        let span = ("span", own.unwrap_or(s(1)), s(1), s(10 * 366 * 86_400));
        for &(name, value, min, max) in spans.iter().chain([&span]) {
            if value < min || value > max {
                return Err(ConfigError::Span { name, value, min, max });
            }
        }
        let counts: &[(&'static str, usize, usize, usize)] = &[
            ("replicas", self.replicas, 1, 64),
            ("spares", self.spares, 0, 64),
            ("lookups", self.lookups, 1, 1_024),
            ("fetches", self.fetches, 1, 64),
            ("watched", self.watched, 0, 1 << 20),
        ];
        for &(name, value, min, max) in counts {
            if value < min || value > max {
                return Err(ConfigError::Count { name, value, min, max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn presets_are_valid() {
        let keep = Duration::from_secs(86_400);
        for c in [CacheConfig::default(), CacheConfig::report(), CacheConfig::provider(keep)] {
            assert_eq!(c.validate(), Ok(()));
        }
    }

    #[test]
    fn a_quota_smaller_than_a_file_is_refused_with_what_to_do() {
        let c = CacheConfig { quota: 1_000, largest_file: 2_000, ..CacheConfig::default() };
        assert_eq!(
            c.validate().unwrap_err().to_string(),
            "quota is 1000 bytes, but one file may take 2000: raise the quota to at least that"
        );
    }

    #[test]
    fn a_refusal_names_the_parameter_and_its_range() {
        let c = CacheConfig { republish: Duration::from_secs(901), ..CacheConfig::default() };
        let text = c.validate().unwrap_err().to_string();
        assert_eq!(text, "republish is 901s, but must be 10s to 900s");
        let c = CacheConfig { replicas: 0, ..CacheConfig::default() };
        let text = c.validate().unwrap_err().to_string();
        assert_eq!(text, "replicas is 0, but must be 1 to 64");
        let strategy = Strategy::InitialPosition { span: Duration::ZERO };
        let c = CacheConfig { strategy, ..CacheConfig::default() };
        assert!(c.validate().unwrap_err().to_string().starts_with("span is 0ns, but must be 1s"));
    }
}
