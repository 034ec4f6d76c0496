//! Sweepers: what should have happened already, or never will by itself.

use super::aside::sweep_one;
use super::capable::{may_serve, serves};
use super::committed::Committed;
use super::ending;
use super::lock::lock_unless_busy;
use super::transition::{TransitionExtra, transition};
use crate::columns::{At, int};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::run::{Command, StateName};
use runmesh_domain::{Result, Timestamp};
use std::time::Duration;
use uuid::Uuid;

/// Up to `$2` threads with a queue, from the one after `$1` on, each with the head of its queue when nobody holds it. Skips from
/// thread to thread, whatever waits on each.
const FREE_HEADS: &str = "
    WITH RECURSIVE waiting(thread_id, nth) AS (
      (SELECT q.thread_id, 1 FROM runs q WHERE q.kind = 'turn' AND q.state = 'queued' AND q.thread_id > $1 ORDER BY q.thread_id LIMIT 1)
      UNION ALL
      SELECT (SELECT q.thread_id FROM runs q WHERE q.kind = 'turn' AND q.state = 'queued' AND q.thread_id > w.thread_id ORDER BY q.thread_id LIMIT 1),
        w.nth + 1
      FROM waiting w WHERE w.thread_id IS NOT NULL AND w.nth < $2)
    SELECT w.thread_id, CASE WHEN (
        SELECT h.id FROM runs h WHERE h.thread_id = w.thread_id AND h.kind = 'turn' AND h.state IN ('ready', 'running', 'waiting')
      ) IS NULL
      THEN (SELECT q.id FROM runs q WHERE q.thread_id = w.thread_id AND q.kind = 'turn' AND q.state = 'queued' ORDER BY q.rank LIMIT 1)
      END AS head
    FROM waiting w WHERE w.thread_id IS NOT NULL ORDER BY w.nth";
const HOLDER: &str =
    "SELECT EXISTS (SELECT 1 FROM runs WHERE thread_id = $1 AND kind = 'turn' AND state IN ('ready', 'running', 'waiting'))";
/// Up to `$2` runs that are READY for so long, the longest first, from behind `$3, $4` on, and whether anybody serves them. A
/// session's end is remembered for longer than a run waits by default, so one that restarts is not a worker that is missing. Runs
/// of one kind are asked about once. The clock is read in a statement of its own, here and elsewhere: an index takes no bound that
/// changes while it is read.
const UNSERVED: &str = concat!(
    "WITH old AS MATERIALIZED (
       SELECT id, org_id, agent_id, needs, changed_at FROM runs
       WHERE state = 'ready' AND set_aside = '' AND changed_at > '-infinity' AND changed_at < (SELECT clock_timestamp() - $1 * interval '1 second')
         AND (changed_at, id) > ($3, $4) ORDER BY changed_at, id LIMIT $2),
     kinds AS MATERIALIZED (SELECT DISTINCT org_id, agent_id, needs FROM old),
     served AS MATERIALIZED (
       SELECT org_id, agent_id, needs FROM kinds r WHERE
         EXISTS (SELECT 1 FROM worker_sessions s WHERE s.lost_at IS NULL AND ",
    may_serve!(),
    " AND ",
    serves!(),
    ") OR EXISTS (SELECT 1 FROM worker_sessions s WHERE s.lost_at > (SELECT clock_timestamp() - $1 * interval '1 second') AND ",
    may_serve!(),
    " AND ",
    serves!(),
    "))
     SELECT r.id, r.changed_at, o.deleted_at IS NOT NULL OR NOT EXISTS (
         SELECT 1 FROM served s WHERE s.org_id = r.org_id AND s.agent_id = r.agent_id AND s.needs = r.needs) AS is_unserved
     FROM old r JOIN orgs o ON o.id = r.org_id ORDER BY r.changed_at, r.id"
);

/// Where the next look for free threads begins. The default is the first thread; a look that reached the last begins there again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FreeThreadsFrom(Uuid);

/// Where the next look for unserved runs begins. The default is the run that waits longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnservedFrom(Timestamp, Uuid);

impl Default for UnservedFrom {
    fn default() -> Self {
        Self(Timestamp::from_micros(0), Uuid::nil())
    }
}

/// Promotes the heads of the free threads among the next `limit` with a queue, and says where the next look begins. It should never
/// find one: every end promotes in its own transaction. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn promote_free_threads(tx: &mut Tx, from: FreeThreadsFrom, limit: u32) -> Result<(Vec<Committed>, FreeThreadsFrom)> {
    let query = sqlx::query_as(FREE_HEADS).bind(from.0).bind(int(limit));
    let threads: Vec<(Uuid, Option<Uuid>)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let next = if threads.len() < limit as usize { None } else { threads.last() };
    let next = next.map(|(thread, _)| FreeThreadsFrom(*thread)).unwrap_or_default();
    let mut committed = Vec::new();
    for head in threads.into_iter().filter_map(|(_, head)| head) {
        let head = RunId::from_uuid(head);
        committed.extend(sweep_one(tx, head, async |tx| promote_head(tx, head).await).await?.unwrap_or_default());
    }
    Ok((committed, next))
}

