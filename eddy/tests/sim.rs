//! Experiments from the command line: results, files, and what is said when
//! something is wrong.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

#[allow(dead_code, reason = "what only `live.rs` needs")]
mod support;

use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Folder;

/// Twelve viewers for half a minute.
const SMALL: &str = r#"
id = "small"
title = "twelve viewers"
span = "30s"
measure_from = "10s"

[[viewers]]
name = "live"
count = 12
arrive.over = "3s"

[preset.default]

[[targets]]
metric = "continuity"
least = 0.999
"#;

fn eddy(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eddy")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_scenario_gives_the_same_on_both_queues_with_results_in_a_folder() {
    let folder = Folder::new();
    let (file, out) = (folder.path("small.toml"), folder.path("out"));
    fs::write(&file, SMALL).unwrap();
    let run = eddy(&["sim", "run", &file, "--json", "--twice", "--strict", "--out", &out]);
    assert!(run.status.success(), "{}{}", text(&run.stdout), text(&run.stderr));
    let lines: Vec<Value> =
        text(&run.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let result = lines.iter().find(|l| l["scenario"] == "small").unwrap();
    assert!(result["metrics"]["continuity"].as_f64().unwrap() >= 0.999, "{result}");
    assert!(result["events"].as_u64().unwrap() > 10_000, "{result}");
    let results = fs::read_to_string(format!("{out}/RESULTS.md")).unwrap();
    assert!(results.contains(&format!("`eddy sim run {file} --seeds 1..1`")), "{results}");
    assert!(
        results.contains("## small: twelve viewers") && results.contains("| met |"),
        "{results}"
    );
    assert!(fs::read_to_string(format!("{out}/plots/small-startup.svg")).unwrap().contains("<svg"));
    let kept = fs::read_to_string(format!("{out}/runs.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 1);
    assert!(kept.contains(result["event_hash"].as_str().unwrap()));
}

#[test]
fn a_node_of_a_run_can_be_looked_at_again() {
    let folder = Folder::new();
    let file = folder.path("small.toml");
    fs::write(&file, SMALL).unwrap();
    let window = ["--node", "2", "--from", "5", "--until", "6"];
    let shown = eddy(&[&["sim", "replay", &file], &window[..]].concat());
    let shown = text(&shown.stdout);
    assert!(shown.contains("<- Received link") && shown.contains("-> Deliver block"), "{shown}");
    assert!(shown.lines().filter(|l| l.contains("<-")).all(|l| l.trim().starts_with("5.")));
}

#[test]
fn what_cannot_be_looked_at_is_said() {
    let folder = Folder::new();
    let file = folder.path("small.toml");
    fs::write(&file, SMALL).unwrap();
    for (window, want) in [
        (&["--node", "99", "--until", "5"][..], "no node 99: until then there were 0 to 13"),
        (&["--node", "2", "--from", "6", "--until", "5"], "--from 6 is not before --until 5"),
        (&["--node", "2", "--from", "40"], "second 40 is past the end of the run"),
        (&["--node", "2", "--until", "40"], "it takes 30 s"),
    ] {
        let shown = eddy(&[&["sim", "replay", &file], window].concat());
        let said = text(&shown.stderr);
        assert!(!shown.status.success() && said.contains(want), "{window:?}: {said}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_ctrl_c_ends_says_so() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let folder = Folder::new();
    let file = folder.path("small.toml");
    fs::write(&file, SMALL.replace("span = \"30s\"", "span = \"24h\"")).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_eddy"))
        .args(["sim", "run", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", run.id());
    // Until it would catch the signal, it would die of it.
    let catches = || {
        let status = fs::read_to_string(&status).unwrap();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0
    };
    let end = Instant::now() + Duration::from_secs(30);
    while !catches() {
        assert!(Instant::now() < end, "it does not watch for Ctrl-C");
        thread::sleep(Duration::from_millis(10));
    }
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGINT).unwrap();
    let run = run.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(130), "{run:?}");
}

#[test]
fn a_missed_target_fails_only_where_it_must_be_met() {
    let folder = Folder::new();
    let file = folder.path("hard.toml");
    fs::write(&file, format!("{SMALL}\n[[targets]]\nmetric = \"delay_mean\"\nmost = 0.001\n"))
        .unwrap();
    assert!(eddy(&["sim", "run", &file]).status.success());
    let strict = eddy(&["sim", "run", &file, "--strict"]);
    assert!(!strict.status.success());
    assert!(text(&strict.stdout).contains("MISSED"), "{}", text(&strict.stdout));
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let folder = Folder::new();
    let file = folder.path("wrong.toml");
    fs::write(&file, SMALL.replace("count = 12", "cuont = 12")).unwrap();
    for (args, want) in [
        (&["sim", "run", &*file][..], "did you mean `count`?"),
        (&["sim", "run", "N99"], "eddy sim list"),
        (&["sim", "run", "N1f", "--set", "viewers.sond.count=3"], "no \"sond\" among the viewers"),
        (
            &["sim", "run", "N1f", "--presets", "best"],
            "there is no preset \"best\" here, but default, report",
        ),
        (&["sim", "run", "N1f", "--set", "channel.block=37ms"], "[channel]"),
        (&["sim", "run", "N1f", "--seeds", "9..3"], "3, or 1..20"),
    ] {
        let run = eddy(args);
        let said = text(&run.stderr);
        assert!(!run.status.success() && said.contains(want), "{args:?}: {said}");
    }
}
