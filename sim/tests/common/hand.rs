//! Machines in somebody's hand.
#![allow(unused_imports, reason = "each test file uses a part of it")]

pub(crate) use eddy_sim::hand::Hand;
