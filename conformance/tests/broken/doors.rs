//! Faults at the doors that are not connections: datagrams, commands, the host,
//! the end.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use eddy_conformance::{Audience, Subject};
use eddy_core::{Action, Event, Host, Machine, Notice, Output, Time};

use crate::saboteur::Fault;

/// Says of a datagram that it came from the port before.
#[derive(Default)]
pub(crate) struct WrongSender;
impl Fault for WrongSender {
    fn tell(&mut self, machine: &mut Subject, now: Time, mut event: Event) {
        if let Event::Datagram { from, .. } = &mut event {
            from.set_port(from.port() - 1);
        }
        machine.handle(now, event);
    }
}

/// Reads one datagram when its poller says that there are some; it will not
/// say so again for those that wait already.
#[derive(Default)]
pub(crate) struct OneDatagram(Option<Instant>);
impl Fault for OneDatagram {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        if let Event::Datagram { .. } = event {
            let waited = self.0.is_some_and(|at| at.elapsed() < Duration::from_millis(2));
            if !waited {
                machine.handle(now, event);
            }
            self.0 = Some(Instant::now());
        } else {
            machine.handle(now, event);
        }
    }
}

/// Throws commands away when there are many.
#[derive(Default)]
pub(crate) struct LosesCommand(u32);
impl Fault for LosesCommand {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        self.0 += u32::from(matches!(event, Event::Command { .. }));
        if self.0 != 2_000 {
            machine.handle(now, event);
        } else {
            self.0 += 1;
        }
    }
}

/// Passes notices on one turn later.
#[derive(Default)]
pub(crate) struct SwapsNotices(Option<Notice>);
impl Fault for SwapsNotices {
    fn notify(&mut self, host: &mut Audience, now: Time, notice: Notice) {
        if let Some(before) = self.0.replace(notice) {
            host.notify(now, before);
        }
    }
}

#[derive(Default)]
pub(crate) struct NeverStops;
impl Fault for NeverStops {
    const NEVER_STOPS: bool = true;
}

#[derive(Default)]
pub(crate) struct Panics(u32);
impl Fault for Panics {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        self.0 += 1;
        assert!(self.0 < 3, "this driver cannot count to three");
        machine.handle(now, event);
    }
}

/// Waits for itself.
#[derive(Default)]
pub(crate) struct Hangs;
impl Fault for Hangs {
    fn tell(&mut self, _: &mut Subject, _: Time, _: Event) {
        thread::sleep(Duration::from_secs(3_600));
    }
}

/// Says of each datagram that it came from whoever sent the one before.
#[derive(Default)]
pub(crate) struct MixesSenders(Option<SocketAddr>);
impl Fault for MixesSenders {
    fn tell(&mut self, machine: &mut Subject, now: Time, mut event: Event) {
        if let Event::Datagram { from, .. } = &mut event {
            let before = self.0.replace(*from);
            *from = before.unwrap_or(*from);
        }
        machine.handle(now, event);
    }
}

/// Has no arm for what it does not know.
#[derive(Default)]
pub(crate) struct NoDisk;
impl Fault for NoDisk {
    fn ask(&mut self, machine: &mut Subject) -> Output {
        loop {
            let output = machine.poll();
            if !matches!(output, Output::Act(Action::Disk(_))) {
                return output;
            }
        }
    }
}

/// Has room for 200 answers of the disk.
#[derive(Default)]
pub(crate) struct LosesAnswers(u32);
impl Fault for LosesAnswers {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        self.0 += u32::from(matches!(event, Event::Disk(_)));
        if self.0 <= 200 || !matches!(event, Event::Disk(_)) {
            machine.handle(now, event);
        }
    }
}

/// Passes every second answer of the disk on before the one that came first.
#[derive(Default)]
pub(crate) struct SwapsAnswers(Option<Event>);
impl Fault for SwapsAnswers {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        match (event, self.0.take()) {
            (event @ Event::Disk(_), None) => self.0 = Some(event),
            (event, before) => {
                machine.handle(now, event);
                before.into_iter().for_each(|event| machine.handle(now, event));
            }
        }
    }
}
