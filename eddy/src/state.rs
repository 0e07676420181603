//! What a node keeps on disk: provider keys, pinned keys, the sequence numbers
//! used, and what was last known of a channel.
//!
//! ```text
//! DIR/keys/PROVIDER.key                the provider's secret, readable by its owner only
//! DIR/pins/CHANNEL.key                 the public key first seen for a channel
//! DIR/sequences/PROVIDER_CHANNEL.json  how far sequence numbers may have been used
//! DIR/channels/CHANNEL.json            the channel's description and its last members
//! ```
//!
//! Every file is written beside its place, synced, and moved there, so a crash
//! leaves the old one or the new one, and several nodes can share a folder.
//! One provider's channel must be sent by one process at a time: its sequence
//! numbers would clash.

mod files;
mod records;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use eddy_core::stream::channel::{Channel, Name};
use eddy_core::stream::sign::{PublicKey, Signer};
use eddy_core::wire::message::Member;
use eddy_core::{Seq, Time};

use self::files::{Access, create_once, read, replace, tolerant, warn_if_open, write_beside};
use self::records::{ChannelRecord, Mark, MemberRecord, Memory, hex, unhex};
use crate::url::file_name;

/// Time between two writes of the sequence mark.
const MARK_INTERVAL: Duration = Duration::from_secs(2);
/// How far the mark is ahead of what was used. After a crash the stream jumps
/// ahead by as much as is left of it, so it is short.
const MARK_AHEAD: Duration = Duration::from_secs(3);

/// The state folder.
#[derive(Clone, Debug)]
pub struct State {
    dir: PathBuf,
}

/// What came of pinning a channel's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// It is the first key seen for the name; tell the user.
    New,
    /// It is the one seen before.
    Known,
}

/// Why state could not be kept.
#[derive(Debug)]
pub enum StateError {
    /// The folder cannot be made or written to.
    Folder(PathBuf, io::Error),
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// A file cannot be written.
    Write(PathBuf, io::Error),
    /// A file does not hold 64 hexadecimal digits that make a key.
    NotAKey(PathBuf),
    /// The channel's name is pinned to another key.
    OtherKey {
        /// The channel's name.
        channel: String,
        /// The key first seen.
        pinned: PublicKey,
        /// The key seen now.
        seen: PublicKey,
        /// What keeps the key first seen.
        kept: Vec<PathBuf>,
    },
    /// Another process sends this channel.
    InUse(PathBuf),
    /// The system has no random numbers.
    Entropy(getrandom::Error),
}

/// The right to send a channel, as long as this is kept.
#[derive(Debug)]
pub struct Claim {
    _locked: fs::File,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path, e) => {
                write!(f, "cannot use the state folder {}: {e}", path.display())
            }
            Self::Read(path, e) => write!(f, "cannot read {}: {e}", path.display()),
            Self::Write(path, e) => write!(f, "cannot write {}: {e}", path.display()),
            Self::InUse(path) => {
                write!(f, "another process sends this channel: it holds {}", path.display())
            }
            Self::NotAKey(path) => {
                write!(f, "{} does not hold a key of 64 hexadecimal digits", path.display())
            }
            Self::OtherKey { channel, pinned, seen, .. } => {
                write!(f, "the channel {channel} has the key {seen}, but {pinned} was seen before")
            }
            Self::Entropy(e) => write!(f, "the system gives no random numbers: {e}"),
        }
    }
}

impl std::error::Error for StateError {}

impl StateError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Folder(_, e) | Self::Read(_, e) | Self::Write(_, e) => match e.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "allow this user to read and write it, or give another folder with --state DIR"
                        .into()
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "make room on that disk, or give a folder on another one with --state DIR"
                        .into()
                }
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                    "a file stands where a folder should be: give another folder with --state DIR"
                        .into()
                }
                io::ErrorKind::InvalidFilename => {
                    "give shorter names with --channel and --provider-name".into()
                }
                _ => "check the disk, or give another folder with --state DIR".into(),
            },
            Self::NotAKey(_) => {
                "restore it from a backup, or delete it: a new provider key is a new channel \
                 to everybody, a new pin trusts the next key seen"
                    .into()
            }
            Self::OtherKey { kept, .. } => format!(
                "somebody may be posing as the provider; if the new key is right, delete {}",
                listed(kept)
            ),
            Self::InUse(_) => "stop the other one, or give this one another --channel".into(),
            Self::Entropy(_) => "run it on a system with a random number generator".into(),
        }
    }
}

