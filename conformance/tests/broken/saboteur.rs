//! An honest loop with a saboteur between it and the machine: to the machine,
//! and to its judge, that is a driver with a fault.

use std::io;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use eddy_conformance::{Audience, Drive, Subject};
use eddy_core::{
    Command, Delivery, DiskAnswer, DiskRequest, Event, Host, Machine, Notice, Output, Ticket, Time,
};

use crate::own_loop::{Door, Loop, Sockets, bind};

/// What a driver does wrong. What it does not mention, it does right.
pub(crate) trait Fault: Default + Send + 'static {
    /// Whether a stop closes nothing.
    const NEVER_STOPS: bool = false;

    /// What the machine takes for the start of its life.
    fn start(&mut self, now: Time) -> Time {
        now
    }

    /// Tells the machine.
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        machine.handle(now, event);
    }

    /// Asks the machine.
    fn ask(&mut self, machine: &mut Subject) -> Output {
        machine.poll()
    }

    /// Passes a notice to the host.
    fn notify(&mut self, host: &mut Audience, now: Time, notice: Notice) {
        host.notify(now, notice);
    }
}

/// A driver with this fault.
pub(crate) struct Broken<F>(PhantomData<F>);

struct Saboteur<F>(Subject, F);

impl<F: Fault> Machine for Saboteur<F> {
    fn handle(&mut self, now: Time, event: Event) {
        self.1.tell(&mut self.0, now, event);
    }

    fn poll(&mut self) -> Output {
        self.1.ask(&mut self.0)
    }
}

struct Messenger<F>(Audience, F);

impl<F: Fault> Host for Messenger<F> {
    fn deliver(&mut self, now: Time, delivery: Delivery) {
        self.0.deliver(now, delivery);
    }

    fn notify(&mut self, now: Time, notice: Notice) {
        self.1.notify(&mut self.0, now, notice);
    }

    fn disk(&mut self, now: Time, request: DiskRequest) {
        self.0.disk(now, request);
    }
}

impl<F: Fault> Drive for Broken<F> {
    type Sockets = Sockets;
    type Handle = (SyncSender<Door>, JoinHandle<()>);

    fn bind() -> io::Result<(Sockets, SocketAddr)> {
        let sockets = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = sockets.0.local_addr()?;
        Ok((sockets, addr))
    }

    fn start(
        sockets: Sockets,
        make: impl FnOnce(Time) -> Subject + Send + 'static,
        host: Audience,
    ) -> Self::Handle {
        let sabotaged = |now| {
            let mut fault = F::default();
            let start = fault.start(now);
            Saboteur(make(start), fault)
        };
        let (driver, door) = Loop::new(sockets, sabotaged, Messenger(host, F::default()));
        (door, std::thread::spawn(move || driver.run()))
    }

    fn command((door, _): &Self::Handle, ticket: Ticket, command: Command) -> bool {
        door.try_send(Door::Tell(Event::Command { ticket, command })).is_ok()
    }

    fn answer((door, _): &Self::Handle, answer: DiskAnswer) -> bool {
        door.try_send(Door::Tell(Event::Disk(answer))).is_ok()
    }

    fn stop((door, thread): Self::Handle) {
        if !F::NEVER_STOPS {
            door.send(Door::Stop).ok();
            thread.join().expect("the loop panicked");
        }
    }
}
