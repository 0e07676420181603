//! `eddy bootstrap`

use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use eddy_core::bootstrap::Bootstrap;
use eddy_core::config::Config;
use eddy_runtime_mio::Clock;
use serde::Serialize;

use crate::run::RunError;
use crate::run::log::Log;
use crate::run::node::{Quiet, Running, Told, allow_many_links, bind, channel, reachable_at, seed};
use crate::run::signals::watched;
use crate::settings::GlobalSettings;
use crate::ui::Ui;

/// Connections that a server holds: each node of its channels has one.
const MAX_LINKS: usize = 20_000;
/// Of these from one address: whole sites can sit behind one.
const MAX_LINKS_PER_ADDRESS: usize = 2_000;

/// The configuration of a server.
pub(super) fn config(global: &GlobalSettings) -> Config {
    Config {
        max_links: MAX_LINKS,
        max_links_per_address: MAX_LINKS_PER_ADDRESS,
        ..global.config.clone()
    }
}

/// `eddy bootstrap`
///
/// # Errors
/// [`RunError`] if the server cannot start.
pub fn bootstrap(global: &GlobalSettings, ui: &Ui) -> Result<ExitCode, RunError> {
    allow_many_links();
    let sockets = bind(&global.listen)?;
    let local = sockets.local_addr();
    let config = Config { listen: reachable_at(global, &sockets)?, ..config(global) };
    let clock = Clock::start();
    let server = Bootstrap::new(config, seed()?, clock.now())?;
    let (tell, told) = channel();
    watched(ui, tell.clone(), || {
        let running = Running::start(sockets, clock, server, Quiet(tell.clone()), tell)?;
        let object = Listening { kind: "bootstrap", listen: local.to_string() };
        ui.result(&format!("listening on {local}\n"), &object);
        let ended = follow(&told);
        running.leave(&told);
        running.stop();
        ended.map(|()| ExitCode::SUCCESS)
    })
}

/// Until the user wants it to end.
fn follow(told: &Receiver<Told>) -> Result<(), RunError> {
    let mut log = Log::of("bootstrap");
    for told in told {
        match told {
            Told::Notice(now, notice) => log.notice(now, "", &notice),
            Told::Interrupt => break,
            Told::Died(e) => return Err(e),
            Told::Player(_) | Told::Input(_) => {}
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Listening {
    kind: &'static str,
    listen: String,
}
