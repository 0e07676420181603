//! What the network is like.

use std::time::Duration;

use crate::latency::Rtt;

/// How the links of a node share its uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// What is sent first leaves first, as behind a modem with a deep buffer.
    Fifo,
    /// Links take turns, one `Send` each: a short message on a quiet link
    /// waits for at most one `Send` of every other link.
    Turns,
}

/// The network, and the ways in which the driver may be unkind. The default
/// is a kind one: no latency, no loss, exact wakes.
#[derive(Clone, Debug)]
pub struct Net {
    /// Round trips between sites.
    pub rtt: Rtt,
    /// Added to every one-way latency: the last miles of both ends.
    pub access: Duration,
    /// Uniform extra one-way delay, up to this; never reorders a connection.
    pub jitter: Duration,
    /// Share of datagrams lost, 0 to 1.
    pub datagram_loss: f64,
    /// Share of `Send`s, 0 to 1, that come late by one round trip and 200 ms
    /// (the least retransmission time-out of common kernels), doubling while
    /// the retransmission is lost too. What follows on the link waits.
    pub segment_loss: f64,
    /// Bytes of one direction of a connection that are under way or unread
    /// before the sender stalls. The last `Send` may go over it.
    pub window: usize,
    /// How long a dial takes to fail where nobody answers.
    pub dial_timeout: Duration,
    /// How the links of a node share its uplink.
    pub sharing: Sharing,
    /// Wakes come late by a uniform delay up to this.
    pub late: Duration,
    /// Every eighth event is followed, within 20 ms, by a wake that nobody
    /// asked for.
    pub spurious: bool,
    /// Received bytes are cut at random places.
    pub chunked: bool,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            rtt: Rtt::uniform(Duration::ZERO),
            access: Duration::ZERO,
            jitter: Duration::ZERO,
            datagram_loss: 0.0,
            segment_loss: 0.0,
            window: 256 << 10,
            dial_timeout: Duration::from_secs(5),
            sharing: Sharing::Fifo,
            late: Duration::ZERO,
            spurious: false,
            chunked: false,
        }
    }
}
