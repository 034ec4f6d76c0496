//! A lock that lives exactly as long as its process. A worker inside a replica dies with the replica that watches its Claim
//! stream, so nobody would see the stream break; Postgres sees the lock's connection close at once.

use crate::db::Db;
use crate::error::sql;
use crate::scope::Scope;
use runmesh_domain::Result;
use runmesh_domain::id::SessionId;
use sqlx::postgres::PgConnection;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often the connection is looked at. In between Postgres may have taken the lock back without our knowing, which costs
/// the session's runs an attempt and nothing else.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(2);

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
             AND s.lease_ends_at > clock_timestamp()
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

/// Takes the lock of a session and says so in its row.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn hold_alive(db: &Db, session: SessionId) -> Result<Alive> {
    // The end of a time-ordered UUID is random: two sessions share a key no sooner than two random numbers of 62 bits do.
    let key = session.uuid().as_u64_pair().1.cast_signed();
    let mut connection = db.inner.pool.connect_apart().await?;
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(key);
    lock.execute(&mut connection).await.map_err(sql)?;
    db.tx(Scope::System, move |tx| {
        Box::pin(async move {
            let say = sqlx::query("UPDATE worker_sessions SET alive_key = $2 WHERE id = $1").bind(session.uuid()).bind(key);
            say.execute(tx.connection()).await.map_err(sql)?;
            Ok(())
        })
    })
    .await?;
    Ok(Alive { connection })
}

impl Alive {
    /// Waits until the lock is no longer ours: its connection broke.
    pub async fn lost(&mut self) {
        loop {
            sleep(LOOK_EVERY).await;
            let look = sqlx::query("SELECT 1").execute(&mut self.connection);
            if !matches!(timeout(LOOK, look).await, Ok(Ok(_))) {
                return;
            }
        }
    }
}
