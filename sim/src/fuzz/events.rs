//! Arbitrary events against the contract: whatever befalls a machine, it
//! keeps its side, and leaves in good order.

use std::time::Duration;

use bytes::Bytes;
use eddy_core::stream::block::Block;
use eddy_core::stream::channel::Name;
use eddy_core::stream::file::FileId;
use eddy_core::stream::map::{BufferMap, MapEntry, Path};
use eddy_core::stream::sign::Signature;
use eddy_core::time::micros;
use eddy_core::wire::check::Choices;
use eddy_core::wire::message::{
    HeartbeatReply, JoinReply, JoinRequest, ListRequest, Member, Message, Purpose, Reason, Refuse,
    Refused, Registration, RegistrationResult, Subscribe, SubscribeReply, TimeShiftOthers,
    TimeShiftRefused, TimeShiftRequest, Token,
};
use eddy_core::{
    Command, DialId, DiskAnswer, DiskRequest, Event, Join, Kept, LinkId, LoadId, Machine, Position,
    Seq, SubStream, Time,
};

use crate::hand::Hand;
use crate::hand::cast::{
    BLOCK, MEMBERS, SERVER, a_keeping_viewer, a_provider, a_server_with_clients, a_viewer,
    a_viewer_with_partners, addr, an_idle_viewer, channel, full_map, join, member, signer,
};
use crate::hand::words::{frame, hello};

/// The most that befalls one machine.
const MOST: usize = 1_000;
/// Longer than any time-out of the default configuration.
const PATIENCE: Duration = Duration::from_secs(120);

/// Fuzz target: the first byte chooses a provider, a viewer that knows nobody,
/// three members or three partners, one of these with a disk and a DHT, or a
/// bootstrap server; the others choose what befalls it.
///
/// # Panics
/// If the machine breaks the contract.
pub fn node_events(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(6) {
        0 => befall(&mut a_provider(), &mut choices),
        1 => befall(&mut an_idle_viewer(1), &mut choices),
        2 => befall(&mut a_viewer(1), &mut choices),
        3 => befall(&mut a_viewer_with_partners(), &mut choices),
        4 => befall(&mut a_keeping_viewer(), &mut choices),
        _ => befall(&mut a_server_with_clients(), &mut choices),
    }
}

/// Lets one thing after another befall a machine until nothing is left to
/// choose, then has it leave: every ticket ends, and every link.
///
/// # Panics
/// If the machine breaks the contract.
pub fn befall<M: Machine>(hand: &mut Hand<M>, choices: &mut Choices<'_>) {
    for _ in 0..MOST {
        if choices.is_over() {
            break;
        }
        deed(hand, choices);
        hand.delivered.clear();
    }
    hand.command(Command::Leave);
    while !hand.dials.is_empty() {
        hand.refuse();
    }
    hand.pass(PATIENCE);
    hand.finish_closing();
    assert!(hand.tickets.is_empty(), "{:?} never ended (C10)", hand.tickets);
    assert!(hand.open.is_empty() && hand.dials.is_empty(), "it has left, but {hand:?}");
}

/// One thing that a world can do to a machine.
fn deed<M: Machine>(hand: &mut Hand<M>, c: &mut Choices<'_>) {
    let deed = c.byte();
    match deed % 20 {
        0 => hand.pass(Duration::from_millis(u64::from(c.u16()) % 700)),
        1 => drop(hand.accept(addr(c.byte()))),
        2 => drop(hand.answer()),
        3 => hand.refuse(),
        4 => link(hand, c).into_iter().for_each(|link| hand.closed(link)),
        5 => {
            let bytes = some_bytes(c);
            on_a_link(hand, c, bytes.to_vec());
        }
        6 => {
            if let Some(link) = link(hand, c) {
                hand.flush(link, usize::from(c.u16()) * 8);
            }
        }
        7 => {
            let command = match c.below(14) {
                0 => Command::Join(Box::new(join())),
                1 => Command::List { bootstrap: vec![addr(SERVER)] },
                2 => Command::Leave,
                3 => Command::Publish(vec![0; 60_000].into()),
                4 | 5 => Command::Seek(position(hand.now, c)),
                6 => Command::Pause,
                7 => Command::Play,
                8 => Command::Join(Box::new(Join { position: position(hand.now, c), ..join() })),
                9 => {
                    let channel = Name::new("another").expect("a good name");
                    Command::Join(Box::new(Join { channel, key: None, ..join() }))
                }
                _ => Command::Publish(some_bytes(c).to_vec().into()),
            };
            hand.command(command);
        }
        8 => unknown_names(hand, c),
        9 => {
            let seq = near(hand.now, c);
            let payload = some_bytes(c);
            let signature = if c.below(4) == 0 {
                Signature([1; 64])
            } else {
                signer().sign_block(&channel().id(), micros(BLOCK), seq, payload)
            };
            let block = Block::new(seq, &signature, payload);
            on_a_link(hand, c, block.frame().clone());
        }
        10 => {
            let mut spoilt = frame(&words(hand.now, c)).to_vec();
            let at = c.below(spoilt.len());
            spoilt[at] ^= 1 << c.below(8);
            on_a_link(hand, c, spoilt);
        }
        11 => become_child(hand, c),
        18 => disk(hand, c),
        19 => long_block(hand, c),
        12 => {
            let leap = Duration::from_secs(u64::from(c.u32()) >> c.below(32));
            hand.now = hand.now + leap;
            hand.handle(Event::Wake);
        }
        _ => {
            let message = words(hand.now, c);
            on_a_link(hand, c, frame(&message));
        }
    }
    if deed >= 128 {
        hand.finish_closing();
    }
}

