//! What can be asked of a run, and what can change about it.

use super::state::Ended;
use crate::id::{ActionId, SessionId};
use crate::transition::Cause;

/// What is asked of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The run before it on the thread has ended.
    Promote,
    /// A live session takes the run.
    Claim {
        /// The session.
        session: SessionId,
    },
    /// The holder ends the run.
    Finish {
        /// The holder's attempt.
        fence: u64,
        /// How.
        outcome: Outcome,
    },
    /// The holder gives the run back.
    Release {
        /// The holder's attempt.
        fence: u64,
        /// A question about calls that may have happened, when there are any.
        ask: Option<Ask>,
    },
    /// The lease is lost.
    LoseLease {
        /// The attempt that is lost.
        fence: u64,
        /// A question about calls that may have happened, when there are any.
        ask: Option<Ask>,
        /// False when the loss says nothing about the run: its worker's stream was cut.
        counts: bool,
    },
    /// A person wants it to end.
    Cancel,
    /// Nobody decided in time.
    Expire {
        /// The action that was not decided.
        action: ActionId,
    },
    /// No worker could serve it in time.
    GiveUpWaiting,
}

/// How the holder ends a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked.
    Completed,
    /// It could not.
    Failed {
        /// 1 to 64 of A-Z, 0-9, `_`.
        reason: String,
        /// In words.
        detail: String,
    },
    /// It was canceled.
    Canceled,
}

/// What becomes of calls that may have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A person decides.
    Person {
        /// The pending action to make.
        action: ActionId,
    },
    /// The run fails.
    Fail {
        /// Names the calls.
        detail: String,
    },
}

/// What changes about a run. Every change but `CancelRequested` is a transition: version +1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// QUEUED to READY.
    Promoted,
    /// READY to RUNNING, fence +1.
    Claimed {
        /// The new holder.
        session: SessionId,
    },
    /// The cancel flag is set.
    CancelRequested,
    /// RUNNING to READY.
    GivenBack {
        /// True when somebody other than the holder did it: fence +1.
        taken: bool,
        /// True when the attempt counts against the cap.
        counts: bool,
    },
    /// RUNNING to WAITING.
    Paused {
        /// The question.
        action: ActionId,
        /// True when somebody other than the holder did it: fence +1.
        taken: bool,
    },
    /// To a terminal state.
    Ended {
        /// How.
        ended: Ended,
        /// Why.
        cause: Cause,
        /// True when somebody other than the holder took it out of RUNNING: fence +1.
        taken: bool,
    },
}

impl Change {
    /// What the transition's row says; absent for a change that is no transition.
    #[must_use]
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Promoted => Some(Cause::Promoted),
            Self::Claimed { .. } => Some(Cause::Claimed),
            Self::CancelRequested => None,
            Self::GivenBack { taken: true, .. } => Some(Cause::LeaseLost),
            Self::GivenBack { taken: false, .. } => Some(Cause::Released),
            Self::Paused { .. } => Some(Cause::OutcomeUnknown),
            Self::Ended { cause, .. } => Some(*cause),
        }
    }
}
