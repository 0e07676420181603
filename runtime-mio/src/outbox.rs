//! What a link has still to write.

use std::collections::VecDeque;
use std::io::{Cursor, IoSlice};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use eddy_core::Head;

/// `Send`s in order, written from the front in pieces of any size. Bodies are
/// shared, never copied.
#[derive(Debug, Default)]
pub(crate) struct Outbox(VecDeque<Chain<Cursor<Head>, Bytes>>);

impl Outbox {
    pub(crate) fn push(&mut self, head: Head, body: Bytes) {
        let send = Cursor::new(head).chain(body);
        // An empty entry would make a write of nothing, which looks like a full one.
        if send.has_remaining() {
            self.0.push_back(send);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fills `slices` with what is next, and says how many it used.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for send in self.0.iter().take(slices.len()) {
            used += send.chunks_vectored(&mut slices[used..]);
        }
        used
    }

    /// Strikes off `n` bytes that were written.
    pub(crate) fn advance(&mut self, mut n: usize) {
        while let Some(send) = self.0.front_mut().filter(|_| n > 0) {
            let part = n.min(send.remaining());
            send.advance(part);
            n -= part;
            if !send.has_remaining() {
                self.0.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    quickcheck! {
        fn every_byte_leaves_once_and_in_order(sends: Vec<(Vec<u8>, Vec<u8>)>, cuts: Vec<u8>) -> bool {
            let mut outbox = Outbox::default();
            let mut want = Vec::new();
            for (head, body) in sends {
                want.extend_from_slice(&head);
                want.extend_from_slice(&body);
                outbox.push(Head::from_slice(&head), Bytes::from(body));
                outbox.push(Head::new(), Bytes::new());
            }
            let mut cuts = cuts.into_iter().chain(std::iter::repeat(1)).map(|c| usize::from(c.max(1)));
            let mut got = Vec::new();
            while !outbox.is_empty() {
                let mut slices = [IoSlice::new(&[]); 3];
                let used = outbox.gather(&mut slices);
                assert!(used > 0 && slices[..used].iter().all(|s| !s.is_empty()));
                let next: Vec<u8> = slices[..used].iter().flat_map(|s| s.iter().copied()).collect();
                let n = cuts.next().unwrap().min(next.len());
                got.extend_from_slice(&next[..n]);
                outbox.advance(n);
            }
            got == want
        }
    }
}
