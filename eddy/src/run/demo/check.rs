//! Whether viewers are handed what went into the provider: each block's
//! packets, in order, and no block left out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use eddy_core::stream::block::packets;
use eddy_core::stream::channel::Channel;
use eddy_core::{Command, Delivery, Event, Machine, Output, Seq, Time};

/// Blocks remembered: minutes, where viewers are seconds behind.
const REMEMBERED: usize = 10_000;

/// Digests of the blocks as they should be.
#[derive(Debug, Default)]
pub(super) struct Published(Mutex<Digests>);

#[derive(Debug, Default)]
struct Digests {
    closed: BTreeMap<Seq, blake3::Hash>,
    open: Option<(Seq, blake3::Hasher)>,
}

impl Published {
    fn packet(&self, seq: Seq, packet: &[u8]) {
        let mut digests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if digests.open.as_ref().is_none_or(|(open, _)| *open != seq)
            && let Some((before, hasher)) = digests.open.replace((seq, blake3::Hasher::new()))
        {
            digests.closed.insert(before, hasher.finalize());
            if digests.closed.len() > REMEMBERED {
                digests.closed.pop_first();
            }
        }
        if let Some((_, hasher)) = &mut digests.open {
            add(hasher, packet);
        }
    }

    /// The digest of a slot that has ended.
    fn digest(&self, seq: Seq) -> blake3::Hash {
        let digests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = digests.open.as_ref().filter(|(open, _)| *open == seq);
        let found = open.map(|(_, hasher)| hasher.finalize());
        // Nothing came in a slot that nobody wrote down.
        found.or(digests.closed.get(&seq).copied()).unwrap_or(blake3::Hasher::new().finalize())
    }
}

/// The length makes the borders between packets part of the digest.
fn add(hasher: &mut blake3::Hasher, packet: &[u8]) {
    hasher.update(&(packet.len() as u32).to_be_bytes()).update(packet);
}

/// A provider whose packets are written down on their way in, by the slot of
/// the very time that the provider is given.
#[derive(Debug)]
pub(super) struct Witness<M> {
    pub(super) provider: M,
    pub(super) channel: Channel,
    pub(super) published: Arc<Published>,
}

impl<M: Machine> Machine for Witness<M> {
    fn handle(&mut self, now: Time, event: Event) {
        if let Event::Command { command: Command::Publish(packet), .. } = &event {
            self.published.packet(self.channel.seq_at(now), packet);
        }
        self.provider.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        self.provider.poll()
    }
}

/// What one viewer was handed.
#[derive(Debug)]
pub(super) struct Checked {
    published: Arc<Published>,
    next: Option<Seq>,
    /// Blocks that should have come between others.
    pub(super) missing: u64,
    /// Blocks that are not what was published, or came twice.
    pub(super) wrong: u64,
}

impl Checked {
    pub(super) fn new(published: Arc<Published>) -> Self {
        Self { published, next: None, missing: 0, wrong: 0 }
    }

    /// Checks the next block that the player would be given.
    pub(super) fn block(&mut self, delivery: &Delivery) {
        let next = self.next.unwrap_or(delivery.seq);
        if delivery.seq < next {
            self.wrong += 1;
            return;
        }
        self.missing += delivery.seq.0 - next.0;
        self.next = Some(delivery.seq.plus(1));
        let mut hasher = blake3::Hasher::new();
        packets(&delivery.payload).for_each(|packet| add(&mut hasher, &packet.payload));
        self.wrong += u64::from(hasher.finalize() != self.published.digest(delivery.seq));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use eddy_core::stream::block::BlockBuilder;
    use std::time::Duration;

    fn delivery(seq: u64, packets: &[&[u8]]) -> Delivery {
        let mut builder = BlockBuilder::default();
        for packet in packets {
            assert!(builder.push(Duration::ZERO, packet, 1 << 16));
        }
        let payload = Bytes::copy_from_slice(builder.payload());
        Delivery { seq: Seq(seq), due: None, slot: Time::ZERO, payload }
    }

    /// Slot 1 has two packets, slot 2 none, slot 3 one.
    fn published() -> Arc<Published> {
        let published = Published::default();
        published.packet(Seq(1), b"ab");
        published.packet(Seq(1), b"c");
        published.packet(Seq(3), b"d");
        Arc::new(published)
    }

    fn verdict(deliveries: &[Delivery]) -> (u64, u64) {
        let mut checked = Checked::new(published());
        deliveries.iter().for_each(|delivery| checked.block(delivery));
        (checked.missing, checked.wrong)
    }

    #[test]
    fn a_contiguous_range_passes() {
        let all = [delivery(1, &[b"ab", b"c"]), delivery(2, &[]), delivery(3, &[b"d"])];
        assert_eq!(verdict(&all), (0, 0));
        assert_eq!(verdict(&all[1..]), (0, 0));
    }

    #[test]
    fn gaps_changes_and_repeats_are_found() {
        let first = || delivery(1, &[b"ab", b"c"]);
        assert_eq!(verdict(&[first(), delivery(3, &[b"d"])]), (1, 0));
        assert_eq!(verdict(&[first(), first()]), (0, 1));
        assert_eq!(verdict(&[delivery(1, &[b"ab"])]), (0, 1));
        assert_eq!(verdict(&[delivery(1, &[b"a", b"bc"])]), (0, 1), "borders count");
        assert_eq!(verdict(&[first(), delivery(2, &[b"x"])]), (0, 1), "the slot was empty");
    }
}
