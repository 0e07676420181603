//! The nodes' parameters by name: `[core]` of a scenario.

use std::time::Duration;

use eddy_core::cache::{CacheConfig, Defects, Publishing, Strategy};
use eddy_core::config::{Config, LiveStrategy, PlayoutDelay, Reselection, ShiftStrategy};
use eddy_core::dht::DhtConfig;
use serde::Deserialize;

use super::units::{Rate, Span};

/// A set of parameters to begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The best there is: [`Config::default`].
    #[default]
    Default,
    /// The published system: [`Config::report`].
    Report,
    /// One parent for all sub-streams: [`Config::tree`].
    Tree,
    /// Blocks are pulled, rarest first: [`Config::donet`].
    Donet,
}

/// Lets parameters be named, and set where they are.
macro_rules! parameters {
    ($(#[$doc:meta])* $name:ident of $of:ident {
        spans: $($span:ident),*; counts: $($count:ident),*; switches: $($switch:ident),*; own: $($own:ident: $kind:ty),*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[allow(missing_docs, reason = "each is the parameter of that name")]
        pub struct $name {
            $(pub $own: $kind,)*
            $(pub $span: Option<Span>,)*
            $(pub $count: Option<usize>,)*
            $(pub $switch: Option<bool>,)*
        }

        impl $name {
            /// Sets what is named.
            fn set(&self, to: &mut $of) -> Result<(), String> {
                $(if let Some(Span(span)) = self.$span { to.$span = span; })*
                $(if let Some(count) = self.$count {
                    to.$count = count.try_into()
                        .map_err(|_| format!("{} is {count}, which is too many", stringify!($count)))?;
                })*
                $(if let Some(switch) = self.$switch { to.$switch = switch; })*
                Ok(())
            }
        }
    };
}

parameters! {
    /// Of a node: the fields of [`Config`], with some that need more words than
    /// a number.
    Parameters of Config {
        spans: buffer, join_offset, start_buffer, give_up, gossip, heartbeat, member_life, map_interval,
            map_min_interval, partner_timeout, refinement, cool_down, repair_after, request_timeout,
            queue_limit, shift_window, emergency, handshake, retry;
        counts: max_block, members, partners, max_partners, initial_streams, max_links,
            max_links_per_address, send_window;
        switches: paths, repair;
        own: preset: Preset, live: Option<Live>, shift: Option<Shift>, reselection: Option<Parents>, playout_delay: Option<String>,
            max_upload: Option<Rate>, dht: bool, cache: Option<CacheParameters>
    }
}

/// How parents are judged: [`Reselection`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Parents {
    /// The published inequalities, with T_s and T_p.
    Inequalities {
        /// T_s.
        own: Span,
        /// T_p.
        partner: Span,
    },
    /// Wall-clock lag.
    Lag {
        /// A parent is left when its next block is overdue by this much.
        overdue: Span,
    },
}

/// How live blocks come: [`LiveStrategy`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is the strategy of that name")]
pub enum Live {
    Push,
    Tree,
    Pull,
}

/// How the past is fetched: [`ShiftStrategy`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is the strategy of that name")]
pub enum Shift {
    Hedged,
    Published,
    Bass,
    /// With the length of a sub-clip.
    Ponder(Span),
}

/// What decides what is kept: [`Strategy`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeping {
    /// Exactly R by rank.
    Rank,
    /// Algorithm 3-1.
    Report,
    /// IPP, with C.
    InitialPosition(Span),
    /// LSP, with C.
    LivePosition(Span),
    /// LSP that goes on, with C.
    LivePositionRenewed(Span),
}

/// How whole lists are put: [`Publishing`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is the way of that name")]
pub enum Lists {
    GetEditPut,
    CompareAndSwap,
    AddToSet,
}

parameters! {
    /// Of the cache: the fields of [`CacheConfig`], and the defects of Algorithm
    /// 3-1 by name.
    CacheParameters of CacheConfig {
        spans: record_life, republish, recheck, count_after, rank_step, back_off;
        counts: replicas, spares, lookups, fetches, watched, quota, largest_file;
        switches: ;
        own: strategy: Option<Keeping>, max_age: Option<Span>, defects: Option<DefectSwitches>
    }
}

parameters! {
    /// The defects of Algorithm 3-1: those not named are as published.
    DefectSwitches of Defects {
        spans: ; counts: ;
        switches: off_by_one, double_count, no_error_path, raw_size, owners_yield, stale_owners, random_caching;
        own: publishing: Option<Lists>
    }
}

