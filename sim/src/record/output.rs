//! What a recording holds of a machine's outputs: enough to find a difference
//! and to name it.

use std::fmt;

use blake3::Hasher;
use eddy_core::{Action, LinkId, Output, Time};

use super::codec::{Coded, Malformed, Source};

/// One output of a machine, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// [`Output::Wait`], whole.
    Wait(Option<Time>),
    /// [`Output::Act`]
    Act(Digest),
}

/// What is kept of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Which action.
    pub kind: ActionKind,
    /// The link that it names.
    pub link: Option<LinkId>,
    /// Bytes that it carries: a message and its block, a datagram, the
    /// player's packets.
    pub length: u64,
    /// The first 8 bytes of BLAKE3 over all of it.
    pub hash: u64,
}

/// The kind of an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionKind {
    /// [`Action::Dial`]
    Dial,
    /// [`Action::Send`]
    Send,
    /// [`Action::SendDatagram`]
    SendDatagram,
    /// [`Action::SetRead`]
    SetRead,
    /// [`Action::Close`]
    Close,
    /// [`Action::Deliver`]
    Deliver,
    /// [`Action::Notify`]
    Notify,
    /// One that came into the core after this list.
    Other,
}

impl Recorded {
    /// What is kept of an output.
    pub fn of(output: &Output) -> Self {
        match output {
            Output::Wait(until) => Self::Wait(*until),
            Output::Act(action) => Self::Act(Digest::of(action)),
        }
    }
}

impl Digest {
    fn of(action: &Action) -> Self {
        let mut hasher = Hasher::new();
        let (kind, link, length) = match action {
            Action::Dial { dial, to } => {
                hasher.update(format!("{dial:?} {to}").as_bytes());
                (ActionKind::Dial, None, 0)
            }
            // Only the bytes count, not where the head ends.
            Action::Send { link, head, body } => {
                hasher.update(head).update(body);
                (ActionKind::Send, Some(*link), head.len() + body.len())
            }
            Action::SendDatagram { to, bytes } => {
                hasher.update(format!("{to} ").as_bytes()).update(bytes);
                (ActionKind::SendDatagram, None, bytes.len())
            }
            Action::SetRead { link, on } => {
                hasher.update(&[u8::from(*on)]);
                (ActionKind::SetRead, Some(*link), 0)
            }
            Action::Close { link, flush } => {
                hasher.update(&[u8::from(*flush)]);
                (ActionKind::Close, Some(*link), 0)
            }
            Action::Deliver(delivery) => {
                let due = delivery.due.map_or(u64::MAX, Time::as_micros);
                for number in [delivery.seq.0, due, delivery.slot.as_micros()] {
                    hasher.update(&number.to_be_bytes());
                }
                hasher.update(&delivery.payload);
                (ActionKind::Deliver, None, delivery.payload.len())
            }
            Action::Notify(notice) => {
                hasher.update(format!("{notice:?}").as_bytes());
                (ActionKind::Notify, None, 0)
            }
            other => {
                hasher.update(format!("{other:?}").as_bytes());
                (ActionKind::Other, None, 0)
            }
        };
        Self { kind, link, length: length as u64, hash: first_8(&hasher) }
    }
}

/// The first 8 bytes of the hash.
pub(super) fn first_8(hasher: &Hasher) -> u64 {
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_be_bytes(first)
}

const KINDS: [ActionKind; 8] = [
    ActionKind::Dial,
    ActionKind::Send,
    ActionKind::SendDatagram,
    ActionKind::SetRead,
    ActionKind::Close,
    ActionKind::Deliver,
    ActionKind::Notify,
    ActionKind::Other,
];

impl Coded for ActionKind {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        let kind = KINDS.get(usize::take(from)?);
        kind.copied().ok_or(Malformed("an action of an unknown kind"))
    }
}

impl Coded for Digest {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { kind, link, length, hash } = self;
        kind.put(out);
        link.put(out);
        length.put(out);
        hash.to_be_bytes().put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        Ok(Self {
            kind: Coded::take(from)?,
            link: Coded::take(from)?,
            length: Coded::take(from)?,
            hash: u64::from_be_bytes(Coded::take(from)?),
        })
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Digest { kind, link, length, hash } = match self {
            Self::Wait(None) => return f.write_str("Wait for an event"),
            Self::Wait(Some(until)) => return write!(f, "Wait until {until:?}"),
            Self::Act(digest) => digest,
        };
        write!(f, "{kind:?}")?;
        if let Some(LinkId(link)) = link {
            write!(f, " link {link}")?;
        }
        if *length > 0 {
            write!(f, ", {length} bytes")?;
        }
        write!(f, ", hash {hash:016x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use eddy_core::{Delivery, DialId, Head, Notice, Phase, Seq};

    fn send(link: u64, head: &'static [u8], body: &'static [u8]) -> Output {
        let (head, body) = (Head::from_slice(head), Bytes::from_static(body));
        Output::Act(Action::Send { link: LinkId(link), head, body })
    }

    /// Every kind of output, with neighbours that differ in one thing only.
    fn outputs() -> Vec<Output> {
        let to = |port| ([10, 0, 0, 1], port).into();
        let bytes = Bytes::from_static;
        let link = LinkId(3);
        let deliver = |seq, due, slot, payload| {
            let (due, slot) = (due, Time::from_micros(slot));
            Action::Deliver(Delivery { seq: Seq(seq), due, slot, payload: bytes(payload) })
        };
        let actions = vec![
            Action::Dial { dial: DialId(1), to: to(1) },
            Action::Dial { dial: DialId(2), to: to(1) },
            Action::Dial { dial: DialId(1), to: to(2) },
            Action::SendDatagram { to: to(1), bytes: bytes(b"a") },
            Action::SendDatagram { to: to(2), bytes: bytes(b"a") },
            Action::SendDatagram { to: to(1), bytes: bytes(b"b") },
            Action::SetRead { link, on: true },
            Action::SetRead { link, on: false },
            Action::Close { link, flush: true },
            Action::Close { link, flush: false },
            deliver(1, None, 1, b"a"),
            deliver(2, None, 1, b"a"),
            deliver(1, Some(Time::ZERO), 1, b"a"),
            deliver(1, None, 2, b"a"),
            deliver(1, None, 1, b"b"),
            Action::Notify(Notice::Phase(Phase::Playing)),
            Action::Notify(Notice::Phase(Phase::Stalled)),
        ];
        let sends = [send(1, b"ab", b"c"), send(2, b"ab", b"c"), send(1, b"ab", b"d")];
        let waits = [None, Some(Time::ZERO), Some(Time::from_micros(1))].map(Output::Wait);
        actions.into_iter().map(Output::Act).chain(sends).chain(waits).collect()
    }

    #[test]
    fn no_two_outputs_are_taken_for_each_other() {
        let all: Vec<_> = outputs().iter().map(Recorded::of).collect();
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one), "{one}");
        }
        assert_eq!(Recorded::of(&send(1, b"ab", b"c")), Recorded::of(&send(1, b"a", b"bc")));
    }

    #[test]
    fn digests_round_trip() {
        for output in outputs() {
            let Recorded::Act(digest) = Recorded::of(&output) else { continue };
            let mut bytes = Vec::new();
            digest.put(&mut bytes);
            assert_eq!(Digest::take(&mut Source(bytes.into())), Ok(digest));
        }
    }
}
