//! Finds transport packets in a stream of bytes that may be cut anywhere.

use crate::ts::packet::{PACKET, Packet, SYNC};

/// Cuts bytes into transport packets. Junk between packets is skipped: a
/// packet counts after junk only when another one follows it.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Position in the stream of the first byte in `buffer`.
    position: u64,
    locked: bool,
}

impl Framer {
    /// Takes the stream's next bytes and hands over each packet that they
    /// complete, with its position in the stream.
    pub fn push(&mut self, bytes: &[u8], mut each: impl FnMut(u64, Packet<'_>)) {
        self.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(window) = self.buffer.get(at..at + PACKET) {
            let sync = window[0] == SYNC;
            match self.buffer.get(at + PACKET) {
                None if sync && !self.locked => break,
                Some(next) if sync && !self.locked => self.locked = *next == SYNC,
                _ => self.locked = sync,
            }
            match Packet::new(window) {
                Some(packet) if self.locked => {
                    each(self.position + at as u64, packet);
                    at += PACKET;
                }
                _ => at += 1,
            }
        }
        self.buffer.drain(..at);
        self.position += at as u64;
    }

    /// Takes bytes that are known to be whole packets.
    pub fn push_whole(&mut self, bytes: &[u8], each: impl FnMut(u64, Packet<'_>)) {
        self.skip(0);
        self.locked = true;
        self.push(bytes, each);
    }

    /// Counts bytes that are no part of the transport stream. What waits for
    /// its other half is given up.
    pub fn skip(&mut self, bytes: usize) {
        self.position += (self.buffer.len() + bytes) as u64;
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::packet::tests::packet;
    use quickcheck::quickcheck;

    fn frame<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> Vec<(u64, u16)> {
        let mut framer = Framer::default();
        let mut found = Vec::new();
        for cut in cuts {
            framer.push(cut, |at, packet| found.push((at, packet.pid())));
        }
        found
    }

    fn stream(packets: u16) -> Vec<u8> {
        (0..packets).flat_map(|pid| packet(pid, false, 1, 0, &[0; 9])).collect()
    }

    quickcheck! {
        fn cuts_do_not_matter(packets: u8, cuts: Vec<u8>) -> bool {
            let bytes = [&b"junk G"[..], &stream(packets.into()), b"more junk", &stream(3)].concat();
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, tail) = rest.split_at(usize::from(cut).min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            pieces.push(rest);
            frame(pieces) == frame([&bytes[..]])
        }
    }

    #[test]
    fn finds_every_packet_around_junk() {
        let bytes = [b"junk", &stream(2)[..], b"xG", &stream(3)].concat();
        let at = |n: u64| 4 + 188 * n;
        let found = frame([&bytes[..]]);
        assert_eq!(found, [(at(0), 0), (at(1), 1), (at(2) + 2, 0), (at(3) + 2, 1), (at(4) + 2, 2)]);
    }

    #[test]
    fn whole_packets_need_no_second_one() {
        let mut framer = Framer::default();
        let mut found = 0;
        framer.skip(12);
        framer.push_whole(&stream(1), |at, _| found = at);
        assert_eq!(found, 12);
    }
}
