//! Brings a database to the newest schema that this build knows. Never changes data of runs.

use crate::db::{Db, check_server, options};
use crate::error;
use crate::schema::{self, Schema};
use runmesh_domain::{Error, Fault, Result};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long one run of all migrations may take. Building an index on a large table takes its time and holds nobody up.
const LIMIT: Duration = Duration::from_secs(6 * 3_600);
/// How long to wait for another one that migrates.
const TURN_LIMIT: Duration = Duration::from_secs(300);
/// How often to ask whether the other one is done.
const TURN_PERIOD: Duration = Duration::from_millis(200);
/// The key of the advisory lock that whoever migrates a database holds for its session: `rm-migra` in ASCII.
pub const MIGRATION_LOCK: i64 = 0x726d_2d6d_6967_7261;

/// What one run of the migrations did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// What was applied, in order: number and name.
    pub applied: Vec<(i64, String)>,
    /// The schema as it is now.
    pub schema: Schema,
}

/// The migrations of this build.
fn migrations() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    // Those of a newer version are looked at by their bound of compatibility, and the lock is ours: sqlx waits for its own inside
    // a statement, whose snapshot a CREATE INDEX CONCURRENTLY of the one that holds the lock would wait for in turn.
    migrator.set_ignore_missing(true).set_locking(false);
    migrator
}

/// Numbers of the migrations that this build knows.
pub(crate) fn known() -> BTreeSet<i64> {
    migrations().iter().map(|migration| migration.version).collect()
}

/// The newest migration that this build knows.
#[must_use]
pub fn newest_migration() -> i64 {
    known().last().copied().unwrap_or(0)
}

impl Db {
    /// Applies what is missing. Of two that start at once, the second waits for the first and finds nothing left to do. The role of
    /// `url` must be allowed to create roles and tables.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] when the server cannot be reached, or when another one migrates for more than five minutes;
    /// [`Fault::Unusable`] when the server is older than 15, when the schema does not serve this version any more, or when a
    /// migration fails. Those before it stay applied.
    pub async fn migrate(url: &str) -> Result<Migrated> {
        let options = options(url)?.application_name("runmesh migrate").options([
            // Whatever waits for a table's strongest lock holds up everybody behind it.
            ("lock_timeout", "30s"),
            ("statement_timeout", "0"),
        ]);
        let migrate = async {
            let mut connection = options.connect().await.map_err(|problem| error::unavailable(problem.to_string()))?;
            let migrated = run(&mut connection).await;
            // Whatever closing meets, the migrations stand, and the lock goes with the session.
            let _ = connection.close().await;
            migrated
        };
        timeout(LIMIT, migrate).await.unwrap_or_else(|_| Err(error::unavailable("migrating took too long")))
    }
}

async fn run(connection: &mut PgConnection) -> Result<Migrated> {
    check_server(connection).await?;
    take_turn(connection).await?;
    let before = schema::read(connection).await?;
    before.check_bound()?;
    let migrations = migrations();
    let pending: Vec<_> = migrations.iter().filter(|migration| before.missing.contains(&migration.version)).collect();
    for migration in pending.iter().filter(|migration| migration.no_tx) {
        drop_half_built(connection, migration.sql.as_str()).await?;
    }
    let applied = pending.iter().map(|migration| (migration.version, migration.description.to_string())).collect();
    migrations.run(&mut *connection).await.map_err(failed)?;
    Ok(Migrated { applied, schema: schema::read(connection).await? })
}

/// Takes the lock, asking again and again: a session that waits inside a statement would hold up a concurrent index build.
async fn take_turn(connection: &mut PgConnection) -> Result<()> {
    let until = Instant::now() + TURN_LIMIT;
    loop {
        let taken = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(MIGRATION_LOCK).fetch_one(&mut *connection);
        if taken.await.map_err(error::sql)? {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(error::unavailable("another process migrates this database, and has for five minutes"));
        }
        tokio::time::sleep(TURN_PERIOD).await;
    }
}

/// Drops what a build of this migration that was cut off has left: an invalid index of a name that it makes.
async fn drop_half_built(connection: &mut PgConnection, migration: &str) -> Result<()> {
    let query = "SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 WHERE NOT i.indisvalid AND c.relnamespace = 'public'::regnamespace";
    let invalid: Vec<String> = sqlx::query_scalar(query).fetch_all(&mut *connection).await.map_err(error::sql)?;
    let words: BTreeSet<&str> = migration.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').collect();
    for index in invalid.iter().filter(|index| words.contains(index.as_str())) {
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {index}");
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await.map_err(error::sql)?;
    }
    Ok(())
}

/// What passes by itself (a lost connection, a lock that others held for too long) is unavailable: run it again.
fn failed(problem: MigrateError) -> Error {
    let words = format!("the migrations cannot be applied: {problem}");
    let passing = match problem {
        MigrateError::Execute(problem) | MigrateError::ExecuteMigration(problem, _) => {
            matches!(error::sql(problem), Error::Fault(Fault::Unavailable { .. }))
        }
        _ => false,
    };
    if passing { error::unavailable(words) } else { Fault::unusable(error::PART, words).into() }
}
