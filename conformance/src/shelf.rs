//! A disk in memory, behind the host of a node on a real driver. In virtual
//! time the world's own disks take its place.

use std::collections::VecDeque;

use eddy_core::{Delivery, DiskAnswer, DiskRequest, Host, Notice, Time};
use eddy_sim::Disk;

use crate::board::Shared;

/// Bytes that one disk holds at most.
const ROOM: u64 = 64 << 20;

/// The disk, and what it has answered.
#[derive(Debug)]
pub(crate) struct Shelf {
    disk: Disk,
    answers: VecDeque<DiskAnswer>,
}

impl Shelf {
    pub(crate) fn new() -> Shared<Self> {
        let mut disk = Disk::default();
        disk.room = ROOM;
        Shared::new(Self { disk, answers: VecDeque::new() })
    }

    /// The next answer that the machine is to be told.
    pub(crate) fn take(&mut self) -> Option<DiskAnswer> {
        self.answers.pop_front()
    }
}

/// A host with a disk.
pub(crate) struct Housed {
    pub(crate) host: Box<dyn Host + Send>,
    pub(crate) shelf: Shared<Shelf>,
}

impl Host for Housed {
    fn deliver(&mut self, now: Time, delivery: Delivery) {
        self.host.deliver(now, delivery);
    }

    fn notify(&mut self, now: Time, notice: Notice) {
        if let Notice::Channel(channel) = &notice {
            let mut shelf = self.shelf.lock();
            let found = shelf.disk.open(channel);
            shelf.answers.push_back(found);
        }
        self.host.notify(now, notice);
    }

    fn disk(&mut self, _now: Time, request: DiskRequest) {
        let mut shelf = self.shelf.lock();
        let answer = shelf.disk.ask(request);
        shelf.answers.extend(answer);
    }
}
