//! What can go wrong for a caller of the client, and what to do next about it.

mod hint;

use runmesh_domain::{Reason, Refusal};
use runmesh_wire::status;
use std::error::Error as _;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A call or a stream that did not work.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address can never work.
    #[error("address {address:?}: {problem}")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A credential cannot stand in a header.
    #[error("the {what} holds characters that cannot be sent")]
    Credential {
        /// `token` or `org`.
        what: &'static str,
    },
    /// A client was made outside of a Tokio runtime.
    #[error("a client needs a tokio runtime")]
    NoRuntime,
    /// The mesh refused, or failed.
    #[error("{}", words(.0))]
    Status(Status),
    /// The connection could not be made, or broke.
    #[error("cannot reach {address}: {detail}")]
    Unreachable {
        /// Where the gateway was looked for.
        address: String,
        /// What the transport said.
        detail: String,
    },
    /// The call took longer than the caller allows. It may or may not have been done.
    #[error("no answer within {} s", .after.as_secs_f32())]
    DeadlineExceeded {
        /// The caller's deadline.
        after: Duration,
    },
    /// A stream ended before its end, or fell silent. A follower comes back by itself.
    #[error("the stream was interrupted: {problem}")]
    Interrupted {
        /// What happened.
        problem: &'static str,
    },
    /// A follower heard nothing for as long as it has patience.
    #[error("gave up after {} s: {last}", .after.as_secs())]
    GaveUp {
        /// How long it tried.
        after: Duration,
        /// The last error.
        last: Box<ClientError>,
    },
    /// The answer breaks the rules of the API: a repeated or missing event, a malformed id. A fault of the mesh.
    #[error("the mesh broke its protocol: {problem}")]
    Protocol {
        /// Which rule, and where.
        problem: String,
    },
}

impl ClientError {
    /// The error of a status that tonic gave out at `address`.
    pub(crate) fn of_status(status: Status, address: &str) -> Self {
        // A status that came over the wire has no source; one that tonic made out of a broken connection has.
        match status.source() {
            Some(source) => Self::Unreachable { address: address.to_owned(), detail: root(source) },
            None => Self::Status(status),
        }
    }

    /// A rule of the API that an answer breaks.
    pub(crate) fn protocol(problem: impl Into<String>) -> Self {
        Self::Protocol { problem: problem.into() }
    }

    /// What the mesh gave as its reason, when it was the mesh that said no.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Status(status) => status::reason(status),
            Self::GaveUp { last, .. } => last.reason(),
            Self::Address { .. }
            | Self::Credential { .. }
            | Self::NoRuntime
            | Self::Unreachable { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Interrupted { .. }
            | Self::Protocol { .. } => None,
        }
    }

    /// The gRPC code that is nearest to it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Address { .. } | Self::Credential { .. } => Code::InvalidArgument,
            Self::NoRuntime | Self::Protocol { .. } => Code::Internal,
            Self::Status(status) => status.code(),
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::GaveUp { .. } => Code::Unavailable,
            Self::DeadlineExceeded { .. } => Code::DeadlineExceeded,
        }
    }

    /// The run that the error names, as THREAD_BUSY does.
    #[must_use]
    pub fn run_id(&self) -> Option<String> {
        let Self::Status(status) = self else { return None };
        status.get_details_error_info()?.metadata.remove("run_id")
    }

    /// What to do next, in one line for a person; nothing when the message says it all.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        hint::of(self)
    }

    /// How long the mesh asks to wait before another try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Status(status) = self else { return None };
        status.get_details_retry_info()?.retry_delay
    }

    /// True when the same call may work in a moment: UNAVAILABLE, a replica that has as much in hand as it takes, broken connections
    /// and interrupted streams.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Status(status) => status.code() == Code::Unavailable || self.reason() == Some(Reason::Overloaded),
            Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Address { .. }
            | Self::Credential { .. }
            | Self::NoRuntime
            | Self::DeadlineExceeded { .. }
            | Self::GaveUp { .. }
            | Self::Protocol { .. } => false,
        }
    }
}

impl From<Refusal> for ClientError {
    /// The client meets a refusal of its own only when it converts what the mesh answered.
    fn from(refusal: Refusal) -> Self {
        Self::protocol(format!("answer: {refusal}"))
    }
}

/// What the mesh said; the code when it said nothing.
fn words(status: &Status) -> &str {
    if status.message().is_empty() { status.code().description() } else { status.message() }
}

/// The innermost cause, which is the one that says something.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_mesh_keeps_its_reason() {
        let error = ClientError::of_status(status::of_refusal(&Refusal::NotFound { what: "run" }), "x");
        assert_eq!((error.reason(), error.code()), (Some(Reason::NotFound), Code::NotFound));
        assert_eq!(error.to_string(), "no such run");
    }

    #[test]
    fn a_broken_connection_is_no_word_of_the_mesh() {
        let broken = Status::from_error(Box::new(std::io::Error::other("reset by peer")));
        let error = ClientError::of_status(broken, "http://x");
        assert_eq!(error.to_string(), "cannot reach http://x: reset by peer");
        assert!(error.is_passing());
        assert_eq!(error.reason(), None);
    }
}
