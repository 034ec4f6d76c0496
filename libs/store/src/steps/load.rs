//! Reading the journal.

use crate::columns::{At, bad_row, big, count, int, small};
use crate::error::sql;
use crate::stored::Stored;
use crate::tx::Tx;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::RunId;
use runmesh_domain::journal::{Call, CallState, ModelStep, Step, call_key};
use runmesh_domain::policy::Verdict;
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Fault, Result};
use sqlx::types::Json;
use std::collections::BTreeMap;
use uuid::Uuid;

const STEPS: &str = "
    SELECT run_id, step_index, fence, result, created_at FROM steps WHERE run_id = ANY ($1) ORDER BY run_id, step_index";

macro_rules! call_columns {
    () => {
        "run_id, step_index, call_index, call_id, name, arguments, state, verdict, idempotent, content, fence"
    };
}

const CALLS: &str =
    concat!("SELECT ", call_columns!(), " FROM calls WHERE run_id = ANY ($1) ORDER BY run_id, step_index, call_index");
/// The calls of the steps $2 from a call on, as long as those before them hold no more than $5. At least two, so that it can
/// be seen that there are more than one.
const CALLS_FROM: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    call_columns!(),
    ", sum(octet_length(content)) OVER w - octet_length(content) AS before, row_number() OVER w AS nth
       FROM calls WHERE run_id = $1 AND step_index = ANY ($2) AND (step_index, call_index) >= ($3, $4)
       WINDOW w AS (ORDER BY step_index, call_index)) c
     WHERE nth <= 2 OR before <= $5 ORDER BY step_index, call_index"
);
const CALLS_OF_STEPS: &str = concat!(
    "SELECT ",
    call_columns!(),
    " FROM calls WHERE run_id = $1 AND step_index = ANY ($2) ORDER BY step_index, call_index"
);
const IN_FLIGHT: &str = concat!(
    "SELECT ",
    call_columns!(),
    " FROM calls WHERE run_id = $1 AND state IN ('dispatched', 'unknown') ORDER BY step_index, call_index"
);

/// The steps from $2 on, at most $3, as long as they hold no more than $4.
const STEPS_FROM: &str = "
    SELECT * FROM (
      SELECT s.*, sum(octet_length(result::text)) OVER w AS total, row_number() OVER w AS nth
      FROM (SELECT run_id, step_index, fence, result, created_at FROM steps WHERE run_id = $1 AND step_index >= $2
            ORDER BY step_index LIMIT $3) s
      WINDOW w AS (ORDER BY step_index)) s
    WHERE nth = 1 OR total <= $4 ORDER BY step_index";

#[derive(sqlx::FromRow)]
pub(super) struct StepRow {
    run_id: Uuid,
    step_index: i32,
    fence: i64,
    result: Json<ModelStep>,
    created_at: At,
}

#[derive(sqlx::FromRow)]
pub(super) struct CallRow {
    run_id: Uuid,
    step_index: i32,
    call_index: i32,
    call_id: String,
    name: String,
    arguments: String,
    state: String,
    verdict: Stored<Verdict>,
    idempotent: bool,
    content: String,
    fence: i64,
}

/// A call as stored: with its step, and the attempt that last touched it.
pub(crate) struct StoredCall {
    pub(crate) step_index: u32,
    pub(crate) fence: u64,
    pub(crate) call: Call,
}

/// The whole journal of a run, in order.
///
/// # Errors
/// [`Fault`] only; a run without steps has an empty journal.
pub async fn load(tx: &mut Tx, run: RunId) -> Result<Vec<Step>> {
    Ok(load_many(tx, &[run]).await?.remove(&run).unwrap_or_default())
}

/// The journals of several runs, in two statements.
pub(crate) async fn load_many(tx: &mut Tx, runs: &[RunId]) -> Result<BTreeMap<RunId, Vec<Step>>> {
    let ids: Vec<Uuid> = runs.iter().map(|run| run.uuid()).collect();
    let rows: Vec<StepRow> = sqlx::query_as(STEPS).bind(&ids).fetch_all(tx.connection()).await.map_err(sql)?;
    let mut steps: BTreeMap<RunId, Vec<Step>> = BTreeMap::new();
    let mut any_calls = false;
    for row in rows {
        any_calls |= row.result.calls().next().is_some();
        steps.entry(RunId::from_uuid(row.run_id)).or_default().push(row.read());
    }
    if !any_calls {
        return Ok(steps);
    }
    let rows: Vec<CallRow> = sqlx::query_as(CALLS).bind(&ids).fetch_all(tx.connection()).await.map_err(sql)?;
    for row in rows {
        let run = RunId::from_uuid(row.run_id);
        let stored = row.read()?;
        let of_run = steps.get_mut(&run);
        if let Some(step) = of_run.and_then(|steps| steps.iter_mut().find(|step| step.step_index == stored.step_index)) {
            step.calls.push(stored.call);
        }
    }
    Ok(steps)
}

