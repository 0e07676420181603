//! What goes over a link: order, credit, pauses.

use std::time::Duration;

use bytes::Bytes;
use eddy_core::{Action, Event, Head, LinkId, Time};

use crate::board::Shared;
use crate::check::Check;
use crate::scene::{Act, Scene};
use crate::script::{Ear, Out, pattern, send};

const MIB: usize = 1 << 20;

/// More pieces than one call to a kernel takes; some of them empty.
pub(crate) fn sends_keep_their_order(scene: &mut Scene) -> Act {
    let ((a, at_a), (b, at_b)) = (scene.listener()?, scene.listener()?);
    let (ab, ba) = scene.connect((a, &at_a), (b, &at_b))?;
    let mut want = Vec::new();
    let mut actions = Vec::new();
    for i in 0..1_000_usize {
        let (head, body) = (pattern(i, i % 5 * 16), pattern(7 * i, i % 7 * 100));
        want.extend_from_slice(&head);
        want.extend_from_slice(&body);
        actions.push(Action::Send { link: ab, head: Head::from_vec(head), body: body.into() });
    }
    scene.act(a, actions)?;
    scene.wait(Check::Bytes, "1000 sends", || at_b.len(ba) >= want.len())?;
    scene.ensure(Check::Bytes, at_b.bytes(ba) == want, "not the bytes that were sent")
}

/// One end of a conversation: sends `all` within a window, and expects the same.
struct Talker {
    all: Bytes,
    sent: usize,
    credit: usize,
    got: usize,
    is_right: bool,
}

impl Talker {
    const WINDOW: usize = 256 << 10;

    fn new(all: Bytes) -> Self {
        Self { all, sent: 0, credit: Self::WINDOW, got: 0, is_right: true }
    }

    fn is_done(&self) -> bool {
        !self.is_right || (self.got == self.all.len() && self.credit == Self::WINDOW)
    }

    fn react(&mut self, event: &Event, out: &mut Out) {
        let link = match event {
            Event::Opened { link, .. } => *link,
            Event::Flushed { link, bytes } => {
                self.credit += bytes;
                *link
            }
            Event::Received { bytes, .. } => {
                let end = self.got + bytes.len();
                self.is_right &= self.all.get(self.got..end) == Some(&bytes[..]);
                self.got = end;
                return;
            }
            _ => return,
        };
        while self.sent < self.all.len() {
            let len = (1 + self.sent % 40_000).min(self.all.len() - self.sent);
            if self.credit < len {
                break;
            }
            let bytes = self.all.slice(self.sent..self.sent + len);
            let cut = len.min(20);
            let (head, body) = (Head::from_slice(&bytes[..cut]), bytes.slice(cut..));
            out.act(Action::Send { link, head, body });
            self.credit -= len;
            self.sent += len;
        }
    }
}

pub(crate) fn megabytes_go_both_ways_within_credit(scene: &mut Scene) -> Act {
    let all = Bytes::from(pattern(0, 4 * MIB));
    let ends = [(); 2].map(|()| Shared::new(Talker::new(all.clone())));
    let [a, b] = ends.clone();
    let a = scene.script(move |_, event, out| a.lock().react(event, out))?;
    let b = scene.script(move |_, event, out| b.lock().react(event, out))?;
    let dial = scene.dial(b);
    scene.act(a, [dial])?;
    scene.wait(Check::CreditLost, "megabytes, and credit for all of them", || {
        ends.iter().all(|end| end.lock().is_done())
    })?;
    let is_right = ends.iter().all(|end| end.lock().is_right);
    scene.ensure(Check::Bytes, is_right, "not the bytes that were sent")
}

/// The peer only reads: nothing but credit tells the machine to send more.
pub(crate) fn credit_alone_keeps_a_sender_going(scene: &mut Scene) -> Act {
    let mut left = 500;
    let a = scene.script(move |_, event, out| {
        if let Event::Opened { link, .. } | Event::Flushed { link, .. } = event
            && left > 0
        {
            left -= 1;
            out.send(*link, Bytes::from_static(&[3; 500]));
        }
    })?;
    let (b, at_b) = scene.listener()?;
    let dial = scene.dial(b);
    scene.act(a, [dial])?;
    scene.wait(Check::CreditLost, "500 sends, one for the credit of another", || {
        at_b.opened().first().is_some_and(|ba| at_b.len(*ba) == 250_000)
    })
}

