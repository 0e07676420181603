//! What a viewer takes, what it asks for again, and whom it leaves, where every byte
//! counts.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::ops::Range;
use std::time::Duration;

use eddy_core::config::{Config, PlayoutDelay, Reselection};
use eddy_core::node::Node;
use eddy_core::stats::Stats;
use eddy_core::stream::map::{BufferMap, Path};
use eddy_core::wire::message::{Message, Purpose, SubscribeReply, Token};
use eddy_core::{Command, Event, NodeId, Notice, Seq, SubStream, Time};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{
    BLOCK, MEMBERS, Other, SUB_STREAMS, a_block, a_viewer_with_block_links, a_viewer_with_partners,
    addr, channel, full_map,
};
use eddy_sim::hand::words::hello;

/// A viewer, and partners who grant whatever it subscribes to, and bring what it
/// pulls.
struct Stage {
    hand: Hand<Node>,
    others: Vec<Other>,
    /// Messages of the viewer to each of them that were looked at.
    heard: Vec<usize>,
    pulled: Vec<Seq>,
    /// Blocks that nobody ever had, and all have given up.
    lost: Range<Seq>,
    /// Who has no way to the provider.
    astray: Option<NodeId>,
    /// By how many microseconds the provider's clock has leapt.
    leapt: i64,
}

impl Stage {
    fn new(config: &Config) -> Self {
        let (hand, others) = a_viewer_with_block_links(config);
        let heard = others.iter().map(|other| hand.messages(other.control).len()).collect();
        assert_eq!(others.len(), MEMBERS.len());
        Self {
            hand,
            others,
            heard,
            pulled: Vec::new(),
            lost: Seq(0)..Seq(0),
            astray: None,
            leapt: 0,
        }
    }

    fn stats(&self) -> Stats {
        let stats = self.hand.notices.iter().rev().find_map(|notice| match notice {
            Notice::Stats(stats) => Some((**stats).clone()),
            _ => None,
        });
        stats.unwrap()
    }

    /// The provider's clock.
    fn stream_time(&self) -> Time {
        self.hand.now.offset(self.leapt)
    }

    /// In each slot those chosen by `by` bring that slot's block.
    fn bring(&mut self, seconds: u32, by: impl Fn(&Other, SubStream) -> bool) {
        for slot in 0..seconds * 25 {
            if slot % 25 == 0 {
                for other in &self.others {
                    let Message::BufferMap(mut map) = full_map(self.stream_time()) else {
                        continue;
                    };
                    if Some(other.node) == self.astray {
                        map.paths.iter_mut().for_each(|path| *path = Path::NONE);
                    }
                    self.hand.say(other.control, &Message::BufferMap(map));
                }
            }
            let seq = channel().seq_at(self.stream_time());
            let bring =
                |o: &&Other| !self.lost.contains(&seq) && by(o, seq.sub_stream(SUB_STREAMS));
            for other in self.others.iter().filter(bring) {
                self.hand.receive(other.blocks, a_block(seq, b"").frame().clone());
            }
            self.hand.pass(BLOCK);
            if slot % 5 == 0 {
                self.answer();
            }
        }
    }

