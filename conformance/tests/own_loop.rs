//! The tutorial's loop passes the suite.

#[allow(dead_code, reason = "its main function is for people")]
#[path = "../examples/own_loop.rs"]
mod own_loop;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use eddy_conformance::{Audience, Drive, Subject};
use eddy_core::{Command, DiskAnswer, Event, Ticket, Time};
use own_loop::{Door, Loop, Sockets};

struct OwnLoop;

impl Drive for OwnLoop {
    type Sockets = Sockets;
    type Handle = (SyncSender<Door>, JoinHandle<()>);

    fn bind() -> io::Result<(Sockets, SocketAddr)> {
        let sockets = own_loop::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let addr = sockets.0.local_addr()?;
        Ok((sockets, addr))
    }

    fn start(
        sockets: Sockets,
        make: impl FnOnce(Time) -> Subject + Send + 'static,
        host: Audience,
    ) -> Self::Handle {
        let (driver, door) = Loop::new(sockets, make, host);
        (door, std::thread::spawn(move || driver.run()))
    }

    fn command((door, _): &Self::Handle, ticket: Ticket, command: Command) -> bool {
        door.try_send(Door::Tell(Event::Command { ticket, command })).is_ok()
    }

    fn answer((door, _): &Self::Handle, answer: DiskAnswer) -> bool {
        door.try_send(Door::Tell(Event::Disk(answer))).is_ok()
    }

    fn stop((door, thread): Self::Handle) {
        door.send(Door::Stop).ok();
        thread.join().expect("the loop does not panic");
    }
}

eddy_conformance::suite!(suite, OwnLoop);

/// What becomes of a scenario while the whole process stands still.
#[cfg(unix)]
mod standstill {
    use std::process::{Command, Stdio};
    use std::thread::sleep;
    use std::time::Duration;

    /// Four seconds are more than anybody remembers in this scenario.
    #[test]
    fn it_is_played_again() {
        let mut scenario = Command::new(std::env::current_exe().expect("it runs"));
        let scenario = scenario.args(["--exact", "suite::a_pause_costs_no_block"]);
        let scenario = scenario.stdout(Stdio::piped()).spawn().expect("it ran before");
        // In the middle of it, unless the machine is very slow.
        sleep(Duration::from_secs(3));
        let id = scenario.id();
        let stop = format!("kill -STOP {id}; sleep 4; kill -CONT {id}");
        let stopped = Command::new("sh").args(["-c", &stop]).status();
        assert!(stopped.is_ok_and(|stopped| stopped.success()));
        let end = scenario.wait_with_output().expect("it is a child");
        let said = String::from_utf8_lossy(&end.stdout);
        assert!(end.status.success() && said.contains("1 passed"), "{said}");
    }
}
