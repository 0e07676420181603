//! `eddy channels`

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stream::channel::ChannelSummary;
use eddy_core::{Answer, Command, Notice, Refusal};
use serde::Serialize;

use crate::run::RunError;
use crate::run::log::{Log, refusal_text};
use crate::run::node::{FIRST, Ground, Quiet, Running, Told, channel, seed};
use crate::run::signals::watched;
use crate::settings::{ChannelsSettings, GlobalSettings};
use crate::ui::{Mode, Ui};
use crate::url::{ChannelUrl, Hosts};

/// `eddy channels`
///
/// # Errors
/// [`RunError`] if no bootstrap server answers.
pub fn channels(
    global: &GlobalSettings,
    own: &ChannelsSettings,
    ui: &Ui,
) -> Result<ExitCode, RunError> {
    let servers = own.bootstrap.resolve()?;
    // Nobody calls one who only asks: the port for others stays free.
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into();
    let ground = Ground::bind(global.runtime, &anywhere)?;
    let config = Config { dht: None, ..global.config.clone() };
    let node = Node::viewer(config, seed()?, ground.clock.now())?;
    let (tell, told) = channel();
    watched(ui, tell.clone(), || {
        let running = Running::start(ground, node, Quiet(tell.clone()), tell)?;
        running.command(FIRST, Command::List { bootstrap: servers });
        let answer = answer(&told, &own.bootstrap);
        running.leave(&told);
        running.stop();
        show(&answer?, &own.bootstrap, ui);
        Ok(ExitCode::SUCCESS)
    })
}

fn answer(told: &Receiver<Told>, asked: &Hosts) -> Result<Vec<ChannelSummary>, RunError> {
    let mut log = Log::of("channels");
    for told in told {
        match told {
            Told::Notice(_, Notice::Ended { ticket: FIRST, result }) => {
                return match result {
                    Ok(Answer::Channels(channels)) => Ok(channels),
                    Ok(_) => Ok(Vec::new()),
                    Err(refusal) => Err(unanswered(asked, refusal)),
                };
            }
            Told::Notice(now, notice) => log.trouble(now, &notice),
            Told::Died(e) => return Err(e),
            Told::Interrupt => break,
            Told::Player(_) | Told::Input(_) | Told::Wish(_) => {}
        }
    }
    Err(RunError::new("interrupted before the answer came", "wait for it"))
}

/// None of them answered as it should.
pub(super) fn unanswered(asked: &Hosts, refusal: Refusal) -> RunError {
    RunError::new(
        format!("{}: {}", list(asked), refusal_text(refusal)),
        "check the address, and whether `eddy bootstrap` runs there",
    )
}

/// Bootstrap servers as the user gave them.
pub(super) fn list(hosts: &Hosts) -> String {
    let hosts: Vec<_> = hosts.as_slice().iter().map(ToString::to_string).collect();
    hosts.join(",")
}

#[derive(Serialize)]
struct Row<'a> {
    kind: &'static str,
    name: &'a str,
    provider: &'a str,
    viewers: u32,
    block_ms: u64,
    sub_streams: u8,
    description: &'a str,
    url: String,
}

fn show(channels: &[ChannelSummary], servers: &Hosts, ui: &Ui) {
    let rows: Vec<_> = channels.iter().map(|summary| row(summary, servers)).collect();
    match ui.mode() {
        Mode::Json => rows.iter().for_each(|row| ui.result("", row)),
        _ => ui.result(&table(&rows), &rows),
    }
}

fn row<'a>(summary: &'a ChannelSummary, servers: &Hosts) -> Row<'a> {
    let channel = &summary.channel;
    let url = ChannelUrl {
        bootstrap: servers.as_slice()[0].clone(),
        channel: channel.name().clone(),
        key: Some(channel.key()),
    };
    Row {
        kind: "channel",
        name: channel.name().as_str(),
        provider: channel.provider().as_str(),
        viewers: summary.viewers,
        block_ms: channel.block().as_millis() as u64,
        sub_streams: channel.sub_streams(),
        description: channel.description(),
        url: url.to_string(),
    }
}

/// The channels below each other, as wide as the longest of each column.
fn table(rows: &[Row<'_>]) -> String {
    if rows.is_empty() {
        return "no channels\n".into();
    }
    let width = |head: &str, of: for<'r> fn(&'r Row<'_>) -> &'r str| {
        let widest = rows.iter().map(|row| of(row).chars().count()).max();
        widest.unwrap_or(0).max(head.len())
    };
    let (name, provider) = (width("channel", |r| r.name), width("provider", |r| r.provider));
    let mut out =
        format!("{:<name$}  {:<provider$}  viewers  block    description\n", "channel", "provider");
    for row in rows {
        let block = format!("{} ms", row.block_ms);
        let line = format!(
            "{:<name$}  {:<provider$}  {:>7}  {block:<7}  {}",
            row.name, row.provider, row.viewers, row.description
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, description: &'static str) -> Row<'static> {
        Row {
            kind: "channel",
            name,
            provider: "NCTU",
            viewers: 12,
            block_ms: 40,
            sub_streams: 8,
            description,
            url: String::new(),
        }
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        assert_eq!(
            table(&[row("News", "the news"), row("Été à Paris", "")]),
            "channel      provider  viewers  block    description\n\
             News         NCTU           12  40 ms    the news\n\
             Été à Paris  NCTU           12  40 ms\n"
        );
        assert_eq!(table(&[]), "no channels\n");
    }
}
