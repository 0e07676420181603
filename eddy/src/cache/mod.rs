//! The cache on disk: the files of a channel that this node keeps for others,
//! and for its own user's way back.
//!
//! ```text
//! DIR/VERSION        "eddy cache 1", a line
//! DIR/LOCK           locked by the program that uses DIR
//! DIR/CHANNEL/NAME   a file; CHANNEL is the first 16 hexadecimal digits of the channel's id
//! ```
//!
//! A file is written beside its place, synced, and moved there, so a crash
//! leaves a whole one or none. What is found at the start is judged by its
//! structure; signatures are the core's to check, when it loads blocks.
//!
//! The disk has a thread and a queue of its own: nobody waits for it. Who asks
//! too much of it is told so at once.

mod error;
#[cfg(test)]
mod fixture;
mod folder;
mod index;
mod queue;
mod worker;
mod write;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use eddy_core::Seq;
use eddy_core::stream::channel::Channel;
use eddy_core::stream::file::FileId;

use self::folder::Folder;
use self::queue::{Job, Queue};
use self::worker::Worker;
use self::write::{Medium, System};

pub use self::error::CacheError;
pub use self::index::MAX_LOAD;

/// A channel's cache. All it is asked for it does in that order.
///
/// Dropping it waits until all that was taken is done.
pub struct Disk {
    queue: Arc<Queue>,
    answer: Arc<dyn Fn(Answer) + Send + Sync>,
    thread: Option<JoinHandle<()>>,
}

/// A file that was there at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub file: FileId,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its blocks: always all of them.
    pub blocks: u64,
}

/// What came of a request. Every store and every load has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of [`Disk::store`].
    Stored {
        /// Which file.
        file: FileId,
        /// Its length in bytes once it is safe on disk. Else there is no such
        /// file, not even a part of it.
        bytes: Result<u64, StoreError>,
    },
    /// Of [`Disk::load`].
    Loaded {
        /// The one given with the request.
        ticket: u64,
        /// The frames of the blocks, one after another: in order from the
        /// first that was asked for, whole, not yet verified. `None` if there
        /// is no such file, if it is damaged, or the disk is too slow.
        frames: Option<Bytes>,
    },
}

/// Why a file was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// There is no room on the disk.
    Full,
    /// The disk is too slow or failed, or these are not the blocks of the
    /// file. The log says which.
    Failed,
}

impl Disk {
    /// Opens a channel's cache in this folder, makes it where it is missing,
    /// and says what it holds, oldest first. Leftovers of a crash and damaged
    /// files are deleted. Takes as long as the disk needs to tell the places
    /// of all blocks.
    ///
    /// `answer` is called on the cache's own thread; for what is refused, on
    /// the asking one. It must not wait for either.
    ///
    /// # Errors
    /// [`CacheError`] if the folder is not a cache, is in use, or is not
    /// usable.
    pub fn open(
        dir: &Path,
        channel: &Channel,
        answer: impl Fn(Answer) + Send + Sync + 'static,
    ) -> Result<(Self, Vec<Found>), CacheError> {
        Self::on(System, dir, channel, answer)
    }

    fn on(
        medium: impl Medium,
        dir: &Path,
        channel: &Channel,
        answer: impl Fn(Answer) + Send + Sync + 'static,
    ) -> Result<(Self, Vec<Found>), CacheError> {
        let folder = Folder::open(dir, channel)?;
        let found = folder.scan()?;
        let answer: Arc<dyn Fn(Answer) + Send + Sync> = Arc::new(answer);
        let queue = Arc::new(Queue::default());
        let worker = Worker::new(folder, medium);
        let run = {
            let (queue, answer) = (Arc::clone(&queue), Arc::clone(&answer));
            move || worker.run(&queue, &*answer)
        };
        let thread =
            thread::Builder::new().name("cache".into()).spawn(run).map_err(CacheError::Thread)?;
        Ok((Self { queue, answer, thread: Some(thread) }, found))
    }

    /// Stores a file: the frames of all its blocks, in order. Takes the place
    /// of one that is there.
    pub fn store(&self, file: FileId, frames: Vec<Bytes>) {
        self.ask(Job::Store { file, frames });
    }

    /// Loads so many blocks of a file, from `first` on. What is longer than
    /// [`MAX_LOAD`] comes only in part: as many whole blocks as fit.
    pub fn load(&self, ticket: u64, file: FileId, first: Seq, blocks: u32) {
        self.ask(Job::Load { ticket, file, first, blocks });
    }

    /// Deletes a file, if there is one. Never refused, not answered.
    pub fn delete(&self, file: FileId) {
        self.ask(Job::Delete(file));
    }

    fn ask(&self, job: Job) {
        if let Some(answer) = self.queue.push(job).err().and_then(Job::refused) {
            (self.answer)(answer);
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.queue.close();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the cache ended by a fault of its own");
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("queue", &self.queue).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
