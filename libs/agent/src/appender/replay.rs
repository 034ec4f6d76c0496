//! What the events of a run came to, step by step, so that events can be sent again that lead to the same: to a log that lost
//! them, or after deltas were dropped. Pure.

use runmesh_domain::event::Event;
use runmesh_domain::journal::Step;
use runmesh_domain::path::{CallKey, StepKey};
use std::collections::BTreeMap;

/// What is known of each step.
#[derive(Debug, Clone, Default)]
pub(super) struct Replay {
    steps: BTreeMap<StepKey, Known>,
}

/// What is known of one step.
#[derive(Debug, Clone)]
enum Known {
    /// Under way.
    Open(Open),
    /// Journaled: its StepFinished, and the ToolCallFinished of its calls.
    Finished { step: Event, calls: BTreeMap<u32, Event> },
}

#[derive(Debug, Clone, Default)]
struct Open {
    model: String,
    text: String,
    reasoning: String,
    calls: BTreeMap<u32, (String, String)>,
}

impl Replay {
    /// What the journal holds.
    pub(super) fn of_journal(steps: &[Step]) -> Self {
        let mut replay = Self::default();
        steps.iter().flat_map(Step::events).for_each(|event| replay.note(&event));
        replay
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step, model } => {
                self.steps.insert(step.clone(), Known::Open(Open { model: model.clone(), ..Open::default() }));
            }
            Event::StepRetracted { step, .. } => {
                self.steps.remove(step);
            }
            Event::StepFinished { step, .. } => {
                self.steps.insert(step.clone(), Known::Finished { step: event.clone(), calls: BTreeMap::new() });
            }
            Event::ToolCallFinished { step, call_index, .. } => {
                if let Some(Known::Finished { calls, .. }) = self.steps.get_mut(step) {
                    calls.insert(*call_index, event.clone());
                }
            }
            other => {
                if let Some(Known::Open(open)) = other.step().and_then(|step| self.steps.get_mut(step)) {
                    open.note(other);
                }
            }
        }
    }

    /// True when the step is journaled.
    pub(super) fn has_finished(&self, step: &StepKey) -> bool {
        matches!(self.steps.get(step), Some(Known::Finished { .. }))
    }

    /// True when the step is under way.
    pub(super) fn is_open(&self, step: &StepKey) -> bool {
        matches!(self.steps.get(step), Some(Known::Open(_)))
    }

    /// The end of a call, when it has one.
    pub(super) fn call_end(&self, call: &CallKey) -> Option<Event> {
        match self.steps.get(&call.step)? {
            Known::Finished { calls, .. } => calls.get(&call.call_index).cloned(),
            Known::Open(_) => None,
        }
    }

    /// A step from its beginning; a step that is not known is taken back.
    pub(super) fn events_of(&self, key: &StepKey, why: &str) -> Vec<Event> {
        match self.steps.get(key) {
            Some(Known::Finished { step, calls }) => std::iter::once(step).chain(calls.values()).cloned().collect(),
            Some(Known::Open(open)) => open.events(key),
            None => vec![Event::StepRetracted { step: key.clone(), reason: why.to_owned() }],
        }
    }

    /// Every step from its beginning.
    pub(super) fn all_events(&self) -> Vec<Event> {
        self.steps.keys().flat_map(|step| self.events_of(step, "")).collect()
    }
}

impl Open {
    fn note(&mut self, event: &Event) {
        match event {
            Event::TextDelta { text, .. } => self.text.push_str(text),
            Event::ReasoningDelta { text, .. } => self.reasoning.push_str(text),
            Event::ToolCallStarted { call_index, name, .. } => {
                self.calls.insert(*call_index, (name.clone(), String::new()));
            }
            Event::ToolCallArgumentsDelta { call_index, arguments, .. } => {
                self.calls.entry(*call_index).or_default().1.push_str(arguments);
            }
            _ => {}
        }
    }

    fn events(&self, key: &StepKey) -> Vec<Event> {
        let step = || key.clone();
        let mut events = vec![Event::StepStarted { step: step(), model: self.model.clone() }];
        if !self.reasoning.is_empty() {
            events.push(Event::ReasoningDelta { step: step(), text: self.reasoning.clone() });
        }
        if !self.text.is_empty() {
            events.push(Event::TextDelta { step: step(), text: self.text.clone() });
        }
        for (call_index, (name, arguments)) in &self.calls {
            let call_index = *call_index;
            events.push(Event::ToolCallStarted { step: step(), call_index, name: name.clone() });
            if !arguments.is_empty() {
                events.push(Event::ToolCallArgumentsDelta { step: step(), call_index, arguments: arguments.clone() });
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runmesh_domain::fold::RunView;
    use runmesh_domain::journal::Usage;
    use runmesh_domain::message::Part;

    #[test]
    fn what_is_sent_again_folds_to_the_same_state() {
        let call = Part::tool_call("c", "t", "{}");
        let events = [
            Event::StepStarted { step: 1.into(), model: "m".into() },
            Event::TextDelta { step: 1.into(), text: "a".into() },
            Event::StepFinished { step: 1.into(), parts: vec![Part::text("a"), call], usage: Usage::default() },
            Event::ToolCallFinished { step: 1.into(), call_index: 0, content: "r".into(), is_error: false },
            Event::StepStarted { step: 2.into(), model: "m".into() },
            Event::ReasoningDelta { step: 2.into(), text: "hm".into() },
            Event::TextDelta { step: 2.into(), text: "b".into() },
            Event::TextDelta { step: 2.into(), text: "c".into() },
            Event::ToolCallStarted { step: 2.into(), call_index: 0, name: "t".into() },
            Event::ToolCallArgumentsDelta { step: 2.into(), call_index: 0, arguments: "{".into() },
        ];
        let (mut replay, mut first, mut again) = (Replay::default(), RunView::default(), RunView::default());
        events.iter().for_each(|event| replay.note(event));
        events.iter().for_each(|event| first.apply(event));
        let sent = replay.all_events();
        assert!(sent.len() < events.len());
        sent.iter().for_each(|event| again.apply(event));
        assert_eq!(first, again);
    }

    #[test]
    fn a_retracted_step_is_taken_back() {
        let mut replay = Replay::default();
        replay.note(&Event::StepStarted { step: 1.into(), model: "m".into() });
        replay.note(&Event::StepRetracted { step: 1.into(), reason: "r".into() });
        assert_eq!(replay.events_of(&1.into(), "why"), [Event::StepRetracted { step: 1.into(), reason: "why".into() }]);
        assert!(replay.all_events().is_empty());
    }
}
