//! Bodies of the fuzz targets: each takes any bytes and panics when something
//! that must always hold does not. `docs/FUZZING.md` says what each checks.
//!
//! Ordinary tests run them on random bytes and on `fuzz/corpus`; the package
//! in `fuzz/` hands them to libFuzzer.

mod events;
mod scenario;
mod watch;

pub use eddy_core::dht::check::krpc;
pub use eddy_core::stream::file::check::file_format;
pub use eddy_core::wire::check::{wire_chunks, wire_message, wire_roundtrip};
pub use events::{befall, node_events};
pub use scenario::world;
