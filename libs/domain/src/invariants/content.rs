//! Whether the words that a follower was shown are those that the run came to (S2, S3): a step that is finished is what its deltas
//! said, nothing of a lost attempt stays, and the stored message is what the steps said.

use crate::event::Event;
use crate::fold::{CallView, RunView, StepView};
use crate::message::plain_text;
use crate::path::StepKey;
use crate::run::StateName;
use crate::text::CUT_MARK;
use crate::transition::Finished;
use std::collections::{BTreeMap, BTreeSet};

/// Reads events one by one, with a fold of its own.
#[derive(Debug, Clone, Default)]
struct Reader {
    view: RunView,
    /// The attempt that began each open step; absent when it began before the first event.
    began: BTreeMap<StepKey, Option<u64>>,
    /// Finished steps of a view to begin with, which may come from Postgres: the log may show once more how they began.
    repeated: BTreeSet<StepKey>,
    /// True when every event of the run was seen.
    is_whole: bool,
}

/// Checks events that follow on a view, or on nothing.
///
/// # Errors
/// The id of the invariant that is broken and where.
pub fn check_content(before: Option<&RunView>, events: &[Event]) -> Result<(), String> {
    let mut reader = Reader { is_whole: before.is_none(), ..Reader::default() };
    if let Some(before) = before {
        let (open, finished): (Vec<_>, Vec<_>) = before.steps.iter().partition(|(_, step)| !step.finished);
        reader.began = open.into_iter().map(|(step, _)| (step.clone(), None)).collect();
        reader.repeated = finished.into_iter().map(|(step, _)| step.clone()).collect();
        reader.view = before.clone();
    }
    for (index, event) in events.iter().enumerate() {
        reader.read(event).map_err(|problem| format!("{problem}, at event {index} of {}", events.len()))?;
    }
    Ok(())
}

impl Reader {
    fn read(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::StepStarted { step, .. } => self.begin(step)?,
            Event::TextDelta { step, .. }
            | Event::ReasoningDelta { step, .. }
            | Event::ToolCallStarted { step, .. }
            | Event::ToolCallArgumentsDelta { step, .. } => self.say(step)?,
            Event::StepFinished { step, .. } => self.finish(step, event)?,
            Event::StepRetracted { step, .. } => drop(self.began.remove(step)),
            Event::LogRestarted { .. } => self.began.clear(),
            Event::RunFinished(finished) => self.end(finished)?,
            _ => {}
        }
        self.view.apply(event);
        Ok(())
    }

    fn begin(&mut self, step: &StepKey) -> Result<(), String> {
        if self.view.steps.contains_key(step) && !self.repeated.remove(step) {
            return Err(format!("S2: step {step} begins again and was not retracted"));
        }
        self.began.insert(step.clone(), Some(self.view.fence));
        Ok(())
    }

    fn say(&self, step: &StepKey) -> Result<(), String> {
        match self.began.get(step) {
            Some(Some(attempt)) if *attempt != self.view.fence => {
                Err(format!("S2: step {step} of attempt {attempt} goes on in attempt {}", self.view.fence))
            }
            None if self.is_whole => Err(format!("S2: step {step} has words and did not begin")),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, step: &StepKey, event: &Event) -> Result<(), String> {
        let began_here = self.began.remove(step).flatten().is_some();
        let Some(said) = self.view.steps.get(step).filter(|said| began_here && !said.finished) else { return Ok(()) };
        let mut whole = RunView::default();
        whole.apply(event);
        match whole.steps.get(step) {
            Some(whole) if differs(said, whole) => Err(format!("S3: step {step} said {said:?} and was finished as {whole:?}")),
            _ => Ok(()),
        }
    }

    fn end(&self, finished: &Finished) -> Result<(), String> {
        let Some(message) = finished.message.as_ref().filter(|_| finished.state == StateName::Completed) else { return Ok(()) };
        let said: String = self.view.finished_text();
        let stored = plain_text(&message.parts);
        let is_cut = stored.contains(CUT_MARK) || said.contains(CUT_MARK);
        if said != stored && !is_cut { Err(format!("S3: the steps said {said:?}, and {stored:?} is stored")) } else { Ok(()) }
    }
}

