//! KR1 to KR3: the DHT's datagrams, read and answered, against what a few lines
//! without bencode do with the same bytes.

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eddy_bench::cpu::{cost, interleave, rate};
use eddy_bench::table::{self, Target, row};
use eddy_core::Time;
use eddy_core::dht::krpc::{Answer, Body, Packet, Query, Tx, Want, emit, parse};
use eddy_core::dht::{Dht, DhtConfig, Effect, Key};
use eddy_core::rng::Rng;

/// Runs of numerator and denominator each.
const RUNS: usize = 9;
/// Datagrams read in one run.
const READ: u64 = 1 << 18;
/// Queries answered in one run, and the time between two of them: what is
/// answered is limited in bytes a second.
const ANSWERED: u64 = 1 << 15;
const GAP: Duration = Duration::from_millis(10);
/// Nodes that the answering one knows, and records under the key.
const NODES: u8 = 100;
const RECORDS: u8 = 10;
const START: Time = Time::from_secs(1_767_225_600);
const KEY: Key = Key(*b"mnopqrstuvwxyz123456");
const NETWORK: Option<[u8; 8]> = Some(*b"eddy tv1");

fn main() -> io::Result<()> {
    table::head();
    let mut node = Answering::new();
    let query = get_peers(1);
    read("KR1", "read a get_peers query, against a scan for its key", &query, b"9:info_hash20:")?;
    let answer = node.answer(1, &query).expect("it is within all limits");
    read(
        "KR2",
        "read its answer, 8 nodes and 10 records, against a scan",
        &answer,
        b"5:nodes208:",
    )?;
    answer_all(&mut node, &answer)
}

fn addr(n: u8) -> SocketAddr {
    ([10, 1, n, 1], 4_000).into()
}

fn id(n: u8) -> Key {
    Key::sha1(&[&[n]])
}

fn packet(t: &[u8], body: Body) -> Bytes {
    emit(&Packet { t: Tx::from_slice(t), ns: NETWORK, body })
}

fn query(n: u8, query: Query) -> Bytes {
    packet(b"abcd", Body::Query { id: id(n), read_only: false, query })
}

fn get_peers(n: u8) -> Bytes {
    let want = Want { v4: true, v6: false };
    query(n, Query::GetPeers { key: KEY, want, scrape: false, lives: false })
}

fn thousands(count: u64, cost: Duration) -> f64 {
    rate(count as f64, cost) / 1e3
}

fn text(thousands: f64) -> String {
    format!("{thousands:.0} k/CPU-s")
}

/// Reads a datagram again and again; the scan copies what follows this key, and
/// believes the rest.
fn read(row_id: &str, what: &str, datagram: &Bytes, key: &[u8]) -> io::Result<()> {
    let ours = || {
        cost(|| {
            for _ in 0..READ {
                black_box(parse(black_box(datagram)).is_ok());
            }
        })
    };
    let theirs = || {
        cost(|| {
            for _ in 0..READ {
                let bytes = black_box(&datagram[..]);
                let at = bytes.windows(key.len()).position(|window| window == key);
                let found = at.and_then(|at| bytes.get(at + key.len()..at + key.len() + 20));
                black_box(found.map(<[u8]>::to_vec));
            }
        })
    };
    let (ours, theirs) = interleave(RUNS, ours, theirs)?;
    let (ours, theirs) = (thousands(READ, ours), thousands(READ, theirs));
    let what = format!("{what} ({} B)", datagram.len());
    row(row_id, &what, &text(ours), &text(theirs), ours / theirs, Target::None);
    Ok(())
}

/// A whole query answered, against the least that an honest answer costs: the
/// token's keyed hash, and the bytes written down.
fn answer_all(node: &mut Answering, answer: &Bytes) -> io::Result<()> {
    let queries: Vec<(u8, Bytes)> = (1..=NODES).map(|n| (n, get_peers(n))).collect();
    let mut sent = 0;
    let ours = || {
        cost(|| {
            for (n, query) in queries.iter().cycle().take(ANSWERED as usize) {
                sent += u64::from(node.answer(*n, query).is_some());
            }
        })
    };
    let theirs = || {
        cost(|| {
            for n in 0..ANSWERED {
                let mut hash = blake3::Hasher::new_keyed(black_box(&[7; 32]));
                hash.update(&n.to_le_bytes()).update(&KEY.0).update(&[10, 1, 1, 1]);
                let token = hash.finalize();
                let mut bytes = answer.to_vec();
                bytes[..8].copy_from_slice(&token.as_bytes()[..8]);
                black_box(bytes);
            }
        })
    };
    let (ours, theirs) = interleave(RUNS, ours, theirs)?;
    assert_eq!(sent, RUNS as u64 * ANSWERED, "every query is answered");
    let (ours, theirs) = (thousands(ANSWERED, ours), thousands(ANSWERED, theirs));
    let what = format!("answer a get_peers query, {NODES} nodes known, {RECORDS} records");
    row("KR3", &what, &text(ours), &text(theirs), ours / theirs, Target::None);
    // What the limit lets through, of a core.
    let share = 100.0 * 2_000.0 / (ours * 1e3);
    let what = "CPU at the limit of 2,000 queries a second";
    row("KR3", what, &format!("{share:.1} % of a core"), "—", share, Target::AtMost(5.0));
    Ok(())
}

/// A node that knows others, and records.
struct Answering {
    dht: Dht,
    now: Time,
}

impl Answering {
    fn new() -> Self {
        let listen = ([10, 0, 0, 1], 4_000).into();
        let config = DhtConfig { network: NETWORK, ..DhtConfig::default() };
        let mut it = Self { dht: Dht::new(config, listen, Rng::new([1; 32]), START), now: START };
        for n in 1..=NODES {
            it.now = it.now + Duration::from_secs(20);
            it.dht.join(it.now, &[addr(n)]);
            it.meet();
        }
        assert_eq!(it.dht.nodes(), usize::from(NODES), "it knows them all");
        for n in 1..=RECORDS {
            let answer = it.answer(n, &get_peers(n)).and_then(|answer| parse(&answer).ok());
            let Some(Packet { body: Body::Answer { answer, .. }, .. }) = answer else { continue };
            let token = answer.token.expect("there is room");
            let (port, exp) = (7_000, Some(3_600));
            let announce = Query::Announce { key: KEY, port, implied: false, token, exp };
            it.answer(n, &query(n, announce));
        }
        assert_eq!(it.dht.records(), usize::from(RECORDS));
        it
    }

    /// Answers in everybody's name what the node asks.
    fn meet(&mut self) {
        while let Some(effect) = self.dht.poll() {
            let Effect::Send { to: to @ SocketAddr::V4(v4), bytes } = effect else { continue };
            let Ok(Packet { t, body: Body::Query { .. }, .. }) = parse(&bytes) else { continue };
            let id = id(v4.ip().octets()[2]);
            let answer = Body::Answer { id, ip: None, answer: Answer::default() };
            self.dht.receive(self.now, to, &packet(&t, answer));
        }
    }

    /// What it answers to somebody.
    fn answer(&mut self, from: u8, query: &[u8]) -> Option<Bytes> {
        self.now = self.now + GAP;
        self.dht.receive(self.now, addr(from), query);
        let mut answer = None;
        while let Some(effect) = self.dht.poll() {
            if let Effect::Send { bytes, .. } = effect {
                answer = Some(bytes);
            }
        }
        answer
    }
}
