//! What time brings: lost leases, transitions that nobody published, threads that nobody promoted, questions that nobody
//! answered, runs that nobody serves. One cheap look a tick says what is due; only then is anything done.

use crate::commands::sweeps::{CountAside, CountDeadRows, ExpireActions, FailUnserved, FindDue, PromoteFreeThreads};
use crate::metrics;
use crate::reaper::Reaper;
use opentelemetry::metrics::Gauge;
use runmesh_command::{AfterCommit, OWN_TIME, Publisher};
use runmesh_domain::Result;
use runmesh_domain::limits::Leases;
use runmesh_host::Lifecycle;
use runmesh_store::Db;
use runmesh_store::runs::{Committed, FreeThreadsFrom, UnservedFrom};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Rows of one sweep.
const BATCH: u32 = 200;
/// Ticks between looks for what there should never be: threads that nobody promoted, runs of sessions that are not there.
const NOW_AND_THEN: u64 = 10;
/// Threads that one look for those that nobody promoted goes by.
const THREADS: u32 = 1_000;
/// Runs that were set aside are counted up to this.
const ASIDE_COUNTED_MAX: u32 = 10_000;
/// Autovacuum begins at 2,000 dead rows of runs, so this many mean that it cannot remove them.
const DEAD_ROWS_MAX: u64 = 50_000;
/// Between purges of what is old.
const PURGE_EVERY: Duration = Duration::from_secs(10);
/// How long one purge may go on; what is left then is the next one's.
const PURGING: Duration = Duration::from_secs(5);

/// Sweeps the rows of all orgs.
pub struct Sweeper {
    db: Db,
    publisher: Publisher,
    reaper: Reaper,
    leases: Leases,
    ticks: AtomicU64,
    /// Where the next look for threads that nobody promoted begins.
    free_threads: Mutex<FreeThreadsFrom>,
    /// Where the next look for runs that nobody serves begins.
    unserved: Mutex<UnservedFrom>,
    /// Raised when rows are to be published.
    unpublished: Notify,
    /// Runs that were set aside.
    set_aside: Gauge<u64>,
    /// Row versions of runs that vacuum could not remove, and whether the log says so already.
    dead_rows: Gauge<u64>,
    dead_rows_logged: AtomicBool,
}

