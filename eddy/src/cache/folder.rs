//! The folder of a cache: whose it is, and what is in it.

use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use eddy_core::stream::channel::Channel;
use eddy_core::stream::file::{FileId, FileName};
use nix::libc::O_NOFOLLOW;
use tracing::{info, warn};

use crate::cache::index::{Index, ReadError};
use crate::cache::write::{PART, System, sync_folder, write_whole};
use crate::cache::{CacheError, Found};

/// What the folder says of itself.
const VERSION: &str = "eddy cache 1\n";
/// The file that says so.
const VERSION_FILE: &str = "VERSION";
/// The file that is locked as long as the folder is in use.
const LOCK_FILE: &str = "LOCK";
/// What may stand in the folder of a cache whose making was cut short, or in
/// one that is a disk of its own.
const HARMLESS: [&str; 3] = [LOCK_FILE, "VERSION.part", "lost+found"];
/// Longest name of a file on the usual file systems, in bytes.
const MAX_NAME: usize = 255;

/// A channel's files, for this program alone.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    channel: Channel,
    locked: File,
}

impl Folder {
    /// Opens a channel's folder in that of the cache, and makes what is
    /// missing. What is not a cache of this version is not touched.
    pub(super) fn open(root: &Path, channel: &Channel) -> Result<Self, CacheError> {
        // All names of a channel's files are equally long.
        let name = FileName::new(channel, FileId { start: 0 }).map(|name| name.to_string());
        if name.is_none_or(|name| name.len() + PART.len() > MAX_NAME) {
            return Err(CacheError::Names);
        }
        let failed = |e| CacheError::Folder(root.into(), e);
        fs::create_dir_all(root).map_err(failed)?;
        is_cache(root)?;
        let locked = lock(&root.join(LOCK_FILE))?;
        // Another program may have made it meanwhile.
        if !is_cache(root)? {
            write_whole(&System, &root.join(VERSION_FILE), &[VERSION]).map_err(failed)?;
        }
        let digits = channel.id().0.into_iter().take(8).map(|byte| format!("{byte:02x}"));
        let dir = root.join(digits.collect::<String>());
        make(&dir).map_err(|e| CacheError::Folder(dir.clone(), e))?;
        Ok(Self { dir, channel: channel.clone(), locked })
    }

    /// Whose files they are.
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Where a file is, or would be; `None` if no file of the channel begins
    /// there.
    pub(super) fn path(&self, file: FileId) -> Option<PathBuf> {
        Some(self.dir.join(FileName::new(&self.channel, file)?.to_string()))
    }

