//! What is not a connection: datagrams, commands, the host, the end.

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::stream::file::FileId;
use eddy_core::{
    Action, Command, Delivery, DiskAnswer, DiskRequest, Event, Kept, Notice, Phase, Seq, Time,
};

use crate::board::Shared;
use crate::check::Check;
use crate::scene::{Act, Scene};
use crate::script::pattern;

pub(crate) fn datagrams_arrive_whole(scene: &mut Scene) -> Act {
    let ((a, at_a), (b, at_b)) = (scene.listener()?, scene.listener()?);
    for len in [0, 1, 1_316, 65_507] {
        for (from, to, ear) in [(a, b, &at_b), (b, a, &at_a)] {
            let bytes = Bytes::from(pattern(len, len));
            let before = ear.count(|_| true);
            let action = Action::SendDatagram { to: scene.addr(to), bytes: bytes.clone() };
            scene.act(from, [action])?;
            scene.wait(Check::Datagram, "a datagram", || ear.count(|_| true) > before)?;
            let want = Event::Datagram { from: scene.addr(from), bytes };
            let what = format!("{len} bytes from {} were changed", scene.addr(from));
            scene.ensure(Check::Address, ear.has(&want), what)?;
        }
    }
    Ok(())
}

/// Several at a time: who sent which must not be mixed up.
pub(crate) fn datagrams_keep_their_senders(scene: &mut Scene) -> Act {
    const SENDERS: usize = 5;
    const EACH: usize = 20;
    let (to, ear) = scene.listener()?;
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        senders.push(scene.listener()?.0);
    }
    let words = |n: usize, round: usize| Bytes::from(pattern(n * EACH + round, 200));
    for round in 0..EACH {
        for (n, from) in senders.iter().enumerate() {
            let datagram = Action::SendDatagram { to: scene.addr(to), bytes: words(n, round) };
            scene.act(*from, [datagram])?;
        }
    }
    let came = || ear.count(|event| matches!(event, Event::Datagram { .. }));
    scene.wait(Check::Datagram, "100 datagrams of five senders", || came() == SENDERS * EACH)?;
    for (n, from) in senders.iter().enumerate() {
        let from = scene.addr(*from);
        let right = (0..EACH).all(|r| ear.has(&Event::Datagram { from, bytes: words(n, r) }));
        scene.ensure(Check::Address, right, format!("datagrams of {from} are another's"))?;
    }
    Ok(())
}

/// They all come while the machine is busy with the first.
pub(crate) fn a_burst_of_datagrams_is_read_to_its_end(scene: &mut Scene) -> Act {
    const MANY: usize = 150;
    let heard = Shared::new(0);
    let count = heard.clone();
    let busy = scene.script(move |_, event, out| {
        if let Event::Datagram { .. } = event {
            if *count.lock() == 0 {
                out.dawdle(Duration::from_millis(40));
            }
            *count.lock() += 1;
        }
    })?;
    let (from, _) = scene.listener()?;
    let to = scene.addr(busy);
    let datagram = |n: usize| Action::SendDatagram { to, bytes: pattern(n, 100).into() };
    scene.act(from, (0..MANY).map(datagram))?;
    scene.wait(Check::Datagram, "all 150 datagrams of a burst", || *heard.lock() == MANY)
}

/// More than any queue holds, to a machine that is busy at first.
pub(crate) fn commands_arrive_in_order(scene: &mut Scene) -> Act {
    const MANY: usize = 3_000;
    let heard = Shared::new((0_usize, true));
    let count = heard.clone();
    let who = scene.script(move |_, event, out| {
        if let Event::Command { ticket, command } = event {
            let mut count = count.lock();
            if count.0 == 0 {
                out.dawdle(Duration::from_millis(40));
            }
            count.0 += 1;
            let bytes = Bytes::copy_from_slice(&ticket.0.to_be_bytes());
            count.1 &= *command == Command::Publish(bytes);
        }
    })?;
    for n in 0..MANY as u64 {
        scene.command(who, Command::Publish(Bytes::copy_from_slice(&n.to_be_bytes())))?;
    }
    scene.wait(Check::Command, "3000 commands", || heard.lock().0 == MANY)?;
    let right = heard.lock().1;
    scene.ensure(Check::Command, right, "a command came with another's ticket")
}

/// The judge compares what was said with what was heard.
pub(crate) fn the_host_hears_everything_in_order(scene: &mut Scene) -> Act {
    let who = scene.script(|_, event, out| {
        if let Event::Command { ticket, .. } = event {
            for n in 0..200 {
                let (seq, slot) = (Seq(ticket.0 * 200 + n), Time::from_secs(n));
                let payload = Bytes::from_static(b"block");
                out.act(Action::Deliver(Delivery { seq, due: None, slot, payload }));
                out.act(Action::Notify(Notice::Phase(Phase::Playing)));
            }
        }
    })?;
    scene.act(who, [])?;
    scene.act(who, [])
}

/// More requests than a turn holds. The judge compares what was answered with
/// what was heard.
pub(crate) fn the_disk_is_asked_and_answers_in_order(scene: &mut Scene) -> Act {
    const FILES: u64 = 300;
    let heard = Shared::new(Vec::new());
    let notes = heard.clone();
    let who = scene.seat()?;
    scene.furnish(who);
    scene.script_at(who, move |_, event, _| {
        if let Event::Disk(answer) = event {
            notes.lock().push(answer.clone());
        }
    });
    let store = |start: u64| {
        let frames = vec![Bytes::from(pattern(start as usize, 1_000))];
        Action::Disk(DiskRequest::Store { file: FileId { start }, frames })
    };
    scene.act(who, (0..FILES).map(store))?;
    scene.wait(Check::Disk, "300 answers of the disk", || heard.lock().len() == FILES as usize)?;
    let kept = Kept::Safe;
    let stored = (0..FILES).map(|start| DiskAnswer::Stored { file: FileId { start }, kept });
    let right = heard.lock().iter().cloned().eq(stored);
    scene.ensure(Check::Disk, right, "answers came in another order")
}

pub(crate) fn a_stop_closes_everything(scene: &mut Scene) -> Act {
    let (node, ear) = scene.listener()?;
    let addr = scene.addr(node);
    let failed = |scene: &Scene, what: &str, e| scene.fail(Check::Stop, format!("{what}: {e}"));
    let mut peer = TcpStream::connect(addr).map_err(|e| failed(scene, "connecting", e))?;
    scene.wait(Check::Unmet, "a connection from outside", || !ear.opened().is_empty())?;
    scene.stop(node);
    let wait = peer.set_read_timeout(Some(Duration::from_secs(5)));
    wait.map_err(|e| failed(scene, "a time-out", e))?;
    let read = peer.read(&mut [0]);
    let open = read.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    scene.ensure(Check::Stop, !open, "a connection is still open")?;
    drop(TcpListener::bind(addr).map_err(|e| failed(scene, "the TCP port", e))?);
    drop(UdpSocket::bind(addr).map_err(|e| failed(scene, "the UDP port", e))?);
    Ok(())
}
