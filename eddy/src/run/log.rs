//! What nodes tell, as log lines.

use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::{BootstrapState, Fault, NodeId, Notice, Phase, Refusal, Time, Warning};
use tracing::{debug, error, info, warn};

/// Time between two lines about one kind of fault.
const FAULT_INTERVAL: Duration = Duration::from_secs(10);

/// The log of one node.
#[derive(Debug)]
pub(super) struct Log {
    node: String,
    /// Whether the bootstrap server was reached, and not lost since.
    reached: bool,
    faults: Faults,
}

impl Log {
    pub(super) fn of(node: impl Into<String>) -> Self {
        Self { node: node.into(), reached: false, faults: Faults::default() }
    }

    /// Logs a notice. `meanwhile` says what goes on without the bootstrap
    /// server.
    pub(super) fn notice(&mut self, now: Time, meanwhile: &str, notice: &Notice) {
        let node = &self.node;
        match notice {
            Notice::Channel(channel) => {
                info!(
                    node,
                    channel = %channel.name(),
                    key = %channel.key(),
                    block_ms = channel.block().as_millis() as u64,
                    sub_streams = channel.sub_streams(),
                    "channel known"
                );
            }
            Notice::Phase(phase) => info!(node, "{}", phase_text(*phase)),
            Notice::Bootstrap(state) => self.bootstrap(meanwhile, *state),
            Notice::NameTaken(name) => error!(
                node,
                "the channel name {name} belongs to another provider's key: viewers will not \
                 find this channel; give another name with --channel"
            ),
            Notice::Fault { node, remote, fault } => {
                self.faults.add(Peer { node: *node, remote: *remote, fault: *fault });
                self.faults(now);
            }
            Notice::Warning(w) => warn!(node, "{}", warning_text(*w)),
            Notice::Stats(_) => {
                debug!(node, "{notice:?}");
                self.faults(now);
            }
            other => debug!(node, "{other:?}"),
        }
    }

    /// Logs the troubles only: where many nodes share a log.
    pub(super) fn trouble(&mut self, now: Time, told: &Notice) {
        let is_trouble = matches!(
            told,
            Notice::Fault { .. }
                | Notice::Warning(_)
                | Notice::NameTaken(_)
                | Notice::Bootstrap(BootstrapState::Lost { .. })
        );
        if is_trouble {
            self.notice(now, "the rest goes on", told);
        }
    }

    /// Logs the faults whose turn it is. Call it once a second: a flood may
    /// end before a line about it is due.
    pub(super) fn faults(&mut self, now: Time) {
        for (Peer { node, remote, .. }, text) in self.faults.due(now) {
            let peer = node.map_or_else(|| "unknown".into(), |id| format!("{id:?}"));
            warn!(node = self.node, peer, %remote, "{text}");
        }
    }

    fn bootstrap(&mut self, meanwhile: &str, state: BootstrapState) {
        let node = &self.node;
        match state {
            BootstrapState::Reached { observed, connectable } => {
                let word = match connectable {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "not known yet",
                };
                // It answers first, then calls back, and then tells how that went.
                match called_back(connectable).filter(|_| self.reached) {
                    Some(text) => info!(node, connectable = word, "{text}"),
                    None => info!(node, %observed, connectable = word, "bootstrap server reached"),
                }
                self.reached = true;
            }
            BootstrapState::Lost { retry_in } => {
                let advice = match self.reached {
                    true => "",
                    false => "; check its address, and whether `eddy bootstrap` runs there",
                };
                self.reached = false;
                warn!(
                    node,
                    "bootstrap server does not answer; trying again in {}; {meanwhile}{advice}",
                    seconds(retry_in)
                );
            }
            _ => {}
        }
    }
}

/// What peers did. Of each kind of fault the first is told at once; what
/// follows is summed up, for a flood of hostile connections must not become
/// one of log lines.
#[derive(Debug, Default)]
struct Faults(Vec<Kind>);

#[derive(Debug)]
struct Kind {
    last: Peer,
    untold: u64,
    told: Option<Time>,
}

/// Who did what.
#[derive(Clone, Copy, Debug)]
struct Peer {
    node: Option<NodeId>,
    remote: SocketAddr,
    fault: Fault,
}

impl Faults {
    fn add(&mut self, peer: Peer) {
        let kind = mem::discriminant(&peer.fault);
        match self.0.iter_mut().find(|k| mem::discriminant(&k.last.fault) == kind) {
            Some(known) => {
                known.untold += 1;
                known.last = peer;
            }
            None => self.0.push(Kind { last: peer, untold: 1, told: None }),
        }
    }

    /// What is to be told now, each kind with its last peer.
    fn due(&mut self, now: Time) -> impl Iterator<Item = (Peer, String)> {
        let turn = move |told: Option<Time>| told.is_none_or(|at| now.since(at) >= FAULT_INTERVAL);
        self.0.iter_mut().filter(move |kind| kind.untold > 0 && turn(kind.told)).map(move |kind| {
            let text = fault_text(kind.last.fault);
            let text = match (kind.untold, kind.told) {
                (times @ 2.., Some(at)) => {
                    format!("{text}; {times} times in {}", seconds(now.since(at)))
                }
                _ => text,
            };
            (kind.untold, kind.told) = (0, Some(now));
            (kind.last, text)
        })
    }
}

