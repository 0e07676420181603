//! The wire, for those who speak the protocol by hand.

use std::collections::BTreeMap;

use bytes::Bytes;
use eddy_core::wire::emit;
use eddy_core::wire::frame::{Arena, Framer, Incoming};
use eddy_core::wire::message::{Hello, Message, Purpose};
use eddy_core::{Head, LinkId, NodeId};

use super::cast::{PROVIDER, addr};

/// The longest block that [`Ears`] take, in bytes.
const MAX_FRAME: usize = 8 << 20;

/// A message as it travels.
pub fn frame(message: &Message) -> Bytes {
    let mut head = Head::new();
    emit::encode(message, &mut head);
    Bytes::copy_from_slice(&head)
}

/// The one message in these bytes, if it is one.
pub fn message(bytes: &[u8]) -> Option<Message> {
    match Framer::new(0).next(&mut &bytes[..], &mut Arena::new()) {
        Ok(Some(Incoming::Message(message))) => Some(message),
        _ => None,
    }
}

/// The hello of node `id`, which listens at [`addr`]`(id)`.
pub fn hello(id: u8, purpose: Purpose) -> Message {
    Message::Hello(Hello {
        max_frame: 1 << 20,
        node: NodeId([id; 16]),
        purpose,
        listen: addr(id),
        observed: addr(PROVIDER),
        nonce: 1,
    })
}

/// Reads what comes in on any number of links.
#[derive(Debug, Default)]
pub struct Ears {
    framers: BTreeMap<LinkId, Framer>,
    arena: Arena,
}

impl Ears {
    /// What these bytes complete.
    ///
    /// # Panics
    /// If they are not our protocol.
    pub fn hear(&mut self, link: LinkId, mut bytes: &[u8]) -> Vec<Incoming> {
        let framer = self.framers.entry(link).or_insert_with(|| {
            let mut framer = Framer::new(MAX_FRAME);
            framer.allow_blocks(true);
            framer
        });
        let mut all = Vec::new();
        while let Some(incoming) =
            framer.next(&mut bytes, &mut self.arena).expect("a machine sends whole frames")
        {
            all.push(incoming);
        }
        all
    }

    /// The messages among what these bytes complete.
    ///
    /// # Panics
    /// If they are not our protocol.
    pub fn messages(&mut self, link: LinkId, bytes: &[u8]) -> Vec<Message> {
        let message = |i| match i {
            Incoming::Message(message) => Some(message),
            _ => None,
        };
        self.hear(link, bytes).into_iter().filter_map(message).collect()
    }
}
