//! Why a cache cannot be used, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a cache could not be opened.
#[derive(Debug)]
pub enum CacheError {
    /// The folder, or something in it, cannot be made, read or written.
    Folder(PathBuf, io::Error),
    /// It is a cache of another version of the program.
    Version {
        /// The folder.
        dir: PathBuf,
        /// What it calls itself.
        version: String,
    },
    /// The folder is not a cache: this stands in it.
    Foreign(PathBuf),
    /// Another program uses it: it holds this file.
    InUse(PathBuf),
    /// The names of provider and channel make no file name: it is too long.
    Names,
    /// The system gives no thread.
    Thread(io::Error),
}

impl CacheError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Folder(_, e) => match e.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "allow this user to read and write it, or give another folder with --cache DIR"
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room on that disk, or give a folder on another one with --cache DIR"
                }
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                    "something else stands where a folder should be: \
                     give another folder with --cache DIR"
                }
                _ => "check the disk, or give another folder with --cache DIR",
            }
            .into(),
            Self::Version { dir, .. } => format!(
                "give another folder with --cache DIR, or delete {}: what it holds is lost then",
                dir.display()
            ),
            Self::Foreign(_) => "give an empty folder, or a new one, with --cache DIR".into(),
            Self::InUse(_) => "stop the other one, or give another folder with --cache DIR".into(),
            Self::Names => {
                "keep nothing of this channel: a viewer with --cache none, a provider with --keep 0"
                    .into()
            }
            Self::Thread(_) => "close other programs".into(),
        }
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, e) => write!(f, "cannot use the cache at {}: {e}", path.display()),
            Self::Version { dir, version } => {
                write!(f, "{} is a cache of another version: it says {version:?}", dir.display())
            }
            Self::Foreign(path) => {
                write!(f, "this is not the folder of a cache: {} is in it", path.display())
            }
            Self::InUse(path) => {
                write!(f, "another program uses this cache: it holds {}", path.display())
            }
            Self::Names => {
                f.write_str("the names of provider and channel are too long for a file's name")
            }
            Self::Thread(e) => write!(f, "cannot start the cache: {e}"),
        }
    }
}

impl std::error::Error for CacheError {}
