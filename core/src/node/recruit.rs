//! Copies that others need: a file of which replicas are missing is fetched
//! from those who have it, in the background, one at a time, no faster than the
//! stream, and only while the player has what it needs. And what there is of
//! the channel's past, so that the cache can watch over it.

use alloc::collections::{BTreeMap, VecDeque};
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;

use smallvec::SmallVec;

use crate::cache::{CacheConfig, File, Strategy};
use crate::id::Seq;
use crate::node::quest::Quest;
use crate::node::{Node, TICK, Timer};
use crate::stream::block::Block;
use crate::stream::buffer::BlockBuffer;
use crate::stream::file::FileId;
use crate::time::Time;
use crate::timeshift::Errand;
use crate::timeshift::fetch::{Asks, Fetch, Manner, View};

/// How much of a file is asked for at a time.
const AHEAD: Duration = Duration::from_secs(2);
/// Who has not given anything for so long has nothing to give.
const STALLED: Duration = Duration::from_secs(30);
/// Files of the past that are looked at on one occasion, and in all.
const AT_A_TIME: u64 = 64;
const IN_ALL: u64 = 16_384;

/// What is being fetched.
#[derive(Debug)]
struct Task {
    quest: Quest,
    /// `None`: no file, but word of where the past begins.
    file: Option<FileId>,
    /// Blocks that are not here yet.
    missing: u64,
    /// When the last one came, or it was begun.
    progress: Time,
}

/// Files to be fetched for the sake of others.
#[derive(Debug, Default)]
pub(super) struct Recruit {
    waiting: VecDeque<FileId>,
    task: Option<Task>,
    /// Before this no further file is begun.
    not_before: Time,
    /// When to ask where the past begins; `None` when that is known.
    survey: Option<Time>,
    /// Files of the past that the cache was not told of, by their number.
    past: Option<Range<u64>>,
}

impl Recruit {
    pub(super) fn quest(&mut self) -> Option<&mut Quest> {
        self.task.as_mut().map(|task| &mut task.quest)
    }

    pub(super) fn remembers(&self, seq: Seq) -> Option<&Block> {
        self.task.as_ref()?.quest.buffer.get(seq)
    }
}

impl Node {
    /// Who stays for a while looks after what was there before, too.
    pub(super) fn plan_survey(&mut self) {
        let watches = |c: &&CacheConfig| c.strategy == Strategy::Rank && self.source.is_none();
        let Some(cache) = self.config.cache.as_ref().filter(watches) else { return };
        let wait = cache.recheck + self.rng.jitter(cache.recheck, 100);
        let at = self.now + wait;
        self.stream.iter_mut().for_each(|s| s.recruit.survey = Some(at));
        self.arm(Timer::Recruit, at);
    }

    /// The cache wants a copy of a file. It asks for few at a time.
    pub(super) fn recruit(&mut self, file: File) {
        if let Some(stream) = &mut self.stream {
            stream.recruit.waiting.push_back(FileId { start: file.start });
            self.arm_by(Timer::Recruit, self.now);
        }
    }

    /// Goes on with what is being fetched.
    pub(super) fn recruit_tick(&mut self) {
        self.tell_of_past();
        if self.is_task_over() {
            let again = self.is_survey();
            self.end_task();
            if again {
                self.plan_survey();
            }
        }
        self.begin_task();
        if self.is_content() {
            let (now, provider) = (self.now, self.provider_addr());
            let mut rng = self.rng.clone();
            let asks = self.with_task(provider, |fetch, view| fetch.plan(now, view, &mut rng));
            self.rng = rng;
            self.carry_out(Errand::Keep, asks);
        }
        let Some(Recruit { waiting, task, not_before, survey, past }) =
            self.stream.as_ref().map(|s| &s.recruit)
        else {
            return;
        };
        if task.is_some() || past.is_some() {
            return self.arm(Timer::Recruit, self.now + TICK * 2);
        }
        let next = (!waiting.is_empty()).then_some(*not_before);
        if let Some(at) = next.into_iter().chain(*survey).min() {
            // While the channel is not known well enough it is looked at now and then.
            self.arm(Timer::Recruit, at.max(self.now + TICK * 20));
        }
    }

