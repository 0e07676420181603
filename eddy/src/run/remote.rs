//! The viewer's remote control: commands on standard input, a line each, or on
//! a terminal single keys.

mod keys;

use std::fmt;
use std::io::{self, BufRead, IsTerminal as _, Read};
use std::str::FromStr;
use std::thread;

use eddy_core::Position;
use eddy_core::stream::channel::Name;
use tracing::{info, warn};

use self::keys::Keys;
use crate::moment::Goal;
use crate::run::node::Told;

/// What the user wants.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// Stand still.
    Pause,
    /// Go on.
    Play,
    /// Stand still, or go on.
    Toggle,
    /// Go to another moment.
    Seek(Position),
    /// Go to another channel.
    Switch(Name),
    /// End.
    Quit,
}

/// Bytes of the longest command: a channel's name, and some.
const LONGEST: u64 = 256;
/// What a line, or a key, may be instead.
const COMMANDS: &str = "the commands are pause, play, seek -30s (or +1m, 10:15:00, \
                        2026-11-22T10:15:00Z), live, switch NAME and quit";

/// A line that asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Wish {
    type Err = Unknown;

    fn from_str(line: &str) -> Result<Self, Unknown> {
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let bad = |e: &dyn fmt::Display| Unknown(format!("{line}: {e}"));
        match (word, rest) {
            ("seek", goal) => goal.parse().map(|Goal(to)| Self::Seek(to)).map_err(|e| bad(&e)),
            ("switch", name) => Name::new(name).map(Self::Switch).map_err(|e| bad(&e)),
            ("pause", "") => Ok(Self::Pause),
            ("play", "") => Ok(Self::Play),
            ("live", "") => Ok(Self::Seek(Position::Live)),
            ("quit" | "q", "") => Ok(Self::Quit),
            ("help" | "?", _) => Err(Unknown(COMMANDS.into())),
            _ => Err(Unknown(format!("{line:?} is no command: {COMMANDS}"))),
        }
    }
}

/// Listens, and tells what the user wants, on a thread that ends with the
/// program: nothing else ends a read. Dropping the keys puts the terminal back in
/// order.
pub(super) fn listen(tell: impl Fn(Told) + Send + 'static) -> Option<Keys> {
    if !io::stdin().is_terminal() {
        read(move || lines(&tell));
        return None;
    }
    let keys = Keys::take()?;
    let reader = keys.reader();
    read(move || reader.run(|wish| tell(Told::Wish(wish))));
    info!("keys: space pauses, arrows go 10 s and a minute, l is live, q quits");
    Some(keys)
}

fn read(work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name("remote".into()).spawn(work);
    if let Err(e) = thread {
        warn!("no commands are taken: {e}");
    }
}

fn lines(tell: &impl Fn(Told)) {
    let mut input = io::stdin().lock();
    while let Ok(Some(line)) = line(&mut input) {
        match line.parse() {
            Ok(wish) => tell(Told::Wish(wish)),
            Err(_) if line.trim().is_empty() => {}
            Err(unknown) => warn!("{unknown}"),
        }
    }
}

/// The next line, cut where it is too long for any command; `None` at the end.
fn line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if Read::take(&mut *input, LONGEST).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    while bytes.last() != Some(&b'\n') {
        let rest = input.fill_buf()?;
        let end = rest.iter().position(|byte| *byte == b'\n');
        let length = rest.len();
        if length == 0 {
            break;
        }
        input.consume(end.map_or(length, |end| end + 1));
        if end.is_some() {
            break;
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(line: &str) -> Option<Wish> {
        line.parse().ok()
    }

    #[test]
    fn a_line_is_a_wish() {
        assert_eq!(wish("pause"), Some(Wish::Pause));
        assert_eq!(wish("  play \r"), Some(Wish::Play));
        assert_eq!(wish("seek -30s"), Some(Wish::Seek(Position::By(-30_000_000))));
        assert_eq!(wish("seek +1m"), Some(Wish::Seek(Position::By(60_000_000))));
        let at = eddy_core::Time::from_secs(1_795_341_600);
        assert_eq!(wish("seek 2026-11-22T10:00:00Z"), Some(Wish::Seek(Position::At(at))));
        assert!(matches!(wish("seek 10:15:00"), Some(Wish::Seek(Position::At(_)))));
        assert_eq!(wish("live"), Some(Wish::Seek(Position::Live)));
        assert_eq!(wish("switch News 24"), Some(Wish::Switch(Name::new("News 24").unwrap())));
        assert_eq!(wish("quit"), Some(Wish::Quit));
    }

    #[test]
    fn a_line_too_long_or_not_text_costs_itself_and_no_other() {
        let mut all = vec![b'x'; 10_000_000];
        all.extend(b"\n\xff\xfe\0abc\npause\r\nlive");
        let mut input = &all[..];
        let mut next = || line(&mut input).unwrap();
        assert_eq!(next().unwrap().len(), LONGEST as usize);
        assert!(next().unwrap().parse::<Wish>().is_err());
        assert_eq!(next().unwrap().parse(), Ok(Wish::Pause));
        assert_eq!(next().unwrap().parse(), Ok(Wish::Seek(Position::Live)));
        assert_eq!(next(), None);
    }

    #[test]
    fn what_is_no_wish_is_told_with_what_would_be() {
        let told = |line: &str| line.parse::<Wish>().unwrap_err().to_string();
        assert!(told("rewind").contains("seek -30s"));
        assert!(told("pause now").contains("the commands are"));
        assert_eq!(
            told("seek"),
            "seek: give where to go: -30s, +1m, 10:15:00 or 2026-11-22T10:15:00Z"
        );
        assert!(told("switch a_b").starts_with("switch a_b: "));
        assert_eq!(told("help"), COMMANDS);
    }
}
