//! `eddy bench swarm`: a process a node, a generator and a sink that stamp and
//! check every datagram.

mod process;
mod traffic;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use eddy_runtime_mio::Sockets;
use serde::Serialize;

use super::RunError;
use crate::settings::{GlobalSettings, SwarmSettings};
use crate::ui::Ui;
use process::{Nodes, Usage};
use traffic::{Generator, Seen, Sink};

/// How long all viewers may take until each has its first datagram.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// What a swarm gets to settle, once all are served, before it is measured.
const SETTLE: Duration = Duration::from_secs(3);
/// Viewers that join the running swarm one by one at the end of a run.
const LATE_JOINERS: usize = 10;
/// What is under way when the generator stops may take this long.
const DRAIN: Duration = Duration::from_secs(2);

/// What one run showed.
#[derive(Clone, Debug, Serialize)]
struct Run {
    viewers: u32,
    rate_mbit: f64,
    block_ms: u64,
    /// Viewers that got any datagram.
    served: usize,
    /// Datagrams missing between each viewer's first and last, summed.
    lost: u64,
    /// Datagrams that came twice or out of order, summed.
    disordered: u64,
    delay_p50_ms: f64,
    delay_p99_ms: f64,
    delay_max_ms: f64,
    /// Source and viewers, for each megabit that reached a player.
    cpu_ms_per_mbit: f64,
    source_cpu_percent: f64,
    viewer_cpu_percent: f64,
    rss_mb: f64,
    rss_max_mb: f64,
    pss_mb: f64,
    /// From starting all processes at once to the first datagram at each player.
    join_all_p50_ms: f64,
    join_all_max_ms: f64,
    /// The same for viewers that join the running swarm one by one.
    join_one_p50_ms: f64,
    join_one_p95_ms: f64,
}

