//! Sends an answer as one JSON body, for callers that do not stream.
//!
//! A paced answer waits as long as its stream would take. A cut body ends in the middle, whatever its number of chunks.

use std::io;

use async_stream::try_stream;
use axum::Json;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::answer::{Answer, Content, numbered};
use crate::stream::cut_connection;

/// The response of `answer` in one piece.
pub(crate) async fn respond(answer: Answer) -> Response {
    if let Content::Numbered(count) = answer.content {
        sleep(answer.gap * count.saturating_sub(1)).await;
    }
    let completion = completion(&answer);
    if answer.cut.is_none() {
        return Json(completion).into_response();
    }
    let headers = [(CONTENT_TYPE, "application/json")];
    let body = Body::from_stream(cut_in_the_middle(completion.to_string()));
    (headers, body).into_response()
}

fn cut_in_the_middle(mut text: String) -> impl Stream<Item = io::Result<Bytes>> {
    text.truncate(text.floor_char_boundary(text.len() / 2));
    try_stream! {
        yield Bytes::from(text);
        Err(cut_connection().await)?;
    }
}

/// The token counts of `answer`.
pub(crate) fn usage(answer: &Answer) -> Value {
    let completion_tokens = answer.content.chunks();
    json!({
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": answer.prompt_tokens + completion_tokens,
    })
}

fn completion(answer: &Answer) -> Value {
    let message = match &answer.content {
        Content::Numbered(count) => {
            let text: String = (0..*count).map(|index| numbered(answer.stamp.start_ms, index)).collect();
            json!({"role": "assistant", "content": text})
        }
        Content::Prose(text) => json!({"role": "assistant", "content": text}),
        Content::Calls(calls) => {
            let calls: Vec<Value> = calls
                .iter()
                .map(|call| {
                    json!({
                        "id": call.id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments},
                    })
                })
                .collect();
            json!({"role": "assistant", "content": null, "tool_calls": calls})
        }
    };
    json!({
        "id": format!("chatcmpl-{}", answer.stamp.number),
        "object": "chat.completion",
        "created": answer.stamp.start_ms / 1000,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish}],
        "usage": usage(answer),
    })
}
