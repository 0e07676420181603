//! The program `eddy`.

use std::process::ExitCode;

use clap::Parser as _;
use eddy::cli::Cli;
use eddy::run;
use eddy::settings::{Environment, Settings, Work};
use eddy::ui::{Ui, failure};

/// Exit code for wrong use; clap's too.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.global.json.unwrap_or(false);
    let Settings { global, work } = match Settings::new(cli, &Environment::of_process()) {
        Ok(settings) => settings,
        Err(e) => {
            failure(&e.what, &e.hint, json);
            return ExitCode::from(USAGE);
        }
    };
    let ui = Ui::new(&global, &work);
    if let Err(e) = eddy::logs::start(&global, ui.logs()) {
        failure(&e.what, &e.hint, global.json);
        return ExitCode::from(USAGE);
    }
    let result = match &work {
        Work::Bootstrap(own) => run::bootstrap(&global, own, &ui),
        Work::Provider(own) => run::provider(&global, own, &ui),
        Work::Viewer(own) => run::viewer(&global, own, &ui),
        Work::Channels(own) => run::channels(&global, own, &ui),
        Work::Files(own) => run::files(&global, own, &ui),
        Work::Dht(own) => run::dht(&global, own, &ui),
        Work::Replay(own) => run::replay(&global, own, &ui),
        Work::Demo(own) => run::demo(&global, own, &ui),
        Work::Swarm(own) => run::bench(&global, own, &ui),
        Work::Sim(what, preset) => run::sim(what, *preset, &ui),
    };
    ui.finish();
    result.unwrap_or_else(|e| {
        failure(&e.what, &e.hint, global.json);
        ExitCode::FAILURE
    })
}
