//! `eddy viewer`

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use eddy_core::config::{Config, PlayoutDelay};
use eddy_core::stats::Stats;
use eddy_core::stream::channel::{Channel, Name};
use eddy_core::stream::sign::PublicKey;
use eddy_core::wire::message::Member;
use eddy_core::{
    Command, Delivery, DiskRequest, Host, Join, Notice, Phase, Position, Refusal, Ticket, Time,
};
use eddy_runtime_mio::Clock as NodeClock;
use eddy_sim::record::{Header, NodeKind};
use tracing::{info, warn};

use crate::cli;
use crate::moment::{Clock, span_text};
use crate::output::Playout;
use crate::run::channels::list;
use crate::run::disk::{self, Keeper, Slot};
use crate::run::log::{Log, refusal_text};
use crate::run::node::{FIRST, Ground, Running, Told, seed};
use crate::run::record::{self, MADE_BY, Recording};
use crate::run::remote::Wish;
use crate::run::signals::watched;
use crate::run::{RunError, node, remote};
use crate::settings::{GlobalSettings, ViewerSettings};
use crate::state::{Pin, State, listed};
use crate::ts::start::Start;
use crate::ui::Ui;
use crate::ui::line::Progress;

/// The ticket of the user's first wish.
const WISHES: Ticket = Ticket(FIRST.0 + 1);
/// A leap that ends so near was no surprise: files are as long, or shorter.
const NEAR: Duration = Duration::from_secs(20);
/// How long the output has at the end for what waits.
const LAST_PACKETS: Duration = Duration::from_secs(2);
/// How long the player may stop reading, however soon blocks are given up.
const PLAYER_PAUSE: Duration = Duration::from_secs(2);

/// `eddy viewer`
///
/// # Errors
/// [`RunError`] if the channel cannot be watched.
pub fn viewer(
    global: &GlobalSettings,
    own: &ViewerSettings,
    ui: &Ui,
) -> Result<ExitCode, RunError> {
    let state = State::open(&own.state)?;
    let key = match own.key {
        Some(key) => Some(key),
        None => state.pinned(&own.channel)?,
    };
    let servers = own.bootstrap.resolve()?;
    let join = join(&state, servers.clone(), own.channel.clone(), key, own.position);
    let remembers = join.known.is_some();
    let ground = Ground::bind(global.runtime, &global.listen)?;
    let config = Config { listen: ground.reachable_at(global)?, ..config(own) };
    let (made_by, node) = (MADE_BY.into(), NodeKind::Viewer);
    let header = Header { made_by, node, start: ground.clock.now(), seed: seed()?, config };
    let playout = playout(own, ground.clock)?;

    let (tell, told) = node::channel();
    watched(ui, tell.clone(), || {
        let (disk, shelf) = disk::way(own.cache.clone());
        let host = Player { playout: Some(playout), disk, tell: tell.clone() };
        let record = own.record.as_deref();
        let (running, recording) = record::start(&header, record, ground, host, tell.clone())?;
        let keeper = shelf.start(running.handle(), tell.clone())?;
        running.command(FIRST, Command::Join(Box::new(join)));
        let mut watching = Watching {
            own,
            state,
            servers,
            remembers,
            channel: None,
            phase: Phase::Joining,
            asked: BTreeMap::new(),
            goal: Goal::of(own.position, None),
            position: None,
            next: WISHES,
            log: Log::of("viewer"),
        };
        let mut progress = Progress::new(ui, running.now());
        let keys = remote::listen(tell);
        let ended = watching.follow(&told, &running, &mut progress);
        drop(keys);
        progress.ends(running.leave(&told));
        let playout = running.stop().and_then(|host| host.playout);
        keeper.into_iter().for_each(Keeper::finish);
        recording.into_iter().for_each(Recording::finish);
        ended?;
        playout.map_or(Ok(()), |p| p.close(LAST_PACKETS)).or_else(gone)?;
        progress.viewer_total(watching.channel.map(|channel| channel.block()));
        Ok(ExitCode::SUCCESS)
    })
}

/// What is needed to join a channel. What was remembered of another provider's
/// channel of that name is of no use.
fn join(
    state: &State,
    bootstrap: Vec<SocketAddr>,
    channel: Name,
    key: Option<PublicKey>,
    position: Position,
) -> Join {
    let known = state.known(&channel);
    let known = known.filter(|(known, _)| key.is_none_or(|key| key == known.key()));
    Join { bootstrap, channel, key, known, position }
}

fn config(own: &ViewerSettings) -> Config {
    let mut config = own.config.clone();
    if config.playout_delay == PlayoutDelay::None {
        // At once means from the newest block on, too.
        config.join_offset = Duration::ZERO;
        config.start_buffer = Duration::ZERO;
    }
    config
}

