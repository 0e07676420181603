//! `--record`: a node whose recording a thread of its own writes.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use eddy_core::Host;
use eddy_memory::HugePages;
use eddy_sim::record::{End, Header, Recorder, end_mark};
use tracing::{info, warn};

use crate::run::RunError;
use crate::run::node::{Ground, Running, Told};

/// Who records.
pub(super) const MADE_BY: &str = concat!("eddy ", env!("CARGO_PKG_VERSION"));
/// Pieces that may wait for the disk, 64 KiB each when much happens.
const WAITING: usize = 128;
/// How long the disk has for them at the end.
const LAST_PIECES: Duration = Duration::from_secs(5);

/// A recording under way.
#[derive(Debug)]
pub(super) struct Recording {
    path: PathBuf,
    written: Receiver<io::Result<()>>,
}

/// Starts the node that the header describes, and its recording if there is to
/// be one.
pub(super) fn start<H: Host + Send + 'static>(
    header: &Header,
    record: Option<&Path>,
    ground: Ground,
    host: H,
    tell: impl Fn(Told) + Send + 'static,
) -> Result<(Running<H>, Option<Recording>), RunError> {
    let node = header.machine()?.with_memory(Box::new(HugePages));
    let Some(path) = record else {
        return Ok((Running::start(ground, node, host, tell)?, None));
    };
    let (recording, sink) = Recording::begin(path)?;
    let node = Recorder::new(node, header, sink);
    Ok((Running::start(ground, node, host, tell)?, Some(recording)))
}

impl Recording {
    /// Makes the file, and gives the way there.
    fn begin(path: &Path) -> Result<(Self, impl FnMut(Vec<u8>) -> bool + Send + use<>), RunError> {
        let failed = |e: io::Error| {
            RunError::new(
                format!("cannot record to {}: {e}", path.display()),
                "give a file that can be written with --record FILE",
            )
        };
        let file = File::create(path).map_err(failed)?;
        let (queue, pieces) = sync_channel(WAITING);
        let (done, written) = channel();
        let too_slow = Arc::new(AtomicBool::new(false));
        let late = too_slow.clone();
        let run = move || {
            // Nobody may listen any more.
            done.send(write(file, &pieces, &too_slow)).ok();
        };
        thread::Builder::new().name("record".into()).spawn(run).map_err(failed)?;
        info!("recording to {}: all that comes in, and the addresses of others", path.display());
        Ok((Self { path: path.to_owned(), written }, sink(queue, late)))
    }

    /// Waits for the file to be written, once the node is gone.
    pub(super) fn finish(self) {
        let path = self.path.display();
        match self.written.recv_timeout(LAST_PIECES) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => warn!("the recording {path} is not whole: {e}"),
            Err(_) => warn!("the recording {path} is not whole: the disk does not take it"),
        }
    }
}

/// The way to the writer. Who sends never waits: when too much waits already,
/// the recording ends.
fn sink(
    queue: SyncSender<Vec<u8>>,
    too_slow: Arc<AtomicBool>,
) -> impl FnMut(Vec<u8>) -> bool + Send {
    move |piece| match queue.try_send(piece) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => {
            too_slow.store(true, Ordering::Release);
            warn!("the recording ends here: the disk is too slow for it");
            false
        }
        Err(TrySendError::Disconnected(_)) => {
            warn!("the recording ends here: its file cannot be written any further");
            false
        }
    }
}

/// Writes piece after piece, until there are no more or the file takes none.
fn write(mut file: File, pieces: &Receiver<Vec<u8>>, too_slow: &AtomicBool) -> io::Result<()> {
    let mut length = 0;
    for piece in pieces {
        if let Err(e) = file.write_all(&piece) {
            // On a full disk the mark fits where the piece did not.
            file.set_len(length)
                .and_then(|()| file.seek(SeekFrom::Start(length)))
                .and_then(|_| file.write_all(&end_mark(End::Unwritable)))
                .ok();
            return Err(e);
        }
        length += piece.len() as u64;
    }
    if too_slow.load(Ordering::Acquire) {
        file.write_all(&end_mark(End::TooSlow))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use eddy_core::config::Config;
    use eddy_core::{Event, LinkId, Machine as _, Time};
    use eddy_sim::record::{NodeKind, Reader, Verdict, replay};

    #[test]
    fn a_slow_disk_ends_the_recording_with_a_mark_and_nothing_else() {
        let start = Time::from_secs(1_800_000_000);
        let (seed, config) = ([7; 32], Config::default());
        let header =
            Header { made_by: MADE_BY.into(), node: NodeKind::Viewer, start, seed, config };
        // Nobody writes yet.
        let (queue, pieces) = sync_channel(3);
        let too_slow = Arc::new(AtomicBool::new(false));
        let sink = sink(queue, too_slow.clone());
        let mut node = Recorder::new(header.machine().unwrap(), &header, sink);
        for n in 1..=10 {
            let gone = Event::Closed { link: LinkId(n) };
            node.handle(start + Duration::from_millis(100) * n as u32, gone);
        }
        drop(node);

        let path = std::env::temp_dir().join(format!("eddy-record-{}", std::process::id()));
        write(File::create(&path).unwrap(), &pieces, &too_slow).unwrap();
        let recording = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut reader = Reader::new(&recording[..]).unwrap();
        let replayed = replay(&mut reader, &mut header.machine().unwrap(), |_, _| {});
        assert!(matches!(replayed.verdict, Verdict::Equal(End::TooSlow)), "{replayed:?}");
        assert_eq!(replayed.inputs, 2, "the header and two pieces had room");
    }
}
