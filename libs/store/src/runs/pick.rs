//! Which READY runs a session gets. Reads and locks; changes nothing.
//!
//! READY runs are found by skipping from org to org and from user to user over an index, so that a user with ten thousand
//! of them costs no more than one with ten.

use super::claim::ClaimFor;
use super::row::{Row, RunRow, run_columns};
use crate::columns::{At, int};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::SessionId;
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Refusal, Result, Timestamp};
use sqlx::types::Json;
use uuid::Uuid;

/// Orgs that one claim serves at most; which ones is left to chance, so none is passed over for long.
const ORGS_MAX: i32 = 64;
/// Users of an org that one claim looks at.
const USERS_MAX: i32 = 1_000;

/// Orgs with READY runs that the session may serve: locked when nobody else holds them. `wanted` are all of them.
const LOCK_ORGS: &str = "
    WITH RECURSIVE live AS (
      SELECT orgs FROM worker_sessions
      WHERE id = $1 AND lost_at IS NULL AND cut_ends_at IS NULL AND lease_ends_at > clock_timestamp()),
    ready(org_id) AS (
      (SELECT org_id FROM runs WHERE state = 'ready' ORDER BY org_id LIMIT 1)
      UNION ALL
      SELECT (SELECT r.org_id FROM runs r WHERE r.state = 'ready' AND r.org_id > p.org_id ORDER BY r.org_id LIMIT 1)
      FROM ready p WHERE p.org_id IS NOT NULL),
    wanted AS (
      SELECT org_id FROM ready, live
      WHERE org_id IS NOT NULL AND (live.orgs IS NULL OR org_id = ANY (live.orgs)) ORDER BY random() LIMIT $2),
    locked AS (
      SELECT o.id FROM orgs o WHERE o.id IN (SELECT org_id FROM wanted) FOR NO KEY UPDATE SKIP LOCKED)
    SELECT EXISTS (SELECT 1 FROM live) AS is_live, ARRAY(SELECT id FROM locked) AS locked,
      ARRAY(SELECT org_id FROM wanted) AS wanted";

/// Waits for one org: for when every org with READY runs is in the hands of other claims. They may have looked before the
/// runs were READY.
const WAIT_FOR_ORG: &str = "SELECT id FROM orgs WHERE id = $1 FOR NO KEY UPDATE";

/// The runs themselves. `room` is what a user and an org may still start.
const PICK: &str = concat!(
    "WITH RECURSIVE session AS MATERIALIZED (SELECT agents, tools FROM worker_sessions WHERE id = $1),
     served AS (SELECT unnest($2::uuid[]) AS org_id),
     org_room AS MATERIALIZED (
       SELECT s.org_id, $5 - (SELECT count(*) FROM runs r WHERE r.org_id = s.org_id AND r.state = 'running') AS room
       FROM served s),
     pairs(org_id, user_id, nth) AS (
       SELECT o.org_id, (SELECT r.user_id FROM runs r WHERE r.state = 'ready' AND r.org_id = o.org_id
                         ORDER BY r.user_id LIMIT 1), 1
       FROM org_room o WHERE o.room > 0
       UNION ALL
       SELECT p.org_id, (SELECT r.user_id FROM runs r WHERE r.state = 'ready' AND r.org_id = p.org_id
                         AND r.user_id > p.user_id ORDER BY r.user_id LIMIT 1), p.nth + 1
       FROM pairs p WHERE p.user_id IS NOT NULL AND p.nth < $6),
     users AS MATERIALIZED (
       SELECT p.org_id, p.user_id, $4 - (SELECT count(*) FROM runs r
         WHERE r.org_id = p.org_id AND r.user_id = p.user_id AND r.state = 'running') AS room
       FROM pairs p WHERE p.user_id IS NOT NULL),
     candidates AS (
       SELECT u.org_id, c.id, c.created_at, row_number() OVER (PARTITION BY u.org_id, u.user_id ORDER BY c.created_at) AS place
       FROM users u CROSS JOIN session s CROSS JOIN LATERAL (
         SELECT r.id, r.created_at FROM runs r
         WHERE r.org_id = u.org_id AND r.user_id = u.user_id AND r.state = 'ready'
           AND (s.agents IS NULL OR r.agent_id = ANY (s.agents))
           AND (r.needs = '{}' OR '*' = ANY (s.tools) OR r.needs <@ s.tools)
         ORDER BY r.created_at LIMIT greatest(least(u.room, $3::int8), 0)) c),
     of_org AS (
       SELECT org_id, id, created_at, row_number() OVER (PARTITION BY org_id ORDER BY place, created_at) AS place
       FROM candidates),
     chosen AS MATERIALIZED (
       SELECT c.id, c.place, c.created_at FROM of_org c JOIN org_room o ON o.org_id = c.org_id WHERE c.place <= o.room
       ORDER BY c.place, c.created_at LIMIT $3::int8),
     held AS MATERIALIZED (
       SELECT ",
    run_columns!(),
    ", s.spec, c.place, c.created_at AS asked_at FROM chosen c JOIN runs r ON r.id = c.id
       JOIN run_specs s ON s.run_id = r.id
       WHERE r.state = 'ready' FOR UPDATE OF r SKIP LOCKED)
     SELECT held.*, clock_timestamp() AS now FROM held ORDER BY place, asked_at"
);

/// A READY run, locked.
pub(crate) struct Picked {
    pub(crate) row: RunRow,
    pub(crate) spec: RunSpec,
    pub(crate) now: Timestamp,
}

#[derive(sqlx::FromRow)]
struct OrgsRow {
    is_live: bool,
    locked: Vec<Uuid>,
    wanted: Vec<Uuid>,
}

#[derive(sqlx::FromRow)]
struct PickedRow {
    #[sqlx(flatten)]
    run: Row,
    spec: Json<RunSpec>,
    now: At,
}

/// Locks orgs with READY runs, or nothing when there are none.
pub(crate) async fn lock_orgs(tx: &mut Tx, session: SessionId, wait: bool) -> Result<Vec<Uuid>> {
    let query = sqlx::query_as(LOCK_ORGS).bind(session.uuid()).bind(ORGS_MAX);
    let OrgsRow { is_live, locked, wanted } = query.fetch_one(tx.connection()).await.map_err(sql)?;
    if !is_live {
        return Err(Refusal::SessionLost.into());
    }
    let (true, Some(first)) = (wait && locked.is_empty(), wanted.first()) else { return Ok(locked) };
    let waited: Option<Uuid> = sqlx::query_scalar(WAIT_FOR_ORG).bind(first).fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(waited.into_iter().collect())
}

/// Chooses among the runs of locked orgs.
pub(crate) async fn pick(tx: &mut Tx, wish: &ClaimFor, orgs: &[Uuid]) -> Result<Vec<Picked>> {
    let query = sqlx::query_as(PICK)
        .bind(wish.session.uuid())
        .bind(orgs)
        .bind(i64::from(wish.limit))
        .bind(i64::from(int(wish.queues.running_per_user_max)))
        .bind(i64::from(int(wish.queues.running_per_org_max)))
        .bind(USERS_MAX);
    let rows: Vec<PickedRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    rows.into_iter().map(|PickedRow { run, spec, now }| Ok(Picked { row: run.read()?, spec: spec.0, now: now.0 })).collect()
}
