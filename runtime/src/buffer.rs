//! What is read into.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// Space for one read; the longest UDP payload is 65,507 bytes.
const SIZE: usize = 256 << 10;
/// What is shorter than this is copied: kept, it would hold all of the space.
const SHORT: usize = SIZE / 16;

/// Hands out what was read: short pieces as copies, long ones without copying
/// them. Once nobody holds any of those, the same space is read into again, so
/// it is zeroed once (safe code can only read into initialised memory) and
/// stays in the processor's cache.
pub struct ReadBuffer(Arc<[u8]>);

impl ReadBuffer {
    /// Space for the next read: 256 KiB.
    pub fn space(&mut self) -> &mut [u8] {
        if Arc::strong_count(&self.0) > 1 {
            *self = Self::default();
        }
        Arc::get_mut(&mut self.0).expect("nobody else holds it")
    }

    /// The first `n` bytes of the space, which a read has filled.
    ///
    /// # Panics
    /// If the space is not that long.
    pub fn take(&mut self, n: usize) -> Bytes {
        let piece = Piece { space: Arc::clone(&self.0), length: n };
        if n < SHORT { Bytes::copy_from_slice(piece.as_ref()) } else { Bytes::from_owner(piece) }
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self(vec![0; SIZE].into())
    }
}

impl fmt::Debug for ReadBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuffer").finish_non_exhaustive()
    }
}

/// What a read filled of the space.
struct Piece {
    space: Arc<[u8]>,
    length: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.space[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads pieces of this length into the buffer, each of other bytes; counts
    /// the distinct places that were read into.
    fn places(length: usize, mut keep: impl FnMut(Bytes)) -> usize {
        let mut buffer = ReadBuffer::default();
        let mut places = std::collections::BTreeSet::new();
        for n in 0..50 {
            let space = buffer.space();
            assert_eq!(space.len(), SIZE);
            places.insert(space.as_ptr() as usize);
            space[..length].fill(n);
            keep(buffer.take(length));
        }
        places.len()
    }

    #[test]
    fn dropped_pieces_give_their_space_back() {
        for length in [1, SHORT - 1, SHORT, SIZE] {
            assert_eq!(places(length, drop), 1, "{length} bytes");
        }
    }

    #[test]
    fn kept_pieces_are_never_written_over() {
        for (length, expected) in [(1, 1), (SHORT - 1, 1), (SHORT, 50), (SIZE, 50)] {
            let mut kept = Vec::new();
            assert_eq!(places(length, |piece| kept.push(piece)), expected);
            for (n, piece) in kept.iter().enumerate() {
                assert_eq!(piece.len(), length);
                assert!(piece.iter().all(|&b| usize::from(b) == n));
            }
        }
    }
}
