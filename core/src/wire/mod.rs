//! The wire: frames and messages, parsed with nom and emitted as bytes.
//! `docs/PROTOCOL.md` is its reference.

#[cfg(any(test, feature = "check"))]
mod arbitrary;
#[cfg(any(test, feature = "check"))]
pub mod check;
pub mod emit;
pub mod frame;
pub mod kind;
pub mod message;
pub mod parse;
