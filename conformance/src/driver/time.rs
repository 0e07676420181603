//! Wakes, idleness, and the `now` of every event.

use std::time::{Duration, Instant};

use bytes::Bytes;
use eddy_core::{Action, Event};

use crate::board::Shared;
use crate::check::Check;
use crate::scene::{Act, Scene, Who};
use crate::script::send;

/// How much later than a plain sleeper's a median wake may be.
const LATENESS: Duration = Duration::from_millis(10);

/// Polls in a millisecond in which nothing happens: loops that look at their
/// sockets now and then are well below it, and those that never sleep above.
const CALM: u128 = 5;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn median(mut all: Vec<Duration>) -> Option<Duration> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// Sends one datagram.
fn datagram(scene: &Scene, to: Who) -> Action {
    Action::SendDatagram { to: scene.addr(to), bytes: Bytes::from_static(b"x") }
}

/// Machines with nothing but timers, for traffic hides what is wrong with them.
pub(crate) fn wakes_come_on_time(scene: &mut Scene) -> Act {
    let naps: Vec<Duration> = (0..40).map(|i| ms(3 + i * 17 % 40)).collect();
    let lateness = Shared::new(Vec::new());
    let (late, mut rest) = (lateness.clone(), naps.clone().into_iter());
    let mut nap: Option<(Instant, Duration)> = None;
    let who = scene.script(move |now, event, out| {
        match event {
            Event::Command { .. } => {}
            // The wake that was asked for: another may come beside it.
            Event::Wake if out.wake.is_none() => {}
            _ => return,
        }
        if let Some((since, nap)) = nap {
            late.lock().push(since.elapsed().saturating_sub(nap));
        }
        nap = rest.next().map(|nap| (Instant::now(), nap));
        out.wake = nap.map(|(_, nap)| now + nap);
    })?;
    let sleeper = scene.sleeper(naps.clone());
    scene.act(who, [])?;
    scene.wait(Check::LostWake, "40 wakes", || lateness.lock().len() == naps.len())?;
    let (Some(driver), Some(plain)) = (median(lateness.lock().clone()), median(sleeper())) else {
        return Ok(()); // In virtual time the judge sees to it.
    };
    let what = format!("the median wake is {driver:?} late, a plain sleeper's {plain:?}");
    scene.ensure(Check::LateWake, driver <= plain * 2 + LATENESS, what)
}

/// A driver that is late, here by the machine's own fault, has to say so.
pub(crate) fn a_late_wake_is_told_the_time(scene: &mut Scene) -> Act {
    let wakes = Shared::new(0);
    let count = wakes.clone();
    let who = scene.script(move |now, event, out| match event {
        Event::Command { .. } => {
            out.wake = Some(now + ms(5));
            out.dawdle(ms(40));
        }
        Event::Wake if out.wake.is_none() => *count.lock() += 1,
        _ => {}
    })?;
    for round in 1..=7 {
        scene.act(who, [])?;
        scene.wait(Check::LostWake, "a wake that is due", || *wakes.lock() >= round)?;
    }
    let late = scene.judged(who, |record| record.late_wakes());
    let judged = !scene.is_real() || late >= Some(5);
    scene.ensure(
        Check::EarlyWake,
        judged,
        format!("{late:?} of 7 wakes were late as they had to be"),
    )
}

/// What the loop knew of the time before it went to sleep is of no use after.
pub(crate) fn an_input_after_an_idle_time_is_told_the_time(scene: &mut Scene) -> Act {
    let ((a, at_a), (b, at_b)) = (scene.listener()?, scene.listener()?);
    let (ab, _) = scene.connect((a, &at_a), (b, &at_b))?;
    for round in 1..=4 {
        scene.pass(ms(80));
        let actions = [datagram(scene, b)];
        scene.act(a, actions)?;
        let datagrams = || at_b.count(|e| matches!(e, Event::Datagram { .. }));
        scene.wait(Check::Datagram, "a datagram", || datagrams() == round)?;

        scene.pass(ms(80));
        scene.act(a, [send(ab, vec![0; 10])])?;
        let ba = at_b.opened()[0];
        scene.wait(Check::Bytes, "ten bytes", || at_b.len(ba) == round * 10)?;

        scene.pass(ms(80));
        scene.connect((a, &at_a), (b, &at_b))?;
    }
    let idle = scene.judged(b, |record| record.idle_inputs());
    let judged = !scene.is_real() || idle >= Some(9);
    scene.ensure(Check::Unmet, judged, format!("{idle:?} of 12 inputs came after an idle time"))
}

