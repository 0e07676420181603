//! Where a viewer's output begins: at a PAT, the PMT and a picture that needs
//! no earlier one, so that any player starts without an error.

use std::collections::VecDeque;
use std::time::Duration;

use eddy_core::Time;
use smallvec::SmallVec;

use crate::pace::Timed;
use crate::ts::packet::{PACKET, Packet, Pid, packets_in};
use crate::ts::psi::{H264, H265, MPEG2_VIDEO, PAT_PID, Pmt, Program, Table};
use crate::ts::sync::Framer;

/// Longest wait for a picture to begin with. x264's default GOP, 250 frames, lasts 10 s.
const MAX_WAIT: Duration = Duration::from_secs(12);
/// Most bytes held back.
const MAX_HELD: usize = 4 << 20;
/// How long, and over how many bytes, input may hide that it is a transport stream.
const SNIFF_WAIT: Duration = Duration::from_secs(2);
/// See [`SNIFF_WAIT`].
const SNIFF_BYTES: u64 = 64 << 10;

/// Packets that may leave now.
pub type Passed = SmallVec<[Timed; 1]>;

/// Holds packets back until one comes that a player can begin with.
///
/// What leaves is a contiguous range of the input, byte for byte, and nothing
/// is held back after the start. The first datagram is cut at the border of a
/// transport packet, unless it is RTP. Input that is no transport stream
/// passes from its first byte on; a transport stream without a place to begin
/// passes from its newest PAT on, after 12 s or 4 MiB.
#[derive(Clone, Debug)]
pub struct Start {
    /// `None` once the output has begun.
    search: Option<Search>,
}

#[derive(Clone, Debug, Default)]
struct Search {
    scan: Scan,
    framer: Framer,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Bytes taken so far.
    taken: u64,
    began: Option<Time>,
}

/// What the transport packets have told.
#[derive(Clone, Debug, Default)]
struct Scan {
    program: Program,
    packets: u64,
    /// Where the newest PAT begins.
    pat: Option<u64>,
    /// Whether a PMT came after that PAT.
    described: bool,
    /// Whether a picture to begin with came after that PMT.
    found: bool,
}

#[derive(Clone, Debug)]
struct Held {
    position: u64,
    packet: Timed,
    /// Whether it may be cut: RTP's packets stay whole.
    divisible: bool,
}

impl Start {
    /// Starts at the first place that suits a player.
    pub fn clean() -> Self {
        Self { search: Some(Search::default()) }
    }

    /// Starts at the first packet, whatever it is.
    pub fn any() -> Self {
        Self { search: None }
    }

    /// Whether the output has begun.
    pub fn begun(&self) -> bool {
        self.search.is_none()
    }

    /// Takes the next packet and returns those that may leave, in order.
    /// `at` is the packet's time on any clock that runs evenly; stream time does.
    pub fn push(&mut self, at: Time, packet: Timed) -> Passed {
        let Some(search) = &mut self.search else {
            return SmallVec::from_buf([packet]);
        };
        search.take(packet);
        if !search.is_over(at) {
            return Passed::new();
        }
        let passed = search.held.drain(..).map(|held| held.packet).collect();
        self.search = None;
        passed
    }
}

impl Search {
    fn take(&mut self, packet: Timed) {
        let bytes = packet.payload.clone();
        let (scan, framer) = (&mut self.scan, &mut self.framer);
        let each = |at, packet: Packet<'_>| scan.push(at, packet);
        let mut divisible = true;
        match packets_in(&bytes) {
            Some(at) => {
                divisible = at.start == 0;
                framer.skip(at.start);
                framer.push_whole(&bytes[at], each);
            }
            // Perhaps a transport stream that was cut without regard to its packets.
            None => framer.push(&bytes, each),
        }
        self.held.push_back(Held { position: self.taken, packet, divisible });
        self.held_bytes += bytes.len();
        self.taken += bytes.len() as u64;
        if let Some(pat) = self.scan.pat {
            self.forget_before(pat);
        }
    }

    fn is_over(&mut self, at: Time) -> bool {
        let waited = at.since(*self.began.get_or_insert(at));
        let sniffed = waited >= SNIFF_WAIT || self.taken >= SNIFF_BYTES;
        let foreign = self.scan.packets * (2 * PACKET as u64) < self.taken;
        self.scan.found || sniffed && foreign || waited >= MAX_WAIT || self.held_bytes >= MAX_HELD
    }

    /// Drops what lies before a position of the stream.
    fn forget_before(&mut self, position: u64) {
        while let Some(first) = self.held.front_mut() {
            let length = first.packet.payload.len();
            if first.position + length as u64 <= position {
                self.held_bytes -= length;
                self.held.pop_front();
                continue;
            }
            if first.divisible && first.position < position {
                let cut = (position - first.position) as usize;
                first.packet.payload = first.packet.payload.slice(cut..);
                first.position = position;
                self.held_bytes -= cut;
            }
            return;
        }
    }
}

