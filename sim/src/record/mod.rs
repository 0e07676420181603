//! Record and replay: what a node was told, in a file, and a fresh node that
//! is told the same.
//!
//! A machine's outputs follow from its configuration, its seed and its inputs
//! (C6). So a [`Recorder`] around a machine writes these down, and [`replay()`]
//! makes the run happen again, anywhere, as often as wanted. Of the outputs a
//! recording holds digests, by which it finds the first that differs.
//!
//! ```
//! use eddy_core::config::Config;
//! use eddy_core::{Event, Machine, Time};
//! use eddy_sim::record::{End, Header, NodeKind, Reader, Recorder, Verdict, replay};
//!
//! let start = Time::from_secs(1_767_225_600);
//! let header = Header {
//!     made_by: "an example".into(),
//!     node: NodeKind::Viewer,
//!     start,
//!     seed: [7; 32],
//!     config: Config::default(),
//! };
//! let mut file = Vec::new();
//! let mut node = Recorder::new(header.machine()?, &header, |bytes: Vec<u8>| {
//!     file.extend(bytes);
//!     true
//! });
//! node.handle(start, Event::Wake);
//! let _ = node.poll();
//! drop(node);
//!
//! let mut reader = Reader::new(&file[..])?;
//! let mut again = reader.header().machine()?;
//! let replayed = replay(&mut reader, &mut again, |_, _| {});
//! assert_eq!((replayed.inputs, replayed.outputs), (1, 1));
//! assert!(matches!(replayed.verdict, Verdict::Equal(End::Finished)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The file
//!
//! `EDDYREC`, a byte for the version, then frames. A frame is the length of its
//! body and the complement of that (`u32` each, big-endian), the first 8 bytes
//! of BLAKE3 of the body, and the body. The first frame's body is the
//! [`Header`]; those of the others are entries one after another, each a number
//! and what belongs to it: 0, an input: time and event; 1, a wait; 2, the
//! digest of an action; 3, the [`End`]. Times are microseconds since the input
//! before. A file without an `End` was cut off, and all before the cut counts.

mod codec;
mod frame;
mod output;
mod reader;
mod recorder;
mod replay;
mod text;
mod vocabulary;

use std::fmt;

use eddy_core::bootstrap::Bootstrap;
use eddy_core::config::{Config, ConfigError};
use eddy_core::memory::Memory;
use eddy_core::node::Node;
use eddy_core::{Event, LinkId, Machine, Output, Time};

use codec::{Coded, Malformed, Source};

pub use output::{ActionKind, Digest, Recorded};
pub use reader::{Entry, ReadError, Reader};
pub use recorder::{Recorder, end_mark};
pub use replay::{Difference, Replayed, Seen, Verdict, replay};
pub use text::Text;

/// Everything that a recorded machine was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The program that made the recording, with its version.
    pub made_by: String,
    /// What kind of node it was.
    pub node: NodeKind,
    /// When it was made, on its own clock.
    pub start: Time,
    /// Its chance.
    pub seed: [u8; 32],
    /// Its configuration.
    pub config: Config,
}

/// The nodes that can be recorded. A provider cannot: what it is made of
/// includes its secret key, which must not be in a file for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// [`Node::viewer`]
    Viewer,
    /// [`Bootstrap`]
    Bootstrap,
}

/// A node of one of the kinds that can be recorded.
pub enum AnyNode {
    /// [`NodeKind::Viewer`]
    Viewer(Box<Node>),
    /// [`NodeKind::Bootstrap`]
    Bootstrap(Box<Bootstrap>),
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the node.
    Finished,
    /// With a panic of the program.
    Panicked,
    /// Too early: the file could not be written as fast as things happened.
    TooSlow,
    /// Too early: the file could not be written.
    Unwritable,
    /// Without a mark: the program was killed, or a part of the file is missing.
    Cut,
}

impl Header {
    /// The same machine, as it was at its start.
    ///
    /// # Errors
    /// [`ConfigError`] names the first parameter that is out of range.
    pub fn machine(&self) -> Result<AnyNode, ConfigError> {
        let (config, seed) = (self.config.clone(), self.seed);
        Ok(match self.node {
            NodeKind::Viewer => AnyNode::Viewer(Box::new(Node::viewer(config, seed, self.start)?)),
            NodeKind::Bootstrap => {
                AnyNode::Bootstrap(Box::new(Bootstrap::new(config, seed, self.start)?))
            }
        })
    }
}

impl AnyNode {
    /// The same node, with [memory for long blocks](Node::with_memory) if it takes
    /// any.
    #[must_use]
    pub fn with_memory(self, memory: Box<dyn Memory>) -> Self {
        match self {
            Self::Viewer(node) => Self::Viewer(Box::new(node.with_memory(memory))),
            server @ Self::Bootstrap(_) => server,
        }
    }

    fn machine(&mut self) -> &mut dyn Machine {
        match self {
            Self::Viewer(node) => &mut **node,
            Self::Bootstrap(server) => &mut **server,
        }
    }
}

impl Machine for AnyNode {
    fn handle(&mut self, now: Time, event: Event) {
        self.machine().handle(now, event);
    }

    fn poll(&mut self) -> Output {
        self.machine().poll()
    }

    fn slot(&mut self, link: LinkId) -> Option<&mut [u8]> {
        self.machine().slot(link)
    }
}

impl fmt::Debug for AnyNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyNode")
    }
}

impl Coded for Header {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { made_by, node, start, seed, config } = self;
        made_by.put(out);
        (*node as u8).put(out);
        start.put(out);
        seed.put(out);
        config.put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        let made_by = String::take(from)?;
        // It is shown to whoever opens a stranger's file.
        if made_by.contains(char::is_control) {
            return Err(Malformed("a program's name with control characters"));
        }
        Ok(Self {
            made_by,
            node: match u8::take(from)? {
                0 => NodeKind::Viewer,
                1 => NodeKind::Bootstrap,
                _ => return Err(Malformed("a node of an unknown kind")),
            },
            start: Coded::take(from)?,
            seed: Coded::take(from)?,
            config: Coded::take(from)?,
        })
    }
}

const ENDS: [End; 5] = [End::Finished, End::Panicked, End::TooSlow, End::Unwritable, End::Cut];

impl Coded for End {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(from: &mut Source) -> Result<Self, Malformed> {
        ENDS.get(usize::take(from)?).copied().ok_or(Malformed("an end of an unknown kind"))
    }
}