/// A link that is open.
fn link<M: Machine>(hand: &Hand<M>, c: &mut Choices<'_>) -> Option<LinkId> {
    let open = hand.open.len().max(1);
    hand.open.keys().nth(c.below(open)).copied()
}

fn on_a_link<M: Machine>(hand: &mut Hand<M>, c: &mut Choices<'_>, bytes: impl Into<Bytes>) {
    if let Some(link) = link(hand, c) {
        hand.receive(link, bytes);
    }
}

fn some_bytes<'a>(c: &mut Choices<'a>) -> &'a [u8] {
    let length = c.below(128);
    c.slice(length)
}

/// Events about links and dials that there never were.
fn unknown_names<M: Machine>(hand: &mut Hand<M>, c: &mut Choices<'_>) {
    let link = LinkId(u64::MAX - u64::from(c.byte() % 4));
    let bytes = Bytes::copy_from_slice(some_bytes(c));
    hand.handle(Event::Received { link, bytes: bytes.clone() });
    hand.handle(Event::Flushed { link, bytes: bytes.len() });
    hand.handle(Event::Closed { link });
    hand.handle(Event::DialFailed { dial: DialId(u64::MAX) });
    hand.handle(Event::Datagram { from: addr(1), bytes });
}

/// A long block, or the beginning of one, read to where it is kept.
fn long_block<M: Machine>(hand: &mut Hand<M>, c: &mut Choices<'_>) {
    let Some(link) = link(hand, c) else { return };
    let payload = vec![c.byte(); usize::from(c.u16())];
    let block = Block::new(near(hand.now, c), &Signature([1; 64]), &payload);
    let bytes = block.frame().slice(..block.frame().len() >> c.below(3));
    hand.read(link, &bytes, 1 + c.below(1 << 10));
    // What was never read.
    hand.handle(Event::Filled { link, bytes: c.u32() as usize });
}

/// Somewhere in the channel, or far from it.
fn position(now: Time, c: &mut Choices<'_>) -> Position {
    match c.below(4) {
        0 => Position::Live,
        1 => Position::Ago(Duration::from_millis(u64::from(c.u32()) >> c.below(32))),
        2 => Position::At(channel().slot_start(near(now, c))),
        _ => Position::By(i64::from(c.u32() as i32) * i64::from(c.byte())),
    }
}

/// The disk says something: what it was asked for, or not.
fn disk<M: Machine>(hand: &mut Hand<M>, c: &mut Choices<'_>) {
    let file = FileId::of(&channel(), near(hand.now, c));
    let asked = (!hand.disk.is_empty() && c.below(4) > 0).then(|| hand.disk.remove(0));
    let answer = match asked {
        Some(DiskRequest::Store { file, .. }) => {
            DiskAnswer::Stored { file, kept: [Kept::Safe, Kept::Full, Kept::Failed][c.below(3)] }
        }
        Some(DiskRequest::Load { load, first, .. }) => {
            let payload = some_bytes(c);
            let signature = signer().sign_block(&channel().id(), micros(BLOCK), first, payload);
            let whole = Block::new(first, &signature, payload).frame().clone();
            let frames = match c.below(3) {
                0 => None,
                1 => Some(whole),
                _ => Some(Bytes::copy_from_slice(some_bytes(c))),
            };
            DiskAnswer::Loaded { load, frames }
        }
        Some(DiskRequest::Delete { .. }) => return,
        None if c.coin() => DiskAnswer::Found { files: vec![(file, c.u32().into())] },
        None => DiskAnswer::Loaded { load: LoadId(c.byte().into()), frames: None },
    };
    hand.handle(Event::Disk(answer));
}

/// Somebody becomes a partner, perhaps a child of every sub-stream, and opens
/// a block link if it gets a token.
fn become_child<M: Machine>(hand: &mut Hand<M>, c: &mut Choices<'_>) {
    let id = MEMBERS[0] + c.byte() % 8;
    let control = hand.partner(id);
    let map = full_map(hand.now);
    hand.say(control, &map);
    if c.coin() {
        let from = near(hand.now, c);
        hand.subscribe(control, from);
    }
    if let Some(token) = hand.token(control) {
        let link = hand.accept(addr(id));
        hand.say(link, &hello(id, Purpose::Block(token)));
    }
}

