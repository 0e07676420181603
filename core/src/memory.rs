//! Memory for long blocks, if the program brings some.
//!
//! Blocks are kept for as long as [`Config::buffer`](crate::config::Config::buffer)
//! says, and long ones are most of what a node's memory holds. Which memory that
//! is can matter for what a relay costs (docs/PERFORMANCE.md, DP1), and asking a
//! system for it is not the core's to do.

use alloc::boxed::Box;
use core::fmt;

/// Where long blocks are read to, and kept.
pub trait Memory: fmt::Debug + Send {
    /// Memory for a block of `length` bytes with its header, from 32 KiB to 77
    /// more than [`Config::max_block`](crate::config::Config::max_block): that long or
    /// longer, and the same at each look. What is in it is written over. It is
    /// dropped when the block is let go. Where there is none, or too little, the
    /// block is kept on the heap.
    fn take(&mut self, length: usize) -> Option<Box<dyn Room>>;
}

/// Memory for one block.
pub trait Room: AsRef<[u8]> + AsMut<[u8]> + Send {}

impl<T: AsRef<[u8]> + AsMut<[u8]> + Send> Room for T {}
