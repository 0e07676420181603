//! What the program runs with: the command line, over the configuration file,
//! over the defaults.

mod file;
mod layers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use eddy_core::Position;
use eddy_core::config::Config;
use eddy_core::dht::DhtConfig;
use eddy_core::stream::channel::{Channel, ChannelError, ChannelSpec, Name};
use eddy_core::stream::sign::PublicKey;

use self::file::File;
use crate::cli::{Bench, Cli, GlobalOptions, Preset, Runtime, Sim, Start, Verb};
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
    /// `eddy files`
    Files(FilesSettings),
    /// `eddy dht`
    Dht(DhtSettings),
    /// `eddy replay`
    Replay(ReplaySettings),
    /// `eddy demo`
    Demo(DemoSettings),
    /// `eddy bench swarm`
    Swarm(SwarmSettings),
    /// `eddy sim`: with the preset that was named on the command line.
    Sim(Sim, Option<Preset>),
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
    /// File length F.
    pub file: Duration,
    /// Where what was sent is kept.
    pub cache: Option<CacheFolder>,
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
    /// The moment to begin at.
    pub position: Position,
    /// Where files of the past are kept.
    pub cache: Option<CacheFolder>,
    /// The file to record to.
    pub record: Option<PathBuf>,
    /// The node's configuration, with play-out delay and `give_up`.
    pub config: Config,
}

/// A folder for files of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheFolder {
    /// Where it is.
    pub dir: PathBuf,
    /// The user wants this one, and no other and not none.
    pub given: bool,
}

/// `eddy files`
#[derive(Clone, Debug, PartialEq)]
pub struct FilesSettings {
    /// Bootstrap servers, tried in turn.
    pub bootstrap: Hosts,
    /// The channel's name.
    pub channel: Name,
    /// The provider's key, if it was given.
    pub key: Option<PublicKey>,
    /// How much of the past.
    pub last: Duration,
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
    /// How many live viewers.
    pub viewers: u32,
    /// How many viewers of the past.
    pub past: u32,
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
    /// `XDG_CACHE_HOME`
    pub cache_home: Option<PathBuf>,
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
            cache_home: path("XDG_CACHE_HOME"),
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
        flags.check_use(&verb)?;
        let log = log_filter(&flags, environment, &file.global);
        let mut listen = flags.listen.clone();
        if matches!(verb, Verb::Bootstrap(_)) {
            listen = listen.or(file.tables.bootstrap.listen.clone());
        }
        let named = flags.preset;
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
        config.dht = Some(DhtConfig { network: network("eddy"), ..DhtConfig::default() });
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
        let state = options.state.or_else(|| environment.folder(Kind::State));
        let cache = |of| environment.folder(Kind::Cache).map(|dir| dir.join(of));
        let work = match verb {
            Verb::Bootstrap(o) => Work::Bootstrap(o.over(file.tables.bootstrap).settle()),
            Verb::Provider(o) => Work::Provider(o.over(file.tables.provider).settle(
                &global,
                state,
                cache("provider"),
            )?),
            Verb::Viewer(o) => {
                let file = file.tables.viewer.without_link()?;
                let options = o.without_link()?.over(file);
                Work::Viewer(options.settle(&global, state, cache("viewer"))?)
            }
            Verb::Files(o) => {
                let file = file.tables.files.without_link()?;
                Work::Files(o.without_link()?.over(file).settle()?)
            }
            Verb::Channels(o) => Work::Channels(o.over(file.tables.channels).settle()?),
            Verb::Dht(o) => Work::Dht(o.over(file.tables.dht).settle()),
            Verb::Replay(o) => Work::Replay(o.over(file.tables.replay).settle()?),
            Verb::Demo(o) => Work::Demo(o.over(file.tables.demo).settle(&global)?),
            Verb::Sim { what } => Work::Sim(what, named),
            Verb::Bench { what: Bench::Swarm(o) } => {
                Work::Swarm(o.over(file.tables.bench.swarm).settle(&global)?)
            }
        };
        Ok(Self { global, work })
    }
}

const BOOTSTRAP_PORT: u16 = 7400;

/// What a folder is for.
#[derive(Clone, Copy)]
enum Kind {
    State,
    Cache,
}

impl Environment {
    /// By the XDG base directory specification, which ignores relative paths.
    fn folder(&self, kind: Kind) -> Option<PathBuf> {
        let (xdg, below_home) = match kind {
            Kind::State => (&self.state_home, ".local/state"),
            Kind::Cache => (&self.cache_home, ".cache"),
        };
        let xdg = xdg.clone().filter(|dir| dir.is_absolute());
        xdg.or_else(|| self.home.as_ref().map(|home| home.join(below_home)))
            .map(|dir| dir.join("eddy"))
    }
}

/// The id of the DHT of this name, which keeps it apart from all others; `None`
/// for the public one.
fn network(name: &str) -> Option<[u8; 8]> {
    (name != "public").then(|| {
        let mut id = [0; 8];
        blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut id);
        id
    })
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
            file: self.file,
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
