//! What every part of the orchestrator shares.

use crate::founding::Founding;
use crate::marks::Marks;
use crate::ready::Ready;
use crate::sessions::Sessions;
use runmesh_bus::Bus;
use runmesh_domain::limits::{Leases, Queues};
use runmesh_domain::{Fault, Result};
use runmesh_host::Lifecycle;
use runmesh_host::signed::Signer;
use runmesh_store::Db;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Publishing jobs that one replica has under way at once; what is beyond is the sweeper's.
const PUBLISHING_MAX: usize = 512;

/// The orchestrator's hands: clones share everything.
#[derive(Clone)]
pub struct Mesh {
    pub db: Db,
    pub bus: Bus,
    pub run_tokens: Signer,
    pub leases: Leases,
    pub queues: Queues,
    pub default_model: Option<String>,
    /// How orgs come to be.
    pub founding: Arc<Founding>,
    pub sessions: Arc<Sessions>,
    pub marks: Marks,
    pub life: Lifecycle,
    pub ready: Arc<Ready>,
    /// Work that outlives the call that began it.
    pub tasks: TaskTracker,
    pub publishing: Arc<Semaphore>,
}

impl Mesh {
    /// The permits of publishing jobs.
    pub fn publishing_permits() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(PUBLISHING_MAX))
    }

    /// Runs `work` to its end even when the caller goes away: a client that disconnects must not leave a command half done.
    pub async fn whole<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let task = self.tasks.spawn(tracing::Instrument::in_current_span(work));
        task.await.unwrap_or_else(|error| Err(Fault::internal(format!("a command died: {error}")).into()))
    }
}

/// A new id's UUID: time-ordered, so that tables grow at their end.
pub fn new_uuid() -> Uuid {
    Uuid::now_v7()
}
