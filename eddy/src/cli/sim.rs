//! The options of `eddy sim`. What is run stands in the scenario, so the
//! configuration file has nothing of them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use eddy_sim::lab::Seeds;

use crate::units::Seconds;

/// What can be done with experiments.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Sim {
    /// List the scenarios that come with the program
    List,
    /// Print a scenario: the beginning of one of your own
    Show {
        /// Its name, from the list.
        #[arg(value_name = "SCENARIO")]
        scenario: String,
    },
    /// Run a scenario, with each of its seeds and presets
    Run(SimRunOptions),
    /// Run all scenarios that come with the program; says first how long it will take
    All(SimAllOptions),
    /// Run a scenario again and show what one of its nodes was told and did
    Replay(SimReplayOptions),
}

/// `eddy sim run`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct SimRunOptions {
    /// A file in TOML, or the name of a scenario that comes with the program
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// Which seeds: 3, or 1..20 [default: the scenario's]
    #[arg(long, value_name = "SEEDS")]
    pub seeds: Option<Seeds>,
    /// Which of the scenario's presets, by name, with commas; `--preset NAME` runs one
    /// [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub presets: Vec<String>,
    /// Change the scenario, as viewers.live.count=200 or core.partners=5; as often as you like
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub changes: Vec<String>,
    /// How the runs are made.
    #[command(flatten)]
    pub how: SimHow,
}

/// `eddy sim all`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct SimAllOptions {
    /// The first of each scenario's seeds only, and, unless --only names others, the quick set: a
    /// minute or two
    #[arg(long)]
    pub quick: bool,
    /// Only these scenarios, with commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How the runs are made.
    #[command(flatten)]
    pub how: SimHow,
}

/// How runs are made, and where results go.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct SimHow {
    /// Runs at a time [default: one a processor]
    #[arg(long, value_name = "COUNT")]
    pub jobs: Option<usize>,
    /// Write runs.jsonl, RESULTS.md and the plots (SVG, and PNG if rsvg-convert is there) to this folder
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Keep the queue of events in a heap instead of a timing wheel; the runs are the same
    #[arg(long)]
    pub heap: bool,
    /// Run everything twice, with both queues, and fail if anything differs
    #[arg(long)]
    pub twice: bool,
    /// Fail if a target is missed, or not measured
    #[arg(long)]
    pub strict: bool,
}

/// `eddy sim replay`
#[derive(Clone, Debug, PartialEq, Args)]
pub struct SimReplayOptions {
    /// A file in TOML, or the name of a scenario that comes with the program
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// The run's seed
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,
    /// The run's preset, by the scenario's name for it
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub of: String,
    /// The changes that were made
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub changes: Vec<String>,
    /// The node, by the number that the message gave; 0 is the bootstrap server
    #[arg(long, value_name = "NUMBER")]
    pub node: u32,
    /// From this second of the run
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    pub from: Seconds,
    /// To this one
    #[arg(long, value_name = "SECONDS", default_value = "86400")]
    pub until: Seconds,
}

pub(super) const EXAMPLES: &str = "\
EXAMPLES:
  eddy sim list
  eddy sim run CH1 --seeds 1..3 --out results
  eddy sim run N1 --preset report --set span=20min
  eddy sim show CH1 > mine.toml
  eddy sim run mine.toml --set viewers.live.count=200 --json";
