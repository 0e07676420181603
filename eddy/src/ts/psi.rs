//! What is in the multiplex: PAT and PMT (ISO/IEC 13818-1, 2.4.4).

use crate::ts::packet::{NULL_PID, Packet, Pid};

/// PID of the PAT.
pub const PAT_PID: Pid = 0;
/// Longest section of a PAT or PMT, header included.
const MAX_SECTION: usize = 1024;

/// The first program of a multiplex, learnt from its packets.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pmt_pid: Option<Pid>,
    pmt: Option<Pmt>,
    pat_section: Section,
    pmt_section: Section,
}

/// A table that a packet completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Which programs there are.
    Pat,
    /// Which streams make up the program.
    Pmt,
}

/// The program's streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pmt {
    /// The stream that carries the PCR; `None` if the program has no clock.
    pub pcr_pid: Option<Pid>,
    /// The elementary streams.
    pub streams: Vec<Stream>,
}

/// An elementary stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its PID.
    pub pid: Pid,
    /// Its coding (ISO/IEC 13818-1, table 2-34).
    pub kind: u8,
}

/// Coding of an MPEG-2 video stream; MPEG-1's is one less.
pub const MPEG2_VIDEO: u8 = 0x02;
/// Coding of an H.264 stream.
pub const H264: u8 = 0x1b;
/// Coding of an H.265 stream.
pub const H265: u8 = 0x24;

impl Stream {
    /// Whether it is a picture.
    pub fn is_video(&self) -> bool {
        // After H.264: MPEG-4 part 2, JPEG 2000, H.265 and H.266, AVS.
        matches!(self.kind, 0x01 | MPEG2_VIDEO | 0x10 | H264 | 0x21 | H265 | 0x33 | 0x42 | 0xd2)
    }
}

impl Program {
    /// Takes a packet; says which table it completed.
    pub fn push(&mut self, packet: Packet<'_>) -> Option<Table> {
        if packet.pid() == PAT_PID {
            let section = self.pat_section.push(packet, 0x00)?;
            self.pmt_pid = Some(first_program(section)?);
            Some(Table::Pat)
        } else if Some(packet.pid()) == self.pmt_pid {
            let section = self.pmt_section.push(packet, 0x02)?;
            self.pmt = Some(pmt(section)?);
            Some(Table::Pmt)
        } else {
            None
        }
    }

    /// The newest PMT.
    pub fn pmt(&self) -> Option<&Pmt> {
        self.pmt.as_ref()
    }
}

impl Pmt {
    /// The program's first video stream.
    pub fn video(&self) -> Option<Stream> {
        self.streams.iter().copied().find(Stream::is_video)
    }
}

/// A section put together from packets.
#[derive(Clone, Debug, Default)]
struct Section(Vec<u8>);

impl Section {
    /// Takes a packet; returns what lies between the section's header and its
    /// checksum once it is whole and sound.
    fn push(&mut self, packet: Packet<'_>, table: u8) -> Option<&[u8]> {
        let payload = packet.payload();
        if packet.unit_start() {
            let skip = 1 + usize::from(*payload.first()?);
            self.0.clear();
            self.0.extend_from_slice(payload.get(skip..)?);
        } else if !self.0.is_empty() && self.0.len() <= MAX_SECTION {
            self.0.extend_from_slice(payload);
        }
        let length = usize::from(u16::from_be_bytes(self.0.get(1..3)?.try_into().ok()?) & 0x0fff);
        let section = self.0.get(..3 + length)?;
        let sound = section.first() == Some(&table) && crc(section) == 0;
        section.get(8..section.len().saturating_sub(4)).filter(|_| sound)
    }
}

/// The PMT's PID of the first program that a PAT lists; number 0 is the network's own table.
fn first_program(pat: &[u8]) -> Option<Pid> {
    let entries = pat.chunks_exact(4).map(|entry| {
        (
            u16::from_be_bytes([entry[0], entry[1]]),
            u16::from_be_bytes([entry[2], entry[3]]) & 0x1fff,
        )
    });
    entries.filter(|(number, _)| *number != 0).map(|(_, pid)| pid).next()
}

