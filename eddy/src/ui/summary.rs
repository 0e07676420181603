//! How the demo ended: a summary of all viewers, and the verdict.

use std::process::ExitCode;
use std::time::Duration;

use eddy_core::stats::Stats;
use serde::Serialize;

use super::line::PastBlocks;
use super::{Colour, Mode, Ui, as_ms, millis, paint, percent, short};

/// How one viewer did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The viewer's name.
    pub name: String,
    /// Its last statistics; those of a viewer that died are the last it told.
    pub stats: Stats,
    /// Whether it was there to the end.
    pub alive: bool,
}

/// How all viewers did.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How long the run was.
    pub elapsed: Duration,
    /// A viewer each.
    pub outcomes: Vec<Outcome>,
}

impl Summary {
    /// What went wrong; empty if every viewer played to the end and no block
    /// was lost.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.outcomes.is_empty() {
            faults.push("there was no viewer".into());
        }
        for Outcome { name, stats, alive } in &self.outcomes {
            if !alive {
                faults.push(format!("{name} ended before its time"));
            }
            if stats.startup.is_none() {
                faults.push(format!("{name} never played"));
            }
            match stats.lost {
                0 => {}
                1 => faults.push(format!("{name} lost 1 block")),
                n => faults.push(format!("{name} lost {n} blocks")),
            }
        }
        faults
    }

    /// 0 if nothing went wrong, else 1.
    pub fn exit_code(&self) -> ExitCode {
        if self.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Shows the summary, and says how the program should end.
    pub fn show(&self, ui: &Ui) -> ExitCode {
        let colours = matches!(ui.mode, Mode::Terminal { colours: true });
        ui.finish();
        ui.result(&self.text(colours), &self.object());
        self.exit_code()
    }

    /// The summary as text.
    pub fn text(&self, colours: bool) -> String {
        let object = self.object();
        let span = |d: &Spread, unit: fn(Duration) -> String| match (d.p50, d.p95) {
            (Some(p50), Some(p95)) => format!("p50 {}, p95 {}", unit(p50), unit(p95)),
            _ => "-".into(),
        };
        let faults = self.faults();
        let verdict = if faults.is_empty() {
            paint("passed: every viewer played, no block was lost", Colour::Green, colours)
        } else {
            paint(&format!("failed: {}", faults.join("; ")), Colour::Red, colours)
        };
        format!(
            "\n{} of {} viewers played, in {} s\n\
             start-up    {}\n\
             delay       {}\n\
             continuity  mean {}, worst {}\n\
             from peers  {}\n\
             blocks      {} due, {} late, {} lost\n\
             {}{verdict}\n",
            object.played,
            object.viewers,
            self.elapsed.as_secs(),
            span(&self.spread(|s| s.startup), short),
            span(&self.spread(|s| s.playout_delay), millis),
            percent(object.continuity_mean),
            percent(object.continuity_worst),
            percent(object.from_peers),
            object.blocks_due,
            object.blocks_late,
            object.blocks_lost,
            self.past_text(),
        )
    }

    /// Where the blocks of those who watched the past came from (report Table
    /// 4-2); empty if nobody did.
    fn past_text(&self) -> String {
        let past = self.past();
        if past.is_empty() {
            return String::new();
        }
        let widest = past.iter().map(|row| row.name.len()).max().unwrap_or(0).max("past".len());
        let head = ["past", "peers", "emergency", "failed", "no owner", "lost"];
        let line = |cells: [&str; 6]| {
            let [name, counts @ ..] = cells;
            let counts: String = counts.iter().map(|cell| format!("  {cell:>9}")).collect();
            format!("{name:<widest$}{counts}\n")
        };
        let rows = past.iter().map(|row| {
            let PastBlocks { peer, emergency, failed, no_owner, lost, .. } = row.blocks;
            let counts = [peer, emergency, failed, no_owner, lost].map(|n| n.to_string());
            let [peer, emergency, failed, no_owner, lost] = counts.each_ref().map(|n| &n[..]);
            line([row.name, peer, emergency, failed, no_owner, lost])
        });
        line(head) + &rows.collect::<String>()
    }

    fn past(&self) -> Vec<PastRow<'_>> {
        let watched = |o: &&Outcome| o.stats.shift.received() + o.stats.shift.lost > 0;
        let watched = self.outcomes.iter().filter(watched);
        watched.map(|o| PastRow { name: &o.name, blocks: PastBlocks::of(&o.stats) }).collect()
    }

    fn spread(&self, of: impl Fn(&Stats) -> Option<Duration>) -> Spread {
        let mut all: Vec<_> = self.outcomes.iter().filter_map(|o| of(&o.stats)).collect();
        all.sort_unstable();
        // Nearest rank: a value that some viewer really had.
        let rank =
            |percent: usize| all.get((all.len() * percent).div_ceil(100).max(1) - 1).copied();
        Spread { p50: rank(50), p95: rank(95) }
    }

    fn object(&self) -> Object<'_> {
        let stats = || self.outcomes.iter().map(|o| &o.stats);
        let sum = |of: fn(&Stats) -> u64| stats().map(of).sum::<u64>();
        let (startup, delay) = (self.spread(|s| s.startup), self.spread(|s| s.playout_delay));
        let continuity = |s: &Stats| if s.startup.is_some() { s.continuity() } else { 0.0 };
        let (peers, provider) = (sum(|s| s.from_peers), sum(|s| s.from_provider));
        Object {
            kind: "summary",
            elapsed_ms: as_ms(self.elapsed),
            viewers: self.outcomes.len(),
            played: stats().filter(|s| s.startup.is_some()).count(),
            startup_p50_ms: startup.p50.map(as_ms),
            startup_p95_ms: startup.p95.map(as_ms),
            playout_delay_p50_ms: delay.p50.map(as_ms),
            playout_delay_p95_ms: delay.p95.map(as_ms),
            continuity_mean: stats().map(continuity).sum::<f64>()
                / self.outcomes.len().max(1) as f64,
            continuity_worst: stats().map(continuity).reduce(f64::min).unwrap_or(0.0),
            from_peers: peers as f64 / (peers + provider).max(1) as f64,
            blocks_due: sum(|s| s.due),
            blocks_late: sum(|s| s.late),
            blocks_lost: sum(|s| s.lost),
            past: self.past(),
            faults: self.faults(),
        }
    }
}

