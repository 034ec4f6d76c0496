//! What follows from a run's end, all in its transaction: the assistant's message, results for open calls, the withdrawal of
//! a question, and the thread's next turn.
//!
//! The old run's end and the next one's promotion are two statements: the thread gate is a unique index, and within one
//! statement Postgres promises no order.

use super::committed::Committed;
use super::lock::Locked;
use super::moves::{Move, PgQuery, bind, expect_all, moves_ctes};
use super::row::{Row, RunRow, run_columns};
use super::transition::TransitionExtra;
use crate::columns::{At, big, int};
use crate::error::sql;
use crate::steps;
use crate::threads::message_bytes;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::{MessageId, ThreadId};
use runmesh_domain::journal::{self, CALL_CLOSED, CALL_UNKNOWN};
use runmesh_domain::message::{Message, Role};
use runmesh_domain::run::{Change, Command, Ended};
use runmesh_domain::transition::{Cause, Finished, Record};
use sqlx::types::Json;

const END: &str = concat!(
    "WITH ",
    moves_ctes!(),
    ", answered AS (
       INSERT INTO messages (id, org_id, thread_id, run_id, turn_number, role, parts, bytes, unfinished, placed, created_at)
       SELECT $32::uuid, $33::uuid, $34::uuid, $35::uuid, $36::int8, 'assistant', $37::jsonb, $38::int4, $39::bool, true,
         $40::timestamptz WHERE $32::uuid IS NOT NULL),
     journaled AS (
       INSERT INTO steps (run_id, step_index, org_id, fence, result, digest, created_at)
       SELECT $35::uuid, $41::int4, $33::uuid, $42::int8, $43::jsonb, $44::bytea, $40::timestamptz WHERE $41::int4 IS NOT NULL),
     closed AS (
       UPDATE calls SET state = CASE state WHEN 'reserved' THEN 'failed' ELSE 'unknown' END,
         content = CASE state WHEN 'reserved' THEN $45 ELSE $46 END, ended_at = $40::timestamptz
       WHERE run_id = $35 AND state IN ('reserved', 'dispatched', 'unknown')),
     withdrawn AS (UPDATE pending_actions SET state = $47 WHERE run_id = $35 AND state = 'pending')
     SELECT count(*) FROM moved"
);

const NEXT: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.state = 'queued' ORDER BY r.turn_number LIMIT 1 FOR UPDATE"
);

const PROMOTE: &str = concat!(
    "WITH ",
    moves_ctes!(),
    ", placed AS (UPDATE messages SET placed = true WHERE thread_id = $32 AND place = $33 * 2)
     SELECT count(*) FROM moved"
);