/// `eddy bench swarm`
///
/// # Errors
/// [`RunError`] if a process or a socket cannot be had.
pub fn bench(global: &GlobalSettings, own: &SwarmSettings, ui: &Ui) -> Result<ExitCode, RunError> {
    ui.result(&format!("{HEADER}\n"), &serde_json::json!({ "columns": COLUMNS }));
    let mut good = true;
    for number in 0..own.runs {
        let run = swarm(global, own, number)?;
        good &= run.served == own.viewers as usize && run.lost == 0 && run.disordered == 0;
        ui.result(&format!("{}\n", run.line()), &run);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const HEADER: &str = "\
viewers Mbit/s D/ms served lost disord delay p50/p99/max ms  CPU ms/Mbit source% viewer% RSS/max/PSS MB   join all p50/max, one p50/p95 ms";
const COLUMNS: &str = "one object a run; times in ms, memory in MB, CPU of source and viewers";

impl Run {
    fn line(&self) -> String {
        format!(
            "{:7} {:6} {:4} {:6} {:4} {:6} {:6.1} {:6.1} {:7.1}      {:9.2} {:7.1} {:7.2} {:5.1} {:5.1} {:5.1}   {:6.0} {:6.0}   {:6.0} {:6.0}",
            self.viewers,
            self.rate_mbit,
            self.block_ms,
            self.served,
            self.lost,
            self.disordered,
            self.delay_p50_ms,
            self.delay_p99_ms,
            self.delay_max_ms,
            self.cpu_ms_per_mbit,
            self.source_cpu_percent,
            self.viewer_cpu_percent,
            self.rss_mb,
            self.rss_max_mb,
            self.pss_mb,
            self.join_all_p50_ms,
            self.join_all_max_ms,
            self.join_one_p50_ms,
            self.join_one_p95_ms,
        )
    }
}

fn swarm(global: &GlobalSettings, own: &SwarmSettings, number: u32) -> Result<Run, RunError> {
    let epoch = Instant::now();
    let [server, input] = free_ports()?;
    let mut nodes = Nodes::new(global, number)?;
    nodes.start("bootstrap", &["bootstrap", "--listen", &server.to_string()])?;
    let source = nodes.start(
        "provider",
        &[
            "provider",
            "--listen=127.0.0.1:0",
            &format!("--bootstrap={server}"),
            "--channel=bench",
            &format!("--input=udp://{input}"),
            &format!("--block={}", own.block.as_millis()),
        ],
    )?;
    nodes.wait_for_channel(&server, "bench")?;
    let generator = Generator::start(epoch, input, own.rate)?;

    // All at once, from cold.
    let mut sinks = Vec::new();
    for _ in 0..own.viewers {
        sinks.push(Sink::start(epoch)?);
    }
    let mut viewers = Vec::new();
    let mut started = Vec::new();
    for (n, sink) in sinks.iter().enumerate() {
        started.push(epoch.elapsed());
        viewers.push(nodes.start(&format!("viewer-{n}"), &viewer(&server, sink.addr()))?);
    }
    let deadline = Instant::now() + JOIN_WITHIN;
    while sinks.iter().any(|s| s.first().is_none()) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    let first = |(sink, started): (&Sink, &Duration)| Some(sink.first()? - *started);
    let join_all: Vec<Duration> = sinks.iter().zip(&started).filter_map(first).collect();
    thread::sleep(SETTLE);

    // The steady window.
    let before: Vec<Usage> = nodes.usage()?;
    sinks.iter().for_each(Sink::begin_window);
    let began = Instant::now();
    thread::sleep(own.length);
    let window = began.elapsed();
    let seen: Vec<Seen> = sinks.iter().map(Sink::end_window).collect();
    let after: Vec<Usage> = nodes.usage()?;

    let join_one = late_joins(&mut nodes, &server, epoch)?;
    generator.stop();
    thread::sleep(DRAIN);
    nodes.stop();
    let totals: Vec<Seen> = sinks.into_iter().map(Sink::finish).collect();

    let used = |n: usize| after[n].cpu.saturating_sub(before[n].cpu);
    let of_viewers: Duration = viewers.iter().map(|n| used(*n)).sum();
    let megabits = seen.iter().map(|s| s.bytes).sum::<u64>() as f64 * 8e-6;
    let mut delays: Vec<Duration> = seen.iter().flat_map(|s| s.delays.iter().copied()).collect();
    delays.sort_unstable();
    let count = viewers.len().max(1) as f64;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    Ok(Run {
        viewers: own.viewers,
        rate_mbit: own.rate.bits() as f64 / 1e6,
        block_ms: own.block.as_millis() as u64,
        served: totals.iter().filter(|s| s.unique > 0).count(),
        lost: totals.iter().map(|s| s.missing).sum(),
        disordered: totals.iter().map(|s| s.disordered).sum(),
        delay_p50_ms: ms(quantile(&delays, 0.5)),
        delay_p99_ms: ms(quantile(&delays, 0.99)),
        delay_max_ms: ms(delays.last().copied().unwrap_or_default()),
        cpu_ms_per_mbit: ms(of_viewers + used(source)) / megabits.max(f64::MIN_POSITIVE),
        source_cpu_percent: 100.0 * used(source).as_secs_f64() / window.as_secs_f64(),
        viewer_cpu_percent: 100.0 * of_viewers.as_secs_f64() / window.as_secs_f64() / count,
        rss_mb: mb(viewers.iter().map(|n| after[*n].rss).sum::<u64>()) / count,
        rss_max_mb: mb(viewers.iter().map(|n| after[*n].rss).max().unwrap_or(0)),
        pss_mb: mb(viewers.iter().map(|n| after[*n].pss).sum::<u64>()) / count,
        join_all_p50_ms: ms(sorted_quantile(&join_all, 0.5)),
        join_all_max_ms: ms(sorted_quantile(&join_all, 1.0)),
        join_one_p50_ms: ms(sorted_quantile(&join_one, 0.5)),
        join_one_p95_ms: ms(sorted_quantile(&join_one, 0.95)),
    })
}

/// Viewers that join the running swarm, one after another.
fn late_joins(
    nodes: &mut Nodes,
    server: &SocketAddr,
    epoch: Instant,
) -> Result<Vec<Duration>, RunError> {
    let mut times = Vec::new();
    for n in 0..LATE_JOINERS {
        let sink = Sink::start(epoch)?;
        let started = epoch.elapsed();
        let node = nodes.start(&format!("late-{n}"), &viewer(server, sink.addr()))?;
        let deadline = Instant::now() + JOIN_WITHIN;
        while sink.first().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        times.push(sink.first().map_or(JOIN_WITHIN, |at| at - started));
        nodes.end(node);
        sink.finish();
    }
    Ok(times)
}

fn viewer(server: &SocketAddr, player: SocketAddr) -> Vec<String> {
    vec![
        "viewer".into(),
        "--listen=127.0.0.1:0".into(),
        format!("--bootstrap={server}"),
        "--channel=bench".into(),
        format!("--output=udp://{player}"),
        "--playout-delay=0".into(),
        "--start=any".into(),
    ]
}

/// Two addresses on loopback whose ports are free for TCP and UDP just now.
/// Connections of an earlier run may still hold a port for TCP alone.
fn free_ports() -> Result<[SocketAddr; 2], RunError> {
    let bind = || Sockets::bind((Ipv4Addr::LOCALHOST, 0).into());
    let both = bind().and_then(|a| Ok([a.local_addr(), bind()?.local_addr()]));
    both.map_err(|e| {
        RunError::new(format!("cannot get a port on loopback: {e}"), "close other programs")
    })
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

fn sorted_quantile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    quantile(&sorted, share)
}
