//! A Claim stream was seen to break.

use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::SessionId;

/// A crash should not cost a whole lease: a worker that lives reopens its stream within this time.
const CUT: &str = "
    UPDATE worker_sessions SET cut_number = $2, cut_ends_at = clock_timestamp() + interval '1 second'
    WHERE id = $1 AND stream_number = $2 AND lost_at IS NULL AND cut_number IS NULL";

/// Cuts a session's lease to one second, unless a newer stream is open by now. It takes no new run until it is reopened. Runs
/// with an unsafe call under way keep the full lease. Scope System. Answers whether the lease was cut: then reap in a second.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn cut(tx: &mut Tx, session: SessionId, stream_number: i64) -> Result<bool> {
    let query = sqlx::query(CUT).bind(session.uuid()).bind(stream_number);
    let done = query.execute(tx.connection()).await.map_err(sql)?;
    Ok(done.rows_affected() == 1)
}
