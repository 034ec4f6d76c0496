//! What a failed call means: for its caller, for the backend, and for a second try.

use std::error::Error;

use tonic::{Status, TimeoutExpired};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The caller's time is over. Says nothing about the backend, for callers choose their times as they like: what does say
    /// something is that it answered nobody, and no probe either ([`Failure::Silent`]).
    Timeout,
    /// The peer ended this one stream; its connection lives.
    Reset,
    /// The connection could not be made, or broke.
    Connection,
    /// The backend took the call, and then gave no sign of life: it stands still, or nothing reaches it any more.
    Silent,
}

impl Failure {
    /// Sorts an error of the transport.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let mut at = Some(error);
        while let Some(cause) = at {
            if cause.is::<TimeoutExpired>() {
                return Self::Timeout;
            }
            if let Some(h2) = cause.downcast_ref::<h2::Error>() {
                return if h2.is_reset() { Self::Reset } else { Self::Connection };
            }
            at = cause.source();
        }
        Self::Connection
    }

    /// What the caller is told. Never how our network looks.
    pub(super) fn status(self) -> Status {
        match self {
            Self::Timeout => Status::deadline_exceeded("deadline exceeded"),
            Self::Reset | Self::Connection | Self::Silent => Status::unavailable("upstream connection lost"),
        }
    }
}
