//! The nodes of a swarm, a process each, and what they use.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::run::RunError;
use crate::settings::GlobalSettings;

/// How long the channel may take to be listed.
const LISTED_WITHIN: Duration = Duration::from_secs(10);
/// How long a node may take to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(6);

/// What a process has used so far, and holds now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    /// Resident bytes, with what is shared.
    pub(super) rss: u64,
    /// Resident bytes, what is shared split among those who share it.
    pub(super) pss: u64,
}

/// Child processes, ended when this is dropped; their state is in a folder
/// that goes with them.
pub(super) struct Nodes {
    program: PathBuf,
    dir: PathBuf,
    /// What all nodes are told, as the bench itself was.
    options: Vec<String>,
    children: Vec<Child>,
    /// The logs of a failure are worth more than a tidy folder.
    keep: bool,
}

impl Nodes {
    pub(super) fn new(global: &GlobalSettings, run: u32) -> Result<Self, RunError> {
        let program = std::env::current_exe().map_err(|e| {
            RunError::new(format!("cannot find this program itself: {e}"), "start it by its path")
        })?;
        let name = format!("eddy-bench-{}-{run}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).map_err(|e| {
            let what = format!("cannot make the folder {}: {e}", dir.display());
            RunError::new(what, "set TMPDIR to a folder that can be written")
        })?;
        let options = [option("--preset", global.preset), option("--runtime", global.runtime)];
        let options = options.into_iter().flatten().collect();
        Ok(Self { program, dir, options, children: Vec::new(), keep: false })
    }

    /// Starts a node with a log and a state folder of its own; its number.
    pub(super) fn start(
        &mut self,
        name: &str,
        args: &[impl AsRef<OsStr>],
    ) -> Result<usize, RunError> {
        let failed = |e| RunError::new(format!("cannot start {name}: {e}"), "close other programs");
        let log = fs::File::create(self.dir.join(format!("{name}.log"))).map_err(failed)?;
        let child = self.command(name, args).stderr(log).spawn().map_err(failed)?;
        self.children.push(child);
        Ok(self.children.len() - 1)
    }

    fn command(&self, name: &str, args: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .args(&self.options)
            .arg("--state")
            .arg(self.dir.join(name))
            .arg("--quiet")
            // Without a home nothing is kept: it is the live stream that is measured.
            .env_remove("HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Waits until the bootstrap server lists a channel.
    pub(super) fn wait_for_channel(
        &mut self,
        server: &SocketAddr,
        channel: &str,
    ) -> Result<(), RunError> {
        let deadline = Instant::now() + LISTED_WITHIN;
        while Instant::now() < deadline {
            let list = Command::new(&self.program)
                .args(["channels", "--json", "--bootstrap", &server.to_string()])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output();
            let found =
                |o: std::process::Output| String::from_utf8_lossy(&o.stdout).contains(channel);
            if list.is_ok_and(found) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.keep = true;
        let what = format!("the channel was not listed within {LISTED_WITHIN:?}");
        Err(RunError::new(what, format!("the logs in {} may tell why", self.dir.display())))
    }

    /// What each process has used, in the order they were started; zero for
    /// those that are gone.
    pub(super) fn usage(&self) -> Result<Vec<Usage>, RunError> {
        Ok(self.children.iter().map(|c| usage(c.id()).unwrap_or_default()).collect())
    }

    /// Has a node leave, and waits until it has.
    pub(super) fn end(&mut self, node: usize) {
        if let Some(child) = self.children.get_mut(node) {
            interrupt(child);
            wait(child, Instant::now() + LEAVE_WITHIN);
        }
    }

    /// Has all nodes leave.
    pub(super) fn stop(&mut self) {
        self.children.iter_mut().for_each(interrupt);
        let deadline = Instant::now() + LEAVE_WITHIN;
        self.children.iter_mut().for_each(|c| wait(c, deadline));
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop();
        if !self.keep {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// An option as it stands on a command line.
fn option(name: &str, value: impl ValueEnum) -> Option<String> {
    value.to_possible_value().map(|value| format!("{name}={}", value.get_name()))
}

fn interrupt(child: &mut Child) {
    if let Ok(None) = child.try_wait() {
        // One that ended meanwhile needs no signal.
        let _gone = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
    }
}

/// Waits for a process; one that does not end by the deadline is ended.
fn wait(child: &mut Child, deadline: Instant) {
    while let Ok(None) = child.try_wait() {
        if Instant::now() >= deadline {
            drop(child.kill());
            drop(child.wait());
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn usage(process: u32) -> Option<Usage> {
    // The process's own CPU clock counts nanoseconds, where /proc counts ticks.
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(process as i32)).ok()?;
    let cpu = Duration::from(clock.now().ok()?);
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
    Some(Usage {
        cpu,
        rss: kilobytes(&status, "VmRSS:")?,
        pss: kilobytes(&rollup, "Pss:").unwrap_or(0),
    })
}

fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with(key))?;
    let number: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::settings::{Environment, Settings};
    use clap::Parser as _;

    #[test]
    fn nodes_run_with_the_preset_and_the_driver_of_the_bench() {
        let settings = |args: &[&OsStr]| {
            let cli = Cli::try_parse_from([&[OsStr::new("eddy")], args].concat()).unwrap();
            Settings::new(cli, &Environment::default()).unwrap().global
        };
        let told = ["bench", "swarm", "--viewers=1", "--rate=1", "--preset=report"];
        let told = told.into_iter().chain(["--runtime=async-std"]).map(OsStr::new);
        let bench = settings(&told.collect::<Vec<_>>());
        let nodes = Nodes::new(&bench, u32::MAX).unwrap();
        let command = nodes.command("server", &["bootstrap"]);
        let node = settings(&command.get_args().collect::<Vec<_>>());
        assert_eq!((node.preset, node.runtime), (bench.preset, bench.runtime));
    }
}
