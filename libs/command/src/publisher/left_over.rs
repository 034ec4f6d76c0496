//! Publishing from the rows: what the replica that committed it did not publish, because it died, was at its bound, or could not
//! reach the bus.

use super::Publisher;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use runmesh_domain::Result;
use runmesh_domain::id::RunId;
use runmesh_domain::log::Position;
use runmesh_domain::run::RunIds;
use runmesh_domain::transition::Transition;
use runmesh_store::{Command, Scope, Tx, outbox, runs};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Rows of one round.
const BATCH: u32 = 200;
/// How long one round of publishing may take; a server that hangs takes all of it.
const PUBLISHING: Duration = Duration::from_secs(5);
/// Runs that are published at once.
const PUBLISHED_AT_ONCE: usize = 8;
/// Runs that fail before a round is given up: more than a few that cannot be published for reasons of their own.
const FAILURES_MAX: usize = 8;

impl Publisher {
    /// Publishes transitions that are not marked: those of the log that are older than `own_time`, and those of the feed. It takes
    /// a few runs at a time, for a while at most, and gives up once several failed, because then the runs are not the cause. What is
    /// left is found by the next call.
    ///
    /// # Errors
    /// [`runmesh_domain::Fault`] when the rows cannot be read.
    pub async fn publish_left_over(&self, own_time: Duration) -> Result<()> {
        let older_than_ms = u64::try_from(own_time.as_millis()).unwrap_or(u64::MAX);
        let unlogged = self.db.run(Scope::System, FindUnlogged { older_than_ms }).await?;
        let unfed = self.db.run(Scope::System, FindUnfed).await?;
        let logs = unlogged.into_iter().map(|(ids, _)| self.catch_up(ids.id).boxed());
        let feeds = by_run(unfed).into_iter().map(|(ids, transitions)| self.feed(ids, transitions).boxed());
        let left: Vec<BoxFuture<'_, Result<()>>> = logs.chain(feeds).collect();
        let failed = &AtomicUsize::new(0);
        let all = stream::iter(left).for_each_concurrent(PUBLISHED_AT_ONCE, |publish| async move {
            if failed.load(Ordering::Relaxed) < FAILURES_MAX
                && let Err(error) = publish.await
            {
                failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "a run was not published, the next round will");
            }
        });
        if tokio::time::timeout(PUBLISHING, all).await.is_err() {
            tracing::debug!("publishing what is left over takes long, the next round goes on");
        }
        Ok(())
    }

    /// Publishes the run's oldest transitions that the feed has not got.
    async fn feed(&self, ids: RunIds, transitions: Vec<Transition>) -> Result<()> {
        let Some(version) = transitions.last().map(|transition| transition.version) else { return Ok(()) };
        self.bus.feed().publish_oldest(ids, &transitions).await?;
        self.marks.fed(ids.id, version);
        Ok(())
    }

    /// Publishes in the run's log every transition that it lacks.
    ///
    /// # Errors
    /// [`runmesh_domain::Fault`] when the rows cannot be read or the bus cannot be reached.
    pub async fn catch_up(&self, run: RunId) -> Result<()> {
        let read = self.db.run(Scope::System, FindTransitions { run }).await;
        if let Err(error) = &read {
            runs::note_aside(&self.db, run, error).await;
        }
        let (position, ids, rows) = read?;
        let Some(version) = rows.last().map(|(row, _)| row.version) else { return Ok(()) };
        self.bus.log().catch_up(ids, position, &rows).await?;
        self.marks.logged(run, version);
        Ok(())
    }
}

struct FindUnlogged {
    older_than_ms: u64,
}

impl Command for FindUnlogged {
    type Answer = Vec<(RunIds, Position)>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        outbox::unlogged(tx, self.older_than_ms, BATCH).await
    }
}

struct FindUnfed;

impl Command for FindUnfed {
    type Answer = Vec<(RunIds, Transition)>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        outbox::unfed(tx, BATCH).await
    }
}

struct FindTransitions {
    run: RunId,
}

impl Command for FindTransitions {
    type Answer = (Position, RunIds, Vec<(Transition, bool)>);

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        runs::catch_up_rows(tx, self.run, 0).await
    }
}

/// The transitions of each run, in order of version.
fn by_run(rows: Vec<(RunIds, Transition)>) -> Vec<(RunIds, Vec<Transition>)> {
    let mut runs: BTreeMap<RunId, (RunIds, Vec<Transition>)> = BTreeMap::new();
    for (ids, transition) in rows {
        runs.entry(ids.id).or_insert_with(|| (ids, Vec::new())).1.push(transition);
    }
    let in_order = |(ids, mut transitions): (RunIds, Vec<Transition>)| {
        transitions.sort_unstable_by_key(|transition| transition.version);
        (ids, transitions)
    };
    runs.into_values().map(in_order).collect()
}
