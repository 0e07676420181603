//! From options to settings: what one layer leaves open comes from the next,
//! and what is missing or does not fit is refused.

use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use eddy_core::Position;
use eddy_core::cache::CacheConfig;
use eddy_core::config::PlayoutDelay;
use eddy_core::stream::channel::Name;
use eddy_core::stream::sign::PublicKey;

use crate::cli::{
    BootstrapOptions, ChannelsOptions, DemoOptions, DhtOptions, FilesOptions, GlobalOptions,
    Preset, ProviderOptions, ReplayOptions, SwarmOptions, Verb, ViewerOptions,
};
use crate::input::Input;
use crate::moment::{Moment, Span};
use crate::output::Output;
use crate::settings::{
    BootstrapSettings, CacheFolder, ChannelsSettings, DemoSettings, DhtSettings, FilesSettings,
    GlobalSettings, ProviderSettings, ReplaySettings, SwarmSettings, UsageError, ViewerSettings,
    network,
};
use crate::units::{Block, Count, CountOrNone, FileLength, Mbit, Seconds, Size, SubStreams};

/// Fills what one struct of options leaves open from another.
macro_rules! over {
    ($name:ident { $($field:ident),+ }) => {
        impl $name {
            pub(super) fn over(self, file: Self) -> Self {
                Self { $($field: self.$field.or(file.$field)),+ }
            }
        }
    };
}

over!(BootstrapOptions { listen, record });
over!(ProviderOptions {
    bootstrap,
    channel,
    provider_name,
    description,
    input,
    block,
    sub_streams,
    r#loop,
    keep,
    cache,
    file
});
over!(ChannelsOptions { bootstrap });
over!(DhtOptions { bootstrap, network });
over!(FilesOptions { url, bootstrap, channel, last });
over!(ReplayOptions { file, events });
over!(DemoOptions { viewers, past, seconds, input, block });
over!(SwarmOptions { viewers, rate, seconds, block, runs });

impl GlobalOptions {
    /// Refuses what the command line says of addresses and upload to a command that
    /// has no use for it; what a file says is for all of them.
    pub(super) fn check_use(&self, verb: &Verb) -> Result<(), UsageError> {
        let (listens, advertises) = match verb {
            Verb::Bootstrap(_) | Verb::Provider(_) | Verb::Viewer(_) => (true, true),
            Verb::Dht(_) => (true, false),
            _ => (false, false),
        };
        // A swarm that is measured has all the upload there is.
        let uploads = !matches!(verb, Verb::Bench { .. });
        let idle = match (&self.listen, &self.advertise, &self.max_upload) {
            (Some(_), ..) if !listens => "--listen",
            (_, Some(_), _) if !advertises => "--advertise",
            (.., Some(_)) if !uploads => "--max-upload",
            _ => return Ok(()),
        };
        Err(UsageError {
            what: format!("{idle}: this command has no use for it"),
            hint: format!("leave {idle} out"),
        })
    }

    pub(super) fn over(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            advertise: self.advertise.or(file.advertise),
            max_upload: self.max_upload.or(file.max_upload),
            state: self.state.or(file.state),
            preset: self.preset.or(file.preset),
            runtime: self.runtime.or(file.runtime),
            json: self.json.or(file.json),
            // -v asks for more than a file's `quiet` would show.
            quiet: self.quiet.or(file.quiet.filter(|_| self.verbose == 0)),
            verbose: if self.verbose == 0 { file.verbose } else { self.verbose },
            log: self.log.or(file.log),
        }
    }
}

/// Refuses a link in a section that names server or channel, too.
fn no_link_beside<T>(given: bool, section: &str, link: T) -> Result<T, UsageError> {
    if given {
        return Err(UsageError {
            what: format!("[{section}] has a url beside bootstrap or channel, which it contains"),
            hint: "leave out url, or bootstrap and channel".into(),
        });
    }
    Ok(link)
}

