//! Faults: what the world does to nodes and links on request.

use std::collections::BTreeSet;
use std::time::Duration;

use eddy_core::rng::Rng;
use eddy_core::time::micros;
use eddy_core::{Event, LinkId, Machine, Output, Time};

use crate::clock::Clock;
use crate::conn::ConnKey;
use crate::node::{Life, NodeIx};
use crate::queue::Kind;
use crate::world::World;

/// Two sets of nodes that cannot hear each other for a while.
#[derive(Debug)]
pub(crate) struct Cut {
    sets: [BTreeSet<NodeIx>; 2],
    until: Time,
}

impl World {
    /// Breaks a connection somewhere on its way: what is in flight is lost,
    /// and both ends learn it within half a round trip. Does nothing if the
    /// link is closed already.
    pub fn reset(&mut self, node: NodeIx, link: LinkId) {
        if let Some(link) = self.nodes[node.index()].links.get(&link) {
            self.break_conn(link.end.conn);
        }
    }

    /// From now on each connection of `node`, the standing ones included, is
    /// reset after a time drawn from the exponential distribution with this
    /// mean. `None` ends that for new connections.
    pub fn reset_rate(&mut self, node: NodeIx, mean: Option<Duration>) {
        self.nodes[node.index()].resets = mean;
        let standing: Vec<_> =
            self.nodes[node.index()].links.values().map(|l| l.end.conn).collect();
        for conn in standing {
            self.doom(node, conn);
        }
    }

    /// Has a new connection reset some day, if its node's luck is bad.
    pub(crate) fn doom(&mut self, node: NodeIx, conn: ConnKey) {
        let node = &mut self.nodes[node.index()];
        if let Some(mean) = node.resets {
            let life = exponential(&mut node.rng, mean);
            self.queue.push(self.now + life, Kind::Reset(conn));
        }
    }

    /// The program ends in good order: its connections close, and dialling it
    /// fails after one round trip.
    pub fn exit(&mut self, node: NodeIx) {
        self.end_node(node, Life::Exited);
    }

    /// The program is killed: its connections close, and dialling it fails
    /// after the time-out, as with a host that drops what it does not expect.
    pub fn kill(&mut self, node: NodeIx) {
        self.end_node(node, Life::Killed);
    }

    /// The power goes: nobody is told anything, and dialling it fails after
    /// the time-out. If a node is added at its address again, whoever still
    /// sends on an old connection learns that it is closed.
    pub fn crash(&mut self, node: NodeIx) {
        self.end_node(node, Life::Crashed);
    }

    fn end_node(&mut self, node: NodeIx, how: Life) {
        if !self.is_live(node) {
            return;
        }
        let n = &mut self.nodes[node.index()];
        n.life = how;
        // A long churn leaves many dead: they keep only their counters.
        n.machine = Box::new(Gone);
        n.held.clear();
        n.tickets.clear();
        n.deadline = None;
        self.abandon(node, how == Life::Crashed);
    }

    /// Stops a node for a while, as SIGSTOP does: its host still takes bytes
    /// and connections, its clock goes on, and all events come when it thaws.
    pub fn freeze(&mut self, node: NodeIx, duration: Duration) {
        let until = self.now + duration;
        let n = &mut self.nodes[node.index()];
        match n.life {
            Life::Running => n.life = Life::Frozen(until),
            Life::Frozen(before) => n.life = Life::Frozen(before.max(until)),
            Life::Exited | Life::Killed | Life::Crashed => return,
        }
        self.queue.push(until, Kind::Thaw(node));
    }

    /// Cuts the two sets off from each other for a while. What one sends to
    /// the other waits until the cut heals, as with TCP's retransmissions;
    /// datagrams are lost, dials time out. What is in flight still arrives.
    pub fn partition(&mut self, a: &[NodeIx], b: &[NodeIx], duration: Duration) {
        let now = self.now;
        self.cuts.retain(|cut| cut.until > now);
        let sets = [a, b].map(|set| set.iter().copied().collect());
        self.cuts.push(Cut { sets, until: now + duration });
    }

    /// Cuts a node off from all others that there are now.
    pub fn isolate(&mut self, node: NodeIx, duration: Duration) {
        let others: Vec<_> = self.nodes().filter(|&n| n != node).collect();
        self.partition(&[node], &others, duration);
    }

    /// When `from` can be heard by `to` again, if it cannot now.
    pub(crate) fn cut_until(&self, from: NodeIx, to: NodeIx) -> Option<Time> {
        let parted = |cut: &&Cut| {
            let [a, b] = &cut.sets;
            cut.until > self.now
                && (a.contains(&from) && b.contains(&to) || b.contains(&from) && a.contains(&to))
        };
        self.cuts.iter().filter(parted).map(|cut| cut.until).max()
    }

    /// Puts a node's clock `offset` microseconds ahead of the world's, from
    /// where it gains `ppm` microseconds a second. A clock put back goes back.
    ///
    /// # Panics
    /// If `ppm` is -10^6 or less: the clock would stand still.
    pub fn set_clock(&mut self, node: NodeIx, offset: i64, ppm: i32) {
        let now = self.now;
        let n = &mut self.nodes[node.index()];
        let deadline = n.deadline.map(|d| n.clock.local(d));
        n.clock = Clock::off(now, offset, ppm);
        n.deadline = deadline.map(|d| n.clock.world(d));
        self.arm(node);
    }

    /// Changes a node's uplink, in bytes per second, from its next `Send` on.
    ///
    /// # Panics
    /// If it is zero.
    pub fn set_uplink(&mut self, node: NodeIx, uplink: Option<u64>) {
        self.nodes[node.index()].uplink.set_rate(uplink);
    }

    /// Says whether others can dial a node; one behind a NAT they cannot.
    /// Dials then fail after the time-out. Nodes start reachable.
    pub fn set_reachable(&mut self, node: NodeIx, reachable: bool) {
        self.nodes[node.index()].reachable = reachable;
    }
}

/// In place of a machine that has ended.
struct Gone;

impl Machine for Gone {
    fn handle(&mut self, _now: Time, _event: Event) {}
    fn poll(&mut self) -> Output {
        Output::Wait(None)
    }
}

/// An exponentially distributed duration, by von Neumann's comparison method:
/// no logarithm, so the same on every machine.
fn exponential(rng: &mut Rng, mean: Duration) -> Duration {
    let mut whole = 0_u64;
    loop {
        // The length of a falling run of uniform draws is odd with
        // probability e^-first: then `first` is the fraction.
        let first = rng.next_u64();
        let (mut last, mut odd) = (first, true);
        loop {
            let next = rng.next_u64();
            if next >= last {
                break;
            }
            (last, odd) = (next, !odd);
        }
        if odd {
            let fraction = ((u128::from(micros(mean)) * u128::from(first)) >> 64) as u64;
            return mean.saturating_mul(whole as u32) + Duration::from_micros(fraction);
        }
        whole += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_has_its_mean_and_its_tail() {
        let mut rng = Rng::new([3; 32]);
        let mean = Duration::from_secs(60);
        let draws: Vec<f64> =
            (0..40_000).map(|_| exponential(&mut rng, mean).as_secs_f64() / 60.0).collect();
        let average = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((average - 1.0).abs() < 0.02, "mean {average}");
        for x in [0.1, 0.5, 1.0, 2.0, 3.0_f64] {
            let over = draws.iter().filter(|&&d| d > x).count() as f64 / draws.len() as f64;
            assert!((over - (-x).exp()).abs() < 0.01, "P(> {x}) is {over}");
        }
    }
}
