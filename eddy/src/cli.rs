//! The command line. Every option stands in the configuration file too: the
//! structs here are read by clap and by serde alike, and all their fields are
//! optional. [`settings`](crate::settings) merges the two and fills in
//! defaults.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are the help texts, where brackets are brackets"
)]

mod sim;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use eddy_core::stream::channel::Name;
use eddy_core::stream::sign::PublicKey;
use serde::{Deserialize, Deserializer};

use crate::input::Input;
use crate::moment::{Moment, Span};
use crate::output::Output;
use crate::units::{
    Block, Cap, Count, CountOrNone, FileLength, Mbit, Playout, Seconds, Size, SubStreams, parsed,
    some_text,
};
use crate::url::{ChannelUrl, HostPort, Hosts};

pub use sim::{Sim, SimAllOptions, SimHow, SimReplayOptions, SimRunOptions};

/// Live TV over peer-to-peer: viewers pass the stream on to each other.
#[derive(Debug, Parser)]
#[command(name = "eddy", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Options of all verbs.
    #[command(flatten)]
    pub global: GlobalOptions,
    /// Read options from this TOML file; the command line goes before it
    /// [default: none]
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the server where channels are registered and viewers find each other
    #[command(after_help = BOOTSTRAP_EXAMPLES)]
    Bootstrap(BootstrapOptions),
    /// Send an encoder's stream or a file into a channel
    #[command(after_help = PROVIDER_EXAMPLES)]
    Provider(ProviderOptions),
    /// Watch a channel, and pass it on to others
    #[command(after_help = VIEWER_EXAMPLES)]
    Viewer(ViewerOptions),
    /// List the channels of a bootstrap server
    #[command(after_help = CHANNELS_EXAMPLES)]
    Channels(ChannelsOptions),
    /// List what a channel's past holds, and how many viewers have each file
    #[command(after_help = FILES_EXAMPLES)]
    Files(FilesOptions),
    /// Run a node of the distributed table of who holds what, and nothing else
    #[command(after_help = DHT_EXAMPLES)]
    Dht(DhtOptions),
    /// Run a recording again, without a network, and compare what the node does
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayOptions),
    /// Run server, provider and viewers on this machine and show how they do
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoOptions),
    /// Run experiments in virtual time, and set what came of it beside what is known
    #[command(after_help = sim::EXAMPLES)]
    Sim {
        /// What to do.
        #[command(subcommand)]
        what: Sim,
    },
    /// Measure this machine
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: Bench,
    },
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// One provider and many viewers, each a process, every datagram checked
    #[command(after_help = SWARM_EXAMPLES)]
    Swarm(SwarmOptions),
}

/// A set of defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The best Eddy can do
    #[default]
    Default,
    /// The published CoolStreaming system, with its thresholds and defects
    Report,
}

/// A driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// One thread, one epoll loop
    #[default]
    Mio,
    /// One task of async-std
    AsyncStd,
}

/// Where a viewer's output starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At PAT, PMT and a random-access point, if the stream is MPEG-TS
    #[default]
    Pat,
    /// At the first packet
    Any,
}

/// Options of all verbs.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[command(next_help_heading = EVERYWHERE)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GlobalOptions {
    /// Address to listen on, TCP and UDP; port 0 is any free port
    /// [default: 0.0.0.0:0; bootstrap: 0.0.0.0:7400]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub listen: Option<HostPort>,
    /// Address to tell others, if they cannot see it, as behind a forwarded port
    /// [default: the address others see, at the port listened on]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub advertise: Option<HostPort>,
    /// Most upload in bits per second, with k, M or G: 500k, 2M, 1.5Mbit
    /// [default: unlimited]
    #[arg(long, global = true, value_name = "RATE", allow_hyphen_values = true)]
    pub max_upload: Option<Cap>,
    /// Folder for provider keys, pinned keys and remembered members
    /// [default: $XDG_STATE_HOME/eddy, else ~/.local/state/eddy]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Set of defaults for how nodes behave [default: default]
    #[arg(long, global = true, value_name = "PRESET", hide_default_value = true)]
    pub preset: Option<Preset>,
    /// Driver that nodes run on; async-std is there to be compared with
    /// [default: mio]
    #[arg(long, global = true, value_name = "RUNTIME", hide_default_value = true)]
    pub runtime: Option<Runtime>,
    /// Print one JSON object a line, on standard output and in logs
    /// [default: false]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    pub json: Option<bool>,
    /// Print errors and results only: no progress, no warnings [default: false]
    #[arg(short, long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true, conflicts_with = "verbose")]
    pub quiet: Option<bool>,
    /// Log more: -v for debugging, -vv for every message [default: 0 times]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Log filter, as in RUST_LOG: warn,eddy=debug. Goes before -q and -v; the
    /// environment variable EDDY_LOG goes before the file
    /// [default: warn,eddy=info]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
}

