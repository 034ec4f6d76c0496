//! `runmesh attach`: follow one run, or the turns of a thread.

use super::context::Context;
use super::done::Done;
use super::signals::Signals;
use super::watch::keys::Keys;
use super::watch::screen::Screen;
use super::watch::{self, Watched};
use crate::failure::Failure;
use clap::Args;
use runmesh_client::{Follow, Start, ThreadFollow, ThreadStart};
use runmesh_domain::id::{RunId, ThreadId};

/// Options of `runmesh attach`.
#[derive(Debug, Clone, Args)]
pub struct Attach {
    /// The run.
    #[arg(required_unless_present = "thread", conflicts_with = "thread")]
    run: Option<RunId>,
    /// Instead of a run: all turns of this thread, one after the other, until you leave.
    #[arg(long)]
    thread: Option<ThreadId>,
    /// Only what comes after this cursor; else the run, or the thread's current turn, so far and what follows.
    #[arg(long)]
    cursor: Option<String>,
}

impl Attach {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let Self { run, thread, cursor } = self;
        match (run, thread) {
            (Some(run), _) => {
                let start = cursor.map_or(Start::Snapshot, Start::Cursor);
                follow(context, context.client.follow(run, start), None).await
            }
            (None, Some(thread)) => {
                let start = cursor.map_or(ThreadStart::Snapshot, ThreadStart::Cursor);
                follow_thread(context, context.client.follow_thread(thread, start)).await
            }
            (None, None) => Err(Failure::refused("name a run, or a thread with --thread")),
        }
    }
}

/// Shows the turns of a thread until the person leaves, and says how to come back; well when the thread was deleted.
async fn follow_thread(context: &Context, mut follow: ThreadFollow) -> Result<Done, Failure> {
    let mut signals = Signals::listen()?;
    let mut screen = Screen::new(context.style);
    let watched = watch::thread::watch(context, &mut follow, &mut signals, &mut screen).await?;
    if watched == watch::thread::Watched::Deleted {
        return Ok(Done::Well);
    }
    watch::thread::say_how_to_come_back(context, &follow);
    Ok(Done::Detached)
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
