//! Partners: finding them, keeping their maps, letting them go.

use smallvec::SmallVec;

use crate::config::LiveStrategy;
use crate::event::Fault;
use crate::id::{LinkId, NodeId, SubStream};
use crate::link::Role;
use crate::membership::GOSSIP_SIZE;
use crate::node::feed::SHUN;
use crate::node::{Dial, Node, Timer};
use crate::partnership::{Partner, Partnership};
use crate::stream::map::{BufferMap, MapEntry, Path};
use crate::time::Time;
use crate::wire::message::{Member, Message, Reason, Refuse};

/// A ping goes with every so manieth round of maps.
const PING_EVERY: u32 = 5;
/// A path that changed by more than this many milliseconds is news to partners.
const NEWS: u16 = 20;

impl Node {
    /// Opens partnerships until there are M, or, while none of them leads to the
    /// provider, one more at a time: a few viewers who are all partners that they
    /// want would stay among themselves for ever.
    pub(super) fn find_partners(&mut self) {
        if self.stream.is_none() || self.leaving.is_some() || self.source.is_some() {
            return;
        }
        let dialling = self.dials.values().filter(|(d, _)| matches!(d, Dial::Partner(_))).count();
        let count = self.partners.len() + dialling;
        let lost = self.config.paths
            && dialling == 0
            && count < self.config.max_partners
            && !self.partners.iter().any(|p| p.leads_to_provider(self.lately()));
        let wanted = self.config.partners.saturating_sub(count).max(usize::from(lost));
        if wanted == 0 {
            return;
        }
        let own = self.id;
        let found = {
            let taken =
                |node| node == own || self.partners.contains(node) || self.is_dialling(node);
            let mut rng = self.rng.clone();
            let found = self.members.candidates(self.now, &mut rng, wanted, taken);
            self.rng = rng;
            found
        };
        for member in found {
            self.dial(Dial::Partner(member.node), member.addr);
        }
    }

    /// A control link stands: it makes a partner, or mends a partnership.
    /// Returns `false` if of two links to one partner this is not the one to keep.
    pub(super) fn adopt(&mut self, link: LinkId, member: Member, dialled: bool) -> bool {
        let node = member.node;
        let mut old = None;
        match self.partners.get_mut(node) {
            Some(p) => {
                if !Partnership::replaces(self.id, p, dialled) {
                    return false;
                }
                old = p.control.replace(link).filter(|old| *old != link);
                p.dialled = dialled;
                p.heard = self.now;
                p.ping = None;
            }
            None => self.partners.add(Partner::new(self.now, member, link, dialled)),
        }
        self.set_role(link, Role::Control(node));
        if let Some(old) = old {
            self.close(old, false);
        }
        self.members.add(self.now, &self.config, member);
        self.members.heard(self.now, node);
        true
    }

    /// Ends a partnership, whatever its links.
    pub(super) fn drop_partner(&mut self, node: NodeId) {
        let Some(p) = self.partners.remove(node) else { return };
        for link in [p.control, p.block_in, p.block_out].into_iter().flatten() {
            self.close(link, false);
        }
        if let Some(stream) = &mut self.stream {
            stream.children.remove_all(node);
            stream.pulling.retain(|n| *n != node);
            stream.repair.gone(self.now, node);
            if stream.feeds.orphan(node) {
                self.news();
            }
        }
        self.tick_soon();
    }

    /// A member could not be dialled, or sent us away.
    pub(super) fn partner_unreachable(&mut self, node: NodeId) {
        self.members.failed(self.now, &self.config, &mut self.rng, node);
        // Its address may be stale, or it is gone: the partnership that was
        // to be mended ends here.
        if self.partners.get(node).is_some_and(|p| p.control.is_none()) {
            self.drop_partner(node);
        }
        if self.stream.as_ref().is_some_and(|s| s.buffer.is_none()) {
            self.try_start(false);
        }
        self.find_partners();
    }

    /// The control link of a partnership was reset. Its blocks may still flow;
    /// whoever opened it opens it again.
    pub(super) fn control_lost(&mut self, node: NodeId) {
        let Some(p) = self.partners.get_mut(node) else { return };
        p.control = None;
        p.ping = None;
        if !self.config.repair {
            return self.drop_partner(node);
        }
        let (dialled, addr) = (p.dialled, p.member.addr);
        // Another link may be under way already, for which the partner gave up this
        // one. With a third it would give up that, and so on without end.
        if dialled && self.leaving.is_none() && !self.is_dialling(node) {
            self.dial(Dial::Partner(node), addr);
        }
    }

