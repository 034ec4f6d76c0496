//! Who works for an org.

use crate::columns::{At, count, small};
use crate::error::sql;
use crate::page;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::run::StateName;
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

/// Sessions that may serve the org, newest first: of those that serve it alone, and of those that serve every org, a page each;
/// and those that serve several orgs, which few do, until a page of them serves this one. Ended ones are shown for ten leases:
/// long enough to see that a worker died.
macro_rules! of_org {
    ($serves:literal) => {
        concat!(
            "(SELECT * FROM worker_sessions WHERE lost_at IS NULL AND serves_org = ", $serves, " AND (orgs IS NULL OR $1 = ANY (orgs))
              ORDER BY opened_at DESC, id DESC LIMIT $3)
             UNION ALL
             (SELECT * FROM worker_sessions WHERE lost_at IS NOT NULL AND serves_org = ", $serves, "
                AND lost_at > (SELECT clock_timestamp() - 10 * $2 * interval '1 millisecond') AND (orgs IS NULL OR $1 = ANY (orgs))
              ORDER BY lost_at DESC LIMIT $3)"
        )
    };
}
/// The org's RUNNING runs are counted once for all sessions: they are no more than its limit. The state is a parameter, so that no
/// index of running runs of every org is taken for the way in.
const LIST: &str = concat!(
    "WITH sessions AS MATERIALIZED (
       SELECT * FROM (",
    of_org!("$1"),
    " UNION ALL ",
    of_org!("'00000000-0000-0000-0000-000000000000'"),
    " UNION ALL ",
    of_org!("'ffffffff-ffff-ffff-ffff-ffffffffffff'"),
    ") s ORDER BY s.opened_at DESC, s.id DESC LIMIT $3),
     held AS MATERIALIZED (
       SELECT session_id, count(*) AS run_count FROM runs WHERE org_id = $1 AND state = $4 AND created_at > '-infinity'
       GROUP BY session_id)
     SELECT s.id, s.worker, s.lost_at IS NULL AS live, s.capacity, s.opened_at,
       s.heartbeat_at, coalesce(h.run_count, 0) AS run_count
     FROM sessions s LEFT JOIN held h ON h.session_id = s.id ORDER BY s.opened_at DESC, s.id DESC"
);

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
    let query = query.bind(StateName::Running.name());
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
