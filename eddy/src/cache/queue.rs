//! What waits for the disk.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use eddy_core::Seq;
use eddy_core::stream::file::FileId;
use tracing::warn;

use crate::cache::{Answer, StoreError};

/// Stores and loads that may wait.
pub(super) const CAPACITY: usize = 64;
/// No further store waits once this much does, in bytes.
const MAX_WAITING: usize = 64 << 20;

/// Something for the disk to do.
#[derive(Debug)]
pub(super) enum Job {
    Store { file: FileId, frames: Vec<Bytes> },
    Load { ticket: u64, file: FileId, first: Seq, blocks: u32 },
    Delete(FileId),
}

impl Job {
    /// What is answered if it cannot even wait.
    pub(super) fn refused(self) -> Option<Answer> {
        match self {
            Self::Store { file, .. } => {
                Some(Answer::Stored { file, bytes: Err(StoreError::Failed) })
            }
            Self::Load { ticket, .. } => Some(Answer::Loaded { ticket, frames: None }),
            Self::Delete(_) => None,
        }
    }

    fn file(&self) -> FileId {
        let (Self::Store { file, .. } | Self::Load { file, .. } | Self::Delete(file)) = self;
        *file
    }

    /// Bytes that it keeps in memory.
    fn weight(&self) -> usize {
        match self {
            Self::Store { frames, .. } => frames.iter().map(Bytes::len).sum(),
            _ => 0,
        }
    }
}

/// A queue that takes as much as the disk can do soon. A file is deleted in
/// any case, or it would stay: at most one deletion waits for a file that is
/// there, or will be.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Stores and loads among them.
    taken: usize,
    /// What the stores keep in memory.
    weight: usize,
    /// Whether the last one that came was sent away.
    slow: bool,
    closed: bool,
}

impl Queue {
    /// Queues a job, or gives it back if there is no room.
    pub(super) fn push(&self, job: Job) -> Result<(), Job> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(job);
        }
        if let Job::Delete(file) = &job {
            let last = waiting.jobs.iter().rev().find(|job| job.file() == *file);
            if matches!(last, Some(Job::Delete(_))) {
                return Ok(());
            }
        } else {
            let weight = job.weight();
            let full = waiting.taken >= CAPACITY || (weight > 0 && waiting.weight >= MAX_WAITING);
            if full && !waiting.slow {
                warn!("the disk is too slow for the cache");
            }
            waiting.slow = full;
            if full {
                return Err(job);
            }
            waiting.taken += 1;
            waiting.weight += weight;
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.more.notify_one();
        Ok(())
    }

    /// The next job, once there is one; `None` if there will be none any more.
    pub(super) fn pop(&self) -> Option<Job> {
        let waiting = self.lock();
        let mut waiting = self
            .more
            .wait_while(waiting, |waiting| waiting.jobs.is_empty() && !waiting.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let job = waiting.jobs.pop_front()?;
        if !matches!(job, Job::Delete(_)) {
            waiting.taken -= 1;
            waiting.weight -= job.weight();
        }
        Some(job)
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(start: u64, bytes: usize) -> Job {
        Job::Store { file: FileId { start }, frames: vec![Bytes::from(vec![0; bytes])] }
    }

    fn load(ticket: u64) -> Job {
        Job::Load { ticket, file: FileId { start: 0 }, first: Seq(0), blocks: 1 }
    }

    #[test]
    fn stores_and_loads_are_bounded_and_deletions_are_not() {
        let queue = Queue::default();
        for ticket in 0..CAPACITY as u64 {
            assert!(queue.push(load(ticket)).is_ok());
        }
        let refused = queue.push(load(99)).unwrap_err().refused();
        assert_eq!(refused, Some(Answer::Loaded { ticket: 99, frames: None }));
        let refused = queue.push(store(1, 0)).unwrap_err().refused();
        let bytes = Err(StoreError::Failed);
        assert_eq!(refused, Some(Answer::Stored { file: FileId { start: 1 }, bytes }));
        for start in 0..1_000 {
            assert!(queue.push(Job::Delete(FileId { start: start % 100 })).is_ok());
        }
        assert!(matches!(queue.pop(), Some(Job::Load { ticket: 0, .. })));
        assert!(queue.push(load(64)).is_ok());
        queue.close();
        let jobs = std::iter::from_fn(|| queue.pop()).count();
        assert_eq!(jobs, CAPACITY - 1 + 100 + 1, "each file is deleted once");
    }

    #[test]
    fn what_waits_to_be_stored_is_bounded_in_bytes() {
        let queue = Queue::default();
        assert!(queue.push(store(0, MAX_WAITING + 1)).is_ok(), "one file of any length");
        assert!(queue.push(store(1, 1)).is_err());
        assert!(queue.push(load(0)).is_ok(), "a load keeps nothing in memory");
        assert!(matches!(queue.pop(), Some(Job::Store { .. })));
        assert!(queue.push(store(1, 1)).is_ok());
    }

    #[test]
    fn a_file_stored_again_can_be_deleted_again() {
        let queue = Queue::default();
        let delete = || Job::Delete(FileId { start: 1 });
        queue.push(delete()).unwrap();
        queue.push(store(1, 1)).unwrap();
        queue.push(delete()).unwrap();
        queue.push(delete()).unwrap();
        queue.close();
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 3);
    }

    #[test]
    fn a_closed_queue_ends() {
        let queue = Queue::default();
        queue.push(load(1)).unwrap();
        queue.close();
        assert!(queue.push(load(2)).is_err());
        assert!(queue.push(Job::Delete(FileId { start: 1 })).is_err());
        assert!(queue.pop().is_some());
        assert!(queue.pop().is_none());
    }
}
