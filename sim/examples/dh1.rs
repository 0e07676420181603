//! DH1: lookups in a DHT of N nodes on PlanetLab's round trips, without faults
//! or under the churn of a live channel's viewers.
//!
//! `cargo run --release -p eddy-sim --example dh1 [N] [--churn] [--seed SEED]`

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eddy_core::dht::{Dht, DhtConfig, Effect, Key, OpId, Outcome, Pace};
use eddy_core::rng::{Rng, node_seed};
use eddy_core::{Action, Answer, Command, Event, Machine, Notice, Output, Ticket, Time};
use eddy_sim::{Net, NodeIx, Rtt, World};

/// Nodes that everybody may join by; they stay.
const BOOTSTRAP: usize = 8;
/// Keys announced, and lookups made.
const KEYS: usize = 2_000;
/// While nodes join, and while tables fill.
const JOINING: Duration = Duration::from_secs(600);
const WARM_UP: Duration = Duration::from_secs(1_200);
/// While keys are announced, and while they are looked up.
const ANNOUNCING: Duration = Duration::from_secs(300);
const LOOKING: Duration = Duration::from_secs(600);
/// An owner announces again after this long, give or take a tenth.
const REPUBLISH: Duration = Duration::from_secs(720);
const LIFE: Duration = Duration::from_secs(1_800);
/// CH1: sessions as measured, Weibull; arrivals N / 2,429 a second.
const SHAPE: f64 = 0.492;
const SCALE: f64 = 1_136.0;
const MEAN: f64 = 2_429.0;

/// What ended: a lookup of a pace, or an announce.
type Log = Rc<RefCell<Vec<(Option<Pace>, Outcome)>>>;

/// A DHT node that tells how its operations went.
struct Peer {
    dht: Dht,
    log: Log,
    open: Vec<(OpId, Ticket, Option<Pace>)>,
    actions: Vec<Action>,
}

impl Machine for Peer {
    fn handle(&mut self, now: Time, event: Event) {
        match event {
            Event::Datagram { from, bytes } => self.dht.receive(now, from, &bytes),
            Event::Command { ticket, command: Command::LookUp { key } } => {
                // One half of the keys is looked up in a hurry, the other calmly.
                let pace = if key.0[0] < 128 { Pace::Hurry } else { Pace::Calm };
                self.open.push((self.dht.look_up(now, key, pace), ticket, Some(pace)));
            }
            Event::Command { ticket, command: Command::Announce { key, port, life } } => {
                self.open.push((self.dht.announce(now, key, port, life), ticket, None));
            }
            _ => {}
        }
        self.dht.wake(now);
    }

    fn poll(&mut self) -> Output {
        while let Some(effect) = self.dht.poll() {
            match effect {
                Effect::Send { to, bytes } => {
                    return Output::Act(Action::SendDatagram { to, bytes });
                }
                Effect::Done { op, outcome } => {
                    let Some(at) = self.open.iter().position(|(o, ..)| *o == op) else { continue };
                    let (_, ticket, pace) = self.open.swap_remove(at);
                    self.log.borrow_mut().push((pace, outcome));
                    let result = Ok(Answer::Done);
                    self.actions.push(Action::Notify(Notice::Ended { ticket, result }));
                }
                Effect::Found { .. } => {}
            }
        }
        match self.actions.pop() {
            Some(action) => Output::Act(action),
            None => Output::Wait(self.dht.deadline()),
        }
    }
}

fn uniform(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The length of a session, in seconds.
fn session(rng: &mut Rng) -> f64 {
    SCALE * (-(1.0 - uniform(rng)).ln()).powf(1.0 / SHAPE)
}

/// What is left of the session of somebody met at a random moment: long ones
/// are met more often.
fn rest_of_session(rng: &mut Rng) -> f64 {
    let sessions: Vec<f64> = (0..200).map(|_| session(rng)).collect();
    let mut at = uniform(rng) * sessions.iter().sum::<f64>();
    for session in sessions {
        if at < session {
            return at;
        }
        at -= session;
    }
    at
}

/// What happens to the network from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Join,
    Leave(NodeIx),
    Announce { key: usize, owner: NodeIx },
    LookUp,
}

