//! Idempotency keys: one intent, one answer (R5).
//!
//! Two calls with the same key at the same time both do their work; the second to store its answer meets the first one's
//! row, its transaction is rolled back and run again, and then finds that answer. So a key costs one read and one insert and
//! no lock.

use crate::error::sql;
use crate::tx::Tx;
use runmesh_domain::id::{OrgId, UserId};
use runmesh_domain::limits::IDEMPOTENCY_KEPT;
use runmesh_domain::run::StateName;
use runmesh_domain::{Fault, Refusal, Result};

/// What names an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The caller's org.
    pub org: OrgId,
    /// The caller.
    pub user: UserId,
    /// The method that was called.
    pub method: &'static str,
    /// The key that the caller chose.
    pub key: String,
    /// SHA-256 of the request without the key.
    pub digest: [u8; 32],
}

/// What there was before a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// Whether the caller is a member of the org.
    pub is_member: bool,
    /// The digest and the answer of an earlier call with this key.
    first: Option<([u8; 32], Vec<u8>)>,
}

impl Before {
    /// The answer that an earlier call with this key got.
    ///
    /// # Errors
    /// [`Refusal::IdempotencyKeyReused`] when that call had another body.
    pub fn answer(self, key: &Key) -> Result<Option<Vec<u8>>, Refusal> {
        match self.first {
            None => Ok(None),
            Some((digest, response)) if digest == key.digest => Ok(Some(response)),
            Some(_) => Err(Refusal::IdempotencyKeyReused),
        }
    }
}

const LOOK: &str = "
    SELECT EXISTS (SELECT 1 FROM members WHERE org_id = $1 AND user_id = $2), k.digest, k.response
    FROM (SELECT) AS one LEFT JOIN idempotency_keys k ON k.org_id = $1 AND k.user_id = $2 AND k.method = $3 AND k.key = $4";

/// Looks for an earlier call with this key, and whether the caller is a member, in one round trip: every mutating call begins
/// with both.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn look(tx: &mut Tx, key: &Key) -> Result<Before> {
    let query = sqlx::query_as(LOOK).bind(key.org.uuid()).bind(key.user.uuid()).bind(key.method).bind(key.key.clone());
    let row: (bool, Option<Vec<u8>>, Option<Vec<u8>>) = query.fetch_one(tx.connection()).await.map_err(sql)?;
    let (is_member, digest, response) = row;
    let first = match digest.zip(response) {
        None => None,
        Some((digest, response)) => {
            let digest = digest.try_into().map_err(|_| Fault::internal("a digest of an idempotency key is not 32 bytes"))?;
            Some((digest, response))
        }
    };
    Ok(Before { is_member, first })
}

/// Stores the answer, in the transaction that did what it says. Call [`look`] first in the same transaction.
///
/// # Errors
/// [`runmesh_domain::Fault`] only. When the same key was stored in the same moment, the wrapper runs the transaction again.
pub async fn remember(tx: &mut Tx, key: &Key, response: &[u8]) -> Result<()> {
    let query = "INSERT INTO idempotency_keys (org_id, user_id, method, key, digest, response, created_at)
                 VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())";
    let query = sqlx::query(query)
        .bind(key.org.uuid())
        .bind(key.user.uuid())
        .bind(key.method)
        .bind(key.key.clone())
        .bind(key.digest.to_vec())
        .bind(response.to_vec());
    query.execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

/// The oldest keys that nobody needs any more. Those of people who still have a run open from that time stay.
const PURGE: &str = "
    DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
      SELECT o.ctid FROM idempotency_keys o
      WHERE o.created_at < (SELECT clock_timestamp() - $1 * interval '1 second') AND NOT EXISTS (
        SELECT 1 FROM runs r WHERE r.org_id = o.org_id AND r.state = ANY ($3) AND r.created_at > '-infinity'
          AND r.created_at < o.created_at + interval '1 minute' AND r.user_id = o.user_id)
      ORDER BY o.created_at LIMIT $2 FOR UPDATE OF o SKIP LOCKED))";

/// Forgets up to `limit` keys that are older than a week, the oldest first. Scope System; replicas share the work. Answers how many
/// went: fewer than `limit` when there are no more.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn purge(tx: &mut Tx, limit: u32) -> Result<u64> {
    let open: Vec<&str> = StateName::ALL.into_iter().filter(|state| !state.is_terminal()).map(StateName::name).collect();
    let query = sqlx::query(PURGE).bind(IDEMPOTENCY_KEPT.as_secs_f64()).bind(i64::from(limit)).bind(open);
    let done = query.execute(tx.connection()).await.map_err(sql)?;
    Ok(done.rows_affected())
}
