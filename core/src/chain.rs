//! Many short queues in one piece of memory: a node has dozens of links, and almost
//! all that could wait on them is almost always nothing. Room of its own for each
//! would be most of what a node takes.

use slab::Slab;

/// No place: the end of a chain.
const NONE: u32 = u32::MAX;

/// A queue in [`Chains`]. To forget one that is not empty leaks its places:
/// [clear](Chains::clear) it first.
#[derive(Debug)]
pub struct Chain {
    first: u32,
    last: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl Chain {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

#[derive(Debug)]
struct Place<T> {
    value: T,
    next: u32,
}

/// The places of all chains. A place that is given back is the next to be used, so
/// there are as many as ever waited at once.
#[derive(Debug)]
pub struct Chains<T> {
    places: Slab<Place<T>>,
}

impl<T> Default for Chains<T> {
    fn default() -> Self {
        Self { places: Slab::new() }
    }
}

impl<T> Chains<T> {
    /// Puts something at the end of a chain.
    pub fn push(&mut self, chain: &mut Chain, value: T) {
        let at = self.places.insert(Place { value, next: NONE }) as u32;
        match self.places.get_mut(chain.last as usize) {
            Some(last) => last.next = at,
            None => chain.first = at,
        }
        chain.last = at;
    }

    /// Takes the first of a chain.
    pub fn pop(&mut self, chain: &mut Chain) -> Option<T> {
        let Place { value, next } = self.places.try_remove(chain.first as usize)?;
        chain.first = next;
        if next == NONE {
            chain.last = NONE;
        }
        Some(value)
    }

    /// The first of a chain.
    pub fn first(&self, chain: &Chain) -> Option<&T> {
        self.places.get(chain.first as usize).map(|place| &place.value)
    }

    /// The first of a chain, to be changed.
    pub fn first_mut(&mut self, chain: &Chain) -> Option<&mut T> {
        self.places.get_mut(chain.first as usize).map(|place| &mut place.value)
    }

    /// Empties a chain.
    pub fn clear(&mut self, chain: &mut Chain) {
        while self.pop(chain).is_some() {}
    }

    /// Gives back what a burst took, if that is more than `keep` places and most of
    /// it is free now.
    pub fn trim(&mut self, keep: usize) {
        if self.places.capacity() > keep.max(4 * self.places.len()) {
            self.places.shrink_to_fit();
        }
    }

    /// How many wait in all chains together.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing waits in any of them.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;
    use quickcheck::quickcheck;

    quickcheck! {
        /// Each chain is a queue of its own.
        fn behaves_like_many_queues(steps: Vec<(u8, Option<u32>)>) -> bool {
            let mut chains = Chains::default();
            let mut mine: Vec<Chain> = (0..4).map(|_| Chain::default()).collect();
            let mut model: Vec<VecDeque<u32>> = (0..4).map(|_| VecDeque::new()).collect();
            for (which, step) in steps {
                let at = usize::from(which % 4);
                match step {
                    Some(value) => {
                        chains.push(&mut mine[at], value);
                        model[at].push_back(value);
                    }
                    None => assert_eq!(chains.pop(&mut mine[at]), model[at].pop_front()),
                }
                assert_eq!(chains.first(&mine[at]), model[at].front());
                assert_eq!(mine[at].is_empty(), model[at].is_empty());
                chains.trim(1);
                assert_eq!(chains.len(), model.iter().map(VecDeque::len).sum::<usize>());
            }
            mine.iter_mut().for_each(|chain| chains.clear(chain));
            chains.is_empty()
        }
    }
}