    /// A partner that took us at first says no after all.
    pub(super) fn on_refused_late(&mut self, node: NodeId, refuse: Refuse) {
        if refuse.reason != Reason::Duplicate {
            self.drop_partner(node);
        }
    }

    pub(super) fn on_partner_message(&mut self, link: LinkId, node: NodeId, message: Message) {
        let Some(p) = self.partners.get_mut(node) else { return self.close(link, false) };
        p.heard = self.now;
        match message {
            Message::BufferMap(map) => self.on_map(link, node, map),
            Message::Ping(n) => self.say(link, &Message::Pong(n)),
            Message::Pong(_) => {
                if let Some(left) = p.ping.take() {
                    p.measured(self.now.since(left));
                }
            }
            Message::Gossip(members) => {
                for member in members.into_iter().filter(|m| m.node != self.id) {
                    self.members.add(self.now, &self.config, member);
                }
            }
            Message::Subscribe(subscribe) => self.on_subscribe(node, subscribe),
            Message::SubscribeReply(reply) => self.on_subscribe_reply(node, reply),
            Message::Unsubscribe(sub) => self.on_unsubscribe(node, sub),
            Message::UnsubscribeReply(_) => {}
            Message::BlockLink(token) => self.on_token(node, token),
            Message::DialBack(token) => self.on_dial_back(node, token),
            Message::Pull(seqs) => self.on_pull(node, &seqs),
            Message::DontHave(seqs) => self.on_dont_have(node, &seqs),
            Message::Leave => {
                self.drop_partner(node);
                self.members.forget(node);
                self.find_partners();
            }
            _ => self.fault(link, Fault::Unexpected),
        }
    }

    fn on_map(&mut self, link: LinkId, node: NodeId, map: BufferMap) {
        let Some(stream) = &self.stream else { return };
        let s = usize::from(stream.channel.sub_streams());
        if map.entries.len() != s || !(map.paths.is_empty() || map.paths.len() == s) {
            return self.fault(link, Fault::Unexpected);
        }
        if map.reply {
            let own = self.own_map(node, false);
            self.say(link, &Message::BufferMap(own));
        }
        // Who opens a link says its first map before it knows who answers, and whether
        // it is the link to keep: what it takes from that one may not be in it.
        let left = map.entries.iter().enumerate().filter(|(_, e)| !map.reply && !e.subscribed);
        for (j, _) in left {
            self.end_subscription(node, SubStream(j as u8));
        }
        let Some(p) = self.partners.get_mut(node) else { return };
        p.member.provider |= map.paths.first().is_some_and(|path| path.hops == 0);
        p.map = Some(map);
        p.map_at = self.now;
        p.told = self.now;
        // What a parent tells is the way through it; others' maps change none of ours.
        if self.stream.as_ref().is_some_and(|s| s.feeds.from(node) > 0) {
            self.refresh_paths();
        }
        if self.source.is_some() {
            return;
        }
        if self.stream.as_ref().is_some_and(|s| s.buffer.is_none()) {
            self.try_start(false);
        } else {
            self.judge_parents();
        }
    }

    /// What we tell a partner of what we hold.
    pub(super) fn own_map(&self, to: NodeId, reply: bool) -> BufferMap {
        let mut map = BufferMap {
            start: Default::default(),
            reply,
            entries: SmallVec::new(),
            paths: SmallVec::new(),
        };
        let Some(stream) = &self.stream else { return map };
        if let Some(buffer) = &stream.buffer {
            map.start = buffer.start();
        }
        // Who pulls takes a map at its word, block by block.
        let whole = self.config.paths || self.config.live == LiveStrategy::Pull;
        for (sub, feed) in stream.feeds.iter() {
            let newest = stream.buffer.as_ref().and_then(|b| match whole {
                true => b.newest(sub),
                false => b.latest(sub),
            });
            let asked = feed.asked.is_some_and(|a| a.node == to);
            map.entries.push(MapEntry { newest, subscribed: asked || feed.parent == Some(to) });
            if self.config.paths {
                map.paths.push(feed.path);
            }
        }
        map
    }

    pub(super) fn send_maps(&mut self) {
        self.maps_sent = self.now;
        self.map_round = self.map_round.wrapping_add(1);
        let pings = self.map_round.is_multiple_of(PING_EVERY);
        let mut node = None;
        while let Some(next) = self.partners.after(node) {
            node = Some(next);
            if self.partners.get(next).is_none_or(|p| p.control.is_none()) {
                continue;
            }
            let map = self.own_map(next, false);
            self.tell(next, &Message::BufferMap(map));
            if pings {
                self.ping(next);
            }
        }
        let interval = self.rng.jitter(self.config.map_interval, 10);
        self.arm(Timer::Maps, self.now + interval);
    }

