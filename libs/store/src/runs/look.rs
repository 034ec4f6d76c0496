//! Where a claim may find something: which sessions have room, and which orgs have READY runs and room for them. Locks the orgs;
//! reads no run.

use super::claim::ClaimFor;
use super::pick::claimable;
use super::round::Stretch;
use super::share::Worker;
use crate::columns::int;
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::limits::SHARED_ATTEMPTS_MAX;
use runmesh_domain::run::StateName;
use std::collections::HashMap;
use uuid::Uuid;

/// Orgs with READY runs that one claim goes by. Those at their limit cost it a look at what they run, and the others no more than
/// what is taken of them.
const WALK_MAX: i32 = 256;
/// Orgs that one claim locks: at least, so that a claim of one run finds one where the first orgs have nothing for it, and at most.
const LOCKED_MIN: i32 = 8;
const LOCKED_MAX: i32 = 64;

/// Those of the sessions that live, with what they drive.
const SESSIONS: &str = "
    SELECT s.id, s.orgs, s.agents, s.tools, h.in_hand, h.is_taken FROM worker_sessions s CROSS JOIN LATERAL (
      SELECT count(*) AS in_hand, coalesce(bool_or(x.barren_attempts + x.cut_attempts >= $2), false) AS is_taken
      FROM runs x WHERE x.session_id = s.id AND x.state = 'running') h
    WHERE s.id = ANY ($1) AND s.lost_at IS NULL AND s.cut_ends_at IS NULL";

