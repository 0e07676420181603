//! The distributed cache: which files of the past this node keeps, and when it
//! publishes, refreshes and withdraws their records.
//!
//! A part: it decides and holds state, and sends nothing. It is told what the
//! node holds, what lookups found and what time it is; it says what it wants
//! as [`Effect`]s. Each [`Effect::LookUp`] and [`Effect::GetList`] is answered
//! by [`Cache::records`], [`Cache::listed`] or [`Cache::failed`]; each
//! [`Effect::Announce`], [`Effect::Withdraw`] and [`Effect::PutList`] by
//! [`Cache::stored`]; each [`Effect::Fetch`] by [`Cache::completed`] or
//! [`Cache::failed`]. An answer that never comes counts as failed after a
//! while.
//!
//! | file | what it holds |
//! |---|---|
//! | `rules.rs` | `default`: exactly R replicas by rank (rule S4 of the study) |
//! | `report.rs` | `report`: Algorithm 3-1, each defect with its switch |
//! | `interval.rs` | P2TSS: an interval of the stream for each viewer |
//! | `rank.rs` | scores, ranks and caps |
//! | `quota.rs` | bytes and age, what is evicted first |
//! | `agenda.rs` | what is to be done when |

mod agenda;
mod config;
mod interval;
mod quota;
mod rank;
mod report;
mod rules;
mod shelf;
#[cfg(test)]
mod trial;

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use crate::config::ConfigError;
use crate::id::hex;
use crate::rng::Rng;
use crate::time::Time;

pub use config::{CacheConfig, Caps, Defects, Publishing, Strategy};
use interval::{Interval, Kind};
use report::Report;
use rules::Rules;
use shelf::Shelf;

/// A file of the channel's past: the unit of caching and publishing. Ordered
/// by age, the oldest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct File {
    /// Where it starts in stream time, in whole seconds.
    pub start: u64,
    /// Its key in the DHT.
    pub key: [u8; 20],
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.start)?;
        hex(f, &self.key[..4])
    }
}

/// An entry of a file's owner list (`report`; papers.md section 10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Where the file can be had.
    pub addr: SocketAddr,
    /// When the owner put the entry, by its own clock.
    pub published_at: Time,
}

/// How many viewers there are, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// The bootstrap server's count, or the size of the channel's own key:
    /// `None` if neither is known. Without it more viewers than usual count
    /// themselves candidates for a file.
    pub viewers: Option<usize>,
    /// Partners.
    pub partners: usize,
    /// Parents; some of the partners.
    pub parents: usize,
    /// An estimate, such as the size of the DHT if it serves one channel.
    pub estimate: Option<usize>,
}

impl Population {
    /// N^: the largest of what is known, the node itself included. Too many is
    /// the harmful direction, so parents are not counted on top of partners.
    fn count(self) -> usize {
        let around = self.partners.saturating_add(1);
        around.max(self.viewers.unwrap_or(0)).max(self.estimate.unwrap_or(0))
    }

    fn is_well_known(self) -> bool {
        self.viewers.is_some()
    }
}

/// What the cache wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Write the file to disk. If that fails, say [`Cache::gone`].
    Keep {
        /// The file, just completed.
        file: File,
    },
    /// Delete the file from disk, or don't write it. The cache is done with it.
    Drop {
        /// The file.
        file: File,
    },
    /// A file larger than the whole quota was not kept: the user should know.
    TooLarge {
        /// The file.
        file: File,
        /// Its bytes.
        bytes: u64,
        /// The quota, in bytes.
        quota: u64,
    },
    /// Find all records of the file.
    LookUp {
        /// The file.
        file: File,
        /// Whether an announcement may follow, so that the lookup's tokens are
        /// worth keeping.
        want_token: bool,
    },
    /// Add this node's record to the file's set. With the tokens of a lookup
    /// just before, or, at a file's first publication, without one.
    Announce {
        /// The file.
        file: File,
        /// How long the record shall live.
        life: Duration,
    },
    /// Take this node's record out of the file's set (a life of 0).
    Withdraw {
        /// The file.
        file: File,
    },
    /// Recruited: obtain a copy from an owner, then say [`Cache::completed`].
    Fetch {
        /// The file.
        file: File,
    },
    /// `report`: get the file's owner list.
    GetList {
        /// The file.
        file: File,
    },
    /// `report`: put this list in the place of the file's owner list.
    PutList {
        /// The file.
        file: File,
        /// The whole list.
        owners: Vec<Owner>,
        /// Only if the list still has this version; in any case without one.
        version: Option<u64>,
    },
}

/// The cache of one node in one channel.
#[derive(Debug)]
pub struct Cache {
    shelf: Shelf,
    policy: Policy,
    left: bool,
}

#[derive(Debug)]
enum Policy {
    Rank(Rules),
    Report(Report),
    Interval(Interval),
    Everything,
}

