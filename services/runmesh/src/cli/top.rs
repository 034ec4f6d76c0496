//! `runmesh top`: the numbers, and the runs behind them.

use super::context::Context;
use super::done::Done;
use super::names;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::Args;
use runmesh_client::pb::summary::GetSummaryResponse;

/// Options of `runmesh top`.
#[derive(Debug, Clone, Args)]
pub struct Top {
    /// How many runs to list at most.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

impl Top {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let summary = context.client.get_summary(self.limit).await?;
        if context.output.took("runmesh.summary.v1.GetSummaryResponse", &summary)? {
            return Ok(Done::Well);
        }
        context.output.line(&context.style.bold(&headline(&summary)))?;
        let now = when::of_wire(summary.time).unwrap_or_else(when::now);
        let mut table = Table::new(&["RUN", "STATE", "SINCE", "AGENT", "THREAD"]);
        for run in summary.runs {
            let state = names::state_text(run.state()).to_owned();
            table.row([run.run_id, state, when::ago(run.since, now), run.agent_name, run.thread_title]);
        }
        if !table.is_empty() {
            table.lines().iter().try_for_each(|line| context.output.line(line))?;
        }
        Ok(Done::Well)
    }
}

fn headline(summary: &GetSummaryResponse) -> String {
    let plural = |count: i32, noun: &str| if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") };
    let (agents, tasks) = (plural(summary.agent_count, "agent"), plural(summary.running_count, "task"));
    let verb = if summary.agent_count == 1 { "is" } else { "are" };
    let at = when::of_wire(summary.time).map(|time| format!(" (at {} UTC)", when::clock(time))).unwrap_or_default();
    format!(
        "{agents} {verb} working on {tasks}; {} waiting for a person, {} queued{at}",
        summary.waiting_count, summary.queued_count
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_counts() {
        let summary = GetSummaryResponse { agent_count: 1, running_count: 3, waiting_count: 2, ..GetSummaryResponse::default() };
        assert_eq!(headline(&summary), "1 agent is working on 3 tasks; 2 waiting for a person, 0 queued");
    }
}