/// Paths, for a hint.
pub fn listed(paths: &[PathBuf]) -> String {
    let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    all.join(" and ")
}

impl State {
    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// [`StateError::Folder`] if it cannot be made or written to.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let usable = || {
            for sub in ["keys", "pins", "sequences", "channels"] {
                fs::create_dir_all(dir.join(sub))?;
            }
            let probe = dir.join("probe");
            let temporary = write_beside(&probe, b"", Access::Owner)?;
            fs::remove_file(temporary)
        };
        usable().map_err(|e| StateError::Folder(dir.into(), e))?;
        Ok(Self { dir: dir.into() })
    }

    /// The provider's key, made when it is first asked for and never
    /// overwritten.
    ///
    /// # Errors
    /// [`StateError`] if it cannot be read or made, or is not a key.
    pub fn signer(&self, provider: &Name) -> Result<Signer, StateError> {
        let path = self.path("keys", provider, "key");
        let text = match read(&path)? {
            Some(text) => text,
            None => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(StateError::Entropy)?;
                create_once(&path, &(hex(&secret) + "\n"), Access::Owner)?
            }
        };
        warn_if_open(&path);
        let secret = unhex(text.trim()).ok_or(StateError::NotAKey(path))?;
        Ok(Signer::from_secret(&secret))
    }

    /// The key pinned for a channel's name, if any.
    ///
    /// # Errors
    /// [`StateError`] if the pin cannot be read or is not a key.
    pub fn pinned(&self, channel: &Name) -> Result<Option<PublicKey>, StateError> {
        let path = self.pin_path(channel);
        read(&path)?.map(|text| public_key(&text, &path)).transpose()
    }

    fn pin_path(&self, channel: &Name) -> PathBuf {
        self.path("pins", channel, "key")
    }

    fn memory_path(&self, channel: &Name) -> PathBuf {
        self.path("channels", channel, "json")
    }

    /// The files that keep a key for a channel's name: without them the next one seen
    /// is trusted.
    pub fn keeps_key(&self, channel: &Name) -> Vec<PathBuf> {
        let all = [self.pin_path(channel), self.memory_path(channel)];
        all.into_iter().filter(|path| path.exists()).collect()
    }

    /// Pins the first key seen for a channel's name.
    ///
    /// # Errors
    /// [`StateError::OtherKey`] if another one is pinned; others if the pin
    /// cannot be read or written.
    pub fn pin(&self, channel: &Name, seen: PublicKey) -> Result<Pin, StateError> {
        let path = self.pin_path(channel);
        let (text, pin) = match read(&path)? {
            Some(text) => (text, Pin::Known),
            None => (create_once(&path, &format!("{seen}\n"), Access::Everybody)?, Pin::New),
        };
        let pinned = public_key(&text, &path)?;
        if pinned != seen {
            let (channel, kept) = (channel.to_string(), self.keeps_key(channel));
            return Err(StateError::OtherKey { channel, pinned, seen, kept });
        }
        Ok(pin)
    }

    /// What was last known of a channel. A file that makes no sense is ignored
    /// with a warning: it only saves time.
    pub fn known(&self, channel: &Name) -> Option<(Channel, Vec<Member>)> {
        let memory: Memory = tolerant(&self.memory_path(channel))?;
        let known = memory.channel.into_channel()?;
        let members = memory.members.into_iter().filter_map(MemberRecord::into_member).collect();
        // On some file systems two names are one file.
        (known.name() == channel).then_some((known, members))
    }

    /// Keeps a channel's description and its members for the next start.
    ///
    /// # Errors
    /// [`StateError::Write`] if the file cannot be written.
    pub fn remember(&self, channel: &Channel, members: &[Member]) -> Result<(), StateError> {
        let memory = Memory {
            channel: ChannelRecord::from(channel),
            members: members.iter().map(MemberRecord::from).collect(),
        };
        replace(&self.memory_path(channel.name()), &memory)
    }

    /// The mark of the sequence numbers used in a channel.
    pub fn sequence(&self, channel: &Channel) -> SequenceMark {
        let path = self.of_channel(channel, ".json");
        let mark: Option<Mark> = tolerant(&path);
        SequenceMark {
            path,
            channel: channel.clone(),
            kept: mark.map(|mark| Time::from_micros(mark.stream_time_us)),
        }
    }

    /// Claims a channel for this process: two that number the same channel's
    /// blocks would send two streams under one signature.
    ///
    /// # Errors
    /// [`StateError::InUse`] if another process has it.
    pub fn claim(&self, channel: &Channel) -> Result<Claim, StateError> {
        let path = self.of_channel(channel, ".lock");
        let file = fs::File::create(&path).map_err(|e| StateError::Write(path.clone(), e))?;
        match file.try_lock() {
            Ok(()) => Ok(Claim { _locked: file }),
            Err(fs::TryLockError::WouldBlock) => Err(StateError::InUse(path)),
            Err(fs::TryLockError::Error(e)) => Err(StateError::Write(path, e)),
        }
    }

    fn of_channel(&self, channel: &Channel, ending: &str) -> PathBuf {
        let name = format!("{}_{}", file_name(channel.provider()), file_name(channel.name()));
        self.dir.join("sequences").join(name + ending)
    }

    fn path(&self, folder: &str, name: &Name, extension: &str) -> PathBuf {
        self.dir.join(folder).join(format!("{}.{extension}", file_name(name)))
    }
}

