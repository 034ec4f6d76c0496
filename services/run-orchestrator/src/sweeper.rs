//! What time brings: lost leases, transitions that nobody published, threads that nobody promoted, questions that nobody
//! answered, runs that nobody serves. One cheap look a tick says what is due; only then is anything done.

use crate::mesh::Mesh;
use runmesh_domain::log::Position;
use runmesh_domain::run::RunIds;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Error, Result};
use runmesh_host::Lifecycle;
use runmesh_store::maintenance::{self, Due};
use runmesh_store::{Scope, Tx, actions, idempotency, outbox, runs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Rows of one sweep.
const BATCH: u32 = 200;
/// A committed transition is its replica's to publish for this long.
const OWN_TIME: Duration = Duration::from_millis(500);
/// Ticks between purges of old idempotency keys.
const PURGE_EVERY: u64 = 600;

/// Starts the loop.
pub fn start(mesh: &Mesh, life: &Lifecycle) {
    let mesh = mesh.clone();
    let ticks = Arc::new(AtomicU64::new(0));
    let clock = Arc::new(Clock::default());
    life.spawn_loop("sweeper", mesh.leases.reaper(), move || {
        let (mesh, clock) = (mesh.clone(), Arc::clone(&clock));
        let tick = ticks.fetch_add(1, Ordering::Relaxed);
        async move { mesh.sweep(tick, &clock).await }
    });
}

/// Tells a tick in which the database's clock jumped against ours.
#[derive(Debug, Default)]
struct Clock(std::sync::Mutex<Option<(runmesh_domain::Timestamp, std::time::Instant)>>);

impl Clock {
    /// True when the database's clock went on as ours did since the last tick, give or take a second.
    fn is_steady(&self, now: runmesh_domain::Timestamp) -> bool {
        let here = std::time::Instant::now();
        let before = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace((now, here));
        before.is_none_or(|(then, there)| {
            let (theirs, ours) = (now.since(then), here.duration_since(there));
            theirs.abs_diff(ours) < Duration::from_secs(1)
        })
    }
}

impl Mesh {
    async fn sweep(&self, tick: u64, clock: &Clock) -> Result<()> {
        let leases = self.leases;
        let due = self.system(move |tx| Box::pin(async move { maintenance::due(tx, &leases, OWN_TIME).await })).await?;
        let Due { now, lost_leases, unpublished, free_threads, expired_actions, unserved } = due;
        if lost_leases && clock.is_steady(now) {
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
        let own = OWN_TIME;
        let left = self.system(move |tx| Box::pin(async move { outbox::unpublished(tx, own, BATCH).await })).await?;
        for run in left {
            let outbox::Unpublished { ids, position, rows, first_unfed } = run;
            self.publish_run(ids, position, rows, first_unfed).await;
        }
        Ok(())
    }

    async fn publish_run(&self, ids: RunIds, position: Position, rows: Vec<(Transition, bool)>, first_unfed: Option<u64>) {
        let Some(version) = rows.last().map(|(row, _)| row.version) else { return };
        match self.bus.log().catch_up(ids, position, &rows).await {
            Ok(_) => self.marks.logged(ids.id, version),
            Err(error) => tracing::debug!(run = %ids.id, %error, "log not caught up, next time"),
        }
        let Some(first) = first_unfed else { return };
        let unfed: Vec<_> = rows.into_iter().map(|(row, _)| row).filter(|row| row.version >= first).collect();
        match self.bus.feed().publish(ids, &unfed).await {
            Ok(()) => self.marks.fed(ids.id, version),
            Err(error) => tracing::debug!(run = %ids.id, %error, "feed not reached, next time"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Timestamp;

    #[test]
    fn a_jump_of_the_database_clock_is_noticed_once() {
        let clock = Clock::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert!(clock.is_steady(at(100)));
        assert!(clock.is_steady(at(100)));
        assert!(!clock.is_steady(at(200)));
        assert!(clock.is_steady(at(200)));
    }
}
