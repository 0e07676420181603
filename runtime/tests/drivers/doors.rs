//! What is not a connection: datagrams, commands, the host, the end.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc;

use bytes::Bytes;
use eddy_core::{
    Action, Command, Delivery, Event, Host, Machine, Notice, Output, Phase, Seq, Ticket, Time,
    Warning,
};

use super::common::{BELL, Heard, Node, PATIENCE, pattern, send};
use crate::driver::{Clock, Driver, Full, Sockets, run};

#[test]
fn datagrams_go_both_ways() {
    for ip in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let a = Node::at(ip.parse().unwrap(), |_, _, _| false);
        let b = match ip {
            "[::]:0" => Node::plain(),
            _ => Node::at(ip.parse().unwrap(), |_, _, _| false),
        };
        let mut at_a = a.addr;
        if at_a.ip().is_unspecified() {
            at_a = (Ipv4Addr::LOCALHOST, at_a.port()).into();
        }
        for len in [0, 1, 1_316, 65_507] {
            let bytes = Bytes::from(pattern(len, len));
            for (from, to, from_addr, to_addr) in [(&a, &b, at_a, b.addr), (&b, &a, b.addr, at_a)] {
                from.act(Action::SendDatagram { to: to_addr, bytes: bytes.clone() });
                let want = Event::Datagram { from: from_addr, bytes: bytes.clone() };
                assert!(to.next().event == want, "{len} bytes from {from_addr} to {to_addr}");
            }
        }
    }
}

#[test]
fn a_burst_of_datagrams_is_read_whole() {
    let node = Node::plain();
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // More than one turn reads.
    for i in 0..200_u8 {
        peer.send_to(&[i; 100], node.addr).unwrap();
    }
    for i in 0..200_u8 {
        let from = peer.local_addr().unwrap();
        let bytes = Bytes::copy_from_slice(&[i; 100]);
        assert_eq!(node.next().event, Event::Datagram { from, bytes });
    }
}

#[test]
fn a_datagram_that_cannot_be_sent_is_lost_and_nothing_more() {
    let node = Node::plain();
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    node.act_all([
        Action::SendDatagram { to: closed, bytes: Bytes::from_static(b"nobody") },
        Action::SendDatagram { to: "[::1]:9".parse().unwrap(), bytes: Bytes::from_static(b"v6") },
        Action::SendDatagram { to: node.addr, bytes: vec![0; 70_000].into() },
        Action::SendDatagram { to: node.addr, bytes: Bytes::from_static(b"well") },
    ]);
    let Event::Datagram { bytes, .. } = node.next().event else { panic!() };
    assert_eq!(bytes, "well");
}

#[test]
fn commands_of_another_thread_arrive_in_order() {
    let node = Node::plain();
    let handle = node.handle.clone();
    let sender = std::thread::spawn(move || {
        for i in 0..5_000 {
            let mut command = Command::Publish(Bytes::copy_from_slice(&u64::to_be_bytes(i)));
            while let Err(Full(Event::Command { command: back, .. })) =
                handle.command(Ticket(i), command)
            {
                command = back;
                std::thread::yield_now();
            }
        }
    });
    for i in 0..5_000 {
        let command = Command::Publish(Bytes::copy_from_slice(&u64::to_be_bytes(i)));
        assert_eq!(node.next().event, Event::Command { ticket: Ticket(i), command });
    }
    sender.join().unwrap();
}

#[test]
fn a_full_queue_gives_the_command_back() {
    // The machine is busy with the first command until the test lets it go.
    let (arrived, busy) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let mut first = true;
    let node = Node::new(move |_, _, _| {
        if std::mem::take(&mut first) {
            arrived.send(()).unwrap();
            gate.recv_timeout(PATIENCE).unwrap();
        }
        false
    });
    node.handle.command(Ticket(0), Command::Leave).unwrap();
    busy.recv_timeout(PATIENCE).unwrap();
    let mut taken = 1;
    let refused = loop {
        let command = Command::Publish(Bytes::from_static(b"again"));
        match node.handle.command(Ticket(taken), command) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken < 1 << 20, "the queue has no end");
    };
    let command = Command::Publish(Bytes::from_static(b"again"));
    assert!(matches!(refused, Full(Event::Command { command: c, .. }) if c == command));
    go.send(()).unwrap();
    for i in 0..taken {
        assert!(matches!(node.next().event, Event::Command { ticket, .. } if ticket == Ticket(i)));
    }
    node.handle.command(Ticket(taken), Command::Leave).unwrap();
}

#[test]
fn the_host_hears_everything_in_order() {
    let node = Node::plain();
    let delivery = |seq| Delivery {
        seq: Seq(seq),
        due: None,
        slot: Time::from_secs(seq),
        payload: pattern(0, 100).into(),
    };
    node.act_all((0..500).flat_map(|i| {
        [Action::Deliver(delivery(i)), Action::Notify(Notice::Warning(Warning::InputBack))]
    }));
    for i in 0..500 {
        let heard = || node.heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(heard(), Heard::Delivery(delivery(i)));
        assert_eq!(heard(), Heard::Notice(Notice::Warning(Warning::InputBack)));
    }
}

/// Answers every command with a notice, and counts them.
#[derive(Default)]
struct Counter(usize, Vec<Action>);

impl Machine for Counter {
    fn handle(&mut self, _: Time, event: Event) {
        if let Event::Command { .. } = event {
            self.0 += 1;
            self.1.push(Action::Notify(Notice::Phase(Phase::Joining)));
        }
    }
    fn poll(&mut self) -> Output {
        self.1.pop().map_or(Output::Wait(None), Output::Act)
    }
}

#[derive(Default)]
struct Tally(usize);

impl Host for Tally {
    fn deliver(&mut self, _: Time, _: Delivery) {}
    fn notify(&mut self, _: Time, _: Notice) {
        self.0 += 1;
    }
}

#[test]
fn a_stopped_driver_has_taken_what_came_before_and_takes_no_more() {
    let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let mut driver =
        Driver::new(sockets, Clock::start(), Counter::default(), Tally::default()).unwrap();
    let handle = driver.handle();
    for i in 0..100 {
        handle.command(Ticket(i), Command::Leave).unwrap();
    }
    handle.stop();
    assert!(handle.command(BELL, Command::Leave).is_err());
    run(&mut driver).unwrap();
    run(&mut driver).unwrap();
    let (machine, host) = driver.into_parts();
    assert_eq!((machine.0, host.0), (100, 100));
    assert!(handle.command(BELL, Command::Leave).is_err());
}

#[test]
fn stopping_sends_what_the_kernel_takes() {
    let (a, b) = (Node::plain(), Node::plain());
    let (ab, ba) = a.connect(&b);
    a.act(send(ab, pattern(0, 50_000).into()));
    drop(a);
    assert!(b.receive(ba, 50_000) == pattern(0, 50_000));
    b.closed(ba);
}

#[test]
fn dropping_a_driver_closes_its_port() {
    let node = Node::plain();
    let addr = node.addr;
    drop(node);
    let again = Sockets::bind(addr);
    assert!(again.is_ok(), "{again:?}");
}