struct Spread {
    p50: Option<Duration>,
    p95: Option<Duration>,
}

/// Where one viewer's blocks of the past came from.
#[derive(Serialize)]
struct PastRow<'a> {
    name: &'a str,
    #[serde(flatten)]
    blocks: PastBlocks,
}

#[derive(Serialize)]
struct Object<'a> {
    kind: &'static str,
    elapsed_ms: u64,
    viewers: usize,
    played: usize,
    startup_p50_ms: Option<u64>,
    startup_p95_ms: Option<u64>,
    playout_delay_p50_ms: Option<u64>,
    playout_delay_p95_ms: Option<u64>,
    continuity_mean: f64,
    continuity_worst: f64,
    from_peers: f64,
    blocks_due: u64,
    blocks_late: u64,
    blocks_lost: u64,
    past: Vec<PastRow<'a>>,
    faults: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use eddy_core::stats::Shift;

    fn outcome(n: u64) -> Outcome {
        let stats = Stats {
            due: 1_024,
            on_time: 1_024 - n,
            late: n,
            startup: Some(Duration::from_millis(100 * n)),
            playout_delay: Some(Duration::from_millis(400 + n)),
            from_peers: 750,
            from_provider: 250,
            ..Stats::default()
        };
        Outcome { name: format!("viewer-{n}"), stats, alive: true }
    }

    fn summary() -> Summary {
        Summary { elapsed: Duration::from_millis(30_400), outcomes: (1..=4).map(outcome).collect() }
    }

    #[test]
    fn a_good_run_passes() {
        let summary = summary();
        assert_eq!(
            summary.text(false),
            "\n4 of 4 viewers played, in 30 s\n\
             start-up    p50 200 ms, p95 400 ms\n\
             delay       p50 402 ms, p95 404 ms\n\
             continuity  mean 99.75 %, worst 99.60 %\n\
             from peers  75.00 %\n\
             blocks      4096 due, 10 late, 0 lost\n\
             passed: every viewer played, no block was lost\n"
        );
        assert_eq!(summary.exit_code(), ExitCode::SUCCESS);
    }

    #[test]
    fn who_watched_the_past_has_a_row_of_sources() {
        let mut summary = summary();
        summary.outcomes[3].name = "past-4".into();
        summary.outcomes[3].stats.shift =
            Shift { peer: 1_200, emergency: 3, failed: 20, no_owner: 1, lost: 0 };
        let text = summary.text(false);
        assert!(
            text.contains(
                "past        peers  emergency     failed   no owner       lost\n\
                 past-4       1200          3         20          1          0\n\
                 passed"
            ),
            "{text}"
        );
        assert!(serde_json::to_string(&summary.object()).unwrap().contains(
            "\"past\":[{\"name\":\"past-4\",\"peer\":1200,\"emergency\":3,\"failed\":20,\
                 \"no_owner\":1,\"lost\":0,\"sent\":0}]"
        ));
    }

    #[test]
    fn a_lost_block_fails_the_run() {
        let mut summary = summary();
        summary.outcomes[1].stats.lost = 1;
        summary.outcomes[2].stats.lost = 2;
        assert!(
            summary
                .text(false)
                .ends_with("failed: viewer-2 lost 1 block; viewer-3 lost 2 blocks\n")
        );
        assert_eq!(summary.exit_code(), ExitCode::FAILURE);
    }

    #[test]
    fn a_viewer_that_never_played_or_died_fails_the_run() {
        let mut summary = summary();
        summary.outcomes[0].stats = Stats::default();
        summary.outcomes[3].alive = false;
        let text = summary.text(false);
        assert!(text.starts_with("\n3 of 4 viewers played"), "{text}");
        assert!(text.contains("worst 0.00 %"), "{text}");
        assert!(
            text.ends_with("failed: viewer-1 never played; viewer-4 ended before its time\n"),
            "{text}"
        );
        assert_eq!(summary.exit_code(), ExitCode::FAILURE);
    }

    #[test]
    fn nobody_is_no_success() {
        let nobody = Summary { elapsed: Duration::ZERO, outcomes: vec![] };
        assert!(nobody.text(false).contains("start-up    -\n"));
        assert_eq!(nobody.exit_code(), ExitCode::FAILURE);
    }

    #[test]
    fn json_has_it_all_on_one_line() {
        assert_eq!(
            serde_json::to_string(&summary().object()).unwrap(),
            "{\"kind\":\"summary\",\"elapsed_ms\":30400,\"viewers\":4,\"played\":4,\"startup_p50_ms\":200,\
             \"startup_p95_ms\":400,\"playout_delay_p50_ms\":402,\"playout_delay_p95_ms\":404,\
             \"continuity_mean\":0.99755859375,\"continuity_worst\":0.99609375,\"from_peers\":0.75,\
             \"blocks_due\":4096,\"blocks_late\":10,\"blocks_lost\":0,\"past\":[],\"faults\":[]}"
        );
    }
}
