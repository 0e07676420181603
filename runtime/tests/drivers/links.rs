//! Connections: bytes, order, credit, pauses, ends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eddy_core::{Action, Command, DialId, Event, Head, LinkId, Ticket};

use super::common::{Node, PATIENCE, pattern, send};

fn close(link: LinkId, flush: bool) -> Action {
    Action::Close { link, flush }
}

#[test]
fn megabytes_come_back_exactly_under_credit() {
    const TOTAL: usize = 12 << 20;
    const WINDOW: usize = 256 << 10;
    let returned = Arc::new(AtomicUsize::new(0));
    let echo = Node::new({
        let returned = returned.clone();
        move |_, event, wants| {
            match event {
                Event::Received { link, bytes } => wants.send(*link, Bytes::copy_from_slice(bytes)),
                Event::Flushed { bytes, .. } => {
                    returned.fetch_add(*bytes, Ordering::Relaxed);
                }
                _ => return false,
            }
            true
        }
    });
    // Sends what the credit allows in blocks of odd sizes; checks the echo.
    let (mut sent, mut credit, mut got) = (0, WINDOW, 0);
    let source = Node::new(move |_, event, wants| {
        let id = match event {
            Event::Opened { link, .. } => *link,
            Event::Flushed { link, bytes } => {
                credit += bytes;
                *link
            }
            Event::Received { link, bytes } => {
                assert!(bytes[..] == pattern(got, bytes.len()), "wrong bytes after {got}");
                got += bytes.len();
                if got == TOTAL && credit == WINDOW {
                    wants.actions.push_back(close(*link, true));
                }
                return true;
            }
            _ => return false,
        };
        while sent < TOTAL {
            let len = (1 + sent % 40_000).min(TOTAL - sent);
            if credit < len {
                break;
            }
            let bytes = pattern(sent, len);
            let head = Head::from_slice(&bytes[..len.min(20)]);
            let body = Bytes::from(bytes).slice(len.min(20)..);
            wants.actions.push_back(Action::Send { link: id, head, body });
            credit -= len;
            sent += len;
        }
        true
    });
    source.act(Action::Dial { dial: DialId(1), to: echo.addr });
    // Only a full echo with all credit back closes the link.
    source.until("the whole echo", |e| matches!(e, Event::Closed { .. }).then_some(()));
    echo.until("the end", |e| matches!(e, Event::Closed { .. }).then_some(()));
    assert_eq!(returned.load(Ordering::Relaxed), TOTAL);
}

#[test]
fn heads_and_bodies_keep_their_order() {
    let (a, b) = (Node::plain(), Node::plain());
    let (ab, ba) = a.connect(&b);
    // More pieces than one call to the kernel takes; some of them empty.
    let mut want = Vec::new();
    let mut actions = Vec::new();
    for i in 0..1_000_usize {
        let head = pattern(i, i % 5 * 16);
        let body = pattern(7 * i, i % 7 * 100);
        want.extend_from_slice(&head);
        want.extend_from_slice(&body);
        actions.push(Action::Send { link: ab, head: Head::from_vec(head), body: body.into() });
    }
    actions.push(send(ab, Bytes::new()));
    a.act_all(actions);
    assert!(b.receive(ba, want.len()) == want);
    let mut flushed = 0;
    while flushed < want.len() {
        flushed += a.until("credit", |event| match event {
            Event::Flushed { link, bytes } if link == ab => Some(bytes),
            _ => None,
        });
    }
}

#[test]
fn credit_alone_keeps_a_sender_going() {
    // The peer only reads: nothing but credit tells the machine to send more.
    let mut left = 1_000;
    let node = Node::new(move |_, event, wants| {
        if let Event::Opened { link, .. } | Event::Flushed { link, .. } = event
            && left > 0
        {
            left -= 1;
            wants.send(*link, Bytes::from_static(&[3; 500]));
        }
        true
    });
    let mut peer = TcpStream::connect(node.addr).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.read_exact(&mut [0; 500_000]).expect("the sender fell asleep");
}

