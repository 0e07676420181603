//! What nodes tell, as log lines.

use std::time::Duration;

use eddy_core::{BootstrapState, Fault, Notice, Phase, Refusal, Warning};
use tracing::{debug, error, info, warn};

/// Logs a notice of the node `who`. `meanwhile` says what goes on without the
/// bootstrap server.
pub(super) fn notice(who: &str, meanwhile: &str, notice: &Notice) {
    match notice {
        Notice::Channel(channel) => {
            info!(
                node = who,
                channel = %channel.name(),
                key = %channel.key(),
                block_ms = channel.block().as_millis() as u64,
                sub_streams = channel.sub_streams(),
                "channel known"
            );
        }
        Notice::Phase(phase) => info!(node = who, "{}", phase_text(*phase)),
        Notice::Bootstrap(state) => bootstrap(who, meanwhile, *state),
        Notice::NameTaken(name) => error!(
            node = who,
            "the channel name {name} belongs to another provider's key: viewers will not find \
             this channel; give another name with --channel"
        ),
        Notice::Fault { node, remote, fault } => {
            let peer = node.map_or_else(|| "unknown".into(), |id| format!("{id:?}"));
            warn!(node = who, peer, %remote, "{}", fault_text(*fault));
        }
        Notice::Warning(w) => warn!(node = who, "{}", warning_text(*w)),
        other => debug!(node = who, "{other:?}"),
    }
}

/// Logs the troubles only: where many nodes share a log.
pub(super) fn trouble(who: &str, told: &Notice) {
    let is_trouble = matches!(
        told,
        Notice::Fault { .. }
            | Notice::Warning(_)
            | Notice::NameTaken(_)
            | Notice::Bootstrap(BootstrapState::Lost { .. })
    );
    if is_trouble {
        notice(who, "the rest goes on", told);
    }
}

fn bootstrap(who: &str, meanwhile: &str, state: BootstrapState) {
    match state {
        BootstrapState::Reached { observed, connectable } => {
            let connectable = match connectable {
                Some(true) => "yes",
                Some(false) => "no",
                None => "not known yet",
            };
            info!(node = who, %observed, connectable, "bootstrap server reached");
        }
        BootstrapState::Lost { retry_in } => warn!(
            node = who,
            "bootstrap server does not answer; trying again in {}; {meanwhile}",
            seconds(retry_in)
        ),
        _ => {}
    }
}

fn phase_text(phase: Phase) -> &'static str {
    match phase {
        Phase::Joining => "looking for the channel",
        Phase::Buffering => "blocks come in, filling the buffer",
        Phase::Playing => "playing",
        Phase::Stalled => "a block is late, play-out waits for it",
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
        Fault::Lied => "a peer advertised blocks that it did not have; dropped it".into(),
        other => format!("a peer broke the protocol ({other:?}); dropped it"),
    }
}

fn warning_text(warning: Warning) -> String {
    match warning {
        Warning::SmallBlocks { mean } => format!(
            "blocks are small, {mean} bytes on average: a longer --block would cost less to send"
        ),
        Warning::InputSilent { silent } => {
            format!("no packet from the encoder for {}; is it running?", seconds(silent))
        }
        Warning::InputBack => "packets from the encoder again".into(),
        Warning::NoUpload => {
            "nobody has room to send to us: the mesh lacks upload; more viewers with a higher \
             --max-upload, or a lower bit rate, would help"
                .into()
        }
        Warning::NoProvider => {
            "no word from the provider: it ended the channel, or lost its network; waiting for it"
                .into()
        }
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
}
