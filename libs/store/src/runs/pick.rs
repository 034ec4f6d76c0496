//! Which READY runs a claim takes. Reads and locks; changes nothing.
//!
//! READY runs lie in lanes: those of an org, or of an agent, that need the same built-in tools. A lane is skipped through from user to
//! user over an index, as far as the claim has room, and the next claim goes on behind the last user. So what a claim costs depends
//! on what it takes and on what runs, not on what waits.

use super::aside::SetAside;
use super::capable::serves;
use super::claim::ClaimFor;
use super::round::{ClaimRound, Lane};
use super::row::{Row, RunRow, run_columns};
use super::share::{Kind, Wanted};
use crate::columns::{At, int};
use crate::error::sql;
use crate::stored::Stored;
use crate::tx::Tx;
use runmesh_domain::id::{RunId, SessionId};
use runmesh_domain::limits::{Queues, SHARED_ATTEMPTS_MAX};
use runmesh_domain::run::StateName;
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Result, Timestamp};
use uuid::Uuid;

/// Whether run `r` is a READY turn that no operator has to look at: the words of the indexes of lanes, which nothing else uses.
macro_rules! claimable {
    () => {
        "CASE WHEN r.kind = 'turn' AND r.state = 'ready' AND r.set_aside = '' THEN true END"
    };
}
pub(crate) use claimable;

/// Whether run `r` of lane `l` may start now. A run whose attempts were in vain $8 times gets a session that drives nothing else;
/// after five minutes without one it gets any.
macro_rules! may_start {
    () => {
        "(r.not_before IS NULL OR r.not_before <= clock_timestamp())
         AND (l.is_idle OR r.barren_attempts + r.cut_attempts < $8 OR r.changed_at < clock_timestamp() - interval '5 minutes')"
    };
}

