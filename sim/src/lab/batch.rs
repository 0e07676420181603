//! Many runs of a scenario: seeds and presets side by side, a thread each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::draw::Files;
use super::metrics::{Metrics, fingerprint, metrics};
use super::outcome::Outcome;
use super::reading::ScenarioError;
use super::run::{Making, Watch, run};
use super::scenario::Scenario;
use crate::queue::Keeping;

/// One run to make.
#[derive(Clone, Debug)]
pub struct Job {
    /// The preset's name.
    pub preset: String,
    /// Fixes the run.
    pub seed: u64,
    /// What to run.
    pub scenario: Scenario,
    /// What keeps the queue of events.
    pub keeping: Keeping,
}

/// What came of one.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was run.
    pub job: Job,
    /// Its figures.
    pub metrics: Metrics,
    /// Of these figures: equal for equal runs.
    pub metric_hash: u64,
    /// All of it.
    pub outcome: Outcome,
    /// Processor time that it took.
    pub cpu: Duration,
    /// How long it took.
    pub wall: Duration,
}

impl Done {
    /// Events in a second of processor time.
    pub fn events_per_second(&self) -> f64 {
        self.outcome.events as f64 / self.cpu.as_secs_f64()
    }
}

/// Why a run came to nothing.
#[derive(Clone, Debug)]
pub enum Failed {
    /// The scenario cannot be run.
    Scenario(ScenarioError),
    /// A machine broke the contract, or something is wrong in here: the text
    /// says what, where and when.
    Broken(String),
}

/// The runs of a batch as they stand, for somebody who waits.
#[derive(Debug)]
pub struct Batch {
    jobs: Vec<Job>,
    watches: Vec<Watch>,
    files: Files,
}

impl Batch {
    /// Nothing runs yet.
    pub fn new(jobs: Vec<Job>, files: Files) -> Self {
        let watches = jobs.iter().map(|_| Watch::default()).collect();
        Self { jobs, watches, files }
    }

    /// Virtual seconds that are over, and all there are, weighed by viewers:
    /// about as much work is done.
    pub fn progress(&self) -> (f64, f64) {
        let work = |job: &Job, seconds: f64| {
            let viewers: usize = job.scenario.viewers.iter().map(|g| g.count).sum();
            seconds * (1 + viewers) as f64
        };
        self.jobs.iter().zip(&self.watches).fold((0.0, 0.0), |(done, all), (job, watch)| {
            let over = watch.seconds.load(Ordering::Relaxed) as f64;
            let span = job.scenario.span.0.as_secs_f64();
            (done + work(job, over.min(span)), all + work(job, span))
        })
    }

    /// Ends all runs within a virtual second; they give what they have.
    pub fn stop(&self) {
        self.watches.iter().for_each(|w| w.stop.store(true, Ordering::Relaxed));
    }

    /// Runs all, `threads` at a time, and returns them in the order given.
    pub fn run(&self, threads: usize) -> Vec<Result<Done, Failed>> {
        let next = Mutex::new(0..self.jobs.len());
        let done: Vec<Mutex<Option<Result<Done, Failed>>>> =
            self.jobs.iter().map(|_| Mutex::new(None)).collect();
        thread::scope(|scope| {
            for _ in 0..threads.clamp(1, self.jobs.len().max(1)) {
                scope.spawn(|| {
                    loop {
                        let taken = next.lock().map(|mut n| n.next());
                        let Ok(Some(n)) = taken else { return };
                        let result = one(&self.jobs[n], &self.files, &self.watches[n]);
                        if let Ok(mut place) = done[n].lock() {
                            *place = Some(result);
                        }
                    }
                });
            }
        });
        let lost = || Err(Failed::Broken("the run's thread ended without a word".to_owned()));
        done.into_iter()
            .map(|place| place.into_inner().ok().flatten().unwrap_or_else(lost))
            .collect()
    }
}

fn one(job: &Job, files: &Files, watch: &Watch) -> Result<Done, Failed> {
    let how = Making { seed: job.seed, keeping: job.keeping, files: files.clone(), trace: None };
    let (began, cpu) = (Instant::now(), cpu_time());
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&job.scenario, &how, watch)))
        .map_err(|panic| Failed::Broken(words(panic.as_ref())))?
        .map_err(Failed::Scenario)?;
    let wall = began.elapsed();
    let cpu = match (cpu, cpu_time()) {
        (Some(before), Some(after)) => after.saturating_sub(before),
        _ => wall,
    };
    let figures = metrics(&job.scenario, &outcome);
    let metric_hash = fingerprint(&figures);
    Ok(Done { job: job.clone(), metrics: figures, metric_hash, outcome, cpu, wall })
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// Processor time of this thread, where Linux tells it.
fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
