//! Marks on transition rows, "in the log" and "on the feed", written in batches so that a run pays a fraction of a commit for
//! them. A lost mark costs a repeat that the log refuses and the feed's readers skip.

use runmesh_domain::Result;
use runmesh_domain::id::RunId;
use runmesh_store::{Command, Db, Tx, outbox};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long marks gather: under load a batch, when idle a delay that nobody sees.
const GATHER: Duration = Duration::from_millis(150);
/// Runs whose marks wait at most; beyond it marks are dropped and the sweeper repeats.
const WAITING_MAX: usize = 50_000;

/// Collects marks; clones share the collection.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    waiting: Arc<Mutex<Waiting>>,
    some: Arc<Notify>,
}

/// Highest version by run.
#[derive(Debug, Default)]
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

    /// Writes marks until `soft` is cancelled, and once more then.
    pub async fn write_until(&self, db: &Db, soft: &CancellationToken) {
        while soft.run_until_cancelled(self.some.notified()).await.is_some() {
            tokio::select! {
                () = soft.cancelled() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            self.write_or_log(db).await;
        }
        self.write_or_log(db).await;
    }

    async fn write_or_log(&self, db: &Db) {
        if let Err(error) = self.write(db).await {
            tracing::debug!(%error, "marks not written, the sweeper repeats what they mark");
        }
    }

    async fn write(&self, db: &Db) -> Result<()> {
        let Waiting { logged, fed } = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if logged.is_empty() && fed.is_empty() {
            return Ok(());
        }
        let mark = Mark { logged: logged.into_iter().collect(), fed: fed.into_iter().collect() };
        db.run_background(mark).await
    }
}

/// Writes marks, those of each kind with the highest version by run.
struct Mark {
    logged: Vec<(RunId, u64)>,
    fed: Vec<(RunId, u64)>,
}

impl Command for Mark {
    type Answer = ();

    async fn run(&self, tx: &mut Tx) -> Result<()> {
        outbox::mark(tx, &self.logged, &self.fed).await
    }
}
