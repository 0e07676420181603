//! What somebody hostile may say to a node, and what comes of it.

use std::net::SocketAddr;

use bytes::Bytes;
use eddy_core::dht::krpc::{Answer, Body, Packet, Query, Tx, emit, parse};
use eddy_core::dht::{Contact, DhtConfig, Effect, Key, OpId, Outcome, Pace};
use eddy_sim::START;

use crate::bench::{ANY, Asked, Bench, KEY, LIFE, addr, at, contact, host, id};
use crate::{ms, secs};

#[test]
fn an_answer_counts_once_and_only_from_where_the_question_went() {
    let mut bench = Bench::new();
    bench.dht.join(START, &[addr(1)]);
    bench.drain();
    let t = bench.asked.pop().unwrap().t;
    let spoofed = [at("10.1.1.1:4001"), at("10.1.2.1:4000")];
    for from in spoofed {
        bench.answer(from, &t, id(1), Answer::default());
    }
    let mut other = t.clone();
    other[0] ^= 1;
    bench.answer(addr(1), &other, id(1), Answer::default());
    bench.answer(addr(1), &t[..3], id(1), Answer::default());
    bench.say(addr(1), b"", Body::Error { id: None, code: 203, text: String::new() });
    assert_eq!((bench.dht.nodes(), bench.dht.stats().dropped), (0, 5));
    bench.answer(addr(1), &t, id(1), Answer::default());
    assert_eq!((bench.dht.nodes(), bench.dht.stats().dropped), (1, 5));
    bench.answer(addr(1), &t, id(1), Answer::default());
    assert_eq!(bench.dht.stats().dropped, 6);
    assert!(bench.said.is_empty(), "no such thing is answered");
}

#[test]
fn transaction_ids_have_four_bytes_and_follow_no_order() {
    let mut bench = Bench::knowing(20);
    bench.dht.look_up(bench.now, KEY, Pace::Hurry);
    bench.drain();
    let ids: Vec<u32> =
        bench.asked.iter().map(|a| u32::from_be_bytes(a.t[..].try_into().unwrap())).collect();
    assert_eq!(ids.len(), 8);
    assert!(ids.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1_000), "{ids:?}");
}

#[test]
fn our_own_id_from_elsewhere_is_nobody() {
    let mut bench = Bench::knowing(1);
    let own = bench.dht.id();
    assert!(bench.query(addr(2), own, Query::Ping).is_none());
    bench.query(addr(1), own, Query::Ping);
    assert_eq!(bench.dht.nodes(), 1, "anybody can send that in another's name");
    bench.dht.look_up(bench.now, KEY, Pace::Calm);
    bench.serve(|asked| Some((Contact { id: own, addr: asked.to }, Answer::default())));
    assert_eq!(bench.dht.nodes(), 0);
}

#[test]
fn who_answers_with_another_id_than_before_is_dropped() {
    let mut bench = Bench::knowing(2);
    bench.dht.look_up(bench.now, KEY, Pace::Calm);
    let values = Some(vec![at("10.66.0.1:6666")]);
    let evil = Answer { values, token: Some(Bytes::from_static(b"t")), ..Answer::default() };
    bench.serve(|asked| match host(asked.to) {
        1 => Some((contact(1), Answer::default())),
        _ => Some((contact(77), evil.clone())),
    });
    assert_eq!(bench.dht.contacts(), [contact(1)]);
    assert!(bench.found.is_empty());
}

#[test]
fn nobody_is_sent_to_martian_addresses() {
    let mut bench = Bench::knowing(1);
    let places = [
        "10.0.0.1:4000",
        "10.1.5.1:0",
        "0.0.0.0:1",
        "0.1.2.3:1",
        "127.0.0.1:1",
        "127.3.4.5:1",
        "169.254.9.9:1",
        "224.0.0.251:1",
        "255.255.255.255:9",
    ];
    let nodes = (0..).zip(places).map(|(n, to)| Contact { id: id(n), addr: at(to) }).collect();
    let values = Some(places.map(at).to_vec());
    let answer = Answer { nodes, values, ..Answer::default() };
    bench.dht.look_up(bench.now, KEY, Pace::Calm);
    bench.serve(|asked| {
        assert_eq!(asked.to, addr(1));
        Some((contact(1), answer.clone()))
    });
    bench.pass(secs(600));
    assert!(bench.asked.iter().all(|asked| asked.to == addr(1)));
    // Our own endpoint is a fine record: it may be ours.
    assert_eq!(bench.found, [at("10.0.0.1:4000")]);
}

