//! What time brings: lost leases, transitions that nobody published, threads that nobody promoted, questions that nobody
//! answered, runs that nobody serves. One cheap look a tick says what is due; only then is anything done.

use crate::mesh::Mesh;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, StreamExt as _};
use runmesh_domain::id::RunId;
use runmesh_domain::run::RunIds;
use runmesh_domain::transition::Transition;
use runmesh_domain::{Error, Result};
use runmesh_host::Lifecycle;
use runmesh_store::runs::{FreeThreadsFrom, Reaped, UnservedFrom};
use runmesh_store::{Db, Scope, Tx, actions, maintenance, outbox, runs};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Rows of one sweep.
const BATCH: u32 = 200;
/// A committed transition is its replica's to publish for this long.
const OWN_TIME: Duration = Duration::from_millis(500);
/// What the reaper leaves of the lease of a process that is gone, and a little more.
const GONE_LEASE: Duration = Duration::from_millis(270);
/// How long one round of publishing may take; a server that hangs takes all of it.
const PUBLISHING: Duration = Duration::from_secs(5);
/// Runs that are published at once.
const PUBLISHED_AT_ONCE: usize = 8;
/// Runs that fail before a round is given up: more than a few that cannot be published for reasons of their own.
const FAILURES_MAX: usize = 8;
/// Ticks between looks for what there should never be: threads that nobody promoted, runs of sessions that are not there.
const NOW_AND_THEN: u64 = 10;
/// Threads that one look for those that nobody promoted goes by.
const THREADS: u32 = 1_000;
/// Between purges of what is old.
const PURGE_EVERY: Duration = Duration::from_secs(10);
/// How long one purge may go on; what is left then is the next one's.
const PURGING: Duration = Duration::from_secs(5);

/// What one tick leaves to the next: how far the looks have come that go round.
#[derive(Debug, Default)]
struct Rounds {
    free_threads: Mutex<FreeThreadsFrom>,
    unserved: Mutex<UnservedFrom>,
}