/// The journal from a call of a step on, at most `limit` steps of it. Not much more is read than `bytes_max`: what is beyond
/// is left out, but for the first step with its first two calls.
pub(super) async fn load_from(tx: &mut Tx, run: RunId, from: (u32, u32), limit: u32, bytes_max: usize) -> Result<Vec<Step>> {
    let (step, call) = from;
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    let query = sqlx::query_as(STEPS_FROM).bind(run.uuid()).bind(int(step)).bind(i64::from(limit)).bind(bytes_max);
    let rows: Vec<StepRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let mut steps: Vec<Step> = rows.into_iter().map(StepRow::read).collect();
    let indexes: Vec<i32> = steps.iter().map(|step| int(step.step_index)).collect();
    let query = sqlx::query_as(CALLS_FROM).bind(run.uuid()).bind(indexes).bind(int(step)).bind(int(call)).bind(bytes_max);
    let rows: Vec<CallRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    for row in rows {
        let stored = row.read()?;
        if let Some(step) = steps.iter_mut().find(|step| step.step_index == stored.step_index) {
            step.calls.push(stored.call);
        }
    }
    Ok(steps)
}

/// Puts calls with their steps.
pub(super) fn add_calls(steps: &mut [Step], rows: Vec<CallRow>) -> Result<()> {
    for row in rows {
        let stored = row.read()?;
        if let Some(step) = steps.iter_mut().find(|step| step.step_index == stored.step_index) {
            step.calls.push(stored.call);
        }
    }
    Ok(())
}

/// Which steps attempts before `fence` journaled, in order.
///
/// # Errors
/// [`Fault`] only.
pub async fn journaled_before(tx: &mut Tx, run: RunId, fence: u64) -> Result<Vec<u32>> {
    let query = "SELECT step_index FROM steps WHERE run_id = $1 AND fence < $2 ORDER BY step_index";
    let query = sqlx::query_scalar(query).bind(run.uuid()).bind(big(fence));
    let steps: Vec<i32> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(steps.into_iter().map(small).collect())
}

/// The calls of some steps.
pub(crate) async fn calls_of(tx: &mut Tx, run: RunId, steps: &[i32]) -> Result<Vec<StoredCall>> {
    let query = sqlx::query_as(CALLS_OF_STEPS).bind(run.uuid()).bind(steps);
    let rows: Vec<CallRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(rows.into_iter().map(CallRow::read).collect::<Result<_, _>>()?)
}

/// The calls that were begun and have no result: `(step, call)`.
pub(crate) async fn in_flight(tx: &mut Tx, run: RunId) -> Result<Vec<(u32, Call)>> {
    let rows: Vec<CallRow> = sqlx::query_as(IN_FLIGHT).bind(run.uuid()).fetch_all(tx.connection()).await.map_err(sql)?;
    rows.into_iter().map(|row| row.read().map(|stored| (stored.step_index, stored.call)).map_err(Into::into)).collect()
}

/// Fence and digest of some steps.
pub(crate) async fn digests(tx: &mut Tx, run: RunId, steps: &[i32]) -> Result<Vec<(u32, u64, Sha256Digest)>> {
    let query = "SELECT step_index, fence, digest FROM steps WHERE run_id = $1 AND step_index = ANY ($2)";
    let query = sqlx::query_as(query).bind(run.uuid()).bind(steps);
    let rows: Vec<(i32, i64, Vec<u8>)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |(step, fence, digest): (i32, i64, Vec<u8>)| {
        let digest = digest.try_into().map_err(|_| bad_row("steps", "digest", run, "not 32 bytes long"))?;
        Ok((small(step), count(fence), Sha256Digest(digest)))
    };
    rows.into_iter().map(read).collect()
}

/// The digest of one journaled step.
pub(crate) async fn digest(tx: &mut Tx, run: RunId, step_index: u32) -> Result<Sha256Digest> {
    let found = digests(tx, run, &[int(step_index)]).await?;
    let (_, _, digest) = found.first().ok_or_else(|| Fault::internal(format!("{run} has no step {step_index}")))?;
    Ok(*digest)
}

/// What a run runs.
pub(crate) async fn spec(tx: &mut Tx, run: RunId) -> Result<RunSpec> {
    let query = sqlx::query_scalar("SELECT spec FROM run_specs WHERE run_id = $1").bind(run.uuid());
    let spec: Stored<RunSpec> = query.fetch_one(tx.connection()).await.map_err(sql)?;
    Ok(spec.read("run_specs", "spec", run)?)
}

impl StepRow {
    /// Without its calls.
    pub(super) fn read(self) -> Step {
        Step {
            step_index: small(self.step_index),
            fence: count(self.fence),
            result: self.result.0,
            calls: Vec::new(),
            created_at: self.created_at.0,
        }
    }
}

impl CallRow {
    fn read(self) -> Result<StoredCall, Fault> {
        let run = RunId::from_uuid(self.run_id);
        let (step_index, call_index) = (small(self.step_index), small(self.call_index));
        let id = format!("{run}/{step_index}/{call_index}");
        let bad = || bad_row("calls", "state", &id, &self.state);
        let state = CallState::from_name(&self.state).ok_or_else(bad)?;
        let call = Call {
            call_index,
            call_id: self.call_id,
            name: self.name,
            arguments: self.arguments,
            state,
            verdict: self.verdict.read("calls", "verdict", &id)?,
            idempotent: self.idempotent,
            idempotency_key: call_key(run, step_index, call_index),
            content: self.content,
        };
        Ok(StoredCall { step_index, fence: count(self.fence), call })
    }
}
