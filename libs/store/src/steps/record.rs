//! The holder journals what its attempt did.

use super::attempt::{Attempt, Entry, Recorded};
use super::{load, write};
use crate::columns::At;
use crate::error::sql;
use crate::runs::{Row, RunRow, run_columns};
use crate::tx::Tx;
use runmesh_domain::id::RunId;
use runmesh_domain::journal::Usage;
use runmesh_domain::log::Position;
use runmesh_domain::path::{Path, StepKey};
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::spec::RunSpec;
use runmesh_domain::{Error, Refusal, Result, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The lock and the fence in one statement: whoever holds the row's lock sees the fence that counts (R1).
const HOLD: &str = concat!("SELECT ", run_columns!(), ", clock_timestamp() AS now FROM runs r WHERE r.id = $1 FOR UPDATE");

#[derive(sqlx::FromRow)]
struct HeldRow {
    #[sqlx(flatten)]
    run: Row,
    now: At,
}

/// Journals entries in order, all or none. An exact repeat of what was journaled under the same fence is answered as the
/// first, also when the run is lost by now.
///
/// # Errors
/// [`Refusal::Fenced`], [`Refusal::RunFinished`], [`Refusal::StepConflict`], [`Refusal::CallNotAllowed`].
pub async fn record(tx: &mut Tx, lease: LeaseClaim, entries: Vec<Entry>, position: Option<Position>) -> Result<Recorded> {
    let (row, now) = hold(tx, &lease).await?;
    let refusal = row.run.check_holder(lease.fence).err();
    let mut attempt = read(tx, &row, &lease, &entries, refusal.is_none()).await?;
    let spec = spec_for(tx, &attempt, &entries).await?;
    let model_steps: Vec<StepKey> = entries.iter().filter_map(model_step).cloned().collect();
    for entry in entries {
        let taken = attempt.take(entry, spec.as_ref());
        match (taken, &refusal) {
            (Ok(()), _) => {}
            // Whatever is wrong with it: whoever does not hold the run hears just that.
            (Err(Error::Refused(_)), Some(refusal)) => return Err(refusal.clone().into()),
            (Err(error), _) => return Err(error),
        }
    }
    if refusal.is_none() {
        store(tx, &attempt, row.clone(), position, now).await?;
    }
    let verdicts = model_steps.iter().flat_map(|step| attempt.verdicts(step)).collect();
    Ok(Recorded { verdicts, cancel_requested: row.run.is_cancel_requested() })
}

/// The run of a lease, its row locked.
async fn hold(tx: &mut Tx, lease: &LeaseClaim) -> Result<(RunRow, Timestamp)> {
    let query = sqlx::query_as(HOLD).bind(lease.run.uuid());
    let row: Option<HeldRow> = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    let HeldRow { run, now } = row.ok_or(Refusal::NotFound { what: "run" })?;
    let row = run.read()?;
    if row.run.org != lease.org || row.run.thread != lease.thread {
        return Err(Refusal::Fenced.into());
    }
    Ok((row, now.0))
}

/// As much of the journal as the entries speak of.
async fn read(tx: &mut Tx, row: &RunRow, lease: &LeaseClaim, entries: &[Entry], holds: bool) -> Result<Attempt> {
    let mut last_steps = last_of_branches(tx, row.run.id, entries).await?;
    last_steps.insert(Path::TOP, row.last_step);
    let journaled = |step: &&StepKey| last_steps.get(&step.path).is_some_and(|last| step.step_index <= *last);
    let steps: BTreeSet<&StepKey> = entries.iter().filter_map(model_step).filter(journaled).collect();
    let openers: Vec<StepKey> = entries.iter().filter_map(|entry| Some(step_of(entry).path.parent()?.step)).collect();
    let called: BTreeSet<&StepKey> = entries.iter().map(step_of).chain(&openers).filter(journaled).collect();
    let known = if steps.is_empty() { Vec::new() } else { load::digests(tx, row.run.id, steps).await? };
    let calls = if called.is_empty() { Vec::new() } else { load::calls_of(tx, row.run.id, called).await? };
    Ok(Attempt {
        run: row.run.id,
        fence: lease.fence,
        holds,
        last_steps,
        known: known.into_iter().map(|(step, fence, digest)| (step, (fence, digest))).collect(),
        calls: calls.into_iter().map(|call| (call.key(), call)).collect(),
        new_steps: Vec::new(),
        changed: BTreeSet::new(),
        dispatched_now: BTreeSet::new(),
        usage: Usage::default(),
        journal: row.journal,
        progress: false,
    })
}

/// The last steps of the branches that the entries speak of, and of those that these came from.
async fn last_of_branches(tx: &mut Tx, run: RunId, entries: &[Entry]) -> Result<BTreeMap<Path, u32>> {
    let mut paths = BTreeSet::new();
    for entry in entries {
        let mut path = step_of(entry).path.clone();
        while let Some(opener) = path.parent() {
            paths.insert(std::mem::replace(&mut path, opener.step.path));
        }
    }
    if paths.is_empty() { Ok(BTreeMap::new()) } else { load::last_steps(tx, run, paths).await }
}

/// The frozen spec, when there are new calls to judge.
async fn spec_for(tx: &mut Tx, attempt: &Attempt, entries: &[Entry]) -> Result<Option<RunSpec>> {
    let asks = |entry: &Entry| match entry {
        Entry::ModelStep { step, result, .. } => {
            step.step_index > attempt.last_step(&step.path) && result.calls().next().is_some()
        }
        Entry::CallDispatched { .. } | Entry::CallDone { .. } => false,
    };
    if !entries.iter().any(asks) {
        return Ok(None);
    }
    load::spec(tx, attempt.run).await.map(Some)
}

async fn store(tx: &mut Tx, attempt: &Attempt, row: RunRow, position: Option<Position>, now: Timestamp) -> Result<()> {
    let mut row = row;
    let moved = position.filter(|position| position.seq > row.position.seq);
    if attempt.new_steps.is_empty() && attempt.changed.is_empty() && moved.is_none() {
        return Ok(());
    }
    row.position = moved.unwrap_or(row.position);
    row.usage = row.usage + attempt.usage;
    row.journal = attempt.journal;
    if attempt.progress {
        row.run.note_progress();
    }
    write::write(tx, attempt, &row, now).await
}

const fn model_step(entry: &Entry) -> Option<&StepKey> {
    match entry {
        Entry::ModelStep { step, .. } => Some(step),
        Entry::CallDispatched { .. } | Entry::CallDone { .. } => None,
    }
}

const fn step_of(entry: &Entry) -> &StepKey {
    match entry {
        Entry::ModelStep { step, .. } => step,
        Entry::CallDispatched { call } | Entry::CallDone { call, .. } => &call.step,
    }
}
