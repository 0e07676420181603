//! C10: every ticket ends, and nobody makes a machine take memory without end.

use eddy_core::config::Config;
use eddy_core::stream::channel::Name;
use eddy_core::stream::sign::{Signature, Signer};
use eddy_core::wire::message::{ListRequest, Message, Purpose, Registration, Token};
use eddy_core::{Answer, Command, Join, Notice, Refusal, Seq, Time};
use eddy_sim::START;
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{
    SERVER, a_provider, a_server, a_viewer, channel, full_map, join, member, provider,
};
use eddy_sim::hand::words::hello;

use super::common::addr;
use super::common::swarm::{Swarm, packet};
use super::{publish, secs, window};

#[test]
fn c10_every_ticket_ends_once() {
    let mut swarm = Swarm::new(10);
    let viewers: Vec<_> = (0..8).map(|_| swarm.idle()).collect();
    let dead = addr(99);
    let other_key = Signer::from_secret(&[9; 32]).public();
    let named = |name: &str| Name::new(name).unwrap();
    let joins = [
        join(),
        Join { channel: named("nothing"), ..join() },
        Join { key: Some(other_key), ..join() },
        Join { bootstrap: vec![], ..join() },
        Join { key: None, bootstrap: vec![dead, addr(SERVER)], ..join() },
        Join { bootstrap: vec![dead], ..join() },
    ];
    for (&v, join) in viewers.iter().zip(joins) {
        swarm.world.command(v, Command::Join(Box::new(join)));
    }
    let list = |bootstrap: Vec<_>| Command::List { bootstrap };
    swarm.world.command(viewers[6], list(vec![addr(SERVER)]));
    swarm.world.command(viewers[6], list(vec![addr(SERVER)])); // busy
    swarm.world.command(viewers[7], list(vec![dead]));
    swarm.world.command(viewers[7], Command::Publish(packet(0)));
    swarm.join(viewers[0]); // takes the place of the first
    swarm.join(swarm.provider);
    swarm.join(swarm.server);
    swarm.world.command(swarm.provider, Command::Publish(vec![0; 65_508].into()));
    for _ in 0..100 {
        swarm.world.command(swarm.provider, Command::Publish(vec![0; 65_507].into()));
    }
    swarm.run(20_000);
    // Only the join with a server that never answers may still be open.
    let open = |swarm: &Swarm, v| swarm.world.open_tickets(v).count();
    for &v in viewers.iter().filter(|v| **v != viewers[5]) {
        assert_eq!(open(&swarm, v), 0, "{v:?}: {:?}", swarm.view(v).notices);
    }
    for &v in &viewers {
        swarm.world.command(v, Command::Leave);
        swarm.world.command(v, Command::Leave);
        swarm.join(v);
    }
    swarm.run(10_000);
    for v in swarm.world.nodes() {
        assert_eq!(open(&swarm, v), 0, "{v:?}: {:?}", swarm.view(v).notices);
    }
    let refused = |v| -> Vec<Refusal> {
        let refusal = |(_, n): &(Time, Notice)| match n {
            Notice::Ended { result: Err(refusal), .. } => Some(*refusal),
            _ => None,
        };
        swarm.view(v).notices.iter().filter_map(refusal).collect()
    };
    use Refusal::*;
    assert_eq!(refused(viewers[0]), [Replaced, Leaving, Leaving]);
    assert_eq!(refused(viewers[1]), [NoSuchChannel, Leaving, Leaving]);
    assert_eq!(refused(viewers[2]), [WrongKey, Leaving, Leaving]);
    assert_eq!(refused(viewers[3]), [NoBootstrap, Leaving, Leaving]);
    assert_eq!(refused(viewers[4]), [Leaving, Leaving]);
    assert_eq!(refused(viewers[5]).len(), 3, "the join, a leave and a join");
    assert_eq!(refused(viewers[6])[0], Busy);
    assert!(refused(viewers[7]).contains(&NoBootstrap));
    assert!(refused(viewers[7]).contains(&NotPossible));
    let provider = refused(swarm.provider);
    assert!(provider.contains(&PacketTooLong) && provider.contains(&InputTooFast));
    assert!(swarm.view(viewers[6]).has(|n| matches!(
        n,
        Notice::Ended { result: Ok(Answer::Channels(c)), .. } if c.len() == 1
    )));
}

/// The most memory, in bytes, that `flood` has a machine take on top.
fn memory(flood: impl FnOnce()) -> u64 {
    allocation_counter::measure(flood).bytes_max
}

