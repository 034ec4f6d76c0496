//! The journal of a run: its steps and their tool calls, and what is made of them.

use crate::event::Event;
use crate::message::Part;
use crate::path::{CallKey, Path, StepKey};
use crate::policy::Verdict;
use serde::{Deserialize, Serialize};

/// Tokens, as the provider counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
        }
    }
}

/// What a model call gave. Stored as JSON: names are durable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModelStep {
    /// Text, reasoning and tool calls in order.
    pub parts: Vec<Part>,
    /// The model that answered.
    pub model: String,
    /// The provider's finish reason.
    pub finish_reason: String,
    /// Tokens of the call.
    pub usage: Usage,
}

/// A tool call as the model asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedCall<'a> {
    /// Its place in the step, from 0.
    pub call_index: u32,
    /// The provider's id.
    pub call_id: &'a str,
    /// The tool.
    pub name: &'a str,
    /// The arguments as the model wrote them.
    pub arguments: &'a str,
}

impl ModelStep {
    /// The tool calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = AskedCall<'_>> {
        let calls = self.parts.iter().filter_map(|part| match part {
            Part::ToolCall { call_id, name, arguments, provider_data: _ } => Some((call_id, name, arguments)),
            Part::Text { .. } | Part::Reasoning { .. } | Part::ToolResult { .. } => None,
        });
        (0..).zip(calls).map(|(call_index, (call_id, name, arguments))| AskedCall { call_index, call_id, name, arguments })
    }
}

/// Where a tool call stands. Stored by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Asked for and not yet begun.
    Reserved,
    /// Begun; it may have happened.
    Dispatched,
    /// Ended with a result.
    Done,
    /// Ended with an error, or refused.
    Failed,
    /// Its worker was lost while it ran, and nobody knows whether it happened.
    Unknown,
}

impl CallState {
    /// The stored name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Dispatched => "dispatched",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// The state of that stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Reserved, Self::Dispatched, Self::Done, Self::Failed, Self::Unknown].into_iter().find(|state| state.name() == name)
    }

    /// True when nothing more will come of the call.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// A tool call in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its place in the step, from 0.
    pub call_index: u32,
    /// The provider's id.
    pub call_id: String,
    /// The tool.
    pub name: String,
    /// The arguments, canonical when they are well formed.
    pub arguments: String,
    /// Where it stands.
    pub state: CallState,
    /// What the policy says of it.
    pub verdict: Verdict,
    /// True when a repeat with the same key does nothing new.
    pub idempotent: bool,
    /// The key that every try carries.
    pub idempotency_key: String,
    /// The result or the error, once over.
    pub content: String,
}

/// A step in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The branch that it is a step of.
    pub path: Path,
    /// Its place there, from 1.
    pub step_index: u32,
    /// The attempt that journaled it.
    pub fence: u64,
    /// What the model gave.
    pub result: ModelStep,
    /// Its tool calls.
    pub calls: Vec<Call>,
    /// When it was journaled.
    pub created_at: crate::Timestamp,
}

impl Step {
    /// What names it within its run.
    #[must_use]
    pub fn key(&self) -> StepKey {
        StepKey { path: self.path.clone(), step_index: self.step_index }
    }

    /// What a run's log shows of it: its StepFinished, then the results of those of its calls that are over.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let ModelStep { parts, usage, .. } = &self.result;
        let finished = Event::StepFinished { step: self.key(), parts: parts.clone(), usage: *usage };
        let over = self.calls.iter().filter(|call| call.state.is_over());
        let results = over.map(|call| Event::ToolCallFinished {
            step: self.key(),
            call_index: call.call_index,
            content: call.content.clone(),
            is_error: call.state == CallState::Failed,
        });
        std::iter::once(finished).chain(results).collect()
    }
}

/// The key that every try of a call carries, the same in every attempt.
#[must_use]
pub fn call_key(run: crate::id::RunId, step: &StepKey, call_index: u32) -> String {
    let StepKey { path, step_index } = step;
    if path.is_top() { format!("{run}-{step_index}-{call_index}") } else { format!("{run}-{path}-{step_index}-{call_index}") }
}

/// What the model hears of a call that never got a result, so that the next prompt is well formed.
pub const CALL_CLOSED: &str = "not run: the run ended first";
/// What the model hears of a call that may have happened.
pub const CALL_UNKNOWN: &str = "unknown: the run ended while this call was under way; it may have happened";

/// The parts of the assistant's message: every step of the top level with the results of its calls, in order. What a branch gave is
/// in the result of the call that opened it. Calls without a result are given one that says why. `last` is a step that ends the
/// run at the same time and is not in `steps`.
#[must_use]
pub fn answer_parts(steps: &[Step], last: Option<&ModelStep>) -> Vec<AnswerPart> {
    let said = |part: &Part| AnswerPart { part: part.clone(), result_of: None };
    let mut parts = Vec::new();
    for step in steps.iter().filter(|step| step.path.is_top()) {
        parts.extend(step.result.parts.iter().map(said));
        for call in &step.calls {
            let result_of = call.state.is_over().then(|| step.key().call(call.call_index));
            parts.push(AnswerPart { part: result_part(call), result_of });
        }
    }
    if let Some(last) = last {
        parts.extend(last.parts.iter().map(said));
        for call in last.calls() {
            let (call_id, name) = (call.call_id.to_owned(), call.name.to_owned());
            let part = Part::ToolResult { call_id, name, content: CALL_CLOSED.to_owned(), is_error: true };
            parts.push(AnswerPart { part, result_of: None });
        }
    }
    parts
}

