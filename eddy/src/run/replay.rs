//! `eddy replay`

use std::fs::File;
use std::io::{BufReader, Read};
use std::process::ExitCode;
use std::time::Duration;

use eddy_core::{Action, Event, Notice, Output, Phase, Time};
use eddy_sim::record::{
    Difference, End, Entry, Header, NodeKind, ReadError, Reader, Recorded, Replayed, Seen, Text,
    Verdict, replay as run_again,
};
use serde::Serialize;

use crate::run::RunError;
use crate::run::record::MADE_BY;
use crate::settings::{GlobalSettings, ReplaySettings};
use crate::ui::Ui;

/// `eddy replay`
///
/// # Errors
/// [`RunError`] if the file cannot be read to its end.
pub fn replay(
    global: &GlobalSettings,
    own: &ReplaySettings,
    ui: &Ui,
) -> Result<ExitCode, RunError> {
    let length = length(&mut open(own)?);
    let mut reader = open(own)?;
    let header = reader.header().clone();
    let mut machine = header.machine().map_err(|e| {
        RunError::new(format!("no node can have the recorded configuration: {e}"), OTHER_PROGRAM)
    })?;
    let mut show = Show::new(ui, own.events, global.quiet, header.start);
    show.header(&header, length);
    let replayed = run_again(&mut reader, &mut machine, |now, seen| show.seen(now, seen));
    show.end_second();
    show.verdict(&header, replayed, own)
}

const OTHER_PROGRAM: &str = "replay it with the program that recorded it";

fn open(own: &ReplaySettings) -> Result<Reader<impl Read + use<>>, RunError> {
    let file = File::open(&own.file).map_err(|e| {
        let what = format!("cannot open the recording {}: {e}", own.file.display());
        RunError::new(what, "give a file that `eddy viewer --record FILE` wrote")
    })?;
    Reader::new(BufReader::new(file)).map_err(|e| unreadable(&e, own))
}

fn unreadable(error: &ReadError, own: &ReplaySettings) -> RunError {
    let hint = match error {
        ReadError::NotARecording | ReadError::Io(_) => {
            "give a file that `eddy viewer --record FILE` wrote"
        }
        ReadError::Version(_) => OTHER_PROGRAM,
        ReadError::Damaged { .. } => {
            "get the file once more: it is not whole, or it changed since it was written"
        }
    };
    RunError::new(format!("{}: {error}", own.file.display()), hint)
}

/// From the start to the last input that can be read.
fn length(reader: &mut Reader<impl Read>) -> Duration {
    let start = reader.header().start;
    let mut last = start;
    loop {
        match reader.entry() {
            Ok(Entry::Input(now, _)) => last = now,
            Ok(Entry::Output(_)) => {}
            Ok(Entry::End(_)) | Err(_) => return last.since(start),
        }
    }
}

/// Shows the run as it happens again.
struct Show<'a> {
    ui: &'a Ui,
    events: bool,
    quiet: bool,
    start: Time,
    phase: Option<Phase>,
    second: Second,
}

/// What happened in one second.
#[derive(Default)]
struct Second {
    /// Whole seconds since the start.
    number: u64,
    events: u64,
    bytes_in: u64,
    bytes_out: u64,
    blocks: u64,
}

impl<'a> Show<'a> {
    fn new(ui: &'a Ui, events: bool, quiet: bool, start: Time) -> Self {
        Self { ui, events, quiet, start, phase: None, second: Second::default() }
    }

