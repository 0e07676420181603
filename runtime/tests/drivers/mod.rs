//! What every driver has to keep, as tests over real sockets. A driver includes
//! this file in a test and puts itself beside it as `crate::driver`.

mod clock;
mod common;
mod doors;
mod links;
#[cfg(target_os = "linux")]
mod scarcity;
mod slots;
