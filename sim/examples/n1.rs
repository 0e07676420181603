//! N1: the report's own experiment, beside its published figures: 48 live
//! viewers, 16 in the past, one provider, 105 minutes on PlanetLab's round
//! trips.
//!
//! `cargo run --release -p eddy-sim --example n1 [default|report] [--seed N]
//! [--seconds N] [--block MS] [--leaping N] [--pausing N] [--churn] [--loss SHARE]
//! [--skew MS] [--stalls MEAN] [--live N] [--shifted N] [--owners-yield]`

use std::time::{Duration, Instant};

use eddy_sim::rewind::{Kind, Outcome, Replicas, Rewind, share};

/// R, as published.
const R: usize = 10;

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// How many of the files have each count.
fn histogram(name: &str, files: &[Replicas], count: impl Fn(&Replicas) -> usize) {
    let most = files.iter().map(&count).max().unwrap_or(0);
    let mean = files.iter().map(&count).sum::<usize>() as f64 / files.len().max(1) as f64;
    print!("  {name:<22} mean {mean:5.2}  ");
    for n in 0..=most {
        let files = files.iter().filter(|f| count(f) == n).count();
        if files > 0 {
            print!(" {n}:{files}");
        }
    }
    println!();
}

fn table(o: &Outcome) {
    println!("Blocks of the past by source (report Table 4-2)");
    println!(
        "  viewer            received    peers    share  emergency  failed  no owner  lost  start-up"
    );
    let line = |name: String, s: eddy_core::stats::Shift, start: Option<Duration>| {
        let all = s.peer + s.emergency + s.failed + s.no_owner;
        println!(
            "  {name:<16} {all:>9} {:>8} {:>7.2} % {:>10} {:>7} {:>9} {:>5}  {}",
            s.peer,
            100.0 * s.peer as f64 / all.max(1) as f64,
            s.emergency,
            s.failed,
            s.no_owner,
            s.lost,
            start.map_or(String::new(), |d| format!("{:.0} ms", ms(d))),
        );
    };
    let viewers = || o.of(|k| !k.is_live());
    if viewers().count() <= 40 {
        for (n, v) in viewers().enumerate() {
            let leaps = if v.kind == Kind::Leaping { ", leaps" } else { "" };
            line(format!("TS {:02}{leaps}", n + 1), v.stats.shift, v.stats.startup);
        }
    }
    line("all".into(), o.shift(), None);
    let s = o.shift();
    let all = (s.peer + s.emergency + s.failed + s.no_owner).max(1) as f64;
    let percent = |n: u64| 100.0 * n as f64 / all;
    println!("                        here     published");
    println!("  from peers        {:8.3} %     97.14 %  (57,343 of 59,033)", percent(s.peer));
    println!("  emergency         {:8.3} %      1.77 %  (1,044)", percent(s.emergency));
    println!("  failed to get     {:8.3} %      0.88 %  (522)", percent(s.failed));
    println!("  no peer owner     {:8.3} %      0.21 %  (123)", percent(s.no_owner));
}