    fn answer(&mut self) {
        for (other, heard) in self.others.iter().zip(&mut self.heard) {
            let said = self.hand.messages(other.control).split_off(*heard);
            *heard += said.len();
            for message in said {
                match message {
                    Message::Subscribe(asked) => {
                        let reply = SubscribeReply { sub: asked.sub, result: Ok(()) };
                        self.hand.say(other.control, &Message::SubscribeReply(reply));
                    }
                    Message::Pull(seqs) => {
                        self.pulled.extend(&seqs);
                        let (lost, held): (Vec<_>, Vec<_>) =
                            seqs.into_iter().partition(|seq| self.lost.contains(seq));
                        if !lost.is_empty() {
                            let lost = lost.into_iter().collect();
                            self.hand.say(other.control, &Message::DontHave(lost));
                        }
                        for seq in held {
                            self.hand.receive(other.blocks, a_block(seq, b"").frame().clone());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn what_is_missing_is_taken_from_whoever_brings_it() {
    let mut stage = Stage::new(&Config::default());
    let bringer = stage.others[0].node;
    // It has several parents, and this one brings the blocks of all.
    stage.bring(3, |other, _| other.node == bringer);
    let stats = stage.stats();
    let others = |parent: &&Option<NodeId>| parent.is_some_and(|node| node != bringer);
    assert!(stats.parents.iter().filter(others).count() >= 2, "{stats:?}");
    assert!(stats.from_peers >= 70 && stats.unwanted == 0, "{stats:?}");
}

#[test]
fn a_parent_is_not_left_because_somebody_else_is_faster() {
    let mut stage = Stage::new(&Config::default());
    let bringer = stage.others[0].node;
    // The first brings the blocks of all, and the parents bring them a moment later.
    stage.bring(10, |_, _| true);
    let stats = stage.stats();
    let others = |parent: &Option<NodeId>| parent.is_some_and(|node| node != bringer);
    assert!(stats.parents.iter().all(others) && stats.reselections == 0, "{stats:?}");
}

#[test]
fn a_parent_that_falls_silent_is_left_though_others_bring_what_it_owes() {
    let playout_delay = PlayoutDelay::Fixed(Duration::from_millis(2_500));
    let mut stage = Stage::new(&Config { playout_delay, ..Config::default() });
    // For 10 s it takes none of those who did not answer at once.
    stage.bring(15, |_, _| true);
    let parent = stage.stats().parents[3];
    assert!(parent.is_some());
    stage.bring(6, |_, sub| sub.0 != 3);
    let stats = stage.stats();
    assert!(stats.repaired > 0 && stats.lost == 0, "{stats:?}");
    assert_ne!(stats.parents[3], parent, "{stats:?}");
}

/// The provider was away for a moment: the numbers of that time are nowhere, and who
/// was near it has given them up, so that maps tell of them as if they were held.
#[test]
fn partners_who_gave_up_what_their_maps_tell_of_stay_partners() {
    let mut stage = Stage::new(&Config::default());
    stage.bring(5, |_, _| true);
    let first = channel().seq_at(stage.hand.now);
    stage.lost = first..first.plus(40);
    stage.bring(10, |_, _| true);
    let asked = stage.pulled.iter().filter(|seq| stage.lost.contains(seq)).count();
    assert!(asked > 20 * stage.others.len(), "each denied many: {asked}");
    let stats = stage.stats();
    assert_eq!((stats.faults, stats.lost), (0, 40), "{stats:?}");
    assert!(stage.others.iter().all(|o| stage.hand.open.contains_key(&o.control)));
}

/// It was away for so long that there are more gaps than are asked for at once.
#[test]
fn what_nobody_has_is_left_out_however_much_it_is() {
    let mut stage = Stage::new(&Config::default());
    stage.bring(5, |_, _| true);
    let first = channel().seq_at(stage.hand.now);
    stage.lost = first..first.plus(250);
    stage.bring(13, |_, _| true);
    let stats = stage.stats();
    assert_eq!(stats.lost, 250, "{stats:?}");
}

/// It was stopped for 7 s, or the provider began again with another clock.
#[test]
fn blocks_of_a_parent_whose_time_is_ahead_are_taken() {
    let mut stage = Stage::new(&Config::default());
    stage.bring(10, |_, _| true);
    stage.leapt = 7_000_000;
    let live = channel().seq_at(stage.stream_time());
    stage.bring(15, |_, _| true);
    let again = stage.pulled.iter().filter(|seq| **seq >= live).count();
    assert_eq!(again, 0, "it had them: {:?}", stage.stats());
}

/// The provider's machine slept for a minute, and goes on where it was.
#[test]
fn a_stream_that_stood_still_is_passed_on_and_played() {
    let mut stage = Stage::new(&Config::default());
    stage.bring(5, |_, _| true);
    let (control, blocks) = stage.hand.child(60);
    let second = |stage: &mut Stage, brings: bool| {
        stage.bring(1, |_, _| brings);
        stage.hand.say(control, &Message::Ping(0));
        for link in [control, blocks] {
            while stage.hand.flush(link, usize::MAX) > 0 {}
        }
        stage.hand.blocks(blocks).len()
    };
    for _ in 0..60 {
        stage.leapt -= 1_000_000;
        second(&mut stage, false);
    }
    let before = second(&mut stage, true);
    let passed_on = (0..5).map(|_| second(&mut stage, true)).last().unwrap() - before;
    assert!(passed_on >= 100, "{passed_on} of 125");
    for _ in 0..40 {
        second(&mut stage, true);
    }
    let before = stage.stats();
    for _ in 0..10 {
        second(&mut stage, true);
    }
    let stats = stage.stats();
    assert!(stats.on_time >= before.on_time + 240, "{before:?} {stats:?}");
}

#[test]
fn who_has_paused_is_handed_nothing_when_the_providers_clock_leaps() {
    let mut stage = Stage::new(&Config::default());
    stage.bring(10, |_, _| true);
    stage.hand.command(Command::Pause);
    let shown = stage.hand.delivered.len();
    stage.leapt = 90_000_000;
    stage.bring(10, |_, _| true);
    assert_eq!(stage.hand.delivered.len(), shown);
}

/// It brings what it owes, for the gaps of a circle are repaired, and the published rules
/// look at nothing else.
#[test]
fn a_parent_without_a_way_to_the_provider_is_left_by_the_published_rules_too() {
    let limit = Duration::from_secs(16);
    let reselection = Reselection::Inequalities { own: limit, partner: limit };
    let mut stage = Stage::new(&Config { reselection, ..Config::default() });
    stage.bring(15, |_, _| true);
    let astray = stage.stats().parents[0];
    assert!(astray.is_some());
    stage.astray = astray;
    stage.bring(5, |_, _| true);
    let stats = stage.stats();
    assert!(stats.parents.iter().all(|p| p.is_some() && *p != astray), "{stats:?}");
}

#[test]
fn who_was_stopped_still_knows_the_way_to_the_provider() {
    let mut stage = Stage::new(&Config::default());
    stage.bring(5, |_, _| true);
    let control = stage.others[0].control;
    let before = stage.hand.messages(control).len();
    stage.hand.now = stage.hand.now + Duration::from_secs(12);
    stage.hand.handle(Event::Wake);
    stage.hand.pass(Duration::from_millis(500));
    let said = stage.hand.messages(control).split_off(before);
    let maps: Vec<&BufferMap> = said
        .iter()
        .filter_map(|message| match message {
            Message::BufferMap(map) => Some(map),
            _ => None,
        })
        .collect();
    assert!(!maps.is_empty(), "{said:?}");
    assert!(maps.iter().all(|map| map.paths.iter().all(|path| path.is_live())), "{maps:?}");
}

#[test]
fn what_a_parent_is_late_with_is_not_pulled_while_there_is_time() {
    let playout_delay = PlayoutDelay::Fixed(Duration::from_secs(10));
    let mut stage = Stage::new(&Config { playout_delay, ..Config::default() });
    // The others tell nothing any more, so this one is the parent of all.
    let parent = stage.others[0];
    stage.others.retain(|other| other.node == parent.node);
    stage.bring(20, |_, _| true);
    let stats = stage.stats();
    assert!(stats.parents.iter().all(|p| *p == Some(parent.node)), "{stats:?}");
    let stopped = channel().seq_at(stage.hand.now);
    let pulls = |stage: &Stage| stage.pulled.iter().filter(|seq| **seq >= stopped).count();
    stage.bring(7, |_, sub| sub.0 != 3);
    assert_eq!(pulls(&stage), 0, "its parent may still bring it");
    stage.bring(2, |_, sub| sub.0 != 3);
    assert!(pulls(&stage) > 0, "it has one second left");
}

#[test]
fn who_cannot_be_dialled_is_asked_with_its_newest_token() {
    let mut hand = a_viewer_with_partners();
    let control = *hand.open.keys().next().unwrap();
    hand.say(control, &Message::BlockLink(Token(7)));
    while let Some((_, to)) = hand.dials.first().copied() {
        let asked = hand.messages(control).len();
        hand.refuse();
        if to == addr(MEMBERS[0]) {
            let said = hand.messages(control).split_off(asked);
            return assert!(said.contains(&Message::DialBack(Token(7))), "{said:?}");
        }
    }
    panic!("it dials everybody whose blocks it wants");
}

#[test]
fn who_has_dialled_us_meanwhile_is_not_asked_to() {
    let mut hand = a_viewer_with_partners();
    let (control, partner) = (*hand.open.keys().next().unwrap(), addr(MEMBERS[0]));
    while hand.dials.first().is_some_and(|(_, to)| *to != partner) {
        hand.refuse();
    }
    let asked = hand.messages(control).len();
    hand.refuse();
    let said = hand.messages(control).split_off(asked);
    let Some(Message::DialBack(token)) = said.last().cloned() else { panic!("{said:?}") };
    // A new token makes it dial once more, and then the partner's own dial gets through.
    hand.say(control, &Message::BlockLink(Token(9)));
    assert!(hand.dials.iter().any(|(_, to)| *to == partner));
    let blocks = hand.accept(partner);
    hand.say(blocks, &hello(MEMBERS[0], Purpose::Block(token)));
    let asked = hand.messages(control).len();
    while !hand.dials.is_empty() {
        hand.refuse();
    }
    let said = hand.messages(control).split_off(asked);
    assert!(!said.iter().any(|m| matches!(m, Message::DialBack(_))), "{said:?}");
}
