//! What of a run's updates is shown, and how. Pure: updates in, pieces out.
//!
//! What a person has read is kept beside what the run holds, so that at the end the two can be compared: what was shown and is
//! not what was stored is followed by what was stored.

mod status;
mod words;

use crate::cli::printable;
use runmesh_client::Update;
use runmesh_domain::event::Event;
use runmesh_domain::fold::RunView;
use runmesh_domain::message::{Part, plain_text};
use runmesh_domain::path::StepKey;
use runmesh_domain::transition::Finished;
use std::collections::{BTreeMap, BTreeSet};

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text of the answer.
    Text(String),
    /// The end of a line, should one be open.
    Break,
    /// A line about the answer.
    Note(String),
    /// A line about something that went well.
    Good(String),
    /// A line about something that went wrong.
    Bad(String),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Renderer {
    /// Whether text is shown before it is final.
    live: bool,
    steps: BTreeMap<StepKey, Shown>,
    status: Option<String>,
    reconnecting: bool,
    out: Vec<Piece>,
}

/// What of one step was shown.
#[derive(Debug, Default)]
struct Shown {
    text: String,
    thinking: bool,
    asked: BTreeSet<u32>,
    answered: BTreeSet<u32>,
}

impl Renderer {
    /// Nothing shown yet. Unless `live`, a step's text is shown only once it is final.
    pub fn new(live: bool) -> Self {
        Self { live, ..Self::default() }
    }

    /// What to show for `update`; `view` is the fold with it, `whole` when that began at the first event.
    pub fn take(&mut self, update: &Update, view: &RunView, whole: bool) -> Vec<Piece> {
        match update {
            Update::Snapshot(view) => self.snapshot(view),
            Update::Events { events, .. } => {
                self.reconnecting = false;
                events.iter().for_each(|(_, event)| self.event(event, view, whole));
            }
            Update::Status(status) => self.status(status::of(status)),
            Update::Progress | Update::End { .. } => {}
            Update::Reset(_) => self.start_over(),
            Update::Reconnecting { error } => {
                if !std::mem::replace(&mut self.reconnecting, true) {
                    self.note(format!("reconnecting: {}", printable::line(&error.to_string())));
                }
            }
        }
        std::mem::take(&mut self.out)
    }

    fn event(&mut self, event: &Event, view: &RunView, whole: bool) {
        match event {
            Event::AttemptStarted { fence, .. } if *fence > 1 => self.note(format!("attempt {fence} goes on")),
            Event::StepStarted { step, .. } | Event::StepRetracted { step, .. } => self.retract(step),
            Event::TextDelta { step, text } if self.live && step.path.is_top() => self.text(step, text),
            Event::ReasoningDelta { step, .. } if step.path.is_top() => self.thinking(step),
            Event::ToolCallFinished { step, call_index, content, is_error } => {
                self.announce(step, *call_index, view);
                self.answer(step, *call_index, content, *is_error, view);
            }
            Event::StepFinished { step, parts, .. } if step.path.is_top() => self.finish_step(step, parts, whole),
            Event::StepFinished { step, parts, .. } => self.finish_branch_step(step, parts),
            Event::ModelRetrying { step, attempt, reason } => {
                let line = format!("the model is asked again (try {attempt}): {}", printable::first_line(reason, 160));
                self.note(words::of_branch(&step.path, line));
            }
            Event::ContextReported { path, omitted_turns, .. } if *omitted_turns > 0 => {
                let line = format!("the model's window is full: the oldest {omitted_turns} turns are left out");
                self.note(words::of_branch(path, line));
            }
            Event::ApprovalRequested { action, summary } => {
                self.note(format!("waiting for a person: {} ({action})", printable::first_line(summary, 200)));
            }
            Event::RunFinished(finished) => self.finish(finished, whole),
            Event::LogRestarted { .. } => self.start_over(),
            Event::AttemptStarted { .. }
            | Event::TextDelta { .. }
            | Event::ReasoningDelta { .. }
            | Event::ToolCallStarted { .. }
            | Event::ToolCallArgumentsDelta { .. }
            | Event::ContextReported { .. }
            | Event::Unknown => {}
        }
    }

    fn note(&mut self, line: String) {
        self.out.push(Piece::Note(line));
    }

    /// A line about what is waited for, unless it was the last such line.
    fn status(&mut self, line: Option<String>) {
        if let Some(line) = &line
            && self.status.as_ref() != Some(line)
        {
            self.out.push(Piece::Note(line.clone()));
        }
        self.status = line;
    }

    fn shown(&mut self, step: &StepKey) -> &mut Shown {
        self.steps.entry(step.clone()).or_default()
    }

    fn text(&mut self, step: &StepKey, text: &str) {
        let step = self.steps.entry(step.clone()).or_default();
        if step.text.is_empty() {
            self.out.push(Piece::Break);
        }
        step.text.push_str(text);
        self.out.push(Piece::Text(printable::text(text)));
    }

    fn thinking(&mut self, step: &StepKey) {
        if self.live && !std::mem::replace(&mut self.shown(step).thinking, true) {
            self.note("thinking".to_owned());
        }
    }