/// Options of `eddy bootstrap`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BootstrapOptions {
    /// As the global option, which it goes before, in the file only: one file
    /// can serve all verbs of a machine, and there the server's address differs.
    #[arg(skip)]
    pub listen: Option<HostPort>,
    /// Record to this file what the server is told, for `eddy replay`: it will
    /// hold the addresses of all who came. An existing file is written over
    /// [default: none]
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Options of `eddy provider`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProviderOptions {
    /// Bootstrap servers, separated by commas, tried in turn [required]
    #[arg(long, value_name = "HOST:PORT,...")]
    pub bootstrap: Option<Hosts>,
    /// The channel's name: 1 to 64 bytes without '_' and '/' [required]
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    #[serde(deserialize_with = "some_name")]
    pub channel: Option<Name>,
    /// The provider's name; its key file goes by it [default: provider]
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    #[serde(deserialize_with = "some_name")]
    pub provider_name: Option<Name>,
    /// A line about the channel, at most 256 bytes [default: empty]
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// What to send: udp://HOST:PORT to listen for an encoder (multicast too),
    /// a .ts file paced by its own clock, or - for standard input [required]
    #[arg(long, value_name = "udp://HOST:PORT|FILE.ts|-", allow_hyphen_values = true, value_parser = Input::parse)]
    #[serde(deserialize_with = "some_input")]
    pub input: Option<Input>,
    /// Block duration D in milliseconds, which divides 1000: 20, 25, 40, 50,
    /// 100, 125, 200, 250, 500 or 1000 [default: 40; preset report: 1000]
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    pub block: Option<Block>,
    /// Sub-streams the channel is cut into: 1 to 32 [default: 8]
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub sub_streams: Option<SubStreams>,
    /// Begin a file again at its end; clocks and counters run on
    /// [default: false]
    #[arg(long = "loop", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    pub r#loop: Option<bool>,
    /// Keep so much of what was sent, for viewers who rewind: 24h, 90m, at least
    /// 1m, or 0 for nothing [default: 1h]
    #[arg(long, value_name = "SPAN")]
    pub keep: Option<Span>,
    /// Folder for what is kept [default: $XDG_CACHE_HOME/eddy/provider, else
    /// ~/.cache/eddy/provider]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Seconds of the stream in one file, the unit in which viewers keep and
    /// find the past: 1 to 20 [default: 10]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub file: Option<FileLength>,
}

/// Options of `eddy viewer`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ViewerOptions {
    /// The channel's link, as the provider prints it; instead of --bootstrap
    /// and --channel [default: none]
    #[arg(value_name = "eddy://HOST:PORT/NAME?key=HEX", conflicts_with_all = ["bootstrap", "channel"])]
    pub url: Option<ChannelUrl>,
    /// Bootstrap servers, separated by commas, tried in turn [required without a link]
    #[arg(long, value_name = "HOST:PORT,...")]
    pub bootstrap: Option<Hosts>,
    /// The channel's name [required without a link]
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    #[serde(deserialize_with = "some_name")]
    pub channel: Option<Name>,
    /// The provider's public key, 64 hexadecimal digits; no other is accepted
    /// [default: the link's, else the first key seen, which is remembered]
    #[arg(long, value_name = "HEX")]
    #[serde(deserialize_with = "some_text")]
    pub key: Option<PublicKey>,
    /// Where to: udp://HOST:PORT (paced as the encoder's packets were), a file
    /// (what it held before is overwritten), - for standard output, or null for
    /// nowhere [required]
    #[arg(long, value_name = "udp://HOST:PORT|FILE.ts|-|null", allow_hyphen_values = true, value_parser = Output::parse)]
    #[serde(deserialize_with = "some_output")]
    pub output: Option<Output>,
    /// Begin so long before the live edge: 90s, 5m, 1h30m [default: live]
    #[arg(long, value_name = "SPAN", conflicts_with = "at")]
    pub ago: Option<Span>,
    /// Begin at this moment: 2026-11-22T10:00:00Z, 2026-11-22 10:00 or 10:00:00,
    /// which is the last one before now [default: live]
    #[arg(long, value_name = "TIME")]
    pub at: Option<Moment>,
    /// Folder for what is kept of the channel, for other viewers and for your own
    /// way back; none keeps nothing [default: $XDG_CACHE_HOME/eddy/viewer, else
    /// ~/.cache/eddy/viewer]
    #[arg(long, value_name = "DIR|none")]
    pub cache: Option<PathBuf>,
    /// Most bytes kept there for each channel: 500MB, 2GB, 1.5GiB [default: 2GB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub quota: Option<Size>,
    /// How far play-out stays behind the provider: auto finds the smallest delay
    /// that works, a number is milliseconds, 0 hands every block over at once
    /// [default: auto; preset report: paced, with no delay added]
    #[arg(long, value_name = "auto|MS|0", allow_hyphen_values = true)]
    pub playout_delay: Option<Playout>,
    /// Where the output starts [default: pat]
    #[arg(long, value_name = "START")]
    pub start: Option<Start>,
    /// Give a block up when it is late by this many seconds; play-out waits
    /// until then [default: 15; preset report: 0]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub give_up: Option<Seconds>,
    /// Record to this file what the node is told, for `eddy replay`: it will
    /// hold the stream and the addresses of others. An existing file is written
    /// over [default: none]
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

