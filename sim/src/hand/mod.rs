//! A machine driven by hand, one event at a time, by the most pedantic of
//! drivers: it checks the machine's side of the contract after each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use eddy_core::stream::block::Block;
use eddy_core::wire::frame::Incoming;
use eddy_core::wire::message::{Message, Purpose, Subscribe, Token};
use eddy_core::{
    Action, Command, Delivery, DialId, DiskRequest, Event, LinkId, Machine, Notice, Output, Seq,
    SubStream, Ticket, Time,
};

pub mod bent;
pub mod cast;
pub mod words;

use cast::{addr, channel};
use words::{Ears, frame, hello};

/// What may wait on a link when it is closed with a flush.
const LAST_WORDS: usize = 256 << 10;
/// Polls after one event before a machine counts as spinning.
const MAX_POLLS: u32 = 100_000;

/// A machine in somebody's hand.
///
/// # Panics
/// Every method that tells the machine something panics when the machine
/// breaks the contract, and names the clause.
pub struct Hand<M> {
    /// The machine itself, to be looked at; who tells it something here
    /// bypasses all checks.
    pub machine: M,
    /// The latest that the machine was told.
    pub now: Time,
    /// When it wants to be woken.
    pub wait: Option<Time>,
    /// Links the machine knows: bytes it sent that were not given back.
    pub open: BTreeMap<LinkId, usize>,
    closing: BTreeSet<LinkId>,
    /// Dials not answered yet, oldest first.
    pub dials: Vec<(DialId, SocketAddr)>,
    /// Everything sent on each link so far.
    pub sent: BTreeMap<LinkId, Vec<u8>>,
    /// Whether to keep what it sends and tells; not where memory is measured.
    pub keep: bool,
    /// What it told the application.
    pub notices: Vec<Notice>,
    /// What it handed to the player.
    pub delivered: Vec<Delivery>,
    /// What it asked of the disk, oldest first.
    pub disk: Vec<DiskRequest>,
    /// Commands not ended yet.
    pub tickets: BTreeSet<Ticket>,
    commands: u64,
    links: u64,
    window: usize,
}

impl<M: Machine> Hand<M> {
    /// Takes a machine in hand. `window` is its credit window in bytes.
    pub fn new(machine: M, now: Time, window: usize) -> Self {
        let mut hand = Self {
            machine,
            now,
            wait: None,
            open: BTreeMap::new(),
            closing: BTreeSet::new(),
            dials: Vec::new(),
            sent: BTreeMap::new(),
            keep: true,
            notices: Vec::new(),
            delivered: Vec::new(),
            disk: Vec::new(),
            tickets: BTreeSet::new(),
            commands: 0,
            links: 0,
            window,
        };
        hand.drain();
        hand
    }

    /// Tells the machine, and polls it until it waits.
    pub fn handle(&mut self, event: Event) {
        self.tell(event);
        self.drain();
    }

    /// Tells the machine without polling it.
    pub fn tell(&mut self, event: Event) {
        self.machine.handle(self.now, event);
    }

    /// Polls the machine until it waits.
    pub fn drain(&mut self) {
        let mut over = BTreeSet::new();
        for polls in 0.. {
            assert!(polls < MAX_POLLS, "it does not come to rest (C11)");
            match self.machine.poll() {
                Output::Act(action) => self.act(action, &mut over),
                Output::Wait(wait) => {
                    assert!(
                        wait.is_none_or(|t| t > self.now),
                        "Wait({wait:?}) at {:?} (C3)",
                        self.now
                    );
                    assert_eq!(self.machine.poll(), Output::Wait(wait), "polled again (C3)");
                    self.wait = wait;
                    break;
                }
            }
        }
        over.retain(|link| self.open.contains_key(link));
        assert!(over.is_empty(), "{over:?} went over the credit window and stay open (C8)");
    }

    fn act(&mut self, action: Action, over: &mut BTreeSet<LinkId>) {
        let named = match &action {
            Action::Send { link, .. }
            | Action::SetRead { link, .. }
            | Action::Close { link, .. } => Some(*link),
            _ => None,
        };
        if let Some(link) = named {
            assert!(self.open.contains_key(&link), "{action:?} on a link that is over (C9)");
        }
        match action {
            Action::Dial { dial, to } => self.dials.push((dial, to)),
            Action::Send { link, head, body } => {
                let flying = self.open.entry(link).or_default();
                if *flying >= self.window {
                    over.insert(link);
                }
                assert!(*flying < self.window + LAST_WORDS, "{flying} bytes on {link:?} (C8)");
                *flying += head.len() + body.len();
                if self.keep {
                    let all = self.sent.entry(link).or_default();
                    all.extend_from_slice(&head);
                    all.extend_from_slice(&body);
                }
            }
            Action::Close { link, .. } => {
                self.open.remove(&link);
                self.closing.insert(link);
            }
            Action::Notify(notice) => {
                if let Notice::Ended { ticket, .. } = &notice {
                    assert!(self.tickets.remove(ticket), "{ticket:?} ended twice (C10)");
                }
                if self.keep {
                    self.notices.push(notice);
                }
            }
            Action::Deliver(delivery) => self.delivered.push(delivery),
            Action::Disk(request) if self.keep => self.disk.push(request),
            _ => {}
        }
    }

