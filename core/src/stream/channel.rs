//! A channel: who provides it, and how its stream is cut.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use smallvec::SmallVec;

use crate::id::{ChannelId, Seq};
use crate::stream::sign::PublicKey;
use crate::time::{Time, micros};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 64;
/// The longest description, in bytes.
pub const MAX_DESCRIPTION: usize = 256;
/// The most sub-streams a channel can have.
pub const MAX_SUB_STREAMS: u8 = 32;
/// The shortest block duration D.
pub const MIN_BLOCK: Duration = Duration::from_millis(20);
/// The longest block duration D, the report's value (report section 2.1, p. 8).
pub const MAX_BLOCK: Duration = Duration::from_secs(1);

/// A provider's or channel's name: 1 to 64 bytes of UTF-8 without `_`, `/`
/// and control characters, since names are joined with `_` in file names
/// (report p. 8) and with `/` in addresses.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(SmallVec<[u8; 24]>);

impl Name {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`ChannelError::Name`] if it is empty, too long, or has a character
    /// that names must not have.
    pub fn new(name: &str) -> Result<Self, ChannelError> {
        let bad = |c: char| c == '_' || c == '/' || c.is_control();
        if name.is_empty() || name.len() > MAX_NAME || name.contains(bad) {
            return Err(ChannelError::Name);
        }
        Ok(Self(SmallVec::from_slice(name.as_bytes())))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A channel's description. Its id is BLAKE3 of key and name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    provider: Name,
    name: Name,
    description: String,
    block: Duration,
    sub_streams: u8,
    file: Duration,
    key: PublicKey,
}

/// What a channel is made of, before it is checked.
#[derive(Clone, Debug)]
pub struct ChannelSpec {
    /// The provider's name.
    pub provider: Name,
    /// The channel's name.
    pub name: Name,
    /// A line about the channel; at most 256 bytes, no control characters.
    pub description: String,
    /// Block duration D: 20 ms to 1 s, whole milliseconds, divides 1 s.
    pub block: Duration,
    /// Sub-streams S: 1 to 32.
    pub sub_streams: u8,
    /// File length F: whole seconds, 1 to 600.
    pub file: Duration,
    /// The provider's public key.
    pub key: PublicKey,
}

/// Why a channel's description was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelError {
    /// A name is empty, longer than 64 bytes, or has `_`, `/` or a control character.
    Name,
    /// The description is longer than 256 bytes or has a control character.
    Description,
    /// The block duration is not 20 ms to 1 s in whole milliseconds that divide 1 s.
    Block,
    /// The number of sub-streams is not 1 to 32.
    SubStreams,
    /// The file length is not 1 to 600 whole seconds.
    File,
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a name needs 1 to 64 bytes without '_', '/' and control characters",
            Self::Description => "a description has at most 256 bytes and no control characters",
            Self::Block => {
                "the block duration must be 20 ms to 1 s and divide one second: \
                 20, 25, 40, 50, 100, 125, 200, 250, 500 or 1000 ms"
            }
            Self::SubStreams => "the number of sub-streams must be 1 to 32",
            Self::File => "the file length must be 1 to 600 whole seconds",
        })
    }
}

impl core::error::Error for ChannelError {}

impl Channel {
    /// Checks a description.
    ///
    /// # Errors
    /// A [`ChannelError`] that names the field at fault.
    pub fn new(spec: ChannelSpec) -> Result<Self, ChannelError> {
        let ChannelSpec { provider, name, description, block, sub_streams, file, key } = spec;
        if description.len() > MAX_DESCRIPTION || description.contains(char::is_control) {
            return Err(ChannelError::Description);
        }
        let us = micros(block);
        if block < MIN_BLOCK
            || block > MAX_BLOCK
            || !us.is_multiple_of(1_000)
            || !1_000_000_u64.is_multiple_of(us)
        {
            return Err(ChannelError::Block);
        }
        if sub_streams == 0 || sub_streams > MAX_SUB_STREAMS {
            return Err(ChannelError::SubStreams);
        }
        if file.subsec_nanos() != 0 || !(1..=600).contains(&file.as_secs()) {
            return Err(ChannelError::File);
        }
        Ok(Self { provider, name, description, block, sub_streams, file, key })
    }

    /// The channel's id: BLAKE3 of the provider's key and the channel's name.
    pub fn id(&self) -> ChannelId {
        channel_id(&self.key, &self.name)
    }

    /// The provider's name.
    pub fn provider(&self) -> &Name {
        &self.provider
    }

