//! One frame of a provider's stream, and the pieces in it. Reads what real servers send rather than what the
//! specification says: absent and null fields, empty choices, missing indexes, arguments that are objects.
//!
//! Never fails on a field that it does not know.

mod odd;

use super::error::error_message;
use runmesh_domain::journal::Usage;
use runmesh_domain::text::cut_bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// Bytes of a finish reason that are kept: the known ones have under 30.
const FINISH_REASON_BYTES_MAX: usize = 64;

/// A piece of a model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChunk {
    /// More text; never empty.
    Text(String),
    /// More reasoning; never empty.
    Reasoning {
        /// The words.
        text: String,
        /// True when it came as `reasoning_content`: providers that name it so want it back with the calls that follow it.
        returns: bool,
    },
    /// More of a tool call.
    ToolCall(ToolCallPiece),
    /// Tokens; a later one takes the place of an earlier.
    Usage(Usage),
    /// Why the model stopped: `stop`, `tool_calls`, `length`, `content_filter`, ….
    Finish(String),
}

/// More of a tool call. What is absent is left to the reader's wit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolCallPiece {
    /// The call's place among the calls of the answer.
    pub index: Option<u32>,
    /// The provider's id.
    pub id: Option<String>,
    /// The tool.
    pub name: Option<String>,
    /// More of the arguments.
    pub arguments: String,
    /// Fields that the provider wants back with the call, as a JSON object.
    pub provider_data: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Frame {
    choices: Option<Vec<Choice>>,
    usage: Option<UsageFrame>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    delta: Option<Delta>,
    /// In place of the delta, where an answer comes whole.
    message: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
    tool_calls: Option<Vec<CallFrame>>,
}

