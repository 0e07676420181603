//! The program as real processes over loopback: a live channel end to end, and
//! what happens when a part is missing.

mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Encoder, Folder, Process, free_port, relay};

/// Blocks of play-out that count as playing.
const PLAYING: u64 = 50;

/// A server, and a provider whose input is an encoder.
struct Station {
    server: Process,
    provider: Process,
    encoder: Encoder,
    bootstrap: String,
}

impl Station {
    fn start(folder: &Folder) -> Self {
        let server = Process::start(&["bootstrap", "--listen", "127.0.0.1:0", "--json"]);
        let bootstrap = server.text("kind", "bootstrap", "listen");
        let (provider, encoder) = provide(folder, &bootstrap);
        provider.log("bootstrap server reached");
        Self { server, provider, encoder, bootstrap }
    }
}

fn provide(folder: &Folder, bootstrap: &str) -> (Process, Encoder) {
    let state = folder.path("provider");
    let provider = Process::start(&provider_args(bootstrap, "udp://127.0.0.1:0", &state));
    let to = provider.text("kind", "channel", "input");
    (provider, Encoder::start(to.parse().expect("an address")))
}

fn provider_args<'a>(bootstrap: &'a str, input: &'a str, state: &'a str) -> Vec<&'a str> {
    let channel = ["provider", "--bootstrap", bootstrap, "--channel", "News", "--json"];
    [&channel[..], &["--input", input, "--state", state]].concat()
}

fn watch(folder: &Folder, bootstrap: &str, more: &[&str]) -> Process {
    let state = folder.path("viewer");
    let output = folder.path("out.bin");
    let fixed = ["viewer", "--bootstrap", bootstrap, "--channel", "News", "--json"];
    let own = ["--state", &state, "--output", &output, "--start", "any"];
    Process::start(&[&fixed[..], &own, more].concat())
}

#[test]
fn what_comes_out_is_a_contiguous_range_of_what_went_in() {
    let folder = Folder::new();
    let Station { mut server, mut provider, encoder, bootstrap } = Station::start(&folder);
    let mut viewer = watch(&folder, &bootstrap, &[]);
    viewer.counts("blocks_due", PLAYING);
    // In order: the viewer goes while all others are there.
    viewer.interrupt_twice_over();
    assert_eq!(viewer.code(), Some(0), "{viewer:?}");
    provider.interrupt();
    assert_eq!(provider.code(), Some(0), "{provider:?}");
    let total = viewer.last();
    assert_eq!((&total["kind"], &total["blocks_lost"]), (&"summary".into(), &0.into()), "{total}");
    assert!(total["played_ms"].as_u64() >= Some(PLAYING * 40), "{total}");
    let total = provider.last();
    assert_eq!(total["kind"], "summary", "{total}");
    assert!(total["blocks_sent"].as_u64() >= Some(PLAYING), "{total}");
    server.interrupt();
    assert_eq!(server.code(), Some(0), "{server:?}");

    let out = fs::read(folder.path("out.bin")).expect("the output");
    encoder.assert_has_sent(&out);
    let logs = viewer.logs();
    assert!(!logs.contains("could be told"), "the viewer left in time: {logs}");
}

#[test]
fn a_channel_that_does_not_exist_is_named() {
    let folder = Folder::new();
    let server = Process::start(&["bootstrap", "--listen", "127.0.0.1:0", "--json"]);
    let bootstrap = server.text("kind", "bootstrap", "listen");
    let mut viewer = watch(&folder, &bootstrap, &[]);
    assert_eq!(viewer.code(), Some(1));
    let logs = viewer.logs();
    let what = format!("\"error\":\"there is no channel News at {bootstrap}\"");
    let hint = format!("eddy channels --bootstrap {bootstrap}");
    assert!(logs.contains(&what) && logs.contains(&hint), "{logs}");
    assert!(logs.contains("may not be on the air yet: start this again"), "{logs}");
    assert!(!viewer.said().contains("summary"), "a failure is no end of a session: {viewer:?}");
}

#[test]
fn another_key_than_the_one_given_is_refused() {
    let folder = Folder::new();
    let station = Station::start(&folder);
    let key = "01".repeat(32);
    let mut viewer = watch(&folder, &station.bootstrap, &["--key", &key]);
    assert_eq!(viewer.code(), Some(1));
    let logs = viewer.logs();
    assert!(logs.contains("has another key than the one given"), "{logs}");
}

#[test]
fn a_second_answer_of_the_server_says_what_is_new() {
    let folder = Folder::new();
    let station = Station::start(&folder);
    // It calls back within a few heartbeats.
    station.provider.log("others can connect here");
    let logs = station.provider.logs();
    assert_eq!(logs.matches("bootstrap server reached").count(), 1, "{logs}");
}

