//! A heartbeat: one row written, whatever number of runs it renews.

use crate::columns::big;
use crate::db::Db;
use crate::error::sql;
use futures::FutureExt as _;
use runmesh_domain::Result;
use runmesh_domain::id::{RunId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::principal::WorkerCredential;
use uuid::Uuid;

/// What a worker hears of its heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beat {
    /// False when the session is over for good.
    pub ok: bool,
    /// False when the lease was not lengthened: the session's Claim stream was seen to break.
    pub is_renewed: bool,
    /// Runs of those named whose lease is gone: all of them when the session is over.
    pub lost: Vec<RunId>,
    /// Runs of those named that are to be canceled.
    pub cancel: Vec<RunId>,
}

/// Compares what the worker says that it holds with what it does hold, and renews the session unless it is dead. A cut lease
/// is lengthened only under a newer stream number. Runs that it holds and should have named are written down for the reaper; one
/// that was claimed in what is the future now was claimed before the clock was set back.
const BEAT: &str = "
    WITH held AS (SELECT * FROM unnest($4::uuid[], $5::int8[]) AS h(id, fence)),
    mine AS (SELECT id, fence, cancel IS NOT NULL AS cancel_requested, claimed_at FROM runs WHERE session_id = $1 AND state = 'running'),
    news AS MATERIALIZED (
      SELECT coalesce(h.id, m.id) AS id, m.id IS NULL AS is_lost, h.id IS NULL AS is_unnamed
      FROM held h FULL JOIN mine m ON m.id = h.id AND m.fence = h.fence
      WHERE m.id IS NULL OR (h.id IS NOT NULL AND m.cancel_requested)
        OR (h.id IS NULL AND (m.claimed_at < clock_timestamp() - $6 * interval '1 millisecond'
          OR m.claimed_at > clock_timestamp() + interval '1 second'))),
    beat AS (
      UPDATE worker_sessions s SET heartbeat_at = clock_timestamp(),
        lease_ends_at = CASE WHEN s.cut_number IS NULL OR $3 > s.cut_number
          THEN clock_timestamp() + $7 * interval '1 millisecond' ELSE s.lease_ends_at END,
        lease_ms = $7,
        cut_ends_at = CASE WHEN $3 > s.cut_number THEN NULL ELSE s.cut_ends_at END,
        cut_number = CASE WHEN $3 > s.cut_number THEN NULL ELSE s.cut_number END,
        unnamed = ARRAY(SELECT id FROM news WHERE is_unnamed)
      WHERE s.id = $1 AND s.credential_digest = $2 AND s.lost_at IS NULL
      RETURNING s.cut_number IS NULL AS is_renewed)
    SELECT EXISTS (SELECT 1 FROM beat) AS ok, coalesce((SELECT is_renewed FROM beat), false) AS is_renewed, ARRAY(SELECT id FROM news WHERE is_lost) AS lost,
      ARRAY(SELECT id FROM news WHERE NOT is_lost AND NOT is_unnamed) AS cancel";

#[derive(sqlx::FromRow)]
struct Row {
    ok: bool,
    is_renewed: bool,
    lost: Vec<Uuid>,
    cancel: Vec<Uuid>,
}

/// Renews a session's lease for every run it holds, on connections kept for nothing else.
///
/// # Errors
/// [`runmesh_domain::Fault`] only: a session that is over is an answer, not an error.
pub async fn heartbeat(
    db: &Db,
    session: SessionId,
    credential: &WorkerCredential,
    stream_number: i64,
    held: Vec<(RunId, u64)>,
    leases: &Leases,
) -> Result<Beat> {
    let all: Vec<RunId> = held.iter().map(|(run, _)| *run).collect();
    let credential = credential.digest().0.to_vec();
    let (runs, fences): (Vec<Uuid>, Vec<i64>) = held.into_iter().map(|(run, fence)| (run.uuid(), big(fence))).unzip();
    let (lease, two_beats) = (big(leases.lease_ms), big(leases.heartbeat_ms.saturating_mul(2)));
    let beat = db.beat(move |tx| {
        let query = sqlx::query_as(BEAT)
            .bind(session.uuid())
            .bind(credential.clone())
            .bind(stream_number)
            .bind(runs.clone())
            .bind(fences.clone())
            .bind(two_beats)
            .bind(lease);
        async move { query.fetch_one(tx.connection()).await.map_err(sql) }.boxed()
    });
    let Row { ok, is_renewed, lost, cancel } = beat.await?;
    if !ok {
        return Ok(Beat { ok, is_renewed, lost: all, cancel: Vec::new() });
    }
    let runs = |ids: Vec<Uuid>| ids.into_iter().map(RunId::from_uuid).collect();
    Ok(Beat { ok, is_renewed, lost: runs(lost), cancel: runs(cancel) })
}
