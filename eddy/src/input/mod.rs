//! Where a provider's packets come from: an encoder's datagrams, a file at
//! its own speed, or standard input.

mod chunks;
mod stream;
mod udp;
pub mod udp_url;

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, IsTerminal as _, Read, Seek};
use std::iter::Peekable;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::input::udp::Udp;
use crate::input::udp_url::{UdpUrl, UrlProblem};
use crate::ts::CLIP;
use crate::ts::looped::Looped;
use crate::ts::pcr::{Datagram, Datagrams, FileError};

/// How long a source may take to notice that it shall stop.
const STOP_WITHIN: Duration = Duration::from_millis(200);
/// A file that falls this far behind goes on at its own speed from where it
/// is, rather than in a burst.
const MAX_BEHIND: Duration = Duration::from_millis(500);

/// What `--input` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `udp://HOST:PORT`: an encoder's datagrams, from multicast too.
    Udp(UdpUrl),
    /// A transport stream, played at the speed of its clock.
    File {
        /// Where it is.
        path: PathBuf,
        /// Whether it begins again at its end.
        looped: bool,
    },
    /// `-`: standard input, as fast as it comes.
    Stdin,
    /// The clip that comes with the program, for ever.
    Clip,
}

/// Why an input cannot be used, or ended early.
#[derive(Debug)]
pub enum InputError {
    /// A scheme other than `udp`.
    Scheme(String),
    /// A bad `udp://` address.
    Url(String, UrlProblem),
    /// The port cannot be bound, or the group not be joined.
    Bind(String, io::Error),
    /// The file cannot be opened.
    Open(PathBuf, io::Error),
    /// The file cannot be played.
    File(PathBuf, FileError),
    /// Standard input is a terminal.
    Terminal,
    /// Reading failed.
    Read(io::Error),
}

/// Why a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is no more input.
    Exhausted,
    /// The stop flag was set, or the sink broke off.
    Stopped,
}

impl Input {
    /// Reads the value of `--input`.
    ///
    /// # Errors
    /// If it names an unknown scheme or a bad address.
    pub fn parse(text: &str) -> Result<Self, InputError> {
        match (text, text.split_once("://")) {
            ("-", _) => Ok(Self::Stdin),
            (_, Some(("udp", rest))) => {
                let url = UdpUrl::parse(rest);
                url.map(Self::Udp).map_err(|problem| InputError::Url(text.into(), problem))
            }
            (_, Some((scheme, _))) => Err(InputError::Scheme(scheme.into())),
            (path, None) => Ok(Self::File { path: path.into(), looped: false }),
        }
    }

    /// The same input, beginning again at its end; live inputs have none.
    #[must_use]
    pub fn looped(self) -> Self {
        match self {
            Self::File { path, .. } => Self::File { path, looped: true },
            other => other,
        }
    }

    /// Opens it: binds the port, or reads the file's beginning.
    ///
    /// # Errors
    /// If that fails. The message says what to do.
    pub fn open(&self) -> Result<Source, InputError> {
        let kind = match self {
            Self::Udp(url) => {
                let udp = Udp::open(url).map_err(|e| InputError::Bind(url.to_string(), e))?;
                Kind::Udp(udp)
            }
            Self::File { path, looped } => {
                let failed = |e| InputError::Open(path.clone(), e);
                let file = File::open(path).map_err(failed)?;
                if file.metadata().map_err(failed)?.is_dir() {
                    return Err(failed(io::ErrorKind::IsADirectory.into()));
                }
                Kind::File(Recording::open(path.clone(), file, *looped)?)
            }
            Self::Stdin if io::stdin().is_terminal() => return Err(InputError::Terminal),
            Self::Stdin => Kind::Stdin,
            Self::Clip => Kind::File(Recording::open("clip.ts".into(), Cursor::new(CLIP), true)?),
        };
        Ok(Source(kind))
    }
}

/// An open input.
#[derive(Debug)]
pub struct Source(Kind);

