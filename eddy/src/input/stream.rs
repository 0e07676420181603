//! A stream of bytes without a clock: standard input.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use bytes::Bytes;

use crate::input::chunks::Chunks;
use crate::input::{End, STOP_WITHIN, Sink};

/// Bytes of a read: what a pipe holds.
const READ: usize = 64 << 10;
/// Reads that may wait, so that a fast writer is held back and not buffered.
const WAITING: usize = 4;

/// Reads to the end, handing over datagrams as the bytes come.
///
/// Reading goes on in a thread of its own, since nothing can interrupt a read
/// that waits; after a stop that thread ends with its next read.
pub(crate) fn run(
    mut input: impl Read + Send + 'static,
    stop: &AtomicBool,
    sink: Sink<'_>,
) -> io::Result<End> {
    let (sender, reads) = mpsc::sync_channel(WAITING);
    thread::Builder::new().name("input".into()).spawn(move || {
        let mut buffer = vec![0; READ];
        loop {
            let read = match input.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map(|length| Bytes::copy_from_slice(&buffer[..length])),
            };
            let last = !matches!(&read, Ok(bytes) if !bytes.is_empty());
            if sender.send(read).is_err() || last {
                return;
            }
        }
    })?;

    let mut chunks = Chunks::default();
    while !stop.load(Ordering::Relaxed) {
        let (datagrams, end) = match reads.recv_timeout(STOP_WITHIN) {
            Ok(Ok(bytes)) if !bytes.is_empty() => (chunks.push(&bytes), false),
            Ok(Err(e)) => return Err(e),
            // A pause: what is there should not wait for what may come.
            Err(RecvTimeoutError::Timeout) => (chunks.pause(), false),
            Ok(Ok(_)) | Err(RecvTimeoutError::Disconnected) => (chunks.end(), true),
        };
        for datagram in datagrams {
            if let ControlFlow::Break(()) = sink(datagram) {
                return Ok(End::Stopped);
            }
        }
        if end {
            return Ok(End::Exhausted);
        }
    }
    Ok(End::Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::CLIP;
    use std::io::Write as _;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let feeder = thread::spawn(move || {
            for piece in CLIP.chunks(1_000) {
                writer.write_all(piece).unwrap();
            }
        });
        let mut got = Vec::new();
        let end = run(reader, &AtomicBool::new(false), &mut |bytes| {
            got.push(bytes);
            ControlFlow::Continue(())
        });
        feeder.join().unwrap();
        assert!(matches!(end, Ok(End::Exhausted)));
        assert_eq!(got.concat(), CLIP);
        assert!(got.iter().all(|bytes| bytes.len() <= 1316 && bytes[0] == 0x47));
    }

    #[test]
    fn what_came_before_a_pause_does_not_wait() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(&CLIP[..188]).unwrap();
        let mut got = Vec::new();
        let end = run(reader, &AtomicBool::new(false), &mut |bytes| {
            got.push(bytes);
            ControlFlow::Break(())
        });
        assert!(matches!(end, Ok(End::Stopped)));
        assert_eq!(got, [&CLIP[..188]]);
        drop(writer);
    }

    #[test]
    fn the_flag_stops_a_read_that_waits() {
        let (reader, writer) = io::pipe().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, ended) = mpsc::channel();
        let flag = stop.clone();
        thread::spawn(move || {
            sender.send(run(reader, &flag, &mut |_| ControlFlow::Continue(()))).unwrap();
        });
        stop.store(true, Ordering::Relaxed);
        let end = ended.recv_timeout(Duration::from_secs(5)).expect("an end within 5 s");
        assert!(matches!(end, Ok(End::Stopped)));
        drop(writer);
    }
}
