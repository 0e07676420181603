//! Drivers with one fault each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use eddy_conformance::{Check, Options, Subject, Verdict};
use eddy_core::{Action, Event, LinkId, Machine, Output, Time};

use crate::doors::{
    Hangs, LosesAnswers, LosesCommand, MixesSenders, NeverStops, NoDisk, OneDatagram, Panics,
    SwapsAnswers, SwapsNotices, WrongSender,
};
use crate::saboteur::{Broken, Fault};
use crate::{PATIENCE, run};

/// A test for each fault: its scenario, and the check that has to name it.
/// What does not happen takes all the patience there is, so all are played at
/// once.
macro_rules! rejects {
    ($($test:ident: $fault:ident in $scenario:ident by $check:ident;)*) => {
        static VERDICTS: LazyLock<BTreeMap<&str, Verdict>> = LazyLock::new(|| {
            thread::scope(|scope| {
                let all = [$((
                    stringify!($test),
                    scope.spawn(|| play::<$fault>(stringify!($scenario))),
                )),*];
                all.map(|(test, verdict)| (test, verdict.join().unwrap())).into()
            })
        });

        $(#[test]
        fn $test() {
            let verdict = &VERDICTS[stringify!($test)];
            let named = verdict.names(Check::$check);
            assert!(named, "{:?} is not among what was found: {verdict}", Check::$check);
        })*
    };
}

fn play<F: Fault>(scenario: &str) -> Verdict {
    run::<Broken<F>>(scenario, Options { patience: PATIENCE, ..Options::default() })
}

rejects! {
    time_since_its_start: OwnEpoch in an_idle_machine_is_left_alone by Clock;
    time_that_goes_back: GoesBack in sends_keep_their_order by TimeWentBack;
    the_deadline_passed_as_now: DeadlineAsNow in a_late_wake_is_told_the_time by StaleWake;
    an_input_stamped_before_the_wait: StampsBefore
        in an_input_after_an_idle_time_is_told_the_time by StaleInput;
    a_sleep_rounded_down: WakesEarly in wakes_come_on_time by EarlyWake;
    a_wake_with_every_event: WakesAlways in sends_keep_their_order by EarlyWake;
    a_tick_instead_of_the_deadline: Ticks in wakes_come_on_time by LateWake;
    a_deadline_that_is_forgotten: ForgetsDeadline in wakes_come_on_time by LostWake;
    one_action_a_turn: OneAction in all_is_done_before_the_driver_sleeps by Undrained;
    a_wake_before_the_rest: WakesFirst in all_is_done_before_the_driver_sleeps by Undrained;
    a_loop_that_never_sleeps: Spins in an_idle_machine_is_left_alone by Busy;
    no_input_while_a_wake_is_due: NoInput in a_machine_in_a_hurry_still_hears by Starved;
    a_write_that_waits: Waits in a_peer_that_does_not_read_delays_nobody by Blocked;
    a_connect_that_waits: Connects in a_dial_that_nobody_answers_delays_nobody by Blocked;

    sends_out_of_order: Reorders in sends_keep_their_order by Bytes;
    credit_never_returned: NoCredit in credit_alone_keeps_a_sender_going by CreditLost;
    credit_returned_twice: DoubleCredit in megabytes_go_both_ways_within_credit by Credit;
    credit_without_heads: NoHeads in megabytes_go_both_ways_within_credit by CreditLost;
    a_pause_that_is_ignored: ReadsPaused in a_pause_holds_from_the_next_event_on by Pause;
    a_pause_for_the_machine_only: ReadsForItself in a_paused_link_holds_its_sender_back by Pause;

    a_slot_overfilled: Overfills in memory_that_is_lent_is_filled_in_order by Slot;
    more_told_than_was_read: Exaggerates in memory_that_is_lent_is_filled_in_order by Bytes;
    a_slot_filled_in_silence: FillsInSilence in memory_that_is_lent_is_filled_in_order by Slot;

    an_id_used_again: ReusesIds in links_come_and_go_under_fresh_names by LinkId;
    a_refusal_that_is_not_told: NoDialFailed in every_dial_is_answered_once by DialLost;
    a_refusal_told_twice: FailsTwice in every_dial_is_answered_once by Dial;
    another_peers_address: WrongSender in datagrams_arrive_whole by Address;
    another_peers_datagram: MixesSenders in datagrams_keep_their_senders by Address;
    credit_after_the_close: LateCredit in a_flushing_close_delivers_everything by AfterClose;
    an_end_told_twice: ClosedTwice in closes_that_cross_are_answered_once by ClosedTwice;
    a_close_without_an_answer: NoAnswer in a_close_without_a_flush_is_answered by CloseLost;
    a_close_that_always_flushes: AlwaysFlushes in a_close_without_a_flush_is_answered by LateClose;
    a_flush_that_is_not_done: NoFlush in a_flushing_close_delivers_everything by Bytes;
    a_flush_without_a_limit: NoLimit
        in a_flushing_close_to_a_peer_that_does_not_read_ends by CloseLost;
    a_socket_dropped_after_the_flush: DropsAfterFlush
        in last_words_reach_a_peer_that_goes_on_talking by Bytes;
    a_half_close_that_is_swallowed: NoEnd
        in the_end_of_a_peer_is_told_after_its_last_words by EndLost;
    a_reset_that_is_swallowed: NoEnd in the_reset_of_a_peer_is_told by EndLost;

    one_datagram_for_each_readiness: OneDatagram
        in a_burst_of_datagrams_is_read_to_its_end by Datagram;
    a_command_that_is_lost: LosesCommand in commands_arrive_in_order by Command;
    a_notice_out_of_order: SwapsNotices in the_host_hears_everything_in_order by Host;
    a_disk_that_is_not_asked: NoDisk in the_disk_is_asked_and_answers_in_order by Host;
    an_answer_of_the_disk_that_is_lost: LosesAnswers
        in the_disk_is_asked_and_answers_in_order by Disk;
    answers_of_the_disk_out_of_order: SwapsAnswers
        in the_disk_is_asked_and_answers_in_order by Disk;
    a_stop_that_closes_nothing: NeverStops in a_stop_closes_everything by Stop;
    a_panic: Panics in sends_keep_their_order by Panic;
}

