//! Every parameter, with its unit, its range and where it comes from.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use crate::cache::CacheConfig;
use crate::dht::DhtConfig;
use crate::stream::sign::Verifier;

/// How a child judges its parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reselection {
    /// The published rules (report p. 9-10; New Coolstreaming, TMM 2007): own
    /// sub-streams against their average, and against the best partner, in
    /// stream time, at most one change per cool-down.
    Inequalities {
        /// T_s: how far a sub-stream may be from the average of all.
        own: Duration,
        /// T_p: how far a parent may be behind the best partner.
        partner: Duration,
    },
    /// Wall-clock lag against the expected arrival of the next block.
    Lag {
        /// A parent is left when its next block is overdue by this much, or 4 D.
        overdue: Duration,
    },
}

/// How a viewer comes by the blocks that are new (`docs/STRATEGIES.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LiveStrategy {
    /// Each sub-stream is subscribed to at a parent, who pushes it (report; New
    /// Coolstreaming, TMM 2007).
    #[default]
    Push,
    /// All sub-streams come from one parent, who is kept until it is gone: the
    /// baseline of the tree protocols (SpreadIt, Stanford 2001).
    Tree,
    /// Nothing is subscribed to: once a second the viewer asks partners for
    /// blocks that their maps tell of, rarest first (DONet, INFOCOM 2005,
    /// section IV).
    Pull,
}

/// How the past is fetched (`docs/STRATEGIES.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShiftStrategy {
    /// Several sources at once, partners among them, the slow ones hedged; the
    /// provider when it is urgent.
    #[default]
    Hedged,
    /// As published (report section 3): one owner after another, drawn by
    /// chance, and the provider after two, or when it is urgent.
    Published,
    /// One owner after another in the order of the stream, from all that the
    /// swarm offers; the provider when it is urgent (BASS, MMSP 2005).
    Bass,
    /// Equal sub-clips, each from one owner, the nearest deadline first; the
    /// provider when it is urgent (PONDER, GLOBECOM 2007).
    Ponder {
        /// A sub-clip: whole seconds, 1 to 10.
        clip: Duration,
    },
}

/// How far play-out stays behind the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlayoutDelay {
    /// The smallest delay under which the last minute had no late block, plus
    /// one repair round trip. Grows at once, shrinks slowly.
    Auto,
    /// A fixed delay after the end of a block's slot as first seen here.
    Fixed(Duration),
    /// Whatever start-up made it, for ever: the published player.
    AsStarted,
    /// No clock: each contiguous block is handed over at once.
    None,
}

