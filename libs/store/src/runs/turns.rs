//! The turns of a thread, for whoever follows it, in the order of the conversation. Reads only.

use crate::columns::count;
use crate::error::sql;
use crate::threads;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, RunId, ThreadId};
use uuid::Uuid;

/// A turn that has its place in the conversation: it started, or ended without having started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its run.
    pub run: RunId,
    /// The order of acceptance, from 1.
    pub number: u64,
    /// Its place in the conversation, from 1.
    pub place: u64,
}

const HOLDER: &str = "
    SELECT id, turn_number, place FROM runs WHERE thread_id = $1 AND kind = 'turn' AND state IN ('ready', 'running', 'waiting')";
const LAST: &str = "
    SELECT id, turn_number, place FROM runs WHERE thread_id = $1 AND place >= 1 ORDER BY place DESC LIMIT 1";
const NEXT: &str = "
    SELECT id, turn_number, place FROM runs
    WHERE thread_id = $1 AND place >= 1 AND place > coalesce((SELECT place FROM runs WHERE id = $2 AND thread_id = $1), 0)
    ORDER BY place LIMIT 1";

type Row = (Uuid, i64, i64);

const fn read((run, number, place): Row) -> Turn {
    Turn { run: RunId::from_uuid(run), number: count(number), place: count(place) }
}

/// The turn that follows the turn of run `after` in the conversation, or the first turn; none when there is no such turn yet.
/// Places are given in order under the lock of the thread, so no lower one appears later.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`] for a thread that is not the org's, or was deleted.
pub async fn next_turn(tx: &mut Tx, org: OrgId, thread: ThreadId, after: Option<RunId>) -> Result<Option<Turn>> {
    threads::get(tx, org, thread).await?;
    let query = sqlx::query_as(NEXT).bind(thread.uuid()).bind(after.map(RunId::uuid));
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(read))
}

/// The turn that holds the thread.
///
/// # Errors
/// As [`next_turn`].
pub async fn open_turn(tx: &mut Tx, org: OrgId, thread: ThreadId) -> Result<Option<Turn>> {
    threads::get(tx, org, thread).await?;
    let query = sqlx::query_as(HOLDER).bind(thread.uuid());
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(read))
}

/// The last turn of the thread's conversation.
///
/// # Errors
/// As [`next_turn`].
pub async fn last_turn(tx: &mut Tx, org: OrgId, thread: ThreadId) -> Result<Option<Turn>> {
    threads::get(tx, org, thread).await?;
    let query = sqlx::query_as(LAST).bind(thread.uuid());
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(read))
}
