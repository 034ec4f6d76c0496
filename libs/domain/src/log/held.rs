//! How much of a run's journal its log holds: what a header says of the steps, so that a process that ends an attempt in the log sees what is
//! to be published first, without reading the log.

use crate::event::Event;
use crate::journal::Step;
use crate::limits::CALLS_PER_STEP_MAX;
use crate::message::Part;
use crate::path::StepKey;

/// What of the journal a log holds, since its head or since it was last begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// The last step of the top level whose StepFinished the log holds, together with all before it.
    pub step: u32,
    /// Calls of that step whose results the log does not hold.
    pub open_calls: CallSet,
}

/// Some of the calls of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallSet(u128);

// A step has no more calls than a set has room for.
const _: () = assert!(CALLS_PER_STEP_MAX <= u128::BITS as usize);

impl CallSet {
    /// The first calls of a step.
    #[must_use]
    pub fn first(count: usize) -> Self {
        (0..count).filter_map(|index| u32::try_from(index).ok()).collect()
    }

    /// Whether the call is one of them.
    #[must_use]
    pub const fn contains(self, call_index: u32) -> bool {
        matches!(1_u128.checked_shl(call_index), Some(bit) if self.0 & bit != 0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The calls, in order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..u128::BITS).filter(move |index| self.contains(*index))
    }

    const fn without(self, call_index: u32) -> Self {
        match 1_u128.checked_shl(call_index) {
            Some(bit) => Self(self.0 & !bit),
            None => self,
        }
    }
}

impl FromIterator<u32> for CallSet {
    fn from_iter<I: IntoIterator<Item = u32>>(calls: I) -> Self {
        Self(calls.into_iter().filter_map(|index| 1_u128.checked_shl(index)).fold(0, |set, bit| set | bit))
    }
}

impl Held {
    /// After one more event.
    #[must_use]
    pub fn after(self, event: &Event) -> Self {
        match event {
            Event::LogRestarted { .. } => Self::default(),
            Event::StepFinished { step, parts, .. } => {
                let calls = parts.iter().filter(|part| matches!(part, Part::ToolCall { .. })).count();
                self.after_step(step, calls)
            }
            Event::ToolCallFinished { step, call_index, .. } => self.after_result(step, *call_index),
            _ => self,
        }
    }

    /// After the StepFinished of a step that asks for so many calls.
    #[must_use]
    pub fn after_step(self, step: &StepKey, calls: usize) -> Self {
        let index = step.step_index;
        if !step.path.is_top() || index == 0 || index < self.step || index > self.step + 1 {
            return self;
        }
        Self { step: index, open_calls: CallSet::first(calls) }
    }

    /// After the result of a call.
    #[must_use]
    pub fn after_result(self, step: &StepKey, call_index: u32) -> Self {
        let is_of_last = step.path.is_top() && step.step_index == self.step;
        if is_of_last { Self { open_calls: self.open_calls.without(call_index), ..self } } else { self }
    }
}

/// The journal of a run, or the end of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Journal<'a> {
    /// The last step of the top level.
    pub last_step: u32,
    /// Steps, in order.
    pub steps: &'a [Step],
    /// True when `steps` are all steps, those of branches included.
    pub is_whole: bool,
}

/// A journaled step of which a log lacks something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Missing<'a> {
    step: &'a Step,
    /// Only the results of these calls, when the log holds the step itself.
    results_of: Option<CallSet>,
}

impl Missing<'_> {
    /// What the log shows of it.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let is_missing = |event: &Event| match (self.results_of, event) {
            (None, _) => true,
            (Some(open), Event::ToolCallFinished { call_index, .. }) => open.contains(*call_index),
            (Some(_), _) => false,
        };
        self.step.events().into_iter().filter(is_missing).collect()
    }

    /// The step.
    #[must_use]
    pub fn key(&self) -> StepKey {
        self.step.key()
    }
}

impl<'a> Journal<'a> {
    /// What a log lacks, those of branches included that came from the last step which the log holds. None when it is not here.
    #[must_use]
    pub fn missing(&self, held: Held) -> Option<Vec<Missing<'a>>> {
        if held.step == self.last_step && held.open_calls.is_empty() {
            return Some(Vec::new());
        }
        let first = if held.open_calls.is_empty() { held.step + 1 } else { held.step };
        let is_here = |wanted: u32| self.steps.iter().any(|step| step.path.is_top() && step.step_index == wanted);
        if !self.is_whole && !(first..=self.last_step).all(is_here) {
            return None;
        }
        let missing = |step: &'a Step| {
            let is_held = step.path.is_top() && step.step_index == held.step;
            Missing { step, results_of: is_held.then_some(held.open_calls) }
        };
        let behind = self.steps.iter().filter(|step| step.key().top_step() >= first).map(missing);
        Some(behind.filter(|missing| missing.has_events()).collect())
    }
}

