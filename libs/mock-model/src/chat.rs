//! The model's endpoints: chat completions and the list of models.
//!
//! Any key is accepted and none is looked at. Faults come first: a call that fails says nothing else.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{Answer, Stamp};
use crate::hints::Hints;
use crate::request::ChatRequest;
use crate::state::Shared;
use crate::{failure, stream, whole};

/// The header by which a caller may name its run.
const RUN_HEADER: &str = "x-runmesh-run";

/// `POST /chat/completions`
pub(crate) async fn completions(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let stamp = Stamp { number: shared.next_call(), start_ms: unix_ms() };
    shared.received.push(&headers, &body);
    let request: ChatRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return failure::bad_request(&format!("not a chat request: {error}")),
    };
    let hints = Hints::parse(request.last_user_text());
    if let Some(problem) = request.refusal(&hints) {
        return failure::bad_request(&problem);
    }
    let mut cut = None;
    if hints.has_faults() {
        let run = headers.get(RUN_HEADER).and_then(|run| run.to_str().ok());
        let call = shared.attempts.next(request.message_key(run));
        if let Some(status) = hints.fail(call) {
            tracing::debug!(call = stamp.number, status, "model call failed by a hint");
            return failure::hinted(status);
        }
        cut = hints.cut(call);
    }
    let answer = Answer::new(&request, hints, stamp, cut, || shared.next_tool_call_id());
    tracing::debug!(call = stamp.number, stream = request.streams(), "model call");
    if request.streams() { stream::respond(answer) } else { whole::respond(answer).await }
}

/// `GET /models`
pub(crate) async fn models() -> Json<Value> {
    let model = json!({"id": "mock", "object": "model", "created": 0, "owned_by": "runmesh"});
    Json(json!({"object": "list", "data": [model]}))
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
