//! The events of a run.

use super::{FromWire, IntoWire, id, join, list, required, signed, signed32, unsigned};
use crate::pb::stream as pb;
use crate::pb::stream::run_event::Kind;
use runmesh_domain::Refusal;
use runmesh_domain::event::Event;
use runmesh_domain::message::Part;
use runmesh_domain::transition::{Finished, Record, Transition};

/// What the log shows of a transition.
#[must_use]
pub fn of_transition(transition: &Transition) -> Option<Event> {
    match &transition.record {
        Record::Quiet => None,
        Record::AttemptStarted => {
            Some(Event::AttemptStarted { fence: transition.fence, session: transition.session, at: transition.at })
        }
        Record::ApprovalRequested { action, summary } => {
            Some(Event::ApprovalRequested { action: *action, summary: summary.clone() })
        }
        Record::Finished(finished) => Some(Event::RunFinished(finished.clone())),
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
        Event::StepStarted { step_index, model } => {
            Kind::StepStarted(pb::StepStarted { step_index: signed32(step_index), model })
        }
        Event::TextDelta { step_index, text } => Kind::TextDelta(pb::TextDelta { step_index: signed32(step_index), text }),
        Event::ReasoningDelta { step_index, text } => {
            Kind::ReasoningDelta(pb::ReasoningDelta { step_index: signed32(step_index), text })
        }
        Event::ToolCallStarted { step_index, call_index, name } => Kind::ToolCallStarted(pb::ToolCallStarted {
            step_index: signed32(step_index),
            call_index: signed32(call_index),
            name,
        }),
        Event::ToolCallArgumentsDelta { step_index, call_index, arguments } => {
            Kind::ToolCallArgumentsDelta(pb::ToolCallArgumentsDelta {
                step_index: signed32(step_index),
                call_index: signed32(call_index),
                arguments_json: arguments,
            })
        }
        Event::ToolCallFinished { step_index, call_index, content, is_error } => Kind::ToolCallFinished(pb::ToolCallFinished {
            step_index: signed32(step_index),
            call_index: signed32(call_index),
            content,
            is_error,
        }),
        Event::StepRetracted { step_index, reason } => {
            Kind::StepRetracted(pb::StepRetracted { step_index: signed32(step_index), reason })
        }
        Event::StepFinished { step_index, parts, usage } => Kind::StepFinished(pb::StepFinished {
            step_index: signed32(step_index),
            parts: shown(parts),
            usage: Some(usage.into_wire()),
        }),
        Event::ModelRetrying { step_index, attempt, reason } => {
            Kind::ModelRetrying(pb::ModelRetrying { step_index: signed32(step_index), attempt: signed32(attempt), reason })
        }
        Event::ContextReported { omitted_turns, tokens } => Kind::ContextReported(pb::ContextReported {
            omitted_turn_count: signed32(omitted_turns),
            token_count: signed(tokens),
        }),
        Event::ApprovalRequested { action, summary } => {
            Kind::ApprovalRequested(pb::ApprovalRequested { action_id: action.to_string(), summary })
        }
        Event::RunFinished(finished) => Kind::RunFinished((*finished).into_wire()),
        Event::LogRestarted { reason } => Kind::LogRestarted(pb::LogRestarted { reason }),
        Event::Unknown => return None,
    })
}

impl IntoWire<pb::RunFinished> for Finished {
    fn into_wire(self) -> pb::RunFinished {
        let Self { state, reason, detail, message, promoted, usage, at } = self;
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
        })
    }
}

