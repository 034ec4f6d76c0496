//! Following a run on the command line: updates in, text or JSON out, keys and signals heard meanwhile.

mod json;
pub mod keys;
mod render;
pub mod screen;
pub mod thread;

use super::context::Context;
use crate::failure::Failure;
use futures::FutureExt as _;
use futures::future::{self, BoxFuture};
use keys::{Key, Keys};
use render::{Piece, Renderer};
use runmesh_client::pb::run::Run;
use runmesh_client::{ClientError, EndReason, Follow, Update};
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::run::StateName;
use screen::Screen;

/// How following came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// The run ended so, as far as is known.
    Ended(Option<StateName>),
    /// The person left; the run goes on.
    Detached,
}

impl Watched {
    /// True when the run did what was asked.
    pub fn is_completed(self) -> bool {
        self == Self::Ended(Some(StateName::Completed))
    }
}

/// Shows `follow` until the run ends or the person leaves.
///
/// # Errors
/// Those of the follower, and those of a closed output.
pub async fn watch(context: &Context, follow: &mut Follow, keys: &mut Keys<'_>, screen: &mut Screen) -> Result<Watched, Failure> {
    let mut renderer = Renderer::new(screen.is_live());
    let mut canceling: Option<BoxFuture<'static, Result<Run, ClientError>>> = None;
    screen.set_raw(keys.is_raw());
    let result = loop {
        tokio::select! {
            update = follow.next() => {
                let Some(update) = update else { break Ok(Watched::Ended(None)) };
                let update = match update {
                    Ok(update) => update,
                    Err(error) => break Err(error.into()),
                };
                if let Err(error) = show(context, follow, &update, &mut renderer, screen) {
                    break Err(error);
                }
                if let Some(watched) = ended(follow, &update) {
                    break watched;
                }
            }
            key = keys.next() => match key {
                Key::Leave => break Ok(Watched::Detached),
                Key::Cancel if canceling.is_none() => {
                    screen.put(&[Piece::Note("canceling".to_owned())])?;
                    canceling = Some(cancel(context, follow.run()));
                }
                Key::Cancel => {}
            },
            answer = answer_of(&mut canceling) => {
                canceling = None;
                if let Err(error) = answer {
                    screen.put(&[Piece::Bad(format!("cannot cancel: {error}"))])?;
                }
            }
        }
    };
    screen.end_line()?;
    screen.set_raw(false);
    result
}

fn cancel(context: &Context, run: RunId) -> BoxFuture<'static, Result<Run, ClientError>> {
    let client = context.client.clone();
    async move { client.cancel_run(run).await }.boxed()
}

async fn answer_of(canceling: &mut Option<BoxFuture<'static, Result<Run, ClientError>>>) -> Result<Run, ClientError> {
    match canceling {
        Some(canceling) => canceling.await,
        None => future::pending().await,
    }
}

fn show(
    context: &Context,
    follow: &Follow,
    update: &Update,
    renderer: &mut Renderer,
    screen: &mut Screen,
) -> Result<(), Failure> {
    if context.output.json {
        for value in json::of(update) {
            context.output.value(&value)?;
        }
        return Ok(());
    }
    Ok(screen.put(&renderer.take(update, follow.view(), follow.is_whole()))?)
}

fn ended(follow: &Follow, update: &Update) -> Option<Result<Watched, Failure>> {
    let Update::End { reason, state } = update else { return None };
    Some(match reason {
        EndReason::Finished => Ok(Watched::Ended(follow.view().finished.as_ref().map(|finished| finished.state).or(*state))),
        EndReason::TokenExpired => Err(token_expired()),
    })
}

fn token_expired() -> Failure {
    Failure::refused("the token has expired; what runs goes on")
        .with_hint("get a new token; in development `runmesh token` prints one")
}

/// Tells a person who leaves how to come back: to the run, and to the thread when it is known.
pub fn say_how_to_come_back(context: &Context, follow: &Follow, thread: Option<ThreadId>) {
    let cursor = follow.cursor().map(|cursor| format!(" --cursor {cursor}")).unwrap_or_default();
    eprintln!("detached; the run goes on. to come back:");
    eprintln!("  runmesh attach {}{cursor}{}", follow.run(), context.flags);
    if let Some(thread) = thread {
        eprintln!("  runmesh chat --thread {thread}{}", context.flags);
    }
}
