//! The block buffer: a sliding window of the stream, shared by the player,
//! the children and repair.

use alloc::collections::VecDeque;

use smallvec::SmallVec;

use crate::id::{Seq, SubStream};
use crate::stream::block::Block;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Missing,
    GivenUp,
    Held(Block),
}

/// What came of putting a block into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was missing and is held now.
    New,
    /// It was held already.
    Duplicate,
    /// It lies before the window.
    Old,
}

/// A window of the stream. It spans at most `capacity` blocks and slides
/// forward when a newer block comes in.
#[derive(Clone, Debug)]
pub struct BlockBuffer {
    sub_streams: u8,
    capacity: u64,
    start: Seq,
    slots: VecDeque<Slot>,
    /// First block missing of each sub-stream, at or after `start`.
    missing: SmallVec<[Seq; 8]>,
    bytes: usize,
}

impl BlockBuffer {
    /// An empty window that begins at `start`.
    pub fn new(start: Seq, sub_streams: u8, capacity: u64) -> Self {
        let missing = (0..sub_streams).map(|j| start.align(SubStream(j), sub_streams)).collect();
        let capacity = capacity.max(u64::from(sub_streams));
        Self { sub_streams, capacity, start, slots: VecDeque::new(), missing, bytes: 0 }
    }

    /// The first block the window can hold.
    pub fn start(&self) -> Seq {
        self.start
    }

    /// One past the last block that the window reaches to.
    pub fn end(&self) -> Seq {
        self.start.plus(self.slots.len() as u64)
    }

    /// How many blocks the window spans at most.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether another round of blocks may push this one out.
    pub fn is_leaving(&self, seq: Seq) -> bool {
        seq.plus(self.capacity) <= self.end().plus(u64::from(self.sub_streams))
    }

    /// Bytes of the blocks held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a block in, sliding the window forward if it lies beyond its end.
    pub fn insert(&mut self, block: Block) -> Inserted {
        let seq = block.seq();
        if seq < self.start {
            return Inserted::Old;
        }
        self.reach(seq);
        let at = (seq.0 - self.start.0) as usize;
        let Some(slot) = self.slots.get_mut(at) else { return Inserted::Old };
        if matches!(slot, Slot::Held(_)) {
            return Inserted::Duplicate;
        }
        self.bytes += block.frame().len();
        *slot = Slot::Held(block);
        self.settle(seq.sub_stream(self.sub_streams));
        Inserted::New
    }

    /// Notes that a block will not come. It may still be inserted later.
    pub fn give_up(&mut self, seq: Seq) {
        if seq < self.start || seq.0 - self.start.0 >= self.capacity {
            return;
        }
        self.reach(seq);
        let at = (seq.0 - self.start.0) as usize;
        if let Some(slot @ Slot::Missing) = self.slots.get_mut(at) {
            *slot = Slot::GivenUp;
            self.settle(seq.sub_stream(self.sub_streams));
        }
    }

    /// A block, if it is held.
    pub fn get(&self, seq: Seq) -> Option<&Block> {
        match self.slot(seq) {
            Some(Slot::Held(block)) => Some(block),
            _ => None,
        }
    }

    /// Whether a block is held.
    pub fn holds(&self, seq: Seq) -> bool {
        self.get(seq).is_some()
    }

    /// Whether a block at or after the window's start is neither held nor given up.
    pub fn is_missing(&self, seq: Seq) -> bool {
        seq >= self.start && matches!(self.slot(seq), None | Some(Slot::Missing))
    }

    /// The first block of a sub-stream that is neither held nor given up.
    pub fn first_missing(&self, sub: SubStream) -> Seq {
        self.missing.get(usize::from(sub.0)).copied().unwrap_or(self.start)
    }

    /// The newest block of a sub-stream below which everything from the
    /// window's start is held or given up: its entry in the buffer map.
    pub fn newest(&self, sub: SubStream) -> Option<Seq> {
        let newest = self.first_missing(sub).0.checked_sub(u64::from(self.sub_streams))?;
        (newest >= self.start.0).then_some(Seq(newest))
    }

    /// The latest block held of a sub-stream, whatever is missing before it:
    /// its entry in the published buffer map.
    pub fn latest(&self, sub: SubStream) -> Option<Seq> {
        let s = u64::from(self.sub_streams);
        let last = self.end().minus(s).max(self.start).align(sub, self.sub_streams);
        let mut seqs = (0..=(last.0 - self.start.0) / s).map(|n| last.minus(n * s));
        seqs.find(|seq| self.holds(*seq))
    }

    /// The newest block held, of any sub-stream.
    pub fn highest(&self) -> Option<Seq> {
        let held = self.slots.iter().rposition(|s| matches!(s, Slot::Held(_)))?;
        Some(self.start.plus(held as u64))
    }

    /// The first block held after this one, of any sub-stream.
    pub fn first_held(&self, after: Seq) -> Option<Seq> {
        let from = after.plus(1).max(self.start);
        (from.0..self.end().0).map(Seq).find(|seq| self.holds(*seq))
    }

    /// The held blocks of a sub-stream from `from` on, in order.
    pub fn held_from(&self, sub: SubStream, from: Seq) -> impl Iterator<Item = &Block> {
        let first = from.max(self.start).align(sub, self.sub_streams);
        let skip = (first.0 - self.start.0).min(self.slots.len() as u64) as usize;
        self.slots.range(skip..).step_by(usize::from(self.sub_streams)).filter_map(|s| match s {
            Slot::Held(block) => Some(block),
            _ => None,
        })
    }

