//! `runmesh attach`: follow one run.

use super::context::Context;
use super::done::Done;
use super::signals::Signals;
use super::watch::keys::Keys;
use super::watch::screen::Screen;
use super::watch::{self, Watched};
use crate::failure::Failure;
use clap::Args;
use runmesh_client::{Follow, Start};
use runmesh_domain::id::{RunId, ThreadId};

/// Options of `runmesh attach`.
#[derive(Debug, Clone, Args)]
pub struct Attach {
    /// The run.
    run: RunId,
    /// Only what comes after this cursor; else the run so far and what follows.
    #[arg(long)]
    cursor: Option<String>,
}

impl Attach {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let start = self.cursor.map_or(Start::Snapshot, Start::Cursor);
        follow(context, context.client.follow(self.run, start), None).await
    }
}

/// Shows a run to its end: well when it completed. Ctrl-C leaves and says how to come back.
pub async fn follow(context: &Context, mut follow: Follow, thread: Option<ThreadId>) -> Result<Done, Failure> {
    let mut signals = Signals::listen()?;
    let mut keys = Keys::of_signals(&mut signals);
    let mut screen = Screen::new(context.style);
    let watched = watch::watch(context, &mut follow, &mut keys, &mut screen).await?;
    if watched == Watched::Detached {
        watch::say_how_to_come_back(context, &follow, thread);
        return Ok(Done::Detached);
    }
    Ok(Done::well_if(watched.is_completed()))
}
