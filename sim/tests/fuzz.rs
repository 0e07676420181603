//! The bodies of the fuzz targets, on random bytes and on the corpus.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use eddy_core::config::Config;
use eddy_core::rng::Rng;
use eddy_core::stream::block::Block;
use eddy_core::stream::sign::Signature;
use eddy_core::{Action, Command, LinkId, Machine, Seq};
use eddy_sim::fuzz;
use eddy_sim::hand::bent::bent;
use eddy_sim::hand::cast::{PROVIDER, SERVER, addr, join, provider, server, viewer};
use eddy_sim::{Net, Rtt, START, World};
use quickcheck::{Gen, QuickCheck};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

/// Runs a body on every file of its target's corpus.
fn replay(target: &str, body: fn(&[u8])) {
    let folder = corpus(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        println!("{}", file.display());
        body(&fs::read(&file).unwrap());
    }
}

/// Two tests a target: so many inputs of up to so many random bytes, always the
/// same, for to search is the fuzzer's; and the corpus.
macro_rules! target {
    ($target:ident, $tests:literal inputs, $size:literal bytes) => {
        mod $target {
            use super::*;

            #[test]
            fn holds_on_random_bytes() {
                let mut check =
                    QuickCheck::new().tests($tests).rng(Gen::from_size_and_seed($size, 1));
                check.quickcheck((|data| fuzz::$target(&data)) as fn(Vec<u8>));
            }

            #[test]
            fn holds_on_its_corpus() {
                replay(stringify!($target), fuzz::$target);
            }
        }
    };
}

target!(wire_message, 1_000 inputs, 200 bytes);
target!(wire_roundtrip, 200 inputs, 4_096 bytes);
target!(wire_chunks, 200 inputs, 4_096 bytes);
target!(krpc, 1_000 inputs, 300 bytes);
target!(file_format, 1_000 inputs, 600 bytes);
target!(node_events, 100 inputs, 2_048 bytes);
target!(world, 30 inputs, 200 bytes);

/// What each node said on each of its links.
type Said = Rc<RefCell<BTreeMap<(u8, LinkId), Vec<u8>>>>;

/// A machine whose words are noted down.
fn overheard(said: &Said, host: u8, machine: impl Machine + 'static) -> Box<dyn Machine> {
    let said = said.clone();
    bent(machine, START, move |_, action| {
        if let Action::Send { link, head, body } = &action {
            let mut said = said.borrow_mut();
            let all = said.entry((host, *link)).or_default();
            all.extend_from_slice(head);
            all.extend_from_slice(body);
        }
        vec![action]
    })
}

/// A server, a provider and three viewers, of whom one leaves.
fn traffic() -> BTreeMap<(u8, LinkId), Vec<u8>> {
    let said = Said::default();
    let config = Config::default();
    let net = Net { rtt: Rtt::uniform(Duration::from_millis(30)), ..Net::default() };
    let mut world = World::new(1, net);
    let machine = overheard(&said, SERVER, server(1, &config, START));
    world.add(addr(SERVER), 0, None, machine);
    let machine = overheard(&said, PROVIDER, provider(1, &config, None, START));
    let source = world.add(addr(PROVIDER), 0, None, machine);
    let mut viewers = Vec::new();
    for second in 0..6_u64 {
        if (1..4).contains(&second) {
            let host = 10 + second as u8;
            let machine = overheard(&said, host, viewer(1, &config, host, world.now()));
            let ix = world.add(addr(host), 0, None, machine);
            world.command(ix, Command::List { bootstrap: vec![addr(SERVER)] });
            world.command(ix, Command::Join(Box::new(join())));
            viewers.push(ix);
        }
        for _ in 0..50 {
            world.command(source, Command::Publish(vec![7; 50].into()));
            world.run_until(world.now() + Duration::from_millis(20), &mut ());
        }
    }
    world.command(viewers[0], Command::Leave);
    world.run_until(world.now() + Duration::from_secs(1), &mut ());
    said.take()
}

/// The frames in a byte stream: type and body of each.
fn frames(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(frame);
        stream = rest;
    }
    frames
}

/// Datagrams that DHT nodes of other makes sent: the longest of each kind.
fn datagrams() -> BTreeMap<String, Vec<u8>> {
    let seen = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/data/krpc-fixtures.tsv");
    let mut longest = BTreeMap::<String, Vec<u8>>::new();
    for row in fs::read_to_string(seen).unwrap().lines().filter(|row| !row.starts_with('#')) {
        let [_, kind, hex] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let datagram: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let known = longest.entry(kind.replace(['(', ')'], "").replace(' ', "-")).or_default();
        if known.len() < datagram.len() {
            *known = datagram;
        }
    }
    longest
}

fn random(seed: u8, length: usize) -> Vec<u8> {
    let mut rng = Rng::new([seed; 32]);
    (0..length).map(|_| rng.next_u64() as u8).collect()
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    fs::create_dir_all(corpus(target)).unwrap();
    fs::write(corpus(target).join(name), bytes).unwrap();
}

