//! A bounded set of connections, last used first.
//!
//! *Invariant:* a connection comes back only by [`Checkout::give_back`], which is called after COMMIT or ROLLBACK was
//! seen to end. Whatever else happens to one (an error, a panic, a dropped future) closes it. So no transaction is ever left
//! open in the pool, which sqlx's own pool cannot promise: there, a `begin` that is dropped half way poisons it. It also
//! saves that pool's ping per release.

use crate::error;
use runmesh_domain::Result;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long to wait for a connection before answering UNAVAILABLE: shorter than any caller's deadline.
const ACQUIRE: Duration = Duration::from_secs(2);
/// A connection that nobody needed for so long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// A connection is closed at this age, because the plans and caches of its backend only grow.
const LIFETIME: Duration = Duration::from_secs(1_800);

/// The connections.
pub(crate) struct Pool {
    options: PgConnectOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    born: Instant,
    since: Instant,
}

/// One connection in use. Dropped, it is closed.
pub(crate) struct Checkout {
    connection: PgConnection,
    born: Instant,
    pool: Arc<Pool>,
    // Freed last: fields drop in order.
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(options: PgConnectOptions, size: u32) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(size.max(1) as usize));
        Arc::new(Self { options, permits, idle: Mutex::new(Vec::new()) })
    }

    /// A connection, within two seconds.
    pub(crate) async fn checkout(self: &Arc<Self>) -> Result<Checkout> {
        let began = Instant::now();
        let permit = timeout(ACQUIRE, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = match permit {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(error::unavailable("the store is closed")),
            Err(_) => return Err(error::unavailable("every connection is in use")),
        };
        let (connection, born) = match self.take() {
            Some(idle) => (idle.connection, idle.born),
            None => (self.connect(ACQUIRE.saturating_sub(began.elapsed())).await?, Instant::now()),
        };
        Ok(Checkout { connection, born, pool: Arc::clone(self), _permit: permit })
    }

    /// A connection that is none of the pool's: for what lives as long as its process.
    pub(crate) async fn connect_apart(&self) -> Result<PgConnection> {
        self.connect(ACQUIRE).await
    }

    /// Lets nobody in any more and closes what is idle.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for one in idle {
            // The server notices a closed socket as well.
            let _ = timeout(Duration::from_secs(1), one.connection.close()).await;
        }
    }

    async fn connect(&self, within: Duration) -> Result<PgConnection> {
        match timeout(within, self.options.connect()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(problem)) => Err(error::unavailable(problem.to_string())),
            Err(_) => Err(error::unavailable("connecting took too long")),
        }
    }

    fn take(&self) -> Option<Idle> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checkout {
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// A new connection in place of one that turned out dead before anything was done on it. The idle ones are as old, so
    /// they go too.
    pub(crate) async fn renew(&mut self) -> Result<()> {
        self.pool.idle().clear();
        self.connection = self.pool.connect(ACQUIRE).await?;
        self.born = Instant::now();
        Ok(())
    }

    /// Back to the pool. Only for a connection that was seen to be outside of any transaction.
    pub(crate) fn give_back(self) {
        let Self { connection, born, pool, _permit } = self;
        let now = Instant::now();
        if now.duration_since(born) > LIFETIME {
            return;
        }
        let mut idle = pool.idle();
        idle.push(Idle { connection, born, since: now });
        // The oldest stand first: one at a time is enough to shrink after a peak.
        if idle.first().is_some_and(|one| now.duration_since(one.since) > IDLE) {
            idle.remove(0);
        }
    }
}
