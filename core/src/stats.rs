//! What a node counts. Counters only grow; gauges say how things stand.

use core::time::Duration;

use smallvec::SmallVec;

use crate::id::NodeId;
use crate::time::Time;
use crate::wire::message::Message;

/// Counters and gauges of one node, told once a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    // Play-out.
    /// Blocks that were due so far.
    pub due: u64,
    /// Of these, how many were there when they were due.
    pub on_time: u64,
    /// Of these, how many came late but came.
    pub late: u64,
    /// Of these, how many were given up.
    pub lost: u64,
    /// Packets handed to the player, or taken from the encoder.
    pub packets: u64,
    /// Payload bytes handed to the player, or taken from the encoder.
    pub payload: u64,
    /// From the join command to the first block handed over.
    pub startup: Option<Duration>,
    /// How long after it came to the provider a packet is played, not counting
    /// the fastest path between the two, which nobody can know without
    /// synchronised clocks.
    pub playout_delay: Option<Duration>,
    /// How far the newest block here is ahead of play-out.
    pub buffered: Duration,
    /// The moment that is played next, in stream time.
    pub position: Option<Time>,
    /// How long before the live edge that is.
    pub behind: Option<Duration>,

    // Blocks by source.
    /// Blocks received from other viewers.
    pub from_peers: u64,
    /// Blocks received from the provider.
    pub from_provider: u64,
    /// Blocks asked for that were here already.
    pub duplicates: u64,
    /// Blocks received because they were pulled.
    pub repaired: u64,
    /// Blocks refused because their signature did not hold.
    pub forged: u64,
    /// Blocks dropped unread: unasked for and not missing, outside the window, from
    /// the future.
    pub unwanted: u64,
    /// Blocks received that were not there already when the viewer joined.
    pub arrivals: u64,
    /// Sum over these of (arrival − end of slot) on this node's own clock, in
    /// microseconds. Means something only where all clocks are one: on one
    /// machine, or simulated.
    pub arrival_delay_sum: u64,

    // Serving.
    /// Blocks sent.
    pub blocks_sent: u64,
    /// Blocks dropped unsent because the child could no longer use them.
    pub blocks_dropped: u64,
    /// Bytes sent, of all kinds.
    pub bytes_sent: u64,
    /// Bytes sent that were not blocks.
    pub control_sent: u64,
    /// Bytes received, of all kinds.
    pub bytes_received: u64,
    /// Blocks of the past received, by source.
    pub shift: Shift,
    /// Blocks of the past sent.
    pub past_sent: u64,
    /// Files fetched because others needed them kept.
    pub recruited: u64,
    /// Files of the past kept here, now.
    pub files: u32,
    /// Bytes of these.
    pub file_bytes: u64,
    /// Messages sent that come in a rhythm.
    pub rhythm: Rhythm,
    /// Sub-stream subscriptions served now.
    pub children: u32,
    /// Sub-stream subscriptions that could be served.
    pub upload_slots: u32,

    // Mesh.
    /// Parent of each sub-stream, now.
    pub parents: SmallVec<[Option<NodeId>; 8]>,
    /// Partners now.
    pub partners: u32,
    /// Members known now.
    pub members: u32,
    /// Viewers in the channel, as the bootstrap server last said.
    pub viewers: u32,
    /// Connections now.
    pub links: u32,
    /// Changes of parent so far.
    pub reselections: u64,
    /// Peers that lost their connection for breaking the protocol.
    pub faults: u64,
}

/// Blocks of the past, each counted once (report Table 4-2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// From another viewer, or from this node's own disk.
    pub peer: u64,
    /// From the provider, because they were needed within seconds.
    pub emergency: u64,
    /// From the provider, because those who should have them did not give them.
    pub failed: u64,
    /// From the provider, because nobody else was known to have them.
    pub no_owner: u64,
    /// Not at all.
    pub lost: u64,
}

/// Messages sent whose number follows from time and partners alone, so that two
/// runs of the same swarm can be held against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rhythm {
    /// Buffer maps.
    pub maps: u64,
    /// Gossip of members.
    pub gossip: u64,
    /// Heartbeats to the bootstrap server.
    pub heartbeats: u64,
    /// Pings.
    pub pings: u64,
}

impl Rhythm {
    pub(crate) fn count(&mut self, message: &Message) {
        let counter = match message {
            Message::BufferMap(_) => &mut self.maps,
            Message::Gossip(_) => &mut self.gossip,
            Message::Heartbeat(_) => &mut self.heartbeats,
            Message::Ping(_) => &mut self.pings,
            _ => return,
        };
        *counter += 1;
    }
}

impl Stats {
    /// Blocks on time over blocks due, 0 to 1; 1 while nothing was due
    /// (DONet, INFOCOM 2005, section V).
    pub fn continuity(&self) -> f64 {
        if self.due == 0 { 1.0 } else { self.on_time as f64 / self.due as f64 }
    }

    /// Share of received blocks, live and past, that came from other viewers, 0
    /// to 1.
    pub fn peer_share(&self) -> f64 {
        let all = self.from_peers + self.from_provider + self.shift.received();
        let peers = self.from_peers + self.shift.peer;
        if all == 0 { 0.0 } else { peers as f64 / all as f64 }
    }
}

impl Shift {
    /// Blocks that came, from wherever.
    pub fn received(&self) -> u64 {
        self.peer + self.emergency + self.failed + self.no_owner
    }
}
