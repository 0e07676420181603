//! The commands: one function a verb.

use std::fmt;
use std::process::ExitCode;

use crate::settings::{
    ChannelsSettings, DemoSettings, GlobalSettings, ProviderSettings, SwarmSettings, UsageError,
    ViewerSettings,
};
use crate::state::StateError;
use crate::ui::Ui;
use crate::url::AddressError;

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

/// `eddy bootstrap`
///
/// # Errors
/// [`RunError`] if the server cannot start.
pub fn bootstrap(_global: &GlobalSettings, _ui: &Ui) -> Result<ExitCode, RunError> {
    Err(unbuilt())
}

/// `eddy provider`
///
/// # Errors
/// [`RunError`] if the channel cannot be provided.
pub fn provider(
    _global: &GlobalSettings,
    _own: &ProviderSettings,
    _ui: &Ui,
) -> Result<ExitCode, RunError> {
    Err(unbuilt())
}

/// `eddy viewer`
///
/// # Errors
/// [`RunError`] if the channel cannot be watched.
pub fn viewer(
    _global: &GlobalSettings,
    _own: &ViewerSettings,
    _ui: &Ui,
) -> Result<ExitCode, RunError> {
    Err(unbuilt())
}

/// `eddy channels`
///
/// # Errors
/// [`RunError`] if no bootstrap server answers.
pub fn channels(
    _global: &GlobalSettings,
    _own: &ChannelsSettings,
    _ui: &Ui,
) -> Result<ExitCode, RunError> {
    Err(unbuilt())
}

/// `eddy demo`
///
/// # Errors
/// [`RunError`] if a part cannot start.
pub fn demo(_global: &GlobalSettings, _own: &DemoSettings, _ui: &Ui) -> Result<ExitCode, RunError> {
    Err(unbuilt())
}

/// `eddy bench swarm`
///
/// # Errors
/// [`RunError`] if a process cannot start.
pub fn bench(
    _global: &GlobalSettings,
    _own: &SwarmSettings,
    _ui: &Ui,
) -> Result<ExitCode, RunError> {
    Err(unbuilt())
}

fn unbuilt() -> RunError {
    RunError::new("this command is not in this build", "use a later one")
}
