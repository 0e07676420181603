//! Processes of the program, followed by what they say; an encoder to feed them.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The longest wait for anything; a busy machine may need it.
const PATIENCE: Duration = Duration::from_secs(40);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A run of the program. It is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    arguments: String,
    stdout: Option<ChildStdout>,
    said: Arc<Mutex<String>>,
    logs: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (said, logs) = (read(&self.said), read(&self.logs));
        write!(f, "eddy {}\n--- said\n{said}--- logged\n{logs}", self.arguments)
    }
}

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(&mut Command::new(env!("CARGO_BIN_EXE_eddy")), arguments)
    }

    /// As `nohup` starts it.
    pub(crate) fn start_under_nohup(arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_eddy")]);
        Self::spawn(&mut shell, arguments)
    }

    fn spawn(command: &mut Command, arguments: &[&str]) -> Self {
        let mut child = command
            .args(arguments)
            .env_remove("EDDY_LOG")
            // Without a home nothing is kept of a channel but where the test says.
            .env_remove("HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (said, logs) = (Arc::default(), Arc::default());
        let mut readers = vec![gather(child.stderr.take().expect("it is piped"), &logs)];
        let mut stdout = child.stdout.take();
        // Where the stream itself comes out, the test reads.
        if !arguments.windows(2).any(|pair| pair == ["--output", "-"]) {
            readers.push(gather(stdout.take().expect("it is piped"), &said));
        }
        Self { child, arguments: arguments.join(" "), stdout, said, logs, readers }
    }

    /// Waits for a condition.
    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < end, "waited in vain for {what}: {self:?}");
            thread::sleep(LOOK);
        }
    }

    /// Waits for a log line.
    pub(crate) fn log(&self, part: &str) {
        self.until(part, || read(&self.logs).contains(part));
    }

    /// Waits for the JSON line with this value, and gives another of its fields.
    pub(crate) fn text(&self, key: &str, value: &str, field: &str) -> String {
        let find = || self.lines().into_iter().find(|line| line[key] == value);
        self.until(value, || find().is_some());
        find().and_then(|line| line[field].as_str().map(str::to_owned)).expect("the field is text")
    }

    /// The newest number of that name; 0 before the first.
    pub(crate) fn count(&self, field: &str) -> u64 {
        self.lines().iter().rev().find_map(|line| line[field].as_u64()).unwrap_or(0)
    }

    /// Waits for a number to grow.
    pub(crate) fn counts(&self, field: &str, least: u64) {
        self.until(&format!("{field} {least}"), || self.count(field) >= least);
    }

    /// The last JSON line that it printed.
    pub(crate) fn last(&self) -> Value {
        self.lines().pop().unwrap_or_default()
    }

    fn lines(&self) -> Vec<Value> {
        read(&self.said).lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
    }

    /// What it logged so far.
    pub(crate) fn logs(&self) -> String {
        read(&self.logs).clone()
    }

    /// What it printed so far.
    pub(crate) fn said(&self) -> String {
        read(&self.said).clone()
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        kill(self.pid(), Signal::SIGINT).expect("it runs");
    }

    /// Its terminal goes away.
    pub(crate) fn hang_up(&self) {
        kill(self.pid(), Signal::SIGHUP).expect("it runs");
    }

    /// As a supervisor ends it that asks the process, then its whole group.
    pub(crate) fn interrupt_twice_over(&self) {
        self.interrupt();
        kill(self.pid(), Signal::SIGTERM).expect("it runs");
    }

    /// What no program can answer.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids are small"))
    }

    /// Reads this much of the stream, then goes away.
    pub(crate) fn close_output_after(&mut self, bytes: usize) {
        let mut stdout = self.stdout.take().expect("the stream comes out here");
        stdout.read_exact(&mut vec![0; bytes]).expect("the stream");
    }

    /// Waits for its end, and for all that it said; `None` if a signal ended it.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                break status;
            }
            assert!(Instant::now() < end, "it does not end: {self:?}");
            thread::sleep(LOOK);
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("the reader ends");
        }
        status.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn gather(from: impl io::Read + Send + 'static, to: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let to = to.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            let mut text = read(&to);
            text.push_str(&line);
            text.push('\n');
        }
    })
}

/// Sends numbered datagrams of many lengths, 200 a second, none of them a
/// transport stream's, and remembers them.
pub(crate) struct Encoder {
    stop: Arc<AtomicBool>,
    sent: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Encoder {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, log) = (stop.clone(), sent.clone());
        let thread = thread::spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            for number in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let datagram = datagram(number);
                read(&log).extend(&datagram);
                socket.send_to(&datagram, to).expect("loopback takes it");
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Whether these bytes are a contiguous range of what was sent, from the
    /// border of a datagram on.
    pub(crate) fn assert_has_sent(&self, bytes: &[u8]) {
        let sent = read(&self.sent);
        let number = bytes.get(..8).and_then(|b| b.try_into().ok()).expect("something came out");
        let before: usize = (0..u64::from_be_bytes(number)).map(|n| datagram(n).len()).sum();
        let range = sent.get(before..before + bytes.len()).expect("not more than was sent");
        let same = range.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        assert_eq!(same, bytes.len(), "the output differs from there on");
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Its number, then up to 1,392 bytes that depend on it.
fn datagram(number: u64) -> Vec<u8> {
    let length = (number * 7_919 % 1_393) as usize;
    let body = (0..length).map(|n| (number as usize * 31 + n * 7) as u8);
    number.to_be_bytes().into_iter().chain(body).collect()
}

/// A folder for one test, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("eddy-live-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Makes a server answer on another port too, for as long as the test runs.
pub(crate) fn relay(port: u16, server: SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is still free");
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { return };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let clones = from.try_clone().and_then(|from| Ok((from, to.try_clone()?)));
                let (mut from, mut to) = clones.expect("enough descriptors");
                thread::spawn(move || {
                    // Either end may go at any time; then the other one goes too.
                    io::copy(&mut from, &mut to).ok();
                    to.shutdown(Shutdown::Both).ok();
                });
            }
        }
    });
}

/// What another thread writes; a test that failed there must not hide it here.
fn read<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
