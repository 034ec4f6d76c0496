//! What follows from a run's end, all in its transaction: the assistant's message, results for open calls, the withdrawal of
//! a question, and the thread's next turn.
//!
//! The old run's end and the next one's promotion are two statements: the thread gate is a unique index, and within one
//! statement Postgres promises no order.

use super::committed::Committed;
use super::finish::LastStep;
use super::lock::Locked;
use super::moves::{Move, PgQuery, bind, expect_all, moves_ctes};
use super::row::{Row, RunRow, run_columns};
use super::transition::TransitionExtra;
use crate::columns::{At, big, int};
use crate::error::sql;
use crate::steps;
use crate::stored::{Parts, Stored};
use crate::threads::message_bytes;
use crate::tx::Tx;
use runmesh_domain::id::{MessageId, RunId, ThreadId};
use runmesh_domain::journal::{self, AnswerPart, CALL_CLOSED, CALL_UNKNOWN, CallState, Step};
use runmesh_domain::message::{Message, Part, Role};
use runmesh_domain::path::{CallKey, Path};
use runmesh_domain::run::{Change, Command, Ended, Run, RunKind};
use runmesh_domain::transition::{Cause, Finished, Record};
use runmesh_domain::{Result, Timestamp};

const END: &str = concat!(
    "WITH ",
    moves_ctes!(),
    ", answered AS (
       INSERT INTO messages (id, org_id, thread_id, run_id, turn_number, role, parts, bytes, unfinished, place, created_at)
       SELECT $40::uuid, $41::uuid, $42::uuid, $43::uuid, $44::int8, 'assistant', $45::jsonb, $46::int4, $47::bool, $49::int8,
         $48::timestamptz WHERE $40::uuid IS NOT NULL),
     counted AS (UPDATE threads SET next_place = $50::int8 WHERE id = $42 AND $50::int8 IS NOT NULL),
     journaled AS (
       INSERT INTO steps (run_id, step_index, org_id, fence, result, digest, created_at)
       SELECT $43::uuid, $51::int4, $41::uuid, $52::int8, $53::jsonb, $54::bytea, $48::timestamptz WHERE $51::int4 IS NOT NULL),
     used AS (
       INSERT INTO usage (run_id, step_index, org_id, thread_id, user_id, model, input_tokens, output_tokens, at)
       SELECT $43::uuid, $55::int4, $41::uuid, $42::uuid, $56::uuid, $57::text, $58::int8, $59::int8, $48::timestamptz
       WHERE $55::int4 IS NOT NULL),
     closed AS (
       UPDATE calls SET state = CASE state WHEN 'reserved' THEN 'failed' ELSE 'unknown' END,
         content = CASE state WHEN 'reserved' THEN $60 ELSE $61 END, ended_at = $48::timestamptz
       WHERE run_id = $43 AND state IN ('reserved', 'dispatched', 'unknown')),
     withdrawn AS (UPDATE pending_actions SET state = $62 WHERE run_id = $43 AND state = 'pending')
     SELECT count(*) FROM moved"
);

const NEXT: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs r WHERE r.thread_id = $1 AND r.kind = 'turn' AND r.state = 'queued' ORDER BY r.rank LIMIT 1 FOR UPDATE"
);

