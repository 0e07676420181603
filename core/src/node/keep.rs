//! The cache and the DHT of a node: files that are complete, what is to become
//! of them, who else has them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

#[cfg(feature = "ghost")]
use crate::cache::Owner;
use crate::cache::{Cache, CacheConfig, Effect, File, Population};
use crate::config::ConfigError;
use crate::dht::{self, Key, OpId, Pace};
use crate::event::{Action, DiskAnswer, DiskRequest, Kept, Notice, Warning};
use crate::id::{ChannelId, Seq};
use crate::node::{Node, Stream, Timer};
use crate::rng::Rng;
use crate::stream::block::Block;
use crate::stream::channel::Channel;
use crate::stream::file::FileId;
use crate::time::Time;

/// Files that may be under way, of which some blocks are here.
const MAX_TALLIES: usize = 64;
/// Reads in a row that come to nothing, before a file is taken for lost: one
/// alone may only show that the disk is busy.
const MAX_MISSES: u8 = 3;

/// What an operation of the DHT is for.
#[derive(Clone, Debug)]
pub(super) enum Use {
    /// To count a file's records.
    Count(File, Vec<SocketAddr>),
    /// To put our record there, or take it away.
    Publish(File),
    /// To find those who have a file that is to be played.
    Rewind(FileId),
}

/// What a node keeps of its channel's past, and what it does about it.
#[derive(Debug)]
pub(super) struct Keeper {
    cache: Cache,
    /// The disk has told what it holds.
    ready: bool,
    /// Bytes of each file on disk.
    files: BTreeMap<FileId, u64>,
    /// Of some of these, how many reads in a row came to nothing.
    misses: BTreeMap<FileId, u8>,
    /// The last lookup for each file, whose tokens may still be good.
    looked: BTreeMap<File, OpId>,
    id: ChannelId,
    /// The user knows that files are larger than the quota.
    warned: bool,
}

/// How many blocks of each file came in.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<FileId, u64>);

impl Tally {
    /// A block came in that was missing. Returns the file that it completes.
    pub(super) fn arrived(&mut self, channel: &Channel, seq: Seq) -> Option<FileId> {
        let file = FileId::of(channel, seq);
        if self.0.len() >= MAX_TALLIES && !self.0.contains_key(&file) {
            self.0.pop_first();
        }
        let count = self.0.entry(file).or_default();
        *count += 1;
        let whole = *count == FileId::blocks(channel);
        if whole {
            self.0.remove(&file);
        }
        whole.then_some(file)
    }
}

impl Keeper {
    pub(super) fn new(config: CacheConfig, id: ChannelId, rng: Rng) -> Result<Self, ConfigError> {
        Ok(Self {
            cache: Cache::new(config, rng)?,
            ready: false,
            files: BTreeMap::new(),
            misses: BTreeMap::new(),
            looked: BTreeMap::new(),
            id,
            warned: false,
        })
    }

    /// A file's length in bytes, if it is on disk.
    pub(super) fn bytes(&self, file: FileId) -> Option<u64> {
        self.files.get(&file).copied()
    }

    /// The first block after this one that is on disk.
    pub(super) fn next_after(&self, channel: &Channel, after: Seq) -> Option<Seq> {
        let next = FileId::of(channel, after).last(channel).plus(1);
        let file = self.files.range(FileId::of(channel, next)..).next();
        file.map(|(file, _)| file.first(channel))
    }

    /// Whether the cache still waits for this file to be fetched.
    pub(super) fn is_fetching(&self, file: FileId) -> bool {
        self.cache.is_fetching(self.named(file))
    }

    pub(super) fn fetch_failed(&mut self, now: Time, file: FileId) {
        let named = self.named(file);
        if self.cache.is_fetching(named) {
            self.cache.failed(now, named);
        }
    }

    /// What came of a wish for a file's owner list.
    #[cfg(feature = "ghost")]
    pub(super) fn on_list(&mut self, now: Time, file: File, list: Option<(&[Owner], u64)>) {
        match list {
            Some((owners, version)) => self.cache.listed(now, file, owners, version),
            None => self.cache.failed(now, file),
        }
    }