/// Whether a step is finished as something else than its deltas. What was too long for an event is finished shorter.
fn differs(said: &StepView, whole: &StepView) -> bool {
    let other = |said: &str, whole: &str| said != whole && !whole.contains(CUT_MARK);
    let other_call = |(index, said): (&u32, &CallView)| {
        whole.calls.get(index).is_none_or(|whole| said.name != whole.name || other(&said.arguments, &whole.arguments))
    };
    let is_other_call = said.calls.len() != whole.calls.len() || said.calls.iter().any(other_call);
    other(&said.text, &whole.text) || other(&said.reasoning, &whole.reasoning) || is_other_call
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::journal::Usage;
    use crate::message::Part;

    fn attempt(fence: u64) -> Event {
        Event::AttemptStarted { fence, session: None, at: Timestamp::from_micros(0) }
    }

    fn begin() -> Event {
        Event::StepStarted { step: 1.into(), model: "m".into() }
    }

    fn say(text: &str) -> Event {
        Event::TextDelta { step: 1.into(), text: text.into() }
    }

    fn retract() -> Event {
        Event::StepRetracted { step: 1.into(), reason: "r".into() }
    }

    fn finish(text: &str) -> Event {
        Event::StepFinished { step: 1.into(), parts: vec![Part::text(text)], usage: Usage::default() }
    }

    fn restart() -> Event {
        Event::LogRestarted { reason: "r".into(), fence: 1, is_open: true }
    }

    #[test]
    fn histories_that_keep_the_rules_pass() {
        for events in [
            vec![attempt(1), begin(), say("a"), say("b"), finish("ab")],
            vec![attempt(1), begin(), say("a"), retract(), begin(), say("b"), finish("b")],
            vec![attempt(1), begin(), say("a"), attempt(3), retract(), begin(), say("b"), finish("b")],
            vec![attempt(1), begin(), say("a"), restart(), begin(), say("ab"), finish("ab")],
            vec![attempt(1), finish("from the journal")],
        ] {
            assert_eq!(check_content(None, &events), Ok(()), "{events:?}");
        }
        let mut before = RunView::default();
        [attempt(1), begin(), say("a")].iter().for_each(|event| before.apply(event));
        assert_eq!(check_content(Some(&before), &[say("b"), finish("ab")]), Ok(()));
        before.apply(&finish("ab"));
        assert_eq!(check_content(Some(&before), &[say("b"), finish("ab")]), Ok(()), "words that the view holds already");
        assert_eq!(check_content(Some(&before), &[begin(), say("ab"), finish("ab")]), Ok(()));
    }

    fn call(name: &str, arguments: &str) -> Vec<Event> {
        let (step, name, arguments) = (StepKey::top(1), name.to_owned(), arguments.to_owned());
        let started = Event::ToolCallStarted { step: step.clone(), call_index: 0, name };
        vec![attempt(1), begin(), started, Event::ToolCallArgumentsDelta { step, call_index: 0, arguments }]
    }

    #[test]
    fn what_a_step_thinks_and_calls_is_checked_as_its_text_is() {
        let finished = |parts| Event::StepFinished { step: 1.into(), parts, usage: Usage::default() };
        let called = |name: &str, arguments: &str| finished(vec![Part::tool_call("c", name, arguments)]);
        let check = |events: Vec<Event>, last| check_content(None, &[events, vec![last]].concat());
        assert_eq!(check(call("t", "{}"), called("t", "{}")), Ok(()));
        let thought = vec![attempt(1), begin(), Event::ReasoningDelta { step: 1.into(), text: "a".into() }];
        for (events, last) in [
            (call("t", "{}"), called("u", "{}")),
            (call("t", "{"), called("t", "{}")),
            (call("t", "{}"), finish("")),
            (vec![attempt(1), begin()], called("t", "{}")),
            (thought, finish("")),
        ] {
            let problem = check(events, last).err();
            assert!(problem.as_ref().is_some_and(|problem| problem.contains("was finished as")), "{problem:?}");
        }
    }

    #[test]
    fn histories_that_break_the_rules_fail() {
        for (want, events) in [
            ("begins again", vec![attempt(1), begin(), say("a"), begin()]),
            ("begins again", vec![attempt(1), begin(), say("a"), finish("a"), begin()]),
            ("goes on in attempt 3", vec![attempt(1), begin(), say("a"), attempt(3), say("b")]),
            ("did not begin", vec![attempt(1), say("a")]),
            ("did not begin", vec![attempt(1), begin(), retract(), say("a")]),
            ("was finished as", vec![attempt(1), begin(), say("a"), say("a"), finish("a")]),
        ] {
            let problem = check_content(None, &events).err();
            assert!(problem.as_ref().is_some_and(|problem| problem.contains(want)), "want {want}, got {problem:?}");
        }
    }
}
