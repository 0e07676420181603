//! What went by, and those who come for it. The provider remembers three
//! seconds and has no disk: all else is with the viewers.

use std::time::Duration;

use eddy_core::{Command, Position};

use crate::check::Check;
use crate::protocol::mesh::{BLOCK, BUFFER, Mesh, Viewer};
use crate::scene::{Act, Scene};

/// How far back somebody wants to go.
const BACK: Duration = Duration::from_secs(5);
/// Of these, what nobody but a disk remembers.
const ON_DISK: Duration = Duration::from_secs(1);

/// Two viewers watch for a while; then one comes for what went by.
fn latecomer(scene: &mut Scene) -> Act<(Mesh, Viewer)> {
    let mut mesh = Mesh::keeping(scene)?;
    mesh.join(scene)?;
    mesh.join(scene)?;
    mesh.play_blocks(scene, 160)?;
    let late = mesh.join_at(scene, Position::Ago(BACK))?;
    mesh.play(scene, Check::Stream, "the first packet of the past", |mesh, _| {
        mesh.behind(&late).is_some()
    })?;
    // Held against the encoder: a live viewer of a busy machine plays seconds behind it.
    let behind = mesh.behind(&late).unwrap_or_default();
    scene.ensure(Check::Stream, behind >= BUFFER + ON_DISK, format!("it begins {behind:?} ago"))?;
    Ok((mesh, late))
}

pub(crate) fn what_went_by_is_played_from_other_viewers(scene: &mut Scene) -> Act {
    let (mut mesh, late) = latecomer(scene)?;
    mesh.play_blocks(scene, 50)?;
    mesh.play(scene, Check::Unmet, "blocks of the past from other viewers", |_, _| {
        BLOCK.saturating_mul(late.view.lock().stats.shift.peer as u32) >= ON_DISK
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
