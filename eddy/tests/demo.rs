//! `eddy demo`, as the README's first command runs it.

use std::process::Command;

use serde_json::Value;

/// What a demo with these arguments says; it must pass.
fn demo(args: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_eddy"))
        .args(["demo", "--json"])
        .args(args)
        .env_remove("EDDY_LOG")
        .output()
        .expect("the program starts");
    let said = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let logs = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}\n{logs}");
    said.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

#[test]
fn four_viewers_play_and_lose_nothing() {
    let lines = demo(&["--viewers", "4", "--past", "2", "--seconds", "9"]);
    let summary = lines.last().expect("a summary");
    assert_eq!(summary["kind"], "summary", "{summary}");
    assert_eq!(summary["played"], 6, "{summary}");
    assert_eq!(summary["blocks_lost"], 0, "{summary}");
    // Four viewers of 25 blocks a second: a second of the nine, however busy the machine is.
    assert!(summary["blocks_due"].as_u64() >= Some(100), "{summary}");

    let past = summary["past"].as_array().expect("a row for each who watched the past");
    assert_eq!(past.len(), 2, "{summary}");
    for row in past {
        assert!(row["peer"].as_u64() > Some(0) && row["lost"] == 0, "{row}");
    }

    let last = |name: &str| lines.iter().rfind(|l| l["name"] == name).expect("a row a node");
    for viewer in 1..=4 {
        let row = last(&format!("viewer-{viewer}"));
        assert_eq!(row["state"], "playing", "{row}");
        assert!(row["startup_ms"].is_u64() && row["playout_delay_ms"].is_u64(), "{row}");
        let parents = row["parents"].as_array().expect("a parent a sub-stream");
        assert_eq!(parents.len(), 8, "{row}");
        let known =
            |p: &Value| p == "provider" || p.as_str().is_some_and(|p| p.starts_with("viewer-"));
        assert!(parents.iter().all(known), "{row}");
    }
    assert_eq!(last("provider")["state"], "live");
    assert!(last("provider")["upload_bits_per_second"].as_u64() > Some(300_000));
}

/// Blocks of 75 kB, long enough to be read straight to where they are kept.
#[test]
fn long_blocks_arrive_whole_on_both_runtimes() {
    for runtime in ["mio", "async-std"] {
        let args = ["--viewers", "3", "--seconds", "8", "--block", "1000", "--runtime", runtime];
        let lines = demo(&args);
        let summary = lines.last().expect("a summary");
        assert_eq!(summary["blocks_lost"], 0, "{summary}");
        assert!(summary["blocks_due"].as_u64() >= Some(6), "{summary}");
    }
}

#[test]
fn a_part_that_cannot_start_says_why() {
    let output = Command::new(env!("CARGO_BIN_EXE_eddy"))
        .args(["demo", "--input", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Cargo.toml") && said.contains("hint: "), "{said}");
}
