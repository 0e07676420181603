//! What can be set of a DHT node. What cannot stands as a constant where it is
//! used: others depend on it, or nobody could choose better.

use super::key::Key;

/// The settings of a DHT node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DhtConfig {
    /// The private network that the node belongs to: it sends these 8 bytes
    /// with every message, and drops what comes without them. `None` is the
    /// public kind of node, which takes messages of any network.
    pub network: Option<[u8; 8]>,
    /// Protection against those who have many ports or neighbouring addresses:
    /// one node of an address and of a bucket's subnet in the table, two of a
    /// subnet in a lookup, few records of one source. Must be off where many
    /// nodes share an address; loopback is exempt.
    pub hardened: bool,
    /// The node asks but does not answer, and nobody keeps it in a table
    /// (BEP 43): for those whom others cannot reach.
    pub read_only: bool,
    /// The id of an earlier run. `None` draws one that fits the address
    /// (BEP 42).
    pub id: Option<Key>,
}

impl Default for DhtConfig {
    fn default() -> Self {
        Self { network: None, hardened: true, read_only: false, id: None }
    }
}
