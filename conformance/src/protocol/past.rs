//! What went by, and those who come for it. The provider remembers three
//! seconds and has no disk: all else is with the viewers.

use std::time::Duration;

use eddy_core::{Command, Position};

use crate::check::Check;
use crate::protocol::mesh::{Mesh, Viewer};
use crate::scene::{Act, Scene};

/// How far back somebody wants to go.
const BACK: Duration = Duration::from_secs(5);
/// Of these, what nobody but a disk remembers: a second, in blocks.
const ON_DISK: u64 = 25;

/// Two viewers watch for a while; then one comes for what went by.
fn latecomer(scene: &mut Scene) -> Act<(Mesh, Viewer)> {
    let mut mesh = Mesh::keeping(scene)?;
    let live = mesh.join(scene)?;
    mesh.join(scene)?;
    mesh.play_blocks(scene, 160)?;
    let late = mesh.join_at(scene, Position::Ago(BACK))?;
    mesh.play(scene, Check::Stream, "the first block of the past", |_, _| {
        late.view.lock().blocks > 0
    })?;
    // Before, it would be an edge that a busy machine has left behind at the join.
    let edge = live.view.lock().next;
    let first = late.view.lock().first;
    let is_old = first.zip(edge).is_some_and(|(first, edge)| first.plus(75 + ON_DISK) <= edge);
    scene.ensure(Check::Stream, is_old, format!("it began at {first:?}, the edge was {edge:?}"))?;
    Ok((mesh, late))
}

pub(crate) fn what_went_by_is_played_from_other_viewers(scene: &mut Scene) -> Act {
    let (mut mesh, late) = latecomer(scene)?;
    mesh.play_blocks(scene, 50)?;
    mesh.play(scene, Check::Unmet, "blocks of the past from other viewers", |_, _| {
        late.view.lock().stats.shift.peer >= ON_DISK
    })
}

pub(crate) fn the_past_plays_on_without_the_provider(scene: &mut Scene) -> Act {
    let (mut mesh, late) = latecomer(scene)?;
    // What the provider took with it can be had nowhere.
    mesh.viewers.iter().filter(|v| v.who != late.who).for_each(|v| v.view.lock().may_skip = true);
    mesh.fall_silent(scene);
    let before = late.view.lock().blocks;
    mesh.play(scene, Check::Stream, "two seconds more of the past", |_, _| {
        late.view.lock().blocks >= before + 50
    })
}

/// Longer than anybody's buffer: what comes after it was on disk meanwhile.
pub(crate) fn a_pause_costs_no_block(scene: &mut Scene) -> Act {
    let mut mesh = Mesh::keeping(scene)?;
    let viewer = mesh.join(scene)?;
    mesh.join(scene)?;
    mesh.play_blocks(scene, 25)?;
    let pause = scene.command(viewer.who, Command::Pause)?;
    mesh.play(scene, Check::Unmet, "a pause", |_, _| viewer.view.lock().done.contains(&pause))?;
    let (paused, until) = (viewer.view.lock().blocks, scene.elapsed() + Duration::from_secs(4));
    mesh.play(scene, Check::Unmet, "the end of a pause", |_, scene| scene.elapsed() >= until)?;
    let blocks = viewer.view.lock().blocks;
    scene.ensure(Check::Stream, blocks == paused, format!("{} in a pause", blocks - paused))?;
    scene.command(viewer.who, Command::Play)?;
    mesh.play_blocks(scene, 50)
}
