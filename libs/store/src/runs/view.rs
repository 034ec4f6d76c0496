//! What those who watch runs need: where a run stands, whether its log is behind.

use super::blocked;
use super::committed::{Committed, LogRows};
use super::list::get;
use super::row::{BlockedBy, Row, RunRow, run_columns};
use crate::columns::{big, count};
use crate::error::sql;
use crate::outbox::{self, transition_columns};
use crate::steps;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, RunId, UserId};
use runmesh_domain::limits::Queues;
use runmesh_domain::run::StateName;
use runmesh_domain::{Refusal, Result};
use std::collections::HashMap;
use uuid::Uuid;

/// A run as somebody who attaches to it sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunState {
    /// The run.
    pub row: RunRow,
    /// Turns of its thread that come before it; 0 unless QUEUED.
    pub queue_position: u32,
}

/// Where one of many runs stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The run.
    pub run: RunId,
    /// Its state.
    pub state: StateName,
    /// Its version.
    pub version: u64,
    /// Turns of its thread that come before it; 0 unless QUEUED.
    pub queue_position: u32,
    /// What keeps it from a worker, when it is READY and something does.
    pub blocked_by: Option<BlockedBy>,
}

/// Nothing for somebody who is not a member of the org.
const SEEN: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.id = $1 AND r.org_id = $2 AND EXISTS (SELECT 1 FROM members m WHERE m.org_id = $2 AND m.user_id = $3)"
);
const AHEAD: &str = "
    SELECT (SELECT count(*) FROM runs WHERE thread_id = $1 AND kind = 'turn' AND state IN ('ready', 'running', 'waiting'))
      + (SELECT count(*) FROM runs WHERE thread_id = $1 AND kind = 'turn' AND state = 'queued' AND rank < $2)";
const STANDINGS: &str = "
    SELECT r.id, r.state, r.version, CASE WHEN r.state = 'queued' THEN
      (SELECT count(*) FROM runs h WHERE h.thread_id = r.thread_id AND h.kind = 'turn' AND h.state IN ('ready', 'running', 'waiting'))
      + (SELECT count(*) FROM runs q WHERE q.thread_id = r.thread_id AND q.kind = 'turn' AND q.state = 'queued' AND q.rank < r.rank)
    ELSE 0 END AS ahead
    FROM runs r WHERE r.id = ANY ($1)";
const AFTER: &str = concat!(
    "SELECT ",
    transition_columns!(),
    " FROM run_transitions t JOIN runs r ON r.id = t.run_id WHERE t.run_id = $1 AND t.version > $2 ORDER BY t.version"
);
/// Where a run stands.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`].
pub async fn state_of(tx: &mut Tx, org: OrgId, run: RunId) -> Result<RunState> {
    let row = get(tx, org, run).await?;
    with_position(tx, row).await
}

/// As [`state_of`], for a member of the org; one statement for a run that is not QUEUED.
///
/// # Errors
/// [`Refusal::NotFound`], also for somebody who is not a member.
pub async fn seen_by(tx: &mut Tx, org: OrgId, user: UserId, run: RunId) -> Result<RunState> {
    let query = sqlx::query_as(SEEN).bind(run.uuid()).bind(org.uuid()).bind(user.uuid());
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    let row = row.ok_or(Refusal::NotFound { what: "run" })?.read()?;
    with_position(tx, row).await
}

async fn with_position(tx: &mut Tx, row: RunRow) -> Result<RunState> {
    if row.run.state.name() != StateName::Queued {
        return Ok(RunState { row, queue_position: 0 });
    }
    let query = sqlx::query_scalar(AHEAD).bind(row.run.thread.uuid()).bind(row.run.rank);
    let ahead: i64 = query.fetch_one(tx.connection()).await.map_err(sql)?;
    Ok(RunState { row, queue_position: u32::try_from(ahead).unwrap_or(u32::MAX) })
}

/// Where many runs of any org stand, in at most two statements and in no order; those that are not there are left out, and those
/// of a state that this version does not know.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn standings(tx: &mut Tx, runs: &[RunId], queues: &Queues) -> Result<Vec<Standing>> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
    let rows: Vec<(Uuid, String, i64, i64)> =
        sqlx::query_as(STANDINGS).bind(ids).fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |(id, state, version, ahead): (Uuid, String, i64, i64)| {
        let queue_position = u32::try_from(ahead).unwrap_or(u32::MAX);
        let state = StateName::from_name(&state)?;
        Some(Standing { run: RunId::from_uuid(id), state, version: count(version), queue_position, blocked_by: None })
    };
    let mut standings: Vec<Standing> = rows.into_iter().filter_map(read).collect();
    let ready = standings.iter().filter(|standing| standing.state == StateName::Ready);
    let ready: Vec<Uuid> = ready.map(|standing| standing.run.uuid()).collect();
    if !ready.is_empty() {
        let blocked = blocked::look(tx, ready, queues).await?;
        standings.iter_mut().for_each(|standing| standing.blocked_by = blocked.get(&standing.run.uuid()).copied());
    }
    Ok(standings)
}

/// What brings a run's log up: its transitions above a version with whether each is marked as logged, and what is of the same moment:
/// where the log stood, and the journal, when that is asked for.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`].
pub async fn log_rows(tx: &mut Tx, run: RunId, after_version: u64, with_journal: bool) -> Result<LogRows> {
    let rows = transitions_after(tx, run, after_version).await?;
    let (ids, position, last_step) = match rows.first() {
        Some((first, _)) => (first.ids, first.position, first.last_step),
        None => {
            let row = super::list::read(tx, run).await?;
            (super::committed::ids(&row.run), row.position, row.last_step)
        }
    };
    // After the transitions, so that no attempt ends in them whose last steps are missing here.
    let steps = if with_journal { Some(steps::load(tx, run).await?) } else { None };
    let transitions = rows.into_iter().map(|(committed, logged)| (committed.transition, logged)).collect();
    Ok(LogRows { ids, position, last_step, steps, transitions })
}

/// A run's transitions above a version, in order, each with whether it is marked as logged.
pub(crate) async fn transitions_after(tx: &mut Tx, run: RunId, version: u64) -> Result<Vec<(Committed, bool)>> {
    let query = sqlx::query_as(AFTER).bind(run.uuid()).bind(big(version));
    let rows: Vec<outbox::Row> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let messages = outbox::messages_of(tx, &rows).await?;
    Ok(outbox::readable(rows, &messages))
}

const UNLOGGED_OF: &str = concat!(
    "SELECT ",
    outbox::transition_columns!(),
    " FROM run_transitions t JOIN runs r ON r.id = t.run_id WHERE t.run_id = ANY ($1) AND NOT t.logged ORDER BY t.run_id, t.version"
);

/// The transitions of these runs that are not marked as logged, by run and in order.
pub(crate) async fn unlogged_of(tx: &mut Tx, runs: &[&RunRow]) -> Result<HashMap<RunId, Vec<Committed>>> {
    let ids: Vec<Uuid> = runs.iter().map(|row| row.run.id.uuid()).collect();
    let rows: Vec<outbox::Row> = sqlx::query_as(UNLOGGED_OF).bind(ids).fetch_all(tx.connection()).await.map_err(sql)?;
    let mut by_run: HashMap<RunId, Vec<Committed>> = HashMap::new();
    let messages = outbox::messages_of(tx, &rows).await?;
    for (committed, _) in outbox::readable(rows, &messages) {
        by_run.entry(committed.ids.id).or_default().push(committed);
    }
    Ok(by_run)
}
