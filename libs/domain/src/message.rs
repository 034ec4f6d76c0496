//! Messages of a conversation, and how a run's steps become one.

use crate::Timestamp;
use crate::error::Refusal;
use crate::id::{MessageId, RunId, ThreadId};
use crate::{limits, text};
use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A person.
    User,
    /// The agent: everything one run said and did.
    Assistant,
    /// The result of a background job.
    Tool,
}

/// Data that only the provider understands and wants back unchanged: a signature, or the sign that reasoning has to be sent
/// again. It is never shown, and goes back only to the model that it came from: another one would refuse it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderData {
    /// The model that it came from, as the agent names it.
    pub model: String,
    /// A JSON object with the fields as the provider sent them; at most [`limits::PROVIDER_DATA_BYTES_MAX`].
    pub json: String,
}

/// A piece of a message. Stored as JSON: names of variants and fields are durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Plain text or Markdown.
    Text {
        /// The text.
        text: String,
    },
    /// What the model thought aloud.
    Reasoning {
        /// The text.
        text: String,
        /// What goes back to the provider with the message: fields of the message, where null stands for the text itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_data: Option<ProviderData>,
    },
    /// A tool call that the model asked for.
    ToolCall {
        /// The provider's id, unique within its message only.
        call_id: String,
        /// The tool.
        name: String,
        /// The arguments as the model wrote them.
        arguments: String,
        /// What goes back to the provider with the call: fields of the call, and under `function` fields of its function.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_data: Option<ProviderData>,
    },
    /// What a tool call gave.
    ToolResult {
        /// The id of its call.
        call_id: String,
        /// The tool.
        name: String,
        /// The result or the error.
        content: String,
        /// True when the content is an error.
        is_error: bool,
    },
}

impl Part {
    /// A text part.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// A reasoning part without provider data.
    #[must_use]
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self::Reasoning { text: text.into(), provider_data: None }
    }

    /// A tool call without provider data.
    #[must_use]
    pub fn tool_call(call_id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self::ToolCall { call_id: call_id.into(), name: name.into(), arguments: arguments.into(), provider_data: None }
    }

    /// The provider data, if the part has any.
    #[must_use]
    pub const fn provider_data(&self) -> Option<&ProviderData> {
        match self {
            Self::Reasoning { provider_data, .. } | Self::ToolCall { provider_data, .. } => provider_data.as_ref(),
            Self::Text { .. } | Self::ToolResult { .. } => None,
        }
    }

    /// The part as readers see it: without provider data.
    #[must_use]
    pub fn shown(mut self) -> Self {
        match &mut self {
            Self::Reasoning { provider_data, .. } | Self::ToolCall { provider_data, .. } => *provider_data = None,
            Self::Text { .. } | Self::ToolResult { .. } => {}
        }
        self
    }
}

impl ProviderData {
    /// Bytes that it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.model.len() + self.json.len()
    }

    /// Refuses data that is too large or no JSON object; `path` is where it stands.
    ///
    /// # Errors
    /// [`Refusal::InvalidField`].
    pub fn check(&self, path: &str) -> Result<(), Refusal> {
        let Self { model, json } = self;
        text::at_most_bytes(&format!("{path}.model"), model, limits::MODEL_BYTES_MAX)?;
        text::at_most_bytes(&format!("{path}.json"), json, limits::PROVIDER_DATA_BYTES_MAX)?;
        match serde_json::from_str::<std::collections::BTreeMap<String, serde::de::IgnoredAny>>(json) {
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal::field(format!("{path}.json"), format!("want a JSON object: {error}"))),
        }
    }
}

/// A message as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Its thread.
    pub thread: ThreadId,
    /// The run that it started or that wrote it.
    pub run: RunId,
    /// Its turn, from 1.
    pub turn_number: u64,
    /// Who speaks.
    pub role: Role,
    /// The content.
    pub parts: Vec<Part>,
    /// True when its run ended before it was complete.
    pub unfinished: bool,
    /// True when the model sees it and people do not.
    #[serde(default)]
    pub internal: bool,
    /// When it was stored.
    pub created_at: Timestamp,
}

impl Message {
    /// The message as readers see it: without provider data.
    #[must_use]
    pub fn shown(mut self) -> Self {
        self.parts = self.parts.into_iter().map(Part::shown).collect();
        self
    }
}

/// The content of a message that a person may send.
///
/// # Errors
/// [`Refusal::InvalidField`] with the path of the part at fault.
pub fn check_user_parts(parts: &[Part]) -> Result<(), Refusal> {
    if parts.is_empty() {
        return Err(Refusal::field("parts", "want at least one text part"));
    }
    if parts.len() > limits::MESSAGE_PARTS_MAX {
        let problem = format!("has {} parts; at most {}", parts.len(), limits::MESSAGE_PARTS_MAX);
        return Err(Refusal::field("parts", problem));
    }
    let mut bytes = 0;
    for (index, part) in parts.iter().enumerate() {
        let Part::Text { text } = part else {
            return Err(Refusal::field(format!("parts[{index}]"), "a user message holds text parts only"));
        };
        text::without_nul(&format!("parts[{index}].text"), text)?;
        bytes += text.len();
    }
    if bytes > limits::MESSAGE_TEXT_BYTES_MAX {
        let problem = format!("text has {bytes} bytes in all; at most {}", limits::MESSAGE_TEXT_BYTES_MAX);
        return Err(Refusal::field("parts", problem));
    }
    if plain_text(parts).trim().is_empty() {
        return Err(Refusal::field("parts", "the text is empty"));
    }
    Ok(())
}