    /// The files that are there and whole, oldest first. Deletes those that
    /// are not, and what a crash left of one. What else is there stays.
    pub(super) fn scan(&self) -> Result<Vec<Found>, CacheError> {
        let failed = |e| CacheError::Folder(self.dir.clone(), e);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            found.extend(self.judge(&entry).map_err(failed)?);
        }
        found.sort_unstable_by_key(|found| found.file);
        Ok(found)
    }

    fn judge(&self, entry: &DirEntry) -> io::Result<Option<Found>> {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let (stem, is_part) = name.strip_suffix(PART).map_or((name, false), |stem| (stem, true));
        // Of a link this is the link's own type.
        let is_file = entry.file_type()?.is_file();
        let Some(named) = stem.parse::<FileName>().ok().filter(|_| is_file) else {
            warn!(file = %path.display(), "this is none of the cache's files, it is ignored");
            return Ok(None);
        };
        if is_part {
            info!(file = %path.display(), "was never written to its end, it is deleted");
            fs::remove_file(&path)?;
            return Ok(None);
        }
        if named.provider() != self.channel.provider() || named.channel() != self.channel.name() {
            warn!(file = %path.display(), "this is another provider's file, it is ignored");
            return Ok(None);
        }
        let Some(file) = named.file(&self.channel) else {
            info!(file = %path.display(), "the channel has other files now, it is deleted");
            fs::remove_file(&path)?;
            return Ok(None);
        };
        match Index::open(&path, &self.channel, file) {
            Ok(index) => Ok(Some(Found { file, bytes: index.bytes(), blocks: index.blocks() })),
            Err(ReadError::Damaged(e)) => {
                warn!(file = %path.display(), error = %e, "is damaged, it is deleted");
                fs::remove_file(&path)?;
                Ok(None)
            }
            Err(ReadError::System(e)) => {
                warn!(file = %path.display(), error = %e, "cannot be read, it is ignored");
                Ok(None)
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // To close it is not enough: a child process that is just being made
        // may have it open, too.
        if let Err(e) = self.locked.unlock() {
            warn!(error = %e, "cannot unlock the cache");
        }
    }
}

/// Whether this folder is a cache of this version; if not, it is as good as
/// empty.
fn is_cache(root: &Path) -> Result<bool, CacheError> {
    // Before it is read, so that nothing that another program makes meanwhile
    // is taken for something else.
    let other = other_thing(root).map_err(|e| CacheError::Folder(root.into(), e))?;
    let path = root.join(VERSION_FILE);
    let mut version = Vec::new();
    let read = OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW)
        .open(&path)
        .and_then(|file| file.take(100).read_to_end(&mut version));
    match read {
        Ok(_) if version == VERSION.as_bytes() => Ok(true),
        Ok(_) => {
            let version = String::from_utf8_lossy(&version).trim_end().into();
            Err(CacheError::Version { dir: root.into(), version })
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            other.map_or(Ok(false), |path| Err(CacheError::Foreign(path)))
        }
        Err(e) => Err(CacheError::Folder(path, e)),
    }
}

/// Something that would not stand in a cache that is still to be made.
fn other_thing(root: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !HARMLESS.iter().any(|name| entry.file_name() == *name) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn lock(path: &Path) -> Result<File, CacheError> {
    let failed = |e| CacheError::Folder(path.into(), e);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).custom_flags(O_NOFOLLOW);
    let file = options.open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CacheError::InUse(path.into())),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Makes a folder where there is none. A link to one is none.
