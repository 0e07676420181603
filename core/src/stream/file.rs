//! The file: the blocks of F seconds of stream time, the unit of caching, of
//! publishing, and of a key in the DHT (report section 2.1, p. 8).

mod blocks;
#[cfg(any(test, feature = "check"))]
pub mod check;
mod name;

use sha1::{Digest as _, Sha1};

use crate::id::{ChannelId, Seq};
use crate::stream::channel::Channel;
use crate::time::{Time, micros};

pub use self::blocks::{Blocks, FRAME_HEAD, FileError, Walk};
pub use self::name::{FileName, FileNameError, MAX_FILE_NAME};

/// A file of one channel. Files tile stream time: each begins at a multiple of
/// F, and holds every block whose slot begins within F from there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId {
    /// Its start in stream time: whole seconds since the Unix epoch, a
    /// multiple of F.
    pub start: u64,
}

impl FileId {
    /// The file with this start in seconds; `None` if no file of the channel
    /// begins there.
    pub fn new(channel: &Channel, start: u64) -> Option<Self> {
        start.is_multiple_of(length(channel)).then_some(Self { start })
    }

    /// The file that holds a block.
    pub fn of(channel: &Channel, seq: Seq) -> Self {
        Self::around(channel, seq.0 / blocks_in_second(channel))
    }

    /// The file that holds a moment of stream time.
    pub fn at(channel: &Channel, stream: Time) -> Self {
        Self::around(channel, stream.as_micros() / 1_000_000)
    }

    fn around(channel: &Channel, second: u64) -> Self {
        Self { start: second - second % length(channel) }
    }

    /// Its first block.
    pub fn first(self, channel: &Channel) -> Seq {
        Seq(self.start.saturating_mul(blocks_in_second(channel)))
    }

    /// Its last block.
    pub fn last(self, channel: &Channel) -> Seq {
        self.first(channel).plus(Self::blocks(channel) - 1)
    }

    /// How many blocks a file of the channel has: F / D, 1 to 30,000.
    pub fn blocks(channel: &Channel) -> u64 {
        length(channel).saturating_mul(blocks_in_second(channel)).max(1)
    }

    /// Its key in the DHT: SHA-1 of the channel's id (32 bytes) and the start
    /// in seconds (8 bytes, most significant first).
    pub fn key(self, channel: &ChannelId) -> [u8; 20] {
        let mut hash = Sha1::new();
        hash.update(channel.0);
        hash.update(self.start.to_be_bytes());
        hash.finalize().into()
    }
}

/// F in seconds; a channel's is never zero.
fn length(channel: &Channel) -> u64 {
    channel.file().as_secs().max(1)
}

/// A whole number, for D divides one second.
fn blocks_in_second(channel: &Channel) -> u64 {
    1_000_000 / micros(channel.block())
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use crate::stream::channel::ChannelSpec;
    use crate::stream::channel::tests_support::spec;
    use core::time::Duration;

    /// A channel with this D in milliseconds and F in seconds.
    pub(crate) fn channel(block: u64, file: u64) -> Channel {
        let block = Duration::from_millis(block);
        Channel::new(ChannelSpec { block, file: Duration::from_secs(file), ..spec() }).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::tests_support::channel;
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn every_block_is_in_one_file(seq: u64, block: usize, file: u64) -> bool {
            let blocks = [20, 25, 40, 50, 100, 125, 200, 250, 500, 1_000];
            let c = channel(blocks[block % blocks.len()], 1 + file % 600);
            // Beyond it the end of a file may be no number any more.
            let seq = Seq(seq / 2);
            let id = FileId::of(&c, seq);
            FileId::new(&c, id.start) == Some(id)
                && (id.first(&c)..=id.last(&c)).contains(&seq)
                && FileId::of(&c, id.first(&c)) == id
                && FileId::of(&c, id.last(&c)) == id
                && FileId::of(&c, id.last(&c).plus(1)).start == id.start + c.file().as_secs()
                && id.last(&c).0 - id.first(&c).0 + 1 == FileId::blocks(&c)
                && FileId::blocks(&c) == c.blocks_in(c.file())
        }

        fn a_moment_is_in_the_file_of_its_block(micros: u64) -> bool {
            let c = channel(40, 10);
            let moment = Time::from_micros(micros);
            FileId::at(&c, moment) == FileId::of(&c, c.seq_at(moment))
        }
    }

    #[test]
    fn a_file_begins_at_a_multiple_of_its_length() {
        let c = channel(1_000, 10);
        assert_eq!(FileId::new(&c, 1_277_058_320), Some(FileId { start: 1_277_058_320 }));
        assert_eq!(FileId::new(&c, 1_277_058_325), None);
        let id = FileId { start: 1_277_058_320 };
        assert_eq!((id.first(&c), id.last(&c)), (Seq(1_277_058_320), Seq(1_277_058_329)));
        let c = channel(20, 600);
        let id = FileId { start: 600 };
        assert_eq!((id.first(&c), id.last(&c)), (Seq(30_000), Seq(59_999)));
    }

    #[test]
    fn numbers_without_end_saturate() {
        let c = channel(20, 600);
        let last = FileId::of(&c, Seq(u64::MAX));
        assert!(last.first(&c) <= Seq(u64::MAX) && last.last(&c) == Seq(u64::MAX));
        let beyond = FileId { start: u64::MAX };
        assert_eq!((beyond.first(&c), beyond.last(&c)), (Seq(u64::MAX), Seq(u64::MAX)));
    }

    #[test]
    fn the_key_is_sha1_of_channel_and_start() {
        let hex = |key: [u8; 20]| {
            key.iter().map(|b| std::format!("{b:02x}")).collect::<std::string::String>()
        };
        let key = |id, start| hex(FileId { start }.key(&ChannelId([id; 32])));
        assert_eq!(key(0, 0), "b80de5d138758541c5f05265ad144ab9fa86d1db");
        assert_eq!(key(7, 1_277_058_320), "07753715018a8377d1f054be6347869365573de8");
    }
}