impl Missing<'_> {
    fn has_events(&self) -> bool {
        let is_over = |index: u32| self.step.calls.iter().any(|call| call.call_index == index && call.state.is_over());
        self.results_of.is_none_or(|open| open.iter().any(is_over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Call, CallState, ModelStep, Usage};
    use crate::policy::Verdict;

    fn finished(step: impl Into<StepKey>, calls: usize) -> Event {
        let parts = (0..calls).map(|n| Part::tool_call(n.to_string(), "t", "{}")).collect();
        Event::StepFinished { step: step.into(), parts, usage: Usage::default() }
    }

    fn result(step: u32, call_index: u32) -> Event {
        Event::ToolCallFinished { step: step.into(), call_index, content: String::new(), is_error: false }
    }

    fn held(events: &[Event]) -> (u32, Vec<u32>) {
        let held = events.iter().fold(Held::default(), |held, event| held.after(event));
        (held.step, held.open_calls.iter().collect())
    }

    #[test]
    fn counts_steps_in_order_and_results_of_the_last() {
        assert_eq!(held(&[finished(1, 2), result(1, 0)]), (1, vec![1]));
        assert_eq!(held(&[finished(1, 0), finished(2, 1), result(1, 0)]), (2, vec![0]), "a result of another step");
        assert_eq!(held(&[finished(1, 0), finished(3, 1)]), (1, vec![]), "one is missing between");
        assert_eq!(held(&[finished(1, 1), result(1, 0), finished(1, 1), result(1, 0)]), (1, vec![]), "once more");
        assert_eq!(held(&[finished(1, 128), result(1, 127), result(1, 500)]).1.len(), 127);
        let branch = StepKey { path: "1.0".parse().unwrap_or_default(), step_index: 2 };
        assert_eq!(held(&[finished(1, 1), finished(branch, 3)]), (1, vec![0]), "a step of a branch");
        let restarted = Event::LogRestarted { reason: String::new(), fence: 1, is_open: true };
        assert_eq!(held(&[finished(1, 1), restarted]), (0, vec![]));
    }

    fn step(path: &str, step_index: u32, calls: &[CallState]) -> Step {
        let parts = calls.iter().map(|_| Part::tool_call("c", "t", "{}")).collect();
        let call = |(call_index, state): (u32, &CallState)| Call {
            call_index,
            call_id: "c".into(),
            name: "t".into(),
            arguments: "{}".into(),
            state: *state,
            verdict: Verdict::Allow,
            idempotent: false,
            idempotency_key: String::new(),
            content: "r".into(),
        };
        Step {
            path: path.parse().unwrap_or_default(),
            step_index,
            fence: 1,
            result: ModelStep { parts, ..ModelStep::default() },
            calls: (0..).zip(calls).map(call).collect(),
            created_at: crate::Timestamp::from_micros(0),
        }
    }

    /// How many events of which steps are missing.
    fn missing(journal: Journal<'_>, step: u32, open: &[u32]) -> Option<Vec<(String, u32, usize)>> {
        let missing = journal.missing(Held { step, open_calls: open.iter().copied().collect() })?;
        let shown = |missing: &Missing<'_>| {
            let StepKey { path, step_index } = missing.key();
            (path.to_string(), step_index, missing.events().len())
        };
        Some(missing.iter().map(shown).collect())
    }

    #[test]
    fn lacks_what_was_journaled_and_is_not_held() {
        let steps = [step("", 1, &[CallState::Done, CallState::Dispatched]), step("1.0", 1, &[]), step("", 2, &[])];
        let whole = Journal { last_step: 2, steps: &steps, is_whole: true };
        let (one, branch, two) = (("".to_owned(), 1), ("1.0".to_owned(), 1), ("".to_owned(), 2, 1));
        let of = |(path, index): &(String, u32), events| (path.clone(), *index, events);
        assert_eq!(missing(whole, 0, &[]), Some(vec![of(&one, 2), of(&branch, 1), two.clone()]));
        assert_eq!(missing(whole, 1, &[0, 1]), Some(vec![of(&one, 1), of(&branch, 1), two.clone()]), "one result and no step");
        assert_eq!(missing(whole, 1, &[]), Some(vec![two.clone()]));
        assert_eq!(missing(whole, 2, &[]), Some(vec![]));
        let under_way = Journal { last_step: 1, steps: &steps[..1], is_whole: true };
        assert_eq!(missing(under_way, 1, &[1]), Some(vec![]), "the call is still under way");
    }

    #[test]
    fn a_part_of_a_journal_answers_for_what_it_holds() {
        let steps = [step("", 2, &[])];
        let part = Journal { last_step: 2, steps: &steps, is_whole: false };
        assert_eq!(missing(part, 0, &[]), None);
        assert_eq!(missing(part, 1, &[0]), None);
        assert_eq!(missing(part, 1, &[]), Some(vec![(String::new(), 2, 1)]));
        assert_eq!(missing(part, 2, &[]), Some(vec![]));
    }
}
