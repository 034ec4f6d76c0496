//! The holder gives its run back.

use super::committed::Committed;
use super::finish::{held, is_repeat, release_digest};
use super::recover;
use super::row::RunRow;
use super::transition::{TransitionExtra, transition};
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::log::Position;
use runmesh_domain::principal::LeaseClaim;
use runmesh_domain::run::Command;

/// Gives the run back: READY for another worker, WAITING when a call may have happened, or to its end when that was asked
/// for. An exact repeat is answered with the run as it is now, with nothing committed.
///
/// # Errors
/// [`runmesh_domain::Refusal::Fenced`] or [`runmesh_domain::Refusal::RunFinished`].
pub async fn release(tx: &mut Tx, lease: LeaseClaim, position: Option<Position>) -> Result<(RunRow, Vec<Committed>)> {
    let digest = release_digest();
    let locked = held(tx, &lease).await?;
    if is_repeat(&locked.row, &lease, &digest) {
        return Ok((locked.row, Vec::new()));
    }
    locked.row.run.check_holder(lease.fence)?;
    let (ask, extra) = recover::ask(tx, &locked).await?;
    let changes = locked.row.run.decide(&Command::Release { fence: lease.fence, ask })?;
    transition(tx, locked, &changes, TransitionExtra { position, holder_digest: Some(digest), ..extra }).await
}
