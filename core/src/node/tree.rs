//! All sub-streams from one parent, for as long as it is there.

use smallvec::SmallVec;

use crate::id::{NodeId, Seq, SubStream};
use crate::live::select::{self, View};
use crate::node::Node;
use crate::node::feed::{OUTLIER, SHUN};
use crate::stream::map::Path;
use crate::wire::message::Message;

impl Node {
    /// Looks whether the parent is there; if not, for another. One that is
    /// behind, or refuses a part, is not judged: it is the parent of all or of
    /// nothing.
    pub(super) fn keep_one_parent(&mut self) {
        let now = self.now;
        let Some(stream) = &mut self.stream else { return };
        let Some(buffer) = &stream.buffer else { return };
        let paths = || stream.feeds.iter().map(|(_, f)| f.path);
        stream.tree.note(now, paths().find(|p| p.is_live()).unwrap_or(Path::NONE));
        let feeds = || stream.feeds.iter().map(|(_, f)| f);
        let parent = feeds().find_map(|f| f.parent.or(f.asked.map(|a| a.node)));
        if let Some(parent) = parent {
            let timeout = self.config.request_timeout;
            let silent = feeds().filter_map(|f| f.asked).any(|a| now.since(a.at) > timeout);
            let useless = silent || stream.tree.is_astray(now);
            if useless && let Some(p) = self.partners.get_mut(parent) {
                p.not_before = now + SHUN;
            }
            if useless || feeds().any(|f| f.parent.is_none() && f.asked.is_none()) {
                self.leave_one_parent(parent);
            }
            return;
        }
        let missing: SmallVec<[(SubStream, Seq); 8]> =
            stream.feeds.iter().map(|(sub, _)| (sub, buffer.first_missing(sub))).collect();
        let views = Self::views(now, &self.partners, stream);
        let block = stream.channel.block();
        // Who is far behind where we are cannot bring what we miss.
        let back = stream.channel.blocks_in(OUTLIER).max(u64::from(stream.channel.sub_streams()));
        let follows = |v: &View<'_>| {
            let brings = |(sub, seq): &(SubStream, Seq)| {
                stream.tree.may_follow(now, v.map.path(*sub))
                    && (v.is_new(*sub) || v.reaches(now, seq.minus(back), *sub, block))
            };
            !stream.children.has_any(v.node) && missing.iter().all(brings)
        };
        let choice = select::best(&mut self.rng, SubStream(0), &views, block, None, follows);
        drop(views);
        if let Some(node) = choice {
            stream.tree.asked(now);
            for (sub, from) in missing {
                self.subscribe(sub, node, from);
            }
        }
    }

    /// What this parent still gives or was asked for is not wanted any more.
    fn leave_one_parent(&mut self, parent: NodeId) {
        let Some(stream) = &mut self.stream else { return };
        let mut given: SmallVec<[SubStream; 8]> = SmallVec::new();
        for (sub, feed) in stream.feeds.iter_mut() {
            feed.asked = None;
            feed.path = Path::NONE;
            if feed.parent.take().is_some() {
                given.push(sub);
            }
        }
        self.stats.reselections += u64::from(!given.is_empty());
        // What it was asked for and grants later is sent back as unexpected.
        for sub in given {
            self.tell(parent, &Message::Unsubscribe(sub));
        }
        self.news();
        self.tick_soon();
    }
}
