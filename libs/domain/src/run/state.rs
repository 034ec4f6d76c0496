//! Where a run stands. States carry their facts.

use crate::id::{ActionId, SessionId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a run stands, with the facts of that state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not at the head of its thread.
    Queued,
    /// At the head, waiting for a worker.
    Ready,
    /// A worker session holds its lease.
    Running {
        /// The holder.
        session: SessionId,
    },
    /// Waiting for a person.
    Waiting {
        /// The question.
        action: ActionId,
    },
    /// Over.
    Ended(Ended),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It did what was asked.
    Completed,
    /// It could not.
    Failed {
        /// `MODEL_UNAVAILABLE`, `ATTEMPTS_EXHAUSTED`, …
        reason: String,
        /// In words.
        detail: String,
    },
    /// Somebody said so.
    Canceled,
    /// Nobody decided in time.
    Aborted,
    /// A newer message took its place.
    Superseded,
}

/// A state without its facts: what is stored, listed and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// See [`State::Queued`].
    Queued,
    /// See [`State::Ready`].
    Ready,
    /// See [`State::Running`].
    Running,
    /// See [`State::Waiting`].
    Waiting,
    /// See [`Ended::Completed`].
    Completed,
    /// See [`Ended::Failed`].
    Failed,
    /// See [`Ended::Canceled`].
    Canceled,
    /// See [`Ended::Aborted`].
    Aborted,
    /// See [`Ended::Superseded`].
    Superseded,
}

impl StateName {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Ready,
        Self::Running,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::Aborted,
        Self::Superseded,
    ];

    /// The stored name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
        }
    }

    /// The state of that stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// True when nothing follows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Ready | Self::Running | Self::Waiting => false,
            Self::Completed | Self::Failed | Self::Canceled | Self::Aborted | Self::Superseded => true,
        }
    }

    /// True when a run in this state holds its thread.
    #[must_use]
    pub const fn holds_thread(self) -> bool {
        matches!(self, Self::Ready | Self::Running | Self::Waiting)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl State {
    /// The state without its facts.
    #[must_use]
    pub const fn name(&self) -> StateName {
        match self {
            Self::Queued => StateName::Queued,
            Self::Ready => StateName::Ready,
            Self::Running { .. } => StateName::Running,
            Self::Waiting { .. } => StateName::Waiting,
            Self::Ended(ended) => ended.name(),
        }
    }

    /// The session that holds the lease, when one does.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Running { session } => Some(*session),
            Self::Queued | Self::Ready | Self::Waiting { .. } | Self::Ended(_) => None,
        }
    }

    /// The pending action, when there is one.
    #[must_use]
    pub const fn action(&self) -> Option<ActionId> {
        match self {
            Self::Waiting { action } => Some(*action),
            Self::Queued | Self::Ready | Self::Running { .. } | Self::Ended(_) => None,
        }
    }

    /// Reason and detail of an end; empty for every other state.
    #[must_use]
    pub fn reason_and_detail(&self) -> (&str, &str) {
        match self {
            Self::Ended(Ended::Failed { reason, detail }) => (reason, detail),
            Self::Queued | Self::Ready | Self::Running { .. } | Self::Waiting { .. } | Self::Ended(_) => ("", ""),
        }
    }
}

impl Ended {
    /// The state without its facts.
    #[must_use]
    pub const fn name(&self) -> StateName {
        match self {
            Self::Completed => StateName::Completed,
            Self::Failed { .. } => StateName::Failed,
            Self::Canceled => StateName::Canceled,
            Self::Aborted => StateName::Aborted,
            Self::Superseded => StateName::Superseded,
        }
    }
}
