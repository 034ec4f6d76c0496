//! Sends an answer as a stream of events at its pace, and drops the connection where a cut is due.
//!
//! A cut is an error of the body: the connection then closes without the chunk that would end the body well.

use std::io;
use std::time::Duration;

use async_stream::try_stream;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::answer::{Answer, Content, ToolCall, words};
use crate::request::signature;
use crate::sse::Events;
use crate::whole;

/// An error of the body discards what the connection has not written yet, so a cut waits for the chunks before it.
const FLUSH: Duration = Duration::from_millis(20);

/// The streaming response of `answer`.
pub(crate) fn respond(answer: Answer) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events(answer))).into_response()
}

/// The error that closes a connection in the middle of a body.
pub(crate) async fn cut_connection() -> io::Error {
    sleep(FLUSH).await;
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut by a hint")
}

fn events(answer: Answer) -> impl Stream<Item = io::Result<Bytes>> {
    try_stream! {
        let mut events = Events::new(&answer);
        let chunks = Chunks::of(&answer);
        let total = chunks.len();
        let sent = answer.cut.map_or(total, |cut| total.min(to_usize(cut)));
        let mut pace = pace(answer.gap);
        events.open();
        for frame in &answer.frames {
            events.raw(frame);
        }
        for index in 0..sent {
            if let Some(pace) = &mut pace {
                if let Some(piece) = events.take() {
                    yield piece;
                }
                pace.tick().await;
            }
            chunks.write(index, &mut events);
            if answer.quirks {
                events.comment();
            }
            if events.is_full() && let Some(piece) = events.take() {
                yield piece;
            }
        }
        if answer.cut.is_none() {
            let usage = answer.usage.then(|| whole::usage(&answer));
            events.finish(answer.finish, usage.as_ref());
        }
        if let Some(piece) = events.take() {
            yield piece;
        }
        if answer.cut.is_some() {
            Err(cut_connection().await)?;
        }
    }
}

/// Ticks at once and then every `gap`; nothing for a stream without pauses.
fn pace(gap: Duration) -> Option<Interval> {
    if gap.is_zero() {
        return None;
    }
    let mut pace = interval(gap);
    // A reader that was slow gets the rest at the same pace, not in a burst.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(pace)
}

/// The chunks of an answer: numbered ones are written from their number, the few others are rendered ahead.
enum Chunks {
    Numbered(u32),
    Rendered(Vec<Value>),
}

impl Chunks {
    fn of(answer: &Answer) -> Self {
        match &answer.content {
            Content::Numbered(count) => Self::Numbered(*count),
            Content::Prose(text) => Self::Rendered(words(text).map(|word| json!({"content": word})).collect()),
            Content::Calls(calls) => {
                let thought = answer.thinks.then(|| json!({"reasoning_content": "which tool fits?"}));
                let deltas = calls.iter().enumerate().flat_map(|(index, call)| call_deltas(index, call, answer));
                Self::Rendered(thought.into_iter().chain(deltas).collect())
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Numbered(count) => to_usize(*count),
            Self::Rendered(deltas) => deltas.len(),
        }
    }

    fn write(&self, index: usize, events: &mut Events) {
        match self {
            Self::Numbered(_) => events.numbered(u32::try_from(index).unwrap_or(u32::MAX)),
            Self::Rendered(deltas) => events.delta(&deltas[index]),
        }
    }
}

/// The deltas of one tool call: its id and name, then its arguments in pieces. Quirky servers repeat the id in each.
fn call_deltas(index: usize, call: &ToolCall, answer: &Answer) -> Vec<Value> {
    let mut open = json!({
        "index": index,
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": ""},
    });
    if answer.signed {
        open["extra_content"] = signature(&call.id);
    }
    let pieces = call.pieces().into_iter().map(|piece| {
        let mut delta = json!({"index": index, "function": {"arguments": piece}});
        if answer.quirks {
            delta["id"] = json!(call.id);
        }
        delta
    });
    std::iter::once(open).chain(pieces).map(|call| json!({"tool_calls": [call]})).collect()
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
