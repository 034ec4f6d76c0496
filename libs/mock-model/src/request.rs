//! What the server reads of a chat-completions request.
//!
//! Lenient: unknown fields are ignored, content may be a string, parts or null. It never rejects a request for what a
//! model server would only pass on.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::hints::Hints;

/// A chat-completions request.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest {
    #[serde(default)]
    pub(crate) model: Option<String>,
    pub(crate) messages: Vec<Message>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    tools: Option<Vec<Tool>>,
}

/// One message of the conversation, its content flattened to text.
#[derive(Debug, Deserialize, Hash)]
pub(crate) struct Message {
    pub(crate) role: String,
    #[serde(default, deserialize_with = "flat_text")]
    pub(crate) content: String,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<PastCall>>,
    #[serde(default)]
    reasoning_content: Option<String>,
}

#[derive(Debug, Deserialize, Hash)]
struct PastCall {
    #[serde(default)]
    id: Option<String>,
    function: PastFunction,
    #[serde(default)]
    extra_content: Option<Value>,
}

#[derive(Debug, Deserialize, Hash)]
struct PastFunction {
    name: String,
    #[serde(default)]
    arguments: Option<String>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    #[serde(default)]
    function: Option<ToolFunction>,
}

#[derive(Debug, Deserialize)]
struct ToolFunction {
    name: String,
}

impl ChatRequest {
    /// True when the answer is to be streamed.
    pub(crate) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// True when the request itself asks for token counts in the stream.
    pub(crate) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The text of the last user message, where the hints are; empty without one.
    pub(crate) fn last_user_text(&self) -> &str {
        self.last_user_index().map_or("", |index| &self.messages[index].content)
    }

    /// The tool results the conversation ends with, each with the name of its tool.
    pub(crate) fn fresh_results(&self) -> Vec<(&str, &str)> {
        let trailing = self.messages.iter().rev().take_while(|m| m.role == "tool");
        let start = self.messages.len() - trailing.count();
        self.messages[start..].iter().map(|message| (self.tool_name(message), message.content.as_str())).collect()
    }

    /// The first offered tool that is not for asking the user.
    pub(crate) fn offered_tool(&self) -> Option<&str> {
        let tools = self.tools.as_deref().unwrap_or_default();
        let mut names = tools.iter().filter_map(|tool| Some(tool.function.as_ref()?.name.as_str()));
        names.find(|name| *name != "ask_user")
    }

    /// What a provider would refuse of the calls in the conversation: a name that no tool can have, as OpenAI does; and under the
    /// hints, a call of the last turn without its signature, as Gemini does, or reasoning that does not stand with the calls and
    /// only there, as DeepSeek does.
    pub(crate) fn refusal(&self, hints: &Hints) -> Option<String> {
        let last_turn = self.last_user_index().unwrap_or(0);
        for (index, message) in self.messages.iter().enumerate().filter(|(_, message)| message.role == "assistant") {
            let calls = message.tool_calls.as_deref().unwrap_or_default();
            for call in calls {
                let name = &call.function.name;
                if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
                    return Some(format!("messages[{index}]: the function name does not match ^[a-zA-Z0-9_-]{{1,64}}$"));
                }
                let signature = call.id.as_deref().map(signature);
                if hints.signed && index > last_turn && call.extra_content != signature {
                    return Some(format!("messages[{index}]: function call is missing a thought_signature"));
                }
            }
            if hints.thinks && !calls.is_empty() && message.reasoning_content.is_none() {
                return Some(format!("messages[{index}]: the reasoning_content in the thinking mode must be passed back"));
            }
            if calls.is_empty() && message.reasoning_content.is_some() {
                return Some(format!("messages[{index}]: reasoning_content is not taken with a plain answer"));
            }
        }
        None
    }

    /// What "the same message" means for faults: the conversation up to the last user message, the caller, and the run
    /// it names, so that equal words in two runs each get their own fault.
    pub(crate) fn message_key(&self, run: Option<&str>) -> u64 {
        let end = self.last_user_index().map_or(0, |index| index + 1);
        let mut hasher = DefaultHasher::new();
        self.messages[..end].hash(&mut hasher);
        self.user.hash(&mut hasher);
        run.hash(&mut hasher);
        hasher.finish()
    }

    /// A rough count of prompt tokens, by the usual four characters each.
    pub(crate) fn prompt_tokens(&self) -> usize {
        let bytes: usize = self.messages.iter().map(|m| m.content.len()).sum();
        bytes.div_ceil(4)
    }

    fn last_user_index(&self) -> Option<usize> {
        self.messages.iter().rposition(|m| m.role == "user")
    }

    /// The name of the tool `result` answers. Ids may repeat in a conversation, so the latest call with the id counts.
    fn tool_name<'a>(&'a self, result: &'a Message) -> &'a str {
        let id = result.tool_call_id.as_deref();
        let calls = self.messages.iter().rev().flat_map(|m| m.tool_calls.iter().flatten());
        let mut matching = calls.filter(|call| id.is_some() && call.id.as_deref() == id);
        matching.next().map_or("an unknown tool", |call| &call.function.name)
    }
}

/// What goes with a call of that id under the hint `signed`, and has to come back.
pub(crate) fn signature(id: &str) -> Value {
    json!({"google": {"thought_signature": format!("signature-of-{id}/+=")}})
}

/// Content as text: the texts of its parts on lines of their own, nothing for null, other JSON as written.
fn flat_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Null => String::new(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        other => other.to_string(),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn request(body: Value) -> ChatRequest {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn content_may_be_text_parts_null_or_absent() {
        let parsed = request(json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null},
            {"role": "assistant"},
        ]}));
        let texts: Vec<&str> = parsed.messages.iter().map(|m| m.content.as_str()).collect();
        assert_eq!(texts, ["a\nb", "", ""]);
        assert_eq!(parsed.last_user_text(), "a\nb");
    }

    #[test]
    fn only_results_at_the_end_are_fresh() {
        let call = |id: &str, name: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}});
        let parsed = request(json!({"messages": [
            {"role": "tool", "tool_call_id": "call_0", "content": "old"},
            {"role": "user", "content": "go"},
            {"role": "assistant", "tool_calls": [call("call_1", "a"), call("call_2", "b")]},
            {"role": "tool", "tool_call_id": "call_2", "content": "two"},
            {"role": "tool", "tool_call_id": "nobody", "content": "three"},
        ]}));
        assert_eq!(parsed.fresh_results(), [("b", "two"), ("an unknown tool", "three")]);
    }

    #[test]
    fn the_message_key_ignores_what_follows_the_message_and_tells_callers_apart() {
        let user = json!({"role": "user", "content": "hi"});
        let plain = request(json!({"messages": [user]}));
        let later = request(json!({"messages": [user, {"role": "tool", "content": "x"}]}));
        let other_history = request(json!({"messages": [{"role": "system", "content": "s"}, user]}));
        let other_user = request(json!({"messages": [user], "user": "u"}));
        let key = plain.message_key(None);
        assert_eq!(later.message_key(None), key);
        for different in [other_history.message_key(None), other_user.message_key(None), plain.message_key(Some("r"))] {
            assert_ne!(different, key);
        }
    }
}