#[test]
fn a_driver_that_hangs() {
    let options = Options { patience: Duration::from_millis(400), ..Options::default() };
    let verdict = run::<Broken<Hangs>>("sends_keep_their_order", options);
    assert!(verdict.names(Check::Hung), "{verdict}");
}

// The faults. Each says only what is wrong.

/// Counts time from its own start.
#[derive(Default)]
struct OwnEpoch(Time);
impl Fault for OwnEpoch {
    fn start(&mut self, now: Time) -> Time {
        self.0 = now;
        Time::ZERO
    }
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        machine.handle(Time::ZERO + now.since(self.0), event);
    }
}

/// Follows a clock that is set back.
#[derive(Default)]
struct GoesBack(i64);
impl Fault for GoesBack {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        self.0 += 1;
        machine.handle(now.offset(-200_000 * (self.0 % 2)), event);
    }
}

/// Takes the end of its sleep for the time that it asked for.
#[derive(Default)]
struct DeadlineAsNow(Option<Time>);
impl Fault for DeadlineAsNow {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        let wake = (event == Event::Wake).then_some(self.0).flatten();
        machine.handle(wake.unwrap_or(now), event);
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        let output = machine.poll();
        if let Output::Wait(wait) = output {
            self.0 = wait;
        }
        output
    }
}

/// Reads the clock before it goes to sleep, and stamps with that what wakes it.
#[derive(Default)]
struct StampsBefore(Option<Time>);
impl Fault for StampsBefore {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        machine.handle(self.0.unwrap_or(now), event);
        self.0 = Some(now);
    }
}

/// Rounds its sleep down to what its poller can do.
#[derive(Default)]
struct WakesEarly;
impl Fault for WakesEarly {
    fn ask(&mut self, machine: &mut Subject) -> Output {
        match machine.poll() {
            Output::Wait(Some(at)) => Output::Wait(Some(at - Duration::from_millis(1))),
            other => other,
        }
    }
}

