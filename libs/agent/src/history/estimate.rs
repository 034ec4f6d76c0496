//! How many tokens something is, without asking a tokenizer: four characters to a token, and four tokens of frame for
//! each message. Providers differ; what counts is that the estimate errs little and is the same everywhere.

use crate::model::{ChatMessage, ChatTool, Fields};

/// Characters of one token, as providers state it for English.
const CHARS_PER_TOKEN: u64 = 4;
/// What roles and separators cost.
const TOKENS_PER_MESSAGE: u64 = 4;

/// The estimate for a text, rounded up.
#[must_use]
pub fn tokens_of_text(text: &str) -> u64 {
    (text.chars().count() as u64).div_ceil(CHARS_PER_TOKEN)
}

/// How much text so many tokens are, about.
pub(super) const fn bytes_of_tokens(tokens: u64) -> u64 {
    tokens.saturating_mul(CHARS_PER_TOKEN)
}

/// The estimate for a message with its frame.
pub(super) fn tokens_of_message(message: &ChatMessage) -> u64 {
    let content = match message {
        ChatMessage::System { content } | ChatMessage::User { content } | ChatMessage::Tool { content, .. } => {
            tokens_of_text(content)
        }
        ChatMessage::Assistant { content, tool_calls, fields } => {
            let calls = tool_calls.iter().map(|call| {
                let data = tokens_of_fields(&call.fields) + tokens_of_fields(&call.function.fields);
                tokens_of_text(&call.function.name) + tokens_of_text(&call.function.arguments) + data + TOKENS_PER_MESSAGE
            });
            content.as_deref().map_or(0, tokens_of_text) + tokens_of_fields(fields) + calls.sum::<u64>()
        }
    };
    content + TOKENS_PER_MESSAGE
}

/// What the provider wants back is mostly text without many characters of several bytes: bytes are near enough.
fn tokens_of_fields(fields: &Fields) -> u64 {
    (fields.bytes() as u64).div_ceil(CHARS_PER_TOKEN)
}

/// The estimate for the list of tools.
pub(super) fn tokens_of_tools(tools: &[ChatTool]) -> u64 {
    tools.iter().map(|tool| tokens_of_text(&serde_json::to_string(tool).unwrap_or_default())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_characters_and_not_bytes() {
        assert_eq!(tokens_of_text(""), 0);
        assert_eq!(tokens_of_text("abcde"), 2);
        assert_eq!(tokens_of_text("ääää"), 1);
        assert_eq!(tokens_of_message(&ChatMessage::User { content: "abcd".into() }), 5);
    }
}
