//! The demo's table: a row a node, shown again each second.

use std::time::Duration;

use eddy_core::Phase;
use serde::Serialize;

use super::{
    Colour, Mode, Ui, as_ms, json_line, millis, or_dash, paint, percent, short, whole_percent,
};

/// What one node does now.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The node's name.
    pub name: String,
    /// Where it stands.
    pub state: State,
    /// From joining to the first block handed over.
    pub startup: Option<Duration>,
    /// Play-out delay behind the provider.
    pub delay: Option<Duration>,
    /// Continuity index, 0 to 1.
    pub continuity: Option<f64>,
    /// Share of blocks that came from other viewers, 0 to 1.
    pub peer_share: Option<f64>,
    /// The parent of each sub-stream.
    pub parents: Vec<Parent>,
    /// Upload now, in bits per second.
    pub upload: Option<u64>,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A provider that sends.
    Live,
    /// See [`Phase::Joining`].
    Joining,
    /// See [`Phase::Buffering`].
    Buffering,
    /// See [`Phase::Playing`].
    Playing,
    /// See [`Phase::Stalled`].
    Stalled,
    /// See [`Phase::Paused`].
    Paused,
    /// It ended before its time.
    Gone,
}

impl From<Phase> for State {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Buffering => Self::Buffering,
            Phase::Playing => Self::Playing,
            Phase::Stalled => Self::Stalled,
            Phase::Paused => Self::Paused,
            _ => Self::Joining,
        }
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Joining => "joining",
            Self::Buffering => "buffering",
            Self::Playing => "playing",
            Self::Stalled => "stalled",
            Self::Paused => "paused",
            Self::Gone => "gone",
        }
    }

    pub(super) fn paint(self, width: usize, colours: bool) -> String {
        let colour = match self {
            Self::Live | Self::Playing => Colour::Green,
            Self::Joining | Self::Buffering | Self::Paused => Colour::Yellow,
            Self::Stalled | Self::Gone => Colour::Red,
        };
        paint(&format!("{:width$}", self.word()), colour, colours)
    }
}

/// Who sends a sub-stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Nobody.
    None,
    /// The provider.
    Provider,
    /// The viewer of this number, from 1.
    Viewer(usize),
    /// A node that is not in the table.
    Other,
}

impl Parent {
    /// One character: `-`, `P`, `1` to `9`, then `a` to `z`, else `+`.
    fn cell(self) -> char {
        match self {
            Self::None => '-',
            Self::Provider => 'P',
            Self::Viewer(n) => match u32::try_from(n).ok().filter(|&n| n > 0) {
                Some(n) => char::from_digit(n, 36).unwrap_or('+'),
                None => '+',
            },
            Self::Other => '+',
        }
    }

    fn word(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Provider => Some("provider".into()),
            Self::Viewer(n) => Some(format!("viewer-{n}")),
            Self::Other => Some("other".into()),
        }
    }
}

/// The rows that a terminal of 24 lines can hold beside the head.
const MOST_ROWS: usize = 18;

/// Shows the demo's table.
#[derive(Debug)]
pub struct Table<'a> {
    ui: &'a Ui,
    begun: bool,
}

impl<'a> Table<'a> {
    /// A table on this screen.
    pub fn new(ui: &'a Ui) -> Self {
        Self { ui, begun: false }
    }

    /// Shows the rows as they are after this long: in place on a terminal,
    /// below the last ones in a pipe, an object a row with `--json`.
    pub fn show(&mut self, elapsed: Duration, rows: &[Row]) {
        if self.ui.quiet {
            return;
        }
        let text = match self.ui.mode {
            Mode::Terminal { colours } => terminal(elapsed, rows, colours),
            Mode::Plain if self.begun => plain(elapsed, rows),
            Mode::Plain => plain_head() + &plain(elapsed, rows),
            Mode::Json => json(elapsed, rows),
        };
        self.begun = true;
        self.ui.screen.show(&text);
    }
}

// One less than the 80 columns of a small terminal: clearing the rest of a full
// line would take its last character.
const HEAD: &str =
    "node       state      start-up    delay  continuity  peers  parents   up Mbit/s";

const LEGEND: &str = "parents, one a sub-stream: P provider, 1-9 a-z viewer, - nobody, + other";

fn cells(row: &Row, colours: bool) -> String {
    let parents: String = row.parents.iter().map(|p| p.cell()).collect();
    format!(
        "{:<9}  {}  {:>8}  {:>7}  {:>10}  {:>5}  {:<8}  {:>9}",
        row.name,
        row.state.paint(9, colours),
        or_dash(row.startup.map(short)),
        or_dash(row.delay.map(millis)),
        or_dash(row.continuity.map(percent)),
        or_dash(row.peer_share.map(whole_percent)),
        parents,
        or_dash(row.upload.map(|bits| format!("{:.2}", bits as f64 / 1e6))),
    )
}

