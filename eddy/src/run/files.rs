//! `eddy files`: what a channel's past holds, and how many viewers have each
//! file, as the DHT knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use eddy_core::config::Config;
use eddy_core::dht::node::DhtNode;
use eddy_core::dht::{DhtConfig, Key};
use eddy_core::node::Node;
use eddy_core::stream::channel::Channel;
use eddy_core::stream::file::{FileId, FileName};
use eddy_core::{
    Answer, BootstrapState, Command, Host, Join, Notice, Position, Refusal, Ticket, Time,
};
use serde::Serialize;

use crate::moment::{Clock, span_text};
use crate::run::RunError;
use crate::run::channels::{list, unanswered};
use crate::run::log::refusal_text;
use crate::run::node::{Answers, FIRST, Ground, Quiet, Running, Told, channel, seed};
use crate::run::signals::watched;
use crate::settings::{FilesSettings, GlobalSettings};
use crate::ui::{Mode, Ui};
use crate::url::HostPort;

/// Lookups under way at once.
const AT_ONCE: usize = 32;
/// The newest file that can be listed ended so long ago: before, viewers still
/// complete and publish it.
const SETTLE: Duration = Duration::from_secs(2);

/// `eddy files`
///
/// # Errors
/// [`RunError`] if no bootstrap server answers, or it knows no such channel.
pub fn files(global: &GlobalSettings, own: &FilesSettings, ui: &Ui) -> Result<ExitCode, RunError> {
    let servers = own.bootstrap.resolve()?;
    let anywhere: HostPort = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into();
    let (tell, told) = channel();
    watched(ui, tell.clone(), || {
        let of = find(global, own, &anywhere, tell.clone(), &told)?;
        let ground = Ground::bind(global.runtime, &anywhere)?;
        let network = global.config.dht.and_then(|dht| dht.network);
        let config = DhtConfig { network, read_only: true, ..DhtConfig::default() };
        let (local, now) = (ground.local_addr(), ground.clock.now());
        let node = DhtNode::new(config, local, &servers, seed()?, now);
        let running = Running::start(ground, node, Answers(tell.clone()), tell)?;
        let owners = look_up(&of, starts(&of, now, own.last), &running, &told);
        running.stop();
        let mut owners = owners?;
        // What nobody has at the far end is from before the channel began.
        while owners.first_entry().is_some_and(|oldest| oldest.get().is_empty()) {
            owners.pop_first();
        }
        show(&of, now, &owners, ui);
        Ok(ExitCode::SUCCESS)
    })
}

/// Looks into the channel, and leaves it again. A list would not do: off the
/// air, a channel is not listed.
fn find(
    global: &GlobalSettings,
    own: &FilesSettings,
    anywhere: &HostPort,
    tell: impl Fn(Told) + Clone + Send + 'static,
    told: &Receiver<Told>,
) -> Result<Channel, RunError> {
    let ground = Ground::bind(global.runtime, anywhere)?;
    let config = Config { dht: None, ..global.config.clone() };
    let node = Node::viewer(config, seed()?, ground.clock.now())?;
    let running = Running::start(ground, node, Quiet(tell.clone()), tell)?;
    let bootstrap = own.bootstrap.resolve()?;
    // A viewer would go on trying.
    let mut tries = bootstrap.len();
    let join = Join {
        bootstrap,
        channel: own.channel.clone(),
        key: own.key,
        known: None,
        position: Position::Live,
    };
    running.command(FIRST, Command::Join(Box::new(join)));
    let found = loop {
        match told.recv() {
            Ok(Told::Notice(_, Notice::Channel(channel))) => break Ok(*channel),
            Ok(Told::Notice(_, Notice::Ended { ticket: FIRST, result: Err(refusal) })) => {
                break Err(refused(own, refusal));
            }
            Ok(Told::Notice(_, Notice::Bootstrap(BootstrapState::Lost { .. }))) if tries <= 1 => {
                break Err(unanswered(&own.bootstrap, Refusal::NoBootstrap));
            }
            Ok(Told::Notice(_, Notice::Bootstrap(BootstrapState::Lost { .. }))) => tries -= 1,
            Ok(Told::Died(e)) => break Err(e),
            Ok(Told::Interrupt) | Err(_) => {
                break Err(RunError::new("interrupted before the answer came", "wait for it"));
            }
            Ok(_) => {}
        }
    };
    running.leave(told);
    running.stop();
    found
}

fn refused(own: &FilesSettings, refusal: Refusal) -> RunError {
    if refusal == Refusal::NoSuchChannel {
        return missing(own);
    }
    RunError::new(
        format!("{} at {}: {}", own.channel, list(&own.bootstrap), refusal_text(refusal)),
        "check the address and the link",
    )
}

fn missing(own: &FilesSettings) -> RunError {
    let servers = list(&own.bootstrap);
    RunError::new(
        format!("there is no channel {} at {servers}", own.channel),
        format!("`eddy channels --bootstrap {servers}` lists the channels that there are"),
    )
}