/// Ends a run. See [`super::transition()`].
pub(crate) async fn end(
    tx: &mut Tx,
    locked: &Locked,
    change: &Change,
    ended: &Ended,
    extra: &TransitionExtra,
) -> Result<(RunRow, Vec<Committed>)> {
    let before = &locked.row;
    let steps = if before.last_step > 0 { steps::load(tx, before.run.id).await? } else { Vec::new() };
    let fresh = extra.last_step.as_ref().filter(|last| last.step_index > before.last_step);
    let parts = journal::message_parts(&steps, fresh.map(|last| &last.result));
    let cut_off = extra.last_step.as_ref().is_some_and(|last| last.unfinished);
    let message = (!parts.is_empty()).then(|| Message {
        id: MessageId::derived(&[b"answer", before.run.id.uuid().as_bytes()]),
        thread: before.run.thread,
        run: before.run.id,
        turn_number: before.run.turn_number,
        role: Role::Assistant,
        parts,
        unfinished: cut_off || *ended != Ended::Completed,
        created_at: locked.now,
    });
    let next = if before.run.state.name().holds_thread() { next(tx, locked).await? } else { None };
    let usage = fresh.map_or(before.usage, |last| before.usage + last.result.usage);
    let record = Record::Finished(Box::new(Finished {
        state: ended.name(),
        reason: reason_of(ended).0.to_owned(),
        detail: reason_of(ended).1.to_owned(),
        message: message.clone(),
        promoted: next.as_ref().map(|row| row.run.id),
        usage,
        at: locked.now,
    }));
    let mut step = Move::decided(before, change, record, locked.now, extra);
    step.after.usage = usage;
    // A step that was cut off is kept in the message only: the journal holds what a model finished saying.
    let journaled = fresh.filter(|last| !last.unfinished);
    if let Some(last) = journaled {
        step.after.last_step = last.step_index;
        steps::reserve_closed(tx, locked, last).await?;
    }
    let query = bind(sqlx::query(END), std::slice::from_ref(&step));
    let query = bind_message(query, locked, message.as_ref());
    let query = query
        .bind(journaled.map(|last| int(last.step_index)))
        .bind(big(before.run.fence))
        .bind(journaled.map(|last| Json(last.result.clone())))
        .bind(journaled.map(|last| last.result.digest().0.to_vec()))
        .bind(CALL_CLOSED)
        .bind(CALL_UNKNOWN)
        .bind(if change.cause() == Some(Cause::Expired) { "expired" } else { "withdrawn" });
    let row = query.fetch_one(tx.connection()).await.map_err(sql)?;
    expect_all(&row, 1)?;
    let (row, mut committed) = step.done();
    if let Some(next) = next {
        committed.extend(promote(tx, next, locked.now).await?);
    }
    Ok((row, committed))
}

/// Binds $32 to $40.
fn bind_message(query: PgQuery, locked: &Locked, message: Option<&Message>) -> PgQuery {
    let run = &locked.row.run;
    query
        .bind(message.map(|message| message.id.uuid()))
        .bind(run.org.uuid())
        .bind(run.thread.uuid())
        .bind(run.id.uuid())
        .bind(big(run.turn_number))
        .bind(message.map(|message| Json(message.parts.clone())))
        .bind(message.map_or(0, |message| message_bytes(&message.parts)))
        .bind(message.is_some_and(|message| message.unfinished))
        .bind(At(locked.now))
}

fn reason_of(ended: &Ended) -> (&str, &str) {
    match ended {
        Ended::Failed { reason, detail } => (reason, detail),
        Ended::Completed | Ended::Canceled | Ended::Aborted | Ended::Superseded => ("", ""),
    }
}

/// The thread's next queued run, locked. Not even looked for when no turn was accepted after this one: the thread's row,
/// which is locked, says so.
async fn next(tx: &mut Tx, locked: &Locked) -> Result<Option<RunRow>> {
    if locked.next_turn <= locked.row.run.turn_number + 1 {
        return Ok(None);
    }
    head(tx, locked.row.run.thread).await
}

/// The head of a thread's queue, locked. The thread must be locked.
pub(crate) async fn head(tx: &mut Tx, thread: ThreadId) -> Result<Option<RunRow>> {
    let row: Option<Row> = sqlx::query_as(NEXT).bind(thread.uuid()).fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(Row::read).transpose()?)
}

/// Makes a locked queued run READY, and its message part of the conversation. Its thread must be locked and free.
pub(crate) async fn promote(tx: &mut Tx, row: RunRow, now: runmesh_domain::Timestamp) -> Result<Vec<Committed>> {
    let mut committed = Vec::new();
    for change in row.run.decide(&Command::Promote)? {
        let step = Move::decided(&row, &change, Record::Quiet, now, &TransitionExtra::default());
        let query = bind(sqlx::query(PROMOTE), std::slice::from_ref(&step));
        let query = query.bind(row.run.thread.uuid()).bind(big(row.run.turn_number));
        let moved = query.fetch_one(tx.connection()).await.map_err(sql)?;
        expect_all(&moved, 1)?;
        committed.extend(step.done().1);
    }
    Ok(committed)
}
