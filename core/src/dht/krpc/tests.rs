//! The codec against what is published, what was seen, and what is malformed.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use quickcheck::{Arbitrary, Gen, quickcheck};

use super::*;
use crate::dht::check;
use crate::wire::check::Choices;

const ID: &str = "2:id20:abcdefghij0123456789";
const KEY: &str = "9:info_hash20:mnopqrstuvwxyz123456";
const TARGET: &str = "6:target20:mnopqrstuvwxyz123456";

fn query(method: &str, arguments: &str) -> Result<Packet, Refused> {
    parse(format!("d1:ad{arguments}e1:q{}:{method}1:t2:aa1:y1:qe", method.len()).as_bytes())
}

/// The query that this is.
fn asks(parsed: Result<Packet, Refused>) -> Query {
    match parsed {
        Ok(Packet { body: Body::Query { query, .. }, .. }) => query,
        other => panic!("{other:?}"),
    }
}

fn answers(parsed: Result<Packet, Refused>) -> Answer {
    match parsed {
        Ok(Packet { body: Body::Answer { answer, .. }, .. }) => answer,
        other => panic!("{other:?}"),
    }
}

fn drops(datagram: &[u8]) {
    assert_eq!(parse(datagram), Err(Refused::Drop), "{}", String::from_utf8_lossy(datagram));
}

/// Whether an error 203 is owed, with this text.
fn owes(parsed: Result<Packet, Refused>, wrong: &'static str) {
    let t = Tx::from_slice(b"aa");
    assert_eq!(parsed, Err(Refused::Answer { t, ns: None, code: 203, text: wrong }));
}

