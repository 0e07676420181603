//! MPEG transport streams (ISO/IEC 13818-1), as much of them as a live
//! channel needs: where a player can begin, how fast a file runs, and how to
//! play a clip for ever.
//!
//! Nothing here is on the way of a block from peer to peer: packets are opaque
//! to the mesh, and input that is no transport stream passes untouched.

pub mod clock;
pub mod looped;
pub mod packet;
pub mod pcr;
pub mod psi;
pub mod start;
pub mod sync;

/// A clip of 4.8 s, 601,600 bit/s: the default input of the demo, and material for tests. See `assets/README.md`.
pub const CLIP: &[u8] = include_bytes!("../../assets/clip.ts");
