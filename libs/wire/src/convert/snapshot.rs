//! Snapshots: the fold on the wire.

use super::{FromWire, IntoWire, id, join, signed, signed32, step_key, unsigned};
use crate::pb::run::run::State;
use crate::pb::stream as pb;
use runmesh_domain::Refusal;
use runmesh_domain::chain::Chain;
use runmesh_domain::fold::{CallView, Question, RunView, StepView};
use runmesh_domain::path::StepKey;

/// One step of a view, as a snapshot shows it.
#[must_use]
pub fn step(key: &StepKey, view: &StepView) -> pb::snapshot::Step {
    let calls = view.calls.iter().map(|(index, call)| {
        let (content, is_error) = call.outcome.clone().unwrap_or_default();
        pb::snapshot::Call {
            call_index: signed32(*index),
            name: call.name.clone(),
            arguments_json: call.arguments.clone(),
            finished: call.outcome.is_some(),
            content,
            is_error,
        }
    });
    let (step_index, path) = key.clone().into_wire();
    pb::snapshot::Step {
        step_index,
        text: view.text.clone(),
        reasoning: view.reasoning.clone(),
        calls: calls.collect(),
        finished: view.finished,
        path,
    }
}

/// The frame of a view without its steps: the last part of a snapshot.
#[must_use]
pub fn head(view: &RunView, cursor: String, from_database: bool) -> pb::Snapshot {
    pb::Snapshot {
        steps: Vec::new(),
        complete: true,
        seq: signed(view.seq),
        chain: view.chain.0,
        cursor,
        from_database,
        fence: signed(view.fence),
        finished: view.finished.as_deref().cloned().map(IntoWire::into_wire),
        state: view.state.map_or(State::Unspecified, IntoWire::into_wire).into(),
        question: view
            .question
            .clone()
            .map(|Question { action, summary }| pb::ApprovalRequested { action_id: action.to_string(), summary }),
    }
}

/// Adds a part of a snapshot to the view that is being put together.
///
/// # Errors
/// [`Refusal::InvalidField`] for a number out of range.
pub fn add(view: &mut RunView, part: pb::Snapshot) -> Result<(), Refusal> {
    view.state = match part.state() {
        State::Unspecified => None,
        state => Some(state.from_wire("state")?),
    };
    let pb::Snapshot { steps, complete: _, seq, chain, cursor: _, from_database: _, fence, finished, state: _, question } = part;
    view.seq = unsigned("seq", seq)?;
    view.chain = Chain(chain);
    view.fence = unsigned("fence", fence)?;
    for step in steps {
        let key = step_key("steps", step.step_index, &step.path)?;
        let known = view.steps.entry(key).or_default();
        add_step(known, step)?;
    }
    if let Some(finished) = finished {
        view.finished = Some(Box::new(finished.from_wire(&join("", "finished"))?));
    }
    if let Some(pb::ApprovalRequested { action_id, summary }) = question {
        view.question = Some(Question { action: id("question.action_id", &action_id)?, summary });
    }
    Ok(())
}

/// A step whose text is larger than a frame comes in several pieces.
fn add_step(view: &mut StepView, step: pb::snapshot::Step) -> Result<(), Refusal> {
    let pb::snapshot::Step { step_index: _, text, reasoning, calls, finished, path: _ } = step;
    view.text.push_str(&text);
    view.reasoning.push_str(&reasoning);
    view.finished = finished;
    for call in calls {
        let pb::snapshot::Call { call_index, name, arguments_json, finished, content, is_error } = call;
        let outcome = finished.then_some((content, is_error));
        view.calls.insert(unsigned("calls.call_index", call_index)?, CallView { name, arguments: arguments_json, outcome });
    }
    Ok(())
}
