//! A scenario's view: nodes by number, whatever drives them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eddy_core::{
    Action, Command, Delivery, DialId, DiskAnswer, Event, Host, LinkId, Machine, Notice, Ticket,
    Time,
};

use crate::board::{Board, Shared};
use crate::check::Check;
use crate::harness::Harness;
use crate::judge::{Audience, Record};
use crate::run::Options;
use crate::script::{Ear, Out, Script, Strings};
use crate::shelf::{Housed, Shelf};

/// How long a scenario waits for something in virtual time, which is cheap.
const VIRTUAL_PATIENCE: Duration = Duration::from_secs(120);

/// A node of a scenario, by order of seating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who(pub(crate) usize);

/// The scenario cannot go on; why stands on the board.
#[derive(Debug)]
pub(crate) struct Failed;

/// What a scenario, or a step of one, comes to.
pub(crate) type Act<T = ()> = Result<T, Failed>;

/// Makes a node's machine, and makes it again for the replay.
pub(crate) type Recipe = Arc<dyn Fn(Time) -> Box<dyn Machine + Send> + Send + Sync>;

struct Part {
    addr: SocketAddr,
    stopped: bool,
    record: Option<Arc<Record>>,
    recipe: Option<Recipe>,
    strings: Strings,
    /// Its disk, if it has one.
    shelf: Option<Shared<Shelf>>,
}

/// The nodes of one scenario, and all that can be done with them.
pub(crate) struct Scene {
    harness: Box<dyn Harness>,
    board: Arc<Board>,
    options: Options,
    parts: Vec<Part>,
    dials: u64,
}

/// A host that does nothing.
struct Deaf;

impl Host for Deaf {
    fn deliver(&mut self, _now: Time, _delivery: Delivery) {}
    fn notify(&mut self, _now: Time, _notice: Notice) {}
}

// Nodes.
impl Scene {
    pub(crate) fn new(harness: Box<dyn Harness>, board: Arc<Board>, options: Options) -> Self {
        // Far from the numbers that scripts give to dials of their own.
        Self { harness, board, options, parts: Vec::new(), dials: 1 << 32 }
    }

    /// Whether time passes by itself.
    pub(crate) fn is_real(&self) -> bool {
        self.harness.rules().real
    }

    /// An address at which nobody is yet.
    pub(crate) fn seat(&mut self) -> Act<Who> {
        let n = self.parts.len();
        let addr =
            self.harness.seat(n).map_err(|e| self.fail(Check::Unmet, format!("bind: {e}")))?;
        let strings = Strings::default();
        let (record, recipe, shelf) = (None, None, None);
        self.parts.push(Part { addr, stopped: false, record, recipe, strings, shelf });
        Ok(Who(n))
    }

    /// Gives a seat a disk, before anybody takes it.
    pub(crate) fn furnish(&mut self, who: Who) {
        self.parts[who.0].shelf = Some(Shelf::new());
    }

    /// A machine that does what `react` says after each event.
    pub(crate) fn script(
        &mut self,
        react: impl FnMut(Time, &Event, &mut Out) + Send + 'static,
    ) -> Act<Who> {
        let who = self.seat()?;
        self.script_at(who, react);
        Ok(who)
    }

    /// The same, in a seat that is there.
    pub(crate) fn script_at(
        &mut self,
        who: Who,
        react: impl FnMut(Time, &Event, &mut Out) + Send + 'static,
    ) {
        let script = Script::new(react, self.parts[who.0].strings.clone(), self.is_real());
        let record = self.record(who, false);
        let audience = self.audience(who, &record, Box::new(Deaf));
        let make = move |start| record.subject(start, |_| Box::new(script));
        let disk = self.parts[who.0].shelf.is_some();
        self.harness.start(who.0, Box::new(make), audience, disk);
    }

    /// A machine that does nothing by itself, and what it hears.
    pub(crate) fn listener(&mut self) -> Act<(Who, Ear)> {
        let ear = Ear::default();
        let notes = ear.clone();
        let who = self.script(move |_, event, _| notes.hear(event))?;
        Ok((who, ear))
    }