/// Wakes the machine whenever anything happens.
#[derive(Default)]
struct WakesAlways;
impl Fault for WakesAlways {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        machine.handle(now, event);
        while let Output::Act(Action::Dial { .. }) = machine.poll() {}
        machine.handle(now, Event::Wake);
    }
}

/// Looks every 50 ms whether something is due.
#[derive(Default)]
struct Ticks;
impl Fault for Ticks {
    fn ask(&mut self, machine: &mut Subject) -> Output {
        match machine.poll() {
            Output::Wait(Some(at)) => {
                Output::Wait(Some(Time::from_micros(at.as_micros().next_multiple_of(50_000))))
            }
            other => other,
        }
    }
}

/// Sleeps for ever if nothing was wanted.
#[derive(Default)]
struct ForgetsDeadline;
impl Fault for ForgetsDeadline {
    fn ask(&mut self, machine: &mut Subject) -> Output {
        match machine.poll() {
            Output::Wait(_) => Output::Wait(None),
            action => action,
        }
    }
}

/// Carries out one action for each event.
#[derive(Default)]
struct OneAction(u32);
impl Fault for OneAction {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        self.0 += 1;
        machine.handle(now, event);
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        if self.0 == 0 {
            return Output::Wait(None);
        }
        let output = machine.poll();
        self.0 -= u32::from(matches!(output, Output::Act(_)));
        output
    }
}

/// Carries out ten actions at a time, and wakes the machine in between.
#[derive(Default)]
struct WakesFirst;
impl Fault for WakesFirst {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        machine.handle(now, event);
        for _ in 0..10 {
            drop(machine.poll());
        }
        machine.handle(now, Event::Wake);
    }
}

/// Is told by its poller, again and again, that a socket can be written.
#[derive(Default)]
struct Spins;
impl Fault for Spins {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        if event != Event::Wake {
            machine.handle(now, event);
        }
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        match machine.poll() {
            Output::Wait(None) => Output::Wait(Some(Time::ZERO)),
            other => other,
        }
    }
}

/// Serves what is due first, and there is always something due.
#[derive(Default)]
struct NoInput(Option<Time>);
impl Fault for NoInput {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        let is_input = matches!(event, Event::Datagram { .. });
        if !(is_input && self.0.is_some_and(|at| at <= now + Duration::from_millis(1))) {
            machine.handle(now, event);
        }
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        let output = machine.poll();
        if let Output::Wait(wait) = output {
            self.0 = wait;
        }
        output
    }
}

/// Writes until all is written, however long the peer takes.
#[derive(Default)]
struct Waits;
impl Fault for Waits {
    fn ask(&mut self, machine: &mut Subject) -> Output {
        let output = machine.poll();
        if matches!(&output, Output::Act(Action::Send { body, .. }) if body.len() > 1 << 20) {
            thread::sleep(PATIENCE + Duration::from_millis(500));
        }
        output
    }
}

/// Keeps one queue for small and one for large sends.
#[derive(Default)]
struct Reorders(Option<Action>);
impl Fault for Reorders {
    fn ask(&mut self, machine: &mut Subject) -> Output {
        if let Some(action) = self.0.take() {
            return Output::Act(action);
        }
        match machine.poll() {
            Output::Act(large @ Action::Send { .. }) => match machine.poll() {
                Output::Act(small) => {
                    self.0 = Some(large);
                    Output::Act(small)
                }
                Output::Wait(_) => Output::Act(large),
            },
            other => other,
        }
    }
}