    /// The channel's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// A line about the channel.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Block duration D.
    pub fn block(&self) -> Duration {
        self.block
    }

    /// Whether another description is of the same blocks and files: maps and signatures
    /// of the one hold for the other.
    pub fn has_blocks_of(&self, other: &Self) -> bool {
        let parts = |c: &Self| (c.block(), c.sub_streams(), c.file());
        parts(self) == parts(other)
    }

    /// Sub-streams S.
    pub fn sub_streams(&self) -> u8 {
        self.sub_streams
    }

    /// File length F.
    pub fn file(&self) -> Duration {
        self.file
    }

    /// The provider's public key.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// The block whose slot holds this moment of stream time.
    pub fn seq_at(&self, stream: Time) -> Seq {
        Seq(stream.as_micros() / micros(self.block))
    }

    /// The start of a block's slot, in stream time.
    pub fn slot_start(&self, seq: Seq) -> Time {
        Time::from_micros(seq.0.saturating_mul(micros(self.block)))
    }

    /// The end of a block's slot, in stream time: when it can first exist.
    pub fn slot_end(&self, seq: Seq) -> Time {
        self.slot_start(seq.plus(1))
    }

    /// S·D: the time in which each sub-stream brings a block.
    pub fn round(&self) -> Duration {
        self.block * u32::from(self.sub_streams)
    }

    /// How many blocks span a duration, rounded up, at least one.
    pub fn blocks_in(&self, d: Duration) -> u64 {
        micros(d).div_ceil(micros(self.block)).max(1)
    }
}

/// A channel's id from the parts that make it.
pub fn channel_id(key: &PublicKey, name: &Name) -> ChannelId {
    let mut h = blake3::Hasher::new();
    h.update(b"eddy channel id v1");
    h.update(&key.0);
    h.update(name.as_str().as_bytes());
    ChannelId(*h.finalize().as_bytes())
}

/// A channel as the bootstrap server lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelSummary {
    /// Its description.
    pub channel: Channel,
    /// Viewers that the server heard of in the last half minute.
    pub viewers: u32,
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A channel for tests: D = 40 ms, S = 8.
    pub(crate) fn channel(key: PublicKey) -> Channel {
        Channel::new(ChannelSpec { key, ..spec() }).unwrap()
    }

    pub(crate) fn spec() -> ChannelSpec {
        ChannelSpec {
            provider: Name::new("NCTU").unwrap(),
            name: Name::new("Channel1").unwrap(),
            description: String::from("a test"),
            block: Duration::from_millis(40),
            sub_streams: 8,
            file: Duration::from_secs(10),
            key: PublicKey([7; 32]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tests_support::spec;
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        assert!(Channel::new(spec()).is_ok());
        for ms in [0, 10, 19, 30, 60, 300, 1_001, 2_000] {
            let s = ChannelSpec { block: Duration::from_millis(ms), ..spec() };
            assert_eq!(Channel::new(s), Err(ChannelError::Block), "{ms} ms");
        }
        for s in [0, 33] {
            let s = ChannelSpec { sub_streams: s, ..spec() };
            assert_eq!(Channel::new(s), Err(ChannelError::SubStreams));
        }
        let s = ChannelSpec { file: Duration::from_millis(1_500), ..spec() };
        assert_eq!(Channel::new(s), Err(ChannelError::File));
        for n in ["", "a_b", "a/b", "a\n", &"x".repeat(65)] {
            assert_eq!(Name::new(n), Err(ChannelError::Name), "{n:?}");
        }
    }

    #[test]
    fn the_id_stands_for_key_and_name() {
        let a = Channel::new(spec()).unwrap();
        let b = Channel::new(ChannelSpec { key: PublicKey([8; 32]), ..spec() }).unwrap();
        let c = Channel::new(ChannelSpec { name: Name::new("C2").unwrap(), ..spec() }).unwrap();
        let d = Channel::new(ChannelSpec { description: String::new(), ..spec() }).unwrap();
        assert_ne!(a.id(), b.id());
        assert_ne!(a.id(), c.id());
        assert_eq!(a.id(), d.id());
    }

    #[test]
    fn slots_tile_time() {
        let c = Channel::new(spec()).unwrap();
        let t = Time::from_micros(1_700_000_000_123_456);
        let seq = c.seq_at(t);
        assert!(c.slot_start(seq) <= t && t < c.slot_end(seq));
        assert_eq!(c.slot_end(seq), c.slot_start(seq.plus(1)));
        assert_eq!(c.blocks_in(Duration::from_secs(1)), 25);
    }
}
