//! Whether the words that a follower was shown are those that the run came to (S2, S3): a step that is finished is what its deltas
//! said, nothing of a lost attempt stays, and the stored message is what the steps said.

use crate::event::Event;
use crate::fold::{RunView, StepView};
use crate::message::plain_text;
use crate::path::StepKey;
use crate::run::StateName;
use crate::transition::Finished;
use std::collections::BTreeMap;

/// Reads events one by one, with a fold of its own.
#[derive(Debug, Clone, Default)]
struct Reader {
    view: RunView,
    /// The attempt that began each open step; absent when it began before the first event.
    began: BTreeMap<StepKey, Option<u64>>,
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
        reader.began = before.open_steps().into_iter().map(|step| (step, None)).collect();
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
        if self.view.steps.contains_key(step) {
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
            Some(whole) if differs(said, whole) => {
                Err(format!("S3: step {step} said {:?} and was finished as {:?}", said.text, whole.text))
            }
            _ => Ok(()),
        }
    }

    fn end(&self, finished: &Finished) -> Result<(), String> {
        let Some(message) = finished.message.as_ref().filter(|_| finished.state == StateName::Completed) else { return Ok(()) };
        let said: String = self.view.finished_text();
        let stored = plain_text(&message.parts);
        let is_cut = stored.contains(CUT) || said.contains(CUT);
        if said != stored && !is_cut { Err(format!("S3: the steps said {said:?}, and {stored:?} is stored")) } else { Ok(()) }
    }
}

/// What stands in texts that were too long for an event.
const CUT: &str = "(cut";

fn differs(said: &StepView, whole: &StepView) -> bool {
    let is_cut = |text: &str| text.contains("[cut here: too long]");
    said.text != whole.text && !is_cut(&whole.text)
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