/// The users of lanes, from behind where the last claim stopped, once round, until `$9` were found that have room and a run which may
/// start. A question whether there is such a run is put as one for the first, because Postgres may answer EXISTS by reading all of
/// them once; and the order names every column of the index, because Postgres does not see that lists which are equal leave it as it
/// is. Lanes are by org or by agent: `$key` is the column. Users at their limit are passed by; an org with room has no more of
/// them than it runs.
macro_rules! users_of_lanes {
    ($key:literal, $by_agent:literal) => {
        concat!(
            "(lane, user_id, until, found, nth, may) AS (
               SELECT l.n, l.start, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid, 0, 0, false FROM lane l WHERE l.by_agent = ",
            $by_agent,
            " UNION ALL
               SELECT p.lane, n.user_id, n.until, p.found + m.may::int, p.nth + 1, m.may
               FROM ",
            $key,
            "_users p JOIN lane l ON l.n = p.lane
               CROSS JOIN LATERAL (SELECT b.user_id, b.until FROM (
                 (SELECT r.user_id, p.until FROM runs r WHERE ",
            claimable!(),
            " AND r.",
            $key,
            " = l.key AND r.needs = l.needs AND r.user_id > p.user_id AND r.user_id <= p.until ORDER BY r.",
            $key,
            ", r.needs, r.user_id LIMIT 1)
                 UNION ALL
                 (SELECT r.user_id, l.start FROM runs r WHERE ",
            claimable!(),
            " AND r.",
            $key,
            " = l.key AND r.needs = l.needs AND r.user_id <= l.start
                     AND p.until = 'ffffffff-ffff-ffff-ffff-ffffffffffff' ORDER BY r.",
            $key,
            ", r.needs, r.user_id LIMIT 1)) b LIMIT 1) n
               CROSS JOIN LATERAL (SELECT NOT ((l.org_id, n.user_id) IN (SELECT f.org_id, f.user_id FROM full_users f)) AND (
                   SELECT r.id FROM runs r WHERE ",
            claimable!(),
            " AND r.",
            $key,
            " = l.key AND r.needs = l.needs AND r.user_id = n.user_id AND ",
            may_start!(),
            " LIMIT 1) IS NOT NULL AS may OFFSET 0) m
               WHERE p.found < $9)"
        )
    };
}

/// The first runs of each of those users: `each` of them, and no more than their room.
macro_rules! runs_of_users {
    ($key:literal) => {
        concat!(
            "SELECT l.n AS lane, l.org_id, u.user_id, f.room AS user_room, f.each, c.id, c.priority, c.created_at
             FROM ",
            $key,
            "_users u JOIN lane l ON l.n = u.lane LEFT JOIN busy b ON b.org_id = l.org_id AND b.user_id = u.user_id
             CROSS JOIN LATERAL (SELECT l.user_max - coalesce(b.running, 0) AS room,
               least(l.credits, (SELECT ceil($5::float8 / greatest(count(*), 1))::int8 FROM found)) AS each) f
             CROSS JOIN LATERAL (
               SELECT r.id, r.priority, r.created_at FROM runs r WHERE ",
            claimable!(),
            " AND r.",
            $key,
            " = l.key AND r.needs = l.needs AND r.user_id = u.user_id AND ",
            may_start!(),
            " ORDER BY r.",
            $key,
            ", r.needs, r.user_id, r.priority DESC, r.created_at LIMIT greatest(least(f.room, f.each), 0)) c
             WHERE u.may"
        )
    };
}

/// The runs themselves. `s` are the kinds of sessions, and `room` is what a user and an org may still start: of the org's own bounds,
/// or else of the mesh's. What runs is counted over an index that the planner cannot mistake for another (`$10`).
const PICK: &str = concat!(
    "WITH RECURSIVE session AS MATERIALIZED (
       SELECT s.orgs, s.agents, s.tools, k.credits, k.is_idle
       FROM unnest($1::uuid[], $2::int8[], $3::bool[]) k(id, credits, is_idle) JOIN worker_sessions s ON s.id = k.id),
     served AS MATERIALIZED (
       SELECT o.id AS org_id, coalesce(o.running_per_user_max, $6::int8) AS user_max,
         coalesce(o.running_per_org_max, $7::int8) AS org_max FROM orgs o WHERE o.id = ANY ($4)),
     busy AS MATERIALIZED (
       SELECT s.org_id, x.user_id, count(*) AS running FROM served s CROSS JOIN LATERAL (
         SELECT r.user_id FROM runs r WHERE r.org_id = s.org_id AND r.kind = 'turn' AND r.state = $10 AND r.created_at > '-infinity') x
       GROUP BY s.org_id, x.user_id),
     full_users AS MATERIALIZED (
       SELECT b.org_id, b.user_id FROM busy b JOIN served s ON s.org_id = b.org_id WHERE b.running >= s.user_max),
     org_room AS MATERIALIZED (
       SELECT s.org_id, s.user_max, s.org_max - coalesce((SELECT sum(b.running)::int8 FROM busy b WHERE b.org_id = s.org_id), 0) AS room
       FROM served s),
     of_org(org_id, needs) AS (
       SELECT o.org_id, n.needs FROM org_room o CROSS JOIN LATERAL (
         SELECT r.needs FROM runs r WHERE ",
    claimable!(),
    " AND r.org_id = o.org_id ORDER BY r.org_id, r.needs LIMIT 1) n
       WHERE o.room > 0 AND EXISTS (SELECT 1 FROM session s WHERE s.agents IS NULL)
       UNION ALL
       SELECT p.org_id, n.needs FROM of_org p CROSS JOIN LATERAL (
         SELECT r.needs FROM runs r WHERE ",
    claimable!(),
    " AND r.org_id = p.org_id AND r.needs > p.needs ORDER BY r.org_id, r.needs LIMIT 1) n),
     of_agent(org_id, agent_id, needs) AS (
       SELECT n.org_id, a.agent_id, n.needs
       FROM (SELECT DISTINCT unnest(s.agents) AS agent_id FROM session s) a CROSS JOIN LATERAL (
         SELECT r.org_id, r.needs FROM runs r WHERE ",
    claimable!(),
    " AND r.agent_id = a.agent_id ORDER BY r.agent_id, r.needs LIMIT 1) n
       WHERE n.org_id IN (SELECT o.org_id FROM org_room o WHERE o.room > 0)
       UNION ALL
       SELECT p.org_id, p.agent_id, n.needs FROM of_agent p CROSS JOIN LATERAL (
         SELECT r.needs FROM runs r WHERE ",
    claimable!(),
    " AND r.agent_id = p.agent_id AND r.needs > p.needs ORDER BY r.agent_id, r.needs LIMIT 1) n),
     lane AS MATERIALIZED (
       SELECT row_number() OVER () AS n, r.org_id, r.agent_id IS NOT NULL AS by_agent, coalesce(r.agent_id, r.org_id) AS key, r.needs,
         o.user_max, sum(s.credits)::int8 AS credits, bool_or(s.is_idle) AS is_idle,
         coalesce(b.user_id, '00000000-0000-0000-0000-000000000000') AS start
       FROM (SELECT org_id, NULL::uuid AS agent_id, needs FROM of_org UNION ALL SELECT org_id, agent_id, needs FROM of_agent) r
       JOIN org_room o ON o.org_id = r.org_id
       JOIN session s ON (s.agents IS NULL) = (r.agent_id IS NULL) AND ",
    serves!(),
    " LEFT JOIN unnest($11::uuid[], $12::text[], $13::uuid[]) b(key, needs, user_id)
         ON b.key = coalesce(r.agent_id, r.org_id) AND b.needs = r.needs::text
       GROUP BY r.org_id, r.agent_id, r.needs, o.user_max, b.user_id),
     org_id_users",
    users_of_lanes!("org_id", "false"),
    ", agent_id_users",
    users_of_lanes!("agent_id", "true"),
    ", found AS MATERIALIZED (
       SELECT lane, user_id, nth, found FROM org_id_users WHERE may
       UNION ALL SELECT lane, user_id, nth, found FROM agent_id_users WHERE may),
     looked AS MATERIALIZED (",
    runs_of_users!("org_id"),
    " UNION ALL ",
    runs_of_users!("agent_id"),
    "), candidates AS (
       SELECT DISTINCT ON (c.id) c.id, c.org_id, c.user_id, c.user_room, c.priority, c.created_at FROM looked c ORDER BY c.id),
     of_user AS (
       SELECT c.*, row_number() OVER (PARTITION BY c.org_id, c.user_id ORDER BY c.priority DESC, c.created_at) AS place FROM candidates c),
     in_order AS (
       SELECT c.org_id, c.id, c.created_at, row_number() OVER (PARTITION BY c.org_id ORDER BY c.place, c.created_at) AS place
       FROM of_user c WHERE c.place <= c.user_room),
     chosen AS MATERIALIZED (
       SELECT c.id, c.place, c.created_at FROM in_order c JOIN org_room o ON o.org_id = c.org_id WHERE c.place <= o.room
       ORDER BY c.place, c.created_at LIMIT $5::int8),
     held AS MATERIALIZED (
       SELECT ",
    run_columns!(),
    ", r.needs, s.spec, c.place AS round, c.created_at AS asked_at FROM chosen c JOIN runs r ON r.id = c.id
       LEFT JOIN run_specs s ON s.run_id = r.id
       WHERE r.state = 'ready' FOR UPDATE OF r SKIP LOCKED),
     stopped AS MATERIALIZED (
       SELECT l.key, l.needs::text AS needs, f.user_id FROM found f JOIN lane l ON l.n = f.lane WHERE f.found >= $9)
     SELECT held.*, clock_timestamp() AS now, held.changed_at < clock_timestamp() - interval '5 minutes' AS waited,
       EXISTS (SELECT 1 FROM stopped) OR EXISTS (
         SELECT 1 FROM looked c WHERE c.each < c.user_room GROUP BY c.lane, c.user_id, c.each HAVING count(*) >= c.each) AS is_cut,
       ARRAY(SELECT key FROM stopped) AS stopped_keys, ARRAY(SELECT needs FROM stopped) AS stopped_needs,
       ARRAY(SELECT user_id FROM stopped) AS stopped_users
     FROM held ORDER BY round, asked_at"
);

/// Whether a session may take one run of a locked org. Limits as in [`PICK`].
const MAY_TAKE: &str = concat!(
    "SELECT clock_timestamp() FROM worker_sessions s, runs m JOIN orgs o ON o.id = m.org_id CROSS JOIN LATERAL (
         SELECT count(*) AS of_org, count(*) FILTER (WHERE x.user_id = m.user_id) AS of_user
         FROM runs x WHERE x.org_id = m.org_id AND x.kind = 'turn' AND x.state = $6 AND x.created_at > '-infinity') n
     WHERE s.id = $1 AND m.id = $2
       AND s.lost_at IS NULL AND s.cut_ends_at IS NULL
       AND NOT EXISTS (SELECT 1 FROM runs x WHERE x.session_id = $1 AND x.state = 'running'
         AND x.barren_attempts + x.cut_attempts >= $5)
       AND EXISTS (SELECT 1 FROM (SELECT m.org_id, m.agent_id, m.needs) r WHERE ",
    serves!(),
    ") AND (SELECT r.id FROM runs r WHERE ",
    claimable!(),
    " AND r.org_id = m.org_id AND r.id <> m.id LIMIT 1) IS NULL
       AND n.of_user < coalesce(o.running_per_user_max, $3::int8) AND n.of_org < coalesce(o.running_per_org_max, $4::int8)"
);

/// A READY run, locked.
pub(crate) struct Picked {
    pub(crate) row: RunRow,
    pub(crate) spec: RunSpec,
    pub(crate) now: Timestamp,
    /// Which sessions may have it.
    pub(crate) wanted: Wanted,
}

/// What a claim may take.
pub(crate) struct Picks {
    /// Runs, locked, in the order in which they are given out.
    pub(crate) picked: Vec<Picked>,
    /// Runs that cannot be read.
    pub(crate) unreadable: Vec<SetAside>,
    /// Whether there may be more in these orgs that the sessions could take just now.
    pub(crate) is_cut: bool,
}

#[derive(sqlx::FromRow)]
struct PickedRow {
    #[sqlx(flatten)]
    run: Row,
    needs: Vec<String>,
    spec: Option<Stored<RunSpec>>,
    now: At,
    waited: bool,
    is_cut: bool,
    stopped_keys: Vec<Uuid>,
    stopped_needs: Vec<String>,
    stopped_users: Vec<Uuid>,
}

impl PickedRow {
    /// The run with its spec, or what of it cannot be read.
    fn read(self) -> Result<Picked, SetAside> {
        let Self { run, needs, spec, now, waited, .. } = self;
        let id = run.id();
        let aside = |problem: String| SetAside { run: id, problem };
        let row = run.read().map_err(|fault| aside(fault.to_string()))?;
        let spec = spec.ok_or_else(|| aside("its frozen spec is missing".to_owned()))?;
        let spec = spec.read("run_specs", "spec", id).map_err(|fault| aside(fault.to_string()))?;
        let alone = row.run.attempts_in_vain() >= SHARED_ATTEMPTS_MAX;
        let wanted = Wanted { org: row.run.org.uuid(), agent: row.run.agent.uuid(), needs, alone, waited };
        Ok(Picked { row, spec, now: now.0, wanted })
    }

    /// Has the next claim begin behind the users where this one stopped.
    fn note_stops(&mut self, round: &mut ClaimRound) {
        let keys = std::mem::take(&mut self.stopped_keys).into_iter();
        let needs = std::mem::take(&mut self.stopped_needs).into_iter();
        let users = std::mem::take(&mut self.stopped_users).into_iter();
        for ((key, needs), user) in keys.zip(needs).zip(users) {
            round.begin_behind(Lane { key, needs }, user);
        }
    }
}

/// When the session may take this run, which its transaction accepted, as far as liveness, credential, tools and limits go, and
/// nothing else of the org is READY: the time. The org must be locked, by an earlier statement.
pub(crate) async fn may_take(tx: &mut Tx, session: SessionId, run: RunId, queues: Queues) -> Result<Option<Timestamp>> {
    let query = sqlx::query_scalar(MAY_TAKE)
        .bind(session.uuid())
        .bind(run.uuid())
        .bind(i64::from(int(queues.running_per_user_max)))
        .bind(i64::from(int(queues.running_per_org_max)))
        .bind(int(SHARED_ATTEMPTS_MAX))
        .bind(StateName::Running.name());
    let now: Option<At> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(now.map(|At(now)| now))
}

/// Chooses up to `limit` among the runs of locked orgs that these kinds of sessions may have, and notes in the round where it stopped
/// in each lane. Runs that cannot be read come apart: no other run waits for them.
pub(crate) async fn pick(
    tx: &mut Tx,
    wish: &ClaimFor,
    orgs: &[Uuid],
    kinds: &[Kind],
    limit: u32,
    round: &mut ClaimRound,
) -> Result<Picks> {
    let (keys, users): (Vec<&Lane>, Vec<Uuid>) = wish.round.users().map(|(lane, user)| (lane, *user)).unzip();
    let query = sqlx::query_as(PICK)
        .bind(kinds.iter().map(|kind| kind.example).collect::<Vec<_>>())
        .bind(kinds.iter().map(|kind| kind.credits).collect::<Vec<_>>())
        .bind(kinds.iter().map(|kind| kind.is_idle).collect::<Vec<_>>())
        .bind(orgs)
        .bind(i64::from(limit))
        .bind(i64::from(int(wish.queues.running_per_user_max)))
        .bind(i64::from(int(wish.queues.running_per_org_max)))
        .bind(int(SHARED_ATTEMPTS_MAX))
        .bind(int(limit.div_ceil(u32::try_from(orgs.len()).unwrap_or(u32::MAX).max(1))))
        .bind(StateName::Running.name())
        .bind(keys.iter().map(|lane| lane.key).collect::<Vec<_>>())
        .bind(keys.iter().map(|lane| lane.needs.as_str()).collect::<Vec<_>>())
        .bind(users);
    let rows: Vec<PickedRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let is_cut = rows.len() >= limit as usize;
    let mut picks = Picks { picked: Vec::with_capacity(rows.len()), unreadable: Vec::new(), is_cut };
    for mut row in rows {
        picks.is_cut |= row.is_cut;
        row.note_stops(round);
        match row.read() {
            Ok(one) => picks.picked.push(one),
            Err(aside) => picks.unreadable.push(aside),
        }
    }
    Ok(picks)
}