/// Closes a link that is to be flushed only once the kernel has taken
/// everything, with or without a goodbye.
#[derive(Default)]
struct FlushesFirst<const GOODBYE: bool> {
    flying: BTreeMap<LinkId, usize>,
    held: BTreeSet<LinkId>,
    due: VecDeque<LinkId>,
}
/// However long that takes.
type NoLimit = FlushesFirst<true>;
type DropsAfterFlush = FlushesFirst<false>;
impl<const GOODBYE: bool> Fault for FlushesFirst<GOODBYE> {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        match &event {
            Event::Flushed { link, bytes } => {
                let flying = self.flying.entry(*link).or_default();
                *flying -= bytes;
                if self.held.contains(link) {
                    self.due.extend((*flying == 0).then_some(*link));
                    return;
                }
            }
            Event::Received { link, .. } if self.held.contains(link) => return,
            _ => {}
        }
        machine.handle(now, event);
    }

    fn ask(&mut self, machine: &mut Subject) -> Output {
        if let Some(link) = self.due.pop_front() {
            return Output::Act(Action::Close { link, flush: GOODBYE });
        }
        loop {
            match machine.poll() {
                Output::Act(Action::Close { link, flush: true })
                    if self.flying.get(&link).is_some_and(|flying| *flying > 0) =>
                {
                    self.held.insert(link);
                }
                Output::Act(Action::Send { link, head, body }) => {
                    *self.flying.entry(link).or_default() += head.len() + body.len();
                    return Output::Act(Action::Send { link, head, body });
                }
                other => return other,
            }
        }
    }
}

/// Faults that tell every event of one kind never, or twice.
macro_rules! tells {
    ($($(#[$doc:meta])* $fault:ident: $kind:ident $times:literal times;)*) => {$(
        $(#[$doc])*
        #[derive(Default)]
        struct $fault;
        impl Fault for $fault {
            fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
                let times = if let Event::$kind { .. } = event { $times } else { 1 };
                (0..times).for_each(|_| machine.handle(now, event.clone()));
            }
        }
    )*};
}

tells! {
    /// Never gives credit back.
    NoCredit: Flushed 0 times;
    /// Gives credit back when it writes, and again when it has written.
    DoubleCredit: Flushed 2 times;
    /// Forgets a dial that was refused.
    NoDialFailed: DialFailed 0 times;
    /// A refusal, and then the time-out of the same dial.
    FailsTwice: DialFailed 2 times;
    /// Takes a read of nothing, or an error, for a quiet link.
    NoEnd: Closed 0 times;
    /// Says that a link is closed when it closes it, and when the socket says so.
    ClosedTwice: Closed 2 times;
}

/// Counts bodies only.
#[derive(Default)]
struct NoHeads(BTreeMap<LinkId, usize>);
impl Fault for NoHeads {
    fn tell(&mut self, machine: &mut Subject, now: Time, mut event: Event) {
        if let Event::Flushed { link, bytes } = &mut event {
            let heads = self.0.entry(*link).or_default();
            let held_back = (*heads).min(*bytes - 1);
            *heads -= held_back;
            *bytes -= held_back;
        }
        machine.handle(now, event);
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        let output = machine.poll();
        if let Output::Act(Action::Send { link, head, .. }) = &output {
            *self.0.entry(*link).or_default() += head.len();
        }
        output
    }
}

/// Does not know how to pause.
#[derive(Default)]
struct ReadsPaused;
impl Fault for ReadsPaused {
    fn ask(&mut self, machine: &mut Subject) -> Output {
        loop {
            let output = machine.poll();
            if !matches!(output, Output::Act(Action::SetRead { .. })) {
                return output;
            }
        }
    }
}

/// Reads on in a pause, and keeps the bytes until it is over.
#[derive(Default)]
struct ReadsForItself(BTreeSet<LinkId>, VecDeque<Event>);
impl Fault for ReadsForItself {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        if matches!(&event, Event::Received { link, .. } if self.0.contains(link)) {
            self.1.push_back(event);
        } else {
            machine.handle(now, event);
        }
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        loop {
            match machine.poll() {
                Output::Act(Action::SetRead { link, on: false }) => drop(self.0.insert(link)),
                other => return other,
            }
        }
    }
}

/// Tells all that it has, whether there is room or not.
#[derive(Default)]
struct Overfills;
impl Fault for Overfills {
    fn tell(&mut self, machine: &mut Subject, now: Time, mut event: Event) {
        if let Event::Received { link, bytes } = &event
            && let Some(slot) = machine.slot(*link)
        {
            let n = bytes.len().min(slot.len());
            slot[..n].copy_from_slice(&bytes[..n]);
            event = Event::Filled { link: *link, bytes: bytes.len() };
        }
        machine.handle(now, event);
    }
}

