//! The one way a run changes its state.

use super::committed::Committed;
use super::ending::{self, Successor};
use super::finish::LastStep;
use super::lock::Locked;
use super::moves::{self, Move};
use super::row::RunRow;
use crate::actions::{self, NewAction};
use crate::tx::Tx;
use runmesh_domain::id::{RunId, SessionId};
use runmesh_domain::log::Position;
use runmesh_domain::path::CallKey;
use runmesh_domain::run::{Change, Run};
use runmesh_domain::transition::{Record, Transition};
use runmesh_domain::{Result, Timestamp};

/// What goes with a transition.
#[derive(Debug, Clone, Default)]
pub struct TransitionExtra {
    /// The model call that ends the run in the same breath.
    pub last_step: Option<LastStep>,
    /// Where the run's log stood at the holder's last acknowledged event.
    pub position: Option<Position>,
    /// The question in words, for a pause.
    pub summary: String,
    /// The calls that the question is about, for a pause.
    pub asked: Vec<CallKey>,
    /// Which turn follows, for an end.
    pub(crate) successor: Successor,
    /// What tells an exact repeat of the holder's call.
    pub(crate) holder_digest: Option<[u8; 32]>,
}

impl TransitionExtra {
    /// An end that this run follows, which the caller accepts in the same transaction.
    #[must_use]
    pub fn followed_by(run: RunId) -> Self {
        Self { successor: Successor::Given(run), ..Self::default() }
    }
}

/// Applies what was decided: writes the run, one transition for each change that is one, and everything that follows from
/// it. A pause makes its pending action. An end writes the assistant's message from the journal, gives every open call a
/// result, withdraws a pending action, and makes the thread's next run READY.
///
/// Answers the run as it is now and every transition written, of this run and of the promoted one, in order.
///
/// # Errors
/// [`runmesh_domain::Fault`] only: what was decided can be done.
pub async fn transition(
    tx: &mut Tx,
    locked: Locked,
    changes: &[Change],
    extra: TransitionExtra,
) -> Result<(RunRow, Vec<Committed>)> {
    let mut locked = locked;
    let mut committed = Vec::new();
    for change in changes {
        let (row, more) = match change {
            Change::Ended { ended, .. } => ending::end(tx, &locked, change, ended, &extra).await?,
            Change::Paused { .. } => pause(tx, &locked, change, &extra).await?,
            Change::Promoted | Change::Claimed { .. } | Change::GivenBack { .. } | Change::CancelRequested { .. } => {
                plain(tx, &locked, change, &extra).await?
            }
        };
        locked.row = row;
        committed.extend(more);
    }
    Ok((locked.row, committed))
}

async fn plain(tx: &mut Tx, locked: &Locked, change: &Change, extra: &TransitionExtra) -> Result<(RunRow, Vec<Committed>)> {
    let record = if matches!(change, Change::Claimed { .. }) { Record::AttemptStarted } else { Record::Quiet };
    let step = Move::decided(&locked.row, change, record, locked.now, extra);
    moves::write(tx, std::slice::from_ref(&step)).await?;
    Ok(step.done())
}

async fn pause(tx: &mut Tx, locked: &Locked, change: &Change, extra: &TransitionExtra) -> Result<(RunRow, Vec<Committed>)> {
    let Change::Paused { action, .. } = change else { return plain(tx, locked, change, extra).await };
    let record = Record::ApprovalRequested { action: *action, summary: extra.summary.clone() };
    let step = Move::decided(&locked.row, change, record, locked.now, extra);
    moves::write(tx, std::slice::from_ref(&step)).await?;
    let new = NewAction { id: *action, run: &locked.row.run, summary: &extra.summary, calls: &extra.asked, now: locked.now };
    actions::ask(tx, new).await?;
    Ok(step.done())
}

impl Move {
    /// A run after one change, with the transition that says so.
    pub(crate) fn decided(before: &RunRow, change: &Change, record: Record, now: Timestamp, extra: &TransitionExtra) -> Self {
        let mut after = before.clone();
        after.run.apply(change);
        if let Some(position) = extra.position.filter(|position| position.seq >= after.position.seq) {
            after.position = position;
        }
        if let Some(digest) = extra.holder_digest {
            after.holder_digest = Some(digest.to_vec());
        }
        if after.run.cancel.is_some() && before.run.cancel.is_none() {
            after.cancel_at = Some(now);
        }
        let Some(cause) = change.cause() else { return Self { before: before.run.version, after, transition: None } };
        after.changed_at = now;
        if matches!(change, Change::Claimed { .. }) {
            after.claimed_at = Some(now);
            after.started_at = after.started_at.or(Some(now));
            after.progress_at = Some(now);
            after.not_before = None;
        }
        if matches!(change, Change::GivenBack { .. }) {
            let wait = after.run.backoff();
            after.not_before = (!wait.is_zero()).then(|| now.later(wait));
        }
        if after.run.state.name().is_terminal() {
            after.ended_at = Some(now);
        }
        let transition = Transition {
            run: after.run.id,
            version: after.run.version,
            from: Some(before.run.state.name()),
            to: after.run.state.name(),
            cause,
            fence: after.run.fence,
            session: concerned(&before.run, &after.run),
            actor: change.actor(before.run.state.session()),
            at: now,
            record,
        };
        Self { before: before.run.version, after, transition: Some(transition) }
    }

    /// What there is to tell once it is written.
    pub(crate) fn done(self) -> (RunRow, Vec<Committed>) {
        let committed = self.transition.map(|transition| Committed::new(&self.after, transition));
        (self.after, committed.into_iter().collect())
    }
}

/// The session that holds the run after the transition, or held it before.
fn concerned(before: &Run, after: &Run) -> Option<SessionId> {
    after.state.session().or_else(|| before.state.session())
}
