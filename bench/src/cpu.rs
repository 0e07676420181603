//! CPU time of a thread.

use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// CPU time, user and system, that the calling thread has used so far.
///
/// # Errors
/// Those of the operating system if it has no such clock.
pub fn thread_cpu() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
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
