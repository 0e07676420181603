//! A swarm of the size of the report's own experiment: is the world quick
//! enough, and does it stay within what the network allows?

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{Buf as _, Bytes};
use common::*;
use eddy_core::rng::Rng;
use eddy_core::{Action, Event, Head, LinkId, Machine, Time};
use eddy_sim::{Net, Rtt, Sharing, World};

const VIEWERS: u8 = 48;
const SUBSTREAMS: u64 = 8;
/// 500 kbit/s in blocks of 40 ms.
const BLOCK: usize = 2_500;
const SECONDS: u64 = 20;

/// How late each block came to each viewer, in microseconds.
type Lags = Rc<RefCell<BTreeMap<(u8, u64), u64>>>;

/// A viewer pulls sub-stream j from its j-th parent and pushes to whoever
/// asked it; node 0 is the source. A message is a sub-stream asked for (1
/// byte), a map (100 bytes), or a block with its number in front.
fn node(me: u8, parents: Vec<u8>, lags: &Lags) -> Box<dyn Machine> {
    let lags = lags.clone();
    let mut children: Vec<(LinkId, u8)> = Vec::new();
    let mut links = Vec::new();
    let mut made = 0_u64;
    let mut asked = 0..parents.len() as u8;
    let start = move |out: &mut Out| {
        parents.iter().for_each(|&p| out.dial(addr(p)));
        out.wake = Some(at(1_000));
    };
    starter(start, move |now: Time, event, out| {
        let mut push = |seq: u64, block: &Bytes| {
            for &(link, _) in children.iter().filter(|(_, j)| u64::from(*j) == seq % SUBSTREAMS) {
                let head = Head::from_slice(&seq.to_be_bytes());
                out.act(Action::Send { link, head, body: block.clone() });
            }
        };
        match event {
            Event::Opened { link, dial, .. } => {
                links.push(*link);
                if dial.is_some() {
                    out.send(*link, vec![asked.next().expect("one dial a parent")]);
                }
            }
            Event::Received { link, bytes } if bytes.len() == 1 => children.push((*link, bytes[0])),
            // The block follows its head as a piece of its own.
            Event::Received { bytes, .. } if bytes.len() == 8 => made = bytes.clone().get_u64(),
            Event::Received { bytes, .. } if bytes.len() == BLOCK => {
                let lag = micros(now) - 1_000_000 - made * 40_000;
                assert!(lags.borrow_mut().insert((me, made), lag).is_none());
                push(made, bytes);
            }
            Event::Wake if me == 0 => {
                push(made, &Bytes::from_static(&[0; BLOCK]));
                made += 1;
                out.wake = Some(now + ms(40));
            }
            Event::Wake => {
                links.iter().for_each(|&l| out.send(l, Bytes::from_static(&[0; 100])));
                out.wake = Some(now + ms(200));
            }
            _ => {}
        }
    })
}

#[test]
fn a_swarm_of_48_gets_every_block() {
    let network = Net { rtt: Rtt::planetlab(), sharing: Sharing::Turns, ..Net::default() };
    let mut rng = Rng::new([1; 32]);
    let sites = network.rtt.draw(&mut rng, usize::from(VIEWERS) + 1);
    let lags = Lags::default();
    let mut world = World::new(1, network);
    for i in 0..=VIEWERS {
        // Parents among the nodes up to half as far out: no loops, shallow trees.
        let count = if i == 0 { 0 } else { SUBSTREAMS };
        let parents = (0..count).map(|_| rng.below(usize::from(i).div_ceil(2)) as u8).collect();
        world.add(addr(i), sites[usize::from(i)], Some(1_250_000), node(i, parents, &lags));
    }
    run(&mut world, 1_000 + SECONDS * 1_000);

    // All but those made in the last two seconds must be everywhere.
    let (lags, blocks) = (lags.borrow(), (SECONDS - 2) * 25);
    for viewer in 1..=VIEWERS {
        for seq in 0..blocks {
            // A viewer asks its parent when its dial is answered; the first blocks precede that.
            let lag = lags.get(&(viewer, seq));
            assert!(seq < 75 || lag.is_some_and(|&l| l < 2_000_000), "{viewer} {seq} {lag:?}");
        }
    }
    let sent: u64 = world.nodes().map(|n| world.traffic(n).sent).sum();
    let floor = u64::from(VIEWERS) * blocks * BLOCK as u64;
    assert!(sent > floor && sent < floor * 2, "{sent} bytes sent, the blocks alone are {floor}");
}