    /// Has a real node take its seat; it is recorded.
    pub(crate) fn start(&mut self, who: Who, recipe: Recipe, host: Box<dyn Host + Send>) {
        let disguise = self.options.disguise;
        let recipe: Recipe = Arc::new(move |start| disguise(recipe(start)));
        self.parts[who.0].recipe = Some(recipe.clone());
        let record = self.record(who, true);
        let audience = self.audience(who, &record, host);
        let make = move |start| record.subject(start, |start| recipe(start));
        let disk = self.parts[who.0].shelf.is_some();
        self.harness.start(who.0, Box::new(make), audience, disk);
    }

    fn audience(&self, who: Who, record: &Arc<Record>, host: Box<dyn Host + Send>) -> Audience {
        let shelf = self.parts[who.0].shelf.clone().filter(|_| self.is_real());
        record.audience(match shelf {
            Some(shelf) => Box::new(Housed { host, shelf }),
            None => host,
        })
    }

    fn record(&mut self, who: Who, recorded: bool) -> Arc<Record> {
        let record = Record::new(who.0, self.harness.rules(), self.board.clone(), recorded);
        self.parts[who.0].record = Some(record.clone());
        record
    }

    pub(crate) fn addr(&self, who: Who) -> SocketAddr {
        self.parts[who.0].addr
    }

    /// Ends a node.
    pub(crate) fn stop(&mut self, who: Who) {
        self.harness.stop(who.0);
        self.parts[who.0].stopped = true;
    }

    /// What the judge knows of a node.
    pub(crate) fn judged<T>(&self, who: Who, ask: impl FnOnce(&Record) -> T) -> Option<T> {
        self.parts[who.0].record.as_deref().map(ask)
    }
}

// What a scenario does.
impl Scene {
    /// Gives a command, again and again while the queue is full.
    pub(crate) fn command(&mut self, who: Who, command: Command) -> Act<Ticket> {
        let Some(record) = self.parts[who.0].record.clone() else { return Err(Failed) };
        let mut left = self.options.patience;
        loop {
            let ticket = record.give();
            if self.harness.command(who.0, ticket, command.clone()) {
                return Ok(ticket);
            }
            record.take_back();
            if left.is_zero() {
                return Err(self.fail(Check::Command, "the queue stays full"));
            }
            left = left.saturating_sub(self.harness.tick(&self.board));
        }
    }

    /// Gives every node what its disk has answered.
    fn pass_answers(&mut self) -> Act {
        for n in 0..self.parts.len() {
            let shelf = self.parts[n].shelf.clone().filter(|_| !self.parts[n].stopped);
            let next = || shelf.as_ref()?.lock().take();
            while let Some(answer) = next() {
                self.answer(n, answer)?;
            }
        }
        Ok(())
    }

    /// Again and again while the queue is full.
    fn answer(&mut self, n: usize, answer: DiskAnswer) -> Act {
        let Some(record) = self.parts[n].record.clone() else { return Err(Failed) };
        let mut left = self.options.patience;
        loop {
            record.answer(answer.clone());
            if self.harness.answer(n, answer.clone()) {
                return Ok(());
            }
            record.take_back_answer();
            if left.is_zero() {
                return Err(self.fail(Check::Disk, "the queue stays full"));
            }
            left = left.saturating_sub(self.harness.tick(&self.board));
        }
    }

    /// Has a script do this.
    pub(crate) fn act(&mut self, who: Who, actions: impl IntoIterator<Item = Action>) -> Act {
        self.parts[who.0].strings.lock().extend(actions);
        self.command(who, Command::Leave).map(drop)
    }

