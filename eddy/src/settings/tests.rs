//! How options, file and defaults come together.

use super::*;
use clap::Parser as _;
use eddy_core::cache::CacheConfig;
use eddy_core::config::PlayoutDelay;
use std::path::Path;

fn settings(args: &str, file: &str, log: Option<&str>) -> Result<Settings, UsageError> {
    let cli = Cli::try_parse_from(["eddy"].into_iter().chain(args.split_whitespace())).unwrap();
    let environment = Environment {
        log: log.map(str::to_owned),
        state_home: None,
        cache_home: None,
        home: Some("/home/me".into()),
    };
    Settings::merge(cli, File::parse(file, Path::new("eddy.toml"))?, &environment)
}

fn good(args: &str, file: &str) -> Settings {
    settings(args, file, None).unwrap()
}

fn refusal(args: &str, file: &str) -> UsageError {
    settings(args, file, None).unwrap_err()
}

fn viewer(args: &str, file: &str) -> ViewerSettings {
    match good(args, file).work {
        Work::Viewer(viewer) => viewer,
        other => panic!("not a viewer: {other:?}"),
    }
}

fn provider(args: &str, file: &str) -> ProviderSettings {
    match good(args, file).work {
        Work::Provider(provider) => provider,
        other => panic!("not a provider: {other:?}"),
    }
}

/// With the DHT that every node belongs to.
fn networked(config: Config) -> Config {
    let dht = DhtConfig { network: network("eddy"), ..DhtConfig::default() };
    Config { dht: Some(dht), ..config }
}

const VIEWER: &str = "viewer --bootstrap a:1 --channel News --output null";
const PROVIDER: &str = "provider --bootstrap a:1 --channel News --input -";

#[test]
fn defaults_are_those_of_the_help() {
    let settings = good(VIEWER, "");
    assert_eq!(settings.global.listen.to_string(), "0.0.0.0:0");
    assert_eq!(settings.global.config, networked(Config::default()));
    assert_eq!(settings.global.log, "warn,eddy=info");
    let viewer = viewer(VIEWER, "");
    assert_eq!(viewer.state, Path::new("/home/me/.local/state/eddy"));
    assert_eq!(viewer.config.playout_delay, PlayoutDelay::Auto);
    assert_eq!(viewer.config.give_up, Duration::from_secs(15));
    assert_eq!(viewer.start, Start::Pat);
    let provider = provider(PROVIDER, "");
    assert_eq!(provider.provider_name.as_str(), "provider");
    assert_eq!(provider.block, Duration::from_millis(40));
    assert_eq!(provider.sub_streams, 8);
    let cache = Some(CacheConfig::provider(Duration::from_secs(3_600)));
    let expected = Config { cache, ..networked(Config::default()).for_provider() };
    assert_eq!((provider.config, provider.file), (expected, Duration::from_secs(10)));
    assert_eq!(good("bootstrap", "").global.listen.to_string(), "0.0.0.0:7400");
    let Work::Demo(demo) = good("demo", "").work else { panic!("not a demo") };
    assert_eq!((demo.viewers, demo.length), (8, Duration::from_secs(30)));
    assert_eq!(demo.input, Input::Clip);
    let Work::Swarm(swarm) = good("bench swarm --viewers 8 --rate 4", "").work else {
        panic!("not a swarm")
    };
    assert_eq!(swarm.rate, Rate::from_bits(4_000_000));
    assert_eq!((swarm.length, swarm.runs), (Duration::from_secs(20), 1));
}

