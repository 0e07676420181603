//! What a scenario can say. `docs/EXPERIMENTS.md` tells it in prose.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::parameters::Parameters;
use super::units::{Rate, Span};

/// One experiment: a channel or several, who watches, and what goes wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its short name.
    pub id: String,
    /// What it is, in a line.
    pub title: String,
    /// What it is for, and where its parameters come from.
    #[serde(default)]
    pub about: String,
    /// What it showed, in plain words: stands beside the results.
    #[serde(default)]
    pub findings: String,
    /// Small enough to be run at every change.
    #[serde(default)]
    pub quick: bool,
    /// How long it takes, in virtual time.
    pub span: Span,
    /// What comes before is not counted: the swarm still forms.
    #[serde(default)]
    pub measure_from: Span,
    /// Seeds it is run with unless told otherwise.
    #[serde(default)]
    pub seeds: Seeds,
    /// The stream.
    #[serde(default)]
    pub channel: ChannelPlan,
    /// What lies between the nodes.
    #[serde(default)]
    pub network: Network,
    /// Who sends the channel.
    #[serde(default)]
    pub provider: ProviderPlan,
    /// Who watches.
    pub viewers: Vec<Group>,
    /// What goes wrong, and when.
    #[serde(default)]
    pub faults: Vec<FaultPlan>,
    /// The nodes' parameters, where they are not the preset's.
    #[serde(default)]
    pub core: Parameters,
    /// Count the replicas of each file a minute after it is complete, and of a
    /// few files of any age once a minute.
    #[serde(default)]
    pub count_replicas: bool,
    /// What was published, to stand beside the result.
    #[serde(default)]
    pub published: Vec<Figure>,
    /// What is to be reached.
    #[serde(default)]
    pub targets: Vec<Target>,
}

/// The stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelPlan {
    /// How many channels of this kind there are; viewers spread evenly.
    pub count: usize,
    /// r: its rate.
    pub rate: Rate,
    /// D: block duration.
    pub block: Span,
    /// S: sub-streams.
    pub sub_streams: u8,
    /// F: file length.
    pub file: Span,
    /// Bytes of one datagram of the encoder.
    pub packet: usize,
}

impl Default for ChannelPlan {
    fn default() -> Self {
        Self {
            count: 1,
            rate: Rate::Bytes(62_500),
            block: Span(std::time::Duration::from_millis(40)),
            sub_streams: 8,
            file: Span(std::time::Duration::from_secs(10)),
            packet: 1_316,
        }
    }
}

/// What lies between the nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// `planetlab`, a round trip that is the same everywhere (`40ms`), or a file
    /// with a matrix of round trips: a row a line, in milliseconds.
    pub rtt: String,
    /// Added to each way: the last mile.
    pub access: Span,
    /// Uniform extra delay of each way, up to this.
    pub jitter: Span,
    /// Share of datagrams, and of `Send`s at the first try, that are lost.
    pub loss: f64,
}

impl Default for Network {
    fn default() -> Self {
        let none = Span::default();
        Self { rtt: "planetlab".to_owned(), access: none, jitter: none, loss: 0.0 }
    }
}

/// Who sends the channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderPlan {
    /// Its uplink.
    pub upload: Rate,
    /// How long it keeps the past; zero keeps nothing.
    pub keep: Span,
}

impl Default for ProviderPlan {
    fn default() -> Self {
        Self { upload: Rate::Bytes(1_250_000), keep: Span::default() }
    }
}

/// Viewers who are alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What they are called.
    pub name: String,
    /// How many there are from the start.
    pub count: usize,
    /// When they come.
    #[serde(default)]
    pub arrive: Arrive,
    /// How long they stay.
    #[serde(default)]
    pub session: Session,
    /// Share of those who end in a crash instead of leaving in good order.
    #[serde(default)]
    pub crash: f64,
    /// How far behind live they begin, uniformly between the two; live if it is
    /// left out.
    #[serde(default)]
    pub ago: Option<(Span, Span)>,
    /// Their uplinks.
    #[serde(default)]
    pub upload: Uploads,
    /// Share of them that others can dial.
    #[serde(default = "one")]
    pub reachable: f64,
    /// Leap to another moment of the past once in this time.
    #[serde(default)]
    pub leap_every: Option<Span>,
    /// Pause for `pause`, go on for twice as long, and return to live, this often.
    #[serde(default)]
    pub pause_every: Option<Span>,
    /// How long such a pause is.
    #[serde(default = "twenty")]
    pub pause: Span,
    /// Go to another channel this often.
    #[serde(default)]
    pub zap_every: Option<Span>,
    /// Their hosts stop now and then: mean time between.
    #[serde(default)]
    pub stall_every: Option<Span>,
    /// And for how long.
    #[serde(default)]
    pub stall: Span,
    /// Mean time between two resets of each connection.
    #[serde(default)]
    pub reset_every: Option<Span>,
    /// Spread of their clocks, a standard deviation.
    #[serde(default)]
    pub skew: Span,
    /// How far their clocks are ahead.
    #[serde(default)]
    pub ahead: Span,
    /// What they do to harm the others.
    #[serde(default)]
    pub attack: Option<Attack>,
}

