//! Tasks of a lifecycle: each has a name, a span, an owner that waits for it, and a death that is noticed.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

use super::Lifecycle;
use super::fault::{Fault, panic_text};
use crate::telemetry;

impl Lifecycle {
    /// Runs `future` as a task of this process, in a span of its name. Dropped when the hard token fires. An error or a panic
    /// before the drain is a [`Fault`] and begins the drain; after it, it is only logged. `Ok` is a normal end.
    pub fn spawn<F, E>(&self, name: &'static str, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let kept_open = self.tokens();
        let task = self.watched(name, future);
        // The handle may go: the tracker of this lifecycle owns the task and every drain waits for it.
        drop(self.inner.tasks.spawn(async move {
            task.await;
            drop(kept_open);
        }));
    }

    /// As [`Lifecycle::spawn`], for what has no end of its own and is not worth waiting for (the admin port, the signals): it
    /// goes on while the others drain and is dropped at the hard token.
    pub fn spawn_aside<F, E>(&self, name: &'static str, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        drop(self.inner.aside.spawn(self.watched(name, future)));
    }

    /// `future` with its span, its end at the hard token, and its death noticed.
    fn watched<F, E>(&self, name: &'static str, future: F) -> impl Future<Output = ()> + Send + 'static
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let life = self.clone();
        let task = async move {
            let watched = AssertUnwindSafe(future).catch_unwind();
            let Some(outcome) = life.inner.hard.run_until_cancelled(watched).await else { return };
            let cause = match outcome {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(payload) => format!("panicked: {}", panic_text(&*payload)),
            };
            if life.is_draining() {
                tracing::warn!(task = name, %cause, "a task failed while draining");
            } else {
                life.fail(Fault { task: name, cause });
            }
        };
        // It lasts as long as the process: for log lines only, and no parent of what its work does.
        task.instrument(tracing::info_span!(target: telemetry::LOG_ONLY, "task", name))
    }

    /// One token per ancestor, so that a parent's drain also waits for the tasks of its children.
    fn tokens(&self) -> Vec<TaskTrackerToken> {
        let mut tokens = Vec::new();
        let mut at = &self.inner.parent;
        while let Some(life) = at {
            tokens.push(life.inner.tasks.token());
            at = &life.inner.parent;
        }
        tokens
    }
}
