//! The wire, for machines that speak the protocol by hand, and nodes whose
//! words are bent on their way out.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use eddy_core::node::Node;
use eddy_core::wire::emit;
use eddy_core::wire::frame::{Arena, Framer, Incoming};
use eddy_core::wire::message::{Hello, Message, Purpose};
use eddy_core::{Action, Event, Head, LinkId, Machine, NodeId, Output, Time};

use super::addr;

/// A message as it travels.
pub(crate) fn frame(message: &Message) -> Bytes {
    let mut head = Head::new();
    emit::encode(message, &mut head);
    Bytes::copy_from_slice(&head)
}

/// The one message in these bytes, if it is one.
pub(crate) fn message(bytes: &[u8]) -> Option<Message> {
    match Framer::new(0).next(&mut &bytes[..], &mut Arena::new()) {
        Ok(Some(Incoming::Message(message))) => Some(message),
        _ => None,
    }
}

pub(crate) fn hello(id: u8, purpose: Purpose) -> Message {
    Message::Hello(Hello {
        max_frame: 1 << 20,
        node: NodeId([id; 16]),
        purpose,
        listen: addr(id),
        observed: addr(2),
        nonce: 1,
    })
}

/// Reads what comes in on any number of links.
#[derive(Default)]
pub(crate) struct Ears {
    framers: BTreeMap<LinkId, Framer>,
    arena: Arena,
}

impl Ears {
    pub(crate) fn hear(&mut self, link: LinkId, mut bytes: &[u8]) -> Vec<Incoming> {
        let framer = self.framers.entry(link).or_insert_with(|| {
            let mut framer = Framer::new(8 << 20);
            framer.allow_blocks(true);
            framer
        });
        let mut all = Vec::new();
        while let Some(incoming) = framer.next(&mut bytes, &mut self.arena).unwrap() {
            all.push(incoming);
        }
        all
    }

    pub(crate) fn messages(&mut self, link: LinkId, bytes: &[u8]) -> Vec<Message> {
        let message = |i| match i {
            Incoming::Message(message) => Some(message),
            _ => None,
        };
        self.hear(link, bytes).into_iter().filter_map(message).collect()
    }
}

/// A real node that lies: `bend` decides what becomes of each of its actions.
pub(crate) struct Bent<F> {
    node: Node,
    now: Time,
    queue: VecDeque<Action>,
    bend: F,
}

/// A node whose actions go through `bend`. What it sends and `bend` swallows
/// counts as sent.
pub(crate) fn bent(
    node: Node,
    now: Time,
    bend: impl FnMut(Time, Action) -> Vec<Action> + 'static,
) -> Box<dyn Machine> {
    Box::new(Bent { node, now, queue: VecDeque::new(), bend })
}

impl<F: FnMut(Time, Action) -> Vec<Action>> Machine for Bent<F> {
    fn handle(&mut self, now: Time, event: Event) {
        self.now = now;
        self.node.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        loop {
            if let Some(action) = self.queue.pop_front() {
                return Output::Act(action);
            }
            let action = match self.node.poll() {
                Output::Act(action) => action,
                wait => return wait,
            };
            let sent = match &action {
                Action::Send { link, head, body } => Some((*link, head.len() + body.len())),
                _ => None,
            };
            let bent = (self.bend)(self.now, action);
            if let Some((link, bytes)) = sent
                && !bent.iter().any(|a| matches!(a, Action::Send { .. }))
            {
                self.node.handle(self.now, Event::Flushed { link, bytes });
            }
            self.queue.extend(bent);
        }
    }
}

/// What a `Send` of a whole message says.
pub(crate) fn said(action: &Action) -> Option<Message> {
    match action {
        Action::Send { head, body, .. } if body.is_empty() => message(head),
        _ => None,
    }
}

/// The same `Send`, saying something else.
pub(crate) fn instead(action: &Action, message: &Message) -> Vec<Action> {
    match action {
        Action::Send { link, .. } => {
            vec![Action::Send { link: *link, head: Head::new(), body: frame(message) }]
        }
        other => vec![other.clone()],
    }
}

/// Whether this is a block on its way to a child.
pub(crate) fn is_block(action: &Action) -> bool {
    matches!(action, Action::Send { body, .. } if body.get(4) == Some(&0x40))
}
