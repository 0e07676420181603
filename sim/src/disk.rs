//! A disk of the world: what a node keeps outlives its machine.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eddy_core::stream::block::BLOCK_HEADER;
use eddy_core::stream::channel::Channel;
use eddy_core::stream::file::FileId;
use eddy_core::stream::sign::SIGNATURE_LEN;
use eddy_core::{DiskAnswer, DiskRequest, Event, Kept, Notice, Seq};

use crate::node::NodeIx;
use crate::world::World;

/// Files of one channel by where they begin, each with its blocks' frames.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Bytes that it holds at most; with none it is full.
    pub room: u64,
    /// Time from a request to its answer, in a [`World`].
    pub access: Duration,
    /// It has stopped: nothing is answered any more, in a [`World`].
    pub hung: bool,
    /// So many of the next reads it has no time for.
    pub busy: u32,
    files: BTreeMap<FileId, Vec<Bytes>>,
    channel: Option<Channel>,
}

impl Default for Disk {
    /// An empty disk of 1 GiB that answers within 5 ms.
    fn default() -> Self {
        Self {
            room: 1 << 30,
            access: Duration::from_millis(5),
            hung: false,
            busy: 0,
            files: BTreeMap::new(),
            channel: None,
        }
    }
}

impl Disk {
    /// Says whose files it holds. Tells which there are, as a node is to be told.
    pub fn open(&mut self, channel: &Channel) -> DiskAnswer {
        self.channel = Some(channel.clone());
        DiskAnswer::Found { files: self.files().collect() }
    }

    /// What it holds, each with its length in bytes.
    pub fn files(&self) -> impl Iterator<Item = (FileId, u64)> + '_ {
        let length = |frames: &Vec<Bytes>| frames.iter().map(|f| f.len() as u64).sum();
        self.files.iter().map(move |(file, frames)| (*file, length(frames)))
    }

    /// Whether it holds a file.
    pub fn holds(&self, file: FileId) -> bool {
        self.files.contains_key(&file)
    }

    /// Spoils a byte of the signature of every block that it holds.
    pub fn spoil(&mut self) {
        for frame in self.files.values_mut().flatten() {
            let mut bytes = BytesMut::from(&frame[..]);
            if let Some(byte) = bytes.get_mut(BLOCK_HEADER - SIGNATURE_LEN) {
                *byte ^= 1;
            }
            *frame = bytes.freeze();
        }
    }

    /// Does what it is asked for; `None` if that has no answer.
    pub fn ask(&mut self, request: DiskRequest) -> Option<DiskAnswer> {
        match request {
            DiskRequest::Store { file, frames } => {
                let more: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
                let other = self.files().filter(|(other, _)| *other != file);
                let kept = if other.map(|(_, bytes)| bytes).sum::<u64>() + more <= self.room {
                    self.files.insert(file, frames);
                    Kept::Safe
                } else {
                    Kept::Full
                };
                Some(DiskAnswer::Stored { file, kept })
            }
            DiskRequest::Load { load, file, first, blocks } => {
                let idle = self.busy == 0;
                self.busy = self.busy.saturating_sub(1);
                let frames = idle.then(|| self.load(file, first, blocks as usize)).flatten();
                Some(DiskAnswer::Loaded { load, frames })
            }
            DiskRequest::Delete { file } => {
                self.files.remove(&file);
                None
            }
        }
    }

    fn load(&self, file: FileId, first: Seq, blocks: usize) -> Option<Bytes> {
        let skip = first.0.checked_sub(file.first(self.channel.as_ref()?).0)? as usize;
        let wanted = self.files.get(&file)?.iter().skip(skip).take(blocks);
        let bytes: Bytes = wanted.flat_map(|frame| frame.iter().copied()).collect();
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// The first copy of each file that any disk was given. Equal copies share its
/// memory: hours of a channel on many disks would fill the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf(BTreeMap<FileId, Vec<Bytes>>);

impl Shelf {
    fn share(&mut self, file: FileId, frames: Vec<Bytes>) -> Vec<Bytes> {
        // What lies in the arena of a node would keep all of that alive.
        let copy = || frames.iter().map(|f| Bytes::copy_from_slice(f)).collect();
        let first = self.0.entry(file).or_insert_with(copy);
        if *first == frames { first.clone() } else { frames }
    }
}

impl World {
    /// Gives a node a disk. Before it enters a channel.
    pub fn mount(&mut self, ix: NodeIx, disk: Disk) {
        self.nodes[ix.index()].disk = Some(disk);
    }

    /// A node's disk, to look at it or to change it.
    pub fn disk_mut(&mut self, ix: NodeIx) -> Option<&mut Disk> {
        self.nodes[ix.index()].disk.as_mut()
    }

    /// A disk is read once its node knows the channel.
    pub(crate) fn channel_known(&mut self, ix: NodeIx, notice: &Notice) {
        if let Notice::Channel(channel) = notice
            && let Some(disk) = &mut self.nodes[ix.index()].disk
        {
            let (found, access) = (disk.open(channel), disk.access);
            self.post(self.now() + access, ix, Event::Disk(found));
        }
    }

    pub(crate) fn ask_disk(&mut self, ix: NodeIx, request: DiskRequest) {
        let request = match request {
            DiskRequest::Store { file, frames } => {
                DiskRequest::Store { file, frames: self.shelf.share(file, frames) }
            }
            other => other,
        };
        let Some(disk) = &mut self.nodes[ix.index()].disk else {
            self.blame(ix, format_args!("{request:?}, but there is no disk"));
        };
        let access = disk.access;
        if let Some(answer) = disk.ask(request).filter(|_| !disk.hung) {
            self.post(self.now() + access, ix, Event::Disk(answer));
        }
    }
}
