//! This driver keeps what every driver has to keep.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../runtime/tests/drivers/mod.rs"]
mod drivers;

mod driver {
    use std::io;

    use eddy_core::{Host, Machine};
    pub(crate) use eddy_runtime_mio::{Clock, Driver, Full, Handle, Sockets};

    pub(crate) fn run<M: Machine, H: Host>(driver: &mut Driver<M, H>) -> io::Result<()> {
        driver.run()
    }
}
