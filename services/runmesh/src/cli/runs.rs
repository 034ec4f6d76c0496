//! `runmesh runs`: a list, or with `--watch` a line for every change.

use super::context::Context;
use super::done::Done;
use super::names;
use super::signals::Signals;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::Args;
use runmesh_client::pb::run::Run;
use runmesh_client::{Paging, RunFilter};
use runmesh_domain::id::ThreadId;
use runmesh_domain::run::StateName;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often `--watch` looks.
const WATCH_PERIOD: Duration = Duration::from_secs(1);

/// Options of `runmesh runs`.
#[derive(Debug, Clone, Args)]
pub struct Runs {
    /// Only runs of this thread.
    #[arg(long, value_name = "THREAD")]
    thread: Option<ThreadId>,
    /// Only runs in this state; may be given several times.
    #[arg(long, value_parser = names::parse_state)]
    state: Vec<StateName>,
    /// Only runs that were set aside, because a part of them cannot be read, and that are not over.
    #[arg(long)]
    set_aside: bool,
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on, and print a line for every change, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

impl Runs {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let filter = RunFilter { thread: self.thread, states: self.state, set_aside: self.set_aside };
        let runs = context.client.list_runs(&filter, Paging::first(self.limit)).await?.items;
        if self.watch {
            return watch(context, &filter, self.limit, runs).await;
        }
        if context.output.took_list("runs", "runmesh.run.v1.Run", &runs)? {
            return Ok(Done::Well);
        }
        print(context, &runs)
    }
}

/// Prints a table of runs.
pub fn print(context: &Context, runs: &[Run]) -> Result<Done, Failure> {
    if runs.is_empty() {
        context.output.line("no runs")?;
        return Ok(Done::Well);
    }
    table(runs).lines().iter().try_for_each(|line| context.output.line(line))?;
    Ok(Done::Well)
}

fn table(runs: &[Run]) -> Table {
    let mut table = Table::new(&["RUN", "THREAD", "TURN", "STATE", "ACCEPTED", "NOTE"]);
    let now = when::now();
    for run in runs {
        let state = names::state_text(run.state()).to_owned();
        let accepted = when::ago(run.create_time, now);
        table.row([run.run_id.clone(), run.thread_id.clone(), run.turn_number.to_string(), state, accepted, names::note(run)]);
    }
    table
}

/// Prints what there is, oldest first, then whatever changes.
async fn watch(context: &Context, filter: &RunFilter, limit: u32, mut runs: Vec<Run>) -> Result<Done, Failure> {
    let mut signals = Signals::listen()?;
    let mut ticks = interval(WATCH_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = HashMap::new();
    if let (false, Some(heading)) = (context.output.json, table(&runs).lines().first()) {
        context.output.line(heading)?;
    }
    loop {
        let changed = changes(&mut seen, runs);
        show_changes(context, &changed)?;
        tokio::select! {
            _ = ticks.tick() => {}
            () = signals.leave() => return Ok(Done::Detached),
        }
        runs = context.client.list_runs(filter, Paging::first(limit)).await?.items;
    }
}

fn show_changes(context: &Context, changed: &[Run]) -> Result<(), Failure> {
    if context.output.json {
        for run in changed {
            context.output.took("runmesh.run.v1.Run", run)?;
        }
        return Ok(());
    }
    Ok(table(changed).body().iter().try_for_each(|line| context.output.line(line))?)
}

/// The runs that are new or have another version than when they were seen last, oldest first. Forgets what the list no
/// longer holds, so that a watch of days does not grow.
fn changes(seen: &mut HashMap<String, i64>, runs: Vec<Run>) -> Vec<Run> {
    let before = std::mem::take(seen);
    seen.extend(runs.iter().map(|run| (run.run_id.clone(), run.version)));
    let mut changed: Vec<Run> = runs.into_iter().filter(|run| before.get(&run.run_id) != Some(&run.version)).collect();
    changed.reverse();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_shown_and_only_what_is_listed_is_remembered() {
        let run = |id: &str, version| Run { run_id: id.into(), version, ..Run::default() };
        let ids = |runs: Vec<Run>| runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>();
        let mut seen = HashMap::new();
        assert_eq!(ids(changes(&mut seen, vec![run("b", 1), run("a", 1)])), ["a", "b"]);
        assert_eq!(ids(changes(&mut seen, vec![run("c", 1), run("b", 2)])), ["b", "c"]);
        assert_eq!(seen.len(), 2);
        assert!(changes(&mut seen, vec![run("c", 1), run("b", 2)]).is_empty());
    }
}
