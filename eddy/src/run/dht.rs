//! `eddy dht`: a bare DHT node. With `--json` another program can use it, a
//! JSON object a line in both directions.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use eddy_core::dht::node::DhtNode;
use eddy_core::dht::{DhtConfig, Key};
use eddy_core::{Answer, Command, Delivery, Event, Host, Machine, Notice, Output, Ticket, Time};
use serde::{Deserialize, Serialize};

use crate::run::RunError;
use crate::run::log::Log;
use crate::run::node::{Ground, Running, Told, seed};
use crate::run::signals::watched;
use crate::settings::{DhtSettings, GlobalSettings};
use crate::ui::line::{DhtState, Progress};
use crate::ui::{Mode, Ui};
use crate::url::Hosts;

/// How long a record lives that a line announces.
const LIFE: Duration = Duration::from_secs(30 * 60);
/// Time between two looks at how the node does.
const SECOND: Duration = Duration::from_secs(1);

/// `eddy dht`
///
/// # Errors
/// [`RunError`] if the node cannot start.
pub fn dht(global: &GlobalSettings, own: &DhtSettings, ui: &Ui) -> Result<ExitCode, RunError> {
    let bootstrap = own.bootstrap.as_ref().map_or(Ok(Vec::new()), Hosts::resolve)?;
    let ground = Ground::bind(global.runtime, &global.listen)?;
    let local = ground.local_addr();
    let config = DhtConfig { network: own.network, ..DhtConfig::default() };
    let node = DhtNode::new(config, local, &bootstrap, seed()?, ground.clock.now());
    let id = node.dht().id().to_string();
    let state = Arc::new(Mutex::new(DhtState::default()));
    let node = Shown { node, state: state.clone() };

    let (sender, news) = mpsc::channel();
    let told = sender.clone();
    // Nobody listens any more once the command is over.
    let tell = move |news| drop(told.send(News::Told(news)));
    watched(ui, tell.clone(), || {
        let running = Running::start(ground, node, Answers(tell.clone()), tell)?;
        let listen = local.to_string();
        let text = format!("listening on {local}, id {id}\n");
        ui.result(&text, &Said::Ready { id: id.clone(), listen });
        let ended = match ui.mode() {
            Mode::Json => {
                read_lines(sender)?;
                Session { ui, running: &running, state: &state, id, asked: BTreeMap::new() }
                    .follow(&news)
            }
            _ => follow(&news, &running, &state, &mut Progress::new(ui, running.now())),
        };
        running.stop();
        ended.map(|()| ExitCode::SUCCESS)
    })
}

/// What the command is told.
enum News {
    /// By the node, or the system.
    Told(Told),
    /// On standard input.
    Line(String),
    /// Standard input has ended.
    End,
}

/// A node that shows how it does.
struct Shown {
    node: DhtNode,
    state: Arc<Mutex<DhtState>>,
}

impl Machine for Shown {
    fn handle(&mut self, now: Time, event: Event) {
        self.node.handle(now, event);
        let dht = self.node.dht();
        let state = DhtState { nodes: dht.nodes(), records: dht.records(), stats: dht.stats() };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn poll(&mut self) -> Output {
        self.node.poll()
    }
}

/// A host that passes every notice on.
struct Answers<T>(T);

impl<T: Fn(Told)> Host for Answers<T> {
    fn deliver(&mut self, _: Time, _: Delivery) {}

    fn notify(&mut self, now: Time, notice: Notice) {
        (self.0)(Told::Notice(now, notice));
    }
}

/// Shows how the node does until the user wants it to end.
fn follow<H: Host + Send + 'static>(
    news: &Receiver<News>,
    running: &Running<H>,
    state: &Mutex<DhtState>,
    progress: &mut Progress<'_>,
) -> Result<(), RunError> {
    let mut log = Log::of("dht");
    let mut next = Instant::now();
    loop {
        match news.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(News::Told(Told::Interrupt)) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Ok(News::Told(Told::Died(e))) => return Err(e),
            Ok(News::Told(Told::Notice(now, notice))) => log.notice(now, "", &notice),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout) => {
                next += SECOND;
                progress.dht(running.now(), &current(state));
            }
        }
    }
}

fn current(state: &Mutex<DhtState>) -> DhtState {
    *state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes the lines of standard input on, from a thread of its own: it ends
/// with the program, for nothing else ends a read.
fn read_lines(news: Sender<News>) -> Result<(), RunError> {
    let read = move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if news.send(News::Line(line)).is_err() {
                return;
            }
        }
        // Nobody listens any more once the command is over.
        drop(news.send(News::End));
    };
    thread::Builder::new().name("lines".into()).spawn(read).map(drop).map_err(|e| {
        RunError::new(format!("cannot read standard input: {e}"), "close other programs")
    })
}

/// What a line asks for.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Op {
    Announce { ih: String, port: u16 },
    GetPeers { ih: String },
    Info,
    Quit,
}

