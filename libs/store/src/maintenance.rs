//! One cheap look at everything that time may have brought, so that an idle replica asks Postgres one question a tick.

use crate::columns::{At, big};
use crate::error::sql;
use crate::sessions::gone;
use crate::tx::Tx;
use runmesh_domain::limits::Leases;
use runmesh_domain::{Result, Timestamp};
use std::time::Duration;

/// What is due. Each is found by an index that holds only such rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The database's clock.
    pub now: Timestamp,
    /// A session is past its lease, or has one that lasts longer than it can, or holds runs that its heartbeat did not name.
    pub lost_leases: bool,
    /// A worker's process is gone: the lock that it held is free.
    pub gone_workers: bool,
    /// A transition is not in its log, or not on the feed.
    pub unpublished: bool,
    /// A pending action is past its window.
    pub expired_actions: bool,
    /// A run is RUNNING a lease after its cancel was acknowledged.
    pub overdue_cancels: bool,
    /// A READY run has waited longer than a run may wait for a worker.
    pub unserved: bool,
}

/// The clock is read in statements of their own: an index takes no bound that changes while it is read.
const DUE: &str = concat!(
    "SELECT clock_timestamp() AS now,
      EXISTS (SELECT 1 FROM worker_sessions WHERE NOT drained AND (lost_at IS NOT NULL OR lease_ends_at < clock_timestamp()
        OR lease_ends_at > clock_timestamp() + lease_ms * interval '1 millisecond' + interval '1 second'
        OR cut_ends_at < clock_timestamp() OR unnamed <> '{}')) AS lost_leases,
      EXISTS (SELECT 1 FROM run_transitions WHERE NOT logged AND cause NOT IN ('accepted', 'promoted')
        AND at < (SELECT clock_timestamp() - $1 * interval '1 millisecond'))
        OR EXISTS (SELECT 1 FROM run_transitions WHERE NOT fed AND at < (SELECT clock_timestamp() - $1 * interval '1 millisecond'))
        AS unpublished,
      (SELECT expires_at FROM pending_actions WHERE state = 'pending' ORDER BY expires_at LIMIT 1) < clock_timestamp() IS TRUE AS expired_actions,
      (SELECT changed_at FROM runs WHERE state = 'ready' AND changed_at > '-infinity' ORDER BY changed_at LIMIT 1)
        < clock_timestamp() - $2 * interval '1 millisecond' IS TRUE AS unserved,
      EXISTS (SELECT 1 FROM runs WHERE state = 'running' AND cancel IS NOT NULL
        AND cancel_at < (SELECT clock_timestamp() - $3 * interval '1 millisecond')) AS overdue_cancels,
      EXISTS (SELECT 1 FROM worker_sessions s WHERE ",
    gone!("$3"),
    ") AS gone_workers"
);

#[derive(sqlx::FromRow)]
struct Row {
    now: At,
    lost_leases: bool,
    gone_workers: bool,
    unpublished: bool,
    expired_actions: bool,
    overdue_cancels: bool,
    unserved: bool,
}

/// What is due now. A transition is left to the replica that committed it for `own_time`. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn due(tx: &mut Tx, leases: &Leases, own_time: Duration) -> Result<Due> {
    let own_ms = u64::try_from(own_time.as_millis()).unwrap_or(u64::MAX);
    let query = sqlx::query_as(DUE).bind(big(own_ms)).bind(big(leases.no_worker_ms));
    let query = query.bind(big(leases.lease_ms));
    let row: Row = query.fetch_one(tx.connection()).await.map_err(sql)?;
    let Row { now, lost_leases, gone_workers, unpublished, expired_actions, overdue_cancels, unserved } = row;
    Ok(Due { now: now.0, lost_leases, gone_workers, unpublished, expired_actions, overdue_cancels, unserved })
}
