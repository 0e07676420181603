//! The time of every datagram of a recorded transport stream, from its PCR.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::ts::clock::{PCR_HZ, PCR_WRAP, Ticks, duration, since};
use crate::ts::packet::{DATAGRAM, PACKET, Packet, Pid};
use crate::ts::psi::Program;
use crate::ts::sync::Framer;

/// A longer step of the clock is a jump. The standard allows 100 ms between two PCRs.
const MAX_STEP: i64 = 2 * PCR_HZ as i64;
/// Most bytes to read for the next PCR.
const MAX_AHEAD: usize = 8 << 20;
/// Bytes of a read.
const READ: usize = 64 << 10;

/// A datagram of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When to send it, since the file's start.
    pub at: Duration,
    /// Seven transport packets, fewer at the end.
    pub payload: Bytes,
}

/// Reads a transport stream as the datagrams that an encoder would have sent.
///
/// Between two PCRs of the program time runs evenly over the bytes. Where the
/// clock jumps, marked or not, time runs on at the rate before. Bytes that
/// belong to no transport packet are left out.
#[derive(Debug)]
pub struct Datagrams<R> {
    input: R,
    framer: Framer,
    timeline: Timeline,
    state: State,
    buffer: Vec<u8>,
    /// Bytes read since a datagram was last ready.
    ahead: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// The input has ended; what is ready still leaves.
    Ended,
    Failed,
}

/// Why a file cannot be played.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be read.
    Io(io::Error),
    /// It is not a transport stream.
    NotTs,
    /// It has no clock, or only one tick of it.
    NoPcr,
}

impl<R: Read> Datagrams<R> {
    /// Reads from the input's current position.
    pub fn new(input: R) -> Self {
        Self {
            input,
            framer: Framer::default(),
            timeline: Timeline::default(),
            state: State::Reading,
            buffer: vec![0; READ],
            ahead: 0,
        }
    }

    fn read(&mut self) -> Result<(), FileError> {
        let read = match self.input.read(&mut self.buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other.map_err(FileError::Io)?,
        };
        let timeline = &mut self.timeline;
        self.framer.push(&self.buffer[..read], |_, packet| timeline.push(packet));
        self.ahead = if timeline.ready.is_empty() { self.ahead + read } else { 0 };
        if read == 0 {
            self.state = State::Ended;
            self.timeline.end()
        } else if self.ahead > MAX_AHEAD {
            self.timeline.go_on_without_pcr()
        } else {
            Ok(())
        }
    }
}

impl<R: Read> Iterator for Datagrams<R> {
    type Item = Result<Datagram, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(datagram) = self.timeline.ready.pop_front() {
                return Some(Ok(datagram));
            }
            if self.state != State::Reading {
                return None;
            }
            if let Err(e) = self.read() {
                self.state = State::Failed;
                return Some(Err(e));
            }
        }
    }
}

/// Gives packets their times.
#[derive(Debug, Default)]
struct Timeline {
    program: Program,
    /// The stream whose PCR counts: the program's, or the first seen until that is known.
    clock: Option<Pid>,
    /// Packets whose time is not known yet, and the time of the first of them.
    waiting: Vec<[u8; PACKET]>,
    now: Ticks,
    /// The last PCR, and how many of the waiting packets came before it.
    last: Option<(Ticks, usize)>,
    rate: Option<Rate>,
    datagram: BytesMut,
    datagram_at: Ticks,
    ready: VecDeque<Datagram>,
}

/// So many ticks for so many packets.
#[derive(Clone, Copy, Debug)]
struct Rate {
    ticks: Ticks,
    packets: u64,
}

impl Rate {
    fn ticks_of(self, packets: usize) -> Ticks {
        (u128::from(self.ticks) * packets as u128 / u128::from(self.packets)) as Ticks
    }
}

impl Timeline {
    fn push(&mut self, packet: Packet<'_>) {
        self.program.push(packet);
        if let Some(pcr) = packet.pcr()
            && self.is_clock(packet.pid())
        {
            self.tick(pcr, packet.discontinuity());
        }
        self.waiting.push(*packet.bytes());
    }

    fn is_clock(&mut self, pid: Pid) -> bool {
        let told = self.program.pmt().and_then(|pmt| pmt.pcr_pid);
        let clock = told.or(self.clock).unwrap_or(pid);
        if self.clock.replace(clock) != Some(clock) {
            self.last = None;
        }
        clock == pid
    }

    fn tick(&mut self, pcr: Ticks, jump: bool) {
        let waiting = self.waiting.len();
        if let Some((last, before)) = self.last
            && let step @ 1..=MAX_STEP = since(pcr, last, PCR_WRAP)
            && !jump
        {
            let rate = Rate { ticks: step as Ticks, packets: (waiting - before) as u64 };
            self.rate = Some(rate);
            self.release(rate);
        } else if let Some(rate) = self.rate {
            self.release(rate);
        }
        self.last = Some((pcr, self.waiting.len()));
    }

    /// Gives the waiting packets their times.
    fn release(&mut self, rate: Rate) {
        let packets = std::mem::take(&mut self.waiting);
        for (n, packet) in packets.iter().enumerate() {
            if self.datagram.is_empty() {
                self.datagram_at = self.now + rate.ticks_of(n);
            }
            self.datagram.extend_from_slice(packet);
            if self.datagram.len() == DATAGRAM {
                self.finish_datagram();
            }
        }
        self.now += rate.ticks_of(packets.len());
    }

