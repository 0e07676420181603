//! A fault in the field: a viewer records, and the recording tells the run
//! again, whatever became of the file.

#[allow(dead_code, reason = "what only `live.rs` needs")]
mod support;

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use eddy_core::config::Config;
use eddy_core::stream::channel::Name;
use eddy_core::{
    DialId, Event, Join, LinkId, Machine as _, Output as Asked, Position, Ticket, Time,
};
use eddy_sim::record::{Header, NodeKind, Recorder};
use serde_json::Value;
use support::{Encoder, Folder, Process};

/// Blocks of play-out that count as playing.
const PLAYING: u64 = 50;

/// A channel with its encoder, and a viewer that records.
struct Recorded {
    folder: Folder,
    server: Process,
    provider: Process,
    _encoder: Encoder,
    viewer: Process,
}

impl Recorded {
    /// Until the viewer plays. It records to this file of the folder, or to
    /// one elsewhere.
    fn start(file: &str) -> Self {
        let folder = Folder::new();
        let server_file = folder.path("server.eddy");
        let listen = ["bootstrap", "--listen", "127.0.0.1:0", "--json"];
        let server = Process::start(&[&listen[..], &["--record", &server_file]].concat());
        let bootstrap = server.text("kind", "bootstrap", "listen");
        let to = ["--bootstrap", &bootstrap, "--channel", "News", "--json"];
        let (state, input) = (folder.path("provider"), "udp://127.0.0.1:0");
        let own = ["provider", "--state", &state, "--input", input];
        let provider = Process::start(&[&own[..], &to].concat());
        let input = provider.text("kind", "channel", "input");
        let encoder = Encoder::start(input.parse().expect("an address"));
        provider.log("bootstrap server reached");
        let (state, file) = (folder.path("viewer"), folder.path(file));
        let own = ["viewer", "--state", &state, "--output", "null", "--record", &file];
        let viewer = Process::start(&[&own[..], &to].concat());
        viewer.counts("blocks_due", PLAYING);
        Self { folder, server, provider, _encoder: encoder, viewer }
    }

    /// Ctrl-C for all.
    fn stop(&mut self) {
        for process in [&mut self.viewer, &mut self.provider, &mut self.server] {
            process.interrupt();
            assert_eq!(process.code(), Some(0), "{process:?}");
        }
    }
}