/// What a line tells.
#[derive(Serialize)]
#[serde(tag = "ev", rename_all = "snake_case")]
enum Said {
    Ready { id: String, listen: String },
    Announced { ih: String, ok: bool, ms: u64, stored: usize },
    Peers { ih: String, ok: bool, ms: u64, peers: Vec<String> },
    Info { id: String, nodes: usize, records: usize },
    Error { what: String },
}

/// Does what lines ask for.
struct Session<'a, H> {
    ui: &'a Ui,
    running: &'a Running<H>,
    state: &'a Mutex<DhtState>,
    id: String,
    /// The key of each operation under way, and when it began.
    asked: BTreeMap<Ticket, (Key, Time)>,
}

impl<H: Host + Send + 'static> Session<'_, H> {
    /// Until a line, the end of the lines or the user ends it.
    fn follow(&mut self, news: &Receiver<News>) -> Result<(), RunError> {
        let mut tickets = (0..).map(Ticket);
        for news in news {
            match news {
                News::Line(line) => match serde_json::from_str(&line) {
                    Ok(Op::Quit) => return Ok(()),
                    Ok(op) => {
                        let Some(ticket) = tickets.next() else { return Ok(()) };
                        self.begin(op, ticket)
                            .unwrap_or_else(|what| self.say(&Said::Error { what }));
                    }
                    Err(e) => self.say(&Said::Error { what: e.to_string() }),
                },
                News::Told(Told::Notice(now, Notice::Ended { ticket, result })) => {
                    if let Some((key, since)) = self.asked.remove(&ticket) {
                        let (ih, ms) = (key.to_string(), now.since(since).as_millis() as u64);
                        self.say(&ended(ih, ms, result.ok()));
                    }
                }
                News::Told(Told::Died(e)) => return Err(e),
                News::Told(Told::Interrupt) | News::End => return Ok(()),
                News::Told(_) => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, op: Op, ticket: Ticket) -> Result<(), String> {
        let key = |ih: String| ih.parse::<Key>().map_err(|e| e.to_string());
        let (key, command) = match op {
            Op::Announce { ih, port } => {
                let key = key(ih)?;
                (key, Command::Announce { key, port, life: LIFE })
            }
            Op::GetPeers { ih } => {
                let key = key(ih)?;
                (key, Command::LookUp { key })
            }
            Op::Info => {
                let DhtState { nodes, records, .. } = current(self.state);
                self.say(&Said::Info { id: self.id.clone(), nodes, records });
                return Ok(());
            }
            Op::Quit => return Ok(()),
        };
        self.asked.insert(ticket, (key, self.running.now()));
        self.running.command(ticket, command);
        Ok(())
    }

    fn say(&self, said: &Said) {
        self.ui.result("", said);
    }
}

/// How an operation ended; `None` if it was refused.
fn ended(ih: String, ms: u64, answer: Option<Answer>) -> Said {
    match answer {
        Some(Answer::Peers(peers)) => {
            let mut peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
            peers.sort_unstable();
            Said::Peers { ih, ok: true, ms, peers }
        }
        Some(Answer::Stored { nodes }) => Said::Announced { ih, ok: nodes > 0, ms, stored: nodes },
        _ => Said::Error { what: format!("the node has too much to do to look for {ih}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_ask_for_what_they_say() {
        let op = |line| serde_json::from_str::<Op>(line).ok();
        let announce = r#"{"op":"announce","ih":"00ff","port":4242}"#;
        assert!(matches!(op(announce), Some(Op::Announce { port: 4242, ih }) if ih == "00ff"));
        assert!(matches!(op(r#"{"op":"get_peers","ih":"00ff"}"#), Some(Op::GetPeers { .. })));
        assert!(matches!(op(r#"{"op":"info"}"#), Some(Op::Info)));
        assert!(matches!(op(r#"{"op":"quit"}"#), Some(Op::Quit)));
        for bad in ["", "{}", r#"{"op":"announce","ih":"00ff"}"#, r#"{"op":"x"}"#] {
            assert!(op(bad).is_none(), "{bad}");
        }
        assert!(op(r#"{"op":"announce","ih":"00ff","port":65536}"#).is_none());
    }

    #[test]
    fn lines_tell_what_came_of_it() {
        let line = |said: &Said| serde_json::to_string(said).unwrap();
        let peers = ["10.0.0.2:1", "10.0.0.1:1"].map(|addr| addr.parse().unwrap());
        assert_eq!(
            line(&ended("ff".into(), 12, Some(Answer::Peers(peers.into())))),
            r#"{"ev":"peers","ih":"ff","ok":true,"ms":12,"peers":["10.0.0.1:1","10.0.0.2:1"]}"#
        );
        assert_eq!(
            line(&ended("ff".into(), 3, Some(Answer::Stored { nodes: 8 }))),
            r#"{"ev":"announced","ih":"ff","ok":true,"ms":3,"stored":8}"#
        );
        assert!(line(&ended("ff".into(), 3, Some(Answer::Stored { nodes: 0 }))).contains("false"));
        assert!(line(&ended("ff".into(), 3, None)).starts_with(r#"{"ev":"error""#));
    }
}
