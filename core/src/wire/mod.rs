//! The wire: frames and messages, parsed with nom and emitted with bytes.

pub mod emit;
pub mod frame;
pub mod message;
pub mod parse;