#[test]
fn only_neighbours_send_a_node_to_its_own_machine() {
    let (near, far) = (at("127.0.0.1:5000"), addr(1));
    for (by, follows) in [(near, true), (far, false)] {
        let mut bench = Bench::at("0.0.0.0:4000", DhtConfig::default());
        bench.dht.join(bench.now, &[by]);
        let there = Contact { id: id(7), addr: at("127.0.0.1:6000") };
        let values = Some(vec![there.addr]);
        let answer = Answer { nodes: vec![there], values, ..Answer::default() };
        bench.dht.look_up(bench.now, KEY, Pace::Calm);
        let asked = std::cell::Cell::new(false);
        bench.serve(|a| {
            asked.set(asked.get() || a.to == there.addr);
            (a.to == by).then(|| (Contact { id: id(1), addr: by }, answer.clone()))
        });
        bench.pass(secs(20));
        assert_eq!(asked.get() || bench.asked.iter().any(|a| a.to == there.addr), follows, "{by}");
        assert_eq!(bench.found.contains(&there.addr), follows, "{by}");
    }
}

#[test]
fn what_comes_from_a_martian_address_is_dropped() {
    let mut bench = Bench::new();
    for from in ["127.0.0.1:4000", "10.0.0.1:4000", "10.1.1.1:0", "0.0.0.0:1", "[2001:db8::1]:4000"]
    {
        assert!(bench.query(at(from), id(1), Query::Ping).is_none(), "{from}");
    }
    assert!(bench.query(addr(1), id(1), Query::Ping).is_some());
}

#[test]
fn a_token_opens_one_key_to_one_host_for_a_while() {
    let mut bench = Bench::new();
    let token = bench.token(addr(1), KEY);
    let forged = Bytes::from_static(b"12345678");
    assert_eq!(bench.announce(addr(1), KEY, forged), Err(203));
    assert_eq!(bench.announce(addr(1), KEY, Bytes::new()), Err(203));
    assert_eq!(bench.announce(addr(1), id(3), token.clone()), Err(203));
    assert_eq!(bench.announce(addr(2), KEY, token.clone()), Err(203));
    assert_eq!(bench.dht.records(), 0);
    assert_eq!(bench.announce(addr(1), KEY, token.clone()), Ok(()));
    assert_eq!(bench.dht.records(), 1);
    bench.pass(secs(601));
    assert_eq!(bench.announce(addr(1), KEY, token), Err(203));
}

#[test]
fn a_record_is_the_senders_address_and_no_other() {
    let mut bench = Bench::new();
    let token = bench.token(addr(1), KEY);
    bench.announce(addr(1), KEY, token.clone()).unwrap();
    let implied = Query::Announce { key: KEY, port: 0, implied: true, token, exp: None };
    bench.query(addr(1), id(9), implied);
    let query = Query::GetPeers { key: KEY, want: ANY, scrape: false, lives: true };
    let Body::Answer { answer, ip, .. } = bench.query(addr(2), id(8), query).unwrap().body else {
        panic!("no answer")
    };
    assert_eq!(ip, Some(addr(2)));
    assert_eq!(answer.values.unwrap(), [at("10.1.1.1:4000"), at("10.1.1.1:7000")]);
    assert_eq!(answer.lives, [30, 30]);
}

#[test]
fn who_asks_is_in_the_table_only_after_he_answered() {
    let mut bench = Bench::new();
    bench.query(addr(1), id(1), Query::Ping);
    bench.query(addr(2), id(2), Query::Ping);
    assert_eq!(bench.dht.nodes(), 0);
    bench.serve(|asked| (host(asked.to) == 1).then_some((contact(1), Answer::default())));
    assert_eq!(bench.dht.contacts(), [contact(1)]);
    bench.pass(secs(3));
    assert_eq!(bench.dht.contacts(), [contact(1)]);
}

#[test]
fn who_only_asks_is_never_verified() {
    let mut bench = Bench::new();
    let query = Body::Query { id: id(1), read_only: true, query: Query::Ping };
    bench.say(addr(1), b"abcd", query);
    bench.pass(secs(300));
    assert_eq!((bench.said.len(), bench.asked.len()), (1, 0));
}

