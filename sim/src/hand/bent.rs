//! Real nodes whose words are bent on their way out.

use std::collections::VecDeque;

use eddy_core::stream::block::BLOCK_KIND;
use eddy_core::stream::map::Path;
use eddy_core::wire::message::Message;
use eddy_core::{Action, Event, Head, Machine, Output, Seq, SubStream, Time};

use super::words::{frame, message};

/// A machine that lies: `bend` decides what becomes of each of its actions.
struct Bent<M, F> {
    machine: M,
    now: Time,
    queue: VecDeque<Action>,
    bend: F,
}

/// A machine whose actions go through `bend`. What it sends and `bend`
/// swallows counts as sent.
pub fn bent(
    machine: impl Machine + 'static,
    now: Time,
    bend: impl FnMut(Time, Action) -> Vec<Action> + 'static,
) -> Box<dyn Machine> {
    Box::new(Bent { machine, now, queue: VecDeque::new(), bend })
}

impl<M: Machine, F: FnMut(Time, Action) -> Vec<Action>> Machine for Bent<M, F> {
    fn handle(&mut self, now: Time, event: Event) {
        self.now = now;
        self.machine.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        loop {
            if let Some(action) = self.queue.pop_front() {
                return Output::Act(action);
            }
            let action = match self.machine.poll() {
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
                self.machine.handle(self.now, Event::Flushed { link, bytes });
            }
            self.queue.extend(bent);
        }
    }
}

/// What a `Send` of a whole message says.
pub fn said(action: &Action) -> Option<Message> {
    match action {
        Action::Send { head, body, .. } if body.is_empty() => message(head),
        _ => None,
    }
}

/// The same `Send`, saying something else.
pub fn instead(action: &Action, message: &Message) -> Vec<Action> {
    match action {
        Action::Send { link, .. } => {
            vec![Action::Send { link: *link, head: Head::new(), body: frame(message) }]
        }
        other => vec![other.clone()],
    }
}

/// Whether this is a block on its way to a child.
pub fn is_block(action: &Action) -> bool {
    matches!(action, Action::Send { body, .. } if body.get(4) == Some(&BLOCK_KIND))
}

/// The same `Send`, with a bit changed in byte `at` of its frame.
pub fn altered(action: Action, at: usize) -> Vec<Action> {
    match action {
        Action::Send { link, body, .. } => {
            let mut bytes = body.to_vec();
            let at = at.min(bytes.len().saturating_sub(1));
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
            vec![Action::Send { link, head: Head::new(), body: bytes.into() }]
        }
        other => vec![other],
    }
}

/// Instead of a buffer map: one that says of its sender that it is the
/// provider and holds everything up to `ahead` blocks beyond what it holds.
pub fn boast(action: &Action, ahead: u64) -> Option<Vec<Action>> {
    let Some(Message::BufferMap(mut map)) = said(action) else { return None };
    let sub_streams = map.entries.len() as u8;
    for (j, entry) in (0..).zip(map.entries.iter_mut()) {
        let newest = entry.newest.unwrap_or(Seq(1 << 36)).plus(ahead);
        entry.newest = Some(newest.minus(sub_streams.into()).align(SubStream(j), sub_streams));
    }
    map.paths = map.entries.iter().map(|_| Path { hops: 0, delay: 0 }).collect();
    Some(instead(action, &Message::BufferMap(map)))
}
