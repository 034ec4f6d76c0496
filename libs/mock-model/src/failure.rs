//! Error responses in the shape model servers use.
//!
//! Never says anything about the caller's key.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Seconds a caller is told to wait after 429: long enough to see that it was heeded.
const RETRY_AFTER_SECONDS: &str = "1";

/// The error a `fail` hint asks for.
pub(crate) fn hinted(status: u16) -> Response {
    let message = format!("failed with {status} because a hint in the message says so");
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    };
    let body = error(status, kind, &message);
    if status == StatusCode::TOO_MANY_REQUESTS {
        return ([(RETRY_AFTER, RETRY_AFTER_SECONDS)], body).into_response();
    }
    body
}

/// 400 with what is wrong with the request.
pub(crate) fn bad_request(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, "invalid_request_error", message)
}

/// 404 for every path that is not served.
pub(crate) async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "invalid_request_error", "no such path")
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": null}});
    (status, Json(body)).into_response()
}