/// Tells a byte more than it read, if there is room.
#[derive(Default)]
struct Exaggerates;
impl Fault for Exaggerates {
    fn tell(&mut self, machine: &mut Subject, now: Time, mut event: Event) {
        if let Event::Received { link, bytes } = &mut event
            && let Some(slot) = machine.slot(*link)
        {
            let room = slot.len();
            let some = bytes.split_to(bytes.len().min(room.max(2) - 1));
            slot[..some.len()].copy_from_slice(&some);
            let told = room.min(some.len() + 1);
            machine.handle(now, Event::Filled { link: *link, bytes: told });
        }
        machine.handle(now, event);
    }
}

/// Reads to where there is room, and tells it like everything else.
#[derive(Default)]
struct FillsInSilence;
impl Fault for FillsInSilence {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        if let Event::Received { link, bytes } = &event
            && let Some(slot) = machine.slot(*link)
        {
            let n = bytes.len().min(slot.len());
            slot[..n].copy_from_slice(&bytes[..n]);
        }
        machine.handle(now, event);
    }
}

/// Takes the smallest id that is free, as a slab does.
#[derive(Default)]
struct ReusesIds(BTreeMap<LinkId, LinkId>);
impl Fault for ReusesIds {
    fn tell(&mut self, machine: &mut Subject, now: Time, mut event: Event) {
        match &mut event {
            Event::Opened { link, .. } => {
                let free = (0..).map(LinkId).find(|id| !self.0.values().any(|used| used == id));
                self.0.extend(free.map(|free| (*link, free)));
                *link = self.0[link];
            }
            Event::Received { link, .. } | Event::Flushed { link, .. } => *link = self.0[link],
            Event::Closed { link } => *link = self.0.remove(link).expect("it was opened"),
            _ => {}
        }
        machine.handle(now, event);
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        let mut output = machine.poll();
        if let Output::Act(
            Action::Send { link, .. } | Action::SetRead { link, .. } | Action::Close { link, .. },
        ) = &mut output
        {
            let own = self.0.iter().find(|(_, theirs)| *theirs == link);
            *link = own.map_or(LinkId(u64::MAX), |(own, _)| *own);
        }
        output
    }
}

/// Gives back what a flush wrote, though the machine has closed the link.
#[derive(Default)]
struct LateCredit(BTreeSet<LinkId>);
impl Fault for LateCredit {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        if let Event::Closed { link } = event
            && self.0.contains(&link)
        {
            machine.handle(now, Event::Flushed { link, bytes: 1 });
        }
        machine.handle(now, event);
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        let output = machine.poll();
        if let Output::Act(Action::Close { link, .. }) = &output {
            self.0.insert(*link);
        }
        output
    }
}

/// Takes a close for something that needs no answer.
#[derive(Default)]
struct NoAnswer(BTreeSet<LinkId>);
impl Fault for NoAnswer {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        if !matches!(event, Event::Closed { link } if self.0.contains(&link)) {
            machine.handle(now, event);
        }
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        let output = machine.poll();
        if let Output::Act(Action::Close { link, .. }) = &output {
            self.0.insert(*link);
        }
        output
    }
}

/// Closes all links alike.
#[derive(Default)]
struct Closes<const FLUSH: bool>;
/// Closes at once.
type NoFlush = Closes<false>;
type AlwaysFlushes = Closes<true>;
impl<const FLUSH: bool> Fault for Closes<FLUSH> {
    fn ask(&mut self, machine: &mut Subject) -> Output {
        let mut output = machine.poll();
        if let Output::Act(Action::Close { flush, .. }) = &mut output {
            *flush = FLUSH;
        }
        output
    }
}

/// Connects in its loop.
#[derive(Default)]
struct Connects(Time);
impl Fault for Connects {
    fn tell(&mut self, machine: &mut Subject, now: Time, event: Event) {
        self.0 = now;
        machine.handle(now, event);
    }
    fn ask(&mut self, machine: &mut Subject) -> Output {
        loop {
            match machine.poll() {
                Output::Act(Action::Dial { dial, to })
                    if TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_err() =>
                {
                    machine.handle(self.0, Event::DialFailed { dial });
                }
                other => return other,
            }
        }
    }
}