    /// Lets time pass, with a wake at each deadline and at the end.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(t) = self.wait.filter(|t| *t <= end) {
            self.now = t;
            self.handle(Event::Wake);
        }
        self.now = end;
        self.handle(Event::Wake);
    }

    /// Somebody opens a connection.
    pub fn accept(&mut self, remote: SocketAddr) -> LinkId {
        self.opened(None, remote)
    }

    /// The oldest dial is answered.
    pub fn answer(&mut self) -> Option<LinkId> {
        let (dial, to) = (!self.dials.is_empty()).then(|| self.dials.remove(0))?;
        Some(self.opened(Some(dial), to))
    }

    /// The oldest dial fails, if there is one.
    pub fn refuse(&mut self) {
        if !self.dials.is_empty() {
            let (dial, _) = self.dials.remove(0);
            self.handle(Event::DialFailed { dial });
        }
    }

    fn opened(&mut self, dial: Option<DialId>, remote: SocketAddr) -> LinkId {
        let link = self.name_link();
        self.handle(Event::Opened { link, dial, remote });
        link
    }

    /// A new link's name, known from now on.
    pub fn name_link(&mut self) -> LinkId {
        let link = LinkId(self.links);
        self.links += 1;
        self.open.insert(link, 0);
        link
    }

    /// Bytes come in on a link.
    pub fn receive(&mut self, link: LinkId, bytes: impl Into<Bytes>) {
        self.handle(Event::Received { link, bytes: bytes.into() });
    }

    /// Bytes come in on a link in pieces of up to `piece` bytes, and are read to the
    /// machine's own memory where it lends some. How many were.
    pub fn read(&mut self, link: LinkId, mut bytes: &[u8], piece: usize) -> usize {
        let mut filled = 0;
        while !bytes.is_empty() {
            let slot = self.machine.slot(link);
            let room = slot.as_ref().map_or(piece, |slot| slot.len());
            let (some, rest) = bytes.split_at(room.min(piece).max(1).min(bytes.len()));
            bytes = rest;
            match slot {
                Some(slot) => {
                    slot[..some.len()].copy_from_slice(some);
                    filled += some.len();
                    self.handle(Event::Filled { link, bytes: some.len() });
                }
                None => self.receive(link, some.to_vec()),
            }
        }
        filled
    }

    /// A message comes in on a link.
    pub fn say(&mut self, link: LinkId, message: &Message) {
        self.receive(link, frame(message));
    }

    /// The transport took up to this many bytes; how many it had to take.
    pub fn flush(&mut self, link: LinkId, most: usize) -> usize {
        let Some(flying) = self.open.get_mut(&link) else { return 0 };
        let bytes = most.min(*flying);
        *flying -= bytes;
        if bytes > 0 {
            self.handle(Event::Flushed { link, bytes });
        }
        bytes
    }

    /// A link ends, if it has not ended before.
    pub fn closed(&mut self, link: LinkId) {
        if self.open.remove(&link).is_some() || self.closing.remove(&link) {
            self.handle(Event::Closed { link });
        }
    }

    /// Answers every `Close` so far.
    pub fn finish_closing(&mut self) {
        while let Some(link) = self.closing.first().copied() {
            self.closed(link);
        }
    }

    /// The application wants something.
    pub fn command(&mut self, command: Command) -> Ticket {
        let ticket = self.name_ticket();
        self.handle(Event::Command { ticket, command });
        ticket
    }

    /// A new ticket, known from now on.
    pub fn name_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.commands);
        self.commands += 1;
        self.tickets.insert(ticket);
        ticket
    }

    /// What was said on a link, blocks too.
    pub fn heard(&self, link: LinkId) -> Vec<Incoming> {
        self.sent.get(&link).map_or_else(Vec::new, |all| Ears::default().hear(link, all))
    }

    /// The messages that were said on a link.
    pub fn messages(&self, link: LinkId) -> Vec<Message> {
        self.sent.get(&link).map_or_else(Vec::new, |all| Ears::default().messages(link, all))
    }

    /// The blocks that were sent on a link.
    pub fn blocks(&self, link: LinkId) -> Vec<Block> {
        let block = |i| match i {
            Incoming::Block(block) => Some(block),
            _ => None,
        };
        self.heard(link).into_iter().filter_map(block).collect()
    }

    /// The newest word with which a block link may be opened.
    pub fn token(&self, control: LinkId) -> Option<Token> {
        let token = |m: &Message| match m {
            Message::BlockLink(token) => Some(*token),
            _ => None,
        };
        self.messages(control).iter().rev().find_map(token)
    }

    /// Becomes a partner; its control link.
    pub fn partner(&mut self, id: u8) -> LinkId {
        let control = self.accept(addr(id));
        self.say(control, &hello(id, Purpose::Control(channel().id())));
        control
    }

    /// Becomes a child of every sub-stream: its control link and block link.
    pub fn child(&mut self, id: u8) -> (LinkId, LinkId) {
        let control = self.partner(id);
        self.subscribe(control, Seq(0));
        let token = self.token(control).expect("a partner gets a token");
        let block = self.accept(addr(id));
        self.say(block, &hello(id, Purpose::Block(token)));
        (control, block)
    }

    /// Subscribes to everything, and says that no block is ever too old for it.
    pub fn subscribe(&mut self, control: LinkId, from: Seq) {
        let window = Duration::from_secs(86_400);
        for sub in (0..channel().sub_streams()).map(SubStream) {
            self.say(control, &Message::Subscribe(Subscribe { sub, from, window }));
        }
    }
}

impl<M> fmt::Debug for Hand<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand")
            .field("now", &self.now)
            .field("wait", &self.wait)
            .field("open", &self.open)
            .field("dials", &self.dials)
            .field("tickets", &self.tickets)
            .finish_non_exhaustive()
    }
}