#[test]
#[ignore = "writes the seeds of fuzz/corpus"]
fn make_seeds() {
    let traffic = traffic();
    // One of each type, the longest: it has the most fields in use.
    let mut longest = BTreeMap::<u8, &[u8]>::new();
    for frame in traffic.values().flat_map(|stream| frames(stream)) {
        let known = longest.entry(frame[0]).or_default();
        if known.len() < frame.len() {
            *known = frame;
        }
    }
    for (kind, frame) in longest {
        seed("wire_message", &format!("type-{kind:02x}"), frame);
    }
    for ((host, link), stream) in traffic.iter().filter(|((_, link), _)| link.0 < 3) {
        let cuts = [3, 1, 7, 200];
        let bytes = [&cuts[..], &stream[..stream.len().min(1_500)]].concat();
        seed("wire_chunks", &format!("host-{host}-link-{}", link.0), &bytes);
    }
    for (kind, datagram) in datagrams() {
        seed("krpc", &kind, &datagram);
    }
    // A message of each kind, and what random bytes choose.
    for kind in 0..27 {
        let bytes = [vec![3, kind], random(kind, 120)].concat();
        seed("wire_roundtrip", &format!("message-{kind:02}"), &bytes);
    }
    seed("wire_roundtrip", "random", &random(99, 1_500));
    let texts = [
        ("name", "NCTU_Channel1_20100620182520"),
        ("escaped-name", "%2E%2E_News%3A%5C24_20240229235959"),
        ("leading-out", "../NCTU_Channel1_20100620182520"),
    ];
    for (name, text) in texts {
        seed("file_format", name, &[&[0], text.as_bytes()].concat());
    }
    seed(
        "file_format",
        "two-names",
        &[&[1, 0, 0, 0, 0, 76, 30, 92, 208], &b"NCTU.._C:1"[..]].concat(),
    );
    // A file of four blocks, and each thing that can spoil it.
    let spoilt = ["cut", "missing", "twice", "renamed", "outside", "too-long", "head"];
    for (deed, name) in (0..).zip(spoilt) {
        let bytes = [&[2, 2, 0, 0, 0, 0, 8, 0, 200, 7, 1, 1, deed][..], &random(deed, 8)].concat();
        seed("file_format", name, &bytes);
    }
    let blocks = (32..36).map(|seq| {
        let block = Block::new(Seq(seq), &Signature([seq as u8; 64]), &random(seq as u8, 40));
        block.frame().to_vec()
    });
    let file = blocks.collect::<Vec<_>>().concat();
    seed("file_format", "file", &[&[3, 2, 0, 0, 0, 0, 8][..], &file].concat());
    let positions =
        ["provider", "idle-viewer", "viewer", "viewer-with-partners", "keeping-viewer", "server"];
    for (who, name) in (0..).zip(positions) {
        seed("node_events", name, &[vec![who], random(who, 600)].concat());
    }
    // A child that takes nothing while 300 kB a slot are published.
    let publish = [7, 3, 7, 3, 7, 3, 7, 3, 7, 3, 0, 0, 40].repeat(5);
    seed("node_events", "deaf-child", &[&[0, 11, 0, 1, 100][..], &publish].concat());
    seed("node_events", "list-and-leave", &[1, 7, 1, 7, 2]);
    // Into the past and out of it, a pause, another channel.
    let moves = [7, 4, 1, 0, 0, 40, 0, 8, 7, 6, 7, 7, 7, 4, 0, 7, 9, 0, 1, 44, 7, 8, 3, 255, 255];
    seed("node_events", "moving-viewer", &[&[4, 18, 0][..], &moves.repeat(3)].concat());
    // The kindest network, and the first choice of everything.
    let quiet = [0; 18];
    let (join, second) = ([4, 0, 0, 0, 1, 1], [0, 3, 231]);
    let five = [join.repeat(5), second.repeat(2)].concat();
    seed("world", "five-viewers", &[&quiet[..], &five].concat());
    let capped = [&quiet[..17], &[2]].concat();
    seed("world", "capped-provider", &[&capped[..], &five, &five].concat());
    let liars = [208, 200, 230, 250].map(|lie| [4, 0, 0, lie, 1, 1]).concat();
    let honest = [join.repeat(3), second.repeat(4)].concat();
    seed("world", "liars", &[&quiet[..], &liars, &honest].concat());
    let deeds = [
        "leave",
        "end",
        "server",
        "provider",
        "reset",
        "freeze",
        "isolate",
        "partition",
        "clock",
        "join",
        "publish",
        "list",
        "silence",
    ];
    for (deed, name) in (7..).zip(deeds) {
        let often = (0..6).flat_map(|n| [&[deed][..], &random(n + deed, 6), &second].concat());
        let bytes = [&quiet[..], &five].concat().into_iter().chain(often).collect::<Vec<u8>>();
        seed("world", name, &bytes);
    }
}
