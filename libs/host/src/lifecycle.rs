//! The life of a process: two tokens, the tasks it owns, the fault that ended it, and the drain. Never spawns a task that
//! nobody waits for.
//!
//! The soft token says "take no new work and finish": health goes NOT_SERVING, loops stop after their tick, services end their
//! long streams. The hard token says "stop now": connections are closed and tasks dropped. [`Lifecycle::run`] fires the first on a
//! signal or a fault and the second when the grace is over, so a shutdown can never hang.

mod fault;
mod loops;
mod signals;
mod tasks;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use fault::Fault;
pub(crate) use fault::panic_text;

/// How long tasks get to let go after the hard token, before the drain stops waiting for them.
const LETTING_GO: Duration = Duration::from_secs(1);

/// A handle on the life of the process, or of one service in it. Clones share it.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    soft: CancellationToken,
    hard: CancellationToken,
    /// What a drain waits for.
    tasks: TaskTracker,
    /// What it lets run until the hard token.
    aside: TaskTracker,
    parent: Option<Lifecycle>,
    fault: Arc<fault::Slot>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// The life of a process, without signal handling: see [`Lifecycle::handle_signals`].
    #[must_use]
    pub fn new() -> Self {
        Self::build(CancellationToken::new(), CancellationToken::new(), None, Arc::default())
    }

    /// The life of one service among several in this process. It ends with its parent, or alone by its own [`Lifecycle::drain`];
    /// a fault in it is a fault of the whole process.
    #[must_use]
    pub fn child(&self) -> Self {
        let (soft, hard) = (self.inner.soft.child_token(), self.inner.hard.child_token());
        Self::build(soft, hard, Some(self.clone()), Arc::clone(&self.inner.fault))
    }

    fn build(soft: CancellationToken, hard: CancellationToken, parent: Option<Self>, fault: Arc<fault::Slot>) -> Self {
        let (tasks, aside) = (TaskTracker::new(), TaskTracker::new());
        Self { inner: Arc::new(Inner { soft, hard, tasks, aside, parent, fault }) }
    }

    /// Cancelled when no new work may start.
    #[must_use]
    pub fn soft(&self) -> &CancellationToken {
        &self.inner.soft
    }

    /// Cancelled when everything must stop now.
    #[must_use]
    pub fn hard(&self) -> &CancellationToken {
        &self.inner.hard
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.soft.is_cancelled()
    }

    /// Begins the drain without waiting for it.
    pub fn stop(&self) {
        self.inner.soft.cancel();
    }

    /// Drains: soft now, hard after `grace`. Returns as soon as every task has ended, and at the latest a second after the
    /// grace; the result says whether all of them ended by themselves.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.inner.soft.cancel();
        let Inner { tasks, aside, hard, .. } = &*self.inner;
        tasks.close();
        aside.close();
        let willing = tokio::time::timeout(grace, tasks.wait()).await.is_ok();
        if !willing {
            tracing::warn!(grace_ms = grace.as_millis(), left = tasks.len(), "grace is over, stopping what is left");
        }
        hard.cancel();
        let all = async { tokio::join!(tasks.wait(), aside.wait()) };
        if tokio::time::timeout(LETTING_GO, all).await.is_err() {
            tracing::error!(left = tasks.len() + aside.len(), "tasks ignored the hard stop");
        }
        willing
    }

    /// Waits until the drain begins (a signal, [`Lifecycle::stop`] or a fault), drains, and returns the fault if there was one:
    /// the caller then exits with [`exit::FAULT`](crate::exit::FAULT).
    ///
    /// # Errors
    ///
    /// The first task that failed or panicked before the drain.
    pub async fn run(&self, grace: Duration) -> Result<(), Fault> {
        self.inner.soft.cancelled().await;
        self.drain(grace).await;
        self.inner.fault.get().map_or(Ok(()), Err)
    }

    /// Waits until every task has ended, without starting a drain.
    ///
    /// # Errors
    ///
    /// The first task that failed or panicked before the drain.
    pub async fn wait(&self) -> Result<(), Fault> {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.fault.get().map_or(Ok(()), Err)
    }

    /// The fault that is ending the process, if one happened.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        self.inner.fault.get()
    }

    /// Keeps the first fault and begins the drain of the whole process.
    fn fail(&self, fault: Fault) {
        tracing::error!(task = fault.task, cause = %fault.cause, "a task died, draining the process");
        self.inner.fault.set(fault);
        let mut top = self;
        while let Some(parent) = &top.inner.parent {
            top = parent;
        }
        top.inner.soft.cancel();
    }
}