/// Configuration of a node. Two presets, both always working:
/// [`Config::default`], the best we can do, and [`Config::report`], the
/// published system with its defects. [`Config::tree`] and [`Config::donet`]
/// are for comparison. Thresholds and buffers are durations,
/// never block counts, so that they hold for every block duration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where this node can be dialled, as it tells others. An unspecified
    /// address (`0.0.0.0`) means: the address you see, at this port.
    pub listen: SocketAddr,
    /// What blocks are checked with.
    pub verifier: Verifier,

    // Stream.
    /// How much of the stream a node keeps: 1 s to 10 min.
    pub buffer: Duration,
    /// How far behind the newest known block a viewer starts, or S·D if that is
    /// longer: T_off (INFOCOM 2008).
    pub join_offset: Duration,
    /// How much must be contiguous before play-out begins.
    pub start_buffer: Duration,
    /// The play-out delay.
    pub playout_delay: PlayoutDelay,
    /// A block is lost when it is this much later than due; zero skips at once.
    pub give_up: Duration,
    /// The longest payload of a block in bytes: 64 KiB to 16 MiB.
    pub max_block: usize,

    // Membership (DONet, INFOCOM 2005, section III).
    /// Members remembered: the mCache.
    pub members: usize,
    /// Time between gossip messages; each goes to one random partner.
    pub gossip: Duration,
    /// Time between heartbeats to the bootstrap server (report p. 12).
    pub heartbeat: Duration,
    /// A member or channel not heard of for this long is forgotten.
    pub member_life: Duration,

    // Partnership.
    /// M: partners a viewer looks for.
    pub partners: usize,
    /// Partners a node takes at most.
    pub max_partners: usize,
    /// T_bm: time between buffer maps.
    pub map_interval: Duration,
    /// Shortest time between two maps when something changed; zero: changes
    /// wait for the next regular map.
    pub map_min_interval: Duration,
    /// A partner is dropped after this long without a map.
    pub partner_timeout: Duration,
    /// Time between replacements of the worst partner.
    pub refinement: Duration,
    /// Whether maps carry paths (hop counts and delays).
    pub paths: bool,

    // Parents.
    /// How new blocks come here.
    pub live: LiveStrategy,
    /// How parents are judged.
    pub reselection: Reselection,
    /// T_a: time between two changes of parent; jittered by 20 %.
    pub cool_down: Duration,
    /// Whether gaps are pulled from partners, and a reset connection resumes
    /// at the first missing block.
    pub repair: bool,
    /// A block not here this long, or 2 D, after its usual arrival is pulled.
    pub repair_after: Duration,
    /// How long a request may stay unanswered.
    pub request_timeout: Duration,

    // Upload.
    /// Sub-stream subscriptions served at the start, in whole streams: 1 for a
    /// viewer, 3 for a provider. The budget grows from there.
    pub initial_streams: u8,
    /// Most upload, in bytes per second; `None` for no cap.
    pub max_upload: Option<u64>,
    /// Blocks queued longer than this (or D, if that is longer), and for more than a
    /// burst, have an eighth of the children's subscriptions ended.
    pub queue_limit: Duration,

    // The past.
    /// How far ahead of play-out the past is fetched (report p. 11: 30 blocks
    /// of a second).
    pub shift_window: Duration,
    /// A block of the past that is due this soon is fetched from the provider
    /// (report p. 11).
    pub emergency: Duration,
    /// Whom the past is asked of, and when the provider.
    pub shift: ShiftStrategy,
    /// What is kept of the past for others; `None` keeps nothing and asks for
    /// no disk.
    pub cache: Option<CacheConfig>,
    /// The DHT that this node belongs to; `None` for none: it then finds the
    /// past at its partners and the provider only.
    pub dht: Option<DhtConfig>,

    // Connections.
    /// Connections in all.
    pub max_links: usize,
    /// Connections accepted from one IP address.
    pub max_links_per_address: usize,
    /// Unacknowledged bytes on one connection: the credit window.
    pub send_window: usize,
    /// A handshake, or a frame once begun on a control link, must end in this time.
    pub handshake: Duration,
    /// First wait before a failed connection is tried again; doubles up to a minute.
    pub retry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED), 0),
            verifier: Verifier::ed25519(),
            buffer: Duration::from_secs(30),
            join_offset: Duration::from_millis(1_000),
            start_buffer: Duration::from_millis(300),
            playout_delay: PlayoutDelay::Auto,
            give_up: Duration::from_secs(15),
            max_block: 4 << 20,
            members: 50,
            gossip: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            member_life: Duration::from_secs(30),
            partners: 8,
            max_partners: 24,
            map_interval: Duration::from_secs(1),
            map_min_interval: Duration::from_millis(200),
            partner_timeout: Duration::from_secs(3),
            refinement: Duration::from_secs(30),
            paths: true,
            live: LiveStrategy::Push,
            reselection: Reselection::Lag { overdue: Duration::from_millis(1_500) },
            cool_down: Duration::from_secs(3),
            repair: true,
            repair_after: Duration::from_millis(100),
            request_timeout: Duration::from_secs(2),
            initial_streams: 1,
            max_upload: None,
            queue_limit: Duration::from_millis(100),
            shift_window: Duration::from_secs(30),
            emergency: Duration::from_secs(5),
            shift: ShiftStrategy::Hedged,
            cache: None,
            dht: None,
            max_links: 512,
            max_links_per_address: 256,
            send_window: 256 << 10,
            handshake: Duration::from_secs(5),
            retry: Duration::from_millis(500),
        }
    }
}

impl Config {
    /// The published system (report 98-2221-E-009-083 and New Coolstreaming)
    /// as faithfully as the sources allow: its thresholds, no repair, no hop
    /// counts. Values the sources leave open are those of the parameter
    /// studies and are listed in `docs/PROTOCOL.md`. Meant for D = 1 s.
    pub fn report() -> Self {
        Self {
            buffer: Duration::from_secs(60),
            join_offset: Duration::from_secs(16),
            start_buffer: Duration::from_secs(10),
            playout_delay: PlayoutDelay::AsStarted,
            give_up: Duration::ZERO,
            max_partners: 16,
            map_min_interval: Duration::ZERO,
            partner_timeout: Duration::from_secs(5),
            paths: false,
            reselection: Reselection::Inequalities {
                own: Duration::from_secs(16),
                partner: Duration::from_secs(24),
            },
            cool_down: Duration::from_secs(10),
            repair: false,
            shift: ShiftStrategy::Published,
            initial_streams: 2,
            ..Self::default()
        }
    }

    /// A single-parent tree: the default but for that, and without repair, so
    /// that whoever loses its parent loses the stream until it has another.
    /// Three children to begin with (the tree of DONet, INFOCOM 2005, section V).
    pub fn tree() -> Self {
        Self { live: LiveStrategy::Tree, repair: false, initial_streams: 3, ..Self::default() }
    }

    /// DONet (INFOCOM 2005): pull, rarest first, with M = 4 partners, of which as
    /// many again may be others' choice; no maps between the regular ones, no
    /// paths, and what is late is skipped. Meant for D = 1 s, as published; the
    /// deviations are listed in `docs/STRATEGIES.md`.
    pub fn donet() -> Self {
        Self {
            live: LiveStrategy::Pull,
            partners: 4,
            max_partners: 8,
            map_min_interval: Duration::ZERO,
            ..Self::report()
        }
    }

    /// The same configuration for a provider: it feeds three whole streams at
    /// the start and takes more partners.
    #[must_use]
    pub fn for_provider(mut self) -> Self {
        self.initial_streams = self.initial_streams.max(3);
        self.max_partners = self.max_partners.saturating_mul(2);
        self
    }