    #[cfg(feature = "ghost")]
    pub(super) fn on_list_put(&mut self, now: Time, file: File, ok: bool) {
        self.cache.stored(now, file, ok);
    }

    /// A file of the past exists.
    pub(super) fn tell_of(&mut self, now: Time, file: FileId) {
        let named = self.named(file);
        self.cache.past(now, named);
    }

    fn named(&self, file: FileId) -> File {
        File { start: file.start, key: file.key(&self.id) }
    }
}

impl Node {
    /// Begins to keep files, now that the channel is known.
    pub(super) fn begin_keeping(&mut self) {
        let Some(stream) = &self.stream else { return };
        let rng = self.rng.fork();
        self.keeper = self
            .config
            .cache
            .clone()
            .and_then(|c| Keeper::new(c, stream.id, rng).ok())
            .map(Box::new);
    }

    /// The viewer is to play from this block on.
    pub(super) fn plays_from(&mut self, seq: Seq) {
        // Only the first position of a stay counts.
        if self.stats.startup.is_none()
            && let (Some(keeper), Some(stream)) = (&mut self.keeper, &self.stream)
        {
            let start = stream.channel.slot_start(seq).as_micros();
            keeper.cache.set_position(start.div_ceil(1_000_000));
        }
    }

    pub(super) fn wake_cache(&mut self) {
        self.keeper.iter_mut().for_each(|k| k.cache.wake(self.now));
    }

    /// Takes back what was published, as far as that goes at once.
    pub(super) fn leave_cache(&mut self) {
        self.keeper.iter_mut().for_each(|k| k.cache.leave(self.now));
    }

    /// All blocks of a file are here: seen live, or fetched.
    pub(super) fn file_complete(&mut self, file: FileId, live: bool) {
        let Some(keeper) = self.keeper.as_mut().filter(|k| k.ready) else { return };
        let Some(stream) = &self.stream else { return };
        let frames = stream.frames(file);
        // What came twice, or is not remembered any more, makes no file.
        if frames.len() as u64 != FileId::blocks(&stream.channel) {
            return;
        }
        let bytes = frames.iter().map(|f| f.len() as u64).sum();
        let named = keeper.named(file);
        if live {
            keeper.cache.completed(self.now, named, bytes);
        } else {
            keeper.cache.fetched(self.now, named, bytes);
        }
        // Before whoever holds the blocks forgets them.
        self.keep();
    }

    /// Tells the cache who we are, and how many others there are. Once a second:
    /// one who was started again has files long before it completes another.
    pub(super) fn renew_cache(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        let viewers = usize::try_from(self.stats.viewers).ok();
        #[cfg(feature = "ghost")]
        let viewers = self.lists.as_ref().map(|lists| lists.viewers).or(viewers);
        keeper.cache.set_population(Population {
            viewers: viewers.filter(|n| *n > 0),
            partners: self.partners.len(),
            parents: 0,
            estimate: None,
        });
        let own = self.dht.as_deref().and_then(dht::Dht::external).map(|mut own| {
            own.set_port(self.config.listen.port());
            own
        });
        #[cfg(feature = "ghost")]
        let own = own.or(self.lists.as_ref().map(|_| self.config.listen));
        if let Some(own) = own {
            keeper.cache.set_self(self.now, own);
        }
    }

