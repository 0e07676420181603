//! Memory in huge pages.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eddy_core::memory::{Memory, Room};
use memmap2::MmapMut;

/// A huge page of x86-64 and, with pages of 4 KiB, of ARM.
const PAGE: usize = 2 << 20;
/// Address space taken at a time. What is not written to costs no memory.
const REGION: usize = 64 * PAGE;
/// Address space taken at most.
const MOST: usize = 1 << 30;

/// Memory for a node's long blocks, in pages of 2 MiB where the system gives
/// such. The processor finds its way in them with far fewer steps, which under
/// a hypervisor are costly: see docs/PERFORMANCE.md, DP1.
///
/// Memory that a block let go is used for the next of about its length, and
/// stays with the program, so that it is at its end what it was at its height,
/// 1 GiB at most; what is more is on the heap. Clones share it, and so the nodes
/// of one program should.
///
/// ```
/// use eddy_core::config::{Config, ConfigError};
/// use eddy_core::{Time, node::Node};
/// use eddy_runtime::HugePages;
///
/// # fn viewer(seed: [u8; 32], now: Time) -> Result<Node, ConfigError> {
/// let node = Node::viewer(Config::default(), seed, now)?;
/// Ok(node.with_memory(Box::new(HugePages::new())))
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct HugePages(Arc<Mutex<Pieces>>);

impl HugePages {
    /// Nothing yet. Memory is taken as blocks come in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        // Nothing in there panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for HugePages {
    fn take(&mut self, length: usize) -> Option<Box<dyn Room>> {
        let bytes = self.pieces().take(length)?;
        Some(Box::new(Piece { bytes, home: self.clone() }))
    }
}

/// Memory for one block. It goes home when it is dropped.
struct Piece {
    bytes: &'static mut [u8],
    home: HugePages,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.bytes
    }
}

impl AsMut<[u8]> for Piece {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        self.home.pieces().free.entry(bytes.len()).or_default().push(bytes);
    }
}

#[derive(Default)]
struct Pieces {
    /// What is free, by length.
    free: BTreeMap<usize, Vec<&'static mut [u8]>>,
    /// What is left of the newest region, beginning with a page.
    region: &'static mut [u8],
    /// Address space taken so far.
    taken: usize,
}

impl Pieces {
    fn take(&mut self, length: usize) -> Option<&'static mut [u8]> {
        let size = size(length);
        if let Some(piece) = self.free.get_mut(&size).and_then(Vec::pop) {
            return Some(piece);
        }
        // Whole pages in which eight or more pieces leave little over.
        let pages = (8 * size).next_multiple_of(PAGE);
        if self.region.len() < pages {
            self.region = self.map(pages.max(REGION))?;
        }
        let (pages, rest) = mem::take(&mut self.region).split_at_mut(pages);
        self.region = rest;
        let pieces = self.free.entry(size).or_default();
        pieces.extend(pages.chunks_exact_mut(size));
        pieces.pop()
    }

    /// New address space.
    fn map(&mut self, length: usize) -> Option<&'static mut [u8]> {
        if self.taken + length > MOST {
            return None;
        }
        let map = MmapMut::map_anon(length + PAGE).ok()?;
        // A system that has no huge pages gives small ones, which do as well.
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage).ok();
        self.taken += length;
        // It is never unmapped: a piece of it can be lent for as long as it takes.
        let all = &mut **Box::leak(Box::new(map));
        let before = all.as_ptr().align_offset(PAGE);
        all.get_mut(before..before + length)
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.free.iter().map(|(size, pieces)| (size, pieces.len()));
        write!(f, "of {} bytes ", self.taken)?;
        f.debug_map().entries(free).finish()
    }
}

/// The length of the pieces for blocks of this length: eight lengths for each
/// power of two, so that a ninth of a piece at most is not used.
fn size(length: usize) -> usize {
    length.next_multiple_of(1 << length.max(1).ilog2().saturating_sub(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// The longest block that a node may be told to take.
    const LONGEST: usize = 16 << 20;

    quickcheck! {
        fn a_piece_is_its_owners_alone(steps: Vec<(u32, u8)>) -> () {
            let mut memory = HugePages::new();
            let mut held: Vec<(Box<dyn Room>, u8)> = Vec::new();
            for (n, (length, fill)) in steps.into_iter().enumerate() {
                let length = length as usize % (1 << 20) + 1;
                let mut room = memory.take(length).expect("there is more");
                assert!((length..=length + length / 8).contains(&(*room).as_ref().len()));
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
        let mut memory = HugePages::new();
        let window = |memory: &mut HugePages| -> Vec<_> {
            (0..100).map(|_| memory.take(300_000).expect("there is more")).collect()
        };
        for _ in 0..100 {
            drop(window(&mut memory));
        }
        assert_eq!(memory.pieces().taken, REGION);
    }

    #[test]
    fn there_is_an_end_to_it_and_then_what_is_let_go() {
        let mut memory = HugePages::new();
        let mut all: Vec<_> = std::iter::from_fn(|| memory.take(LONGEST)).collect();
        assert_eq!(all.len(), MOST / LONGEST);
        assert!(memory.clone().take(LONGEST).is_none());
        all.pop();
        assert!(memory.take(LONGEST).is_some());
    }
}
