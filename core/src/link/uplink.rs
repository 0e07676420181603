//! Whether the uplink pauses: only then is what was pulled sent, for what is
//! pushed comes first, and a transport that holds blocks of both sends neither
//! before the other.

use core::time::Duration;

use crate::time::Time;

/// Blocks that may be answered to pulls from one pause of the uplink to the next:
/// where it is nearly full many are asked for in the same moment.
const ANSWERS: usize = 2;

/// What is under way on all links together, but for the past, which yields.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Uplink {
    /// Links with something to send, or in their transport, whose readers keep up.
    busy: usize,
    /// Blocks answered since the last pause began.
    answered: usize,
    /// When the last block was answered.
    last: Time,
}

impl Uplink {
    pub(super) fn began(&mut self) {
        self.busy += 1;
    }

    pub(super) fn ended(&mut self) {
        self.busy -= 1;
        self.look();
    }

    /// Begins a pause, if this is one.
    pub(super) fn look(&mut self) {
        if self.busy == 0 {
            self.answered = 0;
        }
    }

    /// Whether a pulled block may be sent now. If none was for longer than `limit`
    /// one may without a pause, so that not everybody waits for ever.
    pub(super) fn may_answer(&self, now: Time, limit: Duration) -> bool {
        self.answered < ANSWERS || now.since(self.last) > limit
    }

    pub(super) fn answered(&mut self, now: Time) {
        self.answered += 1;
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_answered_a_pause_and_one_a_limit_without() {
        let (mut uplink, limit) = (Uplink::default(), Duration::from_millis(250));
        let answer_all = |uplink: &mut Uplink, now| {
            let mut n = 0;
            while uplink.may_answer(now, limit) {
                uplink.answered(now);
                n += 1;
            }
            n
        };
        uplink.began();
        uplink.began();
        assert_eq!(answer_all(&mut uplink, Time::ZERO), ANSWERS);
        uplink.ended();
        assert_eq!(answer_all(&mut uplink, Time::ZERO + limit), 0, "one link is no pause");
        assert_eq!(answer_all(&mut uplink, Time::ZERO + limit * 2), 1);
        uplink.ended();
        assert_eq!(answer_all(&mut uplink, Time::ZERO + limit * 2), ANSWERS);
    }
}
