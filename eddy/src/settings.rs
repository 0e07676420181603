//! What the program runs with: the command line, over the configuration file,
//! over the defaults.

mod file;
mod layers;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use eddy_core::config::Config;
use eddy_core::stream::channel::{Channel, ChannelError, ChannelSpec, Name};
use eddy_core::stream::sign::PublicKey;

use self::file::File;
use crate::cli::{Bench, Cli, GlobalOptions, Preset, Runtime, Start, Verb};
use crate::input::Input;
use crate::output::Output;
use crate::units::{Cap, Rate};
use crate::url::{HostPort, Hosts};

/// Everything the program was told, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What holds for every verb.
    pub global: GlobalSettings,
    /// What to do.
    pub work: Work,
}

/// What to do, with what.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// `eddy bootstrap`
    Bootstrap(BootstrapSettings),
    /// `eddy provider`
    Provider(ProviderSettings),
    /// `eddy viewer`
    Viewer(ViewerSettings),
    /// `eddy channels`
    Channels(ChannelsSettings),
    /// `eddy dht`
    Dht(DhtSettings),
    /// `eddy replay`
    Replay(ReplaySettings),
    /// `eddy demo`
    Demo(DemoSettings),
    /// `eddy bench swarm`
    Swarm(SwarmSettings),
}

/// What holds for every verb.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalSettings {
    /// Where to listen.
    pub listen: HostPort,
    /// What to tell others instead of the address they see.
    pub advertise: Option<HostPort>,
    /// The preset that `config` comes from.
    pub preset: Preset,
    /// The preset with the upload cap; `listen` is for the command to fill in
    /// once the port is known.
    pub config: Config,
    /// The driver that nodes run on.
    pub runtime: Runtime,
    /// JSON lines instead of text.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
    /// The log filter.
    pub log: String,
}

/// `eddy bootstrap`
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapSettings {
    /// The file to record to.
    pub record: Option<PathBuf>,
}

/// `eddy provider`
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderSettings {
    /// The state folder.
    pub state: PathBuf,
    /// Bootstrap servers, tried in turn.
    pub bootstrap: Hosts,
    /// The channel's name.
    pub channel: Name,
    /// The provider's name.
    pub provider_name: Name,
    /// A line about the channel.
    pub description: String,
    /// Where the stream comes from, looped if that was asked for.
    pub input: Input,
    /// Block duration D.
    pub block: Duration,
    /// Sub-streams S.
    pub sub_streams: u8,
    /// The node's configuration, as for a provider.
    pub config: Config,
}

/// `eddy viewer`
#[derive(Clone, Debug, PartialEq)]
pub struct ViewerSettings {
    /// The state folder.
    pub state: PathBuf,
    /// Bootstrap servers, tried in turn.
    pub bootstrap: Hosts,
    /// The channel's name.
    pub channel: Name,
    /// The provider's key, if it was given.
    pub key: Option<PublicKey>,
    /// Where the stream goes.
    pub output: Output,
    /// Where the output starts.
    pub start: Start,
    /// The file to record to.
    pub record: Option<PathBuf>,
    /// The node's configuration, with play-out delay and `give_up`.
    pub config: Config,
}

/// `eddy channels`
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelsSettings {
    /// Bootstrap servers, tried in turn.
    pub bootstrap: Hosts,
}

/// `eddy dht`
#[derive(Clone, Debug, PartialEq)]
pub struct DhtSettings {
    /// DHT nodes to begin with.
    pub bootstrap: Option<Hosts>,
    /// The id of the network; `None` for the public one.
    pub network: Option<[u8; 8]>,
}

/// `eddy replay`
#[derive(Clone, Debug, PartialEq)]
pub struct ReplaySettings {
    /// The recording.
    pub file: PathBuf,
    /// Every event, instead of a line a second.
    pub events: bool,
}

/// `eddy demo`
#[derive(Clone, Debug, PartialEq)]
pub struct DemoSettings {
    /// How many viewers.
    pub viewers: u32,
    /// How long to run.
    pub length: Duration,
    /// Where the stream comes from; a file is looped.
    pub input: Input,
    /// Block duration D.
    pub block: Duration,
}

/// `eddy bench swarm`
#[derive(Clone, Debug, PartialEq)]
pub struct SwarmSettings {
    /// How many viewers.
    pub viewers: u32,
    /// The stream's rate.
    pub rate: Rate,
    /// How long each run measures.
    pub length: Duration,
    /// Block duration D.
    pub block: Duration,
    /// How many runs.
    pub runs: u32,
}

/// The program was used wrongly: what was wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    /// What was wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for UsageError {}

/// What the settings take from the process's environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `EDDY_LOG`
    pub log: Option<String>,
    /// `XDG_STATE_HOME`
    pub state_home: Option<PathBuf>,
    /// `HOME`
    pub home: Option<PathBuf>,
}

impl Environment {
    /// The process's own.
    pub fn of_process() -> Self {
        let path = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Self {
            log: std::env::var("EDDY_LOG").ok().filter(|v| !v.is_empty()),
            state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
        }
    }
}

impl Settings {
    /// Reads the configuration file, if the command line names one, and
    /// settles every option.
    ///
    /// # Errors
    /// [`UsageError`] if the file cannot be read, or an option is unknown, bad
    /// or missing.
    pub fn new(cli: Cli, environment: &Environment) -> Result<Self, UsageError> {
        let file = match &cli.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        Self::merge(cli, file, environment)
    }

