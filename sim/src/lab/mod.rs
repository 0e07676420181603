//! The laboratory: simulated experiments, and what is shown of them.

pub mod plot;
