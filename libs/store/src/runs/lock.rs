//! Taking a run in hand: its thread's row first, then its own, in one statement.

use super::row::{Row, RunRow, run_columns};
use crate::columns::{At, count};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::{RunId, UserId};
use runmesh_domain::{Refusal, Result, Timestamp};
use uuid::Uuid;

/// A run whose thread and row this transaction has locked: nobody else changes either until it ends.
#[derive(Debug, Clone)]
pub struct Locked {
    /// The run as it is.
    pub row: RunRow,
    /// The database's clock once the locks were held.
    pub now: Timestamp,
    /// Who opened the thread.
    pub thread_owner: UserId,
    /// The next place in the conversation of the thread.
    pub(crate) next_place: u64,
}

/// Locks in the order of the house: the run's row is looked for only once the thread's lock is held, because it is joined to
/// the locked thread and locked on top of that join. The clock is read after both.
macro_rules! lock_statement {
    ($how:literal) => {
        concat!(
            "WITH thread AS MATERIALIZED (
               SELECT t.id, t.user_id AS thread_owner, t.next_place FROM threads t
               WHERE t.id = (SELECT thread_id FROM runs WHERE id = $1) FOR UPDATE",
            $how,
            "), run AS MATERIALIZED (
               SELECT ",
            run_columns!(),
            ", thread.thread_owner, thread.next_place
               FROM thread JOIN runs r ON r.thread_id = thread.id WHERE r.id = $1 FOR UPDATE OF r)
             SELECT run.*, clock_timestamp() AS now FROM run"
        )
    };
}

const LOCK: &str = lock_statement!("");
const LOCK_UNLESS_BUSY: &str = lock_statement!(" SKIP LOCKED");

#[derive(sqlx::FromRow)]
struct LockedRow {
    #[sqlx(flatten)]
    run: Row,
    thread_owner: Uuid,
    next_place: i64,
    now: At,
}

/// Locks a run and its thread.
///
/// # Errors
/// [`Refusal::NotFound`] when there is no such run within the transaction's scope.
pub async fn lock(tx: &mut Tx, run: RunId) -> Result<Locked> {
    lock_by(tx, LOCK, run).await?.ok_or_else(|| Refusal::NotFound { what: "run" }.into())
}

/// As [`lock`], but nothing when the thread is locked by somebody else. For sweepers: they lock many threads in one
/// transaction and so must not wait for any.
pub(crate) async fn lock_unless_busy(tx: &mut Tx, run: RunId) -> Result<Option<Locked>> {
    lock_by(tx, LOCK_UNLESS_BUSY, run).await
}

async fn lock_by(tx: &mut Tx, statement: &'static str, run: RunId) -> Result<Option<Locked>> {
    let row: Option<LockedRow> = sqlx::query_as(statement).bind(run.uuid()).fetch_optional(tx.connection()).await.map_err(sql)?;
    let Some(LockedRow { run, thread_owner, next_place, now }) = row else { return Ok(None) };
    let thread_owner = UserId::from_uuid(thread_owner);
    Ok(Some(Locked { row: run.read()?, now: now.0, thread_owner, next_place: count(next_place) }))
}
