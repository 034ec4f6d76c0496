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
    },
    /// A tool call that the model asked for.
    ToolCall {
        /// The provider's id, unique within its message only.
        call_id: String,
        /// The tool.
        name: String,
        /// The arguments as the model wrote them.
        arguments: String,
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
    /// When it was stored.
    pub created_at: Timestamp,
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
        assert_eq!(field(&[Part::Reasoning { text: "x".into() }]), "parts[0]");
    }
}
