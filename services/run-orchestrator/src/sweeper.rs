//! What time brings: lost leases, transitions that nobody published, threads that nobody promoted, questions that nobody
//! answered, runs that nobody serves. One cheap look a tick says what is due; only then is anything done.

use crate::mesh::Mesh;
use runmesh_domain::id::RunId;
use runmesh_domain::run::RunIds;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Error, Result};
use runmesh_host::Lifecycle;
use runmesh_store::maintenance::{self, Due};
use runmesh_store::{ClockGuard, Scope, Tx, actions, idempotency, outbox, runs, sessions};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rows of one sweep.
const BATCH: u32 = 200;
/// A committed transition is its replica's to publish for this long.
const OWN_TIME: Duration = Duration::from_millis(500);
/// What the reaper leaves of the lease of a process that is gone, and a little more.
const GONE_LEASE: Duration = Duration::from_millis(270);
/// Ticks between looks for threads that nobody promoted.
const FREE_THREADS_EVERY: u64 = 10;
/// Ticks between purges of what is old.
const PURGE_EVERY: u64 = 600;

/// Starts the loop.
pub fn start(mesh: &Mesh, life: &Lifecycle) {
    let mesh = mesh.clone();
    let ticks = Arc::new(AtomicU64::new(0));
    let clock = Arc::new(Mutex::new(ClockGuard::default()));
    life.spawn_loop("sweeper", mesh.leases.reaper(), move || {
        let (mesh, clock) = (mesh.clone(), Arc::clone(&clock));
        let tick = ticks.fetch_add(1, Ordering::Relaxed);
        async move { mesh.sweep(tick, &clock).await }
    });
}

impl Mesh {
    async fn sweep(&self, tick: u64, clock: &Mutex<ClockGuard>) -> Result<()> {
        let leases = self.leases;
        let look_for_free = tick.is_multiple_of(FREE_THREADS_EVERY);
        let due =
            self.system(move |tx| Box::pin(async move { maintenance::due(tx, &leases, OWN_TIME, look_for_free).await })).await?;
        let Due { now, lost_leases, gone_workers, unpublished, free_threads, expired_actions, unserved } = due;
        // Asked every tick, so that it compares neighbours.
        let steady = clock.lock().unwrap_or_else(PoisonError::into_inner).is_steady(now, Instant::now());
        if (lost_leases || gone_workers) && steady {
            self.reap().await?;
        }
        if gone_workers && steady {
            // Their runs are free a moment after they were found to be gone.
            tokio::time::sleep(GONE_LEASE).await;
            self.reap().await?;
        }
        if unpublished {
            self.publish_left_over().await?;
        }
        if free_threads {
            self.promote().await?;
        }
        if expired_actions {
            self.tell(self.system(|tx| Box::pin(async move { actions::expire_due(tx, BATCH).await })).await?);
        }
        if unserved {
            let older = Duration::from_millis(leases.no_worker_ms);
            self.tell(self.system(move |tx| Box::pin(async move { runs::fail_unserved(tx, older, BATCH).await })).await?);
        }
        if tick % PURGE_EVERY == PURGE_EVERY - 1 {
            self.system(|tx| Box::pin(async move { idempotency::purge(tx, BATCH).await })).await?;
            self.system(|tx| Box::pin(async move { sessions::purge(tx, BATCH).await })).await?;
        }
        Ok(())
    }

    /// Takes back the runs whose leases are over.
    pub async fn reap(&self) -> Result<()> {
        let leases = self.leases;
        let lost = self.system(move |tx| Box::pin(async move { runs::reap(tx, &leases, BATCH).await })).await?;
        for (run, committed) in lost {
            tracing::info!(%run, "lease lost");
            self.tell(committed);
        }
        Ok(())
    }

    /// A thread that is free while turns wait on it: whoever ended its last run should have promoted the next.
    async fn promote(&self) -> Result<()> {
        let promoted = self.system(|tx| Box::pin(async move { runs::promote_free_threads(tx, BATCH).await })).await?;
        for row in &promoted {
            tracing::warn!(run = %row.ids.id, "a free thread had not been promoted");
        }
        self.tell(promoted);
        Ok(())
    }

    /// Publishes what the replica that committed it did not.
    async fn publish_left_over(&self) -> Result<()> {
        let own_ms = u64::try_from(OWN_TIME.as_millis()).unwrap_or(u64::MAX);
        let runs = self.system(move |tx| Box::pin(async move { outbox::unlogged(tx, own_ms, BATCH).await })).await?;
        for (ids, _) in runs {
            self.catch_up(ids).await?;
        }
        let unfed = self.system(|tx| Box::pin(async move { outbox::unfed(tx, BATCH).await })).await?;
        for (ids, transitions) in by_run(unfed) {
            let Some(version) = transitions.last().map(|transition| transition.version) else { continue };
            match self.bus.feed().publish_oldest(ids, &transitions).await {
                Ok(()) => self.marks.fed(ids.id, version),
                Err(error) => tracing::debug!(run = %ids.id, %error, "feed not reached, next time"),
            }
        }
        Ok(())
    }

    /// Brings one log up to its run.
    async fn catch_up(&self, ids: RunIds) -> Result<()> {
        let run = ids.id;
        let (position, ids, rows) = self.system(move |tx| Box::pin(async move { runs::catch_up_rows(tx, run, 0).await })).await?;
        let Some(version) = rows.last().map(|(row, _)| row.version) else { return Ok(()) };
        match self.bus.log().catch_up(ids, position, &rows).await {
            Ok(_) => self.marks.logged(run, version),
            Err(error) => tracing::debug!(%run, %error, "log not caught up, next time"),
        }
        Ok(())
    }

    /// One transaction over all orgs.
    pub async fn system<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx) -> futures::future::BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        self.db.tx(Scope::System, work).await
    }
}

fn by_run(rows: Vec<(RunIds, Transition)>) -> Vec<(RunIds, Vec<Transition>)> {
    let mut runs: BTreeMap<RunId, (RunIds, Vec<Transition>)> = BTreeMap::new();
    for (ids, transition) in rows {
        runs.entry(ids.id).or_insert_with(|| (ids, Vec::new())).1.push(transition);
    }
    runs.into_values().collect()
}
