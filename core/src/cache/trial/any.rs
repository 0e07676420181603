//! Whatever may come, in any order.

use alloc::vec;

use quickcheck::{Arbitrary, Gen, quickcheck};

use super::hand::{at, effects, file, others, owners};
use super::*;
use crate::cache::{Defects, Publishing, Strategy};

#[derive(Clone, Debug)]
enum Op {
    Completed(u8),
    Past(u8),
    Restored(u8),
    Records(u8, u8),
    Listed(u8, u8),
    Failed(u8),
    Stored(u8, bool),
    Gone(u8),
    Full(u8),
    SetSelf(u8),
    Population(u16),
    Wait(u16),
    Leave,
}

impl Arbitrary for Op {
    fn arbitrary(g: &mut Gen) -> Self {
        let (f, n) = (u8::arbitrary(g) % 12, u8::arbitrary(g));
        match u8::arbitrary(g) % 40 {
            0..8 => Self::Completed(f),
            8..10 => Self::Past(f),
            10 => Self::Restored(f),
            11..16 => Self::Records(f, n % 30),
            16..20 => Self::Listed(f, n % 30),
            20..22 => Self::Failed(f),
            22..28 => Self::Stored(f, n % 4 > 0),
            28 if n % 2 == 0 => Self::Full(f),
            28 => Self::Gone(f),
            29 => Self::SetSelf(n % 3),
            30 => Self::Population(u16::arbitrary(g) % 60),
            31..39 => Self::Wait(u16::arbitrary(g) % 900),
            _ if n.is_multiple_of(8) => Self::Leave,
            _ => Self::Wait(1),
        }
    }
}

/// Whether anything that must always hold does not, whatever comes.
fn holds_up(strategy: Strategy, ops: Vec<Op>) -> bool {
    const FILE: u64 = 100;
    let config = CacheConfig {
        strategy,
        quota: 5 * FILE,
        largest_file: FILE,
        max_age: Some(minutes(30)),
        lookups: 2,
        watched: 4,
        ..CacheConfig::default()
    };
    let mut c = Cache::new(config, Rng::new([3; 32])).unwrap();
    let mut now = at(0);
    let mut disk: BTreeSet<File> = BTreeSet::new();
    let f = |n: u8| file(u64::from(n) * 10, u32::from(n));
    for op in ops {
        match op {
            Op::Completed(n) => c.completed(now, f(n), FILE - u64::from(n)),
            Op::Past(n) => c.past(now, f(n)),
            Op::Restored(n) => {
                if !c.holds(f(n)) {
                    disk.insert(f(n));
                }
                c.restored(now, vec![(f(n), FILE)]);
            }
            Op::Records(n, k) => c.records(now, f(n), &others(k)),
            Op::Listed(n, k) => c.listed(now, f(n), &owners(k, now), u64::from(k)),
            Op::Failed(n) => c.failed(now, f(n)),
            Op::Stored(n, ok) => c.stored(now, f(n), ok),
            Op::Gone(n) => {
                c.gone(now, f(n));
                disk.remove(&f(n));
            }
            Op::Full(n) => {
                c.full(now, f(n));
                disk.remove(&f(n));
            }
            Op::SetSelf(n) => c.set_self(now, ([10, 0, 0, n], 1).into()),
            Op::Population(n) if n % 7 == 0 => c.set_position(u64::from(n)),
            Op::Population(n) => c.set_population(viewers(usize::from(n))),
            Op::Wait(s) => now = now + seconds(u64::from(s)),
            Op::Leave => c.leave(now),
        }
        c.wake(now);
        for effect in effects(&mut c) {
            match effect {
                Effect::Keep { file } => assert!(disk.insert(file), "kept twice"),
                Effect::Drop { file } => {
                    disk.remove(&file);
                }
                Effect::Announce { file, .. } | Effect::PutList { file, .. } => {
                    assert!(disk.contains(&file) || matches!(strategy, Strategy::Report(_)));
                }
                _ => {}
            }
        }
        let left = matches!(op, Op::Leave);
        if c.deadline().is_some_and(|t| t <= now) || c.used() > 5 * FILE {
            return false;
        }
        if left {
            return true;
        }
        if !c.files().eq(disk.iter().copied()) {
            return false;
        }
    }
    true
}

quickcheck! {
    fn nothing_that_comes_upsets_the_rules(ops: Vec<Op>) -> bool {
        holds_up(Strategy::Rank, ops)
    }

    fn nothing_that_comes_upsets_an_interval(ops: Vec<Op>, live: bool, renew: bool) -> bool {
        let span = seconds(60);
        holds_up(match live {
            true => Strategy::LivePosition { span, renew },
            false => Strategy::InitialPosition { span },
        }, ops)
    }

    fn nothing_that_comes_upsets_the_published_algorithm(
        ops: Vec<Op>,
        mended: bool,
        compared: bool
    ) -> bool {
        let mut defects = if mended { Defects::none() } else { Defects::published() };
        if compared {
            defects.publishing = Publishing::CompareAndSwap;
        }
        holds_up(Strategy::Report(defects), ops)
    }
}