    pub(super) fn on_disk(&mut self, answer: DiskAnswer) {
        let now = self.now;
        match answer {
            DiskAnswer::Loaded { load, frames } => self.on_loaded(load, frames),
            DiskAnswer::Found { files } => {
                let Some(keeper) = &mut self.keeper else { return };
                keeper.ready = true;
                keeper.files.extend(files.iter().copied());
                let named = files.iter().map(|(file, bytes)| (keeper.named(*file), *bytes));
                let named = named.collect();
                keeper.cache.restored(now, named);
                // Who has nowhere to keep copies has no use for word of the past.
                self.plan_survey();
            }
            DiskAnswer::Stored { kept: Kept::Safe, .. } => {}
            DiskAnswer::Stored { file, kept } => {
                let Some(keeper) = &mut self.keeper else { return };
                keeper.files.remove(&file);
                keeper.misses.remove(&file);
                let named = keeper.named(file);
                if kept == Kept::Full {
                    keeper.cache.full(now, named);
                } else {
                    keeper.cache.gone(now, named);
                }
            }
        }
    }

    /// Blocks of a file were read, or could not be. Returns whether it is worth
    /// another try.
    pub(super) fn may_be_read(&mut self, seq: Seq, read: bool) -> bool {
        let (Some(keeper), Some(stream)) = (&mut self.keeper, &self.stream) else { return true };
        let file = FileId::of(&stream.channel, seq);
        if read || !keeper.files.contains_key(&file) {
            keeper.misses.remove(&file);
            return true;
        }
        let misses = keeper.misses.entry(file).or_default();
        *misses += 1;
        *misses < MAX_MISSES
    }

    /// A file on disk is not what was stored.
    pub(super) fn spoilt(&mut self, seq: Seq) {
        let (Some(keeper), Some(stream)) = (&mut self.keeper, &self.stream) else { return };
        let file = FileId::of(&stream.channel, seq);
        keeper.misses.remove(&file);
        if keeper.files.remove(&file).is_some() {
            let named = keeper.named(file);
            keeper.cache.gone(self.now, named);
            self.actions.push_back(Action::Disk(DiskRequest::Delete { file }));
        }
    }

    /// Looks for those who have a file that is to be played.
    pub(super) fn find_owners(&mut self, file: FileId) {
        #[cfg(feature = "ghost")]
        if self.wants_list_to_play(file) {
            return;
        }
        let id = self.stream.as_ref().map(|s| s.id);
        let (Some(dht), Some(id)) = (&mut self.dht, id) else {
            return self.owners_found(file, &[], true);
        };
        let op = dht.look_up(self.now, Key(file.key(&id)), Pace::Hurry);
        self.ops.insert(op, Use::Rewind(file));
    }

    /// Bootstrap servers and members are nodes of the DHT, too.
    pub(super) fn join_dht(&mut self, addrs: &[SocketAddr]) {
        self.dht.iter_mut().for_each(|dht| dht.join(self.now, addrs));
    }

    /// Carries out what the DHT and the cache want, until they want nothing.
    pub(super) fn keep(&mut self) {
        if self.dht.is_none() && self.keeper.is_none() {
            return;
        }
        loop {
            if let Some(effect) = self.dht.as_deref_mut().and_then(dht::Dht::poll) {
                self.on_dht_effect(effect);
            } else if let Some(effect) = self.keeper.as_mut().and_then(|k| k.cache.poll()) {
                self.on_cache_effect(effect);
            } else {
                break;
            }
        }
        if let Some(at) = self.dht.as_deref_mut().and_then(dht::Dht::deadline) {
            self.arm(Timer::Dht, at);
        }
        if let Some(keeper) = &self.keeper {
            self.stats.files = u32::try_from(keeper.files.len()).unwrap_or(u32::MAX);
            self.stats.file_bytes = keeper.cache.used();
            match keeper.cache.deadline() {
                Some(at) => self.arm(Timer::Cache, at),
                None => self.timers.disarm(Timer::Cache),
            }
        }
    }

