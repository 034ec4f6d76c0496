//! Results of calls that come after their run was taken from its worker and a person was asked whether the calls happened. They are
//! not the journal's any more: they are kept as evidence, beside the question.

use super::attempt::Entry;
use super::load;
use crate::columns::{At, big, count, int, small};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::RunId;
use runmesh_domain::limits::LATE_RESULT_BYTES_MAX;
use runmesh_domain::path::CallKey;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::{Result, Timestamp, text};
use std::collections::HashMap;
use uuid::Uuid;

/// What the worker of a lost attempt said of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateResult {
    /// Which call.
    pub call: CallKey,
    /// The attempt that ran the call.
    pub fence: u64,
    /// How the result begins; at most [`LATE_RESULT_BYTES_MAX`].
    pub content: String,
    /// True when it is an error.
    pub is_error: bool,
    /// When it came.
    pub at: Timestamp,
}

/// Only of calls whose outcome a person is asked about, and only from the attempt that dispatched them. The first word stays.
const KEEP: &str = "
    INSERT INTO late_results (run_id, path, step_index, call_index, fence, org_id, content, is_error, at)
    SELECT c.run_id, c.path, c.step_index, c.call_index, c.fence, c.org_id, l.content, l.is_error, clock_timestamp()
    FROM unnest($4::int4[], $5::int4[], $6::text[], $7::bool[], $8::text[]) AS l(step_index, call_index, content, is_error, path)
    JOIN calls c ON c.run_id = $1 AND c.path = l.path AND c.step_index = l.step_index AND c.call_index = l.call_index
    JOIN runs r ON r.id = c.run_id
    WHERE c.org_id = $2 AND c.fence = $3 AND c.state = 'unknown' AND r.state = 'waiting'
    ON CONFLICT DO NOTHING";
const OF: &str = "
    SELECT run_id, path, step_index, call_index, fence, content, is_error, at FROM late_results WHERE run_id = ANY ($1)
    ORDER BY run_id, path, step_index, call_index, fence";

#[derive(sqlx::FromRow)]
struct Row {
    run_id: Uuid,
    path: String,
    step_index: i32,
    call_index: i32,
    fence: i64,
    content: String,
    is_error: bool,
    at: At,
}

/// Keeps what refused entries say of calls that a person is asked about. Entries of anything else are passed over. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn keep_late(tx: &mut Tx, lease: LeaseClaim, entries: &[Entry]) -> Result<()> {
    let (mut paths, mut steps, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    let (mut contents, mut errors) = (Vec::new(), Vec::new());
    for entry in entries {
        if let Entry::CallDone { call, content, is_error } = entry {
            paths.push(call.step.path.to_string());
            steps.push(int(call.step.step_index));
            calls.push(int(call.call_index));
            contents.push(text::cut_bytes(content, LATE_RESULT_BYTES_MAX).to_owned());
            errors.push(*is_error);
        }
    }
    if steps.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(KEEP).bind(lease.run.uuid()).bind(lease.org.uuid()).bind(big(lease.fence));
    let query = query.bind(steps).bind(calls).bind(contents).bind(errors).bind(paths);
    query.execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

/// The late results of these runs' calls.
pub(crate) async fn late_of(tx: &mut Tx, runs: Vec<Uuid>) -> Result<HashMap<RunId, Vec<LateResult>>> {
    let rows: Vec<Row> = sqlx::query_as(OF).bind(runs).fetch_all(tx.connection()).await.map_err(sql)?;
    let mut by_run: HashMap<RunId, Vec<LateResult>> = HashMap::new();
    for row in rows {
        let Row { run_id, path, step_index, call_index, fence, content, is_error, at } = row;
        let call = load::key(run_id, &path, step_index)?.call(small(call_index));
        let late = LateResult { call, fence: count(fence), content, is_error, at: at.0 };
        by_run.entry(RunId::from_uuid(run_id)).or_default().push(late);
    }
    Ok(by_run)
}
