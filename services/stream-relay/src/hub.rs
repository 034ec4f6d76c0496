//! The runs that somebody watches here: each is followed once, however many viewers it has.

mod fill;
mod follow;
mod snapshot;
mod warm;
mod watched;

pub use warm::Since;
pub use watched::{Watched, Watching};

use crate::limits;
use runmesh_bus::{Bus, RunKey};
use runmesh_host::random;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Every watched run. Clones share them.
#[derive(Debug, Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bus: Bus,
    tasks: TaskTracker,
    /// The drain: runs without viewers are let go at once.
    soft: CancellationToken,
    watched: Mutex<HashMap<RunKey, Arc<Watched>>>,
    /// Places for looks at logs in NATS.
    looks: Semaphore,
}

impl Hub {
    /// Nothing watched yet.
    pub fn new(bus: Bus, tasks: TaskTracker, soft: CancellationToken) -> Self {
        let looks = Semaphore::new(limits::LOOKS_AT_ONCE);
        Self { inner: Arc::new(Inner { bus, tasks, soft, watched: Mutex::default(), looks }) }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<RunKey, Arc<Watched>>> {
        self.inner.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a run; whoever comes first has it followed.
    pub fn watch(&self, key: RunKey) -> Watching {
        let mut watched = self.watched();
        if let Some(known) = watched.get(&key) {
            return Watching::new(Arc::clone(known));
        }
        let fresh = Arc::new(Watched::new(key));
        watched.insert(key, Arc::clone(&fresh));
        let watching = Watching::new(Arc::clone(&fresh));
        let follower = follow::Follower::new(self.clone(), self.inner.bus.clone(), fresh);
        // The tracker owns it: a drain waits for it.
        drop(self.inner.tasks.spawn(follower.run()));
        watching
    }

    /// Quiet runs that are watched and due to be compared with Postgres. Has those looked at, too, that may be let go.
    pub fn due(&self) -> Vec<Arc<Watched>> {
        let watched = self.watched();
        watched.values().filter(|run| self.lets_go(run)).for_each(|run| run.may_go());
        watched.values().filter(|run| run.is_watched() && run.is_due()).cloned().collect()
    }

    /// How long a follower waits before it reads its log after NATS was away: the more there are, the longer at most, so that they
    /// do not ask the leader all at once.
    fn reconnect_pause(&self) -> Duration {
        let (each, most) = limits::RECONNECT_SPREAD;
        let runs = u32::try_from(self.watched().len()).unwrap_or(u32::MAX);
        random::between(Duration::ZERO, each.saturating_mul(runs).min(most))
    }

    /// Whether a run that nobody watches may be let go now.
    fn lets_go(&self, run: &Watched) -> bool {
        let linger = if self.inner.soft.is_cancelled() || run.is_over() { Duration::ZERO } else { limits::LINGER };
        run.is_unwatched_for(linger)
    }

    /// Lets a run go unless somebody has come back. True when it is gone.
    fn let_go(&self, run: &Arc<Watched>) -> bool {
        let mut watched = self.watched();
        if !self.lets_go(run) {
            return false;
        }
        watched.remove(&run.key());
        true
    }

    /// A place for a look at a log in NATS; few have one at once. None is never: the places are not closed.
    async fn place_to_look(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.looks.acquire().await.ok()
    }

    fn soft(&self) -> &CancellationToken {
        &self.inner.soft
    }
}
