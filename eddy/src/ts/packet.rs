//! The transport packet: 188 bytes with a header, an optional adaptation
//! field and a payload (ISO/IEC 13818-1, 2.4.3).

use std::ops::Range;

use crate::ts::clock::{self, Ticks};

/// Bytes of a transport packet.
pub const PACKET: usize = 188;
/// The first byte of every transport packet.
pub const SYNC: u8 = 0x47;
/// Bytes of the datagram that every encoder and player expects: seven packets,
/// the most that fit an Ethernet frame.
pub const DATAGRAM: usize = 7 * PACKET;

/// Which stream of the multiplex a packet belongs to: 13 bits.
pub type Pid = u16;
/// The stream of packets that only fill up the bit rate.
pub const NULL_PID: Pid = 0x1fff;

/// Bytes before the adaptation field or the payload.
const HEADER: usize = 4;

/// A transport packet, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a>(&'a [u8; PACKET]);

impl<'a> Packet<'a> {
    /// A packet from exactly 188 bytes that begin with the sync byte.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; PACKET] = bytes.try_into().ok()?;
        (bytes[0] == SYNC).then_some(Self(bytes))
    }

    /// The whole packet.
    pub fn bytes(self) -> &'a [u8; PACKET] {
        self.0
    }

    /// Its stream.
    pub fn pid(self) -> Pid {
        u16::from_be_bytes([self.0[1] & 0x1f, self.0[2]])
    }

    /// Whether a PES packet or a section starts in it (`payload_unit_start_indicator`).
    pub fn unit_start(self) -> bool {
        self.0[1] & 0x40 != 0
    }

    /// Its 4-bit count within its PID; it grows only with packets that carry payload.
    pub fn continuity(self) -> u8 {
        self.0[3] & 0x0f
    }

    /// Whether it carries payload.
    pub fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// Whether decoding can begin here (`random_access_indicator`).
    pub fn random_access(self) -> bool {
        self.flags() & 0x40 != 0
    }

    /// Whether clock or counter jump here on purpose (`discontinuity_indicator`).
    pub fn discontinuity(self) -> bool {
        self.flags() & 0x80 != 0
    }

    /// The program clock reference, if it carries one.
    pub fn pcr(self) -> Option<Ticks> {
        let at = self.pcr_at()?;
        Some(clock::read_pcr(self.0.get(at)?.try_into().ok()?))
    }

    /// Where in the packet its PCR stands.
    pub fn pcr_at(self) -> Option<Range<usize>> {
        let field = self.adaptation();
        (field.len() >= 7 && self.flags() & 0x10 != 0).then_some(HEADER + 2..HEADER + 8)
    }

    /// Where in the packet its payload stands; empty if there is none.
    pub fn payload_at(self) -> Range<usize> {
        if !self.has_payload() {
            return PACKET..PACKET;
        }
        let skip = if self.has_adaptation() { 1 + usize::from(self.0[HEADER]) } else { 0 };
        (HEADER + skip).min(PACKET)..PACKET
    }

    /// Its payload; empty if there is none.
    pub fn payload(self) -> &'a [u8] {
        self.0.get(self.payload_at()).unwrap_or_default()
    }

    fn has_adaptation(self) -> bool {
        self.0[3] & 0x20 != 0
    }

    /// The adaptation field after its length byte; empty if it has none or lies about its length.
    fn adaptation(self) -> &'a [u8] {
        if !self.has_adaptation() {
            return &[];
        }
        let length = usize::from(self.0[HEADER]);
        self.0.get(HEADER + 1..HEADER + 1 + length).unwrap_or_default()
    }

    fn flags(self) -> u8 {
        self.adaptation().first().copied().unwrap_or(0)
    }
}

/// Where in a datagram its transport packets stand: all of it, or what
/// follows an RTP header (RFC 3550, RFC 2250). `None` if it does not hold
/// whole transport packets.
pub fn packets_in(datagram: &[u8]) -> Option<Range<usize>> {
    let from = if datagram.first() == Some(&SYNC) { 0 } else { rtp_header(datagram)? };
    let body = datagram.get(from..)?;
    let whole = !body.is_empty()
        && body.len() % PACKET == 0
        && body.chunks_exact(PACKET).all(|packet| packet[0] == SYNC);
    whole.then_some(from..datagram.len())
}

/// Length of the RTP header that a datagram begins with.
fn rtp_header(datagram: &[u8]) -> Option<usize> {
    let first = *datagram.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let fixed = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 == 0 {
        return Some(fixed);
    }
    let words = u16::from_be_bytes(datagram.get(fixed + 2..fixed + 4)?.try_into().ok()?);
    Some(fixed + 4 + 4 * usize::from(words))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// A packet for tests: `body` is adaptation field and payload as they stand in the packet.
    pub(crate) fn packet(pid: Pid, start: bool, control: u8, cc: u8, body: &[u8]) -> [u8; PACKET] {
        let mut bytes = [0xff; PACKET];
        bytes[0] = SYNC;
        bytes[1] = (pid >> 8) as u8 | if start { 0x40 } else { 0 };
        bytes[2] = pid as u8;
        bytes[3] = control << 4 | cc & 0x0f;
        bytes[4..4 + body.len()].copy_from_slice(body);
        bytes
    }

    #[test]
    fn reads_the_fields_of_a_packet() {
        let mut body = vec![7, 0xd0];
        body.extend(clock::write_pcr(27_000_123));
        body.extend([0, 0, 1]);
        let bytes = packet(0x1abc, true, 3, 9, &body);
        let packet = Packet::new(&bytes).unwrap();
        assert_eq!((packet.pid(), packet.continuity()), (0x1abc, 9));
        assert!(packet.unit_start() && packet.has_payload());
        assert!(packet.random_access() && packet.discontinuity());
        assert_eq!(packet.pcr(), Some(27_000_123));
        assert_eq!(packet.payload().get(..3), Some(&[0, 0, 1][..]));
        assert_eq!(packet.payload().len(), PACKET - 12);
    }

    #[test]
    fn an_adaptation_field_that_lies_is_empty() {
        let bytes = packet(5, false, 3, 0, &[200, 0xff]);
        let packet = Packet::new(&bytes).unwrap();
        assert_eq!((packet.pcr(), packet.random_access()), (None, false));
        assert!(packet.payload().is_empty());
    }

    #[test]
    fn finds_transport_packets_behind_rtp() {
        let ts = [packet(1, false, 1, 0, &[]), packet(2, false, 1, 0, &[])].concat();
        assert_eq!(packets_in(&ts), Some(0..376));
        let plain = [&[0x80, 33, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4][..], &ts].concat();
        assert_eq!(packets_in(&plain), Some(12..388));
        let source_and_extension =
            [&[0x91, 33][..], &[0; 14], &[0, 0, 0, 1], &[0; 4], &ts].concat();
        assert_eq!(packets_in(&source_and_extension), Some(24..400));
        assert_eq!(packets_in(&ts[1..]), None);
        assert_eq!(packets_in(b"GET / HTTP/1.1"), None);
        assert_eq!(packets_in(&[]), None);
    }

    quickcheck! {
        fn garbage_never_panics(bytes: Vec<u8>) -> bool {
            let mut raw = [SYNC; PACKET];
            raw.iter_mut().skip(1).zip(&bytes).for_each(|(to, from)| *to = *from);
            let packet = Packet::new(&raw).unwrap();
            let _ = (packet.pcr(), packet.payload(), packet.random_access());
            packets_in(&bytes).is_none_or(|at| at.end == bytes.len())
        }
    }
}
