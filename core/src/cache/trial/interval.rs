//! What each viewer keeps of its own interval, and how many copies that makes.

use std::println;

use super::hand::{at, effects, file};
use super::*;
use crate::cache::Strategy;

const SPAN: u64 = 600;

fn config(strategy: Strategy) -> CacheConfig {
    CacheConfig { strategy, ..CacheConfig::default() }
}

fn ipp() -> Strategy {
    Strategy::InitialPosition { span: seconds(SPAN) }
}

fn lsp(renew: bool) -> Strategy {
    Strategy::LivePosition { span: seconds(SPAN), renew }
}

fn cache(strategy: Strategy) -> Cache {
    Cache::new(config(strategy), Rng::new([1; 32])).unwrap()
}

fn starts(cache: &Cache) -> Vec<u64> {
    cache.files().map(|f| f.start).collect()
}

#[test]
fn ipp_keeps_what_is_played_first_live_or_not_and_lsp_what_is_live() {
    let first_60 = |from: u64| (0..60).map(|n| from + n * 10).collect::<Vec<u64>>();
    for (strategy, live, kept) in [
        (ipp(), true, first_60(5_000)),
        (ipp(), false, first_60(5_000)),
        (lsp(false), true, first_60(5_000)),
        (lsp(false), false, Vec::new()),
    ] {
        let mut c = cache(strategy);
        c.set_position(5_000);
        for n in 0..100 {
            let f = file(5_000 + n * 10, n as u32);
            if live {
                c.completed(at(n * 10), f, BYTES);
            } else {
                c.fetched(at(n * 10), f, BYTES);
            }
            let expected = if starts(&c).contains(&f.start) {
                [Effect::Keep { file: f }, Effect::Announce { file: f, life: minutes(30) }].to_vec()
            } else {
                [Effect::Drop { file: f }].to_vec()
            };
            assert_eq!(effects(&mut c), expected);
            c.stored(at(n * 10 + 1), f, true);
        }
        // What came before the first.
        c.fetched(at(1_001), file(4_990, 200), BYTES);
        assert_eq!(starts(&c), kept, "{strategy:?} {live}");
    }
}

#[test]
fn a_renewing_lsp_withdraws_the_oldest_and_then_deletes_it() {
    let mut c = cache(lsp(true));
    let f = |n: u64| file(n * 10, n as u32);
    for n in 0..60 {
        c.completed(at(n * 10), f(n), BYTES);
        c.stored(at(n * 10), f(n), true);
    }
    effects(&mut c);
    c.completed(at(600), f(60), BYTES);
    let mut wanted = effects(&mut c);
    assert_eq!(wanted.pop(), Some(Effect::Withdraw { file: f(0) }));
    c.stored(at(601), f(0), true);
    assert_eq!(effects(&mut c), [Effect::Drop { file: f(0) }]);
    assert_eq!(starts(&c), (1..=60).map(|n| n * 10).collect::<Vec<u64>>());
    // Its own record is on the way: it is taken back only then.
    c.wake(c.deadline().unwrap());
    c.completed(at(610), f(61), BYTES);
    assert!(!effects(&mut c).contains(&Effect::Drop { file: f(1) }));
}

#[test]
fn what_is_kept_is_published_until_it_goes() {
    let mut c = cache(ipp());
    c.set_position(0);
    let f = file(0, 1);
    let announce = Effect::Announce { file: f, life: minutes(30) };
    c.completed(at(0), f, BYTES);
    effects(&mut c);
    c.stored(at(1), f, false);
    c.wake(at(4));
    assert_eq!(
        effects(&mut c),
        core::slice::from_ref(&announce),
        "it failed: again within seconds"
    );
    c.stored(at(5), f, true);
    let next = c.deadline().unwrap();
    assert!(next >= at(5 + 648) && next <= at(5 + 792), "12 min ± 10 %: {next:?}");
    c.wake(next);
    assert_eq!(effects(&mut c), [announce]);
    c.gone(next, f);
    assert_eq!(effects(&mut c), [Effect::Withdraw { file: f }]);
    c.leave(next);
    assert_eq!(effects(&mut c), []);
}

/// Viewers who come one after another over the programme's time, and the
/// copies of each file at its end.
fn copies(strategy: Strategy) -> Vec<usize> {
    const VIEWERS: u64 = 96;
    const FILES: u64 = 576;
    let mut world = World::new(5, config(strategy), 0.0);
    let mut files = Vec::new();
    for n in 0..FILES {
        if n % (FILES / VIEWERS) == 0 {
            world.add_all(1, VIEWERS as usize);
        }
        files.push(world.broadcast(n, seconds(2)));
        world.run(seconds(10));
    }
    files.iter().map(|f| world.live(*f)).collect()
}

#[test]
fn lsp_has_n_c_by_t_holders_and_a_sliding_one_only_of_what_is_new() {
    // N C / T = 96 · 600 / 5,760.
    let counts = copies(lsp(false));
    println!("LSP: {:.1} holders, {counts:?}", mean(&counts[60..]));
    // Once everybody who saw a file live has come and C seconds are over.
    assert!(counts[60..].iter().all(|n| (9..=11).contains(n)), "{counts:?}");
    let counts = copies(lsp(true));
    println!(
        "sliding LSP: {:.1} of the last, {:.1} before",
        mean(&counts[516..]),
        mean(&counts[..516])
    );
    assert!(counts[..515].iter().all(|n| *n == 0), "{counts:?}");
    assert!(counts[517..570].iter().all(|n| *n >= 85), "{counts:?}");
}
