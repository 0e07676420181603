//! Talk with the bootstrap server: registration, list, join, heartbeat.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::event::{Answer, BootstrapState, Fault, Join, Notice, Phase, Position, Refusal};
use crate::id::{LinkId, Ticket};
use crate::membership::Membership;
use crate::membership::rendezvous::Rendezvous;
use crate::node::keep::Use;
use crate::node::{Dial, Node, Stream, Timer};
use crate::partnership::Partnership;
use crate::stream::channel::Channel;
use crate::stream::sign::PublicKey;
use crate::timeshift::serve::Serving;
use crate::wire::message::{
    HeartbeatReply, JoinReply, JoinRequest, ListRequest, Member, Message, Registration,
    RegistrationResult,
};

/// After a server was away its providers come back within this time: their
/// longest wait between two tries, and some more.
const REGISTERED_WITHIN: Duration = Duration::from_secs(90);
/// Timers that mean nothing outside of a channel.
const OF_A_CHANNEL: [Timer; 8] = [
    Timer::Start,
    Timer::Tick,
    Timer::Playout,
    Timer::Members,
    Timer::Rewind,
    Timer::Reel,
    Timer::Recruit,
    Timer::Cache,
];

impl Node {
    pub(super) fn on_join(&mut self, ticket: Ticket, join: Box<Join>) {
        if self.source.is_some() {
            return self.end(ticket, Err(Refusal::NotPossible));
        }
        let known = join.known.as_ref();
        if join.bootstrap.is_empty() && known.is_none_or(|(_, m)| m.is_empty()) {
            return self.end(ticket, Err(Refusal::NoBootstrap));
        }
        let begun = self.join.is_none();
        for (ticket, _) in self.switch.take().into_iter().chain(self.join.take()) {
            self.end(ticket, Err(Refusal::Replaced));
        }
        let is_here = |s: &&mut Stream| {
            *s.channel.name() == join.channel && join.key.is_none_or(|key| key == s.channel.key())
        };
        if let Some(stream) = self.stream.as_mut().filter(is_here) {
            if begun {
                return self.on_seek(ticket, join.position);
            }
            stream.wants_live = join.position == Position::Live;
            self.join = Some((ticket, join));
            return;
        }
        self.join_dht(&join.bootstrap);
        if !self.rendezvous.serves(&join.bootstrap) {
            self.quit_bootstrap();
            self.rendezvous = Rendezvous::new(join.bootstrap.clone());
        }
        self.rendezvous.look_anew();
        if self.stream.is_some() {
            self.switch = Some((ticket, join));
        } else {
            self.begin_join(ticket, join);
        }
        match self.rendezvous.link() {
            Some(link) => self.greet_bootstrap(link),
            None => self.call_bootstrap(),
        }
    }

    /// Into a channel, from none.
    fn begin_join(&mut self, ticket: Ticket, join: Box<Join>) {
        self.joined_at = self.now;
        self.stats.startup = None;
        let known = join.known.clone();
        self.join = Some((ticket, join));
        self.phase(Phase::Joining);
        if let Some((channel, members)) = known {
            self.joined(channel, members);
        }
    }

    /// Into another channel, now that the way there is known: one is left only
    /// for one that there is.
    fn carry_out_switch(&mut self) {
        if let Some((ticket, join)) = self.switch.take() {
            self.depart();
            self.begin_join(ticket, join);
        }
    }

    pub(super) fn on_list(&mut self, ticket: Ticket, bootstrap: Vec<SocketAddr>) {
        if self.list.is_some() || self.rendezvous.has_servers() {
            return self.end(ticket, Err(Refusal::Busy));
        }
        if bootstrap.is_empty() {
            return self.end(ticket, Err(Refusal::NoBootstrap));
        }
        self.list = Some(ticket);
        self.rendezvous = Rendezvous::new(bootstrap);
        self.call_bootstrap();
    }

    /// Dials the bootstrap server whose turn it is, unless one is there.
    pub(super) fn call_bootstrap(&mut self) {
        if self.leaving.is_none()
            && let Some(server) = self.rendezvous.server()
        {
            let dial = self.dial(Dial::Bootstrap, server);
            self.rendezvous.dialling(dial);
        }
    }

    /// The link stands; what needs no nonce goes with the hello.
    pub(super) fn greet_bootstrap(&mut self, link: LinkId) {
        if self.list.is_some() {
            self.say(link, &Message::ChannelList(ListRequest { filter: String::new() }));
        }
        let request = if let Some((_, join)) = &self.switch {
            JoinRequest { name: join.channel.clone(), key: join.key }
        } else if let Some((_, join)) = &self.join {
            JoinRequest { name: join.channel.clone(), key: self.wanted_key() }
        } else if self.source.is_none()
            && let Some(stream) = &self.stream
        {
            // Back after a loss: the server may have forgotten us.
            let channel = &stream.channel;
            JoinRequest { name: channel.name().clone(), key: Some(channel.key()) }
        } else {
            return;
        };
        self.rendezvous.asked();
        self.say(link, &Message::ChannelJoin(request));
    }

