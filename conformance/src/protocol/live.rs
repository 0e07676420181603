//! Live television, and what may happen to it. Whatever does, no viewer may
//! miss a block.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use eddy_core::node::Node;
use eddy_core::{Action, Command, Event, LinkId, Machine, Output, Time};

use crate::check::Check;
use crate::protocol::mesh::{Mesh, SCARCE};
use crate::scene::{Act, Scene};

pub(crate) fn viewers_join_and_play(scene: &mut Scene) -> Act {
    let mut mesh = Mesh::new(scene)?;
    mesh.join(scene)?;
    mesh.join(scene)?;
    mesh.play_blocks(scene, 25)?;
    mesh.join(scene)?;
    mesh.play_blocks(scene, 50)
}

pub(crate) fn sub_streams_come_from_several_parents(scene: &mut Scene) -> Act {
    let mut mesh = Mesh::with(scene, SCARCE)?;
    // Who comes next finds nobody who has the whole stream to give, or viewers could
    // stand in a row, each with all that the one before has.
    mesh.join_giving_half(scene)?;
    mesh.join(scene)?;
    mesh.play(scene, Check::Unmet, "a viewer with several parents", |mesh, _| {
        mesh.viewers.iter().any(|v| v.view.lock().parents() > 1)
    })?;
    mesh.play_blocks(scene, 25)
}

pub(crate) fn a_parent_that_goes_costs_its_children_nothing(scene: &mut Scene) -> Act {
    let mut mesh = Mesh::with(scene, SCARCE)?;
    for _ in 0..3 {
        mesh.join(scene)?;
    }
    let mut parent = None;
    mesh.play(scene, Check::Unmet, "a viewer with children", |mesh, _| {
        parent = mesh.viewers.iter().find(|v| v.view.lock().stats.children > 0).map(|v| v.who);
        parent.is_some()
    })?;
    if let Some(parent) = parent {
        mesh.kill(scene, parent);
    }
    mesh.play_blocks(scene, 75)
}

/// A viewer that reads a little at a time, slower than the stream.
struct Sip {
    node: Node,
    actions: VecDeque<Action>,
    open: BTreeSet<LinkId>,
    paused: BTreeSet<LinkId>,
    thirsty: Option<Time>,
}

impl Sip {
    /// What comes in smaller pieces is talk, not video.
    const GULP: usize = 2_000;
    const PAUSE: Duration = Duration::from_millis(1_500);
}

impl Machine for Sip {
    fn handle(&mut self, now: Time, event: Event) {
        match &event {
            Event::Opened { link, .. } => drop(self.open.insert(*link)),
            Event::Closed { link } => drop(self.open.remove(link)),
            Event::Received { link, bytes } if bytes.len() > Self::GULP => {
                self.actions.push_back(Action::SetRead { link: *link, on: false });
                self.paused.insert(*link);
                self.thirsty = self.thirsty.or(Some(now + Self::PAUSE));
            }
            _ => {}
        }
        if self.thirsty.is_some_and(|at| at <= now) {
            self.thirsty = None;
            let on = |link| Action::SetRead { link, on: true };
            self.actions.extend(std::mem::take(&mut self.paused).into_iter().map(on));
        }
        self.node.handle(now, event);
    }

    fn poll(&mut self) -> Output {
        while let Some(action) = self.actions.pop_front() {
            if matches!(&action, Action::SetRead { link, .. } if self.open.contains(link)) {
                return Output::Act(action);
            }
        }
        match self.node.poll() {
            Output::Wait(at) => Output::Wait(at.into_iter().chain(self.thirsty).min()),
            Output::Act(Action::Close { link, flush }) => {
                self.open.remove(&link);
                Output::Act(Action::Close { link, flush })
            }
            action => action,
        }
    }
}

fn sip(node: Node) -> Box<dyn Machine + Send> {
    let (actions, none) = (VecDeque::new(), BTreeSet::new);
    Box::new(Sip { node, actions, open: none(), paused: none(), thirsty: None })
}

pub(crate) fn a_slow_child_slows_nobody(scene: &mut Scene) -> Act {
    let mut mesh = Mesh::new(scene)?;
    mesh.join(scene)?;
    let slow = mesh.join_as(scene, sip)?;
    slow.view.lock().may_skip = true;
    mesh.join(scene)?;
    let slow = mesh.viewers.remove(1);
    mesh.play_blocks(scene, 125)?;
    let wrong = slow.view.lock().wrong.clone();
    scene.ensure(Check::Stream, wrong.is_none(), format!("the slow viewer: {wrong:?}"))
}

/// Strangers that say nothing, and strangers that talk nonsense.
pub(crate) fn a_flood_of_connections_drowns_nobody(scene: &mut Scene) -> Act {
    const AT_ONCE: usize = 25;
    const IN_ALL: usize = 400;
    let mut mesh = Mesh::new(scene)?;
    let viewer = mesh.join(scene)?;
    mesh.play_blocks(scene, 10)?;
    let targets = [mesh.server, mesh.provider, viewer.who].map(|who| scene.addr(who));
    let mut dialled = 0;
    let flood = scene.script(move |_, event, out| match event {
        Event::Command { .. } => {
            for to in targets {
                (0..AT_ONCE).for_each(|_| out.dial(to));
            }
        }
        Event::Opened { link, remote, .. } => {
            dialled += 1;
            if dialled % 3 != 0 {
                out.send(*link, Bytes::from_static(&[0x47; 400]));
            }
            if dialled < IN_ALL {
                out.dial(*remote);
            }
        }
        _ => {}
    })?;
    scene.act(flood, [])?;
    mesh.join(scene)?;
    mesh.play_blocks(scene, 75)
}

pub(crate) fn the_bootstrap_server_comes_late(scene: &mut Scene) -> Act {
    let mut mesh = Mesh::dark(scene, None)?;
    let viewer = mesh.join(scene)?;
    mesh.play(scene, Check::Unmet, "a viewer that misses the server", |_, _| {
        viewer.view.lock().was_lost
    })?;
    mesh.light(scene);
    mesh.play_blocks(scene, 25)
}

pub(crate) fn a_viewer_leaves_in_good_order(scene: &mut Scene) -> Act {
    let mut mesh = Mesh::new(scene)?;
    for _ in 0..3 {
        mesh.join(scene)?;
    }
    mesh.play_blocks(scene, 25)?;
    let leaver = mesh.viewers.remove(0);
    let ticket = scene.command(leaver.who, Command::Leave)?;
    mesh.play(scene, Check::Unmet, "the end of the leave", |_, scene| {
        let done = leaver.view.lock().done.contains(&ticket);
        done && scene.judged(leaver.who, |record| record.is_settled()) == Some(true)
    })?;
    mesh.kill(scene, leaver.who);
    mesh.play_blocks(scene, 50)
}
