//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::state::StateError;

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Owner,
    Everybody,
}

/// The file's text, or `None` if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(StateError::NotAKey(path.into())),
        Err(e) => Err(StateError::Read(path.into(), e)),
    }
}

pub(super) fn tolerant<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
        Err(e) => {
            warn!(file = %path.display(), error = %e, "cannot read what was remembered, going on without it");
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|e| {
            warn!(file = %path.display(), error = %e, "what was remembered makes no sense, going on without it");
        })
        .ok()
}

/// Puts a file in the place of the one that is there.
pub(super) fn replace(path: &Path, content: &impl Serialize) -> Result<(), StateError> {
    let write = || {
        let temporary = write_beside(path, &serde_json::to_vec(content)?, Access::Everybody)?;
        fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        sync_folder(path)
    };
    write().map_err(|e| StateError::Write(path.into(), e))
}

/// Puts a file where there is none, and gives what stands there in the end:
/// another process may have been faster.
pub(super) fn create_once(path: &Path, text: &str, access: Access) -> Result<String, StateError> {
    let write = || {
        let temporary = write_beside(path, text.as_bytes(), access)?;
        // Unlike a rename, a link never replaces.
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        match linked {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => sync_folder(path),
        }
    };
    write().map_err(|e| StateError::Write(path.into(), e))?;
    read(path)?.ok_or_else(|| StateError::Read(path.into(), io::ErrorKind::NotFound.into()))
}

/// Writes and syncs a new file in the folder of `path`.
pub(super) fn write_beside(path: &Path, bytes: &[u8], access: Access) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{number}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(if access == Access::Owner { 0o600 } else { 0o644 });
    }
    #[cfg(not(unix))]
    let _: Access = access;
    let mut file = options.open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    Ok(temporary)
}

/// Makes a rename last through a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

pub(super) fn warn_if_open(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let open = |m: fs::Metadata| m.permissions().mode() & 0o077 != 0;
        if fs::metadata(path).is_ok_and(open) {
            warn!(file = %path.display(), "others can read this secret key: chmod 600 it");
        }
    }
    #[cfg(not(unix))]
    let _: &Path = path;
}
