//! The second layer: real nodes.

pub(crate) mod live;
mod mesh;
