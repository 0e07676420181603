//! What state files hold, as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use eddy_core::NodeId;
use eddy_core::stream::channel::{Channel, ChannelSpec, Name};
use eddy_core::wire::message::Member;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) stream_time_us: u64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) channel: ChannelRecord,
    pub(super) members: Vec<MemberRecord>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ChannelRecord {
    provider: String,
    name: String,
    description: String,
    block_ms: u64,
    sub_streams: u8,
    file_s: u64,
    key: String,
}

impl From<&Channel> for ChannelRecord {
    fn from(channel: &Channel) -> Self {
        Self {
            provider: channel.provider().to_string(),
            name: channel.name().to_string(),
            description: channel.description().to_owned(),
            block_ms: channel.block().as_millis() as u64,
            sub_streams: channel.sub_streams(),
            file_s: channel.file().as_secs(),
            key: channel.key().to_string(),
        }
    }
}

impl ChannelRecord {
    pub(super) fn into_channel(self) -> Option<Channel> {
        let spec = ChannelSpec {
            provider: Name::new(&self.provider).ok()?,
            name: Name::new(&self.name).ok()?,
            description: self.description,
            block: Duration::from_millis(self.block_ms),
            sub_streams: self.sub_streams,
            file: Duration::from_secs(self.file_s),
            key: self.key.parse().ok()?,
        };
        Channel::new(spec).ok()
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct MemberRecord {
    node: String,
    address: SocketAddr,
    connectable: bool,
    provider: bool,
    age_s: u16,
}

impl From<&Member> for MemberRecord {
    fn from(member: &Member) -> Self {
        Self {
            node: hex(&member.node.0),
            address: member.addr,
            connectable: member.connectable,
            provider: member.provider,
            age_s: member.age,
        }
    }
}

impl MemberRecord {
    pub(super) fn into_member(self) -> Option<Member> {
        Some(Member {
            node: NodeId(unhex(&self.node)?),
            addr: self.address,
            connectable: self.connectable,
            provider: self.provider,
            age: self.age_s,
        })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(out)
}