#[test]
fn c10_a_child_that_never_reads_costs_a_bounded_amount_of_memory() {
    const SIZE: usize = 60_000;
    let config = Config { buffer: secs(2), give_up: secs(1), ..Config::default() };
    let bound = 2 * 50 * SIZE + window() + (2 << 20);
    let node = provider(1, &config, None, START);
    let mut hand = Hand::new(node, START, window());
    let (control, block) = hand.child(60);
    for id in 61..65 {
        hand.child(id);
    }
    hand.keep = false;
    let took = memory(|| {
        for _ in 0..60 {
            publish(&mut hand, 25, SIZE);
            // Others read, and it says that it is alive, wants all and hears none.
            let links: Vec<_> = hand.open.keys().copied().filter(|l| *l != block).collect();
            for link in links {
                hand.flush(link, usize::MAX);
            }
            let map = full_map(hand.now);
            hand.say(control, &map);
            let from = channel().seq_at(hand.now);
            hand.subscribe(control, from);
        }
    });
    assert!(took < bound as u64, "{took} bytes in a minute, bound {bound}");
}

#[test]
fn c10_questions_without_listening_to_answers_end_the_link() {
    let mut hand = a_provider();
    hand.keep = false;
    let control = hand.partner(60);
    let took = memory(|| {
        for n in 0..100_000 {
            if hand.open.contains_key(&control) {
                hand.say(control, &Message::Ping(n));
            }
        }
    });
    assert!(!hand.open.contains_key(&control), "it was cut off");
    assert!(took < 2 << 20, "{took} bytes");
}

#[test]
fn c10_connections_are_limited_in_all_and_per_address() {
    let config = Config { max_links: 100, max_links_per_address: 10, ..Config::default() };
    let machine = provider(1, &config, None, START);
    let mut hand = Hand::new(machine, START, window());
    let took = memory(|| {
        for _ in 0..1_000 {
            hand.accept(addr(60));
        }
        assert_eq!(hand.open.len(), 10);
        for n in 0..1_000_u16 {
            let [a, b] = n.to_be_bytes();
            hand.accept(([10, 1, a, b], 5).into());
        }
    });
    assert_eq!((hand.open.len(), hand.machine.stats().links), (100, 100));
    assert!(took < 2 << 20, "{took} bytes");
    // Those who never say hello make room again.
    hand.pass(secs(10));
    assert_eq!(hand.machine.stats().links, 0);
}

#[test]
fn c10_what_a_partner_makes_us_remember_is_bounded() {
    let mut hand = a_viewer(1);
    hand.keep = false;
    let control = hand.partner(60);
    let took = memory(|| {
        for n in 0..20_000_u64 {
            let mut member = member(9);
            member.node.0[..8].copy_from_slice(&n.to_be_bytes());
            hand.say(control, &Message::Gossip(vec![member]));
            hand.say(control, &Message::BlockLink(Token(n)));
            hand.say(control, &Message::DialBack(Token(n)));
            hand.say(control, &Message::Pull((0..64).map(|i| Seq(n * 64 + i)).collect()));
            hand.flush(control, usize::MAX);
        }
    });
    assert!(hand.machine.stats().members <= Config::default().members as u32);
    assert!(took < 2 << 20, "{took} bytes");
}

#[test]
fn c10_half_frames_cost_no_more_than_a_frame() {
    let mut hand = a_provider();
    hand.keep = false;
    let took = memory(|| {
        for id in 60..80 {
            let control = hand.partner(id);
            // 32 KiB are announced and all but one byte sent.
            let mut half = ((32_u32 << 10) - 4).to_be_bytes().to_vec();
            half.push(0x7f);
            half.resize((32 << 10) - 1, 0);
            hand.receive(control, half);
        }
    });
    assert!(took < 20 * (80 << 10), "{took} bytes");
    hand.pass(secs(10));
    assert_eq!(hand.machine.stats().links, 0, "a frame must end in time");
}

#[test]
fn c10_a_server_keeps_a_bounded_number_of_channels_and_nodes() {
    let mut hand = a_server();
    hand.keep = false;
    let took = memory(|| {
        for n in 0..300_u64 {
            let link = hand.accept(addr(60));
            hand.say(link, &hello(60, Purpose::Bootstrap));
            let registration =
                Registration { channel: channel(), signature: Signature([n as u8; 64]) };
            hand.say(link, &Message::ChannelRegistration(registration));
            hand.say(link, &Message::ChannelList(ListRequest { filter: "l".into() }));
        }
    });
    assert!(hand.open.len() <= Config::default().max_links_per_address, "{}", hand.open.len());
    assert!(took < 8 << 20, "{took} bytes");
    hand.pass(secs(70));
    assert!(hand.open.is_empty(), "the idle are closed: {}", hand.open.len());
}