/// Starts the loops. Publishing has one of its own: while NATS does not answer, leases must be looked at all the same. So has
/// purging, which may take its time.
pub fn start(sweeper: Sweeper, life: &Lifecycle) {
    let sweeper = Arc::new(sweeper);
    let (publishing, soft) = (Arc::clone(&sweeper), life.soft().clone());
    life.spawn("publisher", async move {
        while soft.run_until_cancelled(publishing.unpublished.notified()).await.is_some() {
            if let Err(error) = publishing.publisher.publish_left_over(OWN_TIME).await {
                tracing::warn!(%error, "transitions that nobody published could not be read, the next tick tries again");
            }
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let db = sweeper.db.clone();
    life.spawn_loop("purge", PURGE_EVERY, move || {
        let db = db.clone();
        async move { purge(&db).await }
    });
    life.spawn_loop("sweeper", sweeper.leases.reaper(), move || {
        let sweeper = Arc::clone(&sweeper);
        async move { sweeper.sweep().await }
    });
}

impl Sweeper {
    /// A sweeper before its first tick.
    pub fn new(db: Db, publisher: Publisher, reaper: Reaper, leases: Leases) -> Self {
        let meter = opentelemetry::global::meter("runmesh-run-orchestrator");
        Self {
            db,
            publisher,
            reaper,
            leases,
            ticks: AtomicU64::new(0),
            free_threads: Mutex::default(),
            unserved: Mutex::default(),
            unpublished: Notify::new(),
            set_aside: meter.u64_gauge(metrics::RUNS_SET_ASIDE).build(),
            dead_rows: meter.u64_gauge(metrics::RUNS_DEAD_ROWS).build(),
            dead_rows_logged: AtomicBool::new(false),
        }
    }

    async fn sweep(&self) -> Result<()> {
        let now_and_then = self.ticks.fetch_add(1, Ordering::Relaxed).is_multiple_of(NOW_AND_THEN);
        // Every tick, so that it compares neighbours.
        self.db.watch_clock(&self.leases).await?;
        let due = self.db.run_background(FindDue { leases: self.leases }).await?;
        if due.unpublished {
            self.unpublished.notify_one();
        }
        // One that fails keeps no other from its turn.
        let chores = [
            when(due.lost_leases || due.gone_workers, self.reaper.reap()).await,
            when(due.gone_workers, self.reaper.reap_gone()).await,
            when(due.overdue_cancels || now_and_then, self.reaper.reap_hung()).await,
            when(now_and_then, self.reaper.reap_orphans()).await,
            when(now_and_then, self.promote()).await,
            when(due.expired_actions, self.expire()).await,
            when(due.unserved, self.give_up()).await,
            when(now_and_then, self.count_aside()).await,
            when(now_and_then, self.count_dead_rows()).await,
        ];
        chores.into_iter().collect()
    }

    /// A thread that is free while turns wait on it: whoever ended its last run should have promoted the next.
    async fn promote(&self) -> Result<()> {
        let from = *self.free_threads.lock().unwrap_or_else(PoisonError::into_inner);
        let (promoted, next) = self.db.run_background(PromoteFreeThreads { from, limit: THREADS }).await?;
        *self.free_threads.lock().unwrap_or_else(PoisonError::into_inner) = next;
        for row in &promoted {
            tracing::warn!(run = %row.ids.id, "a free thread had not been promoted");
        }
        self.publish(promoted);
        Ok(())
    }

    /// Ends the wait for people who did not decide in time.
    async fn expire(&self) -> Result<()> {
        self.publish(self.db.run_background(ExpireActions { limit: BATCH }).await?);
        Ok(())
    }

    /// Ends runs that nobody serves.
    async fn give_up(&self) -> Result<()> {
        let older = Duration::from_millis(self.leases.no_worker_ms);
        let from = *self.unserved.lock().unwrap_or_else(PoisonError::into_inner);
        let (failed, next) = self.db.run_background(FailUnserved { older, from, limit: BATCH }).await?;
        *self.unserved.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.publish(failed);
        Ok(())
    }

    /// Reports how many runs wait for an operator.
    async fn count_aside(&self) -> Result<()> {
        let aside = self.db.run_background(CountAside { most: ASIDE_COUNTED_MAX }).await?;
        self.set_aside.record(aside, &[]);
        Ok(())
    }

    /// Warns once when vacuum falls behind: the cause is a transaction or a dump of somebody else that stays open.
    async fn count_dead_rows(&self) -> Result<()> {
        let dead_rows = self.db.run_background(CountDeadRows).await?;
        self.dead_rows.record(dead_rows, &[]);
        let too_many = dead_rows > DEAD_ROWS_MAX;
        if too_many && !self.dead_rows_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                dead_rows,
                "vacuum cannot remove old versions of runs, and claims get slower: end the oldest transaction in pg_stat_activity"
            );
        }
        if dead_rows < DEAD_ROWS_MAX / 2 {
            self.dead_rows_logged.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn publish(&self, transitions: Vec<Committed>) {
        self.publisher.publish(AfterCommit::of(transitions));
    }
}

/// Forgets what nobody needs any more.
async fn purge(db: &Db) -> Result<()> {
    let purged = runmesh_store::purge(db, PURGING).await?;
    if purged.left {
        tracing::warn!(keys = purged.keys, sessions = purged.sessions, "purging takes longer than it may, the rest next time");
    }
    Ok(())
}

async fn when(is_due: bool, chore: impl Future<Output = Result<()>>) -> Result<()> {
    if is_due { chore.await } else { Ok(()) }
}
