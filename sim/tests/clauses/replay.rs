//! C6: what a machine does depends on its seed and its inputs alone. A tape of
//! one run is played to a fresh machine.

use std::cell::RefCell;
use std::rc::Rc;

use eddy_core::config::Config;
use eddy_core::wire::check::Choices;
use eddy_core::{Command, Event, Machine, Output, Time};
use eddy_sim::START;
use eddy_sim::fuzz::befall;
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{
    BLOCK, FIRST_VIEWER, PROVIDER, SERVER, a_block, a_viewer_with_block_links, channel, join,
    provider, server, viewer,
};

use super::common::net;
use super::common::swarm::Swarm;
use super::{for_any_bytes, secs, window};

pub(super) type Tape = Rc<RefCell<Vec<Step>>>;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    In(Time, Event),
    Out(Output),
}

/// Writes down all that goes in and comes out of a machine.
struct Recorder<M> {
    machine: M,
    tape: Tape,
}

impl<M: Machine> Machine for Recorder<M> {
    fn handle(&mut self, now: Time, event: Event) {
        self.tape.borrow_mut().push(Step::In(now, event.clone()));
        self.machine.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        let output = self.machine.poll();
        self.tape.borrow_mut().push(Step::Out(output.clone()));
        output
    }
}

/// The first place where a fresh machine differs from the tape.
fn replay(mut machine: impl Machine, tape: &[Step]) -> Option<usize> {
    tape.iter().position(|step| match step {
        Step::In(now, event) => {
            machine.handle(*now, event.clone());
            false
        }
        Step::Out(output) => machine.poll() != *output,
    })
}

/// A swarm with resets, and the tapes of its server, provider and a viewer
/// with the time when the viewer was made.
pub(super) fn recorded() -> ([Tape; 3], Time) {
    let tapes = [Tape::default(), Tape::default(), Tape::default()];
    let config = Config::default();
    let mut world = Swarm::dark(6, net(30), config.clone());
    let machine = server(6, &config, START);
    world.add(SERVER, Box::new(Recorder { machine, tape: tapes[0].clone() }));
    world.world.exit(world.provider);
    let machine = provider(6, &config, None, START);
    world.provider = world.add(PROVIDER, Box::new(Recorder { machine, tape: tapes[1].clone() }));
    world.run(3_000);
    let mut all = world.viewers(3);
    let since = world.world.now();
    let tape = tapes[2].clone();
    all.push(world.disguised(|machine| Box::new(Recorder { machine, tape })));
    for &v in &all {
        world.world.reset_rate(v, Some(secs(10)));
    }
    world.run(12_000);
    (tapes, since)
}

#[test]
fn c6_the_same_seed_and_inputs_give_the_same_outputs() {
    let (tapes, since) = recorded();
    let config = Config::default();
    let [served, provided, last] = tapes.map(|t| t.borrow().clone());
    assert!(served.len() > 100 && provided.len() > 1_000 && last.len() > 1_000);
    let host = FIRST_VIEWER + 3;
    assert_eq!(replay(server(6, &config, START), &served), None);
    assert_eq!(replay(provider(6, &config, None, START), &provided), None);
    assert_eq!(replay(viewer(6, &config, host, since), &last), None);
    // Another seed is another node.
    assert!(replay(provider(7, &config, None, START), &provided).is_some());
    assert!(replay(viewer(7, &config, host, since), &last).is_some());
}

#[test]
fn c6_bytes_read_to_where_they_are_kept_are_bytes_received() {
    for_any_bytes(64, |data| {
        let run = |piece: Option<usize>| {
            let mut choices = Choices::new(&data);
            let (mut hand, others) = a_viewer_with_block_links(&Config::default());
            for _ in 0..16 {
                let seq = channel().seq_at(hand.now);
                let payload = vec![choices.byte(); choices.below(100_000)];
                let block = a_block(seq, &payload);
                for other in &others {
                    match piece {
                        Some(piece) => {
                            let filled = hand.read(other.blocks, block.frame(), piece);
                            // All of a long block but its beginning.
                            let length = block.frame().len();
                            let most = if length < 32 << 10 { 0 } else { length };
                            assert!(filled <= most && filled + piece.max(100) >= most);
                        }
                        None => hand.receive(other.blocks, block.frame().clone()),
                    }
                }
                hand.pass(BLOCK);
            }
            hand.pass(secs(10));
            assert!(!hand.delivered.is_empty());
            (hand.sent, hand.delivered, hand.notices)
        };
        let received = run(None);
        let piece = 1 + data.len() * 40;
        assert_eq!(run(Some(piece)), received);
    });
}

#[test]
fn c6_outputs_depend_on_nothing_but_seed_and_inputs() {
    for_any_bytes(2_048, |data| {
        let run = || {
            let tape = Tape::default();
            let machine = viewer(1, &Config::default(), FIRST_VIEWER, START);
            let recorder = Recorder { machine, tape: tape.clone() };
            let mut hand = Hand::new(recorder, START, window());
            hand.command(Command::Join(Box::new(join())));
            befall(&mut hand, &mut Choices::new(&data));
            tape.take()
        };
        let first = run();
        assert_eq!(first, run());
        let fresh = viewer(1, &Config::default(), FIRST_VIEWER, START);
        assert_eq!(replay(fresh, &first), None);
    });
}