#[test]
fn a_pause_holds_from_the_next_event_on() {
    const TOTAL: usize = 8 << 20;
    let (mut paused, mut got) = (false, 0);
    let node = Node::new(move |now, event, wants| {
        let read = |link| Action::SetRead { link, on: paused };
        match event {
            Event::Received { link, bytes } => {
                assert!(!paused, "read although the machine wants none");
                wants.actions.push_back(read(*link));
                got += bytes.len();
                paused = true;
                wants.wait = Some(now + Duration::from_micros(1));
            }
            Event::Wake => {
                wants.wait = None;
                wants.actions.push_back(read(LinkId(0)));
                paused = false;
            }
            Event::Closed { .. } => assert_eq!(got, TOTAL),
            _ => {}
        }
        !matches!(event, Event::Closed { .. })
    });
    let mut peer = TcpStream::connect(node.addr).unwrap();
    // Reads of odd sizes: the driver would read more than once in a turn.
    peer.write_all(&[1; 10_000]).unwrap();
    peer.write_all(&vec![2; TOTAL - 10_000]).unwrap();
    drop(peer);
    assert!(matches!(node.next().event, Event::Closed { .. }));
}

#[test]
fn a_paused_link_stops_its_sender_until_it_reads_again() {
    const TOTAL: usize = 32 << 20;
    let (a, b) = (Node::plain(), Node::plain());
    let (ab, ba) = a.connect(&b);
    b.act(Action::SetRead { link: ba, on: false });
    let block = Bytes::from(pattern(0, 1 << 20));
    a.act_all((0..TOTAL >> 20).map(|_| send(ab, block.clone())));
    // Until no credit comes any more: the kernel's buffers are full.
    let mut flushed = 0;
    while let Some(event) = a.next_within(Duration::from_millis(300)) {
        let Event::Flushed { bytes, .. } = event else { panic!("{event:?}") };
        flushed += bytes;
    }
    assert!(flushed > 0, "the kernel took nothing");
    assert!(flushed < TOTAL / 2, "{flushed} bytes left although nobody reads");

    b.act(Action::SetRead { link: ba, on: true });
    let got = b.receive(ba, TOTAL);
    assert!(got.chunks(1 << 20).all(|chunk| chunk == block));
    while flushed < TOTAL {
        let Event::Flushed { bytes, .. } = a.next().event else { panic!("not credit") };
        flushed += bytes;
    }
}

#[test]
fn bytes_and_an_end_that_came_in_a_pause_are_read_after_it() {
    let node = Node::plain();
    let mut peer = TcpStream::connect(node.addr).unwrap();
    let id = node.opened();
    node.act(Action::SetRead { link: id, on: false });
    // The pause holds once the machine has asked for it: a datagram to itself
    // comes round after that.
    node.act(Action::SendDatagram { to: node.addr, bytes: Bytes::from_static(b"x") });
    node.until("the datagram", |e| matches!(e, Event::Datagram { .. }).then_some(()));
    peer.write_all(&pattern(0, 100_000)).unwrap();
    drop(peer);
    assert_eq!(node.next_within(Duration::from_millis(100)), None);
    node.act(Action::SetRead { link: id, on: true });
    assert!(node.receive(id, 100_000) == pattern(0, 100_000));
    assert_eq!(node.next().event, Event::Closed { link: id });
}

#[test]
fn a_flushing_close_delivers_everything() {
    const TOTAL: usize = 8 << 20;
    let (a, b) = (Node::plain(), Node::plain());
    let (ab, ba) = a.connect(&b);
    // Bytes on their way to the closing side must not reset the connection.
    b.act(send(ba, pattern(0, 100_000).into()));
    a.act_all([send(ab, pattern(5, TOTAL).into()), close(ab, true)]);
    assert!(b.receive(ba, TOTAL) == pattern(5, TOTAL));
    b.closed(ba);
    let start = Instant::now();
    a.closed(ab);
    assert!(start.elapsed() < Duration::from_secs(1), "the peer's goodbye was not heard");
    assert_eq!(a.next_within(Duration::from_millis(50)), None);
    assert_eq!(b.next_within(Duration::from_millis(50)), None);
}

#[test]
fn a_flushing_close_waits_for_nobody_for_ever() {
    let node = Node::plain();
    let peer = TcpStream::connect(node.addr).unwrap();
    let id = node.opened();
    let start = Instant::now();
    node.act_all([send(id, vec![0; 32 << 20].into()), close(id, true)]);
    node.closed(id);
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1_500), "gave up after {took:?}");
    assert!(took < Duration::from_millis(2_900), "waited {took:?}");
    drop(peer);
}

