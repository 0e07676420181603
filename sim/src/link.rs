//! Connections as byte pipes, and datagrams.
//!
//! What an end sends passes three places in order: `stalled`, while the
//! receiver's window is full; `queued`, until the uplink has sent it, which is
//! when its `Flushed` comes; and `flight`, until it arrives. There it waits in
//! the other end's `inbox` until that machine reads.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::{DialId, Event, LinkId};
use slab::Slab;

use crate::conn::{Conn, ConnKey, End, EndKey, Ends, Parcel, Side, State, Syn};
use crate::net::Sharing;
use crate::node::{Life, NodeIx};
use crate::queue::Kind;
use crate::world::{Observer, World};

/// The least retransmission time-out of Linux and Windows.
const MIN_RTO: Duration = Duration::from_millis(200);
/// How long a close may wait for its flush.
const LINGER: Duration = Duration::from_secs(5);
/// One way to an address where there never was a node.
const NOWHERE: Duration = Duration::from_millis(50);

// Finding things.
impl World {
    pub(crate) fn conn(&self, key: ConnKey) -> Option<&Conn> {
        self.conns.get(key.ix as usize).filter(|c| c.serial == key.serial)
    }

    /// Finds a connection in the slab alone, so that the rest of the world
    /// stays free to borrow.
    fn conn_in(conns: &mut Slab<Conn>, key: ConnKey) -> Option<&mut Conn> {
        conns.get_mut(key.ix as usize).filter(|c| c.serial == key.serial)
    }

    fn end(&mut self, key: EndKey) -> Option<&mut End> {
        Self::conn_in(&mut self.conns, key.conn).map(|c| &mut c.ends[key.side])
    }

    fn latency(&self, from: NodeIx, to: NodeIx) -> Duration {
        let site = |n: NodeIx| self.nodes[n.index()].site;
        self.net.rtt.rtt(site(from), site(to)) / 2 + self.net.access
    }
}

// Opening.
impl World {
    pub(crate) fn dial(&mut self, from: NodeIx, dial: DialId, to: SocketAddr) {
        let target = self.at.get(&to).copied();
        let latency = target.map_or(NOWHERE, |t| self.latency(from, t));
        let gives_up = self.now + self.net.dial_timeout;
        let arrival = self.now + latency + self.nodes[from.index()].uniform(self.net.jitter);
        let slot = self.syns.insert(Syn { from, dial, to, latency, gives_up }) as u32;
        self.queue.push(arrival, Kind::Syn { slot });
    }

    pub(crate) fn syn(&mut self, slot: u32, obs: &mut dyn Observer) {
        let Syn { from, dial, to, latency, gives_up } = self.syns.remove(slot as usize);
        if !self.is_live(from) {
            return;
        }
        let target = self.at.get(&to).copied();
        let life = target.map_or(Life::Exited, |t| self.life(t));
        let heard = target
            .is_none_or(|t| self.nodes[t.index()].reachable && self.cut_until(from, t).is_none());
        match target {
            Some(target) if heard && life.is_live() => {
                self.accept(from, dial, target, latency, obs);
            }
            _ => {
                let refused = heard && life == Life::Exited;
                let at = if refused { self.now + latency } else { gives_up.max(self.now) };
                self.post(at, from, Event::DialFailed { dial });
            }
        }
    }

    fn accept(
        &mut self,
        from: NodeIx,
        dial: DialId,
        to: NodeIx,
        latency: Duration,
        obs: &mut dyn Observer,
    ) {
        let serial = self.connected;
        self.connected = self.connected.wrapping_add(1);
        let slot = self.conns.vacant_entry();
        let key = ConnKey { ix: slot.key() as u32, serial };
        let acceptor = EndKey { conn: key, side: Side::Acceptor };
        let link = self.nodes[to.index()].open(acceptor);
        let ends = Ends([End::new(from, State::Opening(dial)), End::new(to, State::Open(link))]);
        slot.insert(Conn { serial, latency, broken: false, ends });
        self.nodes[from.index()].opening.push(acceptor.other());

        let remote = self.nodes[from.index()].ephemeral();
        self.launch(acceptor, Parcel::Accepted);
        self.doom(from, key);
        self.doom(to, key);
        self.dispatch(to, Event::Opened { link, dial: None, remote }, obs);
    }
}

