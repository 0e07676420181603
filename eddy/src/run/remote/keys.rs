//! Single keys of a terminal.

use std::io::{self, Read as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use eddy_core::Position;
use nix::sys::signal::{SigSet, Signal};
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
    /// Whether the terminal was given back: from then on it is left alone.
    over: Arc<Mutex<bool>>,
}

impl Keys {
    /// Takes the keys of standard input's terminal, as soon as it listens to us;
    /// `None` if it is gone.
    pub(super) fn take() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        // A read ends after a tenth of a second without a key.
        raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
        raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 1;
        Some(Self { before, raw, over: Arc::default() })
    }

    pub(super) fn reader(&self) -> Reader {
        Reader { raw: self.raw.clone(), over: Arc::clone(&self.over), ended: false }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        *over = true;
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
    over: Arc<Mutex<bool>>,
    ended: bool,
}

impl Reader {
    /// Tells what each key asks for, until the terminal is gone.
    pub(super) fn run(mut self, mut tell: impl FnMut(Wish)) {
        // Else a read or a setting from the background stops the whole program.
        let mut job_control = SigSet::empty();
        job_control.add(Signal::SIGTTIN);
        job_control.add(Signal::SIGTTOU);
        job_control.thread_block().ok();
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
            thread::sleep(BACKGROUND);
            return None;
        }
        // A shell sets the terminal as it likes while the program is stopped.
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended = *over;
        if !self.ended
            && tcgetattr(io::stdin()).is_ok_and(|now| now.local_flags != self.raw.local_flags)
        {
            tcsetattr(io::stdin(), SetArg::TCSANOW, &self.raw).ok();
        }
        drop(over);
        let mut byte = [0];
        match io::stdin().read(&mut byte) {
            Ok(1) => Some(byte[0]),
            Ok(_) => None,
            // In the background it fails, too: the next look tells.
            Err(_) if !is_ours() => None,
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