struct Swarm {
    world: World,
    rng: Rng,
    log: Log,
    /// All nodes that live but the bootstrap nodes.
    live: Vec<NodeIx>,
    added: usize,
    plan: std::collections::BTreeSet<(Time, u64, What)>,
    planned: u64,
    /// Owner and time of the first announce of each key.
    keys: Vec<(NodeIx, Time)>,
    churn: bool,
}

fn addr(n: usize) -> SocketAddr {
    let [.., a, b, c] = n.to_be_bytes();
    ([10 + a, b, c, 1], 4_000).into()
}

fn key(n: usize) -> Key {
    Key::sha1(&[b"dh1", &n.to_be_bytes()])
}

impl Swarm {
    fn new(seed: u64, churn: bool) -> Self {
        let net = Net { rtt: Rtt::planetlab(), ..Net::default() };
        let mut swarm = Self {
            world: World::new(seed, net),
            rng: Rng::new(node_seed(seed, &addr(0))),
            log: Log::default(),
            live: Vec::new(),
            added: 0,
            plan: std::collections::BTreeSet::new(),
            planned: 0,
            keys: Vec::new(),
            churn,
        };
        for _ in 0..BOOTSTRAP {
            swarm.add();
        }
        swarm
    }

    fn add(&mut self) -> NodeIx {
        let at = addr(self.added);
        self.added += 1;
        let rng = Rng::new(node_seed(self.world.seed(), &at));
        let mut dht = Dht::new(DhtConfig::default(), at, rng, self.world.now());
        let places: Vec<SocketAddr> = (0..BOOTSTRAP).map(addr).collect();
        let first = self.rng.below(BOOTSTRAP);
        dht.join(self.world.now(), &[places[first], places[(first + 1) % BOOTSTRAP]]);
        let log = Rc::clone(&self.log);
        let peer = Peer { dht, log, open: Vec::new(), actions: Vec::new() };
        let site = self.rng.below(490);
        self.world.add(at, site, None, Box::new(peer))
    }

    fn after(&mut self, seconds: f64, what: What) {
        let at = self.world.now() + Duration::from_secs_f64(seconds);
        self.planned += 1;
        self.plan.insert((at, self.planned, what));
    }

    fn run(&mut self, span: Duration) {
        let end = self.world.now() + span;
        while let Some((at, _, what)) = self.plan.pop_first() {
            if at > end {
                self.planned += 1;
                self.plan.insert((at, self.planned, what));
                break;
            }
            self.world.run_until(at, &mut ());
            self.happen(what);
        }
        self.world.run_until(end, &mut ());
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Join => {
                let ix = self.add();
                self.live.push(ix);
                if self.churn {
                    let stay = session(&mut self.rng);
                    self.after(stay, What::Leave(ix));
                }
            }
            What::Leave(ix) => {
                self.world.crash(ix);
                self.live.retain(|live| *live != ix);
            }
            What::Announce { key: n, owner } => {
                if self.world.is_live(owner) {
                    self.world.command(owner, announce(n));
                    let next = self.rng.jitter(REPUBLISH, 10).as_secs_f64();
                    self.after(next, What::Announce { key: n, owner });
                }
            }
            What::LookUp => {
                // A key whose owner is there, and has been for ten seconds.
                let since = self.world.now() - Duration::from_secs(10);
                let good = |(owner, at): &(NodeIx, Time)| self.world.is_live(*owner) && *at < since;
                let good: Vec<usize> =
                    (0..self.keys.len()).filter(|n| good(&self.keys[*n])).collect();
                let (n, who) = (good[self.rng.below(good.len())], self.rng.below(self.live.len()));
                if self.live[who] != self.keys[n].0 {
                    self.world.command(self.live[who], Command::LookUp { key: key(n) });
                }
            }
        }
    }
}

fn announce(n: usize) -> Command {
    Command::Announce { key: key(n), port: 5_000, life: LIFE }
}

fn quantile<T: Copy>(sorted: &[T], q: f64) -> Option<T> {
    sorted.get(((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1))).copied()
}

fn mean(values: &[usize]) -> f64 {
    values.iter().sum::<usize>() as f64 / values.len().max(1) as f64
}

/// Those of the ended operations that were of this kind.
fn ended(swarm: &Swarm, kind: Option<Pace>) -> Vec<Outcome> {
    swarm.log.borrow().iter().filter(|(pace, _)| *pace == kind).map(|(_, o)| *o).collect()
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort();
    values
}