/// A number around the live edge, or any at all.
fn near(now: Time, c: &mut Choices<'_>) -> Seq {
    match c.byte() {
        255 => Seq(c.u64()),
        by => channel().seq_at(now).plus(by.into()).minus(200),
    }
}

/// Some message, sensible or not.
fn words(now: Time, c: &mut Choices<'_>) -> Message {
    let channel = channel();
    match c.below(30) {
        0 => {
            let id = c.byte();
            let purposes = [
                Purpose::Bootstrap,
                Purpose::Control(channel.id()),
                Purpose::Block(Token(c.byte().into())),
                Purpose::Probe,
                Purpose::TimeShift(channel.id()),
            ];
            hello(id, c.pick(&purposes))
        }
        1 => Message::Refuse(Refuse {
            reason: reason(c),
            version: 1,
            referrals: members(c).into_iter().take(4).collect(),
        }),
        2 => Message::RegistrationReply(RegistrationResult::NameTaken),
        3 => {
            let filter = String::from_utf8_lossy(some_bytes(c)).chars().take(20).collect();
            Message::ChannelList(ListRequest { filter })
        }
        4 => Message::ChannelJoin(JoinRequest { name: channel.name().clone(), key: None }),
        5 => Message::JoinReply(Box::new(JoinReply::Joined {
            channel,
            viewers: 3,
            members: members(c),
        })),
        6 => Message::JoinReply(Box::new(JoinReply::NoSuchChannel)),
        7 => Message::Heartbeat(channel.id()),
        8 => Message::HeartbeatReply(HeartbeatReply {
            known: c.coin(),
            viewers: 1,
            connectable: Some(true),
            members: members(c),
        }),
        9 => Message::Leave,
        10..=12 => full_map(now),
        13 => map(now, c),
        14 => Message::Ping(c.u64()),
        15 => Message::Pong(c.u64()),
        16 => Message::Gossip(members(c)),
        17 => {
            let window = Duration::from_millis(u64::from(c.u32()) >> c.below(32));
            Message::Subscribe(Subscribe { sub: sub(c), from: near(now, c), window })
        }
        18 => Message::SubscribeReply(SubscribeReply { sub: sub(c), result: Ok(()) }),
        19 => {
            let refused = Refused {
                reason: reason(c),
                retry_after: Duration::from_millis(c.u16().into()),
                referrals: members(c).into_iter().take(4).collect(),
            };
            Message::SubscribeReply(SubscribeReply { sub: sub(c), result: Err(refused) })
        }
        20 => Message::Unsubscribe(sub(c)),
        21 => Message::BlockLink(Token(c.byte().into())),
        22 => Message::DialBack(Token(c.byte().into())),
        23 => Message::Pull(run(now, c).collect()),
        24 => Message::DontHave(run(now, c).collect()),
        25 => {
            let (first, blocks) = (near(now, c), 1 + c.byte() % 250);
            Message::TimeShiftRequest(TimeShiftRequest { first, blocks })
        }
        26 => {
            let next = c.coin().then(|| near(now, c));
            let (first, reason) = (near(now, c), reason(c));
            Message::TimeShiftRefused(TimeShiftRefused { first, reason, next })
        }
        27 => Message::TimeShiftCancel,
        28 => {
            let others = members(c).iter().take(4).map(|m| m.addr).collect();
            Message::TimeShiftOthers(TimeShiftOthers { seq: near(now, c), others })
        }
        _ => Message::ChannelRegistration(Registration {
            channel,
            signature: Signature([c.byte(); 64]),
        }),
    }
}

fn map(now: Time, c: &mut Choices<'_>) -> Message {
    let start = near(now, c);
    let count = c.pick(&[8, 8, 8, 0, 1, 7, 9, 32]);
    let entry = |j: u8, c: &mut Choices<'_>| MapEntry {
        newest: (c.below(4) > 0).then(|| start.plus(c.byte().into()).align(SubStream(j), 8)),
        subscribed: c.coin(),
    };
    let entries = (0..count).map(|j| entry(j, c)).collect();
    let path = |c: &mut Choices<'_>| Path { hops: c.byte(), delay: c.u16() };
    let paths = (0..count).map(|_| path(c)).collect();
    Message::BufferMap(BufferMap { start, reply: c.coin(), entries, paths })
}

fn members(c: &mut Choices<'_>) -> Vec<Member> {
    (0..c.below(9)).map(|_| member(c.byte())).collect()
}

fn reason(c: &mut Choices<'_>) -> Reason {
    c.pick(&[Reason::Full, Reason::NoSource, Reason::Duplicate, Reason::Token, Reason::Channel])
}

/// Mostly one that the channel has.
fn sub(c: &mut Choices<'_>) -> SubStream {
    SubStream(c.byte() % 12)
}

/// A run of up to twenty blocks.
fn run(now: Time, c: &mut Choices<'_>) -> impl Iterator<Item = Seq> + use<> {
    let from = near(now, c);
    (0..1 + c.below(20) as u64).map(move |n| from.plus(n))
}
