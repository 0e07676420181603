//! Answers the queries of others.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::Dht;
use super::key::{Contact, Key};
use super::krpc::{Answer, Body, METHOD_UNKNOWN, PROTOCOL_ERROR, Packet, Query, Tx, Want, emit};
use super::lookup::K;

/// Server error: the fault is ours (BEP 5).
const SERVER_ERROR: i64 = 202;

/// Why a query is refused: code and text.
type Refusal = (i64, &'static str);

impl Dht {
    /// Somebody asks, in so many bytes. Says whether he is answered.
    pub(super) fn on_query(
        &mut self,
        from: SocketAddr,
        t: Tx,
        asker: Key,
        read_only: bool,
        query: Query,
        length: usize,
    ) -> bool {
        // Our own words, come back: who sends them is nobody we know.
        if asker == self.id || self.config.read_only || !self.limiter.serve(self.now, from.ip()) {
            return false;
        }
        let bytes = match self.answer(from, query) {
            Ok(answer) => {
                let body = Body::Answer { id: self.id, ip: Some(from), answer };
                Some(emit(&Packet { t, ns: self.config.network, body }))
            }
            Err(refusal) => self.error(&t, refusal, length),
        };
        let served = bytes.is_some_and(|bytes| self.reply(from, bytes));
        self.stats.served += u64::from(served);
        if !read_only {
            self.on_asker(Contact { id: asker, addr: from });
        }
        served
    }

    /// A query was malformed, and an error is owed.
    pub(super) fn refuse(&mut self, to: SocketAddr, t: Tx, code: i64, text: &'static str) -> bool {
        if self.config.read_only || !self.limiter.serve(self.now, to.ip()) {
            return false;
        }
        let body = Body::Error { id: None, code, text: String::from(text) };
        self.reply(to, emit(&Packet { t, ns: self.config.network, body }))
    }

    /// An error with as much beside its code as makes it no longer than the
    /// query: nobody shall have more sent to another than he sends.
    fn error(&self, t: &Tx, (code, text): Refusal, most: usize) -> Option<Bytes> {
        let error = |(id, text)| {
            let body = Body::Error { id, code, text: String::from(text) };
            emit(&Packet { t: t.clone(), ns: self.config.network, body })
        };
        let all = [(Some(self.id), text), (None, text), (None, "")];
        all.into_iter().map(error).find(|bytes| bytes.len() <= most)
    }

    fn reply(&mut self, to: SocketAddr, bytes: Bytes) -> bool {
        let allowed = self.limiter.answer(self.now, bytes.len());
        if allowed {
            self.send(to, bytes);
        }
        allowed
    }

    fn answer(&mut self, from: SocketAddr, query: Query) -> Result<Answer, Refusal> {
        match query {
            Query::Ping => Ok(Answer::default()),
            Query::FindNode { target, want } => Ok(self.nodes_for(from, target, want)),
            Query::GetPeers { key, want, scrape, lives } => {
                let mut answer = self.with_token(from, key, want);
                let is_v6 = from.is_ipv6();
                let (values, minutes) = self.store.values(self.now, key, is_v6, &mut self.rng);
                if !values.is_empty() {
                    answer.values = Some(values);
                    answer.lives = if lives { minutes } else { Vec::new() };
                }
                answer.bloom = scrape.then(|| self.store.scrape(self.now, key));
                Ok(answer)
            }
            Query::Get { target, want } => Ok(self.with_token(from, target, want)),
            Query::Announce { key, port, implied, token, exp } => {
                if !self.tokens.check(self.now, from.ip(), key, &token) {
                    return Err((PROTOCOL_ERROR, "bad token"));
                }
                let port = if implied { from.port() } else { port };
                let record = SocketAddr::new(from.ip(), port);
                let stored = self.store.announce(self.now, key, record, exp);
                let refusal = (SERVER_ERROR, "no room");
                stored.then(Answer::default).ok_or(refusal)
            }
            Query::Unknown { target: Some(target) } => {
                Ok(self.nodes_for(from, target, Want::default()))
            }
            Query::Put | Query::Unknown { target: None } => Err((METHOD_UNKNOWN, "method unknown")),
        }
    }

    fn with_token(&mut self, from: SocketAddr, key: Key, want: Want) -> Answer {
        let mut answer = self.nodes_for(from, key, want);
        if self.store.would_take(self.now, key, from.ip()) {
            answer.token = Some(self.tokens.issue(self.now, from.ip(), key));
        }
        answer
    }

    /// The nodes closest to a key, if they are of a family that is wanted.
    fn nodes_for(&self, from: SocketAddr, key: Key, want: Want) -> Answer {
        let mut answer = Answer::default();
        let unsaid = want == Want::default();
        let is_v6 = self.listen.is_ipv6();
        if is_v6 && (want.v6 || unsaid && from.is_ipv6()) {
            answer.nodes6 = self.table.closest(key, K);
        } else if !is_v6 && (want.v4 || unsaid && from.is_ipv4()) {
            answer.nodes = self.table.closest(key, K);
        }
        answer
    }
}
