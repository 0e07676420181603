//! The program as its user meets it: help, wrong use, exit codes.

use std::path::PathBuf;
use std::process::{Command, Output};

fn eddy(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eddy"));
    command.args(args).env_remove("EDDY_LOG");
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the program speaks UTF-8")
}

/// Each option of a verb's help, with its description on one line.
fn help(verb: &[&str]) -> Vec<(String, String)> {
    let output = eddy(&[verb, &["--help"]].concat());
    assert!(output.status.success(), "{verb:?}");
    let mut options: Vec<(String, String)> = Vec::new();
    for line in text(&output.stdout).lines() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let begins = trimmed.starts_with('-') || trimmed.starts_with("[eddy://");
        if begins && (2..=6).contains(&indent) {
            let words = trimmed.split([' ', ',', '[', '=', '<', '.']);
            let name = words.clone().find(|w| w.starts_with("--")).unwrap_or("URL");
            options.push((name.to_owned(), trimmed.to_owned()));
        } else if indent == 0 && !line.is_empty() {
            // A heading, or the examples.
            options.push((String::new(), String::new()));
        } else if let Some((_, description)) = options.last_mut() {
            description.push(' ');
            description.push_str(trimmed);
        }
    }
    options.retain(|(name, _)| !name.is_empty());
    options
}

const VERBS: [&[&str]; 9] = [
    &["bootstrap"],
    &["provider"],
    &["viewer"],
    &["channels"],
    &["files"],
    &["dht"],
    &["replay"],
    &["demo"],
    &["bench", "swarm"],
];

#[test]
fn every_option_says_its_default() {
    for verb in VERBS {
        let options = help(verb);
        assert!(options.len() >= 11, "{verb:?}: {options:#?}");
        for (name, description) in options {
            let plain = ["--help", "--version"].contains(&name.as_str());
            let told = description.contains("[default: ") || description.contains("[required");
            assert!(plain || told, "{verb:?} {name}: {description}");
        }
    }
}

#[test]
fn every_option_says_its_unit_and_its_very_default() {
    let everywhere = [
        ("--listen", "HOST:PORT", "[default: 0.0.0.0:0; bootstrap: 0.0.0.0:7400]"),
        ("--advertise", "HOST:PORT", "[default: the address others see"),
        ("--max-upload", "bits per second", "[default: unlimited]"),
        ("--state", "Folder", "[default: $XDG_STATE_HOME/eddy, else ~/.local/state/eddy]"),
        ("--config", "TOML file", "[default: none]"),
        ("--preset", "Possible values: - default:", "[default: default]"),
        ("--runtime", "Possible values: - mio:", "[default: mio]"),
        ("--json", "JSON object a line", "[default: false]"),
        ("--quiet", "-q", "[default: false]"),
        ("--verbose", "-vv", "[default: 0 times]"),
        ("--log", "warn,eddy=debug", "[default: warn,eddy=info]"),
    ];
    let block = ("--block", "milliseconds", "[default: 40; preset report: 1000]");
    let bootstrap = ("--bootstrap", "HOST:PORT,...", "[required]");
    let record = ("--record", "eddy replay", "[default: none]");
    let own: [&[(&str, &str, &str)]; 9] = [
        &[record],
        &[
            bootstrap,
            ("--channel", "1 to 64 bytes", "[required]"),
            ("--provider-name", "NAME", "[default: provider]"),
            ("--description", "256 bytes", "[default: empty]"),
            ("--input", "udp://HOST:PORT", "[required]"),
            block,
            ("--sub-streams", "1 to 32", "[default: 8]"),
            ("--loop", "file", "[default: false]"),
            ("--keep", "24h", "[default: 1h]"),
            ("--cache", "Folder", "~/.cache/eddy/provider]"),
            ("--file", "1 to 20", "[default: 10]"),
        ],
        &[
            ("URL", "eddy://HOST:PORT/NAME?key=HEX", "[default: none]"),
            ("--bootstrap", "HOST:PORT,...", "[required without a link]"),
            ("--channel", "NAME", "[required without a link]"),
            ("--key", "64 hexadecimal digits", "[default: the link's, else the first key seen"),
            ("--output", "udp://HOST:PORT|FILE.ts|-|null", "[required]"),
            ("--ago", "1h30m", "[default: live]"),
            ("--at", "2026-11-22T10:00:00Z", "[default: live]"),
            ("--cache", "Folder", "~/.cache/eddy/viewer]"),
            ("--quota", "bytes", "[default: 2GB]"),
            ("--playout-delay", "milliseconds", "[default: auto; preset report:"),
            ("--start", "pat", "[default: pat]"),
            ("--give-up", "seconds", "[default: 15; preset report: 0]"),
            record,
        ],
        &[bootstrap],
        &[
            ("URL", "eddy://HOST:PORT/NAME?key=HEX", "[default: none]"),
            ("--bootstrap", "HOST:PORT,...", "[required without a link]"),
            ("--channel", "NAME", "[required without a link]"),
            ("--last", "90s, 10m, 2h", "[default: 5m]"),
        ],
        &[
            ("--bootstrap", "HOST:PORT,...", "[default: none]"),
            ("--network", "Name of the network", "[default: eddy]"),
        ],
        &[("--events", "every event and action", "[default: false]")],
        &[
            ("--viewers", "How many", "[default: 8]"),
            ("--past", "0 to 1000", "[default: 2]"),
            ("--seconds", "seconds", "[default: 30]"),
            ("--input", "FILE.ts", "[default: a short clip inside the program]"),
            block,
        ],
        &[
            ("--viewers", "How many", "[required]"),
            ("--rate", "Mbit/s", "[required]"),
            ("--seconds", "seconds", "[default: 20]"),
            block,
            ("--runs", "How many", "[default: 1]"),
        ],
    ];
    for (verb, own) in VERBS.iter().zip(own) {
        let options = help(verb);
        for &(name, unit, default) in own.iter().chain(&everywhere) {
            let found = options.iter().find(|(option, _)| option == name);
            let (_, description) = found.unwrap_or_else(|| panic!("{verb:?} has no {name}"));
            assert!(description.contains(unit), "{verb:?} {name}, {unit}: {description}");
            assert!(description.contains(default), "{verb:?} {name}, {default}: {description}");
        }
        let expected = own.len() + everywhere.len();
        let listed = options.iter().filter(|(n, _)| n != "--help" && n != "--version").count();
        assert_eq!(listed, expected, "{verb:?}: an option is missing in this test");
    }
}