#[test]
fn what_is_kept_and_where() {
    let cache = |args: &str| viewer(&format!("{VIEWER} {args}"), "");
    let usual = cache("");
    let dir = PathBuf::from("/home/me/.cache/eddy/viewer");
    assert_eq!(usual.cache, Some(CacheFolder { dir, given: false }));
    let small = cache("--cache /tmp/x --quota 5MB");
    assert_eq!(small.cache, Some(CacheFolder { dir: "/tmp/x".into(), given: true }));
    let kept = small.config.cache.unwrap();
    assert_eq!((kept.quota, kept.largest_file), (5_000_000, 5_000_000));
    let nothing = cache("--cache none");
    assert_eq!((nothing.cache, nothing.config.cache), (None, None));

    let keep = |args: &str| provider(&format!("{PROVIDER} {args}"), "");
    let day = keep("--keep 24h --file 2").config.cache.unwrap();
    assert_eq!((day.max_age, day.quota), (Some(Duration::from_secs(86_400)), u64::MAX));
    assert_eq!(keep("--file 2").file, Duration::from_secs(2));
    let nothing = keep("--keep 0");
    assert_eq!((nothing.cache, nothing.config.cache), (None, None));
}

#[test]
fn a_viewer_begins_where_it_is_told() {
    let position = |args: &str| viewer(&format!("{VIEWER} {args}"), "").position;
    assert_eq!(position(""), Position::Live);
    assert_eq!(position("--ago 5m"), Position::Ago(Duration::from_secs(300)));
    assert_eq!(position("--ago 0"), Position::Live);
    let at = eddy_core::Time::from_secs(1_795_341_600);
    assert_eq!(position("--at 2026-11-22T10:00:00Z"), Position::At(at));
    let file = "[viewer]\nago = '90s'\n";
    assert_eq!(viewer(VIEWER, file).position, Position::Ago(Duration::from_secs(90)));
    let flag = viewer(&format!("{VIEWER} --at 2026-11-22T10:00:00Z"), file);
    assert_eq!(flag.position, Position::At(at), "the command line goes before the file");
    let both = "[viewer]\nago = '90s'\nat = '2026-11-22T10:00:00Z'\n";
    assert_eq!(refusal(VIEWER, both).what, "[viewer] has both ago and at");
}

#[test]
fn the_report_preset_brings_its_own_defaults() {
    let viewer = viewer(&format!("{VIEWER} --preset report"), "");
    let cache = Some(CacheConfig::default());
    assert_eq!(viewer.config, Config { cache, ..networked(Config::report()) });
    let provider = provider(&format!("{PROVIDER} --preset report"), "");
    assert_eq!(provider.block, Duration::from_secs(1));
    let own = self::provider(&format!("{PROVIDER} --preset report --block 500"), "");
    assert_eq!(own.block, Duration::from_millis(500));
}

#[test]
fn flags_go_before_the_file_and_the_file_before_defaults() {
    let file = "max-upload = '1M'\nlisten = '127.0.0.1:1'\njson = true\n\
                [viewer]\nbootstrap = 'b:2'\nchannel = 'Sport'\noutput = '-'\ngive-up = 5\n";
    let only_file = good("viewer", file);
    assert_eq!(only_file.global.config.max_upload, Some(125_000));
    assert_eq!(only_file.global.listen.to_string(), "127.0.0.1:1");
    assert!(only_file.global.json);
    let from_file = viewer("viewer", file);
    assert_eq!(from_file.channel.as_str(), "Sport");
    assert_eq!(from_file.config.give_up, Duration::from_secs(5));
    assert_eq!(from_file.config.max_upload, Some(125_000));

    let flags = "viewer --channel News --give-up 7 --max-upload unlimited --json=false";
    assert!(!good(flags, file).global.json);
    let both = viewer(flags, file);
    assert_eq!(both.channel.as_str(), "News");
    assert_eq!(both.bootstrap, "b:2".parse().unwrap());
    assert_eq!(both.output, Output::Stdout);
    assert_eq!(both.config.give_up, Duration::from_secs(7));
    assert_eq!(both.config.max_upload, None);
}

