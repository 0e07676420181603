//! A swarm of any size in virtual time: what it costs, and how well it does.
//!
//! `cargo run --release -p eddy-sim --example scale [VIEWERS] [SECONDS] [BLOCK_MS]
//! [JOIN_SECONDS] [SEED]`
//!
//! 500 kbit/s in one datagram a block, uploads of three times that, a provider
//! of forty times.

use std::fs;
use std::time::Duration;

use eddy_core::config::Config;
use eddy_sim::live::{Live, Outcome, quantile};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Bytes a second.
const RATE: u64 = 62_500;

/// Seconds of processor that this process has used.
fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("every process may ask for its own");
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
}

/// The most memory that was ever resident, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn print(plan: &Live, o: &Outcome, seconds: f64, bytes: u64) {
    let s = |d: Duration| d.as_secs_f64();
    let n = plan.viewers as f64;
    let simulated = s(plan.joins + plan.watch);
    println!(
        "{} viewers, {simulated} s, D = {} ms, seed {}",
        plan.viewers,
        plan.block.as_millis(),
        plan.seed
    );
    println!(
        "  events        {} in {seconds:.1} CPU s: {:.0} k/s, {:.1} per viewer and second",
        o.events,
        o.events as f64 / seconds / 1e3,
        o.events as f64 / n / simulated,
    );
    println!("  memory        {:.1} KiB per viewer", bytes as f64 / n / 1024.0);
    let worst = o.viewers.iter().map(|v| v.stats.continuity()).fold(1.0, f64::min);
    println!(
        "  continuity    {:.3} %, worst viewer {:.1} %, late {}, lost {}",
        100.0 * o.continuity(),
        100.0 * worst,
        o.late(),
        o.lost()
    );
    let starts = o.startups();
    println!(
        "  start-up      p50 {:.2} s, p95 {:.2} s, bound B8 {:.2} s",
        s(quantile(&starts, 0.5)),
        s(quantile(&starts, 0.95)),
        s(o.startup_bound.unwrap_or_default()),
    );
    let arrivals = o.sorted(|v| v.arrival_delay(plan.block));
    let mean = s(arrivals.iter().sum::<Duration>()) / n;
    println!(
        "  block arrival mean {mean:.2} s, p95 {:.2} s, end to end p50 {:.2} s",
        s(quantile(&arrivals, 0.95)),
        s(quantile(&o.sorted(|v| v.end_to_end()), 0.5)),
    );
    if let Some(b6) = &o.arrival_bound {
        println!(
            "  bound B6      mean {:.2} s, p95 {:.2} s, ratio of means {:.2}",
            s(b6.mean),
            s(b6.p95),
            mean / s(b6.mean)
        );
    }
    let sum = |of: fn(&eddy_core::stats::Stats) -> u64| -> f64 {
        o.viewers.iter().map(|v| of(&v.stats)).sum::<u64>() as f64 / n / simulated
    };
    println!(
        "  per viewer and second: blocks due {:.2}, from others {:.2}, pulled {:.3}, twice {:.3}, \
         unwanted {:.3}, changes of parent {:.3}",
        sum(|s| s.due),
        sum(|s| s.from_peers + s.from_provider),
        sum(|s| s.repaired),
        sum(|s| s.duplicates),
        sum(|s| s.unwanted),
        sum(|s| s.reselections),
    );
    println!("  hash          {:016x}", o.hash);
}

fn main() {
    let argument = |n: usize, default: u64| {
        std::env::args().nth(n).map_or(default, |a| a.parse().expect("a whole number"))
    };
    let (viewers, seconds) = (argument(1, 1_000), argument(2, 60));
    let plan = Live {
        viewers: viewers as usize,
        joins: Duration::from_secs(argument(4, 20)),
        watch: Duration::from_secs(seconds),
        rate: RATE,
        coarse: true,
        upload: 3 * RATE,
        provider_upload: 40 * RATE,
        ..Live::report_swarm(
            argument(5, 1),
            Config::default(),
            Duration::from_millis(argument(3, 1_000)),
        )
    };
    let (before, used) = (peak(), cpu());
    let outcome = plan.run();
    print(&plan, &outcome, cpu() - used, peak() - before);
}
