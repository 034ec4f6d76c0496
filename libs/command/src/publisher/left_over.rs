//! Publishing from the rows: what the replica that committed it did not publish, because it died, was at its bound, or could not
//! reach the bus.

use super::Publisher;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use runmesh_bus::CaughtUp;
use runmesh_domain::id::RunId;
use runmesh_domain::log::Position;
use runmesh_domain::run::{RunIds, StateName};
use runmesh_domain::transition::Transition;
use runmesh_domain::{Result, Timestamp};
use runmesh_store::outbox::{self, Found, Slice};
use runmesh_store::runs::{self, LogRows};
use runmesh_store::{Command, Tx};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Rows of one look.
const BATCH: u32 = 200;
/// Parts of the runs. Replicas begin at different ones, so that they seldom publish the same.
const SLICES: u32 = 8;
/// How long one round of publishing may take; a server that hangs takes all of it.
const PUBLISHING: Duration = Duration::from_secs(5);
/// Runs that are published at once.
const PUBLISHED_AT_ONCE: usize = 8;
/// Runs that fail one after the other before a round is given up: the bus is the cause then.
const FAILURES_MAX: usize = 8;

/// How far a look came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// There was nothing that it did not take.
    All,
    /// There may be more.
    Some,
    /// The bus cannot be reached.
    InVain,
}

/// Where the looks at a part of the runs came to: transitions made up to then were found, whatever became of them.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    log: Option<Timestamp>,
    feed: Option<Timestamp>,
}

/// What became of the runs of one look.
#[derive(Debug, Default)]
struct Tried {
    published: AtomicUsize,
    failed_in_a_row: AtomicUsize,
    failed: Mutex<Vec<RunId>>,
}

impl Publisher {
    /// Publishes transitions that are not marked, until there are no more: those of the log that are older than `own_time`, and
    /// those of the feed. It takes a few runs at a time, for a while at most. A run that fails is left out for a while; when
    /// several fail one after the other, the rest is left to the next call.
    ///
    /// # Errors
    /// [`runmesh_domain::Fault`] when the rows cannot be read.
    pub async fn publish_left_over(&self, own_time: Duration) -> Result<()> {
        let older_than_ms = u64::try_from(own_time.as_millis()).unwrap_or(u64::MAX);
        let Ok(looked) = tokio::time::timeout(PUBLISHING, self.publish_all(older_than_ms)).await else {
            tracing::debug!("publishing what is left over takes long, the next round goes on");
            return Ok(());
        };
        looked
    }