#[test]
fn the_bootstrap_server_has_an_address_of_its_own_in_the_file() {
    let file = "listen = '127.0.0.1:1'\n[bootstrap]\nlisten = '127.0.0.1:2'\n";
    let listen = |args| good(args, file).global.listen.to_string();
    assert_eq!(listen("bootstrap"), "127.0.0.1:2");
    assert_eq!(listen("demo"), "127.0.0.1:1");
    assert_eq!(listen("bootstrap --listen 127.0.0.1:3"), "127.0.0.1:3");
}

#[test]
fn a_link_stands_for_server_channel_and_key() {
    let key = eddy_core::stream::sign::Signer::from_secret(&[7; 32]).public();
    let link = format!("eddy://tv.example.org:7400/News?key={key}");
    let linked = viewer(&format!("viewer {link} --output null"), "");
    assert_eq!(linked.channel.as_str(), "News");
    assert_eq!(linked.bootstrap, "tv.example.org:7400".parse().unwrap());
    assert_eq!(linked.key, Some(key));

    let file = format!("[viewer]\noutput = 'null'\nurl = '{link}'\n");
    assert_eq!(viewer("viewer", &file), linked);
    let other = viewer("viewer --channel Sport", &file);
    assert_eq!((other.channel.as_str(), other.key), ("Sport", None));

    let twice = format!("{file}channel = 'News'\n");
    assert!(refusal("viewer", &twice).what.contains("url beside"));
    let wrong = eddy_core::stream::sign::Signer::from_secret(&[8; 32]).public();
    let clash = refusal(&format!("viewer {link} --key {wrong} --output null"), "");
    assert!(clash.what.contains(&key.to_string()) && clash.what.contains(&wrong.to_string()));
}

#[test]
fn what_is_missing_is_named_with_what_it_takes() {
    let said = refusal("viewer eddy://a:1/News", "");
    assert_eq!(said.what, "--output is missing");
    assert_eq!(
        said.hint,
        "give --output DST, with udp://HOST:PORT, FILE.ts, - (standard output) or null"
    );
    for (args, option) in [
        ("viewer --output -", "--bootstrap"),
        ("viewer --bootstrap a:1 --output -", "--channel"),
        ("provider --bootstrap a:1 --channel News", "--input"),
        ("provider --channel News --input -", "--bootstrap"),
        ("channels", "--bootstrap"),
        ("replay", "FILE"),
        ("bench swarm --viewers 8", "--rate"),
        ("bench swarm --rate 1", "--viewers"),
    ] {
        assert_eq!(refusal(args, "").what, format!("{option} is missing"), "{args}");
    }
    let homeless = Settings::merge(
        Cli::try_parse_from(["eddy"].into_iter().chain(VIEWER.split(' '))).unwrap(),
        File::default(),
        &Environment::default(),
    );
    assert!(homeless.unwrap_err().hint.contains("--state DIR"));
}

#[test]
fn what_does_not_fit_is_named() {
    for (args, option) in [
        (format!("{VIEWER} --give-up 31"), "--give-up"),
        (format!("{VIEWER} --playout-delay 30001"), "--playout-delay"),
        (format!("{PROVIDER} --description {}", "x".repeat(257)), "--description"),
        (format!("{PROVIDER} --loop"), "--loop"),
        ("demo --seconds 2".into(), "--seconds"),
        ("bench swarm --viewers 1 --rate 1 --seconds 0".into(), "--seconds"),
        ("demo --listen 127.0.0.1:1".into(), "--listen"),
        ("channels --bootstrap a:1 --advertise 127.0.0.1:1".into(), "--advertise"),
        ("dht --advertise 127.0.0.1:1".into(), "--advertise"),
        ("bench swarm --viewers 1 --rate 1 --max-upload 1M".into(), "--max-upload"),
    ] {
        let said = refusal(&args, "");
        assert!(said.what.starts_with(&format!("{option}:")), "{args}: {said}");
    }
    assert!(settings(&format!("{VIEWER} --give-up 31 --preset report"), "", None).is_ok());
    assert!(settings("dht --listen 127.0.0.1:1", "", None).is_ok());
    // A file's is for the commands that have a use for it.
    assert!(settings("demo", "listen = '127.0.0.1:1'", None).is_ok());
    assert!(settings("bench swarm --viewers 1 --rate 1", "max-upload = '1M'", None).is_ok());
}

