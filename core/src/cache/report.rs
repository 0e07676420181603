//! `report`: Algorithm 3-1 (random caching, random back-off for publishing)
//! line by line, each defect behind its switch of [`Defects`].
//!
//! ```text
//! 01 while(waitngForBlocks)
//! 02  block = node.receiveBlock();
//! 03  buffer.put(block);
//! 04  if(block and nearby blocks can be dumped)
//! 05   viewerKnowledge = MAX(parent.size()+partner.size(), viewerCount);
//! 06   rand = a random integer generated between (0, viewerKnowledge]
//! 07   if(rand < replicasRequired)
//! 08    dump blocks to local storage;
//! 09    random back-off for DHT publishing;
//! 10    fileOwnerList = DHT.get(filename);
//! 11    remove out-dated entry and this node's entry in fileOwnerList
//! 12    if(DHT.get(filename).size() < replicasRequired)
//! 13     FileOwnerList.add(this node);
//! 14     DHT.put(filename, fIleOwnerList);
//! 15    else
//! 16     delete dumped file
//! 17    end if
//! 18   end if
//! 19  end if
//! 20 end while
//! ```
//!
//! Lines 01 to 03 are the live part's. Republication runs lines 10 to 17 again
//! before the entry is out-dated; the report says no more about it. What a
//! time-shift viewer fetched it keeps without publishing it: Fig. 4-5 counts
//! the copies on all nodes (papers.md section 10.3, proposed there).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::agenda::Agenda;
use super::config::{CacheConfig, Defects, Publishing};
use super::rank::{Score, Standing, canonical};
use super::shelf::Shelf;
use super::{Effect, File, Owner, Population};
use crate::rng::Rng;
use crate::time::{Time, micros};

/// Entries of one list that are looked at, at most.
const MAX_OWNERS: usize = 1_024;
/// The time-out of the DHT's operations: 10 s in Plan-x, and some more, so
/// that the DHT is the one that says so.
const ANSWER: Duration = Duration::from_secs(12);
/// Puts in a row that may find another version.
const CONFLICTS: u8 = 16;
/// The longest wait after the first of these; it doubles up to the back-off.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Line 09.
    BackOff,
    /// Line 10.
    Get,
    /// The get of line 12.
    GetAgain,
    /// Line 14.
    Put,
    /// Published, until republication.
    Owner,
    /// An operation failed, and there is no line for that.
    Stuck,
    /// The node takes its entry out (D-6 mended).
    TakeOut {
        /// Whether the file is deleted then.
        delete: bool,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    step: Step,
    /// The list of line 11.
    list: Vec<Owner>,
    /// Its version.
    version: u64,
    /// Puts in a row that found another one.
    conflicts: u8,
    /// Our entry was put.
    listed: bool,
}

/// The state of every file that was dumped.
#[derive(Debug)]
pub(super) struct Report {
    config: CacheConfig,
    defects: Defects,
    rng: Rng,
    me: Option<SocketAddr>,
    population: Population,
    entries: BTreeMap<File, Entry>,
    agenda: Agenda,
}

impl Report {
    pub(super) fn new(config: CacheConfig, defects: Defects, rng: Rng) -> Self {
        Self {
            config,
            defects,
            rng,
            me: None,
            population: Population::default(),
            entries: BTreeMap::new(),
            agenda: Agenda::default(),
        }
    }

    pub(super) fn set_self(&mut self, addr: SocketAddr) {
        self.me = Some(canonical(addr));
    }

    pub(super) fn set_population(&mut self, population: Population) {
        self.population = population;
    }

    /// Lines 04 to 09.
    pub(super) fn completed(&mut self, shelf: &mut Shelf, now: Time, file: File, bytes: u64) {
        let viewers = self.viewers();
        let (keep, back_off) = if self.defects.random_caching {
            let rand = 1 + self.rng.below(viewers);
            let keep = if self.defects.off_by_one {
                rand < self.config.replicas
            } else {
                rand <= self.config.replicas
            };
            (keep, self.random_back_off())
        } else {
            self.ranked(file, viewers)
        };
        if !keep {
            shelf.push(Effect::Drop { file });
            return;
        }
        if shelf.keep(now, file, bytes, |shelf, victim| self.discard(shelf, now, victim)) {
            self.entries.insert(file, Entry::new());
            self.agenda.arm(file, now + back_off);
        }
    }

    /// A time-shift viewer's file.
    pub(super) fn fetched(&mut self, shelf: &mut Shelf, now: Time, file: File, bytes: u64) {
        shelf.keep(now, file, bytes, |shelf, victim| self.discard(shelf, now, victim));
    }

    /// Files of an earlier run go through lines 09 to 17 again.
    pub(super) fn restored(&mut self, now: Time, files: &[File]) {
        for file in files {
            self.entries.insert(*file, Entry::new());
            let back_off = self.random_back_off();
            self.agenda.arm(*file, now + back_off);
        }
    }

