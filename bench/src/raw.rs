//! The denominators: relay and fan-out without any protocol (performance
//! study, appendix A). One thread, edge-triggered, units of one length; each
//! unit is kept once and shared by all children. A unit's buffer is used again
//! when the last child has it, so steady state allocates nothing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use mio::{Events, Interest, Poll, Token};

use crate::cpu::thread_cpu;

/// Units that may wait for one child; then the parent is not read.
const DEPTH: usize = 8;

/// Two ends of a loopback connection.
///
/// # Errors
/// Those of the operating system.
pub fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let dialled = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    accepted.set_nodelay(true)?;
    dialled.set_nodelay(true)?;
    Ok((accepted, dialled))
}

/// One BLAKE3 and one Ed25519 verification, as a relay owes to every block.
#[derive(Debug)]
pub struct Check {
    key: VerifyingKey,
    signature: Signature,
}

impl Check {
    /// The check of a unit with this payload.
    #[must_use]
    pub fn new(payload: &[u8]) -> Self {
        let key = SigningKey::from_bytes(&[9; 32]);
        let signature = key.sign(&Self::message(payload));
        Self { key: key.verifying_key(), signature }
    }

    /// As long as what a block's signature stands for.
    fn message(payload: &[u8]) -> [u8; 96] {
        let mut message = [0; 96];
        message[64..].copy_from_slice(blake3::hash(payload).as_bytes());
        message
    }

    fn holds(&self, payload: &[u8]) -> bool {
        self.key.verify_strict(&Self::message(payload), &self.signature).is_ok()
    }
}

#[derive(Debug)]
struct Child {
    stream: mio::net::TcpStream,
    queue: VecDeque<Rc<Vec<u8>>>,
    /// Bytes of the first unit that are written.
    written: usize,
    writable: bool,
}

/// The children, and the buffers that go round.
#[derive(Debug)]
struct Children {
    all: Vec<Child>,
    /// The newest units, and how many of them stay though every child has them.
    kept: VecDeque<Rc<Vec<u8>>>,
    window: usize,
    spare: Vec<Vec<u8>>,
    /// Units that have left, summed over the children.
    left: u64,
}

impl Children {
    fn new(poll: &Poll, streams: Vec<TcpStream>, window: usize) -> io::Result<Self> {
        let mut all = Vec::new();
        for (n, stream) in streams.into_iter().enumerate() {
            let stream = register(poll, stream, n, Interest::WRITABLE)?;
            all.push(Child { stream, queue: VecDeque::new(), written: 0, writable: true });
        }
        Ok(Self { all, kept: VecDeque::new(), window, spare: Vec::new(), left: 0 })
    }

    fn buffer(&mut self, length: usize) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| vec![0; length])
    }

    fn push(&mut self, unit: Vec<u8>) {
        let unit = Rc::new(unit);
        self.all.iter_mut().for_each(|child| child.queue.push_back(Rc::clone(&unit)));
        if self.window > 0 {
            self.kept.push_back(unit);
        }
        if self.kept.len() > self.window {
            self.spare.extend(self.kept.pop_front().and_then(Rc::into_inner));
        }
    }

    fn is_full(&self) -> bool {
        self.all.iter().any(|child| child.queue.len() >= DEPTH)
    }

    /// Writes to every child until nothing waits or the kernel takes no more.
    fn write(&mut self) -> io::Result<()> {
        for child in &mut self.all {
            while child.writable
                && let Some(unit) = child.queue.front()
            {
                match child.stream.write(&unit[child.written..]) {
                    Ok(n) => child.written += n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => child.writable = false,
                    Err(e) => return Err(e),
                }
                if child.written == unit.len() {
                    child.written = 0;
                    self.left += 1;
                    self.spare.extend(child.queue.pop_front().and_then(Rc::into_inner));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, token: Token) {
        if let Some(child) = self.all.get_mut(token.0) {
            child.writable = true;
        }
    }
}

fn register(
    poll: &Poll,
    stream: TcpStream,
    token: usize,
    interest: Interest,
) -> io::Result<mio::net::TcpStream> {
    stream.set_nonblocking(true)?;
    let mut stream = mio::net::TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(token), interest)?;
    Ok(stream)
}

/// Relays `warm + count` units of `length` bytes from the parent to every
/// child, and keeps the last `window` of them, as a node does. Returns the CPU
/// time of this thread for the last `count`; whoever feeds it waits in between.
///
/// # Errors
/// Those of the sockets; [`ErrorKind::InvalidData`] if a check fails.
pub fn relay(
    parent: TcpStream,
    children: Vec<TcpStream>,
    (length, window): (usize, usize),
    (warm, count): (u64, u64),
    check: Option<&Check>,
) -> io::Result<Duration> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let fan = children.len() as u64;
    let mut children = Children::new(&poll, children, window)?;
    let mut parent = register(&poll, parent, usize::MAX - 1, Interest::READABLE)?;
    let header = check.map_or(0, |_| eddy_core::stream::block::BLOCK_HEADER);
    let (mut unit, mut have) = (children.buffer(length), 0);
    let (mut readable, mut began) = (true, None);
    while children.left < (warm + count) * fan {
        if began.is_none() && children.left >= warm * fan {
            began = Some(thread_cpu()?);
        }
        if !readable || children.is_full() {
            poll.poll(&mut events, None)?;
            for event in &events {
                readable |= event.token() == Token(usize::MAX - 1);
                children.note(event.token());
            }
        }
        while readable && !children.is_full() {
            match parent.read(&mut unit[have..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => readable = false,
                Err(e) => return Err(e),
            }
            if have == length {
                if check.is_some_and(|check| !check.holds(&unit[header..])) {
                    return Err(io::Error::new(ErrorKind::InvalidData, "a signature is wrong"));
                }
                let next = children.buffer(length);
                children.push(std::mem::replace(&mut unit, next));
                have = 0;
                children.write()?;
            }
        }
        children.write()?;
    }
    Ok(thread_cpu()?.saturating_sub(began.unwrap_or_default()))
}

/// Sends every child a unit of `length` bytes each `interval`, `warm + count`
/// times. Returns the CPU time of this thread for the last `count`.
///
/// # Errors
/// Those of the sockets.
pub fn fan_out(
    children: Vec<TcpStream>,
    length: usize,
    interval: Duration,
    warm: u64,
    count: u64,
) -> io::Result<Duration> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let fan = children.len() as u64;
    let mut children = Children::new(&poll, children, 0)?;
    let (start, mut made, mut began) = (Instant::now(), 0, Duration::ZERO);
    while children.left < (warm + count) * fan {
        let due = start + interval * made as u32;
        let now = Instant::now();
        if made < warm + count && now >= due {
            if made == warm {
                began = thread_cpu()?;
            }
            let unit = children.buffer(length);
            children.push(unit);
            made += 1;
        }
        children.write()?;
        let next = start + interval * made as u32;
        let more = made < warm + count;
        let sleep = more.then(|| next.saturating_duration_since(Instant::now()));
        if sleep != Some(Duration::ZERO) && (more || children.left < (warm + count) * fan) {
            poll.poll(&mut events, sleep)?;
            events.iter().for_each(|event| children.note(event.token()));
        }
    }
    Ok(thread_cpu()?.saturating_sub(began))
}
