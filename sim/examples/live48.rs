//! The published swarm in virtual time: 48 viewers on PlanetLab's round trips.
//!
//! `cargo run --release -p eddy-sim --example live48 [SEED] [SECONDS] [BLOCK_MS]`

use std::time::Duration;

use eddy_core::config::Config;
use eddy_sim::live::{Live, Outcome, quantile};

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

fn print(name: &str, plan: &Live, o: &Outcome) {
    let starts = o.startups();
    let arrivals = o.sorted(|v| v.arrival_delay(plan.block));
    let ends = o.sorted(|v| v.end_to_end());
    let mean = arrivals.iter().sum::<Duration>() / arrivals.len().max(1) as u32;
    println!("{name}, D = {} ms, seed {}", plan.block.as_millis(), plan.seed);
    println!(
        "  continuity      {:9.5} %   late {}   lost {}   repaired {}   changes of parent {}",
        100.0 * o.continuity(),
        o.late(),
        o.lost(),
        o.viewers.iter().map(|v| v.stats.repaired).sum::<u64>(),
        o.viewers.iter().map(|v| v.stats.reselections).sum::<u64>(),
    );
    println!(
        "  start-up        p50 {:6.0} ms   p95 {:6.0} ms   bound B8 {:6.0} ms",
        ms(quantile(&starts, 0.5)),
        ms(quantile(&starts, 0.95)),
        ms(o.startup_bound.unwrap_or_default()),
    );
    if let Some(b6) = &o.arrival_bound {
        println!(
            "  block arrival   mean {:5.0} ms   p50 {:6.0} ms   p95 {:6.0} ms   bound B6 mean {:.0} p50 {:.0} p95 {:.0} ms   ratio of means {:.2}",
            ms(mean),
            ms(quantile(&arrivals, 0.5)),
            ms(quantile(&arrivals, 0.95)),
            ms(b6.mean),
            ms(b6.p50),
            ms(b6.p95),
            mean.as_secs_f64() / b6.mean.as_secs_f64(),
        );
    }
    println!(
        "  end to end      p50 {:6.0} ms   p95 {:6.0} ms   longest play-out delay {:.0} ms",
        ms(quantile(&ends, 0.5)),
        ms(quantile(&ends, 0.95)),
        ms(o.viewers.iter().map(|v| v.longest_delay).max().unwrap_or_default()),
    );
    let (peers, provider) = o
        .viewers
        .iter()
        .fold((0, 0), |(p, q), v| (p + v.stats.from_peers, q + v.stats.from_provider));
    let sent: u64 = o.viewers.iter().map(|v| v.stats.bytes_sent).sum();
    let control: u64 = o.viewers.iter().map(|v| v.stats.control_sent).sum();
    println!(
        "  from peers      {:.1} %   control traffic {:.2} % of all   duplicates {}   unwanted {}",
        100.0 * peers as f64 / (peers + provider).max(1) as f64,
        100.0 * control as f64 / sent.max(1) as f64,
        o.viewers.iter().map(|v| v.stats.duplicates).sum::<u64>(),
        o.viewers.iter().map(|v| v.stats.unwanted).sum::<u64>(),
    );
    println!("  events          {}   hash {:016x}", o.events, o.hash);
}

fn main() {
    let arg = |n: usize, default: u64| {
        std::env::args().nth(n).and_then(|a| a.parse().ok()).unwrap_or(default)
    };
    let (seed, seconds, block) = (arg(1, 1), arg(2, 120), arg(3, 40));
    let watch = Duration::from_secs(seconds);
    let (block, second) = (Duration::from_millis(block), Duration::from_secs(1));
    let runs = [
        ("default", Config::default(), block),
        ("report", Config::report(), second),
        ("tree", Config::tree(), block),
        ("donet", Config::donet(), second),
    ];
    for (name, config, block) in runs {
        for resets in [None, Some(Duration::from_secs(60))] {
            let name = match resets {
                None => name.to_owned(),
                Some(_) => format!("{name}, a reset per connection and minute"),
            };
            let config = config.clone();
            let plan = Live { watch, resets, ..Live::report_swarm(seed, config, block) };
            print(&name, &plan, &plan.run());
        }
    }
}
