//! All that is taken from smol. `rt.rs` has the same from async-std.
//!
//! The streams are not those of `smol::net`: they write no vectors.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use smol::{Async, Timer};

pub(crate) type TcpListener = Async<std::net::TcpListener>;
pub(crate) type TcpStream = Async<std::net::TcpStream>;
pub(crate) type UdpSocket = Async<std::net::UdpSocket>;

pub(crate) fn listener(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    Async::new(listener)
}

pub(crate) fn udp(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    Async::new(socket)
}

pub(crate) async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(to).await
}

pub(crate) async fn sleep(time: Duration) {
    Timer::after(time).await;
}
