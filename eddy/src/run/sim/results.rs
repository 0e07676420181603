//! What came of runs: lines, tables, and the files of a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use eddy_sim::lab::metrics::about;
use eddy_sim::lab::pictures::pictures;
use eddy_sim::lab::plot::WriteError;
use eddy_sim::lab::table::{Verdict, table};
use eddy_sim::lab::{Batch, Done, Files, Job, Scenario, Sheet, table::Spread};
use serde_json::{Map, Value, json};

use crate::run::RunError;
use crate::run::record::MADE_BY;
use crate::ui::Ui;

/// Results so far, and where they go.
pub(super) struct Results {
    out: Option<PathBuf>,
    commit: String,
    lines: String,
    chapters: String,
    cut_short: bool,
    took: Duration,
    /// Why there are no pictures as PNG.
    without_png: Option<String>,
}

/// A run in a line, and as an object.
pub(super) fn line(plan: &Scenario, done: &Done, ui: &Ui) {
    let figure = |name: &str| {
        let (unit, _) = about(name)?;
        done.metrics.get(name).map(|v| format!("{name} {}", unit.show(*v)))
    };
    let shown = ["continuity", "startup_p95", "delay_mean", "past_peer_share", "published_r"];
    let figures: Vec<String> = shown.into_iter().filter_map(figure).collect();
    ui.result(
        &format!(
            "{} {} seed {}: {}; {} events, {:.0} a CPU second, {:.1} s; event hash {:016x}, metric hash {:016x}{}\n",
            plan.id,
            done.job.preset,
            done.job.seed,
            figures.join(", "),
            done.outcome.events,
            done.events_per_second(),
            done.wall.as_secs_f64(),
            done.outcome.hash,
            done.metric_hash,
            if done.outcome.cut_short { "; CUT SHORT" } else { "" },
        ),
        &object(plan, done, &commit()),
    );
}

fn object(plan: &Scenario, done: &Done, commit: &str) -> Value {
    let metrics: Map<String, Value> =
        done.metrics.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "scenario": plan.id,
        "preset": done.job.preset,
        "seed": done.job.seed,
        "commit": commit,
        "metrics": metrics,
        "event_hash": format!("{:016x}", done.outcome.hash),
        "metric_hash": format!("{:016x}", done.metric_hash),
        "events": done.outcome.events,
        "events_per_cpu_second": done.events_per_second().round(),
        "cpu_seconds": done.cpu.as_secs_f64(),
        "seconds": done.wall.as_secs_f64(),
        "cut_short": done.outcome.cut_short,
    })
}

/// The commit of the folder that the program runs in, or its version.
fn commit() -> String {
    let git = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let told = git.ok().filter(|o| o.status.success()).map(|o| o.stdout);
    let told = told.and_then(|bytes| String::from_utf8(bytes).ok());
    told.map_or(MADE_BY.to_owned(), |hash| hash.trim().to_owned())
}

/// Node-seconds that this machine simulates in a second, roughly.
pub(super) fn speed() -> Result<f64, RunError> {
    const SAMPLE: &str = "id = 'speed'\ntitle = ''\nspan = '20s'\n\
        [[viewers]]\nname = 'live'\ncount = 48\narrive.over = '5s'\n";
    let fault = |e: &dyn std::fmt::Display| RunError::new(e.to_string(), "report this");
    let scenario =
        Sheet::read(SAMPLE).and_then(|s| s.layered("default", &[])).map_err(|e| fault(&e))?;
    let job = Job { preset: "default".to_owned(), seed: 1, scenario, keeping: Default::default() };
    let began = Instant::now();
    Batch::new(vec![job], Files::default()).run(1);
    Ok(48.0 * 20.0 / began.elapsed().as_secs_f64())
}

impl Results {
    /// # Errors
    /// [`RunError`] if the folder cannot be made.
    pub(super) fn new(out: Option<&Path>) -> Result<Self, RunError> {
        if let Some(out) = out {
            fs::create_dir_all(out).map_err(|e| cannot_write(out, &e))?;
        }
        Ok(Self {
            out: out.map(Path::to_owned),
            commit: commit(),
            lines: String::new(),
            chapters: String::new(),
            cut_short: false,
            took: Duration::ZERO,
            without_png: None,
        })
    }

    /// Whether a run was ended before its time.
    pub(super) fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Some runs never began.
    pub(super) fn cut_short(&mut self) {
        self.cut_short = true;
    }