/// The rows of the fixtures: implementation, kind, datagram.
fn fixtures() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let rows = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/krpc-fixtures.tsv"));
    rows.lines()
        .filter(|row| !row.starts_with('#'))
        .map(|row| {
            let [by, kind, hex] = row.split('\t').collect::<Vec<_>>()[..] else { panic!("{row}") };
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (by, kind, (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

impl Arbitrary for Packet {
    fn arbitrary(g: &mut Gen) -> Self {
        let bytes: Vec<u8> = (0..2 << 10).map(|_| u8::arbitrary(g)).collect();
        packet(&mut Choices::new(&bytes))
    }
}

fn packet(c: &mut Choices<'_>) -> Packet {
    let length = c.pick(&[0, 2, 4, 4, MAX_TX]);
    let t = Tx::from_slice(c.slice(length));
    let ns = c.coin().then(|| c.array());
    let id = Key(c.array());
    let body = match c.below(3) {
        0 => Body::Query { id, read_only: c.coin(), query: any_query(c) },
        1 => {
            let ip = if c.coin() { Some(endpoint(c)) } else { None };
            Body::Answer { id, ip, answer: any_answer(c) }
        }
        _ => {
            let length = c.below(MAX_TEXT + 1);
            let mut text: String = (0..length).map(|_| char::from(c.byte())).collect();
            text.truncate(text.floor_char_boundary(MAX_TEXT));
            Body::Error { id: c.coin().then_some(id), code: c.u64() as i64, text }
        }
    };
    Packet { t, ns, body }
}

fn any_query(c: &mut Choices<'_>) -> Query {
    let (key, want) = (Key(c.array()), Want { v4: c.coin(), v6: c.coin() });
    match c.below(7) {
        0 => Query::Ping,
        1 => Query::FindNode { target: key, want },
        2 => Query::GetPeers { key, want, scrape: c.coin(), lives: c.coin() },
        3 => {
            let (implied, port) = (c.coin(), c.u16());
            let port = if implied { port } else { port.max(1) };
            let token = any_token(c);
            Query::Announce { key, port, implied, token, exp: c.coin().then(|| c.u16()) }
        }
        4 => Query::Get { target: key, want },
        5 => Query::Put,
        _ => Query::Unknown { target: c.coin().then_some(key) },
    }
}

/// An answer for which there is room.
fn any_answer(c: &mut Choices<'_>) -> Answer {
    let bloom = c.coin().then(|| Box::new([Bloom([c.byte(); 256]), Bloom([c.byte(); 256])]));
    let most = if bloom.is_some() { 2 } else { 8 };
    let contact = |c: &mut Choices<'_>, addr| Contact { id: Key(c.array()), addr };
    let (n4, n6, values) = (c.below(most + 1), c.below(most + 1), c.below(most + 1));
    let values: Option<Vec<_>> = c.coin().then(|| (0..values).map(|_| endpoint(c)).collect());
    let lives = values.as_ref().filter(|_| c.coin()).map_or(0, Vec::len);
    Answer {
        token: if c.coin() { Some(any_token(c)) } else { None },
        lives: (0..lives).map(|_| c.byte()).collect(),
        values,
        nodes: (0..n4)
            .map(|_| {
                let addr = v4(c);
                contact(c, addr)
            })
            .collect(),
        nodes6: (0..n6)
            .map(|_| {
                let addr = v6(c);
                contact(c, addr)
            })
            .collect(),
        bloom,
    }
}

fn any_token(c: &mut Choices<'_>) -> Bytes {
    let length = c.below(MAX_TOKEN + 1);
    Bytes::copy_from_slice(c.slice(length))
}

fn v4(c: &mut Choices<'_>) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from(c.u32()).into(), c.u16())
}

fn v6(c: &mut Choices<'_>) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(c.array::<16>()).into(), c.u16())
}

fn endpoint(c: &mut Choices<'_>) -> SocketAddr {
    if c.coin() { v4(c) } else { v6(c) }
}

quickcheck! {
    fn a_packet_is_read_as_it_was_written(packet: Packet) -> bool {
        let sent = emit(&packet);
        sent.len() <= MAX_SENT && parse(&sent) == Ok(packet)
    }

    fn any_bytes_are_refused_or_mean_the_same_once_sent_on(bytes: Vec<u8>) -> bool {
        check::krpc(&bytes);
        true
    }

    fn a_packet_that_is_cut_short_is_dropped(packet: Packet) -> bool {
        let sent = emit(&packet);
        (0..sent.len()).all(|length| parse(&sent[..length]) == Err(Refused::Drop))
    }

    fn a_packet_with_other_bytes_in_it_is_handled(packet: Packet, changes: Vec<(usize, u8)>) -> bool {
        let mut sent = emit(&packet).to_vec();
        for (at, byte) in changes {
            let at = at % sent.len();
            sent[at] = byte;
        }
        check::krpc(&sent);
        true
    }

    fn an_answer_never_outgrows_a_datagram(v4s: u8, v6s: u8, values: u8, lives: bool, scrape: bool, seed: Vec<u8>) -> bool {
        let mut c = Choices::new(&seed);
        let contact = |addr| Contact { id: Key([7; 20]), addr };
        let values: Vec<_> = (0..values).map(|_| endpoint(&mut c)).collect();
        let answer = Answer {
            token: Some(Bytes::from_static(&[1; MAX_TOKEN])),
            lives: if lives { vec![9; values.len()] } else { Vec::new() },
            values: Some(values),
            nodes: (0..v4s).map(|_| contact(v4(&mut c))).collect(),
            nodes6: (0..v6s).map(|_| contact(v6(&mut c))).collect(),
            bloom: scrape.then(|| Box::new([Bloom::default(); 2])),
        };
        let body = Body::Answer { id: Key([1; 20]), ip: Some(v6(&mut c)), answer: answer.clone() };
        let sent = emit(&Packet { t: Tx::from_slice(&[1; MAX_TX]), ns: Some([1; 8]), body });
        check::krpc(&sent);
        let got = answers(parse(&sent));
        // What was left out stood at the end, and what was kept is whole.
        sent.len() <= MAX_SENT
            && answer.nodes.starts_with(&got.nodes)
            && answer.nodes6.starts_with(&got.nodes6)
            && answer.values.is_some_and(|all| all.starts_with(&got.values.clone().unwrap_or_default()))
            && (!lives || got.lives.len() == got.values.map_or(0, |values| values.len()))
    }
}

/// The packets that BEP 5 prints, but the one whose nodes are no nodes.
#[test]
fn bep_5s_packets_come_out_as_they_went_in() {
    for packet in [
        &b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"[..],
        b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
        b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
        b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
    ] {
        assert_eq!(emit(&parse(packet).unwrap()), packet);
    }
    let odd = b"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re";
    assert_eq!(answers(parse(odd)), Answer::default());
}

#[test]
fn bep_5s_packets_mean_what_it_says() {
    let key = Key(*b"mnopqrstuvwxyz123456");
    assert_eq!(asks(query("ping", ID)), Query::Ping);
    let arguments = format!("{ID}12:implied_porti1e{KEY}4:porti6881e5:token8:aoeusnth");
    let token = Bytes::from_static(b"aoeusnth");
    assert_eq!(
        asks(query("announce_peer", &arguments)),
        Query::Announce { key, port: 6881, implied: true, token: token.clone(), exp: None }
    );
    let packet = b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re";
    let values =
        ["97.120.106.101:11893", "105.100.104.116:28269"].map(|addr| addr.parse().unwrap());
    let expected =
        Answer { token: Some(token), values: Some(values.to_vec()), ..Answer::default() };
    assert_eq!(answers(parse(packet)), expected);
}

/// What five implementations really send.
#[test]
fn all_that_was_seen_is_read() {
    let fixtures = fixtures();
    assert_eq!(fixtures.len(), 51);
    for (by, kind, datagram) in fixtures {
        let packet = parse(&datagram).unwrap_or_else(|refused| panic!("{by} {kind}: {refused:?}"));
        let (what, name) = kind.split_once(' ').unwrap();
        match (&packet.body, what, name) {
            (Body::Query { query: Query::Ping, .. }, "query", "ping")
            | (Body::Query { query: Query::FindNode { .. }, .. }, "query", "find_node")
            | (Body::Query { query: Query::GetPeers { .. }, .. }, "query", "get_peers")
            | (Body::Query { query: Query::Get { .. }, .. }, "query", "get")
            | (Body::Query { query: Query::Announce { .. }, .. }, "query", "announce_peer") => {}
            (Body::Answer { answer, .. }, "response", name) => match name {
                "find_node" | "get_peers (nodes)" | "sample_infohashes" | "unknown method" => {
                    // npm leaves nodes out where it has values.
                    assert!(!answer.nodes.is_empty() || answer.values.is_some(), "{by} {kind}");
                }
                "get_peers (values)" => {
                    let values = answer.values.as_ref().expect(by);
                    assert!(!values.is_empty() && answer.token.is_some(), "{by} {kind}");
                }
                "get_peers scrape" => {
                    assert_eq!(answer.bloom.is_some(), by.starts_with("libtorrent"))
                }
                "ping" | "announce_peer" => assert_eq!(*answer, Answer::default()),
                other => panic!("{by} {other}"),
            },
            (Body::Error { code: 203, text, .. }, "error", "bad token") => {
                assert!(!text.is_empty())
            }
            // rqbit says nothing of a bad token.
            (Body::Answer { .. }, "error", "bad token") => assert!(by.starts_with("librqbit")),
            other => panic!("{by} {kind}: {other:?}"),
        }
        check::krpc(&datagram);
    }
}

#[test]
fn what_fits_no_field_is_left_out() {
    let contact = |addr: &str| Contact { id: Key([7; 20]), addr: addr.parse().unwrap() };
    let both = vec![contact("192.0.2.1:1"), contact("[2001:db8::1]:1")];
    let answer = Answer { nodes: both.clone(), nodes6: both.clone(), ..Answer::default() };
    let t = Tx::from_slice(b"aaaa");
    let body = Body::Answer { id: Key([1; 20]), ip: None, answer };
    let got = answers(parse(&emit(&Packet { t: t.clone(), ns: None, body })));
    assert_eq!((&got.nodes[..], &got.nodes6[..]), (&both[..1], &both[1..]));

    let body = Body::Error { id: None, code: 203, text: "é".repeat(MAX_SENT) };
    let sent = emit(&Packet { t, ns: None, body });
    assert!(sent.len() < 128);
    let Ok(Packet { body: Body::Error { text, .. }, .. }) = parse(&sent) else { panic!() };
    assert_eq!(text, "é".repeat(MAX_TEXT / 2));
}

#[test]
fn no_change_of_one_byte_in_what_was_seen_does_harm() {
    for (_, _, mut datagram) in fixtures() {
        for length in 0..datagram.len() {
            assert_eq!(parse(&datagram[..length]), Err(Refused::Drop));
        }
        for at in 0..datagram.len() {
            let byte = datagram[at];
            for other in
                [0, b'0', b'9', b'd', b'e', b'i', b'l', b':', b'-', byte ^ 1, byte ^ 0x80, 255]
            {
                datagram[at] = other;
                check::krpc(&datagram);
            }
            datagram[at] = byte;
        }
    }
}

#[test]
fn what_is_no_dictionary_is_dropped() {
    drops(b"");
    drops(b"le");
    drops(b"15:aaaaaaaaaaaaaaa");
    drops(b"GET / HTTP/1.1\r\n\r\n");
    drops(&[0; 100]);
    drops("l".repeat(500).as_bytes());
    drops(format!("{}{}", "l".repeat(500), "e".repeat(500)).as_bytes());
    drops(format!("d1:a{}{}e", "l".repeat(500), "e".repeat(500)).as_bytes());
}

#[test]
fn what_is_too_long_is_dropped() {
    let padded = |length: usize| {
        let tail = format!("d1:ad{ID}e1:q4:ping1:t2:aa1:y1:q2:zz{length}:{}e", "z".repeat(length));
        parse(tail.as_bytes()).map(|_| tail.len())
    };
    let around = padded(1_000).unwrap() - 1_000;
    assert_eq!(padded(1_500 - around), Ok(1_500));
    assert_eq!(padded(1_501 - around), Err(Refused::Drop));
}

#[test]
fn a_kind_that_is_missing_or_unknown_is_dropped() {
    let with = |y: &str| parse(format!("d1:ad{ID}e1:q4:ping1:t2:aa{y}e").as_bytes());
    assert!(with("1:y1:q").is_ok());
    for y in ["", "1:y0:", "1:y1:x", "1:yi1e", "1:y2:qq"] {
        assert_eq!(with(y), Err(Refused::Drop), "{y}");
    }
}

#[test]
fn a_transaction_id_is_at_most_32_bytes() {
    let with = |t: &str| parse(format!("d1:ad{ID}e1:q4:ping{t}1:y1:qe").as_bytes());
    for length in [0, 1, 2, 4, 31, 32] {
        let t = "t".repeat(length);
        let packet = with(&format!("1:t{length}:{t}")).unwrap();
        assert_eq!(&packet.t[..], t.as_bytes());
    }
    for t in [String::new(), "1:ti7e".into(), format!("1:t33:{}", "t".repeat(33)), "1:tle".into()] {
        assert_eq!(with(&t), Err(Refused::Drop), "{t}");
    }
}

#[test]
fn a_query_without_arguments_or_a_good_id_is_owed_an_error() {
    owes(parse(b"d1:q9:get_peers1:t2:aa1:y1:qe"), "a");
    owes(parse(b"d1:a0:1:q9:get_peers1:t2:aa1:y1:qe"), "a");
    owes(parse(format!("d1:ad{ID}e1:t2:aa1:y1:qe").as_bytes()), "q");
    for id in ["", "2:id19:abcdefghij012345678", "2:id21:abcdefghij01234567890", "2:idi7e"] {
        owes(query("find_node", &format!("{id}{TARGET}")), "id");
    }
}

#[test]
fn an_error_is_never_longer_than_the_query() {
    // 27 bytes are the shortest error, 29 that which says "id".
    drops(b"d1:ade1:q1:x1:t2:aa1:y1:qe");
    owes(parse(b"d1:ade1:q2:xx1:t2:aa1:y1:qe"), "");
    owes(parse(b"d1:ade1:q4:ping1:t2:aa1:y1:qe"), "id");
}

#[test]
fn trailing_bytes_are_dropped() {
    drops(format!("d1:ad{ID}e1:q4:ping1:t2:aa1:y1:qee").as_bytes());
    drops(format!("d1:ad{ID}e1:q4:ping1:t2:aa1:y1:qe\n").as_bytes());
}

#[test]
fn a_key_given_twice_is_dropped() {
    drops(format!("d1:ad{ID}e1:q4:ping1:t2:aa1:t2:aa1:y1:qe").as_bytes());
    drops(format!("d1:ad{ID}{ID}e1:q4:ping1:t2:aa1:y1:qe").as_bytes());
}

#[test]
fn keys_may_be_unsorted() {
    let unsorted = parse(format!("d1:y1:q1:t2:aa1:q4:ping1:ad{ID}ee").as_bytes());
    assert_eq!(unsorted, query("ping", ID));
}

#[test]
fn a_length_with_a_leading_zero_is_dropped() {
    drops(format!("d1:ad{ID}e1:q04:ping1:t2:aa1:y1:qe").as_bytes());
}

#[test]
fn an_unknown_method_is_told_by_its_target() {
    let key = Key(*b"mnopqrstuvwxyz123456");
    for target in [TARGET, KEY] {
        let query = asks(query("sample_infohashes", &format!("{ID}{target}")));
        assert_eq!(query, Query::Unknown { target: Some(key) });
    }
    for target in ["", "6:target19:mnopqrstuvwxyz12345", "6:targeti7e"] {
        let query = asks(query("vote", &format!("{ID}{target}")));
        assert_eq!(query, Query::Unknown { target: None });
    }
    assert_eq!(asks(query("put", ID)), Query::Put);
}

#[test]
fn a_target_or_key_of_another_length_is_owed_an_error() {
    let short = "6:target19:mnopqrstuvwxyz12345";
    owes(query("find_node", &format!("{ID}{short}")), "target");
    owes(query("get", &format!("{ID}{short}")), "target");
    owes(query("get", ID), "target");
    owes(query("get_peers", &format!("{ID}9:info_hash21:mnopqrstuvwxyz1234567")), "info_hash");
    owes(query("announce_peer", &format!("{ID}4:porti1e5:token1:x")), "info_hash");
}

#[test]
fn wanted_families_are_told() {
    let want = |listed: &str| match asks(query("find_node", &format!("{ID}{TARGET}{listed}"))) {
        Query::FindNode { want, .. } => (want.v4, want.v6),
        other => panic!("{other:?}"),
    };
    assert_eq!(want(""), (false, false));
    assert_eq!(want("4:wantl2:n6e"), (false, true));
    assert_eq!(want("4:wantl2:n42:n6e"), (true, true));
    assert_eq!(want("4:wantl2:n5i4e2:n4e"), (true, false));
    assert_eq!(want("4:want2:n4"), (false, false));
}

#[test]
fn an_announce_without_a_token_is_owed_an_error() {
    let with = |token: &str| query("announce_peer", &format!("{ID}{KEY}4:porti6881e{token}"));
    owes(with(""), "token");
    owes(with("5:tokeni7e"), "token");
    owes(with(&format!("5:token65:{}", "x".repeat(65))), "token");
    assert!(with(&format!("5:token64:{}", "x".repeat(64))).is_ok());
    assert!(with("5:token0:").is_ok());
}

#[test]
fn port_zero_is_owed_an_error() {
    owes(query("announce_peer", &format!("{ID}{KEY}4:porti0e5:token1:x")), "port");
}

#[test]
fn what_is_no_port_is_owed_an_error() {
    for port in ["", "4:porti65536e", "4:porti-1e", "4:port4:6881", "4:portle"] {
        owes(query("announce_peer", &format!("{ID}{KEY}{port}5:token1:x")), "port");
        owes(
            query("announce_peer", &format!("{ID}12:implied_porti0e{KEY}{port}5:token1:x")),
            "port",
        );
    }
    assert!(query("announce_peer", &format!("{ID}{KEY}4:porti65535e5:token1:x")).is_ok());
}

#[test]
fn a_port_may_be_left_out_if_it_is_implied() {
    for port in ["", "4:porti0e", "4:porti65536e", "4:port4:6881"] {
        let arguments = format!("{ID}12:implied_porti1e{KEY}{port}5:token1:x");
        let Query::Announce { port: 0, implied: true, .. } =
            asks(query("announce_peer", &arguments))
        else {
            panic!("{port}");
        };
    }
}

#[test]
fn a_wished_life_is_kept_within_its_range() {
    let exp = |exp: &str| {
        let arguments = format!("{ID}{exp}{KEY}4:porti1e5:token1:x");
        match asks(query("announce_peer", &arguments)) {
            Query::Announce { exp, .. } => exp,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(exp(""), None);
    assert_eq!(exp("3:expi0e"), Some(0));
    assert_eq!(exp("3:expi600e"), Some(600));
    assert_eq!(exp("3:expi99999e"), Some(u16::MAX));
    assert_eq!((exp("3:expi-1e"), exp("3:exp1:9")), (None, None));
}

#[test]
fn the_network_and_read_only_nodes_are_told() {
    let with =
        |top: &str| parse(format!("d1:ad{ID}e{top}1:q4:ping1:t2:aa1:y1:qe").as_bytes()).unwrap();
    assert_eq!(with("2:ns8:eddyeddy").ns, Some(*b"eddyeddy"));
    for none in ["", "2:ns7:eddyedd", "2:ns9:eddyeddye", "2:nsi7e"] {
        assert_eq!(with(none).ns, None, "{none}");
    }
    for (top, expected) in [("2:roi1e", true), ("2:roi0e", false), ("2:ro1:1", false), ("", false)]
    {
        let Body::Query { read_only, .. } = with(top).body else { panic!() };
        assert_eq!(read_only, expected, "{top}");
    }
    // A refusal tells it, too: another network is owed nothing.
    let bad = parse(b"d1:ade2:ns8:eddyeddy1:q9:find_node4:some4:more1:t2:aa1:y1:qe");
    let Err(Refused::Answer { ns: Some(ns), .. }) = bad else { panic!("{bad:?}") };
    assert_eq!(&ns, b"eddyeddy");
}

fn answer(fields: &str) -> Result<Packet, Refused> {
    parse(format!("d1:rd{ID}{fields}e1:t2:aa1:y1:re").as_bytes())
}

#[test]
fn an_answer_without_a_good_id_is_dropped() {
    drops(b"d1:t4:aaaa1:y1:re");
    drops(b"d1:rde1:t4:aaaa1:y1:re");
    drops(b"d1:rd2:id19:abcdefghij012345678e1:t2:aa1:y1:re");
    drops(b"d1:r20:abcdefghij01234567891:t2:aa1:y1:re");
}

#[test]
fn an_answer_is_read_as_far_as_it_makes_sense() {
    assert_eq!(answers(answer("")), Answer::default());
    let token =
        |length: usize| answers(answer(&format!("5:token{length}:{}", "x".repeat(length)))).token;
    assert_eq!(token(64).map(|token| token.len()), Some(64));
    assert_eq!(token(65), None);
    assert_eq!(answers(answer("5:tokeni7e")).token, None);

    let addr: SocketAddr = "97.120.106.101:11893".parse().unwrap();
    let values = |listed: &str| answers(answer(listed)).values;
    assert_eq!(values("6:valuesle"), Some(Vec::new()));
    assert_eq!(values("6:values6:axje.u"), None);
    assert_eq!(values("6:valuesl6:axje.u5:short7:toolongi7elee"), Some(vec![addr]));

    let nodes = |n: usize, more: &str| {
        let bytes = n * 26 + more.len();
        answers(answer(&format!("5:nodes{bytes}:{}{more}", "abcdefghij0123456789axje.u".repeat(n))))
            .nodes
    };
    assert_eq!(nodes(2, "rest"), vec![Contact { id: Key(*b"abcdefghij0123456789"), addr }; 2]);
    assert_eq!(nodes(40, "").len(), MAX_NODES);
    let nodes6 = format!("6:nodes638:abcdefghij0123456789{}.u", "f".repeat(16));
    assert!(answers(answer(&nodes6)).nodes6[0].addr.is_ipv6());
}

#[test]
fn lives_count_only_if_there_is_one_for_each_value() {
    let lives = |fields: &str| answers(answer(fields)).lives;
    assert_eq!(lives("6:valuesl6:axje.u6:idhtnme1:x2:\x05\x1e"), [5, 30]);
    assert_eq!(lives("6:valuesl6:axje.ue1:x2:\x05\x1e"), []);
    assert_eq!(lives("6:valuesl3:odd6:axje.ue1:x1:\x05"), []);
    assert_eq!(lives("6:valuesl3:odd6:axje.ue1:x2:\x05\x1e"), []);
    assert_eq!(lives("1:x2:\x05\x1e"), []);
}

#[test]
fn who_answers_tells_how_it_sees_us() {
    let ip = |top: &str| match parse(format!("d{top}1:rd{ID}e1:t2:aa1:y1:re").as_bytes())
        .unwrap()
        .body
    {
        Body::Answer { ip, .. } => ip.map(|addr| addr.ip()),
        other => panic!("{other:?}"),
    };
    assert_eq!(ip("2:ip6:axje.u"), Some(IpAddr::from([97, 120, 106, 101])));
    assert!(ip("2:ip18:0123456789abcdefgh").is_some_and(|ip| ip.is_ipv6()));
    assert_eq!((ip(""), ip("2:ip4:axje"), ip("2:ipi7e")), (None, None, None));
}

#[test]
fn an_error_has_a_code_and_its_text_is_cut() {
    let error = |e: &str| match parse(format!("d1:e{e}1:t2:aa1:y1:ee").as_bytes()) {
        Ok(Packet { body: Body::Error { id: None, code, text }, .. }) => Some((code, text)),
        Err(Refused::Drop) => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(error("li202e6:Servere"), Some((202, "Server".into())));
    assert_eq!(error("li-7ei8ee"), Some((-7, String::new())));
    assert_eq!(error(&format!("li1e90:{}e", "x".repeat(90))), Some((1, "x".repeat(64))));
    // Never within a character.
    assert_eq!(error(&format!("li1e65:{}éée", "x".repeat(61))), Some((1, "x".repeat(61) + "é")));
    for bad in ["le", "l3:2023:bade", "i202e", "3:bad"] {
        assert_eq!(error(bad), None, "{bad}");
    }
    let with_id = parse(format!("d1:eli203e3:bade1:rd{ID}e1:t2:aa1:y1:ee").as_bytes()).unwrap();
    let Body::Error { id, .. } = with_id.body else { panic!() };
    assert_eq!(id, Some(Key(*b"abcdefghij0123456789")));
}
