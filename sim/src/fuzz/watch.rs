//! What must hold in every scenario, watched from outside the nodes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::config::Config;
use eddy_core::stats::Stats;
use eddy_core::stream::block::{Block, packets};
use eddy_core::time::micros;
use eddy_core::wire::frame::MAX_CONTROL;
use eddy_core::{Action, Delivery, NodeId, Notice, Seq, Ticket, Time};

use crate::{NodeIx, Observer, World};

/// Bytes of a packet of the encoder.
const PACKET: usize = 400;
/// What a closing link may say on top of its window: all control that waits.
const LAST_WORDS: usize = 256 << 10;
/// Seconds after which viewers that feed each other in a circle count as stuck.
/// By then hop counts have reached their limit, 64: each map that changes one
/// comes after at most 100 ms and half a round trip.
const CIRCLE: u32 = 18;
/// How old a node's account of itself may be to say who its parents are; one comes
/// each second.
const ACCOUNT: Duration = Duration::from_secs(3);
/// A viewer that plays has handed over a block within this time.
const FRESH: Duration = Duration::from_secs(2);

/// The n-th packet of the encoder: its number and bytes that follow from it.
pub(super) fn packet(n: u64) -> Bytes {
    let mut bytes = n.to_be_bytes().to_vec();
    bytes.resize(PACKET, (n % 251) as u8);
    bytes.into()
}

/// The blocks that the provider ever sent, over all its lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Record(Rc<RefCell<Sent>>);

#[derive(Debug, Default)]
struct Sent {
    payloads: BTreeMap<Seq, Bytes>,
    /// The longest frame, in bytes.
    longest: usize,
}

impl Record {
    /// Notes a block. A number stands for one payload, for ever.
    pub(super) fn take(&self, action: &Action) {
        let Action::Send { body, .. } = action else { return };
        let block = Block::from_frame(body.clone()).expect("a provider sends whole blocks");
        let payload = block.payload();
        let mut sent = self.0.borrow_mut();
        sent.longest = sent.longest.max(body.len());
        let known = sent.payloads.entry(block.seq()).or_insert_with(|| payload.clone());
        assert_eq!(*known, payload, "{:?} was sent with two payloads", block.seq());
    }
}

/// Who a node is.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    /// Unless it is a server.
    pub(super) id: Option<NodeId>,
    /// Its configured cap, in bytes per second.
    pub(super) max_upload: Option<u64>,
    /// What its uplink carries, in bytes per second.
    pub(super) uplink: Option<u64>,
    /// It cannot be dialled.
    pub(super) hidden: bool,
    /// It is a viewer that does not keep to the protocol.
    pub(super) lies: bool,
}

/// What became of a node.
#[derive(Debug)]
struct Life {
    who: Who,
    born: Time,
    /// How often its clock was set.
    leaps: u64,
    /// It was told to leave, or refused what it wanted.
    left: bool,
    next: Option<Seq>,
    next_packet: u64,
    last: Time,
    stats: Stats,
    /// When it said so.
    told: Time,
    /// For how many seconds each of its sub-streams has come in a circle.
    circles: BTreeMap<usize, u32>,
}

pub(super) struct Watch {
    config: Config,
    record: Record,
    lives: BTreeMap<NodeIx, Life>,
}

impl Watch {
    pub(super) fn new(config: &Config) -> Self {
        Self { config: config.clone(), record: Record::default(), lives: BTreeMap::new() }
    }

    pub(super) fn record(&self) -> Record {
        self.record.clone()
    }

    /// The highest number that the provider has used.
    pub(super) fn highest(&self) -> Option<Seq> {
        self.record.0.borrow().payloads.keys().next_back().copied()
    }

    pub(super) fn born(&mut self, ix: NodeIx, now: Time, who: Who) {
        let life = Life {
            who,
            born: now,
            leaps: 0,
            left: false,
            next: None,
            next_packet: 0,
            last: now,
            stats: Stats::default(),
            told: now,
            circles: BTreeMap::new(),
        };
        self.lives.insert(ix, life);
    }

    fn life(&self, ix: NodeIx) -> &Life {
        &self.lives[&ix]
    }

    fn life_mut(&mut self, ix: NodeIx) -> &mut Life {
        self.lives.get_mut(&ix).expect("every node was born")
    }

    pub(super) fn leapt(&mut self, ix: NodeIx) {
        self.life_mut(ix).leaps += 1;
    }

    pub(super) fn leaves(&mut self, ix: NodeIx) {
        self.life_mut(ix).left = true;
    }

    /// Whether a node stays and does its part, and its clock tells the time.
    pub(super) fn is_sound(&self, ix: NodeIx) -> bool {
        let life = self.life(ix);
        !life.who.lies && !life.left && life.leaps == 0
    }

    /// How much a node may send, in bytes per second.
    pub(super) fn upload(&self, ix: NodeIx) -> u64 {
        let who = &self.life(ix).who;
        who.max_upload.into_iter().chain(who.uplink).min().unwrap_or(u64::MAX)
    }

    /// Whether everybody can be dialled.
    pub(super) fn is_open(&self) -> bool {
        self.lives.values().all(|life| !life.who.hidden)
    }

    /// Whether nobody lies.
    pub(super) fn is_honest(&self) -> bool {
        self.lives.values().all(|life| !life.who.lies)
    }

