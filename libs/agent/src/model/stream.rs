//! A model's answer as it comes: server-sent events into pieces, with the deadline of silence and the rule of the end.
//!
//! A stream that ends with neither a finish reason nor `[DONE]` is broken, however politely the connection was closed.

use super::chunk::{self, ModelChunk};
use super::error::ModelError;
use super::sse::Sse;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of one event: no piece of an answer may be larger than a whole message.
const EVENT_BYTES_MAX: usize = 4 << 20;
/// How long the usage and the end of a finished stream are waited for.
const AFTER_FINISH: Duration = Duration::from_secs(2);

/// How long the end of the body is waited for once the answer is whole: read to its end, the connection serves again.
const BODY_END: Duration = Duration::from_millis(5);

/// A model's answer as it comes. Dropping it drops the connection.
#[derive(Debug)]
pub struct ModelStream {
    response: reqwest::Response,
    sse: Sse,
    ready: VecDeque<ModelChunk>,
    idle: Duration,
    /// When the last event came. Comments are no events: a model that only pings is silent.
    heard: Instant,
    finished: bool,
    /// How the stream ended, once it has.
    end: Option<Result<(), ModelError>>,
}

impl ModelStream {
    pub(super) fn new(response: reqwest::Response, idle: Duration) -> Self {
        Self { response, sse: Sse::default(), ready: VecDeque::new(), idle, heard: Instant::now(), finished: false, end: None }
    }

    /// The next piece; `None` once the answer is whole. May be dropped and called again without losing a piece.
    ///
    /// # Errors
    /// [`ModelError::Broken`] or [`ModelError::Idle`]; the stream is over then.
    pub async fn next(&mut self) -> Option<Result<ModelChunk, ModelError>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                self.finished |= matches!(chunk, ModelChunk::Finish(_));
                return Some(Ok(chunk));
            }
            if let Some(end) = &mut self.end {
                // Whatever happens after a finish reason, the answer is whole.
                let error = std::mem::replace(end, Ok(())).err().filter(|_| !self.finished);
                if error.is_none() {
                    let _ = tokio::time::timeout(BODY_END, self.response.chunk()).await;
                }
                return error.map(Err);
            }
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let wait = if self.finished { AFTER_FINISH.min(self.idle) } else { self.idle };
        match tokio::time::timeout_at(self.heard + wait, self.response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                self.take(|sse, event| sse.feed(&bytes, event));
                if self.sse.pending_bytes() > EVENT_BYTES_MAX {
                    self.end.get_or_insert(Err(ModelError::broken("an event is too large")));
                }
            }
            Ok(Ok(None)) => {
                self.take(|sse, event| sse.finish(event));
                self.end.get_or_insert(Err(ModelError::broken("it ended without a finish reason")));
            }
            Ok(Err(_)) => self.end = Some(Err(ModelError::broken("the connection broke"))),
            Err(_) => self.end = Some(Err(ModelError::Idle { after: self.idle })),
        }
    }

    /// Reads the events that `parse` finds, up to the end that one of them says.
    fn take(&mut self, parse: impl FnOnce(&mut Sse, &mut dyn FnMut(&str))) {
        let Self { sse, ready, end, heard, .. } = self;
        let mut any = false;
        parse(sse, &mut |data| {
            any = true;
            if end.is_some() {
                return;
            }
            if data.trim() == "[DONE]" {
                *end = Some(Ok(()));
            } else if let Err(words) = chunk::read(data, ready) {
                *end = Some(Err(ModelError::broken(words)));
            }
        });
        if any {
            *heard = Instant::now();
        }
    }
}
