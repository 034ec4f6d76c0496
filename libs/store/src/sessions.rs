//! Worker sessions: one life of a worker process each, and what leases belong to.
//!
//! Only the database's clock decides about leases, and only through the reaper, which knows when that clock was set: `lost_at` is
//! the one truth about a session. Until the reaper wrote it, a heartbeat that comes late revives the session, which is safe:
//! what the reaper takes back it takes under the run's lock and with a new fence. A session that is lost is dead for good.

mod alive;
mod heartbeat;
mod list;

pub(crate) use alive::gone;
pub use alive::{Alive, forget_lock, hold_alive};
pub use heartbeat::{Beat, heartbeat};
pub use list::{WorkerRow, list};

use crate::columns::{big, int};
use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::{AgentId, SessionId};
use runmesh_domain::limits::Leases;
use runmesh_domain::principal::WorkerCredential;
use runmesh_domain::{Refusal, Result};
use uuid::Uuid;

/// A session to open. Its fields were checked at the border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The new id.
    pub id: SessionId,
    /// A name for people.
    pub worker: String,
    /// Runs that it drives at once at most.
    pub capacity: u32,
    /// What the worker may serve.
    pub credential: WorkerCredential,
    /// Agents that it wants to serve; every one that its credential allows when empty.
    pub agents: Vec<AgentId>,
    /// Built-in tools that it can run; `*` for every one.
    pub tools: Vec<String>,
}

const OPEN: &str = "
    INSERT INTO worker_sessions (id, credential, worker, capacity, orgs, agents, tools, opened_at, heartbeat_at, lease_ends_at,
      credential_digest, lease_ms)
    SELECT $1, $2, $3, $4, $5, $6, $7, now, now, now + $8 * interval '1 millisecond', $9, $8
    FROM (SELECT clock_timestamp() AS now) clock RETURNING stream_number";
const REOPEN: &str = "
    UPDATE worker_sessions SET stream_number = stream_number + 1, cut_number = NULL, cut_ends_at = NULL, alive_key = NULL,
      heartbeat_at = clock_timestamp(), lease_ends_at = clock_timestamp() + $3 * interval '1 millisecond', lease_ms = $3
    WHERE id = $1 AND credential_digest = $2 AND lost_at IS NULL RETURNING stream_number";

/// Opens a session. Scope System. Answers its stream number.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn open(tx: &mut Tx, new: NewSession, leases: &Leases) -> Result<i64> {
    let digest = new.credential.digest();
    let orgs: Option<Vec<Uuid>> = new.credential.orgs.map(|orgs| orgs.iter().map(|org| org.uuid()).collect());
    let query = sqlx::query_scalar(OPEN)
        .bind(new.id.uuid())
        .bind(new.credential.id)
        .bind(new.worker)
        .bind(int(new.capacity))
        .bind(orgs)
        .bind(served(new.credential.agents, &new.agents))
        .bind(new.tools)
        .bind(big(leases.lease_ms))
        .bind(digest.0.to_vec());
    query.fetch_one(tx.connection()).await.map_err(sql)
}

/// The agents that a credential allows and its worker wants; every one when neither says.
fn served(allowed: Option<Vec<AgentId>>, wanted: &[AgentId]) -> Option<Vec<Uuid>> {
    let uuids = |agents: &[AgentId]| agents.iter().map(|agent| agent.uuid()).collect();
    match allowed {
        None if wanted.is_empty() => None,
        None => Some(uuids(wanted)),
        Some(allowed) if wanted.is_empty() => Some(uuids(&allowed)),
        Some(allowed) => Some(wanted.iter().filter(|agent| allowed.contains(agent)).map(|agent| agent.uuid()).collect()),
    }
}

/// Comes back to a session after its stream broke: a cut of the old stream no longer counts, nor does the old stream's lock.
/// Scope System. Answers the new stream number.
///
/// # Errors
/// [`Refusal::SessionLost`] when the session is dead, was never there, or is another credential's: one that differs in its name,
/// its orgs or its agents.
pub async fn reopen(tx: &mut Tx, session: SessionId, credential: &WorkerCredential, leases: &Leases) -> Result<i64> {
    let query = sqlx::query_scalar(REOPEN).bind(session.uuid()).bind(credential.digest().0.to_vec()).bind(big(leases.lease_ms));
    let number = query.fetch_optional(tx.connection()).await.map_err(sql)?;
    number.ok_or_else(|| Refusal::SessionLost.into())
}

/// Ends a session in good order, when its worker is done with the newest stream of it: it takes no more runs, and what it
/// still holds is taken back by the next reaping. Closing an older stream than that ends nothing. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn close(tx: &mut Tx, session: SessionId, stream_number: i64) -> Result<()> {
    let query = "UPDATE worker_sessions SET lost_at = clock_timestamp(), lease_ends_at = clock_timestamp()
                 WHERE id = $1 AND stream_number = $2 AND lost_at IS NULL";
    sqlx::query(query).bind(session.uuid()).bind(stream_number).execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

/// Forgets up to `limit` sessions that ended more than a day ago, the oldest first. Scope System; replicas share the work. Answers
/// how many went.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn purge(tx: &mut Tx, limit: u32) -> Result<u64> {
    let query = "DELETE FROM worker_sessions WHERE ctid = ANY (ARRAY(
                   SELECT ctid FROM worker_sessions WHERE drained AND lost_at < (SELECT clock_timestamp() - interval '1 day')
                   ORDER BY lost_at LIMIT $1 FOR UPDATE SKIP LOCKED))";
    let done = sqlx::query(query).bind(i64::from(limit)).execute(tx.connection()).await.map_err(sql)?;
    Ok(done.rows_affected())
}
