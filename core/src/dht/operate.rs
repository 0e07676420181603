//! Carries operations out: whom their lookups want asked is asked, and who
//! gave a token is given the record.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::key::{Contact, Key};
use super::krpc::{Body, Packet, Query, Tx, Want, emit};
use super::lookup::{K, Lookup, Next, WIDTH};
use super::martian::is_unreachable;
use super::rpc::{Call, Overdue, Purpose};
use super::search::{Kind, Outcome, Pace, Search, Wish};
use super::upkeep::Timer;
use super::{Dht, Effect, OpId};
use crate::time::Time;

/// Operations under way, at most. More wait for their turn.
const RUNNING: usize = 16;
/// Operations that wait, at most. More are refused.
const WAITING: usize = 1_024;
/// Operations that are kept after their end, at most.
const KEPT: usize = 64;
/// Estimates of the network's size that are averaged.
const GAPS: usize = 16;

impl Dht {
    /// Begins an operation, or has it wait.
    pub(super) fn begin(&mut self, key: Key, pace: Pace, wish: Option<Wish>) -> OpId {
        let op = self.name_op();
        if self.running() < RUNNING {
            self.search(op, key, pace, wish);
        } else if self.waiting.len() < WAITING {
            let at = if is_awaited(pace, wish) {
                let before = |(_, _, pace, wish): &&(_, _, _, _)| is_awaited(*pace, *wish);
                self.waiting.iter().take_while(before).count()
            } else {
                self.waiting.len()
            };
            self.waiting.insert(at, (op, key, pace, wish));
        } else {
            let outcome = Outcome { refused: true, ..Outcome::default() };
            self.effects.push_back(Effect::Done { op, outcome });
        }
        op
    }

    /// Begins those that wait, as far as there is room. Never from within
    /// [`end`](Self::end): some end as soon as they begin.
    pub(super) fn begin_waiting(&mut self) {
        while self.running() < RUNNING
            && let Some((op, key, pace, wish)) = self.waiting.pop_front()
        {
            self.search(op, key, pace, wish);
        }
    }

    /// Begins a lookup of the nodes around us.
    pub(super) fn explore(&mut self) {
        let op = self.name_op();
        let lookup = self.lookup(self.id, Pace::Calm);
        self.searches.insert(op, Search::new(self.now, Kind::Nodes, lookup, None));
        self.own_lookup = Some(op);
        self.advance(op);
    }

    pub(super) fn add_wish(&mut self, op: OpId, wish: Wish) -> bool {
        if let Some((.., waiting)) = self.waiting.iter_mut().find(|(waiting, ..)| *waiting == op) {
            *waiting = Some(wish);
            return true;
        }
        let Some(search) = self.searches.get_mut(&op) else { return false };
        search.confirm(self.now, wish);
        self.advance(op);
        true
    }

    fn name_op(&mut self) -> OpId {
        let op = OpId(self.next_op);
        self.next_op += 1;
        op
    }

    fn running(&self) -> usize {
        self.searches.values().filter(|s| !s.is_over()).count()
    }

    fn lookup(&self, target: Key, pace: Pace) -> Lookup {
        let mut lookup = Lookup::new(target, self.id, pace.alpha(), self.config.hardened);
        lookup.seed(self.table.closest(target, WIDTH));
        lookup
    }

    fn search(&mut self, op: OpId, key: Key, pace: Pace, wish: Option<Wish>) {
        let mut lookup = self.lookup(key, pace);
        if pace == Pace::Calm && wish.is_none() {
            lookup = lookup.narrow(K);
        }
        self.searches.insert(op, Search::new(self.now, Kind::Records, lookup, wish));
        let is_v6 = self.listen.is_ipv6();
        let (home, _) = self.store.values(self.now, key, is_v6, &mut self.rng);
        self.found(op, home);
        self.advance(op);
    }

    /// Records came in for an operation.
    pub(super) fn found(&mut self, op: OpId, mut values: Vec<SocketAddr>) {
        values.retain(|value| !is_unreachable(*value, self.listen));
        let Some(search) = self.searches.get_mut(&op).filter(|s| !s.is_over()) else { return };
        let values = search.find(self.now, values);
        if !values.is_empty() {
            self.effects.push_back(Effect::Found { op, values });
        }
    }

    /// Does what an operation wants next, and ends it when it wants nothing.
    pub(super) fn advance(&mut self, op: OpId) {
        let Some(search) = self.searches.get(&op) else { return };
        if search.lookup.asked() == 0 && self.is_lost() && self.now < search.deadline() {
            return; // There will be somebody to ask, it is hoped.
        }
        self.ask_next(op);
        self.tell(op);
        let done = |s: &&Search| !s.is_over() && s.is_done(self.now);
        if self.searches.get(&op).filter(done).is_some() {
            self.end(op);
        }
    }

