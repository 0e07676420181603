//! How much may be kept, and what goes first.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::File;
use crate::time::Time;

/// How long a file that was just published is spared, if anything else can go.
const SPARED: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Copy {
    bytes: u64,
    /// Not before this, unless there is no other.
    spared: Time,
    /// It is about to be deleted; its record is being withdrawn.
    going: bool,
}

/// The copies on disk, oldest first, and their bytes.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u64,
    max_age: Option<Duration>,
    copies: BTreeMap<File, Copy>,
    used: u64,
    /// Of `used`, what is going.
    going: u64,
    largest: u64,
    /// The newest file's start in stream time, and when it was seen: how old
    /// files are needs no clock in common with the provider.
    edge: Option<(u64, Time)>,
}

impl Quota {
    pub(super) fn new(limit: u64, max_age: Option<Duration>) -> Self {
        Self { limit, max_age, copies: BTreeMap::new(), used: 0, going: 0, largest: 0, edge: None }
    }

    /// Bytes on disk, what is going included.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Of these, what is going.
    pub(super) fn leaving(&self) -> u64 {
        self.going
    }

    /// Bytes of a file; none if it is not kept.
    pub(super) fn bytes(&self, file: File) -> u64 {
        self.copies.get(&file).map_or(0, |c| c.bytes)
    }

    /// Whether a file is kept, going or not.
    pub(super) fn holds(&self, file: File) -> bool {
        self.copies.contains_key(&file)
    }