fn playout(own: &ViewerSettings, clock: NodeClock) -> Result<Playout, RunError> {
    let outlet = own.output.open()?;
    let start = match own.start {
        cli::Start::Pat => Start::clean(),
        cli::Start::Any => Start::any(),
    };
    if own.config.playout_delay == PlayoutDelay::None && !outlet.may_block() {
        return Ok(Playout::direct(outlet, start));
    }
    let give_up = own.config.give_up.max(PLAYER_PAUSE);
    Playout::paced(outlet, start, Arc::new(move || clock.now()), give_up).map_err(|e| {
        RunError::new(format!("cannot start the play-out: {e}"), "close other programs")
    })
}

/// What became of a failure of the output: a player that goes away ends the
/// viewer without a word.
fn gone(e: io::Error) -> Result<(), RunError> {
    match e.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        io::ErrorKind::TimedOut => {
            warn!("the player did not take the last packets");
            Ok(())
        }
        _ => Err(RunError::new(
            format!("cannot write the output: {e}"),
            "make room for it, or give another one with --output",
        )),
    }
}

/// The host of a viewer: blocks go to the player until it fails, files to the disk.
struct Player<T> {
    playout: Option<Playout>,
    disk: Slot,
    tell: T,
}

impl<T: Fn(Told)> Host for Player<T> {
    fn deliver(&mut self, _: Time, delivery: Delivery) {
        let Some(playout) = &mut self.playout else { return };
        if let Err(e) = playout.deliver(&delivery) {
            self.playout = None;
            (self.tell)(Told::Player(e));
        }
    }

    fn notify(&mut self, now: Time, notice: Notice) {
        self.disk.notice(&notice);
        if let (Notice::Channel(_), Some(playout)) = (&notice, &mut self.playout) {
            playout.begin_again();
        }
        (self.tell)(Told::Notice(now, notice));
    }

    fn disk(&mut self, _: Time, request: DiskRequest) {
        self.disk.request(request);
    }
}

/// A moment of the past that the user wants to see.
#[derive(Clone, Copy)]
enum Goal {
    At(Time),
    Ago(Duration),
}

impl Goal {
    /// What a leap from `here` aims at; `None` if that is the live edge, or not known.
    fn of(to: Position, here: Option<Time>) -> Option<Self> {
        match to {
            Position::At(at) => Some(Self::At(at)),
            Position::Ago(ago) => Some(Self::Ago(ago)),
            Position::By(by) => here.map(|here| Self::At(here.offset(by))),
            _ => None,
        }
    }

    fn is_reached(self, at: Time, behind: Duration) -> bool {
        match self {
            Self::At(goal) => at.diff_micros(goal).unsigned_abs() <= NEAR.as_micros() as u64,
            Self::Ago(goal) => goal.abs_diff(behind) <= NEAR,
        }
    }
}

/// What the viewer's command knows while it follows its node.
struct Watching<'a> {
    own: &'a ViewerSettings,
    state: State,
    servers: Vec<SocketAddr>,
    /// Whether members of an earlier time are known.
    remembers: bool,
    channel: Option<Channel>,
    phase: Phase,
    /// What the user wanted, and was not done yet.
    asked: BTreeMap<Ticket, Wish>,
    /// The moment that was to be played, until it is known what is.
    goal: Option<Goal>,
    /// The moment that is played.
    position: Option<Time>,
    next: Ticket,
    log: Log,
}

