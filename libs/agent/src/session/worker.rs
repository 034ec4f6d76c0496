//! What a worker is, and putting it to work: its heartbeats on their own thread, its runs under one loop.

use super::heartbeat::Heart;
use super::held::{Held, Hints};
use super::shift::Shift;
use crate::mesh::{Channels, Credentials};
use crate::model::Provider;
use crate::tools::Toolbox;
use runmesh_domain::id::AgentId;
use runmesh_domain::limits::WORKER_CAPACITY_MAX;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Notices of the heartbeats that may wait.
const NOTICES: usize = 16;

/// What a worker is.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// A name for people, at most 128 characters.
    pub name: String,
    /// Runs driven at once; 1 to 10,000.
    pub capacity: u32,
    /// Agents served; all that the credential allows when empty.
    pub agent_ids: Vec<AgentId>,
    /// Built-in tools that it can run; `*` for all.
    pub tools: Vec<String>,
    /// The ways to the mesh.
    pub channels: Channels,
    /// Who it is.
    pub credentials: Credentials,
    /// The model.
    pub provider: Provider,
    /// The tools' means.
    pub toolbox: Toolbox,
    /// How long a drain waits for calls that may not be repeated.
    pub drain_grace: Duration,
}

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The capacity is out of bounds.
    #[error("worker capacity: want 1 to {WORKER_CAPACITY_MAX}")]
    Capacity,
    /// The thread of the heartbeats cannot be started.
    #[error("heartbeat thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The heartbeats ended while the worker was working.
    #[error("the heartbeats ended")]
    HeartbeatsEnded,
}

/// A worker, not yet at work.
#[derive(Debug)]
pub struct Worker {
    config: WorkerConfig,
    held: Arc<Held>,
}

impl Worker {
    /// A worker of that kind.
    ///
    /// # Errors
    /// [`WorkerError::Capacity`].
    pub fn new(config: WorkerConfig) -> Result<Self, WorkerError> {
        if !(1..=WORKER_CAPACITY_MAX).contains(&config.capacity) {
            return Err(WorkerError::Capacity);
        }
        Ok(Self { config, held: Arc::new(Held::default()) })
    }

    /// Where this process passes hints to the worker.
    #[must_use]
    pub fn hints(&self) -> Hints {
        Hints(Arc::clone(&self.held))
    }

    /// Works until `drain` or `stop` is set. A drain takes no more runs, waits for what may not be repeated, gives every run
    /// back and returns; a stop drops everything at once, and the mesh takes it back by itself.
    ///
    /// # Errors
    /// [`WorkerError`] when the worker cannot heartbeat.
    pub async fn run(self, drain: CancellationToken, stop: CancellationToken) -> Result<(), WorkerError> {
        let (sessions, watched) = watch::channel(None);
        let (sender, notices) = mpsc::channel(NOTICES);
        let heart_stop = CancellationToken::new();
        let heart = Heart {
            channels: self.config.channels.clone(),
            credentials: self.config.credentials.clone(),
            held: Arc::clone(&self.held),
            sessions: watched,
            notices: sender,
            stop: heart_stop.clone(),
        };
        let thread = heart.start()?;
        // However this future ends, the thread ends with it.
        let guard = heart_stop.drop_guard();
        let mut shift = Shift::new(self.config, self.held, sessions, notices, drain);
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            result = shift.work() => result,
        };
        shift.runs.shutdown().await;
        drop(guard);
        // The thread is at an await point of its own at most: this is short.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        result
    }
}
