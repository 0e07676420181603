//! The disk of a node: its host passes requests on to a thread, which opens the
//! cache of whichever channel the node is in, and carries answers back.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use eddy_core::stream::channel::Channel;
use eddy_core::{DiskAnswer, DiskRequest, Event, Kept, LoadId, Notice};
use eddy_runtime_mio::{Full, Handle};
use tracing::{info, warn};

use crate::cache::{Answer, CacheError, Disk, Found, StoreError};
use crate::run::RunError;
use crate::run::node::Told;
use crate::settings::CacheFolder;

/// How long an answer waits before it is offered again to a busy node.
const BUSY: Duration = Duration::from_millis(1);

/// The host's end. A node asks for no more than its links and files are, so what
/// waits here is bounded.
#[derive(Debug)]
pub(super) struct Slot(Option<Sender<Order>>);

/// What the thread is to do.
#[derive(Debug)]
enum Order {
    /// The node has entered a channel.
    Enter(Box<Channel>),
    Ask(DiskRequest),
}

/// The thread.
#[derive(Debug)]
pub(super) struct Keeper(JoinHandle<()>);

/// What a thread needs to begin; `None` for a node that keeps nothing.
#[derive(Debug)]
pub(super) struct Shelf(Option<(CacheFolder, Receiver<Order>)>);

/// Both ends of a way to the disk.
pub(super) fn way(folder: Option<CacheFolder>) -> (Slot, Shelf) {
    match folder {
        Some(folder) => {
            let (to, orders) = mpsc::channel();
            (Slot(Some(to)), Shelf(Some((folder, orders))))
        }
        None => (Slot(None), Shelf(None)),
    }
}

impl Slot {
    /// Watches for the channel whose cache is to be opened.
    pub(super) fn notice(&self, notice: &Notice) {
        if let Notice::Channel(channel) = notice {
            self.order(Order::Enter(channel.clone()));
        }
    }

    /// Passes a request on.
    pub(super) fn request(&self, request: DiskRequest) {
        self.order(Order::Ask(request));
    }

    fn order(&self, order: Order) {
        if let Some(to) = &self.0 {
            // Without its thread, the node is told nothing, and asks for nothing.
            drop(to.send(order));
        }
    }
}

impl Shelf {
    /// Starts the thread. It ends with the host's end of the way.
    pub(super) fn start(
        self,
        node: Handle,
        tell: impl Fn(Told) + Send + 'static,
    ) -> Result<Option<Keeper>, RunError> {
        let Some((folder, orders)) = self.0 else { return Ok(None) };
        let run = move || keep(&folder, &orders, &node, &tell);
        let thread = thread::Builder::new().name("disk".into()).spawn(run).map_err(|e| {
            RunError::new(format!("cannot start the cache: {e}"), "close other programs")
        })?;
        Ok(Some(Keeper(thread)))
    }
}

impl Keeper {
    /// Waits until all that was taken is safe, once the node is gone.
    pub(super) fn finish(self) {
        // Its panic was told already, on standard error.
        self.0.join().ok();
    }
}

fn keep(folder: &CacheFolder, orders: &Receiver<Order>, node: &Handle, tell: &impl Fn(Told)) {
    let mut disk: Option<Disk> = None;
    for order in orders {
        match order {
            Order::Enter(channel) => {
                // Only one at a time may use the folder.
                drop(disk.take());
                match open(folder, &channel, node) {
                    Ok((opened, found)) => {
                        disk = Some(opened);
                        let files: Vec<_> = found.iter().map(|f| (f.file, f.bytes)).collect();
                        let bytes: u64 = found.iter().map(|f| f.bytes).sum();
                        let dir = folder.dir.display();
                        info!(
                            files = files.len(),
                            mb = bytes / 1_000_000,
                            "keeping files in {dir}"
                        );
                        answer(node, DiskAnswer::Found { files });
                    }
                    // Nobody asked for this folder: another viewer has it, or there is
                    // none to be had.
                    Err(e) if !folder.given => {
                        warn!(hint = e.hint(), "nothing is kept of this channel: {e}");
                    }
                    Err(e) => tell(Told::Died(e.into())),
                }
            }
            Order::Ask(request) => match &disk {
                Some(disk) => ask(disk, request),
                None => refuse(node, request),
            },
        }
    }
}

fn open(
    folder: &CacheFolder,
    channel: &Channel,
    node: &Handle,
) -> Result<(Disk, Vec<Found>), CacheError> {
    let node = node.clone();
    Disk::open(&folder.dir, channel, move |told| {
        answer(
            &node,
            match told {
                Answer::Stored { file, bytes } => {
                    let kept = match bytes {
                        Ok(_) => Kept::Safe,
                        Err(StoreError::Full) => Kept::Full,
                        Err(StoreError::Failed) => Kept::Failed,
                    };
                    DiskAnswer::Stored { file, kept }
                }
                Answer::Loaded { ticket, frames } => {
                    DiskAnswer::Loaded { load: LoadId(ticket), frames }
                }
            },
        );
    })
}

fn ask(disk: &Disk, request: DiskRequest) {
    match request {
        DiskRequest::Store { file, frames } => disk.store(file, frames),
        DiskRequest::Load { load, file, first, blocks } => disk.load(load.0, file, first, blocks),
        DiskRequest::Delete { file } => disk.delete(file),
    }
}

/// Without a disk.
fn refuse(node: &Handle, request: DiskRequest) {
    match request {
        DiskRequest::Store { file, .. } => {
            answer(node, DiskAnswer::Stored { file, kept: Kept::Failed });
        }
        DiskRequest::Load { load, .. } => answer(node, DiskAnswer::Loaded { load, frames: None }),
        DiskRequest::Delete { .. } => {}
    }
}

/// Tells the node, waiting for room in its queue if there is none.
fn answer(node: &Handle, answer: DiskAnswer) {
    let mut event = Event::Disk(answer);
    while let Err(Full(back)) = node.tell(event) {
        if node.has_ended() {
            return;
        }
        event = back;
        thread::sleep(BUSY);
    }
}

impl From<CacheError> for RunError {
    fn from(e: CacheError) -> Self {
        Self::new(e.to_string(), e.hint())
    }
}
