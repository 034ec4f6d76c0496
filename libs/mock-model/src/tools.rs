//! A target for tools: echo, slow, fail, and the count of what arrived under each idempotency key.
//!
//! A call counts when it arrives, before any wait or failure: that is how tests prove that nothing ran twice. It never
//! deduplicates; that is the caller's to do.

mod effects;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::sleep;

pub(crate) use effects::Effects;

use crate::failure;
use crate::state::Shared;

/// Longest wait of the slow tool: ten minutes, past every tool deadline of the tests.
const SLOW_MS_MAX: u64 = 600_000;
/// Longest idempotency key that is remembered.
const KEY_BYTES_MAX: usize = 256;

/// The routes under `/tools`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/echo", post(echo))
        .route("/slow/{ms}", post(slow))
        .route("/fail/{status}", post(fail))
        .route("/effects", get(effects))
}

/// A body as it came, digit for digit.
#[derive(Debug, Serialize)]
struct Echo {
    echo: Box<RawValue>,
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slept_ms: Option<u64>,
}

/// Answers the body back with the number of calls under its key.
async fn echo(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    match arrive(&shared, &headers, &body) {
        Ok((echo, n)) => Json(Echo { echo, n, slept_ms: None }).into_response(),
        Err(refusal) => refusal,
    }
}

/// Waits `ms` milliseconds, then answers as `echo` does.
async fn slow(State(shared): State<Arc<Shared>>, Path(ms): Path<u64>, headers: HeaderMap, body: Bytes) -> Response {
    if ms > SLOW_MS_MAX {
        return failure::bad_request("slow takes up to 600000 ms");
    }
    match arrive(&shared, &headers, &body) {
        Ok((echo, n)) => {
            sleep(Duration::from_millis(ms)).await;
            Json(Echo { echo, n, slept_ms: Some(ms) }).into_response()
        }
        Err(refusal) => refusal,
    }
}

/// Fails with `status`, an error status.
async fn fail(State(shared): State<Arc<Shared>>, Path(status): Path<u16>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(status) = StatusCode::from_u16(status).ok().filter(|status| status.is_client_error() || status.is_server_error())
    else {
        return failure::bad_request("fail takes a status from 400 to 599");
    };
    match arrive(&shared, &headers, &body) {
        Ok((_, n)) => (status, Json(json!({"error": "asked to fail", "n": n}))).into_response(),
        Err(refusal) => refusal,
    }
}

#[derive(Debug, Deserialize)]
struct EffectsQuery {
    key: Option<String>,
}

/// The calls that arrived under one key, or without a key in the query a summary over all.
async fn effects(State(shared): State<Arc<Shared>>, Query(EffectsQuery { key }): Query<EffectsQuery>) -> Json<Value> {
    Json(match key {
        Some(key) => json!({"key": key, "n": shared.effects.of(&key)}),
        None => {
            let (keys, most) = shared.effects.keys_and_most();
            json!({"n": shared.effects.total(), "keys": keys, "most": most})
        }
    })
}

/// Counts a call and returns its JSON body (null when empty) with the number of calls under its key so far; calls
/// without a key share one count.
#[expect(clippy::result_large_err, reason = "the refusal is the answer itself, made once and sent")]
fn arrive(shared: &Shared, headers: &HeaderMap, body: &[u8]) -> Result<(Box<RawValue>, u64), Response> {
    let key = match headers.get("idempotency-key").map(|key| key.to_str()) {
        None => "",
        Some(Ok(key)) if key.len() <= KEY_BYTES_MAX => key,
        Some(_) => return Err(failure::bad_request("idempotency key too long or not text")),
    };
    let n = shared.effects.add(key);
    if body.is_empty() {
        return Ok((RawValue::NULL.to_owned(), n));
    }
    match serde_json::from_slice(body) {
        Ok(body) => Ok((body, n)),
        Err(error) => Err(failure::bad_request(&format!("not JSON: {error}"))),
    }
}