// Sending.
impl World {
    pub(crate) fn send(&mut self, key: EndKey, link: LinkId, parcel: Parcel) {
        let len = parcel.len();
        let window = self.net.window;
        let Some(conn) = Self::conn_in(&mut self.conns, key.conn) else {
            return;
        };
        let end = &mut conn.ends[key.side];
        if len == 0 || end.state != State::Open(link) {
            return; // A `Closed` is on its way to the machine and ends these bytes.
        }
        let node = &mut self.nodes[end.node.index()];
        if let Some(l) = node.links.get_mut(&link) {
            l.unflushed += len;
        }
        if end.stalled.is_empty() && end.outstanding < window {
            self.admit(key, parcel);
        } else {
            self.parcels.push(&mut end.stalled, parcel);
        }
    }

    /// Passes a parcel to the uplink.
    fn admit(&mut self, key: EndKey, parcel: Parcel) {
        let sharing = self.net.sharing;
        let Some(conn) = Self::conn_in(&mut self.conns, key.conn) else {
            return;
        };
        let end = &mut conn.ends[key.side];
        let node = end.node;
        end.outstanding += parcel.len();
        let uplink = &mut self.nodes[node.index()].uplink;
        if uplink.is_instant() {
            // Its machine is being polled.
            let flushed = self.left(key, parcel);
            return flushed.into_iter().for_each(|event| self.post(self.now, node, event));
        }
        if sharing == Sharing::Fifo || end.queued.is_empty() {
            uplink.join(key);
        }
        self.parcels.push(&mut end.queued, parcel);
        if uplink.is_idle() {
            self.serve(node);
        }
    }

    /// Starts the uplink on the next parcel, if there is one.
    fn serve(&mut self, node: NodeIx) {
        let uplink = &mut self.nodes[node.index()].uplink;
        while let Some(key) = uplink.next() {
            let end = Self::conn_in(&mut self.conns, key.conn).map(|c| &c.ends[key.side]);
            // What its owner threw away needs no service.
            let Some(parcel) = end.and_then(|e| self.parcels.first(&e.queued)) else {
                continue;
            };
            let done = uplink.serve(self.now, key, parcel.len());
            self.queue.push(done, Kind::Served(node));
            return;
        }
    }

    pub(crate) fn served(&mut self, node: NodeIx, obs: &mut dyn Observer) {
        let sharing = self.net.sharing;
        let uplink = &mut self.nodes[node.index()].uplink;
        let Some(key) = uplink.finish() else { return };
        let end = Self::conn_in(&mut self.conns, key.conn).map(|c| &mut c.ends[key.side]);
        if let Some(end) = end
            && let Some(parcel) = self.parcels.pop(&mut end.queued)
        {
            if sharing == Sharing::Turns && !end.queued.is_empty() {
                uplink.join(key);
            }
            let flushed = self.left(key, parcel);
            self.settle(key);
            self.serve(node);
            return flushed.into_iter().for_each(|event| self.dispatch(node, event, obs));
        }
        self.serve(node);
    }

    /// A parcel has left the uplink and flies. Returns what gives its credit back.
    fn left(&mut self, key: EndKey, parcel: Parcel) -> Option<Event> {
        let end = self.end(key)?;
        let (node, state, bytes) = (end.node, end.state, parcel.len());
        self.nodes[node.index()].traffic.sent += bytes as u64;
        self.launch(key, parcel);
        match state {
            State::Open(link) => Some(Event::Flushed { link, bytes }),
            _ => None,
        }
    }

    /// Sends a parcel on its way through the network.
    fn launch(&mut self, key: EndKey, parcel: Parcel) {
        let Some(conn) = self.conn(key.conn) else {
            return;
        };
        let (from, to) = (conn.ends[key.side].node, conn.ends[key.side.other()].node);
        let latency = conn.latency;
        let leaves = self.cut_until(from, to).unwrap_or(self.now);
        let arrival = leaves + latency + self.delay(from, latency * 2);
        let Some(conn) = Self::conn_in(&mut self.conns, key.conn) else {
            return;
        };
        let end = &mut conn.ends[key.side];
        end.arrival = end.arrival.max(arrival);
        self.parcels.push(&mut end.flight, parcel);
        let at = end.arrival;
        self.queue.push(at, Kind::Arrive(key.other()));
    }

    /// Jitter, and what retransmissions take.
    fn delay(&mut self, from: NodeIx, rtt: Duration) -> Duration {
        let node = &mut self.nodes[from.index()];
        let mut delay = node.uniform(self.net.jitter);
        let mut rto = rtt + MIN_RTO;
        while rto < LINGER && node.chance(self.net.segment_loss) {
            delay += rto;
            rto *= 2;
        }
        delay
    }

