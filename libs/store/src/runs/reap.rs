//! Taking runs back from sessions that are gone.

use super::committed::Committed;
use super::lock::lock_unless_busy;
use super::recover;
use super::transition::transition;
use crate::columns::{big, count};
use crate::error::sql;
use crate::sessions::gone;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::RunId;
use runmesh_domain::limits::Leases;
use runmesh_domain::run::Command;
use uuid::Uuid;

/// Sessions past their lease are lost for good. A lost session is looked at until a minute after its end nothing is left of
/// it: a claim that was under way at the end has committed by then.
const LOSE: &str = "
    WITH lost AS (
      UPDATE worker_sessions SET lost_at = clock_timestamp() WHERE id IN (
        SELECT id FROM worker_sessions WHERE NOT drained AND lost_at IS NULL AND lease_ends_at <= clock_timestamp()
        FOR UPDATE SKIP LOCKED))
    UPDATE worker_sessions s SET drained = true WHERE id IN (
      SELECT id FROM worker_sessions WHERE NOT drained AND lost_at < clock_timestamp() - interval '1 minute'
      FOR UPDATE SKIP LOCKED)
      AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.session_id = s.id AND r.state = 'running')";

/// Sessions whose process is gone are cut, as by a stream that was seen to break; a little time is left to the last words that
/// are under way.
const CUT_GONE: &str = concat!(
    "UPDATE worker_sessions SET cut_number = stream_number,
       cut_ends_at = least(lease_ends_at, clock_timestamp() + interval '250 milliseconds')
     WHERE id IN (SELECT s.id FROM worker_sessions s WHERE ",
    gone!("$1"),
    " FOR UPDATE SKIP LOCKED)"
);

/// RUNNING runs to take back: of lost sessions; of cut ones, when nothing unsafe is under way; and those that a live
/// session should have named in its last heartbeat and did not.
const FIND: &str = "
    SELECT r.id, r.fence, s.lost_at IS NULL AND s.cut_ends_at <= clock_timestamp() AS is_cut
    FROM worker_sessions s JOIN runs r ON r.session_id = s.id AND r.state = 'running'
    WHERE NOT s.drained AND (
      s.lost_at IS NOT NULL
      OR (s.cut_ends_at <= clock_timestamp() AND NOT EXISTS (
        SELECT 1 FROM calls c WHERE c.run_id = r.id AND c.state IN ('dispatched', 'unknown') AND NOT c.idempotent))
      OR (r.id = ANY (s.unnamed) AND r.claimed_at < s.heartbeat_at - $1 * interval '1 millisecond'))
    ORDER BY r.claimed_at LIMIT $2";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    fence: i64,
    is_cut: Option<bool>,
}

/// Takes back the runs of sessions that are gone, at most `limit` of them: each goes through recovery. Attempts ended by a cut
/// do not count against the cap. Scope System. Not to be called in a tick in which the database's clock jumped (see
/// [`crate::ClockGuard`]). Any number of replicas may reap at once.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn reap(tx: &mut Tx, leases: &Leases, limit: u32) -> Result<Vec<(RunId, Vec<Committed>)>> {
    sqlx::query(LOSE).execute(tx.connection()).await.map_err(sql)?;
    sqlx::query(CUT_GONE).bind(big(leases.lease_ms)).execute(tx.connection()).await.map_err(sql)?;
    let query = sqlx::query_as(FIND).bind(big(leases.heartbeat_ms.saturating_mul(2))).bind(i64::from(limit));
    let found: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut reaped = Vec::new();
    for Row { id, fence, is_cut } in found {
        let run = RunId::from_uuid(id);
        let is_cut = is_cut == Some(true);
        if let Some(committed) = lose(tx, run, count(fence), is_cut).await? {
            reaped.push((run, committed));
        }
    }
    Ok(reaped)
}

/// Takes one run back; nothing when it moved on meanwhile, or when its thread is busy: the next tick will see.
async fn lose(tx: &mut Tx, run: RunId, fence: u64, is_cut: bool) -> Result<Option<Vec<Committed>>> {
    let Some(locked) = lock_unless_busy(tx, run).await? else { return Ok(None) };
    if locked.row.run.check_holder(fence).is_err() {
        return Ok(None);
    }
    let (ask, extra) = recover::ask(tx, &locked).await?;
    if is_cut && ask.is_some() {
        // A call was dispatched since: the run keeps its whole lease.
        return Ok(None);
    }
    let changes = locked.row.run.decide(&Command::LoseLease { fence, ask, counts: !is_cut })?;
    let (_, committed) = transition(tx, locked, &changes, extra).await?;
    Ok(Some(committed))
}
