//! Scripted peers: as much of the protocol as it takes to be a parent, a child
//! or an idle partner of the node under test, over blocking sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use eddy_core::stream::channel::Channel;
use eddy_core::stream::map::{BufferMap, MapEntry, Path};
use eddy_core::wire::emit;
use eddy_core::wire::frame::MAX_CONTROL;
use eddy_core::wire::message::{Hello, Member, Message, Purpose, Subscribe, SubscribeReply, Token};
use eddy_core::wire::parse;
use eddy_core::{Head, NodeId, Seq, SubStream};

use crate::stream::{FIRST, SUB_STREAMS};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause before a refused subscription is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// The one parent's node.
const PARENT: NodeId = NodeId([0xff; 16]);
/// What a node that nobody dials says of itself.
pub const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
/// Every block is useful to the children: a run is much faster than its stream.
const WINDOW: Duration = Duration::from_secs(1_000_000);

/// A message as one frame.
#[must_use]
pub fn encode(message: &Message) -> Head {
    let mut head = Head::new();
    emit::encode(message, &mut head);
    head
}

/// The first message on a connection. `listen` is where the node can be dialled.
#[must_use]
pub fn hello(node: NodeId, purpose: Purpose, listen: SocketAddr, remote: SocketAddr) -> Message {
    let max_frame = 1 << 20;
    Message::Hello(Hello { max_frame, node, purpose, listen, observed: remote, nonce: 1 })
}

/// The map of a node that holds every block from [`FIRST`] to `newest`, and takes what it
/// subscribed to.
#[must_use]
pub fn map(newest: Seq, path: Path) -> Message {
    let entry = |j| {
        let last = newest.minus(u64::from(SUB_STREAMS) - 1).align(SubStream(j), SUB_STREAMS);
        MapEntry { newest: Some(last), subscribed: true }
    };
    let start = FIRST.max(newest.minus(1_000));
    let entries = (0..SUB_STREAMS).map(entry).collect();
    let paths = (0..SUB_STREAMS).map(|_| path).collect();
    Message::BufferMap(BufferMap { start, reply: false, entries, paths })
}

/// The map of a node that holds nothing, has no way to the provider, and takes what it
/// subscribed to.
#[must_use]
pub fn empty_map() -> Message {
    let nothing = MapEntry { newest: None, subscribed: true };
    let entries = (0..SUB_STREAMS).map(|_| nothing).collect();
    let paths = (0..SUB_STREAMS).map(|_| Path::NONE).collect();
    Message::BufferMap(BufferMap { start: FIRST, reply: false, entries, paths })
}

/// A connection that speaks the protocol.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    fn dial(to: SocketAddr, node: NodeId, purpose: Purpose) -> io::Result<Self> {
        let mut connection = Self::new(TcpStream::connect(to)?)?;
        connection.say(&hello(node, purpose, NOWHERE, to))?;
        Ok(connection)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn say(&mut self, message: &Message) -> io::Result<()> {
        self.0.write_all(&encode(message))
    }

    /// Reads messages until `pick` takes one. Reads no byte more, so that what
    /// follows can be counted.
    fn hear<T>(&mut self, mut pick: impl FnMut(Message) -> Option<T>) -> io::Result<T> {
        let bad = |what: String| io::Error::new(ErrorKind::InvalidData, what);
        loop {
            let mut header = [0; 5];
            self.0.read_exact(&mut header)?;
            let [a, b, c, d, kind] = header;
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length == 0 || length > MAX_CONTROL {
                return Err(bad(format!("a control frame of {length} bytes")));
            }
            let mut body = vec![0; length - 1];
            self.0.read_exact(&mut body)?;
            let message = parse::message(kind, &body).map_err(|e| bad(e.to_string()))?;
            if let Some(picked) = message.and_then(&mut pick) {
                return Ok(picked);
            }
        }
    }

    fn hear_hello(&mut self) -> io::Result<Hello> {
        self.hear(|m| if let Message::Hello(hello) = m { Some(hello) } else { None })
    }

    /// The socket.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.0
    }
}

