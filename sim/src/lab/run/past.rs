//! Who has which file, a minute after it was complete, at any time, and at the end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::Time;
use eddy_core::cache::File;
use eddy_core::stream::file::FileId;

use super::look::Why;
use super::{Run, What};
use crate::lab::outcome::Replicas;
use crate::node::NodeIx;

/// When a file is looked at after it is complete.
const YOUNG: Duration = Duration::from_secs(60);
/// Between two samples, and how many files each looks at.
const SAMPLE: Duration = Duration::from_secs(60);
const SAMPLED: usize = 10;
/// Before the end, when the looks at all files begin, and how long they are spread
/// over: as many lookups at once would be a load of their own.
const LAST: Duration = Duration::from_secs(90);
const SPREAD: Duration = Duration::from_secs(60);

impl Run<'_> {
    pub(super) fn plan_looks(&mut self) {
        let length = self.channels[0].file().as_secs();
        let first = FileId::at(&self.channels[0], self.start).start + length;
        let young = |file: u64| Time::from_secs(file + length) + YOUNG;
        let end = self.end;
        let files: Vec<u64> =
            (first..).step_by(length as usize).take_while(|f| young(*f) < end).collect();
        let last = end.since(self.start).saturating_sub(LAST);
        for (n, &file) in (0..).zip(&files) {
            let at = young(file).since(self.start);
            self.after(at, What::Look(file, Why::Young));
            if at <= last {
                let at = last + SPREAD * n / files.len() as u32;
                self.after(at, What::Look(file, Why::Last));
            }
        }
        self.after(SAMPLE, What::Sample);
    }

    pub(super) fn sample(&mut self) {
        self.after(SAMPLE, What::Sample);
        let files = self.files();
        for _ in 0..SAMPLED.min(files.len()) {
            let file = files[self.rng.below(files.len())];
            self.look(file, Why::Sample);
        }
    }

    /// Files that are old enough to be looked at.
    fn files(&self) -> Vec<u64> {
        let length = self.channels[0].file().as_secs();
        let first = FileId::at(&self.channels[0], self.start).start + length;
        let complete = |file: u64| Time::from_secs(file + length);
        let now = self.world.now();
        (first..).step_by(length as usize).take_while(|f| complete(*f) + YOUNG <= now).collect()
    }

    pub(super) fn look(&mut self, start: u64, why: Why) {
        let file = File { start, key: FileId { start }.key(&self.channels[0].id()) };
        if let Some(owners) = self.seen.probe.look(&mut self.world, file, why) {
            self.seen.found.push((file, why, owners));
            self.note_found();
        }
    }

    pub(super) fn note_found(&mut self) {
        for (file, why, owners) in std::mem::take(&mut self.seen.found) {
            let replicas = self.replicas(file, &owners);
            match why {
                Why::Young => self.seen.young.push(replicas),
                Why::Sample => self.seen.sampled.push(replicas),
                Why::Last => self.seen.last.push(replicas),
            }
        }
    }

    fn replicas(&mut self, file: File, owners: &BTreeSet<SocketAddr>) -> Replicas {
        let mut cached = BTreeSet::new();
        let viewers: Vec<NodeIx> = self.seen.viewers.keys().copied().collect();
        for ix in viewers {
            let id = FileId { start: file.start };
            if self.world.is_live(ix) && self.world.disk_mut(ix).is_some_and(|d| d.holds(id)) {
                cached.insert(self.world.addr(ix));
            }
        }
        let (published, live) = (owners.len(), owners.intersection(&cached).count());
        Replicas { file: file.start, cached: cached.len(), published, live }
    }
}