fn print(o: &Outcome) {
    table(o);
    println!(
        "Replicas, files by count (report Fig. 4-5: most cached > R times, few published R times)"
    );
    histogram("cached, after 60 s", &o.young, |f| f.cached);
    histogram("published, after 60 s", &o.young, |f| f.published);
    histogram("cached, at the end", &o.last, |f| f.cached);
    histogram("published, at the end", &o.last, |f| f.published);
    histogram("published, any time", &o.sampled, |f| f.published);
    histogram("of these alive", &o.sampled, |f| f.live);
    println!(
        "  after 60 s: published R {:.2} %, cached > R {:.1} %; any time: R±1 {:.2} %, no live owner {:.2} %",
        100.0 * share(&o.young, |f| f.published == R),
        100.0 * share(&o.young, |f| f.cached > R),
        100.0 * share(&o.sampled, |f| f.published.abs_diff(R) <= 1),
        100.0 * share(&o.sampled, |f| f.live == 0),
    );
    let live = |k: Kind| k.is_live();
    let past = |k: Kind| !k.is_live();
    println!("Play-out");
    println!(
        "  continuity        live {:.4} %, past {:.4} %     published 98.5 % (live)",
        100.0 * o.continuity(live),
        100.0 * o.continuity(past)
    );
    let late: u64 = o.viewers.iter().map(|v| v.stats.late).sum();
    let gaps: u64 = o.viewers.iter().map(|v| v.gaps).sum();
    println!("  missed            {:.5} %, late {late}, gaps {gaps}", 100.0 * o.missed());
    let q = |name: &str, all: Vec<Duration>| {
        let n = all.len();
        let at = |p| ms(Outcome::quantile(all.iter().copied(), p));
        println!(
            "  {name:<17} p50 {:6.0} ms   p95 {:6.0} ms   max {:6.0} ms   ({n})",
            at(0.5),
            at(0.95),
            at(1.0)
        );
    };
    let starts = |is: fn(Kind) -> bool| o.of(is).filter_map(|v| v.stats.startup).collect();
    q("longest delay", o.of(live).map(|v| v.longest_delay).collect());
    q("start live", starts(|k| k.is_live()));
    q("start past", starts(|k| !k.is_live()));
    q("leap", o.viewers.iter().flat_map(|v| v.leaps.iter().copied()).collect());
    q("return to live", o.viewers.iter().flat_map(|v| v.returns.iter().copied()).collect());
    let never = o.viewers.iter().filter(|v| v.stats.startup.is_none()).count();
    let refused: usize = o.viewers.iter().map(|v| v.refused).sum();
    let recruited: u64 = o.viewers.iter().map(|v| v.stats.recruited).sum();
    println!(
        "  viewers           {}, of which {never} never played; {refused} leaps refused; {recruited} files fetched for others",
        o.viewers.len()
    );
    println!("Provider");
    println!("  blocks of the past sent {}", o.provider.past_sent);
    println!("DHT");
    println!("  sent by a viewer  {:.3} % of the stream's rate", 100.0 * o.dht_share());
    println!("  events {}   hash {:016x}", o.events, o.hash);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut seed = 1;
    let mut report = false;
    let mut changes: Vec<(String, Option<f64>)> = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "default" => report = false,
            "report" => report = true,
            "--churn" | "--owners-yield" => changes.push((arg, None)),
            "--seed" => seed = args.next().and_then(|s| s.parse().ok()).unwrap_or(seed),
            _ => changes.push((arg, args.next().and_then(|v| v.parse().ok()))),
        }
    }
    let mut plan = if report { Rewind::report(seed) } else { Rewind::published(seed) };
    for (name, value) in changes {
        let value = value.unwrap_or(0.0);
        match name.as_str() {
            "--churn" => plan.churn = true,
            "--owners-yield" => {
                plan.config.cache = Some(eddy_core::cache::CacheConfig::report());
            }
            "--seconds" => plan.span = Duration::from_secs_f64(value),
            "--block" => plan.block = Duration::from_secs_f64(value / 1e3),
            "--leaping" => plan.leaping = value as usize,
            "--pausing" => plan.pausing = value as usize,
            "--stalls" => {
                let length = Duration::from_secs(30);
                plan.stalls = (value > 0.0).then(|| (Duration::from_secs_f64(value), length));
            }
            "--live" => plan.live = value as usize,
            "--shifted" => plan.shifted = value as usize,
            "--loss" => plan.loss = value,
            "--skew" => plan.skew = Duration::from_secs_f64(value / 1e3),
            other => panic!("what is {other}?"),
        }
    }
    println!(
        "N1, {}, D = {} ms, {} live and {} past viewers, {} s, seed {seed}{}",
        if report { "report" } else { "default" },
        plan.block.as_millis(),
        plan.live,
        plan.shifted,
        plan.span.as_secs(),
        if plan.churn { ", churn CH1" } else { "" },
    );
    let wall = Instant::now();
    print(&plan.run());
    println!("  {:.0} s of wall clock", wall.elapsed().as_secs_f64());
}
