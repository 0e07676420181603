//! Structured logs, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::settings::{GlobalSettings, UsageError};
use crate::ui::screen::LogLines;

/// Starts logging for the process: coloured text on a terminal, plain text in
/// a pipe, JSON lines with `--json`. They keep clear of what `ui`
/// shows in place.
///
/// # Errors
/// [`UsageError`] if the filter makes no sense, or logging was started before.
pub fn start(settings: &GlobalSettings, lines: LogLines) -> Result<(), UsageError> {
    let filter = EnvFilter::try_new(&settings.log).map_err(|e| UsageError {
        what: format!("the log filter \"{}\" makes no sense: {e}", settings.log),
        hint: "write LEVEL or TARGET=LEVEL, separated by commas, as in warn,eddy=debug".into(),
    })?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // Such an error is told on standard error, with a panic if that is gone.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        .log_internal_errors(false);
    let started = if settings.json {
        builder.json().flatten_event(true).with_ansi(false).try_init()
    } else {
        builder.compact().with_target(false).with_ansi(colours).try_init()
    };
    started.map_err(|e| UsageError {
        what: format!("cannot start logging: {e}"),
        hint: "start it once in a process".into(),
    })
}
