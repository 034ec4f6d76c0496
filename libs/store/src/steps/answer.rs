//! As much of a journal as goes into the assistant's message. Whatever a run gathered, its end is written: the message is bounded,
//! and what cannot be read is left out of it.

use super::load::{self, CallRow, StepRow};
use crate::columns::int;
use crate::error::{self, sql};
use crate::runs::RunRow;
use crate::tx::Tx;
use runmesh_domain::journal::Step;
use runmesh_domain::limits::{ANSWER_BYTES_MAX, ANSWER_RESULT_CHARS_MAX};
use runmesh_domain::{Error, Fault, Result};

/// The first steps, as long as they hold no more than $2.
const STEPS: &str = "
    SELECT run_id, step_index, fence, result, created_at FROM (
      SELECT s.*, sum(octet_length(result::text)) OVER (ORDER BY step_index) AS total FROM steps s WHERE run_id = $1) s
    WHERE total <= $2 ORDER BY step_index";
/// Their calls, each with no more than $3 characters of its result.
const CALLS: &str = "
    SELECT run_id, step_index, call_index, call_id, name, arguments, state, verdict, idempotent, fence,
      CASE WHEN char_length(content) > $3
        THEN left(content, $3) || E'\\n[cut: the run''s journal has all ' || octet_length(content) || ' bytes]'
        ELSE content END AS content
    FROM calls WHERE run_id = $1 AND step_index <= $2 ORDER BY step_index, call_index";

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

async fn load(tx: &mut Tx, row: &RunRow) -> Result<Vec<Step>> {
    let bytes = i64::try_from(ANSWER_BYTES_MAX).unwrap_or(i64::MAX);
    let query = sqlx::query_as(STEPS).bind(row.run.id.uuid()).bind(bytes);
    let rows: Vec<StepRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut steps: Vec<Step> = rows.into_iter().map(StepRow::read).collect();
    if steps.iter().all(|step| step.result.calls().next().is_none()) {
        return Ok(steps);
    }
    let last = steps.last().map_or(0, |last| last.step_index);
    let query = sqlx::query_as(CALLS).bind(row.run.id.uuid()).bind(int(last)).bind(chars_of_a_result(row.journal.calls));
    let rows: Vec<CallRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    load::add_calls(&mut steps, rows)?;
    Ok(steps)
}

/// What each of so many results may take, so that all of them fit.
fn chars_of_a_result(calls: u32) -> i32 {
    let each = ANSWER_BYTES_MAX / usize::try_from(calls.max(1)).unwrap_or(usize::MAX);
    i32::try_from(each.clamp(256, ANSWER_RESULT_CHARS_MAX)).unwrap_or(i32::MAX)
}