    fn on_dht_effect(&mut self, effect: dht::Effect) {
        match effect {
            dht::Effect::Send { to, bytes } => {
                self.actions.push_back(Action::SendDatagram { to, bytes });
            }
            dht::Effect::Found { op, values } => match self.ops.get_mut(&op) {
                Some(Use::Count(_, found)) => found.extend(values),
                Some(Use::Rewind(file)) => {
                    let file = *file;
                    self.owners_found(file, &values, false);
                }
                _ => {}
            },
            dht::Effect::Done { op, outcome } => {
                let now = self.now;
                match self.ops.remove(&op) {
                    Some(Use::Rewind(file)) => self.owners_found(file, &[], true),
                    Some(Use::Count(file, found)) => {
                        let Some(keeper) = &mut self.keeper else { return };
                        if outcome.refused {
                            keeper.cache.failed(now, file);
                        } else {
                            keeper.cache.records(now, file, &found);
                        }
                    }
                    Some(Use::Publish(file)) => {
                        let Some(keeper) = &mut self.keeper else { return };
                        keeper.cache.stored(now, file, outcome.stored > 0);
                    }
                    None => {}
                }
            }
        }
    }

    fn on_cache_effect(&mut self, effect: Effect) {
        #[cfg(feature = "ghost")]
        if self.wants_list(&effect) {
            return;
        }
        let now = self.now;
        let Some(keeper) = &mut self.keeper else { return };
        match effect {
            Effect::Keep { file } => {
                let Some(stream) = &self.stream else { return };
                let id = FileId { start: file.start };
                let frames = stream.frames(id);
                keeper.files.insert(id, frames.iter().map(|f| f.len() as u64).sum());
                let store = DiskRequest::Store { file: id, frames };
                self.actions.push_back(Action::Disk(store));
            }
            Effect::Drop { file } => {
                let file = FileId { start: file.start };
                keeper.looked.retain(|f, _| f.start != file.start);
                keeper.misses.remove(&file);
                if keeper.files.remove(&file).is_some() {
                    self.actions.push_back(Action::Disk(DiskRequest::Delete { file }));
                }
            }
            Effect::TooLarge { .. } if core::mem::replace(&mut keeper.warned, true) => {}
            Effect::TooLarge { bytes, quota, .. } => {
                self.notify(Notice::Warning(Warning::SmallQuota { file: bytes, quota }));
            }
            Effect::LookUp { file, want_token } => match &mut self.dht {
                Some(dht) => {
                    let op = dht.look_up(now, Key(file.key), Pace::Calm);
                    if want_token {
                        keeper.looked.insert(file, op);
                    }
                    self.ops.insert(op, Use::Count(file, Vec::new()));
                }
                None => keeper.cache.failed(now, file),
            },
            Effect::Announce { file, life } => self.publish_file(file, life),
            Effect::Withdraw { file } => self.publish_file(file, Duration::ZERO),
            Effect::Fetch { file } => self.recruit(file),
            // Of the published algorithm, over a DHT of another kind: only in the laboratory.
            Effect::GetList { file } | Effect::PutList { file, .. } => {
                self.keeper.iter_mut().for_each(|k| k.cache.failed(now, file));
            }
        }
    }

    fn publish_file(&mut self, file: File, life: Duration) {
        let (now, port) = (self.now, self.config.listen.port());
        let (Some(dht), Some(keeper)) = (&mut self.dht, &mut self.keeper) else { return };
        let op = match keeper.looked.get(&file) {
            Some(op) if !life.is_zero() && dht.confirm(now, *op, port, life) => *op,
            _ => dht.announce(now, Key(file.key), port, life),
        };
        self.ops.insert(op, Use::Publish(file));
    }
}

impl Stream {
    /// A block that is in memory.
    pub(super) fn remembers(&self, seq: Seq) -> Option<&Block> {
        let live = self.buffer.as_ref().and_then(|b| b.get(seq));
        live.or_else(|| self.rewind.as_ref()?.quest.buffer.get(seq))
            .or_else(|| self.recruit.remembers(seq))
    }

    /// The frames of a file's blocks that are in memory.
    fn frames(&self, file: FileId) -> Vec<Bytes> {
        let (first, last) = (file.first(&self.channel), file.last(&self.channel));
        let blocks = (first.0..=last.0).filter_map(|seq| self.remembers(Seq(seq)));
        blocks.map(|block| block.frame().clone()).collect()
    }
}
