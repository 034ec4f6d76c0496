//! Which READY runs a session gets. Reads and locks; changes nothing.
//!
//! READY runs are found by skipping from org to org and from user to user over an index, so that a user with ten thousand
//! of them costs no more than one with ten.

use super::aside::SetAside;
use super::capable::serves;
use super::claim::ClaimFor;
use super::row::{Row, RunRow, run_columns};
use crate::columns::{At, int};
use crate::error::sql;
use crate::stored::Stored;
use crate::tx::Tx;
use runmesh_domain::id::{RunId, SessionId};
use runmesh_domain::limits::{Queues, SHARED_ATTEMPTS_MAX};
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Refusal, Result, Timestamp};
use uuid::Uuid;

/// Orgs that one claim serves at most; which ones is left to chance, so none is passed over for long.
const ORGS_MAX: i32 = 64;
/// Users of an org that one claim looks at.
const USERS_MAX: i32 = 1_000;

/// Orgs with READY runs that the session may serve: locked when nobody else holds them. `wanted` are all of them.
const LOCK_ORGS: &str = "
    WITH RECURSIVE live AS (
      SELECT orgs FROM worker_sessions
      WHERE id = $1 AND lost_at IS NULL AND cut_ends_at IS NULL),
    ready(org_id) AS (
      (SELECT org_id FROM runs WHERE kind = 'turn' AND state = 'ready' AND set_aside = '' ORDER BY org_id LIMIT 1)
      UNION ALL
      SELECT (SELECT r.org_id FROM runs r WHERE r.kind = 'turn' AND r.state = 'ready' AND r.set_aside = '' AND r.org_id > p.org_id ORDER BY r.org_id LIMIT 1)
      FROM ready p WHERE p.org_id IS NOT NULL),
    wanted AS (
      SELECT org_id FROM ready, live
      WHERE org_id IS NOT NULL AND (live.orgs IS NULL OR org_id = ANY (live.orgs))
        AND NOT EXISTS (SELECT 1 FROM orgs gone WHERE gone.id = org_id AND gone.deleted_at IS NOT NULL)
      ORDER BY random() LIMIT $2),
    locked AS (
      SELECT o.id FROM orgs o WHERE o.id IN (SELECT org_id FROM wanted) AND o.deleted_at IS NULL
      FOR NO KEY UPDATE SKIP LOCKED)
    SELECT EXISTS (SELECT 1 FROM live) AS is_live, ARRAY(SELECT id FROM locked) AS locked,
      ARRAY(SELECT org_id FROM wanted) AS wanted";

/// Waits for one org: for when every org with READY runs is in the hands of other claims. They may have looked before the
/// runs were READY.
const WAIT_FOR_ORG: &str = "SELECT id FROM orgs WHERE id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE";