/// A part of the assistant's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerPart {
    /// The part.
    pub part: Part,
    /// The call whose journaled result it holds, if it holds one.
    pub result_of: Option<CallKey>,
}

fn result_part(call: &Call) -> Part {
    let (content, is_error) = match call.state {
        CallState::Done => (call.content.clone(), false),
        CallState::Failed => (call.content.clone(), true),
        CallState::Reserved => (CALL_CLOSED.to_owned(), true),
        CallState::Dispatched | CallState::Unknown => (CALL_UNKNOWN.to_owned(), true),
    };
    Part::ToolResult { call_id: call.call_id.clone(), name: call.name.clone(), content, is_error }
}

/// Tokens of all steps, of branches too.
#[must_use]
pub fn usage(steps: &[Step], last: Option<&ModelStep>) -> Usage {
    let journaled = steps.iter().fold(Usage::default(), |sum, step| sum + step.result.usage);
    last.map_or(journaled, |last| journaled + last.usage)
}

/// What is to be done about a run whose lease is lost or given back, decided from its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing unsafe was in flight: the next attempt redoes what was.
    Redo,
    /// These calls may have happened; never empty.
    Unsafe(Vec<CallKey>),
}

/// Decides from the calls in flight, those of branches included. A model call is always safe to redo; so is a call known
/// idempotent. A call that opened a branch is judged by itself: a tool that goes on from its branch's journal is idempotent.
#[must_use]
pub fn recovery<'a>(calls: impl IntoIterator<Item = (&'a StepKey, &'a Call)>) -> Recovery {
    let unsafe_calls: Vec<_> = calls
        .into_iter()
        .filter(|(_, call)| matches!(call.state, CallState::Dispatched | CallState::Unknown) && !call.idempotent)
        .map(|(step, call)| step.clone().call(call.call_index))
        .collect();
    if unsafe_calls.is_empty() { Recovery::Redo } else { Recovery::Unsafe(unsafe_calls) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(call_index: u32, state: CallState, idempotent: bool) -> Call {
        Call {
            call_index,
            call_id: format!("c{call_index}"),
            name: "t".into(),
            arguments: "{}".into(),
            state,
            verdict: Verdict::Allow,
            idempotent,
            idempotency_key: String::new(),
            content: "r".into(),
        }
    }

    #[test]
    fn only_dispatched_calls_that_are_not_idempotent_are_unsafe() {
        let step = StepKey::top(1);
        let calls = [
            call(0, CallState::Reserved, false),
            call(1, CallState::Dispatched, true),
            call(2, CallState::Done, false),
            call(3, CallState::Failed, false),
        ];
        assert_eq!(recovery(calls.iter().map(|call| (&step, call))), Recovery::Redo);
        let lost = call(4, CallState::Dispatched, false);
        let branch = StepKey { path: step.clone().call(1).branch().unwrap_or_default(), step_index: 2 };
        let asked = vec![StepKey::top(2).call(4), branch.clone().call(4)];
        assert_eq!(recovery([(&StepKey::top(2), &lost), (&branch, &lost)]), Recovery::Unsafe(asked));
    }

    #[test]
    fn every_call_of_the_message_has_a_result() {
        let asked = |n: u32| Part::tool_call(format!("c{n}"), "t", "{}");
        let result = ModelStep { parts: vec![asked(0), asked(1)], ..ModelStep::default() };
        let calls = vec![call(0, CallState::Done, true), call(1, CallState::Dispatched, true)];
        let created_at = crate::Timestamp::from_micros(0);
        let step = Step { path: Path::TOP, step_index: 1, fence: 1, result, calls, created_at };
        let branch = Step { path: StepKey::top(1).call(0).branch().unwrap_or_default(), ..step.clone() };
        let last = ModelStep { parts: vec![asked(2)], ..ModelStep::default() };
        let parts = answer_parts(&[step, branch], Some(&last));
        let errors: Vec<_> = parts
            .iter()
            .filter_map(|part| match &part.part {
                Part::ToolResult { call_id, is_error, .. } => Some((call_id.as_str(), *is_error)),
                _ => None,
            })
            .collect();
        assert_eq!(errors, [("c0", false), ("c1", true), ("c2", true)], "once each: branches are in their call's result");
    }

    #[test]
    fn the_key_of_a_call_names_its_branch() {
        let run = crate::id::RunId::from_uuid(Default::default());
        let step = StepKey::top(3);
        assert_eq!(call_key(run, &step, 1), format!("{run}-3-1"));
        let deepest = ["1000.127"; crate::limits::PATH_DEPTH_MAX].join("/").parse().unwrap_or_default();
        let key = call_key(run, &StepKey { path: deepest, step_index: u32::MAX }, 127);
        assert!(key.contains("-1000.127/1000.127") && key.len() <= crate::limits::IDEMPOTENCY_KEY_BYTES_MAX, "{key}");
    }
}
