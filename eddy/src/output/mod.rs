//! Where a viewer's packets go: to a player over UDP, into a file, to
//! standard output, or nowhere.

pub mod playout;

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IoSlice, IsTerminal as _, Write as _};
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::input::udp_url::{UdpUrl, UrlProblem};

pub use playout::Playout;

/// Kernel buffer for datagrams on their way out: what a burst of a whole block needs.
const SEND_BUFFER: usize = 4 << 20;
/// Bytes gathered for a file or a pipe before they are written.
const WRITE_BUFFER: usize = 64 << 10;

/// What `--output` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// `udp://HOST:PORT`: each packet as one datagram, as the encoder sent it.
    Udp(UdpUrl),
    /// A file; what it held before is lost with the first packet.
    File(PathBuf),
    /// `-`: standard output.
    Stdout,
    /// `null`: counted and forgotten.
    Null,
}

/// Why an output cannot be used.
#[derive(Debug)]
pub enum OutputError {
    /// A scheme other than `udp`.
    Scheme(String),
    /// A bad `udp://` address.
    Url(String, UrlProblem),
    /// The host has no address, or no datagram can be sent there.
    Udp(String, io::Error),
    /// The file cannot be written.
    File(PathBuf, io::Error),
    /// Standard output cannot be written.
    Stdout(io::Error),
    /// Standard output is a terminal.
    Terminal,
}

