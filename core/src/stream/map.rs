//! The buffer map: what a node tells its partners about what it holds.

use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{Seq, SubStream};

/// Hop count of a sub-stream without a live parent.
pub const HOP_NONE: u8 = 255;
/// Hop counts from here on are never chosen as parents.
pub const HOP_LIMIT: u8 = 64;

/// What one sub-stream looks like at the sender of a buffer map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// The newest block below which the sender holds, or has given up,
    /// everything from its window's start; `None` if it holds nothing there.
    pub newest: Option<Seq>,
    /// Whether the sender subscribes to this sub-stream from the receiver of
    /// this map (the second half of the 2K-tuple).
    pub subscribed: bool,
}

/// Path of a sub-stream from the provider to the sender of a map: what the
/// `default` preset adds to the published buffer map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Hops from the provider (0 at the provider), [`HOP_NONE`] without a live parent.
    pub hops: u8,
    /// Sum of the one-way delays along the path; milliseconds, at most 65,535.
    pub delay: u16,
}

impl Path {
    /// No live parent.
    pub const NONE: Self = Self { hops: HOP_NONE, delay: u16::MAX };

    /// Whether a parent with this path may be chosen.
    pub fn is_live(self) -> bool {
        self.hops < HOP_LIMIT
    }

    /// This path, one hop further on over a link of that round trip.
    pub fn extend(self, rtt: Duration) -> Self {
        if self.hops == HOP_NONE {
            return Self::NONE;
        }
        let half = u16::try_from(rtt.as_millis() / 2).unwrap_or(u16::MAX);
        Self { hops: self.hops.saturating_add(1), delay: self.delay.saturating_add(half) }
    }
}

/// A buffer map. `report`: the 2K-tuple of New Coolstreaming (TMM 2007), K
/// latest sequence numbers and K subscription bits. `default` adds K paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferMap {
    /// The first block that the sender could still hold.
    pub start: Seq,
    /// Whether the receiver is asked to answer with its own map.
    pub reply: bool,
    /// One entry a sub-stream, in order.
    pub entries: SmallVec<[MapEntry; 8]>,
    /// One path a sub-stream, or none at all (`report`).
    pub paths: SmallVec<[Path; 8]>,
}

impl BufferMap {
    /// The newest block over all sub-streams.
    pub fn newest(&self) -> Option<Seq> {
        self.entries.iter().filter_map(|e| e.newest).max()
    }

    /// The entry of a sub-stream.
    pub fn entry(&self, sub: SubStream) -> Option<&MapEntry> {
        self.entries.get(usize::from(sub.0))
    }

    /// The path of a sub-stream; a map without paths is taken as one hop, so
    /// that a published-style partner can be chosen at all.
    pub fn path(&self, sub: SubStream) -> Path {
        if self.paths.is_empty() {
            return Path { hops: 1, delay: 0 };
        }
        self.paths.get(usize::from(sub.0)).copied().unwrap_or(Path::NONE)
    }

    /// Whether the map says that the sender holds this block.
    pub fn covers(&self, seq: Seq, sub_streams: u8) -> bool {
        let newest = self.entry(seq.sub_stream(sub_streams)).and_then(|e| e.newest);
        seq >= self.start && newest.is_some_and(|n| seq <= n)
    }
}
