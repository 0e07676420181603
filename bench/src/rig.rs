//! A core without sockets: a viewer with eight partners, of which one feeds it
//! and some are fed by it, driven event by event in virtual time.

use std::time::Duration;

use bytes::Bytes;
use eddy_core::config::{Config, PlayoutDelay};
use eddy_core::node::Node;
use eddy_core::stats::Stats;
use eddy_core::stream::channel::Channel;
use eddy_core::stream::map::Path;
use eddy_core::stream::sign::Verifier;
use eddy_core::wire::message::{Member, Message, Purpose, Subscribe, SubscribeReply, Token};
use eddy_core::wire::parse;
use eddy_core::{Action, DialId, Event, LinkId, Machine, Output, Seq, SubStream, Ticket, Time};

use crate::node::join;
use crate::peer::{encode, hello, map, node};
use crate::stream::{Blocks, FIRST, SUB_STREAMS, channel};

/// Partners; the first is the parent, the next ones are the children.
pub const PARTNERS: u32 = 8;
/// Block duration: with two looks at the feeds a block, as the mix has it.
pub const BLOCK: Duration = Duration::from_millis(100);
/// The link on which the parent pushes.
const BLOCKS_IN: LinkId = LinkId(100);
/// The first block of the run.
const BEGIN: Seq = Seq(FIRST.0 + 7);

/// The viewer and its surroundings.
#[derive(Debug)]
pub struct Rig {
    node: Node,
    channel: Channel,
    blocks: Blocks,
    start: Time,
    /// Rounds so far: one block each.
    round: u64,
    /// Bytes that the transport took in this turn, by link.
    taken: Vec<(LinkId, usize)>,
    /// Where actions go besides; for whoever wants to look at them.
    keep: Option<Vec<Action>>,
}

/// One round of the mix: 8 maps, 1 block, 2 wakes.
#[derive(Debug)]
pub struct Round {
    /// A map from each partner.
    pub maps: Vec<(Time, Event)>,
    /// The next block.
    pub block: (Time, Event),
    /// Half-way to the next round, and at its end.
    pub wakes: [(Time, Event); 2],
    /// One of the children subscribes anew; not part of the mix.
    pub subscribe: Option<(Time, Event)>,
}

impl Rig {
    /// A viewer that plays, with this many children for all sub-streams, and
    /// blocks of `length` bytes of payload.
    ///
    /// # Panics
    /// If the node does not do what the script expects.
    #[must_use]
    pub fn new(children: u32, length: usize) -> Self {
        assert!(children < PARTNERS, "the parent is no child");
        let start = Time::from_secs(1_000_000);
        let config = Config {
            verifier: Verifier::ghost(),
            join_offset: Duration::ZERO,
            playout_delay: PlayoutDelay::None,
            ..Config::default()
        };
        let node = Node::viewer(config, [5; 32], start).expect("the preset is valid");
        let mut rig = Self {
            node,
            channel: channel(BLOCK),
            blocks: Blocks::ghost(length),
            start,
            round: 0,
            taken: Vec::with_capacity(64),
            keep: Some(Vec::new()),
        };
        rig.meet();
        rig.find_parent();
        for n in 1..=children {
            rig.adopt(n);
        }
        rig.keep = None;
        rig
    }

    /// Joins, and connects to every partner.
    fn meet(&mut self) {
        let member = |n| Member {
            node: node(n),
            addr: addr(n),
            connectable: true,
            provider: n == 0,
            age: 0,
        };
        let join = join(&self.channel, (0..PARTNERS).map(member).collect());
        self.feed(self.start, Event::Command { ticket: Ticket(1), command: join });
        for (dial, to) in self.dials() {
            let n = u32::from(to.port()) - 1;
            let opened = Event::Opened { link: control(n), dial: Some(dial), remote: to };
            self.feed(self.start, opened);
            let purpose = Purpose::Control(self.channel.id());
            self.hear(control(n), &hello(node(n), purpose, to, to));
            self.hear(control(n), &self.map(n));
        }
    }

    /// Lets the node subscribe, and answers for the parent.
    fn find_parent(&mut self) {
        self.hear(control(0), &Message::BlockLink(Token(1)));
        self.feed(self.start + Duration::from_millis(200), Event::Wake);
        self.feed(self.start + Duration::from_millis(250), Event::Wake);
        for j in 0..SUB_STREAMS {
            let reply = SubscribeReply { sub: SubStream(j), result: Ok(()) };
            self.hear(control(0), &Message::SubscribeReply(reply));
        }
        let (dial, remote) = *self.dials().first().expect("it opens a block link");
        self.feed(self.now(), Event::Opened { link: BLOCKS_IN, dial: Some(dial), remote });
        self.hear(BLOCKS_IN, &hello(node(0), Purpose::Block(Token(1)), remote, remote));
        assert!(self.stats().parents.iter().all(|p| *p == Some(node(0))));
    }

