//! CO1 to CO3 of the performance study: the wire format.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use allocation_counter::measure;
use eddy_bench::cpu::{cost, interleave, rate};
use eddy_bench::peer::{encode, map};
use eddy_bench::rig::Rig;
use eddy_bench::stream::FIRST;
use eddy_bench::table::{self, Target, row};
use eddy_core::stream::block::BLOCK_HEADER;
use eddy_core::stream::map::Path;
use eddy_core::wire::emit;
use eddy_core::wire::frame::{Arena, Framer, Incoming};
use eddy_core::wire::message::Message;
use eddy_core::{Action, Event, Head};

/// Runs of numerator and denominator each.
const RUNS: usize = 9;
/// Maps in one run.
const MAPS: u64 = 1 << 20;
/// Maps in the input, which stays in the cache.
const INPUT: u64 = 1 << 10;

fn main() -> io::Result<()> {
    table::head();
    decode()?;
    encode_map()?;
    copies();
    Ok(())
}

fn some_map(n: u64) -> Message {
    map(FIRST.plus(1_000 + n), Path { hops: 3, delay: 40 })
}

fn millions(cost: Duration) -> f64 {
    rate(MAPS as f64, cost) / 1e6
}

/// What a map of eight sub-streams comes to, written down by hand.
#[derive(Debug, Default)]
struct Plain {
    start: u64,
    newest: [u64; 8],
    bits: u32,
    paths: [(u8, u16); 8],
}

/// Reads one frame that can only be a map of eight sub-streams with paths.
fn by_hand(frame: &[u8]) -> Option<(Plain, &[u8])> {
    let (header, rest) = frame.split_at_checked(5)?;
    let length = u32::from_be_bytes(header[..4].try_into().ok()?) as usize;
    let (body, rest) = rest.split_at_checked(length.checked_sub(1)?)?;
    if header[4] != 0x20 || body.len() != 54 || body[8] != 2 || body[9] != 8 {
        return None;
    }
    let mut plain =
        Plain { start: u64::from_be_bytes(body[..8].try_into().ok()?), ..Plain::default() };
    for (newest, offset) in plain.newest.iter_mut().zip(body[10..26].chunks_exact(2)) {
        *newest = plain.start + u64::from(u16::from_be_bytes(offset.try_into().ok()?));
    }
    plain.bits = u32::from_be_bytes(body[26..30].try_into().ok()?);
    for (path, bytes) in plain.paths.iter_mut().zip(body[30..].chunks_exact(3)) {
        *path = (bytes[0], u16::from_be_bytes(bytes[1..].try_into().ok()?));
    }
    Some((plain, rest))
}

fn decode() -> io::Result<()> {
    let input: Vec<u8> = (0..INPUT).flat_map(|n| encode(&some_map(n))).collect();
    let (mut framer, mut arena) = (Framer::new(1 << 20), Arena::new());
    let mut seen = 0;
    let ours = || {
        cost(|| {
            for _ in 0..MAPS / INPUT {
                let mut rest = black_box(&input[..]);
                while let Ok(Some(Incoming::Message(message))) = framer.next(&mut rest, &mut arena)
                {
                    black_box(&message);
                    seen += 1;
                }
            }
        })
    };
    let theirs = || {
        cost(|| {
            for _ in 0..MAPS / INPUT {
                let mut rest = black_box(&input[..]);
                while let Some((plain, after)) = by_hand(rest) {
                    black_box(&plain);
                    rest = after;
                }
            }
        })
    };
    let (ours, theirs) = interleave(RUNS, ours, theirs)?;
    assert_eq!(seen, RUNS as u64 * MAPS, "every map is read");
    let (ours, theirs) = (millions(ours), millions(theirs));
    let text = |m: f64| format!("{m:.1} M maps/CPU-s");
    let what = "frame and decode a buffer map, against a parser by hand";
    row("CO1", what, &text(ours), &text(theirs), ours / theirs, Target::AtLeast(0.25));
    Ok(())
}

fn encode_map() -> io::Result<()> {
    let message = some_map(0);
    let frame = encode(&message);
    let mut head = Head::new();
    let mut copy = vec![0; frame.len()];
    let allocations = measure(|| {
        for _ in 0..1_000 {
            head.clear();
            emit::encode(black_box(&message), &mut head);
        }
    });
    let ours = || {
        cost(|| {
            for _ in 0..MAPS {
                head.clear();
                emit::encode(black_box(&message), &mut head);
                black_box(&head);
            }
        })
    };
    let theirs = || {
        cost(|| {
            for _ in 0..MAPS {
                copy.copy_from_slice(black_box(&frame));
                black_box(&copy);
            }
        })
    };
    let (ours, theirs) = interleave(RUNS, ours, theirs)?;
    let (ours, theirs) = (millions(ours), millions(theirs));
    let text = |m: f64| format!("{m:.1} M maps/CPU-s");
    let what = "encode a buffer map into a used buffer, against memcpy";
    row("CO2", what, &text(ours), &text(theirs), ours / theirs, Target::AtLeast(0.10));
    let count = allocations.count_total as f64;
    let what = "allocations of 1000 such encodings";
    row("CO2", what, &format!("{count}"), "—", count, Target::AtMost(0.0));
    Ok(())
}

/// What leaves shares one allocation that is not the driver's read buffer:
/// a block is copied once on its way in, and never on its way out.
fn copies() {
    let mut rig = Rig::new(4, 5 << 10);
    let (now, event) = rig.round().block;
    let Event::Received { bytes: input, .. } = &event else { return };
    let input = input.as_ptr_range();
    let actions = rig.actions(now, event);
    let bodies = actions.iter().filter_map(|action| match action {
        Action::Send { body, .. } if !body.is_empty() => Some(body.as_ptr()),
        Action::Deliver(delivery) => Some(delivery.payload.as_ptr().wrapping_sub(BLOCK_HEADER)),
        _ => None,
    });
    let mut places: Vec<*const u8> = bodies.collect();
    assert_eq!(places.len(), 5, "four children and the player");
    places.dedup();
    let out = places.len() as f64 - 1.0;
    let copied_in = f64::from(!input.contains(&places[0]));
    let what = "copies of a block: in; out to 4 children and the player";
    let ours = format!("{copied_in} in, {out} out");
    row("CO3", what, &ours, "1 in, 0 out", copied_in + out, Target::AtMost(1.0));
}