    /// The server said hello: the provider can sign over its nonce.
    pub(super) fn bootstrap_greeted(&mut self) {
        if self.source.is_some() {
            self.register();
        }
    }

    fn register(&mut self) {
        let Some((link, nonce)) = self.rendezvous.talk() else { return };
        let (Some(source), Some(stream)) = (&self.source, &self.stream) else { return };
        let channel = stream.channel.clone();
        let signature = source.sign_registration(&channel, nonce);
        self.say(link, &Message::ChannelRegistration(Registration { channel, signature }));
    }

    pub(super) fn bootstrap_lost(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        if self.join.is_some() && !self.rendezvous.was_denied() {
            self.waits_until = Some(self.now + REGISTERED_WITHIN);
        }
        let at = self.rendezvous.lost(self.now, &self.config, &mut self.rng);
        self.arm(Timer::Bootstrap, at);
        self.notify(Notice::Bootstrap(BootstrapState::Lost { retry_in: at.since(self.now) }));
        if !self.rendezvous.all_failed() {
            return;
        }
        if let Some(ticket) = self.list.take() {
            self.end(ticket, Err(Refusal::NoBootstrap));
        }
        match &self.switch {
            Some((_, join)) if join.known.is_some() => self.carry_out_switch(),
            Some(_) => self.refuse_switch(Refusal::NoBootstrap),
            None => {}
        }
    }

    pub(super) fn on_bootstrap_message(&mut self, link: LinkId, message: Message) {
        match message {
            Message::ChannelListReply(channels) => {
                self.answered();
                if let Some(ticket) = self.list.take() {
                    self.end(ticket, Ok(Answer::Channels(channels)));
                }
            }
            Message::JoinReply(reply) => self.on_join_reply(*reply),
            Message::RegistrationReply(result) => {
                self.answered();
                if result == RegistrationResult::NameTaken
                    && let Some(stream) = &self.stream
                {
                    let name = stream.channel.name().clone();
                    self.notify(Notice::NameTaken(name));
                }
            }
            Message::HeartbeatReply(reply) => self.on_heartbeat_reply(link, reply),
            Message::Ping(n) => self.say(link, &Message::Pong(n)),
            Message::Pong(_) => {}
            Message::Leave => self.close_bootstrap(link),
            _ => self.fault(link, Fault::Unexpected),
        }
    }

    pub(super) fn close_bootstrap(&mut self, link: LinkId) {
        self.close(link, true);
        self.bootstrap_lost();
    }

    /// The server is there and speaks sense.
    fn answered(&mut self) {
        if self.rendezvous.answered()
            && let Some(observed) = self.rendezvous.observed()
        {
            let connectable = self.connectable;
            self.notify(Notice::Bootstrap(BootstrapState::Reached { observed, connectable }));
        }
    }

    fn on_join_reply(&mut self, reply: JoinReply) {
        self.answered();
        if !self.rendezvous.replied() && !matches!(reply, JoinReply::Joined { .. }) {
            return; // Of a join that another has replaced.
        }
        match reply {
            JoinReply::NoSuchChannel if self.rendezvous.denied() => return self.ask_next_server(),
            JoinReply::Joined { .. } => self.rendezvous.look_anew(),
            _ => {}
        }
        if let Some((_, join)) = &self.switch {
            match &reply {
                // Of the channel that we are still in: the connection was new.
                JoinReply::Joined { channel, .. } if channel.name() != &join.channel => {}
                JoinReply::Joined { channel, .. }
                    if join.key.is_some_and(|k| k != channel.key()) =>
                {
                    return self.refuse_switch(Refusal::WrongKey);
                }
                JoinReply::Joined { .. } => self.carry_out_switch(),
                JoinReply::NoSuchChannel => return self.refuse_switch(Refusal::NoSuchChannel),
                JoinReply::WrongKey => return self.refuse_switch(Refusal::WrongKey),
            }
        }
        match reply {
            // Of a channel that was given up for another.
            JoinReply::Joined { channel, .. } if !self.is_wanted(&channel) => {}
            JoinReply::Joined { channel, viewers, members } => {
                self.stats.viewers = viewers;
                match &self.stream {
                    Some(stream) if stream.channel == channel => self.learn(members),
                    // What was remembered of it no longer holds, or its provider began
                    // anew with other blocks.
                    Some(stream)
                        if self.join.is_some()
                            || stream.id == channel.id()
                                && !stream.channel.has_blocks_of(&channel) =>
                    {
                        self.depart();
                        self.joined(channel, members);
                    }
                    Some(stream) if stream.id == channel.id() => self.learn(members),
                    None if self.join.is_some() => self.joined(channel, members),
                    _ => {}
                }
            }
            // Playing: the server lost track of the channel, we did not.
            JoinReply::NoSuchChannel | JoinReply::WrongKey if self.join.is_none() => {}
            // The server is back; the provider may be later than we are.
            JoinReply::NoSuchChannel if self.waits_until.is_some_and(|t| self.now < t) => {
                self.rendezvous.look_anew();
                self.arm(Timer::Heartbeat, self.now + self.config.request_timeout);
            }
            JoinReply::NoSuchChannel => self.refuse_join(Refusal::NoSuchChannel),
            JoinReply::WrongKey => self.refuse_join(Refusal::WrongKey),
        }
    }

