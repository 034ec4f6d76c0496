//! The line before Postgres for those who attach. As many are let through at once as there are connections for them; the others wait
//! in order, bounded in number and time, and nobody fails because a connection was not free for a moment.

use crate::limits;
use runmesh_domain::{Fault, Refusal, Result};
use runmesh_host::random;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// See the module. Clones share the line.
#[derive(Debug, Clone)]
pub struct Queue {
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// A turn at Postgres. Dropped, it is the next one's.
#[derive(Debug)]
pub struct AtPostgres {
    _room: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl Queue {
    /// So many at once, and so many who wait beside them.
    pub fn new(at_once: u32, waiting_max: u32) -> Self {
        let at_once = at_once.max(1) as usize;
        let room = at_once.saturating_add(waiting_max as usize);
        Self { room: Arc::new(Semaphore::new(room)), turns: Arc::new(Semaphore::new(at_once)) }
    }

    /// Waits for a turn. A caller that goes away, or whose deadline passes, leaves the line.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when too many wait, or the turn does not come in time.
    pub async fn enter(&self) -> Result<AtPostgres> {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return Err(overloaded().into()) };
        match timeout(limits::ATTACH_WAIT, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(AtPostgres { _room: room, _turn: turn }),
            // The line is never closed.
            Ok(Err(_)) | Err(_) => Err(overloaded().into()),
        }
    }

    /// As [`Queue::enter`], for a stream that goes on: it tries again later, as when Postgres is away.
    pub async fn enter_later(&self) -> Result<AtPostgres> {
        let entered = self.enter().await;
        entered.map_err(|_| Fault::Unavailable { part: "postgres", detail: "too many attach at once".into() }.into())
    }

    /// How many more may come before somebody is refused.
    #[cfg(test)]
    fn room(&self) -> usize {
        self.room.available_permits()
    }
}

/// Those who were refused together do not come back together.
fn overloaded() -> Refusal {
    let (least, most) = limits::ATTACH_AGAIN;
    Refusal::Overloaded { what: "the database", retry_after: random::between(least, most) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use futures::FutureExt as _;
    use runmesh_domain::Error;
    use std::collections::BTreeSet;

    fn retry_after(refused: Result<AtPostgres>) -> std::time::Duration {
        match refused {
            Err(Error::Refused(Refusal::Overloaded { retry_after, .. })) => retry_after,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_beyond_the_bound_are_refused_and_the_others_wait_in_order() {
        let queue = Queue::new(1, 2);
        let first = queue.enter().await.unwrap();
        let mut second = Box::pin(queue.enter());
        let mut third = Box::pin(queue.enter());
        assert!(second.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
        let asked: BTreeSet<_> =
            futures::future::join_all((0..8).map(|_| queue.enter())).await.into_iter().map(retry_after).collect();
        let (least, most) = limits::ATTACH_AGAIN;
        assert!(asked.len() > 1 && asked.iter().all(|pause| (least..most).contains(pause)), "{asked:?}");
        drop(first);
        assert!(third.as_mut().now_or_never().is_none(), "the second comes first");
        let second = second.await.unwrap();
        // A caller that leaves the line gives its place to another.
        drop(third);
        assert_eq!(queue.room(), 2);
        drop(second);
        assert_eq!(queue.room(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let queue = Queue::new(1, 1);
        let _held = queue.enter().await.unwrap();
        retry_after(queue.enter().await);
        let later = queue.enter_later().await;
        assert!(matches!(later, Err(Error::Fault(Fault::Unavailable { part: "postgres", .. }))), "{later:?}");
        assert_eq!(queue.room(), 1);
    }
}
