//! `runmesh queue`.

use super::context::Context;
use super::done::Done;
use super::runs;
use crate::failure::Failure;
use clap::Args;
use runmesh_domain::id::ThreadId;

/// Options of `runmesh queue`.
#[derive(Debug, Clone, Args)]
pub struct Queue {
    /// The thread.
    thread: ThreadId,
}

impl Queue {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let runs = context.client.list_queue(self.thread).await?;
        if context.output.took_list("runs", "runmesh.run.v1.Run", &runs)? {
            return Ok(Done::Well);
        }
        if runs.is_empty() {
            context.output.line("the thread is free")?;
            return Ok(Done::Well);
        }
        runs::print(context, &runs)
    }
}