/// The files of the last so much of the past, the newest first.
fn starts(channel: &Channel, now: Time, last: Duration) -> impl Iterator<Item = FileId> {
    let length = channel.file().as_secs();
    let newest = FileId::at(channel, now - SETTLE).start.saturating_sub(length);
    let oldest = FileId::at(channel, now - last).start;
    let count = newest.checked_sub(oldest).map_or(0, |span| span / length + 1);
    (0..count).map(move |n| FileId { start: newest - n * length })
}

/// Asks the DHT for the owners of each.
fn look_up(
    channel: &Channel,
    mut files: impl Iterator<Item = FileId>,
    running: &Running<impl Host + Send + 'static>,
    told: &Receiver<Told>,
) -> Result<BTreeMap<FileId, BTreeSet<SocketAddr>>, RunError> {
    let id = channel.id();
    let mut found = BTreeMap::new();
    let mut asked = BTreeMap::new();
    let mut tickets = (1..).map(Ticket);
    loop {
        for (file, ticket) in files.by_ref().zip(&mut tickets).take(AT_ONCE - asked.len()) {
            asked.insert(ticket, file);
            running.command(ticket, Command::LookUp { key: Key(file.key(&id)) });
        }
        if asked.is_empty() {
            return Ok(found);
        }
        match told.recv() {
            Ok(Told::Notice(_, Notice::Ended { ticket, result })) => {
                let Some(file) = asked.remove(&ticket) else { continue };
                let owners: &mut BTreeSet<SocketAddr> = found.entry(file).or_default();
                if let Ok(Answer::Peers(peers)) = result {
                    owners.extend(peers);
                }
            }
            Ok(Told::Died(e)) => return Err(e),
            Ok(Told::Interrupt) | Err(_) => return Ok(found),
            Ok(_) => {}
        }
    }
}

#[derive(Serialize)]
struct Row {
    kind: &'static str,
    file: String,
    start_us: u64,
    owners: Vec<String>,
}

fn show(channel: &Channel, now: Time, found: &BTreeMap<FileId, BTreeSet<SocketAddr>>, ui: &Ui) {
    if ui.mode() != Mode::Json {
        return ui.result(&table(channel, now, found), &());
    }
    for (file, owners) in found.iter().rev() {
        ui.result(
            "",
            &Row {
                kind: "file",
                file: name(channel, *file),
                start_us: Time::from_secs(file.start).as_micros(),
                owners: owners.iter().map(ToString::to_string).collect(),
            },
        );
    }
}

fn name(channel: &Channel, file: FileId) -> String {
    FileName::new(channel, file).map_or_else(String::new, |name| name.to_string())
}

fn table(channel: &Channel, now: Time, found: &BTreeMap<FileId, BTreeSet<SocketAddr>>) -> String {
    if found.is_empty() {
        return "no owner was found of a file of that time; what only the provider keeps is not listed\n"
            .into();
    }
    let held = found.values().filter(|owners| !owners.is_empty()).count();
    let mut out = String::from("begins    ago      owners  file\n");
    for (file, owners) in found.iter().rev() {
        let begins = Time::from_secs(file.start);
        out.push_str(&format!(
            "{}  {:<7}  {:>6}  {}\n",
            Clock(begins),
            span_text(now.since(begins)),
            owners.len(),
            name(channel, *file)
        ));
    }
    out.push_str(&format!("{held} of {} files have owners\n", found.len()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use eddy_core::stream::channel::{ChannelSpec, Name};
    use eddy_core::stream::sign::PublicKey;

    fn channel() -> Channel {
        Channel::new(ChannelSpec {
            provider: Name::new("NCTU").unwrap(),
            name: Name::new("News").unwrap(),
            description: String::new(),
            block: Duration::from_millis(40),
            sub_streams: 8,
            file: Duration::from_secs(10),
            key: PublicKey::default(),
        })
        .unwrap()
    }

    fn seconds(now: u64, last: u64) -> Vec<u64> {
        let channel = channel();
        let starts = starts(&channel, Time::from_secs(now), Duration::from_secs(last));
        starts.map(|file| file.start).collect()
    }

    #[test]
    fn whole_files_are_asked_for_the_newest_first() {
        assert_eq!(seconds(1_000, 30), [980, 970]);
        assert_eq!(seconds(1_002, 30), [990, 980, 970]);
        assert!(seconds(1_001, 5).is_empty());
        assert_eq!(seconds(25, 3_600), [10, 0]);
    }

    #[test]
    fn the_table_tells_how_many_have_each_file() {
        let owner = |n: u8| SocketAddr::from(([10, 0, 0, n], 4_000));
        let found = BTreeMap::from([
            (FileId { start: 970 }, BTreeSet::new()),
            (FileId { start: 980 }, BTreeSet::from([owner(1), owner(2)])),
        ]);
        let text = table(&channel(), Time::from_secs(1_050), &found);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("1:10          2  NCTU_News_19700101001620"), "{text}");
        assert!(lines[2].ends_with("1:20          0  NCTU_News_19700101001610"), "{text}");
        assert_eq!(lines[3], "1 of 2 files have owners");
        let text = table(&channel(), Time::from_secs(1_050), &BTreeMap::new());
        assert!(text.starts_with("no owner was found of a file of that time"), "{text}");
    }
}