#[test]
fn every_verb_has_examples() {
    for verb in VERBS.into_iter().chain([&[] as &[&str]]) {
        let said = text(&eddy(&[verb, &["--help"]].concat()).stdout);
        let examples = said.split_once("EXAMPLES:").map(|(_, examples)| examples);
        let command = format!("eddy {}", verb.join(" "));
        assert!(examples.is_some_and(|e| e.contains(command.trim_end())), "{verb:?}: {said}");
    }
}

#[test]
fn it_tells_its_version() {
    let output = eddy(&["--version"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), concat!("eddy ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// Runs it wrongly, and gives what it says.
fn wrong(args: &[&str]) -> String {
    let output = eddy(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    text(&output.stderr)
}

#[test]
fn a_provider_that_is_to_keep_nothing_is_told_how() {
    let args = ["provider", "--bootstrap", "a:1", "--channel", "News", "--input", "-"];
    let said = wrong(&[&args[..], &["--cache", "none"]].concat());
    assert!(said.contains("--cache none") && said.contains("--keep 0"), "{said}");
}

#[test]
fn a_bad_value_is_named_with_what_is_good() {
    let cases: [(&[&str], &str, &str); 19] = [
        (&["demo", "--max-upload", "2MB"], "'--max-upload <RATE>'", "500k, 2M, 1.5Mbit"),
        (&["demo", "--listen", "localhost"], "'--listen <HOST:PORT>'", "localhost:7400"),
        (&["demo", "--listen", "::1:7400"], "'--listen <HOST:PORT>'", "[::1]:7400"),
        (&["demo", "--listen", "1234"], "'--listen <HOST:PORT>'", "0.0.0.0:1234"),
        (&["demo", "--block", "30"], "'--block <MS>'", "20, 25, 40, 50"),
        (&["demo", "--block", "1s"], "'--block <MS>'", "milliseconds"),
        (&["demo", "--viewers", "0"], "'--viewers <COUNT>'", "from 1 to 1000"),
        (&["demo", "--viewers", "-3"], "'--viewers <COUNT>'", "from 1 to 1000"),
        (&["demo", "--seconds", "-5s"], "'--seconds <SECONDS>'", "number of seconds"),
        (&["demo", "--max-upload", "-2M"], "'--max-upload <RATE>'", "500k, 2M, 1.5Mbit"),
        (&["viewer", "--playout-delay", "-1"], "'--playout-delay <auto|MS|0>'", "give auto"),
        (&["provider", "--sub-streams", "-1"], "'--sub-streams <COUNT>'", "from 1 to 32"),
        (&["provider", "--sub-streams", "33"], "'--sub-streams <COUNT>'", "from 1 to 32"),
        (&["demo", "--seconds", "1m"], "'--seconds <SECONDS>'", "number of seconds"),
        (&["viewer", "--playout-delay", "fast"], "'--playout-delay <auto|MS|0>'", "give auto"),
        (&["viewer", "--channel", "a_b"], "'--channel <NAME>'", "without '_'"),
        (&["viewer", "--key", "12"], "'--key <HEX>'", "64 hexadecimal digits"),
        (&["viewer", "--start", "pta"], "'--start <START>'", "pat"),
        (&["viewer", "eddy://a:1/News?kye=1"], "eddy://a:1/News?kye=1", "only key=HEX"),
    ];
    for (args, option, good) in cases {
        let said = wrong(args);
        assert!(said.starts_with("error: "), "{args:?}: {said}");
        assert!(said.contains(option) && said.contains(good), "{args:?}: {said}");
    }
}

#[test]
fn what_is_missing_comes_with_a_hint() {
    assert_eq!(
        wrong(&["viewer", "eddy://localhost:7400/News", "--state", "/tmp"]),
        "error: --output is missing\n\
         hint: give --output DST, with udp://HOST:PORT, FILE.ts, - (standard output) or null\n"
    );
    assert_eq!(
        wrong(&["channels", "--json"]),
        "{\"kind\":\"error\",\"error\":\"--bootstrap is missing\",\
         \"hint\":\"give --bootstrap HOST:PORT, or put it into a file for --config\"}\n"
    );
    assert!(wrong(&[]).contains("Usage: eddy"));
    assert!(wrong(&["wach"]).contains("unrecognized subcommand 'wach'"));
    assert!(wrong(&["viewer", "eddy://a:1/b", "--channel", "c"]).contains("cannot be used with"));
}

#[test]
fn a_bad_log_filter_is_named() {
    let said = wrong(&["channels", "--bootstrap", "a:1", "--log", "eddy=loud"]);
    assert!(said.starts_with("error: the log filter \"eddy=loud\" makes no sense"), "{said}");
    assert!(said.contains("hint: write LEVEL or TARGET=LEVEL"), "{said}");
}

/// A file for one test.
struct Config(PathBuf);

impl Config {
    fn new(name: &str, content: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, content).expect("the build folder can be written");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the build folder has a plain name")
    }
}

#[test]
fn a_bad_file_is_named_with_its_line() {
    let file = Config::new("unknown-key.toml", "json = false\n\n[demo]\nviewer = 3\n");
    let said = wrong(&["--config", file.path(), "demo"]);
    assert_eq!(
        said,
        format!(
            "error: {}, line 4: unknown key `viewer`, the keys here are \
             `viewers`, `past`, `seconds`, `input`, `block`\nhint: did you mean `viewers`?\n",
            file.path()
        )
    );
    let file = Config::new("bad-value.toml", "max-upload = '2MB'\n");
    let said = wrong(&["demo", "--config", file.path()]);
    assert!(said.contains("line 1: a rate is a number of bits per second"), "{said}");
    assert!(said.contains("hint: correct the line: max-upload = '2MB'"), "{said}");
    let said = wrong(&["demo", "--config", "no-such.toml"]);
    assert!(said.starts_with("error: cannot read the configuration file no-such.toml: "), "{said}");
}

#[test]
fn the_file_gives_what_the_command_line_leaves_open() {
    let file = Config::new("viewer.toml", "[viewer]\nurl = 'eddy://localhost:7400/News'\n");
    let said = wrong(&["viewer", "--config", file.path(), "--state", "/tmp"]);
    assert!(said.starts_with("error: --output is missing"), "the link came from the file: {said}");
}

#[test]
fn a_reader_of_the_logs_that_went_away_stops_nobody() {
    let (reader, logs) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_eddy"));
    command.args(["channels", "--bootstrap", "127.0.0.1:1", "-vv"]).stderr(logs);
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "no server, and no panic");
}

#[test]
fn an_input_that_is_missing_is_missed_by_its_provider_only() {
    let file = Config::new("input.toml", "[provider]\ninput = 'no-such-film.ts'\n");
    let said = wrong(&["viewer", "--config", file.path(), "eddy://localhost:7400/News"]);
    assert!(said.starts_with("error: --output is missing"), "{said}");
    let state = concat!(env!("CARGO_TARGET_TMPDIR"), "/input-state");
    let provider = ["provider", "--bootstrap", "127.0.0.1:1", "--channel", "News"];
    let output = eddy(&[&provider[..], &["--config", file.path(), "--state", state]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("error: cannot open no-such-film.ts: "), "{said}");
}