/// The next org behind `$after` that has READY runs: of all, or else of those that the sessions may serve.
macro_rules! next_org {
    ($after:literal) => {
        concat!(
            "(SELECT r.org_id FROM runs r WHERE $5 AND ",
            claimable!(),
            " AND r.org_id > ",
            $after,
            " AND r.org_id <= $2 ORDER BY r.org_id LIMIT 1)
             UNION ALL
             (SELECT a.org_id FROM allowed a WHERE NOT $5 AND a.org_id > ",
            $after,
            " ORDER BY a.org_id LIMIT 1)"
        )
    };
}

/// Orgs with READY runs, from behind `$1` to `$2`, until `$9` of them have room or `$6` were looked at. Those with room are
/// `wanted`, and locked when nobody else holds them: an org at its limit, or one that is gone, is passed by.
const LOCK_ORGS: &str = concat!(
    "WITH RECURSIVE allowed AS MATERIALIZED (
       SELECT DISTINCT a.org_id FROM (
         SELECT unnest($3::uuid[]) AS org_id
         UNION ALL
         SELECT n.org_id FROM unnest($4::uuid[]) AS agent(id) CROSS JOIN LATERAL (
           SELECT r.org_id FROM runs r WHERE ",
    claimable!(),
    " AND r.agent_id = agent.id LIMIT 1) n) a
       WHERE a.org_id > $1 AND a.org_id <= $2 AND (SELECT r.id FROM runs r WHERE ",
    claimable!(),
    " AND r.org_id = a.org_id LIMIT 1) IS NOT NULL
       ORDER BY a.org_id LIMIT $6),
     walk(org_id, has_room, found, nth) AS (
       SELECT $1::uuid, false, 0, 0
       UNION ALL
       SELECT n.org_id, m.has_room, p.found + m.has_room::int, p.nth + 1
       FROM walk p CROSS JOIN LATERAL (",
    next_org!("p.org_id"),
    ") n LEFT JOIN orgs o ON o.id = n.org_id AND o.deleted_at IS NULL
       CROSS JOIN LATERAL (SELECT CASE WHEN o.id IS NULL THEN 0 ELSE coalesce(o.running_per_org_max, $7::int8) END AS max) b
       CROSS JOIN LATERAL (SELECT b.max > (SELECT count(*) FROM (
           SELECT 1 FROM runs x WHERE x.org_id = n.org_id AND x.kind = 'turn' AND x.state = $8 AND x.created_at > '-infinity'
           LIMIT b.max) c) AS has_room OFFSET 0) m
       WHERE p.found < $9 AND p.nth < $6),
     wanted AS MATERIALIZED (SELECT org_id, nth FROM walk WHERE has_room),
     locked AS (
       SELECT o.id FROM orgs o WHERE o.id IN (SELECT org_id FROM wanted) AND o.deleted_at IS NULL
       FOR NO KEY UPDATE SKIP LOCKED)
     SELECT ARRAY(SELECT id FROM locked) AS locked, ARRAY(SELECT org_id FROM wanted ORDER BY nth) AS wanted,
       (SELECT org_id FROM walk WHERE nth > 0 ORDER BY nth DESC LIMIT 1) AS last,
       (SELECT max(found) >= $9 OR max(nth) >= $6 FROM walk) AS is_cut"
);

/// Waits for one org: for when every org with READY runs and room is in the hands of other claims. They may have looked before the
/// runs were READY.
const WAIT_FOR_ORG: &str = "SELECT id FROM orgs WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";

#[derive(sqlx::FromRow)]
struct SessionRow {
    #[sqlx(flatten)]
    worker: Worker,
    is_taken: bool,
}

#[derive(sqlx::FromRow)]
struct OrgsRow {
    locked: Vec<Uuid>,
    wanted: Vec<Uuid>,
    last: Option<Uuid>,
    is_cut: bool,
}

/// The sessions of a claim.
pub(crate) struct Workers {
    /// Those that take runs, in the order of the claim.
    pub(crate) free: Vec<Worker>,
    /// Those that are dead, or whose Claim stream was seen to break.
    pub(crate) lost: Vec<Uuid>,
}

/// Orgs with READY runs.
pub(crate) struct Orgs {
    /// Those that have room, and are locked now.
    pub(crate) locked: Vec<Uuid>,
    /// Whether others with room were in the hands of other claims, which may have looked before their runs were READY.
    pub(crate) skipped: bool,
    /// What was looked at.
    pub(crate) stretch: Stretch,
}

/// Reads the sessions that the claim is for. One that drives a run which may kill its worker gets nothing beside it.
pub(crate) async fn workers(tx: &mut Tx, wish: &ClaimFor) -> Result<Workers> {
    let ids: Vec<Uuid> = wish.sessions.iter().map(|one| one.session.uuid()).collect();
    let query = sqlx::query_as(SESSIONS).bind(&ids).bind(int(SHARED_ATTEMPTS_MAX));
    let rows: Vec<SessionRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut alive: HashMap<Uuid, SessionRow> = rows.into_iter().map(|row| (row.worker.id, row)).collect();
    let mut workers = Workers { free: Vec::new(), lost: Vec::new() };
    for one in &wish.sessions {
        match alive.remove(&one.session.uuid()) {
            None => workers.lost.push(one.session.uuid()),
            Some(SessionRow { worker, is_taken: false }) if one.credits > 0 => {
                workers.free.push(Worker { credits: one.credits, ..worker });
            }
            Some(_) => {}
        }
    }
    Ok(workers)
}

/// Locks orgs with READY runs and room that the sessions may serve. When every one of them is in other hands, waits for one.
pub(crate) async fn lock_orgs(tx: &mut Tx, wish: &ClaimFor, workers: &[Worker], limit: u32) -> Result<Orgs> {
    let (after, until) = wish.round.bounds();
    let any = workers.iter().any(|worker| worker.orgs.is_none() && worker.agents.is_none());
    let by_org = workers.iter().filter(|worker| !any && worker.agents.is_none()).filter_map(|worker| worker.orgs.as_ref());
    let by_agent = workers.iter().filter(|_| !any).filter_map(|worker| worker.agents.as_ref());
    let query = sqlx::query_as(LOCK_ORGS)
        .bind(after)
        .bind(until)
        .bind(distinct(by_org))
        .bind(distinct(by_agent))
        .bind(any)
        .bind(WALK_MAX)
        .bind(i64::from(int(wish.queues.running_per_org_max)))
        .bind(StateName::Running.name())
        .bind(int(limit).clamp(LOCKED_MIN, LOCKED_MAX));
    let OrgsRow { locked, wanted, last, is_cut } = query.fetch_one(tx.connection()).await.map_err(sql)?;
    let stretch = Stretch { last, is_cut };
    let skipped = locked.len() < wanted.len();
    let (true, Some(first)) = (locked.is_empty(), wanted.first()) else { return Ok(Orgs { locked, skipped, stretch }) };
    let waited: Option<Uuid> = sqlx::query_scalar(WAIT_FOR_ORG).bind(first).fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(Orgs { locked: waited.into_iter().collect(), skipped: wanted.len() > 1, stretch })
}

fn distinct<'a>(lists: impl Iterator<Item = &'a Vec<Uuid>>) -> Vec<Uuid> {
    let mut all: Vec<Uuid> = lists.flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
