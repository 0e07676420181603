//! Links: how they open, what they are for, how they end.

use alloc::boxed::Box;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use crate::event::{Action, Answer, Fault, Notice, Refusal};
use crate::id::{DialId, LinkId, NodeId, Ticket};
use crate::link::{Link, Role};
use crate::node::{Dial, Leaving, Node, STATS, Timer};
use crate::stream::block::BLOCK_HEADER;
use crate::timer::TimerQueue;
use crate::wire::frame::FrameError;
use crate::wire::message::{
    Hello, MAX_REFERRALS, Member, Message, Purpose, Reason, Refuse, Token, VERSION,
};
use crate::wire::parse::ParseError;

/// Who asks for the past and has not asked for this long holds a connection that
/// others may want.
const IDLE: Duration = Duration::from_secs(60);
/// Actions for which room is kept.
const ROOM: usize = 4;

impl Node {
    pub(super) fn dial(&mut self, dial: Dial, to: SocketAddr) -> DialId {
        let id = DialId(self.next_dial);
        self.next_dial += 1;
        self.dials.insert(id, (dial, self.now));
        self.actions.push_back(Action::Dial { dial: id, to });
        id
    }

    pub(super) fn on_opened(&mut self, link: LinkId, dial: Option<DialId>, remote: SocketAddr) {
        if self.leaving.is_some() {
            return self.actions.push_back(Action::Close { link, flush: false });
        }
        let Some(id) = dial else {
            if self.links.has_room(&self.config, remote.ip()) {
                self.links.open(self.now, link, remote, Role::Accepted);
            } else {
                self.actions.push_back(Action::Close { link, flush: false });
                self.crowded(remote);
            }
            return;
        };
        let purpose = match self.dials.get(&id).map(|(dial, _)| *dial) {
            Some(Dial::Bootstrap) => Purpose::Bootstrap,
            Some(Dial::Partner(_)) => match &self.stream {
                Some(stream) => Purpose::Control(stream.id),
                None => return self.actions.push_back(Action::Close { link, flush: false }),
            },
            Some(Dial::BlockIn(_, token) | Dial::BlockOut(_, token)) => Purpose::Block(token),
            Some(Dial::Past(..)) => match &self.stream {
                Some(stream) => Purpose::TimeShift(stream.id),
                None => return self.actions.push_back(Action::Close { link, flush: false }),
            },
            // Nobody waits for it any more.
            None => return self.actions.push_back(Action::Close { link, flush: false }),
        };
        let Some((dial, since)) = self.dials.remove(&id) else { return };
        self.links.open(self.now, link, remote, Role::Dialled(purpose));
        self.say_hello(link, purpose, remote);
        match dial {
            Dial::Bootstrap => {
                self.rendezvous.linked(link);
                self.greet_bootstrap(link);
            }
            Dial::Partner(node) => {
                if let Some(l) = self.links.get_mut(link) {
                    l.peer = Some(node);
                }
                // A TCP handshake is a round trip: the first measure there is.
                if let Some(p) = self.partners.get_mut(node) {
                    p.measured(self.now.since(since));
                }
                let map = self.own_map(node, true);
                self.say(link, &Message::BufferMap(map));
            }
            Dial::BlockIn(node, _) | Dial::BlockOut(node, _) => {
                let role = match dial {
                    Dial::BlockIn(..) => Role::BlockIn(node),
                    _ => Role::BlockOut(node),
                };
                self.attach(link, node, role);
            }
            Dial::Past(errand, addr) => {
                let max = self.max_frame();
                if let Some(l) = self.links.get_mut(link) {
                    l.role = Role::PastIn(errand);
                    l.framer.set_max(max);
                    l.framer.allow_blocks(true);
                }
                self.past_opened(errand, link, addr);
            }
        }
    }

    pub(super) fn on_dial_failed(&mut self, dial: DialId) {
        let Some((dial, _)) = self.dials.remove(&dial) else { return };
        match dial {
            Dial::Bootstrap => self.bootstrap_lost(),
            Dial::Partner(node) => self.partner_unreachable(node),
            Dial::BlockIn(node, token) => {
                let Some(p) = self.partners.get_mut(node) else { return };
                p.dialling = false;
                if p.block_in.is_some() {
                    return; // It dialled us meanwhile.
                }
                // A dial takes its time to fail. Meanwhile newer tokens may have come,
                // and it remembers no more than the last few.
                let token = p.spare.take().unwrap_or(token);
                p.dial_back = Some(token);
                self.tell(node, &Message::DialBack(token));
            }
            Dial::Past(errand, addr) => self.past_lost(errand, addr),
            // Neither can reach the other: no blocks between us.
            Dial::BlockOut(node, _) => self.drop_partner(node),
        }
    }

