//! A clip that plays for ever: pass after pass, with clocks, time stamps and
//! counters that run on as if it were one long stream.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use crate::ts::clock::{self, PCR_PER_STAMP, STAMP, STAMP_HZ, STAMP_WRAP, Stamps, Ticks, since};
use crate::ts::packet::{Packet, Pid};
use crate::ts::psi::Program;
use crate::ts::sync::Framer;

/// A longer step between two time stamps of a stream is a jump, not a frame.
const MAX_FRAME: i64 = 2 * STAMP_HZ as i64;
/// The length of a frame in a stream that has only one: 25 a second.
const USUAL_FRAME: i64 = STAMP_HZ as i64 / 25;
/// Bytes of a read.
const READ: usize = 64 << 10;

/// Reads a transport stream again and again.
///
/// A pass begins one frame after the last frame of the pass before, so that
/// pictures stay evenly spaced. For a seam that nobody sees or hears, the clip
/// must begin with a key picture, and picture and sound must be equally long.
/// Reading fails with `InvalidData` if the clip has no time stamps.
#[derive(Debug)]
pub struct Looped<R> {
    input: R,
    framer: Framer,
    buffer: Vec<u8>,
    pass: Pass,
    /// Rewritten bytes that have not been read, from `read_to` on.
    output: Vec<u8>,
    read_to: usize,
}

/// The pass that runs.
#[derive(Debug, Default)]
struct Pass {
    program: Program,
    /// How far its stamps lie after the clip's, in ticks of 90 kHz.
    shift: Ticks,
    counters: BTreeMap<Pid, Counter>,
    tracks: BTreeMap<Pid, Track>,
    /// First and last PCR in the clip.
    pcr: Option<(Ticks, Ticks)>,
}

/// A stream's continuity counter.
#[derive(Clone, Copy, Debug)]
struct Counter {
    /// The last value written.
    last: u8,
    /// What to add to the clip's; unknown until the stream's first packet of the pass.
    shift: Option<u8>,
}

/// A stream's decoding time stamps in the clip.
#[derive(Clone, Copy, Debug)]
struct Track {
    first: Ticks,
    last: Ticks,
    frame: i64,
}

