//! The membership manager: who is in the channel, as far as this node knows
//! (DONet, INFOCOM 2005, section III: the mCache), and the way to the
//! bootstrap server.

pub(crate) mod rendezvous;

use alloc::vec::Vec;
use core::time::Duration;

use crate::config::Config;
use crate::id::NodeId;
use crate::rng::Rng;
use crate::time::Time;
use crate::wire::message::Member;

/// Members in one gossip message, the sender's own record included.
pub(crate) const GOSSIP_SIZE: usize = 5;

#[derive(Debug)]
struct Entry {
    member: Member,
    /// When somebody last heard of it, on our clock.
    heard: Time,
    /// It is not dialled before this.
    not_before: Time,
    failures: u32,
    banned: bool,
}

/// The member cache: a partial view of the channel's nodes.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// In order of id.
    entries: Vec<Entry>,
}

/// Members for which room is made at a time: there are dozens at most, and twice
/// the room for them in each node would be most of a large world.
const STEP: usize = 8;

impl Membership {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Learns of a member. The younger record wins; when the cache is full,
    /// the one not heard of for longest goes, but never the provider.
    pub(crate) fn add(&mut self, now: Time, config: &Config, member: Member) {
        let heard = now - Duration::from_secs(u64::from(member.age));
        if let Some(entry) = self.find(member.node) {
            if heard > entry.heard && !entry.banned {
                entry.heard = heard;
                entry.member = Member { provider: entry.member.provider, ..member };
            }
            entry.member.provider |= member.provider;
            return;
        }
        if now.since(heard) > life(config) {
            return;
        }
        if self.entries.len() >= config.members {
            let oldest = self
                .entries
                .iter()
                .enumerate()
                .filter(|(_, e)| !e.member.provider)
                .min_by_key(|(_, e)| e.heard)
                .map(|(at, _)| at);
            match oldest {
                Some(at) => self.entries.remove(at),
                None => return,
            };
        }
        let entry = Entry { member, heard, not_before: now, failures: 0, banned: false };
        if let Err(at) = self.place(member.node) {
            if self.entries.len() == self.entries.capacity() {
                self.entries.reserve_exact(STEP);
            }
            self.entries.insert(at, entry);
        }
    }

    /// Where a member is, or where it would be.
    fn place(&self, node: NodeId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&node, |e| e.member.node)
    }

    fn find(&mut self, node: NodeId) -> Option<&mut Entry> {
        let at = self.place(node).ok()?;
        self.entries.get_mut(at)
    }

    /// We heard from the member itself.
    pub(crate) fn heard(&mut self, now: Time, node: NodeId) {
        if let Some(entry) = self.find(node) {
            entry.heard = now;
            entry.failures = 0;
        }
    }

    /// A member could not be reached, or sent us away; it is left alone for a
    /// while, twice as long each time, and forgotten after five times.
    pub(crate) fn failed(&mut self, now: Time, config: &Config, rng: &mut Rng, node: NodeId) {
        let Some(entry) = self.find(node) else { return };
        entry.failures += 1;
        if entry.failures > 5 && !entry.member.provider {
            self.entries.retain(|e| e.member.node != node);
            return;
        }
        let wait = config.retry.saturating_mul(1 << entry.failures.min(6));
        entry.not_before = now + rng.jitter(wait, 20);
    }

    /// A member that broke the protocol is not dialled, nor spoken of, for as long as
    /// a record lives that nobody renews.
    pub(crate) fn ban(&mut self, now: Time, node: NodeId) {
        if let Some(entry) = self.find(node) {
            entry.banned = true;
            entry.heard = now;
        }
    }

    pub(crate) fn is_banned(&self, node: NodeId) -> bool {
        self.place(node).is_ok_and(|at| self.entries[at].banned)
    }

    pub(crate) fn forget(&mut self, node: NodeId) {
        if !self.is_banned(node) {
            self.entries.retain(|e| e.member.node != node);
        }
    }

    /// Forgets those that nobody heard of for long, and bans as old.
    pub(crate) fn expire(&mut self, now: Time, config: &Config) {
        let life = life(config);
        self.entries.retain_mut(|e| {
            let lives = now.since(e.heard) <= life;
            e.banned &= lives;
            e.member.provider || lives
        });
    }

    /// Up to `n` random members that may be dialled now, the provider first.
    pub(crate) fn candidates(
        &self,
        now: Time,
        rng: &mut Rng,
        n: usize,
        mut taken: impl FnMut(NodeId) -> bool,
    ) -> Vec<Member> {
        let free = |e: &&Entry| !e.banned && e.not_before <= now && !taken(e.member.node);
        let mut found: Vec<Member> = self.entries.iter().filter(free).map(|e| e.member).collect();
        rng.shuffle(&mut found);
        found.sort_by_key(|m| (!m.provider, !m.connectable));
        found.truncate(n);
        found
    }

    /// The channel's provider, if it is known.
    pub(crate) fn provider(&self) -> Option<Member> {
        self.entries.iter().map(|e| e.member).find(|m| m.provider)
    }

    /// What is remembered of a member.
    pub(crate) fn get(&self, node: NodeId) -> Option<Member> {
        self.place(node).ok().map(|at| self.entries[at].member)
    }

    /// Up to `n` random records to tell others, with their age brought up to now.
    pub(crate) fn sample(&self, now: Time, rng: &mut Rng, n: usize, but: NodeId) -> Vec<Member> {
        let good = |e: &&Entry| !e.banned && e.failures == 0 && e.member.node != but;
        let mut found: Vec<Member> =
            self.entries.iter().filter(good).map(|e| aged(e, now)).collect();
        rng.shuffle(&mut found);
        found.truncate(n);
        found
    }

    /// Everybody worth remembering, last heard of first.
    pub(crate) fn newest(&self, now: Time) -> Vec<Member> {
        let mut found: Vec<Member> =
            self.entries.iter().filter(|e| !e.banned).map(|e| aged(e, now)).collect();
        found.sort_by_key(|m| m.age);
        found
    }
}