impl FromWire<Event> for pb::RunEvent {
    fn from_wire(self, path: &str) -> Result<Event, Refusal> {
        let step = |index: i32| unsigned(&join(path, "step_index"), index);
        let call = |index: i32| unsigned(&join(path, "call_index"), index);
        Ok(match self.kind {
            None => Event::Unknown,
            Some(Kind::AttemptStarted(event)) => attempt_started(event, path)?,
            Some(Kind::StepStarted(pb::StepStarted { step_index, model })) => {
                Event::StepStarted { step_index: step(step_index)?, model }
            }
            Some(Kind::TextDelta(pb::TextDelta { step_index, text })) => Event::TextDelta { step_index: step(step_index)?, text },
            Some(Kind::ReasoningDelta(pb::ReasoningDelta { step_index, text })) => {
                Event::ReasoningDelta { step_index: step(step_index)?, text }
            }
            Some(Kind::ToolCallStarted(pb::ToolCallStarted { step_index, call_index, name })) => {
                Event::ToolCallStarted { step_index: step(step_index)?, call_index: call(call_index)?, name }
            }
            Some(Kind::ToolCallArgumentsDelta(pb::ToolCallArgumentsDelta { step_index, call_index, arguments_json })) => {
                let (step_index, call_index) = (step(step_index)?, call(call_index)?);
                Event::ToolCallArgumentsDelta { step_index, call_index, arguments: arguments_json }
            }
            Some(Kind::ToolCallFinished(pb::ToolCallFinished { step_index, call_index, content, is_error })) => {
                Event::ToolCallFinished { step_index: step(step_index)?, call_index: call(call_index)?, content, is_error }
            }
            Some(Kind::StepRetracted(pb::StepRetracted { step_index, reason })) => {
                Event::StepRetracted { step_index: step(step_index)?, reason }
            }
            Some(Kind::StepFinished(pb::StepFinished { step_index, parts, usage })) => Event::StepFinished {
                step_index: step(step_index)?,
                parts: list(&join(path, "parts"), parts)?,
                usage: usage.unwrap_or_default().from_wire(&join(path, "usage"))?,
            },
            Some(Kind::ModelRetrying(pb::ModelRetrying { step_index, attempt, reason })) => {
                let attempt = unsigned(&join(path, "attempt"), attempt)?;
                Event::ModelRetrying { step_index: step(step_index)?, attempt, reason }
            }
            Some(Kind::ContextReported(pb::ContextReported { omitted_turn_count, token_count })) => Event::ContextReported {
                omitted_turns: unsigned(&join(path, "omitted_turn_count"), omitted_turn_count)?,
                tokens: unsigned(&join(path, "token_count"), token_count)?,
            },
            Some(Kind::ApprovalRequested(pb::ApprovalRequested { action_id, summary })) => {
                Event::ApprovalRequested { action: id(&join(path, "action_id"), &action_id)?, summary }
            }
            Some(Kind::RunFinished(finished)) => Event::RunFinished(Box::new(finished.from_wire(path)?)),
            Some(Kind::LogRestarted(pb::LogRestarted { reason })) => Event::LogRestarted { reason },
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
        };
        let events = [
            Event::AttemptStarted { fence: 2, session: None, at },
            Event::StepStarted { step_index: 1, model: "m".into() },
            Event::TextDelta { step_index: 1, text: "t".into() },
            Event::ReasoningDelta { step_index: 1, text: "t".into() },
            Event::ToolCallStarted { step_index: 1, call_index: 0, name: "n".into() },
            Event::ToolCallArgumentsDelta { step_index: 1, call_index: 0, arguments: "{".into() },
            Event::ToolCallFinished { step_index: 1, call_index: 0, content: "c".into(), is_error: true },
            Event::StepRetracted { step_index: 1, reason: "r".into() },
            Event::StepFinished { step_index: 1, parts: vec![Part::text("x")], usage: Usage::default() },
            Event::ModelRetrying { step_index: 1, attempt: 2, reason: "r".into() },
            Event::ContextReported { omitted_turns: 1, tokens: 9 },
            Event::RunFinished(Box::new(finished)),
            Event::LogRestarted { reason: "r".into() },
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
        let event = Event::StepFinished { step_index: 1, parts: vec![reasoning, call], usage: Usage::default() };
        let parts = vec![Part::reasoning("hm"), Part::tool_call("c", "t", "{}")];
        assert_eq!(event.into_wire().from_wire(""), Ok(Event::StepFinished { step_index: 1, parts, usage: Usage::default() }));
    }
}