impl Cache {
    /// An empty cache.
    ///
    /// # Errors
    /// [`ConfigError`] if a parameter is out of its range.
    pub fn new(config: CacheConfig, rng: Rng) -> Result<Self, ConfigError> {
        config.validate()?;
        let shelf = Shelf::new(config.quota, config.max_age);
        let policy = match config.strategy {
            Strategy::Rank => Policy::Rank(Rules::new(config, rng)),
            Strategy::Report(defects) => Policy::Report(Report::new(config, defects, rng)),
            Strategy::InitialPosition { span } => {
                Policy::Interval(Interval::new(config, Kind::Initial, span, rng))
            }
            Strategy::LivePosition { span, renew } => {
                let kind = if renew { Kind::Sliding } else { Kind::Live };
                Policy::Interval(Interval::new(config, kind, span, rng))
            }
            Strategy::Everything => Policy::Everything,
        };
        Ok(Self { shelf, policy, left: false })
    }

    /// The node's address as records will show it. Files completed before it
    /// is known are kept and judged when it is; when it changes, all are
    /// judged anew.
    pub fn set_self(&mut self, now: Time, addr: SocketAddr) {
        match &mut self.policy {
            Policy::Rank(rules) => rules.set_self(&mut self.shelf, now, addr),
            Policy::Report(report) => report.set_self(addr),
            Policy::Interval(_) | Policy::Everything => {}
        }
    }

    /// The second of stream time at which the viewer begins to play: IPP's
    /// interval begins there.
    pub fn set_position(&mut self, second: u64) {
        if let Policy::Interval(interval) = &mut self.policy {
            interval.set_position(second);
        }
    }

    /// How many viewers there are. Counts for files completed from now on.
    pub fn set_population(&mut self, population: Population) {
        match &mut self.policy {
            Policy::Rank(rules) => rules.set_population(population),
            Policy::Report(report) => report.set_population(population),
            Policy::Interval(_) | Policy::Everything => {}
        }
    }

    /// The node holds every block of a file that it saw live, as all do at
    /// about the same time. Answered by one [`Effect::Keep`] or
    /// [`Effect::Drop`], unless it is kept already.
    pub fn completed(&mut self, now: Time, file: File, bytes: u64) {
        self.take(now, file, bytes, true);
    }

    /// The same for a file that was fetched, to be played or to be kept: others
    /// may have published it long ago, so they are counted first.
    pub fn fetched(&mut self, now: Time, file: File, bytes: u64) {
        self.take(now, file, bytes, false);
    }

    fn take(&mut self, now: Time, file: File, bytes: u64, live: bool) {
        if self.left || self.shelf.holds(file) {
            return;
        }
        self.shelf.seen(now, file);
        match &mut self.policy {
            Policy::Rank(rules) => rules.completed(&mut self.shelf, now, file, bytes, live),
            Policy::Report(report) if live => {
                report.completed(&mut self.shelf, now, file, bytes);
            }
            Policy::Report(report) => report.fetched(&mut self.shelf, now, file, bytes),
            Policy::Interval(interval) => {
                interval.completed(&mut self.shelf, now, file, bytes, live);
            }
            Policy::Everything => {
                self.shelf.keep(now, file, bytes, |shelf, victim| shelf.delete(victim));
            }
        }
        self.tidy(now);
    }

    /// A file exists that this node holds no copy of: if it ranks for it, it
    /// watches over it, and is recruited when replicas are missing.
    pub fn past(&mut self, now: Time, file: File) {
        if self.left || self.shelf.holds(file) {
            return;
        }
        self.shelf.seen(now, file);
        if let Policy::Rank(rules) = &mut self.policy {
            rules.past(&self.shelf, now, file);
        }
    }

    /// What a scan of the disk found at the start: files with their bytes.
    /// They are published again, spread over time, the newest first; what the
    /// quota does not hold is dropped.
    pub fn restored(&mut self, now: Time, files: Vec<(File, u64)>) {
        if self.left {
            return;
        }
        let mut files = files;
        files.sort_unstable_by(|a, b| b.cmp(a));
        files.dedup_by_key(|(file, _)| *file);
        files.retain(|(file, bytes)| {
            self.shelf.seen(now, *file);
            !self.shelf.holds(*file) && self.shelf.take_over(now, *file, *bytes)
        });
        let files: Vec<File> = files.into_iter().map(|(file, _)| file).collect();
        match &mut self.policy {
            Policy::Rank(rules) => rules.restored(now, &files),
            Policy::Report(report) => report.restored(now, &files),
            Policy::Interval(interval) => interval.restored(now, &files),
            Policy::Everything => {}
        }
        self.tidy(now);
    }

    /// The records of a file that a lookup found: the union of all answers.
    /// Those of a lookup that somebody else asked for are welcome too.
    pub fn records(&mut self, now: Time, file: File, records: &[SocketAddr]) {
        match &mut self.policy {
            Policy::Rank(rules) => rules.records(&mut self.shelf, now, file, records),
            Policy::Report(report) => report.records(&mut self.shelf, now, file, records),
            Policy::Interval(_) | Policy::Everything => {}
        }
    }