    /// Somebody is known at last: those who had nobody to ask begin.
    pub(super) fn advance_idle(&mut self) {
        let idle = self.searches.iter().filter(|(_, s)| s.lookup.asked() == 0 && !s.is_over());
        for op in idle.map(|(op, _)| *op).collect::<Vec<_>>() {
            if let Some(search) = self.searches.get_mut(&op) {
                let seeds = self.table.closest(search.lookup.target(), WIDTH);
                search.lookup.seed(seeds);
            }
            self.advance(op);
        }
    }

    /// Queries may be sent again.
    pub(super) fn advance_all(&mut self) {
        let running = self.searches.iter().filter(|(_, s)| !s.is_over());
        running.map(|(op, _)| *op).collect::<Vec<_>>().into_iter().for_each(|op| self.advance(op));
    }

    /// Ends what takes too long, and forgets what ended long ago.
    pub(super) fn end_late(&mut self) {
        let late = self.searches.iter().filter(|(_, s)| s.deadline() <= self.now);
        for (op, is_over) in late.map(|(op, s)| (*op, s.is_over())).collect::<Vec<_>>() {
            if is_over {
                self.searches.remove(&op);
            } else {
                self.tell(op);
                self.end(op);
            }
        }
    }

    fn ask_next(&mut self, op: OpId) {
        let want = self.want();
        while let Some(search) = self.searches.get_mut(&op).filter(|s| !s.is_over())
            && let Next::Ask(contact) = search.lookup.next()
        {
            let target = search.lookup.target();
            let query = match search.kind {
                Kind::Records => Query::GetPeers { key: target, want, scrape: false, lives: false },
                Kind::Nodes => Query::FindNode { target, want },
            };
            let Contact { id, addr } = contact;
            if let Err(when) = self.query(addr, Some(id), Purpose::Search(op), query) {
                if let Some(search) = self.searches.get_mut(&op) {
                    search.lookup.on_not_asked(addr);
                }
                return self.wait_for_room(when);
            }
        }
    }

    fn tell(&mut self, op: OpId) {
        let Some(search) = self.searches.get_mut(&op) else { return };
        let key = search.lookup.target();
        let (givers, home) = search.take_givers(self.now);
        let Some(Wish { port, life }) = search.wish() else { return };
        let exp = u16::try_from(life.as_secs()).unwrap_or(u16::MAX);
        let exp = Some(if life.is_zero() { 0 } else { exp.max(1) });
        if home && !self.config.read_only {
            let stored = self.store_own(key, port, exp);
            if let Some(search) = self.searches.get_mut(&op) {
                search.on_stored(stored);
            }
        }
        for (Contact { id, addr }, token) in givers {
            let query = Query::Announce { key, port, implied: port == 0, token, exp };
            if let Err(when) = self.query(addr, Some(id), Purpose::Announce(op), query) {
                if let Some(search) = self.searches.get_mut(&op) {
                    search.on_not_told(addr);
                }
                self.wait_for_room(when);
            }
        }
    }

    /// Goes on when queries may be sent again.
    fn wait_for_room(&mut self, when: Time) {
        self.timers.arm_by(Timer::Limit, when.max(self.now + Duration::from_millis(1)));
    }

    /// Stores our own record, as other nodes do.
    fn store_own(&mut self, key: Key, port: u16, exp: Option<u16>) -> bool {
        let Some(mut own) = self.external() else { return false };
        if port != 0 {
            own.set_port(port);
        }
        self.store.announce(self.now, key, own, exp)
    }

    fn end(&mut self, op: OpId) {
        let Some(search) = self.searches.get_mut(&op) else { return };
        let outcome = search.end(self.now);
        let gap = gap(&search.lookup);
        if search.kind == Kind::Nodes {
            self.searches.remove(&op);
            self.own_lookup = None;
        } else {
            self.effects.push_back(Effect::Done { op, outcome });
        }
        if let Some(gap) = gap {
            if self.gaps.len() >= GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back(gap);
        }
        self.forget_oldest();
    }

    /// Keeps no more than so many of those that ended.
    fn forget_oldest(&mut self) {
        let over = || self.searches.iter().filter(|(_, s)| s.is_over());
        let oldest = over().min_by_key(|(_, s)| s.deadline()).map(|(op, _)| *op);
        if let Some(oldest) = oldest.filter(|_| over().count() > KEPT) {
            self.searches.remove(&oldest);
        }
    }

