//! The judge: stands between driver and machine, and checks every call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use eddy_core::{
    Action, Delivery, DialId, DiskAnswer, DiskRequest, Event, Host, LinkId, Machine, Notice,
    Output, Ticket, Time,
};

use crate::board::{Board, Shared};
use crate::check::{Check, brief};
use crate::tape::Tape;

/// How far the machine's first `now` may be from the wall clock.
const WALL: Duration = Duration::from_secs(60);
/// How far `now` may be ahead of the judge's clock, which starts a moment later than the driver's.
const AHEAD: Duration = Duration::from_secs(1);
/// From here on a wake counts as late, and a time without inputs as idle.
const LATE: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(30);
/// A wake that has been due for so long when patience has ended is lost.
const OVERDUE: Duration = Duration::from_millis(500);

/// What the judge may ask of this kind of driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Time passes by itself; otherwise it is virtual.
    pub(crate) real: bool,
    /// Wakes come to the microsecond.
    pub(crate) exact: bool,
    /// Wakes may come early or unasked for.
    pub(crate) early: bool,
}

/// The machine that a driver is given: one of the suite's, with the judge
/// around it.
pub struct Subject {
    machine: Box<dyn Machine + Send>,
    record: Arc<Record>,
    /// The slot that the driver was lent last, and what was in it then.
    lent: Option<(LinkId, Vec<u8>)>,
}

/// The host that a driver is given.
pub struct Audience {
    host: Box<dyn Host + Send>,
    record: Arc<Record>,
}

/// What is known of one node.
#[derive(Debug)]
pub(crate) struct Record {
    node: usize,
    rules: Rules,
    board: Arc<Board>,
    books: Shared<Books>,
}

#[derive(Debug)]
struct Books {
    /// When the machine's life began, on the driver's clock and on ours.
    start: Time,
    origin: Instant,
    /// The latest that the machine was told, and when its last `handle` ended.
    now: Time,
    handled: Instant,
    /// What the last `poll` after the last `handle` said; `None` if the
    /// machine has not been polled to `Wait` since.
    wait: Option<Option<Time>>,
    links: BTreeMap<LinkId, Account>,
    used: BTreeSet<LinkId>,
    dials: BTreeMap<DialId, SocketAddr>,
    /// What the host has yet to be told.
    said: VecDeque<Said>,
    /// Commands that the driver took, when, and how many the machine was told.
    given: u64,
    given_at: VecDeque<Time>,
    told: u64,
    tickets: BTreeSet<Ticket>,
    /// Answers of the disk that the driver took and the machine was not told.
    answers: VecDeque<DiskAnswer>,
    /// Late wakes, and inputs after an idle time: how late or long, and how
    /// far `now` was behind the clock.
    late_wakes: Vec<(Duration, Duration)>,
    idle_inputs: Vec<(Duration, Duration)>,
    polls: u64,
    tape: Option<Tape>,
}

/// What a link may still show.
#[derive(Debug, Default)]
struct Account {
    unflushed: usize,
    paused: bool,
    closing: bool,
}

#[derive(Debug, PartialEq)]
enum Said {
    Deliver(Delivery),
    Notify(Notice),
    Disk(DiskRequest),
}

impl Record {
    pub(crate) fn new(node: usize, rules: Rules, board: Arc<Board>, recorded: bool) -> Arc<Self> {
        let origin = Instant::now();
        let books = Shared::new(Books {
            start: Time::ZERO,
            origin,
            now: Time::ZERO,
            handled: origin,
            wait: None,
            links: BTreeMap::new(),
            used: BTreeSet::new(),
            dials: BTreeMap::new(),
            said: VecDeque::new(),
            given: 0,
            given_at: VecDeque::new(),
            told: 0,
            tickets: BTreeSet::new(),
            answers: VecDeque::new(),
            late_wakes: Vec::new(),
            idle_inputs: Vec::new(),
            polls: 0,
            tape: recorded.then(Tape::default),
        });
        Arc::new(Self { node, rules, board, books })
    }

    /// Begins the machine's life.
    pub(crate) fn subject(
        self: &Arc<Self>,
        start: Time,
        make: impl FnOnce(Time) -> Box<dyn Machine + Send>,
    ) -> Subject {
        if self.rules.real {
            let wall = Time::ZERO + SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            if start.since(wall).max(wall.since(start)) > WALL {
                self.blame(Check::Clock, format!("it starts at {start:?}, and it is {wall:?}"));
            }
        }
        let origin = Instant::now();
        let machine = make(start);
        let mut books = self.books.lock();
        (books.start, books.now) = (start, start);
        (books.origin, books.handled) = (origin, Instant::now());
        drop(books);
        Subject { machine, record: self.clone(), lent: None }
    }

