//! Reading a recording, whatever became of the file.

use std::fmt;
use std::io::{self, Read};

use eddy_core::{Event, Time};

use super::codec::{Coded, Malformed, Source};
use super::frame::{self, MAGIC, Next};
use super::output::Recorded;
use super::{End, Header};

// What an entry begins with.
pub(super) const INPUT: u8 = 0;
pub(super) const WAIT: u8 = 1;
pub(super) const ACT: u8 = 2;
pub(super) const END: u8 = 3;

/// One entry of a recording.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The machine was told this, at this time.
    Input(Time, Event),
    /// The machine was polled, and this came.
    Output(Recorded),
    /// The recording ends.
    End(End),
}

/// Why a recording cannot be read, or not further.
#[derive(Debug)]
pub enum ReadError {
    /// The operating system's error.
    Io(io::Error),
    /// It does not begin as a recording does.
    NotARecording,
    /// Another version of the format.
    Version(u8),
    /// It is not as it was written.
    Damaged {
        /// Where the damaged frame begins, in bytes from the start of the file.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

/// Reads a recording from its beginning. Takes memory for one frame.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    header: Header,
    /// What is left of the frame.
    frame: Source,
    /// Where the frame begins, and where it ends.
    at: u64,
    next: u64,
    /// The time of the last input.
    now: Time,
    ended: Option<End>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError`] if there is none.
    pub fn new(mut source: R) -> Result<Self, ReadError> {
        let mut magic = [0; MAGIC.len()];
        source.read_exact(&mut magic).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::NotARecording,
            _ => ReadError::Io(e),
        })?;
        let [name @ .., version] = magic;
        let [expected @ .., spoken] = MAGIC;
        if name != expected {
            return Err(ReadError::NotARecording);
        }
        if version != spoken {
            return Err(ReadError::Version(version));
        }
        let at = MAGIC.len() as u64;
        let damaged = |what| ReadError::Damaged { at, what };
        let body = match frame::read(&mut source).map_err(ReadError::Io)? {
            Next::Body(body) => body,
            Next::Cut => return Err(damaged("the file ends before the recording begins")),
            Next::Damaged(what) => return Err(damaged(what)),
        };
        let next = at + frame::whole(&body);
        let header = Header::take(&mut Source(body)).map_err(|Malformed(what)| damaged(what))?;
        let now = header.start;
        Ok(Self { source, header, frame: Source::default(), at, next, now, ended: None })
    }

    /// What the recorded machine was made of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; after the end, the end again.
    ///
    /// # Errors
    /// [`ReadError`] if the file cannot be read further; so far it was sound.
    pub fn entry(&mut self) -> Result<Entry, ReadError> {
        while self.frame.is_empty() {
            if let Some(end) = self.ended {
                return Ok(Entry::End(end));
            }
            self.at = self.next;
            match frame::read(&mut self.source).map_err(ReadError::Io)? {
                Next::Body(body) => {
                    self.next += frame::whole(&body);
                    self.frame = Source(body);
                }
                Next::Cut => self.ended = Some(End::Cut),
                Next::Damaged(what) => return Err(ReadError::Damaged { at: self.at, what }),
            }
        }
        let entry = self.decode();
        let entry = entry.map_err(|Malformed(what)| ReadError::Damaged { at: self.at, what })?;
        match entry {
            Entry::Input(now, _) => self.now = now,
            Entry::Output(_) => {}
            Entry::End(end) => {
                self.ended = Some(end);
                self.frame = Source::default();
            }
        }
        Ok(entry)
    }

    fn decode(&mut self) -> Result<Entry, Malformed> {
        let (now, from) = (self.now, &mut self.frame);
        Ok(match u8::take(from)? {
            INPUT => Entry::Input(after(now, i64::take(from)?), Event::take(from)?),
            WAIT => {
                let until: Option<i64> = Coded::take(from)?;
                Entry::Output(Recorded::Wait(until.map(|delta| after(now, delta))))
            }
            ACT => Entry::Output(Recorded::Act(Coded::take(from)?)),
            END => Entry::End(End::take(from)?),
            _ => return Err(Malformed("an entry of an unknown kind")),
        })
    }
}

fn after(then: Time, delta: i64) -> Time {
    Time::from_micros(then.as_micros().wrapping_add_signed(delta))
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::NotARecording => f.write_str("this is no recording"),
            Self::Version(version) => {
                let [.., own] = MAGIC;
                write!(f, "the recording's format has version {version}; this program reads {own}")
            }
            Self::Damaged { at, what } => {
                write!(f, "the recording is damaged in the frame at byte {at}: {what}")
            }
        }
    }
}

impl std::error::Error for ReadError {}
