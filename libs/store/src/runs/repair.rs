//! Making a run's own row readable for the person who ends the run. What this version does not know in it, another version wrote or a
//! hand changed; nobody claims or sweeps such a run, and without this nobody could end it either.

use super::lock::{Locked, lock};
use crate::error::{self, sql};
use crate::tx::Tx;
use runmesh_domain::id::RunId;
use runmesh_domain::run::{RunKind, StateName};
use runmesh_domain::{Error, Fault, Result};

/// A state that is not known holds neither a worker nor the thread, and so becomes the one that does not either. A kind that is not
/// known becomes the one whose numbers the row has.
const REPAIR: &str = "
    UPDATE runs SET set_aside = CASE WHEN set_aside = '' THEN $4 ELSE set_aside END,
      kind = CASE WHEN kind = ANY ($3) THEN kind WHEN turn_number >= 1 THEN 'turn' ELSE 'background' END,
      state = CASE WHEN state = ANY ($2) THEN state ELSE 'queued' END,
      session_id = CASE WHEN state = 'running' THEN session_id END,
      action_id = CASE WHEN state = 'waiting' THEN action_id END
    WHERE id = $1 AND ended_at IS NULL";

/// Locks a run that is to be ended. One that cannot be read is made readable, in this transaction.
///
/// # Errors
/// As of [`lock`].
pub(super) async fn lock_to_end(tx: &mut Tx, run: RunId) -> Result<Locked> {
    match lock(tx, run).await {
        Err(Error::Fault(Fault::Internal { detail })) if error::is_clean() => {
            tracing::warn!(%run, detail, "a run that cannot be read is being ended by a person");
            repair(tx, run, &detail).await?;
            lock(tx, run).await
        }
        locked => locked,
    }
}

async fn repair(tx: &mut Tx, run: RunId, problem: &str) -> Result<()> {
    let states: Vec<&str> = StateName::ALL.iter().map(|state| state.name()).collect();
    let kinds: Vec<&str> = RunKind::ALL.iter().map(|kind| kind.name()).collect();
    let query = sqlx::query(REPAIR).bind(run.uuid()).bind(states).bind(kinds).bind(problem.to_owned());
    query.execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}
