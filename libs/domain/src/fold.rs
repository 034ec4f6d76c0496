//! The fold of a run's events into what a reader sees. Clients, the relay's snapshots and the checkers all use this one.
//!
//! *Invariant S3:* at every transition event that ends an attempt, the fold equals the journal. While an attempt runs, its log may lack
//! a step that was journaled just now, and never more than that.

use crate::chain::Chain;
use crate::event::{Event, fit};
use crate::id::ActionId;
use crate::journal::Step;
use crate::message::{Part, plain_text};
use crate::path::{CallKey, StepKey};
use crate::run::StateName;
use crate::transition::{Finished, Record, Transition};
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
    /// The state, as far as the log shows it: RUNNING from the begin of an attempt, WAITING from a question on, and the one that the
    /// run ended in. Absent before the first attempt, and when a log was begun anew between two. A run that is taken from its worker,
    /// or whose question was answered, shows its old state until the next attempt begins.
    pub state: Option<StateName>,
    /// What the run waits for a person to decide.
    pub question: Option<Question>,
    /// Steps of the top level and of branches.
    pub steps: BTreeMap<StepKey, StepView>,
    /// The end.
    pub finished: Option<Box<Finished>>,
}

/// An open question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its id.
    pub action: ActionId,
    /// The question in words.
    pub summary: String,
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
            Event::AttemptStarted { fence, .. } => {
                (self.fence, self.state, self.question) = (*fence, Some(StateName::Running), None);
            }
            Event::StepStarted { step, .. } => {
                self.steps.insert(step.clone(), StepView::default());
            }
            // After a snapshot from Postgres the log may repeat words of a step that is whole already.
            Event::TextDelta { step, .. }
            | Event::ReasoningDelta { step, .. }
            | Event::ToolCallStarted { step, .. }
            | Event::ToolCallArgumentsDelta { step, .. }
                if self.is_finished(step) => {}
            Event::TextDelta { step, text } => self.step(step).text.push_str(text),
            Event::ReasoningDelta { step, text } => self.step(step).reasoning.push_str(text),
            Event::ToolCallStarted { step, call_index, name } => {
                self.call(step, *call_index).name.clone_from(name);
            }
            Event::ToolCallArgumentsDelta { step, call_index, arguments } => {
                self.call(step, *call_index).arguments.push_str(arguments);
            }
            Event::ToolCallFinished { step, call_index, content, is_error } => {
                self.call(step, *call_index).outcome = Some((content.clone(), *is_error));
            }
            Event::StepRetracted { step, .. } => {
                self.steps.remove(step);
            }
            Event::StepFinished { step, parts, .. } => {
                let mut whole = StepView::of_parts(parts);
                if let Some(known) = self.steps.get(step).filter(|known| known.finished) {
                    whole.take_outcomes(known);
                }
                self.steps.insert(step.clone(), whole);
            }
            Event::ApprovalRequested { action, summary } => {
                self.state = Some(StateName::Waiting);
                self.question = Some(Question { action: *action, summary: summary.clone() });
            }
            Event::RunFinished(finished) => {
                self.steps.retain(|_, step| step.finished);
                (self.state, self.question) = (Some(finished.state), None);
                self.finished = Some(finished.clone());
            }
            Event::LogRestarted { fence, is_open, .. } => {
                self.steps.clear();
                (self.fence, self.state, self.question) = (*fence, is_open.then_some(StateName::Running), None);
            }
            Event::ModelRetrying { .. } | Event::ContextReported { .. } | Event::Unknown => {}
        }
    }

    /// The text a reader sees: the stored message once there is one, else that of all steps of the top level so far. What branches
    /// say is part of the results of the calls that opened them.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.finished {
            Some(finished) => finished.message.as_ref().map(|message| plain_text(&message.parts)).unwrap_or_default(),
            None => self.top().map(|step| step.text.as_str()).collect(),
        }
    }

    /// The text of the finished steps of the top level.
    #[must_use]
    pub fn finished_text(&self) -> String {
        self.top().filter(|step| step.finished).map(|step| step.text.as_str()).collect()
    }

    /// Steps that began and are not finished.
    #[must_use]
    pub fn open_steps(&self) -> Vec<StepKey> {
        self.steps.iter().filter(|(_, step)| !step.finished).map(|(key, _)| key.clone()).collect()
    }

    /// Calls of finished steps that have no result.
    #[must_use]
    pub fn open_calls(&self) -> Vec<CallKey> {
        let finished = self.steps.iter().filter(|(_, step)| step.finished);
        let calls = finished.flat_map(|(key, step)| step.calls.iter().map(move |(call, view)| (key, *call, view)));
        calls.filter(|(_, _, view)| view.outcome.is_none()).map(|(key, call, _)| key.clone().call(call)).collect()
    }

    /// The steps of the top level, in order.
    fn top(&self) -> impl Iterator<Item = &StepView> {
        self.steps.iter().filter(|(key, _)| key.path.is_top()).map(|(_, step)| step)
    }

    /// The view that the journal and the transitions of a run make: what the fold of its log is once it holds all of them. `seq` and
    /// `chain` say where in the log that is.
    #[must_use]
    pub fn of_journal(steps: &[Step], transitions: &[Transition], seq: u64, chain: Chain) -> Self {
        let mut view = Self { seq, chain, ..Self::default() };
        steps.iter().flat_map(Step::events).flat_map(fit::pieces).for_each(|event| view.apply(&event));
        for transition in transitions {
            match &transition.record {
                Record::Quiet => {}
                Record::AttemptStarted => view.apply(&Event::attempt_started(transition)),
                Record::ApprovalRequested { action, summary } => {
                    view.apply(&Event::ApprovalRequested { action: *action, summary: summary.clone() });
                }
                Record::Finished(finished) => view.apply(&Event::RunFinished(finished.clone())),
            }
        }
        view
    }

    fn is_finished(&self, key: &StepKey) -> bool {
        self.steps.get(key).is_some_and(|step| step.finished)
    }

    fn call(&mut self, key: &StepKey, call_index: u32) -> &mut CallView {
        self.step(key).calls.entry(call_index).or_default()
    }

    fn step(&mut self, key: &StepKey) -> &mut StepView {
        self.steps.entry(key.clone()).or_default()
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

    /// A step that comes once more keeps the results that its calls had.
    fn take_outcomes(&mut self, known: &Self) {
        for (index, call) in &mut self.calls {
            call.outcome = known.calls.get(index).and_then(|call| call.outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Usage;

    fn delta(text: &str) -> Event {
        Event::TextDelta { step: 1.into(), text: text.into() }
    }

    fn fold(events: &[Event]) -> RunView {
        let mut view = RunView::default();
        events.iter().for_each(|event| view.apply(event));
        view
    }

    fn start() -> Event {
        Event::StepStarted { step: 1.into(), model: "m".into() }
    }

    #[test]
    fn a_retracted_step_leaves_nothing() {
        let retracted = Event::StepRetracted { step: 1.into(), reason: "r".into() };
        assert_eq!(fold(&[start(), delta("a"), retracted, start(), delta("b")]).text(), "b");
    }

    #[test]
    fn a_finished_step_takes_the_place_of_its_deltas() {
        let parts = vec![Part::text("whole"), Part::tool_call("c", "t", "{}")];
        let finished = Event::StepFinished { step: 1.into(), parts, usage: Usage::default() };
        let view = fold(&[start(), delta("wh"), finished]);
        assert_eq!(view.text(), "whole");
        assert!(view.open_steps().is_empty());
        assert_eq!(view.open_calls(), [StepKey::top(1).call(0)]);
    }

    #[test]
    fn words_of_a_finished_step_are_not_added_again() {
        let parts = vec![Part::text("whole"), Part::tool_call("c", "t", "{}")];
        let finished = Event::StepFinished { step: 1.into(), parts, usage: Usage::default() };
        let arguments = Event::ToolCallArgumentsDelta { step: 1.into(), call_index: 0, arguments: "{}".into() };
        let view = fold(std::slice::from_ref(&finished));
        assert_eq!(fold(&[finished.clone(), delta("ole"), arguments]), view);
        assert_eq!(fold(&[finished, start(), delta("wh")]).text(), "wh", "unless it begins again");
    }

    #[test]
    fn branches_are_folded_apart_and_are_no_part_of_the_text() {
        let step = |path: &str, step_index| StepKey { path: path.parse().unwrap_or_default(), step_index };
        let say = |step: StepKey, text: &str| Event::TextDelta { step, text: text.into() };
        let parts = vec![Part::text("x"), Part::tool_call("c", "t", "{}"), Part::tool_call("d", "t", "{}")];
        let whole = |step: StepKey| Event::StepFinished { step, parts: parts.clone(), usage: Usage::default() };
        let retracted = Event::StepRetracted { step: step("1.0", 1), reason: "r".into() };
        let result = |step: StepKey| Event::ToolCallFinished { step, call_index: 1, content: "r".into(), is_error: false };
        let view = fold(&[
            whole(step("", 1)),
            say(step("1.0", 1), "a"),
            say(step("1.1", 1), "b"),
            say(step("1.0", 1), "a"),
            retracted,
            whole(step("1.1", 1)),
            result(step("1.1", 1)),
            say(step("1.0", 1), "again"),
            say(step("", 2), "y"),
        ]);
        assert_eq!(view.text(), "xy");
        assert_eq!(view.open_steps(), [step("1.0", 1), step("", 2)], "in the order in which they are read");
        let open = [step("", 1).call(0), step("", 1).call(1), step("1.1", 1).call(0)];
        assert_eq!(view.open_calls(), open);
        assert_eq!(view.steps[&step("1.0", 1)].text, "again");
    }

    #[test]
    fn open_steps_are_void_at_the_end() {
        let finished = Finished {
            state: StateName::Canceled,
            reason: String::new(),
            detail: String::new(),
            message: None,
            promoted: None,
            usage: Usage::default(),
            at: crate::Timestamp::from_micros(0),
            closed_calls: Vec::new(),
        };
        let view = fold(&[start(), delta("x"), Event::RunFinished(Box::new(finished))]);
        assert!(view.steps.is_empty());
        assert_eq!(view.text(), "");
    }
}