    /// Slides the window's start forward; what lies before is forgotten.
    pub fn slide_to(&mut self, start: Seq) {
        if start <= self.start {
            return;
        }
        let gone = (start.0 - self.start.0).min(self.slots.len() as u64) as usize;
        for slot in self.slots.drain(..gone) {
            if let Slot::Held(block) = slot {
                self.bytes -= block.frame().len();
            }
        }
        self.start = start;
        for j in 0..self.sub_streams {
            let first = start.align(SubStream(j), self.sub_streams);
            if let Some(m) = self.missing.get_mut(usize::from(j)).filter(|m| **m < first) {
                *m = first;
                self.settle(SubStream(j));
            }
        }
    }

    fn slot(&self, seq: Seq) -> Option<&Slot> {
        self.slots.get(usize::try_from(seq.0.checked_sub(self.start.0)?).ok()?)
    }

    /// Makes the window span `seq`.
    fn reach(&mut self, seq: Seq) {
        if seq.0 - self.start.0 >= self.capacity {
            self.slide_to(seq.minus(self.capacity - 1));
        }
        let length = (seq.0 - self.start.0 + 1) as usize;
        while self.slots.len() < length {
            self.slots.push_back(Slot::Missing);
        }
    }

    fn settle(&mut self, sub: SubStream) {
        let s = u64::from(self.sub_streams);
        let mut first = self.first_missing(sub);
        while matches!(self.slot(first), Some(Slot::Held(_) | Slot::GivenUp)) {
            first = first.plus(s);
        }
        if let Some(m) = self.missing.get_mut(usize::from(sub.0)) {
            *m = first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sign::Signature;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use quickcheck::{Arbitrary, Gen, quickcheck};

    fn block(seq: u64) -> Block {
        Block::new(Seq(seq), &Signature([0; 64]), b"x")
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u8),
        GiveUp(u8),
        Slide(u8),
    }

    impl Arbitrary for Op {
        fn arbitrary(g: &mut Gen) -> Self {
            let n = u8::arbitrary(g) % 100;
            match u8::arbitrary(g) % 8 {
                0 => Self::GiveUp(n),
                1 => Self::Slide(n / 2),
                _ => Self::Insert(n),
            }
        }
    }

    quickcheck! {
        /// The model: a map from sequence number to "held", where absent is missing.
        fn behaves_like_a_plain_map(ops: Vec<Op>) -> bool {
            const S: u8 = 4;
            const CAPACITY: u64 = 24;
            let base = 1_000;
            let mut buffer = BlockBuffer::new(Seq(base), S, CAPACITY);
            let mut model: BTreeMap<u64, bool> = BTreeMap::new();
            let mut start = base;
            for op in ops {
                match op {
                    Op::Insert(n) => {
                        let seq = base - 10 + u64::from(n);
                        let expected = if seq < start {
                            Inserted::Old
                        } else if model.get(&seq) == Some(&true) {
                            Inserted::Duplicate
                        } else {
                            start = start.max(seq.saturating_sub(CAPACITY - 1));
                            model.insert(seq, true);
                            Inserted::New
                        };
                        assert_eq!(buffer.insert(block(seq)), expected);
                    }
                    Op::GiveUp(n) => {
                        let seq = base - 10 + u64::from(n);
                        buffer.give_up(Seq(seq));
                        if seq >= start && seq < start + CAPACITY {
                            model.entry(seq).or_insert(false);
                        }
                    }
                    Op::Slide(n) => {
                        start = start.max(base + u64::from(n));
                        buffer.slide_to(Seq(base + u64::from(n)));
                    }
                }
                model = model.split_off(&start);
                assert_eq!(buffer.start(), Seq(start));
                let held = model.values().filter(|h| **h).count();
                assert_eq!(buffer.bytes(), held * block(0).frame().len());
                assert!(buffer.end().0 - start <= CAPACITY);
                let highest = model.iter().rev().find(|(_, held)| **held).map(|(s, _)| Seq(*s));
                assert_eq!(buffer.highest(), highest);
                for j in 0..S {
                    let sub = SubStream(j);
                    let mut first = Seq(start).align(sub, S);
                    while model.contains_key(&first.0) {
                        first = first.plus(u64::from(S));
                    }
                    assert_eq!(buffer.first_missing(sub), first);
                    let newest = first.0.checked_sub(u64::from(S)).filter(|n| *n >= start);
                    assert_eq!(buffer.newest(sub), newest.map(Seq));
                    let mine = |(s, held): &(&u64, &bool)| **held && Seq(**s).sub_stream(S) == sub;
                    let latest = model.iter().rev().find(mine).map(|(s, _)| Seq(*s));
                    assert_eq!(buffer.latest(sub), latest);
                    let from = Seq(start + 5);
                    let got: Vec<u64> = buffer.held_from(sub, from).map(|b| b.seq().0).collect();
                    let want: Vec<u64> = model.iter()
                        .filter(|(s, held)| **held && **s >= from.0 && Seq(**s).sub_stream(S) == sub)
                        .map(|(s, _)| *s)
                        .collect();
                    assert_eq!(got, want);
                }
            }
            true
        }
    }

    #[test]
    fn a_far_jump_forgets_the_rest() {
        let mut buffer = BlockBuffer::new(Seq(0), 8, 100);
        for n in 0..100 {
            assert_eq!(buffer.insert(block(n)), Inserted::New);
        }
        assert_eq!(buffer.insert(block(u64::MAX - 1)), Inserted::New);
        assert_eq!(buffer.highest(), Some(Seq(u64::MAX - 1)));
        assert_eq!(buffer.get(Seq(99)), None);
        assert_eq!(buffer.insert(block(99)), Inserted::Old);
    }
}