#[test]
fn a_flood_of_askers_costs_few_verifications() {
    let mut bench = Bench::new();
    for n in 0..2_000_u16 {
        let [a, b] = n.to_be_bytes();
        let from = SocketAddr::from(([20 + a, b, 1, 1], 4_000));
        bench.query(from, Key::sha1(&[&[a, b]]), Query::Ping);
    }
    assert!(bench.asked.len() <= 16, "{} at once", bench.asked.len());
    bench.pass(secs(1_000));
    // Each once more at its stall, and one in five seconds.
    assert!(bench.asked.len() <= 2 * (16 + 1_000 / 4), "{} in all", bench.asked.len());
    assert_eq!(bench.dht.nodes(), 0);
}

#[test]
fn a_private_node_neither_hears_nor_tells_others() {
    let ours = Some(*b"ournetwk");
    let mut bench = Bench::with(DhtConfig { network: ours, ..DhtConfig::default() });
    for ns in [None, Some(*b"theirnet")] {
        let query = Body::Query { id: id(1), read_only: false, query: Query::Ping };
        let packet = Packet { t: Tx::from_slice(b"abcd"), ns, body: query };
        bench.dht.receive(START, addr(1), &emit(&packet));
        // Malformed, and owed a 203 if it were ours.
        bench.dht.receive(START, addr(1), b"d1:ade1:q4:ping1:t2:aa1:y1:qe");
    }
    bench.drain();
    assert_eq!((bench.said.len(), bench.dht.stats().dropped), (0, 4));
    let query = Body::Query { id: id(1), read_only: false, query: Query::Ping };
    let packet = Packet { t: Tx::from_slice(b"abcd"), ns: ours, body: query };
    bench.dht.receive(START, addr(1), &emit(&packet));
    bench.drain();
    assert_eq!(bench.said.len(), 1);
    assert_eq!(bench.said[0].1.ns, ours);
}

#[test]
fn a_read_only_node_asks_and_does_not_answer() {
    let config = DhtConfig { read_only: true, ..DhtConfig::default() };
    let mut bench = Bench::with(config);
    assert!(bench.query(addr(1), id(1), Query::Ping).is_none());
    bench.dht.receive(START, addr(1), b"d1:ade1:q4:ping1:t2:aa1:y1:qe");
    bench.dht.join(START, &[addr(1)]);
    let Some(Effect::Send { bytes, .. }) = bench.dht.poll() else { panic!("it asks") };
    assert!(matches!(parse(&bytes).unwrap().body, Body::Query { read_only: true, .. }));
}

#[test]
fn one_address_has_one_place_where_that_is_hardened() {
    for (hardened, expected) in [(true, 1), (false, 20)] {
        let mut bench = Bench::with(DhtConfig { hardened, ..DhtConfig::default() });
        for port in 1..=20 {
            bench.now = bench.now + secs(20);
            bench.dht.join(bench.now, &[SocketAddr::new(addr(1).ip(), port)]);
            bench.serve(|asked| {
                let id = Key::sha1(&[&asked.to.port().to_be_bytes()]);
                Some((Contact { id, addr: asked.to }, Answer::default()))
            });
        }
        assert_eq!(bench.dht.nodes(), expected);
    }
}

#[test]
fn a_made_up_crowd_delays_no_record() {
    let mut bench = Bench::knowing(10);
    let op = bench.dht.announce(bench.now, KEY, 5_000, LIFE);
    bench.drain();
    let mut told = Vec::new();
    let began = bench.now;
    while bench.now.since(began) < secs(8) && told.len() < 8 {
        for asked in std::mem::take(&mut bench.asked) {
            let n = host(asked.to);
            let real = addr(n) == asked.to && n <= 10;
            let mut answer = Answer { token: Some(Bytes::from_static(b"t")), ..Answer::default() };
            match asked.query {
                Query::Announce { .. } => told.push(n),
                // One of ten tells of a crowd beside the key.
                Query::GetPeers { .. } if n == 4 => {
                    let near = |m: u8| {
                        let mut id = KEY;
                        id.0[19] ^= m;
                        Contact { id, addr: SocketAddr::from(([30, m, 1, 1], 4_000)) }
                    };
                    answer.nodes = (1..=16).map(near).collect();
                }
                _ => {}
            }
            if real {
                bench.answer(asked.to, &asked.t, id(n), answer);
            }
        }
        bench.pass(ms(50));
    }
    assert_eq!(told.len(), 8);
    assert!(bench.now.since(began) <= ms(1_500), "{:?}", bench.now.since(began));
    bench.pass(secs(3));
    assert_eq!(bench.done.last().map(|(done, _)| *done), Some(op));
}

