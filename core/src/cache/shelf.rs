//! What all strategies share: the copies on disk, and what is to be done.

use alloc::collections::VecDeque;
use core::time::Duration;

use super::quota::Quota;
use super::{Effect, File};
use crate::time::Time;

/// The copies and the effects not yet polled.
#[derive(Debug)]
pub(super) struct Shelf {
    limit: u64,
    quota: Quota,
    effects: VecDeque<Effect>,
}

impl Shelf {
    pub(super) fn new(limit: u64, max_age: Option<Duration>) -> Self {
        Self { limit, quota: Quota::new(limit, max_age), effects: VecDeque::new() }
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Forgets what was to be asked or published. What concerns the disk, and
    /// what is withdrawn, stays.
    pub(super) fn hush(&mut self) {
        self.effects.retain(|e| {
            !matches!(
                e,
                Effect::LookUp { .. }
                    | Effect::GetList { .. }
                    | Effect::Announce { .. }
                    | Effect::PutList { .. }
                    | Effect::Fetch { .. }
            )
        });
    }

    /// Takes a completed file, if the quota can hold it; whether it did. What
    /// must go for it is deleted at once, by `evict`: first what is going
    /// anyway, then the oldest.
    pub(super) fn keep(
        &mut self,
        now: Time,
        file: File,
        bytes: u64,
        mut evict: impl FnMut(&mut Self, File),
    ) -> bool {
        if !self.quota.could_hold(bytes) {
            self.push(Effect::TooLarge { file, bytes, quota: self.limit });
            self.push(Effect::Drop { file });
            return false;
        }
        if self.quota.is_past(now, file) {
            self.push(Effect::Drop { file });
            return false;
        }
        while !self.quota.fits(bytes) {
            let going = self.quota.next_going();
            let Some(victim) = going.or_else(|| self.quota.victim(now, bytes)) else { break };
            evict(self, victim);
            self.lost(victim);
        }
        self.quota.add(file, bytes);
        self.push(Effect::Keep { file });
        true
    }

    /// Takes a file that is on disk already, if it fits; else it is deleted.
    pub(super) fn take_over(&mut self, now: Time, file: File, bytes: u64) -> bool {
        let fits = self.quota.fits(bytes) && !self.quota.is_past(now, file);
        if fits {
            self.quota.add(file, bytes);
        } else {
            self.push(Effect::Drop { file });
        }
        fits
    }

    /// Deletes a file.
    pub(super) fn delete(&mut self, file: File) {
        self.quota.remove(file);
        self.push(Effect::Drop { file });
    }

    /// The node leaves: a file's record goes, and the file if it was to go.
    pub(super) fn part(&mut self, file: File, published: bool, doomed: bool) {
        if published {
            self.push(Effect::Withdraw { file });
        }
        if doomed {
            self.delete(file);
        }
    }

    /// A file is not on disk any more.
    pub(super) fn lost(&mut self, file: File) {
        self.quota.remove(file);
    }

    /// A file is deleted as soon as its record is withdrawn.
    pub(super) fn going(&mut self, file: File) {
        self.quota.going(file);
    }

    /// A file was just published.
    pub(super) fn published(&mut self, now: Time, file: File) {
        self.quota.spare(now, file);
    }

    pub(super) fn seen(&mut self, now: Time, file: File) {
        self.quota.seen(now, file);
    }

    pub(super) fn is_past(&self, now: Time, file: File) -> bool {
        self.quota.is_past(now, file)
    }

    /// Whether one more file fits without evicting any.
    pub(super) fn has_room(&self) -> bool {
        self.quota.has_room()
    }

    pub(super) fn victim(&self, now: Time) -> Option<File> {
        self.quota.victim(now, self.quota.headroom())
    }

    /// The file that goes first.
    pub(super) fn oldest(&self, now: Time) -> Option<File> {
        self.quota.oldest(now)
    }

    /// Bytes of a file that is kept.
    pub(super) fn bytes(&self, file: File) -> u64 {
        self.quota.bytes(file)
    }

    /// Bytes about to be deleted.
    pub(super) fn leaving(&self) -> u64 {
        self.quota.leaving()
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.quota.deadline()
    }

    pub(super) fn used(&self) -> u64 {
        self.quota.used()
    }

    pub(super) fn holds(&self, file: File) -> bool {
        self.quota.holds(file)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = File> + '_ {
        self.quota.files()
    }
}
