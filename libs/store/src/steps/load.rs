//! Reading the journal.

use crate::columns::{At, bad_row, big, count, int, small};
use crate::error::sql;
use crate::stored::Stored;
use crate::tx::Tx;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::id::RunId;
use runmesh_domain::journal::{Call, CallState, ModelStep, Step, call_key};
use runmesh_domain::path::{CallKey, Path, StepKey};
use runmesh_domain::policy::Verdict;
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Fault, Result};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const STEPS: &str = "
    SELECT run_id, path, step_index, fence, result, created_at FROM steps WHERE run_id = ANY ($1)
    ORDER BY run_id, path, step_index";

macro_rules! call_columns {
    () => {
        "run_id, path, step_index, call_index, call_id, name, arguments, state, verdict, idempotent, content, fence"
    };
}

const CALLS: &str =
    concat!("SELECT ", call_columns!(), " FROM calls WHERE run_id = ANY ($1) ORDER BY run_id, path, step_index, call_index");
/// The calls from one on up to those of the step $5 and $6, as long as those before them hold no more than $7. At least two, so
/// that it can be seen that there are more than one.
const CALLS_FROM: &str = concat!(
    "SELECT * FROM (
       SELECT ",
    call_columns!(),
    ", sum(octet_length(content)) OVER w - octet_length(content) AS before, row_number() OVER w AS nth
       FROM calls WHERE run_id = $1 AND (path, step_index, call_index) >= ($2, $3, $4) AND (path, step_index) <= ($5, $6)
       WINDOW w AS (ORDER BY path, step_index, call_index)) c
     WHERE nth <= 2 OR before <= $7 ORDER BY path, step_index, call_index"
);
/// The calls of all steps with one of these paths and one of these indexes: what was not asked for does no harm.
const CALLS_OF_STEPS: &str =
    concat!("SELECT ", call_columns!(), " FROM calls WHERE run_id = $1 AND path = ANY ($2) AND step_index = ANY ($3)");
const IN_FLIGHT: &str = concat!(
    "SELECT ",
    call_columns!(),
    " FROM calls WHERE run_id = $1 AND state IN ('dispatched', 'unknown') ORDER BY path, step_index, call_index"
);

/// The steps from $2 and $3 on, at most $4, as long as they hold no more than $5; each with the one behind it.
const STEPS_FROM: &str = "
    SELECT * FROM (
      SELECT s.*, sum(octet_length(result::text)) OVER w AS total, row_number() OVER w AS nth,
        lead(path) OVER w AS next_path, lead(step_index) OVER w AS next_index
      FROM (SELECT run_id, path, step_index, fence, result, created_at FROM steps
            WHERE run_id = $1 AND (path, step_index) >= ($2, $3) ORDER BY path, step_index LIMIT $4 + 1) s
      WINDOW w AS (ORDER BY path, step_index)) s
    WHERE nth = 1 OR (nth <= $4 AND total <= $5) ORDER BY path, step_index";

#[derive(sqlx::FromRow)]
pub(super) struct StepRow {
    run_id: Uuid,
    path: String,
    step_index: i32,
    fence: i64,
    result: Stored<ModelStep>,
    created_at: At,
}

#[derive(sqlx::FromRow)]
pub(super) struct PagedRow {
    #[sqlx(flatten)]
    step: StepRow,
    next_path: Option<String>,
    next_index: Option<i32>,
}

#[derive(sqlx::FromRow)]
pub(super) struct CallRow {
    run_id: Uuid,
    path: String,
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
    pub(crate) step: StepKey,
    pub(crate) fence: u64,
    pub(crate) call: Call,
}

impl StoredCall {
    /// What names it within its run.
    pub(crate) fn key(&self) -> CallKey {
        self.step.clone().call(self.call.call_index)
    }
}

/// The whole journal of a run: the steps of the top level in order, then those of branches, each branch behind the one that it came
/// from.
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
        let run = RunId::from_uuid(row.run_id);
        let step = row.read()?;
        any_calls |= step.result.calls().next().is_some();
        steps.entry(run).or_default().push(step);
    }
    if !any_calls {
        return Ok(steps);
    }
    let rows: Vec<CallRow> = sqlx::query_as(CALLS).bind(&ids).fetch_all(tx.connection()).await.map_err(sql)?;
    for row in rows {
        let run = RunId::from_uuid(row.run_id);
        let stored = row.read()?;
        let of_run = steps.get_mut(&run);
        if let Some(steps) = of_run {
            add(steps, stored);
        }
    }
    Ok(steps)
}