    /// Has one listener dial another; their names for the link.
    pub(crate) fn connect(&mut self, from: (Who, &Ear), to: (Who, &Ear)) -> Act<(LinkId, LinkId)> {
        let before = (from.1.opened().len(), to.1.opened().len());
        let dial = self.dial(to.0);
        self.act(from.0, [dial])?;
        self.wait(Check::DialLost, "a connection", || {
            from.1.opened().len() > before.0 && to.1.opened().len() > before.1
        })?;
        Ok((from.1.opened()[before.0], to.1.opened()[before.1]))
    }

    /// A dial under a fresh name.
    pub(crate) fn dial(&mut self, to: Who) -> Action {
        self.dials += 1;
        Action::Dial { dial: DialId(self.dials), to: self.addr(to) }
    }

    /// Since the scene began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.harness.elapsed()
    }

    /// Writes down what is wrong with a node.
    pub(crate) fn blame(&self, check: Check, who: Who, what: String) {
        self.board.blame(check, Some(who.0), what);
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.harness.pass(span);
    }

    /// Waits until something holds. `check` is what is broken if it never does.
    pub(crate) fn wait(
        &mut self,
        check: Check,
        what: &str,
        mut holds: impl FnMut() -> bool,
    ) -> Act {
        self.until(check, what, |_| holds())
    }

    /// The same, for what the scene itself has to be asked.
    pub(crate) fn until(
        &mut self,
        check: Check,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Act {
        let mut left = if self.is_real() { self.options.patience } else { VIRTUAL_PATIENCE };
        loop {
            if !self.board.is_clean() {
                return Err(Failed);
            }
            self.pass_answers()?;
            if holds(self) {
                return Ok(());
            }
            if left.is_zero() {
                let running = self.parts.iter().filter(|part| !part.stopped);
                running.filter_map(|part| part.record.as_ref()).for_each(|r| r.diagnose());
                return Err(self.fail(check, format!("waited for {what}")));
            }
            left = left.saturating_sub(self.harness.tick(&self.board));
        }
    }

    /// Waits until a machine has done all that it was given.
    pub(crate) fn rest(&mut self, who: Who) -> Act {
        self.until(Check::Undrained, "a machine to rest", |scene| {
            scene.judged(who, Record::rests).unwrap_or(true)
        })
    }

    /// Waits until every script rests, and all that it asked for is answered.
    pub(crate) fn settle(&mut self) -> Act {
        self.until(Check::Unmet, "everything to be answered", |scene| {
            let running = scene.parts.iter().filter(|part| !part.stopped);
            running.filter_map(|part| part.record.as_ref()).all(|record| record.is_settled())
        })
    }

    /// Writes down what is wrong.
    pub(crate) fn fail(&self, check: Check, what: impl Into<String>) -> Failed {
        self.board.blame(check, None, what);
        Failed
    }

    /// Fails unless it holds.
    pub(crate) fn ensure(&self, check: Check, holds: bool, what: impl Into<String>) -> Act {
        if holds { Ok(()) } else { Err(self.fail(check, what)) }
    }

    /// How late a plain thread wakes up from these naps, measured beside what
    /// comes next; nothing in virtual time.
    pub(crate) fn sleeper(&self, naps: Vec<Duration>) -> impl FnOnce() -> Vec<Duration> + use<> {
        let thread = self.is_real().then(|| {
            std::thread::spawn(move || {
                let late = |nap: Duration| {
                    let before = Instant::now();
                    std::thread::sleep(nap);
                    before.elapsed().saturating_sub(nap)
                };
                naps.into_iter().map(late).collect()
            })
        });
        move || thread.and_then(|t| t.join().ok()).unwrap_or_default()
    }

    /// Ends all nodes, weighs what was measured, replays what was recorded.
    pub(crate) fn close(mut self) {
        (0..self.parts.len()).for_each(|n| self.harness.stop(n));
        for (n, part) in self.parts.iter().enumerate() {
            let Some(record) = &part.record else { continue };
            record.weigh();
            if let (Some((start, tape)), Some(recipe)) = (record.tape(), &part.recipe)
                && let Err(difference) = tape.replay(recipe(start).as_mut())
            {
                self.board.blame(Check::Replay, Some(n), difference);
            }
        }
    }
}