impl FilesOptions {
    /// The same with the link taken apart.
    pub(super) fn without_link(mut self) -> Result<Self, UsageError> {
        let Some(url) = &self.url else { return Ok(self) };
        let named = self.bootstrap.is_some() || self.channel.is_some();
        let url = no_link_beside(named, "files", url)?;
        self.bootstrap = Some(url.bootstrap.clone().into());
        self.channel = Some(url.channel.clone());
        Ok(self)
    }

    pub(super) fn settle(self) -> Result<FilesSettings, UsageError> {
        Ok(FilesSettings {
            bootstrap: self.bootstrap.ok_or_else(|| missing("--bootstrap HOST:PORT", LINK))?,
            channel: self.channel.ok_or_else(|| missing("--channel NAME", LINK))?,
            key: self.url.and_then(|url| url.key),
            last: match self.last {
                None => Duration::from_secs(300),
                Some(Span(last)) if last <= DAY => last,
                Some(_) => {
                    return Err(UsageError {
                        what: "--last: each file of the past is asked for, and that is too many"
                            .into(),
                        hint: "give at most 24h".into(),
                    });
                }
            },
        })
    }
}

impl ViewerOptions {
    /// The same with the link taken apart.
    pub(super) fn without_link(mut self) -> Result<Self, UsageError> {
        let Some(url) = self.url.take() else { return Ok(self) };
        let named = self.bootstrap.is_some() || self.channel.is_some();
        let url = no_link_beside(named, "viewer", url)?;
        if let (Some(given), Some(linked)) = (self.key, url.key)
            && given != linked
        {
            return Err(UsageError {
                what: format!("the key given is {given}, but the link's key is {linked}"),
                hint: "leave out the one that is wrong".into(),
            });
        }
        self.bootstrap = Some(url.bootstrap.into());
        self.channel = Some(url.channel);
        self.key = self.key.or(url.key);
        Ok(self)
    }

    pub(super) fn over(self, file: Self) -> Self {
        // A key in the file is the key of the file's channel.
        let other =
            self.channel.is_some() && file.channel.is_some() && self.channel != file.channel;
        Self {
            url: None,
            bootstrap: self.bootstrap.or(file.bootstrap),
            channel: self.channel.or(file.channel),
            key: self.key.or(file.key.filter(|_| !other)),
            output: self.output.or(file.output),
            playout_delay: self.playout_delay.or(file.playout_delay),
            start: self.start.or(file.start),
            ago: self.ago.or(file.ago.filter(|_| self.at.is_none())),
            at: self.at.or(file.at.filter(|_| self.ago.is_none())),
            cache: self.cache.or(file.cache),
            quota: self.quota.or(file.quota),
            give_up: self.give_up.or(file.give_up),
            record: self.record.or(file.record),
        }
    }

    pub(super) fn settle(
        self,
        global: &GlobalSettings,
        state: Option<PathBuf>,
        cache: Option<PathBuf>,
    ) -> Result<ViewerSettings, UsageError> {
        let mut config = global.config.clone();
        if let Some(delay) = self.playout_delay {
            config.playout_delay = delay.0;
        }
        if let Some(Seconds(give_up)) = self.give_up {
            config.give_up = give_up;
        }
        let most = config.buffer;
        if config.give_up > most {
            return Err(too_long("--give-up", format!("{} s", most.as_secs()), most));
        }
        if matches!(config.playout_delay, PlayoutDelay::Fixed(delay) if delay > most) {
            return Err(too_long("--playout-delay", format!("{} ms", most.as_millis()), most));
        }
        let position = match (self.ago, self.at) {
            (Some(_), Some(_)) => {
                return Err(UsageError {
                    what: "[viewer] has both ago and at".into(),
                    hint: "leave out one of them".into(),
                });
            }
            (Some(Span(ago)), None) if !ago.is_zero() => Position::Ago(ago),
            (None, Some(Moment(at))) => Position::At(at),
            _ => Position::Live,
        };
        if let (Some(Output::File(output)), Some(record)) = (&self.output, &self.record)
            && absolute(output).ok() == absolute(record).ok()
        {
            return Err(UsageError {
                what: format!("--output and --record are one file, {}", output.display()),
                hint: "give two files".into(),
            });
        }
        let none = self.cache.as_deref() == Some(Path::new("none"));
        let cache = folder(self.cache, cache).filter(|_| !none);
        if cache.is_some() {
            let whole = CacheConfig::default();
            let quota = self.quota.map_or(whole.quota, |Size(quota)| quota);
            let largest_file = whole.largest_file.min(quota);
            config.cache = Some(CacheConfig { quota, largest_file, ..whole });
        }
        Ok(ViewerSettings {
            state: needed_state(state)?,
            bootstrap: self.bootstrap.ok_or_else(|| missing("--bootstrap HOST:PORT", LINK))?,
            channel: self.channel.ok_or_else(|| missing("--channel NAME", LINK))?,
            key: self.key,
            output: self.output.ok_or_else(|| {
                missing(
                    "--output DST",
                    "with udp://HOST:PORT, FILE.ts, - (standard output) or null",
                )
            })?,
            start: self.start.unwrap_or_default(),
            position,
            cache,
            record: self.record,
            config,
        })
    }
}