    /// The `n`th partner becomes a child.
    fn adopt(&mut self, n: u32) {
        let is_token = |(link, message): &(LinkId, Message)| match message {
            Message::BlockLink(token) if *link == control(n) => Some(*token),
            _ => None,
        };
        let token = self.said().iter().find_map(is_token).expect("it gives out tokens");
        let link = LinkId(200 + u64::from(n));
        self.feed(self.now(), Event::Opened { link, dial: None, remote: addr(n) });
        self.hear(link, &hello(node(n), Purpose::Block(token), addr(n), addr(n)));
        for j in 0..SUB_STREAMS {
            loop {
                self.hear(control(n), &subscribe(j, BEGIN));
                let children = self.stats().children;
                if children == (n - 1) * u32::from(SUB_STREAMS) + u32::from(j) + 1 {
                    break;
                }
                // Refused: the budget grows at the next review.
                let later = self.now() + Duration::from_millis(250);
                assert!(later < self.start + Duration::from_secs(60), "no room for child {n}");
                self.start = self.start + Duration::from_millis(250);
                self.feed(self.now(), Event::Wake);
            }
        }
    }

    /// The time at which the next round begins.
    #[must_use]
    pub fn now(&self) -> Time {
        self.start + Duration::from_millis(250) + BLOCK * self.round as u32
    }

    /// The node's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.node.stats()
    }

    /// The events of the next round.
    #[must_use]
    pub fn round(&mut self) -> Round {
        let now = self.now();
        let maps = (0..PARTNERS).map(|n| (now, received(control(n), &encode(&self.map(n)))));
        let maps = maps.collect();
        let block = self.blocks.frame(BEGIN, self.round);
        let block = (now, Event::Received { link: BLOCKS_IN, bytes: block });
        let wakes = [(now + BLOCK / 2, Event::Wake), (now + BLOCK, Event::Wake)];
        let n = 1 + (self.round % 4) as u32;
        let again = subscribe((self.round % 8) as u8, BEGIN.plus(self.round + 1));
        let subscribe = Some((now, received(control(n), &encode(&again))));
        self.round += 1;
        Round { maps, block, wakes, subscribe }
    }

    /// Hands the node an event, and does what a driver does: carries out what
    /// it wants, then gives the credit back, once for each link.
    pub fn feed(&mut self, now: Time, event: Event) {
        self.node.handle(now, event);
        self.drain();
        while let Some((link, bytes)) = self.taken.pop() {
            self.node.handle(now, Event::Flushed { link, bytes });
            self.drain();
        }
    }

    /// Hands the node an event and returns all that it wants done about it.
    pub fn actions(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.keep = Some(Vec::new());
        self.feed(now, event);
        self.keep.take().unwrap_or_default()
    }

    fn drain(&mut self) {
        while let Output::Act(action) = self.node.poll() {
            if let Action::Send { link, head, body } = &action {
                let bytes = head.len() + body.len();
                match self.taken.iter_mut().find(|(l, _)| l == link) {
                    Some((_, sum)) => *sum += bytes,
                    None => self.taken.push((*link, bytes)),
                }
            }
            if let Some(keep) = &mut self.keep {
                keep.push(action);
            }
        }
    }

    fn map(&self, n: u32) -> Message {
        let path = if n == 0 { Path { hops: 0, delay: 0 } } else { Path { hops: 3, delay: 900 } };
        map(BEGIN.plus(self.round), path)
    }

    fn hear(&mut self, link: LinkId, message: &Message) {
        self.feed(self.now(), received(link, &encode(message)));
    }

    /// Dials so far, which are then forgotten.
    fn dials(&mut self) -> Vec<(DialId, std::net::SocketAddr)> {
        let mut dials = Vec::new();
        self.keep.iter_mut().for_each(|keep| {
            keep.retain(|action| match action {
                Action::Dial { dial, to } => {
                    dials.push((*dial, *to));
                    false
                }
                _ => true,
            });
        });
        dials
    }

    /// Messages that the node sent so far.
    fn said(&self) -> Vec<(LinkId, Message)> {
        let sent = self.keep.iter().flatten().filter_map(|action| match action {
            Action::Send { link, head, .. } => {
                let message = parse::message(*head.get(4)?, head.get(5..)?).ok()??;
                Some((*link, message))
            }
            _ => None,
        });
        sent.collect()
    }
}

fn addr(n: u32) -> std::net::SocketAddr {
    ([10, 0, 0, n as u8 + 1], n as u16 + 1).into()
}

fn control(n: u32) -> LinkId {
    LinkId(u64::from(n))
}

fn received(link: LinkId, frame: &[u8]) -> Event {
    Event::Received { link, bytes: Bytes::copy_from_slice(frame) }
}

fn subscribe(sub: u8, from: Seq) -> Message {
    Message::Subscribe(Subscribe { sub: SubStream(sub), from, window: Duration::from_secs(30) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_plays_and_feeds_every_child_and_nothing_else_happens() {
        let mut rig = Rig::new(4, 1_000);
        for _ in 0..200 {
            let round = rig.round();
            let events = round.maps.into_iter().chain([round.block]).chain(round.wakes);
            events.for_each(|(now, event)| rig.feed(now, event));
        }
        let stats = rig.stats();
        assert_eq!((stats.due, stats.on_time), (200, 200));
        assert_eq!(stats.blocks_sent, 4 * 200);
        assert_eq!((stats.faults, stats.unwanted, stats.repaired, stats.lost), (0, 0, 0, 0));
        assert_eq!((stats.partners, stats.children), (PARTNERS, 4 * u32::from(SUB_STREAMS)));
        assert_eq!(stats.reselections, 0);
    }
}