    /// What must hold at any time.
    pub(super) fn check(&self, world: &World) {
        let frame = self.record.0.borrow().longest.max(MAX_CONTROL);
        for (ix, life) in self.lives.iter().filter(|(ix, _)| world.is_live(**ix)) {
            let most = self.config.send_window + frame;
            for (id, link) in &world.nodes[ix.index()].links {
                let (flying, most) =
                    (link.unflushed, if link.closing { most + LAST_WORDS } else { most });
                assert!(flying <= most, "{flying} bytes on {id:?} of {ix:?}, most {most} (C8)");
            }
            let age = micros(world.now().since(life.born));
            if let Some(uplink) = life.who.uplink {
                let (sent, most) = (world.traffic(*ix).sent, uplink * age / 1_000_000);
                assert!(sent <= most, "{sent} bytes sent by {ix:?}, whose uplink carries {most}");
            }
        }
    }

    /// A node's own account of itself adds up.
    fn audit(&self, now: Time, ix: NodeIx, new: &Stats) {
        let life = self.life(ix);
        let old = &life.stats;
        let told = || format!("{ix:?}: {new:?} after {old:?}");
        assert!(new.on_time + new.late + new.lost <= new.due, "{}", told());
        assert!(new.control_sent <= new.bytes_sent, "{}", told());
        assert!(new.members as usize <= self.config.members, "{}", told());
        // What is dialled comes on top of the limit: two links a partner, and the server.
        let links = self.config.max_links + 2 * self.config.max_partners + 1;
        assert!(new.links as usize <= links, "{}", told());
        let counters = |s: &Stats| {
            [s.due, s.on_time, s.late, s.lost, s.packets, s.arrivals, s.blocks_sent, s.bytes_sent]
        };
        let grows = counters(old).into_iter().zip(counters(new)).all(|(old, new)| old <= new);
        assert!(grows, "a counter shrank: {}", told());
        assert!(!new.parents.iter().flatten().any(|p| Some(*p) == life.who.id), "{}", told());
        if let Some(cap) = life.who.max_upload {
            let frame = self.record.0.borrow().longest as u64;
            let age = micros(now.since(life.born)) / 1_000 + 1;
            // Clocks drift, and a leap may fill the bucket once more.
            let most = cap * age / 950 + (1 + life.leaps) * (cap / 10 + frame);
            let sent = new.bytes_sent - new.control_sent;
            assert!(sent <= most, "{sent} bytes of blocks, the cap allows {most}: {}", told());
        }
    }

    /// Notes who is fed in a circle; where maps carry paths, and at once, none
    /// may last. To be called once a second.
    pub(super) fn look_for_cycles(&mut self, world: &World) {
        if !self.config.paths || self.config.map_min_interval.is_zero() {
            return;
        }
        // Whose clock was set back says nothing until its own time has come round.
        let recent = |life: &Life| world.now().since(life.told) <= ACCOUNT;
        let lives = || self.lives.iter().filter(|(ix, _)| world.is_live(**ix));
        let by_id: BTreeMap<NodeId, &Life> = lives()
            .filter(|(_, life)| recent(life))
            .filter_map(|(_, life)| Some((life.who.id?, life)))
            .collect();
        let parent = |id, j| by_id.get(&id)?.stats.parents.get(j).copied().flatten();
        let in_circle = |id: NodeId, j| {
            let above = |at: &NodeId| parent(*at, j);
            std::iter::successors(parent(id, j), above).take(by_id.len()).any(|at| at == id)
        };
        let mut found = Vec::new();
        for (ix, life) in lives() {
            let Some(id) = life.who.id else { continue };
            let circled = |j: &usize| in_circle(id, *j);
            found.push((*ix, (0..life.stats.parents.len()).filter(circled).collect::<Vec<_>>()));
        }
        for (ix, subs) in found {
            let circles = &mut self.life_mut(ix).circles;
            circles.retain(|j, _| subs.contains(j));
            for j in subs {
                let seconds = circles.entry(j).or_default();
                *seconds += 1;
                assert!(*seconds < CIRCLE, "{ix:?} is fed sub-stream {j} in a circle");
            }
        }
    }

    /// A viewer to which nothing lasting happened plays.
    pub(super) fn assert_plays(&self, world: &World, ix: NodeIx) {
        let life = self.life(ix);
        if !self.is_sound(ix) {
            return;
        }
        let ago = world.now().since(life.last);
        let whereabouts = world.whereabouts(Some(ix));
        assert!(ago <= FRESH, "no block for {ago:?}: {:?}; {whereabouts}", life.stats);
    }
}

impl Observer for Watch {
    /// What is played is what was sent, in order.
    fn delivered(&mut self, now: Time, ix: NodeIx, delivery: &Delivery) {
        let record = self.record.clone();
        let life = self.life_mut(ix);
        let seq = delivery.seq;
        assert!(life.next.is_none_or(|next| seq >= next), "{ix:?}: {seq:?} after {:?}", life.next);
        life.next = Some(seq.plus(1));
        life.last = now;
        let sent = record.0.borrow();
        assert_eq!(sent.payloads.get(&seq), Some(&delivery.payload), "{ix:?}: {seq:?} was altered");
        for p in packets(&delivery.payload) {
            let Some(Ok(number)) = p.payload.get(..8).map(TryInto::try_into) else { continue };
            let n = u64::from_be_bytes(number);
            if p.payload == packet(n) {
                assert!(n >= life.next_packet, "{ix:?}: packet {n} after {}", life.next_packet);
                life.next_packet = n + 1;
            }
        }
    }

    fn notified(&mut self, now: Time, ix: NodeIx, notice: &Notice) {
        match notice {
            Notice::Stats(stats) => {
                self.audit(now, ix, stats);
                let life = self.life_mut(ix);
                (life.stats, life.told) = ((**stats).clone(), now);
            }
            // Its join was refused: it need not play.
            Notice::Ended { ticket: Ticket(0), result: Err(_) } => self.leaves(ix),
            _ => {}
        }
    }
}
