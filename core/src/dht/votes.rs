//! What others say our own endpoint is: the key `ip` of an answer (BEP 42).

use alloc::collections::BTreeMap;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::address::network;
use crate::time::Time;

/// Voters that are remembered, at most; the oldest vote makes room.
const VOTERS: usize = 64;
/// How long a vote counts.
const LIFE: Duration = Duration::from_secs(600);
/// Equal votes before an id is made to fit them.
const SURE: usize = 8;

/// Votes on our own endpoint. A network (an IPv4 /16, an IPv6 /32) has one
/// voice, and its last word counts.
#[derive(Debug, Default)]
pub(super) struct Votes {
    cast: BTreeMap<IpAddr, (SocketAddr, Time)>,
}

impl Votes {
    /// Somebody sees us as `seen`.
    pub(super) fn cast(&mut self, now: Time, voter: IpAddr, seen: SocketAddr) {
        self.cast.retain(|_, (_, at)| now.since(*at) < LIFE);
        let voice = network(voter, 16, 32);
        if self.cast.len() >= VOTERS && !self.cast.contains_key(&voice) {
            let oldest = self.cast.iter().min_by_key(|(_, (_, at))| *at).map(|(v, _)| *v);
            oldest.and_then(|v| self.cast.remove(&v));
        }
        self.cast.insert(voice, (seen, now));
    }

    /// The endpoint that more than half of the votes name.
    pub(super) fn endpoint(&self) -> Option<SocketAddr> {
        let (most, count) = self.most(|seen| seen)?;
        (2 * count > self.cast.len()).then_some(most)
    }

    /// The address that more than half name, if they are enough to choose an
    /// id by it. The port does not matter: it may differ from voter to voter.
    pub(super) fn sure_ip(&self) -> Option<IpAddr> {
        let (most, count) = self.most(|seen| seen.ip())?;
        (count >= SURE && 2 * count > self.cast.len()).then_some(most)
    }

    fn most<T: Ord + Copy>(&self, what: impl Fn(SocketAddr) -> T) -> Option<(T, usize)> {
        let mut counts = BTreeMap::new();
        for (seen, _) in self.cast.values() {
            *counts.entry(what(*seen)).or_insert(0) += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_has_one_voice_and_half_is_not_enough() {
        let (mut votes, now) = (Votes::default(), Time::from_secs(1));
        let (truth, lie) = (at("9.9.9.9:4000"), at("6.6.6.6:666"));
        assert_eq!(votes.endpoint(), None);
        for host in 0..200 {
            votes.cast(now, [66, 66, host, host].into(), lie);
        }
        assert_eq!(votes.endpoint(), Some(lie));
        votes.cast(now, [20, 1, 0, 1].into(), truth);
        assert_eq!(votes.endpoint(), None);
        votes.cast(now, [20, 2, 0, 1].into(), truth);
        assert_eq!((votes.endpoint(), votes.sure_ip()), (Some(truth), None));
        for net in 3..9 {
            votes.cast(now, [20, net, 0, 1].into(), truth);
        }
        assert_eq!(votes.sure_ip(), Some(truth.ip()));
        votes.cast(now + LIFE, [66, 66, 0, 0].into(), lie);
        assert_eq!(votes.endpoint(), Some(lie), "old votes count no more");
    }

    #[test]
    fn a_thousand_networks_leave_a_bounded_number_of_votes() {
        let mut votes = Votes::default();
        for n in 0..1_000_u64 {
            let [.., a, b] = n.to_be_bytes();
            votes.cast(Time::from_secs(n / 100), [a, b, 0, 0].into(), at("9.9.9.9:1"));
        }
        assert_eq!(votes.cast.len(), VOTERS);
    }
}