/// A restarted provider goes on above its last sequence number, even if its
/// clock went back. The number is reserved ahead and kept as stream time, so
/// that it holds whatever the block duration is the next time.
#[derive(Debug)]
pub struct SequenceMark {
    path: PathBuf,
    channel: Channel,
    kept: Option<Time>,
}

impl SequenceMark {
    /// The highest sequence number that may have been used; go on above it.
    pub fn last(&self) -> Option<Seq> {
        // The mark is the end of the last slot.
        let end = self.kept?.as_micros().checked_sub(1)?;
        Some(self.channel.seq_at(Time::from_micros(end)))
    }

    /// Takes note that this number is used. Writes, and syncs, about every
    /// two seconds of stream time; call it at least once a second.
    ///
    /// # Errors
    /// [`StateError::Write`] if the file cannot be written; the next call
    /// tries again.
    pub fn used(&mut self, seq: Seq) -> Result<(), StateError> {
        let end = self.channel.slot_end(seq);
        let enough = end + (MARK_AHEAD - MARK_INTERVAL);
        if self.kept.is_some_and(|kept| kept >= enough) {
            return Ok(());
        }
        self.keep(end + MARK_AHEAD)
    }

    /// Gives back what was reserved ahead: no number above this one was used.
    ///
    /// # Errors
    /// [`StateError::Write`] if the file cannot be written.
    pub fn release(mut self, last: Seq) -> Result<(), StateError> {
        self.keep(self.channel.slot_end(last))
    }

    fn keep(&mut self, end: Time) -> Result<(), StateError> {
        replace(&self.path, &Mark { stream_time_us: end.as_micros() })?;
        self.kept = Some(end);
        Ok(())
    }
}

