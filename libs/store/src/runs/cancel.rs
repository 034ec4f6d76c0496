//! A person ends a run.

use super::committed::Committed;
use super::repair::lock_to_end;
use super::row::RunRow;
use super::transition::{TransitionExtra, transition};
use crate::orgs;
use crate::tx::Tx;
use runmesh_domain::actor::Actor;
use runmesh_domain::id::{OrgId, RunId, UserId};
use runmesh_domain::run::{CancelMode, Command};
use runmesh_domain::{Refusal, Result};

/// Cancels a run: at once unless it is RUNNING, else by a flag that its holder hears of and that no other end than
/// CANCELED gets past once the lease is gone. Already canceled or over: answered as it is. One that cannot be read is ended all the
/// same.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::PermissionDenied`] unless the caller sent the message, opened the thread, or is an
/// admin.
pub async fn cancel(tx: &mut Tx, org: OrgId, user: UserId, run: RunId) -> Result<(RunRow, Vec<Committed>)> {
    let locked = lock_to_end(tx, run).await?;
    if locked.row.run.org != org {
        return Err(Refusal::NotFound { what: "run" }.into());
    }
    let owner = user == locked.row.run.user || user == locked.thread_owner;
    if !owner && !orgs::is_admin(tx, org, user).await? {
        return Err(Refusal::PermissionDenied { why: "only who sent it, the thread's owner or an admin may cancel a run" }.into());
    }
    let changes = locked.row.run.decide(&Command::Cancel { mode: CancelMode::Now, by: Actor::User(user) })?;
    transition(tx, locked, &changes, TransitionExtra::default()).await
}
