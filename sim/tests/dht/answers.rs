//! What a node answers to each question: the table of the protocol.

use eddy_core::dht::krpc::{Answer, Body, Query, Want};
use eddy_core::dht::{DhtConfig, Key};

use crate::bench::{ANY, Bench, KEY, addr, id};

const IPV4: Want = Want { v4: true, v6: false };
const IPV6: Want = Want { v4: false, v6: true };

/// The answer to a question of the ninth node, or the code of its refusal.
fn ask(bench: &mut Bench, query: Query) -> Result<Answer, i64> {
    match bench.query(addr(9), id(9), query).expect("an answer").body {
        Body::Answer { answer, ip, .. } => {
            assert_eq!(ip, Some(addr(9)), "it tells how it sees us");
            Ok(answer)
        }
        Body::Error { code, .. } => Err(code),
        Body::Query { .. } => panic!("a question"),
    }
}

/// How many nodes of each family it told of.
fn told(answer: &Result<Answer, i64>) -> (usize, usize) {
    answer.as_ref().map_or((0, 0), |answer| (answer.nodes.len(), answer.nodes6.len()))
}

#[test]
fn nodes_are_told_if_their_family_is_wanted() {
    let mut bench = Bench::knowing(8);
    let both = Want { v4: true, v6: true };
    for (want, expected) in [(ANY, 8), (IPV4, 8), (both, 8), (IPV6, 0)] {
        let found = ask(&mut bench, Query::FindNode { target: KEY, want });
        assert_eq!(told(&found), (expected, 0), "{want:?}");
        let peers = Query::GetPeers { key: KEY, want, scrape: false, lives: false };
        assert_eq!(told(&ask(&mut bench, peers)), (expected, 0), "{want:?}");
    }
}

#[test]
fn a_token_comes_with_get_peers_and_with_get_and_opens_the_same() {
    let mut bench = Bench::knowing(8);
    for query in [
        Query::GetPeers { key: KEY, want: ANY, scrape: false, lives: false },
        Query::Get { target: KEY, want: ANY },
    ] {
        let answer = ask(&mut bench, query);
        assert_eq!(told(&answer), (8, 0));
        let token = answer.unwrap().token.expect("there is room");
        assert_eq!(token.len(), 8);
        bench.announce(addr(9), KEY, token).unwrap();
    }
    assert_eq!(bench.dht.records(), 1, "it is the same record");
}

#[test]
fn what_is_not_known_is_answered_by_its_target_or_refused() {
    let mut bench = Bench::knowing(8);
    assert_eq!(told(&ask(&mut bench, Query::Unknown { target: Some(KEY) })), (8, 0));
    assert_eq!(ask(&mut bench, Query::Unknown { target: None }), Err(204));
    assert_eq!(ask(&mut bench, Query::Put), Err(204));
    assert_eq!(ask(&mut bench, Query::Ping), Ok(Answer::default()));
}

#[test]
fn a_record_is_told_with_its_life_and_counted_by_a_scrape() {
    let mut bench = Bench::new();
    let token = bench.token(addr(1), KEY);
    let announce =
        |exp| Query::Announce { key: KEY, port: 7_000, implied: false, token: token.clone(), exp };
    for (exp, minutes) in [(None, 30), (Some(1), 1), (Some(90), 2), (Some(u16::MAX), 60)] {
        bench.query(addr(1), id(1), announce(exp));
        let peers = Query::GetPeers { key: KEY, want: ANY, scrape: true, lives: true };
        let answer = ask(&mut bench, peers).unwrap();
        assert_eq!((answer.values.unwrap().len(), &answer.lives[..]), (1, &[minutes][..]));
        let [seeds, peers] = *answer.bloom.expect("it was asked for");
        assert!(seeds.estimate() < 0.5 && (0.5..1.5).contains(&peers.estimate()));
    }
    bench.query(addr(1), id(1), announce(Some(0)));
    assert_eq!(bench.dht.records(), 0, "zero withdraws it");
}

#[test]
fn a_full_key_gives_no_token_to_strangers() {
    let mut bench = Bench::with(DhtConfig { hardened: false, ..DhtConfig::default() });
    let other = Key([0x22; 20]);
    for port in 1..=128 {
        bench.now = bench.now + std::time::Duration::from_millis(150);
        let token = bench.token(addr(1), KEY);
        let query = Query::Announce { key: KEY, port, implied: false, token, exp: None };
        bench.query(addr(1), id(1), query);
    }
    assert_eq!(bench.dht.records(), 128);
    let mut token = |key| {
        let peers = Query::GetPeers { key, want: ANY, scrape: false, lives: false };
        ask(&mut bench, peers).unwrap().token
    };
    assert_eq!(token(KEY), None);
    assert!(token(other).is_some());
}
