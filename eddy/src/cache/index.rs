//! Where the blocks of a file stand in it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;
use eddy_core::Seq;
use eddy_core::stream::channel::Channel;
use eddy_core::stream::file::{Blocks, FRAME_HEAD, FileError, FileId, Walk};
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

/// The most that one load gives, in bytes. The longest block fits.
pub const MAX_LOAD: u64 = 32 << 20;

/// The longest payload: the most that `Config::max_block` may be.
pub(super) const MAX_BLOCK: usize = 16 << 20;
/// Files kept open.
const MAX_OPEN: usize = 16;

/// An open file of a channel, and where each of its blocks begins.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    first: Seq,
    /// One more than blocks: the last is the file's end.
    places: Vec<u64>,
}

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The system says so.
    System(io::Error),
    /// It does not hold the blocks that it should.
    Damaged(FileError),
}

impl Index {
    /// Opens a file, and walks over its blocks. Follows no link.
    pub(super) fn open(path: &Path, channel: &Channel, id: FileId) -> Result<Self, ReadError> {
        // To open a pipe would wait for somebody to write to it.
        let file =
            OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(ReadError::System(io::Error::other("it is not a regular file")));
        }
        let mut walk = Walk::of(channel, id, MAX_BLOCK);
        let mut places = vec![0];
        let mut at = 0;
        while at < metadata.len() {
            let mut head = [0; FRAME_HEAD];
            file.read_exact_at(&mut head, at)?;
            at += walk.pass(&head)? as u64;
            places.push(at);
        }
        if at > metadata.len() || !walk.is_over() {
            return Err(FileError::Truncated.into());
        }
        Ok(Self { file, first: id.first(channel), places })
    }

    /// Its length.
    pub(super) fn bytes(&self) -> u64 {
        self.places.last().copied().unwrap_or_default()
    }

    /// How many blocks it has.
    pub(super) fn blocks(&self) -> u64 {
        self.places.len() as u64 - 1
    }

    /// The frames of so many blocks from `first` on; fewer if they are longer
    /// than `most` bytes. `None` if it is not asked for blocks of this file.
    pub(super) fn read(
        &self,
        first: Seq,
        blocks: u32,
        most: u64,
    ) -> Option<Result<Bytes, ReadError>> {
        let from = usize::try_from(first.0.checked_sub(self.first.0)?).ok()?;
        let places = self.places.get(from..=from.checked_add(usize::try_from(blocks).ok()?)?)?;
        let begin = *places.first()?;
        let fit = places.partition_point(|place| place - begin <= most);
        let end = *places.get(..fit)?.last()?;
        (end > begin).then(|| self.range(begin..end, Walk::new(first, fit as u64 - 1, MAX_BLOCK)))
    }

    /// What stands there, if it still is what the walk should find.
    fn range(&self, place: Range<u64>, walk: Walk) -> Result<Bytes, ReadError> {
        let mut bytes = vec![0; (place.end - place.start) as usize];
        self.file.read_exact_at(&mut bytes, place.start)?;
        let bytes = Bytes::from(bytes);
        Blocks::new(bytes.clone(), walk).try_for_each(|block| block.map(drop))?;
        Ok(bytes)
    }
}

/// The files used last, open.
#[derive(Debug, Default)]
pub(super) struct Open(Vec<(FileId, Index)>);

impl Open {
    /// A file that is open, or is opened now; it closes the one not used for
    /// the longest time.
    pub(super) fn get(
        &mut self,
        id: FileId,
        open: impl FnOnce() -> Result<Index, ReadError>,
    ) -> Result<&Index, ReadError> {
        let index = match self.0.iter().position(|(known, _)| *known == id) {
            Some(place) => self.0.remove(place).1,
            None => open()?,
        };
        if self.0.len() >= MAX_OPEN {
            self.0.remove(0);
        }
        Ok(&self.0.push_mut((id, index)).1)
    }

    /// Closes a file.
    pub(super) fn forget(&mut self, id: FileId) {
        self.0.retain(|(known, _)| *known != id);
    }
}

impl From<io::Error> for ReadError {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::UnexpectedEof {
            Self::Damaged(FileError::Truncated)
        } else {
            Self::System(e)
        }
    }
}

impl From<FileError> for ReadError {
    fn from(e: FileError) -> Self {
        Self::Damaged(e)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(e) => e.fmt(f),
            Self::Damaged(e) => e.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::{FILE, Temporary, channel, frames};
    use std::fs;

    #[test]
    fn any_range_of_blocks_is_read() {
        let (folder, channel, frames) = (Temporary::new(), channel(), frames(FILE));
        let path = folder.path().join("file");
        fs::write(&path, frames.concat()).unwrap();
        let index = Index::open(&path, &channel, FILE).unwrap();
        assert_eq!((index.bytes(), index.blocks()), (frames.concat().len() as u64, 10));
        let first = FILE.first(&channel);
        for from in 0..10 {
            for count in 1..=10 - from {
                let expected = frames[from..from + count].concat();
                let read = |most| index.read(first.plus(from as u64), count as u32, most);
                assert_eq!(read(MAX_LOAD).unwrap().unwrap(), expected);
                assert_eq!(read(expected.len() as u64).unwrap().unwrap(), expected);
                // One byte less, and the last block doesn't fit.
                let less = frames[from..from + count - 1].concat();
                match read(expected.len() as u64 - 1) {
                    Some(read) => assert_eq!(read.unwrap(), less),
                    None => assert!(less.is_empty()),
                }
            }
        }
        for (from, blocks) in [(first, 0), (first, 11), (first, u32::MAX), (first.plus(9), 2)] {
            assert!(index.read(from, blocks, MAX_LOAD).is_none(), "{blocks} from {from:?}");
        }
        for from in [first.minus(1), first.plus(10), Seq(0), Seq(u64::MAX)] {
            assert!(index.read(from, 1, MAX_LOAD).is_none(), "{from:?}");
        }
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_not_read() {
        let (folder, channel, frames) = (Temporary::new(), channel(), frames(FILE));
        let path = folder.path().join("file");
        let whole = frames.concat();
        fs::write(&path, &whole).unwrap();
        let index = Index::open(&path, &channel, FILE).unwrap();
        let read = || index.read(FILE.first(&channel), 10, MAX_LOAD).unwrap();
        assert!(read().is_ok());
        let mut spoilt = whole.clone();
        spoilt[frames[0].len() + 4] ^= 1;
        fs::write(&path, &spoilt).unwrap();
        assert!(matches!(read(), Err(ReadError::Damaged(FileError::Kind(0x41)))));
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(read(), Err(ReadError::Damaged(FileError::Truncated))));
    }

    #[test]
    fn only_the_files_used_last_stay_open() {
        let (folder, channel) = (Temporary::new(), channel());
        let path = folder.path().join("file");
        fs::write(&path, frames(FILE).concat()).unwrap();
        let mut opened = 0;
        let mut open = Open::default();
        let mut get = |start| {
            let before = opened;
            let index = open.get(FileId { start }, || {
                opened += 1;
                Index::open(&path, &channel, FILE)
            });
            assert!(index.is_ok());
            opened > before
        };
        for start in 0..MAX_OPEN as u64 {
            assert!(get(start));
            assert!(!get(0), "in use all the time");
        }
        assert!(get(99));
        assert!(!get(0) && !get(2));
        assert!(get(1), "the one not used for the longest time was closed");
        open.forget(FileId { start: 0 });
        assert_eq!(open.0.len(), MAX_OPEN - 1);
    }
}
