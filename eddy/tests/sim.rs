//! Experiments from the command line: results, files, and what is said when
//! something is wrong.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

#[allow(dead_code, reason = "what only `live.rs` needs")]
mod support;

use std::fs;
use std::process::{Command, Output};

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
