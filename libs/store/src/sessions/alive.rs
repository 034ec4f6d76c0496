//! A lock that lives exactly as long as its process. A worker inside a replica dies with the replica that watches its Claim
//! stream, so nobody would see the stream break; Postgres sees the lock's connection close at once.

use crate::db::Db;
use crate::error::{sql, unavailable};
use crate::scope::Scope;
use crate::tx::Tx;
use runmesh_domain::Result;
use runmesh_domain::id::SessionId;
use sqlx::postgres::PgConnection;
use std::time::Duration;
use tokio::time::timeout;

/// The lock's connection is always in the middle of a statement that only waits, so that its end is heard at once, by who
/// lives, without asking again and again. Below the server's limit of a statement.
const WAIT: &str = "SELECT pg_sleep(4)";
/// How long that may take before the server is taken for dead.
const WAIT_LIMIT: Duration = Duration::from_secs(6);
/// In the middle of a statement the server itself has to look whether its client is there.
const NOTICE: &str = "SET client_connection_check_interval = '100ms'";
/// How long locking may take: a little more than the server waits for a lock, which its last holder may not have left yet.
const LOCK: Duration = Duration::from_secs(3);

const SAY: &str = "UPDATE worker_sessions SET alive_key = $3 WHERE id = $1 AND stream_number = $2";
const UNSAY: &str = "
    UPDATE worker_sessions SET alive_key = NULL, cut_number = NULL, cut_ends_at = NULL
    WHERE id = $1 AND stream_number = $2 AND lost_at IS NULL";

/// The lock of one session, on a connection kept for it. Dropped, it is free.
#[derive(Debug)]
pub struct Alive {
    connection: PgConnection,
}

/// Which rows `s` of worker_sessions said that they hold a lock which is free: their processes are gone. Not within a lease
/// (`$lease_ms`) of the server's own start, which freed every lock.
macro_rules! gone {
    ($lease_ms:literal) => {
        concat!(
            "s.alive_key IS NOT NULL AND s.lost_at IS NULL AND NOT s.drained AND s.cut_number IS NULL
             AND pg_postmaster_start_time() < clock_timestamp() - ",
            $lease_ms,
            " * interval '1 millisecond'
             AND NOT EXISTS (
               SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                 AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND ((l.classid::int8 << 32) | l.objid::int8) = s.alive_key)"
        )
    };
}
pub(crate) use gone;

/// Takes the lock of a session and says so in its row, unless a newer stream than this one is open by now. Where saying so
/// fails, the lock is held all the same: the row may say it by then, and must not be found to be wrong.
///
/// # Errors
/// [`runmesh_domain::Fault`] only: there is no lock, and the row says nothing of one.
pub async fn hold_alive(db: &Db, session: SessionId, stream_number: i64) -> Result<Alive> {
    // The end of a time-ordered UUID is random: two sessions share a key no sooner than two random numbers of 62 bits do.
    let key = session.uuid().as_u64_pair().1.cast_signed();
    let mut connection = db.inner.pool.connect_apart().await?;
    let lock = async {
        sqlx::query(NOTICE).execute(&mut connection).await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(key).execute(&mut connection).await
    };
    timeout(LOCK, lock).await.map_err(|_| unavailable("locking took too long"))?.map_err(sql)?;
    let said = db.tx(Scope::System, move |tx| {
        Box::pin(async move {
            let say = sqlx::query(SAY).bind(session.uuid()).bind(stream_number).bind(key);
            say.execute(tx.connection()).await.map_err(sql)?;
            Ok(())
        })
    });
    if let Err(error) = said.await {
        tracing::warn!(%session, %error, "a lock that its session may not tell of");
    }
    Ok(Alive { connection })
}

/// The lock of a session was lost and its process lives: the session tells of no lock any more, and is no longer cut for one
/// that is free. Does nothing when a newer stream is open by now. Scope System.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn forget_lock(tx: &mut Tx, session: SessionId, stream_number: i64) -> Result<()> {
    let unsay = sqlx::query(UNSAY).bind(session.uuid()).bind(stream_number);
    unsay.execute(tx.connection()).await.map_err(sql)?;
    Ok(())
}

impl Alive {
    /// Waits until the lock is no longer ours: its connection broke.
    pub async fn lost(&mut self) {
        loop {
            let wait = sqlx::query(WAIT).execute(&mut self.connection);
            if !matches!(timeout(WAIT_LIMIT, wait).await, Ok(Ok(_))) {
                return;
            }
        }
    }
}
