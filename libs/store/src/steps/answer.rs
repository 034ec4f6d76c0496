//! As much of a journal as goes into the assistant's message. Whatever a run gathered, its end is written: the message is bounded,
//! and what cannot be read is left out of it.

use super::load::{self, CallRow, StepRow};
use crate::columns::int;
use crate::error::{self, sql};
use crate::runs::RunRow;
use crate::stored::{Parts, ResultRef, StoredPart};
use crate::tx::Tx;
use runmesh_domain::journal::{AnswerPart, Step};
use runmesh_domain::limits::{ANSWER_BYTES_MAX, ANSWER_RESULT_CHARS_MAX, ANSWER_RESULT_CHARS_MIN};
use runmesh_domain::{Error, Fault, Result};

/// The first steps of the top level, as long as they hold no more than $2. What branches gave is in the results of the calls that
/// opened them.
const STEPS: &str = "
    SELECT run_id, path, step_index, fence, result, created_at FROM (
      SELECT s.*, sum(octet_length(result::text)) OVER (ORDER BY step_index) AS total
      FROM steps s WHERE run_id = $1 AND path = '') s
    WHERE total <= $2 ORDER BY step_index";
/// A result of the journal as a message has it: so many characters of it, and a word when there are more.
macro_rules! cut_content {
    ($content:literal, $chars:literal) => {
        concat!(
            "CASE WHEN char_length(",
            $content,
            ") > ",
            $chars,
            " THEN left(",
            $content,
            ", ",
            $chars,
            ") || E'\\n[cut: the run''s journal has all ' || octet_length(",
            $content,
            ") || ' bytes]' ELSE ",
            $content,
            " END"
        )
    };
}
pub(crate) use cut_content;

/// Their calls, all of whose results have room in $3 bytes: none has more than $5 characters, and each may have $4.
const CALLS: &str = concat!(
    "SELECT run_id, path, step_index, call_index, call_id, name, arguments, state, verdict, idempotent, fence, ",
    cut_content!("content", "room"),
    " AS content
     FROM (SELECT c.*, least(greatest($3 / count(*) OVER (), $4), $5)::int4 AS room
           FROM calls c WHERE run_id = $1 AND path = '' AND step_index <= $2) c
     ORDER BY step_index, call_index"
);

/// The journal of a run for its assistant's message. A journal that cannot be read gives none.
///
/// # Errors
/// [`Fault::Unavailable`] and other failures of the statements.
pub(crate) async fn load_for_answer(tx: &mut Tx, row: &RunRow) -> Result<Vec<Step>> {
    match load(tx, row).await {
        Err(Error::Fault(Fault::Internal { detail })) if error::is_clean() => {
            tracing::error!(run = %row.run.id, detail, "a journal cannot be read: the run ends without a message");
            Ok(Vec::new())
        }
        loaded => loaded,
    }
}

/// The parts of that message as they are stored: they refer to the results in the journal, which have so many `calls`.
pub(crate) fn referring(parts: &[AnswerPart], calls: usize) -> Parts {
    let each = ANSWER_BYTES_MAX / calls.max(1);
    let chars = u32::try_from(each.clamp(ANSWER_RESULT_CHARS_MIN, ANSWER_RESULT_CHARS_MAX)).unwrap_or(u32::MAX);
    let stored = |AnswerPart { part, result_of }: &AnswerPart| match result_of {
        Some(call) => {
            let of = ResultRef { step: call.step.step_index, call: call.call_index, chars };
            StoredPart::Result(part.clone(), of)
        }
        None => StoredPart::Whole(part.clone()),
    };
    Parts(parts.iter().map(stored).collect())
}

async fn load(tx: &mut Tx, row: &RunRow) -> Result<Vec<Step>> {
    let bytes = i64::try_from(ANSWER_BYTES_MAX).unwrap_or(i64::MAX);
    let query = sqlx::query_as(STEPS).bind(row.run.id.uuid()).bind(bytes);
    let rows: Vec<StepRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut steps = rows.into_iter().map(StepRow::read).collect::<Result<Vec<Step>, _>>()?;
    let has_calls = steps.iter().any(|step| step.result.calls().next().is_some());
    let Some(last) = steps.last().filter(|_| has_calls) else { return Ok(steps) };
    let [least, most] = [ANSWER_RESULT_CHARS_MIN, ANSWER_RESULT_CHARS_MAX].map(|chars| i64::try_from(chars).unwrap_or(i64::MAX));
    let query = sqlx::query_as(CALLS).bind(row.run.id.uuid()).bind(int(last.step_index)).bind(bytes).bind(least).bind(most);
    let rows: Vec<CallRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    load::add_calls(&mut steps, rows)?;
    Ok(steps)
}
