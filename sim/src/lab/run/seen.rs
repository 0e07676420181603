//! What the world showed of each node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::cache::File;
use eddy_core::time::micros;
use eddy_core::{Delivery, Notice, Seq, Ticket, Time};

use super::look::{Probe, Why};
use crate::lab::outcome::{Counts, Moment, Replicas, Viewer};
use crate::node::NodeIx;
use crate::world::Observer;

/// Start-up delays are no delays of play-out.
const SETTLED: Duration = Duration::from_secs(10);
/// Moments of a run.
const MOMENTS: u32 = 300;

/// What a command was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Leap,
    Live,
    Channel,
}

pub(super) struct Watched {
    pub(super) viewer: Viewer,
    /// Counters when measuring began.
    before: Counts,
    due: (u64, u64),
    lag: (u64, u64),
    pub(super) next: Option<Seq>,
    pub(super) open: BTreeMap<Ticket, (Time, Wish)>,
}

pub(super) struct Seen {
    pub(super) viewers: BTreeMap<NodeIx, Watched>,
    /// Bytes sent, blocks of the past sent: when measuring began, and now.
    pub(super) providers: BTreeMap<NodeIx, [(u64, u64); 2]>,
    pub(super) probe: Probe,
    /// Lookups that ended.
    pub(super) found: Vec<(File, Why, BTreeSet<SocketAddr>)>,
    pub(super) young: Vec<Replicas>,
    pub(super) sampled: Vec<Replicas>,
    pub(super) last: Vec<Replicas>,
    pub(super) moments: Vec<Moment>,
    moment: Duration,
    start: Time,
    from: Time,
}

impl Seen {
    pub(super) fn new(start: Time, from: Time, end: Time, probe: Probe) -> Self {
        let moment = (end.since(start) / MOMENTS).max(Duration::from_secs(1));
        Self {
            viewers: BTreeMap::new(),
            providers: BTreeMap::new(),
            probe,
            found: Vec::new(),
            young: Vec::new(),
            sampled: Vec::new(),
            last: Vec::new(),
            moments: Vec::new(),
            moment,
            start,
            from,
        }
    }

    pub(super) fn came(&mut self, ix: NodeIx, viewer: Viewer) {
        self.moment(viewer.joined).arrivals += 1;
        let watched = Watched {
            viewer,
            before: Counts::default(),
            due: (0, 0),
            lag: (0, 0),
            next: None,
            open: BTreeMap::new(),
        };
        self.viewers.insert(ix, watched);
    }

    /// The moment that `now` belongs to.
    pub(super) fn moment(&mut self, now: Time) -> &mut Moment {
        let at = (now.since(self.start).as_micros() / self.moment.as_micros()) as usize;
        while self.moments.len() <= at {
            let at = self.moment.as_secs_f64() * self.moments.len() as f64;
            self.moments.push(Moment { at, ..Moment::default() });
        }
        &mut self.moments[at]
    }

    /// How long a moment is.
    pub(super) fn step(&self) -> Duration {
        self.moment
    }
}

impl Observer for Seen {
    fn delivered(&mut self, now: Time, node: NodeIx, delivery: &Delivery) {
        let Some(w) = self.viewers.get_mut(&node) else { return };
        if let Some(next) = w.next {
            w.viewer.gaps += delivery.seq.0.abs_diff(next.0);
        }
        w.next = Some(delivery.seq.plus(1));
        if w.viewer.startup.is_none() {
            w.viewer.startup = Some(now.since(w.viewer.joined));
        }
        if now >= self.from {
            w.lag.0 += micros(now.since(delivery.slot));
            w.lag.1 += 1;
        }
    }

    fn notified(&mut self, now: Time, node: NodeIx, notice: &Notice) {
        if let Some(found) = self.probe.found(node, notice) {
            return self.found.push(found);
        }
        match notice {
            Notice::Stats(stats) => {
                if let Some([before, sent]) = self.providers.get_mut(&node) {
                    *sent = (stats.bytes_sent, stats.past_sent);
                    if now < self.from {
                        *before = *sent;
                    }
                    return;
                }
                let from = self.from;
                let Some(w) = self.viewers.get_mut(&node) else { return };
                let due = stats.due.saturating_sub(w.due.0);
                let on_time = stats.on_time.saturating_sub(w.due.1);
                w.due = (stats.due, stats.on_time);
                if now < from {
                    w.before = Counts::of(stats);
                } else {
                    w.viewer.counts = Counts::of(stats).since(&w.before);
                    w.viewer.shift = stats.shift;
                    w.viewer.lag = (w.lag.1 > 0).then(|| Duration::from_micros(w.lag.0 / w.lag.1));
                    if now.since(w.viewer.joined) > SETTLED {
                        let delay = stats.playout_delay.unwrap_or_default();
                        w.viewer.longest_delay = w.viewer.longest_delay.max(delay);
                    }
                }
                let moment = self.moment(now);
                moment.due += due;
                moment.on_time += on_time;
            }
            Notice::Ended { ticket, result } => {
                let Some(w) = self.viewers.get_mut(&node) else { return };
                let Some((since, wish)) = w.open.remove(ticket) else { return };
                let took = now.since(since);
                match (result, wish) {
                    (Ok(_), Wish::Leap) => w.viewer.leaps.push(took),
                    (Ok(_), Wish::Live) => w.viewer.returns.push(took),
                    (Ok(_), Wish::Channel) => w.viewer.zaps.push(took),
                    (Err(_), _) => w.viewer.refused += 1,
                }
            }
            _ => {}
        }
    }
}