/// The judge sees to the pauses.
pub(crate) fn a_pause_holds_from_the_next_event_on(scene: &mut Scene) -> Act {
    const PIECE: usize = 16 << 10;
    let got = Shared::new(0);
    let count = got.clone();
    let mut paused: Option<LinkId> = None;
    let b = scene.script(move |now: Time, event, out| match event {
        Event::Received { link, bytes } => {
            *count.lock() += bytes.len();
            out.read(*link, false);
            paused = Some(*link);
            out.wake = Some(now + Duration::from_millis(1));
        }
        Event::Wake if out.wake.is_none() => {
            paused.take().into_iter().for_each(|link| out.read(link, true));
        }
        _ => {}
    })?;
    let (a, at_a) = scene.listener()?;
    let dial = scene.dial(b);
    scene.act(a, [dial])?;
    scene.wait(Check::DialLost, "a connection", || !at_a.opened().is_empty())?;
    let link = at_a.opened()[0];
    let piece = Bytes::from(pattern(0, PIECE));
    scene.act(a, (0..2 * MIB / PIECE).map(|_| send(link, piece.clone())))?;
    scene.wait(Check::Bytes, "all bytes in spite of the pauses", || *got.lock() == 2 * MIB)
}

/// Pieces of all sizes, and none in between. A driver need not use them.
pub(crate) fn memory_that_is_lent_is_filled_in_order(scene: &mut Scene) -> Act {
    const SIZES: [Option<usize>; 6] =
        [Some(1), Some(100), None, Some(5_000), Some(70_000), Some(MIB)];
    let all = pattern(0, 8 * MIB);
    let (at_b, mut sizes) = (Ear::default(), SIZES.into_iter().cycle());
    let ear = at_b.clone();
    let b = scene.script(move |_, event, out| {
        ear.hear(event);
        if let Event::Received { link, .. } = event
            && !out.lends(*link)
            && let Some(size) = sizes.next().flatten()
        {
            out.lend(*link, size);
        }
    })?;
    let (a, at_a) = scene.listener()?;
    let (ab, ba) = scene.connect((a, &at_a), (b, &at_b))?;
    scene.act(a, all.chunks(300_000).map(|piece| send(ab, piece.to_vec())))?;
    scene.wait(Check::Bytes, "8 MiB", || at_b.len(ba) >= all.len())?;
    scene.ensure(Check::Bytes, at_b.bytes(ba) == all, "not the bytes that were sent")
}

/// A driver that reads on and keeps the bytes for itself has no bound.
pub(crate) fn a_paused_link_holds_its_sender_back(scene: &mut Scene) -> Act {
    const TOTAL: usize = 32 * MIB;
    let ((a, at_a), (b, at_b)) = (scene.listener()?, scene.listener()?);
    let (ab, ba) = scene.connect((a, &at_a), (b, &at_b))?;
    scene.act(b, [Action::SetRead { link: ba, on: false }])?;
    scene.settle()?;
    let piece = Bytes::from(pattern(0, MIB));
    scene.act(a, (0..TOTAL / MIB).map(|_| send(ab, piece.clone())))?;
    scene.rest(a)?;
    // Until no credit comes any more: all buffers between the two are full.
    let left = |scene: &Scene| scene.judged(a, |record| record.unflushed(ab)).unwrap_or(0);
    let mut before = TOTAL + 1;
    while left(scene) < before {
        before = left(scene);
        scene.pass(Duration::from_millis(200));
    }
    let gone = TOTAL - before;
    let what = format!("{gone} of {TOTAL} bytes left although nobody reads");
    scene.ensure(Check::Pause, gone < TOTAL / 2, what)?;
    scene.act(b, [Action::SetRead { link: ba, on: true }])?;
    scene.wait(Check::Bytes, "all bytes after the pause", || at_b.len(ba) == TOTAL)?;
    let all = at_b.bytes(ba);
    scene.ensure(Check::Bytes, all.chunks(MIB).all(|c| c == piece), "not the bytes that were sent")
}

pub(crate) fn a_peer_that_does_not_read_delays_nobody(scene: &mut Scene) -> Act {
    let nodes = (scene.listener()?, scene.listener()?, scene.listener()?);
    let ((a, at_a), (b, at_b), (stuck, at_stuck)) = nodes;
    let (to_stuck, from_a) = scene.connect((a, &at_a), (stuck, &at_stuck))?;
    let (ab, ba) = scene.connect((a, &at_a), (b, &at_b))?;
    scene.act(stuck, [Action::SetRead { link: from_a, on: false }])?;
    scene.settle()?;
    scene.act(a, [send(to_stuck, vec![0; 32 * MIB])])?;
    for round in 1..=30 {
        scene.act(a, [send(ab, pattern(round, 2_000))])?;
        scene.wait(Check::Blocked, "bytes for another peer", || at_b.len(ba) == 2_000 * round)?;
    }
    // What it never took need not come back.
    scene.act(a, [Action::Close { link: to_stuck, flush: false }])
}