impl<R: Read + Seek> Looped<R> {
    /// Plays the input from its beginning.
    pub fn new(input: R) -> Self {
        Self {
            input,
            framer: Framer::default(),
            buffer: vec![0; READ],
            pass: Pass::default(),
            output: Vec::new(),
            read_to: 0,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.output.clear();
        self.read_to = 0;
        let read = self.input.read(&mut self.buffer)?;
        let (pass, output) = (&mut self.pass, &mut self.output);
        self.framer.push(&self.buffer[..read], |_, packet| pass.rewrite(packet, output));
        if read == 0 {
            self.pass.next().ok_or_else(|| {
                let text = "it has no time stamps, so it cannot be looped";
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            self.framer = Framer::default();
            self.input.seek(SeekFrom::Start(0))?;
        }
        Ok(())
    }
}

impl<R: Read + Seek> Read for Looped<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read_to == self.output.len() {
            self.refill()?;
        }
        let rest = self.output.get(self.read_to..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        self.read_to += length;
        Ok(length)
    }
}

impl Pass {
    fn rewrite(&mut self, packet: Packet<'_>, output: &mut Vec<u8>) {
        self.program.push(packet);
        let start = output.len();
        output.extend_from_slice(packet.bytes());
        let bytes = &mut output[start..];
        bytes[3] = bytes[3] & 0xf0 | self.count(packet);

        if let (Some(pcr), Some(at)) = (packet.pcr(), packet.pcr_at()) {
            let first = self.pcr.map_or(pcr, |(first, _)| first);
            self.pcr = Some((first, pcr));
            bytes[at].copy_from_slice(&clock::write_pcr(pcr + self.shift * PCR_PER_STAMP));
        }
        if let Some(stamps) = Stamps::find(packet) {
            if let Some(decode) = stamps.decode(packet) {
                self.track(packet.pid(), decode);
            }
            for at in [Some(stamps.pts), stamps.dts].into_iter().flatten() {
                if let Some(field) = bytes[at..].first_chunk_mut::<STAMP>() {
                    let stamp = clock::read_stamp(field) + self.shift;
                    clock::write_stamp(field, stamp % STAMP_WRAP);
                }
            }
        }
    }

    /// The packet's continuity counter. The first of a pass follows the last
    /// of the pass before; within a pass all keep their distance, so that a
    /// repeated packet stays one.
    fn count(&mut self, packet: Packet<'_>) -> u8 {
        let own = packet.continuity();
        let counter =
            self.counters.entry(packet.pid()).or_insert(Counter { last: own, shift: Some(0) });
        let next = counter.last.wrapping_add(u8::from(packet.has_payload()));
        let shift = *counter.shift.get_or_insert(next.wrapping_sub(own));
        counter.last = own.wrapping_add(shift) & 0x0f;
        counter.last
    }

    fn track(&mut self, pid: Pid, decode: Ticks) {
        let track = self.tracks.entry(pid).or_insert(Track {
            first: decode,
            last: decode,
            frame: USUAL_FRAME,
        });
        if let step @ 1..=MAX_FRAME = since(decode, track.last, STAMP_WRAP) {
            track.frame = step;
        }
        track.last = decode;
    }

    /// Ends a pass; `None` if it had no time stamps.
    fn next(&mut self) -> Option<()> {
        let period = self.period()?;
        self.shift = (self.shift + period) % STAMP_WRAP;
        self.pcr = None;
        self.tracks.clear();
        self.counters.values_mut().for_each(|counter| counter.shift = None);
        Some(())
    }

    /// How long after the beginning of this pass the next one begins: when
    /// the pictures end, or later if another stream or the PCR would go back.
    fn period(&self) -> Option<Ticks> {
        let video = self.program.pmt().and_then(|pmt| pmt.video());
        let lead = video.and_then(|video| self.tracks.get(&video.pid));
        let lead = lead.or_else(|| self.tracks.values().next())?;
        let (first, last) = self.pcr.unwrap_or_default();
        let clock_end = (last + PCR_PER_STAMP) / PCR_PER_STAMP;
        let ends = self.tracks.values().map(|track| (track.first, track.last, track.end()));
        let clock = (first / PCR_PER_STAMP, last / PCR_PER_STAMP, clock_end);
        let period = |first, end| (end + STAMP_WRAP - first) % STAMP_WRAP;
        Some(ends.chain([clock]).fold(
            period(lead.first, lead.end()),
            |longest, (first, last, end)| {
                let goes_back = since(first + longest, last, STAMP_WRAP) <= 0;
                if goes_back { period(first, end) } else { longest }
            },
        ))
    }
}

impl Track {
    /// When the next frame would be decoded.
    fn end(&self) -> Ticks {
        self.last.saturating_add_signed(self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::CLIP;
    use crate::ts::clock::{PCR_HZ, PCR_WRAP};
    use crate::ts::packet::{NULL_PID, PACKET};
    use crate::ts::pcr::Datagrams;
    use std::io::Cursor;
    use std::time::Duration;

    /// The clip's length: 120 frames at 25 fps.
    const LENGTH: Ticks = 48 * STAMP_HZ / 10;

    /// The clip with its clocks moved by so many ticks of 90 kHz.
    fn clip_from(shift: Ticks) -> Vec<u8> {
        let mut pass = Pass { shift, ..Pass::default() };
        let mut out = Vec::new();
        Framer::default().push(CLIP, |_, packet| pass.rewrite(packet, &mut out));
        out
    }

    fn passes(clip: &[u8], count: usize) -> Vec<u8> {
        let mut out = vec![0; count * clip.len()];
        Looped::new(Cursor::new(clip)).read_exact(&mut out).unwrap();
        out
    }

    fn packets(bytes: &[u8]) -> impl Iterator<Item = Packet<'_>> {
        bytes.chunks_exact(PACKET).map(|chunk| Packet::new(chunk).unwrap())
    }

    #[test]
    fn the_first_pass_is_the_clip() {
        assert_eq!(passes(CLIP, 1), CLIP);
    }

    #[test]
    fn counters_run_on() {
        let mut last = BTreeMap::new();
        // 1502, 200, 50 and 10 packets a pass: not all are multiples of 16.
        for packet in packets(&passes(CLIP, 5)).filter(|packet| packet.pid() != NULL_PID) {
            if let Some(before) = last.insert(packet.pid(), packet.continuity()) {
                let step = u8::from(packet.has_payload());
                assert_eq!(packet.continuity(), (before + step) & 0x0f, "PID {}", packet.pid());
            }
        }
        assert_eq!(last.len(), 5);
    }

    #[test]
    fn the_clock_runs_on_even_where_it_wraps() {
        for shift in [0, STAMP_WRAP - 2 * LENGTH] {
            let bytes = passes(&clip_from(shift), 4);
            let ticks: Vec<_> =
                packets(&bytes).enumerate().filter_map(|(n, p)| Some((n, p.pcr()?))).collect();
            for pair in ticks.windows(2) {
                let [(from, a), (to, b)] = pair else { unreachable!() };
                // 601,600 bit/s: 2.5 ms a packet.
                let expected = (to - from) as i64 * (PCR_HZ / 400) as i64;
                assert_eq!(since(*b, *a, PCR_WRAP), expected, "packet {to}");
            }
        }
    }

    #[test]
    fn frames_stay_evenly_spaced() {
        for shift in [0, STAMP_WRAP - 3 * LENGTH / 2] {
            let bytes = passes(&clip_from(shift), 3);
            for (pid, frame) in [(0x100, 3_600), (0x101, 2_160)] {
                let stamps: Vec<_> = packets(&bytes)
                    .filter(|packet| packet.pid() == pid)
                    .filter_map(|packet| Stamps::find(packet)?.decode(packet))
                    .collect();
                assert_eq!(stamps.len() as u64, 3 * LENGTH / frame);
                let even = |pair: &[Ticks]| since(pair[1], pair[0], STAMP_WRAP) == frame as i64;
                assert!(stamps.windows(2).all(even), "PID {pid}");
            }
        }
    }

    #[test]
    fn datagrams_leave_evenly_across_the_seam() {
        let looped = Looped::new(Cursor::new(CLIP));
        for (n, datagram) in Datagrams::new(looped).take(1_000).enumerate() {
            let expected = Duration::from_micros(n as u64 * 17_500);
            assert!(datagram.unwrap().at.abs_diff(expected) < Duration::from_micros(2));
        }
    }

    #[test]
    fn a_stream_longer_than_the_picture_makes_the_pass_longer() {
        // Without the pictures of its last second the clip is as long as its sound.
        let cut = CLIP.len() * 3 / 4 / PACKET;
        let short: Vec<u8> = packets(CLIP)
            .enumerate()
            .filter(|(n, packet)| *n < cut || packet.pid() != 0x100)
            .flat_map(|(_, packet)| *packet.bytes())
            .collect();
        let bytes = passes(&short, 2);
        let stamps: Vec<_> = packets(&bytes)
            .filter(|packet| packet.pid() == 0x101)
            .filter_map(|packet| Stamps::find(packet)?.decode(packet))
            .collect();
        assert!(stamps.windows(2).all(|pair| pair[1] == pair[0] + 2_160));
    }

    #[test]
    fn a_clip_without_time_stamps_is_refused() {
        for clip in [&b""[..], &CLIP[..3 * PACKET]] {
            let error = Looped::new(Cursor::new(clip)).read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
