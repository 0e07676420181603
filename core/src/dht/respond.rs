//! What answers to our queries mean.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Dht;
use super::key::{Contact, Key};
use super::krpc::Answer;
use super::martian::{is_martian, is_sent_home};
use super::rpc::{Call, Purpose};

impl Dht {
    /// Somebody answered. Says whether it was to a query of ours.
    pub(super) fn on_answer(
        &mut self,
        from: SocketAddr,
        t: &[u8],
        id: Key,
        ip: Option<SocketAddr>,
        answer: Answer,
    ) -> bool {
        let Some(call) = self.rpc.answered(self.now, from, t) else { return false };
        self.stats.answers += 1;
        if !self.is_right(&call, Some(id)) {
            return true;
        }
        let node = Contact { id, addr: from };
        self.table.on_answer(self.now, node);
        if let Some(seen) = ip {
            self.on_vote(from, seen);
        }
        let nodes = self.usable(from, answer.nodes, answer.nodes6);
        self.hear_of(&nodes);
        match call.purpose {
            Purpose::Search(op) => {
                if let Some(search) = self.searches.get_mut(&op) {
                    search.lookup.on_answer(from, answer.token, &nodes);
                }
                let mut values = answer.values.unwrap_or_default();
                values.retain(|value| !is_sent_home(*value, from));
                self.found(op, values);
                self.advance(op);
            }
            Purpose::Announce(op) => {
                if let Some(search) = self.searches.get_mut(&op) {
                    search.on_told(true);
                }
                self.advance(op);
            }
            Purpose::Join => self.joined(node, &nodes),
            Purpose::Verify | Purpose::Upkeep => {}
        }
        self.advance_idle();
        true
    }

    /// Somebody refused a query: it is there, but gives nothing.
    pub(super) fn on_error(&mut self, from: SocketAddr, t: &[u8], id: Option<Key>) -> bool {
        let Some(call) = self.rpc.answered(self.now, from, t) else { return false };
        self.stats.answers += 1;
        if self.is_right(&call, id) {
            if let Some(id) = id.or(call.expected) {
                self.table.on_answer(self.now, Contact { id, addr: from });
            }
            self.failed(&call);
        }
        true
    }

    /// Whether who answered is who was asked. If not, nobody can be known under
    /// that endpoint, and the query has failed.
    fn is_right(&mut self, call: &Call, id: Option<Key>) -> bool {
        let other = call.expected.is_some_and(|expected| id.is_some_and(|id| id != expected));
        if other || id == Some(self.id) {
            self.table.remove(call.to);
            self.failed(call);
            self.look_for_the_way();
            return false;
        }
        true
    }

    /// Nodes of our family that can be where they are said to be.
    fn usable(&self, by: SocketAddr, nodes: Vec<Contact>, nodes6: Vec<Contact>) -> Vec<Contact> {
        let mut nodes = if self.listen.is_ipv4() { nodes } else { nodes6 };
        nodes.retain(|node| {
            node.id != self.id
                && !is_martian(node.addr, self.listen)
                && !is_sent_home(node.addr, by)
        });
        nodes
    }

    /// Somebody says how he sees us.
    fn on_vote(&mut self, voter: SocketAddr, seen: SocketAddr) {
        if seen.is_ipv4() != self.listen.is_ipv4() || seen.port() == 0 {
            return;
        }
        self.votes.cast(self.now, voter.ip(), seen);
        if let Some(ip) = self.votes.sure_ip().filter(|ip| !self.id.fits(*ip)) {
            self.id = Key::for_address(ip, &mut self.rng);
            self.table.rehome(self.id);
            self.store.rehome(self.id);
            self.explore_own();
        }
    }
}
