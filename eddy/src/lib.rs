//! The program `eddy`: live TV over peer-to-peer.
#![warn(missing_docs)]

pub mod cache;
pub mod cli;
pub mod input;
pub mod logs;
pub mod moment;
pub mod output;
pub mod pace;
pub mod run;
pub mod settings;
pub mod state;
pub mod ts;
pub mod ui;
pub mod units;
pub mod url;