impl ProviderOptions {
    pub(super) fn settle(
        self,
        global: &GlobalSettings,
        state: Option<PathBuf>,
        cache: Option<PathBuf>,
    ) -> Result<ProviderSettings, UsageError> {
        let name = || Name::new("provider").expect("the default name is a name");
        let source = "with udp://HOST:PORT, FILE.ts or - (standard input)";
        let input = self.input.ok_or_else(|| missing("--input SRC", source))?;
        let input = match (self.r#loop, input) {
            (Some(true), file @ Input::File { .. }) => file.looped(),
            (Some(true), _) => {
                return Err(UsageError {
                    what: "--loop: only a file has an end to begin again at".into(),
                    hint: "leave out --loop, or give a file with --input".into(),
                });
            }
            (_, input) => input,
        };
        let mut config = global.config.clone().for_provider();
        let keep = self.keep.map_or(KEEP, |Span(keep)| keep);
        if self.cache.as_deref() == Some(Path::new("none")) {
            return Err(UsageError {
                what: "--cache none: a provider has a folder for what it keeps".into(),
                hint: "keep nothing with --keep 0, or give a folder".into(),
            });
        }
        let cache = folder(self.cache, cache).filter(|_| !keep.is_zero());
        if (1..60).contains(&keep.as_secs()) {
            return Err(UsageError {
                what: "--keep: less than a minute is not worth a file".into(),
                hint: "give at least 1m, or 0 to keep nothing".into(),
            });
        }
        if cache.is_some() {
            config.cache = Some(CacheConfig::provider(keep));
        } else if self.keep.is_some_and(|Span(keep)| !keep.is_zero()) {
            return Err(UsageError {
                what: "no folder to keep what was sent in: neither XDG_CACHE_HOME nor HOME is set"
                    .into(),
                hint: "give one with --cache DIR".into(),
            });
        }
        let settings = ProviderSettings {
            state: needed_state(state)?,
            bootstrap: self.bootstrap.ok_or_else(|| missing("--bootstrap HOST:PORT", ELSE_FILE))?,
            channel: self.channel.ok_or_else(|| missing("--channel NAME", ELSE_FILE))?,
            provider_name: self.provider_name.unwrap_or_else(name),
            description: self.description.unwrap_or_default(),
            input,
            block: block(self.block, global.preset),
            sub_streams: self.sub_streams.map_or(8, |SubStreams(n)| n),
            file: self.file.map_or(Duration::from_secs(10), |FileLength(file)| file),
            cache,
            config,
        };
        // Whether a description is a good one does not depend on the key.
        settings.channel(PublicKey::default())?;
        Ok(settings)
    }
}

impl ChannelsOptions {
    pub(super) fn settle(self) -> Result<ChannelsSettings, UsageError> {
        let bootstrap =
            self.bootstrap.ok_or_else(|| missing("--bootstrap HOST:PORT", ELSE_FILE))?;
        Ok(ChannelsSettings { bootstrap })
    }
}