fn make(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => sync_folder(dir),
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        Err(_) if fs::symlink_metadata(dir)?.is_dir() => Ok(()),
        Err(_) => Err(io::ErrorKind::NotADirectory.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::fixture::{FILE, NEXT, Temporary, channel, frames, spec};
    use eddy_core::stream::channel::{ChannelSpec, Name};
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    const NAME: &str = "NCTU_News 24_20100620182520";

    fn open(root: &Temporary) -> Result<Folder, CacheError> {
        Folder::open(root.path(), &channel())
    }

    /// A cache with two files, closed.
    fn filled() -> (Temporary, PathBuf) {
        let root = Temporary::new();
        let folder = open(&root).unwrap();
        for file in [NEXT, FILE] {
            fs::write(folder.path(file).unwrap(), frames(file).concat()).unwrap();
        }
        let dir = folder.dir.clone();
        (root, dir)
    }

    fn found(root: &Temporary) -> Vec<FileId> {
        open(root).unwrap().scan().unwrap().iter().map(|found| found.file).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Everything in a folder of files.
    fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let read = |name: String| (name.clone(), fs::read(dir.join(name)).unwrap());
        names(dir).into_iter().map(read).collect()
    }

    #[test]
    fn a_missing_folder_is_made() {
        let root = Temporary::new();
        let dir = root.path().join("a/b");
        let folder = Folder::open(&dir, &channel()).unwrap();
        assert_eq!(folder.scan().unwrap(), []);
        let id: String = channel().id().0[..8].iter().map(|b| format!("{b:02x}")).collect();
        let mut expected = ["LOCK".into(), "VERSION".into(), id];
        expected.sort();
        assert_eq!(names(&dir), expected);
        assert_eq!(fs::read_to_string(dir.join("VERSION")).unwrap(), "eddy cache 1\n");
    }

    #[test]
    fn files_are_found_again_oldest_first() {
        let (root, dir) = filled();
        assert_eq!(names(&dir), [NAME, "NCTU_News 24_20100620182522"]);
        let bytes = frames(FILE).concat().len() as u64;
        let expected = [FILE, NEXT].map(|file| Found { file, bytes, blocks: 10 });
        assert_eq!(open(&root).unwrap().scan().unwrap(), expected);
    }

    #[test]
    fn channels_keep_apart() {
        let (root, dir) = filled();
        let name = Name::new("Sport").unwrap();
        let other = Channel::new(ChannelSpec { name, ..spec() }).unwrap();
        let folder = Folder::open(root.path(), &other).unwrap();
        assert_eq!(folder.scan().unwrap(), []);
        assert_ne!(folder.dir, dir);
        drop(folder);
        assert_eq!(found(&root), [FILE, NEXT]);
    }

    #[test]
    fn what_a_crash_left_is_deleted() {
        let (root, dir) = filled();
        let part = dir.join(format!("{NAME}.part"));
        for left in [&[][..], &frames(FILE)[0], &frames(FILE).concat()] {
            fs::write(&part, left).unwrap();
            assert_eq!(found(&root), [FILE, NEXT]);
            assert!(!part.exists());
        }
    }

    #[test]
    fn a_cache_whose_making_was_cut_short_is_made_again() {
        for left in [&["LOCK"][..], &["LOCK", "VERSION.part"], &["lost+found"]] {
            let root = Temporary::new();
            left.iter().for_each(|name| fs::write(root.path().join(name), "eddy").unwrap());
            open(&root).unwrap();
            assert!(is_cache(root.path()).unwrap());
            assert!(!root.path().join("VERSION.part").exists());
        }
    }

    #[test]
    fn a_damaged_file_is_deleted() {
        let whole = frames(FILE).concat();
        let spoilt = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        let damaged = [
            Vec::new(),
            whole[..1].to_vec(),
            whole[..77].to_vec(),
            whole[..whole.len() - 1].to_vec(),
            [&whole[..], &[0]].concat(),
            [&whole[..], &frames(NEXT)[0]].concat(),
            frames(NEXT).concat(),
            frames(FILE)[1..].concat(),
            spoilt(0),
            spoilt(4),
            spoilt(12),
            vec![0; 5_000],
        ];
        for bytes in damaged {
            let (root, dir) = filled();
            fs::write(dir.join(NAME), &bytes).unwrap();
            assert_eq!(found(&root), [NEXT], "{} bytes", bytes.len());
            assert_eq!(names(&dir).len(), 1, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn files_of_another_length_are_deleted() {
        for (block, file, left) in [(200, 3, 0), (100, 2, 0), (200, 2, 2)] {
            let (root, dir) = filled();
            let (block, file) = (Duration::from_millis(block), Duration::from_secs(file));
            let changed = Channel::new(ChannelSpec { block, file, ..spec() }).unwrap();
            let folder = Folder::open(root.path(), &changed).unwrap();
            assert_eq!(folder.scan().unwrap().len(), left);
            assert_eq!(names(&dir).len(), left);
        }
    }

    #[test]
    fn another_version_is_refused_and_not_touched() {
        for version in ["eddy cache 2\n", "", "eddy cache 1", "eddy cache 1\n\n", "\u{fffd}"] {
            let root = Temporary::new();
            fs::write(root.path().join("VERSION"), version).unwrap();
            fs::write(root.path().join("something"), "of it").unwrap();
            let before = content(root.path());
            let error = open(&root).unwrap_err();
            assert!(matches!(error, CacheError::Version { .. }), "{version:?}: {error}");
            assert!(error.to_string().contains(&format!("{:?}", version.trim_end())), "{error}");
            assert!(error.hint().contains("--cache DIR"));
            assert_eq!(content(root.path()), before);
        }
    }

    #[test]
    fn a_folder_of_other_things_is_refused_and_not_touched() {
        let root = Temporary::new();
        fs::write(root.path().join("thesis.txt"), "all of it").unwrap();
        let error = open(&root).unwrap_err();
        assert!(error.to_string().contains("thesis.txt"), "{error}");
        assert_eq!(error.hint(), "give an empty folder, or a new one, with --cache DIR");
        assert_eq!(names(root.path()), ["thesis.txt"]);
        let error = Folder::open(&root.path().join("thesis.txt"), &channel()).unwrap_err();
        assert!(error.hint().starts_with("something else stands where a folder should be"));
    }

    #[test]
    fn two_programs_never_share_a_cache() {
        let root = Temporary::new();
        let first = open(&root).unwrap();
        let error = open(&root).unwrap_err();
        assert!(matches!(&error, CacheError::InUse(path) if path.ends_with("LOCK")), "{error}");
        assert!(error.hint().starts_with("stop the other one"));
        drop(first);
        open(&root).unwrap();
    }

    #[test]
    fn of_many_that_begin_at_once_one_gets_the_cache() {
        for _ in 0..50 {
            let root = Temporary::new();
            let opened: Vec<_> = std::thread::scope(|scope| {
                let opening: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&root))).collect();
                opening.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(opened.iter().filter(|result| result.is_ok()).count(), 1);
            for result in opened {
                assert!(matches!(result, Ok(_) | Err(CacheError::InUse(_))), "{result:?}");
            }
        }
    }

    #[test]
    fn what_is_not_the_caches_is_neither_read_nor_deleted() {
        let (root, dir) = filled();
        let outside = Temporary::new();
        let target = outside.path().join("target");
        fs::write(&target, frames(FileId { start: 0 }).concat()).unwrap();
        let others = [
            "NCTU_News 24_19700101000000",
            "NCTU_News 24_19700101000000.part",
            "notes.txt",
            "notes.part",
            "CCTV_News 24_20100620182520",
            "NCTU_Sport_20100620182520",
            "NCTU_News 24_20100620182524",
            "NCTU_News 24_20100620182526",
        ];
        symlink(&target, dir.join(others[0])).unwrap();
        symlink(&target, dir.join(others[1])).unwrap();
        for name in &others[2..6] {
            fs::write(dir.join(name), "kept").unwrap();
        }
        fs::create_dir(dir.join(others[6])).unwrap();
        let _socket = UnixListener::bind(dir.join(others[7])).unwrap();
        assert_eq!(found(&root), [FILE, NEXT]);
        for name in others {
            assert!(fs::symlink_metadata(dir.join(name)).is_ok(), "{name} is still there");
        }
        assert!(target.exists());
    }

    #[test]
    fn links_out_of_the_cache_are_not_followed() {
        let outside = Temporary::new();
        let (root, dir) = filled();
        fs::remove_dir_all(&dir).unwrap();
        symlink(outside.path(), &dir).unwrap();
        assert!(matches!(open(&root), Err(CacheError::Folder(path, _)) if path == dir));

        for name in ["LOCK", "VERSION"] {
            let root = Temporary::new();
            symlink(outside.path().join("made"), root.path().join(name)).unwrap();
            assert!(
                matches!(open(&root), Err(CacheError::Folder(path, _)) if path.ends_with(name))
            );
        }
        assert_eq!(names(outside.path()), [""; 0]);
    }

    #[test]
    fn a_name_too_long_for_a_file_is_refused() {
        let root = Temporary::new();
        let provider = Name::new(&"%".repeat(64)).unwrap();
        let with = |name: &str| {
            let name = Name::new(name).unwrap();
            let channel = ChannelSpec { provider: provider.clone(), name, ..spec() };
            Folder::open(root.path(), &Channel::new(channel).unwrap())
        };
        // 192 and 42 bytes, and 16 for the date, and ".part".
        let folder = with(&"%".repeat(14)).unwrap();
        write_whole(&System, &folder.path(FILE).unwrap(), &[""]).unwrap();
        drop(folder);
        assert!(matches!(with(&"%".repeat(15)), Err(CacheError::Names)));
    }
}
