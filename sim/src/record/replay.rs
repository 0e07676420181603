//! The same inputs for another machine, and whether it does the same.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use eddy_core::{Event, Machine, Output, Time};

use super::End;
use super::output::Recorded;
use super::reader::{Entry, ReadError, Reader};

/// What a replay shows while it runs.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// The machine is told this now.
    Input(&'a Event),
    /// The machine answered this, as recorded.
    Output(&'a Output),
}

/// What came of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// Inputs told, the last one among them.
    pub inputs: u64,
    /// Outputs that were equal.
    pub outputs: u64,
    /// The last input and its time; `None` before the first.
    pub last: Option<(Time, Event)>,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a replay ended.
#[derive(Debug)]
pub enum Verdict {
    /// Every output up to the recording's end was equal.
    Equal(End),
    /// An output differs, and there the replay stopped.
    Differs(Difference),
    /// The machine panicked, with this message.
    Panicked(String),
    /// The recording cannot be read further.
    Unreadable(ReadError),
}

/// The first output that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What was recorded.
    pub recorded: Recorded,
    /// What came.
    pub came: Output,
}

/// Tells a machine what the recording says, polls it as often and when the
/// recorded one was polled, and compares. `seen` is shown everything as it
/// happens. `machine` should come from [`Header::machine`](super::Header::machine).
pub fn replay<R: Read>(
    reader: &mut Reader<R>,
    machine: &mut impl Machine,
    mut seen: impl FnMut(Time, Seen<'_>),
) -> Replayed {
    let (mut inputs, mut outputs, mut last) = (0, 0, None);
    let mut now = reader.header().start;
    let verdict = loop {
        match reader.entry() {
            Ok(Entry::Input(at, event)) => {
                now = at;
                inputs += 1;
                seen(now, Seen::Input(&event));
                last = Some((now, event.clone()));
                if let Err(message) = caught(|| machine.handle(now, event)) {
                    break Verdict::Panicked(message);
                }
            }
            Ok(Entry::Output(recorded)) => match caught(|| machine.poll()) {
                Ok(came) if Recorded::of(&came) == recorded => {
                    outputs += 1;
                    seen(now, Seen::Output(&came));
                }
                Ok(came) => break Verdict::Differs(Difference { recorded, came }),
                Err(message) => break Verdict::Panicked(message),
            },
            Ok(Entry::End(end)) => break Verdict::Equal(end),
            Err(e) => break Verdict::Unreadable(e),
        }
    };
    Replayed { inputs, outputs, last, verdict }
}

/// Does what may panic; the machine is not asked again after that.
fn caught<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::frame::{FULL, MAGIC};
    use crate::record::vocabulary::tests::Any;
    use crate::record::{AnyNode, Header, NodeKind, Recorder, end_mark};
    use crate::{Net, Rtt, START, World};
    use bytes::Bytes;
    use eddy_core::Position;
    use eddy_core::config::Config;
    use eddy_core::node::Node;
    use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
    use eddy_core::stream::sign::{Signer, Verifier};
    use eddy_core::{Action, Command, Join};
    use quickcheck::QuickCheck;
    use std::net::SocketAddr;
    use std::sync::{Arc, LazyLock, Mutex};
    use std::time::Duration;

    /// A file that the test and the recorder share.
    #[derive(Clone, Default)]
    struct File(Arc<Mutex<Vec<u8>>>);

    impl File {
        fn sink(&self) -> impl FnMut(Vec<u8>) -> bool + use<> {
            let file = self.0.clone();
            move |bytes| {
                file.lock().unwrap().extend(bytes);
                true
            }
        }

        fn bytes(&self) -> Vec<u8> {
            self.0.lock().unwrap().clone()
        }
    }

    fn config(n: u8) -> Config {
        let listen = SocketAddr::from(([10, 0, 0, n], 7_400));
        Config { listen, verifier: Verifier::ghost(), ..Config::default() }
    }

    fn header(node: NodeKind, n: u8) -> Header {
        Header { made_by: "a test".into(), node, start: START, seed: [n; 32], config: config(n) }
    }

    fn channel() -> Channel {
        let name = Name::new("News").unwrap();
        Channel::new(ChannelSpec {
            provider: name.clone(),
            name,
            description: String::new(),
            block: Duration::from_millis(40),
            sub_streams: 8,
            file: Duration::from_secs(10),
            key: Signer::ghost().public(),
        })
        .unwrap()
    }

    /// Five seconds of a live channel with two viewers: what its server
    /// recorded, and one of the viewers.
    fn live() -> [Vec<u8>; 2] {
        let net = Net { rtt: Rtt::uniform(Duration::from_millis(20)), ..Net::default() };
        let mut world = World::new(5, net);
        let files = [File::default(), File::default()];
        let recorded = |node, n, file: &File| {
            let header = header(node, n);
            Box::new(Recorder::new(header.machine().unwrap(), &header, file.sink()))
        };
        world.add(config(1).listen, 0, None, recorded(NodeKind::Bootstrap, 1, &files[0]));
        let servers = vec![config(1).listen];
        let (own, signer, known) = (config(2), Signer::ghost(), servers.clone());
        let provider = Node::provider(own, channel(), signer, known, None, [2; 32], START);
        let provider = world.add(config(2).listen, 0, None, Box::new(provider.unwrap()));
        let viewer = recorded(NodeKind::Viewer, 3, &files[1]);
        let viewers = [
            world.add(config(3).listen, 0, None, viewer),
            world.add(
                config(4).listen,
                0,
                None,
                Box::new(header(NodeKind::Viewer, 4).machine().unwrap()),
            ),
        ];
        for n in 0..250_u32 {
            world.run_until(START + Duration::from_millis(20) * n, &mut ());
            let packet = Bytes::from(vec![n as u8; 1_316]);
            world.command(provider, Command::Publish(packet));
            for viewer in viewers.into_iter().filter(|_| n == 50) {
                let (bootstrap, channel) = (servers.clone(), channel().name().clone());
                let join =
                    Join { bootstrap, channel, key: None, known: None, position: Position::Live };
                world.command(viewer, Command::Join(Box::new(join)));
            }
        }
        drop(world);
        files.map(|file| file.bytes())
    }

    /// [`live`], once for all tests.
    static LIVE: LazyLock<[Vec<u8>; 2]> = LazyLock::new(live);

    fn viewer() -> &'static [u8] {
        &LIVE[1]
    }

    fn replayed(recording: &[u8]) -> Result<Replayed, ReadError> {
        let mut reader = Reader::new(recording)?;
        let mut machine = reader.header().machine().unwrap();
        Ok(replay(&mut reader, &mut machine, |_, _| {}))
    }

    #[test]
    fn a_recorded_run_happens_again() {
        for (recording, blocks) in LIVE.iter().zip([0, 50]) {
            let mut reader = Reader::new(&recording[..]).unwrap();
            let mut machine = reader.header().machine().unwrap();
            let (mut told, mut delivered) = (0, 0);
            let replayed = replay(&mut reader, &mut machine, |_, seen| match seen {
                Seen::Input(_) => told += 1,
                Seen::Output(Output::Act(Action::Deliver(_))) => delivered += 1,
                Seen::Output(_) => {}
            });
            let Verdict::Equal(End::Finished) = replayed.verdict else { panic!("{replayed:?}") };
            assert!(replayed.inputs > 20 && replayed.outputs > replayed.inputs, "{replayed:?}");
            assert_eq!(told, replayed.inputs);
            assert!(delivered >= blocks, "{delivered} blocks");
        }
    }

    #[test]
    fn a_recording_is_little_more_than_what_came_in() {
        let mut reader = Reader::new(viewer()).unwrap();
        let mut received = 0;
        loop {
            match reader.entry().unwrap() {
                Entry::Input(_, Event::Received { bytes, .. }) => received += bytes.len(),
                Entry::End(_) => break,
                _ => {}
            }
        }
        assert!(received > 200_000, "{received}");
        assert!(viewer().len() < received * 5 / 4, "{} for {received}", viewer().len());
    }

    /// A machine that hears one bit wrong.
    struct Misheard {
        machine: AnyNode,
        /// Messages until then.
        left: u32,
    }

    impl Machine for Misheard {
        fn handle(&mut self, now: Time, mut event: Event) {
            if let Event::Received { bytes, .. } = &mut event
                && let Some(left) = self.left.checked_sub(1)
            {
                self.left = left;
                if left == 0 {
                    let mut wrong = bytes.to_vec();
                    *wrong.last_mut().unwrap() ^= 1;
                    *bytes = wrong.into();
                }
            }
            self.machine.handle(now, event);
        }

        fn poll(&mut self) -> Output {
            self.machine.poll()
        }
    }

    #[test]
    fn the_first_difference_is_told_with_its_place() {
        let mut reader = Reader::new(viewer()).unwrap();
        let machine = reader.header().machine().unwrap();
        let mut machine = Misheard { machine, left: 20 };
        let replayed = replay(&mut reader, &mut machine, |_, _| {});
        let Verdict::Differs(difference) = &replayed.verdict else { panic!("{replayed:?}") };
        assert_ne!(difference.recorded, Recorded::of(&difference.came));
        let (at, _) = replayed.last.unwrap();
        assert!(at > START + Duration::from_secs(1) && replayed.inputs > 20);

        // Another seed makes another node.
        let mut reader = Reader::new(viewer()).unwrap();
        let mut other = header(NodeKind::Viewer, 9).machine().unwrap();
        let replayed = replay(&mut reader, &mut other, |_, _| {});
        assert!(matches!(replayed.verdict, Verdict::Differs(_)), "{replayed:?}");
    }

    #[test]
    fn a_cut_recording_replays_up_to_the_cut() {
        let whole = replayed(viewer()).unwrap();
        let mut before = 0;
        for length in (0..viewer().len()).step_by(997) {
            match replayed(&viewer()[..length]) {
                Ok(cut) => {
                    assert!(matches!(cut.verdict, Verdict::Equal(End::Cut)), "{length}: {cut:?}");
                    assert!(cut.inputs >= before && cut.inputs <= whole.inputs);
                    before = cut.inputs;
                }
                Err(e) => assert!(length < 400, "{length}: {e}"),
            }
        }
        assert!(before * 10 > whole.inputs * 9, "{before} of {}", whole.inputs);
    }

    #[test]
    fn a_flipped_bit_is_damage() {
        fn is_told(at: usize, bit: u8) -> bool {
            let mut spoilt = viewer().to_vec();
            let at = at % spoilt.len();
            spoilt[at] ^= 1 << (bit % 8);
            match replayed(&spoilt) {
                Ok(replayed) => matches!(
                    replayed.verdict,
                    Verdict::Unreadable(ReadError::Damaged { at: frame, .. }) if frame <= at as u64
                ),
                Err(_) => at < 400,
            }
        }
        assert!((0..24).all(|at| is_told(at, 7)));
        // The head of the second frame of entries.
        let length = |at: usize| {
            let length = viewer()[at..].first_chunk().copied().map(u32::from_be_bytes);
            16 + length.unwrap() as usize
        };
        let second = 8 + length(8) + length(8 + length(8));
        assert!((second..second + 16).all(|at| is_told(at, 0)));
        QuickCheck::new().tests(20).quickcheck(is_told as fn(usize, u8) -> bool);
    }

    #[test]
    fn garbage_is_refused() {
        fn is_refused(garbage: Vec<u8>) -> bool {
            let named = [&MAGIC[..], &garbage[..]].concat();
            Reader::new(&garbage[..]).is_err() && Reader::new(&named[..]).is_err()
        }
        QuickCheck::new().quickcheck(is_refused as fn(Vec<u8>) -> bool);
        let refusal = |bytes: &[u8]| Reader::new(bytes).unwrap_err().to_string();
        assert_eq!(refusal(b"#!/bin/sh -e"), "this is no recording");
        let bell = Header { made_by: "\x07".into(), ..header(NodeKind::Viewer, 3) };
        let file = File::default();
        drop(Recorder::new(Dull, &bell, file.sink()));
        assert!(refusal(&file.bytes()).ends_with("name with control characters"));
        assert_eq!(
            refusal(b"EDDYREC\x09"),
            "the recording's format has version 9; this program reads 2"
        );
    }

    /// A machine that does nothing, or panics when a link closes.
    struct Dull;

    impl Machine for Dull {
        fn handle(&mut self, _: Time, event: Event) {
            assert!(!matches!(event, Event::Closed { .. }), "a link closed");
        }

        fn poll(&mut self) -> Output {
            Output::Wait(None)
        }
    }

    #[test]
    fn every_input_is_recorded_as_it_was() {
        fn same(inputs: Vec<(u64, Any<Event>)>) -> bool {
            let is_harmless = |e: &Event| !matches!(e, Event::Closed { .. });
            let inputs: Vec<_> = inputs.into_iter().filter(|(_, e)| is_harmless(&e.0)).collect();
            let file = File::default();
            let mut node = Recorder::new(Dull, &header(NodeKind::Viewer, 3), file.sink());
            for (now, event) in &inputs {
                node.handle(Time::from_micros(*now), event.0.clone());
            }
            drop(node);
            let bytes = file.bytes();
            let mut reader = Reader::new(&bytes[..]).unwrap();
            let read = |entry| matches!(reader.entry(), Ok(e) if e == entry);
            let entries = inputs.into_iter().map(|(n, e)| Entry::Input(Time::from_micros(n), e.0));
            entries.chain([const { Entry::End(End::Finished) }; 2]).all(read)
        }
        QuickCheck::new().quickcheck(same as fn(Vec<(u64, Any<Event>)>) -> bool);
    }

    #[test]
    fn a_tenth_of_a_second_is_missing_after_a_kill_at_most() {
        let file = File::default();
        let mut node = Recorder::new(Dull, &header(NodeKind::Viewer, 3), file.sink());
        let mut told = |ms| {
            node.handle(START + Duration::from_millis(ms), Event::Wake);
            let bytes = file.bytes();
            let mut reader = Reader::new(&bytes[..]).unwrap();
            replay(&mut reader, &mut Dull, |_, _| {}).inputs
        };
        assert_eq!([told(0), told(50), told(99), told(100)], [0, 0, 0, 3]);
        assert_eq!([told(150), told(199), told(200)], [3, 3, 6]);
    }

    #[test]
    fn a_sink_that_wants_no_more_gets_no_more() {
        let file = File::default();
        let (mut sink, mut calls) = (file.sink(), 0);
        let sink = |bytes: Vec<u8>| {
            calls += 1;
            assert!(bytes.len() < FULL + 2_000 && calls <= 3, "piece {calls}");
            calls < 3 && sink(bytes)
        };
        let mut node = Recorder::new(Dull, &header(NodeKind::Viewer, 3), sink);
        for n in 0..500 {
            let (link, bytes) = (eddy_core::LinkId(1), vec![0; 1_000].into());
            node.handle(START + Duration::from_micros(n), Event::Received { link, bytes });
            assert_eq!(node.poll(), Output::Wait(None), "the machine goes on");
        }
        drop(node);
        let recording = [file.bytes(), end_mark(End::TooSlow)].concat();
        let mut reader = Reader::new(&recording[..]).unwrap();
        let replayed = replay(&mut reader, &mut Dull, |_, _| {});
        assert!(matches!(replayed.verdict, Verdict::Equal(End::TooSlow)), "{replayed:?}");
        assert!((60..70).contains(&replayed.inputs), "{replayed:?}");
    }

    #[test]
    fn a_panic_is_recorded_and_happens_again() {
        let (file, link) = (File::default(), eddy_core::LinkId(1));
        let sink = file.sink();
        let panicked = caught(move || {
            let mut node = Recorder::new(Dull, &header(NodeKind::Viewer, 3), sink);
            node.handle(START, Event::Wake);
            node.handle(START, Event::Closed { link });
        });
        assert_eq!(panicked, Err("a link closed".into()));
        let recording = file.bytes();
        let mut reader = Reader::new(&recording[..]).unwrap();
        let replayed = replay(&mut reader, &mut Dull, |_, _| {});
        let Verdict::Panicked(message) = &replayed.verdict else { panic!("{replayed:?}") };
        assert_eq!(message, "a link closed");
        assert_eq!(replayed.last, Some((START, Event::Closed { link })));
        let _ = reader.entry().unwrap();
        assert_eq!(reader.entry().unwrap(), Entry::End(End::Panicked));
    }
}
