//! All that is taken from async-std. `rt_smol.rs` has the same from smol.

use std::io;
use std::net::SocketAddr;

pub(crate) use async_std::net::{TcpListener, TcpStream, UdpSocket};
pub(crate) use async_std::task::sleep;

pub(crate) fn listener(listener: std::net::TcpListener) -> io::Result<TcpListener> {
    Ok(listener.into())
}

pub(crate) fn udp(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
    Ok(socket.into())
}

pub(crate) async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(to).await
}
