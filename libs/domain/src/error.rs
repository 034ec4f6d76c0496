//! The two ways a call can go wrong: a refusal is a business no, a fault is infrastructure. Only faults are logged as
//! errors.

use crate::id::RunId;
use crate::path::CallKey;
use crate::reason::Reason;
use std::time::Duration;

/// What commands answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Either kind of no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A business no: the caller can do something about it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Infrastructure: the caller can only try again.
    #[error("{0}")]
    Fault(#[from] Fault),
}

/// A business no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field is missing, malformed or out of bounds.
    #[error("{field}: {problem}")]
    InvalidField {
        /// Path of the field, `parts[3].text`.
        field: String,
        /// What is wrong and what is wanted.
        problem: String,
    },
    /// A message of a stream is not the method's.
    #[error("the request is not this method's message")]
    MalformedMessage,
    /// It does not exist, or is not the caller's to know of.
    #[error("no such {what}")]
    NotFound {
        /// `thread`, `run`, ….
        what: &'static str,
    },
    /// The caller may see it but not do this.
    #[error("not allowed: {why}")]
    PermissionDenied {
        /// What would be needed.
        why: &'static str,
    },
    /// No credentials, or bad ones.
    #[error("not authenticated: {why}")]
    Unauthenticated {
        /// What is wrong with them.
        why: &'static str,
    },
    /// Good credentials, past their expiry.
    #[error("the token has expired")]
    TokenExpired,
    /// The idempotency key was used with another body.
    #[error("this idempotency key was used before with another request")]
    IdempotencyKeyReused,
    /// Nobody names a model.
    #[error("neither the agent nor the mesh names a model")]
    ModelNotConfigured,
    /// The thread's agent was deleted.
    #[error("the thread's agent was deleted")]
    AgentDeleted,
    /// The thread is held and the message said REJECT.
    #[error("the thread is busy with {run}")]
    ThreadBusy {
        /// The holder.
        run: RunId,
    },
    /// A queue is full.
    #[error("{what}; at most {max}")]
    QueueLimit {
        /// Whose queue.
        what: &'static str,
        /// Its bound.
        max: u32,
        /// When trying again may help.
        retry_after: Duration,
    },
    /// Another attempt holds the run, or nobody does.
    #[error("this attempt no longer holds the run")]
    Fenced,
    /// The run has ended.
    #[error("the run has ended")]
    RunFinished,
    /// Journaled already with other content, or out of order.
    #[error("journal: {problem}")]
    StepConflict {
        /// What does not fit.
        problem: String,
    },
    /// No verdict lets the call run.
    #[error("tool call {call} may not run")]
    CallNotAllowed {
        /// The call.
        call: CallKey,
    },
    /// The run's journal is full: no model step and no new call of a tool goes in.
    #[error("the run's journal is full: at most {bytes_max} bytes and {calls_max} tool calls; end the run")]
    JournalLimit {
        /// Bytes at most.
        bytes_max: u64,
        /// Tool calls at most.
        calls_max: u32,
    },
    /// The worker session is over.
    #[error("the worker session is over")]
    SessionLost,
    /// The token names another run, fence or session than the message.
    #[error("the token does not name the {what} of the message")]
    TokenMismatch {
        /// Which part differs.
        what: &'static str,
    },
    /// The cursor is malformed or another run's.
    #[error("cursor: {problem}")]
    InvalidCursor {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// It changed since the caller read it.
    #[error("conflict: {problem}")]
    Conflict {
        /// What changed.
        problem: &'static str,
    },
    /// The name is taken.
    #[error("the {what} name is taken")]
    NameTaken {
        /// `agent`, ….
        what: &'static str,
    },
    /// Too many viewers.
    #[error("too many viewers; at most {max}")]
    ViewerLimit {
        /// The bound that was met.
        max: u32,
    },
    /// The replica has as much in hand as it takes, and did nothing.
    #[error("too many wait for {what} here; try again later")]
    Overloaded {
        /// What they wait for.
        what: &'static str,
        /// When trying again may help.
        retry_after: Duration,
    },
    /// The process is draining.
    #[error("the process is draining")]
    Draining,
}

impl Refusal {
    /// A bad field.
    #[must_use]
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::InvalidField { field: field.into(), problem: problem.into() }
    }

    /// What the caller hears.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::InvalidField { .. } => Reason::InvalidField,
            Self::MalformedMessage => Reason::MalformedMessage,
            Self::NotFound { .. } => Reason::NotFound,
            Self::PermissionDenied { .. } => Reason::PermissionDenied,
            Self::Unauthenticated { .. } => Reason::Unauthenticated,
            Self::TokenExpired => Reason::TokenExpired,
            Self::IdempotencyKeyReused => Reason::IdempotencyKeyReused,
            Self::ModelNotConfigured => Reason::ModelNotConfigured,
            Self::AgentDeleted => Reason::AgentDeleted,
            Self::ThreadBusy { .. } => Reason::ThreadBusy,
            Self::QueueLimit { .. } => Reason::QueueLimit,
            Self::Fenced => Reason::Fenced,
            Self::RunFinished => Reason::RunFinished,
            Self::StepConflict { .. } => Reason::StepConflict,
            Self::CallNotAllowed { .. } => Reason::CallNotAllowed,
            Self::JournalLimit { .. } => Reason::JournalLimit,
            Self::SessionLost => Reason::SessionLost,
            Self::TokenMismatch { .. } => Reason::TokenMismatch,
            Self::InvalidCursor { .. } => Reason::InvalidCursor,
            Self::Conflict { .. } => Reason::Conflict,
            Self::NameTaken { .. } => Reason::NameTaken,
            Self::ViewerLimit { .. } => Reason::ViewerLimit,
            Self::Overloaded { .. } => Reason::Overloaded,
            Self::Draining => Reason::Draining,
        }
    }
}

/// Infrastructure went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A part could not be reached, and nothing was done.
    #[error("{part} is unavailable: {detail}")]
    Unavailable {
        /// `postgres`, `nats`, `relay`, ….
        part: &'static str,
        /// For the log, never for the caller.
        detail: String,
    },
    /// A part went away in the middle: it may or may not have been done. Repeat with the same idempotency key.
    #[error("the outcome at {part} is unknown: {detail}")]
    OutcomeUnknown {
        /// `postgres`, `nats`, ….
        part: &'static str,
        /// For the log, never for the caller.
        detail: String,
    },
    /// A part is there and cannot serve this process: it is too old, too new, or not set up.
    #[error("{part} cannot be used: {detail}")]
    Unusable {
        /// `postgres`, `nats`, ….
        part: &'static str,
        /// What is wrong and what to do, for an operator; never for the caller.
        detail: String,
    },
    /// Something that cannot be, is.
    #[error("internal: {detail}")]
    Internal {
        /// For the log, never for the caller.
        detail: String,
    },
}

impl Fault {
    /// A part that cannot serve this process.
    #[must_use]
    pub fn unusable(part: &'static str, detail: impl Into<String>) -> Self {
        Self::Unusable { part, detail: detail.into() }
    }

    /// Whether a part is away, which passes; anything else wants somebody to look.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Unusable { .. } | Self::Internal { .. } => false,
        }
    }

    /// Something that cannot be, is.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::Internal { detail: detail.into() }
    }
}
