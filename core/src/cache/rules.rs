//! `default`: exactly R replicas of each file, by rank (dht.md section 6, rule
//! S4).
//!
//! Records only ever join a set, and what a node makes of the set is a pure
//! function of it. So publishers who raced all see the union, and the same
//! ones yield: no lock, no back-off luck.
//!
//! 1. A viewer's score for a file is a hash of the file's key and its address.
//! 2. Score times viewers is its expected rank.
//! 3. Below R it publishes at once. Below 2.5 R (4 R where the number of
//!    viewers is poorly known) it waits the longer the worse it ranks, counts
//!    the records, and publishes if there are fewer than R.
//! 4. Some time later, and at every republication, it ranks itself among the
//!    records: below R it publishes on, else it withdraws.
//! 5. Who does not publish but expects a rank below R + spares keeps the file
//!    and counts again each period. Others delete it.
//!
//! Added to these: a viewer of such a rank that holds no copy watches over the
//! file, and fetches one when replicas are missing. Without that a file would
//! be gone some mean stays after those who saw it live.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::SocketAddr;
use core::time::Duration;

use super::agenda::Agenda;
use super::config::CacheConfig;
use super::rank::{Rank, Score, Standing, canonical};
use super::shelf::Shelf;
use super::{Effect, File, Population};
use crate::rng::Rng;
use crate::time::{Time, micros};

/// An announcement must have been visible for so long before others are judged
/// by what a lookup finds.
const SETTLE: Duration = Duration::from_secs(15);
/// The DHT's answer to anything takes less than this.
const ANSWER: Duration = Duration::from_secs(30);
/// A fetch takes less than this.
const FETCH: Duration = Duration::from_secs(120);
/// After a withdrawal the records are counted again: a node that stores them
/// may have missed it, and one that did would tell everybody.
const VERIFY: Duration = Duration::from_secs(2);
/// Withdrawals in a row, at most.
const WITHDRAWALS: u8 = 3;
/// A file that could not be fetched so many times is gone for good.
const TRIES: u8 = 3;
/// First wait before something that failed is tried again; doubles up to the
/// period of republication.
const RETRY: Duration = Duration::from_secs(2);
/// Files found at the start are published so long after each other, or faster
/// if they are more than fit into a period.
const RESTORE_STEP: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Until its time.
    Waiting,
    /// Its time has come, but enough lookups are under way.
    Queued,
    Counting,
    Announcing,
    Withdrawing,
    /// Announcing, to be withdrawn and deleted then: a withdrawal sent now
    /// could arrive first.
    Recalled,
    /// Withdrawing, to be deleted then.
    Going,
    Fetching,
}

#[derive(Clone, Debug)]
struct Entry {
    step: Step,
    /// Whether a copy is here; else the file is only watched.
    copy: bool,
    /// When the copy was complete.
    since: Time,
    /// The expected rank then; `None` until the own address is known.
    rank: Option<Rank>,
    /// A record of ours may be out there.
    tried: bool,
    /// On disk since an earlier run, and not counted since.
    found: bool,
    /// When our record was last stored.
    stored: Option<Time>,
    /// Withdrawals since our record was last wanted.
    withdrawals: u8,
    /// Counts as one that does not publish are spread over the period.
    spread: bool,
    /// The last count found replicas missing.
    short: bool,
    failures: u32,
    /// Fetches that failed.
    tries: u8,
}

/// The state of every file that is kept or watched.
#[derive(Debug)]
pub(super) struct Rules {
    config: CacheConfig,
    rng: Rng,
    me: Option<SocketAddr>,
    population: Population,
    entries: BTreeMap<File, Entry>,
    agenda: Agenda,
    counting: BTreeSet<File>,
    queue: VecDeque<File>,
    fetching: usize,
    watched: usize,
}

