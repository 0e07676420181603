//! `eddy bootstrap`

use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use eddy_core::config::Config;
use eddy_sim::record::{Header, NodeKind};
use serde::Serialize;

use crate::run::RunError;
use crate::run::log::Log;
use crate::run::node::{Ground, Quiet, Told, allow_many_links, channel, seed};
use crate::run::record::{self, MADE_BY, Recording};
use crate::run::signals::watched;
use crate::settings::{BootstrapSettings, GlobalSettings};
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
pub fn bootstrap(
    global: &GlobalSettings,
    own: &BootstrapSettings,
    ui: &Ui,
) -> Result<ExitCode, RunError> {
    allow_many_links();
    let ground = Ground::bind(global.runtime, &global.listen)?;
    let local = ground.local_addr();
    let config = Config { listen: ground.reachable_at(global)?, ..config(global) };
    let (made_by, node) = (MADE_BY.into(), NodeKind::Bootstrap);
    let header = Header { made_by, node, start: ground.clock.now(), seed: seed()?, config };
    let (tell, told) = channel();
    watched(ui, tell.clone(), || {
        let (host, record) = (Quiet(tell.clone()), own.record.as_deref());
        let (running, recording) = record::start(&header, record, ground, host, tell)?;
        let object = Listening { kind: "bootstrap", listen: local.to_string() };
        ui.result(&format!("listening on {local}\n"), &object);
        let ended = follow(&told);
        running.leave(&told);
        running.stop();
        recording.into_iter().for_each(Recording::finish);
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
            Told::Player(_) | Told::Input(_) | Told::Wish(_) => {}
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Listening {
    kind: &'static str,
    listen: String,
}
