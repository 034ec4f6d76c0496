//! gRPC statuses made by the host itself, and the rule that each carries exactly one `ErrorInfo`. Statuses of the services
//! arrive complete and are never changed here.

use std::time::Duration;

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The `domain` of every `ErrorInfo`.
pub const DOMAIN: &str = "runmesh";

/// The reason given when the process is at its limit.
pub const OVERLOADED: &str = "OVERLOADED";

/// The reason given when a request is larger than a hop takes.
pub const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";

/// The reason given when a request is not the method's message.
pub const MALFORMED_MESSAGE: &str = "MALFORMED_MESSAGE";

/// How long a caller is asked to wait after an outage or a refusal for load.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Names the reason of a status that nobody gave one, from its code. The host knows no vocabulary of its own.
pub type ReasonOf = fn(Code) -> &'static str;

const GRPC_STATUS: &str = "grpc-status";
const DETAILS: &str = "grpc-status-details-bin";

/// A status with one `ErrorInfo` of `reason`, and a `RetryInfo` when the code says that a retry can help.
#[must_use]
pub fn with_reason(code: Code, message: &str, reason: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, std::collections::HashMap::new());
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, message, details)
}

/// The code's name as `google.rpc.Code` spells it.
#[must_use]
pub fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether the code means that something of ours broke, as opposed to a caller being told no.
#[must_use]
pub fn is_fault(code: Code) -> bool {
    matches!(code, Code::Internal | Code::Unknown | Code::DataLoss)
}

/// The code in headers (trailers-only answer) or trailers, if they hold one.
#[must_use]
pub fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

/// `status` as trailers.
#[must_use]
pub fn trailers(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(4);
    if status.add_header(&mut map).is_err() {
        // Only a message that is no header value gets here; the code alone is always one.
        map.insert(GRPC_STATUS, http::HeaderValue::from(i32::from(status.code())));
    }
    map
}

/// Gives the failure in `headers` its details when it has none. Successes and complete failures stay byte for byte.
pub(crate) fn complete(headers: &mut HeaderMap, reason: ReasonOf) {
    let Some(code) = code_of(headers) else { return };
    if code == Code::Ok || headers.contains_key(DETAILS) {
        return;
    }
    let message = Status::from_header_map(headers).map(|status| status.message().to_owned()).unwrap_or_default();
    let mut full = trailers(&with_reason(code, &message, reason(code)));
    if let Some(details) = full.remove(DETAILS) {
        headers.insert(DETAILS, details);
    }
}

/// The gRPC code of an answer that is plain HTTP, after the table in gRPC's `http-grpc-status-mapping.md`.
pub(crate) fn from_http(status: http::StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn reason(code: Code) -> &'static str {
        name(code)
    }

    #[test]
    fn a_bare_failure_gets_one_error_info_and_a_complete_one_stays() {
        let mut headers = trailers(&Status::not_found("no such thing"));
        complete(&mut headers, reason);
        let once = headers.clone();
        complete(&mut headers, reason);
        assert_eq!(once, headers);

        let status = Status::from_header_map(&headers).expect("a status");
        assert_eq!(status.message(), "no such thing");
        let info = status.get_details_error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NOT_FOUND", DOMAIN));
    }

    #[test]
    fn success_is_left_alone() {
        let mut headers = trailers(&Status::ok(""));
        complete(&mut headers, reason);
        assert!(!headers.contains_key(DETAILS));
    }
}