    /// What a get brought: lines 11 and 12.
    pub(super) fn listed(
        &mut self,
        shelf: &mut Shelf,
        now: Time,
        file: File,
        owners: &[Owner],
        version: u64,
    ) {
        let compared = self.is_compared();
        let (Some(me), Some(entry)) = (self.me, self.entries.get_mut(&file)) else { return };
        let owners = owners.get(..MAX_OWNERS).unwrap_or(owners);
        let life = self.config.record_life;
        let fresh = |o: &&Owner| canonical(o.addr) != me && now.since(o.published_at) <= life;
        match entry.step {
            Step::Get => {
                entry.list = owners.iter().filter(fresh).copied().collect();
                entry.version = version;
                let cleaned = entry.list.len();
                self.got(shelf, now, file, cleaned);
            }
            Step::GetAgain => self.judge(shelf, now, file, owners.len()),
            Step::TakeOut { .. } => {
                let owners = owners.iter().filter(fresh).copied().collect();
                let version = compared.then_some(version);
                shelf.push(Effect::PutList { file, owners, version });
                self.agenda.arm(file, now + ANSWER);
            }
            Step::BackOff | Step::Put | Step::Owner | Step::Stuck => {}
        }
    }

    /// What a lookup brought, where records are a set (D-3 mended).
    pub(super) fn records(
        &mut self,
        shelf: &mut Shelf,
        now: Time,
        file: File,
        records: &[SocketAddr],
    ) {
        let (Some(me), Some(entry)) = (self.me, self.entries.get_mut(&file)) else { return };
        let standing = Standing::new(&file.key, me, records, self.config.caps);
        match entry.step {
            Step::Get => self.got(shelf, now, file, standing.owners),
            Step::GetAgain => {
                let raw = standing.owners + usize::from(standing.listed);
                self.judge(shelf, now, file, raw);
            }
            _ => {}
        }
    }

    pub(super) fn failed(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        let Some(entry) = self.entries.get(&file) else { return };
        match entry.step {
            Step::Get | Step::GetAgain | Step::Put => self.fail(now, file),
            Step::TakeOut { delete } => self.taken_out(shelf, file, delete),
            Step::BackOff | Step::Owner | Step::Stuck => {}
        }
    }

    pub(super) fn stored(&mut self, shelf: &mut Shelf, now: Time, file: File, ok: bool) {
        let compared = self.is_compared();
        let Some(entry) = self.entries.get_mut(&file) else { return };
        match entry.step {
            Step::Put if ok => {
                entry.conflicts = 0;
                if !core::mem::replace(&mut entry.listed, true) {
                    shelf.published(now, file);
                }
                entry.step = Step::Owner;
                // Republication, by chance up to a fifth early.
                let period = self.config.republish;
                let early = self.below(period / 5);
                self.agenda.arm(file, now + period.saturating_sub(early));
            }
            Step::Put if compared && entry.conflicts < CONFLICTS => self.conflict(now, file),
            Step::Put => self.fail(now, file),
            Step::TakeOut { .. } if compared && !ok && entry.conflicts < CONFLICTS => {
                entry.conflicts += 1;
                shelf.push(Effect::GetList { file });
                self.agenda.arm(file, now + ANSWER);
            }
            Step::TakeOut { delete } => self.taken_out(shelf, file, delete),
            _ => {}
        }
    }

    pub(super) fn gone(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        self.take_out(shelf, now, file, false);
    }

    pub(super) fn evict(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        shelf.going(file);
        self.take_out(shelf, now, file, true);
    }

    pub(super) fn leave(&mut self, shelf: &mut Shelf, now: Time) {
        let files: Vec<File> = self.entries.keys().copied().collect();
        for file in files {
            self.take_out(shelf, now, file, false);
        }
    }

