//! A bounded set of connections, last used first.
//!
//! *Invariant:* a connection comes back only by [`Checkout::give_back`], which is called after COMMIT or ROLLBACK was
//! seen to end. Whatever else happens to one (an error, a panic, a dropped future) closes it. So no transaction is ever left
//! open in the pool, which sqlx's own pool cannot promise: there, a `begin` that is dropped half way poisons it. It also
//! saves that pool's ping per release.
//!
//! Row level security binds a plan to the role that it was made for: a statement that changes roles on one connection is
//! planned anew each time, which costs more than running it. So each role keeps its own connections while there is room.

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
    size: usize,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: PgConnection,
    role: Option<&'static str>,
    born: Instant,
    since: Instant,
}

/// One connection in use. Dropped, it is closed.
pub(crate) struct Checkout {
    connection: PgConnection,
    role: Option<&'static str>,
    born: Instant,
    pool: Arc<Pool>,
    // Freed last: fields drop in order.
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(options: PgConnectOptions, size: u32) -> Arc<Self> {
        let size = size.max(1) as usize;
        Arc::new(Self { options, size, permits: Arc::new(Semaphore::new(size)), idle: Mutex::new(Vec::new()) })
    }

    /// A connection for the work of this database role, or for any, within two seconds.
    pub(crate) async fn checkout(self: &Arc<Self>, role: Option<&'static str>) -> Result<Checkout> {
        let began = Instant::now();
        let permit = timeout(ACQUIRE, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = match permit {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(error::unavailable("the store is closed")),
            Err(_) => return Err(error::unavailable("every connection is in use")),
        };
        let (connection, born, last_role) = match self.take(role) {
            Some(idle) => (idle.connection, idle.born, idle.role),
            None => (self.connect(ACQUIRE.saturating_sub(began.elapsed())).await?, Instant::now(), None),
        };
        Ok(Checkout { connection, role: role.or(last_role), born, pool: Arc::clone(self), _permit: permit })
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

    /// The role's own connection that was used last, or one that was nobody's yet; another role's, the longest unused, only
    /// when there is no room for one more. The caller holds a permit.
    fn take(&self, role: Option<&'static str>) -> Option<Idle> {
        let mut idle = self.idle();
        let Some(role) = role else { return idle.pop() };
        let in_use = self.size.saturating_sub(self.permits.available_permits());
        let is_full = in_use + idle.len() > self.size;
        let roles: Vec<_> = idle.iter().map(|one| one.role).collect();
        choose(&roles, role, is_full).map(|place| idle.remove(place))
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
        let Self { connection, role, born, pool, _permit } = self;
        let now = Instant::now();
        if now.duration_since(born) > LIFETIME {
            return;
        }
        let mut idle = pool.idle();
        idle.push(Idle { connection, role, born, since: now });
        // The oldest stand first: one at a time is enough to shrink after a peak.
        if idle.first().is_some_and(|one| now.duration_since(one.since) > IDLE) {
            idle.remove(0);
        }
    }
}

/// Which of the idle connections, the longest unused first, serves `role`; none means a new one.
fn choose(idle: &[Option<&str>], role: &str, is_full: bool) -> Option<usize> {
    let of = |wanted: Option<&str>| idle.iter().rposition(|one| *one == wanted);
    of(Some(role)).or_else(|| of(None)).or_else(|| (is_full && !idle.is_empty()).then_some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_keeps_its_connections_while_there_is_room() {
        let idle = [Some("app"), None, Some("app"), Some("system")];
        assert_eq!(choose(&idle, "app", false), Some(2), "its own, used last");
        assert_eq!(choose(&idle, "reader", false), Some(1), "nobody's");
        assert_eq!(choose(&[Some("app")], "system", false), None, "a new one");
        assert_eq!(choose(&[Some("app"), Some("app")], "system", true), Some(0), "another's, the longest unused");
        assert_eq!(choose(&[], "system", true), None);
    }
}
