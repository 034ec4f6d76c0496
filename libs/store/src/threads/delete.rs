//! Deleting a thread: it can no longer be read or sent to, and its open runs are canceled.

use super::check_may_change;
use crate::error::sql;
use crate::runs::{self, Committed, RunRow, TransitionExtra};
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::actor::Actor;
use runmesh_domain::id::{OrgId, RunId, ThreadId, UserId};
use runmesh_domain::run::{CancelMode, Command};
use uuid::Uuid;

/// The turn that would start last goes first: otherwise each end would promote the next turn only for it to be canceled too.
const OPEN: &str = "
    SELECT id, false AS is_queued, rank FROM runs WHERE thread_id = $1 AND kind = 'turn' AND state IN ('ready', 'running', 'waiting')
    UNION ALL SELECT id, true, rank FROM runs WHERE thread_id = $1 AND kind = 'turn' AND state = 'queued'
    ORDER BY is_queued DESC, rank DESC";

/// Deletes a thread. A RUNNING run is asked to end and ends like any canceled one. Answers the runs that were open, as they
/// are now, and every transition written.
///
/// # Errors
/// [`runmesh_domain::Refusal::NotFound`]; [`runmesh_domain::Refusal::PermissionDenied`] unless the caller opened it or is an
/// admin.
pub async fn delete(tx: &mut Tx, org: OrgId, user: UserId, thread: ThreadId) -> Result<(Vec<RunRow>, Vec<Committed>)> {
    check_may_change(tx, org, user, thread).await?;
    // The update locks the thread: no message is accepted after it, and every run accepted before is seen below.
    let query = "UPDATE threads SET deleted_at = clock_timestamp() WHERE id = $1 AND deleted_at IS NULL";
    sqlx::query(query).bind(thread.uuid()).execute(tx.connection()).await.map_err(sql)?;
    let open: Vec<(Uuid, bool, i64)> = sqlx::query_as(OPEN).bind(thread.uuid()).fetch_all(tx.connection()).await.map_err(sql)?;
    let (mut rows, mut committed) = (Vec::new(), Vec::new());
    for (run, _, _) in open {
        let locked = runs::lock(tx, RunId::from_uuid(run)).await?;
        let changes = locked.row.run.decide(&Command::Cancel { mode: CancelMode::Now, by: Actor::User(user) })?;
        let (row, more) = runs::transition(tx, locked, &changes, TransitionExtra::default()).await?;
        rows.push(row);
        committed.extend(more);
    }
    Ok((rows, committed))
}
