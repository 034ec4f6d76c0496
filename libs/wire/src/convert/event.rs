//! The events of a run.

use super::{FromWire, IntoWire, id, join, list, required, signed, signed32, step_key, unsigned};
use crate::pb::stream as pb;
use crate::pb::stream::run_event::Kind;
use runmesh_domain::Refusal;
use runmesh_domain::event::Event;
use runmesh_domain::journal::CALL_CLOSED;
use runmesh_domain::message::Part;
use runmesh_domain::path::{CallKey, Path};
use runmesh_domain::transition::{Finished, Record, Transition};

/// What the log shows of a transition, in order. An end comes after the results that it gave to calls that had not begun.
#[must_use]
pub fn of_transition(transition: &Transition) -> Vec<Event> {
    match &transition.record {
        Record::Quiet => Vec::new(),
        Record::AttemptStarted => {
            vec![Event::attempt_started(transition)]
        }
        Record::ApprovalRequested { action, summary } => {
            vec![Event::ApprovalRequested { action: *action, summary: summary.clone() }]
        }
        Record::Finished(finished) => {
            let closed = finished.closed_calls.iter().map(|CallKey { step, call_index }| Event::ToolCallFinished {
                step: step.clone(),
                call_index: *call_index,
                content: CALL_CLOSED.to_owned(),
                is_error: true,
            });
            closed.chain([Event::RunFinished(finished.clone())]).collect()
        }
    }
}

impl IntoWire<pb::RunEvent> for Event {
    fn into_wire(self) -> pb::RunEvent {
        pb::RunEvent { kind: kind(self) }
    }
}

fn kind(event: Event) -> Option<Kind> {
    Some(match event {
        Event::AttemptStarted { fence, session, at } => Kind::AttemptStarted(pb::AttemptStarted {
            fence: signed(fence),
            session_id: session.map(|session| session.to_string()).unwrap_or_default(),
            time: Some(at.into_wire()),
        }),
        Event::StepStarted { step, model } => {
            let (step_index, path) = step.into_wire();
            Kind::StepStarted(pb::StepStarted { step_index, model, path })
        }
        Event::TextDelta { step, text } => {
            let (step_index, path) = step.into_wire();
            Kind::TextDelta(pb::TextDelta { step_index, text, path })
        }
        Event::ReasoningDelta { step, text } => {
            let (step_index, path) = step.into_wire();
            Kind::ReasoningDelta(pb::ReasoningDelta { step_index, text, path })
        }
        Event::ToolCallStarted { step, call_index, name } => {
            let (step_index, path) = step.into_wire();
            Kind::ToolCallStarted(pb::ToolCallStarted { step_index, call_index: signed32(call_index), name, path })
        }
        Event::ToolCallArgumentsDelta { step, call_index, arguments: arguments_json } => {
            let (step_index, path) = step.into_wire();
            let call_index = signed32(call_index);
            Kind::ToolCallArgumentsDelta(pb::ToolCallArgumentsDelta { step_index, call_index, arguments_json, path })
        }
        Event::ToolCallFinished { step, call_index, content, is_error } => {
            let (step_index, path) = step.into_wire();
            let call_index = signed32(call_index);
            Kind::ToolCallFinished(pb::ToolCallFinished { step_index, call_index, content, is_error, path })
        }
        Event::StepRetracted { step, reason } => {
            let (step_index, path) = step.into_wire();
            Kind::StepRetracted(pb::StepRetracted { step_index, reason, path })
        }
        Event::StepFinished { step, parts, usage } => {
            let (step_index, path) = step.into_wire();
            Kind::StepFinished(pb::StepFinished { step_index, parts: shown(parts), usage: Some(usage.into_wire()), path })
        }
        Event::ModelRetrying { step, attempt, reason } => {
            let (step_index, path) = step.into_wire();
            Kind::ModelRetrying(pb::ModelRetrying { step_index, attempt: signed32(attempt), reason, path })
        }
        Event::ContextReported { path, omitted_turns, tokens } => Kind::ContextReported(pb::ContextReported {
            omitted_turn_count: signed32(omitted_turns),
            token_count: signed(tokens),
            path: path.to_string(),
        }),
        Event::ApprovalRequested { action, summary } => {
            Kind::ApprovalRequested(pb::ApprovalRequested { action_id: action.to_string(), summary })
        }
        Event::RunFinished(finished) => Kind::RunFinished((*finished).into_wire()),
        Event::LogRestarted { reason, fence, is_open } => {
            Kind::LogRestarted(pb::LogRestarted { reason, fence: signed(fence), running: is_open })
        }
        Event::Unknown => return None,
    })
}

