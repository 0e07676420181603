//! One node in somebody's hand, who says to it what he likes from wherever he
//! likes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::Time;
use eddy_core::dht::krpc::{Answer, Body, Packet, Query, Tx, Want, emit, parse};
use eddy_core::dht::{Contact, Dht, DhtConfig, Effect, Key, OpId, Outcome};
use eddy_core::rng::Rng;
use eddy_sim::START;

use crate::secs;

pub(crate) const KEY: Key = Key([0x11; 20]);
pub(crate) const LIFE: Duration = Duration::from_secs(1_800);
pub(crate) const ANY: Want = Want { v4: false, v6: false };

pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The n-th of others, in a subnet of its own.
pub(crate) fn addr(n: u8) -> SocketAddr {
    ([10, 1, n, 1], 4_000).into()
}

pub(crate) fn id(n: u8) -> Key {
    Key::sha1(&[&[n]])
}

pub(crate) fn contact(n: u8) -> Contact {
    Contact { id: id(n), addr: addr(n) }
}

/// A query that the node sent.
pub(crate) struct Asked {
    pub(crate) to: SocketAddr,
    pub(crate) t: Tx,
    pub(crate) query: Query,
}

pub(crate) struct Bench {
    pub(crate) dht: Dht,
    pub(crate) now: Time,
    pub(crate) asked: Vec<Asked>,
    /// Answers and errors that the node sent.
    pub(crate) said: Vec<(SocketAddr, Packet)>,
    pub(crate) found: Vec<SocketAddr>,
    pub(crate) done: Vec<(OpId, Outcome)>,
}

impl Bench {
    pub(crate) fn with(config: DhtConfig) -> Self {
        Self::at("10.0.0.1:4000", config)
    }

    pub(crate) fn at(listen: &str, config: DhtConfig) -> Self {
        let listen = at(listen);
        let dht = Dht::new(config, listen, Rng::new([1; 32]), START);
        let (asked, said, found, done) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { dht, now: START, asked, said, found, done }
    }

    pub(crate) fn new() -> Self {
        Self::with(DhtConfig::default())
    }

    /// A node that knows the others from 1 to `count`.
    pub(crate) fn knowing(count: u8) -> Self {
        let mut bench = Self::new();
        for n in 1..=count {
            // Slowly, within the limits.
            bench.now = bench.now + secs(5);
            bench.dht.join(bench.now, &[addr(n)]);
            bench.serve(|asked| Some((contact(host(asked.to)), Answer::default())));
        }
        assert_eq!(bench.dht.nodes(), usize::from(count));
        bench
    }

    pub(crate) fn drain(&mut self) {
        while let Some(effect) = self.dht.poll() {
            match effect {
                Effect::Send { to, bytes } => {
                    assert!(bytes.len() <= 1_024);
                    let packet = parse(&bytes).expect("it sends nothing malformed");
                    match packet.body {
                        Body::Query { query, .. } => {
                            self.asked.push(Asked { to, t: packet.t, query })
                        }
                        _ => self.said.push((to, packet)),
                    }
                }
                Effect::Found { values, .. } => self.found.extend(values),
                Effect::Done { op, outcome } => self.done.push((op, outcome)),
            }
        }
        assert!(self.dht.deadline().is_none_or(|at| at > self.now));
    }

    pub(crate) fn say(&mut self, from: SocketAddr, t: &[u8], body: Body) {
        let packet = Packet { t: Tx::from_slice(t), ns: None, body };
        self.dht.receive(self.now, from, &emit(&packet));
        self.drain();
    }

    pub(crate) fn answer(&mut self, from: SocketAddr, t: &[u8], id: Key, answer: Answer) {
        self.say(from, t, Body::Answer { id, ip: None, answer });
    }

    pub(crate) fn query(&mut self, from: SocketAddr, id: Key, query: Query) -> Option<Packet> {
        self.said.clear();
        self.say(from, b"abcd", Body::Query { id, read_only: false, query });
        self.said.pop().map(|(to, packet)| {
            assert_eq!((to, &packet.t[..]), (from, &b"abcd"[..]));
            packet
        })
    }

    /// Lets time pass, with a wake at each deadline.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.dht.deadline().filter(|at| *at <= end) {
            self.now = at;
            self.dht.wake(at);
            self.drain();
        }
        self.now = end;
    }

    /// Answers what is asked, and what is asked upon that.
    pub(crate) fn serve(&mut self, answer: impl Fn(&Asked) -> Option<(Contact, Answer)>) {
        self.drain();
        while let Some(asked) = self.asked.pop() {
            if let Some((who, answer)) = answer(&asked) {
                self.answer(asked.to, &asked.t, who.id, answer);
            }
        }
    }

    pub(crate) fn token(&mut self, from: SocketAddr, key: Key) -> Bytes {
        let query = Query::GetPeers { key, want: ANY, scrape: false, lives: false };
        let packet = self.query(from, id(9), query).expect("an answer");
        let Body::Answer { answer, .. } = packet.body else { panic!("{packet:?}") };
        answer.token.expect("there is room")
    }

    pub(crate) fn announce(&mut self, from: SocketAddr, key: Key, token: Bytes) -> Result<(), i64> {
        let query = Query::Announce { key, port: 7_000, implied: false, token, exp: None };
        match self.query(from, id(9), query).expect("an answer").body {
            Body::Answer { .. } => Ok(()),
            Body::Error { code, .. } => Err(code),
            Body::Query { .. } => panic!("a query"),
        }
    }
}

/// Which of the others is at an address.
pub(crate) fn host(addr: SocketAddr) -> u8 {
    match addr {
        SocketAddr::V4(v4) => v4.ip().octets()[2],
        SocketAddr::V6(_) => 0,
    }
}
