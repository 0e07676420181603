//! A place on the terminal whose lines are shown again and again in the same
//! spot, while logs scroll by above it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use tracing_subscriber::fmt::MakeWriter;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
// The terminal itself cuts lines at its edge, whatever its width.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const CLEAR_LINE_END: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// An output with an area at its end that can be drawn again. Clones share it.
#[derive(Clone)]
pub struct Screen(Arc<Mutex<Inner>>);

struct Inner {
    out: Box<dyn Write + Send>,
    in_place: bool,
    /// What stands at the end of the output now, whole lines.
    area: String,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}

impl Screen {
    /// A screen over a terminal (`in_place`) or a pipe. What cannot be written
    /// is dropped: a reader that went away must not stop a node.
    pub fn new(out: impl Write + Send + 'static, in_place: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner { out: Box::new(out), in_place, area: String::new() })))
    }

    /// Puts these lines in the place of the last ones; in a pipe, after them.
    pub fn show(&self, lines: &str) {
        let mut inner = self.inner();
        let text = if inner.in_place {
            let drawn = format!("{}{}", inner.up(), draw(lines));
            inner.area = lines.to_owned();
            drawn
        } else {
            lines.to_owned()
        };
        inner.write(&text);
    }

    /// Prints lines that stay, above the area.
    pub fn print(&self, lines: &str) {
        let mut inner = self.inner();
        let text = if inner.area.is_empty() {
            lines.to_owned()
        } else {
            format!("{}{CLEAR_BELOW}{lines}{}", inner.up(), draw(&inner.area))
        };
        inner.write(&text);
    }

    /// Leaves the area as it stands; what comes next goes below it.
    pub fn finish(&self) {
        self.inner().finish();
    }

    /// The same, unless somebody is writing: that may never end.
    pub(crate) fn finish_unless_stuck(&self) {
        match self.0.try_lock() {
            Ok(mut inner) => inner.finish(),
            Err(TryLockError::Poisoned(inner)) => inner.into_inner().finish(),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Where logs go: standard error, kept clear of the area.
    pub(crate) fn logs(&self) -> LogLines {
        LogLines { screen: self.clone(), same: io::stderr().is_terminal() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Moves the cursor from below the area to its first line.
    fn up(&self) -> String {
        match self.area.lines().count() {
            0 => String::new(),
            n => format!("\x1b[{n}F"),
        }
    }

    fn finish(&mut self) {
        if !self.area.is_empty() {
            self.area.clear();
            self.write(SHOW_CURSOR);
        }
    }

    fn write(&mut self, text: &str) {
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).ok();
    }
}

fn draw(lines: &str) -> String {
    let mut out = format!("{HIDE_CURSOR}{NO_WRAP}");
    for line in lines.lines() {
        out.push_str(line);
        out.push_str(CLEAR_LINE_END);
        out.push('\n');
    }
    out.push_str(CLEAR_BELOW);
    out.push_str(WRAP);
    out
}

/// Writes log lines to standard error. On a terminal they go above the area
/// of the screen that shares it.
#[derive(Clone, Debug)]
pub struct LogLines {
    screen: Screen,
    same: bool,
}

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut inner = self.screen.inner();
        let shares = self.same && !inner.area.is_empty();
        if shares {
            let away = format!("{}{CLEAR_BELOW}", inner.up());
            inner.write(&away);
        }
        // As on the screen: a reader that went away must not stop a node.
        io::stderr().write_all(line).ok();
        if shares {
            let back = draw(&inner.area);
            inner.write(&back);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogLines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    #[test]
    fn a_pipe_gets_the_lines_and_nothing_else() {
        let sink = Sink::default();
        let screen = Screen::new(sink.clone(), false);
        screen.show("a\n");
        screen.print("b\n");
        screen.show("c\n");
        screen.finish();
        assert_eq!(sink.take(), "a\nb\nc\n");
    }

    #[test]
    fn a_terminal_is_drawn_over_and_put_back_in_order() {
        let sink = Sink::default();
        let screen = Screen::new(sink.clone(), true);
        screen.show("a\nb\n");
        assert_eq!(sink.take(), "\x1b[?25l\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        screen.show("c\n");
        assert_eq!(sink.take(), "\x1b[2F\x1b[?25l\x1b[?7lc\x1b[K\n\x1b[J\x1b[?7h");
        screen.print("stays\n");
        assert_eq!(sink.take(), "\x1b[1F\x1b[Jstays\n\x1b[?25l\x1b[?7lc\x1b[K\n\x1b[J\x1b[?7h");
        screen.finish();
        assert_eq!(sink.take(), "\x1b[?25h");
        screen.finish();
        assert_eq!(sink.take(), "", "put back once");
    }

    #[test]
    fn a_reader_that_is_stuck_does_not_hold_up_the_end() {
        struct Stuck(mpsc::Sender<()>, mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.send(()).unwrap();
                self.1.recv().ok();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let ((began, writes), (release, held)) = (mpsc::channel(), mpsc::channel());
        let screen = Screen::new(Stuck(began, held), true);
        let (shows, ends) = (screen.clone(), screen);
        let shower = thread::spawn(move || shows.show("a\n"));
        writes.recv().unwrap();
        let (ended, end) = mpsc::channel();
        let ender = thread::spawn(move || {
            ends.finish_unless_stuck();
            ended.send(()).unwrap();
        });
        end.recv_timeout(Duration::from_secs(20)).expect("an end, though a write goes on");
        drop(release);
        shower.join().unwrap();
        ender.join().unwrap();
    }

    #[test]
    fn a_reader_that_went_away_stops_nobody() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let screen = Screen::new(Gone, true);
        screen.show("a\n");
        screen.print("b\n");
        screen.finish();
    }
}
