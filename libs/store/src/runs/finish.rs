//! The holder ends its run: the last step, the message, the terminal state and the thread's next turn in one transaction.

use super::committed::Committed;
use super::lock::{Locked, lock};
use super::row::RunRow;
use super::transition::{TransitionExtra, transition};
use crate::steps;
use crate::tx::Tx;
use runmesh_domain::canonical::Sha256Digest;
use runmesh_domain::journal::ModelStep;
use runmesh_domain::log::Position;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::{Command, Outcome, State};
use runmesh_domain::{Refusal, Result};

/// The model call that ends a run in the same breath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastStep {
    /// Its place in the run: one more than the last journaled, or the last journaled itself.
    pub step_index: u32,
    /// What it gave.
    pub result: ModelStep,
    /// Of the bytes that say so, as the worker sent them.
    pub digest: Sha256Digest,
    /// True when it was cut off: its text is kept in the message, marked unfinished, and not in the journal.
    pub unfinished: bool,
}

/// What a holder says of the end of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How it ends.
    pub outcome: Outcome,
    /// The model call that ends it, if one does.
    pub last_step: Option<LastStep>,
    /// Where the run's log stood at the holder's last acknowledged event.
    pub position: Option<Position>,
    /// Of the bytes that say so, as the holder sent them, without lease and position: what tells an exact repeat from another end.
    pub digest: Sha256Digest,
}

/// Ends the run as its holder says. An exact repeat of a committed call is answered as the first, with nothing committed.
///
/// # Errors
/// [`Refusal::Fenced`], [`Refusal::RunFinished`], or [`Refusal::StepConflict`] when the last step does not follow the
/// journal, or when this attempt finished before and said something else.
pub async fn finish(tx: &mut Tx, lease: LeaseClaim, ending: Ending) -> Result<(RunRow, Vec<Committed>)> {
    let Ending { outcome, last_step, position, digest: Sha256Digest(digest) } = ending;
    let locked = held(tx, &lease).await?;
    if is_repeat(&locked.row, &lease, &digest) {
        return Ok((locked.row, Vec::new()));
    }
    if is_other_end(&locked.row, &lease) {
        return Err(Refusal::StepConflict { problem: "this attempt finished with another body".to_owned() }.into());
    }
    let changes = locked.row.run.decide(&Command::Finish { fence: lease.fence, outcome })?;
    if let Some(last) = &last_step {
        check_last_step(tx, &locked, last).await?;
    }
    let extra = TransitionExtra { last_step, position, holder_digest: Some(digest), ..TransitionExtra::default() };
    transition(tx, locked, &changes, extra).await
}

/// The run that a lease names, locked. Another org's or thread's run under that id is none of the holder's.
pub(crate) async fn held(tx: &mut Tx, lease: &LeaseClaim) -> Result<Locked> {
    let locked = lock(tx, lease.run).await?;
    if locked.row.run.org != lease.org || locked.row.run.thread != lease.thread {
        return Err(Refusal::Fenced.into());
    }
    Ok(locked)
}

/// True when the holder said exactly this before, under this fence, and it was committed. A claim since then would have
/// raised the fence.
pub(crate) fn is_repeat(row: &RunRow, lease: &LeaseClaim, digest: &[u8; 32]) -> bool {
    let left = !matches!(row.run.state, State::Running { .. });
    left && row.run.fence == lease.fence && row.holder_digest.as_deref() == Some(digest.as_slice())
}

/// True when the holder's own Finish ended the run under this fence, and so with another body than an exact repeat's. A Release
/// is no earlier Finish, and a cancel that comes after one is not the holder's end either.
fn is_other_end(row: &RunRow, lease: &LeaseClaim) -> bool {
    let finished = row.holder_digest.as_deref().is_some_and(|said| said != release_digest());
    row.run.state.name().is_terminal() && row.run.fence == lease.fence && finished
}

/// What a Release says: it has no content, so all of them are the same.
pub(crate) fn release_digest() -> [u8; 32] {
    Sha256Digest::of(b"release").0
}

async fn check_last_step(tx: &mut Tx, locked: &Locked, last: &LastStep) -> Result<()> {
    let journaled = locked.row.last_step;
    if last.step_index == journaled + 1 {
        return Ok(());
    }
    if last.step_index >= 1 && last.step_index <= journaled {
        let same = steps::digest(tx, locked.row.run.id, last.step_index).await? == last.digest;
        if same && last.step_index == journaled {
            return Ok(());
        }
    }
    let problem = format!("the last step is {}, and {journaled} are journaled", last.step_index);
    Err(Refusal::StepConflict { problem }.into())
}