/// Options of `eddy channels`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ChannelsOptions {
    /// Bootstrap servers, separated by commas, tried in turn [required]
    #[arg(long, value_name = "HOST:PORT,...")]
    pub bootstrap: Option<Hosts>,
}

/// Options of `eddy files`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FilesOptions {
    /// The channel's link, as the provider prints it; instead of --bootstrap
    /// and --channel [default: none]
    #[arg(value_name = "eddy://HOST:PORT/NAME?key=HEX", conflicts_with_all = ["bootstrap", "channel"])]
    pub url: Option<ChannelUrl>,
    /// Bootstrap servers, separated by commas, tried in turn [required without a link]
    #[arg(long, value_name = "HOST:PORT,...")]
    pub bootstrap: Option<Hosts>,
    /// The channel's name [required without a link]
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    #[serde(deserialize_with = "some_name")]
    pub channel: Option<Name>,
    /// How much of the past to look at: 90s, 10m, 2h, at most 24h [default: 5m]
    #[arg(long, value_name = "SPAN")]
    pub last: Option<Span>,
}

/// Options of `eddy dht`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DhtOptions {
    /// DHT nodes to begin with, separated by commas, a bootstrap server among
    /// them; the first node of a network has none [default: none]
    #[arg(long, value_name = "HOST:PORT,...")]
    pub bootstrap: Option<Hosts>,
    /// Name of the network: nodes of other names are strangers. public is
    /// BitTorrent's, of all who have no name [default: eddy]
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
}

/// Options of `eddy replay`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReplayOptions {
    /// What `eddy viewer --record FILE` or `eddy bootstrap --record FILE` wrote
    /// [required]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print every event and action, instead of a line a second
    /// [default: false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "true|false", hide_possible_values = true)]
    pub events: Option<bool>,
}

/// Options of `eddy demo`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DemoOptions {
    /// How many viewers: 1 to 1000 [default: 8]
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub viewers: Option<Count>,
    /// How many more viewers to have for the past: from half of the run on they
    /// watch what went by in the first half, 0 to 1000 [default: 2]
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub past: Option<CountOrNone>,
    /// How many seconds to run [default: 30]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub seconds: Option<Seconds>,
    /// What to send, as for eddy provider; a file begins again at its end
    /// [default: a short clip inside the program]
    #[arg(long, value_name = "udp://HOST:PORT|FILE.ts|-", allow_hyphen_values = true, value_parser = Input::parse)]
    #[serde(deserialize_with = "some_input")]
    pub input: Option<Input>,
    /// Block duration D in milliseconds, which divides 1000
    /// [default: 40; preset report: 1000]
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    pub block: Option<Block>,
}

/// Options of `eddy bench`, in the file only.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BenchOptions {
    /// Options of `eddy bench swarm`.
    pub swarm: SwarmOptions,
}

/// Options of `eddy bench swarm`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SwarmOptions {
    /// How many viewers, all joining at once: 1 to 1000 [required]
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub viewers: Option<Count>,
    /// The stream's rate in Mbit/s [required]
    #[arg(long, value_name = "MBIT", allow_hyphen_values = true)]
    pub rate: Option<Mbit>,
    /// How many seconds each run measures [default: 20]
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub seconds: Option<Seconds>,
    /// Block duration D in milliseconds, which divides 1000
    /// [default: 40; preset report: 1000]
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    pub block: Option<Block>,
    /// How many runs, each from a cold start: 1 to 1000 [default: 1]
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub runs: Option<Count>,
}

fn some_name<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Name>, D::Error> {
    parsed(d, Name::new)
}

fn some_input<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Input>, D::Error> {
    parsed(d, Input::parse)
}

fn some_output<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Output>, D::Error> {
    parsed(d, Output::parse)
}

const EVERYWHERE: &str = "Options of every command";

const EXAMPLES: &str = "\
EXAMPLES:
  See it work on this machine:
      eddy demo
  A channel, on three machines:
      eddy bootstrap
      eddy provider --bootstrap tv.example.org:7400 --channel News --input udp://127.0.0.1:1234
      eddy viewer --bootstrap tv.example.org:7400 --channel News --output udp://127.0.0.1:5004

Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by a second Ctrl-C (eddy sim: by the first).";

