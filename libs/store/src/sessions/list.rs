//! Who works for an org.

use crate::columns::{At, count, small};
use crate::error::sql;
use crate::page;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::{Result, Timestamp};
use uuid::Uuid;

/// A worker session as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its id.
    pub session: SessionId,
    /// Its name for people.
    pub worker: String,
    /// True until it is known to be lost.
    pub live: bool,
    /// Runs that it drives at once at most.
    pub capacity: u32,
    /// Runs of the org that it drives now.
    pub run_count: u64,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its last heartbeat came.
    pub heartbeat_at: Timestamp,
}

/// Ended sessions are shown for ten leases: long enough to see that a worker died.
const LIST: &str = "
    SELECT s.id, s.worker, s.lost_at IS NULL AS live, s.capacity, s.opened_at,
      s.heartbeat_at,
      (SELECT count(*) FROM runs r WHERE r.session_id = s.id AND r.state = 'running' AND r.org_id = $1) AS run_count
    FROM worker_sessions s WHERE (s.orgs IS NULL OR $1 = ANY (s.orgs))
      AND s.heartbeat_at > clock_timestamp() - 10 * $2 * interval '1 millisecond'
    ORDER BY s.opened_at DESC, s.id DESC LIMIT $3";

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    worker: String,
    live: bool,
    capacity: i32,
    opened_at: At,
    heartbeat_at: At,
    run_count: i64,
}

/// Worker sessions that may serve an org, newest first; ended ones for ten leases more.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn list(tx: &mut Tx, org: OrgId, leases: &Leases, limit: u32) -> Result<Vec<WorkerRow>> {
    let lease = crate::columns::big(leases.lease_ms);
    let query = sqlx::query_as(LIST).bind(org.uuid()).bind(lease).bind(i64::from(page::size(limit)));
    let rows: Vec<Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |row: Row| WorkerRow {
        session: SessionId::from_uuid(row.id),
        worker: row.worker,
        live: row.live,
        capacity: small(row.capacity),
        run_count: count(row.run_count),
        opened_at: row.opened_at.0,
        heartbeat_at: row.heartbeat_at.0,
    };
    Ok(rows.into_iter().map(read).collect())
}