    /// Whether the player has what it needs, so that there is room for the rest.
    fn is_content(&self) -> bool {
        let Some(stream) = &self.stream else { return false };
        match &stream.rewind {
            Some(rewind) => self.live_edge().is_some_and(|edge| {
                let (span, live) = (self.config.emergency, self.live_from(edge));
                rewind.is_ahead(&stream.channel, span, live)
            }),
            None => stream.playout.is_playing(),
        }
    }

    fn begin_task(&mut self) {
        let (now, knows) = (self.now, self.provider_addr().is_some());
        let Some(stream) = self.stream.as_mut().filter(|s| s.recruit.task.is_none()) else {
            return;
        };
        let (channel, recruit) = (&stream.channel, &mut stream.recruit);
        let file = if recruit.survey.is_some_and(|at| at <= now) && knows {
            recruit.survey = None;
            None
        } else if now >= recruit.not_before
            && let Some(file) = recruit.waiting.pop_front()
        {
            recruit.not_before = now + channel.file();
            Some(file)
        } else {
            return;
        };
        let first = file.map_or(Seq(0), |file| file.first(channel));
        let blocks = FileId::blocks(channel);
        let buffer = BlockBuffer::new(first, channel.sub_streams(), blocks);
        let quest = Quest { buffer, fetch: Fetch::default(), doors: BTreeMap::new() };
        recruit.task = Some(Task { quest, file, missing: blocks, progress: now });
    }

    /// Whether it is done, in vain, or not wanted any more.
    fn is_task_over(&self) -> bool {
        let Some(task) = self.stream.as_ref().and_then(|s| s.recruit.task.as_ref()) else {
            return false;
        };
        let wanted = |file| self.keeper.as_ref().is_some_and(|k| k.is_fetching(file));
        self.now.since(task.progress) > STALLED || task.file.is_some_and(|file| !wanted(file))
    }

    /// Ends what is being fetched; what is not all here then has failed.
    pub(super) fn end_task(&mut self) {
        let Some(task) = self.stream.as_mut().and_then(|s| s.recruit.task.take()) else { return };
        for link in task.quest.doors.into_values() {
            self.close(link, false);
        }
        if let Some(file) = task.file.filter(|_| task.missing > 0) {
            self.keeper.iter_mut().for_each(|k| k.fetch_failed(self.now, file));
        }
        self.arm_by(Timer::Recruit, self.now);
    }

