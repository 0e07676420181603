//! An interval of the stream for each viewer, whoever else keeps it (P2TSS,
//! ICME 2008; US patent 7,975,282): IPP keeps what is played first, from the
//! initial play-out position on; LSP what is live when the viewer comes.
//!
//! Copies are not counted: what is kept is published, and stays so until the
//! quota wants it gone.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::agenda::Agenda;
use super::config::CacheConfig;
use super::shelf::Shelf;
use super::{Effect, File};
use crate::rng::Rng;
use crate::time::Time;

/// The DHT's answer to anything takes less than this.
const ANSWER: Duration = Duration::from_secs(30);
/// First wait before something that failed is tried again; doubles up to the
/// period of republication.
const RETRY: Duration = Duration::from_secs(2);
/// Files found at the start are published so long after each other, or faster
/// if they are more than fit into a period.
const RESTORE_STEP: Duration = Duration::from_millis(200);

/// Which interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPP: from the viewer's initial play-out position.
    Initial,
    /// LSP: from the first file that it sees live.
    Live,
    /// LSP, of the live edge as it moves.
    Sliding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Until it is to be announced.
    Waiting,
    Announcing,
    /// Announcing, to be withdrawn and deleted then: a withdrawal sent now
    /// could arrive first.
    Recalled,
    /// Withdrawing, to be deleted then.
    Going,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    step: Step,
    /// A record of ours may be out there.
    tried: bool,
    failures: u32,
}

/// The state of every file that is kept.
#[derive(Debug)]
pub(super) struct Interval {
    config: CacheConfig,
    rng: Rng,
    kind: Kind,
    /// C, in seconds.
    span: u64,
    /// The second where the interval begins.
    first: Option<u64>,
    entries: BTreeMap<File, Entry>,
    agenda: Agenda,
}

impl Interval {
    pub(super) fn new(config: CacheConfig, kind: Kind, span: Duration, rng: Rng) -> Self {
        let (span, entries) = (span.as_secs(), BTreeMap::new());
        Self { config, rng, kind, span, first: None, entries, agenda: Agenda::default() }
    }

    pub(super) fn set_position(&mut self, second: u64) {
        if self.kind == Kind::Initial {
            self.first = Some(second);
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
        if self.kind == Kind::Live && live {
            self.first.get_or_insert(file.start);
        }
        let reaches = |first: u64| (first..first.saturating_add(self.span)).contains(&file.start);
        let inside = match self.kind {
            Kind::Initial => self.first.is_some_and(reaches),
            Kind::Live => live && self.first.is_some_and(reaches),
            Kind::Sliding => live,
        };
        if !inside {
            shelf.push(Effect::Drop { file });
            return;
        }
        if shelf.keep(now, file, bytes, |shelf, victim| self.discard(shelf, victim)) {
            let entry = Entry { step: Step::Waiting, tried: false, failures: 0 };
            self.entries.insert(file, entry);
            self.announce(shelf, now, file);
        }
        if self.kind == Kind::Sliding {
            let is_old = |f: &&File| f.start.saturating_add(self.span) <= file.start;
            let old: Vec<File> = self.entries.keys().take_while(is_old).copied().collect();
            old.into_iter().for_each(|file| self.evict(shelf, now, file));
        }
    }

    /// Files of an earlier run are published on; the quota bounds them.
    pub(super) fn restored(&mut self, now: Time, files: &[File]) {
        let count = u32::try_from(files.len()).unwrap_or(u32::MAX).max(1);
        let step = RESTORE_STEP.min(self.config.republish / count);
        for (n, file) in files.iter().enumerate() {
            // A record of that run may still be out there.
            let entry = Entry { step: Step::Waiting, tried: true, failures: 0 };
            self.entries.insert(*file, entry);
            self.agenda.arm(*file, now + step.saturating_mul(n as u32));
        }
    }

    pub(super) fn stored(&mut self, shelf: &mut Shelf, now: Time, file: File, ok: bool) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        match entry.step {
            Step::Announcing => {
                entry.step = Step::Waiting;
                let wait = if ok {
                    entry.failures = 0;
                    shelf.published(now, file);
                    self.rng.jitter(self.config.republish, 10)
                } else {
                    let wait = RETRY.saturating_mul(1 << entry.failures.min(16));
                    entry.failures = entry.failures.saturating_add(1);
                    self.rng.jitter(wait.min(self.config.republish), 20)
                };
                self.agenda.arm(file, now + wait);
            }
            Step::Recalled => self.withdraw(shelf, now, file),
            // If the withdrawal failed, the record expires.
            Step::Going => {
                self.forget(file);
                shelf.delete(file);
            }
            Step::Waiting => {}
        }
    }

    pub(super) fn gone(&mut self, shelf: &mut Shelf, file: File) {
        if self.forget(file).is_some_and(|e| e.tried) {
            shelf.push(Effect::Withdraw { file });
        }
    }

    /// Withdrawn first, then deleted.
    pub(super) fn evict(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        match self.entries.get_mut(&file) {
            Some(entry) if entry.step == Step::Announcing => {
                entry.step = Step::Recalled;
                shelf.going(file);
            }
            Some(entry) if matches!(entry.step, Step::Recalled | Step::Going) => {}
            Some(entry) if entry.tried => self.withdraw(shelf, now, file),
            _ => {
                self.forget(file);
                shelf.delete(file);
            }
        }
    }

    pub(super) fn leave(&mut self, shelf: &mut Shelf) {
        for (file, entry) in core::mem::take(&mut self.entries) {
            let published = entry.tried && entry.step != Step::Going;
            shelf.part(file, published, matches!(entry.step, Step::Going | Step::Recalled));
        }
        self.agenda.clear();
    }

    pub(super) fn wake(&mut self, shelf: &mut Shelf, now: Time) {
        while let Some(file) = self.agenda.pop_due(now) {
            match self.entries.get(&file).map(|e| e.step) {
                Some(Step::Waiting) => self.announce(shelf, now, file),
                Some(_) => self.stored(shelf, now, file, false),
                None => {}
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.agenda.first()
    }

    fn announce(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        entry.step = Step::Announcing;
        entry.tried = true;
        shelf.push(Effect::Announce { file, life: self.config.record_life });
        self.agenda.arm(file, now + ANSWER);
    }

    fn withdraw(&mut self, shelf: &mut Shelf, now: Time, file: File) {
        let Some(entry) = self.entries.get_mut(&file) else { return };
        entry.step = Step::Going;
        shelf.going(file);
        shelf.push(Effect::Withdraw { file });
        self.agenda.arm(file, now + ANSWER);
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
        self.agenda.disarm(file);
        self.entries.remove(&file)
    }
}