    /// `report`: the owner list that was got, and its version where lists have
    /// one.
    pub fn listed(&mut self, now: Time, file: File, owners: &[Owner], version: u64) {
        if let Policy::Report(report) = &mut self.policy {
            report.listed(&mut self.shelf, now, file, owners, version);
        }
    }

    /// A lookup, a get or a fetch of this file that the cache asked for failed.
    pub fn failed(&mut self, now: Time, file: File) {
        match &mut self.policy {
            Policy::Rank(rules) => rules.failed(&mut self.shelf, now, file),
            Policy::Report(report) => report.failed(&mut self.shelf, now, file),
            Policy::Interval(_) | Policy::Everything => {}
        }
    }

    /// What came of an announcement, a withdrawal or a put.
    pub fn stored(&mut self, now: Time, file: File, ok: bool) {
        match &mut self.policy {
            Policy::Rank(rules) => rules.stored(&mut self.shelf, now, file, ok),
            Policy::Report(report) => report.stored(&mut self.shelf, now, file, ok),
            Policy::Interval(interval) => interval.stored(&mut self.shelf, now, file, ok),
            Policy::Everything => {}
        }
    }

    /// The copy of a file is lost: it could not be written, or is broken. Its
    /// record is withdrawn.
    pub fn gone(&mut self, now: Time, file: File) {
        self.shelf.lost(file);
        match &mut self.policy {
            Policy::Rank(rules) => rules.gone(&mut self.shelf, now, file),
            Policy::Report(report) => report.gone(&mut self.shelf, now, file),
            Policy::Interval(interval) => interval.gone(&mut self.shelf, file),
            Policy::Everything => {}
        }
    }

    /// A file found no room on the disk, whatever the quota says. It is lost, and
    /// the oldest go, so that the next one finds room: what is kept is the newest
    /// that the disk holds.
    pub fn full(&mut self, now: Time, file: File) {
        let wanted = self.shelf.bytes(file);
        self.gone(now, file);
        let mut freed = self.shelf.leaving();
        while !self.left && freed < wanted {
            let Some(victim) = self.shelf.oldest(now) else { return };
            freed += self.shelf.bytes(victim);
            self.evict(now, victim);
        }
    }

    /// The node leaves the channel: all records are withdrawn, the files stay
    /// on disk. What is completed later is ignored.
    pub fn leave(&mut self, now: Time) {
        self.left = true;
        self.shelf.hush();
        match &mut self.policy {
            Policy::Rank(rules) => rules.leave(&mut self.shelf),
            Policy::Report(report) => report.leave(&mut self.shelf, now),
            Policy::Interval(interval) => interval.leave(&mut self.shelf),
            Policy::Everything => {}
        }
    }

    /// Time has passed. Early, late, doubled or unasked for: harmless.
    pub fn wake(&mut self, now: Time) {
        match &mut self.policy {
            Policy::Rank(rules) => rules.wake(&mut self.shelf, now),
            Policy::Report(report) => report.wake(&mut self.shelf, now),
            Policy::Interval(interval) => interval.wake(&mut self.shelf, now),
            Policy::Everything => {}
        }
        self.tidy(now);
    }

    /// When to [`wake`](Self::wake) it next.
    pub fn deadline(&self) -> Option<Time> {
        let due = match &self.policy {
            Policy::Rank(rules) => rules.deadline(),
            Policy::Report(report) => report.deadline(),
            Policy::Interval(interval) => interval.deadline(),
            Policy::Everything => None,
        };
        let old = if self.left { None } else { self.shelf.deadline() };
        [due, old].into_iter().flatten().min()
    }

    /// The next thing that the cache wants done.
    pub fn poll(&mut self) -> Option<Effect> {
        self.shelf.poll()
    }

    /// Whether a file is wanted that an [`Effect::Fetch`] asked for.
    pub fn is_fetching(&self, file: File) -> bool {
        match &self.policy {
            Policy::Rank(rules) => rules.is_fetching(file),
            Policy::Report(_) | Policy::Interval(_) | Policy::Everything => false,
        }
    }

    /// Bytes on disk.
    pub fn used(&self) -> u64 {
        self.shelf.used()
    }

    /// Whether a file is kept.
    pub fn holds(&self, file: File) -> bool {
        self.shelf.holds(file)
    }

    /// The files kept, oldest first.
    pub fn files(&self) -> impl Iterator<Item = File> + '_ {
        self.shelf.files()
    }

    /// Evicts what is too old, or too much.
    fn tidy(&mut self, now: Time) {
        if self.left {
            return;
        }
        while let Some(victim) = self.shelf.victim(now) {
            self.evict(now, victim);
        }
    }

    fn evict(&mut self, now: Time, victim: File) {
        match &mut self.policy {
            Policy::Rank(rules) => rules.evict(&mut self.shelf, now, victim),
            Policy::Report(report) => report.evict(&mut self.shelf, now, victim),
            Policy::Interval(interval) => interval.evict(&mut self.shelf, now, victim),
            Policy::Everything => self.shelf.delete(victim),
        }
    }
}