impl IntoWire<pb::RunFinished> for Finished {
    fn into_wire(self) -> pb::RunFinished {
        // The closed calls are events of their own.
        let Self { state, reason, detail, message, promoted, usage, at, closed_calls: _ } = self;
        pb::RunFinished {
            state: state.into_wire().into(),
            reason,
            detail,
            message: message.map(|message| message.shown().into_wire()),
            promoted_run_id: promoted.map(|run| run.to_string()).unwrap_or_default(),
            usage: Some(usage.into_wire()),
            time: Some(at.into_wire()),
        }
    }
}

impl FromWire<Finished> for pb::RunFinished {
    fn from_wire(self, path: &str) -> Result<Finished, Refusal> {
        let state = self.state().from_wire(&join(path, "state"))?;
        let Self { state: _, reason, detail, message, promoted_run_id, usage, time } = self;
        let promoted = (!promoted_run_id.is_empty()).then(|| id(&join(path, "promoted_run_id"), &promoted_run_id));
        Ok(Finished {
            state,
            reason,
            detail,
            message: message.map(|message| message.from_wire(&join(path, "message"))).transpose()?,
            promoted: promoted.transpose()?,
            usage: usage.unwrap_or_default().from_wire(&join(path, "usage"))?,
            at: required(&join(path, "time"), time)?.from_wire(&join(path, "time"))?,
            closed_calls: Vec::new(),
        })
    }
}

impl FromWire<Event> for pb::RunEvent {
    fn from_wire(self, at: &str) -> Result<Event, Refusal> {
        let step = |step_index: i32, path: String| step_key(at, step_index, &path);
        let call = |index: i32| unsigned(&join(at, "call_index"), index);
        Ok(match self.kind {
            None => Event::Unknown,
            Some(Kind::AttemptStarted(event)) => attempt_started(event, at)?,
            Some(Kind::StepStarted(pb::StepStarted { step_index, model, path })) => {
                Event::StepStarted { step: step(step_index, path)?, model }
            }
            Some(Kind::TextDelta(pb::TextDelta { step_index, text, path })) => {
                Event::TextDelta { step: step(step_index, path)?, text }
            }
            Some(Kind::ReasoningDelta(pb::ReasoningDelta { step_index, text, path })) => {
                Event::ReasoningDelta { step: step(step_index, path)?, text }
            }
            Some(Kind::ToolCallStarted(pb::ToolCallStarted { step_index, call_index, name, path })) => {
                Event::ToolCallStarted { step: step(step_index, path)?, call_index: call(call_index)?, name }
            }
            Some(Kind::ToolCallArgumentsDelta(pb::ToolCallArgumentsDelta { step_index, call_index, arguments_json, path })) => {
                let (step, call_index) = (step(step_index, path)?, call(call_index)?);
                Event::ToolCallArgumentsDelta { step, call_index, arguments: arguments_json }
            }
            Some(Kind::ToolCallFinished(pb::ToolCallFinished { step_index, call_index, content, is_error, path })) => {
                Event::ToolCallFinished { step: step(step_index, path)?, call_index: call(call_index)?, content, is_error }
            }
            Some(Kind::StepRetracted(pb::StepRetracted { step_index, reason, path })) => {
                Event::StepRetracted { step: step(step_index, path)?, reason }
            }
            Some(Kind::StepFinished(pb::StepFinished { step_index, parts, usage, path })) => Event::StepFinished {
                step: step(step_index, path)?,
                parts: list(&join(at, "parts"), parts)?,
                usage: usage.unwrap_or_default().from_wire(&join(at, "usage"))?,
            },
            Some(Kind::ModelRetrying(pb::ModelRetrying { step_index, attempt, reason, path })) => {
                let attempt = unsigned(&join(at, "attempt"), attempt)?;
                Event::ModelRetrying { step: step(step_index, path)?, attempt, reason }
            }
            Some(Kind::ContextReported(pb::ContextReported { omitted_turn_count, token_count, path })) => {
                Event::ContextReported {
                    path: Path::parse(&join(at, "path"), &path)?,
                    omitted_turns: unsigned(&join(at, "omitted_turn_count"), omitted_turn_count)?,
                    tokens: unsigned(&join(at, "token_count"), token_count)?,
                }
            }
            Some(Kind::ApprovalRequested(pb::ApprovalRequested { action_id, summary })) => {
                Event::ApprovalRequested { action: id(&join(at, "action_id"), &action_id)?, summary }
            }
            Some(Kind::RunFinished(finished)) => Event::RunFinished(Box::new(finished.from_wire(at)?)),
            Some(Kind::LogRestarted(pb::LogRestarted { reason, fence, running })) => {
                Event::LogRestarted { reason, fence: unsigned(&join(at, "fence"), fence)?, is_open: running }
            }
        })
    }
}

