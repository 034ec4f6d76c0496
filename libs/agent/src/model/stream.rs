//! A model's answer as it comes: server-sent events into pieces, with the deadline of silence and the rule of the end.
//!
//! A stream that ends with neither a finish reason nor `[DONE]` is broken, however politely the connection was closed. A body
//! that is one JSON text is read whole: some servers answer so though a stream was asked for, and others send their error so.

use super::chunk::{self, ModelChunk};
use super::error::ModelError;
use super::secrets::Secrets;
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
    secrets: Secrets,
    body: Body,
    ready: VecDeque<ModelChunk>,
    idle: Duration,
    /// When the last piece of an answer came. A model that sends comments, or frames that say nothing, is silent.
    heard: Instant,
    finished: bool,
    /// How the stream ended, once it has.
    end: Option<Result<(), ModelError>>,
}

/// What the body turned out to be.
#[derive(Debug)]
enum Body {
    /// Nothing but blanks has come.
    Unknown,
    /// Server-sent events.
    Events(Sse),
    /// One JSON text.
    Json(Vec<u8>),
}

impl Body {
    /// By the first byte that is no blank: what servers say in content-type is often wrong.
    fn begins(&mut self, bytes: &[u8]) {
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if let (Self::Unknown, Some(first)) = (&self, first) {
            *self = if matches!(first, b'{' | b'[') { Self::Json(Vec::new()) } else { Self::Events(Sse::default()) };
        }
    }

    const fn pending_bytes(&self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Events(sse) => sse.pending_bytes(),
            Self::Json(text) => text.len(),
        }
    }
}

impl ModelStream {
    pub(super) fn new(response: reqwest::Response, idle: Duration, secrets: Secrets) -> Self {
        let (body, ready, heard) = (Body::Unknown, VecDeque::new(), Instant::now());
        Self { response, secrets, body, ready, idle, heard, finished: false, end: None }
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
                self.feed(&bytes);
                if self.body.pending_bytes() > EVENT_BYTES_MAX {
                    self.end.get_or_insert(Err(ModelError::broken("an event is too large")));
                }
            }
            Ok(Ok(None)) => self.finish(),
            Ok(Err(_)) => self.end = Some(Err(ModelError::broken("the connection broke"))),
            Err(_) => self.end = Some(Err(ModelError::Idle { after: self.idle })),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.body.begins(bytes);
        match &mut self.body {
            Body::Unknown => {}
            Body::Json(text) => text.extend_from_slice(bytes),
            Body::Events(_) => self.take(|sse, event| sse.feed(bytes, event)),
        }
    }

    /// The body is over.
    fn finish(&mut self) {
        self.take(|sse, event| sse.finish(event));
        if let Body::Json(text) = &self.body {
            let text = String::from_utf8_lossy(text).into_owned();
            if let Err(words) = chunk::read(&text, &mut self.ready) {
                self.end.get_or_insert(Err(ModelError::said(&self.secrets, &words)));
            } else if self.ready.is_empty() {
                let problem = format!("it answered with JSON that is no answer: {text}");
                self.end.get_or_insert(Err(ModelError::said(&self.secrets, &problem)));
            }
        }
        let problem = self.other_than_events().unwrap_or_else(|| "it ended without a finish reason".to_owned());
        self.end.get_or_insert_with(|| Err(ModelError::broken(problem)));
    }

    /// What an answer is that never was a stream, in words: mostly the page of a proxy, or of a wrong base URL.
    fn other_than_events(&self) -> Option<String> {
        let header = self.response.headers().get(http::header::CONTENT_TYPE)?;
        let kind = header.to_str().ok()?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let path = self.secrets.words(self.response.url().path());
        (kind == "text/html")
            .then(|| format!("{path} answered with {kind} where an event stream was expected; is the model's base url right?"))
    }

    /// Reads the events that `parse` finds, up to the end that one of them says.
    fn take(&mut self, parse: impl FnOnce(&mut Sse, &mut dyn FnMut(&str))) {
        let Self { body, ready, end, heard, secrets, .. } = self;
        let Body::Events(sse) = body else { return };
        let mut spoke = false;
        parse(sse, &mut |data| {
            // Gateways keep a connection open with events of no data.
            if end.is_some() || data.trim().is_empty() {
                return;
            }
            let before = ready.len();
            if data.trim() == "[DONE]" {
                *end = Some(Ok(()));
            } else if let Err(words) = chunk::read(data, ready) {
                *end = Some(Err(ModelError::said(secrets, &words)));
            }
            spoke |= ready.iter().skip(before).any(|chunk| !matches!(chunk, ModelChunk::Usage(_)));
        });
        if spoke {
            *heard = Instant::now();
        }
    }
}
