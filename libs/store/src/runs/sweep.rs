//! Sweepers: what should have happened already, or never will by itself.

use super::capable::serves;
use super::committed::Committed;
use super::ending;
use super::lock::lock_unless_busy;
use super::transition::{TransitionExtra, transition};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::{RunId, ThreadId};
use runmesh_domain::run::{Command, StateName};
use std::time::Duration;
use uuid::Uuid;

/// The heads of queues that nobody holds.
const FREE_HEADS: &str = "
    SELECT DISTINCT ON (q.thread_id) q.id FROM runs q WHERE q.state = 'queued' AND NOT EXISTS (
      SELECT 1 FROM runs h WHERE h.thread_id = q.thread_id AND h.state IN ('ready', 'running', 'waiting'))
    ORDER BY q.thread_id, q.turn_number LIMIT $1";
const HOLDER: &str = "SELECT EXISTS (SELECT 1 FROM runs WHERE thread_id = $1 AND state IN ('ready', 'running', 'waiting'))";
/// A session's end is remembered for longer than a run waits by default, so one that restarts is not a worker that is missing.
const UNSERVED: &str = concat!(
    "SELECT r.id FROM runs r JOIN orgs o ON o.id = r.org_id
    WHERE r.state = 'ready' AND r.changed_at < clock_timestamp() - $1 * interval '1 second'
      AND (o.deleted_at IS NOT NULL OR NOT EXISTS (
        SELECT 1 FROM worker_sessions s
        WHERE (s.lost_at IS NULL OR s.lost_at > clock_timestamp() - $1 * interval '1 second') AND ",
    serves!(),
    ")) ORDER BY r.changed_at LIMIT $2"
);

/// Promotes the head of every free thread. It should never find one: every end promotes in its own transaction. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn promote_free_threads(tx: &mut Tx, limit: u32) -> Result<Vec<Committed>> {
    let query = sqlx::query_scalar(FREE_HEADS).bind(i64::from(limit));
    let heads: Vec<Uuid> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut committed = Vec::new();
    for head in heads {
        let Some(locked) = lock_unless_busy(tx, RunId::from_uuid(head)).await? else { continue };
        // Looked at again under the thread's lock: the first look was at another moment.
        let thread = locked.row.run.thread;
        if locked.row.run.state.name() != StateName::Queued || holds(tx, thread).await? {
            continue;
        }
        if let Some(row) = ending::head(tx, thread).await? {
            committed.extend(ending::promote(tx, row, locked.now).await?);
        }
    }
    Ok(committed)
}

async fn holds(tx: &mut Tx, thread: ThreadId) -> Result<bool> {
    sqlx::query_scalar(HOLDER).bind(thread.uuid()).fetch_one(tx.connection()).await.map_err(sql)
}

/// Fails runs that were READY for so long while there was no worker that could take them. One that waits for room, because
/// its user or org has as many runs going as allowed or every worker is busy, goes on waiting. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn fail_unserved(tx: &mut Tx, older_than: Duration, limit: u32) -> Result<Vec<Committed>> {
    let query = sqlx::query_scalar(UNSERVED).bind(older_than.as_secs_f64()).bind(i64::from(limit));
    let found: Vec<Uuid> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut committed = Vec::new();
    for run in found {
        let Some(locked) = lock_unless_busy(tx, RunId::from_uuid(run)).await? else { continue };
        if locked.now.since(locked.row.changed_at) < older_than {
            continue;
        }
        let changes = locked.row.run.decide(&Command::GiveUpWaiting)?;
        committed.extend(transition(tx, locked, &changes, TransitionExtra::default()).await?.1);
    }
    Ok(committed)
}
