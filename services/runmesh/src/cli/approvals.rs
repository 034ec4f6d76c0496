//! `runmesh approvals`: the inbox.

use super::context::Context;
use super::done::Done;
use super::printable;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::Args;
use runmesh_client::Paging;

/// Options of `runmesh approvals`.
#[derive(Debug, Clone, Args)]
pub struct Approvals {
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

impl Approvals {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let actions = context.client.list_pending_actions(Paging::first(self.limit)).await?.items;
        if context.output.took_list("actions", "runmesh.approval.v1.PendingAction", &actions)? {
            return Ok(Done::Well);
        }
        let mut table = Table::new(&["ACTION", "RUN", "ASKED", "UNTIL (UTC)", "QUESTION"]);
        let now = when::now();
        for action in actions {
            let asked = when::ago(action.create_time, now);
            let until = when::of_wire(action.expire_time).map(when::clock).unwrap_or_default();
            table.row([action.action_id, action.run_id, asked, until, printable::short(&action.summary, 100)]);
        }
        if table.is_empty() {
            context.output.line("nothing waits for a person")?;
            return Ok(Done::Well);
        }
        table.lines().iter().try_for_each(|line| context.output.line(line))?;
        Ok(Done::Well)
    }
}
