//! What the user sees: in colours and in place on a terminal, plain lines in a
//! pipe, JSON lines with `--json`.

pub mod line;
pub mod screen;
pub mod summary;
pub mod table;
pub mod total;

use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use eddy_core::stats::Stats;
use serde::Serialize;

use self::screen::{LogLines, Screen};
use crate::output::Output;
use crate::settings::{GlobalSettings, Work};

/// How things are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In place, on a terminal.
    Terminal {
        /// Whether with colours (not with `NO_COLOR`).
        colours: bool,
    },
    /// Line after line.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Where a command shows what it does. The terminal is put back in order when
/// this is dropped.
#[derive(Debug)]
pub struct Ui {
    mode: Mode,
    quiet: bool,
    screen: Screen,
}

impl Ui {
    /// Shows things on standard output, or on standard error if the stream
    /// itself goes to standard output.
    pub fn new(global: &GlobalSettings, work: &Work) -> Self {
        let taken = matches!(work, Work::Viewer(viewer) if viewer.output == Output::Stdout);
        let terminal = if taken { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let mode = match (global.json, terminal && !dumb) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Terminal { colours: !set("NO_COLOR") },
            (false, false) => Mode::Plain,
        };
        let in_place = matches!(mode, Mode::Terminal { .. });
        let screen = if taken {
            Screen::new(io::stderr(), in_place)
        } else {
            Screen::new(io::stdout(), in_place)
        };
        Self { mode, quiet: global.quiet, screen }
    }

    /// How things are shown.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Where logs go: standard error, clear of what is shown in place.
    pub fn logs(&self) -> LogLines {
        self.screen.logs()
    }

    /// Shows a result, which `--quiet` lets through too: the text, or the
    /// object as a JSON line.
    pub fn result(&self, text: &str, object: &impl Serialize) {
        match self.mode {
            Mode::Json => self.screen.print(&json_line(object)),
            _ => self.screen.print(text),
        }
    }

    /// Shows how far something is, on a terminal; not with `--quiet`.
    pub fn progress(&self, line: &str) {
        if !self.quiet && matches!(self.mode, Mode::Terminal { .. }) {
            self.screen.show(&format!("{line}\n"));
        }
    }

    /// Shows how a node did, below what was shown of it; not with `--quiet`.
    fn total(&self, text: &str, object: &impl Serialize) {
        if !self.quiet {
            self.finish();
            self.result(text, object);
        }
    }

    /// Leaves what is shown in place as it stands, and puts the terminal back
    /// in order.
    pub fn finish(&self) {
        self.screen.finish();
    }

    /// The same just before the process is ended, whatever another thread does.
    pub(crate) fn finish_unless_stuck(&self) {
        self.screen.finish_unless_stuck();
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Tells of a failure on standard error: what was wrong, and what to do.
pub fn failure(what: &str, hint: &str, json: bool) {
    let text = failure_text(what, hint, json);
    // There is nobody left to tell if standard error is closed.
    io::stderr().write_all(text.as_bytes()).ok();
}

fn failure_text(what: &str, hint: &str, json: bool) -> String {
    #[derive(Serialize)]
    struct Failure<'a> {
        kind: &'static str,
        error: &'a str,
        hint: &'a str,
    }
    if json {
        json_line(&Failure { kind: "error", error: what, hint })
    } else {
        format!("error: {what}\nhint: {hint}\n")
    }
}

/// An object as one line of JSON.
fn json_line(object: &impl Serialize) -> String {
    // Only maps with keys that are not text can fail, and none is shown.
    serde_json::to_string(object).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}")) + "\n"
}

/// Colours of plain ANSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Green,
    Yellow,
    Red,
    Bold,
}

fn paint(text: &str, colour: Colour, colours: bool) -> String {
    let code = match colour {
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Red => 31,
        Colour::Bold => 1,
    };
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn mbit(bits_per_second: u64) -> String {
    format!("{:.2} Mbit/s", bits_per_second as f64 / 1e6)
}

fn seconds(d: Duration) -> String {
    format!("{:.2} s", d.as_secs_f64())
}

/// Whole milliseconds below a second.
fn short(d: Duration) -> String {
    if d < Duration::from_secs(1) { millis(d) } else { seconds(d) }
}

fn millis(d: Duration) -> String {
    format!("{} ms", d.as_millis())
}

/// What is known, or a dash.
fn or_dash(known: Option<String>) -> String {
    known.unwrap_or_else(|| "-".into())
}

/// The continuity index, once a block was due.
pub(crate) fn continuity(stats: &Stats) -> Option<f64> {
    (stats.due > 0).then(|| stats.continuity())
}

/// The share of blocks that came from other viewers, once any came.
pub(crate) fn peer_share(stats: &Stats) -> Option<f64> {
    let (live, past) = (stats.from_peers + stats.from_provider, stats.shift.received());
    (live + past > 0).then(|| stats.peer_share())
}

/// Two decimals, rounded down: 100.00 % means all of it.
fn percent(share: f64) -> String {
    // A millionth makes up for the binary form of decimal fractions.
    format!("{:.2} %", (share * 10_000.0 + 1e-6).floor() / 100.0)
}

/// Whole percent, rounded down.
fn whole_percent(share: f64) -> String {
    format!("{:.0} %", (share * 100.0 + 1e-6).floor())
}

/// A duration in whole milliseconds, as JSON shows it.
fn as_ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_to_do() {
        assert_eq!(failure_text("no \"x\"", "give x", false), "error: no \"x\"\nhint: give x\n");
        assert_eq!(
            failure_text("no \"x\"", "give x", true),
            "{\"kind\":\"error\",\"error\":\"no \\\"x\\\"\",\"hint\":\"give x\"}\n"
        );
    }

    #[test]
    fn units_read_well() {
        assert_eq!(mbit(1_044_000), "1.04 Mbit/s");
        assert_eq!(seconds(Duration::from_millis(214)), "0.21 s");
        assert_eq!(millis(Duration::from_micros(412_900)), "412 ms");
        assert_eq!(short(Duration::from_micros(999_900)), "999 ms");
        assert_eq!(short(Duration::from_millis(1_000)), "1.00 s");
    }

    #[test]
    fn a_hundred_percent_is_never_rounded_up() {
        assert_eq!(percent(1.0), "100.00 %");
        assert_eq!(percent(0.999_999), "99.99 %");
        assert_eq!(percent(0.57), "57.00 %");
        assert_eq!(percent(0.0), "0.00 %");
        assert_eq!(whole_percent(0.999), "99 %");
        assert_eq!(whole_percent(0.29), "29 %");
    }

    #[test]
    fn colours_are_left_out_where_unwanted() {
        assert_eq!(paint("x", Colour::Red, true), "\x1b[31mx\x1b[0m");
        assert_eq!(paint("x", Colour::Red, false), "x");
    }
}
