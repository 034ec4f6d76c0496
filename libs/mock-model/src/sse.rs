//! Writes the server-sent events of one stream into a buffer that is handed out in large pieces.
//!
//! The constant parts of an event are rendered once for the stream, so that a chunk costs a few copies and no allocation:
//! this is the model of the benchmark. It knows nothing of time or of connections.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use crate::answer::Answer;

/// Bytes collected before a piece is handed out: a few dozen events.
const PIECE_BYTES: usize = 16 * 1024;

/// The writer of one stream.
#[derive(Debug)]
pub(crate) struct Events {
    buffer: BytesMut,
    /// `data: {` and the fields every event repeats.
    head: String,
    /// The start of a numbered chunk up to its number.
    numbered_head: String,
    /// The end of a numbered chunk from its number on.
    numbered_tail: String,
    /// The blank line that ends an event.
    blank: &'static str,
    quirks: bool,
}

impl Events {
    /// A writer for the stream of `answer`.
    pub(crate) fn new(answer: &Answer) -> Self {
        let model = Value::from(answer.model.as_str());
        let stamp = answer.stamp;
        let blank = if answer.quirks { "\r\n\r\n" } else { "\n\n" };
        let head = if answer.quirks {
            format!("data: {{\"model\":{model},")
        } else {
            format!(
                "data: {{\"id\":\"chatcmpl-{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{model},",
                stamp.number,
                stamp.start_ms / 1000
            )
        };
        Self {
            buffer: BytesMut::with_capacity(PIECE_BYTES),
            numbered_head: format!("{head}\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"t{} chunk-", stamp.start_ms),
            numbered_tail: format!(" \"}},\"finish_reason\":null}}]}}{blank}"),
            head,
            blank,
            quirks: answer.quirks,
        }
    }

    /// The first event: the role. A quirky stream has a comment and an event without choices before it.
    pub(crate) fn open(&mut self) {
        if self.quirks {
            self.comment();
            self.event("\"choices\":[]");
        }
        self.delta(&json!({"role": "assistant", "content": ""}));
    }

    /// Numbered chunk `index`.
    pub(crate) fn numbered(&mut self, index: u32) {
        self.buffer.extend_from_slice(self.numbered_head.as_bytes());
        // Writing into a growing buffer cannot fail.
        let _ = write!(self.buffer, "{index}");
        self.buffer.extend_from_slice(self.numbered_tail.as_bytes());
    }

    /// A chunk with this delta.
    pub(crate) fn delta(&mut self, delta: &Value) {
        self.event(&format!("\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]"));
    }

    /// The chunk with the finish reason, then token counts if there are any, then `[DONE]` unless the stream is quirky.
    pub(crate) fn finish(&mut self, reason: &str, usage: Option<&Value>) {
        self.event(&format!("\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]"));
        if let Some(usage) = usage {
            self.event(&format!("\"choices\":[],\"usage\":{usage}"));
        }
        if self.quirks {
            self.comment();
        } else {
            self.buffer.extend_from_slice(b"data: [DONE]\n\n");
        }
    }

    /// An event with this data, whatever it is.
    pub(crate) fn raw(&mut self, data: &str) {
        for part in ["data: ", data, self.blank] {
            self.buffer.extend_from_slice(part.as_bytes());
        }
    }

    /// A keep-alive as a comment.
    pub(crate) fn comment(&mut self) {
        self.buffer.extend_from_slice(b": keep-alive");
        self.buffer.extend_from_slice(self.blank.as_bytes());
    }

    /// True when enough is collected to hand it out.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= PIECE_BYTES
    }

    /// Hands out what is collected, nothing when that is empty.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        (!self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }

    fn event(&mut self, fields: &str) {
        for part in [&self.head, fields, "}", self.blank] {
            self.buffer.extend_from_slice(part.as_bytes());
        }
    }
}
