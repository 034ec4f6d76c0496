//! The fold of a run's events into what a reader sees. Clients, the relay's snapshots and the checkers all use this one.
//!
//! *Invariant S3:* at every StepFinished and every transition event, the fold equals the journal up to it.

use crate::chain::Chain;
use crate::event::Event;
use crate::journal::Step;
use crate::message::{Part, plain_text};
use crate::transition::Finished;
use std::collections::BTreeMap;

/// The state of a run as its log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunView {
    /// The last event folded in; 0 when there was none.
    pub seq: u64,
    /// The rolling hash there.
    pub chain: Chain,
    /// The current attempt; 0 when none began.
    pub fence: u64,
    /// Steps by index.
    pub steps: BTreeMap<u32, StepView>,
    /// The end.
    pub finished: Option<Box<Finished>>,
}

/// One model call as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StepView {
    /// Text so far.
    pub text: String,
    /// Reasoning so far.
    pub reasoning: String,
    /// Tool calls so far, by index.
    pub calls: BTreeMap<u32, CallView>,
    /// True once it is journaled.
    pub finished: bool,
}

/// One tool call as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallView {
    /// The tool.
    pub name: String,
    /// The arguments so far.
    pub arguments: String,
    /// The result or the error, and whether it is an error.
    pub outcome: Option<(String, bool)>,
}

impl RunView {
    /// Folds in the next event and moves on to `seq` and `chain`.
    pub fn take(&mut self, seq: u64, chain: Chain, event: &Event) {
        self.seq = seq;
        self.chain = chain;
        self.apply(event);
    }

    /// Folds in one event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::AttemptStarted { fence, .. } => self.fence = *fence,
            Event::StepStarted { step_index, .. } => {
                self.steps.insert(*step_index, StepView::default());
            }
            Event::TextDelta { step_index, text } => self.open_step(*step_index).text.push_str(text),
            Event::ReasoningDelta { step_index, text } => self.open_step(*step_index).reasoning.push_str(text),
            Event::ToolCallStarted { step_index, call_index, name } => {
                self.call(*step_index, *call_index).name.clone_from(name);
            }
            Event::ToolCallArgumentsDelta { step_index, call_index, arguments } => {
                self.call(*step_index, *call_index).arguments.push_str(arguments);
            }
            Event::ToolCallFinished { step_index, call_index, content, is_error } => {
                self.call(*step_index, *call_index).outcome = Some((content.clone(), *is_error));
            }
            Event::StepRetracted { step_index, .. } => {
                self.steps.remove(step_index);
            }
            Event::StepFinished { step_index, parts, .. } => {
                self.steps.insert(*step_index, StepView::of_parts(parts));
            }
            Event::RunFinished(finished) => {
                self.steps.retain(|_, step| step.finished);
                self.finished = Some(finished.clone());
            }
            Event::LogRestarted { .. } => self.steps.clear(),
            Event::ModelRetrying { .. } | Event::ContextReported { .. } | Event::ApprovalRequested { .. } | Event::Unknown => {}
        }
    }

    /// The text a reader sees: the stored message once there is one, else that of all steps so far.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.finished {
            Some(finished) => finished.message.as_ref().map(|message| plain_text(&message.parts)).unwrap_or_default(),
            None => self.steps.values().map(|step| step.text.as_str()).collect(),
        }
    }

    /// Steps that began and are not finished.
    #[must_use]
    pub fn open_steps(&self) -> Vec<u32> {
        self.steps.iter().filter(|(_, step)| !step.finished).map(|(index, _)| *index).collect()
    }

    /// Calls of finished steps that have no result: `(step, call)`.
    #[must_use]
    pub fn open_calls(&self) -> Vec<(u32, u32)> {
        let finished = self.steps.iter().filter(|(_, step)| step.finished);
        let calls = finished.flat_map(|(index, step)| step.calls.iter().map(move |(call, view)| (*index, *call, view)));
        calls.filter(|(_, _, view)| view.outcome.is_none()).map(|(step, call, _)| (step, call)).collect()
    }

    /// The same view made from the journal, for a run whose log is gone.
    #[must_use]
    pub fn of_journal(fence: u64, seq: u64, chain: Chain, steps: &[Step], finished: Option<Finished>) -> Self {
        let steps = steps.iter().map(|step| (step.step_index, StepView::of_step(step))).collect();
        Self { seq, chain, fence, steps, finished: finished.map(Box::new) }
    }

    /// Deltas to a step that is finished already belong to a log without its head; they are not added to it.
    fn open_step(&mut self, step_index: u32) -> &mut StepView {
        let step = self.steps.entry(step_index).or_default();
        if step.finished {
            *step = StepView::default();
        }
        step
    }

    fn call(&mut self, step_index: u32, call_index: u32) -> &mut CallView {
        self.steps.entry(step_index).or_default().calls.entry(call_index).or_default()
    }
}

impl StepView {
    fn of_parts(parts: &[Part]) -> Self {
        let mut view = Self { finished: true, ..Self::default() };
        for part in parts {
            match part {
                Part::Text { text } => view.text.push_str(text),
                Part::Reasoning { text, .. } => view.reasoning.push_str(text),
                Part::ToolCall { name, arguments, .. } => {
                    let index = u32::try_from(view.calls.len()).unwrap_or(u32::MAX);
                    let call = CallView { name: name.clone(), arguments: arguments.clone(), outcome: None };
                    view.calls.insert(index, call);
                }
                Part::ToolResult { .. } => {}
            }
        }
        view
    }

    fn of_step(step: &Step) -> Self {
        let mut view = Self::of_parts(&step.result.parts);
        for call in step.calls.iter().filter(|call| call.state.is_over()) {
            if let Some(seen) = view.calls.get_mut(&call.call_index) {
                seen.outcome = Some((call.content.clone(), call.state == crate::journal::CallState::Failed));
            }
        }
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Usage;

    fn delta(text: &str) -> Event {
        Event::TextDelta { step_index: 1, text: text.into() }
    }

    fn fold(events: &[Event]) -> RunView {
        let mut view = RunView::default();
        events.iter().for_each(|event| view.apply(event));
        view
    }

    fn start() -> Event {
        Event::StepStarted { step_index: 1, model: "m".into() }
    }

    #[test]
    fn a_retracted_step_leaves_nothing() {
        let retracted = Event::StepRetracted { step_index: 1, reason: "r".into() };
        assert_eq!(fold(&[start(), delta("a"), retracted, start(), delta("b")]).text(), "b");
    }

    #[test]
    fn a_finished_step_takes_the_place_of_its_deltas() {
        let parts = vec![Part::text("whole"), Part::tool_call("c", "t", "{}")];
        let finished = Event::StepFinished { step_index: 1, parts, usage: Usage::default() };
        let view = fold(&[start(), delta("wh"), finished]);
        assert_eq!(view.text(), "whole");
        assert!(view.open_steps().is_empty());
        assert_eq!(view.open_calls(), [(1, 0)]);
    }

    #[test]
    fn open_steps_are_void_at_the_end() {
        let finished = Finished {
            state: crate::run::StateName::Canceled,
            reason: String::new(),
            detail: String::new(),
            message: None,
            promoted: None,
            usage: Usage::default(),
            at: crate::Timestamp::from_micros(0),
        };
        let view = fold(&[start(), delta("x"), Event::RunFinished(Box::new(finished))]);
        assert!(view.steps.is_empty());
        assert_eq!(view.text(), "");
    }
}
