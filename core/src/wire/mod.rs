//! The wire: frames and messages, parsed with nom and emitted as bytes.
//! `docs/PROTOCOL.md` is its reference.

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
pub(crate) mod check;
pub mod emit;
pub mod frame;
pub mod kind;
pub mod message;
pub mod parse;
