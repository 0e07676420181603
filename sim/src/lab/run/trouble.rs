//! What goes wrong.

use std::time::Duration;

use eddy_core::LinkId;

use super::{Run, What};
use crate::lab::scenario::FaultKind;
use crate::node::NodeIx;

/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(1_000_000_000);

impl Run<'_> {
    /// A fault strikes.
    pub(super) fn strike(&mut self, n: usize) {
        let fault = &self.plan.faults[n];
        let mut struck = self.whom(&fault.who);
        self.rng.shuffle(&mut struck);
        struck.truncate((fault.share * struck.len() as f64).ceil() as usize);
        let length = fault.length.map_or(FOR_EVER, |l| l.0);
        match fault.what {
            FaultKind::Freeze => struck.iter().for_each(|&ix| self.world.freeze(ix, length)),
            FaultKind::Crash | FaultKind::Kill => {
                for &ix in &struck {
                    self.sum_up(ix);
                    match fault.what {
                        FaultKind::Kill => self.world.kill(ix),
                        _ => self.world.crash(ix),
                    }
                }
            }
            FaultKind::Cut => struck.iter().for_each(|&ix| self.world.isolate(ix, length)),
            FaultKind::Partition => {
                let others: Vec<NodeIx> =
                    self.world.nodes().filter(|ix| !struck.contains(ix)).collect();
                self.world.partition(&struck, &others, length);
            }
            FaultKind::Slow => {
                let upload = fault.upload.map_or(1, |u| u.of(self.rate)).max(1);
                struck.iter().for_each(|&ix| self.world.set_uplink(ix, Some(upload)));
            }
            FaultKind::Reset => {
                for &ix in &struck {
                    let links: Vec<LinkId> = self.world.links(ix).map(|(link, _)| link).collect();
                    links.into_iter().for_each(|link| self.world.reset(ix, link));
                }
            }
        }
        self.struck[n] = struck;
        if fault.length.is_some() {
            self.after(length, What::Mended(n));
        }
        if let Some(every) = fault.every {
            self.after(every.0, What::Trouble(n));
        }
    }

    /// A fault is over. What the world ends itself is not done here.
    pub(super) fn mend(&mut self, n: usize) {
        let fault = &self.plan.faults[n];
        for ix in std::mem::take(&mut self.struck[n]) {
            match fault.what {
                FaultKind::Slow => {
                    let upload = self.seen.viewers.get(&ix).map(|w| w.viewer.upload);
                    let provider = self.plan.provider.upload.of(self.rate);
                    self.world.set_uplink(ix, Some(upload.unwrap_or(provider)));
                }
                FaultKind::Crash | FaultKind::Kill if ix == self.bootstrap => self.open_bootstrap(),
                _ => {}
            }
        }
    }

    /// Those who live, of whom a fault names.
    fn whom(&self, who: &str) -> Vec<NodeIx> {
        let group = self.plan.viewers.iter().position(|g| g.name == who);
        let all = match who {
            "provider" => self.providers.clone(),
            "bootstrap" => vec![self.bootstrap],
            _ => {
                let of = |(ix, w): (&NodeIx, &super::seen::Watched)| {
                    group.is_none_or(|g| w.viewer.group == g).then_some(*ix)
                };
                self.seen.viewers.iter().filter_map(of).collect()
            }
        };
        all.into_iter().filter(|&ix| self.world.is_live(ix)).collect()
    }
}
