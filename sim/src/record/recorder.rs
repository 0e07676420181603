//! The machine that writes down what it is told.

use std::fmt;
use std::thread;
use std::time::Duration;

use eddy_core::{Event, Machine, Output, Time};

use super::codec::Coded;
use super::frame::{FULL, Frame, MAGIC};
use super::output::Recorded;
use super::reader::{ACT, END, INPUT, WAIT};
use super::{End, Header};

/// What is older is passed on with the next input: so much is missing from the
/// recording of a program that was killed.
const OLD: Duration = Duration::from_millis(100);

/// A machine that does as the one within, and records it.
///
/// The sink takes the bytes of the file piece by piece, and says whether it
/// wants more. It is called within [`Machine::handle`] and [`Machine::poll`],
/// so it must not wait for a disk. Once it wants no more, nothing is recorded
/// any longer; [`end_mark`] then is for its owner to write. Otherwise the
/// recording ends when the recorder is dropped.
pub struct Recorder<M, S: FnMut(Vec<u8>) -> bool> {
    machine: M,
    tape: Option<Tape<S>>,
}

/// The mark that stands at the end of a recording.
pub fn end_mark(end: End) -> Vec<u8> {
    let mut frame = Frame::new();
    END.put(frame.body());
    end.put(frame.body());
    frame.seal()
}

impl<M: Machine, S: FnMut(Vec<u8>) -> bool> Recorder<M, S> {
    /// Records `machine`, which is [`Header::machine`]'s as it was at its start.
    pub fn new(machine: M, header: &Header, mut sink: S) -> Self {
        let mut first = Frame::new();
        header.put(first.body());
        let begun = [&MAGIC[..], &first.seal()].concat();
        let wanted = sink(begun);
        let tape = Tape { sink, frame: Frame::new(), since: header.start, now: header.start };
        Self { machine, tape: wanted.then_some(tape) }
    }

    fn record(&mut self, entry: impl FnOnce(&mut Tape<S>) -> bool) {
        if let Some(tape) = &mut self.tape
            && !entry(tape)
        {
            self.tape = None;
        }
    }
}

impl<M: Machine, S: FnMut(Vec<u8>) -> bool> Machine for Recorder<M, S> {
    fn handle(&mut self, now: Time, event: Event) {
        self.record(|tape| tape.input(now, &event));
        self.machine.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        let output = self.machine.poll();
        self.record(|tape| tape.output(&Recorded::of(&output)));
        output
    }
}

impl<M, S: FnMut(Vec<u8>) -> bool> Drop for Recorder<M, S> {
    fn drop(&mut self) {
        let end = if thread::panicking() { End::Panicked } else { End::Finished };
        if let Some(tape) = &mut self.tape
            && tape.pass_on()
        {
            (tape.sink)(end_mark(end));
        }
    }
}

impl<M: fmt::Debug, S: FnMut(Vec<u8>) -> bool> fmt::Debug for Recorder<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.tape.is_some();
        f.debug_struct("Recorder")
            .field("machine", &self.machine)
            .field("records", &records)
            .finish()
    }
}

/// Where entries go.
struct Tape<S> {
    sink: S,
    frame: Frame,
    /// The time of the frame's first entry.
    since: Time,
    /// The time of the last input.
    now: Time,
}

impl<S: FnMut(Vec<u8>) -> bool> Tape<S> {
    fn input(&mut self, now: Time, event: &Event) -> bool {
        if now.since(self.since) >= OLD && !self.pass_on() {
            return false;
        }
        if self.frame.len() == 0 {
            self.since = now;
        }
        let body = self.frame.body();
        INPUT.put(body);
        delta(self.now, now).put(body);
        event.put(body);
        self.now = now;
        self.pass_on_if_full()
    }

    fn output(&mut self, output: &Recorded) -> bool {
        let body = self.frame.body();
        match output {
            Recorded::Wait(until) => {
                WAIT.put(body);
                until.map(|until| delta(self.now, until)).put(body);
            }
            Recorded::Act(digest) => {
                ACT.put(body);
                digest.put(body);
            }
        }
        self.pass_on_if_full()
    }

    fn pass_on_if_full(&mut self) -> bool {
        self.frame.len() < FULL || self.pass_on()
    }

    fn pass_on(&mut self) -> bool {
        if self.frame.len() == 0 {
            return true;
        }
        let frame = std::mem::replace(&mut self.frame, Frame::new());
        (self.sink)(frame.seal())
    }
}

/// From one time to another, whatever they are.
fn delta(from: Time, to: Time) -> i64 {
    to.as_micros().wrapping_sub(from.as_micros()).cast_signed()
}