/// The table as it stands on a terminal.
pub fn terminal(elapsed: Duration, rows: &[Row], colours: bool) -> String {
    let mut out =
        format!("after {} s\n{}\n", elapsed.as_secs(), paint(HEAD, Colour::Bold, colours));
    for row in rows.iter().take(MOST_ROWS) {
        out.push_str(&cells(row, colours));
        out.push('\n');
    }
    if rows.len() > MOST_ROWS {
        let hidden = &rows[MOST_ROWS..];
        let playing = hidden.iter().filter(|row| row.state == State::Playing).count();
        out.push_str(&format!("and {} more, {playing} of them playing\n", hidden.len()));
    }
    out + LEGEND + "\n"
}

fn plain_head() -> String {
    format!("{LEGEND}\ntime   {HEAD}\n")
}

/// The rows as they stand in a pipe, each with its time.
pub fn plain(elapsed: Duration, rows: &[Row]) -> String {
    let time = format!("{} s", elapsed.as_secs());
    rows.iter().map(|row| format!("{time:<5}  {}\n", cells(row, false))).collect()
}

/// The rows as JSON lines.
pub fn json(elapsed: Duration, rows: &[Row]) -> String {
    #[derive(Serialize)]
    struct Object<'a> {
        kind: &'static str,
        elapsed_ms: u64,
        name: &'a str,
        state: State,
        startup_ms: Option<u64>,
        playout_delay_ms: Option<u64>,
        continuity: Option<f64>,
        from_peers: Option<f64>,
        parents: Vec<Option<String>>,
        upload_bits_per_second: Option<u64>,
    }
    let object = |row: &Row| {
        json_line(&Object {
            kind: "node",
            elapsed_ms: as_ms(elapsed),
            name: &row.name,
            state: row.state,
            startup_ms: row.startup.map(as_ms),
            playout_delay_ms: row.delay.map(as_ms),
            continuity: row.continuity,
            from_peers: row.peer_share,
            parents: row.parents.iter().map(|p| p.word()).collect(),
            upload_bits_per_second: row.upload,
        })
    };
    rows.iter().map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 2] {
        let provider = Row {
            name: "provider".into(),
            state: State::Live,
            startup: None,
            delay: None,
            continuity: None,
            peer_share: None,
            parents: vec![],
            upload: Some(3_120_000),
        };
        let viewer = Row {
            name: "viewer-1".into(),
            state: State::Stalled,
            startup: Some(Duration::from_millis(214)),
            delay: Some(Duration::from_millis(412)),
            continuity: Some(0.999_95),
            peer_share: Some(0.875),
            parents: [Parent::Provider, Parent::Viewer(2), Parent::Viewer(10), Parent::Viewer(36)]
                .into_iter()
                .chain([Parent::Other, Parent::None, Parent::Provider, Parent::Viewer(9)])
                .collect(),
            upload: None,
        };
        [provider, viewer]
    }

    #[test]
    fn a_terminal_shows_head_and_rows() {
        assert_eq!(
            terminal(Duration::from_millis(12_900), &rows(), false),
            "after 12 s\n\
             node       state      start-up    delay  continuity  peers  parents   up Mbit/s\n\
             provider   live              -        -           -      -                 3.12\n\
             viewer-1   stalled      214 ms   412 ms     99.99 %   87 %  P2a++-P9          -\n\
             parents, one a sub-stream: P provider, 1-9 a-z viewer, - nobody, + other\n"
        );
    }

    #[test]
    fn colours_change_no_width() {
        let plain = terminal(Duration::ZERO, &rows(), false);
        let mut coloured = terminal(Duration::ZERO, &rows(), true);
        assert!(coloured.contains("\x1b[31mstalled  \x1b[0m"));
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m"] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(coloured, plain);
    }

    #[test]
    fn a_terminal_never_gets_more_rows_than_it_can_hold() {
        let many: Vec<_> =
            (0..32).map(|_| Row { state: State::Playing, ..rows()[1].clone() }).collect();
        let text = terminal(Duration::ZERO, &many, false);
        assert_eq!(text.lines().count(), 22);
        assert_eq!(text.lines().nth(20), Some("and 14 more, 14 of them playing"));
    }

    #[test]
    fn a_pipe_shows_the_time_of_each_row() {
        assert_eq!(
            plain_head() + &plain(Duration::from_secs(3), &rows()[..1]),
            "parents, one a sub-stream: P provider, 1-9 a-z viewer, - nobody, + other\n\
             time   node       state      start-up    delay  continuity  peers  parents   up Mbit/s\n\
             3 s    provider   live              -        -           -      -                 3.12\n"
        );
    }

    #[test]
    fn json_has_units_in_its_names() {
        let text = json(Duration::from_millis(3_001), &rows());
        assert_eq!(
            text.lines().nth(1),
            Some(
                "{\"kind\":\"node\",\"elapsed_ms\":3001,\"name\":\"viewer-1\",\"state\":\"stalled\",\
                 \"startup_ms\":214,\"playout_delay_ms\":412,\"continuity\":0.99995,\"from_peers\":0.875,\
                 \"parents\":[\"provider\",\"viewer-2\",\"viewer-10\",\"viewer-36\",\"other\",null,\
                 \"provider\",\"viewer-9\"],\"upload_bits_per_second\":null}"
            )
        );
        assert!(text.starts_with("{\"kind\":\"node\""));
        assert_eq!(text.lines().count(), 2);
    }
}
