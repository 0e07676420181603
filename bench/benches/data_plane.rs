//! DP1 to DP3, DP6 and DP7 of the performance study: the node in its drivers
//! over loopback sockets, against a raw relay or fan-out of the same frames.
//! DP8: the past served, against the same served live.
//!
//! `cargo bench -p eddy-bench --bench data_plane -- DP1 DP6` runs only these.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::process::{Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eddy_bench::cpu::{interleave, rate};
use eddy_bench::node::{Running, Runtime, config, join};
use eddy_bench::peer::{self, Connection, Parent};
use eddy_bench::raw::{self, Check};
use eddy_bench::sink::Sink;
use eddy_bench::stream::{Blocks, FIRST, SUB_STREAMS, channel, signer};
use eddy_bench::table::{self, Target, gigabytes, row};
use eddy_core::node::Node;
use eddy_core::stream::sign::Verifier;
use eddy_core::wire::message::{Message, TimeShiftRequest};
use eddy_core::{Command, Seq, Ticket};

/// Runs of numerator and denominator each.
const RUNS: usize = 7;
/// Payload bytes that leave in one run, about.
const OUT: usize = 512 << 20;
/// The first block that the node asks its parent for.
const BEGIN: Seq = Seq(FIRST.0 + 7);
/// Bytes between parent and slowest child; at least eight blocks.
const IN_FLIGHT: usize = 1 << 20;

/// A block length and the block duration that goes with it: 2.5 Mbit/s in
/// whole seconds, 3.3 and 1 Mbit/s in 40 ms.
const SIZES: [(usize, Duration); 3] = [
    (312_456, Duration::from_secs(1)),
    (16 << 10, Duration::from_millis(40)),
    (5 << 10, Duration::from_millis(40)),
];

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip_while(|a| a != IDLE).skip(1);
    if let Some(name) = arguments.next() {
        return Runtime::ALL.into_iter().find(|r| r.name() == name).map_or(Ok(()), idle_node);
    }
    table::head();
    if table::wanted("DP1") {
        dp1()?;
    }
    if table::wanted("DP2") {
        dp2()?;
    }
    if table::wanted("DP3") {
        dp3()?;
    }
    if table::wanted("DP6") {
        dp6()?;
    }
    if table::wanted("DP7") {
        dp7()?;
    }
    if table::wanted("DP8") {
        dp8()?;
    }
    Ok(())
}

/// One relay benchmark.
struct Relay {
    fan: u32,
    blocks: Blocks,
    block: Duration,
    warm: u64,
    count: u64,
    /// Time between blocks that are measured; zero for as fast as they go.
    interval: Duration,
    verified: bool,
    /// Whether the raw relay keeps what the node keeps.
    keeps: bool,
    /// Whether the source waits for the slowest child, and not for TCP alone. That
    /// of a node does: a node drops what a child is too slow for.
    waits: bool,
    runtime: Runtime,
}

impl Relay {
    fn unpaced(
        runtime: Runtime,
        fan: u32,
        (length, block): (usize, Duration),
        verified: bool,
    ) -> Self {
        // A verification is a fixed cost, so small blocks need fewer bytes.
        let most = if verified { 12_000 } else { u64::MAX };
        let count = ((OUT / length / fan as usize) as u64).clamp(200, most);
        let warm = (count / 4).max(50);
        let blocks = match verified {
            true => Blocks::signed(length, &channel(block), BEGIN, warm + count),
            false => Blocks::ghost(length),
        };
        let (interval, keeps, waits) = (Duration::ZERO, false, true);
        Self { fan, blocks, block, warm, count, interval, verified, keeps, waits, runtime }
    }

    /// Measures, and prints a row of the table.
    fn row(&self, id: &str, how: &str, target: Target) -> io::Result<()> {
        let who = format!("{}: relay", self.runtime.name());
        self.print(id, &who, how, self.run()?, target);
        Ok(())
    }

    /// Prints a row of the costs of this relay, and of another of the same blocks.
    fn print(
        &self,
        id: &str,
        who: &str,
        how: &str,
        (ours, theirs): (Duration, Duration),
        target: Target,
    ) {
        let (ours, theirs) = (rate(self.out(), ours), rate(self.out(), theirs));
        let what = format!("{who}, K = {}, {} B{how}", self.fan, self.blocks.payload().len());
        row(id, &what, &gigabytes(ours), &gigabytes(theirs), ours / theirs, target);
    }