    /// Shows the table of a scenario and takes it into the files, with the
    /// `command` that makes the runs again. `true` if a target was missed.
    pub(super) fn add(
        &mut self,
        plan: &Scenario,
        presets: &[String],
        done: Vec<Done>,
        took: Duration,
        command: &str,
        ui: &Ui,
    ) -> Result<bool, RunError> {
        self.cut_short |= done.iter().any(|d| d.outcome.cut_short);
        self.took += took;
        let whole = table(plan, presets, &done, true);
        ui.result(&format!("\n{whole}\n"), &json!({ "table": plan.id }));
        for done in &done {
            self.lines += &format!("{}\n", object(plan, done, &self.commit));
        }
        let pictures = self.draw(plan, presets, &done)?;
        self.chapter(plan, presets, &done, took, command, &pictures);
        let missed = plan.targets.iter().any(|target| {
            let of = done.iter().filter(|d| d.job.preset == target.preset);
            presets.contains(&target.preset)
                && matches!(
                    target.verdict(Spread::of(of, &target.metric)),
                    Verdict::Missed | Verdict::Unknown
                )
        });
        Ok(missed)
    }

    /// Draws the plots, if there is a folder for them. Returns their names.
    fn draw(
        &mut self,
        plan: &Scenario,
        presets: &[String],
        done: &[Done],
    ) -> Result<Vec<String>, RunError> {
        let Some(folder) = self.out.as_ref().map(|out| out.join("plots")) else {
            return Ok(Vec::new());
        };
        fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, &e))?;
        let mut names = Vec::new();
        for (name, plot) in pictures(plan, presets, done) {
            match plot.write(&folder, &name) {
                Ok(()) => {}
                Err(WriteError::Svg(e)) => return Err(cannot_write(&folder.join(name), &e)),
                // The picture is there all the same.
                Err(e) => self.without_png = Some(e.to_string()),
            }
            names.push(name);
        }
        Ok(names)
    }

    fn chapter(
        &mut self,
        plan: &Scenario,
        presets: &[String],
        done: &[Done],
        took: Duration,
        command: &str,
        pictures: &[String],
    ) {
        let seeds: std::collections::BTreeSet<u64> = done.iter().map(|d| d.job.seed).collect();
        let (first, last) =
            (seeds.first().copied().unwrap_or(0), seeds.last().copied().unwrap_or(0));
        let events: u64 = done.iter().map(|d| d.outcome.events).sum();
        let cpu: f64 = done.iter().map(|d| d.cpu.as_secs_f64()).sum();
        let text = &mut self.chapters;
        text.push_str(&format!("## {}: {}\n\n{}\n\n", plan.id, plan.title, plan.about.trim()));
        if !plan.findings.is_empty() {
            text.push_str(&format!("**What it shows.** {}\n\n", plan.findings.trim()));
        }
        text.push_str(&format!("{}\n", table(plan, presets, done, false)));
        text.push_str(&format!(
            "`{command} --seeds {first}..{last}`: {events} events, {:.0} a CPU second, {} of CPU, {} in all{}.\n",
            events as f64 / cpu.max(1e-9),
            super::about(cpu),
            super::about(took.as_secs_f64()),
            if self.cut_short { "; ended before its time" } else { "" },
        ));
        for published in &plan.published {
            text.push_str(&format!("Published `{}`: {}.\n", published.metric, published.source));
        }
        text.push('\n');
        for picture in pictures {
            let name = picture.trim_start_matches(&plan.id).trim_start_matches('-');
            text.push_str(&format!("[{name}](plots/{picture}.svg) "));
        }
        text.push('\n');
    }

    /// Writes the files, if there is a folder for them.
    ///
    /// # Errors
    /// [`RunError`] if it cannot be written.
    pub(super) fn write(&self, ui: &Ui) -> Result<(), RunError> {
        let Some(out) = &self.out else { return Ok(()) };
        let head = format!(
            "# Results\n\nMade by `eddy sim` at commit {}, in {} with the runs of each scenario side by side. Each \
             figure is the median over the seeds, with the least and the greatest in brackets; what a figure means stands in \
             [EXPERIMENTS.md](EXPERIMENTS.md). Each run as a line of JSON, with all its figures: \
             [runs.jsonl](runs.jsonl).\n\n",
            self.commit,
            super::about(self.took.as_secs_f64()),
        );
        for (name, text) in
            [("RESULTS.md", head + &self.chapters), ("runs.jsonl", self.lines.clone())]
        {
            let path = out.join(name);
            fs::write(&path, text).map_err(|e| cannot_write(&path, &e))?;
        }
        let png = self.without_png.as_ref().map(|why| format!("; no PNG: {why}"));
        let text = format!("results are in {}{}\n", out.display(), png.unwrap_or_default());
        ui.result(&text, &json!({ "results": out.display().to_string() }));
        Ok(())
    }
}

fn cannot_write(path: &Path, e: &std::io::Error) -> RunError {
    RunError::new(
        format!("cannot write {}: {e}", path.display()),
        "check that its folder is there and can be written, or give another one with --out",
    )
}