fn print(swarm: &Swarm, upkeep: (u64, f64), wall: Instant) {
    for pace in [Pace::Calm, Pace::Hurry] {
        let lookups = ended(swarm, Some(pace));
        let first = || lookups.iter().filter_map(|o| o.first);
        let times = sorted(first().map(|f| f.after));
        let ms = |q| quantile(&times, q).unwrap_or_default().as_secs_f64() * 1e3;
        let rpcs = sorted(first().map(|f| f.asked));
        println!(
            "  {pace:?}, alpha {}   {} of {} found a record, {:.2} %",
            if pace == Pace::Calm { 4 } else { 8 },
            times.len(),
            lookups.len(),
            100.0 * times.len() as f64 / lookups.len().max(1) as f64
        );
        println!(
            "    first record  p50 {:.0} ms   p95 {:.0} ms   p99 {:.0} ms",
            ms(0.5),
            ms(0.95),
            ms(0.99)
        );
        println!(
            "    RPCs          until then mean {:.1}   p50 {}   p95 {}   in all {:.1}",
            mean(&rpcs),
            quantile(&rpcs, 0.5).unwrap_or(0),
            quantile(&rpcs, 0.95).unwrap_or(0),
            mean(&sorted(lookups.iter().map(|o| o.asked))),
        );
    }
    let stored = sorted(ended(swarm, None).iter().map(|o| o.stored));
    println!(
        "  announces       {}   stored on mean {:.2}   p5 {}   least {}",
        stored.len(),
        mean(&stored),
        quantile(&stored, 0.05).unwrap_or(0),
        stored.first().copied().unwrap_or(0),
    );
    println!(
        "  nodes           {} joined in all, {} are there",
        swarm.added,
        swarm.live.len() + BOOTSTRAP
    );
    let (bytes, seconds) = upkeep;
    let rate = bytes as f64 / seconds / (swarm.live.len() + BOOTSTRAP) as f64;
    println!("  upkeep          {rate:.0} bytes/s sent by a node");
    println!(
        "  events          {}   hash {:016x}   {:.0} s of wall clock",
        swarm.world.events(),
        swarm.world.hash(),
        wall.elapsed().as_secs_f64()
    );
}

fn sent(swarm: &Swarm) -> u64 {
    swarm.world.nodes().map(|n| swarm.world.traffic(n).datagrams_sent).sum()
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut count, mut churn, mut seed) = (1_000_usize, false, 1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--churn" => churn = true,
            "--seed" => seed = args.next().and_then(|s| s.parse().ok()).unwrap_or(seed),
            n => count = n.parse().unwrap_or(count),
        }
    }
    let wall = Instant::now();
    println!("DH1, N = {count}, {}, seed {seed}", if churn { "churn CH1" } else { "no faults" });
    let mut swarm = Swarm::new(seed, false);
    for n in 0..count.saturating_sub(BOOTSTRAP) {
        let at = JOINING.as_secs_f64() * n as f64 / count as f64;
        swarm.after(at, What::Join);
    }
    swarm.run(JOINING);
    if churn {
        swarm.churn = true;
        for ix in swarm.live.clone() {
            let stay = rest_of_session(&mut swarm.rng);
            swarm.after(stay, What::Leave(ix));
        }
        let total = (WARM_UP + ANNOUNCING + LOOKING).as_secs_f64();
        let mut at = 0.0;
        while at < total {
            at -= (1.0 - uniform(&mut swarm.rng)).ln() * MEAN / count as f64;
            swarm.after(at, What::Join);
        }
    }
    swarm.run(WARM_UP / 2);
    let before = sent(&swarm);
    swarm.run(WARM_UP / 2);
    let upkeep = (sent(&swarm) - before, (WARM_UP / 2).as_secs_f64());
    // Announces come one by one, from whoever is there then.
    for n in 0..KEYS {
        swarm.run(ANNOUNCING / KEYS as u32);
        let owner = swarm.live[swarm.rng.below(swarm.live.len())];
        swarm.keys.push((owner, swarm.world.now()));
        swarm.happen(What::Announce { key: n, owner });
    }
    for _ in 0..KEYS {
        let at = uniform(&mut swarm.rng) * LOOKING.as_secs_f64();
        swarm.after(at, What::LookUp);
    }
    swarm.run(LOOKING + Duration::from_secs(15));
    print(&swarm, upkeep, wall);
}