#[derive(Debug, Deserialize)]
struct CallFrame {
    index: Option<u32>,
    id: Option<String>,
    function: Option<FunctionFrame>,
    extra_content: Option<Box<RawValue>>,
    provider_specific_fields: Option<Box<RawValue>>,
    thought_signature: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
struct FunctionFrame {
    name: Option<String>,
    arguments: Option<String>,
    provider_specific_fields: Option<Box<RawValue>>,
    thought_signature: Option<Box<RawValue>>,
}

/// What goes back with a call: where Gemini and gateways before it put the signatures that they insist on.
#[derive(Debug, Serialize)]
struct CallData {
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_specific_fields: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<FunctionData>,
}

#[derive(Debug, Serialize)]
struct FunctionData {
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_specific_fields: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
struct UsageFrame {
    prompt_tokens: Option<f64>,
    completion_tokens: Option<f64>,
}

/// Adds the pieces of one frame to `out`.
///
/// # Errors
/// In words: the frame is not JSON, or it is the provider's error.
pub(crate) fn read(data: &str, out: &mut VecDeque<ModelChunk>) -> Result<(), String> {
    let frame = match serde_json::from_str(data) {
        Ok(frame) => frame,
        Err(_) => {
            let data = odd::whole_characters(data);
            serde_json::from_str(&data).or_else(|_| odd::frame(&data))?
        }
    };
    let Frame { choices, usage, error } = frame;
    if let Some(error) = error {
        return Err(error_message(&error).unwrap_or_else(|| error.to_string()));
    }
    // Only one choice was asked for; other indexes would be another answer.
    for choice in choices.into_iter().flatten().take(1) {
        read_choice(choice, out);
    }
    out.extend(usage.map(|usage| ModelChunk::Usage(usage.counted())));
    Ok(())
}

fn read_choice(choice: Choice, out: &mut VecDeque<ModelChunk>) {
    if let Some(delta) = choice.delta.or(choice.message) {
        let Delta { content, reasoning_content, reasoning, tool_calls } = delta;
        // Some servers send both names with the same words.
        let returns = reasoning_content.is_some();
        out.extend(said(reasoning_content.or(reasoning)).map(|text| ModelChunk::Reasoning { text, returns }));
        out.extend(said(content).map(ModelChunk::Text));
        out.extend(tool_calls.into_iter().flatten().map(|call| ModelChunk::ToolCall(call.piece())));
    }
    out.extend(
        said(choice.finish_reason).map(|reason| ModelChunk::Finish(cut_bytes(&reason, FINISH_REASON_BYTES_MAX).to_owned())),
    );
}

/// Text that is there, without NUL: neither Postgres nor a client could take it.
fn said(text: Option<String>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    if text.as_bytes().contains(&0) { Some(text.replace('\0', "\u{fffd}")) } else { Some(text) }
}

impl CallFrame {
    fn piece(self) -> ToolCallPiece {
        let Self { index, id, function, extra_content, provider_specific_fields, thought_signature } = self;
        let function = function.unwrap_or_default();
        let FunctionFrame { name, arguments, provider_specific_fields: of_function, thought_signature: signature } = function;
        let function = FunctionData { provider_specific_fields: of_function, thought_signature: signature };
        let function = Some(function).filter(|data| data.provider_specific_fields.is_some() || data.thought_signature.is_some());
        let data = CallData { extra_content, provider_specific_fields, thought_signature, function };
        ToolCallPiece {
            index,
            id: said(id),
            name: said(name),
            arguments: said(arguments).unwrap_or_default(),
            provider_data: data.text(),
        }
    }
}

impl CallData {
    /// As JSON; nothing when there is nothing to give back.
    fn text(&self) -> Option<String> {
        let Self { extra_content, provider_specific_fields, thought_signature, function } = self;
        let any =
            extra_content.is_some() || provider_specific_fields.is_some() || thought_signature.is_some() || function.is_some();
        if any { serde_json::to_string(self).ok() } else { None }
    }
}

impl UsageFrame {
    /// Casts saturate: negative and absurd counts become bounds.
    fn counted(&self) -> Usage {
        let tokens = |count: Option<f64>| count.unwrap_or(0.0) as u64;
        Usage { input_tokens: tokens(self.prompt_tokens), output_tokens: tokens(self.completion_tokens) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(data: &str) -> Vec<ModelChunk> {
        let mut out = VecDeque::new();
        assert_eq!(read(data, &mut out), Ok(()), "{data}");
        out.into()
    }

    #[test]
    fn reads_what_servers_send() {
        assert_eq!(chunks(r#"{"choices":[{"delta":{"content":"a"}}]}"#), [ModelChunk::Text("a".into())]);
        assert_eq!(chunks(r#"{"choices":[{"index":0,"delta":{"content":null},"finish_reason":""}]}"#), []);
        assert_eq!(chunks(r#"{"choices":null}"#), []);
        assert_eq!(chunks(r#"{"choices":[],"usage":null}"#), []);
        assert_eq!(
            chunks(r#"{"choices":[{"delta":{"reasoning":"r"}}]}"#),
            [ModelChunk::Reasoning { text: "r".into(), returns: false }]
        );
        let wanted_back = ModelChunk::Reasoning { text: "r".into(), returns: true };
        assert_eq!(chunks(r#"{"choices":[{"delta":{"reasoning_content":"r"}}]}"#), [wanted_back]);
        assert_eq!(chunks(r#"{"choices":[{"delta":{"content":"a\u0000b"}}]}"#), [ModelChunk::Text("a\u{fffd}b".into())]);
        let usage = Usage { input_tokens: 3, output_tokens: 4 };
        assert_eq!(chunks(r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#), [ModelChunk::Usage(usage)]);
        assert_eq!(chunks(r#"{"choices":[{"finish_reason":"stop"}]}"#), [ModelChunk::Finish("stop".into())]);
    }

    #[test]
    fn what_a_call_wants_back_is_kept_as_it_came() {
        let data = |call: &str| match chunks(&format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{call}]}}}}]}}"#)).as_slice() {
            [ModelChunk::ToolCall(piece)] => piece.provider_data.clone(),
            other => Some(format!("{other:?}")),
        };
        let gemini = r#"{"index":0,"function":{"name":"t"},"extra_content":{"google": {"thought_signature":"A+/=","n":1.50}}}"#;
        let wanted = r#"{"extra_content":{"google": {"thought_signature":"A+/=","n":1.50}}}"#;
        assert_eq!(data(gemini).as_deref(), Some(wanted));
        let gateway = r#"{"function":{"name":"t","arguments":{"a":1},"thought_signature":"s"}}"#;
        assert_eq!(data(gateway).as_deref(), Some(r#"{"function":{"thought_signature":"s"}}"#));
        assert_eq!(data(r#"{"function":{"name":"t"},"extra_content":null}"#), None);
    }

    #[test]
    fn straightens_fields_of_other_types() {
        let piece = ToolCallPiece { name: Some("t".into()), arguments: r#"{"a":1}"#.into(), ..ToolCallPiece::default() };
        let odd = r#"{"choices":[{"delta":{"tool_calls":[{"index":"","function":{"name":"t","arguments":{"a":1}}}]}}]}"#;
        assert_eq!(chunks(odd), [ModelChunk::ToolCall(piece)]);
        let parts = r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#;
        assert_eq!(chunks(parts), [ModelChunk::Text("ab".into())]);
    }

    #[test]
    fn arguments_that_are_objects_keep_their_numbers() {
        let exact = r#"{"id": 90071992547409930000000000001, "x":1e400,"y":1.50}"#;
        for index in ["0", r#""""#] {
            let odd = format!(
                r#"{{"choices":[{{"delta":{{"tool_calls":[{{"index":{index},"function":{{"name":"t","arguments":{exact}}}}}]}}}}]}}"#
            );
            let arguments = chunks(&odd)
                .into_iter()
                .map(|chunk| if let ModelChunk::ToolCall(piece) = chunk { piece.arguments } else { String::new() });
            assert_eq!(arguments.collect::<Vec<_>>(), [exact]);
        }
    }

    #[test]
    fn half_a_character_is_replaced_and_costs_no_answer() {
        let of = |content: &str| chunks(&format!(r#"{{"choices":[{{"delta":{{"content":"{content}"}}}}]}}"#));
        assert_eq!(of(r"a\\ud83d"), [ModelChunk::Text(r"a\ud83d".into())], "a backslash and letters");
        assert_eq!(of(r"a\ud83d b"), [ModelChunk::Text("a\u{fffd} b".into())]);
        assert_eq!(of(r"\ude00"), [ModelChunk::Text("\u{fffd}".into())]);
        assert_eq!(of(r"\uD83D\ude00\ud83d"), [ModelChunk::Text("😀\u{fffd}".into())]);
    }

    #[test]
    fn an_answer_may_come_whole() {
        let whole = r#"{"choices":[{"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}]}"#;
        assert_eq!(chunks(whole), [ModelChunk::Text("a".into()), ModelChunk::Finish("stop".into())]);
        assert_eq!(chunks(r#"{"choices":[{"delta":[],"finish_reason":"stop"}]}"#), [ModelChunk::Finish("stop".into())]);
    }

    #[test]
    fn errors_come_in_words() {
        let mut out = VecDeque::new();
        assert_eq!(read(r#"{"error":{"message":"overloaded"}}"#, &mut out), Err("overloaded".into()));
        assert!(read("<html>", &mut out).is_err());
    }
}
