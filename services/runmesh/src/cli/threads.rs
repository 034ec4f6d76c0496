//! `runmesh threads`.

use super::context::Context;
use super::done::Done;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::Args;
use runmesh_client::Paging;

/// Options of `runmesh threads`.
#[derive(Debug, Clone, Args)]
pub struct Threads {
    /// Only threads of yours.
    #[arg(long)]
    mine: bool,
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

impl Threads {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let threads = context.client.list_threads(None, self.mine, Paging::first(self.limit)).await?.items;
        if context.output.took_list("threads", "runmesh.thread.v1.Thread", &threads)? {
            return Ok(Done::Well);
        }
        let mut table = Table::new(&["THREAD", "CHANGED", "TITLE"]);
        let now = when::now();
        for thread in threads {
            table.row([thread.thread_id, when::ago(thread.update_time, now), thread.title]);
        }
        if table.is_empty() {
            context.output.line("no threads yet; runmesh chat opens one")?;
            return Ok(Done::Well);
        }
        table.lines().iter().try_for_each(|line| context.output.line(line))?;
        Ok(Done::Well)
    }
}
