//! CPU time of a thread.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What the kernel counts other threads' time in.
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system, that the calling thread has used so far.
///
/// # Errors
/// Those of the operating system if it has no such clock.
pub fn thread_cpu() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// CPU time that all threads of this process have used so far whose names begin
/// so: an asynchronous runtime polls on threads of its own, too.
///
/// # Errors
/// Those of the file system: `/proc` is Linux's.
pub fn helpers_cpu(name: &str) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end meanwhile.
        let read = |file| fs::read_to_string(task.join(file)).unwrap_or_default();
        if read("comm").starts_with(name) {
            // After the name in brackets, user and system time are fields 12 and 13.
            let stat = read("stat");
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let ticks: u64 = fields.skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
            sum += TICK * ticks as u32;
        }
    }
    Ok(sum)
}

/// CPU time that the calling thread spends in `work`.
///
/// # Errors
/// See [`thread_cpu`].
pub fn cost(work: impl FnOnce()) -> io::Result<Duration> {
    let before = thread_cpu()?;
    work();
    Ok(thread_cpu()?.saturating_sub(before))
}

/// Runs both in turn, A B A B ..., and returns the smallest cost of each.
///
/// # Errors
/// The first error of a run.
pub fn interleave(
    runs: usize,
    mut a: impl FnMut() -> io::Result<Duration>,
    mut b: impl FnMut() -> io::Result<Duration>,
) -> io::Result<(Duration, Duration)> {
    let (mut least_a, mut least_b) = (Duration::MAX, Duration::MAX);
    for _ in 0..runs {
        least_a = least_a.min(a()?);
        least_b = least_b.min(b()?);
    }
    Ok((least_a, least_b))
}

/// `count` a CPU second.
#[must_use]
pub fn rate(count: f64, cost: Duration) -> f64 {
    count / cost.as_secs_f64().max(1e-9)
}