    /// Sends a query.
    ///
    /// # Errors
    /// When it may be sent, if not now.
    pub(super) fn query(
        &mut self,
        to: SocketAddr,
        expected: Option<Key>,
        purpose: Purpose,
        query: Query,
    ) -> Result<(), Time> {
        if !self.rpc.has_room() {
            return Err(self.rpc.next().unwrap_or(self.now));
        }
        self.limiter.ask(self.now, to.ip())?;
        let t = self.rpc.draw(&mut self.rng);
        let body = Body::Query { id: self.id, read_only: self.config.read_only, query };
        let packet = Packet { t: Tx::from_slice(&t), ns: self.config.network, body };
        let bytes = emit(&packet);
        self.rpc.sent(self.now, t, Call { to, expected, purpose, bytes: bytes.clone() });
        self.stats.queries += 1;
        self.send(to, bytes);
        Ok(())
    }

    /// A query takes long, or has failed.
    pub(super) fn on_overdue(&mut self, overdue: Overdue) {
        match overdue {
            Overdue::Stalled(Call { to, purpose, bytes, .. }) => {
                let mut again = true;
                if let Purpose::Search(op) = purpose {
                    let search = self.searches.get_mut(&op);
                    again = search.is_some_and(|s| s.lookup.on_stall(to));
                }
                if again && self.limiter.ask(self.now, to.ip()).is_ok() {
                    self.stats.retries += 1;
                    self.send(to, bytes);
                }
                if let Purpose::Search(op) = purpose {
                    self.advance(op);
                }
            }
            Overdue::Failed(call) => {
                self.stats.failures += 1;
                self.table.on_failure(call.to);
                self.failed(&call);
                self.look_for_the_way();
            }
        }
    }

    /// Nothing came of a query.
    pub(super) fn failed(&mut self, call: &Call) {
        match call.purpose {
            Purpose::Search(op) => {
                if let Some(search) = self.searches.get_mut(&op) {
                    search.lookup.on_failure(call.to);
                }
                self.advance(op);
            }
            Purpose::Announce(op) => {
                if let Some(search) = self.searches.get_mut(&op) {
                    search.on_told(false);
                }
                self.advance(op);
            }
            Purpose::Verify | Purpose::Upkeep | Purpose::Join => {}
        }
    }

    /// Nodes of our own family.
    pub(super) fn want(&self) -> Want {
        Want { v4: self.listen.is_ipv4(), v6: self.listen.is_ipv6() }
    }
}

/// Whether somebody waits for it, so that it goes first; a withdrawal hurries,
/// but keeps nobody waiting.
fn is_awaited(pace: Pace, wish: Option<Wish>) -> bool {
    pace == Pace::Hurry && wish.is_none()
}

/// The mean distance between nodes, as a share of all ids, that fits those of
/// the closest ones best: the i-th of N is expected at i / N.
fn gap(lookup: &Lookup) -> Option<f64> {
    let (mut weighted, mut squares, mut count) = (0.0, 0.0, 0);
    for (i, contact) in (1_u8..).zip(lookup.answered().take(K)) {
        let distance = contact.id.distance(lookup.target());
        let leading = distance.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        let i = f64::from(i);
        weighted += i * (leading as f64 / u64::MAX as f64);
        squares += i * i;
        count += 1;
    }
    (count == K && weighted > 0.0).then_some(weighted / squares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dht::DhtConfig;
    use crate::rng::Rng;

    #[test]
    fn a_lookup_that_somebody_waits_for_is_not_behind_those_that_nobody_waits_for() {
        let start = Time::from_secs(1_000);
        let own = ([10, 0, 0, 1], 4_000).into();
        let mut dht = Dht::new(DhtConfig::default(), own, Rng::new([1; 32]), start);
        // Nobody answers there, so that each takes as long as it may.
        dht.join(start, &[([10, 0, 0, 2], 4_000).into()]);
        for n in 0..100 {
            dht.announce(start, Key([n; 20]), 0, Duration::ZERO);
        }
        let calm = dht.look_up(start, Key([200; 20]), Pace::Calm);
        let hurried = [201, 202].map(|n| dht.look_up(start, Key([n; 20]), Pace::Hurry));
        let mut ended = Vec::new();
        for n in 1..=10 {
            dht.wake(start + Duration::from_secs(8) * n);
            while let Some(effect) = dht.poll() {
                if let Effect::Done { op, .. } = effect {
                    ended.push(op);
                }
            }
        }
        let place = |op| ended.iter().position(|o| *o == op);
        // What ends together ends in the order of the names.
        assert_eq!(hurried.map(place), [Some(2 * RUNNING - 2), Some(2 * RUNNING - 1)]);
        assert_eq!(place(calm), Some(102));
    }
}
