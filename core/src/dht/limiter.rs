//! How much of others' queries is served, and how much is asked of others.
//! What is over a limit is dropped or waits; nobody is shut out for what others
//! may have sent in his name.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;
use core::time::Duration;

use crate::dht::address::source;
use crate::time::Time;

/// Queries taken from one source.
const FROM_SOURCE: Rate = Rate { per_second: 20, burst: 100 };
/// Queries taken from all.
const FROM_ALL: Rate = Rate { per_second: 2_000, burst: 2_000 };
/// Bytes of answers, to all.
const ANSWERS: Rate = Rate { per_second: 64 << 10, burst: 64 << 10 };
/// Queries sent to one source: more than 50 in 10 s, and libtorrent listens no more.
const TO_SOURCE: Rate = Rate { per_second: 4, burst: 40 };
/// Queries sent to all.
const TO_ALL: Rate = Rate { per_second: 250, burst: 250 };
/// The most sources that are remembered in each direction.
const SOURCES: usize = 1_024;

/// The limits of a node, in both directions.
#[derive(Debug)]
pub struct Limiter {
    from: Sources,
    from_all: Bucket,
    answers: Bucket,
    to: Sources,
    to_all: Bucket,
}

/// Full buckets.
impl Default for Limiter {
    fn default() -> Self {
        Self {
            from: Sources::new(FROM_SOURCE),
            from_all: Bucket(Time::ZERO),
            answers: Bucket(Time::ZERO),
            to: Sources::new(TO_SOURCE),
            to_all: Bucket(Time::ZERO),
        }
    }
}

impl Limiter {
    /// A query came from this address: whether it may be served.
    pub fn serve(&mut self, now: Time, from: IpAddr) -> bool {
        let host = self.host(from);
        admit(&mut self.from, &mut self.from_all, FROM_ALL, now, host).is_ok()
    }

    /// Whether an answer of this many bytes may be sent.
    pub fn answer(&mut self, now: Time, bytes: usize) -> bool {
        let taken = self.answers.take(ANSWERS, now, bytes as u64);
        taken.map(|answers| self.answers = answers).is_ok()
    }

    /// Whether a query may be sent to this address.
    ///
    /// # Errors
    /// When it may, if nothing else is sent until then.
    pub fn ask(&mut self, now: Time, to: IpAddr) -> Result<(), Time> {
        let host = self.host(to);
        admit(&mut self.to, &mut self.to_all, TO_ALL, now, host)
    }

    /// The source whose limit holds. The addresses of this machine count as many
    /// hosts: for them holds only what holds for all together.
    fn host(&self, ip: IpAddr) -> Option<IpAddr> {
        (!ip.to_canonical().is_loopback()).then(|| source(ip))
    }
}

/// Takes one from a source's bucket and one from everybody's, or from neither.
fn admit(
    sources: &mut Sources,
    all: &mut Bucket,
    rate: Rate,
    now: Time,
    host: Option<IpAddr>,
) -> Result<(), Time> {
    let own = host.map(|host| sources.bucket(host).take(sources.rate, now, 1)).transpose()?;
    *all = all.take(rate, now, 1)?;
    if let (Some(host), Some(bucket)) = (host, own) {
        sources.keep(now, host, bucket);
    }
    Ok(())
}

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    /// How long it takes to fill in so much, rounded up.
    fn time(self, n: u64) -> Duration {
        Duration::from_micros(n.saturating_mul(1_000_000).div_ceil(self.per_second.max(1)))
    }
}

/// A token bucket, told by when it will be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bucket(Time);

impl Bucket {
    /// The bucket with so much less in it, or when there will be so much.
    fn take(self, rate: Rate, now: Time, n: u64) -> Result<Self, Time> {
        let full = self.0.max(now) + rate.time(n);
        let empty = now + rate.time(rate.burst);
        if full <= empty { Ok(Self(full)) } else { Err(now + full.since(empty)) }
    }
}

/// The buckets of sources that are not full. When there are too many, the
/// fullest is forgotten, which forgives least.
#[derive(Debug)]
struct Sources {
    rate: Rate,
    buckets: BTreeMap<IpAddr, Bucket>,
    fullest: BTreeSet<(Bucket, IpAddr)>,
}

impl Sources {
    fn new(rate: Rate) -> Self {
        Self { rate, buckets: BTreeMap::new(), fullest: BTreeSet::new() }
    }

    fn bucket(&self, host: IpAddr) -> Bucket {
        self.buckets.get(&host).map_or(Bucket(Time::ZERO), |bucket| *bucket)
    }

