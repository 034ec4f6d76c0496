//! What can be asked of a run, and what can change about it.

use super::cancel::{Cancel, CancelMode};
use super::state::Ended;
use crate::actor::Actor;
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
        /// True for a lost lease, false for a cut stream. Both are counted, each against a cap of its own.
        counts: bool,
    },
    /// Somebody wants it to end.
    Cancel {
        /// When.
        mode: CancelMode,
        /// Who.
        by: Actor,
    },
    /// A newer message takes its place: the run ends whatever its holder does.
    Supersede {
        /// Who sent that message.
        by: Actor,
    },
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
    /// A cancel is acknowledged, or one for after the step becomes one for now.
    CancelRequested {
        /// The cancel as it is from now on.
        cancel: Cancel,
    },
    /// RUNNING to READY.
    GivenBack {
        /// True when somebody other than the holder did it: fence +1.
        taken: bool,
        /// True for a lost lease; false for a cut stream or a release.
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
        /// Who ended it.
        by: Actor,
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
            Self::CancelRequested { .. } => None,
            Self::GivenBack { taken: true, .. } => Some(Cause::LeaseLost),
            Self::GivenBack { taken: false, .. } => Some(Cause::Released),
            Self::Paused { .. } => Some(Cause::OutcomeUnknown),
            Self::Ended { cause, .. } => Some(*cause),
        }
    }

    /// Who makes the change, to a run that `holder` holds.
    #[must_use]
    pub fn actor(&self, holder: Option<SessionId>) -> Actor {
        let by_holder = || holder.map_or(Actor::System, Actor::Worker);
        match self {
            Self::Promoted => Actor::System,
            Self::Claimed { session } => Actor::Worker(*session),
            Self::CancelRequested { cancel } => cancel.by,
            Self::GivenBack { taken, .. } | Self::Paused { taken, .. } if *taken => Actor::System,
            Self::GivenBack { .. } | Self::Paused { .. } => by_holder(),
            Self::Ended { by, .. } => *by,
        }
    }
}