fn public_key(text: &str, path: &Path) -> Result<PublicKey, StateError> {
    text.trim().parse().map_err(|_| StateError::NotAKey(path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eddy_core::NodeId;
    use eddy_core::stream::channel::ChannelSpec;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A folder that is removed in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("eddy-state-{}-{number}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn open(&self) -> State {
            State::open(&self.0).unwrap()
        }

        /// Names of all files, without their folders.
        fn files(&self) -> Vec<String> {
            let mut names: Vec<_> = ["keys", "pins", "sequences", "channels"]
                .iter()
                .flat_map(|sub| fs::read_dir(self.0.join(sub)).unwrap())
                .chain(fs::read_dir(&self.0).unwrap())
                .map(|entry| entry.unwrap())
                .filter(|entry| entry.file_type().unwrap().is_file())
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn name(s: &str) -> Name {
        Name::new(s).unwrap()
    }

    fn key(n: u8) -> PublicKey {
        Signer::from_secret(&[n; 32]).public()
    }

    fn channel(block_ms: u64) -> Channel {
        named("NCTU", "News 24", block_ms)
    }

    fn named(provider: &str, channel: &str, block_ms: u64) -> Channel {
        Channel::new(ChannelSpec {
            provider: name(provider),
            name: name(channel),
            description: "a test".into(),
            block: Duration::from_millis(block_ms),
            sub_streams: 8,
            file: Duration::from_secs(10),
            key: key(7),
        })
        .unwrap()
    }

    #[test]
    fn a_provider_keeps_its_key() {
        let folder = Folder::new();
        let first = folder.open().signer(&name("NCTU")).unwrap().public();
        assert_eq!(folder.open().signer(&name("NCTU")).unwrap().public(), first);
        assert_ne!(folder.open().signer(&name("Other")).unwrap().public(), first);
        assert_eq!(folder.files(), ["NCTU.key", "Other.key"], "no temporary file stays");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_a_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = Folder::new();
        folder.open().signer(&name("NCTU")).unwrap();
        let mode = fs::metadata(folder.0.join("keys/NCTU.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn many_at_once_agree_on_one_key() {
        let folder = Folder::new();
        let state = folder.open();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let ask = || state.signer(&name("NCTU")).unwrap().public();
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|k| *k == keys[0]));
        assert_eq!(folder.files(), ["NCTU.key"]);
    }

    #[test]
    fn a_bad_key_file_is_named_and_left_alone() {
        let folder = Folder::new();
        let state = folder.open();
        let path = folder.0.join("keys/NCTU.key");
        for bad in ["", "nonsense", "+1".repeat(32).as_str(), "é".repeat(32).as_str()] {
            fs::write(&path, bad).unwrap();
            let error = state.signer(&name("NCTU")).unwrap_err();
            assert!(matches!(error, StateError::NotAKey(ref p) if *p == path), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = state.signer(&name("NCTU")).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot read ") && error.to_string().contains("NCTU.key")
        );
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let folder = Folder::new();
        fs::write(&folder.0, "a file").unwrap();
        let error = State::open(&folder.0.join("eddy")).unwrap_err();
        fs::remove_file(&folder.0).unwrap();
        assert!(error.to_string().starts_with("cannot use the state folder "), "{error}");
        assert!(error.hint().contains("a file stands where a folder should be"));
    }

    #[test]
    fn a_hint_fits_its_cause() {
        let hint = |kind: io::ErrorKind| StateError::Write("x".into(), kind.into()).hint();
        assert!(hint(io::ErrorKind::PermissionDenied).contains("allow this user"));
        assert!(hint(io::ErrorKind::StorageFull).contains("make room"));

        // Each is allowed, but percent-encoded they are 385 characters.
        let (folder, long) = (Folder::new(), "é".repeat(32));
        let error = folder.open().claim(&named(&long, &long, 40)).unwrap_err();
        assert_eq!(error.hint(), "give shorter names with --channel and --provider-name");
    }

    #[test]
    fn the_first_key_seen_is_pinned() {
        let folder = Folder::new();
        let (state, news) = (folder.open(), name("News"));
        assert_eq!(state.pinned(&news).unwrap(), None);
        assert_eq!(state.pin(&news, key(1)).unwrap(), Pin::New);
        assert_eq!(state.pin(&news, key(1)).unwrap(), Pin::Known);
        assert_eq!(folder.open().pinned(&news).unwrap(), Some(key(1)));
        let error = state.pin(&news, key(2)).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(&key(1).to_string()) && said.contains(&key(2).to_string()), "{said}");
        assert!(error.hint().contains("News.key"));
        assert_eq!(state.pinned(&news).unwrap(), Some(key(1)), "the pin stays");
        assert_eq!(state.pin(&name("Sport"), key(2)).unwrap(), Pin::New);
    }

    #[test]
    fn who_deletes_what_the_hint_names_trusts_the_next_key() {
        let folder = Folder::new();
        let (state, channel) = (folder.open(), channel(40));
        let name = channel.name();
        state.pin(name, channel.key()).unwrap();
        state.remember(&channel, &[]).unwrap();
        let hint = state.pin(name, key(2)).unwrap_err().hint();
        for file in state.keeps_key(name) {
            assert!(hint.contains(&file.display().to_string()), "{hint}");
            fs::remove_file(file).unwrap();
        }
        assert_eq!(state.pinned(name).unwrap(), None);
        assert!(state.known(name).is_none(), "it would be joined with the old key");
        assert_eq!(state.pin(name, key(2)).unwrap(), Pin::New);
    }

    #[test]
    fn a_pin_that_makes_no_sense_is_no_free_pass() {
        let folder = Folder::new();
        let state = folder.open();
        fs::write(folder.0.join("pins/News.key"), "garbage").unwrap();
        assert!(matches!(state.pinned(&name("News")), Err(StateError::NotAKey(_))));
        assert!(matches!(state.pin(&name("News"), key(1)), Err(StateError::NotAKey(_))));
    }

    #[test]
    fn members_are_remembered() {
        let folder = Folder::new();
        let channel = channel(40);
        let member = |n: u8, addr: &str| Member {
            node: NodeId([n; 16]),
            addr: addr.parse().unwrap(),
            connectable: n == 1,
            provider: n == 2,
            age: 7,
        };
        let members = vec![member(1, "10.0.0.1:7000"), member(2, "[fe80::1]:7001")];
        assert_eq!(folder.open().known(channel.name()), None);
        folder.open().remember(&channel, &members).unwrap();
        assert_eq!(folder.open().known(channel.name()), Some((channel.clone(), members)));
        folder.open().remember(&channel, &[]).unwrap();
        assert_eq!(folder.open().known(channel.name()), Some((channel, vec![])));
        assert_eq!(folder.files(), ["News%2024.json"]);
    }

    #[test]
    fn a_memory_that_makes_no_sense_is_ignored() {
        let folder = Folder::new();
        let (state, channel) = (folder.open(), channel(40));
        state.remember(&channel, &[]).unwrap();
        let path = folder.0.join("channels/News%2024.json");
        let good = fs::read_to_string(&path).unwrap();
        for bad in [&good[..good.len() / 2], "", "[]", "\u{0}", &good.replace(":40,", ":41,")] {
            fs::write(&path, bad).unwrap();
            assert_eq!(state.known(channel.name()), None, "{bad:?}");
        }
        fs::write(&path, good).unwrap();
        assert!(state.known(channel.name()).is_some());
    }

    #[test]
    fn a_crashed_provider_goes_on_above_every_number_it_used() {
        let folder = Folder::new();
        let (state, channel) = (folder.open(), channel(40));
        assert_eq!(state.sequence(&channel).last(), None);
        let first = channel.seq_at(Time::from_millis(1_800_000_000_000));
        let mut mark = state.sequence(&channel);
        let path = folder.0.join("sequences/NCTU_News%2024.json");
        let (mut writes, mut before) = (0, String::new());
        for n in 0..25 * 60 {
            let seq = first.plus(n);
            mark.used(seq).unwrap();
            let now = fs::read_to_string(&path).unwrap();
            writes += usize::from(now != before);
            before = now;
            let kept = state.sequence(&channel).last().unwrap();
            assert!(kept > seq && kept <= seq.plus(3 * 25), "{kept:?} after {seq:?}");
        }
        assert_eq!(writes, 30, "one in two seconds");
    }

    #[test]
    fn a_provider_that_stops_in_order_gives_numbers_back() {
        let folder = Folder::new();
        let (state, channel) = (folder.open(), channel(40));
        let mut mark = state.sequence(&channel);
        mark.used(Seq(1_000)).unwrap();
        mark.used(Seq(1_003)).unwrap();
        mark.release(Seq(1_003)).unwrap();
        assert_eq!(state.sequence(&channel).last(), Some(Seq(1_003)));
    }

    #[test]
    fn the_mark_holds_for_another_block_duration() {
        let folder = Folder::new();
        let state = folder.open();
        let mark = state.sequence(&channel(40));
        mark.release(Seq(1_000)).unwrap();
        // 40 ms slot 1000 ends at 40.04 s: slot 2001 of 20 ms, slot 40 of 1 s.
        assert_eq!(state.sequence(&channel(20)).last(), Some(Seq(2_001)));
        assert_eq!(state.sequence(&channel(1_000)).last(), Some(Seq(40)));
    }

    #[test]
    fn a_channel_is_claimed_by_one_at_a_time() {
        let folder = Folder::new();
        let state = folder.open();
        let channel = channel(40);
        let claim = state.claim(&channel).unwrap();
        let refused = state.claim(&channel).unwrap_err();
        assert!(refused.to_string().starts_with("another process sends this channel"));
        drop(claim);
        assert!(state.claim(&channel).is_ok());
    }

    #[test]
    fn a_mark_that_makes_no_sense_is_ignored() {
        let folder = Folder::new();
        let state = folder.open();
        fs::write(folder.0.join("sequences/NCTU_News%2024.json"), "{").unwrap();
        let mut mark = state.sequence(&channel(40));
        assert_eq!(mark.last(), None);
        mark.used(Seq(5)).unwrap();
        assert!(state.sequence(&channel(40)).last() >= Some(Seq(5)));
    }
}
