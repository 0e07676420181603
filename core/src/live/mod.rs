//! The stream manager, live side: join offset, subscription, serving children,
//! re-selection of parents, repair of gaps, play-out (CoolStreaming; report
//! chapter 3).

pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod feeds;
pub(crate) mod pace;
pub(crate) mod playout;
pub(crate) mod pull;
pub(crate) mod recent;
pub(crate) mod repair;
pub(crate) mod select;
pub(crate) mod tree;