fn one() -> f64 {
    1.0
}

fn twenty() -> Span {
    Span(std::time::Duration::from_secs(20))
}

/// When viewers come.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Arrive {
    /// The first comes then.
    pub from: Span,
    /// They come evenly within this time.
    pub over: Span,
    /// As many come, at random, as leave when sessions end.
    pub steady: bool,
    /// More come at random: mean number a second.
    pub rate: f64,
    /// More come as in this file: one count a line and minute, in a column
    /// named `arrivals`.
    pub trace: Option<String>,
    /// The trace's counts are multiplied by this.
    pub scale: Option<f64>,
    /// A minute of the trace takes this long.
    pub minute: Option<Span>,
}

/// How long viewers stay.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Session {
    /// To the end.
    #[default]
    Forever,
    /// Weibull: shape, and scale in seconds.
    Weibull(f64, f64),
    /// Log-normal: mean and deviation of the logarithm of seconds.
    LogNormal(f64, f64),
    /// Exponential: mean.
    Exponential(Span),
    /// A file with columns `p` and `session_span_s`: quantiles, in seconds.
    Quantiles(String),
}

/// Uplinks: one rate, or classes.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a rate such as \"1.5r\", or classes: [{ share = 0.5, rate = \"1r\" }, ...]"
)]
pub enum Uploads {
    /// All alike.
    All(Rate),
    /// By share.
    Classes(Vec<Class>),
}

impl Default for Uploads {
    fn default() -> Self {
        Self::All(Rate::Bytes(1_250_000))
    }
}

/// So many with this uplink.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Of the group; the shares need not sum to one.
    pub share: f64,
    /// Each one's uplink. Zero: the node takes no children.
    pub rate: Rate,
}

/// What viewers do to harm the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// Take children and send them nothing.
    Mute,
    /// Say that they hold everything, next to the provider, and send nothing.
    Boast,
    /// Send blocks with a bit changed.
    Garble,
}

/// Something that goes wrong.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// When.
    pub at: Span,
    /// Again and again.
    #[serde(default)]
    pub every: Option<Span>,
    /// Whom it strikes: `provider`, `bootstrap`, `viewers`, or a group.
    pub who: String,
    /// What share of them, drawn at random.
    #[serde(default = "one")]
    pub share: f64,
    /// What it is.
    pub what: FaultKind,
    /// For how long; without it for ever.
    #[serde(default)]
    pub length: Option<Span>,
    /// The uplink that is left, of `slow`.
    #[serde(default)]
    pub upload: Option<Rate>,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The process stops, and goes on later.
    Freeze,
    /// The power goes: nobody is told. A bootstrap server comes back empty.
    Crash,
    /// The program is killed.
    Kill,
    /// Those struck are cut off from all others.
    Cut,
    /// Those struck are cut off from the rest, not from each other.
    Partition,
    /// The uplink is only as fast as `upload`.
    Slow,
    /// All connections are reset.
    Reset,
}

impl FaultKind {
    /// As a scenario says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Crash => "crash",
            Self::Kill => "kill",
            Self::Cut => "cut",
            Self::Partition => "partition",
            Self::Slow => "slow",
            Self::Reset => "reset",
        }
    }
}

/// A published figure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Of which metric.
    pub metric: String,
    /// What was published.
    pub value: f64,
    /// Where.
    pub source: String,
}

/// What is to be reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Of which metric.
    pub metric: String,
    /// The least it may be.
    #[serde(default)]
    pub least: Option<f64>,
    /// The most it may be.
    #[serde(default)]
    pub most: Option<f64>,
    /// Of which preset.
    #[serde(default = "default_preset")]
    pub preset: String,
}

fn default_preset() -> String {
    "default".to_owned()
}

/// Seeds: `3`, or `1..20` with both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds(pub RangeInclusive<u64>);

impl Default for Seeds {
    fn default() -> Self {
        Self(1..=1)
    }
}

impl std::str::FromStr for Seeds {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (first, last) = s.split_once("..").unwrap_or((s, s));
        match (first.trim().parse(), last.trim().trim_start_matches('=').parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self(first..=last)),
            _ => Err(format!("{s:?} are no seeds: 3, or 1..20")),
        }
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}..{last}") }
    }
}

impl<'de> Deserialize<'de> for Seeds {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}