    fn finish_datagram(&mut self) {
        let payload = self.datagram.split().freeze();
        self.ready.push_back(Datagram { at: duration(self.datagram_at), payload });
    }

    fn go_on_without_pcr(&mut self) -> Result<(), FileError> {
        let none = if self.waiting.is_empty() { FileError::NotTs } else { FileError::NoPcr };
        self.release(self.rate.ok_or(none)?);
        self.last = None;
        Ok(())
    }

    fn end(&mut self) -> Result<(), FileError> {
        self.go_on_without_pcr()?;
        if !self.datagram.is_empty() {
            self.finish_datagram();
        }
        Ok(())
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "it cannot be read: {e}"),
            Self::NotTs => f.write_str(
                "it is not an MPEG transport stream; convert it, for example with: \
                 ffmpeg -i FILE -c copy -f mpegts NEW.ts",
            ),
            Self::NoPcr => f.write_str(
                "it has no clock (PCR), so nobody knows how fast to play it; give it one, for example with: \
                 ffmpeg -i FILE -c copy -f mpegts NEW.ts",
            ),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(e) => Some(e),
            Self::NotTs | Self::NoPcr => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::CLIP;
    use crate::ts::clock::write_pcr;
    use crate::ts::packet::tests::packet;
    use crate::ts::psi::tests::{pat_packet, pmt_packet};

    const MS: Ticks = PCR_HZ / 1_000;

    fn pcr_packet(pid: Pid, pcr: Ticks, jump: bool) -> [u8; PACKET] {
        let flags = if jump { 0x90 } else { 0x10 };
        packet(pid, false, 3, 0, &[&[7, flags], &write_pcr(pcr)[..]].concat())
    }

    fn filler(count: usize) -> Vec<[u8; PACKET]> {
        vec![packet(0x101, false, 1, 0, &[]); count]
    }

    /// Plays packets; returns each datagram's time in milliseconds.
    fn times(packets: &[[u8; PACKET]]) -> Vec<u128> {
        let bytes = packets.concat();
        let datagrams: Vec<_> = Datagrams::new(&bytes[..]).map(Result::unwrap).collect();
        let joined: Vec<u8> = datagrams.iter().flat_map(|d| d.payload.to_vec()).collect();
        assert_eq!(joined, bytes, "every byte, in order");
        datagrams.iter().map(|d| d.at.as_millis()).collect()
    }

    #[test]
    fn the_clip_runs_at_its_bit_rate() {
        let all: Vec<_> = Datagrams::new(CLIP).map(Result::unwrap).collect();
        assert_eq!(all.iter().flat_map(|d| d.payload.to_vec()).collect::<Vec<_>>(), CLIP);
        assert!(all[..all.len() - 1].iter().all(|d| d.payload.len() == DATAGRAM));
        for (n, datagram) in all.iter().enumerate() {
            let expected = Duration::from_micros(n as u64 * 17_500);
            assert!(datagram.at.abs_diff(expected) < Duration::from_micros(1), "datagram {n}");
        }
    }

    #[test]
    fn time_runs_evenly_between_two_clock_ticks() {
        let packets = [
            filler(7),
            vec![pcr_packet(0x101, PCR_WRAP - 7 * MS, false)],
            filler(6),
            vec![pcr_packet(0x101, 0, false)],
            filler(13),
            vec![pcr_packet(0x101, 28 * MS, false)],
            filler(13),
        ]
        .concat();
        assert_eq!(times(&packets), [0, 7, 14, 28, 42, 56]);
    }

    #[test]
    fn a_jump_of_the_clock_does_not_show() {
        for (pcr, marked) in
            [(90 * PCR_HZ, true), (90 * PCR_HZ, false), (5, false), (15 * MS, true)]
        {
            let packets = [
                vec![pcr_packet(0x101, 7 * MS, false)],
                filler(6),
                vec![pcr_packet(0x101, 14 * MS, false)],
                filler(6),
                vec![pcr_packet(0x101, pcr, marked)],
                filler(6),
                vec![pcr_packet(0x101, pcr + 7 * MS, false)],
            ]
            .concat();
            assert_eq!(times(&packets), [0, 7, 14, 21]);
        }
    }

    #[test]
    fn only_the_programs_own_clock_counts() {
        let packets = [
            vec![pat_packet(0), pmt_packet(0, &[(0x1b, 0x101)]), pcr_packet(0x101, 0, false)],
            vec![pcr_packet(0x300, 999 * MS, false); 12],
            vec![pcr_packet(0x101, 13 * MS, false)],
        ]
        .concat();
        assert_eq!(times(&packets), [0, 7, 14]);
        // One that came before the program was known is forgotten.
        let packets = [vec![pcr_packet(0x300, PCR_WRAP - 999 * MS, false)], packets].concat();
        assert_eq!(times(&packets), [0, 7, 14]);
    }

    #[test]
    fn files_without_a_clock_say_so() {
        let first = |bytes: &[u8]| Datagrams::new(bytes).next().unwrap().unwrap_err();
        assert!(matches!(first(&filler(9).concat()), FileError::NoPcr));
        let one = [vec![pcr_packet(0x101, 0, false)], filler(9)].concat();
        assert!(matches!(first(&one.concat()), FileError::NoPcr));
        assert!(matches!(first(b"%PDF-1.7"), FileError::NotTs));
        assert!(matches!(first(&[]), FileError::NotTs));
        let mut endless = Datagrams::new(io::repeat(b'x'));
        assert!(matches!(endless.next(), Some(Err(FileError::NotTs))));
        assert!(endless.next().is_none());
    }
}