#[derive(Debug)]
enum Kind {
    Udp(Udp),
    File(Recording),
    Stdin,
}

impl Source {
    /// The address on which it listens, if it does.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Udp(udp) => udp.local_addr(),
            Kind::File(_) | Kind::Stdin => None,
        }
    }

    /// Hands every datagram to `sink` when it is due, until the input ends,
    /// `stop` is set or the sink breaks off. Blocks: run it on a thread of its own.
    /// It looks at `stop` at least every 200 ms.
    ///
    /// # Errors
    /// If reading fails.
    pub fn run(
        self,
        stop: &AtomicBool,
        mut sink: impl FnMut(Bytes) -> ControlFlow<()>,
    ) -> Result<End, InputError> {
        match self.0 {
            Kind::Udp(udp) => udp.run(stop, &mut sink).map_err(InputError::Read),
            Kind::File(recording) => recording.run(stop, &mut sink),
            Kind::Stdin => stream::run(io::stdin(), stop, &mut sink).map_err(InputError::Read),
        }
    }
}

/// What a source hands its datagrams to.
type Sink<'a> = &'a mut dyn FnMut(Bytes) -> ControlFlow<()>;

type Timeline = Box<dyn Iterator<Item = Result<Datagram, FileError>> + Send>;

/// A file that plays.
struct Recording {
    path: PathBuf,
    datagrams: Peekable<Timeline>,
}

impl Recording {
    /// Reads the first datagram, so that a file that cannot be played says so at once.
    fn open<R>(path: PathBuf, input: R, looped: bool) -> Result<Self, InputError>
    where
        R: Read + Seek + Send + 'static,
    {
        let timeline: Timeline = match looped {
            true => Box::new(Datagrams::new(Looped::new(input))),
            false => Box::new(Datagrams::new(input)),
        };
        let mut datagrams = timeline.peekable();
        match datagrams.next_if(Result::is_err) {
            Some(Err(e)) => Err(InputError::File(path, e)),
            _ => Ok(Self { path, datagrams }),
        }
    }

    fn run(self, stop: &AtomicBool, sink: Sink<'_>) -> Result<End, InputError> {
        let mut start = Instant::now();
        for datagram in self.datagrams {
            let datagram = datagram.map_err(|e| InputError::File(self.path.clone(), e))?;
            let behind = start.elapsed().saturating_sub(datagram.at);
            if behind > MAX_BEHIND {
                start += behind;
            }
            if !sleep_until(start + datagram.at, stop) || sink(datagram.payload).is_break() {
                return Ok(End::Stopped);
            }
        }
        Ok(End::Exhausted)
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Returns `false` if `stop` was set meanwhile.
fn sleep_until(due: Instant, stop: &AtomicBool) -> bool {
    loop {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        let rest = due.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return true;
        }
        thread::sleep(rest.min(STOP_WITHIN));
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => write!(
                f,
                "{scheme}:// is no input that Eddy knows; it can be udp://HOST:PORT, a transport stream's file name, or - for standard input"
            ),
            Self::Url(url, problem) => write!(f, "{url}: {problem}"),
            Self::Bind(url, e) => match e.kind() {
                io::ErrorKind::AddrInUse => write!(
                    f,
                    "cannot listen on {url}: another program uses this port; stop it, or send the encoder's packets to another port"
                ),
                io::ErrorKind::AddrNotAvailable => write!(
                    f,
                    "cannot listen on {url}: this machine does not have that address; use one that it has, 0.0.0.0 for all of them"
                ),
                _ => write!(f, "cannot listen on {url}: {e}"),
            },
            Self::Open(path, e) => write!(f, "cannot open {}: {e}", path.display()),
            Self::File(path, e) => write!(f, "cannot play {}: {e}", path.display()),
            Self::Terminal => f.write_str(
                "standard input is a terminal; pipe an encoder into it, for example: ffmpeg … -f mpegts - | eddy provider … --input -",
            ),
            Self::Read(e) => write!(f, "the input failed: {e}"),
        }
    }
}

