//! The published algorithm: what the report measured (Fig. 4-5), and what the
//! study simulated (dht.md section 6, rows "original").

use std::println;

use super::*;
use crate::cache::{Defects, Publishing, Strategy};

const R: usize = 10;

/// How many of a file's owners its list names.
fn listed(world: &World, file: File) -> usize {
    world.lists.get(file).0.len()
}

fn published(defects: Defects, back_off: u64) -> CacheConfig {
    let strategy = Strategy::Report(defects);
    CacheConfig { strategy, back_off: seconds(back_off), ..CacheConfig::report() }
}

/// The study's model: no defect but chance and lost updates.
const ORIGINAL: Defects = Defects {
    publishing: Publishing::GetEditPut,
    owners_yield: true,
    random_caching: true,
    ..Defects::none()
};

#[test]
fn the_studys_rows_of_the_original_come_out() {
    // Back-off, minutes until the look at it, the study's mean of published owners, N = 48.
    for (back_off, after, study) in [(2, 2, 3.4), (10, 2, 6.1), (30, 2, 7.9), (10, 14, 8.6)] {
        for n in [48, 1_000] {
            let mut world = World::new(1, published(ORIGINAL, back_off), 0.0);
            world.add_all(n, n);
            let files: Vec<File> = (0..200).map(|f| world.broadcast(f, seconds(2))).collect();
            world.run(minutes(after));
            let counts: Vec<usize> = files.iter().map(|f| listed(&world, *f)).collect();
            let got = mean(&counts);
            println!(
                "N {n}, back-off {back_off} s, {after} min: published {got:.2} (study {study}), \
                 P(<R) {:.2}, P(=R) {:.2}, lookups a file {:.0}",
                share(&counts, |c| c < R),
                share(&counts, |c| c == R),
                world.lookups as f64 / 200.0
            );
            assert!((got - study).abs() <= 1.0, "{got} {study}");
        }
    }
}

#[test]
fn most_files_are_cached_more_than_r_times_and_few_are_published_r_times() {
    // Clocks in step; and clocks as PlanetLab's were, by which Plan-x decides whose put counts.
    for (skew, few) in [(0.0, 0.35), (5.0, 0.05)] {
        // 48 live viewers whom the bootstrap server counts, and 16 of the past who cache too.
        let mut world = World::new(2, published(Defects::published(), 30), 0.0);
        world.skew = skew;
        world.add_all(64, 48);
        let files: Vec<File> = (0..400).map(|f| world.broadcast(f, seconds(2))).collect();
        world.run(minutes(4));
        let copies: Vec<usize> = files.iter().map(|f| world.copies(*f)).collect();
        let lists: Vec<usize> = files.iter().map(|f| listed(&world, *f)).collect();
        let (cached, full) = (share(&copies, |c| c > R), share(&lists, |l| l >= R));
        println!(
            "published algorithm, skew {skew} s: cached {:.1} on average, > R for {cached:.2}; \
             published {:.1}, R times for {full:.2}",
            mean(&copies),
            mean(&lists)
        );
        assert!(cached > 0.5, "{copies:?}");
        assert!(full < few, "{lists:?}");
    }
}

#[test]
fn of_sixty_writers_at_once_all_are_stored_but_by_get_edit_put() {
    const WRITERS: usize = 60;
    for (publishing, all) in [
        (Publishing::GetEditPut, false),
        (Publishing::CompareAndSwap, true),
        (Publishing::AddToSet, true),
    ] {
        let strategy = Strategy::Report(Defects { publishing, ..Defects::none() });
        let config = CacheConfig { strategy, replicas: 64, ..CacheConfig::report() };
        let mut world = World::new(3, config, 0.0);
        world.add_all(WRITERS, WRITERS);
        let file = world.broadcast(0, seconds(1));
        let mut done = None;
        for second in 1..=200 {
            world.run(seconds(1));
            let stored = match publishing {
                Publishing::AddToSet => world.published(file),
                _ => listed(&world, file),
            };
            if stored == WRITERS {
                done = done.or(Some(second));
            }
            if [5, 30, 60, 200].contains(&second) {
                println!("{publishing:?}: {stored} of {WRITERS} after {second} s");
            }
        }
        println!("{publishing:?}: all after {done:?} s, {} lookups", world.lookups);
        assert_eq!(done.is_some(), all, "{publishing:?}");
    }
}
