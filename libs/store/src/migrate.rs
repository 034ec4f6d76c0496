//! Brings a database to the newest schema. Never changes data of runs.

use crate::db::{Db, check_server, options};
use crate::error;
use runmesh_domain::{Fault, Result};
use sqlx::ConnectOptions as _;
use sqlx::Connection as _;
use std::time::Duration;
use tokio::time::timeout;

/// How long migrations may take in all, the wait for another replica that migrates included.
const LIMIT: Duration = Duration::from_secs(300);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The newest migration that this build knows.
#[must_use]
pub fn newest_migration() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Db {
    /// Applies what is missing, under an advisory lock: of two replicas that start on an empty database, one migrates and
    /// both come up. The role of `url` must be allowed to create roles and tables.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] when the server cannot be reached; [`Fault::Internal`] when it is older than 15, or when the
    /// database was migrated by a newer version of runmesh.
    pub async fn migrate(url: &str) -> Result<()> {
        let options = options(url)?.application_name("runmesh migrate");
        let migrate = async {
            let mut connection = options.connect().await.map_err(error::sql)?;
            check_server(&mut connection).await?;
            let applied = MIGRATIONS.run(&mut connection).await;
            // Whatever closing meets, the migrations stand.
            let _ = connection.close().await;
            applied.map_err(|problem| Fault::internal(format!("migrations: {problem}")).into())
        };
        timeout(LIMIT, migrate).await.unwrap_or_else(|_| Err(error::unavailable("migrating took too long")))
    }
}