/// Adds a call to its step, when that is there.
fn add(steps: &mut [Step], stored: StoredCall) {
    let StoredCall { step: StepKey { path, step_index }, fence: _, call } = stored;
    if let Some(step) = steps.iter_mut().find(|step| step.step_index == step_index && step.path == path) {
        step.calls.push(call);
    }
}

/// The journal from a call of a step on, at most `limit` steps of it. Not much more is read than `bytes_max`: what is beyond
/// is left out, but for the first step with its first two calls. Also the step behind the last one, if there is one.
pub(super) async fn load_from(
    tx: &mut Tx,
    run: RunId,
    from: &CallKey,
    limit: u32,
    bytes_max: usize,
) -> Result<(Vec<Step>, Option<StepKey>)> {
    let CallKey { step: StepKey { path, step_index }, call_index } = from;
    let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
    let query = sqlx::query_as(STEPS_FROM).bind(run.uuid()).bind(path.to_string()).bind(int(*step_index));
    let query = query.bind(i64::from(limit)).bind(bytes_max);
    let rows: Vec<PagedRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let (mut steps, mut behind) = (Vec::new(), None);
    for PagedRow { step, next_path, next_index } in rows {
        let next = next_path.zip(next_index).map(|(path, index)| key(step.run_id, &path, index));
        behind = next.transpose()?;
        steps.push(step.read()?);
    }
    let Some(last) = steps.last() else { return Ok((steps, None)) };
    let query = sqlx::query_as(CALLS_FROM).bind(run.uuid());
    let query = query.bind(path.to_string()).bind(int(*step_index)).bind(int(*call_index));
    let query = query.bind(last.path.to_string()).bind(int(last.step_index)).bind(bytes_max);
    let rows: Vec<CallRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    for row in rows {
        add(&mut steps, row.read()?);
    }
    Ok((steps, behind))
}

/// Puts calls with their steps.
pub(super) fn add_calls(steps: &mut [Step], rows: Vec<CallRow>) -> Result<()> {
    for row in rows {
        add(steps, row.read()?);
    }
    Ok(())
}

/// Which steps attempts before `fence` journaled, in the order of [`load`].
///
/// # Errors
/// [`Fault`] only.
pub async fn journaled_before(tx: &mut Tx, run: RunId, fence: u64) -> Result<Vec<StepKey>> {
    let query = "SELECT path, step_index FROM steps WHERE run_id = $1 AND fence < $2 ORDER BY path, step_index";
    let query = sqlx::query_as(query).bind(run.uuid()).bind(big(fence));
    let steps: Vec<(String, i32)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(steps.into_iter().map(|(path, index)| key(run.uuid(), &path, index)).collect::<Result<_, _>>()?)
}

/// The last steps of branches. Those without a step are absent.
pub(super) async fn last_steps(tx: &mut Tx, run: RunId, paths: BTreeSet<Path>) -> Result<BTreeMap<Path, u32>> {
    let query = "SELECT path, max(step_index) FROM steps WHERE run_id = $1 AND path = ANY ($2) GROUP BY path";
    let paths: Vec<String> = paths.into_iter().map(String::from).collect();
    let query = sqlx::query_as(query).bind(run.uuid()).bind(paths);
    let rows: Vec<(String, i32)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |(path, index): (String, i32)| key(run.uuid(), &path, index).map(|step| (step.path, step.step_index));
    Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
}

/// The calls of some steps, and perhaps of others.
pub(super) async fn calls_of<'a>(
    tx: &mut Tx,
    run: RunId,
    steps: impl IntoIterator<Item = &'a StepKey>,
) -> Result<Vec<StoredCall>> {
    let (paths, indexes) = paths_and_indexes(steps);
    let query = sqlx::query_as(CALLS_OF_STEPS).bind(run.uuid()).bind(paths).bind(indexes);
    let rows: Vec<CallRow> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    Ok(rows.into_iter().map(CallRow::read).collect::<Result<_, _>>()?)
}

