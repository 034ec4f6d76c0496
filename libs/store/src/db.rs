//! The handle on the database: its pools, and looks at the server that need no scope.

use crate::clock::ClockGuard;
use crate::error;
use crate::open_counts::OpenCounts;
use crate::pool::Pool;
use crate::schema::{self, Schema};
use crate::scope::Scope;
use futures::FutureExt as _;
use runmesh_domain::{Fault, Result, Timestamp};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::columns::At;

/// The oldest server that has everything the schema needs.
const OLDEST_SERVER: i32 = 150_000;

/// How long one look at the server may take.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// What a process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Read and write.
    #[default]
    Service,
    /// Read only.
    Reader,
}

/// How to reach the database.
#[derive(Clone)]
pub struct StoreConfig {
    /// `postgres://…`; may hold a password, so it does not print.
    pub url: String,
    /// What this process may do.
    pub role: Role,
    /// Connections at most; 16 by default.
    pub connections: u32,
    /// Connections kept apart for [`Db::read`], so that no list can take those of commands; 8 by default.
    pub read_connections: u32,
    /// How long one statement of [`Db::read`] may take; 1 s by default. Those of commands may take 5 s.
    pub read_timeout: Duration,
    /// Connections kept apart for [`Db::run_background`], so that no crowd of commands keeps a loop from its work; 4 by default.
    pub background_connections: u32,
    /// Connections kept apart for heartbeats, so that a full pool never costs a lease; 2 by default.
    pub heartbeat_connections: u32,
    /// What the server's list of sessions calls this process.
    pub name: String,
}

impl StoreConfig {
    /// The defaults for a URL.
    #[must_use]
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            role: Role::Service,
            connections: 16,
            read_connections: 8,
            read_timeout: Duration::from_secs(1),
            background_connections: 4,
            heartbeat_connections: 2,
            name: name.into(),
        }
    }
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreConfig").field("role", &self.role).field("name", &self.name).finish_non_exhaustive()
    }
}

/// The database. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Db {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pool: Arc<Pool>,
    pub(crate) reads: Arc<Pool>,
    pub(crate) background: Arc<Pool>,
    pub(crate) beats: Arc<Pool>,
    pub(crate) role: Role,
    pub(crate) open_counts: Arc<OpenCounts>,
    /// What is known of the database's clock.
    pub(crate) clock: Mutex<ClockGuard>,
    /// Transactions under way, also those whose caller has gone.
    pub(crate) transactions: TaskTracker,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("role", &self.inner.role).finish_non_exhaustive()
    }
}

impl Db {
    /// Connects, and checks that the server is new enough and that its schema serves this build.
    ///
    /// # Errors
    /// [`Fault::Unavailable`] when the server cannot be reached; [`Fault::Internal`] for a bad URL; [`Fault::Unusable`] for
    /// an old server, for a schema that lacks a migration, and for one that serves only newer builds.
    pub async fn connect(config: &StoreConfig) -> Result<Self> {
        let options = options(&config.url)?.application_name(&config.name).options([
            ("statement_timeout", "5s"),
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "5s"),
            // Every statement here is short, is run again and again, and has an index for each of its looks. So: planned
            // once per connection, not anew for the lengths of its arrays; by the index and in its order, also when the table
            // was empty at that time; and never compiled.
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("jit", "off"),
        ]);
        let inner = Inner {
            pool: Pool::new(options.clone(), config.connections),
            reads: Pool::new(read_options(options.clone(), config.read_timeout), config.read_connections),
            background: Pool::new(options.clone(), config.background_connections),
            beats: Pool::new(options, config.heartbeat_connections),
            role: config.role,
            open_counts: Arc::new(OpenCounts::default()),
            clock: Mutex::default(),
            transactions: TaskTracker::new(),
        };
        let db = Self { inner: Arc::new(inner) };
        let mut checkout = db.inner.pool.checkout(None).await?;
        check_server(checkout.connection()).await?;
        schema::read(checkout.connection()).await?.check()?;
        checkout.give_back();
        Ok(db)
    }

    /// One round trip.
    ///
    /// # Errors
    /// [`Fault::Unavailable`].
    pub async fn ping(&self) -> Result<()> {
        self.now().await.map(|_| ())
    }

    /// The database's clock.
    ///
    /// # Errors
    /// [`Fault::Unavailable`].
    pub async fn now(&self) -> Result<Timestamp> {
        let At(now) = self.look("SELECT clock_timestamp()").await?;
        Ok(now)
    }

    /// The schema as it is now, beside what this build knows.
    ///
    /// # Errors
    /// [`Fault::Unavailable`].
    pub async fn schema(&self) -> Result<Schema> {
        self.tx(Scope::System, |tx| schema::read(tx.connection()).boxed()).await
    }

    /// The server's version, `15.18 (Debian …)`.
    ///
    /// # Errors
    /// [`Fault::Unavailable`].
    pub async fn server_version(&self) -> Result<String> {
        self.look("SELECT current_setting('server_version')").await
    }

    /// Waits for the transactions under way, then closes every connection. Later calls answer [`Fault::Unavailable`].
    pub async fn close(&self) {
        self.inner.transactions.close();
        self.inner.transactions.wait().await;
        self.inner.pool.close().await;
        self.inner.reads.close().await;
        self.inner.background.close().await;
        self.inner.beats.close().await;
    }

    async fn look<T>(&self, query: &'static str) -> Result<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let mut checkout = self.inner.pool.checkout(None).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            let looked = sqlx::query_scalar(query).fetch_one(checkout.connection());
            match timeout(LOOK_LIMIT, looked).await {
                Ok(Ok(value)) => {
                    checkout.give_back();
                    return Ok(value);
                }
                Ok(Err(problem)) if !error::is_connection(&problem) => return Err(error::sql(problem)),
                Ok(Err(_)) | Err(_) if tries == 1 => checkout.renew().await?,
                Ok(Err(problem)) => return Err(error::sql(problem)),
                Err(_) => return Err(error::unavailable("a look at the server took too long")),
            }
        }
    }
}

/// Lists are read in the order of an index and end with the page: a plan that sorts would read everything first.
fn read_options(options: PgConnectOptions, timeout: Duration) -> PgConnectOptions {
    let timeout = format!("{}ms", timeout.as_millis().max(1));
    options.options([("statement_timeout", timeout.as_str()), ("enable_sort", "off"), ("enable_incremental_sort", "off")])
}

pub(crate) fn options(url: &str) -> Result<PgConnectOptions> {
    // The parser's words could quote the password.
    let options = PgConnectOptions::from_str(url).map_err(|_| Fault::internal("the postgres url cannot be read"))?;
    Ok(options.statement_cache_capacity(256).disable_statement_logging())
}

pub(crate) async fn check_server(connection: &mut PgConnection) -> Result<()> {
    let query = "SELECT current_setting('server_version_num')::int, current_setting('server_version')";
    let (number, name): (i32, String) = sqlx::query_as(query).fetch_one(connection).await.map_err(error::sql)?;
    if number < OLDEST_SERVER {
        return Err(Fault::unusable(error::PART, format!("{name} is too old: runmesh needs 15 or newer")).into());
    }
    Ok(())
}
