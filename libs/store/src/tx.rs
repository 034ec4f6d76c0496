//! The one transaction wrapper. Nothing else begins a transaction.
//!
//! The whole transaction runs in a task of its own, so a caller that goes away (a client that hung up, a deadline) leaves
//! neither a half-open transaction nor an acknowledged write that never commits. A transaction costs one round trip for
//! BEGIN and its scope, its statements, and one for COMMIT.

use crate::command::{Closure, Command};
use crate::db::Db;
use crate::error::{self, MET, Met};
use crate::open_counts::OpenCounts;
use crate::pool::{Checkout, Pool};
use crate::scope::{Kind, Scope};
use futures::future::BoxFuture;
use runmesh_domain::{Error, Fault, Result};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How often a transaction that met contention is tried in all.
const TRIES_MAX: u32 = 3;
/// How long the one that gave way waits, times its tries: the other one, which it held up, must get there first.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How long BEGIN may take, which has nothing to do: a server that is gone without a word leaves a socket that waits for
/// minutes. Postgres's own limits help only while it lives.
const BEGIN_LIMIT: Duration = Duration::from_secs(2);
/// How long all statements of one transaction may take: more than any one of them may (`statement_timeout`), less than
/// anybody waits.
const WORK_LIMIT: Duration = Duration::from_secs(15);
/// How long COMMIT may take, which waits for the disk.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);

/// A transaction under way.
pub struct Tx {
    checkout: Checkout,
    open_counts: Arc<OpenCounts>,
}

impl Tx {
    pub(crate) fn open_counts(&self) -> Arc<OpenCounts> {
        Arc::clone(&self.open_counts)
    }

    /// Does `work` for one of many, within a savepoint: when it fails, what it did is undone and the transaction goes on. Answers
    /// the failure apart. What met another transaction, or a connection that is gone, fails the whole transaction.
    ///
    /// # Errors
    /// What ends the transaction.
    pub(crate) async fn one_of_many<T>(
        &mut self,
        work: impl for<'t> AsyncFnOnce(&'t mut Self) -> Result<T>,
    ) -> Result<std::result::Result<T, Error>> {
        sqlx::raw_sql("SAVEPOINT one").execute(self.connection()).await.map_err(error::sql)?;
        match work(self).await {
            Ok(value) => {
                sqlx::raw_sql("RELEASE one").execute(self.connection()).await.map_err(error::sql)?;
                Ok(Ok(value))
            }
            Err(failure) if MET.with(Cell::get) == Met::Contention => Err(failure),
            Err(failure) => {
                sqlx::raw_sql("ROLLBACK TO one").execute(self.connection()).await.map_err(error::sql)?;
                error::forget();
                Ok(Err(failure))
            }
        }
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        self.checkout.connection()
    }
}

/// How one try ended.
enum Try<T> {
    Done(Result<T>),
    /// Another transaction got in the way, and nothing was done.
    Again(Error),
}

impl Db {
    /// Runs a command in a transaction of this scope and commits what it did, or rolls back when it fails. The command may be
    /// run up to three times.
    ///
    /// The transaction ends even when the caller does not wait for it.
    ///
    /// # Errors
    /// What the command answers; [`Fault::Unavailable`] when Postgres cannot be reached or a time-out of it ended the
    /// transaction, also at COMMIT (nothing was done); [`Fault::OutcomeUnknown`] when it went away during COMMIT.
    pub async fn run<C: Command>(&self, scope: Scope, command: C) -> Result<C::Answer> {
        self.run_on(Arc::clone(&self.inner.pool), scope, Kind::Durable, command).await
    }

    /// As [`Db::run`] for what people read: it cannot write, runs on connections of its own and may take a second per statement
    /// by default ([`crate::StoreConfig`]), so that lists, however many are asked for, keep no command from its connection.
    ///
    /// # Errors
    /// As [`Db::run`]; [`Fault::Unavailable`] when a statement takes too long or every connection for reads is in use.
    pub async fn run_read<C: Command>(&self, scope: Scope, command: C) -> Result<C::Answer> {
        self.run_on(Arc::clone(&self.inner.reads), scope, Kind::Read, command).await
    }

