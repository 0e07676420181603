//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Ending of a file that is being written.
pub(super) const PART: &str = ".part";
/// Short frames go to the system together.
const BUFFER: usize = 64 << 10;

/// What new files are made on: the system's files, or in tests something that
/// is full or slow.
pub(super) trait Medium: Send + 'static {
    /// A file being written.
    type File: Write;
    /// Makes a new file. Follows no link.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    /// Waits until all of it is on the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
}

/// The system's files.
#[derive(Debug)]
pub(super) struct System;

impl Medium for System {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        File::create_new(path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// Writes a file and moves it to its place. If that fails, nothing is left.
pub(super) fn write_whole<B: AsRef<[u8]>>(
    medium: &impl Medium,
    path: &Path,
    pieces: &[B],
) -> io::Result<()> {
    let part = part_of(path);
    remove(&part)?;
    let placed = write(medium, &part, pieces).and_then(|()| fs::rename(&part, path));
    placed.inspect_err(|_| drop(fs::remove_file(&part)))?;
    // Makes the move last through a power cut.
    sync_folder(path).inspect_err(|_| drop(fs::remove_file(path)))
}

/// Removes a file, or what a link is, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Makes what was made, moved and removed beside this path last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Where a file is written before it is moved to its place.
pub(super) fn part_of(path: &Path) -> PathBuf {
    let mut part = OsString::from(path);
    part.push(PART);
    part.into()
}

fn write<B: AsRef<[u8]>>(medium: &impl Medium, path: &Path, pieces: &[B]) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(BUFFER, medium.create(path)?);
    pieces.iter().try_for_each(|piece| writer.write_all(piece.as_ref()))?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    medium.sync(&file)
}