/// The runs themselves. A run whose attempts were in vain $7 times gets a session that drives nothing else, and that session gets
/// nothing beside it; after five minutes without one it gets any. `room` is what a user and an org may still start: of the org's own bounds, or else of the mesh's.
const PICK: &str = concat!(
    "WITH RECURSIVE session AS MATERIALIZED (
       SELECT orgs, agents, tools, NOT EXISTS (SELECT 1 FROM runs x WHERE x.session_id = $1 AND x.state = 'running') AS is_idle,
         EXISTS (SELECT 1 FROM runs x WHERE x.session_id = $1 AND x.state = 'running'
           AND x.barren_attempts + x.cut_attempts >= $7) AS is_taken
       FROM worker_sessions WHERE id = $1),
     served AS (
       SELECT o.id AS org_id, coalesce(o.running_per_user_max, $4::int8) AS user_max,
         coalesce(o.running_per_org_max, $5::int8) AS org_max FROM orgs o WHERE o.id = ANY ($2)),
     org_room AS MATERIALIZED (
       SELECT s.org_id, s.user_max,
         s.org_max - (SELECT count(*) FROM runs r WHERE r.org_id = s.org_id AND r.kind = 'turn' AND r.state = 'running') AS room
       FROM served s),
     pairs(org_id, user_id, nth) AS (
       SELECT o.org_id, (SELECT r.user_id FROM runs r WHERE r.kind = 'turn' AND r.state = 'ready' AND r.set_aside = '' AND r.org_id = o.org_id
                         ORDER BY r.user_id LIMIT 1), 1
       FROM org_room o WHERE o.room > 0
       UNION ALL
       SELECT p.org_id, (SELECT r.user_id FROM runs r WHERE r.kind = 'turn' AND r.state = 'ready' AND r.set_aside = '' AND r.org_id = p.org_id
                         AND r.user_id > p.user_id ORDER BY r.user_id LIMIT 1), p.nth + 1
       FROM pairs p WHERE p.user_id IS NOT NULL AND p.nth < $6),
     users AS MATERIALIZED (
       SELECT p.org_id, p.user_id, o.user_max - (SELECT count(*) FROM runs r
         WHERE r.org_id = p.org_id AND r.user_id = p.user_id AND r.kind = 'turn' AND r.state = 'running') AS room
       FROM pairs p JOIN org_room o ON o.org_id = p.org_id WHERE p.user_id IS NOT NULL),
     candidates AS (
       SELECT u.org_id, c.id, c.created_at,
         row_number() OVER (PARTITION BY u.org_id, u.user_id ORDER BY c.priority DESC, c.created_at) AS place
       FROM users u CROSS JOIN session s CROSS JOIN LATERAL (
         SELECT r.id, r.priority, r.created_at FROM runs r
         WHERE r.org_id = u.org_id AND r.user_id = u.user_id AND r.kind = 'turn' AND r.state = 'ready' AND r.set_aside = ''
           AND (r.not_before IS NULL OR r.not_before <= clock_timestamp())
           AND NOT s.is_taken AND (s.is_idle OR r.barren_attempts + r.cut_attempts < $7
             OR r.changed_at < clock_timestamp() - interval '5 minutes') AND ",
    serves!(),
    " ORDER BY r.priority DESC, r.created_at LIMIT greatest(least(u.room, $3::int8), 0)) c),
     of_org AS (
       SELECT org_id, id, created_at, row_number() OVER (PARTITION BY org_id ORDER BY place, created_at) AS place
       FROM candidates),
     chosen AS MATERIALIZED (
       SELECT c.id, c.place, c.created_at FROM of_org c JOIN org_room o ON o.org_id = c.org_id WHERE c.place <= o.room
       ORDER BY c.place, c.created_at LIMIT $3::int8),
     held AS MATERIALIZED (
       SELECT ",
    run_columns!(),
    ", s.spec, c.place AS round, c.created_at AS asked_at FROM chosen c JOIN runs r ON r.id = c.id
       LEFT JOIN run_specs s ON s.run_id = r.id
       WHERE r.state = 'ready' FOR UPDATE OF r SKIP LOCKED)
     SELECT held.*, clock_timestamp() AS now FROM held ORDER BY round, asked_at"
);

/// Whether a session may take one run of a locked org. Limits as in [`PICK`].
const MAY_TAKE: &str = concat!(
    "SELECT clock_timestamp() FROM worker_sessions s, runs r JOIN orgs o ON o.id = r.org_id
     WHERE s.id = $1 AND r.id = $2
       AND s.lost_at IS NULL AND s.cut_ends_at IS NULL
       AND NOT EXISTS (SELECT 1 FROM runs x WHERE x.session_id = $1 AND x.state = 'running'
         AND x.barren_attempts + x.cut_attempts >= $5) AND ",
    serves!(),
    " AND NOT EXISTS (SELECT 1 FROM runs x WHERE x.org_id = r.org_id AND x.kind = 'turn' AND x.state = 'ready' AND x.set_aside = ''
         AND x.id <> r.id)
       AND (SELECT count(*) FROM runs x WHERE x.org_id = r.org_id AND x.user_id = r.user_id AND x.kind = 'turn' AND x.state = 'running')
         < coalesce(o.running_per_user_max, $3::int8)
       AND (SELECT count(*) FROM runs x WHERE x.org_id = r.org_id AND x.kind = 'turn' AND x.state = 'running')
         < coalesce(o.running_per_org_max, $4::int8)"
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
    spec: Option<Stored<RunSpec>>,
    now: At,
}

