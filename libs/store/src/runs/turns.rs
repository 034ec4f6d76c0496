//! The turns of a thread, for whoever follows it, in the order of the conversation. Reads only.

use super::row::{Row, RunRow, run_columns};
use crate::columns::count;
use crate::error::sql;
use crate::threads;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::chain::Chain;
use runmesh_domain::id::{OrgId, RunId, ThreadId};
use runmesh_domain::log::Position;
use runmesh_domain::run::StateName;
use std::collections::HashMap;
use uuid::Uuid;

const HOLDER: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.kind = 'turn' AND r.state IN ('ready', 'running', 'waiting')"
);
const LAST: &str =
    concat!("SELECT ", run_columns!(), " FROM runs r WHERE r.thread_id = $1 AND r.place >= 1 ORDER BY r.place DESC LIMIT 1");
const NEXT: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.place >= 1
       AND r.place > coalesce((SELECT place FROM runs WHERE id = $2 AND thread_id = $1), 0)
     ORDER BY r.place LIMIT 1"
);
/// Each LIMIT keeps the planner from reading a whole table for a join: what is looked up is one row of an index at a time.
const NEWEST: &str = "
    SELECT t.id AS thread_id, r.id, r.turn_number, r.place, r.state, r.log_seq, r.log_chain, b.place AS place_before
    FROM unnest($1::uuid[], $2::uuid[]) AS a (org_id, id)
      CROSS JOIN LATERAL (
        SELECT id FROM threads WHERE id = a.id AND org_id = a.org_id AND deleted_at IS NULL LIMIT 1) t
      LEFT JOIN LATERAL (
        SELECT id, turn_number, place, state, log_seq, log_chain FROM runs
        WHERE thread_id = t.id AND place >= 1 ORDER BY place DESC LIMIT 1) r ON true
      LEFT JOIN LATERAL (
        SELECT place FROM runs WHERE thread_id = t.id AND place >= 1 AND place < r.place ORDER BY place DESC LIMIT 1) b ON true";

/// The last turn of a thread's conversation, as a look at many threads finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewestTurn {
    /// Its run.
    pub run: RunId,
    /// The order of acceptance, from 1.
    pub turn_number: u64,
    /// Its place in the conversation, from 1.
    pub place: u64,
    /// The place of the turn before it; 0 when it is the first.
    pub place_before: u64,
    /// Its state.
    pub state: StateName,
    /// Where its log stood at the holder's last word.
    pub position: Position,
}

#[derive(sqlx::FromRow)]
struct NewestRow {
    thread_id: Uuid,
    id: Option<Uuid>,
    turn_number: Option<i64>,
    place: Option<i64>,
    state: Option<String>,
    log_seq: Option<i64>,
    log_chain: Option<i64>,
    place_before: Option<i64>,
}

impl NewestRow {
    /// None for a thread without turns, and for a state that this version does not know: such a turn cannot be shown.
    fn read(self) -> Option<NewestTurn> {
        Some(NewestTurn {
            run: RunId::from_uuid(self.id?),
            turn_number: count(self.turn_number?),
            place: count(self.place?),
            place_before: self.place_before.map_or(0, count),
            state: StateName::from_name(&self.state?)?,
            position: Position { seq: count(self.log_seq?), chain: Chain(self.log_chain?.cast_unsigned()) },
        })
    }
}

/// The turn that follows the turn of run `after` in the conversation, or the first turn; none when there is no such turn yet.
/// Places are given in order under the lock of the thread, so no lower one appears later.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`] for a thread that is not the org's, or was deleted.
pub async fn next_turn(tx: &mut Tx, org: OrgId, thread: ThreadId, after: Option<RunId>) -> Result<Option<RunRow>> {
    threads::get(tx, org, thread).await?;
    let query = sqlx::query_as(NEXT).bind(thread.uuid()).bind(after.map(RunId::uuid));
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(Row::read).transpose()?)
}

/// The turn that holds the thread, or else the last turn of its conversation, which is over; none before the first.
///
/// # Errors
/// As [`next_turn`].
pub async fn current_turn(tx: &mut Tx, org: OrgId, thread: ThreadId) -> Result<Option<RunRow>> {
    threads::get(tx, org, thread).await?;
    for statement in [HOLDER, LAST] {
        let query = sqlx::query_as(statement).bind(thread.uuid());
        let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
        if let Some(row) = row {
            return Ok(Some(row.read()?));
        }
    }
    Ok(None)
}

/// The last turn of each of these threads, in one statement; none for a thread without turns. Threads that are not the org's, or
/// were deleted, are left out. Scope System, or the org's own.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn newest_turns(tx: &mut Tx, of: &[(OrgId, ThreadId)]) -> Result<HashMap<ThreadId, Option<NewestTurn>>> {
    let (orgs, threads): (Vec<Uuid>, Vec<Uuid>) = of.iter().map(|(org, thread)| (org.uuid(), thread.uuid())).unzip();
    let query = sqlx::query_as(NEWEST).bind(orgs).bind(threads);
    let rows: Vec<NewestRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(rows.into_iter().map(|row| (ThreadId::from_uuid(row.thread_id), row.read())).collect())
}