    /// As [`Db::run`] over [`Scope::System`], for the loops of a service: claims, sweeps, marks. They have a few connections of
    /// their own. So commands, however many come at once, keep no loop from its work; and the statements of loops, which are
    /// long to plan, are planned on these few connections only.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn run_background<C: Command>(&self, command: C) -> Result<C::Answer> {
        self.run_on(Arc::clone(&self.inner.background), Scope::System, Kind::Durable, command).await
    }

    /// As [`Db::run_background`], of a closure.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn background_tx<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.run_background(Closure::new(f)).await
    }

    /// As [`Db::run`], of a closure: for what is said in one place and once, as tests and this crate do.
    ///
    /// # Errors
    /// As [`Db::run`].
    pub async fn tx<T, F>(&self, scope: Scope, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.run(scope, Closure::new(f)).await
    }

    /// As [`Db::run_read`], of a closure.
    ///
    /// # Errors
    /// As [`Db::run_read`].
    pub async fn read<T, F>(&self, scope: Scope, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.run_read(scope, Closure::new(f)).await
    }

    /// As [`Db::tx`] over System, on the connections kept apart for heartbeats.
    pub(crate) async fn beat<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.run_on(Arc::clone(&self.inner.beats), Scope::System, Kind::Beat, Closure::new(f)).await
    }

    async fn run_on<C: Command>(&self, pool: Arc<Pool>, scope: Scope, kind: Kind, command: C) -> Result<C::Answer> {
        let role = scope.role(self.inner.role);
        let begin = scope.begin(self.inner.role, kind);
        let counts = Arc::clone(&self.inner.open_counts);
        let span = tracing::Span::current();
        let whole = async move {
            let mut tries = 1;
            loop {
                match MET.scope(Cell::new(Met::Nothing), once(&pool, role, &begin, &counts, &command)).await {
                    Try::Done(answer) => return answer,
                    Try::Again(error) if tries == TRIES_MAX => return Err(error),
                    Try::Again(error) => tracing::debug!(command = C::name(), %error, tries, "transaction tried again"),
                }
                tokio::time::sleep(AGAIN_AFTER * tries).await;
                tries += 1;
            }
        };
        let task = self.inner.transactions.spawn(tracing::Instrument::instrument(whole, span));
        match task.await {
            Ok(answer) => answer,
            Err(error) => Err(Fault::internal(format!("a transaction panicked: {error}")).into()),
        }
    }
}

async fn once<C: Command>(
    pool: &Arc<Pool>,
    role: &'static str,
    begin: &str,
    counts: &Arc<OpenCounts>,
    command: &C,
) -> Try<C::Answer> {
    let mut tx = match self::begin(pool, role, begin).await {
        Ok(checkout) => Tx { checkout, open_counts: Arc::clone(counts) },
        Err(error) => return Try::Done(Err(error)),
    };
    let Ok(answer) = timeout(WORK_LIMIT, command.run(&mut tx)).await else {
        // Dropped, the connection is closed, and the server rolls back.
        return Try::Done(Err(error::unavailable("a transaction took too long")));
    };
    match (answer, MET.with(Cell::get)) {
        (Ok(value), Met::Nothing) => commit_at_points::<C>(tx, value).await,
        (Ok(_), _) => {
            roll_back(tx).await;
            Try::Done(Err(Fault::internal("a statement failed and its error was dropped").into()))
        }
        (Err(error), Met::Contention) => {
            roll_back(tx).await;
            Try::Again(error)
        }
        (Err(error), Met::Nothing | Met::Failure) => {
            roll_back(tx).await;
            Try::Done(Err(error))
        }
    }
}

async fn begin(pool: &Arc<Pool>, role: &'static str, begin: &str) -> Result<Checkout> {
    let mut checkout = pool.checkout(Some(role)).await?;
    // An idle connection may have died since it was used, and nothing was done on it yet.
    if !begun(&mut checkout, begin).await? {
        checkout.renew().await?;
        if !begun(&mut checkout, begin).await? {
            return Err(error::unavailable("a new connection broke at once"));
        }
    }
    Ok(checkout)
}

/// False when the connection turned out to be dead.
async fn begun(checkout: &mut Checkout, begin: &str) -> Result<bool> {
    let text = sqlx::raw_sql(AssertSqlSafe(begin.to_owned()));
    match timeout(BEGIN_LIMIT, text.execute(checkout.connection())).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(problem)) if error::is_connection(&problem) => Ok(false),
        Ok(Err(problem)) => Err(error::sql(problem)),
        Err(_) => Ok(false),
    }
}

#[cfg(not(feature = "fail-points"))]
async fn commit_at_points<C: Command>(tx: Tx, value: C::Answer) -> Try<C::Answer> {
    commit(tx, value).await
}

/// Commits between two fail points, those of a transaction that changed something.
#[cfg(feature = "fail-points")]
async fn commit_at_points<C: Command>(mut tx: Tx, value: C::Answer) -> Try<C::Answer> {
    use crate::fail_point::{self, AFTER_COMMIT, BEFORE_COMMIT};
    let changes = fail_point::is_armed(C::name()) && fail_point::changes(tx.connection()).await;
    if changes {
        fail_point::reach(C::name(), BEFORE_COMMIT);
    }
    let committed = commit(tx, value).await;
    if changes && matches!(committed, Try::Done(Ok(_))) {
        fail_point::reach(C::name(), AFTER_COMMIT);
    }
    committed
}

async fn commit<T>(mut tx: Tx, value: T) -> Try<T> {
    match timeout(COMMIT_LIMIT, sqlx::raw_sql("COMMIT").execute(tx.connection())).await {
        Ok(Ok(_)) => {
            tx.checkout.give_back();
            Try::Done(Ok(value))
        }
        Ok(Err(problem)) if error::is_contention(&problem) => Try::Again(error::sql(problem)),
        Ok(Err(problem)) => Try::Done(Err(error::commit(&problem))),
        Err(_) => Try::Done(Err(error::outcome_unknown("commit took too long"))),
    }
}

/// Gives the connection back when it was seen to leave its transaction; else it is closed, which rolls back as well.
async fn roll_back(mut tx: Tx) {
    if matches!(timeout(BEGIN_LIMIT, sqlx::raw_sql("ROLLBACK").execute(tx.connection())).await, Ok(Ok(_))) {
        tx.checkout.give_back();
    }
}
