//! The two clocks of a transport stream: the PCR, in ticks of 27 MHz, and
//! the time stamps of pictures and sound, in ticks of 90 kHz. Both wrap
//! around together, after 26 and a half hours.

use std::time::Duration;

use crate::ts::packet::Packet;

/// Ticks of 27 MHz (PCR) or of 90 kHz (PTS, DTS), as the name of the value says.
pub type Ticks = u64;

/// Time stamps are counted modulo this (33 bits of 90 kHz).
pub const STAMP_WRAP: Ticks = 1 << 33;
/// The PCR is counted modulo this.
pub const PCR_WRAP: Ticks = STAMP_WRAP * PCR_PER_STAMP;
/// Ticks of the PCR in a tick of a time stamp.
pub const PCR_PER_STAMP: Ticks = 300;
/// Ticks of the PCR in a second.
pub const PCR_HZ: Ticks = 27_000_000;
/// Ticks of a time stamp in a second.
pub const STAMP_HZ: Ticks = 90_000;

/// How far `later` lies after `earlier` on a clock that wraps: the shorter
/// way round, negative if `later` lies before.
pub fn since(later: Ticks, earlier: Ticks, wrap: Ticks) -> i64 {
    let ahead = (later % wrap + wrap - earlier % wrap) % wrap;
    if ahead <= wrap / 2 { ahead as i64 } else { ahead as i64 - wrap as i64 }
}

/// A number of PCR ticks as a duration.
pub fn duration(pcr_ticks: Ticks) -> Duration {
    Duration::from_secs(pcr_ticks / PCR_HZ) + Duration::from_nanos(pcr_ticks % PCR_HZ * 1_000 / 27)
}

/// Reads a PCR field: 33 bits of 90 kHz, 6 reserved, 9 bits of 27 MHz.
pub fn read_pcr(field: &[u8; 6]) -> Ticks {
    let bits = field.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    (bits >> 15) * PCR_PER_STAMP + (bits & 0x1ff)
}

/// Writes a PCR field.
pub fn write_pcr(pcr: Ticks) -> [u8; 6] {
    let pcr = pcr % PCR_WRAP;
    let bits = (pcr / PCR_PER_STAMP) << 15 | 0x7e00 | (pcr % PCR_PER_STAMP);
    let [_, _, field @ ..] = bits.to_be_bytes();
    field
}

/// Where in a transport packet the time stamps of a PES packet stand that starts in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// Index of the PTS: when to show it.
    pub pts: usize,
    /// Index of the DTS, if it differs: when to decode it.
    pub dts: Option<usize>,
}

/// Bytes of a time stamp.
pub const STAMP: usize = 5;

impl Stamps {
    /// Finds them; `None` if no PES packet starts here, or one without stamps.
    pub fn find(packet: Packet<'_>) -> Option<Self> {
        let at = packet.payload_at().start;
        let pes = packet.payload();
        // Padding, private streams of type 2, directories and the like have no such header.
        let plain = matches!(pes.get(3)?, 0xbc | 0xbe | 0xbf | 0xf0..=0xf2 | 0xf8 | 0xff);
        if !packet.unit_start() || !pes.starts_with(&[0, 0, 1]) || plain || pes.get(6)? >> 6 != 2 {
            return None;
        }
        let stamps = usize::from(pes.get(7)? >> 6).saturating_sub(1);
        let fits = usize::from(*pes.get(8)?) >= stamps * STAMP && pes.len() >= 9 + stamps * STAMP;
        (fits && stamps > 0)
            .then_some(Self { pts: at + 9, dts: (stamps == 2).then_some(at + 9 + STAMP) })
    }

    /// When the PES packet is to be decoded, in ticks of 90 kHz.
    pub fn decode(self, packet: Packet<'_>) -> Option<Ticks> {
        let at = self.dts.unwrap_or(self.pts);
        Some(read_stamp(packet.bytes().get(at..at + STAMP)?.try_into().ok()?))
    }
}

/// Reads a time stamp: 33 bits in three parts, each ended by a marker bit.
pub fn read_stamp(field: &[u8; STAMP]) -> Ticks {
    let [a, b, c, d, e] = field.map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1
}

/// Writes a time stamp, keeping the four bits that say which of the two it is.
pub fn write_stamp(field: &mut [u8; STAMP], stamp: Ticks) {
    *field = [
        field[0] & 0xf0 | (stamp >> 29) as u8 & 0x0e | 1,
        (stamp >> 22) as u8,
        (stamp >> 14) as u8 | 1,
        (stamp >> 7) as u8,
        (stamp << 1) as u8 | 1,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn a_pcr_round_trips(pcr: u64) -> bool {
            read_pcr(&write_pcr(pcr)) == pcr % PCR_WRAP
        }

        fn a_stamp_round_trips(stamp: u64, mark: u8) -> bool {
            let stamp = stamp % STAMP_WRAP;
            let mut field = [mark, 0, 0, 0, 0];
            write_stamp(&mut field, stamp);
            let markers = field[0] & field[2] & field[4] & 1 == 1;
            read_stamp(&field) == stamp && field[0] & 0xf0 == mark & 0xf0 && markers
        }

        fn since_undoes_a_step_across_the_wrap(from: u64, step: i32) -> bool {
            let from = from % PCR_WRAP;
            let to = (from + PCR_WRAP).saturating_add_signed(i64::from(step)) % PCR_WRAP;
            since(to, from, PCR_WRAP) == i64::from(step)
        }
    }

    #[test]
    fn known_fields() {
        // One second on either clock, worked out by hand.
        assert_eq!(read_stamp(&[0x21, 0x00, 0x05, 0xbf, 0x21]), 90_000);
        assert_eq!(read_pcr(&[0x00, 0x00, 0xaf, 0xc8, 0x7e, 0x2a]), PCR_HZ + 42);
        assert_eq!(duration(PCR_HZ * 3 / 2), Duration::from_millis(1_500));
    }
}
