//! What is to be done for which file, and when.

use alloc::collections::{BTreeMap, BTreeSet};

use super::File;
use crate::time::Time;

/// At most one time a file. Unlike [`TimerQueue`](crate::timer::TimerQueue) it
/// forgets a file for good when it is disarmed: files come and go for ever.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    times: BTreeMap<File, Time>,
    order: BTreeSet<(Time, File)>,
}

impl Agenda {
    /// Arms a file, replacing its earlier time.
    pub(super) fn arm(&mut self, file: File, at: Time) {
        if let Some(old) = self.times.insert(file, at) {
            self.order.remove(&(old, file));
        }
        self.order.insert((at, file));
    }

    /// Disarms a file.
    pub(super) fn disarm(&mut self, file: File) {
        if let Some(at) = self.times.remove(&file) {
            self.order.remove(&(at, file));
        }
    }

    /// Disarms all files.
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.order.clear();
    }

    /// The earliest time.
    pub(super) fn first(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest file that is due; it is disarmed.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<File> {
        let &(at, file) = self.order.first()?;
        if at > now {
            return None;
        }
        self.disarm(file);
        Some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    fn file(n: u8) -> File {
        File { start: u64::from(n), key: [n; 20] }
    }

    quickcheck! {
        fn it_behaves_like_a_plain_map(ops: Vec<(u8, Option<u8>)>) -> bool {
            let mut agenda = Agenda::default();
            let mut model: BTreeMap<File, Time> = BTreeMap::new();
            for (n, at) in ops {
                let f = file(n % 8);
                match at.map(|t| Time::from_secs(u64::from(t))) {
                    Some(at) => {
                        agenda.arm(f, at);
                        model.insert(f, at);
                    }
                    None => {
                        agenda.disarm(f);
                        model.remove(&f);
                    }
                }
                if agenda.first() != model.values().min().copied() {
                    return false;
                }
            }
            let mut last = Time::ZERO;
            while let Some(f) = agenda.pop_due(Time::from_secs(128)) {
                match model.remove(&f) {
                    Some(at) if at >= last && at <= Time::from_secs(128) => last = at,
                    _ => return false,
                }
            }
            model.values().all(|at| *at > Time::from_secs(128))
        }
    }
}