impl Parameters {
    /// The configuration of a node where the stream has `stream` bytes a second.
    ///
    /// # Errors
    /// What is out of its range.
    pub fn config(&self, stream: u64) -> Result<Config, String> {
        let mut config = match self.preset {
            Preset::Default => Config::default(),
            Preset::Report => Config::report(),
            Preset::Tree => Config::tree(),
            Preset::Donet => Config::donet(),
        };
        self.set(&mut config)?;
        match self.live {
            Some(Live::Push) => config.live = LiveStrategy::Push,
            Some(Live::Tree) => config.live = LiveStrategy::Tree,
            Some(Live::Pull) => config.live = LiveStrategy::Pull,
            None => {}
        }
        match self.shift {
            Some(Shift::Hedged) => config.shift = ShiftStrategy::Hedged,
            Some(Shift::Published) => config.shift = ShiftStrategy::Published,
            Some(Shift::Bass) => config.shift = ShiftStrategy::Bass,
            Some(Shift::Ponder(Span(clip))) => config.shift = ShiftStrategy::Ponder { clip },
            None => {}
        }
        match self.reselection {
            Some(Parents::Lag { overdue }) => {
                config.reselection = Reselection::Lag { overdue: overdue.0 };
            }
            Some(Parents::Inequalities { own, partner }) => {
                config.reselection = Reselection::Inequalities { own: own.0, partner: partner.0 };
            }
            None => {}
        }
        if let Some(delay) = &self.playout_delay {
            config.playout_delay = match delay.as_str() {
                "auto" => PlayoutDelay::Auto,
                "as-started" => PlayoutDelay::AsStarted,
                "0" => PlayoutDelay::None,
                span => PlayoutDelay::Fixed(span.parse::<Span>().map_err(|_| {
                    format!("playout_delay is {span:?}, but must be auto, as-started, 0, or a time")
                })?.0),
            };
        }
        if let Some(rate) = self.max_upload {
            config.max_upload = Some(rate.of(stream));
        }
        if let Some(cache) = &self.cache {
            config.cache = Some(cache.config(self.preset)?);
        }
        if self.dht {
            config.dht = Some(DhtConfig { network: Some(*b"eddytest"), ..DhtConfig::default() });
        }
        config.validate().map_err(|e| e.to_string())?;
        Ok(config)
    }
}

impl CacheParameters {
    fn config(&self, preset: Preset) -> Result<CacheConfig, String> {
        let mut defects = Defects::published();
        if let Some(switches) = &self.defects {
            switches.set(&mut defects)?;
            match switches.publishing {
                Some(Lists::GetEditPut) => defects.publishing = Publishing::GetEditPut,
                Some(Lists::CompareAndSwap) => defects.publishing = Publishing::CompareAndSwap,
                Some(Lists::AddToSet) => defects.publishing = Publishing::AddToSet,
                None => {}
            }
        }
        let strategy = self.strategy.unwrap_or(match preset {
            Preset::Report => Keeping::Report,
            _ => Keeping::Rank,
        });
        let mut cache = match strategy {
            Keeping::Rank => CacheConfig::default(),
            Keeping::InitialPosition(Span(span)) => CacheConfig {
                strategy: Strategy::InitialPosition { span },
                ..CacheConfig::default()
            },
            Keeping::LivePosition(Span(span)) => CacheConfig {
                strategy: Strategy::LivePosition { span, renew: false },
                ..CacheConfig::default()
            },
            Keeping::LivePositionRenewed(Span(span)) => CacheConfig {
                strategy: Strategy::LivePosition { span, renew: true },
                ..CacheConfig::default()
            },
            Keeping::Report => {
                CacheConfig { strategy: Strategy::Report(defects), ..CacheConfig::report() }
            }
        };
        self.set(&mut cache)?;
        cache.max_age = self.max_age.map(|Span(age)| age);
        Ok(cache)
    }
}

/// How lists are put in Plan-x by nodes with this cache.
pub(super) fn publishing(cache: &CacheConfig) -> Publishing {
    match cache.strategy {
        Strategy::Report(defects) => defects.publishing,
        _ => Publishing::AddToSet,
    }
}

/// A provider's cache that keeps the past for so long.
pub(super) fn keeping(age: Duration) -> Option<CacheConfig> {
    (!age.is_zero()).then(|| CacheConfig::provider(age))
}