/// Nothing happens: a link is open, and another has bytes that nobody wants yet.
pub(crate) fn an_idle_machine_is_left_alone(scene: &mut Scene) -> Act {
    let ((a, at_a), (b, at_b)) = (scene.listener()?, scene.listener()?);
    let (ab, ba) = scene.connect((a, &at_a), (b, &at_b))?;
    scene.connect((a, &at_a), (b, &at_b))?;
    scene.act(b, [Action::SetRead { link: ba, on: false }])?;
    scene.rest(b)?;
    scene.act(a, [send(ab, vec![0; 1_000])])?;
    scene.settle()?;
    scene.pass(ms(50));
    let events = || at_a.count(|_| true) + at_b.count(|_| true);
    let polls = |scene: &Scene| scene.judged(b, |record| record.polls()).unwrap_or(0);
    let (began, before, asked) = (scene.elapsed(), events(), polls(scene));
    scene.pass(ms(300));
    let (came, asked) = (events() - before, polls(scene) - asked);
    let span = scene.elapsed() - began;
    scene.ensure(Check::EarlyWake, came == 0, format!("{came} events came from nowhere"))?;
    let is_calm = u128::from(asked) <= span.as_millis() * CALM;
    scene.ensure(Check::Busy, is_calm, format!("polled {asked} times in {span:?} of nothing"))
}

/// The loop goes round without a pause, for the machine writes to itself. Any
/// event that comes when a wake is due stands for it; none may come before.
pub(crate) fn wakes_keep_their_time_beside_traffic(scene: &mut Scene) -> Act {
    let served = Shared::new(0);
    let count = served.clone();
    let mut due = None;
    let who = scene.script(move |now, event, out| {
        if due.is_some_and(|at| at <= now) {
            *count.lock() += 1;
            due = None;
        }
        if *count.lock() < 50 {
            due = due.or(Some(now + ms(2)));
            if let Event::Datagram { from, bytes } = event {
                out.act(Action::SendDatagram { to: *from, bytes: Bytes::copy_from_slice(bytes) });
            }
        }
        out.wake = due;
    })?;
    let actions = [datagram(scene, who)];
    scene.act(who, actions)?;
    scene.wait(Check::Starved, "50 wakes beside traffic", || *served.lock() == 50)
}

/// It always wants to be woken in a microsecond.
pub(crate) fn a_machine_in_a_hurry_still_hears(scene: &mut Scene) -> Act {
    let heard = Shared::new(0);
    let count = heard.clone();
    let hurried = scene.script(move |now, event, out| {
        if let Event::Datagram { .. } = event {
            *count.lock() += 1;
        }
        out.wake = (*count.lock() < 30).then(|| now + Duration::from_micros(1));
    })?;
    let (other, _) = scene.listener()?;
    for n in 1..=30 {
        let actions = [datagram(scene, hurried)];
        scene.act(other, actions)?;
        scene.wait(Check::Starved, "a datagram beside wakes", || *heard.lock() == n)?;
    }
    Ok(())
}

/// Nothing comes back from a datagram: no event helps a driver that has
/// forgotten to ask for the rest.
pub(crate) fn all_is_done_before_the_driver_sleeps(scene: &mut Scene) -> Act {
    const MANY: usize = 60;
    let (to, ear) = scene.listener()?;
    let wanted = datagram(scene, to);
    let woken = Shared::new(false);
    let wake = woken.clone();
    let from = scene.script(move |now, event, out| match event {
        Event::Command { .. } => {
            (0..MANY).for_each(|_| out.act(wanted.clone()));
            out.wake = Some(now + ms(20));
        }
        Event::Wake if out.wake.is_none() => *wake.lock() = true,
        _ => {}
    })?;
    scene.act(from, [])?;
    scene.wait(Check::Datagram, "the datagrams of one command", || {
        *woken.lock() && ear.count(|e| matches!(e, Event::Datagram { .. })) == MANY
    })
}