    /// A connection was turned away. A flood of them is told of once a second.
    fn crowded(&mut self, remote: SocketAddr) {
        self.stats.faults += 1;
        if self.crowded.is_none_or(|at| self.now.since(at) >= STATS) {
            self.crowded = Some(self.now);
            self.notify(Notice::Fault { node: None, remote, fault: Fault::TooMany });
        }
    }

    /// Whether a partnership with this node is being opened.
    pub(super) fn is_dialling(&self, node: NodeId) -> bool {
        self.dials.values().any(|(dial, _)| *dial == Dial::Partner(node))
            || self.links.iter().any(|(_, l)| {
                l.peer == Some(node) && matches!(l.role, Role::Dialled(Purpose::Control(_)))
            })
    }

    /// Whether a partner is who it says: we dialled it as this node. Whoever dials us
    /// may take any name.
    pub(super) fn was_dialled(&self, node: NodeId) -> bool {
        let control = self.partners.get(node).and_then(|p| p.control);
        control.is_some_and(|link| self.node_of(link) == Some(node))
    }

    fn say_hello(&mut self, link: LinkId, purpose: Purpose, remote: SocketAddr) {
        let hello = Hello {
            max_frame: u32::try_from(self.max_frame()).unwrap_or(u32::MAX),
            node: self.id,
            purpose,
            listen: self.config.listen,
            observed: remote,
            nonce: self.rng.next_u64(),
        };
        self.say(link, &Message::Hello(hello));
    }

    fn max_frame(&self) -> usize {
        self.config.max_block + BLOCK_HEADER
    }

    pub(super) fn on_message(&mut self, link: LinkId, message: Message) {
        let Some(l) = self.links.get_mut(link) else { return };
        let role = l.role;
        match (role, message) {
            (Role::Closing, _) => {}
            (_, Message::Hello(_)) if l.greeted => self.fault(link, Fault::Unexpected),
            (_, Message::Hello(hello)) => {
                l.greeted = true;
                l.max_frame = usize::try_from(hello.max_frame).unwrap_or(usize::MAX);
                if l.dialled {
                    self.on_hello_reply(link, role, hello);
                } else {
                    self.on_hello(link, hello);
                }
            }
            (
                Role::Dialled(_)
                | Role::Bootstrap
                | Role::BlockIn(_)
                | Role::BlockOut(_)
                | Role::PastIn(_),
                Message::Refuse(refuse),
            ) => self.on_refuse(link, role, refuse),
            (Role::Control(node), Message::Refuse(refuse)) => self.on_refused_late(node, refuse),
            (Role::Bootstrap, message) => self.on_bootstrap_message(link, message),
            (Role::Control(node), message) => self.on_partner_message(link, node, message),
            (Role::PastIn(errand), message) => self.on_source_message(errand, link, message),
            (Role::PastOut, message) => self.on_time_shift_message(link, message),
            (Role::Probe, Message::Ping(n)) => self.say(link, &Message::Pong(n)),
            _ => self.fault(link, Fault::Unexpected),
        }
    }