    /// Partners should not have to wait for the next regular map.
    pub(super) fn news(&mut self) {
        if !self.config.map_min_interval.is_zero() {
            self.arm_by(Timer::Maps, self.maps_sent + self.config.map_min_interval);
        }
    }

    /// What a partner told before this says nothing of how things stand.
    pub(super) fn lately(&self) -> Time {
        self.now - self.config.partner_timeout * 2
    }

    /// Our way to the provider is our parent's way and one hop.
    pub(super) fn refresh_paths(&mut self) {
        if self.source.is_some() {
            return;
        }
        let lately = self.lately();
        let Some(stream) = &mut self.stream else { return };
        let mut news = false;
        for (sub, feed) in stream.feeds.iter_mut() {
            let parent = feed.parent.and_then(|node| self.partners.get(node));
            let path = parent.map_or(Path::NONE, |p| p.path(lately, sub));
            news |= path.hops != feed.path.hops
                || path.delay.abs_diff(feed.path.delay) > NEWS.max(feed.path.delay / 4);
            feed.path = path;
        }
        if news {
            self.news();
        }
    }

    pub(super) fn ping(&mut self, node: NodeId) {
        if let Some(p) = self.partners.get_mut(node).filter(|p| p.ping.is_none()) {
            p.ping = Some(self.now);
            self.tell(node, &Message::Ping(0));
        }
    }

    /// Times out the silent, mends links, and looks for more partners.
    pub(super) fn check_partners(&mut self) {
        while let Some(node) = self.partners.silent(self.now, &self.config) {
            self.drop_partner(node);
            self.members.failed(self.now, &self.config, &mut self.rng, node);
        }
        self.members.expire(self.now, &self.config);
        // Who no longer tells is no parent to choose, either.
        let (lately, later) = (self.lately(), self.now + SHUN);
        let mut silent = false;
        for p in self.partners.iter_mut().filter(|p| p.told < lately) {
            p.not_before = p.not_before.max(later);
            silent = true;
        }
        if silent {
            self.refresh_paths();
        }
        self.check_loads();
        self.renew_cache();
        self.check_links();
        self.find_partners();
        self.arm(Timer::Partners, self.now + self.config.map_interval);
    }

    /// Drops the partner of least use, so that a new one can be tried (DONet
    /// section III-D); never a parent or a child, nor while partners are few.
    pub(super) fn refine(&mut self) {
        let period = self.rng.jitter(self.config.refinement, 20);
        self.arm(Timer::Refine, self.now + period);
        let Some(stream) = &self.stream else { return };
        let others = self.members.len() > self.partners.len();
        if self.source.is_none() && self.partners.len() >= self.config.partners && others {
            let keep = |node: NodeId| stream.feeds.from(node) > 0 || stream.children.has_any(node);
            if let Some(node) = self.partners.worst(self.now, &self.config, keep) {
                self.tell(node, &Message::Leave);
                if let Some(link) = self.partners.get(node).and_then(|p| p.control) {
                    self.partners.get_mut(node).into_iter().for_each(|p| p.control = None);
                    self.close(link, true);
                }
                self.drop_partner(node);
                self.members.failed(self.now, &self.config, &mut self.rng, node);
                self.find_partners();
            }
        }
        for p in self.partners.iter_mut() {
            p.received = 0;
            p.sent = 0;
        }
    }

    pub(super) fn gossip(&mut self) {
        let period = self.rng.jitter(self.config.gossip, 20);
        self.arm(Timer::Gossip, self.now + period);
        let nodes: SmallVec<[NodeId; 16]> = self.partners.iter().map(|p| p.member.node).collect();
        let Some(&to) = self.rng.pick(&nodes) else { return };
        let mut members = self.members.sample(self.now, &mut self.rng, GOSSIP_SIZE - 1, to);
        members.extend(self.own_record());
        self.tell(to, &Message::Gossip(members));
    }

    /// Our own record, once we know how others see us.
    fn own_record(&self) -> Option<Member> {
        let mut addr = self.config.listen;
        if addr.ip().is_unspecified() {
            addr.set_ip(self.rendezvous.observed()?.ip());
        }
        Some(Member {
            node: self.id,
            addr,
            connectable: self.connectable.unwrap_or(true),
            provider: self.source.is_some(),
            age: 0,
        })
    }

    /// Something about feeds changed: look at them at once.
    pub(super) fn tick_soon(&mut self) {
        if self.source.is_none() && self.stream.as_ref().is_some_and(|s| s.buffer.is_some()) {
            self.arm_by(Timer::Tick, self.now);
        }
    }
}