    /// Shows the fetching side what is missing of the file. There is no hurry:
    /// the provider is asked only if nobody else can be.
    pub(super) fn with_task(
        &mut self,
        provider: Option<SocketAddr>,
        act: impl FnOnce(&mut Fetch, &View<'_>) -> Asks,
    ) -> Asks {
        let Some(stream) = &mut self.stream else { return Asks::new() };
        let (channel, Some(task)) = (&stream.channel, &mut stream.recruit.task) else {
            return Asks::new();
        };
        let Quest { buffer, fetch, .. } = &mut task.quest;
        let over = FileId::of(channel, buffer.start()).last(channel).plus(1);
        let missing = (buffer.start().0..over.0).map(Seq).find(|seq| buffer.is_missing(*seq));
        let Some(next) = missing else { return Asks::new() };
        let view = View {
            channel,
            buffer,
            next,
            fresh: false,
            end: next.plus(channel.blocks_in(AHEAD)).min(over),
            emergency: Duration::ZERO,
            provider,
            manner: Manner::Calm,
            due: &|_| Some(Time::LAST),
            partners: &|_, _| SmallVec::new(),
            others: &SmallVec::new,
        };
        act(fetch, &view)
    }

    /// A good block of the file came.
    pub(super) fn recruit_arrived(&mut self, block: Block, from: SocketAddr) {
        let (now, provider) = (self.now, self.provider_addr());
        let Some(stream) = &mut self.stream else { return };
        let (channel, Some(task)) = (&stream.channel, &mut stream.recruit.task) else { return };
        let seq = block.seq();
        task.quest.fetch.arrived(now, channel, seq, from, provider);
        task.quest.buffer.insert(block);
        task.progress = now;
        task.missing = task.missing.saturating_sub(1);
        let file = task.file.filter(|_| task.missing == 0);
        // What was received a moment ago makes room for more.
        self.arm_by(Timer::Recruit, now + TICK);
        if let Some(file) = file {
            self.stats.recruited += 1;
            self.file_complete(file, false);
        }
    }

    pub(super) fn is_survey(&self) -> bool {
        let task = self.stream.as_ref().and_then(|s| s.recruit.task.as_ref());
        task.is_some_and(|task| task.file.is_none())
    }

    /// Where the past begins, nobody is looked up for: the provider is asked.
    pub(super) fn no_owners(&mut self, start: u64) {
        self.quest(Errand::Keep).into_iter().for_each(|(_, q)| q.fetch.found(start, &[], true));
        self.arm_by(Timer::Recruit, self.now);
    }

    /// The provider has nothing older than this.
    pub(super) fn past_begins(&mut self, first: Seq) {
        if self.is_survey()
            && let Some(edge) = self.live_edge()
            && let Some(stream) = &mut self.stream
        {
            let channel = &stream.channel;
            let length = channel.file().as_secs().max(1);
            let number = |seq| FileId::of(channel, seq).start / length;
            // What goes by from now on is seen by us, too; so is what is in memory.
            let seen = stream.buffer.as_ref().map_or(edge, BlockBuffer::start);
            let end = number(seen);
            let begin = number(first).max(end.saturating_sub(IN_ALL));
            stream.recruit.past = Some(begin..end).filter(|past| !past.is_empty());
        }
        self.end_task();
    }

    /// Tells the cache of files of the past, the newest first.
    fn tell_of_past(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let Some(past) = stream.recruit.past.take() else { return };
        let length = stream.channel.file().as_secs().max(1);
        let begin = past.start.max(past.end.saturating_sub(AT_A_TIME));
        stream.recruit.past = Some(past.start..begin).filter(|past| !past.is_empty());
        for number in (begin..past.end).rev() {
            let file = FileId { start: number.saturating_mul(length) };
            self.keeper.iter_mut().for_each(|k| k.tell_of(self.now, file));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::event::{Action, DiskAnswer, DiskRequest};
    use crate::stream::channel::tests_support::channel;
    use crate::stream::sign::{PublicKey, Signature};
    use alloc::vec::Vec;

    #[test]
    fn a_copy_is_stored_though_the_next_look_is_due_in_the_same_event() {
        let start = Time::from_secs(1_000);
        let config = Config { cache: Some(CacheConfig::default()), ..Config::default() };
        let mut node = Node::viewer(config, [1; 32], start).unwrap();
        let channel = channel(PublicKey([1; 32]));
        node.enter(channel.clone());
        node.on_disk(DiskAnswer::Found { files: Vec::new() });
        let file = FileId { start: 900 };
        node.recruit(File { start: file.start, key: file.key(&channel.id()) });
        node.begin_task();
        for seq in file.first(&channel).0..=file.last(&channel).0 {
            let block = Block::new(Seq(seq), &Signature([0; 64]), b"x");
            node.recruit_arrived(block, ([10, 0, 0, 1], 1).into());
        }
        node.recruit_tick();
        node.keep();
        let stored = node.actions.iter().find_map(|action| match action {
            Action::Disk(DiskRequest::Store { file, frames }) => Some((*file, frames.len())),
            _ => None,
        });
        assert_eq!(stored, Some((file, 250)));
    }
}
