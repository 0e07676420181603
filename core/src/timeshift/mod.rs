//! The stream manager's other half: the past. What to fetch of it, from whom
//! and by when; how it is played; how requests of others are served.

pub(crate) mod fetch;
pub(crate) mod reel;
pub(crate) mod serve;
pub(crate) mod source;

/// What a part of the past is fetched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// To be played.
    Play,
    /// To be kept, because replicas are missing.
    Keep,
}