    /// The smallest costs of the node and of the raw relay.
    fn run(&self) -> io::Result<(Duration, Duration)> {
        let check = self.verified.then(|| Check::new(self.blocks.payload()));
        interleave(RUNS, || self.node(), || self.raw(check.as_ref()))
    }

    /// Blocks that the node keeps.
    fn window(&self) -> usize {
        config(Verifier::ghost()).buffer.as_micros().div_ceil(self.block.as_micros()) as usize
    }

    /// Payload bytes that leave while it is measured.
    fn out(&self) -> f64 {
        self.count as f64 * self.fan as f64 * self.blocks.payload().len() as f64
    }

    fn node(&self) -> io::Result<Duration> {
        let parent = Parent::listen()?;
        let channel = channel(self.block);
        let verifier = if self.verified { Verifier::ed25519() } else { Verifier::ghost() };
        let node =
            Running::start(self.runtime, |now, _| Node::viewer(config(verifier), [3; 32], now))?;
        node.command(Ticket(1), join(&channel, vec![parent.member()?]))?;
        let (control, source, first) = parent.adopt()?;
        assert_eq!(first, BEGIN, "the node begins where the script expects");
        // A parent that brings nothing is left, and a node without one serves nobody.
        let round = u64::from(SUB_STREAMS).min(self.warm);
        (0..round).try_for_each(|n| self.blocks.write(BEGIN, n, &source))?;
        let mut controls = vec![control];
        let mut sinks = Vec::new();
        for n in 0..self.fan {
            let (control, blocks) = peer::child(node.addr(), &channel, n)?;
            controls.push(control);
            sinks.push(blocks);
        }
        let sink = Sink::start(sinks)?;
        self.feed(&source, &sink, round..self.warm, Duration::ZERO)?;
        let before = node.cpu()?;
        self.feed(&source, &sink, self.warm..self.warm + self.count, self.interval)?;
        let cost = node.cpu()?.saturating_sub(before);
        let stats = node.stop()?;
        sink.stop()?;
        let all = self.warm + self.count;
        let seen = (stats.due, stats.blocks_sent, stats.unwanted + stats.repaired);
        if seen != (all, all * u64::from(self.fan), 0) {
            return Err(io::Error::other(format!("the run was not clean: {stats:?}")));
        }
        Ok(cost)
    }

    fn raw(&self, check: Option<&Check>) -> io::Result<Duration> {
        let (parent, source) = raw::pair()?;
        let (mut children, mut sinks) = (Vec::new(), Vec::new());
        for _ in 0..self.fan {
            let (child, sink) = raw::pair()?;
            children.push(child);
            sinks.push(sink);
        }
        let (warm, count) = (self.warm, self.count);
        let window = if self.keeps { self.window() } else { 0 };
        let units = (self.blocks.frame_len(), window);
        let sink = Sink::start(sinks)?;
        let cost = thread::scope(|scope| {
            let relay =
                scope.spawn(move || raw::relay(parent, children, units, (warm, count), check));
            self.feed(&source, &sink, 0..warm, Duration::ZERO)?;
            self.feed(&source, &sink, warm..warm + count, self.interval)?;
            relay.join().unwrap_or_else(|_| Err(io::Error::other("the relay panicked")))
        })?;
        sink.stop()?;
        Ok(cost)
    }

    /// Sends blocks, not far ahead of the slowest child unless only TCP holds
    /// them back, and waits until every child has them all.
    fn feed(
        &self,
        to: &TcpStream,
        sink: &Sink,
        range: Range<u64>,
        interval: Duration,
    ) -> io::Result<()> {
        let frame = self.blocks.frame_len() as u64;
        let ahead = if self.waits { (IN_FLIGHT as u64 / frame).max(8) } else { u64::MAX };
        let start = Instant::now();
        for n in range.clone() {
            sink.wait((n + 1).saturating_sub(ahead) * frame)?;
            let due = start + interval * (n - range.start) as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.blocks.write(BEGIN, n, to)?;
        }
        sink.wait(range.end * frame)
    }
}

