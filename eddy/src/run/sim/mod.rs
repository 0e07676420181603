//! `eddy sim`: experiments in virtual time.

mod results;

use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use eddy_sim::lab::{
    Batch, Done, Failed, Files, Job, Making, Seeds, Sheet, Trace, Watch, library, run,
};
use eddy_sim::{Keeping, NodeIx};

use self::results::{Results, line};
use crate::cli::{Preset, Sim, SimAllOptions, SimHow, SimReplayOptions, SimRunOptions};
use crate::run::RunError;
use crate::run::node::Told;
use crate::run::signals::{INTERRUPTED, watched};
use crate::ui::Ui;

/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(500);
/// `eddy sim replay` without `--until`.
const ALL: Duration = Duration::from_secs(86_400);

/// `eddy sim`
///
/// # Errors
/// [`RunError`] if a scenario cannot be read or run, or a target is missed that
/// must be met.
pub fn sim(what: &Sim, preset: Option<Preset>, ui: &Ui) -> Result<ExitCode, RunError> {
    match what {
        Sim::List => list(ui),
        Sim::Show { scenario } => show(scenario, ui),
        Sim::Run(own) => run_one(own, preset, ui),
        Sim::All(own) => run_all(own, preset, ui),
        Sim::Replay(own) => replay(own, ui),
    }
}

/// A scenario as it was named: a file, or one that comes with the program.
struct Named {
    sheet: Sheet,
    files: Files,
}

impl Named {
    fn open(name: &str) -> Result<Self, RunError> {
        let path = Path::new(name);
        let is_file = path.is_file() || name.ends_with(".toml");
        let (text, files) = match library::scenario(name) {
            Some(text) if !is_file => (text.to_owned(), Files::default()),
            _ if is_file => {
                let text = std::fs::read_to_string(path).map_err(|e| {
                    RunError::new(format!("cannot read {name}: {e}"), "check the path")
                })?;
                (text, Files(path.parent().map(Path::to_owned)))
            }
            _ => {
                return Err(RunError::new(
                    format!("there is no scenario {name:?}"),
                    "see `eddy sim list`, or give a file whose name ends in .toml",
                ));
            }
        };
        let sheet = Sheet::read(&text).map_err(|e| {
            RunError::new(
                format!("{name}: {e}"),
                "docs/EXPERIMENTS.md tells what a scenario can say",
            )
        })?;
        Ok(Self { sheet, files })
    }

    /// All runs of some presets and seeds.
    fn jobs(
        &self,
        presets: &[String],
        changes: &[String],
        seeds: Option<&Seeds>,
        keeping: Keeping,
    ) -> Result<Vec<Job>, RunError> {
        let mut jobs = Vec::new();
        for preset in presets {
            let scenario = self.sheet.layered(preset, changes).map_err(|e| {
                RunError::new(e.to_string(), "docs/EXPERIMENTS.md tells what a scenario can say")
            })?;
            for seed in seeds.unwrap_or(&scenario.seeds).0.clone() {
                jobs.push(Job {
                    preset: preset.clone(),
                    seed,
                    scenario: scenario.clone(),
                    keeping,
                });
            }
        }
        Ok(jobs)
    }

    fn presets(&self, named: &[String], one: Option<Preset>) -> Vec<String> {
        match (named, one) {
            ([], Some(Preset::Default)) => vec!["default".to_owned()],
            ([], Some(Preset::Report)) => vec!["report".to_owned()],
            ([], None) => self.sheet.presets(),
            (named, _) => named.to_vec(),
        }
    }
}