    /// Somebody opened a connection to us and says what for.
    fn on_hello(&mut self, link: LinkId, hello: Hello) {
        let Some(remote) = self.links.get(link).map(|l| l.remote) else { return };
        match hello.purpose {
            Purpose::Bootstrap => self.refuse(link, Reason::Channel),
            Purpose::Probe => {
                self.set_role(link, Role::Probe);
                self.say_hello(link, hello.purpose, remote);
            }
            Purpose::Control(channel) => {
                if self.stream.as_ref().is_none_or(|s| s.id != channel) {
                    return self.refuse(link, Reason::Channel);
                }
                if hello.node == self.id {
                    return self.refuse(link, Reason::Duplicate);
                }
                if self.members.is_banned(hello.node) {
                    return self.close(link, false);
                }
                let known = self.partners.contains(hello.node);
                if !known && self.partners.len() >= self.config.max_partners {
                    return self.refuse(link, Reason::Full);
                }
                let member = self.member_from(&hello, remote);
                if !self.adopt(link, member, false) {
                    return self.refuse(link, Reason::Duplicate);
                }
                self.say_hello(link, hello.purpose, remote);
                let map = self.own_map(hello.node, false);
                self.say(link, &Message::BufferMap(map));
                self.begin_partnership(hello.node);
            }
            Purpose::TimeShift(channel) => {
                if self.stream.as_ref().is_none_or(|s| s.id != channel) {
                    return self.refuse(link, Reason::Channel);
                }
                let addr = self.member_from(&hello, remote).addr;
                if let Some(l) = self.links.get_mut(link) {
                    l.role = Role::PastOut;
                    l.peer_addr = Some(Box::new(addr));
                }
                self.serving.open(link);
                self.say_hello(link, hello.purpose, remote);
            }
            Purpose::Block(token) => match self.redeem(hello.node, token) {
                Some(role) => {
                    self.say_hello(link, hello.purpose, remote);
                    self.attach(link, hello.node, role);
                    self.block_link_open(link, hello.node, role);
                }
                None => self.refuse(link, Reason::Token),
            },
        }
    }

    /// The other end of a connection that we opened says hello back.
    fn on_hello_reply(&mut self, link: LinkId, role: Role, hello: Hello) {
        let Some(remote) = self.links.get(link).map(|l| l.remote) else { return };
        match role {
            Role::Dialled(Purpose::Bootstrap) => {
                self.set_role(link, Role::Bootstrap);
                self.rendezvous.greeted(hello.nonce, hello.observed);
                self.bootstrap_greeted();
            }
            Role::Dialled(Purpose::Control(_)) => {
                if hello.node == self.id {
                    self.members.forget(hello.node);
                    return self.close(link, false);
                }
                let member = self.member_from(&hello, remote);
                if let Some(old) = self.node_of(link).filter(|old| *old != hello.node) {
                    // Its node began anew, under another id.
                    self.members.forget(old);
                }
                if !self.adopt(link, member, true) {
                    return self.close(link, true);
                }
                self.begin_partnership(hello.node);
            }
            Role::BlockIn(node) | Role::BlockOut(node) => {
                if node != hello.node {
                    return self.fault(link, Fault::Unexpected);
                }
                self.block_link_open(link, node, role);
            }
            Role::PastIn(_) => {}
            _ => self.fault(link, Fault::Unexpected),
        }
    }

    /// Whose a token is, and which way blocks go on the link that shows it.
    fn redeem(&mut self, node: NodeId, token: Token) -> Option<Role> {
        let p = self.partners.get_mut(node)?;
        if let Some(at) = p.offered.iter().position(|t| *t == token) {
            p.offered.remove(at);
            return Some(Role::BlockOut(node));
        }
        (p.dial_back == Some(token)).then(|| {
            p.dial_back = None;
            Role::BlockIn(node)
        })
    }

    /// A link becomes the way that blocks take between us and a partner.
    fn attach(&mut self, link: LinkId, node: NodeId, role: Role) {
        self.set_role(link, role);
        let Some(p) = self.partners.get_mut(node) else { return self.close(link, false) };
        let slot = match role {
            Role::BlockIn(_) => &mut p.block_in,
            _ => &mut p.block_out,
        };
        let old = slot.replace(link);
        p.dialling &= !matches!(role, Role::BlockIn(_));
        if let Some(old) = old.filter(|old| *old != link) {
            self.close(old, false);
        }
    }

    /// A block link has said hello both ways.
    fn block_link_open(&mut self, link: LinkId, node: NodeId, role: Role) {
        let max = self.max_frame();
        if let Some(l) = self.links.get_mut(link) {
            if matches!(role, Role::BlockIn(_)) {
                l.framer.set_max(max);
                l.framer.allow_blocks(true);
            }
            l.heard = self.now;
        }
        if matches!(role, Role::BlockOut(_)) {
            self.serve_all(node);
            self.offer_token(node);
        }
    }

    pub(super) fn set_role(&mut self, link: LinkId, role: Role) {
        if let Some(l) = self.links.get_mut(link) {
            l.role = role;
        }
    }

