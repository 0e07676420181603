//! What the cache's thread does.

use std::io;

use bytes::Bytes;
use eddy_core::Seq;
use eddy_core::stream::file::{FRAME_HEAD, FileError, FileId, Walk};
use tracing::{info, warn};

use crate::cache::folder::Folder;
use crate::cache::index::{Index, MAX_BLOCK, MAX_LOAD, Open};
use crate::cache::queue::{Job, Queue};
use crate::cache::write::{Medium, remove, write_whole};
use crate::cache::{Answer, StoreError};

/// Does one job after another.
#[derive(Debug)]
pub(super) struct Worker<M> {
    folder: Folder,
    medium: M,
    open: Open,
}

impl<M: Medium> Worker<M> {
    pub(super) fn new(folder: Folder, medium: M) -> Self {
        Self { folder, medium, open: Open::default() }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue, answer: &(dyn Fn(Answer) + Send + Sync)) {
        let _closed = Closed(queue);
        while let Some(job) = queue.pop() {
            match job {
                Job::Store { file, frames } => {
                    answer(Answer::Stored { file, bytes: self.store(file, &frames) });
                }
                Job::Load { ticket, file, first, blocks } => {
                    let frames = self.load(file, first, blocks);
                    answer(Answer::Loaded { ticket, frames });
                }
                Job::Delete(file) => self.delete(file),
            }
        }
    }

    fn store(&mut self, file: FileId, frames: &[Bytes]) -> Result<u64, StoreError> {
        let Some(path) = self.folder.path(file) else {
            warn!(start = file.start, "no file of this channel begins there");
            return Err(StoreError::Failed);
        };
        if let Err(e) = whole(Walk::of(self.folder.channel(), file, MAX_BLOCK), frames) {
            warn!(file = %path.display(), error = %e, "not stored");
            return Err(StoreError::Failed);
        }
        self.open.forget(file);
        write_whole(&self.medium, &path, frames).map_err(|e| {
            let (error, hint) = advice(e.kind());
            warn!(file = %path.display(), error = %e, hint, "cannot store a file");
            error
        })?;
        Ok(frames.iter().map(|frame| frame.len() as u64).sum())
    }

    fn load(&mut self, file: FileId, first: Seq, blocks: u32) -> Option<Bytes> {
        let path = self.folder.path(file)?;
        let channel = self.folder.channel();
        let read = self.open.get(file, || Index::open(&path, channel, file));
        match read.and_then(|index| index.read(first, blocks, MAX_LOAD).transpose()) {
            Ok(frames) => frames,
            Err(e) => {
                info!(file = %path.display(), error = %e, "cannot load from a file");
                self.open.forget(file);
                None
            }
        }
    }

    fn delete(&mut self, file: FileId) {
        self.open.forget(file);
        let Some(path) = self.folder.path(file) else { return };
        if let Err(e) = remove(&path) {
            warn!(file = %path.display(), error = %e, "cannot delete a file");
        }
    }
}

/// What a failed write means, and what the user can do about it.
pub(super) fn advice(kind: io::ErrorKind) -> (StoreError, &'static str) {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            StoreError::Full,
            "the oldest files go instead: free some space, give another --cache, or a smaller \
             --quota (of a viewer) or --keep (of a provider)",
        ),
        io::ErrorKind::NotFound => (StoreError::Failed, "the folder was deleted: start again"),
        _ => (StoreError::Failed, "look after the disk, or give another --cache"),
    }
}

/// Whether these are the frames of all blocks of a file.
fn whole(mut walk: Walk, frames: &[Bytes]) -> Result<(), FileError> {
    for frame in frames {
        let head: &[u8; FRAME_HEAD] = frame.first_chunk().ok_or(FileError::Truncated)?;
        if walk.pass(head)? != frame.len() {
            return Err(FileError::Truncated);
        }
    }
    if walk.is_over() { Ok(()) } else { Err(FileError::Truncated) }
}

/// Nothing is taken any more, even after a panic: nobody would answer.
struct Closed<'a>(&'a Queue);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
