//! What a viewer takes, and what it asks for again, where every byte counts.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Duration;

use eddy_core::config::{Config, PlayoutDelay};
use eddy_core::node::Node;
use eddy_core::stats::Stats;
use eddy_core::wire::message::{Message, SubscribeReply, Token};
use eddy_core::{Notice, Seq, SubStream};
use eddy_sim::hand::Hand;
use eddy_sim::hand::cast::{
    BLOCK, MEMBERS, Other, SUB_STREAMS, a_block, a_viewer_with_block_links, a_viewer_with_partners,
    addr, channel, full_map,
};

/// A viewer, and partners who grant whatever it subscribes to.
struct Stage {
    hand: Hand<Node>,
    others: Vec<Other>,
    /// Messages of the viewer to each of them that were looked at.
    heard: Vec<usize>,
    pulled: Vec<Seq>,
}

impl Stage {
    fn new(config: &Config) -> Self {
        let (hand, others) = a_viewer_with_block_links(config);
        let heard = others.iter().map(|other| hand.messages(other.control).len()).collect();
        Self { hand, others, heard, pulled: Vec::new() }
    }

    fn stats(&self) -> Stats {
        let stats = self.hand.notices.iter().rev().find_map(|notice| match notice {
            Notice::Stats(stats) => Some((**stats).clone()),
            _ => None,
        });
        stats.unwrap()
    }

    /// In each slot those chosen by `by` bring that slot's block.
    fn bring(&mut self, seconds: u32, by: impl Fn(&Other, SubStream) -> bool) {
        for slot in 0..seconds * 25 {
            if slot % 25 == 0 {
                let map = full_map(self.hand.now);
                self.others.iter().for_each(|other| self.hand.say(other.control, &map));
            }
            let seq = channel().seq_at(self.hand.now);
            for other in self.others.iter().filter(|o| by(o, seq.sub_stream(SUB_STREAMS))) {
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
                    Message::Pull(seqs) => self.pulled.extend(seqs),
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
    assert!(stats.parents.iter().any(|parent| *parent != Some(bringer)), "{stats:?}");
    assert!(stats.from_peers >= 70 && stats.unwanted == 0, "{stats:?}");
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
