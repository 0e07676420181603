//! Memory that the machine lends.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use bytes::Bytes;
use eddy_core::{Action, Delivery, Event, Host, LinkId, Machine, Notice, Output, Time};

use super::common::{PATIENCE, pattern, send};
use crate::driver::{Clock, Driver, Sockets, run};

/// Lends memory for the rest of a unit once its first bytes have come, and says
/// a word when it is whole.
#[derive(Default)]
struct Lender {
    units: Vec<Vec<u8>>,
    unit: Vec<u8>,
    /// Bytes of it that are here.
    have: usize,
    /// Bytes that were received, unit by unit.
    copied: Vec<usize>,
    actions: VecDeque<Action>,
}

const UNIT: usize = 200_000;

impl Machine for Lender {
    fn handle(&mut self, _: Time, event: Event) {
        let link = match event {
            Event::Received { link, bytes } => {
                if self.unit.is_empty() {
                    self.unit = vec![0; UNIT];
                    self.copied.push(0);
                }
                self.unit[self.have..][..bytes.len()].copy_from_slice(&bytes);
                self.have += bytes.len();
                *self.copied.last_mut().unwrap() += bytes.len();
                link
            }
            Event::Filled { link, bytes } => {
                self.have += bytes;
                link
            }
            _ => return,
        };
        if self.have == UNIT {
            self.units.push(std::mem::take(&mut self.unit));
            self.have = 0;
            self.actions.push_back(send(link, Bytes::from_static(b"!")));
        }
    }

    fn poll(&mut self) -> Output {
        self.actions.pop_front().map_or(Output::Wait(None), Output::Act)
    }

    fn slot(&mut self, _: LinkId) -> Option<&mut [u8]> {
        (!self.unit.is_empty()).then(|| &mut self.unit[self.have..])
    }
}

struct Deaf;

impl Host for Deaf {
    fn deliver(&mut self, _: Time, _: Delivery) {}
    fn notify(&mut self, _: Time, _: Notice) {}
}

#[test]
fn what_has_a_place_is_read_straight_into_it() {
    let sockets = Sockets::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let addr = sockets.local_addr();
    let mut driver = Driver::new(sockets, Clock::start(), Lender::default(), Deaf).unwrap();
    let handle = driver.handle();
    let all = pattern(0, 5 * UNIT);
    let thread = std::thread::spawn(move || {
        run(&mut driver).unwrap();
        driver.into_parts().0
    });
    let mut peer = TcpStream::connect(addr).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    for unit in all.chunks(UNIT) {
        peer.write_all(unit).unwrap();
        peer.read_exact(&mut [0]).unwrap();
    }
    handle.stop();
    let machine = thread.join().unwrap();
    assert!(machine.units.concat() == all);
    // The first may have come before there was a place for it; of the others the
    // beginning has to be looked at.
    assert!(machine.copied[1..].iter().all(|&n| n <= 2 << 10), "{:?}", machine.copied);
}
