//! A disk of the world: what a node keeps outlives its machine.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use eddy_core::stream::block::BLOCK_HEADER;
use eddy_core::stream::channel::Channel;
use eddy_core::stream::file::FileId;
use eddy_core::stream::sign::SIGNATURE_LEN;
use eddy_core::{DiskAnswer, DiskRequest, Event, Notice};

use crate::node::NodeIx;
use crate::world::World;

/// Time from a request to its answer.
const ACCESS: Duration = Duration::from_millis(5);

/// Files by where they begin, each with its blocks' frames.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// Fails every request to keep a file.
    pub full: bool,
    files: BTreeMap<FileId, Vec<Bytes>>,
    channel: Option<Channel>,
}

impl Disk {
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

    fn answer(&mut self, request: DiskRequest) -> Option<DiskAnswer> {
        match request {
            DiskRequest::Store { file, frames } => {
                let ok = !self.full;
                if ok {
                    self.files.insert(file, frames);
                }
                Some(DiskAnswer::Stored { file, ok })
            }
            DiskRequest::Load { load, file, first, blocks } => {
                let channel = self.channel.as_ref()?;
                let skip = first.0.checked_sub(file.first(channel).0)? as usize;
                let frames = self.files.get(&file).and_then(|frames| {
                    let wanted = frames.iter().skip(skip).take(blocks as usize);
                    let bytes = wanted.flat_map(|frame| frame.iter().copied()).collect::<Bytes>();
                    (!bytes.is_empty()).then_some(bytes)
                });
                Some(DiskAnswer::Loaded { load, frames })
            }
            DiskRequest::Delete { file } => {
                self.files.remove(&file);
                None
            }
        }
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
            disk.channel = Some((**channel).clone());
            let files = disk.files().collect();
            self.post(self.now() + ACCESS, ix, Event::Disk(DiskAnswer::Found { files }));
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
        if let Some(answer) = disk.answer(request) {
            self.post(self.now() + ACCESS, ix, Event::Disk(answer));
        }
    }
}
