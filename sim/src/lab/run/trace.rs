//! A node whose events and actions are told as they come.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use eddy_core::{Event, Machine, Output, Time};

use crate::node::NodeIx;
use crate::record::Text;

/// Whose events are told, within which time of the run, and to whom.
#[derive(Clone)]
pub struct Trace {
    /// The node.
    pub node: NodeIx,
    /// Since the start of the run.
    pub within: Range<Duration>,
    /// Takes a line.
    pub tell: Rc<dyn Fn(&str)>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace").field("node", &self.node).field("within", &self.within).finish()
    }
}

/// The machine that is looked at.
pub(super) struct Traced {
    machine: Box<dyn Machine>,
    trace: Trace,
    start: Time,
    now: Time,
}

impl Traced {
    pub(super) fn new(machine: Box<dyn Machine>, trace: Trace, start: Time) -> Self {
        Self { machine, trace, start, now: start }
    }

    fn tell(&self, arrow: &str, what: impl std::fmt::Display) {
        let at = self.now.since(self.start);
        if self.trace.within.contains(&at) {
            (self.trace.tell)(&format!("{:>12.6} {arrow} {what}", at.as_secs_f64()));
        }
    }
}

impl Machine for Traced {
    fn handle(&mut self, now: Time, event: Event) {
        self.now = self.now.max(now);
        self.tell("<-", Text(&event));
        self.machine.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        let output = self.machine.poll();
        if let Output::Act(_) = output {
            self.tell("->", Text(&output));
        }
        output
    }
}
