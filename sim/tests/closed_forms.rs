//! The network model against closed forms (performance study section 4): scripted
//! machines that store a block and forward it, on shapes whose arrival times are
//! known.

mod common;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use eddy_core::{Action, DialId, Event, LinkId, Machine, Time};
use eddy_sim::bounds::b6_even;
use eddy_sim::{Net, Rtt, Sharing, World};

/// A second of 500 kbit/s.
const BLOCK: usize = 62_500;
const RATE: u64 = 62_500;
/// A block leaves in 0.8 s.
const UPLOAD: u64 = 78_125;
/// One way, in seconds.
const LATENCY: f64 = 0.04;
/// When all connections stand, in milliseconds.
const READY: u64 = 2_000;

/// When the block was whole at each node, in seconds after it left for the source.
type Arrivals = Rc<RefCell<Vec<f64>>>;

fn host(n: usize) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0001 + n as u32), 4_000).into()
}

/// Dials its children, and sends them the block one after another once it is here.
fn relay(me: usize, children: &[usize], arrivals: &Arrivals) -> Box<dyn Machine> {
    let arrivals = arrivals.clone();
    let mut links: Vec<Option<LinkId>> = vec![None; children.len()];
    let children = children.to_vec();
    let start = move |out: &mut Out| {
        for (n, &child) in children.iter().enumerate() {
            out.act(Action::Dial { dial: DialId(n as u64), to: host(child) });
        }
        out.wake = (me == 0).then(|| at(READY));
    };
    starter(start, move |now: Time, event, out| match event {
        Event::Opened { link, dial: Some(dial), .. } => links[dial.0 as usize] = Some(*link),
        Event::Received { bytes, .. } => {
            assert_eq!(bytes.len(), BLOCK);
            arrivals.borrow_mut()[me] = now.since(at(READY)).as_secs_f64();
            links.iter().flatten().for_each(|link| out.send(*link, bytes.clone()));
        }
        Event::Wake if me == 0 => {
            let block = Bytes::from(vec![0; BLOCK]);
            links.iter().flatten().for_each(|link| out.send(*link, block.clone()));
        }
        _ => {}
    })
}

/// Arrival times on a tree, given the children of each node; node 0 is the source.
fn measure(tree: &[Vec<usize>], sharing: Sharing) -> Vec<f64> {
    let rtt = Rtt::uniform(Duration::from_secs_f64(2.0 * LATENCY));
    // No window is in the way: TCP's is not what is looked at.
    let mut world = World::new(1, Net { rtt, sharing, window: usize::MAX, ..Net::default() });
    let arrivals = Arrivals::new(RefCell::new(vec![0.0; tree.len()]));
    for (n, children) in tree.iter().enumerate() {
        world.add(host(n), 0, Some(UPLOAD), relay(n, children, &arrivals));
    }
    run(&mut world, 1_000_000);
    arrivals.take()
}

/// A block on an uplink, in seconds.
fn slot() -> f64 {
    BLOCK as f64 / UPLOAD as f64
}

fn assert_near(got: f64, want: f64, what: &str) {
    assert!((got - want).abs() < 1e-3 * want, "{what}: {got} s, by the formula {want} s");
}

#[test]
fn a_chain_adds_up() {
    let length = 50;
    let tree: Vec<Vec<usize>> =
        (0..=length).map(|n| (n < length).then_some(n + 1).into_iter().collect()).collect();
    let arrivals = measure(&tree, Sharing::Fifo);
    for (n, arrival) in arrivals.iter().enumerate().skip(1) {
        assert_near(*arrival, n as f64 * (slot() + LATENCY), "a chain");
    }
}

#[test]
fn a_star_is_served_one_after_another() {
    let mut tree = vec![Vec::new(); 201];
    tree[0] = (1..=200).collect();
    // With one block a link it is the same whoever has the next turn.
    for sharing in [Sharing::Fifo, Sharing::Turns] {
        let arrivals = measure(&tree, sharing);
        for (n, arrival) in arrivals.iter().enumerate().skip(1) {
            assert_near(*arrival, n as f64 * slot() + LATENCY, "a star");
        }
    }
}

#[test]
fn a_tree_of_s_children_each_takes_s_slots_a_level_at_worst() {
    let (s, depth) = (8, 3);
    let mut tree: Vec<Vec<usize>> = vec![Vec::new()];
    let mut levels = Vec::new();
    let mut level = 0..1;
    for _ in 0..depth {
        let first = tree.len();
        for parent in level {
            for _ in 0..s {
                let child = tree.len();
                tree[parent].push(child);
                tree.push(Vec::new());
            }
        }
        level = first..tree.len();
        levels.push(level.clone());
    }
    let arrivals = measure(&tree, Sharing::Fifo);
    for (d, level) in (1..).zip(levels) {
        let of_level = &arrivals[level];
        let mean = of_level.iter().sum::<f64>() / of_level.len() as f64;
        let worst = of_level.iter().copied().fold(0.0, f64::max);
        // B6' of the study: d·S slots at worst, d·(S + 1)/2 in the mean.
        let (d, s) = (f64::from(d), s as f64);
        assert_near(worst, d * (s * slot() + LATENCY), "the worst of a level");
        assert_near(mean, d * ((s + 1.0) / 2.0 * slot() + LATENCY), "the mean of a level");
    }
}

#[test]
fn a_full_snowball_is_the_bound_itself() {
    // Who has the block and is free first sends it to somebody without it; a source
    // of a viewer's upload has time for one copy of each block.
    let viewers = 1_000;
    let mut tree = vec![Vec::new(); viewers + 1];
    let micros = |seconds: f64| (seconds * 1e6).round() as u64;
    let mut free = BinaryHeap::from([Reverse((0, 0))]);
    for viewer in 1..=viewers {
        let Reverse((since, from)) = free.pop().expect("viewers go on for ever");
        tree[from].push(viewer);
        free.push(Reverse((since + micros(slot() + LATENCY), viewer)));
        if from > 0 {
            free.push(Reverse((since + micros(slot()), from)));
        }
    }
    let mut arrivals = measure(&tree, Sharing::Fifo).split_off(1);
    arrivals.sort_by(f64::total_cmp);
    // The bound counts from where the block begins to be made.
    let delta = Duration::from_secs(1);
    let latency = Duration::from_secs_f64(LATENCY);
    let bound = b6_even(delta, RATE, UPLOAD, &vec![UPLOAD; viewers], latency).expect("all are fed");
    let of = |d: Duration| (d - delta).as_secs_f64();
    assert_near(arrivals.iter().sum::<f64>() / viewers as f64, of(bound.mean), "the mean");
    assert_near(arrivals[viewers / 2 - 1], of(bound.p50), "half of all");
    assert_near(arrivals[viewers * 95 / 100 - 1], of(bound.p95), "95 %");
    assert_near(arrivals[viewers - 1], of(bound.max), "the last");
}
