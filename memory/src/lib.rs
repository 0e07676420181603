//! Memory for a node's long blocks, in huge pages.
#![deny(missing_docs)]

use std::collections::BTreeMap;
use std::mem;
use std::ops::RangeBounds;
use std::sync::{Mutex, MutexGuard, PoisonError};

use eddy_core::memory::{Memory, Room};
use memmap2::MmapMut;

/// A huge page of x86-64 and, with pages of 4 KiB, of ARM.
const PAGE: usize = 2 << 20;
/// Address space mapped at a time, if that is enough for one piece.
const REGION: usize = 32 * PAGE;
/// Address space mapped at most.
const MOST: usize = 1 << 30;

/// Memory for the long blocks of all nodes of the process, in pages of 2 MiB
/// where the system gives such. The processor finds its way in them with far
/// fewer steps, which under a hypervisor are costly: see docs/PERFORMANCE.md,
/// DP1.
///
/// Memory that a block let go is used for a later one, of between half and all
/// of its length as long as there is more, and stays with the process: a page
/// that was once written to is never given back. It is 1 GiB at most; what is
/// more is on the heap.
///
/// ```
/// use eddy_core::config::{Config, ConfigError};
/// use eddy_core::{Time, node::Node};
/// use eddy_memory::HugePages;
///
/// # fn viewer(seed: [u8; 32], now: Time) -> Result<Node, ConfigError> {
/// let node = Node::viewer(Config::default(), seed, now)?;
/// Ok(node.with_memory(Box::new(HugePages)))
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

static PIECES: Mutex<Pieces> = Mutex::new(Pieces::new());

fn pieces() -> MutexGuard<'static, Pieces> {
    // Nothing in there panics half-way.
    PIECES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory for HugePages {
    fn take(&mut self, length: usize) -> Option<Box<dyn Room>> {
        Some(Box::new(Piece(pieces().take(length)?)))
    }
}

/// Memory for one block. It goes home when it is dropped.
struct Piece(&'static mut [u8]);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl AsMut<[u8]> for Piece {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        pieces().give(mem::take(&mut self.0));
    }
}

struct Pieces {
    /// What is free, by length.
    free: BTreeMap<usize, Vec<&'static mut [u8]>>,
    /// What is left of the newest region.
    region: &'static mut [u8],
    /// Address space mapped so far.
    mapped: usize,
}

impl Pieces {
    const fn new() -> Self {
        Self { free: BTreeMap::new(), region: &mut [], mapped: 0 }
    }

    /// A piece that was given back, if one is not much too long; or a new one;
    /// or else any that is long enough.
    fn take(&mut self, length: usize) -> Option<&'static mut [u8]> {
        let size = size(length);
        self.free_of(size..=2 * size).or_else(|| self.cut(size)).or_else(|| self.free_of(size..))
    }

    fn give(&mut self, piece: &'static mut [u8]) {
        self.free.entry(piece.len()).or_default().push(piece);
    }

    /// The shortest free piece of these lengths.
    fn free_of(&mut self, lengths: impl RangeBounds<usize>) -> Option<&'static mut [u8]> {
        self.free.range_mut(lengths).find_map(|(_, pieces)| pieces.pop())
    }

    fn cut(&mut self, size: usize) -> Option<&'static mut [u8]> {
        if self.region.len() < size {
            let new = self.map(size.next_multiple_of(PAGE).max(REGION))?;
            let rest = mem::replace(&mut self.region, new);
            self.give(rest);
        }
        let (piece, rest) = mem::take(&mut self.region).split_at_mut(size);
        self.region = rest;
        Some(piece)
    }

    /// New address space. Memory comes page by page, as it is written to.
    fn map(&mut self, length: usize) -> Option<&'static mut [u8]> {
        // Room to begin with a page.
        let mapped = length + PAGE;
        if self.mapped + mapped > MOST {
            return None;
        }
        let map = MmapMut::map_anon(mapped).ok()?;
        // A system that has no huge pages gives small ones, which do as well.
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage).ok();
        self.mapped += mapped;
        // It is never unmapped: a piece of it can be lent for as long as it takes.
        let all = &mut **Box::leak(Box::new(map));
        let before = all.as_ptr().align_offset(PAGE);
        all.get_mut(before..before + length)
    }
}

