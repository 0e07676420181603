//! Names of things: newtypes, so that a link is never taken for a ticket.

use core::fmt;

/// A connection, named by the driver. Ids count up and are never reused in a
/// node's life, so an event that comes late can never hit another connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// An attempt of the core to open a connection; answered by
/// [`Event::Opened`](crate::Event::Opened) or [`Event::DialFailed`](crate::Event::DialFailed).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DialId(pub u64);

/// A command of the application, named by the application. Every ticket ends
/// in exactly one [`Notice::Ended`](crate::Notice::Ended) (clause C10).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// A request to read from the disk, named by the core; answered by
/// [`DiskAnswer::Loaded`](crate::DiskAnswer::Loaded).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LoadId(pub u64);

/// A node of the overlay: 16 random bytes, drawn when the node is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub [u8; 16]);

/// A channel: BLAKE3 of the provider's public key and the channel's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChannelId(pub [u8; 32]);

/// A block's sequence number: its timestamp divided by the block duration D.
/// The number is the block's place in play-out order and, times D, the start
/// of its slot on the provider's clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Seq(pub u64);

/// A sub-stream: the blocks whose sequence number modulo S is this index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubStream(pub u8);

impl Seq {
    /// The sequence number `n` after this one, saturating.
    pub const fn plus(self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// The sequence number `n` before this one, saturating.
    pub const fn minus(self, n: u64) -> Self {
        Self(self.0.saturating_sub(n))
    }

    /// The sub-stream this block belongs to, for S sub-streams.
    pub const fn sub_stream(self, sub_streams: u8) -> SubStream {
        SubStream((self.0 % sub_streams as u64) as u8)
    }

    /// The first sequence number at or after this one that belongs to `sub`.
    pub const fn align(self, sub: SubStream, sub_streams: u8) -> Self {
        let s = sub_streams as u64;
        let phase = (sub.0 as u64 + s - self.0 % s) % s;
        self.plus(phase)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0[..4])
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0[..8])
    }
}

/// Writes bytes as lower-case hexadecimal.
pub(crate) fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn align_finds_the_next_block_of_a_sub_stream() {
        for from in 0..40 {
            for sub in 0..8 {
                let got = Seq(from).align(SubStream(sub), 8);
                assert!(got.0 >= from && got.0 < from + 8);
                assert_eq!(got.sub_stream(8), SubStream(sub));
            }
        }
    }
}