    /// The link of a partnership stands, be it the first or another one.
    fn begin_partnership(&mut self, node: NodeId) {
        self.offer_token(node);
        self.ping(node);
        self.resume(node);
    }

    /// A member as it describes itself; what it leaves open we have seen.
    fn member_from(&self, hello: &Hello, remote: SocketAddr) -> Member {
        let mut addr = hello.listen;
        if addr.ip().is_unspecified() {
            addr.set_ip(remote.ip());
        }
        let known = self.members.get(hello.node);
        Member {
            node: hello.node,
            addr,
            connectable: known.is_none_or(|m| m.connectable),
            provider: known.is_some_and(|m| m.provider),
            age: 0,
        }
    }

    /// Sends somebody away, with others to try.
    fn refuse(&mut self, link: LinkId, reason: Reason) {
        let referrals = match reason {
            Reason::Full => self.referrals(NodeId::default()),
            _ => SmallVec::new(),
        };
        let refuse = Refuse { reason, version: VERSION, referrals };
        self.say(link, &Message::Refuse(refuse));
        self.close(link, true);
    }

    /// Up to four members to try instead of us.
    pub(super) fn referrals(&mut self, but: NodeId) -> SmallVec<[Member; MAX_REFERRALS]> {
        let found = self.members.sample(self.now, &mut self.rng, MAX_REFERRALS + 1, but);
        found.into_iter().filter(|m| !m.provider).take(MAX_REFERRALS).collect()
    }

    fn on_refuse(&mut self, link: LinkId, role: Role, refuse: Refuse) {
        if refuse.reason == Reason::Version {
            self.fault(link, Fault::Version(refuse.version));
            return;
        }
        for member in &refuse.referrals {
            self.members.add(self.now, &self.config, *member);
        }
        let node = self.node_of(link);
        self.close(link, false);
        // Refused as a duplicate, the other of two crossing links stands.
        self.dialled_in_vain(role, node.filter(|_| refuse.reason != Reason::Duplicate));
        self.on_link_gone(link, role);
        if !refuse.referrals.is_empty() {
            self.find_partners();
        }
    }

    /// The member that a link was dialled to.
    fn node_of(&self, link: LinkId) -> Option<NodeId> {
        self.links.get(link)?.peer
    }

    pub(super) fn on_frame_error(&mut self, link: LinkId, error: FrameError) {
        let fault = match error {
            FrameError::Oversized(_) => Fault::Oversized,
            FrameError::Parse(ParseError::Version(version)) => {
                let Some(l) = self.links.get(link) else { return };
                let (role, remote, peer) = (l.role, l.remote, l.peer);
                let fault = Fault::Version(version);
                self.stats.faults += 1;
                self.notify(Notice::Fault { node: None, remote, fault });
                // It should hear why before it is cut off.
                self.refuse(link, Reason::Version);
                self.dialled_in_vain(role, peer);
                return self.on_link_gone(link, role);
            }
            _ => Fault::Garbage,
        };
        self.fault(link, fault);
    }

    pub(super) fn on_closed(&mut self, link: LinkId) {
        if let Some(l) = self.links.remove(link) {
            self.dialled_in_vain(l.role, l.peer);
            self.on_link_gone(link, l.role);
        }
        if self.leaving.is_some() && self.links.len() == 0 {
            self.left();
        }
    }

    /// A link that was dialled for a partnership ended before its hello.
    pub(super) fn dialled_in_vain(&mut self, role: Role, peer: Option<NodeId>) {
        if let (Role::Dialled(Purpose::Control(_)), Some(node)) = (role, peer) {
            self.partner_unreachable(node);
        }
    }

    /// What a link that is gone means to the part that used it. One that was
    /// replaced before means nothing.
    pub(super) fn on_link_gone(&mut self, link: LinkId, role: Role) {
        let partner = |node| self.partners.get(node);
        match role {
            Role::Bootstrap | Role::Dialled(Purpose::Bootstrap) => self.bootstrap_lost(),
            Role::Control(node) if partner(node).is_some_and(|p| p.control == Some(link)) => {
                self.control_lost(node);
            }
            Role::BlockIn(node) if partner(node).is_some_and(|p| p.block_in == Some(link)) => {
                self.block_in_lost(node);
            }
            Role::BlockOut(node) if partner(node).is_some_and(|p| p.block_out == Some(link)) => {
                self.block_out_lost(node);
            }
            Role::PastOut => self.serving.close(link),
            Role::PastIn(errand) => {
                if let Some(addr) = self.source_of(errand, link) {
                    self.past_lost(errand, addr);
                }
            }
            _ => {}
        }
    }

