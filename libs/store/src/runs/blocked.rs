//! What keeps READY runs from a worker: said for a page of runs at once.

use super::capable::{may_serve, serves};
use super::row::{BlockedBy, RunRow};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::RunId;
use runmesh_domain::limits::Queues;
use runmesh_domain::run::StateName;
use std::collections::HashMap;
use uuid::Uuid;

/// Counted once for each org and each user among the runs, and looked for once for each kind of worker that they want. Limits are
/// of the org's own bounds, or else of the mesh's, and no count goes further than the limit that it is compared with.
const BLOCKED: &str = concat!(
    "WITH asked AS MATERIALIZED (
       SELECT r.id, r.org_id, r.user_id, r.agent_id, r.needs, r.set_aside FROM runs r WHERE r.id = ANY ($1) AND r.state = 'ready'),
     of_org AS MATERIALIZED (
       SELECT m.org_id, m.user_max, m.org_max, (SELECT count(*) FROM (
           SELECT 1 FROM runs x WHERE x.org_id = m.org_id AND x.kind = 'turn' AND x.state = $4 AND x.created_at > '-infinity' LIMIT m.org_max) n) AS running
       FROM (
         SELECT a.org_id, coalesce(o.running_per_user_max, $2::int8) AS user_max, coalesce(o.running_per_org_max, $3::int8) AS org_max
         FROM (SELECT DISTINCT org_id FROM asked) a JOIN orgs o ON o.id = a.org_id) m),
     of_user AS MATERIALIZED (
       SELECT a.org_id, a.user_id, (SELECT count(*) FROM (
           SELECT 1 FROM runs x WHERE x.org_id = a.org_id AND x.user_id = a.user_id AND x.kind = 'turn' AND x.state = 'running' LIMIT o.user_max) n) AS running
       FROM (SELECT DISTINCT org_id, user_id FROM asked) a JOIN of_org o ON o.org_id = a.org_id),
     wants AS MATERIALIZED (
       SELECT r.org_id, r.agent_id, r.needs, EXISTS (
         SELECT 1 FROM worker_sessions s WHERE s.lost_at IS NULL AND ",
    may_serve!(),
    " AND ",
    serves!(),
    ") AS served
       FROM (SELECT DISTINCT org_id, agent_id, needs FROM asked) r)
     SELECT a.id, CASE WHEN a.set_aside <> '' THEN 'aside' WHEN u.running >= o.user_max THEN 'user' WHEN o.running >= o.org_max THEN 'org'
       WHEN NOT w.served THEN 'worker' END AS blocked_by
     FROM asked a JOIN of_org o ON o.org_id = a.org_id JOIN of_user u ON u.org_id = a.org_id AND u.user_id = a.user_id
       JOIN wants w ON w.org_id = a.org_id AND w.agent_id = a.agent_id AND w.needs = a.needs"
);

/// What keeps a READY run from a worker; nothing for a run in another state, or one that is about to be claimed.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn blocked_by(tx: &mut Tx, run: RunId, queues: &Queues) -> Result<Option<BlockedBy>> {
    Ok(look(tx, vec![run.uuid()], queues).await?.remove(&run.uuid()))
}

/// Writes into each of these rows what keeps its run from a worker.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn see_blocked(tx: &mut Tx, rows: &mut [RunRow], queues: &Queues) -> Result<()> {
    let ready = rows.iter().filter(|row| row.run.state.name() == StateName::Ready);
    let ready: Vec<Uuid> = ready.map(|row| row.run.id.uuid()).collect();
    if ready.is_empty() {
        return Ok(());
    }
    let mut blocked = look(tx, ready, queues).await?;
    for row in rows {
        row.blocked_by = blocked.remove(&row.run.id.uuid());
    }
    Ok(())
}

/// What keeps each of these READY runs from a worker; those that nothing keeps are left out.
pub(super) async fn look(tx: &mut Tx, runs: Vec<Uuid>, queues: &Queues) -> Result<HashMap<Uuid, BlockedBy>> {
    let (user_max, org_max) = (i64::from(queues.running_per_user_max), i64::from(queues.running_per_org_max));
    let query = sqlx::query_as(BLOCKED).bind(runs).bind(user_max).bind(org_max);
    let query = query.bind(StateName::Running.name());
    let rows: Vec<(Uuid, Option<String>)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |(run, by): (Uuid, Option<String>)| {
        let by = match by.as_deref()? {
            "user" => BlockedBy::UserLimit,
            "org" => BlockedBy::OrgLimit,
            "aside" => BlockedBy::SetAside,
            _ => BlockedBy::NoCapableWorker,
        };
        Some((run, by))
    };
    Ok(rows.into_iter().filter_map(read).collect())
}