    pub(crate) fn audience(self: &Arc<Self>, host: Box<dyn Host + Send>) -> Audience {
        Audience { host, record: self.clone() }
    }

    /// The ticket of the next command. Written down before the driver is given
    /// it, for the machine may be told at once.
    pub(crate) fn give(&self) -> Ticket {
        let mut books = self.books.lock();
        books.given += 1;
        let now = books.clock();
        books.given_at.push_back(now);
        Ticket(books.given - 1)
    }

    /// The driver did not take it.
    pub(crate) fn take_back(&self) {
        let mut books = self.books.lock();
        books.given -= 1;
        books.given_at.pop_back();
    }

    /// The disk answers. Written down before the driver is given it.
    pub(crate) fn answer(&self, answer: DiskAnswer) {
        self.books.lock().answers.push_back(answer);
    }

    /// The driver did not take the last answer.
    pub(crate) fn take_back_answer(&self) {
        self.books.lock().answers.pop_back();
    }

    /// Whether the machine was told all commands, and polled to `Wait` since.
    pub(crate) fn rests(&self) -> bool {
        let books = self.books.lock();
        books.wait.is_some() && books.told == books.given
    }

    /// Whether it rests, everything is answered and all credit is back.
    pub(crate) fn is_settled(&self) -> bool {
        let books = self.books.lock();
        books.wait.is_some()
            && books.links.values().all(|l| l.unflushed == 0 && !l.closing)
            && books.dials.is_empty()
            && books.said.is_empty()
            && books.answers.is_empty()
            && books.told == books.given
    }

    /// Bytes sent on a link that did not come back, or 0 if it is closed.
    pub(crate) fn unflushed(&self, link: LinkId) -> usize {
        self.books.lock().links.get(&link).map_or(0, |l| l.unflushed)
    }

    /// How often the machine was polled.
    pub(crate) fn polls(&self) -> u64 {
        self.books.lock().polls
    }

    /// How many wakes came late.
    pub(crate) fn late_wakes(&self) -> usize {
        self.books.lock().late_wakes.len()
    }

    /// How many inputs came after an idle time.
    pub(crate) fn idle_inputs(&self) -> usize {
        self.books.lock().idle_inputs.len()
    }

    /// When the machine's life began, and all that happened in it.
    pub(crate) fn tape(&self) -> Option<(Time, Tape)> {
        let books = self.books.lock();
        books.tape.clone().map(|tape| (books.start, tape))
    }

    /// Patience has ended: says what is missing.
    pub(crate) fn diagnose(&self) {
        let books = self.books.lock();
        match books.wait {
            None => self.blame(Check::Undrained, "it was not polled to Wait, and nothing goes on"),
            Some(Some(at)) if self.rules.real && books.clock().since(at) > OVERDUE => {
                let late = books.clock().since(at);
                self.blame(Check::LostWake, format!("the wake for {at:?} is {late:?} late"));
            }
            _ => {}
        }
        for (link, account) in &books.links {
            if account.closing {
                self.blame(Check::CloseLost, format!("{link:?} was to be closed"));
            } else if account.unflushed > 0 {
                let bytes = account.unflushed;
                self.blame(Check::CreditLost, format!("{bytes} bytes of {link:?} are not back"));
            }
        }
        if let Some((dial, to)) = books.dials.first_key_value() {
            self.blame(Check::DialLost, format!("{dial:?} to {to}"));
        }
        if let Some(said) = books.said.front() {
            self.blame(Check::Host, format!("was not told {}", brief(said)));
        }
        if let Some(answer) = books.answers.front() {
            self.blame(Check::Disk, format!("the machine was not told {}", brief(answer)));
        }
        // Scripts do not end what they are given.
        if let (Some(_), Some(ticket)) = (&books.tape, books.tickets.first()) {
            self.blame(Check::TicketLost, format!("{ticket:?} has no end"));
        }
        if books.told != books.given {
            let (told, given) = (books.told, books.given);
            self.blame(Check::Command, format!("{given} were given, {told} came"));
        }
    }

    /// What only many samples show. Judged by majority, so that a thread that
    /// was not scheduled for a moment is no fault.
    pub(crate) fn weigh(&self) {
        let books = self.books.lock();
        let cases = [
            (Check::StaleWake, &books.late_wakes, "late wakes were told an earlier time"),
            (Check::StaleInput, &books.idle_inputs, "inputs were told a time before the wait"),
        ];
        for (check, samples, what) in cases {
            let stale: Vec<_> = samples.iter().filter(|(span, lag)| *lag > *span / 2).collect();
            if samples.len() >= 3 && stale.len() * 2 > samples.len() {
                let (n, of, (span, lag)) = (stale.len(), samples.len(), stale[0]);
                let example = format!("by {lag:?} after {span:?}");
                self.blame(check, format!("{n} of {of} {what}, such as one {example}"));
            }
        }
    }