    pub(super) fn wake(&mut self, shelf: &mut Shelf, now: Time) {
        while let Some(file) = self.agenda.pop_due(now) {
            let Some(step) = self.entries.get(&file).map(|e| e.step) else { continue };
            match step {
                Step::BackOff | Step::Owner => self.get(shelf, now, file, Step::Get),
                Step::Get | Step::GetAgain | Step::Put | Step::TakeOut { .. } => {
                    self.failed(shelf, now, file);
                }
                Step::Stuck => {}
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.agenda.first()
    }

    /// Line 05.
    fn viewers(&self) -> usize {
        let Population { viewers, partners, parents, .. } = self.population;
        let extra = if self.defects.double_count { parents } else { 1 };
        partners.saturating_add(extra).max(viewers.unwrap_or(0)).max(1)
    }

    /// Rule 3 of S4 in the place of lines 06, 07 and 09.
    fn ranked(&self, file: File, viewers: usize) -> (bool, Duration) {
        let Some(me) = self.me else { return (false, Duration::ZERO) };
        let (rank, replicas) = (Score::new(&file.key, me).among(viewers), self.config.replicas);
        if rank.is_below(replicas) {
            return (true, Duration::ZERO);
        }
        let more = micros(self.config.rank_step).saturating_mul(rank.beyond(replicas)) / 1_000;
        let back_off = self.config.count_after.saturating_add(Duration::from_micros(more));
        (rank.is_below(replicas * 5 / 2), back_off)
    }

    /// Line 10, or the get of line 12.
    fn get(&mut self, shelf: &mut Shelf, now: Time, file: File, step: Step) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        if self.me.is_none() {
            let again = self.random_back_off();
            self.agenda.arm(file, now + again);
            return;
        }
        entry.step = step;
        shelf.push(match self.defects.publishing {
            Publishing::AddToSet => Effect::LookUp { file, want_token: true },
            _ => Effect::GetList { file },
        });
        self.agenda.arm(file, now + ANSWER);
    }

    /// Line 11 is done: on to the test of line 12.
    fn got(&mut self, shelf: &mut Shelf, now: Time, file: File, cleaned: usize) {
        if self.defects.raw_size {
            self.get(shelf, now, file, Step::GetAgain);
        } else {
            self.judge(shelf, now, file, cleaned);
        }
    }

    /// Lines 12 to 17.
    fn judge(&mut self, shelf: &mut Shelf, now: Time, file: File, size: usize) {
        let compared = self.is_compared();
        let (Some(me), Some(entry)) = (self.me, self.entries.get_mut(&file)) else { return };
        let refresh = !self.defects.owners_yield && entry.listed;
        if size < self.config.replicas || refresh {
            entry.step = Step::Put;
            shelf.push(if self.defects.publishing == Publishing::AddToSet {
                Effect::Announce { file, life: self.config.record_life }
            } else {
                let mut owners = core::mem::take(&mut entry.list);
                owners.push(Owner { addr: me, published_at: now });
                Effect::PutList { file, owners, version: compared.then_some(entry.version) }
            });
            self.agenda.arm(file, now + ANSWER);
        } else {
            self.evict(shelf, now, file);
        }
    }

    fn is_compared(&self) -> bool {
        self.defects.publishing == Publishing::CompareAndSwap
    }

    /// The list is another than the one that was edited: it is got again, after
    /// a wait by chance, the longer the more often that happens.
    fn conflict(&mut self, now: Time, file: File) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        let most = AFTER_CONFLICT.saturating_mul(1 << entry.conflicts).min(self.config.back_off);
        entry.conflicts += 1;
        entry.step = Step::BackOff;
        let wait = self.below(most);
        self.agenda.arm(file, now + wait + Duration::from_millis(1));
    }

    /// An operation of the DHT failed.
    fn fail(&mut self, now: Time, file: File) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        entry.conflicts = 0;
        if self.defects.no_error_path {
            entry.step = Step::Stuck;
            self.agenda.disarm(file);
        } else {
            entry.step = Step::BackOff;
            let again = self.random_back_off();
            self.agenda.arm(file, now + again);
        }
    }

    /// The file goes, or the node: its entry too, unless it is to stay (D-6).
    fn take_out(&mut self, shelf: &mut Shelf, now: Time, file: File, delete: bool) {
        let Some(entry) = self.entries.get_mut(&file) else {
            if delete {
                shelf.delete(file);
            }
            return;
        };
        if self.defects.stale_owners || !entry.listed {
            self.taken_out(shelf, file, delete);
            return;
        }
        entry.step = Step::TakeOut { delete };
        shelf.push(match self.defects.publishing {
            Publishing::AddToSet => Effect::Withdraw { file },
            _ => Effect::GetList { file },
        });
        self.agenda.arm(file, now + ANSWER);
    }

    fn taken_out(&mut self, shelf: &mut Shelf, file: File, delete: bool) {
        self.entries.remove(&file);
        self.agenda.disarm(file);
        if delete && shelf.holds(file) {
            shelf.delete(file);
        }
    }

    /// Makes room at once: there is no time to wait for the entry's removal.
    fn discard(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        shelf.delete(file);
        self.take_out(shelf, now, file, false);
    }

    fn random_back_off(&mut self) -> Duration {
        self.below(self.config.back_off)
    }

    fn below(&mut self, d: Duration) -> Duration {
        let most = usize::try_from(micros(d)).unwrap_or(usize::MAX);
        Duration::from_micros(self.rng.below(most) as u64)
    }
}

impl Entry {
    fn new() -> Self {
        let (step, list) = (Step::BackOff, Vec::new());
        Self { step, list, version: 0, conflicts: 0, listed: false }
    }
}
