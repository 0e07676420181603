//! What is read into.

use bytes::{Bytes, BytesMut};

/// Bytes allocated, zeroed and used up at a time.
const SIZE: usize = 256 << 10;
/// Least space for one read; the longest UDP payload is 65,507 bytes.
const LEAST: usize = 64 << 10;

/// Hands out what was read without copying it. Once all that was handed out is
/// dropped, the same allocation is used again, so reading allocates nothing in
/// steady state. Safe code can only read into initialised memory; cutting
/// pieces off the front spreads the cost of zeroing it over all of them.
#[derive(Debug, Default)]
pub struct ReadBuffer(BytesMut);

impl ReadBuffer {
    /// Space for the next read, at least 64 KiB.
    pub fn space(&mut self) -> &mut [u8] {
        if self.0.len() < LEAST {
            self.0.clear();
            self.0.resize(SIZE, 0);
        }
        &mut self.0
    }

    /// The first `n` bytes of the space, which a read has filled.
    ///
    /// # Panics
    /// If the space is not that long.
    pub fn take(&mut self, n: usize) -> Bytes {
        self.0.split_to(n).freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads 4 KiB pieces until the buffer has come round several times;
    /// counts the distinct places where a round began.
    fn rounds(mut keep: impl FnMut(Bytes)) -> usize {
        let mut buffer = ReadBuffer::default();
        let mut starts = std::collections::BTreeSet::new();
        for _ in 0..10 * SIZE / 4096 {
            let space = buffer.space();
            assert!(space.len() >= LEAST);
            if space.len() == SIZE {
                starts.insert(space.as_ptr() as usize);
            }
            space[..4096].fill(7);
            let piece = buffer.take(4096);
            assert!(piece.iter().all(|&b| b == 7));
            keep(piece);
        }
        starts.len()
    }

    #[test]
    fn dropped_pieces_give_their_allocation_back() {
        assert_eq!(rounds(drop), 1);
    }

    #[test]
    fn kept_pieces_are_never_written_over() {
        let mut kept = Vec::new();
        assert!(rounds(|piece| kept.push(piece)) > 10);
        assert!(kept.iter().flatten().all(|&b| b == 7));
    }
}
