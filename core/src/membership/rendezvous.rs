//! The way to the bootstrap server: which one, whether it answers, when to try
//! again. Losing it costs a running node nothing but news of new members.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::config::Config;
use crate::id::{DialId, LinkId};
use crate::rng::Rng;
use crate::time::Time;

/// The longest wait between two tries.
const MAX_RETRY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Dialling(DialId),
    Linked { link: LinkId, nonce: Option<u64> },
}

/// A node's connection to its bootstrap servers, tried in turn.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    servers: Vec<SocketAddr>,
    next: usize,
    state: State,
    failures: u32,
    /// Servers in a row that denied the channel that is looked for, or were lost.
    in_vain: usize,
    /// One of them answered, and denied it.
    denied: bool,
    /// Whether the last exchange worked, so that a loss is told once.
    reached: bool,
    observed: Option<SocketAddr>,
    /// Joins that the server did not answer yet.
    asked: u32,
}

impl Rendezvous {
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            next: 0,
            state: State::Idle,
            failures: 0,
            in_vain: 0,
            denied: false,
            reached: false,
            observed: None,
            asked: 0,
        }
    }

    pub(crate) fn has_servers(&self) -> bool {
        !self.servers.is_empty()
    }

    /// Whether these are its servers.
    pub(crate) fn serves(&self, servers: &[SocketAddr]) -> bool {
        self.servers == servers
    }

    /// The server to dial now, unless one is dialled or linked already.
    pub(crate) fn server(&self) -> Option<SocketAddr> {
        (self.state == State::Idle)
            .then(|| self.servers.get(self.next % self.servers.len().max(1)).copied())
            .flatten()
    }

    pub(crate) fn dialling(&mut self, dial: DialId) {
        self.state = State::Dialling(dial);
    }

    pub(crate) fn linked(&mut self, link: LinkId) {
        self.state = State::Linked { link, nonce: None };
        self.asked = 0;
    }

    /// A join was sent to the server.
    pub(crate) fn asked(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// The server answered a join; whether it was the last one. A refusal names
    /// no channel, but answers come in order.
    pub(crate) fn replied(&mut self) -> bool {
        self.asked = self.asked.saturating_sub(1);
        self.asked == 0
    }

    /// The server said hello.
    pub(crate) fn greeted(&mut self, nonce: u64, observed: SocketAddr) {
        if let State::Linked { nonce: n, .. } = &mut self.state {
            *n = Some(nonce);
            self.observed = Some(observed);
        }
    }

    /// The link to talk on and the server's nonce, once it said hello.
    pub(crate) fn talk(&self) -> Option<(LinkId, u64)> {
        match self.state {
            State::Linked { link, nonce: Some(nonce) } => Some((link, nonce)),
            _ => None,
        }
    }

    /// The connection to a server, from its first moment on.
    pub(crate) fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Linked { link, .. } => Some(link),
            State::Idle | State::Dialling(_) => None,
        }
    }

    pub(crate) fn observed(&self) -> Option<SocketAddr> {
        self.observed
    }

    /// The server answered a request; whether that is news.
    pub(crate) fn answered(&mut self) -> bool {
        self.failures = 0;
        !core::mem::replace(&mut self.reached, true)
    }

    /// The dial failed or the link closed: when to try the next server. Each
    /// server gets a turn before the wait doubles.
    pub(crate) fn lost(&mut self, now: Time, config: &Config, rng: &mut Rng) -> Time {
        self.state = State::Idle;
        self.reached = false;
        self.next = self.next.wrapping_add(1);
        self.in_vain = self.in_vain.saturating_add(1);
        let round = self.failures / self.servers.len().max(1) as u32;
        self.failures = self.failures.saturating_add(1);
        let wait = config.retry.saturating_mul(1 << round.min(10)).min(MAX_RETRY);
        now + rng.jitter(wait, 20)
    }

    /// A channel was found, or another is looked for: every server may have it.
    pub(crate) fn look_anew(&mut self) {
        self.in_vain = 0;
        self.denied = false;
    }

    /// Whether a server has denied the channel that is looked for.
    pub(crate) fn was_denied(&self) -> bool {
        self.denied
    }

    /// The server does not know the channel: whether another one may. Each is asked
    /// once.
    pub(crate) fn denied(&mut self) -> bool {
        self.denied = true;
        self.in_vain = self.in_vain.saturating_add(1);
        self.in_vain < self.servers.len()
    }

    /// The next server's turn; the link to this one is given up.
    pub(crate) fn turn(&mut self) {
        self.state = State::Idle;
        self.next = self.next.wrapping_add(1);
    }

    /// Whether every server was tried in vain since the last answer.
    pub(crate) fn all_failed(&self) -> bool {
        self.failures as usize >= self.servers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn servers_take_turns_and_the_wait_doubles_up_to_a_minute() {
        let a: SocketAddr = ([10, 0, 0, 1], 1).into();
        let b: SocketAddr = ([10, 0, 0, 2], 1).into();
        let config = Config::default();
        let mut rng = Rng::new([0; 32]);
        let mut r = Rendezvous::new(vec![a, b]);
        assert_eq!(r.server(), Some(a));
        let now = Time::from_secs(9);
        let first = r.lost(now, &config, &mut rng).since(now);
        assert_eq!(r.server(), Some(b));
        assert!(!r.all_failed());
        for _ in 0..40 {
            r.lost(now, &config, &mut rng);
        }
        assert!(r.all_failed());
        let last = r.lost(now, &config, &mut rng).since(now);
        assert!(first <= config.retry.mul_f32(1.2), "{first:?}");
        assert!(last >= MAX_RETRY.mul_f32(0.8) && last <= MAX_RETRY.mul_f32(1.2), "{last:?}");
        assert!(r.answered());
        assert!(!r.answered(), "told once");
        assert!(r.lost(now, &config, &mut rng).since(now) <= config.retry.mul_f32(1.2));
    }

    #[test]
    fn nobody_talks_before_hello() {
        let mut r = Rendezvous::new(vec![([10, 0, 0, 1], 1).into()]);
        r.dialling(DialId(3));
        assert_eq!(r.server(), None);
        r.linked(LinkId(4));
        assert_eq!(r.talk(), None);
        r.greeted(77, ([1, 2, 3, 4], 5).into());
        assert_eq!(r.talk(), Some((LinkId(4), 77)));
    }
}