#[test]
fn a_lookup_ends_in_time_whoever_does_not_answer() {
    let mut bench = Bench::knowing(40);
    let op = bench.dht.look_up(bench.now, KEY, Pace::Calm);
    bench.pass(secs(8));
    let (done, outcome) = bench.done[0];
    assert_eq!((done, outcome.answered, outcome.first), (op, 0, None));
    assert!(outcome.asked <= 40);
}

#[test]
fn a_lookup_without_anybody_to_ask_ends_at_once() {
    let mut bench = Bench::new();
    let op = bench.dht.look_up(START, KEY, Pace::Calm);
    bench.drain();
    assert_eq!(bench.done, [(op, Outcome::default())]);
}

#[test]
fn a_finished_lookup_is_confirmed_with_the_tokens_at_hand() {
    let mut bench = Bench::knowing(10);
    let token = |n: u8| Some(Bytes::copy_from_slice(&[n; 8]));
    let answer = |asked: &Asked| {
        let n = host(asked.to);
        Some((contact(n), Answer { token: token(n), ..Answer::default() }))
    };
    let op = bench.dht.look_up(bench.now, KEY, Pace::Calm);
    bench.serve(answer);
    assert_eq!((bench.done.len(), bench.done[0].1.stored), (1, 0));
    bench.pass(secs(30));
    bench.asked.clear();
    assert!(bench.dht.confirm(bench.now, op, 5_000, LIFE));
    bench.drain();
    for asked in &bench.asked {
        let Query::Announce { key, port, implied, token: given, exp } = &asked.query else {
            panic!("{:?}", asked.query)
        };
        assert_eq!((*key, *port, *implied, *exp), (KEY, 5_000, false, Some(1_800)));
        assert_eq!(Some(given), token(host(asked.to)).as_ref());
    }
    assert_eq!(bench.asked.len(), 8);
    bench.serve(answer);
    assert_eq!(bench.done.len(), 2);
    let (done, outcome) = bench.done[1];
    let home = usize::from(bench.dht.records() == 1);
    assert_eq!((done, outcome.stored), (op, 8 + home));
    bench.pass(secs(300));
    assert!(!bench.dht.confirm(bench.now, op, 5_000, LIFE), "the tokens are too old");
}

#[test]
fn late_answers_get_the_record_too() {
    let mut bench = Bench::knowing(10);
    bench.dht.announce(bench.now, KEY, 5_000, LIFE);
    bench.drain();
    let mut closest: Vec<u8> = (1..=10).collect();
    closest.sort_by_key(|n| id(*n).distance(KEY));
    let slow = closest[0];
    let answer = Answer { token: Some(Bytes::from_static(b"t")), ..Answer::default() };
    let mut late = None;
    let mut told = Vec::new();
    for _ in 0..20 {
        for asked in std::mem::take(&mut bench.asked) {
            let n = host(asked.to);
            if matches!(asked.query, Query::Announce { .. }) {
                told.push(n);
            }
            if n == slow && matches!(asked.query, Query::GetPeers { .. }) {
                late = Some(asked.t);
            } else {
                bench.answer(asked.to, &asked.t, id(n), answer.clone());
            }
        }
        bench.pass(ms(50));
    }
    assert!(told.len() >= 8 && !told.contains(&slow), "{told:?}");
    bench.answer(addr(slow), &late.unwrap(), id(slow), answer);
    let last = bench.asked.pop().expect("it is told, too");
    assert!(last.to == addr(slow) && matches!(last.query, Query::Announce { .. }));
}

#[test]
fn operations_beyond_any_measure_wait_or_are_refused() {
    let mut bench = Bench::knowing(20);
    bench.asked.clear();
    let ops: Vec<OpId> =
        (0..1_200).map(|_| bench.dht.look_up(bench.now, KEY, Pace::Hurry)).collect();
    bench.drain();
    assert!(bench.asked.len() <= 16 * 8, "{} queries at once", bench.asked.len());
    let refused: Vec<OpId> =
        bench.done.iter().filter(|(_, o)| o.refused).map(|(op, _)| *op).collect();
    assert_eq!(refused, &ops[16 + 1_024..]);
    // Nobody answers: in the end nobody is known, and the rest ends at once.
    bench.pass(secs(600));
    let mut done: Vec<OpId> = bench.done.iter().map(|(op, _)| *op).collect();
    done.sort();
    assert_eq!(done, ops);
}

