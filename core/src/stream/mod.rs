//! The stream: channels, packets, blocks, files, sub-streams, buffer maps, signatures.

pub mod block;
pub mod buffer;
pub mod channel;
pub mod file;
pub mod map;
pub mod sign;