impl PickedRow {
    /// The run with its spec, or what of it cannot be read.
    fn read(self) -> Result<Picked, SetAside> {
        let Self { run, spec, now } = self;
        let id = run.id();
        let aside = |problem: String| SetAside { run: id, problem };
        let row = run.read().map_err(|fault| aside(fault.to_string()))?;
        let spec = spec.ok_or_else(|| aside("its frozen spec is missing".to_owned()))?;
        let spec = spec.read("run_specs", "spec", id).map_err(|fault| aside(fault.to_string()))?;
        Ok(Picked { row, spec, now: now.0 })
    }
}

/// Orgs with READY runs that a session may serve.
pub(crate) struct Orgs {
    /// Those that are locked now.
    pub(crate) locked: Vec<Uuid>,
    /// Whether others were in the hands of other claims, which may have looked before their runs were READY.
    pub(crate) skipped: bool,
}

/// Locks orgs with READY runs. When every one of them is in other hands, waits for one.
pub(crate) async fn lock_orgs(tx: &mut Tx, session: SessionId) -> Result<Orgs> {
    let query = sqlx::query_as(LOCK_ORGS).bind(session.uuid()).bind(ORGS_MAX);
    let OrgsRow { is_live, locked, wanted } = query.fetch_one(tx.connection()).await.map_err(sql)?;
    if !is_live {
        return Err(Refusal::SessionLost.into());
    }
    let skipped = locked.len() < wanted.len();
    let (true, Some(first)) = (locked.is_empty(), wanted.first()) else { return Ok(Orgs { locked, skipped }) };
    let waited: Option<Uuid> = sqlx::query_scalar(WAIT_FOR_ORG).bind(first).fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(Orgs { locked: waited.into_iter().collect(), skipped: wanted.len() > 1 })
}

/// When the session may take this run, which its transaction accepted, as far as liveness, credential, tools and limits go, and
/// nothing else of the org is READY: the time. The org must be locked, by an earlier statement.
pub(crate) async fn may_take(tx: &mut Tx, session: SessionId, run: RunId, queues: Queues) -> Result<Option<Timestamp>> {
    let query = sqlx::query_scalar(MAY_TAKE)
        .bind(session.uuid())
        .bind(run.uuid())
        .bind(i64::from(int(queues.running_per_user_max)))
        .bind(i64::from(int(queues.running_per_org_max)))
        .bind(int(SHARED_ATTEMPTS_MAX));
    let now: Option<At> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(now.map(|At(now)| now))
}

/// Chooses among the runs of locked orgs. Those that cannot be read come apart: no other run waits for them.
pub(crate) async fn pick(tx: &mut Tx, wish: &ClaimFor, orgs: &[Uuid]) -> Result<(Vec<Picked>, Vec<SetAside>)> {
    let query = sqlx::query_as(PICK)
        .bind(wish.session.uuid())
        .bind(orgs)
        .bind(i64::from(wish.limit))
        .bind(i64::from(int(wish.queues.running_per_user_max)))
        .bind(i64::from(int(wish.queues.running_per_org_max)))
        .bind(USERS_MAX)
        .bind(int(SHARED_ATTEMPTS_MAX));
    let rows: Vec<PickedRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let (mut picked, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match row.read() {
            Ok(one) => picked.push(one),
            Err(aside) => unreadable.push(aside),
        }
    }
    // One that may be what kills its workers goes alone: the others wait for another worker.
    if let Some(alone) = picked.iter().position(|one| one.row.run.attempts_in_vain() >= SHARED_ATTEMPTS_MAX) {
        picked.swap(0, alone);
        picked.truncate(1);
    }
    Ok((picked, unreadable))
}