#[test]
fn a_close_without_flush_is_answered_once() {
    let node = Node::plain();
    let peer = TcpStream::connect(node.addr).unwrap();
    let id = node.opened();
    // Asking twice is the machine's fault, and still no reason for two answers.
    node.act_all([send(id, vec![0; 32 << 20].into()), close(id, false), close(id, false)]);
    assert_eq!(node.next().event, Event::Closed { link: id });
    assert_eq!(node.next_within(Duration::from_millis(50)), None);
    drop(peer);
}

#[test]
fn the_end_of_a_peer_is_told_once() {
    for reset in [false, true] {
        let node = Node::plain();
        let mut peer = TcpStream::connect(node.addr).unwrap();
        let id = node.opened();
        // Something is queued that will never leave.
        node.act(send(id, vec![0; 32 << 20].into()));
        peer.read_exact(&mut [0; 1000]).unwrap();
        if reset {
            let peer = socket2::SockRef::from(&peer);
            peer.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(peer);
        node.closed(id);
        assert_eq!(node.next_within(Duration::from_millis(50)), None, "reset: {reset}");
    }
}

#[test]
fn the_reset_of_a_paused_link_is_told_while_something_waits_to_be_sent() {
    for unread in [&b""[..], b"of no use any more"] {
        let node = Node::plain();
        let mut peer = TcpStream::connect(node.addr).unwrap();
        let id = node.opened();
        node.act(Action::SetRead { link: id, on: false });
        // More than the kernel takes; what it takes is told.
        node.act(send(id, Bytes::from(vec![7; 32 << 20])));
        node.until("credit", |e| matches!(e, Event::Flushed { .. }).then_some(()));
        peer.write_all(unread).unwrap();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        node.until("the end", |e| (e == Event::Closed { link: id }).then_some(()));
    }
}

#[test]
fn last_words_before_a_reset_are_heard() {
    // While the machine is busy the peer speaks and goes, with bytes of ours
    // unread: a reset. Then the machine writes, and that fails before the
    // driver has read what the peer said.
    let (arrived, busy) = mpsc::channel();
    let (go, gate) = mpsc::channel::<LinkId>();
    let node = Node::new(move |_, event, wants| {
        if matches!(event, Event::Command { .. }) {
            arrived.send(()).unwrap();
            wants.send(gate.recv_timeout(PATIENCE).unwrap(), Bytes::from_static(b"too late"));
        }
        false
    });
    let mut peer = TcpStream::connect(node.addr).unwrap();
    let id = node.opened();
    node.act(send(id, Bytes::from_static(b"unread")));
    assert_eq!(node.next().event, Event::Flushed { link: id, bytes: 6 });
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.peek(&mut [0]).unwrap();
    node.handle.command(Ticket(0), Command::Leave).unwrap();
    busy.recv_timeout(PATIENCE).unwrap();
    peer.write_all(b"last words").unwrap();
    drop(peer);
    go.send(id).unwrap();
    assert_eq!(node.receive(id, 10), b"last words");
    assert_eq!(node.next().event, Event::Closed { link: id });
}

#[test]
fn dials_that_cannot_succeed_fail() {
    let node = Node::plain();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let no: [SocketAddr; 4] = [
        free,
        (Ipv6Addr::LOCALHOST, free.port()).into(),
        (Ipv4Addr::LOCALHOST, 0).into(),
        (Ipv4Addr::BROADCAST, free.port()).into(),
    ];
    for (i, to) in no.into_iter().enumerate() {
        let dial = DialId(i as u64);
        node.act(Action::Dial { dial, to });
        assert_eq!(node.next().event, Event::DialFailed { dial }, "{to}");
    }
    // It goes on working.
    let other = Node::plain();
    node.connect(&other);
}

/// The one slow test, as long as the driver waits for a dial.
#[test]
#[cfg(target_os = "linux")]
fn a_dial_nobody_answers_fails_and_its_time_is_no_other_links() {
    // With its queue full a listener answers no more.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let deaf = listener.local_addr().unwrap().as_socket().unwrap();
    let _queued = TcpStream::connect(deaf).unwrap();

    let (a, b) = (Node::plain(), Node::plain());
    let (ab, ba) = a.connect(&b);
    let start = Instant::now();
    a.act(Action::Dial { dial: DialId(7), to: deaf });
    let event = a.next_within(2 * PATIENCE).expect("no end of the dial");
    assert_eq!(event, Event::DialFailed { dial: DialId(7) });
    assert!(start.elapsed() > Duration::from_millis(4_900), "gave up after {:?}", start.elapsed());
    // The other link was dialled, and answered, before that.
    a.act(send(ab, Bytes::from_static(b"still here")));
    assert_eq!(b.receive(ba, 10), b"still here");
}

#[test]
fn both_ends_know_each_others_address() {
    for ip in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let (a, b) = (Node::plain(), Node::at(ip.parse().unwrap(), |_, _, _| false));
        let mut to = b.addr;
        if to.ip().is_unspecified() {
            // One socket for both families; peers show as what they are.
            to = (Ipv4Addr::LOCALHOST, to.port()).into();
        }
        a.act(Action::Dial { dial: DialId(9), to });
        let Event::Opened { dial, remote, .. } = a.next().event else { panic!() };
        assert_eq!((dial, remote), (Some(DialId(9)), to));
        let Event::Opened { dial, remote, .. } = b.next().event else { panic!() };
        assert_eq!((dial, remote.ip()), (None, to.ip()));
    }
}

