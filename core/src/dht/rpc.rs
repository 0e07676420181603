//! Queries under way: their transaction ids, and when they are overdue.
//!
//! What is usual is measured: a query is stalled when it takes longer than
//! nine of ten did (the8472/mldht, `RPCCall`), and has failed after two seconds.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use super::OpId;
use super::key::Key;
use crate::rng::Rng;
use crate::time::Time;

/// Queries under way, at most.
const OUTSTANDING: usize = 512;
/// A query without an answer has failed after this long.
const DEADLINE: Duration = Duration::from_secs(2);
/// Round trips that are remembered.
const SAMPLES: usize = 64;
/// Round trips before what is usual is known.
const ENOUGH: usize = 16;
/// When a query is stalled, before that.
const UNKNOWN: Duration = Duration::from_millis(400);
/// A query is never stalled earlier, nor later, than this.
const STALL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// What is added to the shortest round trips.
const MARGIN: Duration = Duration::from_millis(100);

/// Our transaction ids.
type Id = [u8; 4];

/// What a query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A lookup.
    Search(OpId),
    /// To store what this operation wants stored.
    Announce(OpId),
    /// To see whether a node is there before it enters the table.
    Verify,
    /// To see whether a node of the table still is.
    Upkeep,
    /// To find the network.
    Join,
}

/// A query as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Who was asked.
    pub(super) to: SocketAddr,
    /// The id that it has, as far as is known.
    pub(super) expected: Option<Key>,
    /// What for.
    pub(super) purpose: Purpose,
    /// The datagram.
    pub(super) bytes: Bytes,
}

/// A query that is overdue.
#[derive(Clone, Debug)]
pub(super) enum Overdue {
    /// For longer than is usual; an answer still counts.
    Stalled(Call),
    /// No answer counts any more.
    Failed(Call),
}

#[derive(Debug)]
struct Pending {
    call: Call,
    sent: Time,
    stalled: bool,
    /// When it is stalled, or has failed.
    next: Time,
}

/// All queries under way.
#[derive(Debug, Default)]
pub(super) struct Rpc {
    pending: BTreeMap<Id, Pending>,
    /// By when something is to be done.
    due: BTreeSet<(Time, Id)>,
    round_trips: VecDeque<Duration>,
}

