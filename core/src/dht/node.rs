//! A bare DHT node as a [`Machine`]: for those who only store and find records,
//! and for networks of DHT nodes in virtual time.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Dht, DhtConfig, Effect, OpId, Outcome, Pace};
use crate::event::{Action, Answer, Command, Event, Machine, Notice, Output, Refusal};
use crate::id::Ticket;
use crate::rng::Rng;
use crate::time::Time;

/// A command under way.
#[derive(Debug)]
enum Asked {
    LookUp(Vec<SocketAddr>),
    Announce,
}

/// A DHT node. It knows [`Command::LookUp`], [`Command::Announce`] and
/// [`Command::Leave`]; connections are closed.
#[derive(Debug)]
pub struct DhtNode {
    dht: Dht,
    asked: BTreeMap<OpId, (Ticket, Asked)>,
    actions: VecDeque<Action>,
    gone: bool,
}

impl DhtNode {
    /// A node at `listen` that looks for others at the `bootstrap` addresses.
    pub fn new(
        config: DhtConfig,
        listen: SocketAddr,
        bootstrap: &[SocketAddr],
        seed: [u8; 32],
        now: Time,
    ) -> Self {
        let mut dht = Dht::new(config, listen, Rng::new(seed), now);
        dht.join(now, bootstrap);
        Self { dht, asked: BTreeMap::new(), actions: VecDeque::new(), gone: false }
    }

    /// What it is made of.
    pub fn dht(&self) -> &Dht {
        &self.dht
    }

    fn on_command(&mut self, now: Time, ticket: Ticket, command: Command) {
        match command {
            _ if self.gone => self.end(ticket, Err(Refusal::Leaving)),
            Command::LookUp { key } => {
                let op = self.dht.look_up(now, key, Pace::Hurry);
                self.asked.insert(op, (ticket, Asked::LookUp(Vec::new())));
            }
            Command::Announce { key, port, life } => {
                let op = self.dht.announce(now, key, port, life);
                self.asked.insert(op, (ticket, Asked::Announce));
            }
            Command::Leave => {
                self.gone = true;
                for (op, (ticket, _)) in core::mem::take(&mut self.asked) {
                    self.dht.cancel(now, op);
                    self.end(ticket, Err(Refusal::Leaving));
                }
                self.end(ticket, Ok(Answer::Done));
            }
            _ => self.end(ticket, Err(Refusal::NotPossible)),
        }
    }

    fn on_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, bytes } => {
                self.actions.push_back(Action::SendDatagram { to, bytes })
            }
            Effect::Found { op, values } => {
                if let Some((_, Asked::LookUp(found))) = self.asked.get_mut(&op) {
                    found.extend(values);
                }
            }
            Effect::Done { op, outcome: Outcome { refused, stored, .. } } => {
                let Some((ticket, asked)) = self.asked.remove(&op) else { return };
                let answer = match asked {
                    Asked::LookUp(found) => Answer::Peers(found),
                    Asked::Announce => Answer::Stored { nodes: stored },
                };
                self.end(ticket, if refused { Err(Refusal::Busy) } else { Ok(answer) });
            }
        }
    }

    fn end(&mut self, ticket: Ticket, result: Result<Answer, Refusal>) {
        self.actions.push_back(Action::Notify(Notice::Ended { ticket, result }));
    }
}

impl Machine for DhtNode {
    fn handle(&mut self, now: Time, event: Event) {
        match event {
            Event::Command { ticket, command } => self.on_command(now, ticket, command),
            Event::Datagram { from, bytes } if !self.gone => self.dht.receive(now, from, &bytes),
            Event::Opened { link, .. } => {
                self.actions.push_back(Action::Close { link, flush: false });
            }
            _ => {}
        }
        if !self.gone {
            self.dht.wake(now);
        }
        while let Some(effect) = self.dht.poll() {
            if !self.gone {
                self.on_effect(effect);
            }
        }
    }

    fn poll(&mut self) -> Output {
        while let Some(effect) = self.dht.poll() {
            self.on_effect(effect);
        }
        match self.actions.pop_front() {
            Some(action) => Output::Act(action),
            None if self.gone => Output::Wait(None),
            None => Output::Wait(self.dht.deadline()),
        }
    }
}
