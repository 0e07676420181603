//! The machines' side of the contract, checked as they are driven.

use std::fmt;

use eddy_core::{Event, LinkId, Ticket, Time};

use crate::conn::EndKey;
use crate::node::{Node, NodeIx};
use crate::world::World;

/// Polls of one machine without time moving before it counts as spinning.
const MAX_POLLS: u32 = 100_000;

impl World {
    /// Panics, saying who did what, when, and how to see it again.
    pub(crate) fn blame(&self, node: NodeIx, what: impl fmt::Display) -> ! {
        panic!("{what}; {}", self.whereabouts(Some(node)))
    }

    /// Node, time and seed, for people.
    pub(crate) fn whereabouts(&self, node: Option<NodeIx>) -> String {
        let who = node.map_or_else(String::new, |n| {
            format!("node {} ({}), ", n.0, self.nodes[n.index()].addr)
        });
        format!("{who}{:?} after the start, seed {}", self.now.since(self.start), self.seed)
    }

    /// C11: one input causes a bounded amount of work, and time moves on.
    pub(crate) fn check_progress(&mut self, ix: NodeIx) {
        let now = self.now;
        let node = &mut self.nodes[ix.index()];
        if node.polls.0 != now {
            node.polls = (now, 0);
        }
        node.polls.1 += 1;
        if node.polls.1 > MAX_POLLS {
            self.blame(ix, format_args!("{MAX_POLLS} polls and time stands still (C11)"));
        }
    }

    /// C3: a wait ends later than now, and polling again returns the same.
    pub(crate) fn check_wait(&mut self, ix: NodeIx, wait: Option<Time>) {
        use eddy_core::Output;
        let node = &mut self.nodes[ix.index()];
        let told = node.told;
        let again = node.machine.poll();
        if again != Output::Wait(wait) {
            self.blame(ix, format_args!("Wait({wait:?}), then {again:?} (C3)"));
        }
        if wait.is_some_and(|t| t <= told) {
            self.blame(ix, format_args!("Wait({wait:?}) at {told:?} (C3)"));
        }
    }

    /// C9: an action names only links that are open to the machine.
    pub(crate) fn check_link(&self, ix: NodeIx, link: LinkId, action: &str) -> EndKey {
        let broken = match self.nodes[ix.index()].links.get(&link) {
            Some(l) if !l.closing => return l.end,
            Some(_) => "being closed",
            None => "never opened, or closed",
        };
        self.blame(ix, format_args!("{action} on {link:?}, which is {broken} (C9)"));
    }

    /// C10: a ticket ends once.
    pub(crate) fn check_ended(&mut self, ix: NodeIx, ticket: Ticket) {
        if !self.nodes[ix.index()].tickets.remove(&ticket) {
            self.blame(ix, format_args!("{ticket:?} ended twice, or was never given (C10)"));
        }
    }
}

impl Node {
    /// Whether the machine is to be told. Credit that was on its way when the
    /// machine closed the link is not: the one `Closed` stands for it (C8).
    pub(crate) fn accepts(&mut self, event: &Event) -> bool {
        match event {
            Event::Flushed { link, bytes } => match self.links.get_mut(link) {
                Some(l) if !l.closing => {
                    l.unflushed = l
                        .unflushed
                        .checked_sub(*bytes)
                        .expect("the world gives back no more than was sent (C8)");
                    true
                }
                _ => false,
            },
            Event::Closed { link } => self.links.remove(link).is_some(),
            _ => true,
        }
    }
}
