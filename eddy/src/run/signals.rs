//! Ctrl-C, SIGTERM and the end of the terminal: the first one asks, the second
//! one insists.

use std::fs;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::run::RunError;
use crate::run::node::Told;
use crate::ui::Ui;

/// What a shell reports of a program that Ctrl-C ended.
pub(super) const INTERRUPTED: u8 = 130;

/// Signals that come so close together are one wish: `timeout` and terminals
/// send theirs to the process and to its group.
const ONE_WISH: Duration = Duration::from_millis(200);

/// Does `work` while the first signal goes to `tell`; a second one ends the
/// process at once.
pub(super) fn watched<T>(
    ui: &Ui,
    tell: impl Fn(Told) + Send,
    work: impl FnOnce() -> Result<T, RunError>,
) -> Result<T, RunError> {
    let watches = [SIGINT, SIGTERM].into_iter().chain((!under_nohup()).then_some(SIGHUP));
    let mut signals = Signals::new(watches).map_err(|e| {
        RunError::new(format!("cannot watch for Ctrl-C: {e}"), "close other programs")
    })?;
    let watch = Watch(signals.handle());
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut first = None;
            for _ in signals.forever() {
                match first {
                    None => {
                        first = Some(Instant::now());
                        tell(Told::Interrupt);
                    }
                    Some(then) if then.elapsed() < ONE_WISH => {}
                    Some(_) => {
                        ui.finish_unless_stuck();
                        process::exit(INTERRUPTED.into());
                    }
                }
            }
        });
        let _watch = watch;
        work()
    })
}

/// Whether the end of the terminal is to be ignored, as `nohup` has it. What
/// the system does not tell is taken for a no.
fn under_nohup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}

/// Ends the watch when it is dropped, even by a panic: the scope waits for it.
struct Watch(Handle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}