    fn blame(&self, check: Check, what: impl Into<String>) {
        self.board.blame(check, Some(self.node), what);
    }

    // The calls, as they come.

    fn before_handle(&self, now: Time, event: &Event) {
        let mut books = self.books.lock();
        if now < books.now {
            self.blame(Check::TimeWentBack, format!("from {:?} to {now:?}", books.now));
        }
        if self.rules.real && now > books.clock() + AHEAD {
            self.blame(Check::Clock, format!("it is {:?}, not {now:?}", books.clock()));
        }
        if let Event::Wake = event {
            self.judge_wake(&mut books, now);
        } else if self.rules.real {
            let idle = books.handled.elapsed();
            // A command may be told the time at which it was given.
            let came = match event {
                Event::Command { .. } => books.given_at.pop_front(),
                _ => Some(books.clock()),
            };
            if let Some(came) = came.filter(|_| idle > IDLE) {
                books.idle_inputs.push((idle, came.since(now)));
            }
        }
        self.judge_event(&mut books, event);
        books.now = books.now.max(now);
        books.wait = None;
        if let Some(tape) = &mut books.tape {
            tape.handle(now, event.clone());
        }
    }

    fn judge_wake(&self, books: &mut Books, now: Time) {
        match books.wait {
            None => self.blame(Check::Undrained, "woken before it was polled to Wait"),
            Some(Some(at)) if at <= now => {
                if self.rules.exact && at != now {
                    self.blame(Check::LateWake, format!("woken at {now:?} for {at:?}"));
                }
                let late = books.clock().since(at);
                if self.rules.real && late > LATE {
                    let lag = books.clock().since(now);
                    books.late_wakes.push((late, lag));
                }
            }
            Some(_) if self.rules.early => {}
            Some(wait) => self.blame(Check::EarlyWake, format!("woken at {now:?} for {wait:?}")),
        }
    }

    fn judge_event(&self, books: &mut Books, event: &Event) {
        match event {
            Event::Opened { link, dial, remote } => {
                self.ensure(books.used.insert(*link), Check::LinkId, event);
                books.links.insert(*link, Account::default());
                if let Some(dial) = dial {
                    let to = books.dials.remove(dial);
                    self.ensure(to.is_some(), Check::Dial, event);
                    self.ensure(to.is_none_or(|to| to == *remote), Check::Address, event);
                }
            }
            Event::DialFailed { dial } => {
                let known = books.dials.remove(dial).is_some();
                self.ensure(known, Check::Dial, event);
            }
            Event::Received { link, .. } => {
                let account = books.links.get(link).filter(|account| !account.closing);
                self.ensure(account.is_some(), Check::AfterClose, event);
                self.ensure(account.is_none_or(|account| !account.paused), Check::Pause, event);
            }
            Event::Flushed { link, bytes } => {
                let account = books.links.get_mut(link).filter(|account| !account.closing);
                self.ensure(account.is_some(), Check::AfterClose, event);
                if let Some(account) = account {
                    if *bytes > account.unflushed {
                        let left = account.unflushed;
                        let what = format!("{event:?}, of {left} that had not come back");
                        self.blame(Check::Credit, what);
                    }
                    account.unflushed = account.unflushed.saturating_sub(*bytes);
                }
            }
            Event::Closed { link } => {
                let known = books.links.remove(link).is_some();
                self.ensure(known, Check::ClosedTwice, event);
            }
            // The world has disks of its own.
            Event::Disk(answer) if self.rules.real => {
                let given = books.answers.pop_front();
                self.ensure(given.as_ref() == Some(answer), Check::Disk, event);
            }
            Event::Command { ticket, .. } => {
                let in_order = ticket.0 == books.told && ticket.0 < books.given;
                self.ensure(in_order, Check::Command, event);
                books.told = ticket.0 + 1;
                books.tickets.insert(*ticket);
            }
            _ => {}
        }
    }

    /// Blames the driver for this event, unless it may come.
    fn ensure(&self, holds: bool, check: Check, event: &Event) {
        if !holds {
            self.blame(check, brief(event));
        }
    }

    fn after_handle(&self) {
        self.books.lock().handled = Instant::now();
        self.board.ring();
    }

