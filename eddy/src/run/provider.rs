//! `eddy provider`

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use eddy_core::config::Config;
use eddy_core::node::Node;
use eddy_core::stream::channel::Channel;
use eddy_core::{BootstrapState, Command, Event, Host, Notice, Refusal, Seq, Ticket, Time};
use eddy_runtime_mio::{Full, Handle};
use serde::Serialize;
use tracing::{error, info, warn};

use crate::input::{End, InputError, Source};
use crate::run::disk::{self, Keeper};
use crate::run::log::{Log, refusal_text};
use crate::run::node::{Ground, Keeping, PACKETS, Running, Told, seed};
use crate::run::signals::watched;
use crate::run::{RunError, node};
use crate::settings::{GlobalSettings, ProviderSettings};
use crate::state::{SequenceMark, State};
use crate::ui::Ui;
use crate::ui::line::Progress;
use crate::url::ChannelUrl;

/// How long the last block has on its way to the children.
const LAST_BLOCK: Duration = Duration::from_millis(500);
/// How long a packet waits before it is offered again to a busy node.
const BUSY: Duration = Duration::from_millis(1);

/// `eddy provider`
///
/// # Errors
/// [`RunError`] if the channel cannot be provided.
pub fn provider(
    global: &GlobalSettings,
    own: &ProviderSettings,
    ui: &Ui,
) -> Result<ExitCode, RunError> {
    let state = State::open(&own.state)?;
    let signer = state.signer(&own.provider_name)?;
    let channel = own.channel(signer.public())?;
    let servers = own.bootstrap.resolve()?;
    let source = own.input.open()?;
    let ground = Ground::bind(global.runtime, &global.listen)?;
    let config = Config { listen: ground.reachable_at(global)?, ..own.config.clone() };

    let start = ground.clock.now();
    let _claim = state.claim(&channel)?;
    let mut numbers = Numbers::new(state.sequence(&channel), channel.clone(), start);
    let machine =
        Node::provider(config, channel.clone(), signer, servers, numbers.last, seed()?, start)?;
    numbers.keep(start);

    let (tell, told) = node::channel();
    watched(ui, tell.clone(), || {
        let listening = source.local_addr();
        let (slot, shelf) = disk::way(own.cache.clone());
        let host = Keeping { tell: tell.clone(), disk: slot };
        let running = Running::start(ground, machine, host, tell.clone())?;
        let keeper = shelf.start(running.handle(), tell.clone())?;
        let feed = Feed::start(source, running.handle(), tell)?;
        announce(own, &channel, listening, ui);
        let mut progress = Progress::new(ui, start);
        let ended = follow(&told, &running, &feed, &mut numbers, &channel, &mut progress);
        feed.stop();
        progress.ends(running.leave(&told));
        numbers.release(running.now());
        drop(running.stop());
        keeper.into_iter().for_each(Keeper::finish);
        ended?;
        progress.provider_total();
        Ok(ExitCode::SUCCESS)
    })
}

/// Until the user wants it to end, or the last packet is out.
fn follow(
    told: &Receiver<Told>,
    running: &Running<impl Host + Send + 'static>,
    feed: &Feed,
    numbers: &mut Numbers,
    channel: &Channel,
    progress: &mut Progress<'_>,
) -> Result<(), RunError> {
    let mut log = Log::of("provider");
    let mut refused = Refused::default();
    let mut waits = 0;
    let mut last_out: Option<Instant> = None;
    let (mut answered, mut registered) = (false, false);
    loop {
        let next = match last_out {
            Some(at) => told.recv_timeout(at.saturating_duration_since(Instant::now())),
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(Told::Notice(now, Notice::Stats(stats))) => {
                // A refusal comes with the answer itself, not a second later.
                registered |= answered;
                progress.provider(now, &stats);
                log.faults(now);
                numbers.keep(running.now());
                refused.report();
                waits = feed.report_waits(waits);
            }
            Ok(Told::Notice(_, Notice::Ended { ticket, result: Err(refusal) }))
                if ticket >= PACKETS =>
            {
                refused.count(refusal);
            }
            // Later, at a server that lost its memory or at another, it costs those who are
            // to come: the viewers that are here are served on.
            Ok(Told::Notice(_, Notice::NameTaken(name))) if !registered => {
                return Err(RunError::new(
                    format!("the channel name {name} belongs to another provider's key"),
                    "give another name with --channel; if this one is yours, give the folder that \
                     holds its key with --state DIR, and the --provider-name that it has there",
                ));
            }
            Ok(Told::Notice(now, notice)) => {
                answered |= matches!(notice, Notice::Bootstrap(BootstrapState::Reached { .. }));
                log.notice(now, "sending goes on", &notice);
            }
            Ok(Told::Input(Ok(End::Exhausted))) => {
                info!("the input has ended; leaving when the last block is out");
                last_out = Some(Instant::now() + channel.block() + LAST_BLOCK);
            }
            Ok(Told::Input(Ok(End::Stopped))) | Ok(Told::Interrupt) => return Ok(()),
            Ok(Told::Input(Err(e))) => return Err(e.into()),
            Ok(Told::Died(e)) => return Err(e),
            Ok(Told::Player(_) | Told::Wish(_)) => {}
            Err(_) => return Ok(()),
        }
    }
}

