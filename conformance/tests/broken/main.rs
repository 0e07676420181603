//! The suite's own test: drivers and machines with one fault each. It has to
//! reject every one of them, by the name of what is wrong.

#[allow(dead_code, reason = "its main function is for people")]
#[path = "../../examples/own_loop.rs"]
mod own_loop;

mod doors;
mod drivers;
mod machines;
mod saboteur;

use std::time::Duration;

use eddy_conformance::{Mount, Options, SCENARIOS, Verdict};

/// For what will never happen.
const PATIENCE: Duration = Duration::from_secs(4);

fn run<D: Mount>(scenario: &str, options: Options) -> Verdict {
    let found = SCENARIOS.iter().find(|s| s.name == scenario);
    found.unwrap_or_else(|| panic!("no scenario {scenario}")).run::<D>(options)
}