    /// The files kept, oldest first.
    pub(super) fn files(&self) -> impl Iterator<Item = File> + '_ {
        self.copies.keys().copied()
    }

    /// A file exists; the newest one tells where the stream is.
    pub(super) fn seen(&mut self, now: Time, file: File) {
        if self.edge.is_none_or(|(start, _)| start < file.start) {
            self.edge = Some((file.start, now));
        }
    }

    /// How long ago a file's start went by, as far as one can tell.
    fn age(&self, now: Time, file: File) -> Duration {
        let Some((start, at)) = self.edge else { return Duration::ZERO };
        Duration::from_secs(start.saturating_sub(file.start)).saturating_add(now.since(at))
    }

    /// Whether a file is older than what is kept.
    pub(super) fn is_past(&self, now: Time, file: File) -> bool {
        self.max_age.is_some_and(|max| self.age(now, file) > max)
    }

    /// Whether a file could ever be kept.
    pub(super) fn could_hold(&self, bytes: u64) -> bool {
        bytes <= self.limit
    }

    /// Whether a file of so many bytes fits beside all that is on disk.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.used.saturating_add(bytes) <= self.limit
    }

    /// Whether there is room for one more of the largest files seen, without
    /// evicting anything.
    pub(super) fn has_room(&self) -> bool {
        self.fits(self.largest.saturating_mul(2))
    }

    pub(super) fn add(&mut self, file: File, bytes: u64) {
        self.largest = self.largest.max(bytes);
        let copy = Copy { bytes, spared: Time::ZERO, going: false };
        if self.copies.insert(file, copy).is_none() {
            self.used = self.used.saturating_add(bytes);
        }
    }

    /// A file is deleted.
    pub(super) fn remove(&mut self, file: File) {
        let Some(copy) = self.copies.remove(&file) else { return };
        self.used = self.used.saturating_sub(copy.bytes);
        if copy.going {
            self.going = self.going.saturating_sub(copy.bytes);
        }
    }

    /// A file was just published: others go first for a while.
    pub(super) fn spare(&mut self, now: Time, file: File) {
        if let Some(copy) = self.copies.get_mut(&file) {
            copy.spared = now + SPARED;
        }
    }

    /// A file is about to be deleted.
    pub(super) fn going(&mut self, file: File) {
        if let Some(copy) = self.copies.get_mut(&file).filter(|c| !c.going) {
            copy.going = true;
            self.going = self.going.saturating_add(copy.bytes);
        }
    }

    /// The oldest file that is about to be deleted already.
    pub(super) fn next_going(&self) -> Option<File> {
        self.copies.iter().find(|(_, c)| c.going).map(|(f, _)| *f)
    }

    /// What is kept free, so that a new file need not wait for a withdrawal:
    /// room for one of the largest seen, where that is little of the whole.
    pub(super) fn headroom(&self) -> u64 {
        if self.largest.saturating_mul(4) <= self.limit { self.largest } else { 0 }
    }

    /// The file to evict next, if any must go: one that is too old, or the
    /// oldest while so many bytes would not fit beside what stays.
    pub(super) fn victim(&self, now: Time, want: u64) -> Option<File> {
        let oldest = self.copies.iter().find(|(_, c)| !c.going).map(|(f, _)| *f)?;
        if self.is_past(now, oldest) {
            return Some(oldest);
        }
        if self.used.saturating_sub(self.going).saturating_add(want) <= self.limit {
            return None;
        }
        self.oldest(now)
    }

    /// The oldest file that is to stay, those that were just published last.
    pub(super) fn oldest(&self, now: Time) -> Option<File> {
        let mut staying = self.copies.iter().filter(|(_, c)| !c.going);
        let first = staying.clone().next();
        staying.find(|(_, c)| c.spared <= now).or(first).map(|(f, _)| *f)
    }

    /// When the oldest file that is to stay becomes too old.
    pub(super) fn deadline(&self) -> Option<Time> {
        let (start, at) = self.edge?;
        let (oldest, _) = self.copies.iter().find(|(_, c)| !c.going)?;
        let behind = Duration::from_secs(start.saturating_sub(oldest.start));
        let left = self.max_age?.saturating_sub(behind);
        Some(at + left + Duration::from_micros(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn file(n: u64) -> File {
        File { start: n * 10, key: [n as u8; 20] }
    }

    #[test]
    fn the_oldest_goes_first_but_not_one_that_was_just_published() {
        let mut q = Quota::new(100, None);
        let now = Time::from_secs(1_000);
        for n in 1..=8 {
            q.add(file(n), 10);
        }
        assert_eq!(q.headroom(), 10);
        q.add(file(9), 10);
        assert_eq!(q.victim(now, 10), None, "there is room for one more");
        q.add(file(10), 10);
        assert_eq!(q.victim(now, 10), Some(file(1)));
        q.spare(now, file(1));
        assert_eq!(q.victim(now, 10), Some(file(2)));
        assert_eq!(q.victim(now + Duration::from_secs(60), 10), Some(file(1)), "for a minute");
        q.going(file(2));
        assert_eq!(q.victim(now, 10), None, "enough is going");
        assert!(!q.fits(1), "but it is not gone");
        q.remove(file(2));
        assert!(q.fits(10) && !q.fits(11));
    }

    #[test]
    fn a_published_file_goes_when_nothing_else_is_left() {
        let mut q = Quota::new(100, None);
        let now = Time::from_secs(1_000);
        q.add(file(1), 60);
        q.spare(now, file(1));
        assert_eq!(q.headroom(), 0, "a small quota is used whole");
        assert_eq!(q.victim(now, q.headroom()), None);
        assert_eq!(q.victim(now, 60), Some(file(1)));
    }

    #[test]
    fn age_is_counted_in_stream_time() {
        let mut q = Quota::new(100, Some(Duration::from_secs(60)));
        // The node's clock and the provider's have nothing in common.
        let now = Time::from_secs(7);
        q.seen(now, file(1_000));
        q.add(file(1_000), 1);
        assert_eq!(q.victim(now, 0), None);
        q.seen(now, file(1_006));
        assert_eq!(q.victim(now, 0), None, "60 s old");
        let due = q.deadline().unwrap();
        assert_eq!(q.victim(due - Duration::from_micros(1), 0), None);
        assert_eq!(q.victim(due, 0), Some(file(1_000)));
        q.going(file(1_000));
        assert_eq!((q.victim(due, 0), q.deadline()), (None, None));
    }

    quickcheck! {
        fn bytes_add_up(ops: Vec<(u8, u8, u8)>) -> bool {
            let mut q = Quota::new(1_000, None);
            let mut model: BTreeMap<File, u64> = BTreeMap::new();
            for (op, n, bytes) in ops {
                let (f, bytes) = (file(u64::from(n % 16)), u64::from(bytes));
                match op % 3 {
                    0 => {
                        if !q.holds(f) {
                            q.add(f, bytes);
                            model.insert(f, bytes);
                        }
                    }
                    1 => {
                        q.remove(f);
                        model.remove(&f);
                    }
                    _ => q.going(f),
                }
                if q.used() != model.values().sum::<u64>() || !q.files().eq(model.keys().copied()) {
                    return false;
                }
            }
            while let Some(f) = q.next_going() {
                q.remove(f);
            }
            q.going == 0
        }
    }
}