    fn ask_next_server(&mut self) {
        self.quit_bootstrap();
        self.rendezvous.turn();
        self.call_bootstrap();
    }

    fn is_wanted(&self, channel: &Channel) -> bool {
        self.join.as_ref().is_none_or(|(_, join)| join.channel == *channel.name())
    }

    fn wanted_key(&self) -> Option<PublicKey> {
        let (_, join) = self.join.as_ref()?;
        join.key.or_else(|| self.stream.as_ref().map(|s| s.channel.key()))
    }

    /// Leaves the channel: everybody in it is told, nothing of it is remembered.
    fn depart(&mut self) {
        let server = self.rendezvous.link();
        self.say_goodbye(|link| Some(link) != server);
        self.dials.retain(|_, (dial, _)| *dial == Dial::Bootstrap);
        self.end_leap(Refusal::Replaced);
        // Records are taken back before the next channel's files take their place.
        self.leave_cache();
        self.keep();
        self.ops.retain(|_, what| matches!(what, Use::Publish(_)));
        self.keeper = None;
        self.serving = Serving::default();
        self.partners = Partnership::default();
        self.members = Membership::default();
        self.stream = None;
        for timer in OF_A_CHANNEL {
            self.timers.disarm(timer);
        }
    }

    /// The channel is known: into its mesh.
    fn joined(&mut self, channel: Channel, members: Vec<Member>) {
        if self.wanted_key().is_some_and(|key| key != channel.key()) {
            return self.refuse_join(Refusal::WrongKey);
        }
        self.enter(channel);
        let position = self.join.as_ref().map_or(Position::Live, |(_, join)| join.position);
        self.stream.iter_mut().for_each(|s| s.wants_live = position == Position::Live);
        self.learn(members);
        self.arm(Timer::Start, self.now + self.config.request_timeout);
    }

    fn learn(&mut self, members: Vec<Member>) {
        let addrs: Vec<SocketAddr> = members.iter().map(|m| m.addr).collect();
        self.join_dht(&addrs);
        for member in members.into_iter().filter(|m| m.node != self.id) {
            self.members.add(self.now, &self.config, member);
        }
        self.find_partners();
    }

    fn refuse_join(&mut self, refusal: Refusal) {
        self.depart();
        if let Some((ticket, _)) = self.join.take() {
            self.end(ticket, Err(refusal));
        }
        // Nothing to stay in touch for.
        self.quit_bootstrap();
        self.rendezvous = Rendezvous::new(Vec::new());
    }

    /// The viewer stays where it is.
    fn refuse_switch(&mut self, refusal: Refusal) {
        if let Some((ticket, _)) = self.switch.take() {
            self.end(ticket, Err(refusal));
        }
        // The last server that was asked may not know the channel where it stays.
        self.rendezvous.look_anew();
    }

    fn quit_bootstrap(&mut self) {
        self.dials.retain(|_, (dial, _)| *dial != Dial::Bootstrap);
        if let Some((link, _)) = self.rendezvous.talk() {
            self.say(link, &Message::Leave);
        }
        if let Some(link) = self.rendezvous.link() {
            self.close(link, true);
        }
    }

    pub(super) fn heartbeat(&mut self) {
        let period = self.rng.jitter(self.config.heartbeat, 10);
        self.arm(Timer::Heartbeat, self.now + period);
        let Some((link, _)) = self.rendezvous.talk() else { return };
        match self.stream.as_ref().map(|s| s.id) {
            Some(id) => self.say(link, &Message::Heartbeat(id)),
            None => self.greet_bootstrap(link),
        }
    }

    fn on_heartbeat_reply(&mut self, link: LinkId, reply: HeartbeatReply) {
        self.stats.viewers = reply.viewers;
        if reply.connectable.is_some() && reply.connectable != self.connectable {
            self.connectable = reply.connectable;
            if let Some(observed) = self.rendezvous.observed() {
                let connectable = self.connectable;
                self.notify(Notice::Bootstrap(BootstrapState::Reached { observed, connectable }));
            }
        }
        self.answered();
        self.learn(reply.members);
        if !reply.known {
            if self.source.is_some() {
                self.register();
            } else {
                // It may have registered elsewhere since.
                self.rendezvous.look_anew();
                self.greet_bootstrap(link);
            }
        }
    }
}
