//! Record and replay: a run is right only if its inputs give its outputs again.

use eddy_core::{Event, Machine, Output, Time};

use crate::check::brief;

/// A call at the border between driver and machine.
#[derive(Clone, Debug, PartialEq)]
enum Call {
    Handle(Time, Event),
    Poll(Output),
}

/// All calls of one machine's life, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape(Vec<Call>);

impl Tape {
    pub(crate) fn handle(&mut self, now: Time, event: Event) {
        self.0.push(Call::Handle(now, event));
    }

    pub(crate) fn poll(&mut self, output: Output) {
        self.0.push(Call::Poll(output));
    }

    /// Gives the inputs to a fresh machine of the same kind, seed and start.
    ///
    /// # Errors
    /// Where its outputs first differ, and how.
    pub(crate) fn replay(&self, machine: &mut dyn Machine) -> Result<(), String> {
        for (n, call) in self.0.iter().enumerate() {
            match call {
                Call::Handle(now, event) => machine.handle(*now, event.clone()),
                Call::Poll(recorded) => {
                    let replayed = machine.poll();
                    if replayed != *recorded {
                        let (of, then, now) = (self.0.len(), brief(recorded), brief(&replayed));
                        return Err(format!("call {n} of {of} gave {then}, replayed {now}"));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eddy_core::{Action, LinkId};
    use std::collections::VecDeque;

    /// Closes each link that is opened; the third one not, if it is moody.
    struct Closer(VecDeque<Action>, bool);

    impl Machine for Closer {
        fn handle(&mut self, _: Time, event: Event) {
            if let Event::Closed { link } = event
                && !(self.1 && link == LinkId(2))
            {
                self.0.push_back(Action::Close { link, flush: true });
            }
        }
        fn poll(&mut self) -> Output {
            self.0.pop_front().map_or(Output::Wait(None), Output::Act)
        }
    }

    #[test]
    fn a_replay_is_equal_or_says_where_it_differs() {
        let mut tape = Tape::default();
        let mut machine = Closer(VecDeque::new(), false);
        for n in 0..4 {
            let event = Event::Closed { link: LinkId(n) };
            tape.handle(Time::from_secs(n), event.clone());
            machine.handle(Time::from_secs(n), event);
            while let output @ Output::Act(_) = machine.poll() {
                tape.poll(output);
            }
            tape.poll(Output::Wait(None));
        }
        assert_eq!(tape.replay(&mut Closer(VecDeque::new(), false)), Ok(()));
        let difference = tape.replay(&mut Closer(VecDeque::new(), true)).unwrap_err();
        assert!(difference.starts_with("call 7 of 12 gave Act(Close"), "{difference}");
        assert!(difference.ends_with("Wait(None)"), "{difference}");
    }
}
