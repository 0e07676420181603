//! Spans of time as configured, but never shorter than the blocks of a stream allow:
//! what is ample for short blocks must not be over before a long one can be here.

use core::time::Duration;

use crate::config::{Config, Reselection};
use crate::stream::channel::Channel;

/// No block is pulled before it is this many D late, nor is the answer given up
/// sooner: a hop takes as long as it takes to send a block.
const REPAIR_BLOCKS: u32 = 2;
/// No parent is left before its next block is this many D overdue.
const OVERDUE_BLOCKS: u32 = 4;
/// How often feeds and gaps are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Looks at them in the time of a long block.
const TICKS_A_BLOCK: u32 = 8;
/// How long a partner may take to answer a pull, besides the round trips.
const ANSWER: Duration = Duration::from_millis(150);
/// A repair that takes longer than this is not waited for in advance.
const MAX_REPAIR: Duration = Duration::from_millis(600);

/// The spans of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// S·D: the time in which each sub-stream brings a block.
    pub(crate) round: Duration,
    /// Between two looks at feeds and gaps.
    pub(crate) tick: Duration,
    /// A parent is left when its next block is overdue by this much.
    pub(crate) overdue: Duration,
    /// A block not here this long after its usual arrival is pulled.
    pub(crate) repair_after: Duration,
    /// How long a partner may take to answer a pull.
    pub(crate) answer: Duration,
    /// The longest repair that is waited for in advance.
    pub(crate) max_repair: Duration,
}

impl Pace {
    pub(crate) fn new(config: &Config, channel: &Channel) -> Self {
        let block = channel.block();
        let overdue = match config.reselection {
            Reselection::Lag { overdue } => overdue,
            Reselection::Inequalities { .. } => Duration::ZERO,
        };
        Self {
            round: channel.round(),
            tick: TICK.max(block / TICKS_A_BLOCK),
            overdue: overdue.max(block * OVERDUE_BLOCKS),
            repair_after: config.repair_after.max(block * REPAIR_BLOCKS),
            answer: ANSWER.max(block * REPAIR_BLOCKS),
            max_repair: MAX_REPAIR.max(block * 2 * REPAIR_BLOCKS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::channel::tests_support::channel;
    use crate::stream::sign::PublicKey;

    #[test]
    fn blocks_of_40_ms_change_nothing() {
        let config = Config::default();
        let pace = Pace::new(&config, &channel(PublicKey([7; 32])));
        assert_eq!(pace.round, Duration::from_millis(320));
        assert_eq!((pace.tick, pace.answer, pace.max_repair), (TICK, ANSWER, MAX_REPAIR));
        assert_eq!(pace.repair_after, config.repair_after);
        assert_eq!(config.reselection, Reselection::Lag { overdue: pace.overdue });
    }
}