/// Starts the loops. Publishing has one of its own: while NATS does not answer, leases must be looked at all the same. So has
/// purging, which may take its time.
pub fn start(mesh: &Mesh, life: &Lifecycle) {
    let ticks = Arc::new(AtomicU64::new(0));
    let rounds = Arc::new(Rounds::default());
    let unpublished = Arc::new(Notify::new());
    let (publisher, wanted, soft) = (mesh.clone(), Arc::clone(&unpublished), life.soft().clone());
    life.spawn("publisher", async move {
        while soft.run_until_cancelled(wanted.notified()).await.is_some() {
            if let Err(error) = publisher.publish_left_over().await {
                tracing::warn!(%error, "what is left over was not looked for");
            }
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let db = mesh.db.clone();
    life.spawn_loop("purge", PURGE_EVERY, move || {
        let db = db.clone();
        async move { purge(&db).await }
    });
    let mesh = mesh.clone();
    life.spawn_loop("sweeper", mesh.leases.reaper(), move || {
        let (mesh, rounds, unpublished) = (mesh.clone(), Arc::clone(&rounds), Arc::clone(&unpublished));
        let tick = ticks.fetch_add(1, Ordering::Relaxed);
        async move { mesh.sweep(tick, &rounds, &unpublished).await }
    });
}

impl Mesh {
    async fn sweep(&self, tick: u64, rounds: &Rounds, unpublished: &Notify) -> Result<()> {
        let leases = self.leases;
        let now_and_then = tick.is_multiple_of(NOW_AND_THEN);
        // Every tick, so that it compares neighbours.
        self.db.watch_clock(&leases).await?;
        let due = self.system(move |tx| Box::pin(async move { maintenance::due(tx, &leases, OWN_TIME).await })).await?;
        if due.unpublished {
            unpublished.notify_one();
        }
        // One that fails keeps no other from its turn.
        let chores = [
            when(due.lost_leases || due.gone_workers, self.reap()).await,
            when(due.gone_workers, self.reap_gone()).await,
            when(due.overdue_cancels || now_and_then, self.reap_hung()).await,
            when(now_and_then, self.reap_orphans()).await,
            when(now_and_then, self.promote(rounds)).await,
            when(due.expired_actions, self.expire()).await,
            when(due.unserved, self.give_up(rounds)).await,
        ];
        chores.into_iter().collect()
    }

    /// Takes back the runs whose leases are over, until there are no more. Nothing in a moment in which the database's clock cannot
    /// be trusted: the next tick will see.
    pub async fn reap(&self) -> Result<()> {
        while let Some(reaped) = runs::reap(&self.db, &self.leases, BATCH).await? {
            let is_all = u32::try_from(reaped.len()).is_ok_and(|reaped| reaped < BATCH);
            self.tell_lost(reaped);
            if is_all {
                break;
            }
        }
        Ok(())
    }

    /// Takes back the runs whose workers get nowhere with them.
    async fn reap_hung(&self) -> Result<()> {
        let reaped = runs::reap_hung(&self.db, &self.leases, BATCH).await?;
        for (run, _) in &reaped {
            tracing::warn!(%run, "a worker hung: it did not end a canceled run, or journaled nothing for too long");
        }
        self.tell_lost(reaped);
        Ok(())
    }

    /// Takes back the runs of sessions that are not there.
    async fn reap_orphans(&self) -> Result<()> {
        let reaped = runs::reap_orphans(&self.db, &self.leases, BATCH).await?;
        for (run, _) in &reaped {
            tracing::warn!(%run, "a run belonged to a session that is not there");
        }
        self.tell_lost(reaped);
        Ok(())
    }

    fn tell_lost(&self, reaped: Reaped) {
        for (run, committed) in reaped {
            tracing::info!(%run, "lease lost");
            self.tell(committed);
        }
    }

    /// Takes back the runs of processes that were just found to be gone: they are free a moment after that.
    async fn reap_gone(&self) -> Result<()> {
        tokio::time::sleep(GONE_LEASE).await;
        self.reap().await
    }

    /// A thread that is free while turns wait on it: whoever ended its last run should have promoted the next.
    async fn promote(&self, rounds: &Rounds) -> Result<()> {
        let from = *rounds.free_threads.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = self.system(move |tx| Box::pin(async move { runs::promote_free_threads(tx, from, THREADS).await }));
        let (promoted, next) = looked.await?;
        *rounds.free_threads.lock().unwrap_or_else(PoisonError::into_inner) = next;
        for row in &promoted {
            tracing::warn!(run = %row.ids.id, "a free thread had not been promoted");
        }
        self.tell(promoted);
        Ok(())
    }

    /// Ends the wait for people who did not decide in time.
    async fn expire(&self) -> Result<()> {
        self.tell(self.system(|tx| Box::pin(async move { actions::expire_due(tx, BATCH).await })).await?);
        Ok(())
    }

    /// Ends runs that nobody serves.
    async fn give_up(&self, rounds: &Rounds) -> Result<()> {
        let older = Duration::from_millis(self.leases.no_worker_ms);
        let from = *rounds.unserved.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = self.system(move |tx| Box::pin(async move { runs::fail_unserved(tx, older, from, BATCH).await }));
        let (failed, next) = looked.await?;
        *rounds.unserved.lock().unwrap_or_else(PoisonError::into_inner) = next;
        self.tell(failed);
        Ok(())
    }

    /// Publishes what the replica that committed it did not: a few runs at a time, for a while at most, and no more once several
    /// failed, because then it is not about them. What is left comes up again in the next tick.
    async fn publish_left_over(&self) -> Result<()> {
        let own_ms = u64::try_from(OWN_TIME.as_millis()).unwrap_or(u64::MAX);
        let unlogged = self.system(move |tx| Box::pin(async move { outbox::unlogged(tx, own_ms, BATCH).await })).await?;
        let unfed = self.system(|tx| Box::pin(async move { outbox::unfed(tx, BATCH).await })).await?;
        let logs = unlogged.into_iter().map(|(ids, _)| self.catch_up(ids.id).boxed());
        let feeds = by_run(unfed).into_iter().map(|(ids, transitions)| self.feed(ids, transitions).boxed());
        let left: Vec<BoxFuture<'_, Result<()>>> = logs.chain(feeds).collect();
        let failed = &AtomicUsize::new(0);
        let all = stream::iter(left).for_each_concurrent(PUBLISHED_AT_ONCE, |publish| async move {
            if failed.load(Ordering::Relaxed) < FAILURES_MAX
                && let Err(error) = publish.await
            {
                failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "not published, next time");
            }
        });
        if tokio::time::timeout(PUBLISHING, all).await.is_err() {
            tracing::debug!("publishing what is left over takes long, the rest next time");
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

    /// Brings one log up to its run.
    pub async fn catch_up(&self, run: RunId) -> Result<()> {
        let read = self.system(move |tx| Box::pin(async move { runs::catch_up_rows(tx, run, 0).await })).await;
        if let Err(error) = &read {
            runs::note_aside(&self.db, run, error).await;
        }
        let (position, ids, rows) = read?;
        let Some(version) = rows.last().map(|(row, _)| row.version) else { return Ok(()) };
        self.bus.log().catch_up(ids, position, &rows).await?;
        self.marks.logged(run, version);
        Ok(())
    }

    /// One transaction over all orgs.
    pub async fn system<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Tx) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        self.db.tx(Scope::System, work).await
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
