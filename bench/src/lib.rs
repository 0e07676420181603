//! Measures Eddy against denominators that run beside it: what a few lines
//! without any protocol cost on the same machine, in the same minute.
//!
//! CPU time, never wall time: other work on the machine slows a run down, but
//! hardly makes it cost more. Numerator and denominator take turns, and of each
//! the smallest cost counts ([`cpu::interleave`]). Only the thread that relays
//! is measured; who feeds it and who drains it is the same code for both.

pub mod cpu;
pub mod node;
pub mod peer;
pub mod raw;
pub mod rig;
pub mod sink;
pub mod stream;
pub mod table;