fn relays(id: &str, runtime: Runtime, verified: bool, target: f64) -> io::Result<()> {
    for size in SIZES {
        for fan in [1, 4, 8, 32] {
            let relay = Relay::unpaced(runtime, fan, size, verified);
            relay.row(id, "", Target::AtLeast(target))?;
        }
    }
    Ok(())
}

fn dp1() -> io::Result<()> {
    relays("DP1", Runtime::Mio, false, 0.80)?;
    relays("DP1", Runtime::AsyncStd, false, 0.65)?;
    // The raw relay uses the buffer of a unit again at once, so that it has all of
    // them in its cache, one after another in the same memory; a node has a window.
    for (runtime, target) in [(Runtime::Mio, 0.80), (Runtime::AsyncStd, 0.65)] {
        for fan in [1, 4, 8, 32] {
            let relay = Relay { keeps: true, ..Relay::unpaced(runtime, fan, SIZES[0], false) };
            relay.row("DP1", ", both keep 30 s", Target::AtLeast(target))?;
        }
    }
    // What the window alone costs, in vectors. And what waiting for the
    // children spares the relay: the study's own had a source that TCP alone held back,
    // so that all buffers of the kernel were full, and cold.
    for fan in [1, 4] {
        let relay = || Relay::unpaced(Runtime::Mio, fan, SIZES[0], false);
        let (bare, keeps) = (relay(), Relay { keeps: true, ..relay() });
        let costs = interleave(RUNS, || keeps.raw(None), || bare.raw(None))?;
        keeps.print("DP1", "raw relay that keeps 30 s", "", costs, Target::None);
        let ahead = Relay { waits: false, ..relay() };
        let costs = interleave(RUNS, || ahead.raw(None), || bare.raw(None))?;
        ahead.print("DP1", "raw relay, held back by TCP alone", "", costs, Target::None);
    }
    Ok(())
}

fn dp2() -> io::Result<()> {
    relays("DP2", Runtime::Mio, true, 0.85)
}

fn dp6() -> io::Result<()> {
    let length = 16 << 10;
    let relay = Relay {
        fan: 4,
        blocks: Blocks::ghost(length),
        block: Duration::from_millis(20),
        // First, at full speed, the node's window of 30 s fills: until then every
        // block touches memory that is new. Then blocks still come faster than
        // their slots, which the node takes for the catching-up of a start for
        // no more than four seconds.
        warm: 1_600,
        count: 400,
        interval: Duration::from_secs_f64(length as f64 * 8.0 / 20e6),
        verified: false,
        keeps: false,
        waits: true,
        runtime: Runtime::Mio,
    };
    relay.row("DP6", ", 20 Mbit/s in, 80 out", Target::AtLeast(0.80))
}

/// Blocks that one request for the past asks for, and requests that wait.
const ASKED: u64 = 25;
const WAITING: u64 = 8;
/// The newest blocks, of which the past is made: the node has them in memory.
const PAST: u64 = 500;

fn dp8() -> io::Result<()> {
    for fan in [1, 4] {
        let relay = Relay::unpaced(Runtime::Mio, fan, SIZES[1], false);
        let (past, live) = interleave(RUNS, || relay.past(), || relay.node())?;
        let served = (relay.past_rounds() * ASKED * u64::from(fan)) as f64;
        let past = rate(served * relay.blocks.payload().len() as f64, past);
        let live = rate(relay.out(), live);
        let what = format!("mio: the past from memory, against live, K = {fan}, 16384 B");
        let target = Target::AtLeast(0.5);
        row("DP8", &what, &gigabytes(past), &gigabytes(live), past / live, target);
    }
    Ok(())
}

impl Relay {
    /// Requests of each viewer.
    fn past_rounds(&self) -> u64 {
        self.count / ASKED
    }