    /// Links whose handshake, or whose frame, takes too long, and links on which
    /// nobody asks for the past any more.
    pub(super) fn check_links(&mut self) {
        let (now, limit) = (self.now, self.config.handshake);
        let idle: SmallVec<[LinkId; 8]> = self
            .links
            .iter()
            .filter(|(_, l)| l.role == Role::PastOut && now.since(l.heard) > IDLE)
            .map(|(id, _)| id)
            .collect();
        for link in idle {
            self.close(link, false);
            self.on_link_gone(link, Role::PastOut);
        }
        let slow: SmallVec<[(LinkId, bool); 8]> = self
            .links
            .iter()
            .filter_map(|(id, l)| {
                let began = match l.role {
                    Role::Accepted | Role::Dialled(_) | Role::Probe => Some(l.since),
                    _ if l.dialled && !l.greeted => Some(l.since),
                    // A large block may take its time; the lag of its
                    // sub-stream tells when that is too long.
                    Role::BlockIn(_) => None,
                    _ => l.partial,
                };
                (now.since(began?) > limit).then_some((id, l.role != Role::Probe))
            })
            .collect();
        for (link, is_fault) in slow {
            if is_fault {
                self.fault(link, Fault::Slow);
            } else {
                self.close(link, false);
            }
        }
        // A server that is silent for three heartbeats is gone, whatever its
        // connection says: a join or a list must not wait for it.
        let silence = self.config.heartbeat * 3;
        let mute = self
            .links
            .iter()
            .find(|(_, l)| l.role == Role::Bootstrap && l.dialled && now.since(l.heard) > silence);
        if let Some((link, _)) = mute {
            self.close_bootstrap(link);
        }
    }

    /// Gives back the room that a burst took: a world holds very many of us.
    pub(super) fn trim(&mut self) {
        self.actions.shrink_to(ROOM);
        self.links.trim();
    }

    pub(super) fn on_leave(&mut self, ticket: Ticket) {
        // The last word on what was done, while there is a stream to tell of.
        let stats = Box::new(self.stats());
        self.notify(Notice::Stats(stats));
        self.leaving = Some(Leaving { ticket, done: false });
        if let Some((link, _)) = self.rendezvous.talk() {
            self.say(link, &Message::Leave);
        }
        self.say_goodbye(|_| true);
        self.end_leap(Refusal::Leaving);
        self.leave_cache();
        self.stream = None;
        self.source = None;
        self.timers = TimerQueue::default();
        if self.links.len() == 0 {
            self.left();
        } else {
            self.arm(Timer::Leave, self.now + self.config.handshake);
        }
    }

    /// Tells partners that we go, and closes these links once that is said.
    pub(super) fn say_goodbye(&mut self, to: impl Fn(LinkId) -> bool) {
        let controls: SmallVec<[LinkId; 16]> =
            self.partners.iter().filter_map(|p| p.control).collect();
        for link in controls {
            self.say(link, &Message::Leave);
        }
        let open = |(id, l): (LinkId, &Link)| (l.role != Role::Closing && to(id)).then_some(id);
        let all: SmallVec<[LinkId; 16]> = self.links.iter().filter_map(open).collect();
        for link in all {
            self.links.drain_control(self.now, link, &mut self.stats, &mut self.actions);
            self.set_role(link, Role::Closing);
            self.actions.push_back(Action::Close { link, flush: true });
        }
    }

    /// Every link is closed, or has had its time.
    pub(super) fn left(&mut self) {
        self.timers.disarm(Timer::Leave);
        let Some(Leaving { ticket, done }) = &mut self.leaving else { return };
        // Not twice, however many links still close.
        if core::mem::replace(done, true) {
            return;
        }
        let ticket = *ticket;
        for (join, _) in self.join.take().into_iter().chain(self.switch.take()) {
            self.end(join, Err(Refusal::Leaving));
        }
        if let Some(list) = self.list.take() {
            self.end(list, Err(Refusal::Leaving));
        }
        self.end(ticket, Ok(Answer::Done));
    }
}