#[test]
fn a_server_that_is_away_at_start_is_waited_for() {
    let folder = Folder::new();
    let (port, bootstrap) = (free_port(), format!("127.0.0.1:{}", free_port()));
    // The viewer asks at a door of its own, which opens when the channel is there.
    let viewer = watch(&folder, &format!("127.0.0.1:{port}"), &[]);
    viewer.log("bootstrap server does not answer; trying again in ");
    let (provider, _encoder) = provide(&folder, &bootstrap);
    provider.log("bootstrap server does not answer; trying again in ");
    let _server = Process::start(&["bootstrap", "--listen", &bootstrap, "--json"]);
    provider.log("bootstrap server reached");
    relay(port, bootstrap.parse().expect("an address"));
    viewer.log("bootstrap server reached");
    viewer.counts("blocks_due", PLAYING);
}

#[test]
fn a_server_that_goes_away_stops_nobody() {
    let folder = Folder::new();
    let Station { mut server, provider, encoder, bootstrap } = Station::start(&folder);
    let mut viewer = watch(&folder, &bootstrap, &[]);
    viewer.counts("blocks_due", PLAYING);
    server.kill();
    viewer.log("playing goes on");
    provider.log("sending goes on");
    let then = viewer.count("blocks_due");
    viewer.counts("blocks_due", then + 3 * PLAYING);
    assert_eq!(viewer.count("blocks_lost"), 0, "{viewer:?}");
    viewer.interrupt();
    assert_eq!(viewer.code(), Some(0), "{viewer:?}");
    encoder.assert_has_sent(&fs::read(folder.path("out.bin")).expect("the output"));
}

#[test]
fn a_provider_comes_back_under_its_key() {
    let folder = Folder::new();
    let Station { server: _server, mut provider, encoder, bootstrap } = Station::start(&folder);
    let url = provider.text("kind", "channel", "url");
    provider.kill();
    drop(encoder);
    let (provider, _encoder) = provide(&folder, &bootstrap);
    assert_eq!(provider.text("kind", "channel", "url"), url);
    provider.log("bootstrap server reached");
    // Its link is all that a viewer needs.
    let (state, output) = (folder.path("viewer"), folder.path("out.bin"));
    let viewer =
        Process::start(&["viewer", &url, "--state", &state, "--output", &output, "--json"]);
    viewer.counts("blocks_due", PLAYING);
}

#[test]
fn channels_are_listed() {
    let folder = Folder::new();
    let station = Station::start(&folder);
    let mut list = Process::start(&["channels", "--bootstrap", &station.bootstrap]);
    assert_eq!(list.code(), Some(0), "{list:?}");
    let said = list.said();
    let line = said.lines().nth(1).unwrap_or_default();
    assert!(line.starts_with("News     provider"), "{said}");
    let mut list = Process::start(&["channels", "--bootstrap", &station.bootstrap, "--json"]);
    assert_eq!(list.text("name", "News", "url"), station.provider.text("kind", "channel", "url"));
    assert_eq!(list.code(), Some(0));
}

#[test]
fn a_flood_of_hostile_connections_is_no_flood_of_log_lines() {
    let mut server = Process::start(&["bootstrap", "--listen", "127.0.0.1:0", "--json"]);
    let bootstrap = server.text("kind", "bootstrap", "listen");
    let began = Instant::now();
    for _ in 0..300 {
        let mut hostile = TcpStream::connect(&bootstrap).expect("the server listens");
        hostile.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it has room for that");
        hostile.set_read_timeout(Some(Duration::from_secs(20))).expect("it is more than zero");
        // Closed by the server, with or without a word.
        match hostile.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
        }
    }
    server.interrupt();
    assert_eq!(server.code(), Some(0), "{server:?}");
    let allowed = 1 + began.elapsed().as_secs() / 10;
    let told = server.logs().matches("dropped it").count() as u64;
    assert!((1..=allowed).contains(&told), "{told} lines: {server:?}");
}