    /// The node remembers what it relayed, and viewers ask for that.
    fn past(&self) -> io::Result<Duration> {
        let parent = Parent::listen()?;
        let channel = channel(self.block);
        let node = Running::start(self.runtime, |now, _| {
            Node::viewer(config(Verifier::ghost()), [3; 32], now)
        })?;
        node.command(Ticket(1), join(&channel, vec![parent.member()?]))?;
        let (_control, source, first) = parent.adopt()?;
        assert_eq!(first, BEGIN, "the node begins where the script expects");
        let all = PAST + 250;
        (0..all).try_for_each(|n| self.blocks.write(BEGIN, n, &source))?;
        let (mut asks, mut sinks) = (Vec::new(), Vec::new());
        for n in 0..self.fan {
            let stream = peer::past(node.addr(), &channel, n)?;
            asks.push(stream.try_clone()?);
            sinks.push(stream);
        }
        let sink = Sink::start(sinks)?;
        let mut ask = |rounds: Range<u64>| {
            for round in rounds.clone() {
                let served = (round + 1).saturating_sub(WAITING) * ASKED;
                sink.wait(served * self.blocks.frame_len() as u64)?;
                let first = BEGIN.plus(all - PAST + round * ASKED % PAST);
                let request = TimeShiftRequest { first, blocks: ASKED as u8 };
                let request = peer::encode(&Message::TimeShiftRequest(request));
                asks.iter_mut().try_for_each(|to| to.write_all(&request))?;
            }
            sink.wait(rounds.end * ASKED * self.blocks.frame_len() as u64)
        };
        let warm = PAST / ASKED;
        ask(0..warm)?;
        let before = node.cpu()?;
        ask(warm..warm + self.past_rounds())?;
        let cost = node.cpu()?.saturating_sub(before);
        let stats = node.stop()?;
        sink.stop()?;
        let expected = (warm + self.past_rounds()) * ASKED * u64::from(self.fan);
        if stats.past_sent != expected {
            return Err(io::Error::other(format!("the run was not clean: {stats:?}")));
        }
        Ok(cost)
    }
}

/// Viewers that the provider feeds.
const VIEWERS: u32 = 1_000;
/// Datagram of the encoder.
const PACKET: usize = 1_316;
/// Time between two of them at 1 Mbit/s.
const PACKET_INTERVAL: Duration = Duration::from_nanos(PACKET as u64 * 8_000);
/// How long a fan-out is measured.
const FAN_TIME: Duration = Duration::from_secs(3);

fn dp3() -> io::Result<()> {
    provider_row(Runtime::Mio, 1.5)?;
    provider_row(Runtime::AsyncStd, 2.0)
}

fn provider_row(runtime: Runtime, target: f64) -> io::Result<()> {
    let block = Duration::from_millis(40);
    let (ours, theirs) = interleave(RUNS, || provider(runtime, block), || raw_fan_out(block))?;
    let percent = |cost: Duration| {
        format!("{:.1} % of a core", 100.0 * cost.as_secs_f64() / FAN_TIME.as_secs_f64())
    };
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    let what = format!("{}: provider, 1000 viewers at 1 Mbit/s, D = 40 ms", runtime.name());
    row("DP3", &what, &percent(ours), &percent(theirs), ratio, Target::AtMost(target));
    Ok(())
}

fn provider(runtime: Runtime, block: Duration) -> io::Result<Duration> {
    let channel = channel(block);
    let config = config(Verifier::ed25519());
    let node = Running::start(runtime, |now, _| {
        Node::provider(config, channel.clone(), signer(), Vec::new(), None, [3; 32], now)
    })?;
    let (mut controls, mut sinks) = (Vec::new(), Vec::new());
    for n in 0..VIEWERS {
        let (control, blocks) = peer::child(node.addr(), &channel, n)?;
        controls.push(control);
        sinks.push(blocks);
    }
    let sink = Sink::start(sinks)?;
    encode(&node, &mut controls, FAN_TIME / 3)?;
    let before = node.cpu()?;
    encode(&node, &mut controls, FAN_TIME)?;
    let after = node.cpu()?;
    // What is still on the way arrives, and the open slot ends.
    thread::sleep(Duration::from_millis(500));
    let (stats, got) = (node.stop()?, sink.least());
    sink.stop()?;
    if got < stats.payload || stats.blocks_dropped > 0 {
        let want = stats.payload;
        return Err(io::Error::other(format!("a viewer got {got} of {want} bytes")));
    }
    Ok(after.saturating_sub(before))
}

