//! Pieces of a model's answer put together into a step, and what each piece shows to followers. Pure.
//!
//! Providers omit indexes and ids or repeat them; which call a piece belongs to is decided here and nowhere else.

use crate::history::{REASONING_FIELD, names};
use crate::model::{Fields, ModelChunk, ToolCallPiece};
use runmesh_domain::event::Event;
use runmesh_domain::journal::{ModelStep, Usage};
use runmesh_domain::limits::{CALLS_PER_STEP_MAX, MESSAGE_TEXT_BYTES_MAX, NAME_BYTES_MAX, PROVIDER_DATA_BYTES_MAX};
use runmesh_domain::message::{Part, ProviderData};
use serde::de::IgnoredAny;
use std::collections::HashSet;

/// The name of a call that came without one. No tool can have it.
const NO_NAME: &str = "(no name)";
/// Stands at the end of a name that was cut, so that it is not the name of another tool.
const CUT: char = '…';

/// A step under construction.
#[derive(Debug)]
pub(super) struct Assembly {
    step_index: u32,
    parts: Vec<Part>,
    calls: Vec<Slot>,
    usage: Usage,
    finish_reason: Option<String>,
    bytes: usize,
}

/// A call under construction.
#[derive(Debug)]
struct Slot {
    /// The provider's index.
    index: Option<u32>,
    /// Its place among the parts.
    part: usize,
    /// True once followers know of it.
    shown: bool,
}

impl Assembly {
    pub(super) const fn new(step_index: u32) -> Self {
        Self { step_index, parts: Vec::new(), calls: Vec::new(), usage: NOTHING, finish_reason: None, bytes: 0 }
    }

    /// True once the model said anything that followers saw.
    pub(super) const fn has_spoken(&self) -> bool {
        !self.parts.is_empty()
    }

    /// True when the answer passes what a message may hold.
    pub(super) const fn is_too_long(&self) -> bool {
        self.bytes > MESSAGE_TEXT_BYTES_MAX
    }