/// The length of the pieces for blocks of this length: eight lengths for each
/// power of two, so that blocks of about one length can have each other's.
fn size(length: usize) -> usize {
    length.next_multiple_of(1 << length.max(1).ilog2().saturating_sub(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter;

    use quickcheck::quickcheck;

    /// The longest block that a node may be told to take, and its header.
    const LONGEST: usize = (16 << 20) + 77;

    quickcheck! {
        fn a_piece_is_its_owners_alone(steps: Vec<(u32, u8)>) -> () {
            let mut held: Vec<(Box<dyn Room>, u8)> = Vec::new();
            for (n, (length, fill)) in steps.into_iter().enumerate() {
                let length = length as usize % (200 << 10) + 1;
                let mut room = HugePages.take(length).expect("there is more");
                assert!((length..=2 * size(length)).contains(&(*room).as_ref().len()));
                (*room).as_mut().fill(fill);
                held.push((room, fill));
                if n % 3 == 2 {
                    let (room, fill) = held.swap_remove(usize::from(fill) % held.len());
                    assert!((*room).as_ref().iter().all(|&byte| byte == fill));
                }
            }
            for (room, fill) in held {
                assert!((*room).as_ref().iter().all(|&byte| byte == fill));
            }
        }
    }

    #[test]
    fn what_was_let_go_is_taken_again() {
        let mut pieces = Pieces::new();
        // Blocks of about one length, as those of a stream.
        for n in 0..10_000 {
            let window: Vec<_> = (0..30).map(|i| pieces.take(200_000 + (n * i) % 90_000)).collect();
            window.into_iter().for_each(|piece| pieces.give(piece.expect("there is more")));
        }
        assert_eq!(pieces.mapped, REGION + PAGE);
        // Peers that announce any length and go leave enough for the stream.
        for length in (1..LONGEST).step_by(9_999) {
            let piece = pieces.take(length).expect("there is more");
            pieces.give(piece);
        }
        assert!(pieces.mapped < MOST / 3, "{}", pieces.mapped);
        let window: Vec<_> = iter::from_fn(|| pieces.take(300_000)).take(1_000).collect();
        assert_eq!(window.len(), 1_000);
    }

    #[test]
    fn a_piece_serves_who_needs_half_of_it_and_not_who_needs_less() {
        let mut pieces = Pieces::new();
        let piece = pieces.take(300_000).expect("there is more");
        let at = piece.as_ptr();
        pieces.give(piece);
        assert_ne!(pieces.take(100_000).map(|piece| piece.as_ptr()), Some(at));
        assert_eq!(pieces.take(200_000).map(|piece| piece.as_ptr()), Some(at));
    }

    #[test]
    fn what_is_left_of_a_region_is_a_piece() {
        let mut pieces = Pieces::new();
        let first = pieces.take(9 * PAGE / 2).map(|piece| piece.as_ptr_range().start);
        // Seven of 9 MiB in 64, and one in the next.
        let others: Vec<_> = (1..8).map(|_| pieces.take(9 * PAGE / 2)).collect();
        assert!(others.iter().all(Option::is_some) && pieces.mapped == 2 * (REGION + PAGE));
        let rest = pieces.take(1 << 20).map(|piece| piece.as_ptr());
        assert_eq!(rest, first.map(|first| first.wrapping_add(63 << 20)));
    }

    #[test]
    fn there_is_an_end_to_it_and_then_what_is_let_go() {
        for length in [300_000, 5 << 20, LONGEST] {
            let mut pieces = Pieces::new();
            let mut all: Vec<_> = iter::from_fn(|| pieces.take(length)).collect();
            assert!(all.len() * length > MOST / 2, "{} of {length}", all.len());
            assert!(pieces.mapped <= MOST);
            let shorter = iter::from_fn(|| pieces.take(length / 3)).count();
            assert!(shorter < 1_000);
            pieces.give(all.remove(0));
            // Much too long, but there is no other.
            assert!(pieces.take(length / 3).is_some() && pieces.take(length).is_none());
        }
    }
}
