//! The published algorithm in a laboratory: over a DHT that keeps one whole
//! owner list a file (Plan-x), which only the laboratory has. It carries out
//! what [`Node::list_wish`] gives, and answers.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::cache::{Effect, File, Owner};
use crate::node::Node;
use crate::stream::file::FileId;
use crate::time::Time;

/// What a node asked of such a DHT, and who is in the channel.
#[derive(Debug, Default)]
pub(super) struct Lists {
    wishes: VecDeque<ListWish>,
    /// The published bootstrap server counts those who watch live.
    pub(super) viewers: usize,
}

/// What a node wants of such a DHT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListWish {
    /// A file's list. Answered by [`Node::list_got`].
    Get {
        /// The file.
        file: File,
        /// Whether it is to be played; else the cache wants to publish.
        to_play: bool,
    },
    /// Another list in the place of a file's. Answered by [`Node::list_put`].
    Put {
        /// The file.
        file: File,
        /// The whole list.
        owners: Vec<Owner>,
        /// Only if the list still has this version.
        version: Option<u64>,
    },
    /// This node in a file's list. Answered by [`Node::list_put`].
    Add {
        /// The file.
        file: File,
    },
    /// This node out of a file's list. Answered by [`Node::list_put`].
    TakeOut {
        /// The file.
        file: File,
    },
}

impl Node {
    /// Has the node use lists, in the place of records in a DHT of its own.
    /// So many viewers watch live: the published bootstrap server counts those.
    pub fn use_lists(&mut self, viewers: usize) {
        self.lists.get_or_insert_default().viewers = viewers;
    }

    /// The next thing that it wants; ask after every event.
    pub fn list_wish(&mut self) -> Option<ListWish> {
        self.lists.as_mut()?.wishes.pop_front()
    }

    /// A list was got, with its version where there are versions; `None` if
    /// that failed.
    pub fn list_got(
        &mut self,
        now: Time,
        file: File,
        to_play: bool,
        list: Option<(&[Owner], u64)>,
    ) {
        self.now = self.now.max(now);
        if to_play {
            let life = self.config.cache.as_ref().map(|c| c.record_life);
            let is_fresh = |o: &&Owner| life.is_none_or(|l| now.since(o.published_at) <= l);
            let owners = list.map_or(&[][..], |(owners, _)| owners);
            let fresh = owners.iter().filter(is_fresh);
            let addrs: Vec<SocketAddr> = fresh.map(|o| o.addr).collect();
            self.owners_found(FileId { start: file.start }, &addrs, true);
        } else if let Some(keeper) = &mut self.keeper {
            keeper.on_list(now, file, list);
        }
        self.keep();
    }

    /// A list was put, or changed, as far as anybody can tell; or that was
    /// refused.
    pub fn list_put(&mut self, now: Time, file: File, ok: bool) {
        self.now = self.now.max(now);
        self.keeper.iter_mut().for_each(|k| k.on_list_put(now, file, ok));
        self.keep();
    }

    /// Whether a file's owners are looked for in a list.
    pub(super) fn wants_list_to_play(&mut self, file: FileId) -> bool {
        let Some(stream) = &self.stream else { return false };
        let file = File { start: file.start, key: file.key(&stream.id) };
        let wish = ListWish::Get { file, to_play: true };
        self.lists.as_mut().map(|lists| lists.wishes.push_back(wish)).is_some()
    }

    /// Whether a cache's wish for a list can be met.
    pub(super) fn wants_list(&mut self, effect: &Effect) -> bool {
        let Some(lists) = &mut self.lists else { return false };
        lists.wishes.push_back(match *effect {
            Effect::GetList { file } | Effect::LookUp { file, .. } => {
                ListWish::Get { file, to_play: false }
            }
            Effect::PutList { file, ref owners, version } => {
                ListWish::Put { file, owners: owners.clone(), version }
            }
            Effect::Announce { file, .. } => ListWish::Add { file },
            Effect::Withdraw { file } => ListWish::TakeOut { file },
            _ => return false,
        });
        true
    }
}
