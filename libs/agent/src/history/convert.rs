//! Parts of stored messages and journaled steps, as messages of the prompt.
//!
//! A provider refuses a prompt in which a tool call has no result right after it or a result has no call: what comes out
//! of here is well formed whatever went in. What a provider wants back goes back to the model that it came from, and to no
//! other. Reasoning goes back only in that way, and only with calls: providers that want it want it there, and others refuse
//! it with plain answers.

use super::names;
use crate::model::{ChatCall, ChatMessage, Fields};
use runmesh_domain::canonical;
use runmesh_domain::journal::{CALL_CLOSED, CALL_UNKNOWN, Call, CallState, Step};
use runmesh_domain::message::{Part, ProviderData};
use std::collections::BTreeMap;

/// One model call's words and calls, with the results that follow it.
#[derive(Default)]
struct Round {
    text: String,
    reasoning: Reasoning,
    calls: Vec<ChatCall>,
    /// The ids of the calls as they are stored: those in the prompt may be others.
    ids: Vec<String>,
    results: Vec<(String, String)>,
}

impl Round {
    fn result_of(&mut self, id: &str) -> Option<String> {
        let place = self.results.iter().position(|(of, _)| of == id)?;
        Some(self.results.swap_remove(place).1)
    }

    fn flush(&mut self, out: &mut Vec<ChatMessage>) {
        let mut round = std::mem::take(self);
        if round.text.is_empty() && round.calls.is_empty() {
            return;
        }
        let reasoning = std::mem::take(&mut round.reasoning);
        let fields = if round.calls.is_empty() { Fields::default() } else { reasoning.fields() };
        let ids: Vec<_> =
            std::mem::take(&mut round.ids).into_iter().zip(round.calls.iter().map(|call| call.id.clone())).collect();
        let results = ids.into_iter().map(|(stored, id)| {
            let content = round.result_of(&stored).unwrap_or_else(|| CALL_CLOSED.to_owned());
            ChatMessage::Tool { tool_call_id: id, content }
        });
        let results: Vec<_> = results.collect();
        let content = (!round.text.is_empty()).then_some(round.text);
        out.push(ChatMessage::Assistant { content, tool_calls: round.calls, fields });
        out.extend(results);
    }
}

/// The reasoning of one model call that its provider wants back.
#[derive(Default)]
struct Reasoning {
    /// Fields that stand for the text itself, each with what was said under it.
    texts: BTreeMap<String, String>,
    others: Fields,
}

impl Reasoning {
    fn add(&mut self, text: &str, data: &ProviderData) {
        for (name, value) in Fields::of(&data.json).0 {
            if value.get() == "null" {
                self.texts.entry(name).or_default().push_str(text);
            } else {
                self.others.0.insert(name, value);
            }
        }
    }

    fn fields(self) -> Fields {
        let mut fields = self.others;
        self.texts.iter().for_each(|(name, text)| fields.set_text(name, text));
        for own in ["role", "content", "tool_calls"] {
            fields.0.remove(own);
        }
        fields
    }
}

/// The messages of an assistant's message: its parts are those of all steps of a run, results after the calls they
/// belong to. `model` is who will read them.
#[must_use]
pub fn messages_of_parts(parts: &[Part], model: &str) -> Vec<ChatMessage> {
    let own = |data: &Option<ProviderData>| data.clone().filter(|data| data.model == model);
    let mut out = Vec::new();
    let mut round = Round::default();
    for part in parts {
        match part {
            Part::Reasoning { text, provider_data } => {
                flush_if_answered(&mut round, &mut out);
                if let Some(data) = own(provider_data) {
                    round.reasoning.add(text, &data);
                }
            }
            Part::ToolResult { call_id, content, .. } => round.results.push((call_id.clone(), content.clone())),
            Part::Text { text } => {
                flush_if_answered(&mut round, &mut out);
                round.text.push_str(text);
            }
            Part::ToolCall { call_id, name, arguments, provider_data } => {
                flush_if_answered(&mut round, &mut out);
                let call = ChatCall::new(names::safe_id(call_id), names::safe_name(name), well_formed(arguments));
                round.ids.push(call_id.clone());
                round.calls.push(match own(provider_data) {
                    Some(data) => call.with_data(&data.json),
                    None => call,
                });
            }
        }
    }
    round.flush(&mut out);
    out
}

