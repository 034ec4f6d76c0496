//! The body of a chat-completions request. Built from the domain by [`crate::history`]; this file only says its shape.

use runmesh_domain::agent::{AgentSpec, ModelParameters, Tool, ToolKind};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Fields that a provider wants back as it sent them.
#[derive(Debug, Clone, Default)]
pub struct Fields(pub BTreeMap<String, Box<RawValue>>);

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        let texts = |fields: &Self| fields.0.iter().map(|(name, raw)| (name.clone(), raw.get().to_owned())).collect::<Vec<_>>();
        texts(self) == texts(other)
    }
}

impl Eq for Fields {}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

impl Fields {
    /// The fields of a JSON object; none when it is no object.
    #[must_use]
    pub fn of(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_default())
    }

    /// The text of a field, if it is one.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// Sets a field to a text.
    pub fn set_text(&mut self, name: &str, text: &str) {
        if let Ok(raw) = serde_json::value::to_raw_value(text) {
            self.0.insert(name.to_owned(), raw);
        }
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|raw| raw.get().len()).sum()
    }
}

/// One message of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum ChatMessage {
    /// The instructions.
    System {
        /// Text.
        content: String,
    },
    /// A person.
    User {
        /// Text.
        content: String,
    },
    /// The model.
    Assistant {
        /// Text; absent when it only called tools.
        content: Option<String>,
        /// What it asked for.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ChatCall>,
        /// What the provider wants back with it.
        #[serde(flatten)]
        fields: Fields,
    },
    /// What a tool gave.
    Tool {
        /// The id of its call.
        tool_call_id: String,
        /// The result or the error.
        content: String,
    },
}

/// A tool call as the provider wants it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatCall {
    /// The provider's id.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is called.
    pub function: ChatFunction,
    /// What the provider wants back with the call.
    #[serde(flatten)]
    pub fields: Fields,
}

/// What is called, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatFunction {
    /// The tool.
    pub name: String,
    /// A JSON object as text.
    pub arguments: String,
    /// What the provider wants back with the function.
    #[serde(flatten)]
    pub fields: Fields,
}

impl ChatCall {
    /// A call of `name`.
    #[must_use]
    pub fn new(id: String, name: String, arguments: String) -> Self {
        let function = ChatFunction { name, arguments, fields: Fields::default() };
        Self { id, kind: "function", function, fields: Fields::default() }
    }

    /// The call with what its provider wants back. Nothing of it takes the place of what the call says itself but the id, which
    /// is the provider's own.
    #[must_use]
    pub fn with_data(mut self, json: &str) -> Self {
        let mut fields = Fields::of(json);
        self.function.fields = fields.0.remove("function").map(|function| Fields::of(function.get())).unwrap_or_default();
        for own in ["name", "arguments"] {
            self.function.fields.0.remove(own);
        }
        if let Some(id) = fields.text("id").filter(|id| !id.is_empty()) {
            self.id = id;
        }
        for own in ["id", "type"] {
            fields.0.remove(own);
        }
        self.fields = fields;
        self
    }
}

/// A tool as the model is told of it.
#[derive(Debug, Clone, Serialize)]
pub struct ChatTool {
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionTool,
}

#[derive(Debug, Clone, Serialize)]
struct FunctionTool {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    /// As it was written: a bound in it may have more digits than a double.
    parameters: Box<RawValue>,
}

impl ChatTool {
    /// The tools of an agent.
    #[must_use]
    pub fn of_spec(spec: &AgentSpec) -> Vec<Self> {
        spec.tools.iter().map(Self::of_tool).collect()
    }

    fn of_tool(tool: &Tool) -> Self {
        let parameters = match &tool.kind {
            ToolKind::Builtin => empty_schema(),
            // A schema that is no JSON was refused when the agent was stored.
            ToolKind::Http { schema, .. } => serde_json::from_str(schema).unwrap_or_else(|_| empty_schema()),
        };
        let function = FunctionTool { name: tool.name.clone(), description: tool.description.clone(), parameters };
        Self { kind: "function", function }
    }
}

fn empty_schema() -> Box<RawValue> {
    serde_json::value::to_raw_value(&serde_json::json!({ "type": "object", "properties": {} }))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// The body of one model call.
#[derive(Debug, Serialize)]
pub struct ChatRequest<'a> {
    model: &'a str,
    messages: Vec<&'a ChatMessage>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tools: &'a [ChatTool],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    stream: bool,
    stream_options: StreamOptions,
}

#[derive(Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> ChatRequest<'a> {
    /// A streaming call that asks for its usage.
    #[must_use]
    pub const fn new(
        model: &'a str,
        parameters: &ModelParameters,
        messages: Vec<&'a ChatMessage>,
        tools: &'a [ChatTool],
    ) -> Self {
        Self {
            model,
            messages,
            tools,
            temperature: parameters.temperature,
            top_p: parameters.top_p,
            max_tokens: parameters.max_output_tokens,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn says_no_more_than_is_set() {
        let message = ChatMessage::User { content: "hi".into() };
        let request = ChatRequest::new("m", &ModelParameters::default(), vec![&message], &[]);
        let wanted = json!({
            "model": "m", "messages": [{ "role": "user", "content": "hi" }],
            "stream": true, "stream_options": { "include_usage": true },
        });
        assert_eq!(serde_json::to_value(&request).ok(), Some(wanted));
    }

    #[test]
    fn calls_and_results_have_the_providers_shape() {
        let call = ChatCall::new("c".into(), "t".into(), "{}".into());
        let asked = ChatMessage::Assistant { content: None, tool_calls: vec![call], fields: Fields::default() };
        let wanted = json!({
            "role": "assistant", "content": null,
            "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "t", "arguments": "{}" } }],
        });
        assert_eq!(serde_json::to_value(&asked).ok(), Some(wanted));
        let call = ChatCall::new("c".into(), "t".into(), "{}".into());
        let call = call.with_data(r#"{"type":"no","extra_content":{"n":1.50},"function":{"name":"no","thought_signature":"s"}}"#);
        let wanted = r#"{"id":"c","type":"function","function":{"name":"t","arguments":"{}","thought_signature":"s"},"extra_content":{"n":1.50}}"#;
        assert_eq!(serde_json::to_string(&call).ok().as_deref(), Some(wanted));
        let mut fields = Fields::default();
        fields.set_text("reasoning_content", "hm");
        let asked = ChatMessage::Assistant { content: None, tool_calls: vec![], fields };
        let wanted = r#"{"role":"assistant","content":null,"reasoning_content":"hm"}"#;
        assert_eq!(serde_json::to_string(&asked).ok().as_deref(), Some(wanted));
        let result = ChatMessage::Tool { tool_call_id: "c".into(), content: "r".into() };
        assert_eq!(serde_json::to_value(&result).ok(), Some(json!({ "role": "tool", "tool_call_id": "c", "content": "r" })));
    }
}