/// The parent of the node under test, before the node came.
#[derive(Debug)]
pub struct Parent(TcpListener);

impl Parent {
    /// Listens for the node.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn listen() -> io::Result<Self> {
        Ok(Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))
    }

    /// What the node is to know of the parent.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn member(&self) -> io::Result<Member> {
        let addr = self.0.local_addr()?;
        Ok(Member { node: PARENT, addr, connectable: true, provider: true, age: 0 })
    }

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.set_nonblocking(true)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match self.0.accept() {
                Ok((stream, remote)) => {
                    stream.set_nonblocking(false)?;
                    return Ok((stream, remote));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Takes the node as partner and child. Returns the control connection,
    /// the block connection, and the first block that the node wants.
    ///
    /// # Errors
    /// Those of the sockets, also if the node does not do what is expected.
    pub fn adopt(&self) -> io::Result<(Connection, TcpStream, Seq)> {
        let (stream, remote) = self.accept()?;
        let mut control = Connection::new(stream)?;
        let purpose = control.hear_hello()?.purpose;
        control.say(&hello(PARENT, purpose, self.0.local_addr()?, remote))?;
        control.say(&map(FIRST.plus(7), Path { hops: 0, delay: 0 }))?;
        control.say(&Message::BlockLink(Token(1)))?;
        let mut first = Seq(u64::MAX);
        for _ in 0..SUB_STREAMS {
            let subscribe =
                control.hear(|m| if let Message::Subscribe(s) = m { Some(s) } else { None })?;
            first = first.min(subscribe.from);
            let reply = SubscribeReply { sub: subscribe.sub, result: Ok(()) };
            control.say(&Message::SubscribeReply(reply))?;
        }
        let (stream, remote) = self.accept()?;
        let mut blocks = Connection::new(stream)?;
        let purpose = blocks.hear_hello()?.purpose;
        blocks.say(&hello(PARENT, purpose, self.0.local_addr()?, remote))?;
        Ok((control, blocks.into_stream(), first))
    }
}

/// Becomes the `n`th partner of a node.
///
/// # Errors
/// Those of the socket.
pub fn partner(of: SocketAddr, channel: &Channel, n: u32) -> io::Result<Connection> {
    let mut control = Connection::dial(of, node(n), Purpose::Control(channel.id()))?;
    control.hear_hello()?;
    control.say(&empty_map())?;
    Ok(control)
}

/// Becomes the `n`th child of a node, in all sub-streams. Returns the control
/// and the block connection.
///
/// # Errors
/// Those of the sockets, also if the node does not do what is expected.
pub fn child(of: SocketAddr, channel: &Channel, n: u32) -> io::Result<(Connection, TcpStream)> {
    let mut control = partner(of, channel, n)?;
    let token =
        control.hear(|m| if let Message::BlockLink(token) = m { Some(token) } else { None })?;
    // At once: of many tokens a node honours only the last few.
    let mut blocks = Connection::dial(of, node(n), Purpose::Block(token))?;
    blocks.hear_hello()?;
    for j in 0..SUB_STREAMS {
        let sub = SubStream(j);
        let subscribe = Message::Subscribe(Subscribe { sub, from: FIRST, window: WINDOW });
        loop {
            control.say(&subscribe)?;
            let reply = control.hear(|m| {
                if let Message::SubscribeReply(reply) = m { Some(reply) } else { None }
            })?;
            if reply.sub == sub && reply.result.is_ok() {
                break;
            }
            thread::sleep(RETRY);
        }
    }
    Ok((control, blocks.into_stream()))
}

/// Opens a connection on which the `n`th node asks for a node's past.
///
/// # Errors
/// Those of the socket, also if the node refuses.
pub fn past(of: SocketAddr, channel: &Channel, n: u32) -> io::Result<TcpStream> {
    let mut connection = Connection::dial(of, node(n), Purpose::TimeShift(channel.id()))?;
    connection.hear_hello()?;
    Ok(connection.into_stream())
}

/// The id of the `n`th scripted node.
#[must_use]
pub fn node(n: u32) -> NodeId {
    let mut id = [1; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}