fn replay(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eddy"));
    command.arg("replay").args(arguments).env_remove("EDDY_LOG");
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the program speaks UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// The objects of the run, and the last one.
fn objects(said: &str) -> (Vec<Value>, Value) {
    let all: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let last = all.last().expect("something is said").clone();
    (all, last)
}

#[test]
fn a_recorded_viewer_and_its_server_are_told_again() {
    let mut recorded = Recorded::start("viewer.eddy");
    recorded.stop();
    let file = recorded.folder.path("viewer.eddy");

    let (code, said, logged) = replay(&[&file]);
    assert_eq!(code, Some(0), "{said}{logged}");
    let head = format!("viewer, recorded by eddy {} from 20", env!("CARGO_PKG_VERSION"));
    assert!(said.starts_with(&head) && said.contains(" UTC on, "), "{said}");
    assert!(said.contains("out Notify Phase(Playing)"), "{said}");
    assert!(said.contains(" s playing    "), "{said}");
    assert!(said.ends_with(" outputs, all equal\n"), "{said}");

    let (code, said, _) = replay(&[&file, "--json"]);
    let (all, last) = objects(&said);
    assert_eq!((code, &last["equal"]), (Some(0), &true.into()), "{said}");
    let sum = |field: &str| all.iter().filter_map(|line| line[field].as_u64()).sum::<u64>();
    assert!(sum("blocks") >= PLAYING && sum("bytes_in") > 10_000, "{said}");
    assert_eq!(sum("events"), last["inputs"].as_u64().expect("a number"), "{said}");

    let (code, said, _) = replay(&[&file, "--events", "--json"]);
    let (all, last) = objects(&said);
    assert_eq!(code, Some(0));
    let inputs = all.iter().filter(|line| line["kind"] == "in").count() as u64;
    assert_eq!(last["inputs"], inputs, "every event has a line");
    let text =
        |part: &str| all.iter().any(|line| line["text"].as_str().is_some_and(|t| t.contains(part)));
    assert!(text("Command ticket 1, Join") && text("Received link ") && text("Send link "));

    let (code, said, logged) = replay(&[&recorded.folder.path("server.eddy")]);
    assert_eq!(code, Some(0), "{said}{logged}");
    assert!(said.starts_with("bootstrap server, ") && said.ends_with("all equal\n"), "{said}");
}

#[test]
fn a_viewer_that_was_killed_is_told_up_to_then() {
    let mut recorded = Recorded::start("viewer.eddy");
    recorded.viewer.kill();
    let file = recorded.folder.path("viewer.eddy");
    let (code, said, logged) = replay(&[&file]);
    assert_eq!(code, Some(0), "{said}{logged}");
    assert!(said.contains("out Notify Phase(Playing)"), "{said}");
    assert!(said.contains("the recording is cut off there: the program was killed"), "{said}");

    let whole = fs::read(&file).expect("the recording");
    fs::write(&file, &whole[..whole.len() / 2]).expect("it can be written");
    let (code, half, _) = replay(&[&file]);
    assert_eq!(code, Some(0), "{half}");
    assert!(half.contains("cut off there") && half.len() < said.len(), "{half}");

    // Of the first that has a whole header nothing else is left.
    let cut = (10..whole.len()).find_map(|len| {
        fs::write(&file, &whole[..len]).expect("it can be written");
        let (code, said, logged) = replay(&[&file]);
        assert_eq!(code, Some(1), "{len} bytes: {said}{logged}");
        (!logged.contains("ends before the recording begins")).then_some(said)
    });
    let cut = cut.expect("a recording is longer than its header");
    assert!(cut.contains("the recording ends before its first input"), "{cut}");
    assert!(cut.contains("nothing to compare"), "{cut}");

    let mut spoilt = whole;
    let at = spoilt.len() / 2;
    spoilt[at] ^= 1;
    fs::write(&file, &spoilt).expect("it can be written");
    let (code, said, logged) = replay(&[&file]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(" s playing    "), "what is before the damage is told: {said}");
    assert!(
        logged.contains("viewer.eddy: the recording is damaged in the frame at byte "),
        "{logged}"
    );
    assert!(logged.contains("hint: "), "{logged}");
}

#[test]
fn the_first_difference_is_told() {
    let header = Header {
        made_by: "eddy 0.0.9".into(),
        node: NodeKind::Viewer,
        start: Time::from_secs(1_800_000_000),
        seed: [1; 32],
        config: Config::default(),
    };
    // It says that it had another seed.
    let node = header.machine().expect("a good configuration");
    let claimed = Header { seed: [2; 32], ..header.clone() };
    let (sender, pieces) = std::sync::mpsc::channel::<Vec<u8>>();
    let mut node = Recorder::new(node, &claimed, move |piece| sender.send(piece).is_ok());
    let server = ([10, 0, 0, 1], 7_400).into();
    let channel = Name::new("News").expect("a name");
    let join =
        Join { bootstrap: vec![server], channel, key: None, known: None, position: Position::Live };
    let (link, dial) = (LinkId(0), Some(DialId(0)));
    for event in [
        Event::Command { ticket: Ticket(1), command: eddy_core::Command::Join(Box::new(join)) },
        Event::Opened { link, dial, remote: server },
    ] {
        node.handle(header.start + Duration::from_millis(1_500), event);
        while matches!(node.poll(), Asked::Act(_)) {}
    }
    drop(node);
    let folder = Folder::new();
    let path = folder.path("other.eddy");
    fs::write(&path, pieces.iter().flatten().collect::<Vec<u8>>()).expect("it can be written");

    let (code, said, _) = replay(&[&path]);
    assert_eq!(code, Some(1), "{said}");
    let place = "after input 2 (+1.500000 s, Opened link 0 to 10.0.0.1:7400, dial 0):\n";
    assert!(said.contains(place), "{said}");
    let hash = |line: &str| {
        let found = said.lines().find_map(|l| l.split_once(line));
        found.unwrap_or_else(|| panic!("no {line:?}: {said}")).1.to_owned()
    };
    let recorded = hash("  recorded: Send link 0, 53 bytes, hash ");
    assert_ne!(recorded, hash("  replayed: Send link 0, 53 bytes, hash "));
    assert!(said.contains("recorded by eddy 0.0.9, replayed by eddy "), "{said}");
    assert!(said.ends_with(" outputs, all equal until then\n"), "{said}");

    let (code, said, _) = replay(&[&path, "--json"]);
    let (_, last) = objects(&said);
    assert_eq!((code, &last["kind"], &last["equal"]), (Some(1), &"replayed".into(), &false.into()));
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_viewer() {
    let mut recorded = Recorded::start("/dev/full");
    recorded.viewer.log("the recording ends here");
    let then = recorded.viewer.count("blocks_due");
    recorded.viewer.counts("blocks_due", then + PLAYING);
    recorded.stop();
    recorded.viewer.log("the recording /dev/full is not whole: No space left on device");
}

#[test]
fn what_is_no_recording_is_named() {
    let folder = Folder::new();
    let path = folder.path("film.ts");
    fs::write(&path, [0x47; 1_316]).expect("it can be written");
    let (code, _, logged) = replay(&[&path]);
    assert_eq!(code, Some(1));
    assert!(logged.contains("film.ts: this is no recording"), "{logged}");
    assert!(
        logged.contains("hint: give a file that `eddy viewer --record FILE` wrote"),
        "{logged}"
    );

    let (code, _, logged) = replay(&["/no/such/file"]);
    assert_eq!(code, Some(1));
    assert!(logged.contains("cannot open the recording /no/such/file: No such file"), "{logged}");
}