/// Publishes packets as an encoder sends them; every viewer says what it holds
/// once a second.
fn encode(node: &Running, viewers: &mut [Connection], time: Duration) -> io::Result<()> {
    let packet = Bytes::from_static(&[0x47; PACKET]);
    let map = peer::empty_map();
    let packets = (time.as_nanos() / PACKET_INTERVAL.as_nanos()) as u32;
    let start = Instant::now();
    let mut told = 0;
    for n in 0..packets {
        let due = start + PACKET_INTERVAL * n;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        node.command(Ticket(u64::from(n)), Command::Publish(packet.clone()))?;
        let tell = (start.elapsed().as_secs_f64() * viewers.len() as f64) as usize;
        for n in told..tell {
            let turn = n % viewers.len();
            viewers[turn].say(&map)?;
        }
        told = tell;
    }
    Ok(())
}

fn raw_fan_out(block: Duration) -> io::Result<Duration> {
    let (mut children, mut sinks) = (Vec::new(), Vec::new());
    for _ in 0..VIEWERS {
        let (child, sink) = raw::pair()?;
        children.push(child);
        sinks.push(sink);
    }
    let sink = Sink::start(sinks)?;
    let length = (block.as_secs_f64() * 1e6 / 8.0) as usize;
    let blocks = |time: Duration| (time.as_nanos() / block.as_nanos()) as u64;
    let (warm, count) = (blocks(FAN_TIME / 3), blocks(FAN_TIME));
    let fan = thread::spawn(move || raw::fan_out(children, length, block, warm, count));
    let cost = fan.join().unwrap_or_else(|_| Err(io::Error::other("the fan-out panicked")))?;
    sink.stop()?;
    Ok(cost)
}

/// The argument that makes this program the idle node of DP7; the runtime's
/// name follows.
const IDLE: &str = "--idle-node";

/// A provider and nothing else, until its standard input ends.
fn idle_node(runtime: Runtime) -> io::Result<()> {
    let channel = channel(Duration::from_millis(40));
    let config = config(Verifier::ed25519());
    let node = Running::start(runtime, |now, _| {
        Node::provider(config, channel, signer(), Vec::new(), None, [3; 32], now)
    })?;
    println!("{}", node.addr());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    node.stop().map(drop)
}

fn dp7() -> io::Result<()> {
    Runtime::ALL.into_iter().try_for_each(memory_row)
}

fn memory_row(runtime: Runtime) -> io::Result<()> {
    let mut process = Process::new(std::env::current_exe()?)
        .args([IDLE, runtime.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let cost = memory_per_peer(&mut process);
    // Its input ends here, and with it the process.
    drop(process.stdin.take());
    process.wait()?;
    let cost = cost? / 1024.0;
    let name = runtime.name();
    let what = format!("{name}: memory a connected peer, 1000 idle partners, maps each second");
    row("DP7", &what, &format!("{cost:.1} KiB"), "—", cost, Target::AtMost(16.0));
    Ok(())
}

fn memory_per_peer(process: &mut std::process::Child) -> io::Result<f64> {
    let Some(out) = process.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let mut addr = String::new();
    BufReader::new(out).read_line(&mut addr)?;
    let addr = addr.trim().parse().map_err(io::Error::other)?;
    let channel = channel(Duration::from_millis(40));
    thread::sleep(Duration::from_secs(2));
    let before = resident(process.id())?;
    let mut partners = Vec::new();
    for n in 0..VIEWERS {
        partners.push(peer::partner(addr, &channel, n)?);
    }
    let map = peer::empty_map();
    for _ in 0..10 {
        thread::sleep(Duration::from_secs(1));
        partners.iter_mut().try_for_each(|partner| partner.say(&map))?;
    }
    let after = resident(process.id())?;
    Ok(after.saturating_sub(before) as f64 / f64::from(VIEWERS))
}

/// Resident bytes of a process.
fn resident(process: u32) -> io::Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    // Linux on x86-64, the only system that this runs on, has pages of 4 KiB.
    pages.map(|pages| pages * 4096).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