    async fn publish_all(&self, older_than_ms: u64) -> Result<()> {
        if self.publish_slice(older_than_ms, (0, 1), &mut Reached::default()).await? != Looked::Some {
            return Ok(());
        }
        let first = u32::from(Uuid::now_v7().as_bytes()[15]);
        for nth in (0..SLICES).map(|slice| (first + slice) % SLICES) {
            let mut reached = Reached::default();
            loop {
                match self.publish_slice(older_than_ms, (nth, SLICES), &mut reached).await? {
                    Looked::Some => {}
                    Looked::All => break,
                    Looked::InVain => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// One look at a part of the runs, from where the last look at it came to.
    async fn publish_slice(&self, older_than_ms: u64, (nth, of): (u32, u32), reached: &mut Reached) -> Result<Looked> {
        let slice = |after| Slice { nth, of, except: self.failing.at(Instant::now()), after };
        let Found { items: unlogged, reached: log } =
            self.db.run_background(FindUnlogged { older_than_ms, slice: slice(reached.log) }).await?;
        let Found { items: unfed, reached: feed } = self.db.run_background(FindUnfed { slice: slice(reached.feed) }).await?;
        let is_all = log.is_none() && feed.is_none();
        *reached = Reached { log: log.or(reached.log), feed: feed.or(reached.feed) };
        let logs = unlogged.into_iter().map(|(ids, _)| (ids.id, self.catch_up(ids.id).boxed()));
        let feeds = by_run(unfed).into_iter().map(|(ids, transitions)| (ids.id, self.feed(ids, transitions).boxed()));
        let left: Vec<(RunId, BoxFuture<'_, Result<()>>)> = logs.chain(feeds).collect();
        let tried = &Tried::default();
        stream::iter(left).for_each_concurrent(PUBLISHED_AT_ONCE, |(run, publish)| self.try_one(run, publish, tried)).await;
        // Where nothing was published, the bus may be the cause, and no run is to wait for it longer than the bus is away.
        if tried.published.load(Ordering::Relaxed) > 0 {
            let failed = std::mem::take(&mut *tried.failed.lock().unwrap_or_else(PoisonError::into_inner));
            failed.into_iter().for_each(|run| self.failing.failed(run, Instant::now()));
        }
        Ok(match tried.failed_in_a_row.load(Ordering::Relaxed) {
            failed if failed >= FAILURES_MAX => Looked::InVain,
            _ if is_all => Looked::All,
            _ => Looked::Some,
        })
    }

    async fn try_one(&self, run: RunId, publish: BoxFuture<'_, Result<()>>, tried: &Tried) {
        if tried.failed_in_a_row.load(Ordering::Relaxed) >= FAILURES_MAX {
            return;
        }
        match publish.await {
            Ok(()) => {
                tried.published.fetch_add(1, Ordering::Relaxed);
                tried.failed_in_a_row.store(0, Ordering::Relaxed);
                self.failing.succeeded(run);
            }
            Err(error) => {
                tried.failed_in_a_row.fetch_add(1, Ordering::Relaxed);
                tried.failed.lock().unwrap_or_else(PoisonError::into_inner).push(run);
                tracing::debug!(%run, %error, "a run was not published, a later round will");
            }
        }
    }

    /// Publishes the run's oldest transitions that the feed has not got.
    async fn feed(&self, ids: RunIds, transitions: Vec<Transition>) -> Result<()> {
        let Some(version) = transitions.last().map(|transition| transition.version) else { return Ok(()) };
        self.bus.feed().publish_oldest(ids, &transitions).await?;
        self.marks.fed(ids.id, version);
        // The process that committed them hinted at nothing, and woke no worker when one made the run READY.
        self.hint_threads(transitions.iter().map(|transition| (ids, transition)), None);
        if transitions.last().is_some_and(|last| last.to == StateName::Ready) {
            self.wake(Some(ids.org));
        }
        Ok(())
    }

    /// Publishes in the run's log every transition and every step that it lacks.
    ///
    /// # Errors
    /// [`runmesh_domain::Fault`] when the rows cannot be read or the bus cannot be reached.
    pub async fn catch_up(&self, run: RunId) -> Result<()> {
        let rows = self.log_rows(run, false).await?;
        let Some(version) = rows.transitions.last().map(|(row, _)| row.version) else { return Ok(()) };
        match self.bus.log().try_catch_up(rows.ids.into(), &rows.known(), None).await? {
            CaughtUp::Yes(_) => {}
            CaughtUp::Lacks(_) => {
                let rows = self.log_rows(run, true).await?;
                self.bus.log().catch_up(rows.ids, &rows.known()).await?;
            }
        }
        self.marks.logged(run, version);
        Ok(())
    }

    async fn log_rows(&self, run: RunId, with_journal: bool) -> Result<LogRows> {
        let read = self.db.run_background(ReadForLog { run, with_journal }).await;
        if let Err(error) = &read {
            runs::note_aside(&self.db, run, error).await;
        }
        read
    }
}

struct FindUnlogged {
    older_than_ms: u64,
    slice: Slice,
}

impl Command for FindUnlogged {
    type Answer = Found<(RunIds, Position)>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        outbox::unlogged(tx, self.older_than_ms, self.slice.clone(), BATCH).await
    }
}

struct FindUnfed {
    slice: Slice,
}

impl Command for FindUnfed {
    type Answer = Found<(RunIds, Transition)>;

    async fn run(&self, tx: &mut Tx) -> Result<Self::Answer> {
        outbox::unfed(tx, self.slice.clone(), BATCH).await
    }
}

struct ReadForLog {
    run: RunId,
    with_journal: bool,
}

impl Command for ReadForLog {
    type Answer = LogRows;

    async fn run(&self, tx: &mut Tx) -> Result<LogRows> {
        runs::log_rows(tx, self.run, 0, self.with_journal).await
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