    fn header(&self, header: &Header, length: Duration) {
        #[derive(Serialize)]
        struct Object<'a> {
            kind: &'static str,
            node: &'a str,
            start_us: u64,
            start: &'a str,
            made_by: &'a str,
            length_ms: u64,
        }
        let (node, start) = (node_text(header.node), utc(header.start));
        let Header { made_by, .. } = header;
        self.print(
            &format!(
                "{node}, recorded by {made_by} from {start} on, {:.3} s",
                length.as_secs_f64()
            ),
            &Object {
                kind: "recording",
                node,
                start_us: header.start.as_micros(),
                start: &start,
                made_by,
                length_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
            },
        );
    }

    fn seen(&mut self, now: Time, seen: Seen<'_>) {
        let number = now.since(self.start).as_secs();
        if number != self.second.number {
            self.end_second();
            self.second.number = number;
        }
        let second = &mut self.second;
        match seen {
            Seen::Input(event) => {
                second.events += 1;
                if let Event::Received { bytes, .. } | Event::Datagram { bytes, .. } = event {
                    second.bytes_in += bytes.len() as u64;
                }
                if self.events {
                    self.line(now, "in", &Text(event).to_string());
                }
            }
            Seen::Output(Output::Wait(_)) => {}
            Seen::Output(output @ Output::Act(action)) => {
                match action {
                    Action::Send { head, body, .. } => {
                        second.bytes_out += (head.len() + body.len()) as u64;
                    }
                    Action::SendDatagram { bytes, .. } => second.bytes_out += bytes.len() as u64,
                    Action::Deliver(_) => second.blocks += 1,
                    Action::Notify(Notice::Phase(phase)) => self.phase = Some(*phase),
                    _ => {}
                }
                // The line of the second stands for its statistics.
                let is_told = matches!(action, Action::Notify(n) if !matches!(n, Notice::Stats(_)));
                if self.events || is_told {
                    self.line(now, "out", &Text(output).to_string());
                }
            }
        }
    }

    /// One event or action.
    fn line(&self, now: Time, kind: &'static str, text: &str) {
        #[derive(Serialize)]
        struct Object<'a> {
            kind: &'static str,
            since_start_us: u64,
            text: &'a str,
        }
        let since = now.since(self.start);
        let since_start_us = eddy_core::time::micros(since);
        self.print(
            &format!("{:>14} {kind:<3} {text}", stamp(since)),
            &Object { kind, since_start_us, text },
        );
    }

    /// What happened in the second that is over.
    fn end_second(&mut self) {
        #[derive(Serialize)]
        struct Object<'a> {
            kind: &'static str,
            second: u64,
            state: Option<&'a str>,
            events: u64,
            bytes_in: u64,
            bytes_out: u64,
            blocks: u64,
        }
        let Second { number, events, bytes_in, bytes_out, blocks } =
            std::mem::take(&mut self.second);
        if self.events || events == 0 {
            return;
        }
        let state = self.phase.map(|phase| format!("{phase:?}").to_lowercase());
        let state = state.as_deref();
        self.print(
            &format!(
                "{:>14} {:<9}  {events} events  {bytes_in} bytes in  {bytes_out} bytes out  \
                 {blocks} blocks played",
                format!("{number} s"),
                state.unwrap_or("-"),
            ),
            &Object { kind: "second", second: number, state, events, bytes_in, bytes_out, blocks },
        );
    }

    fn print(&self, text: &str, object: &impl Serialize) {
        if !self.quiet {
            self.ui.result(&format!("{text}\n"), object);
        }
    }

    fn verdict(
        &self,
        header: &Header,
        replayed: Replayed,
        own: &ReplaySettings,
    ) -> Result<ExitCode, RunError> {
        let Replayed { inputs, outputs, ref last, ref verdict } = replayed;
        let place = || match last {
            Some((now, event)) => {
                format!("input {inputs} ({}, {})", stamp(now.since(self.start)), Text(event))
            }
            None => "the start".into(),
        };
        let (text, equal) = match verdict {
            Verdict::Equal(_) if inputs == 0 => {
                ("the recording ends before its first input\n".into(), false)
            }
            Verdict::Equal(end) => (end_text(*end).to_owned(), true),
            Verdict::Differs(difference) => {
                (format!("after {}:\n{}", place(), difference_text(header, difference)), false)
            }
            Verdict::Panicked(message) => {
                (format!("the node panics at {}: {message}\n", place()), false)
            }
            Verdict::Unreadable(e) => return Err(unreadable(e, own)),
        };
        #[derive(Serialize)]
        struct Object<'a> {
            kind: &'static str,
            inputs: u64,
            outputs: u64,
            equal: bool,
            text: &'a str,
        }
        let summary = format!(
            "{text}{inputs} inputs, {outputs} outputs, {}\n",
            match verdict {
                Verdict::Equal(_) if inputs == 0 => "nothing to compare",
                Verdict::Equal(_) => "all equal",
                _ => "all equal until then",
            }
        );
        let object = Object { kind: "replayed", inputs, outputs, equal, text: text.trim_end() };
        self.ui.result(&summary, &object);
        Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn node_text(node: NodeKind) -> &'static str {
    match node {
        NodeKind::Viewer => "viewer",
        NodeKind::Bootstrap => "bootstrap server",
    }
}

/// What there is to say of a recording's end: nothing, of a good one.
fn end_text(end: End) -> &'static str {
    match end {
        End::Finished => "",
        End::Panicked => "the program panicked there\n",
        End::TooSlow => "the recording ends there: the disk was too slow\n",
        End::Unwritable => "the recording ends there: the file could not be written further\n",
        End::Cut => {
            "the recording is cut off there: the program was killed, or the file is not whole\n"
        }
    }
}

fn difference_text(header: &Header, difference: &Difference) -> String {
    let Difference { recorded, came } = difference;
    let hash = match Recorded::of(came) {
        Recorded::Wait(_) => String::new(),
        Recorded::Act(digest) => format!(", hash {:016x}", digest.hash),
    };
    let mut text = format!("  recorded: {recorded}\n  replayed: {}{hash}\n", Text(came));
    if header.made_by != MADE_BY {
        text.push_str(&format!(
            "  recorded by {}, replayed by {MADE_BY}: another version may well do otherwise\n",
            header.made_by
        ));
    }
    text
}

fn stamp(since: Duration) -> String {
    format!("+{}.{:06} s", since.as_secs(), since.subsec_micros())
}

/// A moment to the second, in UTC: Howard Hinnant's `civil_from_days`, whose
/// years begin in March.
fn utc(time: Time) -> String {
    const DAY: u64 = 86_400;
    let seconds = time.as_micros() / 1_000_000;
    let days = seconds / DAY + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let day = day - (153 * march + 2) / 5 + 1;
    let (h, m, s) = (seconds % DAY / 3_600, seconds % 3_600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc() {
        let at = |seconds| utc(Time::from_secs(seconds));
        // As `date -u -d @N` says.
        assert_eq!(at(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(at(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(at(1_767_225_599), "2025-12-31 23:59:59 UTC");
        assert_eq!(at(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