impl Scan {
    fn push(&mut self, position: u64, packet: Packet<'_>) {
        self.packets += 1;
        if self.found {
            return;
        }
        if packet.pid() == PAT_PID && packet.unit_start() {
            self.pat = Some(position);
            self.described = false;
        }
        if self.program.push(packet) == Some(Table::Pmt) {
            self.described = self.pat.is_some();
        }
        self.found = self.described && self.program.pmt().is_some_and(|pmt| can_begin(pmt, packet));
    }
}

/// Whether a player can begin with this packet: a picture that needs no
/// earlier one or, in a program without pictures, any frame.
fn can_begin(pmt: &Pmt, packet: Packet<'_>) -> bool {
    match pmt.video() {
        Some(video) => {
            packet.pid() == video.pid && (packet.random_access() || is_key(video.kind, packet))
        }
        None => {
            let among = |pid: Pid| pmt.streams.iter().any(|stream| stream.pid == pid);
            packet.unit_start() && among(packet.pid())
        }
    }
}

/// Whether a key picture starts in this packet, told from its coding. A
/// sequence header or parameter set counts too: it stands before every key
/// picture, whose own first byte may only come with a later packet.
fn is_key(kind: u8, packet: Packet<'_>) -> bool {
    let pes = packet.payload();
    if !packet.unit_start() || !pes.starts_with(&[0, 0, 1]) {
        return false;
    }
    let coded = pes.get(8).and_then(|length| pes.get(9 + usize::from(*length)..));
    let key = |unit: u8| match kind {
        // IDR slice, SPS.
        H264 => matches!(unit & 0x1f, 5 | 7),
        // IRAP slices, VPS, SPS.
        H265 => matches!(unit >> 1 & 0x3f, 16..=23 | 32 | 33),
        // Sequence header.
        MPEG2_VIDEO | 0x01 => unit == 0xb3,
        _ => false,
    };
    coded.unwrap_or_default().windows(4).any(|four| four.starts_with(&[0, 0, 1]) && key(four[3]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::CLIP;
    use crate::ts::packet::tests::packet;
    use crate::ts::psi::tests::{pat_packet, pmt_packet};
    use bytes::Bytes;

    const VIDEO: Pid = 0x101;
    const AUDIO: Pid = 0x102;
    const BOTH: [(u8, Pid); 2] = [(H264, VIDEO), (0x0f, AUDIO)];

    fn picture(nal: &[u8]) -> [u8; PACKET] {
        let pes = [&[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0, 0, 0, 0, 1, 9, 0xf0], nal].concat();
        packet(VIDEO, true, 1, 0, &pes)
    }

    fn idr() -> [u8; PACKET] {
        picture(&[0, 0, 1, 0x65, 0x88])
    }

    fn other() -> [u8; PACKET] {
        picture(&[0, 0, 1, 0x41, 0x9a])
    }

    fn marked() -> [u8; PACKET] {
        packet(VIDEO, true, 3, 0, &[1, 0x40, 0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0])
    }

    fn sound() -> [u8; PACKET] {
        packet(AUDIO, true, 1, 0, &[0, 0, 1, 0xc0, 0, 0, 0x80, 0, 0])
    }

    /// Pushes datagrams a millisecond apart and joins what leaves.
    fn run<T: AsRef<[u8]>>(start: &mut Start, datagrams: impl IntoIterator<Item = T>) -> Vec<u8> {
        let mut out = Vec::new();
        for (n, bytes) in datagrams.into_iter().enumerate() {
            let payload = Bytes::copy_from_slice(bytes.as_ref());
            let at = Time::from_millis(1_000 + n as u64);
            for passed in start.push(at, Timed { due: Some(at), payload }) {
                out.extend_from_slice(&passed.payload);
            }
        }
        out
    }

    #[test]
    fn begins_at_the_last_pat_before_a_key_picture() {
        for key in [idr(), marked(), picture(&[0, 0, 1, 0x67, 0x4d])] {
            let pmt = pmt_packet(0, &BOTH);
            let early = [idr(), pat_packet(0), idr(), pmt, other(), sound()];
            let wanted = [pat_packet(1), sound(), pmt, other(), key, sound()];
            let input = [early, wanted].concat();
            let out = run(&mut Start::clean(), &input);
            assert_eq!(out, wanted.concat(), "one packet a datagram");
            let out = run(&mut Start::clean(), input.concat().chunks(5 * PACKET));
            assert_eq!(out, wanted.concat(), "five packets a datagram");
            let out = run(&mut Start::clean(), input.concat().chunks(1472));
            assert_eq!(out, wanted.concat(), "datagrams that cut packets");
        }
    }

    #[test]
    fn every_pat_needs_its_own_pmt() {
        let pmt = pmt_packet(0, &BOTH);
        let wanted = [pat_packet(2), pmt, idr()];
        let input = [&[pat_packet(0), pmt, other(), pat_packet(1), idr()], &wanted[..]].concat();
        assert_eq!(run(&mut Start::clean(), &input), wanted.concat());
    }

    #[test]
    fn after_the_start_everything_passes_at_once() {
        let mut start = Start::clean();
        run(&mut start, [pat_packet(0), pmt_packet(0, &BOTH), idr()]);
        assert!(start.begun());
        assert_eq!(run(&mut start, [&b"anything"[..], b"", b"else"]), b"anythingelse");
    }

    #[test]
    fn due_times_stay_with_their_packets() {
        let mut start = Start::clean();
        let mut due = Vec::new();
        let input = [other(), pat_packet(0), pmt_packet(0, &BOTH), idr()];
        for (n, bytes) in input.iter().enumerate() {
            let packet = Timed {
                due: Some(Time::from_secs(n as u64)),
                payload: Bytes::copy_from_slice(bytes),
            };
            due.extend(start.push(Time::ZERO, packet).into_iter().map(|p| p.due.unwrap()));
        }
        assert_eq!(due, [1, 2, 3].map(Time::from_secs));
    }

    #[test]
    fn rtp_datagrams_stay_whole() {
        let rtp = |body: &[[u8; PACKET]]| [&[0x80, 33][..], &[0; 10], &body.concat()].concat();
        let wanted =
            [rtp(&[other(), pat_packet(0)]), rtp(&[pmt_packet(0, &BOTH), idr()]), rtp(&[sound()])];
        let input = [&[rtp(&[sound(), other()])], &wanted[..]].concat();
        assert_eq!(run(&mut Start::clean(), &input), wanted.concat());
    }

    #[test]
    fn sound_alone_begins_with_any_frame() {
        let pmt = pmt_packet(0, &[(0x0f, AUDIO)]);
        let wanted = [pat_packet(0), pmt, sound()];
        let out = run(&mut Start::clean(), [&[sound()], &wanted[..]].concat());
        assert_eq!(out, wanted.concat());
    }

    #[test]
    fn h265_and_mpeg2_key_pictures_are_known() {
        let at = |kind, unit: u8| {
            let first = picture(&[0, 0, 1, unit]);
            is_key(kind, Packet::new(&first).unwrap())
        };
        assert!(at(H265, 19 << 1) && at(H265, 21 << 1) && at(H265, 32 << 1) && !at(H265, 1 << 1));
        assert!(at(MPEG2_VIDEO, 0xb3) && !at(MPEG2_VIDEO, 0x00));
    }

    #[test]
    fn input_that_is_no_transport_stream_passes_from_its_first_byte() {
        let mut start = Start::clean();
        let text: Vec<u8> = (0..SNIFF_BYTES).map(|n| b"Good morning. "[n as usize % 14]).collect();
        let out = run(&mut start, text[..60_000].chunks(1_000));
        assert!(out.is_empty() && !start.begun());
        assert_eq!(run(&mut start, [&text[60_000..]]), text);

        let mut slow = Start::clean();
        let line = |at| (at, Timed { due: None, payload: Bytes::from_static(b"tick") });
        let passed = [0, 1_999, 2_000].map(|ms| {
            let (at, packet) = line(Time::from_millis(5_000 + ms));
            slow.push(at, packet).len()
        });
        assert_eq!(passed, [0, 0, 3]);
    }

    #[test]
    fn without_a_key_picture_it_gives_up_at_the_newest_pat() {
        let mut start = Start::clean();
        let push = |start: &mut Start, seconds, bytes: &[u8; PACKET]| -> Vec<u8> {
            let payload = Bytes::copy_from_slice(bytes);
            let passed = start.push(Time::from_secs(seconds), Timed { due: None, payload });
            passed.iter().flat_map(|p| p.payload.to_vec()).collect()
        };
        for seconds in 1..13 {
            let bytes = [pat_packet(0), pmt_packet(0, &BOTH), other()][seconds as usize % 3];
            assert!(push(&mut start, seconds, &bytes).is_empty());
        }
        let out = push(&mut start, 13, &other());
        assert_eq!(out, [pat_packet(0), other()].concat());
    }

    #[test]
    fn memory_is_bounded() {
        let mut start = Start::clean();
        let mut pushed = 0;
        while !start.begun() {
            let bytes = if pushed == 0 { pat_packet(0) } else { other() };
            run(&mut start, [bytes]);
            pushed += PACKET;
            assert!(pushed <= MAX_HELD + PACKET);
        }
    }

    #[test]
    fn what_a_newer_pat_made_useless_does_not_count() {
        let mut start = Start::clean();
        let payload = Bytes::from([other(), pat_packet(0)].concat());
        for _ in 0..MAX_HELD / PACKET + 1 {
            let packet = Timed { due: None, payload: payload.clone() };
            assert!(start.push(Time::ZERO, packet).is_empty());
        }
    }

    #[test]
    fn joins_the_clip_anywhere() {
        let packets = CLIP.len() / PACKET;
        for skip in [1, 4, 100, 500, 1_000] {
            let from = skip * PACKET;
            let out = run(&mut Start::clean(), CLIP[from..].chunks(1316));
            assert!(CLIP.ends_with(&out), "contiguous to the end, from packet {skip}");
            let lost = packets - skip - out.len() / PACKET;
            assert!(lost < packets / 5 + 50, "{lost} packets lost from {skip} on");
            assert_eq!(Packet::new(&out[..PACKET]).unwrap().pid(), PAT_PID);
        }
    }
}
