//! Forgetting what nobody needs any more, as fast as it comes: batch after batch, each a small transaction, until nothing is due.
//! Replicas that purge at the same time share the work. Decides nothing about runs.

use crate::db::Db;
use crate::tx::Tx;
use crate::{idempotency, sessions};
use futures::future::BoxFuture;
use runmesh_domain::Result;
use std::time::{Duration, Instant};

/// Rows of one transaction.
const BATCH: u32 = 500;

/// What one purge forgot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Idempotency keys.
    pub keys: u64,
    /// Worker sessions.
    pub sessions: u64,
    /// True when the time was over before everything that is due was gone.
    pub left: bool,
}

/// Forgets everything that is due, for `within` at most.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn purge(db: &Db, within: Duration) -> Result<Purged> {
    let until = Instant::now() + within;
    let (keys, keys_left) = all(db, until, |tx| Box::pin(idempotency::purge(tx, BATCH))).await?;
    let (sessions, sessions_left) = all(db, until, |tx| Box::pin(sessions::purge(tx, BATCH))).await?;
    Ok(Purged { keys, sessions, left: keys_left || sessions_left })
}

/// How many rows went, and whether the time was over first.
async fn all<F>(db: &Db, until: Instant, batch: F) -> Result<(u64, bool)>
where
    F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<u64>> + Copy + Send + Sync + 'static,
{
    let mut gone = 0;
    loop {
        let count = db.background_tx(batch).await?;
        gone += count;
        if count < u64::from(BATCH) {
            return Ok((gone, false));
        }
        if Instant::now() >= until {
            return Ok((gone, true));
        }
    }
}
