//! How late the pacer's packets leave: 4 s at 8 Mbit/s to a socket on loopback.
//!
//! `cargo run --release -p eddy --example pacing`

use std::error::Error;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use eddy::output::Output;
use eddy::pace::{Clock, Pacer, Timed};

const PATIENCE: Duration = Duration::from_secs(5);
const BLOCKS: u64 = 100;
/// Packets of a block of 40 ms.
const PACKETS: u64 = 30;
const PACKET: usize = 1_316;

fn main() -> Result<(), Box<dyn Error>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let outlet = Output::parse(&format!("udp://{}", socket.local_addr()?))?.open()?;
    let driver = eddy_runtime_mio::Clock::start();
    let clock: Clock = Arc::new(move || driver.now());
    let begin = clock() + Duration::from_millis(50);
    let due = move |n: u64| begin + Duration::from_micros(n * PACKET as u64);
    let mut pacer = Pacer::new(outlet, clock.clone(), PATIENCE)?;
    let feeder = clock.clone();
    let feed = thread::spawn(move || {
        let payload = Bytes::from(vec![0; PACKET]);
        for block in 0..BLOCKS {
            let timed = |n| Timed { due: Some(due(block * PACKETS + n)), payload: payload.clone() };
            pacer.push((0..PACKETS).map(timed).collect())?;
            thread::sleep(due(block * PACKETS + PACKETS / 2).since(feeder()));
        }
        pacer.close(PATIENCE)
    });
    let mut late = Vec::new();
    let mut packet = [0; PACKET];
    for n in 0..BLOCKS * PACKETS {
        socket.recv(&mut packet)?;
        late.push(clock().since(due(n)).as_micros());
    }
    feed.join().map_err(|_| "the feeder panicked")??;
    late.sort_unstable();
    let at = |share: usize| late[late.len() * share / 100];
    println!("late, in µs: p50 {}  p99 {}  max {}", at(50), at(99), late[late.len() - 1]);
    Ok(())
}
