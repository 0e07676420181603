//! The suite that every driver must pass, on this one.
#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};

use eddy_conformance::{Audience, Drive, Subject};
use eddy_core::{Command, DiskAnswer, Event, Ticket, Time};
use eddy_runtime_mio::{Clock, Driver, Handle, Sockets};

struct Mio;

impl Drive for Mio {
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
        (driver.handle(), thread::spawn(move || driver.run()))
    }

    fn command((handle, _): &Self::Handle, ticket: Ticket, command: Command) -> bool {
        handle.command(ticket, command).is_ok()
    }

    fn answer((handle, _): &Self::Handle, answer: DiskAnswer) -> bool {
        handle.tell(Event::Disk(answer)).is_ok()
    }

    fn stop((handle, thread): Self::Handle) {
        handle.stop();
        thread.join().unwrap().unwrap();
    }
}

eddy_conformance::suite!(mio, Mio);