#[test]
fn a_cancelled_operation_is_heard_of_no_more() {
    let mut bench = Bench::knowing(3);
    let op = bench.dht.look_up(bench.now, KEY, Pace::Calm);
    bench.drain();
    bench.dht.cancel(bench.now, op);
    let values = Some(vec![at("10.9.9.9:9")]);
    let answer = Answer { values, ..Answer::default() };
    bench.serve(|asked| Some((contact(host(asked.to)), answer.clone())));
    assert_eq!(bench.dht.nodes(), 3, "what it learnt by the way stays");
    bench.pass(secs(20));
    assert_eq!((bench.found.len(), bench.done.len()), (0, 0));
}

#[test]
fn our_address_is_what_most_say_it_is_and_our_id_follows() {
    let mut bench = Bench::knowing(0);
    let (old, seen) = (bench.dht.id(), at("84.124.73.14:4444"));
    assert_eq!(bench.dht.external(), Some(at("10.0.0.1:4000")));
    for n in 0..20 {
        let from = SocketAddr::from(([10, 100 + n, 1, 1], 4_000));
        bench.now = bench.now + secs(5);
        bench.dht.join(bench.now, &[from]);
        bench.drain();
        while let Some(asked) = bench.asked.pop() {
            let SocketAddr::V4(to) = asked.to else { continue };
            let id = id(to.ip().octets()[1]);
            // One of three lies.
            let lies = to.ip().octets()[1] % 3 == 0;
            let ip = Some(if lies { at("6.6.6.6:666") } else { seen });
            bench.say(asked.to, &asked.t, Body::Answer { id, ip, answer: Answer::default() });
        }
    }
    assert_eq!(bench.dht.external(), Some(seen));
    assert_ne!(bench.dht.id(), old);
    assert!(bench.dht.id().fits(seen.ip()));
    assert!(bench.dht.nodes() >= 15);
}

#[test]
fn an_error_is_never_longer_than_what_it_answers() {
    for network in [None, Some(*b"ournetwk")] {
        let mut bench = Bench::with(DhtConfig { network, ..DhtConfig::default() });
        let ns = if network.is_some() { "2:ns8:ournetwk" } else { "" };
        let id = "2:id20:abcdefghij0123456789";
        let key = "9:info_hash20:mnopqrstuvwxyz123456";
        for (arguments, method) in [
            ("", "1:q1:x"),
            ("", "1:q3:put"),
            ("", "1:q0:"),
            (&format!("{key}4:porti1e5:token8:12345678"), "1:q13:announce_peer"),
            (&format!("{key}4:porti0e5:token0:"), "1:q13:announce_peer"),
            ("6:target19:abcdefghijklmnopqrs", "1:q9:find_node"),
        ] {
            let query = format!("d1:ad{id}{arguments}e{ns}{method}1:t1:a1:y1:qe");
            bench.said.clear();
            bench.dht.receive(bench.now, addr(1), query.as_bytes());
            bench.drain();
            for (_, packet) in &bench.said {
                assert!(matches!(packet.body, Body::Error { .. }), "{packet:?}");
                let length = emit(packet).len();
                assert!(length <= query.len(), "{length} bytes for {query:?}");
            }
            assert_eq!(bench.said.len(), 1, "{query:?}");
        }
    }
}

#[test]
fn received_is_handled_and_dropped() {
    let mut bench = Bench::new();
    for n in 0..500_u16 {
        let from = addr(1 + (n % 3) as u8);
        let bytes: &[u8] = match n % 5 {
            0 => b"garbage of some length",
            1 => b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
            _ => b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
        };
        bench.dht.receive(bench.now, from, bytes);
    }
    bench.drain();
    let stats = bench.dht.stats();
    let refused = bench.said.iter().filter(|(_, p)| matches!(p.body, Body::Error { .. })).count();
    assert_eq!(stats.received, stats.dropped + stats.served + refused as u64);
    // A hundred are garbage, and a source may ask a hundred times at once.
    assert_eq!((stats.dropped, bench.said.len()), (200, 300));
}
