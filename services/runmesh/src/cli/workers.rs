//! `runmesh workers`.

use super::context::Context;
use super::done::Done;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::Args;
use runmesh_client::pb::worker::worker::State;

/// Options of `runmesh workers`.
#[derive(Debug, Clone, Args)]
pub struct Workers {
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

impl Workers {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let workers = context.client.list_workers(self.limit).await?;
        if context.output.took_list("workers", "runmesh.worker.v1.Worker", &workers)? {
            return Ok(Done::Well);
        }
        let mut table = Table::new(&["SESSION", "WORKER", "STATE", "RUNS", "OPENED", "HEARTBEAT"]);
        let now = when::now();
        for worker in workers {
            let state = state_text(worker.state()).to_owned();
            let runs = format!("{}/{}", worker.run_count, worker.capacity);
            let (opened, heartbeat) = (when::ago(worker.open_time, now), when::ago(worker.heartbeat_time, now));
            table.row([worker.session_id, worker.worker, state, runs, opened, heartbeat]);
        }
        if table.is_empty() {
            context.output.line("no workers; runs wait until one connects")?;
            return Ok(Done::Well);
        }
        table.lines().iter().try_for_each(|line| context.output.line(line))?;
        Ok(Done::Well)
    }
}

const fn state_text(state: State) -> &'static str {
    match state {
        State::Unspecified => "unknown",
        State::Live => "live",
        State::Lost => "lost",
    }
}
