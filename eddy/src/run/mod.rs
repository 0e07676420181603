//! The commands: one file a verb, and what they share.
//!
//! A command puts a node on a thread of its own (`node`) and then follows what
//! it is told: notices, signals, the end of the input.

mod bench;
mod bootstrap;
mod channels;
mod demo;
mod dht;
mod disk;
mod files;
mod log;
mod node;
mod provider;
mod record;
mod remote;
mod replay;
mod signals;
mod sim;
mod viewer;

use std::fmt;

use eddy_core::config::ConfigError;

use crate::input::InputError;
use crate::output::OutputError;
use crate::settings::UsageError;
use crate::state::StateError;
use crate::url::AddressError;

pub use bench::bench;
pub use bootstrap::bootstrap;
pub use channels::channels;
pub use demo::demo;
pub use dht::dht;
pub use files::files;
pub use provider::provider;
pub use replay::replay;
pub use sim::sim;
pub use viewer::viewer;

/// A command failed: what was wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    /// What was wrong.
    pub what: String,
    /// What to do.
    pub hint: String,
}

impl RunError {
    /// A failure and the way out of it.
    pub fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for RunError {}

impl From<UsageError> for RunError {
    fn from(e: UsageError) -> Self {
        Self { what: e.what, hint: e.hint }
    }
}

impl From<AddressError> for RunError {
    fn from(e: AddressError) -> Self {
        Self::new(e.to_string(), "check the spelling and the network")
    }
}

impl From<StateError> for RunError {
    fn from(e: StateError) -> Self {
        Self::new(e.to_string(), e.hint())
    }
}

impl From<ConfigError> for RunError {
    fn from(e: ConfigError) -> Self {
        Self::new(e.to_string(), "correct the option that sets it")
    }
}

impl From<InputError> for RunError {
    fn from(e: InputError) -> Self {
        Self::new(e.to_string(), "see `eddy provider --help` for what --input takes")
    }
}

impl From<OutputError> for RunError {
    fn from(e: OutputError) -> Self {
        let hint = match e {
            OutputError::File(..) => {
                "check that its folder is there and can be written, or give another one with \
                 --output"
            }
            _ => "see `eddy viewer --help` for what --output takes",
        };
        Self::new(e.to_string(), hint)
    }
}