/// Promotes the head of a thread's queue, unless the thread is held by now, or busy: the next sweep will see.
async fn promote_head(tx: &mut Tx, head: RunId) -> Result<Vec<Committed>> {
    let Some(locked) = lock_unless_busy(tx, head).await? else { return Ok(Vec::new()) };
    // Looked at again under the thread's lock: the first look was at another moment.
    let thread = locked.row.run.thread;
    if locked.row.run.state.name() != StateName::Queued || holds(tx, thread).await? {
        return Ok(Vec::new());
    }
    match ending::head(tx, thread).await? {
        Some(row) => ending::promote(tx, row, locked.next_place, locked.now).await,
        None => Ok(Vec::new()),
    }
}

async fn holds(tx: &mut Tx, thread: ThreadId) -> Result<bool> {
    sqlx::query_scalar(HOLDER).bind(thread.uuid()).fetch_one(tx.connection()).await.map_err(sql)
}

/// Fails runs that were READY for so long while there was no worker that could take them, among the next `limit` of those that were
/// READY for so long, and says where the next look begins. One that waits for room, because its user or org has as many runs going
/// as allowed or every worker is busy, goes on waiting. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn fail_unserved(
    tx: &mut Tx,
    older_than: Duration,
    from: UnservedFrom,
    limit: u32,
) -> Result<(Vec<Committed>, UnservedFrom)> {
    let query = sqlx::query_as(UNSERVED).bind(older_than.as_secs_f64()).bind(i64::from(limit)).bind(At(from.0)).bind(from.1);
    let old: Vec<(Uuid, At, bool)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let next = if old.len() < limit as usize { None } else { old.last() };
    let next = next.map(|(id, at, _)| UnservedFrom(at.0, *id)).unwrap_or_default();
    let mut committed = Vec::new();
    for run in old.into_iter().filter_map(|(run, _, is_unserved)| is_unserved.then_some(run)) {
        let run = RunId::from_uuid(run);
        committed.extend(sweep_one(tx, run, async |tx| fail_one(tx, run, older_than).await).await?.unwrap_or_default());
    }
    Ok((committed, next))
}

async fn fail_one(tx: &mut Tx, run: RunId, older_than: Duration) -> Result<Vec<Committed>> {
    let Some(locked) = lock_unless_busy(tx, run).await? else { return Ok(Vec::new()) };
    if locked.now.since(locked.row.changed_at) < older_than {
        return Ok(Vec::new());
    }
    let changes = locked.row.run.decide(&Command::GiveUpWaiting)?;
    Ok(transition(tx, locked, &changes, TransitionExtra::default()).await?.1)
}
