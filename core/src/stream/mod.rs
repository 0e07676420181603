//! The stream: channels, packets, blocks, sub-streams, buffer maps, signatures.

pub mod block;
pub mod buffer;
pub mod channel;
pub mod map;
pub mod sign;
