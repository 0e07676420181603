//! Eddy's protocol core: live TV over peer-to-peer as a pure state machine.
//!
//! The core has no clock, no socket and no thread. A driver tells it what happened and when ([`Event`]), asks what
//! to do ([`Machine::poll`]), and carries that out ([`Action`]). [`Node`](node::Node), a provider or a viewer, and
//! [`Bootstrap`](bootstrap::Bootstrap), the server where they meet, are the two [`Machine`]s. What nodes say to each
//! other stands in `docs/PROTOCOL.md`.
//!
//! # The contract
//!
//! What a driver and the core promise each other. The tests of a clause stand in `sim/tests/clauses/`; their names
//! begin with its number, and one of them is named here.
//!
//! - **C1** [`handle`](Machine::handle) may be called any number of times before [`poll`](Machine::poll); nothing
//!   is lost or overwritten.
//!   (`c1_many_events_before_a_poll_lose_nothing`)
//! - **C2** A driver sleeps only after `poll` returned [`Output::Wait`]; then until that time, or for an event if
//!   `None`. There is no other getter for the deadline.
//!   (`c2_a_machine_does_nothing_between_its_wait_and_the_next_event`)
//! - **C3** `Wait(Some(t))` implies that `t` is later than the last `now`; polling again returns the same `Wait`.
//!   (`c3_waits_end_later_than_now_and_stay_the_same`)
//! - **C4** An [`Event::Wake`] that is early, late, doubled or unasked for is harmless; a late one is served once.
//!   (`c4_late_and_unasked_wakes_cost_no_viewer_a_block`)
//! - **C5** `now` never goes back; if it does, the core uses the latest that it has seen.
//!   (`c5_time_that_goes_back_stands_still_for_the_core`)
//! - **C6** Outputs are a function of configuration, seed and the sequence of inputs, and of nothing else. Two runs
//!   with the same seed are equal byte for byte.
//!   (`c6_outputs_depend_on_nothing_but_seed_and_inputs`)
//! - **C7** Actions are carried out in order per link; across links in any order.
//!   (`c7_answers_on_a_link_come_in_the_order_of_the_questions`)
//! - **C8** Every byte of every [`Action::Send`] comes back exactly once as [`Event::Flushed`], or is ended by
//!   [`Event::Closed`].
//!   (`c8_a_machine_sends_within_its_window_and_goes_on_as_credit_comes_back`)
//! - **C9** After `Closed` or [`Action::Close`], no action names that link. `Close` is always answered by one
//!   `Closed`. Link ids are never reused.
//!   (`c9_what_comes_after_an_end_is_answered_with_silence`)
//! - **C10** Every [`Ticket`] ends in exactly one [`Notice::Ended`]. Memory stays below a worst case that the
//!   configuration can compute.
//!   (`c10_every_ticket_ends_once`)
//! - **C11** No input from the network can panic the core, and no single input causes unbounded work.
//!   (`c11_spoilt_copies_of_real_traffic_never_make_a_node_panic`)
//!
//! Beside the clauses:
//!
//! - *Time* is [`Time`]: microseconds since the Unix epoch. A driver reads the wall clock once, at its start, and follows
//!   a monotonic clock from there. Start time and seed (32 bytes) go into the constructor.
//! - *Bytes.* A block is copied once, from the driver's read buffer; children, player and buffer share that copy. The
//!   rest of a long block can be read straight to where it is kept ([`Machine::slot`]), if the program brings
//!   [`memory`] for it. An [`Action::Send`] is a small
//!   head and a shared body: write them vectored and nothing is copied again.
//! - *Backpressure.* The core owns what waits to be sent. It has at most [`Config::send_window`](config::Config::send_window)
//!   bytes with the driver per link, and one frame more; `Flushed` gives credit back. A driver never waits for one peer.
//! - *Names.* The core names its dials ([`DialId`]), the driver names links ([`LinkId`]), the application names its
//!   commands ([`Ticket`]).
//!
//! # A loop to read
//!
//! A bootstrap server and a node that asks it which channels there are, over real sockets, with the standard library
//! alone. Two shortcuts: it connects without leaving the loop, and it asks every socket each millisecond. A loop for
//! many peers sleeps in a poller until an event or the time that `Wait` gave; the crate `eddy-runtime-mio` is one.
//! `docs/DRIVERS.md` goes through a whole driver of 200 lines, `conformance/examples/own_loop.rs`.
//!
//! ```
//! use eddy_core::bootstrap::Bootstrap;
//! use eddy_core::config::Config;
//! use eddy_core::node::Node;
//! use eddy_core::{Action, Answer, Command, DialId, Event, LinkId, Machine, Notice, Output, Ticket, Time};
//! use std::collections::BTreeMap;
//! use std::io::{self, ErrorKind, Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::time::{Duration, Instant, SystemTime};
//!
//! struct Sockets {
//!     listener: TcpListener,
//!     links: BTreeMap<LinkId, (TcpStream, Vec<u8>)>, // each with what waits to be sent
//!     opened: u64,
//! }
//!
//! impl Sockets {
//!     fn open(&mut self, stream: TcpStream, dial: Option<DialId>) -> io::Result<Event> {
//!         stream.set_nonblocking(true)?;
//!         let (link, remote) = (LinkId(self.opened), stream.peer_addr()?);
//!         self.opened += 1; // an id is never used again (C9)
//!         self.links.insert(link, (stream, Vec::new()));
//!         Ok(Event::Opened { link, dial, remote })
//!     }
//!
//!     fn events(&mut self) -> Vec<Event> {
//!         let mut events = Vec::new();
//!         while let Ok((stream, _)) = self.listener.accept() {
//!             events.extend(self.open(stream, None));
//!         }
//!         let mut space = [0; 16 << 10];
//!         self.links.retain(|&link, (stream, waiting)| {
//!             if let Ok(bytes @ 1..) = stream.write(waiting) {
//!                 waiting.drain(..bytes);
//!                 events.push(Event::Flushed { link, bytes }); // credit comes back (C8)
//!             }
//!             match stream.read(&mut space) {
//!                 Ok(n @ 1..) => events.push(Event::Received { link, bytes: space[..n].to_vec().into() }),
//!                 Err(e) if e.kind() == ErrorKind::WouldBlock => {}
//!                 _ => events.push(Event::Closed { link }),
//!             }
//!             events.last() != Some(&Event::Closed { link })
//!         });
//!         events
//!     }
//!
//!     fn perform(&mut self, action: Action) -> Option<Event> {
//!         match action {
//!             Action::Dial { dial, to } => {
//!                 let opened = TcpStream::connect(to).and_then(|stream| self.open(stream, Some(dial)));
//!                 Some(opened.unwrap_or(Event::DialFailed { dial }))
//!             }
//!             Action::Send { link, head, body } => {
//!                 let (_, waiting) = self.links.get_mut(&link)?;
//!                 waiting.extend_from_slice(&head);
//!                 waiting.extend_from_slice(&body);
//!                 None
//!             }
//!             Action::Close { link, flush } => {
//!                 let (mut stream, waiting) = self.links.remove(&link)?;
//!                 if flush {
//!                     stream.write_all(&waiting).ok();
//!                 }
//!                 Some(Event::Closed { link }) // always answered, once (C9)
//!             }
//!             _ => None, // SetRead, SendDatagram
//!         }
//!     }
//! }
//!
//! /// One turn of the loop. Returns what the application is told.
//! fn turn(machine: &mut impl Machine, sockets: &mut Sockets, now: Time) -> Vec<Notice> {
//!     let mut notices = Vec::new();
//!     sockets.events().into_iter().for_each(|event| machine.handle(now, event)); // any number (C1)
//!     machine.handle(now, Event::Wake); // unasked for is harmless (C4)
//!     loop {
//!         match machine.poll() {
//!             Output::Act(Action::Notify(notice)) => notices.push(notice),
//!             Output::Act(Action::Deliver(block)) => println!("{} bytes to play", block.payload.len()),
//!             Output::Act(action) => {
//!                 sockets.perform(action).into_iter().for_each(|event| machine.handle(now, event));
//!             }
//!             Output::Wait(_until) => return notices, // only now may it sleep (C2)
//!         }
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let bind = || -> io::Result<(Sockets, Config)> {
//!         let listener = TcpListener::bind("127.0.0.1:0")?;
//!         listener.set_nonblocking(true)?;
//!         let config = Config { listen: listener.local_addr()?, ..Config::default() };
//!         Ok((Sockets { listener, links: BTreeMap::new(), opened: 0 }, config))
//!     };
//!     // The wall clock is read once; from here on the monotonic one counts (C5).
//!     let (start, origin) = (Time::ZERO + SystemTime::UNIX_EPOCH.elapsed()?, Instant::now());
//!     let (mut server_sockets, config) = bind()?;
//!     let address = config.listen;
//!     let mut server = Bootstrap::new(config, [1; 32], start)?;
//!     let (mut sockets, config) = bind()?;
//!     let mut node = Node::viewer(config, [2; 32], start)?;
//!
//!     let command = Command::List { bootstrap: vec![address] };
//!     node.handle(start, Event::Command { ticket: Ticket(1), command });
//!     loop {
//!         let now = start + origin.elapsed();
//!         turn(&mut server, &mut server_sockets, now);
//!         for notice in turn(&mut node, &mut sockets, now) {
//!             if let Notice::Ended { ticket: Ticket(1), result } = notice {
//!                 assert_eq!(result, Ok(Answer::Channels(Vec::new())));
//!                 return Ok(());
//!             }
//!         }
//!         std::thread::sleep(Duration::from_millis(1));
//!     }
//! }
//! ```
//!
//! # The crate's map
//!
//! | module | what it owns |
//! |---|---|
//! | [`event`] | the whole vocabulary: `Machine`, `Host`, `Event`, `Command`, `Action`, `Notice`; re-exported here |
//! | [`node`] | provider and viewer: routes events to the parts below, turns what they want into actions and timers |
//! | [`bootstrap`] | the bootstrap server |
//! | [`dht`] | who holds what: a node of a DHT that speaks BitTorrent's KRPC |
//! | [`config`] | every parameter, validated; the presets `default` and `report` |
//! | [`id`], [`time`], [`timer`], [`rng`], [`stats`] | newtypes, time, one timer queue, seeded chance, counters |
//! | [`stream`] | channel, block, buffer, buffer map, signatures |
//! | [`wire`] | messages, frames, parsing and emitting |
//! | `link` | one connection: its role, what waits on it, credit |
//! | `membership` | members known, gossip, the way to the bootstrap server |
//! | `partnership` | partners: maps, round trips, tokens, score |
//! | `live` | which parent, which children, repair, the stream clock, play-out |
//!
//! The feature `ghost` adds a verifier and a signer that sign nothing, for simulation and benchmarks. The feature
//! `check` adds what must hold of the wire for any bytes, for tests and fuzz targets.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod bootstrap;
pub mod cache;
pub mod chain;
pub mod config;
pub mod dht;
pub mod event;
pub mod id;
mod link;
mod live;
mod membership;
pub mod memory;
pub mod node;
mod partnership;
pub mod rng;
pub mod stats;
pub mod stream;
pub mod time;
pub mod timer;
mod timeshift;
pub mod wire;

pub use event::*;
pub use id::{ChannelId, DialId, LinkId, LoadId, NodeId, Seq, SubStream, Ticket};
pub use time::Time;