#[test]
fn no_server_is_an_error_with_a_hint() {
    let bootstrap = format!("127.0.0.1:{}", free_port());
    for what in [&["channels"][..], &["files", "--channel", "News"]] {
        let mut asks = Process::start(&[what, &["--bootstrap", &bootstrap]].concat());
        assert_eq!(asks.code(), Some(1));
        let logs = asks.logs();
        let error = format!("error: {bootstrap}: no bootstrap server answered");
        assert!(logs.contains(&error), "{logs}");
        assert!(logs.contains("eddy bootstrap"), "{logs}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = taken.local_addr().expect("it is bound").to_string();
    let state = folder.path("provider");
    let mut provider = Process::start(&[
        "provider",
        "--bootstrap",
        "127.0.0.1:1",
        "--channel",
        "News",
        "--input",
        "udp://127.0.0.1:0",
        "--state",
        &state,
        "--listen",
        &listen,
    ]);
    assert_eq!(provider.code(), Some(1));
    let (logs, port) = (provider.logs(), taken.local_addr().expect("it is bound").port());
    assert!(logs.contains(&format!("error: port {port} of 127.0.0.1 is in use")), "{logs}");
    assert!(logs.contains("--listen HOST:PORT"), "{logs}");
}

#[test]
fn a_player_that_goes_away_ends_its_viewer_quietly() {
    let folder = Folder::new();
    let station = Station::start(&folder);
    let state = folder.path("viewer");
    let mut viewer = Process::start(&[
        "viewer",
        "--bootstrap",
        &station.bootstrap,
        "--channel",
        "News",
        "--output",
        "-",
        "--start",
        "any",
        "--state",
        &state,
    ]);
    viewer.close_output_after(1_000);
    assert_eq!(viewer.code(), Some(0), "{viewer:?}");
    assert!(!viewer.logs().contains("error:"), "{viewer:?}");
}

#[test]
fn a_file_that_ends_ends_its_provider() {
    let folder = Folder::new();
    let server = Process::start(&["bootstrap", "--listen", "127.0.0.1:0", "--json"]);
    let bootstrap = server.text("kind", "bootstrap", "listen");
    let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/clip.ts");
    let began = Instant::now();
    let mut provider = Process::start(&[
        "provider",
        "--bootstrap",
        &bootstrap,
        "--channel",
        "News",
        "--input",
        clip,
        "--state",
        &folder.path("provider"),
        "--json",
    ]);
    provider.log("bootstrap server reached");
    let mut viewer = watch(&folder, &bootstrap, &[]);
    assert_eq!(provider.code(), Some(0), "{provider:?}");
    // It lasts 4.8 s.
    assert!(began.elapsed() >= Duration::from_millis(4_700), "{provider:?}");
    let clip = fs::read(clip).expect("the clip");
    viewer.until("the end of the clip", || {
        fs::read(folder.path("out.bin")).is_ok_and(|out| !out.is_empty() && clip.ends_with(&out))
    });
    viewer.interrupt();
    assert_eq!(viewer.code(), Some(0), "{viewer:?}");
}

#[test]
fn a_name_that_was_taken_while_on_the_air_stops_nobody() {
    let folder = Folder::new();
    let other = Folder::new();
    let mut first = Process::start(&["bootstrap", "--listen", "127.0.0.1:0", "--json"]);
    let second = Process::start(&["bootstrap", "--listen", "127.0.0.1:0", "--json"]);
    let at_first = first.text("kind", "bootstrap", "listen");
    let at_second = second.text("kind", "bootstrap", "listen");
    let (rival, _rivals) = provide(&other, &at_second);
    rival.log("bootstrap server reached");

    let (mut provider, _encoder) = provide(&folder, &format!("{at_first},{at_second}"));
    provider.log("bootstrap server reached");
    let viewer = watch(&folder, &at_first, &[]);
    viewer.counts("blocks_due", PLAYING);
    first.kill();
    provider.log("News belongs to another provider's key");
    let then = viewer.count("blocks_due");
    viewer.counts("blocks_due", then + 2 * PLAYING);
    provider.interrupt();
    assert_eq!(provider.code(), Some(0), "{provider:?}");

    let state = folder.path("provider");
    let mut late = Process::start(&provider_args(&at_second, "udp://127.0.0.1:0", &state));
    assert_eq!(late.code(), Some(1), "at the start it is an error: {late:?}");
    assert!(late.logs().contains("give another name with --channel"), "{late:?}");
}

#[test]
fn what_a_pipe_brings_in_a_moment_is_in_the_total() {
    let folder = Folder::new();
    let server = Process::start(&["bootstrap", "--listen", "127.0.0.1:0", "--json"]);
    let bootstrap = server.text("kind", "bootstrap", "listen");
    let (pipe, state) = (folder.path("pipe"), folder.path("provider"));
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|made| made.success()));
    let mut provider = Process::start(&provider_args(&bootstrap, &pipe, &state));
    let clip = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/clip.ts")).expect("the clip");
    let part = &clip[..100 * 188];
    fs::write(&pipe, part).expect("the provider reads it");
    assert_eq!(provider.code(), Some(0), "{provider:?}");
    assert_eq!(provider.count("payload_bytes"), part.len() as u64, "{provider:?}");
}

#[test]
fn a_silent_pipe_does_not_hold_its_provider() {
    let folder = Folder::new();
    let (pipe, state) = (folder.path("pipe"), folder.path("provider"));
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|made| made.success()));
    // Open for both, it waits for no reader, and never ends.
    let mut encoder = File::options().read(true).write(true).open(&pipe).expect("the pipe");
    let clip = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/clip.ts")).expect("the clip");
    encoder.write_all(&clip[..188 * 200]).expect("it fits into the pipe");
    let mut provider = Process::start(&provider_args("127.0.0.1:1", &pipe, &state));
    provider.log("no packet of the input");
    provider.interrupt();
    assert_eq!(provider.code(), Some(0), "{provider:?}");
}

#[test]
fn under_nohup_the_end_of_the_terminal_is_no_end() {
    let folder = Folder::new();
    let state = folder.path("provider");
    let mut provider =
        Process::start_under_nohup(&provider_args("127.0.0.1:1", "udp://127.0.0.1:0", &state));
    let to = provider.text("kind", "channel", "input");
    let _encoder = Encoder::start(to.parse().expect("an address"));
    provider.counts("packets", 100);
    provider.hang_up();
    let then = provider.count("packets");
    provider.counts("packets", then + 400);
    provider.interrupt();
    assert_eq!(provider.code(), Some(0), "{provider:?}");
}
