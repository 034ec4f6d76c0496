//! `runmesh show`: what became of a run, transition by transition and, when asked, step by step.

use super::context::Context;
use super::done::Done;
use super::names;
use super::printable;
use super::table::Table;
use super::when;
use crate::failure::Failure;
use clap::Args;
use runmesh_client::pb::run::{GetRunHistoryResponse, Run, Step, Transition, step};
use runmesh_domain::Refusal;
use runmesh_domain::id::RunId;
use runmesh_domain::path::StepKey;
use runmesh_wire::convert::step_key;
use std::collections::BTreeMap;

/// Options of `runmesh show`.
#[derive(Debug, Clone, Args)]
pub struct Show {
    /// The run.
    run: RunId,
    /// Add the journaled steps.
    #[arg(long)]
    steps: bool,
}

impl Show {
    pub async fn run(self, context: &Context) -> Result<Done, Failure> {
        let history = context.client.history(self.run, self.steps).await?;
        if context.output.took("runmesh.run.v1.GetRunHistoryResponse", &history)? {
            return Ok(Done::Well);
        }
        let GetRunHistoryResponse { run, transitions, steps, next_page_token: _ } = history;
        let mut lines = facts(&run.unwrap_or_default());
        lines.push(String::new());
        lines.extend(transition_table(&transitions).lines());
        for (key, step) in in_reading_order(&steps).map_err(|refusal| Failure::fault(refusal.to_string()))? {
            lines.push(String::new());
            let indent = "  ".repeat(key.path.depth());
            lines.extend(step_lines(step).into_iter().map(|line| format!("{indent}{line}")));
        }
        lines.iter().try_for_each(|line| context.output.line(line))?;
        Ok(Done::Well)
    }
}

fn facts(run: &Run) -> Vec<String> {
    let usage = run.usage.unwrap_or_default();
    let tokens = format!("{} in, {} out", usage.input_token_count, usage.output_token_count);
    let rows = [
        ("run", run.run_id.clone()),
        ("thread", format!("{} (turn {})", run.thread_id, run.turn_number)),
        ("agent", format!("{} (version {})", run.agent_id, run.agent_version)),
        ("state", names::state_text(run.state()).to_owned()),
        ("note", names::note(run)),
        ("tokens", tokens),
    ];
    rows.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name:<8}{value}")).collect()
}

fn transition_table(transitions: &[Transition]) -> Table {
    let mut table = Table::new(&["VERSION", "TIME (UTC)", "FROM", "TO", "CAUSE", "FENCE", "SESSION"]);
    for transition in transitions {
        let time = when::of_wire(transition.time).map(when::precise).unwrap_or_default();
        let from = names::state(transition.from()).map_or(String::new(), |state| state.name().to_owned());
        table.row([
            transition.version.to_string(),
            time,
            from,
            names::state_text(transition.to()).to_owned(),
            transition.cause.clone(),
            transition.fence.to_string(),
            transition.session_id.clone(),
        ]);
    }
    table
}

/// The steps, the branches of each one's calls behind it.
fn in_reading_order(steps: &[Step]) -> Result<BTreeMap<StepKey, &Step>, Refusal> {
    steps.iter().map(|step| Ok((step_key("steps", step.step_index, &step.path)?, step))).collect()
}

fn step_lines(step: &Step) -> Vec<String> {
    let time = when::of_wire(step.create_time).map(when::precise).unwrap_or_default();
    let branch = if step.path.is_empty() { String::new() } else { format!("branch {} · ", printable::line(&step.path)) };
    let (index, model, fence) = (step.step_index, printable::line(&step.model), step.fence);
    let mut lines = vec![format!("{branch}step {index} · {model} · attempt {fence} · {time}")];
    lines.extend(printable::text(&step.text).lines().map(|line| format!("  {line}")));
    for call in &step.calls {
        lines.push(format!("  → {} {}", printable::line(&call.name), printable::short(&call.arguments_json, 200)));
        lines.push(
            format!("    {} {}", call_state(call.state()), printable::first_line(&call.content, 200)).trim_end().to_owned(),
        );
    }
    lines
}

const fn call_state(state: step::CallState) -> &'static str {
    match state {
        step::CallState::Unspecified => "unknown to this version",
        step::CallState::Reserved => "not yet begun",
        step::CallState::Dispatched => "begun",
        step::CallState::Done => "✓",
        step::CallState::Failed => "✗",
        step::CallState::Unknown => "may have happened",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_shows_its_calls() {
        let call = step::Call {
            name: "get".into(),
            arguments_json: "{}".into(),
            state: step::CallState::Failed.into(),
            content: "no\nway".into(),
            ..step::Call::default()
        };
        let step = Step { step_index: 1, fence: 2, model: "m".into(), text: "a\nb".into(), calls: vec![call], ..Step::default() };
        assert_eq!(step_lines(&step), ["step 1 · m · attempt 2 · ", "  a", "  b", "  → get {}", "    ✗ no …"]);
    }

    #[test]
    fn branches_stand_behind_the_step_that_opened_them() {
        let step = |path: &str, step_index| Step { path: path.into(), step_index, model: "m".into(), ..Step::default() };
        let steps = [step("", 1), step("", 2), step("1.0", 1), step("1.0/1.1", 1), step("1.10", 1), step("1.2", 1)];
        let ordered = in_reading_order(&steps).unwrap_or_default();
        let paths: Vec<&str> = ordered.values().map(|step| step.path.as_str()).collect();
        assert_eq!(paths, ["", "1.0", "1.0/1.1", "1.2", "1.10", ""]);
        assert!(step_lines(&steps[2])[0].starts_with("branch 1.0 · step 1 · m"));
    }
}