/// A record lives as long as its node may stay silent to the bootstrap server,
/// and the time that gossip takes to go round.
fn life(config: &Config) -> Duration {
    config.member_life.saturating_mul(4)
}

fn aged(entry: &Entry, now: Time) -> Member {
    let age = now.since(entry.heard).as_secs();
    Member { age: u16::try_from(age).unwrap_or(u16::MAX), ..entry.member }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8, age: u16) -> Member {
        Member {
            node: NodeId([n; 16]),
            addr: ([10, 0, 0, n], 7_000).into(),
            connectable: true,
            provider: n == 0,
            age,
        }
    }

    fn now() -> Time {
        Time::from_secs(1_000)
    }

    #[test]
    fn a_full_cache_keeps_the_young_and_the_provider() {
        let config = Config { members: 3, ..Config::default() };
        let mut m = Membership::default();
        for (n, age) in [(0, 100), (1, 50), (2, 10), (3, 5)] {
            m.add(now(), &config, member(n, age));
        }
        let left: Vec<u8> = m.newest(now()).iter().map(|m| m.node.0[0]).collect();
        assert_eq!(left, [3, 2, 0]);
    }

    #[test]
    fn the_younger_record_wins() {
        let config = Config::default();
        let mut m = Membership::default();
        m.add(now(), &config, member(1, 50));
        let moved = Member { addr: ([10, 0, 0, 9], 1).into(), age: 2, ..member(1, 0) };
        m.add(now(), &config, moved);
        m.add(now(), &config, member(1, 40));
        assert_eq!(m.newest(now()), [moved]);
        m.expire(now() + Duration::from_secs(1_000), &config);
        assert_eq!(m.len(), 0);
    }

    #[test]
    fn who_fails_waits_longer_each_time_and_is_forgotten() {
        let config = Config::default();
        let mut rng = Rng::new([1; 32]);
        let mut m = Membership::default();
        m.add(now(), &config, member(1, 0));
        let id = NodeId([1; 16]);
        let free = |m: &Membership, t, rng: &mut Rng| m.candidates(t, rng, 9, |_| false).len();
        m.failed(now(), &config, &mut rng, id);
        assert_eq!(free(&m, now(), &mut rng), 0);
        assert_eq!(free(&m, now() + Duration::from_secs(2), &mut rng), 1);
        for _ in 0..5 {
            m.failed(now(), &config, &mut rng, id);
        }
        assert_eq!(m.len(), 0);
    }

    #[test]
    fn the_banned_are_neither_dialled_nor_named() {
        let config = Config::default();
        let mut rng = Rng::new([1; 32]);
        let mut m = Membership::default();
        m.add(now(), &config, member(1, 0));
        m.ban(now(), NodeId([1; 16]));
        m.forget(NodeId([1; 16]));
        assert!(m.candidates(now(), &mut rng, 9, |_| false).is_empty());
        assert!(m.sample(now(), &mut rng, 9, NodeId::default()).is_empty());
        assert!(m.newest(now()).is_empty());
    }

    #[test]
    fn a_ban_ends_though_the_member_is_spoken_of() {
        let config = Config::default();
        let mut m = Membership::default();
        for n in [0, 1] {
            m.add(now(), &config, member(n, 20));
            m.ban(now(), NodeId([n; 16]));
        }
        let later = now() + life(&config);
        m.add(later, &config, member(1, 0));
        m.expire(later, &config);
        assert!([0, 1].into_iter().all(|n| m.is_banned(NodeId([n; 16]))));
        m.expire(later + Duration::from_secs(1), &config);
        assert_eq!(m.len(), 1, "the provider");
        assert!(!m.is_banned(NodeId([0; 16])));
    }

    #[test]
    fn the_banned_make_room_like_others() {
        let config = Config { members: 3, ..Config::default() };
        let mut m = Membership::default();
        for n in 1..=3 {
            m.add(now(), &config, member(n, 0));
            m.ban(now(), NodeId([n; 16]));
        }
        m.add(now() + Duration::from_secs(1), &config, member(4, 0));
        assert!(m.get(NodeId([4; 16])).is_some());
        assert!(m.get(NodeId([1; 16])).is_none(), "the oldest");
    }
}
