//! `eddy demo`: server, provider and viewers as separate nodes, each with its
//! own sockets on the loopback address and its own driver. Every block that a
//! viewer is handed is checked against what went into the provider.

mod check;
mod swarm;

use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use eddy_core::Position;

use self::swarm::{News, SERVER, Swarm, numbered};
use crate::input::End;
use crate::run::RunError;
use crate::run::node::{Told, allow_many_links};
use crate::run::signals::watched;
use crate::settings::{DemoSettings, GlobalSettings};
use crate::ui::Ui;
use crate::ui::summary::Summary;
use crate::ui::table::Table;

/// Time between two viewers that join; all have joined in a quarter of the run.
const STAGGER: Duration = Duration::from_millis(100);
/// Time between two tables.
const REFRESH: Duration = Duration::from_secs(1);

/// `eddy demo`
///
/// # Errors
/// [`RunError`] if a part cannot start.
pub fn demo(global: &GlobalSettings, own: &DemoSettings, ui: &Ui) -> Result<ExitCode, RunError> {
    allow_many_links();
    let source = own.input.open()?;
    let (to, told) = mpsc::channel();
    watched(ui, numbered(&to, SERVER), || {
        let mut swarm = Swarm::start(global, own.block, to.clone())?;
        let feed = swarm.feed(source)?;
        let begin = Instant::now();
        let ended = follow(&mut swarm, own, begin, &told, ui);
        let elapsed = begin.elapsed();
        // The viewers leave first, for nobody plays on without a provider.
        let outcomes = swarm.leave_viewers(&told);
        feed.stop();
        swarm.leave_rest(&told);
        ended?;
        Ok(Summary { elapsed, outcomes }.show(ui))
    })
}

/// Until the time is over, the input has ended or the user wants an end.
fn follow(
    swarm: &mut Swarm<'_>,
    own: &DemoSettings,
    begin: Instant,
    told: &Receiver<News>,
    ui: &Ui,
) -> Result<(), RunError> {
    let mut table = Table::new(ui);
    let stagger = STAGGER.min(own.length / 4 / own.viewers);
    let (half, end) = (begin + own.length / 2, begin + own.length);
    let mut show_at = begin + REFRESH;
    loop {
        // Who joins before the provider is listed finds no channel.
        let joined = swarm.viewers().len() as u32;
        let join_at = match joined.checked_sub(own.viewers) {
            _ if !swarm.is_listed() => None,
            None => Some(begin + stagger * joined),
            Some(past) => (past < own.past).then(|| half + stagger * past),
        };
        let wake = join_at.unwrap_or(end).min(show_at).min(end);
        match told.recv_timeout(wake.saturating_duration_since(Instant::now())) {
            Ok((_, Told::Interrupt)) => return Ok(()),
            Ok((_, Told::Input(Ok(End::Exhausted | End::Stopped)))) => return Ok(()),
            Ok((_, Told::Input(Err(e)))) => return Err(e.into()),
            Ok((number, news)) => swarm.hear(number, news)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let now = Instant::now();
        if join_at.is_some_and(|at| at <= now) {
            let is_live = joined < own.viewers;
            swarm.add_viewer(if is_live {
                Position::Live
            } else {
                Position::Ago(own.length / 3)
            })?;
        }
        if show_at <= now {
            table.show(begin.elapsed(), &swarm.rows());
            show_at += REFRESH;
        }
        if end <= now {
            return Ok(());
        }
    }
}