impl Rules {
    pub(super) fn new(config: CacheConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            me: None,
            population: Population::default(),
            entries: BTreeMap::new(),
            agenda: Agenda::default(),
            counting: BTreeSet::new(),
            queue: VecDeque::new(),
            fetching: 0,
            watched: 0,
        }
    }

    pub(super) fn set_population(&mut self, population: Population) {
        self.population = population;
    }

    pub(super) fn set_self(&mut self, shelf: &mut Shelf, now: Time, addr: SocketAddr) {
        let addr = canonical(addr);
        if self.me.replace(addr) == Some(addr) {
            return;
        }
        // Records at the old address can't be withdrawn from the new one: they
        // expire. What is under way goes on and is judged when it ends.
        let files: VecDeque<File> = self.entries.keys().copied().collect();
        let step = self.step_of(files.len());
        for (n, file) in files.into_iter().enumerate() {
            let rank = self.rank(file);
            let Some(entry) = self.entries.get_mut(&file) else { continue };
            let first = entry.rank.is_none();
            entry.rank = rank;
            entry.stored = None;
            entry.short = false;
            if entry.step != Step::Waiting {
                continue;
            }
            if first && entry.copy && !entry.found {
                self.judge(shelf, now, file, false);
            } else {
                self.agenda.arm(file, now + step.saturating_mul(n as u32));
            }
        }
    }

    pub(super) fn completed(
        &mut self,
        shelf: &mut Shelf,
        now: Time,
        file: File,
        bytes: u64,
        live: bool,
    ) {
        let watched = self.forget(file).is_some();
        let rank = self.rank(file);
        if rank.is_some_and(|r| !self.is_candidate(r)) {
            shelf.push(Effect::Drop { file });
            return;
        }
        let kept = shelf.keep(now, file, bytes, |shelf, victim| self.discard(shelf, victim));
        if !kept {
            return;
        }
        let late = watched || !live;
        self.entries.insert(file, Entry { copy: true, rank, ..Entry::new(now) });
        if rank.is_some() {
            self.judge(shelf, now, file, late);
        }
        self.serve_queue(shelf, now);
    }

    pub(super) fn past(&mut self, shelf: &Shelf, now: Time, file: File) {
        if shelf.is_past(now, file) {
            return;
        }
        let wait = self.within_period();
        self.watch(now, file, wait);
    }

    pub(super) fn restored(&mut self, now: Time, files: &[File]) {
        let step = self.step_of(files.len());
        for (n, file) in files.iter().enumerate() {
            let rank = self.rank(*file);
            // A record of the last run may still be out there.
            self.forget(*file);
            let entry = Entry { copy: true, rank, tried: true, found: true, ..Entry::new(now) };
            self.entries.insert(*file, entry);
            if rank.is_some() {
                self.agenda.arm(*file, now + step.saturating_mul(n as u32));
            }
        }
    }

    pub(super) fn records(
        &mut self,
        shelf: &mut Shelf,
        now: Time,
        file: File,
        records: &[SocketAddr],
    ) {
        let Some(me) = self.me else { return };
        let standing = Standing::new(&file.key, me, records, self.config.caps);
        if !self.counting.remove(&file) {
            // Somebody else's lookup: one may learn here that replicas are missing.
            if standing.owners < self.config.replicas
                && !self.entries.contains_key(&file)
                && shelf.has_room()
            {
                let wait = self.back_off(file);
                self.watch(now, file, wait);
            }
            return;
        }
        if let Some(entry) = self.entries.get_mut(&file) {
            entry.step = Step::Waiting;
            entry.failures = 0;
            if entry.copy {
                self.decide(shelf, now, file, standing);
            } else {
                self.recruit(shelf, now, file, standing);
            }
        }
        self.serve_queue(shelf, now);
    }

    pub(super) fn stored(&mut self, shelf: &mut Shelf, now: Time, file: File, ok: bool) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        match entry.step {
            Step::Announcing if ok => {
                entry.step = Step::Waiting;
                entry.failures = 0;
                let renewed = entry.stored.replace(now).is_some();
                let recheck = entry.since + self.config.recheck;
                let at = if renewed {
                    now + self.rng.jitter(self.config.republish, 10)
                } else if recheck > now {
                    recheck.max(now + SETTLE)
                } else {
                    now + self.config.recheck
                };
                if !renewed {
                    shelf.published(now, file);
                }
                self.agenda.arm(file, at);
            }
            Step::Withdrawing if ok => {
                entry.step = Step::Waiting;
                entry.failures = 0;
                entry.tried = false;
                entry.stored = None;
                self.agenda.arm(file, now + VERIFY);
            }
            Step::Announcing | Step::Withdrawing => self.retry(now, file),
            Step::Recalled => self.withdraw(shelf, now, file, Step::Going),
            // If the withdrawal failed, the record expires.
            Step::Going => self.delete(shelf, file),
            Step::Waiting | Step::Queued | Step::Counting | Step::Fetching => {}
        }
    }

    pub(super) fn failed(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        if self.counting.remove(&file) {
            self.retry(now, file);
            self.serve_queue(shelf, now);
        } else if let Some(entry) = self.entries.get_mut(&file)
            && entry.step == Step::Fetching
        {
            entry.tries += 1;
            if entry.tries >= TRIES {
                self.forget(file);
            } else {
                self.fetching = self.fetching.saturating_sub(1);
                self.retry(now, file);
            }
        }
    }

    pub(super) fn gone(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        if let Some(entry) = self.forget(file).filter(|e| e.copy) {
            if entry.tried {
                shelf.push(Effect::Withdraw { file });
            }
            self.serve_queue(shelf, now);
        }
    }

    /// The quota wants a file gone: withdrawn first, then deleted.
    pub(super) fn evict(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        match self.entries.get_mut(&file) {
            Some(entry) if entry.step == Step::Announcing => {
                entry.step = Step::Recalled;
                shelf.going(file);
            }
            Some(entry) if entry.tried => self.withdraw(shelf, now, file, Step::Going),
            _ => self.delete(shelf, file),
        }
        self.serve_queue(shelf, now);
    }

    pub(super) fn leave(&mut self, shelf: &mut Shelf) {
        for (file, entry) in core::mem::take(&mut self.entries) {
            let published = entry.tried && entry.step != Step::Going;
            shelf.part(file, published, matches!(entry.step, Step::Going | Step::Recalled));
        }
        self.agenda.clear();
        self.counting.clear();
        self.queue.clear();
        (self.fetching, self.watched) = (0, 0);
    }

    pub(super) fn wake(&mut self, shelf: &mut Shelf, now: Time) {
        while let Some(file) = self.agenda.pop_due(now) {
            let Some(entry) = self.entries.get(&file) else { continue };
            match entry.step {
                Step::Waiting if !entry.copy && shelf.is_past(now, file) => {
                    self.forget(file);
                }
                Step::Waiting => self.count(shelf, now, file),
                Step::Counting | Step::Fetching => self.failed(shelf, now, file),
                Step::Announcing | Step::Withdrawing | Step::Recalled | Step::Going => {
                    self.stored(shelf, now, file, false);
                }
                Step::Queued => {}
            }
        }
        self.serve_queue(shelf, now);
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.agenda.first()
    }

    pub(super) fn is_fetching(&self, file: File) -> bool {
        self.entries.get(&file).is_some_and(|e| e.step == Step::Fetching)
    }

    fn rank(&self, file: File) -> Option<Rank> {
        self.me.map(|me| Score::new(&file.key, me).among(self.population.count()))
    }

    /// Rule 3: whether a viewer of this rank may come to publish.
    fn is_candidate(&self, rank: Rank) -> bool {
        let halves = if self.population.is_well_known() { 5 } else { 8 };
        rank.is_below(self.config.replicas * halves / 2) || self.is_spare(rank)
    }

    /// Rule 5: whether a viewer of this rank keeps, or watches, a file that it
    /// does not publish.
    fn is_spare(&self, rank: Rank) -> bool {
        rank.is_below(self.config.replicas + self.config.spares)
    }

    /// Rule 3, for a file whose copy was just completed.
    fn judge(&mut self, shelf: &mut Shelf, now: Time, file: File, late: bool) {
        let Some(rank) = self.entries.get(&file).and_then(|e| e.rank) else { return };
        if !self.is_candidate(rank) {
            self.delete(shelf, file);
        } else if late {
            self.count(shelf, now, file);
        } else if rank.is_below(self.config.replicas) {
            self.announce(shelf, now, file);
        } else {
            let wait = self.back_off(file);
            self.agenda.arm(file, now + wait);
        }
    }

    /// Rules 3 to 5, after a count.
    fn decide(&mut self, shelf: &mut Shelf, now: Time, file: File, standing: Standing) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        if core::mem::take(&mut entry.found) {
            entry.tried = standing.listed;
        }
        let mine = standing.listed || entry.stored.is_some();
        let publish = if mine {
            standing.rank.is_some_and(|rank| rank < self.config.replicas)
        } else {
            standing.room && standing.owners < self.config.replicas
        };
        let rank = entry.rank;
        let spare = rank.is_some_and(|r| r.is_below(self.config.replicas + self.config.spares));
        if publish {
            // Still fresh, and there: that was the look after the first publication.
            let half = self.config.republish / 2;
            match entry.stored {
                Some(at) if standing.listed && now.since(at) < half => {
                    let period = self.rng.jitter(self.config.republish, 10);
                    self.agenda.arm(file, at + period);
                }
                _ => self.announce(shelf, now, file),
            }
        } else if (entry.tried || standing.listed) && entry.withdrawals < WITHDRAWALS {
            entry.withdrawals += 1;
            self.withdraw(shelf, now, file, Step::Withdrawing);
        } else if spare {
            entry.withdrawals = 0;
            self.rest(now, file);
        } else {
            self.delete(shelf, file);
        }
    }

    /// A watched file was counted: fetch a copy if replicas are missing, but
    /// only after a back-off by rank, and if they are missing still.
    fn recruit(&mut self, shelf: &mut Shelf, now: Time, file: File, standing: Standing) {
        let wait = self.back_off(file);
        let Some(entry) = self.entries.get_mut(&file) else { return };
        let missing = standing.owners < self.config.replicas && standing.room;
        if !missing || !shelf.has_room() {
            entry.short = false;
            self.rest(now, file);
        } else if !core::mem::replace(&mut entry.short, true)
            || self.fetching >= self.config.fetches
        {
            self.agenda.arm(file, now + wait);
        } else {
            entry.step = Step::Fetching;
            entry.short = false;
            self.fetching += 1;
            shelf.push(Effect::Fetch { file });
            self.agenda.arm(file, now + FETCH);
        }
    }

    fn watch(&mut self, now: Time, file: File, wait: Duration) {
        let rank = self.rank(file);
        if self.watched < self.config.watched
            && rank.is_some_and(|r| self.is_spare(r))
            && !self.entries.contains_key(&file)
        {
            self.watched += 1;
            self.entries.insert(file, Entry { rank, ..Entry::new(now) });
            self.agenda.arm(file, now + wait);
        }
    }

    fn count(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        if self.counting.len() >= self.config.lookups {
            entry.step = Step::Queued;
            self.queue.push_back(file);
            return;
        }
        entry.step = Step::Counting;
        self.counting.insert(file);
        shelf.push(Effect::LookUp { file, want_token: entry.copy });
        self.agenda.arm(file, now + ANSWER);
    }

    fn serve_queue(&mut self, shelf: &mut Shelf, now: Time) {
        while self.counting.len() < self.config.lookups {
            let Some(file) = self.queue.pop_front() else { return };
            if self.entries.get(&file).is_some_and(|e| e.step == Step::Queued) {
                self.count(shelf, now, file);
            }
        }
    }

    fn announce(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        entry.step = Step::Announcing;
        entry.tried = true;
        entry.withdrawals = 0;
        shelf.push(Effect::Announce { file, life: self.config.record_life });
        self.agenda.arm(file, now + ANSWER);
    }

    fn withdraw(&mut self, shelf: &mut Shelf, now: Time, file: File, then: Step) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        self.counting.remove(&file);
        entry.step = then;
        if then == Step::Going {
            shelf.going(file);
        }
        shelf.push(Effect::Withdraw { file });
        self.agenda.arm(file, now + ANSWER);
    }

    /// Not publishing: when to count again. The first time is any within the
    /// period, so that those who do the same look one after another.
    fn rest(&mut self, now: Time, file: File) {
        let first = self.within_period();
        let Some(entry) = self.entries.get_mut(&file) else { return };
        // Ten who look half as often still see a loss before long, and those who
        // publish count, too.
        let wait = if core::mem::replace(&mut entry.spread, true) {
            self.rng.jitter(self.config.republish * 2, 10)
        } else {
            first
        };
        self.agenda.arm(file, now + wait);
    }

    fn retry(&mut self, now: Time, file: File) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        entry.step = Step::Waiting;
        let wait = RETRY.saturating_mul(1 << entry.failures.min(16)).min(self.config.republish);
        entry.failures = entry.failures.saturating_add(1);
        let wait = self.rng.jitter(wait, 20);
        self.agenda.arm(file, now + wait);
    }

    /// The back-off by rank: in place of chance, so that the better ones have
    /// published before the others count.
    fn back_off(&self, file: File) -> Duration {
        let rank = self.entries.get(&file).and_then(|e| e.rank).or_else(|| self.rank(file));
        let beyond = rank.map_or(0, |r| r.beyond(self.config.replicas));
        let more = micros(self.config.rank_step).saturating_mul(beyond) / 1_000;
        self.config.count_after.saturating_add(Duration::from_micros(more))
    }

    fn within_period(&mut self) -> Duration {
        let period = usize::try_from(micros(self.config.republish)).unwrap_or(usize::MAX);
        Duration::from_micros(self.rng.below(period) as u64)
    }

    fn step_of(&self, files: usize) -> Duration {
        let files = u32::try_from(files).unwrap_or(u32::MAX).max(1);
        RESTORE_STEP.min(self.config.republish / files)
    }

    /// Deletes a file, which has no record that could be withdrawn any more.
    fn delete(&mut self, shelf: &mut Shelf, file: File) {
        self.forget(file);
        shelf.delete(file);
    }

    /// Makes room at once: there is no time to wait for the withdrawal.
    fn discard(&mut self, shelf: &mut Shelf, file: File) {
        let entry = self.forget(file);
        if entry.is_some_and(|e| e.tried && e.step != Step::Going) {
            shelf.push(Effect::Withdraw { file });
        }
        shelf.delete(file);
    }

    fn forget(&mut self, file: File) -> Option<Entry> {
        let entry = self.entries.remove(&file)?;
        self.agenda.disarm(file);
        self.counting.remove(&file);
        if entry.step == Step::Fetching {
            self.fetching = self.fetching.saturating_sub(1);
        }
        if !entry.copy {
            self.watched = self.watched.saturating_sub(1);
        }
        Some(entry)
    }
}

impl Entry {
    fn new(now: Time) -> Self {
        Self {
            step: Step::Waiting,
            copy: false,
            since: now,
            rank: None,
            tried: false,
            found: false,
            stored: None,
            withdrawals: 0,
            spread: false,
            short: false,
            failures: 0,
            tries: 0,
        }
    }
}