    /// Checks every range.
    ///
    /// # Errors
    /// A [`ConfigError`] with the parameter's name and its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let ms = Duration::from_millis;
        let s = Duration::from_secs;
        let spans: &[(&'static str, Duration, Duration, Duration)] = &[
            ("buffer", self.buffer, s(1), s(600)),
            ("join_offset", self.join_offset, Duration::ZERO, self.buffer),
            ("start_buffer", self.start_buffer, Duration::ZERO, self.buffer),
            ("give_up", self.give_up, Duration::ZERO, self.buffer),
            ("gossip", self.gossip, ms(100), s(600)),
            ("heartbeat", self.heartbeat, ms(100), s(600)),
            ("member_life", self.member_life, self.heartbeat, s(3_600)),
            ("map_interval", self.map_interval, ms(50), s(60)),
            ("map_min_interval", self.map_min_interval, Duration::ZERO, self.map_interval),
            ("partner_timeout", self.partner_timeout, self.map_interval, s(600)),
            ("refinement", self.refinement, s(1), s(3_600)),
            ("cool_down", self.cool_down, Duration::ZERO, s(600)),
            ("repair_after", self.repair_after, Duration::ZERO, s(60)),
            ("request_timeout", self.request_timeout, ms(100), s(60)),
            ("queue_limit", self.queue_limit, ms(1), s(60)),
            ("shift_window", self.shift_window, s(2), s(600)),
            ("emergency", self.emergency, Duration::ZERO, self.shift_window),
            ("handshake", self.handshake, ms(100), s(60)),
            ("retry", self.retry, ms(10), s(60)),
        ];
        let clip = match self.shift {
            ShiftStrategy::Ponder { clip } => clip,
            _ => s(1),
        };
        for &(name, value, min, max) in spans.iter().chain([&("clip", clip, s(1), s(10))]) {
            if value < min || value > max {
                return Err(ConfigError::Span { name, value, min, max });
            }
        }
        let counts: &[(&'static str, usize, usize, usize)] = &[
            ("max_block", self.max_block, 64 << 10, 16 << 20),
            ("members", self.members, 1, 10_000),
            ("partners", self.partners, 1, 1_000),
            ("max_partners", self.max_partners, self.partners, 100_000),
            ("initial_streams", usize::from(self.initial_streams), 1, 255),
            ("max_links", self.max_links, 4, 1_000_000),
            ("max_links_per_address", self.max_links_per_address, 1, self.max_links),
            ("send_window", self.send_window, 4 << 10, 64 << 20),
        ];
        for &(name, value, min, max) in counts {
            if value < min || value > max {
                return Err(ConfigError::Count { name, value, min, max });
            }
        }
        if self.max_upload == Some(0) {
            return Err(ConfigError::NoUpload);
        }
        self.cache.as_ref().map_or(Ok(()), CacheConfig::validate)
    }
}

/// A parameter is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A duration.
    Span {
        /// The parameter's name.
        name: &'static str,
        /// What it was.
        value: Duration,
        /// The least it may be.
        min: Duration,
        /// The most it may be.
        max: Duration,
    },
    /// A number.
    Count {
        /// The parameter's name.
        name: &'static str,
        /// What it was.
        value: usize,
        /// The least it may be.
        min: usize,
        /// The most it may be.
        max: usize,
    },
    /// `max_upload` is zero: use `None` for no cap.
    NoUpload,
    /// The cache's quota cannot hold a single file.
    Quota {
        /// The quota, in bytes.
        quota: u64,
        /// The largest file expected, in bytes.
        file: u64,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Span { name, value, min, max } => {
                write!(f, "{name} is {value:?}, but must be {min:?} to {max:?}")
            }
            Self::Count { name, value, min, max } => {
                write!(f, "{name} is {value}, but must be {min} to {max}")
            }
            Self::NoUpload => f.write_str("max_upload is 0: leave it out for no cap"),
            Self::Quota { quota, file } => write!(
                f,
                "quota is {quota} bytes, but one file may take {file}: raise the quota to at least that"
            ),
        }
    }
}

impl core::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn presets_are_valid() {
        for c in [Config::default(), Config::report(), Config::tree(), Config::donet()] {
            assert_eq!(c.validate(), Ok(()));
            assert_eq!(c.for_provider().validate(), Ok(()));
        }
    }

    #[test]
    fn a_refusal_names_the_parameter_and_its_range() {
        let c = Config { give_up: Duration::from_secs(31), ..Config::default() };
        assert_eq!(c.validate().unwrap_err().to_string(), "give_up is 31s, but must be 0ns to 30s");
        let c = Config { send_window: 1, ..Config::default() };
        assert!(c.validate().unwrap_err().to_string().starts_with("send_window is 1, but"));
        let c =
            Config { shift: ShiftStrategy::Ponder { clip: Duration::ZERO }, ..Config::default() };
        assert!(c.validate().unwrap_err().to_string().starts_with("clip is 0ns, but must be 1s"));
        let c = Config { max_upload: Some(0), ..Config::default() };
        assert_eq!(c.validate(), Err(ConfigError::NoUpload));
    }
}