/// Gives the messages that wait for a turn their places, and the thread its next place. `withdrawn` is true when the turn ended before
/// it started: people see its messages then, and the model does not.
macro_rules! place_ctes {
    ($place:literal, $thread:literal, $turn:literal, $withdrawn:literal) => {
        concat!(
            "waiting AS MATERIALIZED (
               SELECT id, ",
            $place,
            " - 1 + row_number() OVER (ORDER BY created_at, id) AS place FROM messages
               WHERE thread_id = ",
            $thread,
            " AND turn_number = ",
            $turn,
            " AND place IS NULL),
             placed AS (
               UPDATE messages m SET place = w.place, withdrawn = ",
            $withdrawn,
            " FROM waiting w WHERE m.id = w.id),
             counted AS (
               UPDATE threads SET next_place = ",
            $place,
            " + greatest((SELECT count(*) FROM waiting), 1) WHERE id = ",
            $thread,
            ")"
        )
    };
}

const PROMOTE: &str = concat!(
    "WITH ",
    moves_ctes!(),
    ", ",
    place_ctes!("$40::int8", "$41::uuid", "$42::int8", "false"),
    " SELECT count(*) FROM moved"
);

const WITHDRAW: &str = concat!("WITH ", place_ctes!("$1::int8", "$2::uuid", "$3::int8", "true"), " SELECT count(*) FROM waiting");

/// Which turn of the thread follows one that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Successor {
    /// The head of the thread's queue, if there is one.
    #[default]
    Head,
    /// This run, which the caller accepts in the same transaction: the thread stays free until then.
    Given(RunId),
}

/// Ends a run. See [`super::transition()`].
pub(crate) async fn end(
    tx: &mut Tx,
    locked: &Locked,
    change: &Change,
    ended: &Ended,
    extra: &TransitionExtra,
) -> Result<(RunRow, Vec<Committed>)> {
    let before = &locked.row;
    let steps = if before.last_step > 0 { steps::load_for_answer(tx, before).await? } else { Vec::new() };
    let fresh = extra.last_step.as_ref().filter(|last| last.step_index > before.last_step);
    let parts = journal::answer_parts(&steps, fresh.map(|last| &last.result));
    let stored_parts = Stored::new(&steps::referring(&parts, steps.iter().map(|step| step.calls.len()).sum()));
    let message = answer(locked, parts, extra.last_step.as_ref(), ended);
    let next = match extra.successor {
        Successor::Head if before.run.holds_thread() => head(tx, before.run.thread).await?,
        Successor::Head | Successor::Given(_) => None,
    };
    let promoted = match extra.successor {
        Successor::Head => next.as_ref().map(|row| row.run.id),
        Successor::Given(run) => Some(run),
    };
    let usage = fresh.map_or(before.usage, |last| before.usage + last.result.usage);
    let closed_calls = not_begun(tx, before, &steps).await?;
    let (reason, detail) = reason_of(ended);
    let record = Record::Finished(Box::new(Finished {
        state: ended.name(),
        reason: reason.to_owned(),
        detail: detail.to_owned(),
        message: message.clone(),
        promoted,
        usage,
        at: locked.now,
        closed_calls,
    }));
    let mut step = Move::decided(before, change, record, locked.now, extra);
    step.after.usage = usage;
    // Only a turn that never started has no place yet.
    let never_started = step.after.run.take_place(locked.next_place);
    // A step that was cut off is kept in the message only: the journal holds what a model finished saying.
    let journaled = fresh.filter(|last| !last.unfinished);
    let last_step = match journaled {
        Some(last) => Some(Box::new(closed_step(tx, locked, last).await?)),
        None => None,
    };
    step.after.last_step = last_step.as_ref().map_or(before.last_step, |last| last.step_index);
    let place = locked.next_place;
    let next_place = if message.is_some() { place + 1 } else { place };
    let query = bind(sqlx::query(END), std::slice::from_ref(&step));
    let query = bind_message(query, locked, message.as_ref(), stored_parts);
    let query = query.bind(big(place)).bind((next_place != place).then_some(big(next_place)));
    let query = bind_step(query, before.run.fence, journaled);
    let query = bind_usage(query, &before.run, fresh)
        .bind(CALL_CLOSED)
        .bind(CALL_UNKNOWN)
        .bind(if change.cause() == Some(Cause::Expired) { "expired" } else { "withdrawn" });
    let row = query.fetch_one(tx.connection()).await.map_err(sql)?;
    expect_all(&row, 1)?;
    if never_started {
        withdraw(tx, &step.after.run, place).await?;
    }
    let (row, mut committed) = step.done();
    committed.iter_mut().for_each(|committed| committed.step.clone_from(&last_step));
    if let Some(next) = next {
        committed.extend(promote(tx, next, next_place, locked.now).await?);
    }
    Ok((row, committed))
}

/// The journaled calls that have not begun, which the end closes. `steps` is what of the journal was read for the message: it is
/// asked for the rest only when there is a rest.
async fn not_begun(tx: &mut Tx, row: &RunRow, steps: &[Step]) -> Result<Vec<CallKey>> {
    let calls = || steps.iter().flat_map(|step| step.calls.iter().map(move |call| (step, call)));
    if calls().count() as u64 != u64::from(row.journal.calls) {
        return steps::reserved(tx, row.run.id).await;
    }
    let reserved = calls().filter(|(_, call)| call.state == CallState::Reserved);
    Ok(reserved.map(|(step, call)| step.key().call(call.call_index)).collect())
}

/// Writes the calls of the step that ends a run, and answers the step as the journal has it: the end closes those of its calls that
/// the policy allows.
async fn closed_step(tx: &mut Tx, locked: &Locked, last: &LastStep) -> Result<Step> {
    let mut calls = steps::reserve_closed(tx, locked, last).await?;
    for call in calls.iter_mut().filter(|call| call.state == CallState::Reserved) {
        (call.state, call.content) = (CallState::Failed, CALL_CLOSED.to_owned());
    }
    let (fence, created_at) = (locked.row.run.fence, locked.now);
    Ok(Step { path: Path::TOP, step_index: last.step_index, fence, result: last.result.clone(), calls, created_at })
}

/// The assistant's message: what the run said and did. A background run answers by its result, not in the conversation.
fn answer(locked: &Locked, parts: Vec<AnswerPart>, last: Option<&LastStep>, ended: &Ended) -> Option<Message> {
    let before = &locked.row;
    let parts: Vec<Part> = parts.into_iter().map(|part| part.part).collect();
    (!parts.is_empty() && before.run.kind == RunKind::Turn).then(|| Message {
        id: MessageId::derived(&[b"answer", before.run.id.uuid().as_bytes()]),
        thread: before.run.thread,
        run: before.run.id,
        turn_number: before.run.turn_number,
        role: Role::Assistant,
        parts,
        unfinished: last.is_some_and(|last| last.unfinished) || *ended != Ended::Completed,
        internal: false,
        created_at: locked.now,
    })
}

/// Binds $40 to $48.
fn bind_message(query: PgQuery, locked: &Locked, message: Option<&Message>, parts: Stored<Parts>) -> PgQuery {
    let run = &locked.row.run;
    query
        .bind(message.map(|message| message.id.uuid()))
        .bind(run.org.uuid())
        .bind(run.thread.uuid())
        .bind(run.id.uuid())
        .bind(big(run.turn_number))
        .bind(message.map(|_| parts))
        .bind(message.map_or(0, |message| message_bytes(&message.parts)))
        .bind(message.is_some_and(|message| message.unfinished))
        .bind(At(locked.now))
}

/// Binds $51 to $54: the step that ends the run.
fn bind_step(query: PgQuery, fence: u64, last: Option<&LastStep>) -> PgQuery {
    query
        .bind(last.map(|last| int(last.step_index)))
        .bind(big(fence))
        .bind(last.map(|last| Stored::new(&last.result)))
        .bind(last.map(|last| last.digest.0.to_vec()))
}

/// Binds $55 to $59: the tokens of the step that ends the run.
fn bind_usage(query: PgQuery, run: &Run, last: Option<&LastStep>) -> PgQuery {
    query
        .bind(last.map(|last| int(last.step_index)))
        .bind(run.user.uuid())
        .bind(last.map(|last| last.result.model.clone()))
        .bind(last.map(|last| big(last.result.usage.input_tokens)))
        .bind(last.map(|last| big(last.result.usage.output_tokens)))
}

/// Places the messages of a turn that ended before it started, for people only.
async fn withdraw(tx: &mut Tx, run: &Run, place: u64) -> Result<()> {
    let query = sqlx::query(WITHDRAW).bind(big(place)).bind(run.thread.uuid()).bind(big(run.turn_number));
    query.execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

fn reason_of(ended: &Ended) -> (&str, &str) {
    match ended {
        Ended::Failed { reason, detail } => (reason, detail),
        Ended::Completed | Ended::Canceled | Ended::Aborted | Ended::Superseded => ("", ""),
    }
}

/// The head of a thread's queue, locked. The thread must be locked.
pub(crate) async fn head(tx: &mut Tx, thread: ThreadId) -> Result<Option<RunRow>> {
    let row: Option<Row> = sqlx::query_as(NEXT).bind(thread.uuid()).fetch_optional(tx.connection()).await.map_err(sql)?;
    Ok(row.map(Row::read).transpose()?)
}

/// Makes a locked queued run READY, and its messages part of the conversation from `place` on, the next place of the thread. The
/// thread must be locked and free.
pub(crate) async fn promote(tx: &mut Tx, row: RunRow, place: u64, now: Timestamp) -> Result<Vec<Committed>> {
    let mut committed = Vec::new();
    for change in row.run.decide(&Command::Promote)? {
        let mut step = Move::decided(&row, &change, Record::Quiet, now, &TransitionExtra::default());
        step.after.run.take_place(place);
        let query = bind(sqlx::query(PROMOTE), std::slice::from_ref(&step));
        let query = query.bind(big(place)).bind(row.run.thread.uuid()).bind(big(row.run.turn_number));
        let moved = query.fetch_one(tx.connection()).await.map_err(sql)?;
        expect_all(&moved, 1)?;
        committed.extend(step.done().1);
    }
    Ok(committed)
}
