//! What one provider or viewer did in all: a line at its end.

use std::time::Duration;

use eddy_core::stats::Stats;
use serde::Serialize;

use super::{Ui, as_ms, continuity, or_dash, peer_share, percent, whole_percent};

/// Shows what a viewer played of a channel whose blocks last `block`; `None`
/// if it never found the channel.
pub fn viewer(ui: &Ui, stats: &Stats, block: Option<Duration>) {
    #[derive(Serialize)]
    struct Object {
        kind: &'static str,
        played_ms: u64,
        blocks_due: u64,
        blocks_late: u64,
        blocks_lost: u64,
        continuity: Option<f64>,
        from_peers: Option<f64>,
    }
    let played = played(stats, block);
    let object = Object {
        kind: "summary",
        played_ms: as_ms(played),
        blocks_due: stats.due,
        blocks_late: stats.late,
        blocks_lost: stats.lost,
        continuity: continuity(stats),
        from_peers: peer_share(stats),
    };
    ui.total(&viewer_text(stats, played), &object);
}

/// Shows what a provider sent.
pub fn provider(ui: &Ui, stats: &Stats) {
    #[derive(Serialize)]
    struct Object {
        kind: &'static str,
        packets: u64,
        payload_bytes: u64,
        blocks_sent: u64,
        bytes_sent: u64,
    }
    let object = Object {
        kind: "summary",
        packets: stats.packets,
        payload_bytes: stats.payload,
        blocks_sent: stats.blocks_sent,
        bytes_sent: stats.bytes_sent,
    };
    ui.total(&provider_text(stats), &object);
}

/// How much of the stream reached the player.
fn played(stats: &Stats, block: Option<Duration>) -> Duration {
    let blocks = u32::try_from(stats.due.saturating_sub(stats.lost)).unwrap_or(u32::MAX);
    block.unwrap_or_default().saturating_mul(blocks)
}

fn viewer_text(stats: &Stats, played: Duration) -> String {
    format!(
        "played {}: {} blocks due, {} late, {} lost; continuity {}; from peers {}\n",
        span(played),
        stats.due,
        stats.late,
        stats.lost,
        or_dash(continuity(stats).map(percent)),
        or_dash(peer_share(stats).map(whole_percent)),
    )
}

fn provider_text(stats: &Stats) -> String {
    format!(
        "took {} packets, {}; sent viewers {} blocks; uploaded {}\n",
        stats.packets,
        bytes(stats.payload),
        stats.blocks_sent,
        bytes(stats.bytes_sent),
    )
}

/// Seconds, with minutes and hours where there are any.
fn span(d: Duration) -> String {
    let (minutes, seconds) = (d.as_secs() / 60, d.as_secs() % 60);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{:.1} s", d.as_millis() as f64 / 1e3),
        (0, minutes) => format!("{minutes} min {seconds} s"),
        (hours, minutes) => format!("{hours} h {minutes} min {seconds} s"),
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_ends_with_what_it_played() {
        let stats = Stats {
            due: 3_128,
            on_time: 3_124,
            late: 1,
            lost: 3,
            from_peers: 3,
            from_provider: 1,
            ..Stats::default()
        };
        assert_eq!(
            viewer_text(&stats, played(&stats, Some(Duration::from_millis(40)))),
            "played 2 min 5 s: 3128 blocks due, 1 late, 3 lost; continuity 99.87 %; from peers 75 %\n"
        );
        let nothing = Stats::default();
        assert_eq!(
            viewer_text(&nothing, played(&nothing, None)),
            "played 0.0 s: 0 blocks due, 0 late, 0 lost; continuity -; from peers -\n"
        );
    }

    #[test]
    fn a_provider_ends_with_what_it_sent() {
        let stats = Stats {
            packets: 9_000,
            payload: 11_844_000,
            blocks_sent: 4_200,
            bytes_sent: 2_345_678_901,
            ..Stats::default()
        };
        assert_eq!(
            provider_text(&stats),
            "took 9000 packets, 11.8 MB; sent viewers 4200 blocks; uploaded 2.3 GB\n"
        );
    }

    #[test]
    fn long_times_are_hours() {
        assert_eq!(span(Duration::from_millis(59_900)), "59.9 s");
        assert_eq!(span(Duration::from_secs(7_384)), "2 h 3 min 4 s");
    }
}