/// Adds the next page of a conversation to those before it. It may begin within the message that the last one ended in: then
/// it holds that message's further parts, under the same id.
pub fn add_page(messages: &mut Vec<Message>, page: Vec<Message>) {
    for message in page {
        match messages.last_mut() {
            Some(last) if last.id == message.id => last.parts.extend(message.parts),
            _ => messages.push(message),
        }
    }
}

/// Adds the next page of a conversation that is read from its newest message back. It may end within the message that the last one
/// began in: then it holds that message's earlier parts, under the same id.
pub fn add_older(messages: &mut Vec<Message>, mut page: Vec<Message>) {
    if let (Some(older), Some(first)) = (page.last_mut(), messages.first_mut())
        && older.id == first.id
    {
        older.parts.append(&mut first.parts);
        messages.remove(0);
    }
    messages.splice(0..0, page);
}

/// Cuts the results of tools that are longer than `bytes_max`, and says in each how much is missing.
pub fn cut_results(parts: &mut [Part], bytes_max: usize) {
    for part in parts {
        if let Part::ToolResult { content, .. } = part
            && content.len() > bytes_max
        {
            let kept = content.floor_char_boundary(bytes_max);
            let missing = content.len() - kept;
            content.truncate(kept);
            content.push_str(&format!("\n[{missing} bytes of this result are left out]"));
        }
    }
}

/// The text of all text parts, joined.
#[must_use]
pub fn plain_text(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        Part::Reasoning { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => None,
    });
    texts.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, texts: &[&str]) -> Message {
        Message {
            id: MessageId::derived(&[name.as_bytes()]),
            thread: ThreadId::derived(&[b"t"]),
            run: RunId::derived(&[b"r"]),
            turn_number: 1,
            role: Role::Assistant,
            parts: texts.iter().copied().map(Part::text).collect(),
            unfinished: false,
            internal: false,
            created_at: Timestamp::from_micros(0),
        }
    }

    #[test]
    fn a_message_goes_on_on_the_next_page() {
        let mut messages = Vec::new();
        add_page(&mut messages, vec![message("a", &["1"]), message("b", &["2"])]);
        add_page(&mut messages, vec![message("b", &["3"])]);
        add_page(&mut messages, vec![message("b", &["4"]), message("c", &["5"])]);
        assert_eq!(messages, [message("a", &["1"]), message("b", &["2", "3", "4"]), message("c", &["5"])]);
    }

    #[test]
    fn user_messages_are_text_within_bounds() {
        assert!(check_user_parts(&[Part::text("hi")]).is_ok());
        let field = |parts: &[Part]| match check_user_parts(parts) {
            Err(Refusal::InvalidField { field, .. }) => field,
            other => format!("{other:?}"),
        };
        assert_eq!(field(&[]), "parts");
        assert_eq!(field(&[Part::text(" \n")]), "parts");
        assert_eq!(field(&[Part::text("a"), Part::text("\0")]), "parts[1].text");
        assert_eq!(field(&vec![Part::text("a"); 65]), "parts");
        assert_eq!(field(&[Part::text("a".repeat(1 << 20)), Part::text("b")]), "parts");
        assert_eq!(field(&[Part::reasoning("x")]), "parts[0]");
    }

    #[test]
    fn parts_from_before_provider_data_are_read_and_written_as_they_were() {
        for stored in [r#"{"type":"reasoning","text":"hm"}"#, r#"{"type":"tool_call","call_id":"c","name":"t","arguments":"{}"}"#]
        {
            let part = serde_json::from_str::<Part>(stored).ok();
            assert_eq!(part.as_ref().map(Part::provider_data), Some(None), "{stored}");
            assert_eq!(part.and_then(|part| serde_json::to_string(&part).ok()).as_deref(), Some(stored));
        }
        let data = ProviderData { model: "m".into(), json: r#"{"extra_content":{"a":1}}"#.into() };
        let part =
            Part::ToolCall { call_id: "c".into(), name: "t".into(), arguments: "{}".into(), provider_data: Some(data.clone()) };
        let again = serde_json::to_string(&part).ok().and_then(|text| serde_json::from_str::<Part>(&text).ok());
        assert_eq!(again.as_ref(), Some(&part));
        assert_eq!(part.shown(), Part::tool_call("c", "t", "{}"));
        assert_eq!(data.check("p"), Ok(()));
    }

    #[test]
    fn provider_data_is_a_bounded_json_object() {
        let field = |json: String| match (ProviderData { model: "m".into(), json }).check("p") {
            Err(Refusal::InvalidField { field, .. }) => field,
            other => format!("{other:?}"),
        };
        for bad in ["", "[]", "1", "{", "{\"a\":\"\0\"}"] {
            assert_eq!(field(bad.into()), "p.json", "{bad:?}");
        }
        assert_eq!(field(format!(r#"{{"a":"{}"}}"#, "x".repeat(limits::PROVIDER_DATA_BYTES_MAX))), "p.json");
    }

    #[test]
    fn pages_that_go_back_join_to_the_conversation() {
        let mut read = Vec::new();
        add_older(&mut read, vec![message("b", &["4"]), message("c", &["5"])]);
        add_older(&mut read, vec![message("b", &["3"])]);
        add_older(&mut read, vec![message("a", &["1"]), message("b", &["2"])]);
        add_older(&mut read, vec![]);
        assert_eq!(read, [message("a", &["1"]), message("b", &["2", "3", "4"]), message("c", &["5"])]);
    }

    #[test]
    fn long_results_are_cut_between_characters_and_say_so() {
        let result =
            |content: &str| Part::ToolResult { call_id: "c".into(), name: "t".into(), content: content.into(), is_error: false };
        let mut parts = [result("aé"), result("aéé"), Part::text("longer than that")];
        cut_results(&mut parts, 3);
        let cut = result("aé\n[2 bytes of this result are left out]");
        assert_eq!(parts, [result("aé"), cut, Part::text("longer than that")]);
    }
}
