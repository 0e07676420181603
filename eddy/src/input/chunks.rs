//! Cuts a stream of bytes into datagrams.

use bytes::{Bytes, BytesMut};

use crate::ts::packet::{DATAGRAM, PACKET, SYNC};

/// Cuts a transport stream into datagrams of seven packets. What is none is
/// cut where the reads were, and into pieces of that length. No byte is lost.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// What waits for the rest of its datagram.
    waiting: BytesMut,
    /// Whether `waiting` begins where a packet does.
    in_step: bool,
}

impl Chunks {
    /// Takes the next bytes; returns the datagrams that are whole.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Bytes> {
        self.waiting.extend_from_slice(bytes);
        let mut datagrams = Vec::new();
        while !self.waiting.is_empty() {
            if !self.in_step {
                let junk = find_step(&self.waiting);
                self.take(junk.unwrap_or(self.waiting.len()), &mut datagrams);
                self.in_step = junk.is_some();
                continue;
            }
            let lost = self.waiting.chunks(PACKET).take(7).position(|packet| packet[0] != SYNC);
            match lost {
                Some(packets) => {
                    self.take(packets * PACKET, &mut datagrams);
                    self.in_step = false;
                }
                None if self.waiting.len() >= DATAGRAM => self.take(DATAGRAM, &mut datagrams),
                None => break,
            }
        }
        datagrams
    }

    /// The whole packets that wait: nothing follows for a while.
    pub(crate) fn pause(&mut self) -> Vec<Bytes> {
        let mut datagrams = Vec::new();
        self.take(self.waiting.len() / PACKET * PACKET, &mut datagrams);
        datagrams
    }

    /// Everything that waits: nothing follows.
    pub(crate) fn end(&mut self) -> Vec<Bytes> {
        let mut datagrams = Vec::new();
        self.take(self.waiting.len(), &mut datagrams);
        datagrams
    }

    fn take(&mut self, length: usize, datagrams: &mut Vec<Bytes>) {
        let taken = self.waiting.split_to(length);
        datagrams.extend(taken.chunks(DATAGRAM).map(Bytes::copy_from_slice));
    }
}

/// Where the first packet begins that another one follows.
fn find_step(bytes: &[u8]) -> Option<usize> {
    let next = bytes.get(PACKET..).unwrap_or_default();
    bytes.iter().zip(next).position(|pair| pair == (&SYNC, &SYNC))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ts::CLIP;
    use quickcheck::quickcheck;

    fn cut(reads: &[&[u8]]) -> Vec<Bytes> {
        let mut chunks = Chunks::default();
        let mut datagrams: Vec<_> = reads.iter().flat_map(|read| chunks.push(read)).collect();
        datagrams.extend(chunks.end());
        datagrams
    }

    quickcheck! {
        fn no_byte_is_lost_and_none_is_too_long(reads: Vec<Vec<u8>>, clip: bool) -> bool {
            let mut reads: Vec<_> = reads.iter().map(Vec::as_slice).collect();
            if clip {
                reads.insert(reads.len() / 2, &CLIP[..5_000]);
            }
            let datagrams = cut(&reads);
            datagrams.concat() == reads.concat() && datagrams.iter().all(|d| d.len() <= DATAGRAM)
        }
    }

    #[test]
    fn a_transport_stream_leaves_in_sevens() {
        for length in [190, 1_000, 1_316, 4_096, 65_536] {
            let reads: Vec<_> = CLIP.chunks(length).collect();
            let datagrams = cut(&reads);
            assert!(datagrams.iter().all(|d| d[0] == SYNC && d.len() % PACKET == 0));
            let sevens = datagrams.iter().filter(|d| d.len() == DATAGRAM).count();
            assert!(sevens >= CLIP.len() / DATAGRAM - 1, "{sevens} of {}", datagrams.len());
        }
    }

    #[test]
    fn finds_its_step_again_after_junk() {
        let junk = [0; 50];
        let datagrams = cut(&[&CLIP[100..3_008], &junk[..], &CLIP[3_008..6_016]]);
        let lengths: Vec<_> = datagrams.iter().map(Bytes::len).collect();
        // 15 packets less the one that was cut, a rest of it and of the junk.
        assert_eq!(lengths, [88, 1_316, 1_316, 188, 50, 1_316, 1_316, 376]);
    }

    #[test]
    fn what_is_no_transport_stream_is_cut_where_the_reads_were() {
        let datagrams = cut(&[b"Good ", b"morning", &[b'x'; 1_400]]);
        let lengths: Vec<_> = datagrams.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [5, 7, 1_316, 84]);
    }

    #[test]
    fn a_pause_hands_over_whole_packets_only() {
        let mut chunks = Chunks::default();
        assert!(chunks.push(&CLIP[..500]).is_empty());
        assert_eq!(chunks.pause(), [&CLIP[..376]]);
        assert_eq!(chunks.push(&CLIP[500..1_692]), [&CLIP[376..1_692]]);
    }
}