impl Output {
    /// Reads the value of `--output`.
    ///
    /// # Errors
    /// If it names an unknown scheme or a bad address.
    pub fn parse(text: &str) -> Result<Self, OutputError> {
        match (text, text.split_once("://")) {
            ("-", _) => Ok(Self::Stdout),
            ("null", _) => Ok(Self::Null),
            (_, Some(("udp", rest))) => {
                let url = UdpUrl::parse(rest).and_then(UdpUrl::with_host);
                url.map(Self::Udp).map_err(|problem| OutputError::Url(text.into(), problem))
            }
            (_, Some((scheme, _))) => Err(OutputError::Scheme(scheme.into())),
            (path, None) => Ok(Self::File(path.into())),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// If the host is unknown, or the file cannot be created.
    pub fn open(&self) -> Result<Outlet, OutputError> {
        let way = match self {
            Self::Udp(url) => {
                Udp::open(url).map(Way::Udp).map_err(|e| OutputError::Udp(url.to_string(), e))?
            }
            Self::File(path) => {
                return create(path).map_err(|e| OutputError::File(path.clone(), e));
            }
            Self::Stdout if io::stdout().is_terminal() => return Err(OutputError::Terminal),
            Self::Stdout => stdout().map_err(OutputError::Stdout)?,
            Self::Null => Way::Null,
        };
        Ok(Outlet { way, empties: false, counters: Arc::default() })
    }
}

/// What stands in the file stays there until there is something to write instead.
fn create(path: &Path) -> io::Result<Outlet> {
    let file = File::options().write(true).create(true).truncate(false).open(path)?;
    let empties = file.metadata()?.is_file();
    let way = Way::Stream(BufWriter::with_capacity(WRITE_BUFFER, file));
    Ok(Outlet { way, empties, counters: Arc::default() })
}

/// Standard output without the line buffer that the standard library puts before it.
fn stdout() -> io::Result<Way> {
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(Way::Stream(BufWriter::with_capacity(WRITE_BUFFER, file)))
}

/// An open output.
#[derive(Debug)]
pub struct Outlet {
    way: Way,
    /// It is a file in which something may stand of before.
    empties: bool,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum Way {
    Udp(Udp),
    Stream(BufWriter<File>),
    Null,
}

#[cfg(test)]
impl Outlet {
    /// An outlet into a pipe.
    pub(crate) fn for_test(pipe: io::PipeWriter) -> Self {
        let file = File::from(std::os::fd::OwnedFd::from(pipe));
        Self {
            way: Way::Stream(BufWriter::with_capacity(WRITE_BUFFER, file)),
            empties: false,
            counters: Arc::default(),
        }
    }
}

/// What went out. Readable from any thread.
#[derive(Debug, Default)]
pub struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
}

impl Outlet {
    /// Emits a packet. Over UDP it never blocks and never fails: a datagram
    /// that the system does not take is counted as lost.
    ///
    /// # Errors
    /// If a file or pipe cannot be written; `BrokenPipe` means that the player has gone.
    pub fn packet(&mut self, payload: &[u8]) -> io::Result<()> {
        match &mut self.way {
            Way::Udp(udp) if !udp.send(payload) => {
                self.counters.count_lost(1);
                return Ok(());
            }
            Way::Stream(stream) => {
                if mem::take(&mut self.empties) {
                    stream.get_ref().set_len(0)?;
                }
                stream.write_all(payload)?;
            }
            Way::Udp(_) | Way::Null => {}
        }
        self.counters.packets.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Emits packets that leave together, with as few system calls as the
    /// system allows.
    ///
    /// # Errors
    /// As [`packet`](Self::packet).
    pub fn burst(&mut self, packets: &[Bytes]) -> io::Result<()> {
        let Way::Udp(udp) = &mut self.way else {
            return packets.iter().try_for_each(|packet| self.packet(packet));
        };
        for run in packets.chunk_by(|a, b| a.len() == b.len()) {
            for part in run.chunks(udp.segments(run[0].len())) {
                let bytes: usize = part.iter().map(Bytes::len).sum();
                let sent = udp.send_run(part);
                self.counters.packets.fetch_add(sent as u64, Ordering::Relaxed);
                self.counters.count_lost(part.len() - sent);
                if sent == part.len() {
                    self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// Writes what is gathered; call it once a block.
    ///
    /// # Errors
    /// As [`packet`](Self::packet).
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.way {
            Way::Stream(stream) => stream.flush(),
            Way::Udp(_) | Way::Null => Ok(()),
        }
    }

    /// Whether emitting may wait for somebody: a pipe's reader, a disk.
    pub fn may_block(&self) -> bool {
        matches!(self.way, Way::Stream(_))
    }

    /// What went out.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

impl Counters {
    /// Packets emitted.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Bytes emitted.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Packets that the player did not take.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Counts packets that the player did not take.
    pub fn count_lost(&self, packets: usize) {
        self.lost.fetch_add(packets as u64, Ordering::Relaxed);
    }
}

/// A socket that is not connected, so that a player which is not there yet,
/// or no longer, causes no error on the next datagram.
#[derive(Debug)]
struct Udp {
    socket: UdpSocket,
    to: SocketAddr,
    /// Whether the system cuts one long send into datagrams (Linux's
    /// `UDP_SEGMENT`); found out by trying.
    segments: bool,
}

/// Datagrams in one segmented send, at most: the kernel's limit is 64 in
/// older versions.
const MAX_SEGMENTS: usize = 64;
/// Bytes in one segmented send: what an IP packet's length field allows.
const MAX_RUN: usize = 65_000;

impl Udp {
    fn open(url: &UdpUrl) -> io::Result<Self> {
        let to = url.resolve()?;
        let local: SocketAddr = match to {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        let options = socket2::SockRef::from(&socket);
        options.set_send_buffer_size(SEND_BUFFER)?;
        if let (SocketAddr::V4(_), Some(interface)) = (to, url.interface()) {
            options.set_multicast_if_v4(&interface)?;
        }
        Ok(Self { socket, to, segments: cfg!(target_os = "linux") })
    }

    /// How many datagrams of this length one send can carry.
    fn segments(&self, length: usize) -> usize {
        (MAX_RUN / length.max(1)).clamp(1, MAX_SEGMENTS)
    }

    /// Sends datagrams of one length; how many the system took.
    fn send_run(&mut self, packets: &[Bytes]) -> usize {
        if self.segments && packets.len() > 1 {
            match self.send_segmented(packets) {
                Ok(()) => return packets.len(),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return 0,
                // Not by this kernel, this device, or at this length.
                Err(_) => self.segments = false,
            }
        }
        packets.iter().filter(|packet| self.send(packet)).count()
    }

    #[cfg(target_os = "linux")]
    fn send_segmented(&self, packets: &[Bytes]) -> io::Result<()> {
        use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
        use std::os::fd::AsRawFd as _;
        let slices: SmallVec<[IoSlice<'_>; MAX_SEGMENTS]> =
            packets.iter().map(|packet| IoSlice::new(packet)).collect();
        let length = u16::try_from(packets[0].len()).map_err(io::Error::other)?;
        let cut = [ControlMessage::UdpGsoSegments(&length)];
        let to = match self.to {
            SocketAddr::V4(to) => SockaddrStorage::from(to),
            SocketAddr::V6(to) => SockaddrStorage::from(to),
        };
        sendmsg(self.socket.as_raw_fd(), &slices, &cut, MsgFlags::empty(), Some(&to))?;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn send_segmented(&self, _: &[Bytes]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn send(&self, payload: &[u8]) -> bool {
        self.socket.send_to(payload, self.to).is_ok()
    }
}

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => write!(
                f,
                "{scheme}:// is no output that Eddy knows; it can be udp://HOST:PORT, a file name, - for standard output, or null"
            ),
            Self::Url(url, problem) => write!(f, "{url}: {problem}"),
            Self::Udp(url, e) => write!(f, "cannot send to {url}: {e}"),
            Self::File(path, e) => write!(f, "cannot write {}: {e}", path.display()),
            Self::Stdout(e) => write!(f, "cannot write to standard output: {e}"),
            Self::Terminal => f.write_str(
                "standard output is a terminal; pipe it into a player, for example: eddy viewer … --output - | mpv -",
            ),
        }
    }
}

impl std::error::Error for OutputError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reads_every_form() {
        assert_eq!(Output::parse("-").unwrap(), Output::Stdout);
        assert_eq!(Output::parse("null").unwrap(), Output::Null);
        assert_eq!(Output::parse("a/b.ts").unwrap(), Output::File("a/b.ts".into()));
        assert!(matches!(Output::parse("udp://[::1]:5004").unwrap(), Output::Udp(_)));
    }

    #[test]
    fn errors_say_what_to_write_instead() {
        let says = |text: &str, part: &str| {
            let error = Output::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        says("rtmp://localhost/live", "udp://HOST:PORT");
        says("udp://localhost", "port");
        says("udp://:5004", "host");
        says("udp://127.0.0.1:5004?pkt_size=1316", "pkt_size");
    }

    #[test]
    fn a_datagram_a_packet_and_no_error_without_a_player() {
        let player = UdpSocket::bind("127.0.0.1:0").unwrap();
        player.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let url = format!("udp://{}", player.local_addr().unwrap());
        let mut outlet = Output::parse(&url).unwrap().open().unwrap();
        assert!(!outlet.may_block());
        let mut buffer = [0; 2_000];
        for length in [1316, 1, 0, 188] {
            outlet.packet(&vec![7; length]).unwrap();
            assert_eq!(player.recv(&mut buffer).unwrap(), length);
        }
        drop(player);
        (0..5).for_each(|_| outlet.packet(&[1; 10]).unwrap());
        assert_eq!((outlet.counters().packets(), outlet.counters().bytes()), (9, 1_555));
        // No datagram is that long.
        outlet.packet(&[0; 70_000]).unwrap();
        assert_eq!((outlet.counters().packets(), outlet.counters().lost()), (9, 1));
    }

    #[test]
    fn a_file_holds_what_was_flushed() {
        let path = std::env::temp_dir().join(format!("eddy-output-{}.ts", std::process::id()));
        std::fs::write(&path, b"a recording").unwrap();
        let mut outlet = Output::parse(path.to_str().unwrap()).unwrap().open().unwrap();
        assert!(outlet.may_block());
        outlet.flush().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"a recording", "nothing came instead");
        outlet.packet(b"one").unwrap();
        outlet.packet(b"two").unwrap();
        outlet.flush().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
        std::fs::remove_file(&path).unwrap();
        let nowhere = Output::File("/no/such/folder/x.ts".into()).open().unwrap_err().to_string();
        assert!(nowhere.contains("/no/such/folder/x.ts"), "{nowhere}");
    }
}
