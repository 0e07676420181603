//! SI1 of the performance study: the queue of a world on workload E, PeerSim's own
//! epidemic averaging, against a bare wheel that knows the workload's density and
//! horizon (appendix B).

use std::io;
use std::mem;
use std::time::Duration;

use eddy_bench::cpu::{cost, rate};
use eddy_bench::table::{self, Target, row};
use eddy_core::Time;
use eddy_core::rng::Rng;
use eddy_sim::{Keeping, Queue};

/// Ticks of a cycle, in which each node sends once.
const CYCLE: u64 = 10_000;
/// A cycle is a second.
const TICK: u64 = 100;
/// Whom each node knows.
const LINKS: usize = 20;
/// Measurements of each, in turn, of which the cheapest counts.
const RUNS: usize = 3;

#[derive(Clone, Copy)]
struct Event {
    node: u32,
    /// Who sent the value, and whether it wants one back.
    from: u32,
    value: f64,
}

/// It is this node's turn to send.
const TURN: u32 = u32::MAX;
/// Set in `from`: an answer.
const ANSWER: u32 = 1 << 31;

trait Future {
    fn push(&mut self, at: u64, event: Event);
    fn pop(&mut self, until: u64) -> Option<(u64, Event)>;
}

impl Future for Queue<Event> {
    fn push(&mut self, at: u64, event: Event) {
        self.push(Time::from_micros(at * TICK), event);
    }

    fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        let (at, event) = self.pop(Time::from_micros(until * TICK))?;
        Some((at.as_micros() / TICK, event))
    }
}

#[derive(Clone, Copy)]
struct Entry {
    at: u64,
    number: u64,
    event: Event,
}

/// The bare wheel: no horizon beyond a turn, buckets as wide as the workload likes.
struct Wheel {
    buckets: Vec<Vec<Entry>>,
    width: u64,
    current: u64,
    active: Vec<Entry>,
    len: usize,
    pushed: u64,
}

impl Wheel {
    /// About 64 events a bucket.
    fn new(nodes: usize) -> Self {
        let width = (CYCLE / (nodes as u64 / 64).max(1)).max(2);
        let buckets = (0..8_192).map(|_| Vec::new()).collect();
        Self { buckets, width, current: 0, active: Vec::new(), len: 0, pushed: 0 }
    }
}

impl Future for Wheel {
    fn push(&mut self, at: u64, event: Event) {
        let entry = Entry { at, number: self.pushed, event };
        self.pushed += 1;
        self.len += 1;
        let (turn, bucket) = (self.buckets.len() as u64, at / self.width);
        if bucket <= self.current {
            let place = self.active.partition_point(|e| (e.at, e.number) > (at, entry.number));
            self.active.insert(place, entry);
        } else {
            assert!(bucket - self.current < turn, "the workload has no longer waits");
            self.buckets[(bucket % turn) as usize].push(entry);
        }
    }

    fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        while self.active.is_empty() && self.len > 0 {
            self.current += 1;
            let at = (self.current % self.buckets.len() as u64) as usize;
            mem::swap(&mut self.active, &mut self.buckets[at]);
            self.active.sort_unstable_by_key(|e| std::cmp::Reverse((e.at, e.number)));
        }
        let entry = self.active.pop_if(|e| e.at <= until)?;
        self.len -= 1;
        Some((entry.at, entry.event))
    }
}

/// The nodes of workload E: each has a value, and knows some others.
struct Epidemic {
    values: Vec<f64>,
    links: Vec<u32>,
    rng: Rng,
}

impl Epidemic {
    fn new(nodes: usize) -> Self {
        let mut rng = Rng::new([7; 32]);
        let links = (0..nodes * LINKS).map(|_| rng.below(nodes) as u32).collect();
        Self { values: (0..nodes).map(|n| n as f64).collect(), links, rng }
    }

    /// Runs so many cycles; returns the number of events and a hash of their order.
    fn run(mut self, future: &mut impl Future, cycles: u64) -> (u64, u64) {
        for node in 0..self.values.len() as u32 {
            let phase = self.rng.below(CYCLE as usize) as u64;
            future.push(phase, Event { node, from: TURN, value: 0.0 });
        }
        let (mut events, mut hash) = (0, 0xcbf2_9ce4_8422_2325_u64);
        while let Some((at, event)) = future.pop(cycles * CYCLE) {
            events += 1;
            hash = (hash ^ at ^ (u64::from(event.node) << 32)).wrapping_mul(0x100_0000_01b3);
            let Event { node, from, value } = event;
            let mine = &mut self.values[node as usize];
            if from == TURN {
                let link = self.rng.below(LINKS);
                let to = self.links[node as usize * LINKS + link];
                let value = *mine;
                future.push(at + self.latency(), Event { node: to, from: node, value });
                future.push(at + CYCLE, event);
            } else if from & ANSWER != 0 {
                *mine = (*mine + value) / 2.0;
            } else {
                let answer = Event { node: from, from: node | ANSWER, value: *mine };
                *mine = (*mine + value) / 2.0;
                future.push(at + self.latency(), answer);
            }
        }
        (events, hash)
    }

    /// 1 to 30 % of a cycle.
    fn latency(&mut self) -> u64 {
        100 + self.rng.below(2_900) as u64
    }
}

fn main() -> io::Result<()> {
    table::head();
    for (nodes, cycles) in [(10_000, 100), (100_000, 50), (1_000_000, 10)] {
        let mut least = [Duration::MAX; 2];
        let mut seen = [(0, 0); 2];
        for _ in 0..RUNS {
            let epidemic = Epidemic::new(nodes);
            let mut queue = Queue::new(Keeping::default(), Time::ZERO);
            least[0] = least[0].min(cost(|| seen[0] = epidemic.run(&mut queue, cycles))?);
            let epidemic = Epidemic::new(nodes);
            let mut wheel = Wheel::new(nodes);
            least[1] = least[1].min(cost(|| seen[1] = epidemic.run(&mut wheel, cycles))?);
        }
        assert_eq!(seen[0], seen[1], "the order does not depend on the queue");
        let [ours, bare] = least.map(|least| rate(seen[0].0 as f64, least) / 1e6);
        row(
            "SI1",
            &format!("workload E, {nodes} nodes, {cycles} cycles, {} events", seen[0].0),
            &format!("{ours:.2} M events/CPU-s"),
            &format!("bare wheel {bare:.2} M"),
            ours / bare,
            Target::AtLeast(0.5),
        );
    }
    Ok(())
}