/// Texts and indexes for a statement that looks for them apart.
fn paths_and_indexes<'a>(steps: impl IntoIterator<Item = &'a StepKey>) -> (Vec<String>, Vec<i32>) {
    let of_step = |step: &StepKey| (step.path.to_string(), int(step.step_index));
    let pairs: BTreeSet<(String, i32)> = steps.into_iter().map(of_step).collect();
    pairs.into_iter().unzip()
}

/// The calls that were begun and have no result, with their steps.
pub(crate) async fn in_flight(tx: &mut Tx, run: RunId) -> Result<Vec<(StepKey, Call)>> {
    let rows: Vec<CallRow> = sqlx::query_as(IN_FLIGHT).bind(run.uuid()).fetch_all(tx.connection()).await.map_err(sql)?;
    rows.into_iter().map(|row| row.read().map(|stored| (stored.step, stored.call)).map_err(Into::into)).collect()
}

/// The calls that have not begun. A row that this version cannot read is left out: it keeps no run from its end.
pub(crate) async fn reserved(tx: &mut Tx, run: RunId) -> Result<Vec<CallKey>> {
    let query = "SELECT path, step_index, call_index FROM calls WHERE run_id = $1 AND state = 'reserved'
                 ORDER BY path, step_index, call_index";
    let rows: Vec<(String, i32, i32)> = sqlx::query_as(query).bind(run.uuid()).fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |(path, step, call): (String, i32, i32)| key(run.uuid(), &path, step).map(|step| step.call(small(call)));
    let noted =
        |fault: &Fault| tracing::error!(%run, %fault, "a call cannot be read: the log does not show that the end closes it");
    Ok(rows.into_iter().filter_map(|row| read(row).inspect_err(noted).ok()).collect())
}

/// Fence and digest of some steps, and perhaps of others.
pub(super) async fn digests<'a>(
    tx: &mut Tx,
    run: RunId,
    steps: impl IntoIterator<Item = &'a StepKey>,
) -> Result<Vec<(StepKey, u64, Sha256Digest)>> {
    let (paths, indexes) = paths_and_indexes(steps);
    let query =
        "SELECT path, step_index, fence, digest FROM steps WHERE run_id = $1 AND path = ANY ($2) AND step_index = ANY ($3)";
    let query = sqlx::query_as(query).bind(run.uuid()).bind(paths).bind(indexes);
    let rows: Vec<(String, i32, i64, Vec<u8>)> = query.fetch_all(tx.connection()).await.map_err(sql)?;
    let read = |(path, step, fence, digest): (String, i32, i64, Vec<u8>)| {
        let digest = digest.try_into().map_err(|_| bad_row("steps", "digest", run, "not 32 bytes long"))?;
        Ok((key(run.uuid(), &path, step)?, count(fence), Sha256Digest(digest)))
    };
    rows.into_iter().map(read).collect()
}

/// The digest of one journaled step of the top level.
pub(crate) async fn digest(tx: &mut Tx, run: RunId, step_index: u32) -> Result<Sha256Digest> {
    let found = digests(tx, run, &[StepKey::top(step_index)]).await?;
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
    pub(super) fn read(self) -> Result<Step, Fault> {
        let StepKey { path, step_index } = key(self.run_id, &self.path, self.step_index)?;
        let fence = count(self.fence);
        let id = format!("{}, step {}", RunId::from_uuid(self.run_id), step_index);
        let result = self.result.read("steps", "result", id)?;
        Ok(Step { path, step_index, fence, result, calls: Vec::new(), created_at: self.created_at.0 })
    }
}

impl CallRow {
    fn read(self) -> Result<StoredCall, Fault> {
        let run = RunId::from_uuid(self.run_id);
        let (step, call_index) = (key(self.run_id, &self.path, self.step_index)?, small(self.call_index));
        let id = format!("{run}, call {}", step.clone().call(call_index));
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
            idempotency_key: call_key(run, &step, call_index),
            content: self.content,
        };
        Ok(StoredCall { step, fence: count(self.fence), call })
    }
}

/// A step out of its columns.
pub(crate) fn key(run: Uuid, path: &str, step_index: i32) -> Result<StepKey, Fault> {
    let path = path.parse::<Path>().map_err(|_| bad_row("steps", "path", RunId::from_uuid(run), path))?;
    Ok(StepKey { path, step_index: small(step_index) })
}