fn called_back(connectable: Option<bool>) -> Option<&'static str> {
    connectable.map(|connectable| match connectable {
        true => "the bootstrap server could call back: others can connect here",
        false => {
            "the bootstrap server could not call back: others cannot connect here, so this node \
             connects to them; a forwarded port with --listen and --advertise would change that"
        }
    })
}

fn phase_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Joining => "looking for the channel",
        Phase::Buffering => "blocks come in, filling the buffer",
        Phase::Playing => "playing",
        Phase::Stalled => "a block is late, play-out waits for it",
        Phase::Paused => "paused",
        _ => "in a new phase",
    }
}

fn fault_text(fault: Fault) -> String {
    match fault {
        Fault::Garbage => "a peer sent bytes that are not Eddy's protocol; dropped it".into(),
        Fault::Oversized => "a peer sent a message over the size limit; dropped it".into(),
        Fault::Version(v) => {
            format!("a peer speaks protocol version {v}, which this program does not; dropped it")
        }
        Fault::Forged => "a peer sent a block whose signature does not hold; dropped it".into(),
        Fault::Slow => {
            "a peer did not finish its handshake or a message in time; dropped it".into()
        }
        Fault::Unexpected => "a peer sent a message that makes no sense now; dropped it".into(),
        Fault::TooMany => "a peer opened more connections than allowed; refused it".into(),
        other => format!("a peer broke the protocol ({other:?}); dropped it"),
    }
}

fn warning_text(warning: Warning) -> String {
    match warning {
        Warning::SmallBlocks { mean } => format!(
            "blocks are small, {mean} bytes on average: a longer --block would cost less to send"
        ),
        Warning::InputSilent { silent } => {
            format!(
                "no packet of the input for {}; does the encoder run, and this machine keep up?",
                seconds(silent)
            )
        }
        Warning::InputBack => "packets of the input again".into(),
        Warning::NoUpload => {
            "nobody has room to send to us: the mesh lacks upload; more viewers with a higher \
             --max-upload, or a lower bit rate, would help"
                .into()
        }
        Warning::NoProvider => {
            "no word from the provider: it ended the channel, or lost its network; waiting for it"
                .into()
        }
        Warning::SmallQuota { file, quota } => format!(
            "files of this channel are {:.1} MB, and --quota is {:.1} MB: nothing is kept",
            file as f64 / 1e6,
            quota as f64 / 1e6
        ),
        other => format!("{other:?}"),
    }
}

/// Why a command was refused, as the end of a sentence.
pub(super) fn refusal_text(refusal: Refusal) -> String {
    match refusal {
        Refusal::PacketTooLong => "the packet is longer than 65,507 bytes".into(),
        Refusal::InputTooFast => "the input is faster than one block may hold".into(),
        Refusal::NoSuchChannel => "no such channel".into(),
        Refusal::WrongKey => "the channel has another key".into(),
        Refusal::NoBootstrap => "no bootstrap server answered".into(),
        Refusal::Leaving => "the node is leaving".into(),
        Refusal::NotPossible => "there is nothing to play yet".into(),
        other => format!("{other:?}"),
    }
}

fn seconds(d: Duration) -> String {
    format!("{:.1} s", d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_warning_says_what_to_do() {
        let small = warning_text(Warning::SmallBlocks { mean: 1_500 });
        assert!(small.contains("1500 bytes") && small.contains("--block"), "{small}");
        let silent = warning_text(Warning::InputSilent { silent: Duration::from_millis(2_040) });
        assert!(silent.contains("2.0 s") && silent.contains("encoder"), "{silent}");
        assert!(warning_text(Warning::NoUpload).contains("--max-upload"));
    }

    #[test]
    fn a_flood_of_faults_is_a_line_each_ten_seconds() {
        let mut faults = Faults::default();
        let mut lines = Vec::new();
        // 100 a second of one kind for 12.5 s, then one of another kind.
        for n in 0..=2_000 {
            let now = Time::from_millis(n * 10);
            let fault = match n {
                0..=1_250 => Some(Fault::Version((n % 256) as u8)),
                1_251 => Some(Fault::Forged),
                _ => None,
            };
            if let Some(fault) = fault {
                let remote = SocketAddr::from(([127, 0, 0, 1], 1 + n as u16));
                faults.add(Peer { node: None, remote, fault });
            }
            let due = faults.due(now).map(|(peer, text)| (n * 10, peer.remote.port(), text));
            lines.extend(due);
        }
        let version = |v| fault_text(Fault::Version(v));
        let expected = [
            (0, 1, version(0)),
            (10_000, 1_001, format!("{}; 1000 times in 10.0 s", version((1_000 % 256) as u8))),
            (12_510, 1_252, fault_text(Fault::Forged)),
            (20_000, 1_251, format!("{}; 250 times in 10.0 s", version((1_250 % 256) as u8))),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_lone_fault_is_told_at_once_however_late() {
        let mut faults = Faults::default();
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        for second in [0, 60, 3_600] {
            faults.add(Peer { node: None, remote, fault: Fault::Garbage });
            let texts: Vec<_> = faults.due(Time::from_secs(second)).map(|(_, t)| t).collect();
            assert_eq!(texts, [fault_text(Fault::Garbage)]);
        }
    }
}
