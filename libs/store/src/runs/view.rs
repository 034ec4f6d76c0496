//! What those who watch runs need: where a run stands, whether its log is behind.

use super::committed::Committed;
use super::list::get;
use super::row::RunRow;
use crate::columns::{bad_row, big, count};
use crate::error::sql;
use crate::outbox::{self, transition_columns};
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, RunId};
use runmesh_domain::log::Position;
use runmesh_domain::run::{RunIds, StateName};
use runmesh_domain::transition::Transition;
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

const AHEAD: &str = "
    SELECT (SELECT count(*) FROM runs WHERE thread_id = $1 AND kind = 'turn' AND state IN ('ready', 'running', 'waiting'))
      + (SELECT count(*) FROM runs WHERE thread_id = $1 AND kind = 'turn' AND state = 'queued' AND rank < $2)";
const STATES: &str = "SELECT id, state, version FROM runs WHERE id = ANY ($1)";
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
    if row.run.state.name() != StateName::Queued {
        return Ok(RunState { row, queue_position: 0 });
    }
    let query = sqlx::query_scalar(AHEAD).bind(row.run.thread.uuid()).bind(row.run.rank);
    let ahead: i64 = query.fetch_one(tx.connection()).await.map_err(sql)?;
    Ok(RunState { row, queue_position: u32::try_from(ahead).unwrap_or(u32::MAX) })
}

/// State and version of many runs in one statement, in no order; those that are not there are left out.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn states_of(tx: &mut Tx, runs: &[RunId]) -> Result<Vec<(RunId, StateName, u64)>> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
    let rows: Vec<(Uuid, String, i64)> = sqlx::query_as(STATES).bind(ids).fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |(id, state, version): (Uuid, String, i64)| {
        let run = RunId::from_uuid(id);
        let state = StateName::from_name(&state).ok_or_else(|| bad_row("runs", "state", run, &state))?;
        Ok((run, state, count(version)))
    };
    rows.into_iter().map(read).collect()
}

/// What brings a run's log up: where it stood, who it is about, and its transitions above a version with whether each is
/// marked as logged. The position is of the same moment as the transitions.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`].
pub async fn catch_up_rows(tx: &mut Tx, run: RunId, after_version: u64) -> Result<(Position, RunIds, Vec<(Transition, bool)>)> {
    let rows = transitions_after(tx, run, after_version).await?;
    let (position, ids) = match rows.first() {
        Some((first, _)) => (first.position, first.ids),
        None => {
            let row = super::list::read(tx, run).await?;
            (row.position, super::committed::ids(&row.run))
        }
    };
    Ok((position, ids, rows.into_iter().map(|(committed, logged)| (committed.transition, logged)).collect()))
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
