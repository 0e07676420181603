//! This driver keeps what every driver has to keep, on async-std or on smol.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../runtime/tests/drivers/mod.rs"]
mod drivers;

mod driver {
    use std::io;

    #[cfg(not(feature = "smol"))]
    use async_std::task::block_on;
    use eddy_core::{Host, Machine};
    pub(crate) use eddy_runtime_async_std::{Clock, Driver, Full, Handle, Sockets};
    #[cfg(feature = "smol")]
    use smol::block_on;

    pub(crate) fn run<M: Machine, H: Host>(driver: &mut Driver<M, H>) -> io::Result<()> {
        block_on(driver.run())
    }
}