    /// Adds a piece; returns what it shows.
    pub(super) fn take(&mut self, chunk: ModelChunk) -> [Option<Event>; 2] {
        let step_index = self.step_index;
        match chunk {
            ModelChunk::Text(text) => {
                self.bytes += text.len();
                match self.parts.last_mut() {
                    Some(Part::Text { text: said }) => said.push_str(&text),
                    _ => self.parts.push(Part::Text { text: text.clone() }),
                }
                [Some(Event::TextDelta { step: step_index.into(), text }), None]
            }
            ModelChunk::Reasoning { text, returns } => {
                self.bytes += text.len();
                match self.parts.last_mut() {
                    Some(Part::Reasoning { text: thought, provider_data }) if provider_data.is_some() == returns => {
                        thought.push_str(&text);
                    }
                    _ => {
                        // Null stands for the text itself.
                        let provider_data = returns.then(|| data(format!(r#"{{"{REASONING_FIELD}":null}}"#)));
                        self.parts.push(Part::Reasoning { text: text.clone(), provider_data });
                    }
                }
                [Some(Event::ReasoningDelta { step: step_index.into(), text }), None]
            }
            ModelChunk::ToolCall(piece) => self.take_call(piece),
            ModelChunk::Usage(usage) => {
                self.usage = usage;
                [None, None]
            }
            ModelChunk::Finish(reason) => {
                self.finish_reason = Some(reason);
                [None, None]
            }
        }
    }

    fn take_call(&mut self, piece: ToolCallPiece) -> [Option<Event>; 2] {
        let Some(place) = self.place_of(&piece) else { return [None, None] };
        self.bytes += piece.arguments.len();
        let Some(slot) = self.calls.get_mut(place) else { return [None, None] };
        let Some(Part::ToolCall { call_id, name, arguments, provider_data }) = self.parts.get_mut(slot.part) else {
            return [None, None];
        };
        if let Some(id) = piece.id.filter(|_| call_id.is_empty()) {
            *call_id = id;
        }
        if let Some(said) = piece.name.filter(|_| name.is_empty()) {
            *name = bounded_name(said);
        }
        arguments.push_str(&piece.arguments);
        if let Some(json) = piece.provider_data {
            // What does not fit is left out whole: no provider can read a part of it.
            if json.len() <= PROVIDER_DATA_BYTES_MAX && self.bytes + json.len() <= MESSAGE_TEXT_BYTES_MAX {
                self.bytes += json.len();
                *provider_data = Some(data(json));
            } else {
                tracing::warn!(bytes = json.len(), "the provider's data of a call is left out: it is too large");
            }
        }
        if name.is_empty() {
            return [None, None];
        }
        let (step_index, call_index) = (self.step_index, u32::try_from(place).unwrap_or(u32::MAX));
        let started = (!slot.shown).then(|| Event::ToolCallStarted { step: step_index.into(), call_index, name: name.clone() });
        // Arguments that came before the name are shown with it.
        let arguments = if slot.shown { piece.arguments } else { arguments.clone() };
        slot.shown = true;
        let delta =
            (!arguments.is_empty()).then_some(Event::ToolCallArgumentsDelta { step: step_index.into(), call_index, arguments });
        [started, delta]
    }

    /// The call that a piece belongs to, a new one if need be; nothing beyond the bound of calls.
    fn place_of(&mut self, piece: &ToolCallPiece) -> Option<usize> {
        let candidate = match piece.index {
            Some(index) => self.calls.iter().rposition(|slot| slot.index == Some(index)),
            None => self.place_without_index(piece),
        };
        if let Some(place) = candidate.filter(|place| !self.is_another_call(*place, piece)) {
            return Some(place);
        }
        if self.calls.len() >= CALLS_PER_STEP_MAX {
            return None;
        }
        let part = self.parts.len();
        self.parts.push(Part::tool_call("", "", ""));
        self.calls.push(Slot { index: piece.index, part, shown: false });
        Some(self.calls.len() - 1)
    }

    /// Without an index: the call of that id, else the last one.
    fn place_without_index(&self, piece: &ToolCallPiece) -> Option<usize> {
        let of_id = piece.id.as_deref().and_then(|id| self.calls.iter().rposition(|slot| self.call_of(slot).0 == id));
        of_id.or_else(|| self.calls.len().checked_sub(1))
    }

    /// True when a piece begins a call of its own although it names another's place: some servers give every call the
    /// index 0, or none. A name that comes again together with the same id, or while the arguments are still open, is a
    /// repetition.
    fn is_another_call(&self, place: usize, piece: &ToolCallPiece) -> bool {
        let Some(slot) = self.calls.get(place) else { return false };
        let (known_id, known_name, arguments) = self.call_of(slot);
        match (&piece.id, &piece.name) {
            (Some(id), _) if !known_id.is_empty() && id != known_id => piece.name.is_some(),
            (None, Some(_)) if !known_name.is_empty() => serde_json::from_str::<IgnoredAny>(arguments).is_ok(),
            _ => false,
        }
    }

    fn call_of(&self, slot: &Slot) -> (&str, &str, &str) {
        match self.parts.get(slot.part) {
            Some(Part::ToolCall { call_id, name, arguments, .. }) => (call_id, name, arguments),
            _ => ("", "", ""),
        }
    }

    /// The step as far as it came. Call ids that are absent, of odd characters, too long, or used before in the run (`used`)
    /// are replaced; what the provider called an odd one goes back to it all the same.
    pub(super) fn finish(mut self, model: &str, used: &HashSet<String>) -> ModelStep {
        let mut seen: HashSet<String> = HashSet::new();
        for (place, slot) in self.calls.iter().enumerate() {
            let Some(Part::ToolCall { call_id, name, arguments, provider_data }) = self.parts.get_mut(slot.part) else {
                continue;
            };
            if !names::is_safe_id(call_id) || used.contains(call_id) || seen.contains(call_id) {
                let own = names::made_up_id(self.step_index, place);
                let theirs = std::mem::replace(call_id, own);
                if !names::is_safe_id(&theirs) && !theirs.is_empty() {
                    let known = provider_data.take();
                    *provider_data = with_id(known.clone(), &theirs).or(known);
                }
            }
            if name.is_empty() {
                NO_NAME.clone_into(name);
            }
            seen.insert(call_id.clone());
            if arguments.trim().is_empty() {
                "{}".clone_into(arguments);
            }
        }
        for part in &mut self.parts {
            if let Part::Reasoning { provider_data: Some(data), .. } | Part::ToolCall { provider_data: Some(data), .. } = part {
                model.clone_into(&mut data.model);
            }
        }
        let default = if self.calls.is_empty() { "stop" } else { "tool_calls" };
        let finish_reason = self.finish_reason.unwrap_or_else(|| default.to_owned());
        ModelStep { parts: self.parts, model: model.to_owned(), finish_reason, usage: self.usage }
    }

    /// Ends the answer with a reason that the provider did not give.
    pub(super) fn end_with(&mut self, reason: &str) {
        self.finish_reason = Some(reason.to_owned());
    }
}

/// A name as the model wrote it, within the bound and without control characters.
fn bounded_name(name: String) -> String {
    let mut name: String = name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if name.len() > NAME_BYTES_MAX {
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX - CUT.len_utf8()));
        name.push(CUT);
    }
    name
}

/// The data with the provider's own id of the call; nothing when that is too large.
fn with_id(known: Option<ProviderData>, id: &str) -> Option<ProviderData> {
    let mut fields = known.map(|data| Fields::of(&data.json)).unwrap_or_default();
    fields.set_text("id", id);
    let json = serde_json::to_string(&fields).ok()?;
    (json.len() <= PROVIDER_DATA_BYTES_MAX).then(|| data(json))
}

/// Data whose model is not known yet.
const fn data(json: String) -> ProviderData {
    ProviderData { model: String::new(), json }
}

const NOTHING: Usage = Usage { input_tokens: 0, output_tokens: 0 };

#[cfg(test)]
#[path = "assembly_tests.rs"]
mod tests;
