//! One change of a run's state, as stored, and what the run's log shows of it.

use crate::Timestamp;
use crate::actor::Actor;
use crate::id::{ActionId, RunId, SessionId};
use crate::journal::Usage;
use crate::message::Message;
use crate::path::CallKey;
use crate::run::StateName;

/// Why a run changed its state. Stored by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Its message was accepted.
    Accepted,
    /// The run before it ended.
    Promoted,
    /// A session took it.
    Claimed,
    /// Its holder ended it.
    Finished,
    /// Its holder gave it back.
    Released,
    /// Its lease was lost.
    LeaseLost,
    /// Somebody canceled it.
    Canceled,
    /// Its attempts got nowhere.
    AttemptsExhausted,
    /// A call may have happened.
    OutcomeUnknown,
    /// Nobody decided in time.
    Expired,
    /// No worker could serve it in time.
    NoWorker,
    /// A newer message took its place.
    Superseded,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 12] = [
        Self::Accepted,
        Self::Promoted,
        Self::Claimed,
        Self::Finished,
        Self::Released,
        Self::LeaseLost,
        Self::Canceled,
        Self::AttemptsExhausted,
        Self::OutcomeUnknown,
        Self::Expired,
        Self::NoWorker,
        Self::Superseded,
    ];

    /// The stored name, which people read too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Promoted => "promoted",
            Self::Claimed => "claimed",
            Self::Finished => "finished",
            Self::Released => "released",
            Self::LeaseLost => "lease lost",
            Self::Canceled => "canceled",
            Self::AttemptsExhausted => "attempts exhausted",
            Self::OutcomeUnknown => "outcome unknown",
            Self::Expired => "expired",
            Self::NoWorker => "no worker",
            Self::Superseded => "superseded",
        }
    }

    /// The cause of that stored name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// One change of a run's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The run.
    pub run: RunId,
    /// The run's version after it.
    pub version: u64,
    /// The state before; absent for the first.
    pub from: Option<StateName>,
    /// The state after.
    pub to: StateName,
    /// Why.
    pub cause: Cause,
    /// The run's fence after it.
    pub fence: u64,
    /// The session concerned.
    pub session: Option<SessionId>,
    /// Who made it.
    pub actor: Actor,
    /// When, on the database's clock.
    pub at: Timestamp,
    /// What the log shows of it.
    pub record: Record,
}

/// What the run's log shows of a transition.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// Nothing.
    Quiet,
    /// An attempt began.
    AttemptStarted,
    /// The run waits for a person.
    ApprovalRequested {
        /// The question's id.
        action: ActionId,
        /// The question in words.
        summary: String,
    },
    /// The run ended.
    Finished(Box<Finished>),
}

/// How a run ended, as everybody hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The terminal state.
    pub state: StateName,
    /// Why, unless COMPLETED.
    pub reason: String,
    /// In words.
    pub detail: String,
    /// The message as stored; absent when the run produced nothing.
    pub message: Option<Message>,
    /// The thread's next run.
    pub promoted: Option<RunId>,
    /// Tokens of the whole run.
    pub usage: Usage,
    /// When, on the database's clock.
    pub at: Timestamp,
    /// Journaled calls that had not begun: the end made [`CALL_CLOSED`](crate::journal::CALL_CLOSED) their result. The log tells
    /// these results just before the end, so that its fold at the end is the journal (S3).
    pub closed_calls: Vec<CallKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_by_name() {
        for cause in Cause::ALL {
            assert_eq!(Cause::from_name(cause.name()), Some(cause));
        }
    }
}