fn pmt(body: &[u8]) -> Option<Pmt> {
    let pid = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?) & 0x1fff);
    let length = |at: usize| Some(usize::from(pid(at)? & 0x0fff));
    let pcr_pid = pid(0)?;
    let mut at = 4 + length(2)?;
    let mut streams = Vec::new();
    while let Some(kind) = body.get(at) {
        streams.push(Stream { kind: *kind, pid: pid(at + 1)? });
        at += 5 + length(at + 3)?;
    }
    Some(Pmt { pcr_pid: (pcr_pid != NULL_PID).then_some(pcr_pid), streams })
}

/// CRC-32/MPEG-2; zero over a section with its checksum.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ts::packet::PACKET;
    use crate::ts::packet::tests::packet;

    fn section(table: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![table, 0xb0, (body.len() + 9) as u8, 0, 1, 0xc1, 0, 0];
        bytes.extend_from_slice(body);
        let crc = crc(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// A PAT packet for tests: one program, whose PMT has the PID 0x100.
    pub(crate) fn pat_packet(cc: u8) -> [u8; PACKET] {
        let body = section(0, &[0, 0, 0xe0, 0x10, 0, 1, 0xe1, 0x00]);
        packet(PAT_PID, true, 1, cc, &[&[0], &body[..]].concat())
    }

    /// A PMT packet for tests: streams as (coding, PID), the PCR on the first.
    pub(crate) fn pmt_packet(cc: u8, streams: &[(u8, Pid)]) -> [u8; PACKET] {
        let mut body = vec![0xe0 | (streams[0].1 >> 8) as u8, streams[0].1 as u8, 0xf0, 2, 0x52, 0];
        for (kind, pid) in streams {
            body.extend([*kind, 0xe0 | (pid >> 8) as u8, *pid as u8, 0xf0, 1, 7]);
        }
        packet(0x100, true, 1, cc, &[&[0], &section(2, &body)[..]].concat())
    }

    fn learn<'a>(packets: impl IntoIterator<Item = &'a [u8; PACKET]>) -> (Program, Vec<Table>) {
        let mut program = Program::default();
        let tables =
            packets.into_iter().filter_map(|p| program.push(Packet::new(p).unwrap())).collect();
        (program, tables)
    }

    #[test]
    fn learns_the_first_program() {
        let (program, tables) =
            learn(&[pat_packet(0), pmt_packet(0, &[(0x0f, 0x102), (H264, 0x101)])]);
        assert_eq!(tables, [Table::Pat, Table::Pmt]);
        let pmt = program.pmt().unwrap();
        assert_eq!(pmt.pcr_pid, Some(0x102));
        assert_eq!(pmt.video(), Some(Stream { kind: H264, pid: 0x101 }));
    }

    #[test]
    fn a_damaged_table_does_not_count() {
        let mut pat = pat_packet(0);
        pat[16] ^= 1;
        let (program, tables) = learn(&[pat, pmt_packet(0, &[(H264, 0x101)])]);
        assert!(tables.is_empty() && program.pmt().is_none());
    }

    #[test]
    fn a_section_may_span_packets() {
        let streams: Vec<_> =
            (0..40).map(|n| (if n == 39 { H265 } else { 6 }, 0x200 + n)).collect();
        let mut body = vec![0xff, 0xff, 0xf0, 0];
        for (kind, pid) in &streams {
            body.extend([*kind, 0xe0 | (pid >> 8) as u8, *pid as u8, 0xf0, 0]);
        }
        let bytes = [&[0], &section(2, &body)[..]].concat();
        let (head, tail) = bytes.split_at(184);
        let (program, tables) = learn(&[
            pat_packet(0),
            packet(0x100, true, 1, 0, head),
            packet(0x100, false, 1, 1, tail),
        ]);
        assert_eq!(tables, [Table::Pat, Table::Pmt]);
        let pmt = program.pmt().unwrap();
        assert_eq!((pmt.pcr_pid, pmt.streams.len()), (None, 40));
        assert_eq!(pmt.video().unwrap().pid, 0x200 + 39);
    }
}