fn list(ui: &Ui) -> Result<ExitCode, RunError> {
    for (id, text) in library::SCENARIOS {
        let named = Sheet::read(text).map_err(|e| RunError::new(e.to_string(), "report this"))?;
        let plan = named.scenario();
        let quick = if plan.quick { ", quick" } else { "" };
        let viewers: usize = plan.viewers.iter().map(|g| g.count).sum();
        let span = plan.span.0.as_secs();
        ui.result(
            &format!("{id:<6} {} ({viewers} viewers, {span} s{quick})\n", plan.title),
            &serde_json::json!({ "id": id, "title": plan.title, "viewers": viewers, "seconds": span, "quick": plan.quick }),
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str, ui: &Ui) -> Result<ExitCode, RunError> {
    let text = library::scenario(name).ok_or_else(|| {
        RunError::new(format!("there is no scenario {name:?}"), "see `eddy sim list`")
    })?;
    ui.result(text, &serde_json::json!({ "scenario": text }));
    Ok(ExitCode::SUCCESS)
}

fn keeping(how: &SimHow) -> Keeping {
    if how.heap { Keeping::Heap } else { Keeping::Wheel }
}

fn run_one(own: &SimRunOptions, preset: Option<Preset>, ui: &Ui) -> Result<ExitCode, RunError> {
    let named = Named::open(&own.scenario)?;
    let presets = named.presets(&own.presets, preset);
    let mut results = Results::new(own.how.out.as_deref())?;
    let good = experiment(&named, &presets, own, &mut results, ui)?;
    results.write(ui)?;
    Ok(ended(good, &results))
}

/// What a shell is told: Ctrl-C goes before all else, for what was cut short
/// neither failed nor held.
fn ended(good: bool, results: &Results) -> ExitCode {
    match (results.is_cut_short(), good) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

fn run_all(own: &SimAllOptions, preset: Option<Preset>, ui: &Ui) -> Result<ExitCode, RunError> {
    let wanted =
        |id: &str| own.only.is_empty() || own.only.iter().any(|o| o.eq_ignore_ascii_case(id));
    if let Some(unknown) = own.only.iter().find(|o| library::scenario(o).is_none()) {
        return Err(RunError::new(
            format!("there is no scenario {unknown:?}"),
            "see `eddy sim list`",
        ));
    }
    let mut all = Vec::new();
    for (id, _) in library::SCENARIOS {
        let named = Named::open(id)?;
        let quick = named.sheet.scenario().quick || !own.only.is_empty();
        if wanted(id) && (quick || !own.quick) {
            all.push((id, named));
        }
    }
    ui.progress("measuring how long it will take");
    let (threads, speed) = (threads(&own.how), results::speed()?);
    let seconds: f64 =
        all.iter().map(|(_, named)| named.work(own.quick)).sum::<f64>() / speed / threads as f64;
    let seconds = if own.how.twice { seconds * 2.0 } else { seconds };
    ui.result(
        &format!(
            "{} scenarios, about {} with {threads} runs at a time\n",
            all.len(),
            about(seconds)
        ),
        &serde_json::json!({ "scenarios": all.len(), "seconds_expected": seconds.round() }),
    );
    let mut results = Results::new(own.how.out.as_deref())?;
    let mut good = true;
    for (id, named) in &all {
        let presets = named.presets(&[], preset);
        let run = SimRunOptions {
            scenario: (*id).to_string(),
            seeds: own.quick.then(|| named.first_seed()),
            presets: Vec::new(),
            changes: Vec::new(),
            how: own.how.clone(),
        };
        good &= experiment(named, &presets, &run, &mut results, ui)?;
        // What there is so far, should the rest be cut short.
        results.write(ui)?;
        if results.is_cut_short() {
            break;
        }
    }
    Ok(ended(good, &results))
}

impl Named {
    /// The first of its seeds alone.
    fn first_seed(&self) -> Seeds {
        let first = *self.sheet.scenario().seeds.0.start();
        Seeds(first..=first)
    }

    /// Node-seconds of all its runs, with so many seeds: a measure of the work.
    fn work(&self, quick: bool) -> f64 {
        let plan = self.sheet.scenario();
        let viewers: usize = plan.viewers.iter().map(|g| g.count).sum();
        let seeds = if quick { 1 } else { plan.seeds.0.end() - plan.seeds.0.start() + 1 };
        let runs = self.sheet.presets().len() as f64 * seeds as f64;
        viewers as f64 * plan.span.0.as_secs_f64() * runs
    }
}

fn about(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

fn threads(how: &SimHow) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    how.jobs.unwrap_or(processors).max(1)
}

/// Runs a scenario's presets and seeds and shows what came of it. `false` if a
/// target is missed that must be met, or if two equal runs differ.
fn experiment(
    named: &Named,
    presets: &[String],
    own: &SimRunOptions,
    results: &mut Results,
    ui: &Ui,
) -> Result<bool, RunError> {
    let how = &own.how;
    let mut jobs = named.jobs(presets, &own.changes, own.seeds.as_ref(), keeping(how))?;
    let plan = jobs.first().map_or(named.sheet.scenario(), |job| &job.scenario).clone();
    let once = jobs.len();
    if how.twice {
        let other = if how.heap { Keeping::Wheel } else { Keeping::Heap };
        jobs.extend(jobs.clone().into_iter().map(|job| Job { keeping: other, ..job }));
    }
    let began = Instant::now();
    let mut done = batch(jobs, &named.files, threads(how), &plan.id, ui)?;
    let again = done.split_off(once);
    // After Ctrl-C some never began.
    let begun = |one: &Done| one.outcome.events > 0;
    let cut_short = !done.iter().all(begun);
    let mut good = true;
    for (one, two) in done.iter().zip(&again) {
        let same = one.outcome.hash == two.outcome.hash && one.metric_hash == two.metric_hash;
        if !same && !one.outcome.cut_short && !two.outcome.cut_short {
            good = false;
            ui.result(
                &format!(
                    "DIFFERENT: {} {} seed {} is not the same on the wheel and the heap\n",
                    plan.id, one.job.preset, one.job.seed
                ),
                &serde_json::json!({ "different": [plan.id, one.job.preset, one.job.seed] }),
            );
        }
    }
    done.retain(begun);
    for one in &done {
        line(&plan, one, ui);
    }
    if cut_short {
        results.cut_short();
    }
    let chosen = (presets != named.sheet.presets()).then_some(presets);
    let command = command(&own.scenario, chosen, &own.changes);
    let missed = results.add(&plan, presets, done, began.elapsed(), &command, ui)?;
    Ok(good && !(how.strict && missed))
}

/// What makes the same runs again, but for the seeds.
fn command(scenario: &str, presets: Option<&[String]>, changes: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+=/,:%".contains(c);
    let quoted = |word: &str| match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    let presets = presets.map(|p| format!(" --presets {}", quoted(&p.join(","))));
    let changes: String = changes.iter().map(|c| format!(" --set {}", quoted(c))).collect();
    format!("eddy sim run {}{}{changes}", quoted(scenario), presets.unwrap_or_default())
}

/// Runs all jobs, shows how far they are, and ends them early at Ctrl-C.
fn batch(
    jobs: Vec<Job>,
    files: &Files,
    threads: usize,
    id: &str,
    ui: &Ui,
) -> Result<Vec<Done>, RunError> {
    let runs = jobs.len();
    let batch = Batch::new(jobs, files.clone());
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let done = watched(
        ui,
        |told| {
            if matches!(told, Told::Interrupt) {
                batch.stop();
            }
        },
        || {
            Ok(thread::scope(|scope| {
                let shower = scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let (done, all) = batch.progress();
                        let share = done / all.max(1.0);
                        let left = began.elapsed().as_secs_f64() * (1.0 - share) / share.max(1e-6);
                        let left = if share > 0.01 {
                            format!(", {} left", about(left))
                        } else {
                            String::new()
                        };
                        ui.progress(&format!("{id}: {:.0} % of {runs} runs{left}", share * 100.0));
                        thread::park_timeout(SHOW);
                    }
                });
                let done = batch.run(threads);
                over.store(true, Ordering::Relaxed);
                shower.thread().unpark();
                done
            }))
        },
    )?;
    done.into_iter()
        .map(|result| {
            result.map_err(|failed| match failed {
                Failed::Scenario(e) => {
                    RunError::new(format!("{id}: {e}"), "docs/EXPERIMENTS.md tells what a scenario can say")
                }
                Failed::Broken(what) => RunError::new(
                    format!("{id}: {what}"),
                    format!("see what the node did: eddy sim replay {id} --of PRESET --seed SEED --node NODE --until SECONDS"),
                ),
            })
        })
        .collect()
}

