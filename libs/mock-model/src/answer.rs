//! One answer as a value: what is said, at which pace, how it ends. Built from a request, its hints and its call number.
//!
//! Pure: no clock, no counters, no output. `stream` and `whole` turn it into bytes.

use std::time::Duration;

use crate::hints::Hints;
use crate::prose;
use crate::request::ChatRequest;

/// Pieces the arguments of one tool call arrive in, at most one more.
const ARGUMENT_PIECES: usize = 4;

/// An answer of the model.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What tells this call from all others of this server.
    pub(crate) stamp: Stamp,
    /// The model named in the request.
    pub(crate) model: String,
    /// What is said.
    pub(crate) content: Content,
    /// The time between two chunks; zero for all at once.
    pub(crate) gap: Duration,
    /// The finish reason.
    pub(crate) finish: &'static str,
    /// Whether a stream ends with token counts.
    pub(crate) usage: bool,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: usize,
    /// Chunks after which the connection drops.
    pub(crate) cut: Option<u32>,
    /// Whether a stream has the oddities of real servers.
    pub(crate) quirks: bool,
    /// Whether tool calls are signed.
    pub(crate) signed: bool,
    /// Whether reasoning comes before tool calls.
    pub(crate) thinks: bool,
    /// Frames that a stream holds as they are.
    pub(crate) frames: Vec<String>,
}

/// Identity of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    /// Number of the call on this server, from 1.
    pub(crate) number: u64,
    /// When the call arrived, Unix time in milliseconds.
    pub(crate) start_ms: u64,
}

/// What an answer says.
#[derive(Debug)]
pub(crate) enum Content {
    /// This many numbered chunks.
    Numbered(u32),
    /// Prose, one chunk a word.
    Prose(String),
    /// Tool calls.
    Calls(Vec<ToolCall>),
}

/// A tool call with the id it is answered by.
#[derive(Debug)]
pub(crate) struct ToolCall {
    /// `call_<n>`, unique on this server.
    pub(crate) id: String,
    /// The tool.
    pub(crate) name: String,
    /// A JSON object as text.
    pub(crate) arguments: String,
}

impl Answer {
    /// The answer to `request` under `hints`. `cut` is the cut due on this call; `next_call_id` numbers tool calls.
    pub(crate) fn new(
        request: &ChatRequest,
        hints: Hints,
        stamp: Stamp,
        cut: Option<u32>,
        mut next_call_id: impl FnMut() -> u64,
    ) -> Self {
        let calls_due = !hints.calls.is_empty() && request.fresh_results().is_empty();
        let (content, gap, finish) = if calls_due {
            let calls = hints.calls.into_iter().map(|hint| ToolCall {
                id: format!("call_{}", next_call_id()),
                name: hint.name,
                arguments: hint.arguments,
            });
            (Content::Calls(calls.collect()), Duration::ZERO, "tool_calls")
        } else {
            let finish = if hints.length { "length" } else { "stop" };
            match hints.chunks {
                Some(chunks) => (Content::Numbered(chunks.count), chunks.gap, finish),
                None => (Content::Prose(prose::answer(request)), Duration::ZERO, finish),
            }
        };
        Self {
            stamp,
            model: request.model.clone().unwrap_or_else(|| "mock".to_owned()),
            content,
            gap,
            finish,
            usage: hints.usage || request.wants_usage(),
            prompt_tokens: request.prompt_tokens(),
            cut,
            quirks: hints.quirks,
            signed: hints.signed,
            thinks: hints.thinks,
            frames: hints.frames,
        }
    }
}

impl Content {
    /// The number of chunks it streams in; also its tokens.
    pub(crate) fn chunks(&self) -> usize {
        match self {
            Self::Numbered(count) => usize::try_from(*count).unwrap_or(usize::MAX),
            Self::Prose(text) => words(text).count(),
            Self::Calls(calls) => calls.iter().map(|call| 1 + call.pieces().len()).sum(),
        }
    }
}

impl ToolCall {
    /// The arguments in the pieces they are streamed in.
    pub(crate) fn pieces(&self) -> Vec<&str> {
        let size = self.arguments.len().div_ceil(ARGUMENT_PIECES).max(1);
        let mut pieces = Vec::with_capacity(ARGUMENT_PIECES + 1);
        let mut rest = self.arguments.as_str();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.ceil_char_boundary(size));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}

/// The words of `text`, each with the space behind it.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// The text of numbered chunk `index`.
pub(crate) fn numbered(start_ms: u64, index: u32) -> String {
    format!("t{start_ms} chunk-{index} ")
}

#[cfg(test)]
mod tests {
    use super::ToolCall;

    #[test]
    fn arguments_come_in_pieces_that_join_to_the_whole() {
        for arguments in ["{}", r#"{"a":1}"#, "{\"ä\":\"öüß€😀😀😀\"}", r#"{"long":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#]
        {
            let call = ToolCall { id: String::new(), name: String::new(), arguments: arguments.to_owned() };
            let pieces = call.pieces();
            assert_eq!(pieces.concat(), arguments);
            assert!((2..=5).contains(&pieces.len()), "{pieces:?}");
        }
    }
}
