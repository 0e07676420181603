//! What a driver does when the system has no more descriptors, and when there
//! is nothing to do: not much.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use eddy_core::{Action, Event};
use socket2::{Domain, Socket, Type};

use super::common::{Node, send};

/// Both tests below count the whole process's descriptors or CPU time, so they
/// run one by one in a process of their own.
#[test]
fn scarce_resources() {
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 40 && exec \"$0\" --ignored --test-threads=1"])
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("2 passed"), "{said}");
}

/// CPU time that this process used, in clock ticks of 10 ms.
struct Cpu {
    stat: File,
    before: u64,
}

impl Cpu {
    fn start() -> Self {
        let mut cpu = Self { stat: File::open("/proc/self/stat").expect("Linux"), before: 0 };
        cpu.before = cpu.used();
        cpu
    }

    fn used(&self) -> u64 {
        let mut stat = [0; 1024];
        let n = self.stat.read_at(&mut stat, 0).expect("it is open");
        let stat = String::from_utf8_lossy(&stat[..n]);
        let (_, fields) = stat.rsplit_once(')').expect("the name ends in a parenthesis");
        // User and system time are the 12th and 13th field after the name.
        let times = fields.split_whitespace().skip(11).take(2);
        times.map(|field| field.parse::<u64>().expect("ticks")).sum::<u64>() - self.before
    }
}

#[test]
#[ignore = "run by scarce_resources"]
fn accepting_rests_while_there_are_no_descriptors() {
    let node = Node::plain();
    // Once it speaks, it has opened all that it opens for itself.
    let _first = TcpStream::connect(node.addr).unwrap();
    node.opened();
    let cpu = Cpu::start();
    let peers: Vec<_> =
        (0..5).map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()).collect();
    let hoard: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(hoard.len() < 40, "the limit does not hold");
    // The kernel connects them; the driver cannot take them.
    for peer in &peers {
        peer.connect(&node.addr.into()).unwrap();
    }
    assert_eq!(node.next_within(Duration::from_millis(500)), None);
    assert!(cpu.used() < 20, "busy for {} ticks of 50", cpu.used());
    drop(hoard);
    for _ in &peers {
        assert!(matches!(node.next().event, Event::Opened { .. }));
    }
}

#[test]
#[ignore = "run by scarce_resources"]
fn waiting_uses_no_cpu() {
    // A wake far from now, a connection that is paused, readable and ended, and
    // one that has much to write to a peer that does not read.
    let node = Node::new(|now, event, wants| {
        wants.wait = Some(now + Duration::from_secs(60));
        if let Event::Opened { link, .. } = event {
            wants.actions.push_back(Action::SetRead { link: *link, on: false });
        }
        false
    });
    let mut peer = TcpStream::connect(node.addr).unwrap();
    node.opened();
    peer.write_all(b"for later").unwrap();
    drop(peer);
    let _deaf = TcpStream::connect(node.addr).unwrap();
    let deaf = node.opened();
    node.act(send(deaf, vec![0; 32 << 20].into()));
    // Until the kernel takes no more.
    while node.next_within(Duration::from_millis(100)).is_some() {}
    let cpu = Cpu::start();
    thread::sleep(Duration::from_millis(500));
    assert!(cpu.used() < 10, "busy for {} ticks of 50", cpu.used());
}