impl std::error::Error for InputError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn collect(source: Source, enough: usize) -> (Vec<Bytes>, Result<End, InputError>) {
        let mut got = Vec::new();
        let end = source.run(&AtomicBool::new(false), |bytes| {
            got.push(bytes);
            if got.len() == enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (got, end)
    }

    fn recording(bytes: &'static [u8], looped: bool) -> Result<Source, InputError> {
        Recording::open("test.ts".into(), Cursor::new(bytes), looped)
            .map(|recording| Source(Kind::File(recording)))
    }

    #[test]
    fn reads_every_form() {
        assert_eq!(Input::parse("-").unwrap(), Input::Stdin);
        assert!(matches!(Input::parse("udp://@239.0.0.1:1234").unwrap(), Input::Udp(_)));
        let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/clip.ts");
        let file = Input::parse(clip).unwrap();
        assert_eq!(file, Input::File { path: clip.into(), looped: false });
        assert!(matches!(file.looped(), Input::File { looped: true, .. }));
        assert_eq!(Input::Stdin.looped(), Input::Stdin);
    }

    #[test]
    fn errors_say_what_to_write_instead() {
        let says = |text: &str, part: &str| {
            let error = Input::parse(text).and_then(|i| i.open()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        says("srt://localhost:9000", "udp://HOST:PORT");
        says("udp://localhost", "port");
        says("no-such-file.ts", "no-such-file.ts");
        says(env!("CARGO_MANIFEST_DIR"), "directory");
        says(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "ffmpeg");
        says("udp://203.0.113.1:5004", "0.0.0.0");
    }

    #[test]
    fn a_file_plays_at_its_own_speed_to_its_end() {
        let started = Instant::now();
        // 0.3 s of 4.8 s.
        let (got, end) = collect(recording(&CLIP[..120 * 188], false).unwrap(), usize::MAX);
        assert!(matches!(end, Ok(End::Exhausted)));
        assert_eq!(got.concat(), &CLIP[..120 * 188]);
        let took = started.elapsed();
        // The last datagram leaves when its first packet, the 119th, is due.
        assert!(took >= Duration::from_micros(119 * 2_500), "{took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
    }

    #[test]
    fn a_file_that_fell_behind_does_not_catch_up_in_a_burst() {
        let mut left = Vec::new();
        let sink = |_| {
            left.push(Instant::now());
            if left.len() == 1 {
                thread::sleep(MAX_BEHIND + Duration::from_millis(100));
            }
            if left.len() == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        Input::Clip.open().unwrap().run(&AtomicBool::new(false), sink).unwrap();
        // Eight datagrams of 17.5 ms each, less the time between the decision and the first.
        let took = left[9] - left[1];
        assert!(took > Duration::from_millis(100), "{took:?}");
    }

    #[test]
    fn the_clip_never_ends() {
        let mut first = None;
        let Kind::File(clip) = Input::Clip.open().unwrap().0 else { panic!("the clip is a file") };
        for datagram in clip.datagrams.take(600) {
            let datagram = datagram.unwrap();
            first.get_or_insert(datagram.payload.clone());
            assert_eq!(datagram.payload.len(), 1316);
        }
        assert_eq!(first.unwrap(), CLIP[..1316]);
        assert_eq!(clip.path, Path::new("clip.ts"));
    }

    #[test]
    fn a_looped_file_without_stamps_is_refused_at_once() {
        let error = recording(&CLIP[..2 * 188], true).unwrap_err().to_string();
        assert!(error.contains("looped"), "{error}");
    }

    #[test]
    fn the_sink_and_the_flag_end_a_source() {
        let (got, end) = collect(Input::Clip.open().unwrap(), 2);
        assert!(matches!(end, Ok(End::Stopped)) && got.len() == 2);
        let stopped = AtomicBool::new(true);
        let end = Input::Clip.open().unwrap().run(&stopped, |_| panic!("it was told to stop"));
        assert!(matches!(end, Ok(End::Stopped)));
    }
}