    pub(crate) fn resume(&mut self, key: EndKey) {
        let window = self.net.window;
        let Some(end) = self.end(key) else { return };
        end.resuming = false;
        while let Some(conn) = Self::conn_in(&mut self.conns, key.conn)
            && let end = &mut conn.ends[key.side]
            && end.outstanding < window
            && let Some(parcel) = self.parcels.pop(&mut end.stalled)
        {
            self.admit(key, parcel);
        }
        self.settle(key);
    }

    pub(crate) fn datagram(&mut self, from: NodeIx, to: SocketAddr, bytes: Bytes) {
        let node = &mut self.nodes[from.index()];
        let addr = node.addr;
        node.traffic.datagrams_sent += bytes.len() as u64;
        let lost = node.chance(self.net.datagram_loss);
        let jitter = node.uniform(self.net.jitter);
        let Some(&target) = self.at.get(&to) else {
            return;
        };
        if lost || self.cut_until(from, target).is_some() {
            return;
        }
        let at = self.now + self.latency(from, target) + jitter;
        self.post(at, target, Event::Datagram { from: addr, bytes });
    }
}

// Receiving.
impl World {
    pub(crate) fn arrive(&mut self, key: EndKey, obs: &mut dyn Observer) {
        let Some(conn) = Self::conn_in(&mut self.conns, key.conn) else {
            return;
        };
        let Some(parcel) = self.parcels.pop(&mut conn.ends[key.side.other()].flight) else {
            return;
        };
        let latency = conn.latency;
        let end = &mut conn.ends[key.side];
        let node = end.node;
        match (end.state, parcel) {
            (State::Opening(dial), Parcel::Accepted) => {
                let link = self.nodes[node.index()].connected(key);
                end.state = State::Open(link);
                let remote = self.nodes[conn.ends[key.side.other()].node.index()].addr;
                self.dispatch(node, Event::Opened { link, dial: Some(dial), remote }, obs);
            }
            (State::Open(_), Parcel::Fin) => {
                self.parcels.push(&mut end.inbox, Parcel::Fin);
                self.read(key, obs);
            }
            (State::Open(_), data @ (Parcel::Data(_) | Parcel::Both(_))) => {
                let n = &mut self.nodes[node.index()];
                n.traffic.received += data.len() as u64;
                if self.net.chunked {
                    let mut rest = data.joined();
                    while !rest.is_empty() {
                        let cut = 1 + n.rng.below(rest.len());
                        self.parcels.push(&mut end.inbox, Parcel::Data(rest.split_to(cut)));
                    }
                } else {
                    for piece in data.pieces().into_iter().filter(|piece| !piece.is_empty()) {
                        self.parcels.push(&mut end.inbox, Parcel::Data(piece));
                    }
                }
                self.read(key, obs);
            }
            (State::Closing(_), Parcel::Fin) => self.queue.push(self.now, Kind::Hangup(key)),
            (State::Closing(_), data) => self.consumed(key, data.len()),
            (State::Closed, data) if self.life(node) == Life::Crashed => {
                // Lost, unless the host is up again and knows nothing of this connection.
                let heir = self.at[&self.nodes[node.index()].addr];
                if self.is_live(heir) && data.len() > 0 {
                    self.queue.push(self.now + latency, Kind::Hangup(key.other()));
                }
            }
            (State::Closed, _) | (State::Opening(_), _) | (_, Parcel::Accepted) => {}
        }
    }

    /// Hands over what has arrived, as long as the machine reads.
    pub(crate) fn read(&mut self, key: EndKey, obs: &mut dyn Observer) {
        while let Some(end) = self.end(key)
            && end.reading
            && let State::Open(link) = end.state
        {
            let node = end.node;
            if self.life(node) != Life::Running {
                return;
            }
            let next = Self::conn_in(&mut self.conns, key.conn)
                .and_then(|conn| self.parcels.pop(&mut conn.ends[key.side].inbox));
            match next {
                Some(Parcel::Data(bytes)) => {
                    self.consumed(key, bytes.len());
                    self.dispatch(node, Event::Received { link, bytes }, obs);
                }
                Some(Parcel::Fin) => self.hang_up(key, obs),
                Some(Parcel::Accepted | Parcel::Both(_)) | None => return,
            }
        }
    }

    pub(crate) fn set_read(&mut self, key: EndKey, on: bool) {
        if let Some(end) = self.end(key) {
            end.reading = on;
            if on && !end.inbox.is_empty() {
                self.queue.push(self.now, Kind::Read(key));
            }
        }
    }