const BOOTSTRAP_EXAMPLES: &str = "\
EXAMPLES:
  eddy bootstrap
  eddy bootstrap --listen [::]:7400
  eddy bootstrap --listen 10.0.0.5:7400 --advertise tv.example.org:7400 --json";

const PROVIDER_EXAMPLES: &str = "\
EXAMPLES:
  ffmpeg -re -i film.mp4 -c copy -f mpegts 'udp://127.0.0.1:1234?pkt_size=1316' &
  eddy provider --bootstrap tv.example.org:7400 --channel News --input udp://127.0.0.1:1234

  eddy provider --bootstrap localhost:7400 --channel Test --input clip.ts --loop
  ffmpeg ... -f mpegts - | eddy provider --bootstrap localhost:7400 --channel Test --input -";

const VIEWER_EXAMPLES: &str = "\
EXAMPLES:
  eddy viewer --bootstrap tv.example.org:7400 --channel News --output udp://127.0.0.1:5004
  vlc udp://@127.0.0.1:5004

  eddy viewer 'eddy://tv.example.org:7400/News?key=...' --output - | mpv -
  eddy viewer --bootstrap tv.example.org:7400 --channel News --output null --max-upload 2M

  eddy viewer 'eddy://tv.example.org:7400/News?key=...' --output udp://127.0.0.1:5004 --ago 5m

While it runs it takes a command a line on standard input:
  pause, play       stand still, go on; nothing is left out
  seek -30s         so much back or, with +, forward
  seek 10:15:00     to a time of day, or a date and time
  live              to the live edge
  switch NAME       to another channel of the same server
  quit
On a terminal these keys do: space (pause, play), left and right (10 s), down and up (a minute),
l (live), q (quit).";

const CHANNELS_EXAMPLES: &str = "\
EXAMPLES:
  eddy channels --bootstrap tv.example.org:7400
  eddy channels --bootstrap tv.example.org:7400 --json";

const FILES_EXAMPLES: &str = "\
EXAMPLES:
  eddy files 'eddy://tv.example.org:7400/News?key=...'
  eddy files --bootstrap tv.example.org:7400 --channel News --last 1h --json

One line a file, the newest first. What the provider keeps is not counted: it publishes nothing.";

const DHT_EXAMPLES: &str = "\
EXAMPLES:
  eddy dht --listen 0.0.0.0:7401
  eddy dht --bootstrap tv.example.org:7401
  eddy dht --listen 127.0.0.1:7402 --bootstrap 127.0.0.1:7401 --json

With --json it takes a JSON object a line on standard input, and ends with it:
  {\"op\":\"announce\",\"ih\":\"40 hexadecimal digits\",\"port\":4242}
  {\"op\":\"get_peers\",\"ih\":\"40 hexadecimal digits\"}
  {\"op\":\"info\"}
  {\"op\":\"quit\"}";

const REPLAY_EXAMPLES: &str = "\
EXAMPLES:
  eddy viewer 'eddy://tv.example.org:7400/News?key=...' --output - --record fault.eddy | mpv -
  eddy replay fault.eddy
  eddy replay fault.eddy --events | less

Nothing is played, and nothing is sent. A recording holds the stream and the addresses of others:
think before you pass it on. A provider cannot be recorded, for its secret key would be in the file.

Exit code: 0 if the node did the same as when it was recorded, else 1.";

const DEMO_EXAMPLES: &str = "\
EXAMPLES:
  eddy demo
  eddy demo --viewers 16 --seconds 60 --input clip.ts
  eddy demo --json > demo.jsonl

Exit code: 0 if every viewer played and no block was lost, else 1.";

const SWARM_EXAMPLES: &str = "\
EXAMPLES:
  eddy bench swarm --viewers 8 --rate 4
  eddy bench swarm --viewers 32 --rate 1 --runs 10 --json";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn switches_can_be_turned_off() {
        let json = |args: &[&str]| Cli::try_parse_from(args).unwrap().global.json;
        assert_eq!(json(&["eddy", "bootstrap"]), None);
        assert_eq!(json(&["eddy", "--json", "bootstrap"]), Some(true));
        assert_eq!(json(&["eddy", "bootstrap", "--json=false"]), Some(false));
    }

    #[test]
    fn global_options_stand_on_either_side_of_the_verb() {
        let a = Cli::try_parse_from(["eddy", "-vv", "--listen", "[::1]:1", "demo"]).unwrap();
        let b = Cli::try_parse_from(["eddy", "demo", "--listen", "[::1]:1", "-v", "-v"]).unwrap();
        assert_eq!(a.global, b.global);
        assert_eq!(a.global.verbose, 2);
    }
}
