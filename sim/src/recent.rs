//! The last events of a world, to be told when something breaks.

use std::collections::VecDeque;
use std::fmt;

use eddy_core::{Event, Time};

use crate::node::NodeIx;

/// So many are remembered, of all nodes together.
const KEPT: usize = 4_096;
/// So many of one node are told.
const TOLD: usize = 12;

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Time,
    node: NodeIx,
    what: &'static str,
    bytes: usize,
}

/// A ring of the last events, without their content.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<Entry>);

impl Recent {
    pub(crate) fn note(&mut self, at: Time, node: NodeIx, event: &Event) {
        let (what, bytes) = match event {
            Event::Wake => ("Wake", 0),
            Event::Opened { .. } => ("Opened", 0),
            Event::DialFailed { .. } => ("DialFailed", 0),
            Event::Received { bytes, .. } => ("Received", bytes.len()),
            Event::Flushed { bytes, .. } => ("Flushed", *bytes),
            Event::Closed { .. } => ("Closed", 0),
            Event::Datagram { bytes, .. } => ("Datagram", bytes.len()),
            Event::Command { .. } => ("Command", 0),
            Event::Disk(_) => ("Disk", 0),
            _ => ("another", 0),
        };
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Entry { at, node, what, bytes });
    }

    /// The last events of a node, a line each.
    pub(crate) fn of(&self, node: NodeIx, start: Time) -> impl fmt::Display {
        let its: Vec<&Entry> = self.0.iter().filter(|e| e.node == node).collect();
        let mut text = String::new();
        for e in &its[its.len().saturating_sub(TOLD)..] {
            let at = e.at.since(start).as_secs_f64();
            text += &format!("\n  {at:12.6} <- {}, {} bytes", e.what, e.bytes);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_node_are_told_and_no_more_are_kept() {
        let mut recent = Recent::default();
        for n in 0..10_000 {
            recent.note(Time::from_micros(n), NodeIx((n % 2) as u32), &Event::Wake);
        }
        let text = recent.of(NodeIx(1), Time::ZERO).to_string();
        assert_eq!((text.lines().count(), recent.0.len()), (TOLD + 1, KEPT));
        assert!(text.ends_with("0.009999 <- Wake, 0 bytes"), "{text}");
    }
}
