//! Following a thread on the command line: each turn shown as a run is, under a line that names it.

use super::render::{Piece, Renderer};
use super::screen::Screen;
use super::{json, token_expired};
use crate::cli::context::Context;
use crate::cli::signals::Signals;
use crate::failure::Failure;
use runmesh_client::{EndReason, ThreadFollow, ThreadUpdate, Update};
use serde_json::json;

/// How following came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// There is no such thread any more.
    Deleted,
    /// The person left; the turns go on.
    Detached,
}

/// Shows `follow` until the person leaves or the thread is deleted.
///
/// # Errors
/// Those of the follower, and those of a closed output.
pub async fn watch(
    context: &Context,
    follow: &mut ThreadFollow,
    signals: &mut Signals,
    screen: &mut Screen,
) -> Result<Watched, Failure> {
    let mut renderer = Renderer::new(screen.is_live());
    let watched = loop {
        let update = tokio::select! {
            update = follow.next() => update,
            () = signals.leave() => break Watched::Detached,
        };
        let Some(update) = update else { break Watched::Deleted };
        match update? {
            ThreadUpdate::Turn { run, turn_number } => {
                renderer = Renderer::new(screen.is_live());
                screen.end_line()?;
                if context.output.json {
                    context.output.value(&json!({"turn": {"run_id": run.to_string(), "turn_number": turn_number}}))?;
                } else {
                    screen.put(&[Piece::Note(format!("turn {turn_number} ({run})"))])?;
                }
            }
            ThreadUpdate::Of(update) => {
                show(context, follow, &update, &mut renderer, screen)?;
                match update {
                    Update::End { reason: EndReason::Finished, .. } => break Watched::Deleted,
                    Update::End { reason: EndReason::TokenExpired, .. } => return Err(token_expired()),
                    _ => {}
                }
            }
        }
    };
    screen.end_line()?;
    Ok(watched)
}

fn show(
    context: &Context,
    follow: &ThreadFollow,
    update: &Update,
    renderer: &mut Renderer,
    screen: &mut Screen,
) -> Result<(), Failure> {
    if context.output.json {
        return Ok(json::of(update).iter().try_for_each(|value| context.output.value(value))?);
    }
    Ok(screen.put(&renderer.take(update, follow.view(), follow.is_whole()))?)
}

/// Tells a person who leaves how to come back.
pub fn say_how_to_come_back(context: &Context, follow: &ThreadFollow) {
    let cursor = follow.cursor().map(|cursor| format!(" --cursor {cursor}")).unwrap_or_default();
    eprintln!("detached; what runs goes on. to come back:");
    eprintln!("  runmesh attach --thread {}{cursor}{}", follow.thread(), context.flags);
}
