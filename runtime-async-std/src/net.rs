//! The sockets. Each is asked under a waker of its own, so that the runtime
//! remembers whom to tell, and `Pending` is the system's `WouldBlock`.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use eddy_core::LinkId;
use eddy_runtime::{Net, ReadBuffer, Sockets, Stream};
use futures_lite::{AsyncRead, AsyncWrite, StreamExt, future, stream};
use socket2::SockRef;

use crate::rt::{self, TcpStream};
use crate::wakes::{DATAGRAMS, LISTENER, Wakes};

pub(crate) struct AsyncNet {
    wakes: Arc<Wakes>,
    connections: Source<(TcpStream, SocketAddr)>,
    datagrams: Source<(SocketAddr, Bytes)>,
    /// The same socket again: a runtime only sends to those who wait.
    udp: UdpSocket,
}

impl AsyncNet {
    pub(crate) fn new(wakes: Arc<Wakes>, sockets: Sockets) -> io::Result<Self> {
        let (listener, udp) = sockets.into_parts();
        let receiver = rt::udp(udp.try_clone()?)?;
        let connections = stream::unfold(rt::listener(listener)?, |listener| async move {
            Some((listener.accept().await, listener))
        });
        let state = (receiver, ReadBuffer::default());
        let datagrams = stream::unfold(state, |(udp, mut buffer)| async move {
            let received = udp.recv_from(buffer.space()).await;
            Some((received.map(|(n, from)| (from, buffer.take(n))), (udp, buffer)))
        });
        Ok(Self {
            connections: Source::new(connections.boxed(), wakes.waker(LISTENER)),
            datagrams: Source::new(datagrams.boxed(), wakes.waker(DATAGRAMS)),
            wakes,
            udp,
        })
    }
}

impl Net for AsyncNet {
    type Stream = Tcp;

    fn dial(&mut self, link: LinkId, to: SocketAddr) -> io::Result<Tcp> {
        let dial = State::Dialling(Box::pin(rt::connect(to)));
        Ok(Tcp::new(dial, self.wakes.waker(link.0)))
    }

    fn accept(&mut self, link: LinkId) -> io::Result<(Tcp, SocketAddr)> {
        let (stream, remote) = self.connections.next()?;
        Ok((Tcp::new(State::open(stream), self.wakes.waker(link.0)), remote))
    }

    fn receive(&mut self) -> io::Result<(SocketAddr, Bytes)> {
        self.datagrams.next()
    }

    fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        self.udp.send_to(bytes, to).ok();
    }
}

/// What comes in on a socket without an end.
struct Source<T> {
    stream: stream::Boxed<io::Result<T>>,
    waker: Waker,
}

impl<T> Source<T> {
    fn new(stream: stream::Boxed<io::Result<T>>, waker: Waker) -> Self {
        // A runtime tells of nothing that was never asked for.
        waker.wake_by_ref();
        Self { stream, waker }
    }

    fn next(&mut self) -> io::Result<T> {
        match self.stream.poll_next(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Some(next)) => next,
            Poll::Ready(None) | Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

pub(crate) struct Tcp {
    state: State,
    waker: Waker,
}

enum State {
    Dialling(future::Boxed<io::Result<TcpStream>>),
    Open(TcpStream),
}

impl State {
    fn open(stream: TcpStream) -> Self {
        // What is ready to be written is written together; Nagle would only delay
        // it. It fails on a connection that is gone, which the first read tells.
        SockRef::from(&stream).set_tcp_nodelay(true).ok();
        Self::Open(stream)
    }
}

impl Tcp {
    fn new(state: State, waker: Waker) -> Self {
        // A runtime tells of nothing that was never asked for.
        waker.wake_by_ref();
        Self { state, waker }
    }

    fn poll<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        match &mut self.state {
            State::Open(stream) => {
                or_would_block(poll(Pin::new(stream), &mut Context::from_waker(&self.waker)))
            }
            State::Dialling(_) => Err(ErrorKind::NotConnected.into()),
        }
    }
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl Stream for Tcp {
    fn connected(&mut self) -> io::Result<SocketAddr> {
        if let State::Dialling(dial) = &mut self.state {
            let mut context = Context::from_waker(&self.waker);
            self.state = State::open(or_would_block(dial.as_mut().poll(&mut context))?);
        }
        self.poll(|stream, _| {
            let remote = SockRef::from(&*stream).peer_addr();
            Poll::Ready(remote.and_then(|r| r.as_socket().ok_or(ErrorKind::Unsupported.into())))
        })
    }

    fn finish(&mut self) {
        if let State::Open(stream) = &self.state {
            // It fails on a connection that is gone, which the next read tells.
            SockRef::from(stream).shutdown(Shutdown::Write).ok();
        }
    }
}

impl Read for Tcp {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.poll(|stream, cx| stream.poll_read(cx, space))
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.poll(|stream, cx| stream.poll_write(cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.poll(|stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.poll(|stream, cx| stream.poll_flush(cx))
    }
}