    fn keep(&mut self, now: Time, host: IpAddr, bucket: Bucket) {
        if let Some(old) = self.buckets.insert(host, bucket) {
            self.fullest.remove(&(old, host));
        }
        self.fullest.insert((bucket, host));
        while let Some(&(bucket, host)) = self.fullest.first()
            && (bucket.0 <= now || self.fullest.len() > SOURCES)
        {
            self.fullest.pop_first();
            self.buckets.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::micros;
    use alloc::vec::Vec;
    use core::net::Ipv4Addr;
    use quickcheck::quickcheck;

    const NOW: Time = Time::from_secs(1_700_000_000);

    fn ip(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 | n).into()
    }

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    quickcheck! {
        fn what_is_let_through_in_any_span_is_rate_and_burst_at_most(steps: Vec<(u8, bool)>) -> bool {
            let (mut limiter, mut now) = (Limiter::default(), NOW);
            let mut through = Vec::new();
            for (after, many) in steps {
                now = now + millis(after.into());
                for _ in 0..if many { 60 } else { 1 } {
                    if limiter.serve(now, ip(1)) {
                        through.push(now);
                    }
                }
            }
            through.iter().enumerate().all(|(i, start)| {
                through[i..].iter().enumerate().all(|(more, end)| {
                    let allowed = 100 + micros(end.since(*start)) * 20 / 1_000_000;
                    more as u64 <= allowed
                })
            })
        }

        fn answers_keep_to_their_rate_and_burst(sizes: Vec<u16>, pause: u8) -> bool {
            let (mut limiter, mut now, mut sent) = (Limiter::default(), NOW, 0);
            for size in sizes {
                let size = usize::from(size % 1_025);
                for _ in 0..8 {
                    if limiter.answer(now, size) {
                        sent += size;
                    }
                }
                now = now + millis(pause.into());
            }
            let allowed = (64 << 10) + (64 << 10) * micros(now.since(NOW)) / 1_000_000;
            sent as u64 <= allowed
        }

        fn who_keeps_to_the_rate_is_always_served(pauses: Vec<u8>) -> bool {
            let (mut limiter, mut now) = (Limiter::default(), NOW);
            pauses.into_iter().all(|pause| {
                now = now + millis(50 + u64::from(pause));
                limiter.serve(now, ip(1)) && limiter.answer(now, 60)
            })
        }

        fn a_query_that_waits_as_told_is_sent(n: u8) -> bool {
            let (mut limiter, mut now) = (Limiter::default(), NOW);
            for _ in 0..n {
                if let Err(at) = limiter.ask(now, ip(1)) {
                    assert!(at > now && limiter.ask(at - Duration::from_micros(1), ip(1)).is_err());
                    now = at;
                    assert_eq!(limiter.ask(now, ip(1)), Ok(()));
                }
            }
            true
        }
    }

    #[test]
    fn a_flood_from_one_address_costs_no_other_its_answers() {
        let mut limiter = Limiter::default();
        let served = (0..10_000).filter(|_| limiter.serve(NOW, ip(1))).count();
        assert_eq!(served, 100);
        assert!((2..100).all(|n| limiter.serve(NOW, ip(n))));
        // One IPv6 host has 64 bits to itself.
        let v6 = |n: u128| IpAddr::from(core::net::Ipv6Addr::from(0x2001_0db8 << 96 | n));
        let served = (0..10_000).filter(|n| limiter.serve(NOW, v6(*n))).count();
        assert_eq!(served, 100);
    }

    #[test]
    fn a_flood_from_many_addresses_is_bounded_in_work_and_memory() {
        let mut limiter = Limiter::default();
        // One that is at its limit.
        let served = (0..1_000).filter(|_| limiter.serve(NOW, ip(0))).count();
        let served = served + (1..50_000).filter(|n| limiter.serve(NOW, ip(*n))).count();
        assert_eq!(served, 2_000);
        assert_eq!((limiter.from.buckets.len(), limiter.from.fullest.len()), (SOURCES, SOURCES));
        // It isn't forgotten for the others.
        assert!(!limiter.serve(NOW + millis(10), ip(0)));
        // Whoever has kept quiet for long enough is forgotten.
        assert!(limiter.serve(NOW + millis(6_000), ip(0)));
        assert_eq!((limiter.from.buckets.len(), limiter.from.fullest.len()), (1, 1));
    }

    #[test]
    fn what_all_together_may_not_costs_a_source_nothing() {
        let mut limiter = Limiter::default();
        assert_eq!((0..250).filter(|n| limiter.ask(NOW, ip(*n)).is_ok()).count(), 250);
        let at = limiter.ask(NOW, ip(999)).unwrap_err();
        assert_eq!(at, NOW + millis(4));
        let later = NOW + millis(1_000);
        assert_eq!((0..100).filter(|_| limiter.ask(later, ip(999)).is_ok()).count(), 40);
        assert_eq!(limiter.ask(later, ip(999)), Err(later + millis(250)));
    }

    #[test]
    fn loopback_is_exempt_from_what_holds_for_one_source() {
        for (from, served) in [(Ipv4Addr::LOCALHOST, 2_000), (Ipv4Addr::new(10, 0, 0, 1), 100)] {
            let mut limiter = Limiter::default();
            assert_eq!((0..3_000).filter(|_| limiter.serve(NOW, from.into())).count(), served);
        }
    }
}