impl Watching<'_> {
    /// Until the user, or the player, wants it to end.
    fn follow(
        &mut self,
        told: &Receiver<Told>,
        running: &Running<impl Host + Send + 'static>,
        progress: &mut Progress<'_>,
    ) -> Result<(), RunError> {
        for told in told {
            match told {
                Told::Wish(Wish::Quit) => return Ok(()),
                Told::Wish(wish) => match self.command(&wish) {
                    Ok(command) => {
                        if let Command::Seek(to) = command {
                            self.goal = Goal::of(to, self.position);
                        }
                        self.asked.insert(self.next, wish);
                        running.command(self.next, command);
                        self.next.0 += 1;
                    }
                    Err(e) => warn!(hint = e.hint, "{e}"),
                },
                Told::Notice(now, Notice::Stats(stats)) => {
                    let channel = self.channel.as_ref().map(Channel::name);
                    progress.viewer(now, channel, self.phase, &stats);
                    self.log.faults(now);
                    self.look_where_it_is(&stats);
                }
                // A switch took its place.
                Told::Notice(
                    _,
                    Notice::Ended { ticket: FIRST, result: Err(Refusal::Replaced) },
                ) => {}
                Told::Notice(_, Notice::Ended { ticket: FIRST, result: Err(refusal) }) => {
                    return Err(self.refused(&self.own.channel, refusal));
                }
                Told::Notice(_, Notice::Ended { ticket, result }) => {
                    self.ended(ticket, result.err())
                }
                Told::Notice(_, Notice::Members(members)) => self.remember(&members),
                Told::Notice(now, notice) => self.notice(now, notice)?,
                Told::Player(e) => return gone(e),
                Told::Interrupt => return Ok(()),
                Told::Died(e) => return Err(e),
                Told::Input(_) => {}
            }
        }
        Ok(())
    }

    /// What the node is to do about a wish.
    fn command(&self, wish: &Wish) -> Result<Command, RunError> {
        Ok(match wish {
            Wish::Toggle if self.phase != Phase::Paused => Command::Pause,
            Wish::Play | Wish::Toggle => Command::Play,
            Wish::Pause | Wish::Quit => Command::Pause,
            Wish::Seek(to) => Command::Seek(*to),
            Wish::Switch(to) => {
                let key = self.state.pinned(to)?;
                let key = key.or(self.own.key.filter(|_| *to == self.own.channel));
                let servers = self.servers.clone();
                Command::Join(Box::new(join(&self.state, servers, to.clone(), key, Position::Live)))
            }
        })
    }

    /// Says so if there was nothing of the moment that was to be played.
    fn look_where_it_is(&mut self, stats: &Stats) {
        self.position = stats.position;
        let (Phase::Playing, Some(at), Some(behind)) = (self.phase, stats.position, stats.behind)
        else {
            return;
        };
        if self.goal.take().is_some_and(|goal| !goal.is_reached(at, behind)) {
            let behind = span_text(behind);
            info!("that moment is not to be had: playing from {}, {behind} ago", Clock(at));
        }
    }

    /// A wish came true, or did not.
    fn ended(&mut self, ticket: Ticket, refusal: Option<Refusal>) {
        let Some(wish) = self.asked.remove(&ticket) else { return };
        match (wish, refusal) {
            // Another wish took its place.
            (_, None | Some(Refusal::Replaced | Refusal::Leaving)) => {}
            (Wish::Switch(to), Some(refusal)) => {
                let e = self.refused(&to, refusal);
                warn!("{e}; staying in this one");
            }
            (_, Some(refusal)) => warn!("not now: {}", refusal_text(refusal)),
        }
    }

    fn notice(&mut self, now: Time, notice: Notice) -> Result<(), RunError> {
        let meanwhile = match self.phase {
            Phase::Joining if self.remembers => "trying viewers remembered from last time",
            Phase::Joining => "nothing to play before it does",
            _ => "playing goes on",
        };
        self.log.notice(now, meanwhile, &notice);
        match notice {
            Notice::Phase(phase) => self.phase = phase,
            Notice::Channel(channel) => {
                self.pin(&channel)?;
                self.channel = Some(*channel);
            }
            _ => {}
        }
        Ok(())
    }

    fn key_is_given(&self, channel: &Name) -> bool {
        self.own.key.is_some() && *channel == self.own.channel
    }

    fn pin(&self, channel: &Channel) -> Result<(), RunError> {
        if !self.key_is_given(channel.name())
            && self.state.pin(channel.name(), channel.key())? == Pin::New
        {
            info!(
                key = %channel.key(),
                "first time in this channel: its key is trusted from now on, and no other"
            );
        }
        Ok(())
    }

    /// Without the memory all goes well until the next start, so a failure
    /// stops nothing.
    fn remember(&self, members: &[Member]) {
        let Some(channel) = &self.channel else { return };
        if let Err(e) = self.state.remember(channel, members) {
            warn!(hint = e.hint(), "{e}");
        }
    }

    fn refused(&self, name: &Name, refusal: Refusal) -> RunError {
        let servers = list(&self.own.bootstrap);
        match refusal {
            Refusal::NoSuchChannel => RunError::new(
                format!("there is no channel {name} at {servers}"),
                format!(
                    "the provider may not be on the air yet: start this again once it is; \
                     `eddy channels --bootstrap {servers}` lists the channels that there are"
                ),
            ),
            Refusal::WrongKey if self.key_is_given(name) => RunError::new(
                format!("the channel {name} at {servers} has another key than the one given"),
                "ask the provider for the channel's link",
            ),
            Refusal::WrongKey => RunError::new(
                format!("the channel {name} at {servers} has another key than it had before"),
                format!(
                    "somebody may be posing as the provider, or it is another server's channel of \
                     that name: give the right key with --key HEX, or delete {} to trust the next",
                    listed(&self.state.keeps_key(name))
                ),
            ),
            Refusal::NoBootstrap => RunError::new(
                format!("no bootstrap server answered at {servers}"),
                "check the address, and whether `eddy bootstrap` runs there",
            ),
            other => RunError::new(
                format!("cannot join the channel {name}: {}", refusal_text(other)),
                "try again",
            ),
        }
    }
}
