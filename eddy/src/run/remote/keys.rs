//! Single keys of a terminal.

use std::io::{self, Read as _};
use std::thread;
use std::time::Duration;

use eddy_core::Position;
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, tcgetpgrp};

use super::Wish;

/// How far the arrows to the left and right go, in seconds.
const STEP: i64 = 10;
/// How far those down and up go.
const LEAP: i64 = 60;
/// Time between two looks whether the terminal is ours again.
const BACKGROUND: Duration = Duration::from_millis(250);

/// A terminal whose keys come at once and unseen. Ctrl-C and Ctrl-Z still work.
#[derive(Debug)]
pub(in crate::run) struct Keys {
    before: Termios,
    raw: Termios,
}

impl Keys {
    /// Takes the keys of standard input's terminal; `None` if it cannot be had,
    /// as when the program was started in the background.
    pub(super) fn take() -> Option<Self> {
        is_ours().then_some(())?;
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // A read ends after a tenth of a second without a key.
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 1;
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(Self { before, raw })
    }

    pub(super) fn reader(&self) -> Reader {
        Reader { raw: self.raw.clone(), away: false, ended: false }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if is_ours() {
            // A terminal that is gone needs no order.
            tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before).ok();
        }
    }
}

/// Whether the terminal listens to us: reading while it does not stops the
/// program.
fn is_ours() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// Reads keys.
#[derive(Debug)]
pub(super) struct Reader {
    raw: Termios,
    /// The shell had the terminal, and set it as it likes.
    away: bool,
    ended: bool,
}

impl Reader {
    /// Tells what each key asks for, until the terminal is gone.
    pub(super) fn run(mut self, mut tell: impl FnMut(Wish)) {
        let mut parser = Parser::default();
        while !self.ended {
            let byte = self.byte();
            if let Some(wish) = parser.next(byte) {
                tell(wish);
            }
        }
    }

    /// The next byte; `None` if none came for a while.
    fn byte(&mut self) -> Option<u8> {
        if !is_ours() {
            self.away = true;
            thread::sleep(BACKGROUND);
            return None;
        }
        if std::mem::take(&mut self.away) {
            tcsetattr(io::stdin(), SetArg::TCSANOW, &self.raw).ok();
        }
        let mut byte = [0];
        match io::stdin().read(&mut byte) {
            Ok(1) => Some(byte[0]),
            Ok(_) => None,
            Err(e) => {
                self.ended = e.kind() != io::ErrorKind::Interrupted;
                None
            }
        }
    }
}

/// Cuts bytes into keys: arrows are three of them.
#[derive(Debug, Default)]
struct Parser(Vec<u8>);

impl Parser {
    fn next(&mut self, byte: Option<u8>) -> Option<Wish> {
        let Some(byte) = byte else {
            self.0.clear();
            return None;
        };
        self.0.push(byte);
        let by = |seconds| Some(Wish::Seek(Position::By(seconds * 1_000_000)));
        let wish = match &self.0[..] {
            b"\x1b" | b"\x1b[" | b"\x1bO" => return None,
            b"\x1b[D" | b"\x1bOD" => by(-STEP),
            b"\x1b[C" | b"\x1bOC" => by(STEP),
            b"\x1b[B" | b"\x1bOB" => by(-LEAP),
            b"\x1b[A" | b"\x1bOA" => by(LEAP),
            b" " => Some(Wish::Toggle),
            b"l" => Some(Wish::Seek(Position::Live)),
            b"q" => Some(Wish::Quit),
            _ => None,
        };
        self.0.clear();
        wish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(bytes: &[u8]) -> Vec<Wish> {
        let mut parser = Parser::default();
        bytes.iter().filter_map(|byte| parser.next(Some(*byte))).collect()
    }

    #[test]
    fn keys_are_wishes() {
        let by = |seconds: i64| Wish::Seek(Position::By(seconds * 1_000_000));
        assert_eq!(
            wishes(b" \x1b[D\x1b[C\x1b[A\x1b[B\x1bODlxq"),
            [
                Wish::Toggle,
                by(-10),
                by(10),
                by(60),
                by(-60),
                by(-10),
                Wish::Seek(Position::Live),
                Wish::Quit
            ]
        );
    }

    #[test]
    fn an_escape_that_nothing_follows_is_forgotten() {
        let mut parser = Parser::default();
        assert_eq!(parser.next(Some(0x1b)), None);
        assert_eq!(parser.next(None), None);
        assert_eq!(parser.next(Some(b'q')), Some(Wish::Quit));
    }
}