    fn after_poll(&self, output: &Output) {
        let mut books = self.books.lock();
        books.polls += 1;
        match output {
            Output::Act(action) => self.note(&mut books, action),
            Output::Wait(wait) => {
                if let Some(at) = wait.filter(|at| *at <= books.now) {
                    let now = books.now;
                    self.blame(Check::Wait, format!("Wait until {at:?} at {now:?}"));
                }
                books.wait = Some(*wait);
            }
        }
        if let Some(tape) = &mut books.tape {
            tape.poll(output.clone());
        }
    }

    fn note(&self, books: &mut Books, action: &Action) {
        let link = |books: &mut Books, link: &LinkId, change: &dyn Fn(&mut Account)| {
            books.links.get_mut(link).map(change);
        };
        match action {
            Action::Dial { dial, to } => drop(books.dials.insert(*dial, *to)),
            Action::Send { link: id, head, body } => {
                link(books, id, &|account| account.unflushed += head.len() + body.len());
            }
            Action::SetRead { link: id, on } => link(books, id, &|account| account.paused = !on),
            Action::Close { link: id, .. } => link(books, id, &|account| account.closing = true),
            Action::Deliver(delivery) => books.said.push_back(Said::Deliver(delivery.clone())),
            Action::Disk(request) if self.rules.real => {
                books.said.push_back(Said::Disk(request.clone()));
            }
            Action::Notify(notice) => {
                if let Notice::Ended { ticket, .. } = notice
                    && !books.tickets.remove(ticket)
                {
                    self.blame(Check::Ticket, format!("{ticket:?}"));
                }
                books.said.push_back(Said::Notify(notice.clone()));
            }
            _ => {}
        }
    }

    fn heard(&self, heard: &Said) {
        let said = self.books.lock().said.pop_front();
        if said.as_ref() != Some(heard) {
            let (heard, said) = (brief(heard), brief(&said));
            self.blame(Check::Host, format!("heard {heard} where {said} was said"));
        }
    }
}

impl Books {
    /// The time now, as the driver's clock should show it.
    fn clock(&self) -> Time {
        self.start + self.origin.elapsed()
    }
}

impl Subject {
    /// Judges what the driver did with the slot that it was lent. What it read
    /// to there, as if it had been received.
    fn judge_slot(&mut self, event: &Event) -> Option<Event> {
        let Event::Filled { link, bytes } = *event else {
            self.judge_silence(|| brief(event));
            return None;
        };
        let lent = self.lent.take().filter(|(to, _)| *to == link);
        let room = lent.map_or(0, |(_, before)| before.len());
        if bytes > room {
            let what = format!("{} where there is room for {room} bytes", brief(event));
            self.record.blame(Check::Slot, what);
        }
        let slot = self.machine.slot(link).unwrap_or_default();
        let bytes = Bytes::copy_from_slice(&slot[..bytes.min(slot.len())]);
        Some(Event::Received { link, bytes })
    }

    /// Judges a driver that was lent a slot, and does something else.
    fn judge_silence(&mut self, what: impl FnOnce() -> String) {
        if let Some((link, before)) = self.lent.take()
            && self.machine.slot(link).is_some_and(|now| *now != *before)
        {
            let what = format!("{} after the slot of {link:?} was written to", what());
            self.record.blame(Check::Slot, what);
        }
    }
}

impl Machine for Subject {
    fn handle(&mut self, now: Time, event: Event) {
        let received = self.judge_slot(&event);
        self.record.before_handle(now, received.as_ref().unwrap_or(&event));
        self.machine.handle(now, event);
        self.record.after_handle();
    }

    fn poll(&mut self) -> Output {
        let output = self.machine.poll();
        self.record.after_poll(&output);
        output
    }

    fn slot(&mut self, link: LinkId) -> Option<&mut [u8]> {
        self.judge_silence(|| "a slot is asked for".into());
        let slot = self.machine.slot(link);
        self.lent = slot.as_ref().map(|slot| (link, slot.to_vec()));
        slot
    }
}

impl Host for Audience {
    fn deliver(&mut self, now: Time, delivery: Delivery) {
        self.record.heard(&Said::Deliver(delivery.clone()));
        self.host.deliver(now, delivery);
        self.record.board.ring();
    }

    fn notify(&mut self, now: Time, notice: Notice) {
        self.record.heard(&Said::Notify(notice.clone()));
        self.host.notify(now, notice);
        self.record.board.ring();
    }

    fn disk(&mut self, now: Time, request: DiskRequest) {
        self.record.heard(&Said::Disk(request.clone()));
        self.host.disk(now, request);
        self.record.board.ring();
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subject").field(&self.record.node).finish()
    }
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Audience").field(&self.record.node).finish()
    }
}