/// The channel's link: what viewers need to know.
fn announce(own: &ProviderSettings, channel: &Channel, input: Option<SocketAddr>, ui: &Ui) {
    #[derive(Serialize)]
    struct Object {
        kind: &'static str,
        url: String,
        input: Option<SocketAddr>,
    }
    if let Some(input) = input {
        info!("waiting for the encoder's packets on udp://{input}");
    }
    let url = ChannelUrl {
        bootstrap: own.bootstrap.as_slice()[0].clone(),
        channel: channel.name().clone(),
        key: Some(channel.key()),
    };
    let url = url.to_string();
    ui.result(&format!("{url}\n"), &Object { kind: "channel", url: url.clone(), input });
}

/// Keeps the mark of used sequence numbers.
struct Numbers {
    mark: SequenceMark,
    channel: Channel,
    /// The highest number of earlier runs.
    last: Option<Seq>,
    /// How far the numbers are ahead of the clock, so as to be above `last`.
    ahead: Duration,
}

impl Numbers {
    fn new(mark: SequenceMark, channel: Channel, start: Time) -> Self {
        let last = mark.last();
        let ahead = last.map_or(Duration::ZERO, |l| channel.slot_end(l).since(start));
        Self { mark, channel, last, ahead }
    }

    fn used(&self, now: Time) -> Seq {
        self.channel.seq_at(now + self.ahead)
    }

    /// Takes note of what is used now. Without the note all goes well until
    /// the next start, so a failure stops nothing.
    fn keep(&mut self, now: Time) {
        if let Err(e) = self.mark.used(self.used(now)) {
            warn!(hint = e.hint(), "{e}; a restart after a crash may repeat sequence numbers");
        }
    }

    fn release(self, now: Time) {
        let used = self.used(now);
        if let Err(e) = self.mark.release(used) {
            warn!(hint = e.hint(), "{e}");
        }
    }
}

/// Packets that the node refused since the last report.
#[derive(Default)]
struct Refused {
    packets: u64,
    why: Option<Refusal>,
}

impl Refused {
    fn count(&mut self, refusal: Refusal) {
        self.packets += 1;
        self.why = Some(refusal);
    }

    fn report(&mut self) {
        if let Some(why) = self.why.take() {
            error!("{} packets could not be sent: {}", self.packets, refusal_text(why));
            self.packets = 0;
        }
    }
}

/// The input, on a thread of its own.
pub(super) struct Feed {
    stop: Arc<AtomicBool>,
    waits: Arc<AtomicU64>,
}

impl Feed {
    /// Hands every packet of the source to the node, and tells of its end.
    pub(super) fn start(
        source: Source,
        node: Handle,
        tell: impl Fn(Told) + Send + 'static,
    ) -> Result<Self, InputError> {
        let stop = Arc::new(AtomicBool::new(false));
        let waits = Arc::new(AtomicU64::new(0));
        let (stopped, waited) = (stop.clone(), waits.clone());
        let run = move || {
            let mut ticket = PACKETS;
            let end = source.run(&stopped, |packet| {
                let mut event = Event::Command { ticket, command: Command::Publish(packet) };
                // The node wakes by itself at the end of the slot. While its
                // queue is full the input's own buffer holds what comes.
                while let Err(Full(back)) = node.post(event) {
                    if stopped.load(Ordering::Relaxed) {
                        return ControlFlow::Break(());
                    }
                    waited.fetch_add(1, Ordering::Relaxed);
                    event = back;
                    thread::sleep(BUSY);
                }
                ticket = Ticket(ticket.0 + 1);
                ControlFlow::Continue(())
            });
            tell(Told::Input(end));
        };
        thread::Builder::new().name("input".into()).spawn(run).map_err(InputError::Read)?;
        Ok(Self { stop, waits })
    }

    /// Has it end, without waiting for that: nothing can interrupt a read of a
    /// silent pipe.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Warns if packets had to wait for the node since `before` waits, and
    /// gives the number of waits now.
    fn report_waits(&self, before: u64) -> u64 {
        let now = self.waits.load(Ordering::Relaxed);
        if now > before {
            warn!("this machine is too slow for the input: packets wait, and leave late");
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eddy_core::stream::channel::{ChannelSpec, Name};
    use eddy_core::stream::sign::PublicKey;

    #[test]
    fn numbers_run_on_from_the_mark_even_if_the_clock_went_back() {
        let folder = std::env::temp_dir().join(format!("eddy-numbers-{}", std::process::id()));
        let state = State::open(&folder).unwrap();
        let name = Name::new("News").unwrap();
        let channel = Channel::new(ChannelSpec {
            provider: name.clone(),
            name,
            description: String::new(),
            block: Duration::from_millis(40),
            sub_streams: 8,
            file: Duration::from_secs(10),
            key: PublicKey::default(),
        })
        .unwrap();
        let numbers = |start| Numbers::new(state.sequence(&channel), channel.clone(), start);
        let (noon, second) = (Time::from_secs(1_800_000_000), Duration::from_secs(1));

        let mut first = numbers(noon);
        assert_eq!((first.last, first.used(noon)), (None, channel.seq_at(noon)));
        first.keep(noon + second);
        let crashed_at = first.used(noon + second);

        let early = noon - second * 60;
        let second_run = numbers(early);
        let last = second_run.last.expect("the mark was kept");
        assert!(last > crashed_at);
        assert_eq!(second_run.used(early), last.plus(1));
        assert_eq!(second_run.used(early + second), last.plus(26));
        second_run.release(early + second);

        assert_eq!(numbers(early).last, Some(last.plus(26)));
        let late = numbers(noon + second * 60);
        assert_eq!(late.used(noon + second * 60), channel.seq_at(noon + second * 60));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