    /// `bytes` left the receive window of the end `key`: tell a stalled sender.
    fn consumed(&mut self, key: EndKey, bytes: usize) {
        let Some(conn) = Self::conn_in(&mut self.conns, key.conn) else {
            return;
        };
        let latency = conn.latency;
        let sender = &mut conn.ends[key.side.other()];
        sender.outstanding = sender.outstanding.saturating_sub(bytes);
        if !sender.stalled.is_empty() && !sender.resuming {
            sender.resuming = true;
            self.queue.push(self.now + latency, Kind::Resume(key.other()));
        }
    }
}

// Closing.
impl World {
    pub(crate) fn close(&mut self, key: EndKey, flush: bool) {
        let Some(conn) = Self::conn_in(&mut self.conns, key.conn) else {
            return;
        };
        let end = &mut conn.ends[key.side];
        let State::Open(link) = end.state else { return };
        if conn.broken {
            return; // A `Closed` is on its way already.
        }
        end.state = State::Closing(link);
        self.parcels.clear(&mut end.inbox);
        if flush {
            self.queue.push(self.now + LINGER, Kind::Linger(key));
        } else {
            end.forget_unsent(&mut self.parcels);
        }
        self.settle(key);
    }

    /// Ends a close whose bytes have all left.
    fn settle(&mut self, key: EndKey) {
        if let Some(end) = self.end(key)
            && matches!(end.state, State::Closing(_))
            && end.stalled.is_empty()
            && end.queued.is_empty()
        {
            self.launch(key, Parcel::Fin);
            self.queue.push(self.now, Kind::Hangup(key));
        }
    }

    pub(crate) fn linger(&mut self, key: EndKey) {
        if let Some(conn) = Self::conn_in(&mut self.conns, key.conn)
            && let end = &mut conn.ends[key.side]
            && matches!(end.state, State::Closing(_))
        {
            end.forget_unsent(&mut self.parcels);
            self.settle(key);
        }
    }

    /// Tells an end that its connection is over, once.
    pub(crate) fn hang_up(&mut self, key: EndKey, obs: &mut dyn Observer) {
        let Some(conn) = Self::conn_in(&mut self.conns, key.conn) else {
            return;
        };
        let end = &mut conn.ends[key.side];
        let (node, state) = (end.node, end.state);
        end.state = State::Closed;
        end.forget_unsent(&mut self.parcels);
        self.parcels.clear(&mut end.inbox);
        self.forget_if_over(key.conn);
        match state {
            State::Closed => {}
            State::Opening(dial) => {
                self.nodes[node.index()].opening.retain(|end| *end != key);
                self.dispatch(node, Event::DialFailed { dial }, obs);
            }
            State::Open(link) | State::Closing(link) => {
                self.dispatch(node, Event::Closed { link }, obs);
            }
        }
    }

    fn forget_if_over(&mut self, key: ConnKey) {
        if let Some(conn) = self.conn(key)
            && conn.ends.0.iter().all(|end| end.state == State::Closed)
        {
            // What is still in flight reaches nobody.
            let mut conn = self.conns.remove(key.ix as usize);
            conn.ends.0.iter_mut().for_each(|end| end.forget_all(&mut self.parcels));
        }
    }

    /// Breaks a connection half-way between its ends.
    pub(crate) fn break_conn(&mut self, key: ConnKey) {
        let Some(conn) = Self::conn_in(&mut self.conns, key) else {
            return;
        };
        if std::mem::replace(&mut conn.broken, true) {
            return;
        }
        for end in &mut conn.ends.0 {
            end.forget_all(&mut self.parcels);
        }
        let at = self.now + conn.latency / 2;
        for side in [Side::Dialler, Side::Acceptor] {
            self.queue.push(at, Kind::Hangup(EndKey { conn: key, side }));
        }
    }

    /// Ends all connections of a node that is gone. Unless it went silently,
    /// the other ends are told after what is in flight.
    pub(crate) fn abandon(&mut self, node: NodeIx, silently: bool) {
        let node = &mut self.nodes[node.index()];
        let links = std::mem::take(&mut node.links);
        let mine = links.into_values().map(|l| l.end).chain(std::mem::take(&mut node.opening));
        for key in mine {
            let Some(conn) = Self::conn_in(&mut self.conns, key.conn) else { continue };
            let end = &mut conn.ends[key.side];
            if std::mem::replace(&mut end.state, State::Closed) == State::Closed {
                continue; // The machine was frozen and had not heard of it.
            }
            end.forget_unsent(&mut self.parcels);
            self.parcels.clear(&mut end.inbox);
            if !silently {
                self.launch(key, Parcel::Fin);
            }
            self.forget_if_over(key.conn);
        }
    }
}