/// Words or calls after results belong to the next model call.
fn flush_if_answered(round: &mut Round, out: &mut Vec<ChatMessage>) {
    if !round.results.is_empty() {
        round.flush(out);
    }
}

/// The messages of a journaled step with the results of its calls.
#[must_use]
pub fn step_messages(step: &Step, model: &str) -> Vec<ChatMessage> {
    let results = step.calls.iter().map(|call| Part::ToolResult {
        call_id: call.call_id.clone(),
        name: call.name.clone(),
        content: outcome(call).to_owned(),
        is_error: call.state != CallState::Done,
    });
    let parts: Vec<_> = step.result.parts.iter().cloned().chain(results).collect();
    messages_of_parts(&parts, model)
}

fn outcome(call: &Call) -> &str {
    match call.state {
        CallState::Done | CallState::Failed => &call.content,
        CallState::Reserved => CALL_CLOSED,
        CallState::Dispatched | CallState::Unknown => CALL_UNKNOWN,
    }
}

/// Arguments that are a JSON object, as providers insist on: what a model wrote wrongly is shown to it inside one.
fn well_formed(arguments: &str) -> String {
    if arguments.trim().is_empty() {
        return "{}".to_owned();
    }
    match canonical::arguments(arguments) {
        Ok(_) => arguments.to_owned(),
        Err(_) => serde_json::json!({ "malformed_arguments": arguments }).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Part {
        Part::tool_call(id, "t", "{}")
    }

    fn result(id: &str, content: &str) -> Part {
        Part::ToolResult { call_id: id.into(), name: "t".into(), content: content.into(), is_error: false }
    }

    fn asked(text: Option<&str>, ids: &[&str]) -> ChatMessage {
        let tool_calls = ids.iter().map(|id| ChatCall::new((*id).into(), "t".into(), "{}".into())).collect();
        ChatMessage::Assistant { content: text.map(str::to_owned), tool_calls, fields: Fields::default() }
    }

    fn told(id: &str, content: &str) -> ChatMessage {
        ChatMessage::Tool { tool_call_id: id.into(), content: content.into() }
    }

    #[test]
    fn steps_come_apart_again() {
        let reasoning = Part::reasoning("hm");
        let parts = [
            Part::text("a"),
            call("1"),
            call("2"),
            result("1", "x"),
            result("2", "y"),
            reasoning,
            call("1"),
            result("1", "z"),
            Part::text("end"),
        ];
        let wanted = [
            asked(Some("a"), &["1", "2"]),
            told("1", "x"),
            told("2", "y"),
            asked(None, &["1"]),
            told("1", "z"),
            asked(Some("end"), &[]),
        ];
        assert_eq!(messages_of_parts(&parts, "m"), wanted);
    }

    #[test]
    fn what_comes_out_is_well_formed() {
        let orphan = [result("9", "nobody asked"), Part::text("a")];
        assert_eq!(messages_of_parts(&orphan, "m"), [asked(Some("a"), &[])]);
        assert_eq!(messages_of_parts(&[call("1")], "m"), [asked(None, &["1"]), told("1", CALL_CLOSED)]);
        assert_eq!(messages_of_parts(&[Part::reasoning("r")], "m"), []);
        assert_eq!(well_formed(" "), "{}");
        assert_eq!(well_formed("{oops"), r#"{"malformed_arguments":"{oops"}"#);
        assert_eq!(well_formed(r#"{"n": 1e400}"#), r#"{"n": 1e400}"#);
    }

    #[test]
    fn a_poisoned_history_recovers() {
        let odd = |id: &str, name: &str| Part::tool_call(id, name, "{}");
        let parts = [
            odd("functions.echo:0", "functions.echo\" />"),
            odd("", ""),
            odd(&"x".repeat(500), &"n".repeat(64)),
            result("functions.echo:0", "a"),
            result("", "b"),
            result(&"x".repeat(500), "c"),
        ];
        let messages = messages_of_parts(&parts, "m");
        let [ChatMessage::Assistant { tool_calls, .. }, results @ ..] = messages.as_slice() else { panic!("{messages:?}") };
        for call in tool_calls {
            assert!(names::is_safe_id(&call.id), "{call:?}");
            let name = &call.function.name;
            assert!(
                (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
                "{name}"
            );
        }
        let told: Vec<_> = results
            .iter()
            .map(|message| match message {
                ChatMessage::Tool { tool_call_id, content } => (tool_call_id.as_str(), content.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        let wanted: Vec<_> = tool_calls.iter().map(|call| call.id.as_str()).zip(["a", "b", "c"]).collect();
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_provider_sees_its_own_id_again() {
        let own = with_data(call("c00010000"), r#"{"id":"functions.t:0"}"#);
        let parts = [own, result("c00010000", "x")];
        let ids = |model: &str| match messages_of_parts(&parts, model).as_slice() {
            [ChatMessage::Assistant { tool_calls, .. }, ChatMessage::Tool { tool_call_id, .. }] => {
                (tool_calls[0].id.clone(), tool_call_id.clone())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(ids("m"), ("functions.t:0".into(), "functions.t:0".into()));
        assert_eq!(ids("n"), ("c00010000".into(), "c00010000".into()));
    }

    fn with_data(part: Part, json: &str) -> Part {
        let data = Some(ProviderData { model: "m".into(), json: json.into() });
        match part {
            Part::ToolCall { call_id, name, arguments, .. } => Part::ToolCall { call_id, name, arguments, provider_data: data },
            Part::Reasoning { text, .. } => Part::Reasoning { text, provider_data: data },
            other => other,
        }
    }

    #[test]
    fn what_a_provider_wants_back_goes_back_to_its_own_model_only() {
        let signature = r#"{"extra_content":{"google":{"thought_signature":"s"}}}"#;
        let thought = with_data(Part::reasoning("hm"), r#"{"reasoning_content":null}"#);
        let parts = [thought.clone(), with_data(call("1"), signature), result("1", "x"), thought.clone(), Part::text("end")];
        let text = |model: &str| serde_json::to_string(&messages_of_parts(&parts, model)).unwrap_or_default();
        let (own, other) = (text("m"), text("n"));
        assert_eq!(own.matches(r#""reasoning_content":"hm""#).count(), 1, "with the calls, not with the answer: {own}");
        assert!(own.contains(r#""extra_content":{"google":{"thought_signature":"s"}}"#), "{own}");
        for field in ["reasoning_content", "extra_content"] {
            assert!(!other.contains(field), "{other}");
        }
    }

    #[test]
    fn a_step_has_the_results_of_its_calls() {
        let result = runmesh_domain::journal::ModelStep { parts: vec![call("1")], ..Default::default() };
        let done = Call {
            call_index: 0,
            call_id: "1".into(),
            name: "t".into(),
            arguments: "{}".into(),
            state: CallState::Done,
            verdict: runmesh_domain::policy::Verdict::Allow,
            idempotent: true,
            idempotency_key: "k".into(),
            content: "x".into(),
        };
        let created_at = runmesh_domain::Timestamp::from_micros(0);
        let step = Step { path: Default::default(), step_index: 1, fence: 1, result, calls: vec![done], created_at };
        assert_eq!(step_messages(&step, "m"), [asked(None, &["1"]), told("1", "x")]);
    }
}
