//! Tasks of a lifecycle: each has a name, a span, an owner that waits for it, and a death that is noticed.

use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

use super::fault::{Fault, panic_text};
use super::Lifecycle;

impl Lifecycle {
    /// Runs `future` as a task of this process, in a span of its name. Dropped when the hard token fires. An error or a panic
    /// before the drain is a [`Fault`] and begins the drain; after it, it is only logged. `Ok` is a normal end.
    pub fn spawn<F, E>(&self, name: &'static str, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let life = self.clone();
        let kept_open = self.tokens();
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
        let span = tracing::info_span!("task", name);
        // The handle may go: the tracker of this lifecycle owns the task and every drain waits for it.
        drop(self.inner.tasks.spawn(
            async move {
                task.await;
                drop(kept_open);
            }
            .instrument(span),
        ));
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
