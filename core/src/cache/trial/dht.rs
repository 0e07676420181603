//! The DHTs of the trials: sets that grow (ours), and lists that are replaced
//! (Plan-x).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::super::{File, Owner};
use crate::rng::Rng;
use crate::time::Time;

/// Nodes that store a key.
const STORING: usize = 8;

type Records = BTreeMap<SocketAddr, Time>;

/// Sets of records that expire, each on eight storing nodes. A message to any
/// of them may be lost, and is sent once more then (dht.md section 3). While the network is split, a node reaches those of
/// its own side.
#[derive(Debug, Default)]
pub(super) struct Sets {
    keys: BTreeMap<File, [Records; STORING]>,
    pub(super) split: bool,
}

impl Sets {
    /// The union of what the storing nodes answer.
    pub(super) fn look(
        &self,
        rng: &mut Rng,
        loss: f64,
        now: Time,
        file: File,
        reader: usize,
    ) -> Vec<SocketAddr> {
        let Some(nodes) = self.keys.get(&file) else { return Vec::new() };
        let reached = (0..STORING).filter(|s| self.reaches(reader, *s) && !lost(rng, loss));
        let seen: BTreeSet<SocketAddr> = reached.flat_map(|s| unexpired(&nodes[s], now)).collect();
        seen.into_iter().collect()
    }

    /// Adds a record, or takes it out if its end is not in the future.
    pub(super) fn store(
        &mut self,
        rng: &mut Rng,
        loss: f64,
        until: Time,
        file: File,
        writer: usize,
        addr: SocketAddr,
    ) {
        for s in 0..STORING {
            if self.reaches(writer, s) && !lost(rng, loss) {
                self.keys.entry(file).or_default()[s].insert(addr, until);
            }
        }
    }

    /// All records of a file, wherever they are.
    pub(super) fn all(&self, now: Time, file: File) -> BTreeSet<SocketAddr> {
        let nodes = self.keys.get(&file).into_iter().flatten();
        nodes.flat_map(|records| unexpired(records, now)).collect()
    }

    fn reaches(&self, node: usize, storing: usize) -> bool {
        !self.split || node % 2 == storing % 2
    }
}

fn unexpired(records: &Records, now: Time) -> impl Iterator<Item = SocketAddr> + '_ {
    records.iter().filter(move |(_, until)| **until > now).map(|(addr, _)| *addr)
}

fn lost(rng: &mut Rng, loss: f64) -> bool {
    (rng.next_u64() as f64 / 2f64.powi(64)) < loss * loss
}

/// Whole lists: a put replaces what was there, unless its writer's clock is
/// behind that of the last writer (D-4 a). What else Plan-x does makes it only
/// worse.
#[derive(Debug, Default)]
pub(super) struct Lists(BTreeMap<File, (Time, Vec<Owner>, u64)>);

impl Lists {
    /// A list and its version.
    pub(super) fn get(&self, file: File) -> (Vec<Owner>, u64) {
        let list = self.0.get(&file);
        list.map(|(_, owners, version)| (owners.clone(), *version)).unwrap_or_default()
    }

    /// What the writer is told: a version that is not the present one is
    /// refused, a stamp that is too old dropped without a word.
    pub(super) fn put(
        &mut self,
        stamp: Time,
        file: File,
        owners: Vec<Owner>,
        expected: Option<u64>,
    ) -> bool {
        let (_, version) = self.get(file);
        if expected.is_some_and(|expected| expected != version) {
            return false;
        }
        if expected.is_some() || self.0.get(&file).is_none_or(|(last, ..)| *last < stamp) {
            self.0.insert(file, (stamp, owners, version + 1));
        }
        true
    }
}
