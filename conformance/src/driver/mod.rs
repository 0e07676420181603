//! The first layer: what a driver owes to any machine.

pub(crate) mod bytes;
pub(crate) mod doors;
pub(crate) mod links;
pub(crate) mod time;
