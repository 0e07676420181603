//! An encoder's datagrams.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};

use crate::input::udp_url::UdpUrl;
use crate::input::{End, STOP_WITHIN, Sink};

/// Kernel buffer for datagrams that wait: 4 s at 8 Mbit/s. The system may allow less.
const RECEIVE_BUFFER: usize = 4 << 20;
/// The longest datagram and more.
const MAX_DATAGRAM: usize = 1 << 16;

/// A bound port.
#[derive(Debug)]
pub(crate) struct Udp(UdpSocket);

impl Udp {
    /// Binds the port; joins the group if the host is a multicast address.
    pub(crate) fn open(url: &UdpUrl) -> io::Result<Self> {
        let address = url.resolve()?;
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        let group = address.ip().is_multicast();
        // Several programs may listen to one group; of one unicast port each would get a part.
        socket.set_reuse_address(group)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&address.into())?;
        match address.ip() {
            IpAddr::V4(ip) if group => {
                let interface = url.interface().unwrap_or(Ipv4Addr::UNSPECIFIED);
                socket.join_multicast_v4(&ip, &interface)?;
            }
            IpAddr::V6(ip) if group => socket.join_multicast_v6(&ip, 0)?,
            _ => {}
        }
        socket.set_read_timeout(Some(STOP_WITHIN))?;
        Ok(Self(socket.into()))
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }

    pub(crate) fn run(self, stop: &AtomicBool, sink: Sink<'_>) -> io::Result<End> {
        let mut buffer = vec![0; MAX_DATAGRAM];
        while !stop.load(Ordering::Relaxed) {
            let length = match self.0.recv(&mut buffer) {
                Ok(length) => length,
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => continue,
                    _ => return Err(e),
                },
            };
            if let ControlFlow::Break(()) = sink(Bytes::copy_from_slice(&buffer[..length])) {
                break;
            }
        }
        Ok(End::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn datagrams_arrive_whole_and_the_flag_stops_it() {
        let source = Input::parse("udp://127.0.0.1:0").unwrap().open().unwrap();
        let address = source.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, received) = mpsc::channel();
        let flag = stop.clone();
        let (end, ended) = mpsc::channel();
        thread::spawn(move || {
            let result = source.run(&flag, |bytes| {
                sender.send(bytes).unwrap();
                ControlFlow::Continue(())
            });
            end.send(result).unwrap();
        });
        let encoder = UdpSocket::bind("127.0.0.1:0").unwrap();
        // With a pause longer than the read time-out: an encoder that went and came back.
        for (length, pause) in [(1316, 0), (7, 300), (0, 0), (60_000, 0)] {
            thread::sleep(Duration::from_millis(pause));
            encoder.send_to(&vec![length as u8; length], address).unwrap();
            let bytes = received.recv_timeout(PATIENCE).expect("a datagram within 5 s");
            assert_eq!(bytes, vec![length as u8; length]);
        }
        stop.store(true, Ordering::Relaxed);
        let end = ended.recv_timeout(PATIENCE).expect("an end within 5 s");
        assert!(matches!(end, Ok(End::Stopped)));
    }

    #[test]
    fn a_port_in_use_says_what_to_do() {
        let taken = Input::parse("udp://127.0.0.1:0").unwrap().open().unwrap();
        let url = format!("udp://{}", taken.local_addr().unwrap());
        let error = Input::parse(&url).unwrap().open().unwrap_err().to_string();
        assert!(error.contains(&url) && error.contains("another port"), "{error}");
    }

    #[test]
    fn multicast_is_joined() {
        let url = "udp://@239.255.77.77:0?localaddr=127.0.0.1";
        let source = Input::parse(url).unwrap().open().unwrap();
        let group = source.local_addr().unwrap();
        assert!(group.ip().is_multicast());
        let encoder = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&encoder).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        encoder.send_to(b"to the group", group).unwrap();
        let mut got = None;
        let watchdog = Arc::new(AtomicBool::new(false));
        let flag = watchdog.clone();
        thread::spawn(move || {
            thread::sleep(PATIENCE);
            flag.store(true, Ordering::Relaxed);
        });
        source
            .run(&watchdog, |bytes| {
                got = Some(bytes);
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(got.expect("the datagram within 5 s"), &b"to the group"[..]);
    }
}