impl BootstrapOptions {
    pub(super) fn settle(self) -> BootstrapSettings {
        BootstrapSettings { record: self.record }
    }
}

impl DhtOptions {
    pub(super) fn settle(self) -> DhtSettings {
        let network = network(self.network.as_deref().unwrap_or("eddy"));
        DhtSettings { bootstrap: self.bootstrap, network }
    }
}

impl ReplayOptions {
    pub(super) fn settle(self) -> Result<ReplaySettings, UsageError> {
        let file =
            self.file.ok_or_else(|| missing("FILE", "which `eddy viewer --record FILE` wrote"))?;
        Ok(ReplaySettings { file, events: self.events.unwrap_or(false) })
    }
}

impl DemoOptions {
    pub(super) fn settle(self, global: &GlobalSettings) -> Result<DemoSettings, UsageError> {
        Ok(DemoSettings {
            viewers: self.viewers.map_or(8, |Count(n)| n),
            past: self.past.map_or(2, |CountOrNone(n)| n),
            // Who watches the past joins at half time, and has to play something.
            length: length(self.seconds, 30, 3)?,
            input: self.input.unwrap_or(Input::Clip).looped(),
            block: block(self.block, global.preset),
        })
    }
}

impl SwarmOptions {
    pub(super) fn settle(self, global: &GlobalSettings) -> Result<SwarmSettings, UsageError> {
        let example = "as in: eddy bench swarm --viewers 8 --rate 4";
        let Count(viewers) = self.viewers.ok_or_else(|| missing("--viewers COUNT", example))?;
        let Mbit(rate) = self.rate.ok_or_else(|| missing("--rate MBIT", example))?;
        Ok(SwarmSettings {
            viewers,
            rate,
            length: length(self.seconds, 20, 1)?,
            block: block(self.block, global.preset),
            runs: self.runs.map_or(1, |Count(n)| n),
        })
    }
}

const DAY: Duration = Duration::from_secs(86_400);
/// How much of what it sent a provider keeps unless told otherwise.
const KEEP: Duration = Duration::from_secs(3_600);
const LINK: &str = "or give the channel's link, eddy://HOST:PORT/NAME?key=HEX";
const ELSE_FILE: &str = "or put it into a file for --config";

/// A folder that was given, else the usual one.
fn folder(given: Option<PathBuf>, usual: Option<PathBuf>) -> Option<CacheFolder> {
    let usual = usual.map(|dir| CacheFolder { dir, given: false });
    given.map(|dir| CacheFolder { dir, given: true }).or(usual)
}

fn missing(option: &str, how: &str) -> UsageError {
    let name = option.split(' ').next().unwrap_or_default();
    UsageError { what: format!("{name} is missing"), hint: format!("give {option}, {how}") }
}

fn too_long(option: &str, most: String, buffer: Duration) -> UsageError {
    UsageError {
        what: format!("{option}: a node keeps only {} s of the stream", buffer.as_secs()),
        hint: format!("give at most {most}"),
    }
}

fn needed_state(state: Option<PathBuf>) -> Result<PathBuf, UsageError> {
    state.ok_or_else(|| UsageError {
        what: "no folder to keep keys in: neither XDG_STATE_HOME nor HOME is set".into(),
        hint: "give one with --state DIR".into(),
    })
}

/// The published system relays whole seconds (report section 2.1, p. 8).
fn block(given: Option<Block>, preset: Preset) -> Duration {
    let ms = match preset {
        Preset::Default => 40,
        Preset::Report => 1_000,
    };
    given.map_or(Duration::from_millis(ms), |Block(d)| d)
}

fn length(given: Option<Seconds>, default: u64, least: u64) -> Result<Duration, UsageError> {
    match given {
        None => Ok(Duration::from_secs(default)),
        Some(Seconds(d)) if d >= Duration::from_secs(least) => Ok(d),
        Some(_) => Err(UsageError {
            what: format!("--seconds: a run takes at least {least} s"),
            hint: format!("give --seconds {least} or more"),
        }),
    }
}
