//! The laboratory: scenarios as data, runs of them in virtual time, and what
//! came of it beside the published figures and what is possible at best.
//! `docs/EXPERIMENTS.md` is its manual.

mod batch;
mod draw;
pub mod library;
pub mod metrics;
mod outcome;
mod parameters;
pub mod pictures;
pub mod plot;
mod reading;
mod run;
mod scenario;
pub mod table;
mod units;

pub use batch::{Batch, Done, Failed, Job};
pub use draw::Files;
pub use outcome::{Counts, Moment, Outcome, Replicas, Viewer};
pub use reading::{ScenarioError, Sheet};
pub use run::{Making, Trace, Watch, run};
pub use scenario::{Figure, Group, Scenario, Seeds, Target};
