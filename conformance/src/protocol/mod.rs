//! The second layer: real nodes.

pub(crate) mod dht;
pub(crate) mod live;
mod mesh;
pub(crate) mod past;