#[test]
fn ids_are_never_used_twice() {
    // The machine itself checks that they count up. Stale events would show
    // as bytes or ends of links that are not open.
    let node = Node::new(|_, event, wants| {
        if let Event::Received { link, bytes } = event {
            wants.send(*link, Bytes::copy_from_slice(bytes));
            wants.actions.push_back(close(*link, true));
        }
        !matches!(event, Event::Closed { .. })
    });
    for i in 0..200_u8 {
        let mut peer = TcpStream::connect(node.addr).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(&[i; 10]).unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [i; 10]);
    }
    let mut ended = std::collections::BTreeSet::new();
    while ended.len() < 200 {
        let Event::Closed { link } = node.next().event else { panic!() };
        assert!(ended.insert(link));
    }
}

#[test]
fn a_peer_that_never_reads_delays_nobody() {
    let (a, b) = (Node::plain(), Node::plain());
    let stuck = TcpStream::connect(a.addr).unwrap();
    let stuck_id = a.opened();
    let (ab, ba) = a.connect(&b);
    a.act(send(stuck_id, vec![0; 64 << 20].into()));
    let mut slowest = Duration::ZERO;
    for i in 0..50_usize {
        let start = Instant::now();
        a.act(send(ab, pattern(i, 2_000).into()));
        assert!(b.receive(ba, 2_000) == pattern(i, 2_000));
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "one round took {slowest:?}");
    drop(stuck);
}

#[test]
fn a_peer_that_floods_delays_nobody() {
    let node = Node::new(|_, event, wants| {
        if let Event::Received { link, bytes } = event
            && bytes.len() < 100
        {
            wants.send(*link, Bytes::copy_from_slice(bytes));
        }
        true
    });
    let (flooded, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let flood = std::thread::spawn({
        let (addr, flooded, stop) = (node.addr, flooded.clone(), stop.clone());
        move || {
            let mut peer = TcpStream::connect(addr).unwrap();
            while stop.load(Ordering::Relaxed) == 0 {
                peer.write_all(&[1; 1 << 20]).unwrap();
                flooded.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut peer = TcpStream::connect(node.addr).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    // A hundred answers, and as many more as it takes for megabytes beside them.
    let start = Instant::now();
    for i in 0.. {
        if i >= 100 && flooded.load(Ordering::Relaxed) >= 4 {
            break;
        }
        assert!(start.elapsed() < 5 * PATIENCE, "{i} answers, but no flood beside them");
        let (question, mut answer) = ([i as u8; 10], [0; 10]);
        peer.write_all(&question).unwrap();
        peer.read_exact(&mut answer).expect("no answer beside a flood");
        assert_eq!(answer, question);
    }
    stop.store(1, Ordering::Relaxed);
    flood.join().unwrap();
}
