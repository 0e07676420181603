//! What the cache's tests share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::Seq;
use eddy_core::stream::block::Block;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::stream::file::FileId;
use eddy_core::stream::sign::{PublicKey, Signature};

/// 20 June 2010, 18:25:20.
pub(super) const FILE: FileId = FileId { start: 1_277_058_320 };
/// The one after it.
pub(super) const NEXT: FileId = FileId { start: FILE.start + 2 };

/// A folder that is removed in the end.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("eddy-cache-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Two seconds a file, ten blocks.
pub(super) fn channel() -> Channel {
    Channel::new(spec()).unwrap()
}

pub(super) fn spec() -> ChannelSpec {
    ChannelSpec {
        provider: Name::new("NCTU").unwrap(),
        name: Name::new("News 24").unwrap(),
        description: "a test".into(),
        block: Duration::from_millis(200),
        sub_streams: 8,
        file: Duration::from_secs(2),
        key: PublicKey([7; 32]),
    }
}

/// The frames of a file's blocks, each of another length.
pub(super) fn frames(file: FileId) -> Vec<Bytes> {
    let first = file.first(&channel()).0;
    let block = |n: u64| {
        let payload = vec![n as u8; n as usize * 100];
        Block::new(Seq(first + n), &Signature([n as u8; 64]), &payload).frame().clone()
    };
    (0..10).map(block).collect()
}
