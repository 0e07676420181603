//! What only a driver in a task can do: move between threads, and be dropped
//! half-way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

#[cfg(not(feature = "smol"))]
use async_std::task::{block_on, spawn};
use eddy_core::{Delivery, Event, Host, Machine, Notice, Output, Time};
use eddy_runtime_async_std::{Clock, Driver, Handle, Sockets};
use futures_lite::future;
#[cfg(feature = "smol")]
use smol::{block_on, spawn};

const PATIENCE: Duration = Duration::from_secs(3);

/// Wants to be woken once, and tells of every event.
struct Sleeper(Option<Time>, Sender<Event>);

impl Machine for Sleeper {
    fn handle(&mut self, _: Time, event: Event) {
        if event == Event::Wake {
            self.0 = None;
        }
        self.1.send(event).unwrap();
    }

    fn poll(&mut self) -> Output {
        Output::Wait(self.0)
    }
}

struct Deaf;

impl Host for Deaf {
    fn deliver(&mut self, _: Time, _: Delivery) {}
    fn notify(&mut self, _: Time, _: Notice) {}
}

/// A driver whose machine wants to be woken soon.
fn driver(events: Sender<Event>) -> (Driver<Sleeper, Deaf>, SocketAddr) {
    let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let (clock, addr) = (Clock::start(), sockets.local_addr());
    let machine = Sleeper(Some(clock.now() + Duration::from_millis(50)), events);
    (Driver::new(sockets, clock, machine, Deaf).unwrap(), addr)
}

/// Blocks on `run` until the machine was woken and has heard a datagram.
fn judge(
    handle: Handle,
    to: SocketAddr,
    events: Receiver<Event>,
    run: impl Future<Output = io::Result<()>> + Send + 'static,
) {
    let running = std::thread::spawn(|| block_on(run));
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.send_to(b"anybody there?", to).unwrap();
    let (mut woken, mut heard) = (false, false);
    while !(woken && heard) {
        match events.recv_timeout(PATIENCE) {
            Ok(Event::Wake) => woken = true,
            Ok(Event::Datagram { .. }) => heard = true,
            other => panic!("{other:?}; woken: {woken}, heard: {heard}"),
        }
    }
    handle.stop();
    running.join().unwrap().unwrap();
}

#[test]
fn it_runs_as_a_task_of_any_thread() {
    let (sender, events) = channel();
    let (mut driver, addr) = driver(sender);
    judge(driver.handle(), addr, events, spawn(async move { driver.run().await }));
}

#[test]
fn a_run_that_was_dropped_is_taken_up_again() {
    let (sender, events) = channel();
    let (mut driver, addr) = driver(sender);
    // By now it waits for datagrams and has set an alarm, in this task.
    for _ in 0..3 {
        assert!(block_on(future::poll_once(driver.run())).is_none());
    }
    judge(driver.handle(), addr, events, async move { driver.run().await });
}
