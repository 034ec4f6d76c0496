//! Marks on transition rows, "in the log" and "on the feed", written in batches so that a run pays a fraction of a commit for
//! them. A lost mark costs a repeat that the log refuses and the feed's readers skip.

use runmesh_domain::Result;
use runmesh_domain::id::RunId;
use runmesh_host::Lifecycle;
use runmesh_store::{Db, Scope, outbox};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long marks gather: under load a batch, when idle a delay that nobody sees.
const GATHER: Duration = Duration::from_millis(150);
/// Runs whose marks wait at most; beyond it marks are dropped and the sweeper repeats.
const WAITING_MAX: usize = 50_000;

/// Collects marks; clones share the collection.
#[derive(Clone, Default)]
pub struct Marks {
    waiting: Arc<Mutex<Waiting>>,
    some: Arc<Notify>,
}

/// Highest version by run.
#[derive(Default)]
struct Waiting {
    logged: HashMap<RunId, u64>,
    fed: HashMap<RunId, u64>,
}

impl Marks {
    /// The log of `run` holds everything up to `version`.
    pub fn logged(&self, run: RunId, version: u64) {
        self.add(|waiting| &mut waiting.logged, run, version);
    }

    /// The feed holds everything of `run` up to `version`.
    pub fn fed(&self, run: RunId, version: u64) {
        self.add(|waiting| &mut waiting.fed, run, version);
    }

    fn add(&self, pick: impl Fn(&mut Waiting) -> &mut HashMap<RunId, u64>, run: RunId, version: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = pick(&mut waiting);
        if marks.len() < WAITING_MAX {
            let known = marks.entry(run).or_default();
            *known = version.max(*known);
        }
        drop(waiting);
        self.some.notify_one();
    }

    /// Writes marks until the drain, and once more at its end.
    pub fn start(&self, db: Db, life: &Lifecycle) {
        let marks = self.clone();
        let soft = life.soft().clone();
        life.spawn("marks", async move {
            while soft.run_until_cancelled(marks.some.notified()).await.is_some() {
                tokio::select! {
                    () = soft.cancelled() => {}
                    () = tokio::time::sleep(GATHER) => {}
                }
                marks.write_or_warn(&db).await;
            }
            marks.write_or_warn(&db).await;
            Ok::<(), std::convert::Infallible>(())
        });
    }

    async fn write_or_warn(&self, db: &Db) {
        if let Err(error) = self.write(db).await {
            tracing::debug!(%error, "marks not written, the sweeper will");
        }
    }

    async fn write(&self, db: &Db) -> Result<()> {
        let Waiting { logged, fed } = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if logged.is_empty() && fed.is_empty() {
            return Ok(());
        }
        let sorted = |marks: HashMap<RunId, u64>| {
            let mut marks: Vec<_> = marks.into_iter().collect();
            marks.sort_unstable();
            Arc::new(marks)
        };
        let (logged, fed) = (sorted(logged), sorted(fed));
        db.tx(Scope::System, move |tx| {
            let (logged, fed) = (Arc::clone(&logged), Arc::clone(&fed));
            Box::pin(async move { outbox::mark(tx, &logged, &fed).await })
        })
        .await
    }
}