impl Rpc {
    /// Whether one more query may be under way.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < OUTSTANDING
    }

    /// How many queries are under way for this.
    pub(super) fn count(&self, purpose: Purpose) -> usize {
        self.pending.values().filter(|p| p.call.purpose == purpose).count()
    }

    /// Whether this endpoint is being asked.
    pub(super) fn is_asking(&self, to: SocketAddr) -> bool {
        self.pending.values().any(|p| p.call.to == to)
    }

    /// A transaction id that is not under way, and that nobody can guess.
    pub(super) fn draw(&self, rng: &mut Rng) -> Id {
        loop {
            let [a, b, c, d, ..] = rng.next_u64().to_be_bytes();
            if !self.pending.contains_key(&[a, b, c, d]) {
                return [a, b, c, d];
            }
        }
    }

    /// A query was sent.
    pub(super) fn sent(&mut self, now: Time, id: Id, call: Call) {
        let next = now + self.stall();
        self.due.insert((next, id));
        self.pending.insert(id, Pending { call, sent: now, stalled: false, next });
    }

    /// Takes the query that an answer belongs to: equal transaction id, from
    /// the endpoint that was asked.
    pub(super) fn answered(&mut self, now: Time, from: SocketAddr, t: &[u8]) -> Option<Call> {
        let id: Id = t.try_into().ok()?;
        if self.pending.get(&id)?.call.to != from {
            return None;
        }
        let pending = self.pending.remove(&id)?;
        self.due.remove(&(pending.next, id));
        // One that was sent twice counts from the first time: round trips that
        // are always longer than the stall must be able to raise it.
        if self.round_trips.len() >= SAMPLES {
            self.round_trips.pop_front();
        }
        self.round_trips.push_back(now.since(pending.sent));
        Some(pending.call)
    }

    /// Takes the next query that is overdue.
    pub(super) fn overdue(&mut self, now: Time) -> Option<Overdue> {
        let &(next, id) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(next, id));
        let pending = self.pending.get_mut(&id)?;
        let fails = pending.sent + DEADLINE;
        if pending.stalled || now >= fails {
            return self.pending.remove(&id).map(|p| Overdue::Failed(p.call));
        }
        pending.stalled = true;
        pending.next = fails;
        self.due.insert((fails, id));
        Some(Overdue::Stalled(pending.call.clone()))
    }

    /// When the next query is overdue.
    pub(super) fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// How long a query may take before it is stalled.
    pub(super) fn stall(&self) -> Duration {
        if self.round_trips.len() < ENOUGH {
            return UNKNOWN;
        }
        let mut sorted: Vec<Duration> = self.round_trips.iter().copied().collect();
        sorted.sort_unstable();
        let quantile = |tenths: usize| sorted.get(sorted.len() * tenths / 10).copied();
        let (fast, slow) = (quantile(1).unwrap_or_default(), quantile(9).unwrap_or_default());
        (fast + MARGIN).max(slow).clamp(STALL.0, STALL.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    const START: Time = Time::from_secs(1_000);

    fn addr(host: u8) -> SocketAddr {
        ([10, 0, 0, host], 4_000).into()
    }

    fn call(host: u8) -> Call {
        let bytes = Bytes::new();
        Call { to: addr(host), expected: None, purpose: Purpose::Verify, bytes }
    }

    fn ask(rpc: &mut Rpc, rng: &mut Rng, now: Time, host: u8) -> Id {
        let id = rpc.draw(rng);
        rpc.sent(now, id, call(host));
        id
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Ask(u8),
        /// The n-th question is answered from this host.
        Answer(u8, u8),
        Pass(u16),
    }

    impl Arbitrary for Op {
        fn arbitrary(g: &mut Gen) -> Self {
            let (a, b) = (u8::arbitrary(g) % 4, u8::arbitrary(g) % 4);
            match u8::arbitrary(g) % 3 {
                0 => Self::Ask(a),
                1 => Self::Answer(u8::arbitrary(g) % 16, b),
                _ => Self::Pass(u16::arbitrary(g) % 1_500),
            }
        }
    }

    quickcheck! {
        fn every_query_ends_once_and_by_its_answer_or_its_deadline(ops: Vec<Op>) -> bool {
            let (mut rpc, mut rng, mut now) = (Rpc::default(), Rng::new([1; 32]), START);
            let mut asked: Vec<(Id, u8, Time, bool)> = Vec::new();
            for op in ops {
                match op {
                    Op::Ask(host) => {
                        let id = ask(&mut rpc, &mut rng, now, host);
                        asked.push((id, host, now, false));
                    }
                    Op::Answer(n, host) => {
                        let Some((id, to, at, over)) = asked.get_mut(usize::from(n)) else {
                            continue;
                        };
                        let expect = !*over && *to == host && now < *at + DEADLINE;
                        if rpc.answered(now, addr(host), id).is_some() != expect {
                            return false;
                        }
                        *over |= expect;
                    }
                    Op::Pass(millis) => {
                        now = now + Duration::from_millis(u64::from(millis));
                        let mut failed = 0;
                        while let Some(overdue) = rpc.overdue(now) {
                            failed += usize::from(matches!(overdue, Overdue::Failed(_)));
                        }
                        let mut expect = 0;
                        for (_, _, at, over) in &mut asked {
                            if !*over && now >= *at + DEADLINE {
                                *over = true;
                                expect += 1;
                            }
                        }
                        if failed != expect || rpc.next().is_some_and(|t| t <= now) {
                            return false;
                        }
                    }
                }
                let open = asked.iter().filter(|(.., over)| !over).count();
                if rpc.pending.len() != open || rpc.due.len() != open {
                    return false;
                }
            }
            true
        }
    }

    #[test]
    fn a_query_stalls_before_it_fails() {
        let (mut rpc, mut rng) = (Rpc::default(), Rng::new([1; 32]));
        ask(&mut rpc, &mut rng, START, 1);
        let stalled = START + Duration::from_millis(400);
        assert_eq!(rpc.next(), Some(stalled));
        assert!(matches!(rpc.overdue(stalled), Some(Overdue::Stalled(_))));
        assert!(rpc.overdue(stalled).is_none());
        assert_eq!(rpc.next(), Some(START + DEADLINE));
        assert!(matches!(rpc.overdue(START + DEADLINE), Some(Overdue::Failed(_))));
        assert_eq!(rpc.next(), None);
    }

    #[test]
    fn what_is_usual_decides_when_a_query_stalls() {
        let stall_after = |millis: u64| {
            let (mut rpc, mut rng) = (Rpc::default(), Rng::new([1; 32]));
            for n in 0..40 {
                let id = ask(&mut rpc, &mut rng, START, 1);
                // One of twenty is slow, and does not count.
                let slow = if n % 20 == 0 { 1_900 } else { millis };
                rpc.answered(START + Duration::from_millis(slow), addr(1), &id);
            }
            rpc.stall().as_millis()
        };
        assert_eq!(stall_after(1), 200);
        assert_eq!(stall_after(150), 250);
        assert_eq!(stall_after(700), 800);
        assert_eq!(stall_after(1_500), 1_000);
    }

    #[test]
    fn queries_under_way_are_bounded() {
        let (mut rpc, mut rng) = (Rpc::default(), Rng::new([1; 32]));
        while rpc.has_room() {
            ask(&mut rpc, &mut rng, START, 1);
        }
        assert_eq!((rpc.pending.len(), rpc.count(Purpose::Verify)), (OUTSTANDING, OUTSTANDING));
    }
}
