//! The turns of a thread, for whoever follows it. Reads only.

use crate::columns::{big, count};
use crate::error::sql;
use crate::threads;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::{OrgId, RunId, ThreadId};
use uuid::Uuid;

/// A turn of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its run.
    pub run: RunId,
    /// Its number in the thread, from 1.
    pub number: u64,
}

// Two partial indexes answer this, however many turns are over.
const FIRST_OPEN: &str = "
    SELECT id, turn_number FROM runs WHERE thread_id = $1 AND state IN ('ready', 'running', 'waiting')
    UNION ALL SELECT id, turn_number FROM runs WHERE thread_id = $1 AND state = 'queued'
    ORDER BY turn_number LIMIT 1";
const LAST: &str = "SELECT id, turn_number FROM runs WHERE thread_id = $1 AND turn_number >= 1 ORDER BY turn_number DESC LIMIT 1";
const NEXT: &str = "
    SELECT id, turn_number FROM runs WHERE thread_id = $1 AND turn_number > $2 AND turn_number >= 1
    ORDER BY turn_number LIMIT 1";

type Row = (Uuid, i64);

fn read((run, number): Row) -> Turn {
    Turn { run: RunId::from_uuid(run), number: count(number) }
}

/// The turn that follows turn `after` (0: the first), whatever its state is; none when there is no such turn yet. Numbers are
/// given under the thread's lock, so that no lower one appears later.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`] for a thread that is not the org's, or was deleted.
pub async fn next_turn(tx: &mut Tx, org: OrgId, thread: ThreadId, after: u64) -> Result<Option<Turn>> {
    threads::get(tx, org, thread).await?;
    let query = sqlx::query_as(NEXT).bind(thread.uuid()).bind(big(after));
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(read))
}

/// The turn that holds the thread, or else the first that waits.
///
/// # Errors
/// As [`next_turn`].
pub async fn open_turn(tx: &mut Tx, org: OrgId, thread: ThreadId) -> Result<Option<Turn>> {
    threads::get(tx, org, thread).await?;
    let query = sqlx::query_as(FIRST_OPEN).bind(thread.uuid());
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(read))
}

/// The thread's last turn.
///
/// # Errors
/// As [`next_turn`].
pub async fn last_turn(tx: &mut Tx, org: OrgId, thread: ThreadId) -> Result<Option<Turn>> {
    threads::get(tx, org, thread).await?;
    let query = sqlx::query_as(LAST).bind(thread.uuid());
    let row: Option<Row> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(read))
}
