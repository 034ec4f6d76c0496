//! The one file that makes a [`Status`]. Every status carries exactly one `google.rpc.ErrorInfo` with domain `runmesh`.

use runmesh_domain::{Error, Fault, Reason, Refusal};
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every ErrorInfo of runmesh.
pub const DOMAIN: &str = "runmesh";

/// When a caller may try again after an outage.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_millis(500);

/// The code that goes with a reason.
#[must_use]
pub const fn code(reason: Reason) -> Code {
    match reason {
        Reason::InvalidField | Reason::MalformedMessage | Reason::MessageTooLarge | Reason::InvalidCursor => {
            Code::InvalidArgument
        }
        Reason::UnknownMethod => Code::Unimplemented,
        Reason::NotFound => Code::NotFound,
        Reason::PermissionDenied | Reason::TokenMismatch => Code::PermissionDenied,
        Reason::Unauthenticated | Reason::TokenExpired => Code::Unauthenticated,
        Reason::IdempotencyKeyReused | Reason::NameTaken => Code::AlreadyExists,
        Reason::ModelNotConfigured
        | Reason::AgentDeleted
        | Reason::ThreadBusy
        | Reason::RunFinished
        | Reason::CallNotAllowed
        | Reason::JournalLimit
        | Reason::SessionLost => Code::FailedPrecondition,
        Reason::QueueLimit | Reason::RateLimit | Reason::Overloaded | Reason::ViewerLimit => Code::ResourceExhausted,
        Reason::Unavailable | Reason::Draining => Code::Unavailable,
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::Cancelled => Code::Cancelled,
        Reason::Internal => Code::Internal,
        Reason::Fenced | Reason::StepConflict | Reason::Conflict => Code::Aborted,
    }
}

/// The reason to give for a status that tonic or a proxy made without one.
#[must_use]
pub const fn reason_of_code(code: Code) -> Reason {
    match code {
        Code::InvalidArgument => Reason::MalformedMessage,
        Code::NotFound => Reason::NotFound,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => Reason::Conflict,
        Code::OutOfRange => Reason::MessageTooLarge,
        Code::ResourceExhausted => Reason::Overloaded,
        Code::Unimplemented => Reason::UnknownMethod,
        Code::Unavailable => Reason::Unavailable,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::Cancelled => Reason::Cancelled,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Reason::Internal,
    }
}

/// The name of that reason.
#[must_use]
pub const fn reason_name_of_code(code: Code) -> &'static str {
    reason_of_code(code).name()
}

/// The status of an error. Faults say which part is at fault and nothing of its insides.
#[must_use]
pub fn of(error: &Error) -> Status {
    match error {
        Error::Refused(refusal) => of_refusal(refusal),
        Error::Fault(fault) => of_fault(fault),
    }
}

/// The status of a refusal.
#[must_use]
pub fn of_refusal(refusal: &Refusal) -> Status {
    let mut details = info(refusal.reason(), metadata(refusal));
    match refusal {
        Refusal::InvalidField { field, problem } => {
            details.add_bad_request_violation(field, problem);
        }
        Refusal::QueueLimit { retry_after, .. } | Refusal::Overloaded { retry_after, .. } => {
            details.set_retry_info(Some(*retry_after));
        }
        Refusal::Draining => {
            details.set_retry_info(Some(Duration::ZERO));
        }
        _ => {}
    }
    Status::with_error_details(code(refusal.reason()), refusal.to_string(), details)
}

fn metadata(refusal: &Refusal) -> HashMap<String, String> {
    match refusal {
        Refusal::ThreadBusy { run } => HashMap::from([("run_id".to_owned(), run.to_string())]),
        _ => HashMap::new(),
    }
}

fn of_fault(fault: &Fault) -> Status {
    match fault {
        Fault::Unavailable { part, .. } => unavailable(&format!("{part} is unavailable; try again")),
        Fault::OutcomeUnknown { part, .. } => {
            unavailable(&format!("{part} went away in the middle: repeat with the same idempotency key"))
        }
        // Seen at start only, where it ends the process.
        Fault::Unusable { part, .. } => unavailable(&format!("{part} cannot be used; try again later")),
        Fault::Internal { .. } => plain(Reason::Internal, "internal error"),
    }
}

/// A part of the mesh is away: UNAVAILABLE with when to try again.
#[must_use]
pub fn unavailable(message: &str) -> Status {
    let mut details = info(Reason::Unavailable, HashMap::new());
    details.set_retry_info(Some(RETRY_AFTER_OUTAGE));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// A status with a reason and nothing more.
#[must_use]
pub fn plain(reason: Reason, message: &str) -> Status {
    Status::with_error_details(code(reason), message, info(reason, HashMap::new()))
}

/// Bytes that are not the method's message.
#[must_use]
pub fn malformed(error: &prost::DecodeError) -> Status {
    plain(Reason::MalformedMessage, &format!("the request is not this method's message: {error}"))
}

/// What a caller's stream that cannot be read any more is answered: its message was none of the method's. Nothing when the
/// caller went away.
#[must_use]
pub fn of_unread(status: &Status) -> Option<Refusal> {
    (reason(status) == Some(Reason::MalformedMessage)).then_some(Refusal::MalformedMessage)
}

fn info(reason: Reason, metadata: HashMap<String, String>) -> ErrorDetails {
    ErrorDetails::with_error_info(reason.name(), DOMAIN, metadata)
}

/// The reason that a status carries, when it is one of ours.
#[must_use]
pub fn reason(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    if info.domain == DOMAIN { Reason::from_name(&info.reason) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::error::Reason as WireReason;

    #[test]
    fn reasons_are_those_of_the_proto() {
        for reason in Reason::ALL {
            let wire = WireReason::from_str_name(&format!("REASON_{}", reason.name()));
            assert!(wire.is_some(), "{} is not in reason.proto", reason.name());
        }
        let named = (1..).map_while(|number| WireReason::try_from(number).ok()).count();
        assert_eq!(named, Reason::ALL.len());
    }

    #[test]
    fn a_status_carries_its_reason_and_its_field() {
        let status = of_refusal(&Refusal::field("parts[1].text", "is empty"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(reason(&status), Some(Reason::InvalidField));
        let fields: Vec<_> = status.get_details_bad_request().into_iter().flat_map(|bad| bad.field_violations).collect();
        assert_eq!(fields.first().map(|violation| violation.field.as_str()), Some("parts[1].text"));
    }

    #[test]
    fn faults_show_nothing_of_their_insides() {
        let fault = Fault::Internal { detail: "password=1".into() };
        assert_eq!(of(&fault.into()).message(), "internal error");
    }
}
