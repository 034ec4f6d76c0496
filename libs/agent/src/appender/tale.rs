//! The run's state as its events told it, so that it can be told anew: to a log that lost it, or after deltas were
//! dropped. Pure.

use runmesh_domain::event::Event;
use runmesh_domain::journal::{CallState, Step};
use std::collections::BTreeMap;

/// What is known of each step.
#[derive(Debug, Clone, Default)]
pub(super) struct Tale {
    steps: BTreeMap<u32, Told>,
}

/// What is known of one step.
#[derive(Debug, Clone)]
enum Told {
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

/// The step that an event is about.
pub(super) const fn step_of(event: &Event) -> Option<u32> {
    match event {
        Event::StepStarted { step_index, .. }
        | Event::TextDelta { step_index, .. }
        | Event::ReasoningDelta { step_index, .. }
        | Event::ToolCallStarted { step_index, .. }
        | Event::ToolCallArgumentsDelta { step_index, .. }
        | Event::ToolCallFinished { step_index, .. }
        | Event::StepRetracted { step_index, .. }
        | Event::StepFinished { step_index, .. } => Some(*step_index),
        Event::ModelRetrying { .. }
        | Event::ContextReported { .. }
        | Event::AttemptStarted { .. }
        | Event::ApprovalRequested { .. }
        | Event::RunFinished(_)
        | Event::LogRestarted { .. }
        | Event::Unknown => None,
    }
}

impl Tale {
    /// What the journal tells.
    pub(super) fn of_journal(steps: &[Step]) -> Self {
        let mut tale = Self::default();
        for step in steps {
            let step_index = step.step_index;
            tale.note(&Event::StepFinished { step_index, parts: step.result.parts.clone(), usage: step.result.usage });
            for call in step.calls.iter().filter(|call| call.state.is_over()) {
                let is_error = call.state == CallState::Failed;
                tale.note(&Event::ToolCallFinished {
                    step_index,
                    call_index: call.call_index,
                    content: call.content.clone(),
                    is_error,
                });
            }
        }
        tale
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::StepStarted { step_index, model } => {
                self.steps.insert(*step_index, Told::Open(Open { model: model.clone(), ..Open::default() }));
            }
            Event::StepRetracted { step_index, .. } => {
                self.steps.remove(step_index);
            }
            Event::StepFinished { step_index, .. } => {
                self.steps.insert(*step_index, Told::Finished { step: event.clone(), calls: BTreeMap::new() });
            }
            Event::ToolCallFinished { step_index, call_index, .. } => {
                if let Some(Told::Finished { calls, .. }) = self.steps.get_mut(step_index) {
                    calls.insert(*call_index, event.clone());
                }
            }
            other => {
                if let Some(Told::Open(open)) = step_of(other).and_then(|step| self.steps.get_mut(&step)) {
                    open.note(other);
                }
            }
        }
    }

    /// True when the step is journaled.
    pub(super) fn has_finished(&self, step_index: u32) -> bool {
        matches!(self.steps.get(&step_index), Some(Told::Finished { .. }))
    }

    /// The end of a call, when it has one.
    pub(super) fn call_end(&self, step_index: u32, call_index: u32) -> Option<Event> {
        match self.steps.get(&step_index)? {
            Told::Finished { calls, .. } => calls.get(&call_index).cloned(),
            Told::Open(_) => None,
        }
    }

    /// A step from its beginning; a step that is not known is taken back.
    pub(super) fn tell(&self, step_index: u32, why: &str) -> Vec<Event> {
        match self.steps.get(&step_index) {
            Some(Told::Finished { step, calls }) => std::iter::once(step).chain(calls.values()).cloned().collect(),
            Some(Told::Open(open)) => open.tell(step_index),
            None => vec![Event::StepRetracted { step_index, reason: why.to_owned() }],
        }
    }

    /// Every step from its beginning.
    pub(super) fn tell_all(&self) -> Vec<Event> {
        self.steps.keys().flat_map(|step_index| self.tell(*step_index, "")).collect()
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

    fn tell(&self, step_index: u32) -> Vec<Event> {
        let mut events = vec![Event::StepStarted { step_index, model: self.model.clone() }];
        if !self.reasoning.is_empty() {
            events.push(Event::ReasoningDelta { step_index, text: self.reasoning.clone() });
        }
        if !self.text.is_empty() {
            events.push(Event::TextDelta { step_index, text: self.text.clone() });
        }
        for (call_index, (name, arguments)) in &self.calls {
            let call_index = *call_index;
            events.push(Event::ToolCallStarted { step_index, call_index, name: name.clone() });
            if !arguments.is_empty() {
                events.push(Event::ToolCallArgumentsDelta { step_index, call_index, arguments: arguments.clone() });
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
    fn what_is_told_anew_folds_to_the_same_state() {
        let call = Part::tool_call("c", "t", "{}");
        let events = [
            Event::StepStarted { step_index: 1, model: "m".into() },
            Event::TextDelta { step_index: 1, text: "a".into() },
            Event::StepFinished { step_index: 1, parts: vec![Part::text("a"), call], usage: Usage::default() },
            Event::ToolCallFinished { step_index: 1, call_index: 0, content: "r".into(), is_error: false },
            Event::StepStarted { step_index: 2, model: "m".into() },
            Event::ReasoningDelta { step_index: 2, text: "hm".into() },
            Event::TextDelta { step_index: 2, text: "b".into() },
            Event::TextDelta { step_index: 2, text: "c".into() },
            Event::ToolCallStarted { step_index: 2, call_index: 0, name: "t".into() },
            Event::ToolCallArgumentsDelta { step_index: 2, call_index: 0, arguments: "{".into() },
        ];
        let (mut tale, mut first, mut again) = (Tale::default(), RunView::default(), RunView::default());
        events.iter().for_each(|event| tale.note(event));
        events.iter().for_each(|event| first.apply(event));
        let told = tale.tell_all();
        assert!(told.len() < events.len());
        told.iter().for_each(|event| again.apply(event));
        assert_eq!(first, again);
    }

    #[test]
    fn a_retracted_step_is_taken_back() {
        let mut tale = Tale::default();
        tale.note(&Event::StepStarted { step_index: 1, model: "m".into() });
        tale.note(&Event::StepRetracted { step_index: 1, reason: "r".into() });
        assert_eq!(tale.tell(1, "why"), [Event::StepRetracted { step_index: 1, reason: "why".into() }]);
        assert!(tale.tell_all().is_empty());
    }
}
