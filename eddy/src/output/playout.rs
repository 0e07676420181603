//! From the core's hand to the player: unpacks blocks, begins where a player
//! can begin, and lets packets leave at their times.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::stream::block::packets;
use eddy_core::{Delivery, Time};
use smallvec::SmallVec;

use crate::output::Outlet;
use crate::pace::{Clock, Pacer, Timed};
use crate::ts::start::Start;

/// Slots further apart than this are no neighbours: the stream goes on elsewhere.
const LEAP: Duration = Duration::from_secs(2);

/// A viewer's play-out.
#[derive(Debug)]
pub struct Playout {
    start: Start,
    /// How to start again after a leap.
    fresh: Start,
    /// The slot of the last block.
    last: Option<Time>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// On the caller's thread; never blocks.
    Direct(Outlet),
    Paced(Pacer),
}

impl Playout {
    /// Plays blocks that come with a time to leave, or an output that may block.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn paced(
        outlet: Outlet,
        start: Start,
        clock: Clock,
        give_up: Duration,
    ) -> io::Result<Self> {
        Ok(Self::new(start, Way::Paced(Pacer::new(outlet, clock, give_up)?)))
    }

    /// Plays each block when it comes, with nothing between core and player:
    /// for play-out delay 0 and an output that never [blocks](Outlet::may_block).
    pub fn direct(outlet: Outlet, start: Start) -> Self {
        Self::new(start, Way::Direct(outlet))
    }

    fn new(start: Start, way: Way) -> Self {
        Self { fresh: start.clone(), start, last: None, way }
    }

    /// What comes next is of another channel: the player begins anew.
    pub fn begin_again(&mut self) {
        self.start = self.fresh.clone();
        self.last = None;
    }

    /// Takes a block from the core. Never waits for the player, except one
    /// that blocks in a direct play-out.
    ///
    /// # Errors
    /// What the output failed with; `BrokenPipe` means that the player has
    /// gone, and calls for a quiet end.
    pub fn deliver(&mut self, delivery: &Delivery) -> io::Result<()> {
        let slot = delivery.slot;
        if self.last.is_some_and(|last| slot <= last || slot.since(last) > LEAP) {
            self.begin_again();
        }
        self.last = Some(slot);
        let start = &mut self.start;
        let passed = packets(&delivery.payload).flat_map(|packet| {
            let due = delivery.due.map(|due| due + packet.offset);
            let timed = Timed { due, payload: packet.payload };
            start.push(slot + packet.offset, timed)
        });
        match &mut self.way {
            Way::Direct(outlet) => {
                let packets: SmallVec<[Bytes; 32]> = passed.map(|packet| packet.payload).collect();
                outlet.burst(&packets)?;
                outlet.flush()
            }
            Way::Paced(pacer) => pacer.push(passed.collect()),
        }
    }

    /// Whether the player has been given a first packet to begin with.
    pub fn begun(&self) -> bool {
        self.start.begun()
    }

    /// Plays what waits, for `patience` at most.
    ///
    /// # Errors
    /// What the output failed with, or `TimedOut`.
    pub fn close(self, patience: Duration) -> io::Result<()> {
        match self.way {
            Way::Direct(mut outlet) => outlet.flush(),
            Way::Paced(pacer) => pacer.close(patience),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Output;
    use bytes::Bytes;
    use eddy_core::Seq;
    use eddy_core::stream::block::BlockBuilder;
    use std::net::UdpSocket;

    fn delivery(slot: u64, packets: &[&[u8]]) -> Delivery {
        let mut builder = BlockBuilder::default();
        for (n, packet) in packets.iter().enumerate() {
            assert!(builder.push(Duration::from_millis(n as u64), packet, 1 << 20));
        }
        let payload = Bytes::copy_from_slice(builder.payload());
        Delivery { seq: Seq(slot), due: None, slot: Time::from_secs(slot), payload }
    }

    fn player() -> (UdpSocket, Outlet) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let url = format!("udp://{}", socket.local_addr().unwrap());
        let outlet = Output::parse(&url).unwrap().open().unwrap();
        (socket, outlet)
    }

    fn hears(player: &UdpSocket, expected: &[u8]) {
        let mut buffer = [0; 2_000];
        let length = player.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], expected);
    }

    #[test]
    fn unpacks_blocks_in_order_either_way() {
        let clock: Clock = std::sync::Arc::new(|| Time::from_secs(100));
        for paced in [false, true] {
            let (socket, outlet) = player();
            let mut playout = if paced {
                let give_up = Duration::from_secs(1);
                Playout::paced(outlet, Start::any(), clock.clone(), give_up).unwrap()
            } else {
                Playout::direct(outlet, Start::any())
            };
            playout.deliver(&delivery(1, &[b"a", b"bb"])).unwrap();
            playout.deliver(&delivery(2, &[])).unwrap();
            playout.deliver(&delivery(3, &[b"ccc"])).unwrap();
            playout.close(Duration::from_secs(5)).unwrap();
            [&b"a"[..], b"bb", b"ccc"].iter().for_each(|packet| hears(&socket, packet));
        }
    }

    #[test]
    fn stream_time_ends_the_search_for_a_start() {
        let (socket, outlet) = player();
        let mut playout = Playout::direct(outlet, Start::clean());
        playout.deliver(&delivery(1, &[b"not"])).unwrap();
        assert!(!playout.begun());
        playout.deliver(&delivery(3, &[b"ts"])).unwrap();
        assert!(playout.begun());
        hears(&socket, b"not");
        hears(&socket, b"ts");
    }

    #[test]
    fn after_a_leap_the_player_begins_where_a_player_can() {
        let (socket, outlet) = player();
        let mut playout = Playout::direct(outlet, Start::clean());
        // No transport stream: the search for its start ends after a while.
        [100, 102].iter().for_each(|s| playout.deliver(&delivery(*s, &[b"old"])).unwrap());
        assert!(playout.begun());
        for slot in [101, 200] {
            playout.deliver(&delivery(slot, &[b"new"])).unwrap();
            assert!(!playout.begun(), "from {slot} on it searches again");
            playout.deliver(&delivery(slot + 2, &[b"new"])).unwrap();
            assert!(playout.begun());
        }
        playout.begin_again();
        assert!(!playout.begun());
        drop(socket);
    }
}
