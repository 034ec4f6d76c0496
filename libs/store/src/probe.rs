//! What the database can do at best, and what it has done so far: the yardsticks of the bench and of the test of growth. Touches
//! no table of the mesh.

use crate::db::options;
use crate::error;
use crate::tx::Tx;
use runmesh_domain::Result;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// About what one accepted message writes.
const ROW_BYTES: usize = 256;

/// What the database has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Transactions that ended, also those that only read. Each session reports its own up to ten seconds late.
    pub transactions: i64,
    /// Transactions that wrote something. Exact at once.
    pub written: i64,
}

/// Inserts one row and commits, over and over on `clients` connections of their own for `duration`: commits per second.
/// Uses a table of its own, which is gone afterwards.
///
/// # Errors
/// `Unavailable` when the server goes away; `Internal` when it refuses.
pub async fn insert_commit(url: &str, clients: usize, duration: Duration) -> Result<f64> {
    let mut connection = connect(url).await?;
    execute(&mut connection, "DROP TABLE IF EXISTS public.runmesh_probe").await?;
    let made = "CREATE TABLE public.runmesh_probe (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL)";
    execute(&mut connection, made).await?;
    let rate = insert_all(url, clients, duration).await;
    execute(&mut connection, "DROP TABLE public.runmesh_probe").await?;
    close(connection).await;
    rate
}

/// The counters of the database that `url` names, by one statement of its own.
///
/// # Errors
/// As [`insert_commit`].
pub async fn counters(url: &str) -> Result<Counters> {
    let mut connection = connect(url).await?;
    let query = "SELECT xact_commit + xact_rollback, pg_snapshot_xmax(pg_current_snapshot())::text::bigint \
                 FROM pg_stat_database WHERE datname = current_database()";
    let (transactions, written) = sqlx::query_as(query).fetch_one(&mut connection).await.map_err(error::sql)?;
    close(connection).await;
    Ok(Counters { transactions, written })
}

/// Rows that this transaction read from tables so far, by index or without.
///
/// # Errors
/// [`runmesh_domain::Fault`] only.
pub async fn rows_read(tx: &mut Tx) -> Result<i64> {
    let query = "SELECT coalesce(sum(coalesce(idx_tup_fetch, 0) + seq_tup_read), 0)::int8 FROM pg_stat_xact_user_tables";
    sqlx::query_scalar(query).fetch_one(tx.connection()).await.map_err(error::sql)
}

async fn insert_all(url: &str, clients: usize, duration: Duration) -> Result<f64> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        let mut connection = connect(url).await?;
        insert(&mut connection).await?;
        connections.push(connection);
    }
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(insert_until(connection, began + duration));
    }
    let mut total = 0;
    while let Some(count) = tasks.join_next().await {
        total += count.map_err(|error| error::unavailable(error.to_string()))??;
    }
    Ok(f64::from(total) / began.elapsed().as_secs_f64())
}

async fn insert_until(mut connection: PgConnection, until: Instant) -> Result<u32> {
    let mut count = 0;
    while Instant::now() < until {
        insert(&mut connection).await?;
        count += 1;
    }
    close(connection).await;
    Ok(count)
}

async fn insert(connection: &mut PgConnection) -> Result<()> {
    let query = sqlx::query("INSERT INTO public.runmesh_probe (body) VALUES (repeat('x', $1))").bind(ROW_BYTES as i32);
    query.execute(connection).await.map(drop).map_err(error::sql)
}

async fn execute(connection: &mut PgConnection, statement: &'static str) -> Result<()> {
    sqlx::query(statement).execute(connection).await.map(drop).map_err(error::sql)
}

async fn connect(url: &str) -> Result<PgConnection> {
    options(url)?.connect().await.map_err(|error| error::unavailable(error.to_string()))
}

async fn close(connection: PgConnection) {
    // The server notices a closed socket as well.
    drop(connection.close().await);
}
