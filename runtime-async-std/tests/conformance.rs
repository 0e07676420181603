//! The suite that every driver must pass, on this one: on async-std, and on smol
//! with `--features smol`.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use async_std::task::{self, JoinHandle};
use eddy_conformance::{Audience, Drive, Subject};
use eddy_core::{Command, DiskAnswer, Event, Ticket, Time};
use eddy_runtime_async_std::{Clock, Driver, Handle, Sockets};

struct AsyncStd;

impl Drive for AsyncStd {
    type Sockets = Sockets;
    type Handle = (Handle, JoinHandle<io::Result<()>>);

    fn bind() -> io::Result<(Sockets, SocketAddr)> {
        let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = sockets.local_addr();
        Ok((sockets, addr))
    }

    fn start(
        sockets: Sockets,
        make: impl FnOnce(Time) -> Subject + Send + 'static,
        host: Audience,
    ) -> Self::Handle {
        let clock = Clock::start();
        let mut driver = Driver::new(sockets, clock, make(clock.now()), host).unwrap();
        (driver.handle(), task::spawn(async move { driver.run().await }))
    }

    fn command((handle, _): &Self::Handle, ticket: Ticket, command: Command) -> bool {
        handle.command(ticket, command).is_ok()
    }

    fn answer((handle, _): &Self::Handle, answer: DiskAnswer) -> bool {
        handle.tell(Event::Disk(answer)).is_ok()
    }

    fn stop((handle, task): Self::Handle) {
        handle.stop();
        task::block_on(task).unwrap();
    }
}

eddy_conformance::suite!(async_task, AsyncStd);
