//! The wire, for machines that speak the protocol by hand.
#![allow(unused_imports, reason = "each test file uses a part of it")]

pub(crate) use eddy_sim::hand::words::{Ears, frame, hello, message};