#[test]
fn a_recording_does_not_go_where_the_stream_goes() {
    let said = refusal("viewer --bootstrap a:1 --channel c --output ./x.ts --record x.ts", "");
    assert!(said.what.starts_with("--output and --record are one file"), "{said}");
    assert!(
        settings("viewer --bootstrap a:1 --channel c --output y.ts --record x.ts", "", None)
            .is_ok()
    );
}

#[test]
fn recordings_are_written_and_read_where_they_should() {
    let file = "[viewer]\nrecord = 'a'\n[bootstrap]\nrecord = 'b'\n[replay]\nfile = 'c'\n";
    let path = |name: &str| Some(PathBuf::from(name));
    assert_eq!(viewer(VIEWER, "").record, None);
    assert_eq!(viewer(VIEWER, file).record, path("a"));
    assert_eq!(viewer(&format!("{VIEWER} --record d"), file).record, path("d"));
    let bootstrap = |args| match good(args, file).work {
        Work::Bootstrap(own) => own.record,
        other => panic!("not a server: {other:?}"),
    };
    assert_eq!(bootstrap("bootstrap"), path("b"));
    assert_eq!(bootstrap("bootstrap --record d"), path("d"));
    let replay = |args| match good(args, file).work {
        Work::Replay(own) => (Some(own.file), own.events),
        other => panic!("no replay: {other:?}"),
    };
    assert_eq!(replay("replay"), (path("c"), false));
    assert_eq!(replay("replay d --events"), (path("d"), true));
}

#[test]
fn networks_of_one_name_are_one_and_the_public_one_has_none() {
    let network = |args: &str, file: &str| match good(&format!("dht {args}"), file).work {
        Work::Dht(own) => own.network,
        other => panic!("no DHT: {other:?}"),
    };
    assert!(network("", "").is_some());
    assert_eq!(network("", ""), network("--network eddy", ""));
    assert_eq!(network("", "[dht]\nnetwork = 'mine'\n"), network("--network mine", ""));
    assert_ne!(network("", ""), network("--network mine", ""));
    assert_eq!(network("--network public", "[dht]\nnetwork = 'mine'\n"), None);
}

#[test]
fn a_file_can_be_looped() {
    let here = std::env::current_exe().unwrap();
    let loops = |args: &str| {
        let args = format!("{args} --input {}", here.display());
        let input = match good(&args, "").work {
            Work::Provider(own) => own.input,
            Work::Demo(own) => own.input,
            other => panic!("no input: {other:?}"),
        };
        matches!(input, Input::File { looped: true, .. })
    };
    assert!(!loops("provider --bootstrap a:1 --channel News"));
    assert!(loops("provider --bootstrap a:1 --channel News --loop"));
    assert!(loops("demo"), "a demo must not run dry");
}

#[test]
fn logging_is_set_from_near_to_far() {
    let log = |args: &str, env, file: &str| {
        settings(&format!("demo {args}"), file, env).unwrap().global.log
    };
    let file = "log = 'eddy=warn'";
    assert_eq!(log("--log trace -v", Some("env"), file), "trace");
    assert_eq!(log("-v", Some("env"), file), "info,eddy=debug");
    assert_eq!(log("-vv", None, ""), "trace");
    assert_eq!(log("-q", Some("env"), file), "error");
    assert_eq!(log("", Some("env"), file), "env");
    assert_eq!(log("", None, file), "eddy=warn");
    assert_eq!(log("", None, "verbose = 1"), "info,eddy=debug");
    assert_eq!(log("", None, ""), "warn,eddy=info");
    assert!(!good("demo -v", "quiet = true").global.quiet);
    assert!(good("demo", "quiet = true").global.quiet);
}