    fn retract(&mut self, step: &StepKey) {
        let shown = self.steps.remove(step);
        if shown.is_some_and(|step| !step.text.is_empty() || !step.asked.is_empty()) {
            self.note(words::of_branch(&step.path, words::STARTING_OVER.to_owned()));
        }
    }

    fn start_over(&mut self) {
        let shown = std::mem::take(&mut self.steps);
        if shown.values().any(|step| !step.text.is_empty() || !step.asked.is_empty()) {
            self.note(words::STARTING_OVER.to_owned());
        }
    }

    fn snapshot(&mut self, view: &RunView) {
        self.reconnecting = false;
        self.start_over();
        for (key, step) in &view.steps {
            if !key.path.is_top() {
                self.branch_text(key, if step.finished { &step.text } else { "" });
            } else if !step.text.is_empty() && (self.live || step.finished) {
                self.text(key, &step.text);
            }
            for (call, shown) in &step.calls {
                let Some((content, is_error)) = &shown.outcome else { continue };
                self.announce(key, *call, view);
                self.answer(key, *call, content, *is_error, view);
            }
        }
        if let Some(finished) = &view.finished {
            self.finish(finished, true);
        }
    }

    /// The line of a call: its name and its arguments.
    fn announce(&mut self, step: &StepKey, call_index: u32, view: &RunView) {
        let call = view.steps.get(step).and_then(|step| step.calls.get(&call_index));
        let Some(call) = call.filter(|call| !call.name.is_empty()) else { return };
        let (name, arguments) = (call.name.clone(), call.arguments.clone());
        self.ask(step, call_index, &name, &arguments);
    }

    fn ask(&mut self, step: &StepKey, call_index: u32, name: &str, arguments: &str) {
        if self.shown(step).asked.insert(call_index) {
            self.note(words::of_branch(&step.path, words::call(name, arguments)));
        }
    }

    /// The line of a result, named when the step has several calls.
    fn answer(&mut self, step: &StepKey, call_index: u32, content: &str, is_error: bool, view: &RunView) {
        if !self.shown(step).answered.insert(call_index) {
            return;
        }
        let calls = view.steps.get(step).map(|step| &step.calls);
        let several = calls.filter(|calls| calls.len() > 1).and_then(|calls| calls.get(&call_index));
        let line = words::of_branch(&step.path, words::outcome(several.map(|call| call.name.as_str()), content, is_error));
        self.out.push(if is_error { Piece::Bad(line) } else { Piece::Good(line) });
    }

    /// The journaled step takes the place of what was shown of it.
    fn finish_step(&mut self, step: &StepKey, parts: &[Part], whole: bool) {
        let text = plain_text(parts);
        let shown = self.steps.get(step).map(|step| step.text.clone()).unwrap_or_default();
        // Whoever came back with a cursor read the beginning elsewhere.
        let came_back = !whole && !shown.is_empty() && text.ends_with(&shown);
        if let Some(rest) = text.strip_prefix(shown.as_str()) {
            if !rest.is_empty() {
                self.text(step, rest);
            }
        } else if !came_back {
            self.note(words::CORRECTED.to_owned());
            self.shown(step).text.clear();
            self.text(step, &text);
        }
        self.ask_all(step, parts);
    }

    /// What a branch says is no part of the answer: a line tells how it begins, once it is final.
    fn finish_branch_step(&mut self, step: &StepKey, parts: &[Part]) {
        self.branch_text(step, &plain_text(parts));
        self.ask_all(step, parts);
    }

    fn branch_text(&mut self, step: &StepKey, text: &str) {
        if text.is_empty() || self.shown(step).text == text {
            return;
        }
        text.clone_into(&mut self.shown(step).text);
        self.note(words::of_branch(&step.path, printable::first_line(text, 160)));
    }

    fn ask_all(&mut self, step: &StepKey, parts: &[Part]) {
        let calls = parts.iter().filter_map(|part| match part {
            Part::ToolCall { name, arguments, .. } => Some((name, arguments)),
            Part::Text { .. } | Part::Reasoning { .. } | Part::ToolResult { .. } => None,
        });
        for (index, (name, arguments)) in (0..).zip(calls) {
            self.ask(step, index, name, arguments);
        }
    }

    fn finish(&mut self, finished: &Finished, whole: bool) {
        let stored = finished.message.as_ref().map(|message| plain_text(&message.parts)).unwrap_or_default();
        let top = self.steps.iter().filter(|(key, _)| key.path.is_top());
        let shown: String = top.map(|(_, step)| step.text.as_str()).collect();
        let agrees = if whole { stored == shown } else { stored.ends_with(&shown) };
        if !agrees {
            self.correct(&stored, &shown);
        }
        self.out.push(Piece::Break);
        let unfinished = finished.message.as_ref().is_some_and(|message| message.unfinished);
        self.out.extend(words::end(finished.state, &finished.reason, &finished.detail, unfinished));
    }

    fn correct(&mut self, stored: &str, shown: &str) {
        if let Some(rest) = stored.strip_prefix(shown) {
            self.out.push(Piece::Text(printable::text(rest)));
        } else if stored.is_empty() {
            self.note(words::NOT_KEPT.to_owned());
        } else {
            self.note(words::AS_STORED.to_owned());
            self.out.push(Piece::Text(printable::text(stored)));
        }
    }
}

#[cfg(test)]
mod tests;