    fn merge(cli: Cli, file: File, environment: &Environment) -> Result<Self, UsageError> {
        let Cli { global: flags, verb, .. } = cli;
        let log = log_filter(&flags, environment, &file.global);
        let mut listen = flags.listen.clone();
        if matches!(verb, Verb::Bootstrap(_)) {
            listen = listen.or(file.tables.bootstrap.listen.clone());
        }
        let options = flags.over(file.global);
        let preset = options.preset.unwrap_or_default();
        let mut config = match preset {
            Preset::Default => Config::default(),
            Preset::Report => Config::report(),
        };
        config.max_upload = match options.max_upload {
            Some(Cap::At(rate)) => Some(rate.bytes()),
            Some(Cap::Unlimited) | None => None,
        };
        let port = if matches!(verb, Verb::Bootstrap(_)) { BOOTSTRAP_PORT } else { 0 };
        let global = GlobalSettings {
            listen: listen
                .or(options.listen)
                .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], port)).into()),
            advertise: options.advertise,
            preset,
            config,
            runtime: options.runtime.unwrap_or_default(),
            json: options.json.unwrap_or(false),
            quiet: options.quiet.unwrap_or(false),
            log,
        };
        let state = options.state.or_else(|| environment.state_folder());
        let work = match verb {
            Verb::Bootstrap(o) => Work::Bootstrap(o.over(file.tables.bootstrap).settle()),
            Verb::Provider(o) => {
                Work::Provider(o.over(file.tables.provider).settle(&global, state)?)
            }
            Verb::Viewer(o) => {
                let file = file.tables.viewer.without_link()?;
                Work::Viewer(o.without_link()?.over(file).settle(&global, state)?)
            }
            Verb::Channels(o) => Work::Channels(o.over(file.tables.channels).settle()?),
            Verb::Dht(o) => Work::Dht(o.over(file.tables.dht).settle()),
            Verb::Replay(o) => Work::Replay(o.over(file.tables.replay).settle()?),
            Verb::Demo(o) => Work::Demo(o.over(file.tables.demo).settle(&global)?),
            Verb::Bench { what: Bench::Swarm(o) } => {
                Work::Swarm(o.over(file.tables.bench.swarm).settle(&global)?)
            }
        };
        Ok(Self { global, work })
    }
}

const BOOTSTRAP_PORT: u16 = 7400;

impl Environment {
    /// By the XDG base directory specification, which ignores relative paths.
    fn state_folder(&self) -> Option<PathBuf> {
        let xdg = self.state_home.clone().filter(|dir| dir.is_absolute());
        xdg.or_else(|| self.home.as_ref().map(|home| home.join(".local/state")))
            .map(|dir| dir.join("eddy"))
    }
}

/// From the nearest to the farthest: `--log`, `-q` and `-v`, `EDDY_LOG`, the file.
fn log_filter(flags: &GlobalOptions, environment: &Environment, file: &GlobalOptions) -> String {
    let level = |o: &GlobalOptions| {
        o.log.clone().or_else(|| match (o.quiet, o.verbose) {
            (Some(true), _) => Some("error".into()),
            (_, 0) => None,
            (_, 1) => Some("info,eddy=debug".into()),
            (_, _) => Some("trace".into()),
        })
    };
    let filter = level(flags).or(environment.log.clone()).or_else(|| level(file));
    filter.unwrap_or_else(|| "warn,eddy=info".into())
}

impl ProviderSettings {
    /// The channel as it is registered, with the provider's key.
    ///
    /// # Errors
    /// [`UsageError`] with the option at fault; never after [`Settings::new`].
    pub fn channel(&self, key: PublicKey) -> Result<Channel, UsageError> {
        let spec = ChannelSpec {
            provider: self.provider_name.clone(),
            name: self.channel.clone(),
            description: self.description.clone(),
            block: self.block,
            sub_streams: self.sub_streams,
            file: Duration::from_secs(10),
            key,
        };
        Channel::new(spec).map_err(|e| {
            let option = match e {
                ChannelError::Description => "--description",
                ChannelError::SubStreams => "--sub-streams",
                ChannelError::Block => "--block",
                _ => "--channel",
            };
            UsageError {
                what: format!("{option}: {e}"),
                hint: "run `eddy provider --help` for what each option takes".into(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use eddy_core::config::PlayoutDelay;
    use std::path::Path;

    fn settings(args: &str, file: &str, log: Option<&str>) -> Result<Settings, UsageError> {
        let cli = Cli::try_parse_from(["eddy"].into_iter().chain(args.split_whitespace())).unwrap();
        let environment = Environment {
            log: log.map(str::to_owned),
            state_home: None,
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

    const VIEWER: &str = "viewer --bootstrap a:1 --channel News --output null";
    const PROVIDER: &str = "provider --bootstrap a:1 --channel News --input -";

    #[test]
    fn defaults_are_those_of_the_help() {
        let settings = good(VIEWER, "");
        assert_eq!(settings.global.listen.to_string(), "0.0.0.0:0");
        assert_eq!(settings.global.config, Config::default());
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
        assert_eq!(provider.config, Config::default().for_provider());
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
    fn the_report_preset_brings_its_own_defaults() {
        let viewer = viewer(&format!("{VIEWER} --preset report"), "");
        assert_eq!(viewer.config, Config::report());
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
            ("demo --seconds 0".into(), "--seconds"),
        ] {
            let said = refusal(&args, "");
            assert!(said.what.starts_with(&format!("{option}:")), "{args}: {said}");
        }
        assert!(settings(&format!("{VIEWER} --give-up 31 --preset report"), "", None).is_ok());
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
}