fn attempt_started(event: pb::AttemptStarted, path: &str) -> Result<Event, Refusal> {
    let pb::AttemptStarted { fence, session_id, time } = event;
    let session = (!session_id.is_empty()).then(|| id(&join(path, "session_id"), &session_id));
    Ok(Event::AttemptStarted {
        fence: unsigned(&join(path, "fence"), fence)?,
        session: session.transpose()?,
        at: required(&join(path, "time"), time)?.from_wire(&join(path, "time"))?,
    })
}

/// Followers see no provider data.
fn shown(parts: Vec<Part>) -> Vec<crate::pb::thread::Part> {
    parts.into_iter().map(|part| part.shown().into_wire()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::Timestamp;
    use runmesh_domain::journal::Usage;
    use runmesh_domain::path::StepKey;

    fn branch() -> StepKey {
        StepKey { path: "3.0/1.2".parse().unwrap_or_default(), step_index: 4 }
    }

    #[test]
    fn a_path_is_empty_at_the_top_level_and_refused_when_malformed() {
        let wire = |step: StepKey| match (Event::TextDelta { step, text: "t".into() }).into_wire().kind {
            Some(Kind::TextDelta(delta)) => delta,
            other => panic!("{other:?}"),
        };
        assert_eq!(wire(StepKey::top(1)).path, "");
        assert_eq!(wire(branch()).path, "3.0/1.2");
        let malformed = pb::TextDelta { path: "3".into(), ..wire(branch()) };
        let refused = pb::RunEvent { kind: Some(Kind::TextDelta(malformed)) }.from_wire("events[0]");
        assert!(matches!(refused, Err(Refusal::InvalidField { field, .. }) if field == "events[0].path"));
    }

    #[test]
    fn every_kind_comes_back_as_it_went() {
        let at = Timestamp::from_micros(1_234_567);
        let finished = Finished {
            state: runmesh_domain::run::StateName::Failed,
            reason: "R".into(),
            detail: "d".into(),
            message: None,
            promoted: None,
            usage: Usage { input_tokens: 1, output_tokens: 2 },
            at,
            closed_calls: Vec::new(),
        };
        let step = branch();
        let events = [
            Event::AttemptStarted { fence: 2, session: None, at },
            Event::StepStarted { step: step.clone(), model: "m".into() },
            Event::TextDelta { step: step.clone(), text: "t".into() },
            Event::ReasoningDelta { step: step.clone(), text: "t".into() },
            Event::ToolCallStarted { step: step.clone(), call_index: 0, name: "n".into() },
            Event::ToolCallArgumentsDelta { step: step.clone(), call_index: 0, arguments: "{".into() },
            Event::ToolCallFinished { step: step.clone(), call_index: 0, content: "c".into(), is_error: true },
            Event::StepRetracted { step: step.clone(), reason: "r".into() },
            Event::StepFinished { step: step.clone(), parts: vec![Part::text("x")], usage: Usage::default() },
            Event::ModelRetrying { step: step.clone(), attempt: 2, reason: "r".into() },
            Event::ContextReported { path: step.path.clone(), omitted_turns: 1, tokens: 9 },
            Event::RunFinished(Box::new(finished)),
            Event::LogRestarted { reason: "r".into(), fence: 3, is_open: true },
            Event::Unknown,
        ];
        for event in events {
            assert_eq!(event.clone().into_wire().from_wire(""), Ok(event));
        }
    }

    #[test]
    fn followers_see_no_provider_data() {
        let data = Some(runmesh_domain::message::ProviderData { model: "m".into(), json: r#"{"extra_content":1}"#.into() });
        let call = Part::ToolCall { call_id: "c".into(), name: "t".into(), arguments: "{}".into(), provider_data: data.clone() };
        let reasoning = Part::Reasoning { text: "hm".into(), provider_data: data };
        for part in [&call, &reasoning] {
            assert_eq!(part.clone().into_wire().from_wire("part"), Ok(part.clone()));
        }
        let step = StepKey::top(1);
        let event = Event::StepFinished { step: step.clone(), parts: vec![reasoning, call], usage: Usage::default() };
        let parts = vec![Part::reasoning("hm"), Part::tool_call("c", "t", "{}")];
        assert_eq!(event.into_wire().from_wire(""), Ok(Event::StepFinished { step, parts, usage: Usage::default() }));
    }
}