fn replay(own: &SimReplayOptions, ui: &Ui) -> Result<ExitCode, RunError> {
    let named = Named::open(&own.scenario)?;
    let seeds = Seeds(own.seed..=own.seed);
    let jobs = named.jobs(
        std::slice::from_ref(&own.of),
        &own.changes,
        Some(&seeds),
        Keeping::default(),
    )?;
    let mut plan = jobs[0].scenario.clone();
    let (from, until, span) = (own.from.0, own.until.0, plan.span.0);
    let seconds = |t: Duration| t.as_secs_f64();
    if from >= until {
        return Err(RunError::new(
            format!("--from {} is not before --until {}", seconds(from), seconds(until)),
            "give the earlier second to --from",
        ));
    }
    let last = if until == ALL { from } else { until };
    if from >= span || last > span {
        return Err(RunError::new(
            format!("second {} is past the end of the run", seconds(last)),
            format!(
                "it takes {} s: look before that, or --set span={}s",
                seconds(span),
                last.as_secs() + 1
            ),
        ));
    }
    // Nothing is to be seen after that.
    plan.span.0 = plan.span.0.min(own.until.0 + Duration::from_secs(1));
    plan.measure_from.0 = plan.measure_from.0.min(plan.span.0 / 2);
    let (tell, lines) = channel::<String>();
    let within = own.from.0..own.until.0;
    let seed = own.seed;
    let (node, files) = (NodeIx(own.node), named.files);
    let outcome = thread::scope(|scope| {
        // In a thread of its own: should the machine break its contract again, all
        // that it did before is shown all the same.
        let running = scope.spawn(move || {
            let trace =
                Trace { node, within, tell: Rc::new(move |line| drop(tell.send(line.to_owned()))) };
            let how = Making { seed, keeping: Keeping::default(), files, trace: Some(trace) };
            run(&plan, &how, &Watch::default())
        });
        for line in lines {
            ui.result(&format!("{line}\n"), &serde_json::json!({ "line": line }));
        }
        running.join()
    });
    let outcome = outcome
        .map_err(|_| {
            RunError::new("the run broke off, as it says above", "report it with these lines")
        })?
        .map_err(|e| {
            RunError::new(e.to_string(), "docs/EXPERIMENTS.md tells what a scenario can say")
        })?;
    if own.node >= outcome.nodes {
        let last = outcome.nodes.saturating_sub(1);
        return Err(RunError::new(
            format!("there is no node {}: until then there were 0 to {last}", own.node),
            "0 is the bootstrap server, then come the providers, then the viewers as they came",
        ));
    }
    ui.result(
        &format!("{} events, hash {:016x}\n", outcome.events, outcome.hash),
        &serde_json::json!({ "events": outcome.events, "event_hash": format!("{:016x}", outcome.hash) }),
    );
    Ok(ExitCode::SUCCESS)
}
